package audit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
)

// gapEntry is the first of a log that was opened after a gap.
func gapEntry(h audit.Head) *auditlog.Entry {
	return &auditlog.Entry{
		Time: epoch, Node: "node-a", Action: "gap.open", Outcome: auditlog.Done,
		Gap: &auditlog.Gap{ID: "g1", Kind: "log", Log: h.Log, Size: h.Size, Hash: h.Hash},
	}
}

func TestRotate(t *testing.T) {
	fsys := storetest.NewFaultFS()
	l := mustOpen(t, config(fsys))
	for i := range 10 {
		mustAppend(t, l, entry(i), audit.AppendOptions{})
	}
	old := l.Head()
	oldLines := all(t, l)
	changed := l.Changed()
	p, err := l.Rotate(t.Context(), "log-2", gapEntry(old))
	if err != nil || p.Index != 0 || p.Head != l.Head() || p.Head.Log != "log-2" {
		t.Fatalf("%+v, %v", p, err)
	}
	<-changed
	if _, err := l.Rotate(t.Context(), "log-1", gapEntry(old)); err == nil {
		t.Error("an old id was taken again")
	}
	if _, err := l.Rotate(t.Context(), "../x", gapEntry(old)); err == nil {
		t.Error("a malformed id was taken")
	}
	mustAppend(t, l, entry(11), audit.AppendOptions{})
	check := func(l *audit.Log) {
		t.Helper()
		if diff := cmp.Diff([]string{"log-1", "log-2"}, l.Logs()); diff != "" {
			t.Errorf("logs (-want +got):\n%s", diff)
		}
		r, err := l.Reader("log-1")
		if err != nil {
			t.Fatal(err)
		}
		if r.Head() != old || r.Origin() != origin {
			t.Errorf("closed: %+v of %v", r.Head(), r.Origin())
		}
		if diff := cmp.Diff(oldLines, lines(t, r.Entries(t.Context(), 0, 1<<62))); diff != "" {
			t.Errorf("entries of the closed log (-want +got):\n%s", diff)
		}
		cp, err := auditlog.OpenCheckpoint(r.Checkpoint(), verifier)
		if err != nil || cp.Size != 10 || cp.Hash != old.Hash {
			t.Errorf("checkpoint of the closed log: %+v, %v", cp, err)
		}
		if _, err := r.InclusionText(t.Context(), 3, auditlog.LeafHash([]byte(oldLines[3]))); err != nil {
			t.Error(err)
		}
		for size, want := range map[int64]error{10: nil, 11: audit.ErrBeyondEnd} {
			c, err := l.ProveConsistency(t.Context(), auditlog.Checkpoint{Origin: origin, Size: size, Hash: old.Hash})
			if !errors.Is(err, want) {
				t.Errorf("size %d of the closed log: %v", size, err)
			}
			if want == nil && (c.Head != old || c.Checkpoint == nil) {
				t.Errorf("consistency %+v", c)
			}
		}
		cur := all(t, l)
		if len(cur) != 2 {
			t.Fatalf("%d entries", len(cur))
		}
		e, err := auditlog.ParseEntry([]byte(cur[0]))
		if err != nil || e.Gap == nil || e.Gap.Log != "log-1" || e.Gap.Size != 10 || e.Gap.Hash != old.Hash {
			t.Errorf("first entry %+v, %v", e, err)
		}
	}
	check(l)
	mustClose(t, l)
	c := config(fsys)
	c.Origin.Log = "log-2"
	c.Closed = []audit.Head{old}
	c.Head = old // the root has not seen the new one yet
	l = mustOpen(t, c)
	check(l)
	mustClose(t, l)
}

// TestRotateFails fails every operation of a rotation, each way: the old log goes on, and the repeat succeeds.
func TestRotateFails(t *testing.T) {
	for n := range 14 {
		for _, effect := range []storetest.Effect{storetest.Lost, storetest.Persisted, storetest.Torn} {
			t.Run(fmt.Sprintf("%d %d", n, effect), func(t *testing.T) {
				fsys := storetest.NewFaultFS()
				l := mustOpen(t, config(fsys))
				defer mustClose(t, l)
				mustAppend(t, l, entry(0), audit.AppendOptions{})
				old := l.Head()
				fsys.FailNth(n, storetest.Fault{Err: errDisk, Effect: effect})
				_, err := l.Rotate(t.Context(), "log-2", gapEntry(old))
				if err != nil {
					if l.Origin().Log != "log-1" {
						t.Errorf("current is %s", l.Origin().Log)
					}
					p := mustAppend(t, l, entry(1), audit.AppendOptions{})
					if _, err := l.Rotate(t.Context(), "log-2", gapEntry(p.Head)); err != nil {
						t.Fatalf("repeated: %v", err)
					}
				}
				if p := mustAppend(t, l, entry(2), audit.AppendOptions{}); p.Head.Log != "log-2" || p.Index != 1 {
					t.Errorf("position %+v", p)
				}
				reports, err := auditlog.VerifySegments(fsys.Files("log-2"), verifier, auditlog.VerifyOptions{})
				if err != nil || len(reports.Damage) > 0 {
					t.Errorf("%+v, %v", reports, err)
				}
			})
		}
	}
}

// TestRotateBeside rotates while others append: every entry is in one of the logs, where its position says.
func TestRotateBeside(t *testing.T) {
	l := mustOpen(t, config(storetest.NewFaultFS()))
	defer mustClose(t, l)
	var mu sync.Mutex
	seen := map[string]map[int64]auditlog.Hash{}
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for i := range 4 {
		wg.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				p, err := l.Append(t.Context(), entry(i*100000+k), audit.AppendOptions{Receipt: true})
				if err != nil {
					t.Error(err)
					return
				}
				if r, err := auditlog.VerifyReceipt(p.Receipt, verifier); err != nil || r.Checkpoint.Origin.Log != p.Head.Log {
					t.Errorf("receipt %+v, %v", r, err)
				}
				mu.Lock()
				if seen[p.Head.Log] == nil {
					seen[p.Head.Log] = map[int64]auditlog.Hash{}
				}
				seen[p.Head.Log][p.Index] = p.Leaf
				mu.Unlock()
			}
		})
	}
	for i := range 5 {
		if _, err := l.Rotate(t.Context(), fmt.Sprintf("next-%d", i), gapEntry(l.Head())); err != nil {
			t.Error(err)
		}
	}
	stop()
	wg.Wait()
	for _, id := range l.Logs() {
		r, err := l.Reader(id)
		if err != nil {
			t.Fatal(err)
		}
		got := map[int64]auditlog.Hash{}
		for s, err := range r.Entries(t.Context(), 0, 1<<62) {
			if err != nil {
				t.Fatal(err)
			}
			got[s.Index] = auditlog.LeafHash(s.Line)
		}
		for i, leaf := range seen[id] {
			if got[i] != leaf {
				t.Errorf("log %s: entry %d is another one", id, i)
			}
		}
	}
}

// TestAfterGap is what follows a GapError: a new id, the old log readable to where it is whole.
func TestAfterGap(t *testing.T) {
	fsys, heads := tiny(t)
	if err := fsys.Tamper(segmentPath(2), func(b []byte) []byte { return b[:len(b)-1] }); err != nil {
		t.Fatal(err)
	}
	_, gap := reopened(t, fsys, nil)
	if gap == nil {
		t.Fatal("no gap")
	}
	c := config(fsys)
	c.Origin.Log = "log-2"
	c.Closed = []audit.Head{gap.End}
	l := mustOpen(t, c)
	defer mustClose(t, l)
	if l.Head().Size != 0 {
		t.Fatalf("head %+v", l.Head())
	}
	mustAppend(t, l, gapEntry(gap.End), audit.AppendOptions{Privileged: true})
	r, err := l.Reader("log-1")
	if err != nil {
		t.Fatal(err)
	}
	if got := lines(t, r.Entries(t.Context(), 0, 1<<62)); len(got) != 1 {
		t.Errorf("%d entries of the old log", len(got))
	}
	if r.Checkpoint() != nil {
		t.Error("a checkpoint over what the old log does not have")
	}
	if con, err := l.ProveConsistency(t.Context(), auditlog.Checkpoint{Origin: origin, Size: 1, Hash: heads[1].Hash}); err != nil || con.Head != heads[1] || con.Checkpoint != nil {
		t.Errorf("%+v, %v", con, err)
	}
	if _, err := l.ProveConsistency(t.Context(), auditlog.Checkpoint{Origin: origin, Size: 3, Hash: heads[3].Hash}); !errors.Is(err, audit.ErrBeyondEnd) {
		t.Errorf("error %v", err)
	}
	if _, err := r.InclusionText(t.Context(), 0, auditlog.Hash{}); !errors.Is(err, audit.ErrNoEntry) {
		t.Errorf("error %v", err)
	}
}

// TestClosedLogGone: a closed log whose files are gone says so.
func TestClosedLogGone(t *testing.T) {
	c := config(storetest.NewFaultFS())
	c.Closed = []audit.Head{{Log: "log-0", Size: 3}}
	l := mustOpen(t, c)
	defer mustClose(t, l)
	r, err := l.Reader("log-0")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range r.Entries(t.Context(), 0, 3) {
		n++
		if !errors.Is(err, audit.ErrAbsent) {
			t.Errorf("error %v", err)
		}
	}
	if n != 1 {
		t.Errorf("%d results", n)
	}
}
