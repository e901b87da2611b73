package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

// watching is a watch that runs beside a test.
type watching struct {
	t     *testing.T
	found chan Watched
	ended chan error
	stop  context.CancelFunc
	seen  []string
	next  Place
}

// watch begins a watch. What it sends waits to be taken: it is as slow as the test.
func (v *vault) watch(t *testing.T, id string, req WatchRequest) *watching {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := &watching{t: t, found: make(chan Watched), ended: make(chan error, 1), stop: stop}
	req.Request = v.request()
	go func() {
		w.ended <- v.Log.Watch(ctx, principal(id), req, func(found Watched) error {
			select {
			case w.found <- found:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	t.Cleanup(stop)
	return w
}

// take takes one answer.
func (w *watching) take() Watched {
	w.t.Helper()
	select {
	case found := <-w.found:
		for _, e := range found.Entries {
			w.seen = append(w.seen, fmt.Sprint(e.Origin, " ", e.Index, " ", string(e.Line)))
		}
		w.next = found.Next
		return found
	case err := <-w.ended:
		w.t.Fatalf("the watch has ended: %v", err)
	case <-time.After(time.Minute):
		w.t.Fatal("the watch says nothing")
	}
	return Watched{}
}

// until takes answers until one reaches a place.
func (w *watching) until(log string, index int64) {
	w.t.Helper()
	for !strings.HasSuffix(w.next.Log, "/"+log) || w.next.Index < index {
		w.take()
	}
}

// end ends a watch and answers what it ended with. What it still sends is not taken.
func (w *watching) end() error {
	w.stop()
	return <-w.ended
}

// naiveWatch is what a watch sees of all entries that match, from the nth on.
func (v *vault) naiveWatch(from int, m audit.Match) []string {
	var all []string
	for _, id := range v.changer.log.Logs() {
		reader, err := v.changer.log.Reader(id)
		check(v.t, err)
		for stored, err := range reader.Entries(v.t.Context(), 0, reader.Head().Size) {
			check(v.t, err)
			e, err := auditlog.ParseEntry(stored.Line)
			check(v.t, err)
			if from--; from < 0 && m.Entry(e) {
				all = append(all, fmt.Sprint(reader.Origin(), " ", stored.Index, " ", string(stored.Line)))
			}
		}
	}
	return all
}

// TestWatch: entries come in order, each once, while many write, across a gap's new log, and however often the watch is
// interrupted.
func TestWatch(t *testing.T) {
	for name, match := range map[string]audit.Match{"all": {}, "some": {Action: "token.mint", Outcome: "allowed", Profile: "builds"}} {
		t.Run(name, func(t *testing.T) {
			v := ready(t)
			before := len(v.entries())
			w := v.watch(t, securityID, WatchRequest{Filter: Filter{Match: match}})
			begun := w.take()
			if len(begun.Entries) != 0 || begun.Next.Index != int64(before)+1 {
				t.Fatalf("it begins at %+v, after %d entries and its own", begun, before)
			}
			var writers sync.WaitGroup
			write := func() {
				for i := range 4 {
					writers.Go(func() {
						for range 25 {
							_, _ = v.mint([]string{"release", "builds"}[i%2])
						}
					})
				}
			}
			var seen []string
			for round := range 4 {
				write()
				if round == 2 {
					writers.Wait()
					v.gap()
				}
				w.take()
				if err := w.end(); !errors.Is(err, context.Canceled) {
					t.Fatalf("interrupted: %v", err)
				}
				seen = append(seen, w.seen...)
				next := w.next
				w = v.watch(t, securityID, WatchRequest{Filter: Filter{Match: match}, From: &next})
				w.take()
			}
			writers.Wait()
			v.mustMint("builds") // matches, so that there is an answer which reaches the end
			head := v.changer.log.Head()
			w.until(head.Log, head.Size)
			if err := w.end(); !errors.Is(err, context.Canceled) {
				t.Fatalf("interrupted: %v", err)
			}
			seen = append(seen, w.seen...)
			if diff := gocmp.Diff(v.naiveWatch(before+1, match), seen); diff != "" {
				t.Errorf("(-naive +watched):\n%s", diff)
			}
		})
	}
}

// TestWatchFrom: where a watch begins, and what it does not take.
func TestWatchFrom(t *testing.T) {
	v := ready(t)
	first := v.changer.log.Origin()
	v.clock.Advance(time.Hour)
	v.mustMint("release")
	size := v.changer.log.Head().Size
	v.gap()
	v.clock.Advance(time.Hour)
	since := v.clock.Now()
	v.mustMint("release")
	index := int64(0)
	for name, c := range map[string]struct {
		req    WatchRequest
		want   Place // but for the log's beginning
		reason Reason
	}{
		"the beginning":           {req: WatchRequest{From: &Place{Log: first.Log}}, want: Place{first.Log, 0}},
		"an origin":               {req: WatchRequest{From: &Place{Log: first.String(), Index: 3}}, want: Place{first.Log, 3}},
		"beyond a log that ended": {req: WatchRequest{From: &Place{Log: first.Log, Index: size + 100}}, want: Place{first.Log, size}},
		"the current log":         {req: WatchRequest{From: &Place{Index: 1}}, want: Place{v.changer.log.Origin().Log, 1}},
		"an hour ago":             {req: WatchRequest{Filter: Filter{Match: audit.Match{Since: since.Add(-time.Hour)}}}, want: Place{first.Log, size - 1}},
		"since the gap":           {req: WatchRequest{Filter: Filter{Match: audit.Match{Since: since}}}, want: Place{v.changer.log.Origin().Log, v.changer.log.Head().Size - 1}},
		"beyond the current log":  {req: WatchRequest{From: &Place{Index: 1000}}, reason: ReasonNotFound},
		"no such log":             {req: WatchRequest{From: &Place{Log: "nosuch"}}, reason: ReasonNotFound},
		"a log in the filter":     {req: WatchRequest{Filter: Filter{Log: first.Log}}, reason: ReasonMalformed},
		"an index in the filter":  {req: WatchRequest{Filter: Filter{Index: &index}}, reason: ReasonMalformed},
		"an end":                  {req: WatchRequest{Filter: Filter{Match: audit.Match{Until: since}}}, reason: ReasonMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			w := v.watch(t, securityID, c.req)
			if c.reason != "" {
				var e *Error
				if err := <-w.ended; !errors.As(err, &e) || e.Reason != c.reason {
					t.Errorf("answered %v, want %s", err, c.reason)
				}
				return
			}
			if next := w.take().Next; !strings.HasSuffix(next.Log, "/"+c.want.Log) || next.Index != c.want.Index {
				t.Errorf("begins at %v, want %v", next, c.want)
			}
			_ = w.end()
		})
	}
}

// TestWatchDenied: who may not read the log does not watch it, and who may no longer is sent nothing more.
func TestWatchDenied(t *testing.T) {
	v := ready(t)
	wantReason(t, <-v.watch(t, strangerID, WatchRequest{}).ended, ErrDenied, ReasonDenied)
	w := v.watch(t, securityID, WatchRequest{})
	w.take()
	v.apply(basicPolicy + "# the same but for this\n")
	head := v.changer.log.Head()
	w.until(head.Log, head.Size) // allowed on the new state, too
	v.apply(strings.Replace(basicPolicy, "audit.read, ", "", 1))
	v.mustMint("release")
	wantReason(t, <-w.ended, ErrDenied, ReasonDenied)
	var asked []string
	for _, e := range v.entries() {
		if e.Principal != nil && e.Principal.ID == securityID {
			asked = append(asked, e.Action+" "+string(e.Outcome))
		}
	}
	if want := []string{"audit.read allowed", "audit.read denied"}; !slices.Equal(asked, want) {
		t.Errorf("recorded %q, want %q", asked, want)
	}
}

// TestWatchEnds: a vault that closes sends its watchers elsewhere, and there can be only so many.
func TestWatchEnds(t *testing.T) {
	v := ready(t)
	var all []*watching
	for range maxWatches {
		w := v.watch(t, securityID, WatchRequest{})
		w.take()
		all = append(all, w)
	}
	wantReason(t, <-v.watch(t, securityID, WatchRequest{}).ended, ErrRateLimited, ReasonRateLimited)
	wantReason(t, <-v.watch(t, strangerID, WatchRequest{}).ended, ErrDenied, ReasonDenied) // and does not hear of the others
	for _, who := range []string{securityID, strangerID} {
		if !slices.ContainsFunc(v.entries(), func(e *auditlog.Entry) bool {
			return e.Principal != nil && e.Principal.ID == who && e.Action == "audit.read" && e.Outcome == auditlog.Denied
		}) {
			t.Errorf("that %s was refused is not recorded", who)
		}
	}
	_ = all[0].end()
	last := v.watch(t, securityID, WatchRequest{})
	last.take()
	_ = last.end()
	v.close()
	for _, w := range all[1:] {
		for err := error(nil); err == nil; {
			select {
			case <-w.found:
			case err = <-w.ended:
				wantReason(t, err, ErrUnavailable, ReasonShuttingDown)
			}
		}
	}
}

// TestWatchSlowly: a reader who takes nothing holds up nobody, and gets everything in the end.
func TestWatchSlowly(t *testing.T) {
	v := ready(t)
	w := v.watch(t, securityID, WatchRequest{Filter: Filter{Match: audit.Match{Action: string(policy.TokenMint)}}})
	before := int(w.take().Next.Index)
	for range 3 * watchLimit {
		v.mustMint("release")
	}
	largest := 0
	for head := v.changer.log.Head(); len(w.seen) == 0 || w.next.Index < head.Size; {
		largest = max(largest, len(w.take().Entries))
	}
	_ = w.end()
	if diff := gocmp.Diff(v.naiveWatch(before, audit.Match{Action: string(policy.TokenMint)}), w.seen); diff != "" || largest > watchLimit {
		t.Errorf("at most %d at once; (-naive +watched):\n%s", largest, diff)
	}
}

// TestWatchQuiet: when nothing matches for a while the place is sent all the same, so that whoever goes on later begins
// there.
func TestWatchQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := ready(t)
		began := time.Now()
		w := v.watch(t, securityID, WatchRequest{Filter: Filter{Match: audit.Match{Key: "nothing"}}})
		before := w.take().Next
		v.mustMint("release")
		found := w.take()
		if waited := time.Since(began); waited < watchQuiet || waited > watchQuiet+2*watchGather || len(found.Entries) > 0 || found.Next.Index != before.Index+1 {
			t.Errorf("after %v: %+v, from %+v on", waited, found, before)
		}
		_ = w.end()
		v.close()
	})
}
