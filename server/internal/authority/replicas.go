package authority

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/lease"
)

// replicas is this process's part among those that share a store. On a store that is this process's alone there is no part to
// play: it is never lapsed, and nobody is waited for. What makes off mean off on all of them is said in package lease.
type replicas struct {
	bound time.Duration // 0: this process mints nothing on a shared store
	peers *lease.Peers  // nil: the store is this process's alone
	own   atomic.Pointer[lease.Lease]
	// past are incarnations of this process that have stopped and that the root may still list; the change lock's holder's.
	past    []string
	joining *lease.Lease // whose join is being tried; one goroutine's
	// caughtUp is when the store was last seen not to be older than what is decided on.
	caughtUp atomic.Pointer[time.Time]
	unheard  atomic.Pointer[error] // why the last look at the store came to nothing; nil: it did not
	trouble  atomic.Pointer[error] // why the lease is not renewed; nil: it is
	poke     chan struct{}         // renew now
	lost     chan error            // gets why this process must end; of capacity 1
}

func newReplicas(cfg Config) *replicas {
	r := &replicas{bound: cfg.Bound, poke: make(chan struct{}, 1), lost: make(chan error, 1)}
	if cfg.Store.Replicated() {
		r.peers = lease.NewPeers(cfg.Store, cfg.Node, r.incarnation, cfg.Now, cfg.Logger)
	}
	return r
}

// shared says whether the store is one that others share.
func (r *replicas) shared() bool { return r.peers != nil }

// member says whether this process is to be one of them that mints.
func (r *replicas) member() bool { return r.shared() && r.bound > 0 }

// incarnation is this process's among the members, "" while it is none.
func (r *replicas) incarnation() string {
	if l := r.own.Load(); l != nil {
		return l.Member().Incarnation
	}
	return ""
}

// lapsed is why nothing may be minted on a state now, or nil.
func (r *replicas) lapsed(s *state) error {
	if !r.shared() {
		return nil
	}
	l := r.own.Load()
	if l != nil && l.Valid() && s.snap.Lists(l.Member().Incarnation) {
		return nil
	}
	e := &Error{
		Kind: ErrUnavailable, Reason: ReasonLeaseLapsed, RetryAfter: time.Second,
		Public: "this replica has not heard from the store for as long as it may mint without, so a key may have been turned off; it goes on by itself when the store answers",
	}
	e.cause = errLapsed
	if cause := r.trouble.Load(); cause != nil {
		e.cause = fmt.Errorf("%w: %w", errLapsed, *cause)
	}
	return e
}

var errLapsed = errors.New("the lease of this replica has lapsed")

// pollEvery is how often the root is looked at; catchUpTime is how long one look may take.
const (
	pollEvery   = 250 * time.Millisecond
	catchUpTime = 15 * time.Second
)

// olderFor is how long the root must look older than what is known before it is held to be: no read proves that, so trying costs a write.
const olderFor = 3 * time.Second

// anchorEvery is at how many looks the latest checkpoint is left in the store.
const anchorEvery = 8

// follow adopts what others commit, until ctx ends.
func (c *changer) follow(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	told := c.told("the store cannot be followed", "the store is followed again")
	var older time.Time // since when the root has been older at every look; zero: it is not
	for n := 0; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := c.catchUp(ctx)
		switch {
		case !errors.Is(err, store.ErrStale):
			older = time.Time{}
		case older.IsZero():
			older = c.now()
		case c.now().Sub(older) >= olderFor:
			older = c.now() // again after as long
			if gap := c.discoverOlder(ctx); gap != nil {
				err = gap
			}
		}
		if err == nil {
			err = c.endNamesakes(ctx)
		}
		if err == nil {
			err = c.removeEnded(ctx)
		}
		if n++; err == nil && n%anchorEvery == 0 {
			err = c.publishAnchor(ctx)
		}
		if ctx.Err() == nil {
			told.Look(ctx, err)
		}
	}
}

// catchUp reads the root, and publishes and records one that is new. A store that answers with less than is known is
// not heard from.
func (c *changer) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	asked := c.now()
	snap, err := c.store.Reload(ctx)
	if err != nil {
		c.replicas.unheard.Store(&err)
		return storeError(err)
	}
	c.replicas.unheard.Store(nil)
	c.replicas.caughtUp.Store(&asked)
	if snap == c.state.Load().snap {
		return nil
	}
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	c.publish()
	c.replicas.renewSoon()
	return c.settle(ctx)
}

// lose says why this process must end.
func (r *replicas) lose(err error) {
	select {
	case r.lost <- err:
	default: // it has been told already
	}
}

func (r *replicas) renewSoon() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// everywhere returns when every replica has the root that a change has just committed, or has been fenced and waited out, and
// records that. Its error means that the change is made and not known to be in force everywhere.
func (c *changer) everywhere(ctx context.Context, snap *store.Snapshot, call *call) error {
	r := c.replicas
	if !r.shared() || len(snap.Members()) == 0 {
		return nil
	}
	r.renewSoon()
	fenced, err := r.peers.Await(ctx, snap)
	e := call.entry
	e.Action, e.Time, e.Root, e.Justification = string(actionEverywhere), time.Time{}, nil, ""
	e.Outcome, e.Reason = auditlog.Done, fmt.Sprintf("every replica has revision %d", snap.RootID().Revision)
	if len(fenced) > 0 {
		e.Reason += ", or was fenced and waited out: " + lease.Nodes(fenced)
		// At once, so that the next change, wherever it is made, does not wait for them again.
		if err := c.removeEnded(context.WithoutCancel(ctx)); err != nil {
			c.logger.WarnContext(ctx, "replicas that were waited out are left in the root for now", slog.Any("error", inFull(err)))
		}
	}
	var waiting *lease.WaitingError
	if errors.As(err, &waiting) {
		err = &Error{
			Kind: ErrUnavailable, Reason: ReasonNotEverywhere, cause: err,
			Public: "the change is made, but it is not known yet that it is in force on " + lease.Nodes(waiting.Members) + "; repeat it to go on waiting",
		}
		e.Outcome, e.Reason = auditlog.Failed, string(ReasonNotEverywhere)+": "+lease.Nodes(waiting.Members)
	}
	if _, failed := c.record(context.WithoutCancel(ctx), &e, audit.AppendOptions{Privileged: true}); failed != nil {
		c.logger.WarnContext(ctx, "that a change is in force on every replica could not be recorded", slog.Any("error", inFull(failed)))
	}
	return err
}

// Lost gets the reason when this process must end, because another one has taken over its node's name.
func (a *Authority) Lost() <-chan error { return a.changer.replicas.lost }
