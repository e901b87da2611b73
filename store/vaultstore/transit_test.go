package vaultstore_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/vaultstore"
)

// transit makes a key in Vault and opens it with a token that may do anything.
func transit(t *testing.T, name string, data map[string]any) (*vaultstore.Transit, error) {
	t.Helper()
	v := theVault(t)
	if _, err := v.Root.Logical().Write("transit/keys/"+name, data); err != nil {
		t.Fatal(err)
	}
	cfg := config(t)
	cfg.Auth = vaultstore.Auth{TokenFile: file(t, v.Token)}
	return openTransit(t.Context(), cfg, "vault-transit:transit/"+name)
}

func TestTransit(t *testing.T) {
	v := theVault(t)
	k, err := openTransit(t.Context(), config(t), "vault-transit:transit/signet") // with the least policy
	if err != nil {
		t.Fatal(err)
	}
	var _ envelope.KEK = k
	if k.URI() != "vault-transit:transit/signet" {
		t.Errorf("URI = %q", k.URI())
	}
	key, aad := bytes.Repeat([]byte{7}, 32), []byte("signet root key v1, of this vault")
	w, err := k.Wrap(t.Context(), key, aad)
	if err != nil {
		t.Fatal(err)
	}
	opens := func(w []byte) {
		t.Helper()
		if got, err := k.Unwrap(t.Context(), w, aad); err != nil || !bytes.Equal(got, key) {
			t.Errorf("Unwrap = %x, %v", got, err)
		}
	}
	opens(w)
	if _, err := v.Root.Logical().Write("transit/keys/signet/rotate", nil); err != nil {
		t.Fatal(err)
	}
	opens(w)
	again, err := k.Wrap(t.Context(), key, aad)
	if err != nil || !bytes.HasPrefix(again, []byte("vault:v2:")) {
		t.Fatalf("Wrap = %.12s, %v, want one by version 2 after %.12s", again, err, w)
	}
	opens(again)

	other := []byte("signet root key v1, of another vault")
	cut := again[:len(again)-8]
	for name, tc := range map[string]struct{ wrapped, aad []byte }{
		"another context":              {w, other},
		"version 2, another context":   {again, other},
		"cut":                          {cut, aad},
		"of another KEK":               {[]byte("\x00\x01 of a file"), aad},
		"nothing":                      {nil, aad},
		"a version that there is none": {[]byte(strings.Replace(string(again), "v2", "v9", 1)), aad},
	} {
		if got, err := k.Unwrap(t.Context(), tc.wrapped, tc.aad); err == nil || got != nil {
			t.Errorf("%s: Unwrap = %x, %v", name, got, err)
		} else if name != "a version that there is none" && !errors.Is(err, envelope.ErrNotOpened) {
			t.Errorf("%s: Unwrap = %v, want ErrNotOpened", name, err)
		}
	}
	if _, err := k.Wrap(t.Context(), key, nil); err == nil {
		t.Error("something is wrapped without associated data")
	}

	// A version that Vault no longer lets anyone use is not one that did not wrap it: the operator can bring it back.
	if _, err := v.Root.Logical().Write("transit/keys/signet/config", map[string]any{"min_decryption_version": 2}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Unwrap(t.Context(), w, aad); err == nil || errors.Is(err, envelope.ErrNotOpened) {
		t.Errorf("Unwrap by a version that is not allowed = %v", err)
	}
	opens(again)
}

func TestTransitRefused(t *testing.T) {
	for name, data := range map[string]map[string]any{
		"plain": {}, "signs": {"type": "ed25519", "derived": true}, "rsa": {"type": "rsa-2048"},
	} {
		if _, err := transit(t, name, data); err == nil || !strings.Contains(err.Error(), "transit/"+name) {
			t.Errorf("%s: %v, want it refused by name", name, err)
		}
	}
	for _, uri := range []string{"vault-transit:", "vault-transit:transit", "vault-transit:a b/c", "file:kek", "vault-transit:transit/../x"} {
		if _, err := openTransit(t.Context(), config(t), uri); err == nil {
			t.Errorf("%s: it is opened", uri)
		}
	}
	cfg := config(t)
	cfg.Auth = vaultstore.Auth{TokenFile: file(t, theVault(t).Token)}
	if _, err := openTransit(t.Context(), cfg, "vault-transit:transit/nokey"); err == nil || !strings.Contains(err.Error(), "no such key") {
		t.Errorf("a key that is not there: %v", err)
	}
}

// A vault in Vault, whose root key a key of Vault wraps: created, opened by another, and by either of two KEKs alone.
func TestVaultInVault(t *testing.T) {
	at := fresh()
	b := open(t, config(t), at)
	k, err := openTransit(t.Context(), config(t), "vault-transit:transit/signet")
	if err != nil {
		t.Fatal(err)
	}
	memory := keks()[0]
	cfg := store.Config{Backend: b, KEKs: []envelope.KEK{k, memory}, Node: "n1", Now: time.Now}
	s, err := store.Create(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	tx := s.Begin()
	if err := tx.PutKey(store.Key{Name: "push", Kind: "apns", Created: time.Unix(1, 0).UTC()}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), tx, store.LogHead{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, kek := range cfg.KEKs {
		c := cfg
		c.Backend, c.KEKs = open(t, config(t), at), []envelope.KEK{kek}
		s, err := store.Open(t.Context(), c)
		if err != nil {
			t.Fatalf("with %s alone: %v", kek.URI(), err)
		}
		if _, ok := s.Snapshot().Key("push"); !ok {
			t.Errorf("with %s alone the key is not there", kek.URI())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := store.Create(t.Context(), cfg, nil); !errors.Is(err, store.ErrExists) {
		t.Errorf("Create again = %v, want ErrExists", err)
	}
}
