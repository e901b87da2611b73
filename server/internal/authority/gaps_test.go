package authority

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

// anchor is a checkpoint over the whole log, as a client keeps it.
func (v *vault) anchor() []byte {
	v.t.Helper()
	head := v.changer.log.Head()
	checkpoint := auditlog.Checkpoint{Origin: v.changer.log.Origin(), Size: head.Size, Hash: head.Hash}
	note, err := auditlog.SignCheckpoint(checkpoint, v.Keys.signer)
	check(v.t, err)
	return note
}

func (v *vault) show(anchor []byte) (Consistency, error) {
	return v.Log.ProveConsistency(v.t.Context(), principal(callerID), ConsistencyRequest{Checkpoint: anchor})
}

// backup is what a backup of the vault's machine has.
type backup struct {
	memory *storetest.MemoryBackend
	fs     *storetest.FaultFS
}

func (v *vault) backup() backup { return backup{v.memory.Clone(), copyFS(v.t, v.fs)} }

func (v *vault) openGaps() []store.Gap { return v.changer.store.Snapshot().Stops(nodeName) }

// TestGaps restores what is old in every way that can be noticed. Nothing is minted until the gap is acknowledged by
// its id, across restarts and further commits; what takes something away goes on; and afterwards the same anchor, and
// the same restart, are no new gap.
func TestGaps(t *testing.T) {
	// Each breaks a vault that has the keys "asc" and "spare", leaves it open, and answers an anchor, if one is needed
	// to find the gap. It may have been shown already.
	tests := []struct {
		name    string
		kind    string
		break_  func(v *vault) []byte
		rotated bool // a new log was opened
	}{
		{"old store, newer log", store.GapStore, func(v *vault) []byte {
			old := v.backup()
			check(v.t, v.disable("spare"))
			v.crash()
			v.memory = old.memory
			v.mustOpen()
			return nil
		}, false},
		{"old store, newer log, and minted since", store.GapStore, func(v *vault) []byte {
			old := v.backup()
			check(v.t, v.disable("spare"))
			for range 50 {
				v.mustMint("release")
			}
			v.close()
			v.memory = old.memory
			v.mustOpen()
			return nil
		}, false},
		{"old log with a commit in the gap", store.GapLog, func(v *vault) []byte {
			old := v.backup()
			check(v.t, v.disable("spare"))
			v.crash()
			v.fs = old.fs
			v.mustOpen()
			return nil
		}, true},
		{"no log at all", store.GapLog, func(v *vault) []byte {
			v.crash()
			v.fs = storetest.NewFaultFS()
			v.mustOpen()
			return nil
		}, true},
		{"the log of another time of the same store", store.GapLog, func(v *vault) []byte {
			old := v.backup()
			v.mustMint("release")
			check(v.t, v.disable("spare"))
			ahead := v.backup()
			v.crash()
			v.memory, v.fs = old.memory, old.fs
			v.mustOpen()
			for range 3 {
				v.mustMint("builds")
			}
			check(v.t, v.disable("spare"))
			v.crash()
			v.fs = ahead.fs
			v.mustOpen()
			return nil
		}, true},
		{"a bit flipped near the end", store.GapLog, func(v *vault) []byte {
			v.close()
			all := segments(v.fs.List(v.storedLog()))
			check(v.t, v.fs.Tamper(all[len(all)-1], func(b []byte) []byte {
				b[len(b)-len(b)/4] ^= 1
				return b
			}))
			v.mustOpen()
			return nil
		}, true},
		{"a bit flipped in an earlier segment, where the last root was named", store.GapLog, func(v *vault) []byte {
			for range 3 { // every start begins a segment
				v.close()
				v.mustOpen()
				v.mustMint("release")
			}
			v.close()
			second := segments(v.fs.List(v.storedLog()))[1] // the first is of Init
			check(v.t, v.fs.Tamper(second, func(b []byte) []byte {
				b[bytes.LastIndex(b, []byte("key.import"))] ^= 1
				return b
			}))
			v.mustOpen()
			return nil
		}, true},
		{"a tail of mints is cut", store.GapLog, func(v *vault) []byte {
			old := v.backup()
			v.mustMint("release")
			anchor := v.anchor()
			v.crash()
			v.fs = old.fs
			v.mustOpen()
			v.mustMint("release") // nobody can know yet
			v.mustMint("builds")
			return anchor
		}, true},
		{"a tail of mints is cut, and the log is still shorter", store.GapLog, func(v *vault) []byte {
			old := v.backup()
			for range 5 {
				v.mustMint("release")
			}
			anchor := v.anchor()
			v.crash()
			v.fs = old.fs
			v.mustOpen()
			return anchor
		}, true},
		{"a whole old directory", store.GapLog, func(v *vault) []byte {
			old := v.backup()
			check(v.t, v.disable("spare"))
			anchor := v.anchor()
			v.crash()
			v.memory, v.fs = old.memory, old.fs
			v.mustOpen()
			v.mustMint("release")
			return anchor
		}, true},
		{"a whole old directory, from before a log that is unknown now", store.GapLog, func(v *vault) []byte {
			old := v.backup()
			v.mustMint("release")
			_, err := v.show(v.forge(7))
			wantReason(v.t, err, ErrPrecondition, ReasonGap)
			gap := v.openGaps()[0]
			v.acknowledge(gap.ID)
			v.mustMint("release")
			anchor := v.anchor()
			v.crash()
			v.memory, v.fs = old.memory, old.fs
			v.mustOpen()
			v.mustMint("release")
			return anchor
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := ready(t)
			v.importKey("spare")
			v.mustMint("release")
			anchor := tt.break_(v)
			if anchor != nil {
				v.mustMint("release")
				_, err := v.show(anchor)
				wantReason(t, err, ErrPrecondition, ReasonGap)
			}
			v.checkGap(tt.kind, tt.rotated, anchor)
		})
	}
}

// storedLog is the id of the log that the store names, with the authority closed.
func (v *vault) storedLog() string {
	v.t.Helper()
	s, err := store.Open(context.Background(), v.storeConfig())
	check(v.t, err)
	defer s.Close()
	head, _ := s.Snapshot().LogHead(nodeName)
	return head.Log
}

func segments(names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".log") })
}

// forge is a checkpoint of the current log with so many entries that never were, as a log that forked would have it.
func (v *vault) forge(size int64) []byte {
	v.t.Helper()
	note, err := auditlog.SignCheckpoint(auditlog.Checkpoint{Origin: v.changer.log.Origin(), Size: size, Hash: auditlog.Hash{1, 2, 3}}, v.Keys.signer)
	check(v.t, err)
	return note
}

func (v *vault) acknowledge(id string) {
	v.t.Helper()
	gap, _, err := v.System.Acknowledge(v.t.Context(), principal(operatorID), AcknowledgeRequest{Request: v.request(), GapID: id, Reason: "a restored backup"})
	check(v.t, err)
	if gap.ID != id || gap.Closed.IsZero() {
		v.t.Errorf("acknowledged: %+v", gap)
	}
}

// checkGap checks everything that must hold from here on of a vault with one gap that is open.
func (v *vault) checkGap(kind string, rotated bool, anchor []byte) {
	t := v.t
	t.Helper()
	gaps := v.openGaps()
	if len(gaps) != 1 || gaps[0].Kind != kind {
		t.Fatalf("the open gaps are %+v", gaps)
	}
	id := gaps[0].ID
	stopped := func(when string) {
		t.Helper()
		if gaps := v.openGaps(); len(gaps) != 1 || gaps[0].ID != id {
			t.Fatalf("%s the open gaps are %+v", when, gaps)
		}
		_, err := v.mint("release")
		wantReason(t, err, ErrUnavailable, ReasonGap)
		wantReason(t, v.System.Ready(), ErrUnavailable, ReasonGap)
		if anchor != nil {
			_, err := v.show(anchor)
			wantReason(t, err, ErrPrecondition, ReasonGap)
			if e := v.last(); e.Outcome != auditlog.Failed || e.Principal == nil || e.Principal.ID != callerID || !strings.HasPrefix(e.Reason, string(ReasonGap)) {
				t.Errorf("who showed the anchor is recorded as %+v", e)
			}
		}
	}
	stopped("at once")
	v.reopen()
	stopped("after a restart")
	wantReason(t, v.enable("spare"), ErrUnavailable, ReasonGap)
	wantReason(t, v.tryApply(basicPolicy+"# changed\n"), ErrUnavailable, ReasonGap)
	check(t, v.disable("spare"))
	_, err := v.revoke("spare", 0)
	check(t, err)
	stopped("after further commits")
	v.close()
	v.mustOpen()
	stopped("after those and a restart")
	v.checkAfterGap(rotated)

	status, err := v.System.Status(t.Context(), principal(operatorID), Request{})
	check(t, err)
	if len(status.Reasons) != 1 || len(status.Gaps) == 0 || status.Gaps[0].ID != id {
		t.Errorf("the status is %+v", status)
	}
	_, _, err = v.System.Acknowledge(t.Context(), principal(operatorID), AcknowledgeRequest{GapID: "nosuchgap", Reason: "x"})
	wantReason(t, err, ErrNotFound, ReasonNotFound)
	_, _, err = v.System.Acknowledge(t.Context(), principal(callerID), AcknowledgeRequest{GapID: id, Reason: "x"})
	wantReason(t, err, ErrDenied, ReasonDenied)
	stopped("after acknowledgements that were none")
	v.acknowledge(id)
	v.acknowledge(id)

	for range 2 {
		v.mustMint("release")
		if anchor != nil {
			_, err := v.show(anchor)
			wantReason(t, err, ErrPrecondition, ReasonGap)
		}
		if gaps := v.openGaps(); len(gaps) != 0 {
			t.Fatalf("a new gap: %+v", gaps)
		}
		fresh := v.anchor()
		v.mustMint("release")
		if _, err := v.show(fresh); err != nil {
			t.Errorf("a good anchor: %v", err)
		}
		v.reopen()
	}
	v.checkAfterGap(rotated)
}

// checkAfterGap checks what holds of a vault whose history has a gap.
func (v *vault) checkAfterGap(rotated bool) {
	t := v.t
	t.Helper()
	storetest.CheckInvariants(t, v.storeConfig())
	if last, root := v.changer.log.LastRoot(), *rootEntry(v.changer.store.Snapshot().RootID()); last != root {
		t.Errorf("the log's last root is %+v, the store's %+v", last, root)
	}
	if !rotated {
		v.checkSegments()
	}
	named := false
	for stored, err := range v.changer.log.Entries(t.Context(), 0, v.changer.log.Head().Size) {
		check(t, err)
		e, err := auditlog.ParseEntry(stored.Line)
		check(t, err)
		if stored.Index == 0 && rotated {
			closed := v.changer.store.Snapshot().ClosedLogs(nodeName)
			end := closed[len(closed)-1]
			if e.Gap == nil || e.Gap.Log != end.Log || e.Gap.Size != end.Size || e.Gap.Hash != end.Hash || e.Gap.ID == "" {
				t.Errorf("the first entry is %+v, gap %+v; the old log ends at %+v", e, e.Gap, end)
			}
		}
		named = named || e.Gap != nil
	}
	if !named {
		t.Error("no entry names the gap")
	}
}

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

// TestUnknownLog shows anchors of a log of which nothing is left: whatever their size, they are one gap.
func TestUnknownLog(t *testing.T) {
	v := ready(t)
	anchor := func(size int64) []byte {
		origin := v.changer.log.Origin()
		origin.Log = "lost"
		note, err := auditlog.SignCheckpoint(auditlog.Checkpoint{Origin: origin, Size: size, Hash: auditlog.Hash{9}}, v.Keys.signer)
		check(t, err)
		return note
	}
	_, err := v.show(anchor(100))
	wantReason(t, err, ErrPrecondition, ReasonGap)
	v.acknowledge(v.openGaps()[0].ID)
	for _, size := range []int64{100, 3, 1000} {
		_, err = v.show(anchor(size))
		wantReason(t, err, ErrPrecondition, ReasonGap)
	}
	v.mustMint("release")
	v.checkInvariants()
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
	if head := rootHead(v.changer.log.Head()); head != closed[0] {
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
			end := rootHead(v.changer.log.Head())
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

// TestForeignAnchors shows what is no checkpoint of ours.
func TestForeignAnchors(t *testing.T) {
	v, other := ready(t), newVault(t)
	_, err := v.show(other.anchor())
	wantReason(t, err, ErrMalformed, ReasonMalformed)
	_, err = v.show([]byte("nothing"))
	wantReason(t, err, ErrMalformed, ReasonMalformed)
	if gaps := v.openGaps(); len(gaps) != 0 {
		t.Errorf("gaps: %v", gaps)
	}
	v.mustMint("release")
	status, err := v.System.Status(t.Context(), principal(operatorID), Request{})
	check(t, err)
	if !status.Log.LastAnchor.IsZero() {
		t.Error("a foreign checkpoint counts as an anchor")
	}
	_, err = v.show(v.anchor())
	check(t, err)
	status, err = v.System.Status(t.Context(), principal(operatorID), Request{})
	check(t, err)
	if !status.Log.LastAnchor.Equal(v.clock.Now()) {
		t.Errorf("the last anchor is of %v", status.Log.LastAnchor)
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
