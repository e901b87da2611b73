package audit_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
)

// batches is what an observer was told.
type batches struct {
	mu  sync.Mutex
	all []audit.Batch
}

func (b *batches) observe(one audit.Batch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, one)
}

func (b *batches) last(t *testing.T) audit.Batch {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.all) == 0 {
		t.Fatal("nobody was told of a batch")
	}
	return b.all[len(b.all)-1]
}

// TestWatch lets a disk be slow, then broken, and looks at what who watches is told.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slow = 40 * time.Millisecond
		broken := errors.New("the disk is gone")
		fsys, seen := storetest.NewFaultFS(), &batches{}
		var failing atomic.Bool
		fsys.Inject(func(op storetest.Op) storetest.Fault {
			switch {
			case failing.Load() && op.Kind.Changes():
				return storetest.Fault{Err: broken}
			case op.Kind == storetest.OpSync:
				time.Sleep(slow)
			}
			return storetest.Fault{}
		})
		c := config(fsys)
		c.Now, c.Observe = time.Now, seen.observe
		l := mustOpen(t, c)

		first := entry(0)
		mustAppend(t, l, first, audit.AppendOptions{})
		line, err := first.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(audit.Batch{Entries: 1, Bytes: len(line) + 1, Sync: slow}, seen.last(t)); diff != "" {
			t.Errorf("told of the first batch (-want +got):\n%s", diff)
		}
		time.Sleep(2 * time.Second) // the checkpoint file follows
		stats := l.Stats()
		if stats.Head != l.Head() || !stats.LastTime.Equal(first.Time) || stats.Waiting != 0 || stats.CheckpointLag != 0 || stats.IndexBehind != 0 || stats.IndexLag != 0 {
			t.Errorf("the log stands at %+v", stats)
		}
		if free, err := fsys.Free(); err != nil || stats.Free != free || stats.MinFree != c.MinFree {
			t.Errorf("%d bytes free of which %d are kept, want %d of which 1 (%v)", stats.Free, stats.MinFree, free, err)
		}

		// What waits behind a batch that is being written.
		var waiting sync.WaitGroup
		waiting.Go(func() { _, _ = l.Append(t.Context(), entry(1), audit.AppendOptions{}) })
		time.Sleep(time.Millisecond)
		for i := range 3 {
			waiting.Go(func() { _, _ = l.Append(t.Context(), entry(2+i), audit.AppendOptions{}) })
		}
		time.Sleep(time.Millisecond)
		if got := l.Stats().Waiting; got != 3 {
			t.Errorf("%d entries wait, want 3", got)
		}
		waiting.Wait()
		if got := seen.last(t).Entries; got != 3 {
			t.Errorf("a batch of %d, want the 3 that waited", got)
		}
		failing.Store(true)
		time.Sleep(5 * time.Second)
		if lag := l.Stats().CheckpointLag; lag < 4*time.Second || lag > 6*time.Second {
			t.Errorf("the checkpoint file lags by %s, want about five seconds", lag)
		}
		if _, err := l.Append(t.Context(), entry(5), audit.AppendOptions{}); !errors.Is(err, audit.ErrFailed) {
			t.Fatalf("appending to a broken disk: %v", err)
		}
		if diff := cmp.Diff(audit.Batch{Entries: 1, Err: broken}, seen.last(t), cmpopts.IgnoreFields(audit.Batch{}, "Bytes"), cmpopts.EquateErrors()); diff != "" {
			t.Errorf("told of the batch that failed (-want +got):\n%s", diff)
		}
		failing.Store(false)
		mustClose(t, l)
	})
}

// TestStatsOfADiskThatSaysNothing has no number for what is free.
func TestStatsOfADiskThatSaysNothing(t *testing.T) {
	fsys := storetest.NewFaultFS()
	l := mustOpen(t, config(fsys))
	defer mustClose(t, l)
	fsys.Inject(func(op storetest.Op) storetest.Fault {
		if op.Kind == storetest.OpFree {
			return storetest.Fault{Err: errors.ErrUnsupported}
		}
		return storetest.Fault{}
	})
	if got := l.Stats().Free; got != -1 {
		t.Errorf("%d bytes free, want -1 for unknown", got)
	}
}

// TestIndexLag: an index that cannot follow the log is seen to lag, and to have caught up.
func TestIndexLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys, blind := storetest.NewFaultFS(), atomic.Bool{}
		fsys.Inject(func(op storetest.Op) storetest.Fault {
			if blind.Load() && op.Kind == storetest.OpRead {
				return storetest.Fault{Err: errors.New("cannot be read")}
			}
			return storetest.Fault{}
		})
		c := config(fsys)
		c.Now = time.Now
		l := mustOpen(t, c)
		defer mustClose(t, l)
		mustAppend(t, l, entry(0), audit.AppendOptions{})
		time.Sleep(time.Second)
		if s := l.Stats(); s.IndexBehind != 0 || s.IndexLag != 0 {
			t.Errorf("after a second the index is %d entries and %s behind", s.IndexBehind, s.IndexLag)
		}
		blind.Store(true)
		for i := range 3 {
			mustAppend(t, l, entry(1+i), audit.AppendOptions{})
		}
		time.Sleep(5 * time.Second)
		if s := l.Stats(); s.IndexBehind != 3 || s.IndexLag < 4*time.Second || s.IndexLag > 6*time.Second {
			t.Errorf("an index that cannot read is %d entries and %s behind, want 3 and about five seconds", s.IndexBehind, s.IndexLag)
		}
		blind.Store(false)
		time.Sleep(time.Second)
		if s := l.Stats(); s.IndexBehind != 0 || s.IndexLag != 0 {
			t.Errorf("when it can read again the index is %d entries and %s behind", s.IndexBehind, s.IndexLag)
		}
	})
}
