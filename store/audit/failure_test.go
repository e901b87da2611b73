package audit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
)

var errDisk = errors.New("input/output error")

// failing makes every operation of the kinds fail while it is set.
type failing struct {
	mu    sync.Mutex
	kinds []storetest.OpKind
	names string // only those of which the name contains it
	times int
	fault storetest.Fault
	seen  map[storetest.OpKind]int
}

func (f *failing) set(times int, effect storetest.Effect, kinds ...storetest.OpKind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times, f.kinds, f.fault, f.seen = times, kinds, storetest.Fault{Err: errDisk, Effect: effect}, map[storetest.OpKind]int{}
}

func (f *failing) inject(op storetest.Op) storetest.Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen != nil {
		f.seen[op.Kind]++
	}
	for _, k := range f.kinds {
		if k == op.Kind && f.times > 0 && strings.Contains(op.Name, f.names) {
			f.times--
			return f.fault
		}
	}
	return storetest.Fault{}
}

// TestOneFailure lets one write or sync fail, every way: it fails its batch only.
func TestOneFailure(t *testing.T) {
	for _, kind := range []storetest.OpKind{storetest.OpWrite, storetest.OpSync, storetest.OpStat} {
		for _, effect := range []storetest.Effect{storetest.Lost, storetest.Persisted, storetest.Torn} {
			t.Run(fmt.Sprintf("%s %d", kind, effect), func(t *testing.T) {
				fsys := storetest.NewFaultFS()
				var f failing
				fsys.Inject(f.inject)
				l := mustOpen(t, config(fsys))
				mustAppend(t, l, entry(0), audit.AppendOptions{})
				f.set(1, effect, kind)
				if _, err := l.Append(t.Context(), entry(1), audit.AppendOptions{}); !errors.Is(err, audit.ErrFailed) || !errors.Is(err, errDisk) {
					t.Fatalf("error %v", err)
				}
				if err := l.Err(); err != nil {
					t.Errorf("Err after one failure: %v", err)
				}
				if p := mustAppend(t, l, entry(2), audit.AppendOptions{}); p.Index != 1 {
					t.Errorf("index %d, want 1", p.Index)
				}
				mustClose(t, l)
				report, err := auditlog.VerifySegments(fsys.Files(origin.Log), verifier, auditlog.VerifyOptions{})
				if err != nil || len(report.Damage) > 0 || len(report.Segments) != 2 || report.Size != 2 {
					t.Errorf("report %+v, %v", report, err)
				}
				fsys.Inject(nil)
				l = mustOpen(t, config(fsys))
				defer mustClose(t, l)
				var want []string
				for _, i := range []int{0, 2} {
					line, err := entry(i).AppendJSON(nil)
					if err != nil {
						t.Fatal(err)
					}
					want = append(want, string(line))
				}
				if diff := cmp.Diff(want, all(t, l)); diff != "" {
					t.Errorf("entries (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestLastingFailure: Err says why, readiness comes back by itself, and the failures leave no files behind.
func TestLastingFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := storetest.NewFaultFS()
		var f failing
		fsys.Inject(f.inject)
		l := mustOpen(t, config(fsys))
		defer mustClose(t, l)
		mustAppend(t, l, entry(0), audit.AppendOptions{})
		f.set(1<<30, storetest.Lost, storetest.OpSync)
		for i := range 3 {
			if _, err := l.Append(t.Context(), entry(1), audit.AppendOptions{Privileged: true}); !errors.Is(err, audit.ErrFailed) {
				t.Fatalf("append %d: %v", i, err)
			}
			if err := l.Err(); (err != nil) != (i > 0) {
				t.Fatalf("Err after %d failures: %v", i+1, err)
			}
		}
		if err := l.Err(); !errors.Is(err, audit.ErrFailed) || !errors.Is(err, errDisk) {
			t.Errorf("Err %v does not give the reason", err)
		}
		time.Sleep(10*time.Second + time.Second/10) // between two attempts
		if l.Err() == nil {
			t.Error("Err is nil while the disk fails")
		}
		if files := fsys.List(origin.Log); len(files) > 4 { // a segment, checkpoint, its .tmp, hashes
			t.Errorf("failures leave files behind: %v", files)
		}
		f.set(0, storetest.Lost)
		time.Sleep(2 * time.Second)
		if err := l.Err(); err != nil {
			t.Errorf("Err once the disk is well: %v", err)
		}
		if p := mustAppend(t, l, entry(2), audit.AppendOptions{}); p.Index != 1 {
			t.Errorf("index %d, want 1", p.Index)
		}
	})
}

// TestGroupCommit: what gathers while a sync runs is one batch, with one write and one sync.
func TestGroupCommit(t *testing.T) {
	fsys := storetest.NewFaultFS()
	l := mustOpen(t, config(fsys))
	defer mustClose(t, l)
	mustAppend(t, l, entry(0), audit.AppendOptions{})
	gate, entered := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	syncs, writes := 0, 0
	fsys.Inject(func(op storetest.Op) storetest.Fault {
		if !strings.HasSuffix(op.Name, ".log") {
			return storetest.Fault{}
		}
		mu.Lock()
		if op.Kind == storetest.OpWrite {
			writes++
		}
		first := op.Kind == storetest.OpSync && syncs == 0
		if op.Kind == storetest.OpSync {
			syncs++
		}
		mu.Unlock()
		if first {
			close(entered)
			<-gate
		}
		return storetest.Fault{}
	})
	var wg sync.WaitGroup
	appendOne := func(i int) {
		wg.Go(func() {
			p, err := l.Append(t.Context(), entry(i), audit.AppendOptions{Receipt: true})
			if err != nil {
				t.Errorf("append: %v", err)
				return
			}
			if _, err := auditlog.VerifyReceipt(p.Receipt, verifier); err != nil {
				t.Errorf("receipt: %v", err)
			}
		})
	}
	appendOne(1)
	<-entered
	for i := range 50 {
		appendOne(2 + i)
	}
	for l.Waiting() < 50 {
		time.Sleep(time.Millisecond)
	}
	close(gate)
	wg.Wait()
	if syncs != 2 || writes != 2 {
		t.Errorf("%d syncs and %d writes for two batches", syncs, writes)
	}
	if l.Head().Size != 52 {
		t.Errorf("%d entries", l.Head().Size)
	}
}

// TestHungDisk: callers get away by their context, and what waits is bounded.
func TestHungDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := storetest.NewFaultFS()
		l := mustOpen(t, config(fsys))
		mustAppend(t, l, entry(0), audit.AppendOptions{})
		gate := make(chan struct{})
		fsys.Inject(func(op storetest.Op) storetest.Fault {
			if op.Kind == storetest.OpSync {
				<-gate
			}
			return storetest.Fault{}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Append(ctx, entry(1), audit.AppendOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if _, err := l.Append(ctx, entry(1), audit.AppendOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an ended context: %v", err)
		}
		big := entry(2)
		for range 15 {
			big.Token.Scope = append(big.Token.Scope, strings.Repeat("a ", 2000))
		}
		busy := 0
		for range 400 { // 60 kB each: more than there is room for
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if _, err := l.Append(ctx, big, audit.AppendOptions{}); errors.Is(err, audit.ErrBusy) {
				busy++
			}
			cancel()
		}
		if busy == 0 {
			t.Error("nothing bounds what waits for the disk")
		}
		close(gate)
		synctest.Wait()
		mustClose(t, l)
		if l.Head().Size < 100 {
			t.Errorf("%d entries: what waited was not written", l.Head().Size)
		}
	})
}

// TestTakenAway: somebody removes, renames, cuts or extends the segment that is being written.
func TestTakenAway(t *testing.T) {
	name := origin.Log + "/" + auditlog.SegmentName(1)
	tests := []struct {
		name string
		do   func(f *storetest.FaultFS) error
		gap  bool // after a restart
	}{
		{"removed", func(f *storetest.FaultFS) error { return f.Remove(name) }, false},
		{"renamed", func(f *storetest.FaultFS) error { return f.Rename(name, origin.Log+"/old") }, false},
		{"cut", func(f *storetest.FaultFS) error { return f.Tamper(name, func(b []byte) []byte { return b[:100] }) }, true},
		{"extended", func(f *storetest.FaultFS) error {
			return f.Tamper(name, func(b []byte) []byte { return append(b, make([]byte, 5000)...) })
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fsys := storetest.NewFaultFS()
			l := mustOpen(t, config(fsys))
			mustAppend(t, l, entry(0), audit.AppendOptions{})
			if err := tt.do(fsys); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Append(t.Context(), entry(1), audit.AppendOptions{}); !errors.Is(err, audit.ErrFailed) || !strings.Contains(err.Error(), "while it was written") {
				t.Errorf("error %v", err)
			}
			if p := mustAppend(t, l, entry(2), audit.AppendOptions{}); p.Index != 1 || p.Head.Size != 2 {
				t.Errorf("position %+v", p)
			}
			mustClose(t, l)
			report, err := auditlog.VerifySegments(fsys.Files(origin.Log), verifier, auditlog.VerifyOptions{})
			if err != nil || (len(report.Damage) == 0) != (tt.name == "extended") {
				t.Errorf("offline: %+v, %v", report, err)
			}
			l, err = audit.Open(t.Context(), config(fsys))
			var gap *audit.GapError
			if errors.As(err, &gap) != tt.gap {
				t.Errorf("reopened: %v", err)
			}
			if err == nil {
				mustClose(t, l)
			}
		})
	}
}

func TestRefusedAlone(t *testing.T) {
	l := mustOpen(t, config(storetest.NewFaultFS()))
	e := entry(0)
	e.Justification = "-----BEGIN PRIVATE KEY----- MIGT"
	if _, err := l.Append(t.Context(), e, audit.AppendOptions{}); !errors.Is(err, auditlog.ErrLooksLikeKey) {
		t.Errorf("error %v", err)
	}
	if l.Head().Size != 0 || l.Err() != nil {
		t.Errorf("head %+v, Err %v", l.Head(), l.Err())
	}
	mustClose(t, l)
	mustClose(t, l)
	if _, err := l.Append(t.Context(), entry(0), audit.AppendOptions{}); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if !errors.Is(l.Err(), audit.ErrClosed) {
		t.Errorf("Err after Close: %v", l.Err())
	}
	if _, err := l.Rotate(t.Context(), "log-2", entry(0)); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Rotate after Close: %v", err)
	}
}

func TestConfigRefused(t *testing.T) {
	other, _ := newKey("v1/node-b")
	for _, tt := range []struct {
		name string
		edit func(c *audit.Config)
		want string
	}{
		{"no FS", func(c *audit.Config) { c.FS = nil }, "needs FS"},
		{"no clock", func(c *audit.Config) { c.Now = nil }, "needs FS, Signer and Now"},
		{"origin", func(c *audit.Config) { c.Origin.Log = ".." }, "log id"},
		{"key", func(c *audit.Config) { c.Signer = other }, "the log wants v1/node-a"},
		{"negative", func(c *audit.Config) { c.MinFree = -1 }, "MinFree is negative"},
		{"closed and current", func(c *audit.Config) { c.Closed = []audit.Head{{Log: "log-1"}} }, "also named as a closed one"},
		{"anchor", func(c *audit.Config) {
			c.Anchors = []auditlog.Checkpoint{{Origin: auditlog.Origin{Vault: "v2", Node: "n", Log: "l"}}}
		}, "an anchor is of v2/n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := config(storetest.NewFaultFS())
			tt.edit(&c)
			if _, err := audit.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
