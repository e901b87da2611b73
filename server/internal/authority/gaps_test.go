package authority

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/p8signet/signet/proto/auditlog"
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
