package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/p8signet/signet/store/envelope"
)

// KEKError is a KEK that did not do its part when the root keys were to be wrapped: it did not answer, or what it wrapped
// does not open.
type KEKError struct {
	URI string
	Err error
}

// Error says which it is and why.
func (e *KEKError) Error() string { return e.Err.Error() }

// Unwrap is what the KEK said.
func (e *KEKError) Unwrap() error { return e.Err }

// What becomes of a KEK when the root keys are wrapped anew.
const (
	KEKAdded   = "added"   // it wraps them from now on
	KEKRenewed = "renewed" // it wrapped them, and has done so again, with the newest version of its key
	KEKDropped = "dropped" // it is not configured any more: it opens this root no longer
)

// KEKChange is what becomes of one KEK.
type KEKChange struct {
	URI    string
	Change string // KEKAdded, KEKRenewed or KEKDropped
}

// Wraps are the root keys of a vault, wrapped anew and not committed yet, for Tx.Rewrap. They are no secret.
type Wraps struct {
	keks []string
	keys []rootKey
}

// Wrap wraps every root key under every KEK that the store is configured with, and has each KEK open its wrap again. It changes
// nothing and holds up nobody: a KEK may take as long as a call to a remote service does. One that does not answer, or does not
// open what it wrapped, is a *KEKError, and then there are no Wraps at all: none is left out in silence.
func (s *Store) Wrap(ctx context.Context) (*Wraps, error) {
	snap := s.Snapshot()
	w := &Wraps{}
	for _, kek := range s.cfg.KEKs {
		w.keks = append(w.keks, kek.URI())
	}
	for _, old := range snap.root.Keys {
		k := rootKey{ID: old.ID}
		for _, kek := range s.cfg.KEKs {
			wrapped, err := snap.keys[old.ID].Wrap(ctx, kek, snap.root.Vault)
			switch {
			case errors.Is(err, envelope.ErrWiped):
				return nil, fmt.Errorf("wrapping the root key: %w", ErrClosed)
			case err != nil:
				return nil, &KEKError{kek.URI(), err}
			}
			k.Wraps = append(k.Wraps, wrapped)
		}
		w.keys = append(w.keys, k)
	}
	return w, nil
}

// KEKs are the URIs of the KEKs that wrap every root key, as they were configured when they wrapped.
func (s *Snapshot) KEKs() []string {
	var uris []string
	for _, w := range s.root.Keys[0].Wraps {
		if !slices.ContainsFunc(s.root.Keys, func(k rootKey) bool { return !k.wrappedBy(w.KEK) }) {
			uris = append(uris, w.KEK)
		}
	}
	return uris
}

func (k rootKey) wrappedBy(uri string) bool {
	return slices.ContainsFunc(k.Wraps, func(w envelope.Wrapped) bool { return w.KEK == uri })
}

// Changes are what w makes of the KEKs of a snapshot: those that are configured, in their order, then those that are dropped.
func (w *Wraps) Changes(s *Snapshot) []KEKChange {
	var changes []KEKChange
	had := s.KEKs()
	for _, uri := range w.keks {
		change := KEKAdded
		if slices.Contains(had, uri) {
			change = KEKRenewed
		}
		changes = append(changes, KEKChange{uri, change})
	}
	named := slices.Clone(w.keks)
	for _, k := range s.root.Keys {
		for _, wrapped := range k.Wraps {
			if !slices.Contains(named, wrapped.KEK) {
				named = append(named, wrapped.KEK)
				changes = append(changes, KEKChange{wrapped.KEK, KEKDropped})
			}
		}
	}
	return changes
}

// Rewrap replaces the wraps of every root key by w. Root keys and records stay as they are: a KEK that is dropped, or an earlier
// version of one, opens the roots of before for as long as copies of them last. ErrConflict: the vault has other root keys by now
// than w was made for.
func (t *Tx) Rewrap(w *Wraps) error {
	if !sameKeys(t.base.root.Keys, w.keys) {
		return fmt.Errorf("rewrapping: the root keys are others by now: %w", ErrConflict)
	}
	t.next.Keys = slices.Clone(w.keys)
	return nil
}
