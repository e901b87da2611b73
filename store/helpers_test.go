package store_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/storetest"
)

// start is when the tests begin.
var start = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func config(b store.Backend, keks ...envelope.KEK) store.Config {
	return store.Config{Backend: b, KEKs: keks, Node: "n1", Now: func() time.Time { return start }}
}

// newVault creates a vault in memory.
func newVault(t testing.TB, init func(*store.Tx) error) (*store.Store, *storetest.MemoryBackend, store.Config) {
	t.Helper()
	b := storetest.Memory()
	cfg := config(b, storetest.KEK())
	s, err := store.Create(t.Context(), cfg, init)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s, b, cfg
}

func closeStore(t testing.TB, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func openVault(t testing.TB, cfg store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

// newKey draws a P-256 key.
func newKey(t testing.TB) ([]byte, store.KeyVersion) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return der, store.KeyVersion{KeyID: "ABC1234567", Fingerprint: fingerprint(t, k.Public()), Created: start}
}

func fingerprint(t testing.TB, pub any) string {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(spki)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// addKey puts a new key with one version into tx.
func addKey(t testing.TB, tx *store.Tx, name string) store.Key {
	t.Helper()
	if err := tx.PutKey(store.Key{Name: name, Kind: "app-store-connect", Created: start}); err != nil {
		t.Fatalf("PutKey %s: %v", name, err)
	}
	return addVersion(t, tx, name)
}

func addVersion(t testing.TB, tx *store.Tx, name string) store.Key {
	t.Helper()
	der, v := newKey(t)
	k, err := tx.AddVersion(name, v, der)
	if err != nil {
		t.Fatalf("AddVersion %s: %v", name, err)
	}
	return k
}

func commit(t testing.TB, s *store.Store, change func(*store.Tx)) *store.Snapshot {
	t.Helper()
	tx := s.Begin()
	if change != nil {
		change(tx)
	}
	snap, err := s.Commit(t.Context(), tx, head(1))
	if err != nil {
		t.Fatalf("Commit: %v", err)
	}
	return snap
}

// update commits what f makes of a key.
func update(t testing.TB, s *store.Store, name string, f func(store.Key) (store.Key, error)) *store.Snapshot {
	t.Helper()
	return commit(t, s, func(tx *store.Tx) {
		k, ok := tx.Key(name)
		if !ok {
			t.Fatalf("key %s is not there", name)
		}
		k, err := f(k)
		if err != nil {
			t.Fatalf("changing key %s: %v", name, err)
		}
		if err := tx.PutKey(k); err != nil {
			t.Fatalf("PutKey %s: %v", name, err)
		}
	})
}

func revoke(n int) func(store.Key) (store.Key, error) {
	return func(k store.Key) (store.Key, error) { return k.Revoke(n, start) }
}

func head(n int64) store.LogHead {
	return store.LogHead{Log: "log1", Size: n, Hash: sha256.Sum256([]byte{byte(n)})}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error = %v, want %v", err, want)
	}
}

// sign signs with a version and verifies it.
func sign(t testing.TB, s *store.Store, name string, version int) error {
	t.Helper()
	c, err := s.Signer(t.Context(), nil, name, version)
	if err != nil {
		return err
	}
	digest := sha256.Sum256([]byte(name))
	sig, err := c.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	pub, ok := c.Public().(*ecdsa.PublicKey)
	if !ok || !ecdsa.VerifyASN1(pub, digest[:], sig) {
		t.Fatalf("the signature of %s is wrong", name)
	}
	return nil
}
