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
	"slices"
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

// TestPublicKey gets the public half of every version, whatever its state, and keeps no signer for it.
func TestPublicKey(t *testing.T) {
	s, b, _ := newVault(t, func(tx *store.Tx) error {
		addKey(t, tx, "k")
		addVersion(t, tx, "k")
		addKey(t, tx, "damaged")
		return nil
	})
	update(t, s, "k", revoke(1))
	k, _ := s.Snapshot().Key("k")
	for _, v := range k.Versions {
		public, err := s.PublicKey(t.Context(), nil, "k", v.Number)
		if err != nil || fingerprint(t, public) != v.Fingerprint {
			t.Errorf("version %d: %v", v.Number, err)
		}
	}
	if n := s.OpenKeys(); n != 0 {
		t.Errorf("%d keys are open", n)
	}
	if err := sign(t, s, "k", 2); err != nil { // and a signer that is open stays so
		t.Error(err)
	}
	if _, err := s.PublicKey(t.Context(), s.Snapshot(), "k", 2); err != nil {
		t.Error(err)
	}
	if err := sign(t, s, "k", 2); err != nil || s.OpenKeys() != 1 {
		t.Errorf("%d keys are open, %v", s.OpenKeys(), err)
	}
	_, err := s.PublicKey(t.Context(), nil, "k", 3)
	wantError(t, err, store.ErrNoVersion)
	_, err = s.PublicKey(t.Context(), nil, "nobody", 1)
	wantError(t, err, store.ErrNotFound)
	for ref, err := range b.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		b.SetBlob(ref, []byte("damaged"))
	}
	_, err = s.PublicKey(t.Context(), nil, "damaged", 1)
	wantError(t, err, store.ErrDamaged)
	closeStore(t, s)
	_, err = s.PublicKey(t.Context(), nil, "k", 1)
	if err == nil {
		t.Error("a public half after Close")
	}
}

// TestKeyIDOnce: a key that was made here has no key id until Apple has given it one, and then that.
func TestKeyIDOnce(t *testing.T) {
	s, _, cfg := newVault(t, func(tx *store.Tx) error {
		if err := tx.PutKey(store.Key{Name: "k", Kind: "apple-ads", Created: start}); err != nil {
			return err
		}
		der, v := newKey(t)
		v.KeyID = ""
		_, err := tx.AddVersion("k", v, der)
		return err
	})
	set := func(id string) func(store.Key) (store.Key, error) {
		return func(k store.Key) (store.Key, error) {
			k.Versions = slices.Clone(k.Versions)
			k.Versions[0].KeyID = id
			return k, nil
		}
	}
	update(t, s, "k", set("a273d0d3-4d9e-458c-a173-0db8619ca7d7"))
	k, _ := s.Snapshot().Key("k")
	changed, _ := set("b273d0d3-4d9e-458c-a173-0db8619ca7d7")(k)
	wantError(t, s.Begin().PutKey(changed), store.ErrInvalid)
	if again, _ := s.Snapshot().Key("k"); again.Versions[0].KeyID != "a273d0d3-4d9e-458c-a173-0db8619ca7d7" {
		t.Errorf("the key is %+v", again)
	}
	if err := sign(t, s, "k", 1); err != nil {
		t.Error(err)
	}
	storetest.CheckInvariants(t, cfg)
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
