package authority

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store"
)

// anchors keeps the node's latest checkpoint in the store that replicas share: an anchor (law 7) on another machine, which shows
// that the node's log was rolled back even where its disk, and all that remembered, was. One goroutine uses it at a time.
type anchors struct {
	verifier note.Verifier
	version  uint64 // of the register
	last     []byte // the note that is there
}

func anchorName(node string) string { return "checkpoint." + node }

// publishAnchor puts the latest checkpoint where the last one is.
func (c *changer) publishAnchor(ctx context.Context) error {
	latest := c.log.Checkpoint()
	if latest == nil || bytes.Equal(latest, c.anchors.last) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	err := c.store.SetRegister(ctx, anchorName(c.node), c.anchors.version, latest)
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrUnknown) {
		// What is there is ours, or tells that this log is not all there was.
		if rerr := c.readAnchor(ctx); rerr != nil {
			return errors.Join(storeError(err), rerr)
		}
		if bytes.Equal(latest, c.anchors.last) {
			return nil
		}
		return storeError(err)
	}
	if err != nil {
		return storeError(err)
	}
	c.anchors.version++
	c.anchors.last = latest
	c.anchored.Store(c.now().UnixNano())
	return nil
}

// readAnchor reads what is there, and holds it against the log: a checkpoint of ours that the log does not contain is a gap.
// What is none of ours is overwritten the next time.
func (c *changer) readAnchor(ctx context.Context) error {
	text, version, err := c.store.Register(ctx, anchorName(c.node))
	if errors.Is(err, store.ErrDamaged) {
		c.logger.ErrorContext(ctx, "the checkpoint in the store is not one of ours and is replaced", slog.Any("error", err))
		c.anchors.version, c.anchors.last = version, nil
		return nil
	}
	if err != nil {
		return storeError(err)
	}
	c.anchors.version, c.anchors.last = version, text
	if version == 0 {
		return nil
	}
	anchor, err := auditlog.OpenCheckpoint(text, c.anchors.verifier)
	if err != nil {
		c.logger.ErrorContext(ctx, "the checkpoint in the store is not one of ours and is replaced", slog.Any("error", err))
		return nil
	}
	if _, err = c.log.ProveConsistency(ctx, anchor); missing(err) && !belongs(anchor, c.state.Load().snap.Gaps()) {
		c.logger.ErrorContext(ctx, "the log does not contain the checkpoint that this node left in the store", slog.Any("error", inFull(c.discover(ctx, anchor))))
	}
	return nil
}

// lastAnchored is when a checkpoint that the log contains was last known to lie outside, since the start; zero if none was.
func (c *changer) lastAnchored() time.Time {
	if at := c.anchored.Load(); at != 0 {
		return time.Unix(0, at).UTC()
	}
	return time.Time{}
}

// leaveAnchor leaves the checkpoint of an end in order, as far as that can be done soon.
func (c *changer) leaveAnchor(ctx context.Context) {
	if !c.replicas.shared() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	if err := c.publishAnchor(ctx); err != nil {
		c.logger.WarnContext(ctx, "the last checkpoint could not be left in the store", slog.Any("error", inFull(err)))
	}
}
