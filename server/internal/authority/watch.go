package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

// Place is a place in a log.
type Place struct {
	// Log is an origin or log id; the current log when empty.
	Log   string
	Index int64
}

// WatchRequest asks for entries from a place on.
type WatchRequest struct {
	Request
	// Filter has no Log, Index or Until.
	Filter Filter
	// From is where to begin. When nil, with the first entry that is not older than Filter.Since or, without that, with
	// what comes after this call's own entry.
	From *Place
}

// Watched is what a watch has found up to Next, where another goes on. Next.Log is an origin.
type Watched struct {
	Entries []StoredEntry
	Next    Place
}

const (
	// maxWatches is how many watches there can be at once: each may hold a page, and a stream.
	maxWatches = 32
	// watchLimit and watchBytes bound what is sent at once.
	watchLimit = 500
	watchBytes = 256 << 10
	// watchGather is how long entries may gather before they are looked for: a busy log is read ten times a second.
	watchGather = 100 * time.Millisecond
	// watchQuiet is after how long without entries that match the place is sent alone, so that whoever goes on later
	// does not begin far back, and that a caller who may not watch any more is noticed.
	watchQuiet = 30 * time.Second
)

// Watch sends entries as they become durable: in order, each once, across the gaps that end logs. The first answer, with
// no entries, says where it begins. It is decided and recorded at the start, and decided again before anything is sent
// when the state has changed since; a denial then is recorded too. It ends with the context, with what send fails with,
// or with ErrUnavailable when the vault closes.
//
// It reads the log by index and holds one page at most, which nobody waits for: a reader who is slow falls behind and
// holds nobody up. One who has fallen behind what was archived is told so.
func (l *Log) Watch(ctx context.Context, p policy.Principal, req WatchRequest, send func(Watched) error) error {
	w := watch{l: l, match: req.Filter.Match, send: send}
	defer w.leave()
	begun := false
	pos, err := l.answer(ctx, p, ask{id: req.ID, want: policy.Request{Action: policy.AuditRead}}, func(call *call) error {
		w.call = call
		if err := w.record(req.Filter); err != nil {
			return err
		}
		if err := w.enter(); err != nil {
			return err
		}
		var err error
		begun, err = w.begin(ctx, req)
		return err
	})
	if err != nil {
		return err
	}
	if !begun {
		w.log, w.index = pos.Head.Log, pos.Index+1
	}
	return w.run(ctx)
}

// watch is one run of Watch.
type watch struct {
	l     *Log
	call  *call
	match audit.Match
	send  func(Watched) error
	log   string // id
	index int64  // of the next entry
	in    bool   // it is counted in l.watches
}

// enter counts the watch, once it is allowed: who is denied takes nobody's place and hears of nobody's.
func (w *watch) enter() error {
	if w.l.watches.Add(1) > maxWatches {
		w.l.watches.Add(-1)
		return &Error{Kind: ErrRateLimited, Reason: ReasonRateLimited, RetryAfter: watchQuiet, Public: "there are too many watches of the log already; end one"}
	}
	w.in = true
	return nil
}

func (w *watch) leave() {
	if w.in {
		w.l.watches.Add(-1)
	}
}

// record puts the filter into the entry, as Entries does.
func (w *watch) record(f Filter) error {
	switch {
	case f.Log != "" || f.Index != nil:
		return malformed("a watch takes no log or index in its filter; where it begins is in from")
	case !f.Until.IsZero():
		return malformed("a watch has no end: list entries for those until a time")
	case auditlog.LooksLikeKey(f.Key) || auditlog.LooksLikeKey(f.Profile):
		return malformed("the name looks like a private key; it was not recorded, but a key that was pasted must be taken for leaked")
	}
	w.call.entry.Key, w.call.entry.Profile = f.Key, f.Profile
	return nil
}

// begin finds where a watch begins; false when that is after its own entry.
func (w *watch) begin(ctx context.Context, req WatchRequest) (bool, error) {
	if req.From != nil {
		return true, w.resume(*req.From)
	}
	if req.Filter.Since.IsZero() {
		return false, nil
	}
	for _, id := range w.l.log.Logs() {
		reader, err := w.l.log.Reader(id)
		if err != nil {
			return false, err
		}
		q := audit.Query{Match: audit.Match{Since: req.Filter.Since}, Limit: 1, Bytes: 1}
		for q.From < reader.Head().Size {
			page, err := reader.Find(ctx, q)
			if err != nil {
				return false, unread(reader, err)
			}
			if len(page.Entries) > 0 {
				w.log, w.index = id, page.Entries[0].Index
				return true, nil
			}
			if page.Next < 0 {
				break
			}
			q.From = page.Next
		}
	}
	return false, nil
}

// resume begins at a place. A log that a gap has ended may have lost what was there: its next one goes on.
func (w *watch) resume(from Place) error {
	reader, err := w.l.reader(from.Log)
	if err != nil {
		return err
	}
	w.log, w.index = reader.Origin().Log, from.Index
	size := reader.Head().Size
	if closed := w.log != w.l.log.Origin().Log; closed {
		w.index = min(w.index, size)
	}
	if w.index > size {
		return &Error{Kind: ErrNotFound, Reason: ReasonNotFound,
			Public: "the log has fewer entries than that; if they were seen once, it has lost some: signet audit verify proves it"}
	}
	return nil
}

// unread is why entries of a log cannot be given.
func unread(r *audit.Reader, err error) error {
	if errors.Is(err, audit.ErrAbsent) {
		return archived(r)
	}
	return fmt.Errorf("reading the log: %w", err)
}

func (w *watch) run(ctx context.Context) error {
	if err := w.give(ctx, nil); err != nil {
		return err
	}
	quiet := time.NewTicker(watchQuiet)
	defer quiet.Stop()
	for {
		changed := w.l.log.Changed() // before the head is read, so that nothing comes in between
		next, err := w.deliver(ctx, quiet)
		switch {
		case errors.Is(w.l.log.Err(), audit.ErrClosed):
			return shuttingDown(err)
		case err != nil:
			return err
		case next:
			continue
		}
		select {
		case <-changed:
		case <-quiet.C:
			if err := w.give(ctx, nil); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-time.After(watchGather):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// deliver gives what there is of the log in which the watch is. When that has ended the watch goes on in the next one.
func (w *watch) deliver(ctx context.Context, quiet *time.Ticker) (next bool, _ error) {
	logs := w.l.log.Logs() // before the head is read, so that the end of a log which has ended is known to be that
	reader, err := w.l.log.Reader(w.log)
	if err != nil {
		return false, err
	}
	for size := reader.Head().Size; w.index < size; {
		page, err := reader.Find(ctx, audit.Query{Match: w.match, From: w.index, To: size, Limit: watchLimit, Bytes: watchBytes})
		if err != nil {
			return false, unread(reader, err)
		}
		if w.index = page.Next; page.Next < 0 {
			w.index = size
		}
		if len(page.Entries) == 0 {
			continue
		}
		entries := make([]StoredEntry, len(page.Entries))
		for i, e := range page.Entries {
			entries[i] = StoredEntry{Origin: reader.Origin().String(), Index: e.Index, Line: e.Line}
		}
		if err := w.give(ctx, entries); err != nil {
			return false, err
		}
		quiet.Reset(watchQuiet)
	}
	if i := slices.Index(logs, w.log); i >= 0 && i+1 < len(logs) {
		w.log, w.index = logs[i+1], 0
		return true, nil
	}
	return false, nil
}

// give sends what was found, if the caller may still have it.
func (w *watch) give(ctx context.Context, entries []StoredEntry) error {
	if w.l.state.Load() != w.call.state && !w.l.again(w.call) {
		entry := w.call.entry
		entry.Time = time.Time{}
		return w.l.refuse(ctx, &entry, refused(w.call.decision))
	}
	origin := w.l.log.Origin()
	origin.Log = w.log
	return w.send(Watched{Entries: entries, Next: Place{Log: origin.String(), Index: w.index}})
}
