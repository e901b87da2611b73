package authority

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

// Filter says which entries; what is empty does not limit.
type Filter struct {
	audit.Match
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
// call reads so many entries only.
type EntriesPage struct {
	Entries []StoredEntry
	// NextPageToken is empty at the end.
	NextPageToken string
}

// pageBytes is how many bytes of lines fill a page, whatever was asked for: clients take 4 MiB unless told otherwise.
const pageBytes = 3 << 20

// Entries answers entries as stored bytes. The query is recorded before it is answered. Walking forward it ends where
// the log ended when its first page was asked for, so that its own entries do not keep it going.
func (l *Log) Entries(ctx context.Context, p policy.Principal, req EntriesRequest) (EntriesPage, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.AuditRead}}
	return answered(ctx, &l.core, p, want, func(call *call) (EntriesPage, error) {
		if auditlog.LooksLikeKey(req.Filter.Key) || auditlog.LooksLikeKey(req.Filter.Profile) {
			return EntriesPage{}, malformed("the name looks like a private key; it was not recorded, but a key that was pasted must be taken for leaked")
		}
		call.entry.Key, call.entry.Profile = req.Filter.Key, req.Filter.Profile
		stretches, err := l.stretches(req)
		if err != nil {
			return EntriesPage{}, err
		}
		return walk(ctx, req, stretches)
	})
}

// stretch is a part of one log: the entries from <= index < to.
type stretch struct {
	*audit.Reader
	from, to int64
}

// cursor is where a query goes on, in a page token: at the entry of log at index, walking forward no further than the
// first size entries of end. It is of no use to another query.
type cursor struct {
	log   string
	index int64
	end   string
	size  int64
	query string // digest
}

func (c cursor) token() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s %d %s %d %s", c.log, c.index, c.end, c.size, c.query))
}

func parseCursor(token string) (cursor, bool) {
	var c cursor
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return c, false
	}
	n, err := fmt.Sscanf(string(text), "%s %d %s %d %s", &c.log, &c.index, &c.end, &c.size, &c.query)
	return c, err == nil && n == 5 && c.index >= 0 && c.size >= 0 && c.token() == token
}

// digest tells queries apart whose pages are not each other's; how many entries a page has is no matter.
func (r EntriesRequest) digest() string {
	f := r.Filter
	index, token := int64(-1), ""
	if f.Index != nil {
		index = *f.Index
	}
	if f.Token != nil {
		token = f.Token.String()
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q %s %d %d %q %d %v", f.Key, f.Principal, f.Profile, f.Action, f.Outcome, token,
		f.Since.UnixNano(), f.Until.UnixNano(), f.Log, index, r.OldestFirst))
	return hex.EncodeToString(sum[:8])
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
	case !ok || at < 0 || end < 0 || c.query != req.digest():
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

// walk goes through the logs until the page is full, the query is at its end, or one of them was read long enough.
func walk(ctx context.Context, req EntriesRequest, stretches []stretch) (EntriesPage, error) {
	var page EntriesPage
	end := stretches[len(stretches)-1]
	next := func(s stretch, index int64) {
		page.NextPageToken = cursor{s.Origin().Log, index, end.Origin().Log, end.to, req.digest()}.token()
	}
	limit, room := req.Limit, pageBytes
	for _, s := range stretches {
		if s.from >= s.to {
			continue
		}
		if limit == 0 || room <= 0 {
			next(s, s.start(req.OldestFirst))
			return page, nil
		}
		found, err := s.Find(ctx, audit.Query{Match: req.Filter.Match, From: s.from, To: s.to, Reverse: !req.OldestFirst, Limit: limit, Bytes: room})
		if errors.Is(err, audit.ErrAbsent) {
			if len(page.Entries) == 0 {
				return page, archived(s.Reader)
			}
			next(s, s.start(req.OldestFirst))
			return page, nil
		}
		if err != nil {
			return page, fmt.Errorf("reading the log: %w", err)
		}
		for _, e := range found.Entries {
			page.Entries = append(page.Entries, StoredEntry{Origin: s.Origin().String(), Index: e.Index, Line: e.Line})
			room -= len(e.Line)
		}
		if limit -= len(found.Entries); found.Next >= 0 {
			next(s, found.Next)
			return page, nil
		}
	}
	return page, nil
}

// start is the index at which a query begins to walk.
func (s stretch) start(oldestFirst bool) int64 {
	if oldestFirst {
		return s.from
	}
	return s.to - 1
}

// archived is the answer where entries are asked for whose segments are not here any more.
func archived(r *audit.Reader) *Error {
	what := "all of its segments"
	if first, err := r.First(); err == nil && first < r.Head().Size {
		what = fmt.Sprintf("the segments with its entries before index %d", first)
	}
	if until, err := r.AbsentUntil(); err == nil && !until.IsZero() {
		what += fmt.Sprintf(", up to %s,", until.Format(time.RFC3339))
	}
	return &Error{
		Kind: ErrPrecondition, Reason: ReasonArchived,
		Public: fmt.Sprintf("of log %s, %s were archived, and entries that match may be in them; ask for what is here with a later since, newest first, or read the archive: signet audit verify --dir proves it", r.Origin(), what),
	}
}
