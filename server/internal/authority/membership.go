package authority

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/lease"
)

// keepLease renews the lease, and joins anew when it has ended, until ctx ends or a namesake has taken over.
func (c *changer) keepLease(ctx context.Context) {
	r := c.replicas
	pause, poke := lease.Every(r.bound), r.poke
	told := c.told("the lease cannot be renewed; minting goes on until it ends", "the lease is renewed again")
	for {
		select {
		case <-time.After(pause):
		case <-poke:
		case <-ctx.Done():
			return
		}
		err := c.renew(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, lease.ErrNamesake):
			c.logger.ErrorContext(ctx, "stopping", slog.Any("error", err))
			if err := c.stopMinting(ctx); err != nil {
				c.logger.WarnContext(ctx, "the lease that has ended is left in the root for now", slog.Any("error", err))
			}
			r.lose(err)
			return
		case err != nil:
			r.trouble.Store(&err)
			told.Look(ctx, err, slog.Duration("bound", r.bound))
			pause = min(lease.Every(r.bound), time.Second)/2 + jitter(100*time.Millisecond)
			poke = nil // trying pokes, and must not go round without a pause
		default:
			r.trouble.Store(nil)
			told.Look(ctx, nil)
			pause, poke = lease.Every(r.bound), r.poke
		}
	}
}

// renew renews the lease for what is published, or joins where there is none.
func (c *changer) renew(ctx context.Context) error {
	r := c.replicas
	l := r.own.Load()
	if l == nil {
		return c.join(ctx)
	}
	if at := r.caughtUp.Load(); at == nil || c.now().Sub(*at) >= r.bound {
		if cause := r.unheard.Load(); cause != nil {
			return fmt.Errorf("the store is not heard from: %w", *cause)
		}
		return errors.New("the store is not heard from")
	}
	ctx, cancel := context.WithTimeout(ctx, max(lease.Every(r.bound), time.Second))
	defer cancel()
	snap := c.state.Load().snap
	err := l.Renew(ctx, snap.RootID())
	if err == nil && !snap.Lists(l.Member().Incarnation) {
		err = fmt.Errorf("%w: the root does not list it", lease.ErrOver) // which nobody does before it is fenced
	}
	if errors.Is(err, lease.ErrOver) {
		c.logger.WarnContext(ctx, "joining anew", slog.Any("error", err))
		if err := c.stopMinting(ctx); err != nil {
			return err
		}
		return c.join(ctx)
	}
	if errors.Is(err, lease.ErrNamesake) {
		l.Stop()
	}
	return err
}

// ErrNamesake is why this process has ended by itself: another one runs under its node's name.
var ErrNamesake = lease.ErrNamesake

// stopMinting ends this process's incarnation on its side.
func (c *changer) stopMinting(ctx context.Context) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	if l := c.replicas.own.Swap(nil); l != nil {
		l.Stop()
		c.replicas.past = append(c.replicas.past, l.Member().Incarnation)
	}
	return nil
}

// join makes this process a member, as a new incarnation, and takes its former ones out of the root.
func (c *changer) join(ctx context.Context) error {
	r := c.replicas
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	if err := c.catchUp(ctx); err != nil {
		return err
	}
	if r.joining == nil || !r.joining.Valid() || !r.joining.Fresh() {
		l, err := lease.Create(ctx, c.store, c.node, r.bound, c.state.Load().snap.RootID(), c.now)
		if err != nil {
			return err
		}
		r.joining = l
	}
	leaving, err := c.joinRoot(ctx, r.joining)
	if err != nil {
		return err
	}
	l := r.joining
	r.joining = nil
	c.logger.InfoContext(ctx, "joined the replicas of the vault", slog.String("incarnation", l.Member().Incarnation), slog.Duration("bound", r.bound))
	err = l.Renew(ctx, c.state.Load().snap.RootID())
	c.removeLeases(ctx, slices.DeleteFunc(leaving, func(incarnation string) bool { return incarnation == l.Member().Incarnation }))
	return err
}

// joinRoot commits a root that lists a lease's member, and none of this process's former ones, which it returns. Where it is not
// known whether that has happened, the member counts as one of those, until the next time.
func (c *changer) joinRoot(ctx context.Context, l *lease.Lease) ([]string, error) {
	r := c.replicas
	if err := c.lock(ctx); err != nil {
		return nil, err
	}
	defer c.unlock()
	leaving := slices.Clone(r.past)
	if !slices.Contains(r.past, l.Member().Incarnation) {
		r.past = append(r.past, l.Member().Incarnation) // until it is known that it is the one
	}
	err := c.commitMembers(ctx, func(tx *store.Tx) error {
		if !l.Fresh() {
			return errLateJoin
		}
		leaveAll(tx, leaving)
		return tx.Join(l.Member())
	})
	if err != nil {
		return nil, err
	}
	r.past = nil
	r.own.Store(l)
	return leaving, nil
}

var errLateJoin = errors.New("joining took so long that the lease may have been collected as garbage")

// endNamesakes fences what processes of this node's name have left in the root: they are gone, or have to go.
func (c *changer) endNamesakes(ctx context.Context) error {
	self := c.replicas.incarnation()
	if self == "" {
		return nil
	}
	for _, m := range c.state.Load().snap.Members() {
		if m.Incarnation == self {
			break // those after it have joined later, and end this one
		}
		if m.Node == c.node {
			ctx, cancel := context.WithTimeout(ctx, catchUpTime)
			err := c.replicas.peers.End(ctx, m)
			cancel()
			if err != nil {
				return storeError(err)
			}
		}
	}
	return nil
}

// commitMembers commits a change of the members alone, which no entry announces: the log names the revision as adopted. The
// head of the log that the root names stays as it is. It is called under the lock.
func (c *changer) commitMembers(ctx context.Context, edit func(*store.Tx) error) error {
	err := retry(ctx, func() error {
		tx := c.store.Begin()
		if err := edit(tx); err != nil {
			return err
		}
		head, _ := tx.Snapshot().LogHead(c.node)
		_, err := c.store.Commit(ctx, tx, head)
		return err
	})
	c.publish()
	if errors.Is(err, errMade) {
		return nil
	}
	c.replicas.renewSoon()
	if err != nil {
		return storeError(err)
	}
	return c.settle(ctx)
}

// removeEnded takes out of the root who has been fenced and waited out.
func (c *changer) removeEnded(ctx context.Context) error {
	r := c.replicas
	if len(r.peers.Ended(c.state.Load().snap)) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	err := c.commitMembers(ctx, func(tx *store.Tx) error {
		ended := r.peers.Ended(tx.Snapshot())
		for _, m := range ended {
			tx.Leave(m.Incarnation)
		}
		if len(ended) == 0 {
			return errMade // another replica was faster
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.peers.Forget(ctx, c.state.Load().snap)
	return nil
}

// collectEvery is how often garbage is collected: what replicas that crashed have left, so that once in a while is enough. A lease
// must have been there the time before, too.
const collectEvery = 6 * time.Hour

// tidy looks after what replicas leave behind on the store that they share: members that somebody fenced and did not live to
// remove, and garbage.
func (c *changer) tidy(ctx context.Context) error {
	r := c.replicas
	if !r.shared() {
		return nil
	}
	if _, err := r.peers.States(ctx, c.state.Load().snap); err != nil {
		return storeError(err)
	}
	if jitter(collectEvery) >= housekeeping {
		return nil
	}
	return c.collect(ctx)
}

// collect removes what no root reaches, blobs and leases. Where another commit comes between, it is left for the next time.
func (c *changer) collect(ctx context.Context) error {
	blobs, err := c.store.Collect(ctx)
	leases := 0
	if err == nil || errors.Is(err, store.ErrConflict) {
		leases, err = c.replicas.peers.Collect(ctx)
	}
	if blobs+leases > 0 {
		c.logger.InfoContext(ctx, "garbage was collected", slog.Int("blobs", blobs), slog.Int("leases", leases))
	}
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return storeError(err)
}

// leave takes this process out of the root, after it has stopped minting. What fails here the next change does.
func (c *changer) leave(ctx context.Context) {
	if c.replicas.own.Load() == nil && len(c.replicas.past) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	err := c.stopMinting(ctx)
	if err == nil {
		err = c.leaveRoot(ctx)
	}
	if err != nil {
		c.logger.WarnContext(ctx, "this replica could not take leave of the others, and the next change waits for its lease to end", slog.Any("error", inFull(err)))
	}
}

const leaveTime = 5 * time.Second

func (c *changer) leaveRoot(ctx context.Context) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	past := c.replicas.past
	err := c.commitMembers(ctx, func(tx *store.Tx) error {
		leaveAll(tx, past)
		return nil
	})
	if err == nil {
		c.removeLeases(ctx, past)
	}
	return err
}

func leaveAll(tx *store.Tx, incarnations []string) {
	for _, incarnation := range incarnations {
		tx.Leave(incarnation)
	}
}

// removeLeases removes those of incarnations that no root lists any more. What fails is garbage.
func (c *changer) removeLeases(ctx context.Context, incarnations []string) {
	for _, incarnation := range incarnations {
		_ = lease.Remove(ctx, c.store, incarnation)
	}
}

// begin holds the log against what it left in the store, and joins the replicas. One that a gap stops joins too: it mints
// nothing, and is waited for like any other.
func (c *changer) begin(ctx context.Context) error {
	if !c.replicas.shared() {
		return nil
	}
	if err := c.readAnchor(ctx); err != nil {
		return err
	}
	if !c.replicas.member() {
		return nil
	}
	if err := store.CheckBound(c.replicas.bound); err != nil {
		return err
	}
	if err := c.join(ctx); err != nil {
		return fmt.Errorf("joining the replicas of the vault: %w", inFull(err))
	}
	return nil
}
