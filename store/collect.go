package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Collect deletes blobs that the root does not reach, as a Backend leaves them whose commits are not one transaction, and
// returns how many there were. It lists, makes an empty commit, and deletes what was listed and that commit's root does not
// reach: a commit that is still on its way, whose blobs may be among those listed, finds another root than it expects and
// cannot happen any more. It does nothing where there is nothing to delete.
//
// ErrConflict: the store has changed in the meantime, and nothing was deleted. A crash leaves garbage. Commits wait only
// for the empty one.
func (s *Store) Collect(ctx context.Context) (int, error) {
	garbage, err := s.garbage(ctx)
	if err == nil && len(garbage) > 0 {
		err = s.cfg.Backend.Delete(ctx, garbage...)
	}
	if err != nil {
		return 0, fmt.Errorf("collecting garbage: %w", err)
	}
	return len(garbage), nil
}

// garbage is what nothing reaches and nothing can come to reach.
func (s *Store) garbage(ctx context.Context) ([]Ref, error) {
	var listed []Ref
	for ref, err := range s.cfg.Backend.List(ctx) {
		if err != nil {
			return nil, err
		}
		listed = append(listed, ref)
	}
	var garbage []Ref
	_, err := s.confirm(ctx, func(snap *Snapshot) (bool, error) {
		reach, err := snap.reach()
		garbage = slices.DeleteFunc(listed, func(ref Ref) bool { return reach[ref] })
		return len(garbage) > 0, err
	})
	if err != nil {
		return nil, err
	}
	return garbage, nil // an empty commit reaches what the root before it did
}

// Confirm makes an empty commit and returns the state of its root. What is read may be old; but this was the root when the commit
// was made, and no commit that began on one before it can happen any more. The errors are those of Commit.
func (s *Store) Confirm(ctx context.Context) (*Snapshot, error) {
	snap, err := s.confirm(ctx, func(*Snapshot) (bool, error) { return true, nil })
	if err != nil {
		return nil, fmt.Errorf("making an empty commit: %w", err)
	}
	return snap, nil
}

// confirm is Confirm, unless wanted says of the state before that it would be for nothing.
func (s *Store) confirm(ctx context.Context, wanted func(*Snapshot) (bool, error)) (*Snapshot, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.unlock()
	if err := s.settle(ctx); err != nil {
		return nil, err
	}
	snap, err := s.reload(ctx)
	if err != nil {
		return nil, err
	}
	if ok, err := wanted(snap); !ok || err != nil {
		return nil, err
	}
	tx := newTx(snap, s.cfg.Node, s.cfg.Now)
	next, change, err := tx.build()
	if err != nil {
		return nil, err
	}
	if err := s.cfg.Backend.Swap(ctx, change); err != nil {
		if errors.Is(err, ErrUnknown) {
			s.unsettled = &unsettled{tx: tx.id, next: next}
		}
		return nil, err
	}
	return next, s.adopt(next)
}

// reach is all that the root reaches. Where a shard does not open that cannot be told.
func (s *Snapshot) reach() (map[Ref]bool, error) {
	reach := map[Ref]bool{}
	for _, sh := range s.shards {
		if sh.err != nil {
			return nil, sh.err
		}
		if sh.at.empty() {
			continue
		}
		reach[sh.at.ref] = true
		for _, e := range sh.entries {
			reach[e.ref] = true
		}
	}
	return reach, nil
}
