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
	reach, err := snap.reach()
	if err != nil {
		return nil, err
	}
	garbage := slices.DeleteFunc(listed, func(ref Ref) bool { return reach[ref] })
	if len(garbage) == 0 {
		return nil, nil
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
	// An empty commit reaches what the root before it did.
	return garbage, s.adopt(next)
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
