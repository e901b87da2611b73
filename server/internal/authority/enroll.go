package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
)

// enroll makes the root know this node: its log's key, and the log that it is about to open. A node that has a log already is
// refused: that log lies where the node ran. A crash may leave a node whose log is empty, and that is enrolled again; but not where
// the log is empty because a gap has closed the one before it: such a node ran, and has written into the new one what the root does not
// know yet (law 7).
func (c *changer) enroll(ctx context.Context) error {
	err := retry(ctx, func() error {
		tx := c.store.Begin()
		if slices.Contains(tx.Snapshot().Nodes(), c.node) {
			if head, _ := tx.Snapshot().LogHead(c.node); head.Size > 0 || len(tx.Snapshot().ClosedLogs(c.node)) > 0 {
				return ErrEnrolled
			}
			return nil
		}
		key, err := newLogKey()
		if err != nil {
			return err
		}
		defer clear(key)
		if err := tx.PutSystem(logKeyName(c.node), key); err != nil {
			return storeError(err)
		}
		_, err = c.store.Commit(ctx, tx, newLog())
		return storeError(err)
	})
	if err == nil {
		c.publish()
	}
	return err
}

// ErrEnrolled is why a node is not enrolled.
var ErrEnrolled = errors.New("the vault has a node of this name already, and its log lies where that runs")

// enrolled commits a root that names the new node's log with the first entry in it, so that an empty directory does not pass for
// that log.
func (c *changer) enrolled(ctx context.Context) error {
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	return c.tries(ctx, func() error {
		if head, _ := c.state.Load().snap.LogHead(c.node); head.Log != c.log.Origin().Log || head.Size > 0 {
			return ErrEnrolled // by another process, in between
		}
		return c.commit(ctx, c.store.Begin(), auditlog.Entry{Action: string(actionEnroll)}, audit.AppendOptions{})
	})
}

// namesake says whether a process of this node's name is alive elsewhere.
func (c *changer) namesake(ctx context.Context) error {
	if !c.replicas.shared() {
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
