package authority

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
)

// finding is a gap that was found and is not in the root yet.
type finding struct {
	gap   store.Gap
	above uint64 // a revision that was seen, and that the root's must exceed
}

// rootHead is a log's head as the root names it.
func rootHead(h audit.Head) store.LogHead {
	return store.LogHead{Log: h.Log, Size: h.Size, Hash: h.Hash}
}

// newLog is the head of a log that has yet to be opened.
func newLog() store.LogHead { return store.LogHead{Log: store.NewID(), Hash: auditlog.EmptyHash()} }

// openLog opens this node's log. One that lacks what the root names, or is damaged, is a gap: it goes into the root,
// with a new log id if it is in the current log, before any log is open; so a crash at any point finds the same gap
// again, or finds it committed.
func (c *core) openLog(ctx context.Context, fs audit.FS, signer note.Signer, minFree int64) error {
	config := audit.Config{FS: fs, Signer: signer, Now: c.now, MinFree: minFree, Logger: c.logger}
	head, err := c.place(&config)
	if err != nil {
		return err
	}
	c.log, err = audit.Open(ctx, config)
	var lacking *audit.GapError
	if !errors.As(err, &lacking) {
		return err
	}
	c.logger.ErrorContext(ctx, "the audit log has a gap", slog.Any("gap", lacking))
	end := rootHead(lacking.End)
	c.changes.gap = &finding{gap: store.Gap{ID: store.NewID(), Kind: store.GapLog, Detail: detail(lacking.What), Log: head}}
	if err := c.commitGap(ctx, &end); err != nil {
		return fmt.Errorf("making a gap in the audit log part of the root: %w", inFull(err))
	}
	if _, err := c.place(&config); err != nil {
		return err
	}
	c.log, err = audit.Open(ctx, config)
	return err
}

// place says what the root knows of this node's logs: which is the current one, where the others ended.
func (c *core) place(config *audit.Config) (store.LogHead, error) {
	snap := c.state.Load().snap
	head, ok := snap.LogHead(c.node)
	if !ok {
		return head, errors.New("opening the audit log: the vault knows no node of the name that the configuration gives")
	}
	config.Origin = auditlog.Origin{Vault: snap.Vault(), Node: c.node, Log: head.Log}
	config.Head = audit.Head{Log: head.Log, Size: head.Size, Hash: head.Hash}
	config.Closed = nil
	for _, closed := range snap.ClosedLogs(c.node) {
		config.Closed = append(config.Closed, audit.ClosedLog{Log: closed.Log, Size: closed.Size, Hash: closed.Hash})
	}
	return head, nil
}

// detail is text of a gap, no longer than the root takes.
func detail(text string) string { return text[:min(len(text), 1000)] }

// lookBack walks the node's logs back from their end to the last entry that names a root, and finds what a crash left
// open on the way. A root that is newer than the store's is a gap: the store is older than its log. The walk is
// bounded by markEvery; entries that neither name a root nor are an intent are not even parsed. A log that a gap has
// closed may end the walk by being damaged: what was there belongs to that gap. A current one that does is a new gap.
func (c *core) lookBack(ctx context.Context) error {
	logs := c.log.Logs()
	for i := len(logs) - 1; i >= 0; i-- {
		found, err := c.lookBackIn(ctx, logs[i])
		switch current := i == len(logs)-1; {
		case found:
			return nil
		case err != nil && !current:
			c.logger.WarnContext(ctx, "an earlier log cannot be read to its end", slog.String("log", logs[i]), slog.Any("error", err))
			return nil
		case errors.Is(err, audit.ErrDamaged):
			head, _ := c.state.Load().snap.LogHead(c.node)
			c.changes.gap = &finding{gap: store.Gap{ID: store.NewID(), Kind: store.GapLog, Detail: detail(err.Error()), Log: head}}
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}

// lookBackIn looks through one log and says whether an entry of it names a root.
func (c *core) lookBackIn(ctx context.Context, id string) (bool, error) {
	reader, err := c.log.Reader(id)
	if err != nil {
		return false, fmt.Errorf("looking back in the audit log: %w", err)
	}
	for stored, err := range reader.Reverse(ctx, 0, reader.Head().Size) {
		if err != nil {
			return false, fmt.Errorf("looking back in the audit log: %w", err)
		}
		if !bytes.Contains(stored.Line, []byte(`"root":{`)) && !bytes.Contains(stored.Line, []byte(`"outcome":"intent"`)) {
			continue
		}
		e, err := auditlog.ParseEntry(stored.Line)
		if err != nil {
			return false, fmt.Errorf("looking back in the audit log: %w: entry %d: %w", audit.ErrDamaged, stored.Index, err)
		}
		if e.Outcome == auditlog.Intent {
			c.changes.open = &intent{log: id, index: stored.Index, entry: *e}
		}
		if e.Root != nil {
			if id == c.log.Origin().Log {
				c.changes.marked = stored.Index
			}
			c.compare(*e.Root, rootHead(reader.Head()))
			return true, nil
		}
	}
	return false, nil
}

// compare finds out whether the store is older than the last root that its log names.
func (c *core) compare(last auditlog.Root, head store.LogHead) {
	root := c.state.Load().snap.RootID()
	if last.Revision < root.Revision || last.Revision == root.Revision && last.Digest == root.Digest {
		return
	}
	c.changes.gap = &finding{above: last.Revision, gap: store.Gap{
		ID: store.NewID(), Kind: store.GapStore, Log: head,
		Detail: fmt.Sprintf("the store is at revision %d, but its audit log has recorded revision %d: the store is older than its log", root.Revision, last.Revision),
		Root:   store.RootID{Lineage: last.Lineage, Revision: last.Revision, Digest: last.Digest},
	}}
}

// missing says whether an anchor is not contained in the log, by what its consistency proof answered.
func missing(err error) bool {
	return errors.Is(err, audit.ErrNotContained) || errors.Is(err, audit.ErrUnknownLog) || errors.Is(err, audit.ErrBeyondEnd)
}

// discover is called with an anchor, a checkpoint of ours, that the log did not contain a moment ago. Unless it belongs
// to a gap that is known, it is a new one: minting stops at once, then the gap goes into the root. The answer is the
// error for the one who showed the anchor.
func (c *core) discover(ctx context.Context, anchor auditlog.Checkpoint) error {
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
	if c.changes.gap == nil {
		gap := store.Gap{
			ID: store.NewID(), Kind: store.GapLog,
			Detail: fmt.Sprintf("a checkpoint of log %s with %d entries was shown that the log does not contain", anchor.Origin.Log, anchor.Size),
			Log:    store.LogHead{Log: anchor.Origin.Log, Size: anchor.Size, Hash: anchor.Hash},
		}
		if errors.Is(err, audit.ErrUnknownLog) {
			gap.Log.Size, gap.Log.Hash = 0, auditlog.EmptyHash() // all of it is lost
		}
		c.changes.gap = &finding{gap: gap}
		// Minting stops here. A token whose last look came before this has its entry below the end that moveLog reads.
		c.publish(c.store.Snapshot())
		c.logger.ErrorContext(ctx, "the audit log has a gap", slog.String("gap", gap.ID), slog.String("detail", gap.Detail))
	}
	answer.cause = c.settle(ctx)
	return answer
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

// settleGap brings a gap that was found into the root, and the log to the id that the root names. Every step is
// derived from what is durable, so a crash between two of them is made good by the next start.
func (c *core) settleGap(ctx context.Context) error {
	if found := c.changes.gap; found != nil && found.gap.Kind == store.GapStore {
		if err := c.commitGap(ctx, nil); err != nil {
			return err
		}
	}
	if c.changes.gap != nil || c.movedLog() != c.log.Origin().Log {
		if err := c.moveLog(ctx); err != nil {
			return err
		}
	}
	return c.announce(ctx)
}

// movedLog is the id of the log that the root says is the current one.
func (c *core) movedLog() string {
	head, _ := c.state.Load().snap.LogHead(c.node)
	return head.Log
}

// moveLog ends the current log where it stands and goes on in a new one. The gate keeps entries out from the moment
// when its end is read until the new log is open, or until it is known that the root has not taken it.
func (c *core) moveLog(ctx context.Context) error {
	c.gate.Lock()
	defer c.gate.Unlock()
	c.moving = true
	if c.changes.gap != nil {
		end := rootHead(c.log.Head())
		if err := c.commitGap(ctx, &end); err != nil {
			c.moving = errors.Is(err, store.ErrUnknown)
			return err
		}
	}
	first := c.firstEntry(c.state.Load().snap)
	if _, err := c.log.Rotate(ctx, c.movedLog(), &first); err != nil {
		return logError(err)
	}
	c.moving = false
	c.changes.marked = 0
	return nil
}

// commitGap makes the gap that was found part of the root. From its return on no restart mints before that gap is
// acknowledged. With an end it also ends the current log there: the root names the next one before it exists.
func (c *core) commitGap(ctx context.Context, end *store.LogHead) error {
	f := c.changes.gap
	snap := c.store.Snapshot()
	if _, known := findGap(snap, f.gap.ID); !known { // known: a commit before had an unknown outcome, and was made
		tx := c.store.Begin()
		// The head stays the one that the root has: a newer one might make an intent look committed that was not.
		head, _ := snap.LogHead(c.node)
		if end != nil {
			if err := tx.CloseLog(*end); err != nil {
				return storeError(err)
			}
			head = newLog()
		}
		f.gap.Node, f.gap.Found = c.node, c.now()
		if _, err := tx.OpenGap(f.gap, f.above); err != nil {
			return storeError(err)
		}
		if _, err := c.store.Commit(ctx, tx, head); err != nil {
			return storeError(err)
		}
	}
	c.changes.gap = nil
	c.publish(c.store.Snapshot())
	return nil
}

// announce writes the first entry of a log that was opened because of a gap.
func (c *core) announce(ctx context.Context) error {
	snap := c.state.Load().snap
	if c.log.Head().Size > 0 || len(snap.ClosedLogs(c.node)) == 0 {
		return nil
	}
	first := c.firstEntry(snap)
	_, err := c.record(ctx, &first, audit.AppendOptions{Privileged: true})
	return err
}

// firstEntry names the gap for which a log was opened, and where the log before it ends.
func (c *core) firstEntry(snap *store.Snapshot) auditlog.Entry {
	e := auditlog.Entry{Time: c.stamp(), Node: c.node, Action: string(actionGap), Outcome: auditlog.Done, Gap: &auditlog.Gap{Kind: store.GapLog}}
	for _, g := range snap.Gaps() {
		if g.Kind == store.GapLog && g.Node == c.node {
			e.Gap.ID, e.Reason = g.ID, g.Detail
		}
	}
	if closed := snap.ClosedLogs(c.node); len(closed) > 0 {
		last := closed[len(closed)-1]
		e.Gap.Log, e.Gap.Size, e.Gap.Hash = last.Log, last.Size, last.Hash
	}
	return e
}
