package store

import (
	"context"
	"fmt"
)

// CommitOnOlder commits a change on top of the root that is in place, where that is older than the state that is current here, or lacks
// what that has: the store was brought back from an older copy, as a Vault is from a snapshot. What edit makes must have a higher
// revision than the current state (Tx.OpenGap), and is the current state from then on. It says whether that has happened; where the
// root is not older after all, edit is not called, and a newer one is adopted.
//
// That the root is older is no more than a read says, and a read may be stale. But the commit happens only if the root that was read is
// in place: whoever is answered ErrConflict was told of a root that is not. ErrUnknown: it may have happened, or may still happen, and
// then it is found in the root. Nothing is left to settle, for a call again makes the same change on the same root, and of those at
// most one happens. Any other error: it has not happened. A crash leaves the change whole or not at all.
func (s *Store) CommitOnOlder(ctx context.Context, edit func(*Tx) error) (bool, error) {
	if err := s.lock(ctx); err != nil {
		return false, fmt.Errorf("committing on an older root: %w", err)
	}
	defer s.unlock()
	happened, err := s.commitOnOlder(ctx, edit)
	if err != nil {
		return false, fmt.Errorf("committing on an older root: %w", err)
	}
	return happened, nil
}

func (s *Store) commitOnOlder(ctx context.Context, edit func(*Tx) error) (bool, error) {
	raw, err := s.cfg.Backend.Root(ctx)
	if err != nil {
		return false, err
	}
	cur := s.Snapshot()
	if digest(raw) == cur.id.Digest {
		return false, nil
	}
	older, err := s.src.load(ctx, raw, cur)
	if err != nil {
		return false, err
	}
	if older.id.Revision > cur.id.Revision && older.follows(cur) {
		return false, s.adopt(older)
	}
	next, change, err := s.buildOn(older, edit)
	if err == nil && next.id.Revision <= cur.id.Revision {
		err = fmt.Errorf("it would be older than what is known: %w", ErrInvalid)
	}
	if err == nil {
		err = s.cfg.Backend.Swap(ctx, change)
	}
	if err != nil {
		older.discard(cur)
		return false, err
	}
	return true, s.adopt(next)
}

// buildOn makes a change on a snapshot that need not be the current one.
func (s *Store) buildOn(base *Snapshot, edit func(*Tx) error) (*Snapshot, Change, error) {
	tx := newTx(base, s.cfg.Node, s.cfg.Now)
	if err := edit(tx); err != nil {
		return nil, Change{}, err
	}
	return tx.build()
}
