package store_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

func TestSigner(t *testing.T) {
	s, _, _ := newVault(t, func(tx *store.Tx) error {
		addKey(t, tx, "k")
		addVersion(t, tx, "k")
		return nil
	})
	old := s.Snapshot()
	one, err := s.Signer(t.Context(), old, "k", 1)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Signer(t.Context(), old, "k", 1); err != nil || again != one {
		t.Errorf("a second Signer is another one: %v", err)
	}
	if one.Proven() {
		t.Error("a fresh Signer is proven")
	}
	one.SetProven()
	if !one.Proven() {
		t.Error("SetProven has no effect")
	}
	k, _ := old.Key("k")
	if one.Fingerprint() != k.Versions[0].Fingerprint || fingerprint(t, one.Public()) != one.Fingerprint() {
		t.Error("the Signer is another key's")
	}
	digest := sha256.Sum256([]byte("x"))
	a, err := one.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	b, err := one.Sign(nil, digest[:], crypto.SHA256)
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("two signatures of RFC 6979 differ: %v", err)
	}
	b, err = one.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || bytes.Equal(a, b) {
		t.Errorf("a randomized signature is that of RFC 6979: %v", err)
	}
	_, err = s.Signer(t.Context(), nil, "k", 3)
	wantError(t, err, store.ErrNoVersion)
	_, err = s.Signer(t.Context(), nil, "nobody", 1)
	wantError(t, err, store.ErrNotFound)

	// Disabling says nothing to the signer.
	update(t, s, "k", func(k store.Key) (store.Key, error) { return k.Disable(), nil })
	if err := sign(t, s, "k", 1); err != nil {
		t.Errorf("disabled: %v", err)
	}
	// Revoking does, on old snapshots too.
	update(t, s, "k", revoke(1))
	_, err = one.Sign(nil, digest[:], crypto.SHA256)
	wantError(t, err, store.ErrClosed)
	for _, snap := range []*store.Snapshot{nil, old} {
		_, err = s.Signer(t.Context(), snap, "k", 1)
		wantError(t, err, store.ErrVersionOver)
	}
	if err := sign(t, s, "k", 2); err != nil {
		t.Errorf("the other version: %v", err)
	}
	two, err := s.Signer(t.Context(), nil, "k", 2)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	_, err = two.Sign(nil, digest[:], crypto.SHA256)
	wantError(t, err, store.ErrClosed)
	_, err = s.Signer(t.Context(), nil, "k", 2)
	wantError(t, err, store.ErrClosed)
	_, err = s.Commit(t.Context(), s.Begin(), head(3))
	wantError(t, err, store.ErrClosed)
	if err := s.Begin().PutDocument("d", nil); !errors.Is(err, store.ErrClosed) {
		t.Errorf("PutDocument after Close = %v, want ErrClosed", err)
	}
}

// hookBackend calls onGet before each Get.
type hookBackend struct {
	store.Backend
	onGet func()
}

func (b *hookBackend) Get(ctx context.Context, ref store.Ref) ([]byte, error) {
	b.onGet()
	return b.Backend.Get(ctx, ref)
}

// TestSignerRevokedMeanwhile revokes a version while its signer is being opened:
// it must not get into the cache after it was dropped from there.
func TestSignerRevokedMeanwhile(t *testing.T) {
	_, m, cfg := newVault(t, func(tx *store.Tx) error { addKey(t, tx, "k"); return nil })
	b := &hookBackend{Backend: m, onGet: func() {}}
	cfg.Backend = b
	s := openVault(t, cfg)
	snap := s.Snapshot()
	b.onGet = func() {
		b.onGet = func() {}
		update(t, s, "k", revoke(1))
	}
	for range 2 {
		_, err := s.Signer(t.Context(), snap, "k", 1)
		wantError(t, err, store.ErrVersionOver)
	}
}

// TestConcurrent has readers, signers and commits at once; -race looks.
func TestConcurrent(t *testing.T) {
	s, _, cfg := newVault(t, func(tx *store.Tx) error {
		for i := range 8 {
			addKey(t, tx, fmt.Sprint("k", i))
		}
		return nil
	})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := i; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				snap := s.Snapshot()
				name := fmt.Sprint("k", n%8)
				k, ok := snap.Key(name)
				if !ok {
					t.Errorf("%s is gone", name)
					return
				}
				c, err := s.Signer(t.Context(), snap, name, 1)
				if errors.Is(err, store.ErrVersionOver) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				digest := sha256.Sum256(nil)
				sig, err := c.Sign(nil, digest[:], crypto.SHA256)
				if errors.Is(err, store.ErrClosed) {
					continue // revoked meanwhile
				}
				pub, ok := c.Public().(*ecdsa.PublicKey)
				if err != nil || !ok || !ecdsa.VerifyASN1(pub, digest[:], sig) || k.Name != name {
					t.Errorf("%s: wrong signature: %v", name, err)
					return
				}
			}
		})
	}
	for i := range 8 {
		name := fmt.Sprint("k", i)
		snap := update(t, s, name, revoke(0))
		if _, err := s.Signer(t.Context(), snap, name, 1); !errors.Is(err, store.ErrVersionOver) {
			t.Errorf("after the revocation of %s: %v", name, err)
		}
	}
	close(stop)
	wg.Wait()
	storetest.CheckInvariants(t, cfg)
}
