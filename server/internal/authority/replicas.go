package authority

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
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

// incarnation is this process's among the members, "" while it is none.
func (r *replicas) incarnation() string {
	if l := r.own.Load(); l != nil {
		return l.Member().Incarnation
	}
	return ""
}

// lapsed is why nothing may be minted on a state now, or nil.
func (r *replicas) lapsed(s *state) error {
	if r.peers == nil {
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

// anchorEvery is at how many looks the latest checkpoint is left in the store.
const anchorEvery = 8

// follow adopts what others commit, until ctx ends.
func (c *changer) follow(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var failing bool
	for n := 0; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := c.catchUp(ctx)
		if err == nil {
			err = c.endNamesakes(ctx)
		}
		if err == nil {
			err = c.removeEnded(ctx)
		}
		if n++; err == nil && n%anchorEvery == 0 {
			err = c.publishAnchor(ctx)
		}
		if bad := err != nil && ctx.Err() == nil; bad != failing {
			failing = bad
			if bad {
				c.logger.WarnContext(ctx, "the store cannot be followed", slog.Any("error", inFull(err)))
			} else {
				c.logger.InfoContext(ctx, "the store is followed again")
			}
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

// keepLease renews the lease, and joins anew when it has ended, until ctx ends or a namesake has taken over.
func (c *changer) keepLease(ctx context.Context) {
	r := c.replicas
	pause, poke := lease.Every(r.bound), r.poke
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
			if r.trouble.Swap(&err) == nil {
				c.logger.WarnContext(ctx, "the lease cannot be renewed; minting goes on until it ends", slog.Duration("bound", r.bound), slog.Any("error", inFull(err)))
			}
			pause = min(lease.Every(r.bound), time.Second)/2 + jitter(100*time.Millisecond)
			poke = nil // trying pokes, and must not go round without a pause
		default:
			if r.trouble.Swap(nil) != nil {
				c.logger.InfoContext(ctx, "the lease is renewed again")
			}
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
	if r.joining == nil || !r.joining.Valid() {
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
	for _, incarnation := range leaving {
		if incarnation != l.Member().Incarnation {
			_ = lease.Remove(ctx, c.store, incarnation) // else it is garbage
		}
	}
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
		for _, incarnation := range leaving {
			tx.Leave(incarnation)
		}
		return tx.Join(l.Member())
	})
	if err != nil {
		return nil, err
	}
	r.past = nil
	r.own.Store(l)
	return leaving, nil
}

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
	var err error
	for range attempts {
		tx := c.store.Begin()
		switch err := edit(tx); {
		case errors.Is(err, errMade):
			c.publish()
			return nil
		case err != nil:
			return storeError(err)
		}
		head, _ := tx.Snapshot().LogHead(c.node)
		if _, err = c.store.Commit(ctx, tx, head); !errors.Is(err, store.ErrConflict) {
			break
		}
		pauseBeforeRetry(ctx)
	}
	c.publish()
	c.replicas.renewSoon()
	if err != nil {
		return storeError(err)
	}
	return c.settle(ctx)
}

// jitter is a random time below limit, so that replicas do not do things in step.
func jitter(limit time.Duration) time.Duration {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return time.Duration(float64(limit) * float64(binary.LittleEndian.Uint32(b[:])) / (1 << 32))
}

// pauseBeforeRetry keeps replicas that change the store at once from doing so in step.
func pauseBeforeRetry(ctx context.Context) {
	select {
	case <-time.After(jitter(20 * time.Millisecond)):
	case <-ctx.Done():
	}
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

// collectEvery is how often garbage is collected: what replicas that crashed have left, so that once in a while is enough.
const collectEvery = 6 * time.Hour

// tidy looks after what replicas leave behind on the store that they share: members that somebody fenced and did not live to
// remove, and garbage.
func (c *changer) tidy(ctx context.Context) error {
	r := c.replicas
	if r.peers == nil {
		return nil
	}
	if _, err := r.peers.States(ctx, c.state.Load().snap); err != nil {
		return storeError(err)
	}
	if jitter(collectEvery) >= housekeeping {
		return nil
	}
	n, err := c.store.Collect(ctx)
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	if n > 0 {
		c.logger.InfoContext(ctx, "garbage was collected", slog.Int("blobs", n))
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
		for _, incarnation := range past {
			tx.Leave(incarnation)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, incarnation := range past {
		_ = lease.Remove(ctx, c.store, incarnation) // else it is garbage
	}
	return nil
}

// everywhere returns when every replica has the root that a change has just committed, or has been fenced and waited out, and
// records that. Its error means that the change is made and not known to be in force everywhere.
func (c *changer) everywhere(ctx context.Context, snap *store.Snapshot, call *call) error {
	r := c.replicas
	if r.peers == nil || len(snap.Members()) == 0 {
		return nil
	}
	r.renewSoon()
	fenced, err := r.peers.Await(ctx, snap)
	e := call.entry
	e.Action, e.Time, e.Root, e.Justification = string(actionEverywhere), time.Time{}, nil, ""
	e.Outcome, e.Reason = auditlog.Done, fmt.Sprintf("every replica has revision %d", snap.RootID().Revision)
	if len(fenced) > 0 {
		e.Reason += ", or was fenced and waited out: " + lease.Nodes(fenced)
	}
	if len(fenced) > 0 {
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

// enroll makes the root know this node: its log's key, and the log that it is about to open. A node that has a log already is
// refused: that log lies where the node ran. A crash may leave a node whose log is empty, and that is enrolled again.
func (c *changer) enroll(ctx context.Context) error {
	for range attempts {
		if slices.Contains(c.store.Snapshot().Nodes(), c.node) {
			head, _ := c.store.Snapshot().LogHead(c.node)
			if head.Size > 0 {
				return errEnrolled
			}
			c.publish()
			return nil
		}
		tx := c.store.Begin()
		key, err := newLogKey()
		if err != nil {
			return err
		}
		err = tx.PutSystem(logKeyName(c.node), key)
		clear(key)
		if err != nil {
			return storeError(err)
		}
		if _, err = c.store.Commit(ctx, tx, newLog()); err == nil {
			c.publish()
			return nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return storeError(err)
		}
	}
	return storeError(store.ErrConflict)
}

var errEnrolled = errors.New("the vault has a node of this name already, and its log lies where that runs: choose another name")

// enrolled commits a root that names the new node's log with the first entry in it, so that an empty directory does not pass for
// that log.
func (c *changer) enrolled(ctx context.Context) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	var err error
	for range attempts {
		if err = c.settle(ctx); err != nil {
			return err
		}
		if head, _ := c.state.Load().snap.LogHead(c.node); head.Log != c.log.Origin().Log || head.Size > 0 {
			return errEnrolled // by another process, in between
		}
		e := auditlog.Entry{Action: string(actionEnroll)}
		if err = c.commit(ctx, c.store.Begin(), e, audit.AppendOptions{}); !errors.Is(err, store.ErrConflict) {
			return err
		}
		pauseBeforeRetry(ctx)
	}
	return err
}

// namesake says whether a process of this node's name is alive elsewhere.
func (c *changer) namesake(ctx context.Context) error {
	if c.replicas.peers == nil {
		return nil
	}
	for _, m := range c.state.Load().snap.Members() {
		if m.Node != c.node {
			continue
		}
		alive, err := c.replicas.peers.Alive(ctx, m)
		if err != nil {
			return storeError(err)
		}
		if alive {
			return fmt.Errorf("a replica of the name that the configuration gives is running elsewhere, with a log that is not this one: give this one a name and a log directory of its own; %w", errNamesake)
		}
	}
	return nil
}

var errNamesake = errors.New("two replicas cannot have one name")

// Lost gets the reason when this process must end, because another one has taken over its node's name.
func (a *Authority) Lost() <-chan error { return a.changer.replicas.lost }

// Member is a replica as the others see it.
type Member struct {
	lease.State
	// Self says that it is the one that answers.
	Self bool
}

// Members answers who may mint, and on what, and the revision that they are to have. It reads the store.
func (s *System) Members(ctx context.Context, p policy.Principal, req Request) ([]Member, uint64, error) {
	var members []Member
	var revision uint64
	want := ask{id: req.ID, want: policy.Request{Action: policy.SystemRead}}
	_, err := s.answer(ctx, p, want, func(call *call) error {
		revision = call.state.snap.RootID().Revision
		if s.replicas.peers == nil {
			return nil
		}
		states, err := s.replicas.peers.States(ctx, call.state.snap)
		if err != nil {
			return storeError(err)
		}
		self := s.replicas.incarnation()
		for _, state := range states {
			members = append(members, Member{state, state.Incarnation == self})
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return members, revision, nil
}

// ForgetRequest names a node.
type ForgetRequest struct {
	Request
	// Node is whose members are to go.
	Node string
	// Reason is why.
	Reason string
}

// Forget ends every incarnation of a node among the members: fenced, waited out, taken out of the root, in that order. One that lives
// finds that out and joins anew. ErrNotFound: no member is of that node.
func (s *System) Forget(ctx context.Context, p policy.Principal, req ForgetRequest) error {
	want := ask{id: req.ID, want: policy.Request{Action: policy.SystemMembers}, options: audit.AppendOptions{Privileged: true}}
	asked, err := s.decide(ctx, p, want)
	if err != nil {
		return err
	}
	if err := s.end(ctx, asked, req); err != nil {
		return s.refuse(ctx, &asked.entry, err)
	}
	return s.change(ctx, p, want, func(call *call, tx *store.Tx) error {
		if err := justify(&call.entry, req.Reason); err != nil {
			return err
		}
		gone := false
		for _, m := range s.replicas.peers.Ended(tx.Snapshot()) {
			gone = m.Node == req.Node && tx.Leave(m.Incarnation) || gone
		}
		if !gone {
			return errMade
		}
		return nil
	})
}

// end fences the members of a node and waits them out.
func (s *System) end(ctx context.Context, call *call, req ForgetRequest) error {
	if err := justify(&call.entry, req.Reason); err != nil {
		return err
	}
	if req.Node == s.node {
		return &Error{Kind: ErrPrecondition, Reason: ReasonMalformed, Public: "this is the replica that answers: stop it, and it takes leave by itself; or ask another one to forget it"}
	}
	var members []store.Member
	for _, m := range call.state.snap.Members() {
		if m.Node == req.Node {
			members = append(members, m)
		}
	}
	if len(members) == 0 {
		return &Error{Kind: ErrNotFound, Reason: ReasonNotFound, Public: "no member is of that node; signet system members lists them"}
	}
	// Before anything is done, so that a crash in the wait leaves who wanted it.
	e := call.entry
	e.Outcome, e.Reason, e.Requested = auditlog.Allowed, "it is being ended", &auditlog.Requested{Values: map[string]string{"member": req.Node}}
	if _, err := s.record(ctx, &e, audit.AppendOptions{Privileged: true}); err != nil {
		return err
	}
	if err := s.replicas.peers.WaitOut(ctx, members); err != nil {
		return &Error{
			Kind: ErrUnavailable, Reason: ReasonNotEverywhere, cause: err,
			Public: "the replica is being ended, and may still mint until its bound has passed; repeat this to go on waiting",
		}
	}
	return nil
}

// member says whether this process is to be one.
func (r *replicas) member() bool { return r.peers != nil && r.bound > 0 }

// begin holds the log against what it left in the store, and joins the replicas. One that a gap stops joins too: it mints
// nothing, and is waited for like any other.
func (c *changer) begin(ctx context.Context) error {
	if c.replicas.peers == nil {
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
