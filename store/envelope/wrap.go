package envelope

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// KEK wraps root keys. Implementations are in store/kek.
//
// Both methods are safe for concurrent use and may take as long as a call to a
// remote service does.
type KEK interface {
	// URI says which KEK this is, as configured: "file:kek".
	URI() string
	// Wrap seals key. The same aad must be given to Unwrap.
	Wrap(ctx context.Context, key, aad []byte) ([]byte, error)
	// Unwrap opens what Wrap made; the caller wipes the key. An error matches
	// ErrNotOpened exactly when the KEK was asked and says that this is not its
	// work, or not for this aad.
	Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error)
}

// Wrapped is a root key under one KEK, as the root keeps it.
type Wrapped struct {
	KEK string `json:"kek"` // its URI when it wrapped
	Key []byte `json:"key"`
}

func wrapAAD(vault string, id [idSize]byte) []byte {
	var b []byte
	for _, s := range []string{"signet root key v1", vault, string(id[:])} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // ids are short
		b = append(b, s...)
	}
	return b
}

// Wrap wraps the root key for a vault, and has the KEK open that again: what it
// returns opens. A KEK that may only wrap, or that gives back another key, is
// found out while the root key is still at hand, and not when nothing else opens
// it any more.
func (k *RootKey) Wrap(ctx context.Context, kek KEK, vault string) (w Wrapped, err error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.aead == nil {
		return Wrapped{}, ErrWiped
	}
	Secret(func() { w, err = k.wrap(ctx, kek, wrapAAD(vault, k.id)) })
	return w, err
}

func (k *RootKey) wrap(ctx context.Context, kek KEK, aad []byte) (Wrapped, error) {
	w, err := kek.Wrap(ctx, k.key, aad)
	if err != nil {
		return Wrapped{}, fmt.Errorf("wrapping the root key by %s: %w", kek.URI(), err)
	}
	key, err := kek.Unwrap(ctx, w, aad)
	defer clear(key)
	if err != nil {
		return Wrapped{}, fmt.Errorf("opening what %s has just wrapped: %w", kek.URI(), err)
	}
	if subtle.ConstantTimeCompare(key, k.key) != 1 {
		return Wrapped{}, fmt.Errorf("opening what %s has just wrapped: it gives back another key", kek.URI())
	}
	return Wrapped{KEK: kek.URI(), Key: w}, nil
}

// Unwrap opens root key id of the vault with the first KEK that can. A KEK is
// tried on the wraps that name its URI, then on others of its scheme (a key
// file may have moved). The error matches ErrNotOpened when every KEK was asked
// and none opens.
func Unwrap(ctx context.Context, keks []KEK, vault, id string, wraps []Wrapped) (*RootKey, error) {
	var rid [idSize]byte
	if b, err := hex.DecodeString(id); err != nil || len(b) != idSize || hex.EncodeToString(b) != id {
		return nil, fmt.Errorf("the id of a root key is %d lower-case hexadecimal digits", 2*idSize)
	} else {
		copy(rid[:], b)
	}
	if len(keks) == 0 {
		return nil, errors.New("no KEK is configured")
	}
	var errs []error
	for _, kek := range keks {
		for _, w := range candidates(kek, wraps) {
			root, err := unwrap(ctx, kek, w, vault, rid)
			if err == nil {
				return root, nil
			}
			errs = append(errs, fmt.Errorf("%s on the wrap by %s: %w", kek.URI(), w.KEK, err))
		}
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("no wrap of a kind that the configured KEKs (%s) make; there are: %s: %w",
			uris(keks), names(wraps), ErrNotOpened)
	}
	others := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return errors.Is(err, ErrNotOpened) })
	if len(others) > 0 {
		return nil, unavailable{errors.Join(errs...), others}
	}
	return nil, errors.Join(errs...)
}

func unwrap(ctx context.Context, kek KEK, w Wrapped, vault string, id [idSize]byte) (root *RootKey, err error) {
	Secret(func() {
		var key []byte
		if key, err = kek.Unwrap(ctx, w.Key, wrapAAD(vault, id)); err == nil {
			root, err = newRootKey(id, key)
		}
	})
	return root, err
}

// unavailable says what every KEK said, and is only those errors that are not
// ErrNotOpened: as long as one KEK could not be asked, none is known to be wrong.
type unavailable struct {
	all    error
	others []error
}

func (u unavailable) Error() string   { return u.all.Error() }
func (u unavailable) Unwrap() []error { return u.others }

func candidates(kek KEK, wraps []Wrapped) []Wrapped {
	scheme, _, _ := strings.Cut(kek.URI(), ":")
	var same, other []Wrapped
	for _, w := range wraps {
		if w.KEK == kek.URI() {
			same = append(same, w)
		} else if s, _, _ := strings.Cut(w.KEK, ":"); s == scheme {
			other = append(other, w)
		}
	}
	return append(same, other...)
}

func uris(keks []KEK) string {
	var s []string
	for _, k := range keks {
		s = append(s, k.URI())
	}
	return strings.Join(s, ", ")
}

func names(wraps []Wrapped) string {
	var s []string
	for _, w := range wraps {
		s = append(s, w.KEK)
	}
	return strings.Join(s, ", ")
}
