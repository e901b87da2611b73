package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p8signet/signet/store"
)

var (
	// ErrOver says that this incarnation has ended: somebody has fenced it, or its lease is gone. It never mints again.
	ErrOver = errors.New("the lease of this replica has ended")
	// ErrNamesake says that another process of the same node's name has ended it. Two with one name cannot be.
	ErrNamesake = errors.New("another process runs under this node's name, and has ended this one")
)

// Lease is that of one incarnation of this process.
type Lease struct {
	store   *store.Store
	member  store.Member
	now     func() time.Time
	created time.Time // before there was a register

	mu       sync.Mutex           // one renewal at a time
	version  uint64               // of the register, as far as is known
	sequence uint64               // of the last renewal that was tried
	began    map[uint64]time.Time // when those began of which it is not known that they landed
	landed   uint64               // sequence of the last that is known to have landed

	until atomic.Pointer[time.Time] // when the last renewal known to have landed began; nil: none, or over
}

// Create draws an incarnation and makes its lease, which says root. It is not a member before a root lists Member. An error
// leaves at most a register that no root names, for Peers.Collect.
func Create(ctx context.Context, s *store.Store, node string, bound time.Duration, root store.RootID, now func() time.Time) (*Lease, error) {
	if err := store.CheckBound(bound); err != nil {
		return nil, fmt.Errorf("making a lease: %w", err)
	}
	l := &Lease{
		store: s, now: now, created: now(), began: map[uint64]time.Time{},
		member: store.Member{Node: node, Incarnation: store.NewID(), Bound: bound},
	}
	// A create that was not answered is not looked after: what it left has a name that nobody else will have.
	// Twice, so that no member is at the first version, which is also that of a fence where somebody has removed the lease.
	for range 2 {
		if err := l.write(ctx, root); err != nil {
			return nil, fmt.Errorf("making a lease: %w", err)
		}
	}
	return l, nil
}

// Member is what the root must list.
func (l *Lease) Member() store.Member { return l.member }

// setBack is how far the wall clock may have been set back since a renewal: if by more, how long a machine slept cannot be told.
const setBack = time.Second

// Valid says whether the lease lasts now, by the monotonic and by the wall clock both: the one stops while a machine sleeps, the
// other may be set.
func (l *Lease) Valid() bool {
	if brokenLease {
		return true
	}
	began := l.until.Load()
	return began != nil && l.within(*began, l.member.Bound)
}

// Fresh says whether a root may still come to list the member. Who joins asks this once it knows the root on which it will commit: a
// lease that no root lists is garbage one day, see Peers.Collect.
func (l *Lease) Fresh() bool { return l.within(l.created, store.MaxBound) }

// within says whether less than d has passed since a reading of the clock, by the monotonic and by the wall clock both.
func (l *Lease) within(since time.Time, d time.Duration) bool {
	now := l.now()
	wall := now.Round(0).Sub(since.Round(0))
	return now.Sub(since) < d && wall < d && wall > -setBack
}

// Renew writes that the member mints on root, and what it published before it called is of root or later. It is called by
// one at a time; an error but ErrOver and ErrNamesake may be tried again, and changes nothing.
func (l *Lease) Renew(ctx context.Context, root store.RootID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.renew(ctx, root); err != nil {
		return fmt.Errorf("renewing the lease: %w", err)
	}
	return nil
}

func (l *Lease) renew(ctx context.Context, root store.RootID) error {
	err := l.write(ctx, root)
	if err == nil || !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrUnknown) {
		return err
	}
	cause := err
	r, version, err := l.read(ctx)
	if err != nil {
		return fmt.Errorf("%w; and reading whose write is there: %w", cause, err)
	}
	switch {
	case r == nil: // it was there, so this is not ours; unless the read is stale, and then it is as good as over
		return l.end(fmt.Errorf("%w: it was fenced and removed, or changed from outside", ErrOver))
	case r.Fence != nil && r.Fence.Node == l.member.Node:
		return l.end(ErrNamesake)
	case r.Fence != nil:
		return l.end(fmt.Errorf("%w: node %s did not hear from it and went on without it", ErrOver, r.Fence.Node))
	}
	// A write of our own. Nobody else writes one that is no fence.
	if errors.Is(cause, store.ErrConflict) && r.Sequence < l.landed {
		// Our version is not there any more, and never will be again.
		return l.end(fmt.Errorf("%w: what is there is older than its last renewal, so the store has gone back in time", ErrOver))
	}
	l.version = max(l.version, version)
	l.land(r.Sequence)
	if l.landed == l.sequence {
		return nil
	}
	return cause
}

// write tries one renewal.
func (l *Lease) write(ctx context.Context, root store.RootID) error {
	began := l.now()
	l.sequence++
	r := record{
		Schema: 1, Node: l.member.Node, Incarnation: l.member.Incarnation, Sequence: l.sequence,
		Lineage: root.Lineage, Revision: root.Revision, Renewed: began.UTC().Round(0),
	}
	body, err := r.marshal()
	if err != nil {
		return err
	}
	l.began[l.sequence] = began
	if err := l.store.SetRegister(ctx, name(l.member.Incarnation), l.version, body); err != nil {
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrUnknown) {
			delete(l.began, l.sequence) // it never lands
		}
		return err
	}
	l.version++
	l.land(l.sequence)
	return nil
}

// read is what is there; nil where it is nothing that we could have written.
func (l *Lease) read(ctx context.Context) (*record, uint64, error) {
	body, version, err := l.store.Register(ctx, name(l.member.Incarnation))
	if errors.Is(err, store.ErrDamaged) || err == nil && version == 0 {
		return nil, version, nil
	}
	if err != nil {
		return nil, 0, err
	}
	r, err := parse(body, l.member)
	if err != nil {
		return nil, version, nil //nolint:nilerr // it is not ours, whatever it is
	}
	return r, version, nil
}

// land takes down that a renewal has landed. An older one than is known comes of a stale read.
func (l *Lease) land(sequence uint64) {
	began, known := l.began[sequence]
	if !known || sequence <= l.landed {
		return
	}
	l.landed = sequence
	l.until.Store(&began)
	for s := range l.began {
		if s <= sequence {
			delete(l.began, s)
		}
	}
}

func (l *Lease) end(err error) error {
	l.until.Store(nil)
	return err
}

// Stop ends the lease here: nothing is minted on it from now on.
func (l *Lease) Stop() { l.until.Store(nil) }

// Remove removes the register of a lease whose member no root lists any more.
func Remove(ctx context.Context, s *store.Store, incarnation string) error {
	if err := s.RemoveRegister(ctx, name(incarnation)); err != nil {
		return fmt.Errorf("removing a lease: %w", err)
	}
	return nil
}
