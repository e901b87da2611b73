package store

import (
	"context"
	"errors"
	"fmt"
)

// Collect deletes blobs that the root does not reach, as a Backend leaves them whose commits are not one transaction, and
// returns how many there were. It lists, makes an empty commit, and deletes what was listed and that commit's root does not
// reach: a commit that is still on its way, whose blobs may be among those listed, finds another root than it expects and
// cannot happen any more. It does nothing where there is nothing to delete.
//
// ErrConflict: the store has changed in the meantime, and nothing was deleted. A crash leaves garbage. Commits wait while
// it runs.
func (s *Store) Collect(ctx context.Context) (int, error) {
	s.commits.Lock()
	defer s.commits.Unlock()
	n, err := s.collect(ctx)
	if err != nil {
		return n, fmt.Errorf("collecting garbage: %w", err)
	}
	return n, nil
}

func (s *Store) collect(ctx context.Context) (int, error) {
	if s.closed.Load() {
		return 0, ErrClosed
	}
	if err := s.settle(ctx); err != nil {
		return 0, err
	}
	snap, err := s.reload(ctx)
	if err != nil {
		return 0, err
	}
	reach, err := snap.reach()
	if err != nil {
		return 0, err
	}
	var garbage []Ref
	for ref, err := range s.cfg.Backend.List(ctx) {
		if err != nil {
			return 0, err
		}
		if !reach[ref] {
			garbage = append(garbage, ref)
		}
	}
	if len(garbage) == 0 {
		return 0, nil
	}
	tx := newTx(snap, s.cfg.Node, s.cfg.Now)
	next, change, err := tx.build()
	if err != nil {
		return 0, err
	}
	if err := s.cfg.Backend.Swap(ctx, change); err != nil {
		if errors.Is(err, ErrUnknown) {
			s.unsettled = &unsettled{tx: tx.id, next: next}
		}
		return 0, err
	}
	// An empty commit reaches what the root before it did.
	if err := s.adopt(next); err != nil {
		return 0, err
	}
	return len(garbage), s.cfg.Backend.Delete(ctx, garbage...)
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
