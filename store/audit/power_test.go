package audit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// history is what happens to a log: rounds of a process, each with faults and an end.
type history struct {
	Seed   uint64
	Rounds []round
}

type round struct {
	Callers, Each int
	SegmentSize   int64
	NameHead      bool // the store's root names the last acknowledged head
	Pause         int  // up to so many ms between the appends of a caller
	Faults        []plannedFault
	End           string // close, power, kill
}

type plannedFault struct {
	Op     int // after so many operations of the round
	Times  int // for so many operations from there on
	Kinds  []storetest.OpKind
	Effect storetest.Effect
	Kill   bool
}

func histories() *rapid.Generator[history] {
	kinds := []storetest.OpKind{
		storetest.OpCreate, storetest.OpOpen, storetest.OpRename, storetest.OpRemove, storetest.OpReadDir, storetest.OpSyncDir,
		storetest.OpRead, storetest.OpWrite, storetest.OpSync, storetest.OpSync, storetest.OpWrite, storetest.OpStat,
	}
	fault := rapid.Custom(func(t *rapid.T) plannedFault {
		return plannedFault{
			Op: rapid.IntRange(0, 120).Draw(t, "op"), Times: rapid.SampledFrom([]int{1, 1, 1, 2, 20}).Draw(t, "times"),
			Kinds:  rapid.SliceOfN(rapid.SampledFrom(kinds), 1, 3).Draw(t, "kinds"),
			Effect: rapid.SampledFrom([]storetest.Effect{storetest.Lost, storetest.Persisted, storetest.Torn}).Draw(t, "effect"),
			Kill:   rapid.IntRange(0, 3).Draw(t, "kill") == 0,
		}
	})
	one := rapid.Custom(func(t *rapid.T) round {
		return round{
			Callers: rapid.IntRange(1, 4).Draw(t, "callers"), Each: rapid.IntRange(0, 12).Draw(t, "each"),
			SegmentSize: rapid.SampledFrom([]int64{1, 3000, 9000, 1 << 20}).Draw(t, "segment size"),
			NameHead:    rapid.Bool().Draw(t, "name head"), Pause: rapid.SampledFrom([]int{0, 10, 2000}).Draw(t, "pause"),
			Faults: rapid.SliceOfN(fault, 0, 3).Draw(t, "faults"),
			End:    rapid.SampledFrom([]string{"close", "power", "power", "kill"}).Draw(t, "end"),
		}
	})
	return rapid.Custom(func(t *rapid.T) history {
		return history{Seed: rapid.Uint64().Draw(t, "seed"), Rounds: rapid.SliceOfN(one, 1, 6).Draw(t, "rounds")}
	})
}

// injector makes the faults of a round.
func (r round) injector() func(storetest.Op) storetest.Fault {
	var mu sync.Mutex
	left := make([]int, len(r.Faults))
	for i, f := range r.Faults {
		left[i] = f.Times
	}
	first := -1
	return func(op storetest.Op) storetest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if first < 0 {
			first = op.N
		}
		for i, f := range r.Faults {
			if left[i] == 0 || op.N-first < f.Op {
				continue
			}
			for _, k := range f.Kinds {
				if k == op.Kind {
					left[i]--
					return storetest.Fault{Err: errors.New("injected"), Effect: f.Effect, Kill: f.Kill}
				}
			}
		}
		return storetest.Fault{}
	}
}

// witness is what the callers of a log know of it.
type witness struct {
	mu       sync.Mutex
	lines    map[int64]string // acknowledged entries
	heads    []audit.Head
	receipts [][]byte
	failed   int
}

func (w *witness) saw(e *auditlog.Entry, p audit.Position, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.failed++
		return nil
	}
	line, err := e.AppendJSON(nil)
	if err != nil {
		return err
	}
	if was, ok := w.lines[p.Index]; ok {
		return fmt.Errorf("index %d was acknowledged twice, for %s and %s", p.Index, was, line)
	}
	w.lines[p.Index] = string(line)
	w.heads = append(w.heads, p.Head)
	if p.Receipt != nil {
		w.receipts = append(w.receipts, p.Receipt)
	}
	return nil
}

func (w *witness) last() audit.Head {
	var last audit.Head
	for _, h := range w.heads {
		if h.Size > last.Size {
			last = h
		}
	}
	return last
}

// play plays a history and says what law it broke, if any.
func play(ctx context.Context, h history, noSync bool) error {
	fsys := storetest.NewFaultFS()
	fsys.SetNoSync(noSync)
	rnd := rand.New(rand.NewPCG(h.Seed, 1))
	w := &witness{lines: map[int64]string{}}
	entries := 0
	for i, r := range h.Rounds {
		var err error
		if fsys, entries, err = playRound(ctx, fsys, r, w, rnd, entries); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
		if err := inspect(ctx, fsys, w); err != nil {
			return fmt.Errorf("after round %d: %w", i, err)
		}
	}
	return nil
}

func playRound(ctx context.Context, fsys *storetest.FaultFS, r round, w *witness, rnd *rand.Rand, entries int) (*storetest.FaultFS, int, error) {
	fsys.Inject(r.injector())
	c := config(fsys)
	c.SegmentSize = r.SegmentSize
	if r.NameHead {
		c.Head = w.last()
	}
	l, err := audit.Open(ctx, c)
	var gap *audit.GapError
	if errors.As(err, &gap) {
		return nil, 0, fmt.Errorf("false gap: %w", err)
	}
	if err == nil {
		errs := make(chan error, r.Callers)
		var wg sync.WaitGroup
		for range r.Callers {
			first := entries
			entries += r.Each
			seed := rnd.Uint64()
			wg.Go(func() {
				own := rand.New(rand.NewPCG(seed, 2))
				for i := range r.Each {
					if r.Pause > 0 {
						time.Sleep(time.Duration(own.IntN(r.Pause)) * time.Millisecond)
					}
					e := entry(first + i)
					e.Reason = strings.Repeat("x", own.IntN(4000)) // now and then more than a page
					p, err := l.Append(ctx, e, audit.AppendOptions{Receipt: own.IntN(2) == 0, Privileged: own.IntN(4) == 0})
					if err := w.saw(e, p, err); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		if err := <-errs; err != nil {
			return nil, 0, err
		}
		if r.End == "close" {
			_ = l.Close() // it may meet faults
		}
	}
	next := fsys
	switch r.End {
	case "power":
		next = fsys.PowerCut(rnd)
	case "kill", "close":
		next = fsys.Restart()
	}
	if l != nil {
		_ = l.Close() // of a process that is gone: ends the goroutines
	}
	return next, entries, nil
}

// inspect opens the log without faults, from a copy as it were, and checks every law.
func inspect(ctx context.Context, fsys *storetest.FaultFS, w *witness) error {
	fsys.Inject(nil)
	c := config(fsys)
	c.Head = w.last()
	l, err := audit.Open(ctx, c)
	if err != nil {
		return fmt.Errorf("opening: %w", err)
	}
	defer l.Close()
	var tree auditlog.Tree
	hashes := map[int64]auditlog.Hash{0: tree.Hash()}
	for s, err := range l.Entries(ctx, 0, 1<<62) {
		if err != nil {
			return fmt.Errorf("reading: %w", err)
		}
		if s.Index != tree.Size() {
			return fmt.Errorf("entry %d has index %d", tree.Size(), s.Index)
		}
		if want, ok := w.lines[s.Index]; ok && want != string(s.Line) {
			return fmt.Errorf("entry %d is not the one acknowledged", s.Index)
		}
		tree.Append(auditlog.LeafHash(s.Line), nil)
		hashes[tree.Size()] = tree.Hash()
	}
	for index := range w.lines {
		if index >= tree.Size() {
			return fmt.Errorf("acknowledged entry %d is lost; the log has %d", index, tree.Size())
		}
	}
	if h := l.Head(); h.Size != tree.Size() || h.Hash != tree.Hash() {
		return fmt.Errorf("head %+v of a tree of %d", h, tree.Size())
	}
	for _, h := range w.heads {
		if hashes[h.Size] != h.Hash {
			return fmt.Errorf("the head of size %d is not the one acknowledged", h.Size)
		}
	}
	o := auditlog.VerifyOptions{}
	for _, text := range w.receipts {
		r, err := auditlog.VerifyReceipt(text, verifier)
		if err != nil {
			return err
		}
		if hashes[r.Checkpoint.Size] != r.Checkpoint.Hash {
			return fmt.Errorf("the receipt of entry %d is over another log", r.Index)
		}
		con, err := l.ProveConsistency(ctx, r.Checkpoint)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(con.Proof, con.Head.Size, con.Head.Hash, r.Checkpoint.Size, r.Checkpoint.Hash); err != nil && con.Head.Size > r.Checkpoint.Size {
			return err
		}
		o.Receipts = append(o.Receipts, r)
	}
	report, err := auditlog.VerifySegments(fsys.Files(origin.Log), verifier, o)
	if err != nil {
		return err
	}
	if len(report.Damage) > 0 {
		return fmt.Errorf("damage: %v", report.Damage)
	}
	if report.Size != tree.Size() || report.Hash != tree.Hash() {
		return fmt.Errorf("offline there are %d entries, not %d", report.Size, tree.Size())
	}
	return nil
}

// playInBubble plays with a clock of its own, so that the once-a-second work costs no time.
func playInBubble(t *testing.T, h history, noSync bool) error {
	var err error
	synctest.Test(t, func(t *testing.T) { err = play(t.Context(), h, noSync) })
	return err
}

// TestPowerCut is law 2: whatever fails, and whenever the power goes, what was acknowledged is in the log.
func TestPowerCut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		if err := playInBubble(t, histories().Draw(rt, "history"), false); err != nil {
			rt.Fatal(err)
		}
	})
}

// TestPowerCutBites shows that TestPowerCut would see a log that does not sync.
func TestPowerCutBites(t *testing.T) {
	caught := 0
	for i := range 100 {
		if playInBubble(t, histories().Example(i), true) != nil {
			caught++
		}
	}
	if caught < 10 {
		t.Errorf("with the sync taken out, %d of 100 histories lost something", caught)
	}
	t.Logf("with the sync taken out, %d of 100 histories lost something", caught)
}
