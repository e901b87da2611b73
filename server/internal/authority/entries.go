package authority

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"iter"
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
	// timeSlack is how far entries may stand before ones that are a little older: callers stamp them while they queue.
	timeSlack = time.Minute
)

// Entries answers entries as stored bytes. The query is recorded before it is answered, and is not in its own answer.
func (l *Log) Entries(ctx context.Context, p policy.Principal, req EntriesRequest) (EntriesPage, error) {
	var page EntriesPage
	want := ask{id: req.ID, want: policy.Request{Action: policy.AuditRead}}
	_, err := l.answer(ctx, p, want, func(call *call) error {
		if auditlog.LooksLikeKey(req.Filter.Key) {
			return malformed("the key's name looks like a private key; it was not recorded, but a key that was pasted must be taken for leaked")
		}
		call.entry.Key = req.Filter.Key
		from, err := l.begin(req)
		if err != nil {
			return err
		}
		page, err = l.scan(ctx, req, from)
		return err
	})
	if err != nil {
		return EntriesPage{}, err
	}
	return page, nil
}

// cursor is a place in the node's logs: the entry at index, in walking order, is the next.
type cursor struct {
	log   string
	index int64
}

func (c cursor) token() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s %d", c.log, c.index))
}

func parseCursor(token string) (cursor, bool) {
	var c cursor
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return c, false
	}
	n, err := fmt.Sscanf(string(text), "%s %d", &c.log, &c.index)
	return c, err == nil && n == 2 && c.index >= 0 && c.token() == token
}

// begin is where a query begins to walk.
func (l *Log) begin(req EntriesRequest) (cursor, error) {
	if req.PageToken != "" {
		c, ok := parseCursor(req.PageToken)
		if _, err := l.log.Reader(c.log); !ok || err != nil {
			return c, malformed("the page token is not one of this query's")
		}
		return c, nil
	}
	logs, err := l.walked(req)
	if err != nil {
		return cursor{}, err
	}
	reader, err := l.log.Reader(logs[0])
	if err != nil {
		return cursor{}, err
	}
	switch {
	case req.Filter.Index != nil:
		return cursor{logs[0], *req.Filter.Index}, nil
	case req.OldestFirst:
		return cursor{logs[0], 0}, nil
	default:
		return cursor{logs[0], reader.Head().Size - 1}, nil
	}
}

// walked are the logs that a query walks, in its order.
func (l *Log) walked(req EntriesRequest) ([]string, error) {
	if req.Filter.Log != "" || req.Filter.Index != nil {
		reader, err := l.reader(req.Filter.Log)
		if err != nil {
			return nil, err
		}
		return []string{reader.Origin().Log}, nil
	}
	logs := slices.Clone(l.log.Logs())
	if !req.OldestFirst {
		slices.Reverse(logs)
	}
	return logs, nil
}

// scan walks from a cursor until the page is full, the query is at its end, or it has looked at enough.
func (l *Log) scan(ctx context.Context, req EntriesRequest, from cursor) (EntriesPage, error) {
	logs, err := l.walked(req)
	if err != nil {
		return EntriesPage{}, err
	}
	at := slices.Index(logs, from.log)
	if at < 0 {
		return EntriesPage{}, malformed("the page token is not one of this query's")
	}
	var page EntriesPage
	match, seen := newMatcher(req.Filter), 0
	for i, id := range logs[at:] {
		reader, err := l.log.Reader(id)
		if err != nil {
			return page, err
		}
		index := from.index
		if i > 0 && req.OldestFirst {
			index = 0
		} else if i > 0 {
			index = reader.Head().Size - 1
		}
		if index, err = match.skip(ctx, reader, index, req.OldestFirst); err != nil {
			return page, err
		}
		for stored, err := range entriesFrom(ctx, reader, index, req) {
			if err != nil {
				return page, err
			}
			if len(page.Entries) == req.Limit || seen == scanLimit {
				page.NextPageToken = cursor{id, stored.Index}.token()
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
				page.Entries = append(page.Entries, StoredEntry{Origin: reader.Origin().String(), Index: stored.Index, Line: bytes.Clone(stored.Line)})
			}
		}
	}
	return page, nil
}

// entriesFrom yields the entries of one log from index on, in the query's order.
func entriesFrom(ctx context.Context, reader *audit.Reader, index int64, req EntriesRequest) iter.Seq2[audit.Stored, error] {
	switch size := reader.Head().Size; {
	case req.Filter.Index != nil && index >= size:
		return func(func(audit.Stored, error) bool) {}
	case req.Filter.Index != nil:
		return reader.Entries(ctx, index, index+1)
	case req.OldestFirst:
		return reader.Entries(ctx, min(index, size), size)
	default:
		return reader.Reverse(ctx, 0, min(index+1, size))
	}
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

// skip is where, walking forward, entries can begin to be young enough: time in the log does not run backwards.
func (m *matcher) skip(ctx context.Context, reader *audit.Reader, index int64, forward bool) (int64, error) {
	if !forward || m.filter.Since.IsZero() || m.filter.Index != nil {
		return index, nil
	}
	var failed error
	size := reader.Head().Size
	found := sort.Search(int(max(0, size-index)), func(i int) bool {
		for stored, err := range reader.Entries(ctx, index+int64(i), index+int64(i)+1) {
			if err != nil {
				failed = err
				return true
			}
			_, old, err := m.entry(stored.Line)
			if err != nil {
				failed = err
			}
			return !old
		}
		return true
	})
	return index + int64(found), failed
}
