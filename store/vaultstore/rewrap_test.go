package vaultstore_test

import (
	"bytes"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/kek"
	"github.com/p8signet/signet/store/storetest"
)

func fileKEK(t *testing.T) envelope.KEK {
	t.Helper()
	dir := t.TempDir()
	if err := kek.CreateFile(filepath.Join(dir, "kek")); err != nil {
		t.Fatal(err)
	}
	k, err := kek.Open("file:kek", dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// vaultOn makes a vault with one key in it.
func vaultOn(t *testing.T, b store.Backend, keks ...envelope.KEK) {
	t.Helper()
	s, err := store.Create(t.Context(), configOf(b, keks...), func(tx *store.Tx) error {
		return tx.PutKey(store.Key{Name: "push", Kind: "apns", Created: time.Unix(1, 0).UTC()})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func configOf(b store.Backend, keks ...envelope.KEK) store.Config {
	return store.Config{Backend: b, KEKs: keks, Node: "n1", Now: time.Now}
}

// opens says why the vault does not open, whole, with those KEKs.
func opens(t *testing.T, b store.Backend, keks ...envelope.KEK) error {
	t.Helper()
	s, err := store.Open(t.Context(), configOf(b, keks...))
	if err != nil {
		return err
	}
	if _, ok := s.Snapshot().Key("push"); !ok {
		t.Error("the key is not there")
	}
	return s.Close()
}

func rewrap(t *testing.T, b store.Backend, keks ...envelope.KEK) error {
	t.Helper()
	s, err := store.Open(t.Context(), configOf(b, keks...))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	w, err := s.Wrap(t.Context())
	if err != nil {
		return err
	}
	tx := s.Begin()
	if err := tx.Rewrap(w); err != nil {
		return err
	}
	_, err = s.Commit(t.Context(), tx, store.LogHead{})
	return err
}

// After a rotation in Vault, and a rewrap, the old version of the key may go: the vault opens without it, and the root of before
// does not.
func TestRewrapAfterRotation(t *testing.T) {
	v := theVault(t)
	k, err := transit(t, "rotated", map[string]any{"derived": true})
	if err != nil {
		t.Fatal(err)
	}
	in := func(op string, data map[string]any) {
		t.Helper()
		if _, err := v.Root.Logical().Write("transit/keys/rotated/"+op, data); err != nil {
			t.Fatal(err)
		}
	}
	b := storetest.Memory()
	vaultOn(t, b, k)
	in("rotate", nil)
	before := b.Clone()
	if err := rewrap(t, b, k); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]store.Backend{"before": before, "after": b} {
		if err := opens(t, b, k); err != nil {
			t.Errorf("the root of %s does not open while both versions are allowed: %v", name, err)
		}
	}
	in("config", map[string]any{"min_decryption_version": 2})
	if err := opens(t, b, k); err != nil {
		t.Errorf("with the new version alone: %v", err)
	}
	if err := opens(t, before, k); err == nil || !strings.Contains(err.Error(), "transit/rotated") || errors.Is(err, store.ErrWrongKEK) {
		t.Errorf("the root of before, with the new version alone: %v, want the KEK named, which may be allowed again", err)
	}
	in("config", map[string]any{"min_decryption_version": 1})
	if err := opens(t, before, k); err != nil {
		t.Errorf("the root of before, with the old version allowed again: %v", err)
	}
}

// A vault moves from a key in a file to one in Vault: one is added, the other dropped. In between each is enough alone.
func TestRewrapFromFileToTransit(t *testing.T) {
	f := fileKEK(t)
	k, err := openTransit(t.Context(), config(t), "vault-transit:transit/signet") // with the least policy
	if err != nil {
		t.Fatal(err)
	}
	at := fresh()
	vaultOn(t, open(t, config(t), at), f)
	alone := func(file, transit bool) {
		t.Helper()
		for k, want := range map[envelope.KEK]bool{f: file, k: transit} {
			err := opens(t, open(t, config(t), at), k)
			if (err == nil) != want || !want && !errors.Is(err, store.ErrWrongKEK) {
				t.Errorf("with %s alone: %v, want it to open: %v", k.URI(), err, want)
			}
		}
	}
	alone(true, false)
	if err := rewrap(t, open(t, config(t), at), k, f); err != nil {
		t.Fatal(err)
	}
	alone(true, true)
	if err := rewrap(t, open(t, config(t), at), k); err != nil {
		t.Fatal(err)
	}
	alone(false, true)
}

// A key that Vault has under another name does not open the vault, and neither does a wrap that was made for another one.
func TestTransitKEKs(t *testing.T) {
	one, err := transit(t, "one", map[string]any{"derived": true})
	if err != nil {
		t.Fatal(err)
	}
	two, err := transit(t, "two", map[string]any{"derived": true})
	if err != nil {
		t.Fatal(err)
	}
	b := storetest.Memory()
	vaultOn(t, b, one)
	if err := opens(t, b, two); !errors.Is(err, store.ErrWrongKEK) {
		t.Errorf("with another key of Vault's: %v, want ErrWrongKEK", err)
	}
	key, err := envelope.NewRootKey()
	if err != nil {
		t.Fatal(err)
	}
	w, err := key.Wrap(t.Context(), one, "vault-1")
	if err != nil {
		t.Fatal(err)
	}
	for vault, want := range map[string]error{"vault-1": nil, "vault-2": envelope.ErrNotOpened} {
		if _, err := envelope.Unwrap(t.Context(), []envelope.KEK{two, one}, vault, key.ID(), []envelope.Wrapped{w}); !errors.Is(err, want) {
			t.Errorf("%s: Unwrap = %v, want %v", vault, err, want)
		}
	}
}

// With Vault gone a vault that a file opens too still opens; it is not rewrapped, and the answer says which KEK it is.
func TestRewrapWithoutVault(t *testing.T) {
	p := newProxy(t)
	k, err := openTransit(t.Context(), p.config(t), "vault-transit:transit/signet")
	if err != nil {
		t.Fatal(err)
	}
	f, b := fileKEK(t), storetest.Memory()
	vaultOn(t, b, f, k)
	p.set(always(func(*http.Request) bool { return true }, hangs))
	for _, keks := range [][]envelope.KEK{{f, k}, {k, f}} {
		began := time.Now()
		if err := opens(t, b, keks...); err != nil || time.Since(began) > 10*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	}
	if err := opens(t, b, k); err == nil || errors.Is(err, store.ErrWrongKEK) {
		t.Errorf("with Vault's alone: %v, want it not taken for a wrong KEK", err)
	}
	before, err := b.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = rewrap(t, b, f, k)
	if sick, ok := errors.AsType[*store.KEKError](err); !ok || sick.URI != k.URI() {
		t.Errorf("rewrap = %v, want Vault's KEK named", err)
	}
	if after, err := b.Root(t.Context()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the root has changed, %v", err)
	}
}
