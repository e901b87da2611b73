package authority

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
)

// changer is the way of everything that changes state. Whoever holds the lock owns what is left open, and nobody else
// commits.
type changer struct {
	gaps
	turn chan struct{} // the lock, of capacity 1; a channel, so that waiting for it ends with the context
	open *intent       // recorded, and not closed yet: at most one

	settled  *Told // that something is left open; housekeep's
	anchors  anchors
	anchored atomic.Int64 // lastAnchored, in Unix nanoseconds; 0: never
}

// intent is an entry that announced a change, and where it lies.
type intent struct {
	log   string
	index int64
	entry auditlog.Entry
}

// errMade is what the work of a change answers when it finds the change made: the call succeeds and is recorded.
var errMade = errors.New("nothing to change")

// attempts is how often something is tried because the store changes under it.
const attempts = 12

// change is the way of everything that changes state: decide, lock, decide again on what the last change left, work,
// and commit between two entries. It returns nil when the change is durable, published and recorded, or was found
// made; and, where replicas share the store, when all of them have it. Once the intent is recorded a caller who hangs up
// stops nothing but that waiting.
func (c *changer) change(ctx context.Context, p policy.Principal, a ask, work func(*call, *store.Tx) error) error {
	call, err := c.decide(ctx, p, a)
	if err != nil {
		return err
	}
	snap, err := c.changeHere(ctx, call, a.options, work)
	if err != nil {
		return c.refuse(ctx, &call.entry, err)
	}
	if call.want.Action == policy.KeyImport {
		return nil // it takes nothing away that anybody could mint; and repeated because of a wait it would not be the same
	}
	return c.everywhere(ctx, snap, call)
}

// changeHere makes a change on the store and on this process, and returns the state that has it.
func (c *changer) changeHere(ctx context.Context, call *call, o audit.AppendOptions, work func(*call, *store.Tx) error) (*store.Snapshot, error) {
	if err := c.lock(ctx); err != nil {
		return nil, err
	}
	defer c.unlock()
	ctx = context.WithoutCancel(ctx)
	err := c.tries(ctx, func() error {
		if !c.again(call) {
			return refused(call.decision)
		}
		return c.attempt(ctx, call, o, work)
	})
	return c.state.Load().snap, err
}

// tries makes a try on what the last change left, and again while the store changes under it. It is called under the lock.
func (c *changer) tries(ctx context.Context, try func() error) error {
	return retry(ctx, func() error {
		if err := c.settle(ctx); err != nil {
			return err
		}
		return try()
	})
}

// retry tries, and again while the store changes under it. The pauses keep replicas that change it at once from doing so in step.
func retry(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		if err := try(); n == attempts || !errors.Is(err, store.ErrConflict) {
			return err
		}
		select {
		case <-time.After(jitter(20 * time.Millisecond)):
		case <-ctx.Done():
		}
	}
}

// jitter is a random time below limit, so that replicas do not do things in step.
func jitter(limit time.Duration) time.Duration {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return time.Duration(float64(limit) * float64(binary.LittleEndian.Uint32(b[:])) / (1 << 32))
}

// attempt tries the change once, on the current state.
func (c *changer) attempt(ctx context.Context, call *call, o audit.AppendOptions, work func(*call, *store.Tx) error) error {
	if stop := call.state.stop; stop != nil && !allowedInGap(call.want.Action) {
		return stop
	}
	tx := c.store.Begin()
	if tx.Snapshot() != call.state.snap {
		return store.ErrConflict // it was replaced since it was decided on
	}
	switch err := work(call, tx); {
	case errors.Is(err, errMade) && c.replicas.shared():
		// What was found may have been undone by a replica since. Only a commit tells, if only an empty one.
		if tx = c.store.Begin(); tx.Snapshot() != call.state.snap {
			return store.ErrConflict
		}
	case errors.Is(err, errMade):
		call.entry.Outcome, call.entry.Reason = auditlog.Allowed, errMade.Error()
		_, err = c.record(ctx, &call.entry, o)
		return err
	case err != nil && c.behind(ctx, call.state):
		return store.ErrConflict
	case err != nil:
		return err
	}
	return c.commit(ctx, tx, call.entry, o)
}

// behind asks the store, before a change is refused that was to be made on s, whether that is the newest state: a recipient or a key
// may be of another replica, which has just answered that it is there. A store that does not say changes nothing: what is known stands.
// It is called under the lock.
func (c *changer) behind(ctx context.Context, s *state) bool {
	if !c.replicas.shared() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	snap, err := c.store.Reload(ctx)
	if err != nil || snap == s.snap {
		return false
	}
	c.publish()
	c.replicas.renewSoon()
	return true
}

// commit makes tx durable between two entries: the intent, without which nothing happens, and the outcome. The root
// will name a head of the log that has the intent in it, by which closing tells, now or after a crash, what became
// of it. A crash before the intent leaves nothing, before the commit an intent that start-up closes as not made,
// after the commit one that it closes as made.
func (c *changer) commit(ctx context.Context, tx *store.Tx, e auditlog.Entry, o audit.AppendOptions) error {
	e.Outcome, e.Reason = auditlog.Intent, ""
	pos, err := c.record(ctx, &e, o)
	if err != nil {
		return err
	}
	c.open = &intent{log: pos.Head.Log, index: pos.Index, entry: e}
	_, failed := c.store.Commit(ctx, tx, store.LogHead(pos.Head))
	if errors.Is(failed, store.ErrUnknown) {
		return storeError(failed)
	}
	c.publish()
	made, err := c.finish(ctx, auditlog.Done, storeError(failed))
	switch {
	case !made && failed == nil:
		return errors.New("the store's root does not name the log's head that its commit was given")
	case !made:
		return storeError(failed)
	case err != nil:
		return &Error{
			Kind: ErrUnavailable, Reason: ReasonLogUnavailable, cause: err,
			Public: "the change is made and in force, but its outcome could not be recorded yet; look before you repeat it",
		}
	}
	return nil
}

// finish closes the open intent by what the root says of it, and by nothing else: on the live path as done or failed,
// after a crash or an unknown outcome as recovered. It never makes a change. An intent that it cannot record stays
// open, and settle comes back to it.
func (c *changer) finish(ctx context.Context, how auditlog.Outcome, cause error) (bool, error) {
	open := c.open
	snap := c.state.Load().snap
	made := committed(snap, c.node, open)
	e := open.entry
	e.Time, e.Outcome = time.Time{}, how
	switch {
	case how == auditlog.Recovered && made:
		e.Reason = "the change was made"
	case how == auditlog.Recovered:
		e.Reason = "the change was not made"
	case !made:
		e.Outcome, e.Reason = recorded(cause)
		e.Outcome = auditlog.Failed
	}
	e.Root = rootEntry(snap.RootID())
	if err := c.mark(ctx, &e); err != nil {
		return made, err
	}
	c.open = nil
	return made, nil
}

// committed says whether the commit that an intent announced is in the root. A commit names the log's head with its
// own intent in it, and none is made while an earlier intent is open; so the intent's commit was made if and only if
// the head that the root names lies beyond it. When a gap has closed the intent's log, the gap kept that head.
func committed(snap *store.Snapshot, node string, in *intent) bool {
	head, _ := snap.LogHead(node)
	if head.Log != in.log {
		for _, g := range snap.Gaps() {
			if g.Kind == store.GapLog && g.Node == node && g.Log.Log == in.log {
				head = g.Log
				break
			}
		}
	}
	return head.Log == in.log && head.Size > in.index
}

// settle brings to an end what earlier changes, or a crash, left behind. It is called under the lock, before every
// change, at start and once a minute. Each step may be repeated, and what fails is there for the next time. An intent
// is closed in its own log where that is still the current one, and otherwise after its gap has been named.
func (c *changer) settle(ctx context.Context) error {
	if err := c.store.Settle(ctx); err != nil {
		return storeError(err)
	}
	c.publish()
	if open := c.open; open != nil && open.log == c.log.Origin().Log {
		if _, err := c.finish(ctx, auditlog.Recovered, nil); err != nil {
			return err
		}
	}
	if err := c.settleGap(ctx); err != nil {
		return err
	}
	if c.open != nil {
		if _, err := c.finish(ctx, auditlog.Recovered, nil); err != nil {
			return err
		}
	}
	return c.adopt(ctx)
}

// markEvery is how many entries there may be after the last one that names a root: start-up looks no further back.
const markEvery = 50_000

// adopt records the current root, unless it is the last that the log names and that is not long ago. Entries that
// name a root are recorded only while no intent before them is open, so that start-up may stop at the last of them.
func (c *changer) adopt(ctx context.Context) error {
	snap := c.state.Load().snap
	root, last := rootEntry(snap.RootID()), c.log.LastRoot()
	if last == *root && c.log.Head().Size-c.marked < markEvery {
		return nil
	}
	e := auditlog.Entry{Action: string(actionAdopt), Outcome: auditlog.Done, Root: root}
	if gaps := snap.Gaps(); len(gaps) > 0 && last.Lineage != root.Lineage {
		newest := gaps[len(gaps)-1]
		e.Gap = &auditlog.Gap{ID: newest.ID, Kind: newest.Kind}
		e.Reason = newest.Detail
	}
	return c.mark(ctx, &e)
}

// lock waits for the change lock, for as long as ctx lasts.
func (c *changer) lock(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *changer) unlock() { <-c.turn }

// allowedInGap says what may still be changed while a gap is open: what takes something away, and the acknowledgement.
func allowedInGap(a policy.Action) bool {
	return a == policy.KeyDisable || a == policy.KeyRevoke || a == policy.SystemAcknowledge
}

func rootEntry(id store.RootID) *auditlog.Root {
	return &auditlog.Root{Lineage: id.Lineage, Revision: id.Revision, Digest: id.Digest}
}

// housekeep is the minute's work: summaries, what was left behind, recipients whose time is over, and the marker that
// bounds start-up's search.
func (c *changer) housekeep(ctx context.Context) {
	c.summarise(ctx)
	if err := c.lock(ctx); err != nil {
		return
	}
	err := c.settle(ctx)
	if err == nil {
		err = c.expireRecipients(ctx)
	}
	c.unlock()
	if err == nil {
		err = c.tidy(ctx)
	}
	c.settled.Look(ctx, err)
}
