package store_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/storetest"
)

func TestCreateOpen(t *testing.T) {
	s, _, cfg := newVault(t, func(tx *store.Tx) error {
		addKey(t, tx, "one")
		return tx.SetLogHead(head(0))
	})
	snap := s.Snapshot()
	if id := snap.RootID(); id.Revision != 1 || id.Lineage == "" || !strings.HasPrefix(id.Digest, "sha256:") {
		t.Errorf("RootID = %+v", id)
	}
	if h, ok := snap.LogHead("n1"); !ok || h != head(0) {
		t.Errorf("LogHead = %+v, %v", h, ok)
	}
	if _, ok := snap.LogHead("n2"); ok {
		t.Error("a node that never committed has a log head")
	}
	if err := sign(t, s, "one", 1); err != nil {
		t.Error(err)
	}
	again := openVault(t, cfg)
	if diff := cmp.Diff(snap.RootID(), again.Snapshot().RootID()); diff != "" {
		t.Errorf("the root after opening (-want +got):\n%s", diff)
	}
	k, ok := again.Snapshot().Key("one")
	want, _ := snap.Key("one")
	if !ok || !k.Equal(want) {
		t.Errorf("the key after opening is %+v, want %+v", k, want)
	}
	if err := sign(t, again, "one", 1); err != nil {
		t.Error(err)
	}
	storetest.CheckInvariants(t, cfg)
}

func TestCreateRefuses(t *testing.T) {
	_, b, cfg := newVault(t, nil)
	before, err := b.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Create(t.Context(), cfg, nil)
	wantError(t, err, store.ErrExists)
	if after, err := b.Root(t.Context()); err != nil || !bytes.Equal(before, after) {
		t.Error("a vault that was there has changed")
	}

	failed := errors.New("init failed")
	fresh := storetest.Memory()
	_, err = store.Create(t.Context(), config(fresh, storetest.KEK()), func(*store.Tx) error { return failed })
	wantError(t, err, failed)
	_, err = fresh.Root(t.Context())
	wantError(t, err, store.ErrNoRoot)

	for name, cfg := range map[string]store.Config{
		"no backend": {KEKs: cfg.KEKs, Node: "n1", Now: cfg.Now},
		"no KEK":     {Backend: fresh, Node: "n1", Now: cfg.Now},
		"bad node":   {Backend: fresh, KEKs: cfg.KEKs, Node: "n 1", Now: cfg.Now},
		"bad vault":  {Backend: fresh, KEKs: cfg.KEKs, Node: "n1", Vault: "a/b", Now: cfg.Now},
		"no clock":   {Backend: fresh, KEKs: cfg.KEKs, Node: "n1"},
	} {
		if _, err := store.Create(t.Context(), cfg, nil); err == nil {
			t.Errorf("%s: created", name)
		}
		if _, err := store.Open(t.Context(), cfg); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	s, b, cfg := newVault(t, nil)
	vault := s.Snapshot().Vault()
	tests := []struct {
		name  string
		cfg   store.Config
		want  error
		words []string
	}{
		{"no root", config(storetest.Memory(), cfg.KEKs...), store.ErrNoRoot, nil},
		{"another KEK", config(b, storetest.KEK()), store.ErrWrongKEK, []string{vault, "memory:test"}},
		{"a KEK of another kind", config(b, uriKEK{cfg.KEKs[0], "file:kek"}), store.ErrWrongKEK, []string{"file:kek", "memory:test"}},
		{"another vault", store.Config{Backend: b, KEKs: cfg.KEKs, Node: "n1", Now: cfg.Now, Vault: "other"}, store.ErrOtherVault, []string{vault, "other"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			_, err := store.Open(t.Context(), tc.cfg)
			wantError(t, err, tc.want)
			for _, w := range tc.words {
				if err != nil && !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not name %q", err, w)
				}
			}
		})
	}
	// A KEK that cannot be asked is not a wrong one.
	_, err := store.Open(t.Context(), config(b, downKEK{cfg.KEKs[0]}))
	wantError(t, err, errDown)
	if errors.Is(err, store.ErrWrongKEK) {
		t.Errorf("%v says that the KEK is wrong", err)
	}
	// The second of two is enough.
	openVault(t, config(b, downKEK{uriKEK{cfg.KEKs[0], "memory:other"}}, cfg.KEKs[0]))
}

type uriKEK struct {
	envelope.KEK
	uri string
}

func (k uriKEK) URI() string { return k.uri }

var errDown = errors.New("the KEK's service is down")

type downKEK struct{ envelope.KEK }

func (downKEK) Unwrap(context.Context, []byte, []byte) ([]byte, error) { return nil, errDown }

func TestSeveralKEKs(t *testing.T) {
	a, b := storetest.KEK(), storetest.KEK()
	m := storetest.Memory()
	s, err := store.Create(t.Context(), config(m, uriKEK{a, "memory:a"}, uriKEK{b, "memory:b"}), nil)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	openVault(t, config(m, uriKEK{a, "memory:a"}))
	openVault(t, config(m, uriKEK{b, "memory:b"}))
	openVault(t, config(m, uriKEK{b, "memory:moved"}))
}

func TestCommitConflict(t *testing.T) {
	s, _, _ := newVault(t, nil)
	tx, other := s.Begin(), s.Begin()
	addKey(t, tx, "mine")
	addKey(t, other, "theirs")
	if _, err := s.Commit(t.Context(), other, head(1)); err != nil {
		t.Fatal(err)
	}
	_, err := s.Commit(t.Context(), tx, head(2))
	wantError(t, err, store.ErrConflict)
	if _, ok := s.Snapshot().Key("mine"); ok {
		t.Error("the change that conflicted has happened")
	}
	if _, err := s.Commit(t.Context(), other, head(2)); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a change committed twice: %v", err)
	}
}

// TestTwoStores has two stores on one Backend, as replicas will be.
func TestTwoStores(t *testing.T) {
	a, _, cfg := newVault(t, func(tx *store.Tx) error {
		addKey(t, tx, "k")
		_, err := tx.PutPolicy(store.PolicyRevision{Document: []byte("one")})
		return err
	})
	cfg.Node = "n2"
	b := openVault(t, cfg)
	old := b.Snapshot()
	commit(t, a, func(tx *store.Tx) {
		addVersion(t, tx, "k")
		if _, err := tx.PutPolicy(store.PolicyRevision{Document: []byte("two")}); err != nil {
			t.Fatal(err)
		}
	})
	tx := b.Begin()
	addKey(t, tx, "other")
	_, err := b.Commit(t.Context(), tx, head(1))
	wantError(t, err, store.ErrConflict)
	if b.Snapshot() == old {
		t.Fatal("the snapshot was not reloaded")
	}
	if k, _ := b.Snapshot().Key("k"); len(k.Versions) != 2 {
		t.Errorf("after the conflict the key has %d versions, want 2", len(k.Versions))
	}
	if p := b.Snapshot().Policy(); p == nil || string(p.Document) != "two" {
		t.Errorf("after the conflict the policy is %+v", p)
	}
	tx = b.Begin()
	addKey(t, tx, "other")
	if _, err := b.Commit(t.Context(), tx, head(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.Snapshot().Key("other"); !ok {
		t.Error("Reload does not show the other's key")
	}
	if a.Snapshot().LastCommit("n2") != tx.ID() {
		t.Error("the root does not name the other node's commit")
	}
	// A version revoked by the other is dropped here.
	if err := sign(t, b, "k", 1); err != nil {
		t.Fatal(err)
	}
	held, err := b.Signer(t.Context(), nil, "k", 1)
	if err != nil {
		t.Fatal(err)
	}
	update(t, a, "k", revoke(1))
	if _, err := b.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := held.Sign(nil, make([]byte, 32), crypto.SHA256); !errors.Is(err, store.ErrClosed) {
		t.Errorf("the signer of a revoked version signs: %v", err)
	}
}

func TestReloadNeverGoesBack(t *testing.T) {
	s, b, _ := newVault(t, nil)
	yesterday, err := b.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	snap := commit(t, s, func(tx *store.Tx) { addKey(t, tx, "k") })
	b.SetRoot(yesterday)
	_, err = s.Reload(t.Context())
	wantError(t, err, store.ErrStale)
	if s.Snapshot() != snap {
		t.Error("the snapshot has changed")
	}
	// A commit on it is refused, and not with an endless "decide again".
	tx := s.Begin()
	_, err = s.Commit(t.Context(), tx, head(2))
	wantError(t, err, store.ErrStale)
	if errors.Is(err, store.ErrConflict) {
		t.Errorf("%v says ErrConflict", err)
	}
	b.SetRoot(nil)
	_, err = s.Reload(t.Context())
	wantError(t, err, store.ErrNoRoot)
}

func TestTxRefuses(t *testing.T) {
	s, _, cfg := newVault(t, func(tx *store.Tx) error {
		addKey(t, tx, "k")
		addVersion(t, tx, "k")
		return nil
	})
	update(t, s, "k", revoke(1))
	der, v := newKey(t)
	k, _ := s.Snapshot().Key("k")
	change := func(f func(*store.Key)) store.Key {
		c := k
		c.Versions = slices.Clone(k.Versions)
		f(&c)
		return c
	}
	tests := []struct {
		name string
		do   func(*store.Tx) error
		want error
	}{
		{"a version back from revoked", func(tx *store.Tx) error {
			return tx.PutKey(change(func(k *store.Key) {
				k.Versions[0].State, k.Versions[0].Revoked, k.Active = store.StateActive, time.Time{}, 1
			}))
		}, store.ErrInvalid},
		{"another time of revocation", func(tx *store.Tx) error {
			return tx.PutKey(change(func(k *store.Key) { k.Versions[0].Revoked = start.Add(time.Hour) }))
		}, store.ErrInvalid},
		{"another fingerprint", func(tx *store.Tx) error {
			return tx.PutKey(change(func(k *store.Key) { k.Versions[1].Fingerprint = v.Fingerprint }))
		}, store.ErrInvalid},
		{"another key id", func(tx *store.Tx) error {
			return tx.PutKey(change(func(k *store.Key) { k.Versions[1].KeyID = "ZZZ1234567" }))
		}, store.ErrInvalid},
		{"no key id any more", func(tx *store.Tx) error {
			return tx.PutKey(change(func(k *store.Key) { k.Versions[1].KeyID = "" }))
		}, store.ErrInvalid},
		{"a version fewer", func(tx *store.Tx) error {
			return tx.PutKey(change(func(k *store.Key) { k.Versions = k.Versions[:1] }))
		}, store.ErrInvalid},
		{"a version without a secret", func(tx *store.Tx) error { return tx.PutKey(k.AddVersion(v)) }, store.ErrInvalid},
		{"another kind", func(tx *store.Tx) error { return tx.PutKey(change(func(k *store.Key) { k.Kind = "x" })) }, store.ErrInvalid},
		{"two active", func(tx *store.Tx) error {
			return tx.PutKey(change(func(k *store.Key) { k.Versions[1].State = store.StateActive }))
		}, store.ErrInvalid},
		{"a state that is none", func(tx *store.Tx) error {
			return tx.PutKey(change(func(k *store.Key) { k.Versions[1].State = "shiny" }))
		}, store.ErrInvalid},
		{"a new key with versions", func(tx *store.Tx) error { n := k; n.Name = "n"; return tx.PutKey(n) }, store.ErrInvalid},
		{"a name with a space", func(tx *store.Tx) error { return tx.PutKey(store.Key{Name: "a b"}) }, store.ErrInvalid},
		{"an empty part", func(tx *store.Tx) error { return tx.PutKey(store.Key{Name: "a//b"}) }, store.ErrInvalid},
		{"a version of no key", func(tx *store.Tx) error { _, err := tx.AddVersion("x", v, der); return err }, store.ErrNotFound},
		{"no key in it", func(tx *store.Tx) error { _, err := tx.AddVersion("k", v, []byte("x")); return err }, store.ErrInvalid},
		{"a fingerprint that is not its own", func(tx *store.Tx) error {
			w := v
			w.Fingerprint = "sha256:0"
			_, err := tx.AddVersion("k", w, der)
			return err
		}, store.ErrInvalid},
		{"a key that is in the change already", func(tx *store.Tx) error {
			if _, err := tx.AddVersion("k", v, der); err != nil {
				return err
			}
			_, err := tx.AddVersion("k", v, der)
			return err
		}, store.ErrInvalid},
		{"policy out of order", func(tx *store.Tx) error { _, err := tx.PutPolicy(store.PolicyRevision{Number: 2}); return err }, store.ErrInvalid},
		{"two policies", func(tx *store.Tx) error {
			_, err := tx.PutPolicy(store.PolicyRevision{})
			if err == nil {
				_, err = tx.PutPolicy(store.PolicyRevision{})
			}
			return err
		}, store.ErrInvalid},
		{"a system secret that is no key", func(tx *store.Tx) error { return tx.PutSystem("x", []byte("x")) }, store.ErrInvalid},
		{"a system name that is none", func(tx *store.Tx) error { return tx.PutSystem("", der) }, store.ErrInvalid},
		{"a document without a name", func(tx *store.Tx) error { return tx.PutDocument("/", nil) }, store.ErrInvalid},
		{"a log head that is none", func(tx *store.Tx) error { return tx.SetLogHead(store.LogHead{Log: "l", Size: -1}) }, store.ErrInvalid},
		{"a gap of no kind", func(tx *store.Tx) error { _, err := tx.OpenGap(store.Gap{Node: "n1"}, 0); return err }, store.ErrInvalid},
		{"a gap that is not there", func(tx *store.Tx) error { return tx.CloseGap("x") }, store.ErrNotFound},
		{"a log without a name closed", func(tx *store.Tx) error { return tx.CloseLog(store.LogHead{}) }, store.ErrInvalid},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tx := s.Begin()
			wantError(t, tc.do(tx), tc.want)
			// What was refused is not in the change.
			if _, err := s.Commit(t.Context(), tx, head(2)); err != nil {
				t.Fatalf("committing the rest: %v", err)
			}
			storetest.CheckInvariants(t, cfg)
			if now, _ := s.Snapshot().Key("k"); len(now.Versions) == 2 && !now.Equal(k) {
				t.Errorf("the key has changed to %+v", now)
			}
		})
		k, _ = s.Snapshot().Key("k")
	}
}

func TestFindFingerprint(t *testing.T) {
	s, _, cfg := newVault(t, nil)
	want := map[string]string{}
	for i := range 30 {
		name := fmt.Sprintf("team/%d", i)
		commit(t, s, func(tx *store.Tx) {
			k := addKey(t, tx, name)
			want[k.Versions[0].Fingerprint] = name
		})
	}
	commit(t, s, func(tx *store.Tx) { want[addVersion(t, tx, "team/3").Versions[1].Fingerprint] = "team/3" })
	update(t, s, "team/3", revoke(0))
	for _, s := range []*store.Store{s, openVault(t, cfg)} {
		for fp, name := range want {
			got := s.Snapshot().FindFingerprint(fp)
			if len(got) != 1 || got[0].Key != name || got[0].Fingerprint != fp || got[0].State.Over() != (name == "team/3") {
				t.Errorf("FindFingerprint = %+v, want %q", got, name)
			}
		}
		if got := s.Snapshot().FindFingerprint("sha256:00"); len(got) != 0 {
			t.Error("what is not there is found")
		}
	}
	// The same key again, under any name.
	der, v := newKey(t)
	commit(t, s, func(tx *store.Tx) {
		if _, err := tx.AddVersion("team/1", v, der); err != nil {
			t.Fatal(err)
		}
	})
	_, err := s.Begin().AddVersion("team/2", v, der)
	wantError(t, err, store.ErrInvalid)
}

// TestTwins lets one key in under several names: only by naming one that has it, and never once a name had it revoked.
// Every name is found, in the snapshot that a commit makes, in one that is caught up with, and in one that is read anew.
func TestTwins(t *testing.T) {
	s, _, cfg := newVault(t, func(tx *store.Tx) error {
		for _, name := range []string{"a", "b", "c", "other"} {
			addKey(t, tx, name)
		}
		return nil
	})
	behind := openVault(t, cfg)
	der, v := newKey(t)
	commit(t, s, func(tx *store.Tx) {
		if _, err := tx.AddVersion("b", v, der); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.AddTwin("c", v, der, "b"); err != nil { // in the same change
			t.Fatal(err)
		}
	})
	refused := func(name, of string) {
		t.Helper()
		_, err := s.Begin().AddTwin(name, v, der, of)
		wantError(t, err, store.ErrInvalid)
	}
	refused("a", "other") // does not have it
	refused("a", "nosuch")
	refused("b", "c") // has it itself
	refused("b", "b")
	fresh, w := newKey(t)
	_, err := s.Begin().AddTwin("a", w, fresh, "b") // is no twin
	wantError(t, err, store.ErrInvalid)
	commit(t, s, func(tx *store.Tx) {
		if _, err := tx.AddTwin("a", v, der, "c"); err != nil {
			t.Fatal(err)
		}
	})

	check := func(s *store.Store, states ...store.State) {
		t.Helper()
		found := s.Snapshot().FindFingerprint(v.Fingerprint)
		if len(found) != 3 {
			t.Fatalf("FindFingerprint = %+v", found)
		}
		for i, name := range []string{"a", "b", "c"} {
			if found[i].Key != name || found[i].State != states[i] {
				t.Errorf("FindFingerprint[%d] = %s, %s", i, found[i].Key, found[i].State)
			}
			if _, err := s.Signer(t.Context(), nil, name, found[i].Number); (err == nil) == found[i].State.Over() {
				t.Errorf("Signer of %s: %v", name, err)
			}
		}
	}
	caughtUp := func() *store.Store {
		if _, err := behind.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		return behind
	}
	for _, s := range []*store.Store{s, caughtUp(), openVault(t, cfg)} {
		check(s, store.StatePending, store.StatePending, store.StatePending)
	}
	// Revoking one name ends that name, and lets nobody else in.
	update(t, s, "b", revoke(2))
	for _, s := range []*store.Store{s, caughtUp(), openVault(t, cfg)} {
		check(s, store.StatePending, store.StateRevoked, store.StatePending)
	}
	refused("other", "a")
	storetest.CheckInvariants(t, cfg)
}

func TestKeysSorted(t *testing.T) {
	s, _, _ := newVault(t, func(tx *store.Tx) error {
		for _, n := range []string{"b", "a/2", "c", "a/1"} {
			addKey(t, tx, n)
		}
		return nil
	})
	var names []string
	for k := range s.Snapshot().Keys() {
		names = append(names, k.Name)
	}
	if diff := cmp.Diff([]string{"a/1", "a/2", "b", "c"}, names); diff != "" {
		t.Errorf("Keys (-want +got):\n%s", diff)
	}
	if s.Snapshot().Len() != 4 {
		t.Errorf("Len = %d", s.Snapshot().Len())
	}
}
