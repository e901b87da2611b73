package authority

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

// Filter says which entries; what is empty does not limit.
type Filter struct {
	Key, Principal, Action, Outcome string
	// Since is the oldest time.
	Since time.Time
	// Log is an origin or log id; every log of the node when empty, unless Index is given: then the current log.
	Log string
	// Index is one entry's.
	Index *int64
}

// EntriesRequest asks for a page of entries.
type EntriesRequest struct {
	Request
	Filter      Filter
	OldestFirst bool
	// Limit is the most that are answered; it must be above 0.
	Limit int
	// PageToken is from the page before; empty for the first.
	PageToken string
}

// StoredEntry is an entry as it lies in the log.
type StoredEntry struct {
	// Origin is the log's.
	Origin string
	Index  int64
	// Line is the stored bytes without the newline.
	Line []byte
}

// EntriesPage is a page of entries. It may have fewer than were asked for, or none, and still not be the last: one
// call looks at so many entries only.
type EntriesPage struct {
	Entries []StoredEntry
	// NextPageToken is empty at the end.
	NextPageToken string
}

const (
	// scanLimit is how many entries one call looks at.
	scanLimit = 200_000
	// pageBytes is how many bytes of lines fill a page, whatever was asked for: clients take 4 MiB unless told otherwise.
	pageBytes = 3 << 20
	// timeSlack is how far entries may stand before ones that are a little older: callers stamp them while they queue.
	timeSlack = time.Minute
)

// Entries answers entries as stored bytes. The query is recorded before it is answered. Walking forward it ends where
// the log ended when its first page was asked for, so that its own entries do not keep it going.
func (l *Log) Entries(ctx context.Context, p policy.Principal, req EntriesRequest) (EntriesPage, error) {
	var page EntriesPage
	want := ask{id: req.ID, want: policy.Request{Action: policy.AuditRead}}
	_, err := l.answer(ctx, p, want, func(call *call) error {
		if auditlog.LooksLikeKey(req.Filter.Key) {
			return malformed("the key's name looks like a private key; it was not recorded, but a key that was pasted must be taken for leaked")
		}
		call.entry.Key = req.Filter.Key
		stretches, err := l.stretches(req)
		if err != nil {
			return err
		}
		page, err = scan(ctx, req, stretches)
		return err
	})
	if err != nil {
		return EntriesPage{}, err
	}
	return page, nil
}

// stretch is a part of one log: the entries from <= index < to.
type stretch struct {
	*audit.Reader
	from, to int64
}

// cursor is where a query goes on, in a page token: at the entry of log at index, walking forward no further than the
// first size entries of end.
type cursor struct {
	log   string
	index int64
	end   string
	size  int64
}

func (c cursor) token() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s %d %s %d", c.log, c.index, c.end, c.size))
}

func parseCursor(token string) (cursor, bool) {
	var c cursor
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return c, false
	}
	n, err := fmt.Sscanf(string(text), "%s %d %s %d", &c.log, &c.index, &c.end, &c.size)
	return c, err == nil && n == 4 && c.index >= 0 && c.size >= 0 && c.token() == token
}

// stretches are what a query walks, in the order in which it does, from its page token on.
func (l *Log) stretches(req EntriesRequest) ([]stretch, error) {
	ids := l.log.Logs()
	if req.Filter.Log != "" || req.Filter.Index != nil {
		reader, err := l.reader(req.Filter.Log)
		if err != nil {
			return nil, err
		}
		ids = []string{reader.Origin().Log}
	}
	var all []stretch
	for _, id := range ids {
		reader, err := l.log.Reader(id)
		if err != nil {
			return nil, err
		}
		all = append(all, stretch{reader, 0, reader.Head().Size})
	}
	if i := req.Filter.Index; i != nil {
		all[0].from, all[0].to = min(*i, all[0].to), min(*i+1, all[0].to)
	}
	if req.PageToken != "" {
		var ok bool
		if all, ok = resume(all, ids, req); !ok {
			return nil, malformed("the page token is not one of this query's")
		}
	}
	if !req.OldestFirst {
		slices.Reverse(all)
	}
	return all, nil
}

// resume cuts off what a query has walked already, and what was not there yet when it began.
func resume(all []stretch, ids []string, req EntriesRequest) ([]stretch, bool) {
	c, ok := parseCursor(req.PageToken)
	at, end := slices.Index(ids, c.log), slices.Index(ids, c.end)
	switch {
	case !ok || at < 0 || end < 0:
		return nil, false
	case req.OldestFirst:
		all[at].from = max(all[at].from, c.index)
		all[end].to = min(all[end].to, c.size)
		return all[at : max(at, end)+1], true
	default:
		all[at].to = min(all[at].to, c.index+1)
		return all[:at+1], true
	}
}

// scan walks until the page is full, the query is at its end, or it has looked at enough.
func scan(ctx context.Context, req EntriesRequest, stretches []stretch) (EntriesPage, error) {
	var page EntriesPage
	match, seen, size := newMatcher(req.Filter), 0, 0
	for i, s := range stretches {
		walk := s.Reverse
		if req.OldestFirst {
			walk = s.Entries
		}
		if req.OldestFirst && (i > 0 || req.PageToken == "") {
			var err error
			if s.from, err = match.skip(ctx, s); err != nil {
				return page, err
			}
		}
		for stored, err := range walk(ctx, s.from, s.to) {
			if err != nil {
				return page, err
			}
			if len(page.Entries) == req.Limit || seen == scanLimit || size >= pageBytes {
				end := stretches[len(stretches)-1]
				page.NextPageToken = cursor{s.Origin().Log, stored.Index, end.Origin().Log, end.to}.token()
				return page, nil
			}
			seen++
			matches, over, err := match.entry(stored.Line)
			if err != nil {
				return page, err
			}
			if over && !req.OldestFirst {
				return page, nil
			}
			if matches {
				size += len(stored.Line)
				page.Entries = append(page.Entries, StoredEntry{Origin: s.Origin().String(), Index: stored.Index, Line: bytes.Clone(stored.Line)})
			}
		}
	}
	return page, nil
}

// matcher is a filter made ready: most lines are told apart by their bytes and not parsed.
type matcher struct {
	filter Filter
	needed [][]byte // every line that matches has these
}

func newMatcher(f Filter) *matcher {
	m := &matcher{filter: f}
	for _, value := range []string{f.Key, f.Principal, f.Action, f.Outcome} {
		if plain := strings.Trim(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:/") == ""; plain && value != "" {
			m.needed = append(m.needed, []byte(`"`+value+`"`))
		}
	}
	return m
}

// entry says whether a line matches, and whether it is so old that, walking back, no other can.
func (m *matcher) entry(line []byte) (bool, bool, error) {
	if m.filter.Since.IsZero() {
		for _, needed := range m.needed {
			if !bytes.Contains(line, needed) {
				return false, false, nil
			}
		}
	}
	e, err := auditlog.ParseEntry(line)
	if err != nil {
		return false, false, fmt.Errorf("reading the log: %w", err)
	}
	f := m.filter
	matches := (f.Key == "" || f.Key == e.Key) &&
		(f.Principal == "" || e.Principal != nil && f.Principal == e.Principal.ID) &&
		(f.Action == "" || f.Action == e.Action) &&
		(f.Outcome == "" || f.Outcome == string(e.Outcome)) &&
		!e.Time.Before(f.Since)
	return matches, e.Time.Before(f.Since.Add(-timeSlack)), nil
}

// skip is where, walking forward, entries begin to be young enough: time in the log does not run backwards.
func (m *matcher) skip(ctx context.Context, s stretch) (int64, error) {
	if m.filter.Since.IsZero() {
		return s.from, nil
	}
	var failed error
	found := sort.Search(int(max(0, s.to-s.from)), func(i int) bool {
		for stored, err := range s.Entries(ctx, s.from+int64(i), s.from+int64(i)+1) {
			old := false
			if err == nil {
				_, old, err = m.entry(stored.Line)
			}
			failed = errors.Join(failed, err)
			return !old
		}
		return true
	})
	return s.from + int64(found), failed
}
