package authority

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/lease"
)

// gaps brings a gap that was found into the root, and the log to where the root says it is. The change lock's holder
// calls it.
type gaps struct {
	core
	found *finding // and not yet in the root: at most one
}

// finding is a gap that was found and is not in the root yet.
type finding struct {
	gap   store.Gap
	above uint64 // a revision that was seen, and that the root's must exceed
}

// publish makes the store's snapshot the state that is decided on. A gap that was found and is not in the root yet forbids minting on
// it, whatever the snapshot says. Only a holder of the change lock calls it.
func (g *gaps) publish() {
	before, snap := g.state.Load(), g.store.Snapshot()
	if before != nil && before.snap == snap && g.found == nil && !before.found {
		return
	}
	next := newState(before, snap, g.node, g.operators, g.logger)
	if g.found != nil {
		next.stop, next.found = stopped(g.found.gap.ID), true
	}
	g.state.Store(next)
}

// settleGap brings a gap that was found into the root, and the log to the id that the root names. Every step is
// derived from what is durable, so a crash between two of them is made good by the next start.
func (g *gaps) settleGap(ctx context.Context) error {
	if found := g.found; found != nil && found.gap.Kind == store.GapStore {
		if err := g.commitGap(ctx, nil); err != nil {
			return err
		}
	}
	if snap := g.state.Load().snap; !slices.Contains(snap.Nodes(), g.node) {
		// The store was brought back from a copy that is older than this node, and another one has made a gap of that.
		err := unknownNode(snap)
		g.replicas.lose(err)
		return err
	}
	if g.found == nil && !g.moving && g.movedLog() != g.log.Origin().Log {
		// Not by this process: one of the same name has made a gap of this log, and goes on in another.
		err := fmt.Errorf("%w: the root names another log of this node", lease.ErrNamesake)
		g.replicas.lose(err)
		return err
	}
	if g.found != nil || g.movedLog() != g.log.Origin().Log {
		if err := g.moveLog(ctx); err != nil {
			return err
		}
	}
	return g.announce(ctx)
}

// movedLog is the id of the log that the root says is the current one.
func (g *gaps) movedLog() string {
	head, _ := g.state.Load().snap.LogHead(g.node)
	return head.Log
}

// moveLog ends the current log where it stands and goes on in a new one. The gate keeps entries out from the moment
// when its end is read until the new log is open, or until it is known that the root has not taken it.
func (g *gaps) moveLog(ctx context.Context) error {
	g.gate.Lock()
	defer g.gate.Unlock()
	g.moving = true
	if g.found != nil {
		end := store.LogHead(g.log.Head())
		if err := g.commitGap(ctx, &end); err != nil {
			g.moving = errors.Is(err, store.ErrUnknown)
			return err
		}
	}
	first := g.firstEntry(g.state.Load().snap)
	if _, err := g.log.Rotate(ctx, g.movedLog(), &first); err != nil {
		return logError(err)
	}
	g.moving = false
	g.marked = 0
	return nil
}

// commitGap makes the gap that was found part of the root. From its return on no restart mints before that gap is
// acknowledged. With an end it also ends the current log there: the root names the next one before it exists.
func (g *gaps) commitGap(ctx context.Context, end *store.LogHead) error {
	f := g.found
	snap := g.store.Snapshot()
	if f.gap.Kind == store.GapStore && !olderThan(snap.RootID(), *rootEntry(f.gap.Root)) {
		// A read was stale. The root that was missed has been seen since.
		g.found = nil
		g.publish()
		return nil
	}
	if _, known := findGap(snap, f.gap.ID); !known { // known: a commit before had an unknown outcome, and was made
		tx := g.store.Begin()
		// The head stays the one that the root has: a newer one might make an intent look committed that was not.
		head, _ := snap.LogHead(g.node)
		if end != nil {
			if err := tx.CloseLog(*end); err != nil {
				return storeError(err)
			}
			head = newLog()
		}
		f.gap.Node, f.gap.Found = g.node, g.now()
		if _, err := tx.OpenGap(f.gap, f.above); err != nil {
			return storeError(err)
		}
		if _, err := g.store.Commit(ctx, tx, head); err != nil {
			return storeError(err)
		}
	}
	g.found = nil
	g.publish()
	return nil
}

// announce writes the first entry of a log that was opened because of a gap.
func (g *gaps) announce(ctx context.Context) error {
	snap := g.state.Load().snap
	if g.log.Head().Size > 0 || len(snap.ClosedLogs(g.node)) == 0 {
		return nil
	}
	first := g.firstEntry(snap)
	_, err := g.record(ctx, &first, audit.AppendOptions{Privileged: true})
	return err
}

// firstEntry names the gap for which a log was opened, and where the log before it ends.
func (g *gaps) firstEntry(snap *store.Snapshot) auditlog.Entry {
	e := auditlog.Entry{Time: g.stamp(), Node: g.node, Action: string(actionGap), Outcome: auditlog.Done, Gap: &auditlog.Gap{Kind: store.GapLog}}
	for _, gap := range snap.Gaps() {
		if gap.Kind == store.GapLog && gap.Node == g.node {
			e.Gap.ID, e.Reason = gap.ID, gap.Detail
		}
	}
	if closed := snap.ClosedLogs(g.node); len(closed) > 0 {
		last := closed[len(closed)-1]
		e.Gap.Log, e.Gap.Size, e.Gap.Hash = last.Log, last.Size, last.Hash
	}
	return e
}

// missing says whether an anchor is not contained in the log, by what its consistency proof answered.
func missing(err error) bool {
	return errors.Is(err, audit.ErrNotContained) || errors.Is(err, audit.ErrUnknownLog) || errors.Is(err, audit.ErrBeyondEnd)
}

// discover is called with an anchor, a checkpoint of ours, that the log did not contain a moment ago. Unless it belongs
// to a gap that is known, it is a new one: minting stops at once, then the gap goes into the root. The answer is the
// error for the one who showed the anchor.
func (c *changer) discover(ctx context.Context, anchor auditlog.Checkpoint) error {
	ctx = context.WithoutCancel(ctx) // who has shown it may go
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	_, err := c.log.ProveConsistency(ctx, anchor)
	answer := &Error{Kind: ErrPrecondition, Reason: ReasonGap, Public: "the log does not contain this checkpoint, although this vault has signed it: a part of the record is lost; see the gaps in the status"}
	if !missing(err) || errors.Is(err, audit.ErrBeyondEnd) || belongs(anchor, c.state.Load().snap.Gaps()) {
		return answer
	}
	if c.found == nil {
		gap := store.Gap{
			ID: store.NewID(), Kind: store.GapLog,
			Detail: fmt.Sprintf("a checkpoint of log %s with %d entries was shown that the log does not contain", anchor.Origin.Log, anchor.Size),
			Log:    store.LogHead{Log: anchor.Origin.Log, Size: anchor.Size, Hash: anchor.Hash},
		}
		if errors.Is(err, audit.ErrUnknownLog) {
			gap.Log.Size, gap.Log.Hash = 0, auditlog.EmptyHash() // all of it is lost
		}
		c.found = &finding{gap: gap}
		// Minting stops here. A token whose last look came before this has its entry below the end that moveLog reads.
		c.publish()
		c.logger.ErrorContext(ctx, "the audit log has a gap", slog.String("gap", gap.ID), slog.String("detail", gap.Detail))
	}
	answer.cause = c.settle(ctx)
	return answer
}

// discoverOlder makes a gap of a root that is older than what this process knows, as the next start would: a new lineage, above the
// highest revision that was seen, on top of the root that is in place. That is what makes it one. A read may be stale; but if the commit
// happens, then that root was the current one, and the store was brought back from an older copy under running replicas.
//
// The new root lists the members of both: of the older one, whom the lease of each has to show or a fence to end as ever, and those that
// have joined since, for they may be minting on what was lost until their leases end. So the next change waits for all of them.
//
// What it cannot do the next start does: where the older root does not know this node, or knows another log of it.
func (c *changer) discoverOlder(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	known := c.store.Snapshot()
	gap := store.Gap{ID: store.NewID(), Kind: store.GapStore, Node: c.node, Found: c.now(), Log: store.LogHead(c.log.Head()), Root: known.RootID()}
	happened, err := c.store.CommitOnOlder(ctx, func(tx *store.Tx) error {
		if head, _ := tx.Snapshot().LogHead(c.node); head.Log != c.log.Origin().Log {
			return errors.New("the store is older than what this server has seen, and does not know its log: restart the server, which then finds the gap")
		}
		for _, m := range known.Members() {
			if tx.Snapshot().Lists(m.Incarnation) {
				continue
			}
			if err := tx.Join(m); err != nil {
				return err
			}
		}
		gap.Detail = fmt.Sprintf("the store is at revision %d, but this node has seen revision %d while it ran: the store was brought back from an older copy",
			tx.Snapshot().RootID().Revision, known.RootID().Revision)
		_, err := tx.OpenGap(gap, known.RootID().Revision)
		return err
	})
	if errors.Is(err, store.ErrConflict) || err == nil && !happened {
		return nil // a read was stale
	}
	if err != nil {
		return storeError(err)
	}
	c.logger.ErrorContext(ctx, "the store was brought back from an older copy", slog.String("gap", gap.ID), slog.String("detail", gap.Detail))
	c.publish()
	c.replicas.renewSoon()
	return c.settle(ctx)
}

// belongs says whether an anchor that is missing belongs to a gap that is known: of the same log, and no shorter than
// the head that was missed there.
func belongs(anchor auditlog.Checkpoint, gaps []store.Gap) bool {
	for _, g := range gaps {
		if g.Kind == store.GapLog && g.Log.Log == anchor.Origin.Log && anchor.Size >= g.Log.Size {
			return true
		}
	}
	return false
}

// newLog is the head of a log that has yet to be opened.
func newLog() store.LogHead { return store.LogHead{Log: store.NewID(), Hash: auditlog.EmptyHash()} }
