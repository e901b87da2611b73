package audit_test

import (
	"errors"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
)

// TestFullDisk: ordinary entries stop at the mark, privileged ones go on to the last byte and, with the ballast,
// beyond; then all goes on when there is space again.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := storetest.NewFaultFS()
		c := config(fsys)
		c.MinFree, c.Ballast = 64<<10, 16<<10
		fsys.SetCapacity(1 << 20)
		l := mustOpen(t, c)
		defer mustClose(t, l)
		time.Sleep(2 * time.Second)
		if !slices.Contains(fsys.List("."), "ballast") {
			t.Fatalf("no ballast among %v", fsys.List("."))
		}
		want := 0
		for ; ; want++ {
			if _, err := l.Append(t.Context(), entry(want), audit.AppendOptions{}); err != nil {
				if !errors.Is(err, audit.ErrFull) {
					t.Fatalf("error %v", err)
				}
				break
			}
			if want > 10000 {
				t.Fatal("never full")
			}
		}
		if free, _ := fsys.Free(); free >= c.MinFree || free < c.MinFree-4096 {
			t.Errorf("full with %d free", free)
		}
		if !errors.Is(l.Err(), audit.ErrFull) {
			t.Errorf("Err %v", l.Err())
		}
		fsys.SetCapacity(fsys.Used() + 100) // somebody else fills the disk
		for range 10 {
			mustAppend(t, l, entry(want), audit.AppendOptions{Privileged: true})
			want++
		}
		if slices.Contains(fsys.List("."), "ballast") {
			t.Error("the ballast was not given up")
		}
		time.Sleep(5 * time.Second)
		if slices.Contains(fsys.List("."), "ballast") {
			t.Error("the ballast was made on a full disk")
		}
		if _, err := l.Append(t.Context(), entry(want), audit.AppendOptions{}); !errors.Is(err, audit.ErrFull) {
			t.Errorf("error %v", err)
		}
		fsys.SetCapacity(fsys.Used()) // not a byte left, and no ballast: privileged entries fail too, cleanly
		if _, err := l.Append(t.Context(), entry(want), audit.AppendOptions{Privileged: true}); !errors.Is(err, audit.ErrFailed) || !errors.Is(err, audit.ErrNoSpace) {
			t.Errorf("error %v", err)
		}
		fsys.SetCapacity(1 << 21)
		if err := l.Err(); err != nil && !errors.Is(err, audit.ErrFailed) {
			t.Errorf("Err with space: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := l.Err(); err != nil {
			t.Errorf("Err a while later: %v", err)
		}
		mustAppend(t, l, entry(want), audit.AppendOptions{})
		want++
		if !slices.Contains(fsys.List("."), "ballast") {
			t.Error("the ballast was not made again")
		}
		time.Sleep(2 * time.Second)
		report, err := auditlog.VerifySegments(fsys.Files(origin.Log), verifier, auditlog.VerifyOptions{})
		if err != nil || len(report.Damage) > 0 || report.Size != int64(want) {
			t.Errorf("%d entries, want %d; %v, %v", report.Size, want, report.Damage, err)
		}
	})
}

// TestWarnedOnce: what fails every second is said once, and again when it has succeeded in between.
func TestWarnedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := storetest.NewFaultFS()
		c := config(fsys)
		var said warnings
		c.Logger = slog.New(slog.NewTextHandler(&said, nil))
		l := mustOpen(t, c)
		defer mustClose(t, l)
		var fails atomic.Bool
		fsys.Inject(func(op storetest.Op) storetest.Fault {
			if fails.Load() && op.Kind == storetest.OpCreate && strings.HasPrefix(path.Base(op.Name), auditlog.CheckpointFile) {
				return storetest.Fault{Err: audit.ErrNoSpace}
			}
			return storetest.Fault{}
		})
		for round := range int64(2) {
			fails.Store(true)
			mustAppend(t, l, entry(int(round)), audit.AppendOptions{})
			time.Sleep(20 * time.Second)
			if n := said.n.Load(); n != round+1 {
				t.Fatalf("said %d times in round %d", n, round)
			}
			fails.Store(false)
			time.Sleep(2 * time.Second)
		}
	})
}

// warnings counts what is logged.
type warnings struct{ n atomic.Int64 }

func (w *warnings) Write(p []byte) (int, error) {
	w.n.Add(1)
	return len(p), nil
}

// TestCheckpointCadence: the file follows within a second, at most once a second, only over what is durable, and
// survives a power cut.
func TestCheckpointCadence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := storetest.NewFaultFS()
		l := mustOpen(t, config(fsys))
		filed := func() int64 {
			cp, err := auditlog.OpenCheckpoint(fsys.Files(origin.Log)[auditlog.CheckpointFile].Data, verifier)
			if err != nil {
				t.Fatal(err)
			}
			if cp.Size > l.Head().Size {
				t.Fatalf("a checkpoint over %d of %d entries", cp.Size, l.Head().Size)
			}
			return cp.Size
		}
		var renames atomic.Int64
		fsys.Inject(func(op storetest.Op) storetest.Fault {
			if op.Kind == storetest.OpRename {
				renames.Add(1)
			}
			return storetest.Fault{}
		})
		start := time.Now()
		for i := range 250 {
			mustAppend(t, l, entry(i), audit.AppendOptions{})
			time.Sleep(20 * time.Millisecond)
			if behind := int64(i+1) - filed(); behind > 51 {
				t.Fatalf("the file is %d entries behind after %v", behind, time.Since(start))
			}
		}
		if n := renames.Load(); n > 5 || n < 4 {
			t.Errorf("replaced %d times in %v", n, time.Since(start))
		}
		time.Sleep(1100 * time.Millisecond)
		if filed() != 250 {
			t.Errorf("the file is over %d entries a second after the last", filed())
		}
		renames.Store(0)
		time.Sleep(time.Minute)
		if n := renames.Load(); n != 0 {
			t.Errorf("replaced %d times without an entry", n)
		}
		next := fsys.PowerCut(nothing())
		mustClose(t, l)
		fsys = next
		if filed() != 250 {
			t.Errorf("after a power cut the file is over %d entries", filed())
		}
		l = mustOpen(t, config(fsys))
		mustClose(t, l)
	})
}

// TestCheckpointFails: nobody who appends notices, and the next second's attempt mends it.
func TestCheckpointFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, kind := range []storetest.OpKind{storetest.OpCreate, storetest.OpWrite, storetest.OpSync, storetest.OpRename, storetest.OpSyncDir} {
			fsys := storetest.NewFaultFS()
			var f failing
			fsys.Inject(f.inject)
			l := mustOpen(t, config(fsys))
			mustAppend(t, l, entry(0), audit.AppendOptions{})
			f.set(1, storetest.Lost, kind)
			time.Sleep(1500 * time.Millisecond)
			mustAppend(t, l, entry(1), audit.AppendOptions{})
			if err := l.Err(); err != nil {
				t.Errorf("%s: Err %v", kind, err)
			}
			time.Sleep(1500 * time.Millisecond)
			cp, err := auditlog.OpenCheckpoint(fsys.Files(origin.Log)[auditlog.CheckpointFile].Data, verifier)
			if err != nil || cp.Size != 2 {
				t.Errorf("%s: %+v, %v", kind, cp, err)
			}
			mustClose(t, l)
		}
	})
}
