package storetest

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"sync"

	"github.com/p8signet/signet/store"
)

// Fate is what becomes of one call of a Faulty Backend.
type Fate int

// The fates. A call that only reads knows Fine, Refused, Stale and the crashes; the
// rest is Refused for it, as Stale is for one that writes.
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
	// Twice delivers a write twice and answers what the second came to, as an
	// unlucky network may. A Backend sees to it that a Swap, and a Delete, do not
	// mind: for them it is Fine.
	Twice
	// Echo lets a write through, and delivers it once more with the next call that
	// writes, before that.
	Echo
	// Stale answers a read of the root, or of a register, as the last one was
	// answered that was not stale. Before any there is no register, and the root
	// is read.
	Stale
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
	case Twice:
		return "twice"
	case Echo:
		return "once more later"
	case Stale:
		return "stale"
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
	Op       string // root, get, swap, list, delete; of registers: register, set, remove, registers
	N        int    // the how-manieth call it is, from 1
	Write    int    // the how-manieth of those that write, from 1; 0 for a read
	Change   store.Change
	Register string // the register's name
	Version  uint64 // that set is on top of
	Value    []byte // that set writes
}

// Faulty is a Backend that fails as it is told.
type Faulty struct {
	store.Backend

	mu      sync.Mutex
	plan    func(Call) Fate
	n       int
	writes  int
	crashed bool
	late    []func(context.Context) error
	root    []byte              // as it was last read; nil before
	seen    map[string]register // the same of registers
}

// NewFaulty returns b with the faults of plan, which may be nil and may wait or
// do anything else that is to happen just before a call. Calls of plan do not
// overlap.
func NewFaulty(b store.Backend, plan func(Call) Fate) *Faulty {
	return &Faulty{Backend: b, plan: plan, seen: map[string]register{}}
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

// do makes a call that writes. call is made with the context of whoever brings it about.
func (f *Faulty) do(ctx context.Context, c Call, call func(context.Context) error) error {
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
		_ = l(context.WithoutCancel(ctx))
	}
	switch fault {
	case Fine:
		return call(ctx)
	case Refused, Stale:
		return ErrRefused
	case Twice:
		if err := call(ctx); err != nil || c.Op == "swap" {
			return err
		}
		return call(ctx)
	case Echo:
		err := call(ctx)
		f.later(call)
		return err
	case UnknownPersisted, CrashAfter:
		if err := call(ctx); err != nil {
			return err
		}
	case UnknownLate:
		f.later(call)
	case UnknownLost, CrashBefore:
	}
	if fault == CrashBefore || fault == CrashAfter {
		return ErrCrashed
	}
	return errors.Join(store.ErrUnknown, ErrRefused)
}

// later makes a call with the next one that writes.
func (f *Faulty) later(call func(context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = append(f.late, call)
}

// read says whether a call that reads is made, and whether its answer is stale.
func (f *Faulty) read(c Call) (stale bool, err error) {
	fault, err := f.next(c, false)
	switch {
	case err != nil:
		return false, err
	case fault == CrashBefore || fault == CrashAfter:
		return false, ErrCrashed
	case fault == Stale && (c.Op == "root" || c.Op == "register"):
		return true, nil
	case fault != Fine:
		return false, ErrRefused
	}
	return false, nil
}

// Root implements store.Backend.
func (f *Faulty) Root(ctx context.Context) ([]byte, error) {
	stale, err := f.read(Call{Op: "root"})
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	was := bytes.Clone(f.root)
	f.mu.Unlock()
	if stale && was != nil {
		return was, nil
	}
	root, err := f.Backend.Root(ctx)
	if err == nil {
		f.mu.Lock()
		f.root = bytes.Clone(root)
		f.mu.Unlock()
	}
	return root, err
}

// Get implements store.Backend.
func (f *Faulty) Get(ctx context.Context, ref store.Ref) ([]byte, error) {
	if _, err := f.read(Call{Op: "get"}); err != nil {
		return nil, err
	}
	return f.Backend.Get(ctx, ref)
}

// Swap implements store.Backend.
func (f *Faulty) Swap(ctx context.Context, c store.Change) error {
	return f.do(ctx, Call{Op: "swap", Change: c}, func(ctx context.Context) error { return f.Backend.Swap(ctx, c) })
}

// List implements store.Backend.
func (f *Faulty) List(ctx context.Context) iter.Seq2[store.Ref, error] {
	if _, err := f.read(Call{Op: "list"}); err != nil {
		return func(yield func(store.Ref, error) bool) { yield(store.Ref{}, err) }
	}
	return f.Backend.List(ctx)
}

// Delete implements store.Backend.
func (f *Faulty) Delete(ctx context.Context, refs ...store.Ref) error {
	return f.do(ctx, Call{Op: "delete"}, func(ctx context.Context) error { return f.Backend.Delete(ctx, refs...) })
}

// SharedFaulty is a Faulty Backend with registers, which fail like the rest.
type SharedFaulty struct {
	*Faulty
	below store.Registers
}

// NewSharedFaulty is NewFaulty for a Backend that several nodes may share.
func NewSharedFaulty(b SharedBackend, plan func(Call) Fate) *SharedFaulty {
	return &SharedFaulty{NewFaulty(b, plan), b}
}

// Register implements store.Registers.
func (f *SharedFaulty) Register(ctx context.Context, name string) ([]byte, uint64, error) {
	stale, err := f.read(Call{Op: "register", Register: name})
	if err != nil {
		return nil, 0, err
	}
	f.mu.Lock()
	was := f.seen[name]
	f.mu.Unlock()
	if stale {
		return bytes.Clone(was.value), was.version, nil
	}
	value, version, err := f.below.Register(ctx, name)
	if err == nil {
		f.mu.Lock()
		f.seen[name] = register{bytes.Clone(value), version}
		f.mu.Unlock()
	}
	return value, version, err
}

// SetRegister implements store.Registers.
func (f *SharedFaulty) SetRegister(ctx context.Context, name string, version uint64, value []byte) error {
	value = bytes.Clone(value) // it may be written late
	c := Call{Op: "set", Register: name, Version: version, Value: value}
	return f.do(ctx, c, func(ctx context.Context) error {
		return f.below.SetRegister(ctx, name, version, value)
	})
}

// RemoveRegister implements store.Registers.
func (f *SharedFaulty) RemoveRegister(ctx context.Context, name string) error {
	return f.do(ctx, Call{Op: "remove", Register: name}, func(ctx context.Context) error { return f.below.RemoveRegister(ctx, name) })
}

// ListRegisters implements store.Registers.
func (f *SharedFaulty) ListRegisters(ctx context.Context) ([]string, error) {
	if _, err := f.read(Call{Op: "registers"}); err != nil {
		return nil, err
	}
	return f.below.ListRegisters(ctx)
}
