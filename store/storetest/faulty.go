package storetest

import (
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/p8signet/signet/store"
)

// Fate is what becomes of one call of a Faulty Backend.
type Fate int

// The fates. A call that only reads knows Fine, Refused and the crashes; the rest
// is Refused for it.
const (
	// Fine lets the call through.
	Fine Fate = iota
	// Refused answers an error that means that nothing has happened.
	Refused
	// UnknownLost answers store.ErrUnknown, and it has not happened.
	UnknownLost
	// UnknownPersisted answers store.ErrUnknown, and it has happened.
	UnknownPersisted
	// UnknownLate answers store.ErrUnknown, and it happens with the next call that
	// writes, before that: if it still can.
	UnknownLate
	// CrashBefore answers an error, and so does every later call: the process
	// is gone before the call.
	CrashBefore
	// CrashAfter is the same after the call.
	CrashAfter
)

func (f Fate) String() string {
	switch f {
	case Fine:
		return "fine"
	case Refused:
		return "refused"
	case UnknownLost:
		return "unknown, lost"
	case UnknownPersisted:
		return "unknown, persisted"
	case UnknownLate:
		return "unknown, late"
	case CrashBefore:
		return "crash before"
	case CrashAfter:
		return "crash after"
	}
	return "unknown"
}

// What a Faulty Backend answers.
var (
	ErrRefused = errors.New("refused, for the test")
	ErrCrashed = errors.New("the process has crashed, for the test")
)

// Call is a call that a Faulty Backend is about to make.
type Call struct {
	Op     string // root, get, swap, list, delete
	N      int    // the how-manieth call it is, from 1
	Write  int    // the how-manieth of swap and delete, from 1; 0 for a read
	Change store.Change
}

// Faulty is a Backend that fails as it is told.
type Faulty struct {
	store.Backend

	mu      sync.Mutex
	plan    func(Call) Fate
	n       int
	writes  int
	crashed bool
	late    []store.Change
}

// NewFaulty returns b with the faults of plan, which may be nil and may wait or
// do anything else that is to happen just before a call. Calls of plan do not
// overlap.
func NewFaulty(b store.Backend, plan func(Call) Fate) *Faulty {
	return &Faulty{Backend: b, plan: plan}
}

// NthWrite is the plan that fails the nth write, from 1.
func NthWrite(n int, f Fate) func(Call) Fate {
	return func(c Call) Fate {
		if c.Write == n {
			return f
		}
		return Fine
	}
}

// NthCall is the plan that fails the nth call of any kind, from 1.
func NthCall(n int, f Fate) func(Call) Fate {
	return func(c Call) Fate {
		if c.N == n {
			return f
		}
		return Fine
	}
}

// Plan replaces the plan, and counting begins anew.
func (f *Faulty) Plan(plan func(Call) Fate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan, f.n, f.writes = plan, 0, 0
}

// Calls is how many calls there were since the plan was made, and how many of
// them write.
func (f *Faulty) Calls() (all, writes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n, f.writes
}

// next counts a call and says what becomes of it.
func (f *Faulty) next(c Call, write bool) (Fate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		return Fine, ErrCrashed
	}
	f.n++
	c.N = f.n
	if write {
		f.writes++
		c.Write = f.writes
	}
	fault := Fine
	if f.plan != nil {
		fault = f.plan(c)
	}
	if fault == CrashBefore || fault == CrashAfter {
		f.crashed = true
	}
	return fault, nil
}

// do makes a call that writes.
func (f *Faulty) do(ctx context.Context, c Call, call func() error) error {
	fault, err := f.next(c, true)
	if err != nil {
		return err
	}
	f.mu.Lock()
	late := f.late
	f.late = nil
	f.mu.Unlock()
	for _, l := range late {
		// It may conflict by now; nobody waits for the answer.
		_ = f.Backend.Swap(context.WithoutCancel(ctx), l)
	}
	switch fault {
	case Fine:
		return call()
	case Refused:
		return ErrRefused
	case UnknownPersisted, CrashAfter:
		if err := call(); err != nil {
			return err
		}
	case UnknownLate:
		f.mu.Lock()
		f.late = append(f.late, c.Change)
		f.mu.Unlock()
	case UnknownLost, CrashBefore:
	}
	if fault == CrashBefore || fault == CrashAfter {
		return ErrCrashed
	}
	return errors.Join(store.ErrUnknown, ErrRefused)
}

func (f *Faulty) read(op string) error {
	fault, err := f.next(Call{Op: op}, false)
	switch {
	case err != nil:
		return err
	case fault == CrashBefore || fault == CrashAfter:
		return ErrCrashed
	case fault != Fine:
		return ErrRefused
	}
	return nil
}

// Root implements store.Backend.
func (f *Faulty) Root(ctx context.Context) ([]byte, error) {
	if err := f.read("root"); err != nil {
		return nil, err
	}
	return f.Backend.Root(ctx)
}

// Get implements store.Backend.
func (f *Faulty) Get(ctx context.Context, ref store.Ref) ([]byte, error) {
	if err := f.read("get"); err != nil {
		return nil, err
	}
	return f.Backend.Get(ctx, ref)
}

// Swap implements store.Backend.
func (f *Faulty) Swap(ctx context.Context, c store.Change) error {
	return f.do(ctx, Call{Op: "swap", Change: c}, func() error { return f.Backend.Swap(ctx, c) })
}

// List implements store.Backend.
func (f *Faulty) List(ctx context.Context) iter.Seq2[store.Ref, error] {
	if err := f.read("list"); err != nil {
		return func(yield func(store.Ref, error) bool) { yield(store.Ref{}, err) }
	}
	return f.Backend.List(ctx)
}

// Delete implements store.Backend.
func (f *Faulty) Delete(ctx context.Context, refs ...store.Ref) error {
	return f.do(ctx, Call{Op: "delete"}, func() error { return f.Backend.Delete(ctx, refs...) })
}
