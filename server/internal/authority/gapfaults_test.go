package authority

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

// TestCrashInGap crashes at every write while a gap becomes part of the root: the gap is there after the next start,
// once, and nothing was minted before.
func TestCrashInGap(t *testing.T) {
	for write := 1; ; write++ {
		v := ready(t)
		v.importKey("spare")
		anchor := v.forge(3)
		done := v.crashAt(write)
		_, err := v.show(anchor)
		wantReason(t, err, ErrPrecondition, ReasonGap)
		crashed := done()
		if _, err := v.mint("release"); err == nil {
			t.Fatalf("write %d: a token was minted after the gap was found", write)
		}
		v.fs = v.fs.Restart()
		_ = v.Close()
		v.mustOpen()
		if len(v.openGaps()) == 0 { // it did not come so far: the client shows its anchor again
			_, err := v.show(anchor)
			wantReason(t, err, ErrPrecondition, ReasonGap)
		}
		v.checkGap(store.GapLog, true, anchor)
		if !crashed {
			if write < 4 {
				t.Errorf("only %d writes", write)
			}
			return
		}
	}
}

// crashAt lets the process die at the nth write from now, wherever that is, log or store. The function that it answers
// says whether it came to it.
func (v *vault) crashAt(n int) func() bool {
	var dead atomic.Bool
	var writes atomic.Int64
	v.arm(&dead, func(c storetest.Call) storetest.Fate {
		if c.Write > 0 && writes.Add(1) == int64(n) {
			return storetest.CrashBefore
		}
		return storetest.Fine
	}, func(op storetest.Op) storetest.Fault {
		return storetest.Fault{Kill: op.Kind.Changes() && writes.Add(1) == int64(n)}
	})
	return dead.Load
}

func TestOlderThan(t *testing.T) {
	root := store.RootID{Lineage: "l", Revision: 5, Digest: "d"}
	tests := []struct {
		name string
		last auditlog.Root
		want bool
	}{
		{"none was named", auditlog.Root{}, false},
		{"the same", auditlog.Root{Lineage: "l", Revision: 5, Digest: "d"}, false},
		{"an earlier one", auditlog.Root{Lineage: "l", Revision: 4, Digest: "c"}, false},
		{"an earlier one, before a gap", auditlog.Root{Lineage: "k", Revision: 4, Digest: "c"}, false},
		{"a later one", auditlog.Root{Lineage: "l", Revision: 6, Digest: "e"}, true},
		{"a later one of another lineage", auditlog.Root{Lineage: "m", Revision: 6, Digest: "e"}, true},
		{"another one of the same number", auditlog.Root{Lineage: "l", Revision: 5, Digest: "x"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := olderThan(root, tt.last); got != tt.want {
				t.Errorf("olderThan = %v", got)
			}
		})
	}
}

// TestGapsBelong says which anchors are a new gap and which belong to one that is known.
func TestGapsBelong(t *testing.T) {
	gaps := []store.Gap{
		{ID: "a", Kind: store.GapLog, Log: store.LogHead{Log: "one", Size: 10}},
		{ID: "b", Kind: store.GapStore, Log: store.LogHead{Log: "two", Size: 1}},
	}
	tests := []struct {
		name string
		log  string
		size int64
		want bool
	}{
		{"the same head", "one", 10, true},
		{"a later head of the same lost history", "one", 11, true},
		{"an earlier head: more is lost than was known", "one", 9, false},
		{"another log", "three", 10, false},
		{"a gap of the store says nothing of logs", "two", 10, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			anchor := auditlog.Checkpoint{Origin: auditlog.Origin{Log: tt.log}, Size: tt.size}
			if got := belongs(anchor, gaps); got != tt.want {
				t.Errorf("belongs = %v", got)
			}
		})
	}
}

// TestGapWhileStoreFails finds a gap while the store takes nothing: minting stops all the same, and the gap is in the
// root as soon as that is possible.
func TestGapWhileStoreFails(t *testing.T) {
	v := ready(t)
	v.backend.Plan(func(c storetest.Call) storetest.Fate {
		if c.Write > 0 {
			return storetest.Refused
		}
		return storetest.Fine
	})
	_, err := v.show(v.forge(3))
	wantReason(t, err, ErrPrecondition, ReasonGap)
	_, err = v.mint("release")
	wantReason(t, err, ErrUnavailable, ReasonGap)
	v.backend.Plan(nil)
	v.changer.housekeep(t.Context())
	if gaps := v.openGaps(); len(gaps) != 1 {
		t.Fatalf("the open gaps are %v", gaps)
	}
	_, err = v.mint("release")
	wantReason(t, err, ErrUnavailable, ReasonGap)
	v.checkInvariants()
}

// TestGapWhileLogFails finds a gap while the log takes nothing: nothing is recorded in a log that has ended.
func TestGapWhileLogFails(t *testing.T) {
	v := ready(t)
	anchor := v.forge(3)
	broken := errors.New("broken disk")
	v.fs.Inject(func(op storetest.Op) storetest.Fault {
		if op.Kind.Changes() {
			return storetest.Fault{Err: broken}
		}
		return storetest.Fault{}
	})
	_, err := v.show(anchor)
	wantReason(t, err, ErrPrecondition, ReasonGap)
	wantReason(t, v.disable("asc"), ErrUnavailable, ReasonLogUnavailable)
	v.fs.Inject(nil)
	waitFor(t, func() bool { return v.disable("asc") == nil })
	if gaps := v.openGaps(); len(gaps) != 1 {
		t.Fatalf("the open gaps are %v", gaps)
	}
	v.checkInvariants()
	v.reopen()
	v.checkInvariants()
}

// TestGapWhileNextLogFails finds a gap where the old log can be written and the next one cannot be opened: the root has
// said where the old one ends, so nothing more goes into it.
func TestGapWhileNextLogFails(t *testing.T) {
	v := ready(t)
	anchor := v.forge(3)
	v.fs.Inject(func(op storetest.Op) storetest.Fault {
		if op.Kind == storetest.OpMkdir {
			return storetest.Fault{Err: errDisk}
		}
		return storetest.Fault{}
	})
	_, err := v.show(anchor)
	wantReason(t, err, ErrPrecondition, ReasonGap)
	closed := v.changer.store.Snapshot().ClosedLogs(nodeName)
	if len(closed) != 1 {
		t.Fatalf("the closed logs are %v", closed)
	}
	_, err = v.mint("release")
	wantReason(t, err, ErrUnavailable, ReasonGap)
	wantReason(t, v.disable("asc"), ErrUnavailable, ReasonLogUnavailable)
	_, err = v.System.Status(t.Context(), principal(operatorID), Request{})
	wantReason(t, err, ErrUnavailable, ReasonLogUnavailable)
	if head := store.LogHead(v.changer.log.Head()); head != closed[0] {
		t.Errorf("the log ends at %+v, and the root says %+v", head, closed[0])
	}
	v.fs.Inject(nil)
	check(t, v.disable("asc"))
	v.checkInvariants()
	v.reopen()
	v.checkInvariants()
}

// TestGapCommitUnknown loses the answer to the commit that makes a gap part of the root: until it is known whether the
// root has ended the log, nothing goes into it.
func TestGapCommitUnknown(t *testing.T) {
	for _, fate := range []storetest.Fate{storetest.UnknownLost, storetest.UnknownPersisted} {
		t.Run(fate.String(), func(t *testing.T) {
			v := ready(t)
			v.backend.Plan(func(c storetest.Call) storetest.Fate {
				switch {
				case c.Write == 1:
					return fate
				case c.Write > 1 || c.Op == "root":
					return storetest.Refused
				}
				return storetest.Fine
			})
			_, err := v.show(v.forge(3))
			wantReason(t, err, ErrPrecondition, ReasonGap)
			end := store.LogHead(v.changer.log.Head())
			_, err = v.System.Status(t.Context(), principal(operatorID), Request{})
			wantReason(t, err, ErrUnavailable, ReasonLogUnavailable)
			v.backend.Plan(nil)
			v.changer.housekeep(t.Context())
			if gaps := v.openGaps(); len(gaps) != 1 {
				t.Fatalf("the open gaps are %v", gaps)
			}
			if closed := v.changer.store.Snapshot().ClosedLogs(nodeName); len(closed) != 1 || closed[0] != end {
				t.Errorf("the closed logs are %v, the log ended at %v", closed, end)
			}
			v.checkInvariants()
			v.reopen()
			v.checkInvariants()
		})
	}
}

// TestGapWithOpenIntent finds a gap while the outcome of a change is unknown: what became of the change is found out
// before the log ends that has its intent.
func TestGapWithOpenIntent(t *testing.T) {
	for _, fate := range []storetest.Fate{storetest.UnknownLost, storetest.UnknownPersisted} {
		for _, size := range []int64{3, 1000} {
			t.Run(fmt.Sprintf("%s/%d", fate, size), func(t *testing.T) {
				v := ready(t)
				v.backend.Plan(func(c storetest.Call) storetest.Fate {
					if c.Write == 1 {
						return fate
					}
					return storetest.Refused
				})
				wantReason(t, v.disable("asc"), ErrUnavailable, ReasonOutcomeUnknown)
				_, err := v.show(v.forge(size))
				wantReason(t, err, ErrPrecondition, ReasonGap)
				_, err = v.mint("release")
				wantReason(t, err, ErrUnavailable, ReasonGap)
				v.backend.Plan(nil)
				v.changer.housekeep(t.Context())
				if gaps := v.openGaps(); len(gaps) != 1 {
					t.Fatalf("the open gaps are %v", gaps)
				}
				v.checkInvariants()
			})
		}
	}
}

// TestMarks bounds how far a start looks back.
func TestMarks(t *testing.T) {
	if testing.Short() {
		t.Skip("short: writes 50,000 entries")
	}
	v := ready(t)
	before := v.changer.log.Head().Size
	done := make(chan error, 64)
	for range 64 {
		go func() {
			var err error
			for range markEvery / 64 {
				_, err = v.changer.answer(context.Background(), principal(operatorID), ask{want: policy.Request{Action: policy.SystemRead}}, func(*call) error { return nil })
			}
			done <- err
		}()
	}
	for range 64 {
		check(t, <-done)
	}
	v.clock.Advance(time.Minute)
	v.changer.housekeep(t.Context())
	v.mustMint("release")
	for range 64 {
		v.mustMint("release")
	}
	v.changer.housekeep(t.Context())
	size := v.changer.log.Head().Size
	if size < before+markEvery || v.changer.marked < size-200 {
		t.Errorf("the log has %d entries, the last mark is at %d", size, v.changer.marked)
	}
}
