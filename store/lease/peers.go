package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/p8signet/signet/store"
)

// Peers watches the members of the root and ends those that do not answer. One serves the whole process, for it remembers since
// when it knows of a fence, so that a change that is repeated goes on waiting where the first one stopped.
type Peers struct {
	store  *store.Store
	node   string
	self   func() string // this process's incarnation; "" when it has none
	now    func() time.Time
	logger *slog.Logger

	mu     sync.Mutex
	fenced map[string]time.Time // when it was known that an incarnation is fenced
	alien  map[string]uint64    // the version at which a member's lease was last said not to be ours
	stray  map[string]time.Time // when a lease was first seen to be there that no root listed; Collect's
	first  []store.Member       // for brokenMembers
}

// patience is how long a waiter waits for a member before it fences it.
const patience = 2 * time.Second

// slack is what is waited out beyond a bound: for clocks that do not quite run alike.
const slack = time.Second

// NewPeers watches on behalf of a node.
func NewPeers(s *store.Store, node string, self func() string, now func() time.Time, logger *slog.Logger) *Peers {
	return &Peers{store: s, node: node, self: self, now: now, logger: logger, fenced: map[string]time.Time{}, alien: map[string]uint64{}}
}

// WaitingError says for whom a change still waits.
type WaitingError struct {
	Members []store.Member
	Cause   error
}

// Error names the nodes.
func (e *WaitingError) Error() string {
	return fmt.Sprintf("not known to be in force on %s: %v", Nodes(e.Members), e.Cause)
}

// Unwrap is why the waiting ended.
func (e *WaitingError) Unwrap() error { return e.Cause }

// Nodes are the names of the members' nodes, sorted, each once.
func Nodes(members []store.Member) string {
	var names []string
	for _, m := range members {
		names = append(names, m.Node)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// Await returns when every member of the root of snap but this process has that root or a later one, or has been fenced
// and waited out; those it returns. snap is of a root that this process has committed. When ctx ends first the error is a
// *WaitingError: what has been fenced stays so, and who calls again waits for the rest only.
func (p *Peers) Await(ctx context.Context, snap *store.Snapshot) ([]store.Member, error) {
	members := p.members(snap)
	results := make([]result, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { results[i].fenced, results[i].err = p.await(ctx, m, snap.RootID()) })
	}
	wg.Wait()
	var out []store.Member
	var open []store.Member
	var cause error
	for i, r := range results {
		switch {
		case r.err != nil:
			open = append(open, members[i])
			cause = r.err
		case r.fenced:
			out = append(out, members[i])
		}
	}
	if open != nil {
		return out, &WaitingError{open, cause}
	}
	return out, nil
}

type result struct {
	fenced bool
	err    error
}

// members are those to wait for.
func (p *Peers) members(snap *store.Snapshot) []store.Member {
	members := snap.Members()
	if brokenMembers {
		p.mu.Lock()
		if p.first == nil {
			p.first = members
		}
		members = p.first
		p.mu.Unlock()
	}
	self := p.self()
	return slices.DeleteFunc(members, func(m store.Member) bool { return m.Incarnation == self })
}

// await waits for one member and says whether it had to be waited out. The pauses between looks begin short, for a member that
// is well has a change within the time of its poll.
func (p *Peers) await(ctx context.Context, m store.Member, root store.RootID) (bool, error) {
	began := p.now()
	var last error
	for pause := 10 * time.Millisecond; ; pause = min(pause*3/2, 100*time.Millisecond) {
		if since, ok := p.since(m); ok {
			return true, p.waitOut(ctx, m, since)
		}
		r, version, err := p.look(ctx, m)
		switch {
		case err != nil:
			last = err
		case r != nil && r.has(root):
			return false, nil
		case r != nil && r.Fence != nil:
			p.note(m)
			continue
		case p.now().Sub(began) >= patience:
			if err := p.fence(ctx, m, r, version); err != nil {
				last = err
			}
		}
		if err := sleep(ctx, pause); err != nil {
			return false, errors.Join(err, last)
		}
	}
}

// look reads a member's lease: nil with its version where there is none, or none of ours.
func (p *Peers) look(ctx context.Context, m store.Member) (*record, uint64, error) {
	body, version, err := p.store.Register(ctx, name(m.Incarnation))
	switch {
	case errors.Is(err, store.ErrDamaged):
		p.notOurs(ctx, m, version, err)
		return nil, version, nil
	case err != nil:
		return nil, 0, err
	case version == 0:
		return nil, 0, nil
	}
	r, err := parse(body, m)
	if err != nil {
		p.notOurs(ctx, m, version, err)
		return nil, version, nil
	}
	return r, version, nil
}

// notOurs says once what lies in the place of a lease, however often it is looked at.
func (p *Peers) notOurs(ctx context.Context, m store.Member, version uint64, err error) {
	p.mu.Lock()
	said := p.alien[m.Incarnation] == version
	p.alien[m.Incarnation] = version
	p.mu.Unlock()
	if !said {
		p.logger.ErrorContext(ctx, "a lease is not one of ours, and its member is fenced by who waits for it", slog.String("node", m.Node), slog.Any("error", err))
	}
}

// fence overwrites a lease at the version that was read. What came of a write that is refused or not answered is seen by who
// looks next.
func (p *Peers) fence(ctx context.Context, m store.Member, was *record, version uint64) error {
	if brokenFence {
		p.note(m)
		return nil
	}
	r := record{Schema: 1, Node: m.Node, Incarnation: m.Incarnation, Fence: &fence{Node: p.node, Incarnation: p.self()}}
	if was != nil {
		r.Sequence, r.Lineage, r.Revision, r.Renewed = was.Sequence, was.Lineage, was.Revision, was.Renewed
	}
	body, err := r.marshal()
	if err != nil {
		return err
	}
	if err := p.store.SetRegister(ctx, name(m.Incarnation), version, body); err != nil {
		return err
	}
	p.logger.WarnContext(ctx, "a replica does not answer and is fenced", slog.String("fenced", m.Node), slog.String("incarnation", m.Incarnation), slog.Duration("bound", m.Bound))
	p.note(m)
	return nil
}

// note takes down that a member is known to be fenced, from now on.
func (p *Peers) note(m store.Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.fenced[m.Incarnation]; !ok {
		p.fenced[m.Incarnation] = p.now()
	}
}

func (p *Peers) since(m store.Member) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.fenced[m.Incarnation]
	return t, ok
}

// waitOut waits until a member that is known to be fenced since then has nothing to mint on.
func (p *Peers) waitOut(ctx context.Context, m store.Member, since time.Time) error {
	return sleep(ctx, m.Bound+slack-p.now().Sub(since))
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Ended are the members of a root that have been fenced and waited out: the next commit removes them.
func (p *Peers) Ended(snap *store.Snapshot) []store.Member {
	self := p.self()
	return slices.DeleteFunc(snap.Members(), func(m store.Member) bool {
		since, ok := p.since(m)
		return m.Incarnation == self || !ok || p.now().Sub(since) < m.Bound+slack
	})
}

// Forget drops what is remembered of members that a root does not list any more, and their leases.
func (p *Peers) Forget(ctx context.Context, snap *store.Snapshot) {
	var gone []string
	p.mu.Lock()
	maps.DeleteFunc(p.alien, func(incarnation string, _ uint64) bool { return !snap.Lists(incarnation) })
	for incarnation := range p.fenced {
		if !snap.Lists(incarnation) {
			gone = append(gone, incarnation)
		}
	}
	p.mu.Unlock()
	for _, incarnation := range gone {
		if err := Remove(ctx, p.store, incarnation); err != nil {
			p.logger.DebugContext(ctx, "the lease of a member that has gone is left as garbage", slog.Any("error", err))
			continue
		}
		p.mu.Lock()
		delete(p.fenced, incarnation)
		p.mu.Unlock()
	}
}

// Collect removes the leases that no root lists and none will: of joins that failed, and of members that have gone. It returns how
// many there were. Those that it sees for the first time it leaves to a later call. One at a time calls it; what it leaves when it
// fails, or when another commit comes between (ErrConflict), is there for the next time.
//
// That a lease is not in the root does not make it garbage: its owner may be about to join. And taken from a member, it would not be
// there for a fence to be on top of: the next one would be the first version again, on which a late copy of one of the member's first
// writes could land. So a lease is removed only when it was seen more than MaxBound ago, by the monotonic clock of this process, and is
// not in the root of an empty commit that was made after that. A join that began on a root before that commit cannot happen any more.
// One that begins on a later root asks, knowing that root, whether its lease is Fresh, and it is not: it was made before it was
// seen here. No clock is compared with another; they run alike, as everywhere in this package.
func (p *Peers) Collect(ctx context.Context) (int, error) {
	n, err := p.collect(ctx)
	if err != nil {
		return n, fmt.Errorf("collecting leases that are garbage: %w", err)
	}
	return n, nil
}

func (p *Peers) collect(ctx context.Context) (int, error) {
	names, err := p.store.ListRegisters(ctx)
	if err != nil {
		return 0, err
	}
	old := p.strays(names)
	if len(old) == 0 {
		return 0, nil
	}
	snap, err := p.store.Confirm(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, incarnation := range old {
		if snap.Lists(incarnation) {
			continue
		}
		if err := Remove(ctx, p.store, incarnation); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// strays takes down which of the registers are leases that the root does not list, and returns those that have been there for long.
func (p *Peers) strays(names []string) []string {
	now, snap := p.now(), p.store.Snapshot()
	p.mu.Lock()
	defer p.mu.Unlock()
	stray := map[string]time.Time{}
	var old []string
	for _, name := range names {
		incarnation, ok := strings.CutPrefix(name, namePrefix)
		if !ok || snap.Lists(incarnation) {
			continue
		}
		stray[incarnation] = now
		if seen, ok := p.stray[incarnation]; ok {
			stray[incarnation] = seen
			if now.Sub(seen) > store.MaxBound+slack {
				old = append(old, incarnation)
			}
		}
	}
	p.stray = stray
	return old
}

// End fences a member without waiting for it, and says so once it is known that it is.
func (p *Peers) End(ctx context.Context, m store.Member) error {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if _, ok := p.since(m); ok {
			return nil
		}
		r, version, err := p.look(ctx, m)
		if err == nil && r != nil && r.Fence != nil {
			p.note(m)
			continue
		}
		if err == nil {
			if err = p.fence(ctx, m, r, version); err == nil {
				continue
			}
		}
		if serr := sleep(ctx, pause); serr != nil {
			return fmt.Errorf("fencing a replica: %w", errors.Join(serr, err))
		}
	}
}

// Alive watches a member's lease for as long as a live one takes to renew it, and says whether it was.
func (p *Peers) Alive(ctx context.Context, m store.Member) (bool, error) {
	first, _, err := p.look(ctx, m)
	if err != nil || first == nil || first.Fence != nil {
		return false, err
	}
	end := p.now().Add(m.Bound/renewals + patience)
	for p.now().Before(end) {
		if err := sleep(ctx, min(m.Bound/20, 250*time.Millisecond)); err != nil {
			return false, err
		}
		r, _, err := p.look(ctx, m)
		if err == nil && r != nil && r.Sequence > first.Sequence {
			return true, nil
		}
	}
	return false, nil
}

// renewals is how many renewals there are in a bound.
const renewals = 4

// Every is how often a lease of a bound is renewed.
func Every(bound time.Duration) time.Duration { return bound / renewals }

// State is what is known of a member.
type State struct {
	store.Member
	// Revision is what its lease says that it mints on; 0 where it has none that is ours.
	Revision uint64
	// Renewed is that member's clock at its last renewal.
	Renewed time.Time
	// FencedBy is the node that has ended it; "" while it may mint.
	FencedBy string
	// Ends is when it will have been waited out, if this process knows of its fence; else zero.
	Ends time.Time
}

// States looks at the lease of every member of a root, this process's too.
func (p *Peers) States(ctx context.Context, snap *store.Snapshot) ([]State, error) {
	var all []State
	for _, m := range snap.Members() {
		s := State{Member: m}
		r, _, err := p.look(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("looking at the replicas: %w", err)
		}
		if r != nil {
			s.Revision, s.Renewed = r.Revision, r.Renewed
			if r.Fence != nil {
				s.FencedBy = r.Fence.Node
				p.note(m)
			}
		}
		if since, ok := p.since(m); ok {
			s.Ends = since.Add(m.Bound + slack)
		}
		all = append(all, s)
	}
	return all, nil
}

// WaitOut fences members and returns when none of them has anything to mint on.
func (p *Peers) WaitOut(ctx context.Context, members []store.Member) error {
	for _, m := range members {
		if err := p.End(ctx, m); err != nil {
			return err
		}
	}
	for _, m := range members {
		since, _ := p.since(m)
		if err := p.waitOut(ctx, m, since); err != nil {
			return err
		}
	}
	return nil
}
