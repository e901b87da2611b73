package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/kek"
	"github.com/p8signet/signet/store/storetest"
)

// fileKEK makes a KEK in a file.
func fileKEK(t testing.TB, name string) envelope.KEK {
	t.Helper()
	dir := t.TempDir()
	if err := kek.CreateFile(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	k, err := kek.Open("file:"+name, dir)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sickKEK is a KEK that does less than it should.
type sickKEK struct {
	envelope.KEK
	wrap, unwrap error
}

func (k *sickKEK) Wrap(ctx context.Context, key, aad []byte) ([]byte, error) {
	if k.wrap != nil {
		return nil, k.wrap
	}
	return k.KEK.Wrap(ctx, key, aad)
}

func (k *sickKEK) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if k.unwrap != nil {
		return nil, k.unwrap
	}
	return k.KEK.Unwrap(ctx, wrapped, aad)
}

var errDead = errors.New("the KEK is dead, for the test")

// rewrap opens a vault with some KEKs and wraps its root key under them.
func rewrap(t testing.TB, cfg store.Config, keks ...envelope.KEK) []store.KEKChange {
	t.Helper()
	cfg.KEKs = keks
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer closeStore(t, s)
	w, err := s.Wrap(t.Context())
	if err != nil {
		t.Fatalf("Wrap: %v", err)
	}
	changes := w.Changes(s.Snapshot())
	commit(t, s, func(tx *store.Tx) {
		if err := tx.Rewrap(w); err != nil {
			t.Fatalf("Rewrap: %v", err)
		}
	})
	return changes
}

// opensWith fails the test unless the vault opens with k alone, or does not.
func opensWith(t testing.TB, cfg store.Config, k envelope.KEK, want bool) {
	t.Helper()
	cfg.KEKs = []envelope.KEK{k}
	s, err := store.Open(context.WithoutCancel(t.Context()), cfg)
	if err == nil {
		closeStore(t, s)
	}
	if (err == nil) != want {
		t.Errorf("with %s alone: Open = %v, want it to open: %v", k.URI(), err, want)
	}
	if !want && !errors.Is(err, store.ErrWrongKEK) {
		t.Errorf("with %s alone: Open = %v, want ErrWrongKEK", k.URI(), err)
	}
}

// TestRewrap adds a KEK and then takes away the first: each that wraps is enough alone, the others open nothing, and what the root
// key seals is as it was.
func TestRewrap(t *testing.T) {
	a, b, c := fileKEK(t, "a"), fileKEK(t, "b"), fileKEK(t, "c")
	m := storetest.Memory()
	cfg := config(m, a)
	s, err := store.Create(t.Context(), cfg, func(tx *store.Tx) error { addKey(t, tx, "k"); return nil })
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	opensWith(t, cfg, b, false)

	steps := []struct {
		keks []envelope.KEK
		want []store.KEKChange
	}{
		{[]envelope.KEK{b, a}, []store.KEKChange{{URI: "file:b", Change: store.KEKAdded}, {URI: "file:a", Change: store.KEKRenewed}}},
		{[]envelope.KEK{b}, []store.KEKChange{{URI: "file:b", Change: store.KEKRenewed}, {URI: "file:a", Change: store.KEKDropped}}},
		{[]envelope.KEK{a, b, c}, []store.KEKChange{{URI: "file:a", Change: store.KEKAdded}, {URI: "file:b", Change: store.KEKRenewed}, {URI: "file:c", Change: store.KEKAdded}}},
		{[]envelope.KEK{c}, []store.KEKChange{{URI: "file:c", Change: store.KEKRenewed}, {URI: "file:a", Change: store.KEKDropped}, {URI: "file:b", Change: store.KEKDropped}}},
	}
	for i, st := range steps {
		before := medium{m, t}.root()
		if diff := cmp.Diff(st.want, rewrap(t, cfg, st.keks...)); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		for _, k := range []envelope.KEK{a, b, c} {
			opensWith(t, cfg, k, slices.Contains(st.keks, k))
		}
		for _, k := range st.keks {
			snap := storetest.CheckInvariants(t, config(m, k))
			if got := snap.KEKs(); len(got) != len(st.keks) || got[0] != st.keks[0].URI() {
				t.Errorf("step %d: KEKs = %v", i, got)
			}
		}
		if bytes.Equal(before, medium{m, t}.root()) {
			t.Errorf("step %d: the root is the same", i)
		}
	}
	if err := sign(t, openVault(t, config(m, c)), "k", 1); err != nil {
		t.Errorf("after all, the key does not sign: %v", err)
	}
}

// A KEK whose key is another one by now, under its old name, wraps anew: another KEK has opened the vault.
func TestRewrapReplaced(t *testing.T) {
	old, other, now := fileKEK(t, "a"), fileKEK(t, "b"), fileKEK(t, "a")
	m := storetest.Memory()
	cfg := config(m, old, other)
	s, err := store.Create(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	opensWith(t, cfg, now, false)
	rewrap(t, cfg, now, other)
	opensWith(t, cfg, now, true)
	opensWith(t, cfg, old, false)
}

// TestRewrapRefused has a KEK that does not do its part: the answer names it, and nothing changes.
func TestRewrapRefused(t *testing.T) {
	a, b := fileKEK(t, "a"), fileKEK(t, "b")
	for name, tc := range map[string]struct {
		keks []envelope.KEK
		want error
	}{
		"does not wrap":              {[]envelope.KEK{a, &sickKEK{KEK: b, wrap: errDead}}, errDead},
		"does not wrap, is first":    {[]envelope.KEK{&sickKEK{KEK: b, wrap: errDead}, a}, errDead},
		"does not open what it made": {[]envelope.KEK{a, &sickKEK{KEK: b, unwrap: errDead}}, errDead},
		"opens to another key":       {[]envelope.KEK{a, otherKEK{b}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := storetest.Memory()
			s, err := store.Create(t.Context(), config(m, a), nil)
			if err != nil {
				t.Fatal(err)
			}
			closeStore(t, s)
			before := medium{m, t}.root()
			s = openVault(t, config(m, tc.keks...))
			w, err := s.Wrap(t.Context())
			if err == nil || w != nil || tc.want != nil && !errors.Is(err, tc.want) {
				t.Fatalf("Wrap = %v, %v, want %v", w, err, tc.want)
			}
			if !strings.Contains(err.Error(), "file:b") || strings.Contains(err.Error(), "file:a") {
				t.Errorf("Wrap = %v, want file:b named and no other", err)
			}
			if k, ok := errors.AsType[*store.KEKError](err); !ok || k.URI != "file:b" {
				t.Errorf("Wrap = %#v", err)
			}
			if !bytes.Equal(before, medium{m, t}.root()) {
				t.Error("the root has changed")
			}
		})
	}
}

// otherKEK opens everything to a key of its own.
type otherKEK struct{ envelope.KEK }

func (otherKEK) Unwrap(context.Context, []byte, []byte) ([]byte, error) {
	return make([]byte, envelope.KeySize), nil
}

// A vault that one KEK opens does not need the others to live.
func TestOpenWithDeadKEK(t *testing.T) {
	a, b := fileKEK(t, "a"), fileKEK(t, "b")
	m := storetest.Memory()
	s, err := store.Create(t.Context(), config(m, a, b), nil)
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	dead := &sickKEK{KEK: b, wrap: errDead, unwrap: errDead}
	for _, keks := range [][]envelope.KEK{{a, dead}, {dead, a}} {
		storetest.CheckInvariants(t, config(m, keks...))
	}
	if _, err := store.Open(t.Context(), config(m, a, dead, a)); err == nil || !strings.Contains(err.Error(), "file:a is named twice") {
		t.Errorf("Open with a KEK that is named twice = %v", err)
	}
	_, err = store.Open(t.Context(), config(m, dead))
	wantError(t, err, errDead)
	if errors.Is(err, store.ErrWrongKEK) {
		t.Errorf("Open = %v: a KEK that could not be asked is taken for a wrong one", err)
	}
}

// Root keys are wrapped while the store goes on: what was committed meanwhile stays. Once closed it wraps nothing.
func TestRewrapBeside(t *testing.T) {
	a, b := fileKEK(t, "a"), fileKEK(t, "b")
	m := storetest.Memory()
	s, err := store.Create(t.Context(), config(m, a, b), nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Wrap(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, func(tx *store.Tx) { addKey(t, tx, "k") })
	commit(t, s, func(tx *store.Tx) {
		if err := tx.Rewrap(w); err != nil {
			t.Fatal(err)
		}
	})
	if snap := storetest.CheckInvariants(t, config(m, b)); snap.Len() != 1 {
		t.Error("what was committed meanwhile is gone")
	}
	closeStore(t, s)
	_, err = s.Wrap(t.Context())
	wantError(t, err, store.ErrClosed)

	other, _, _ := newVault(t, nil)
	wantError(t, other.Begin().Rewrap(w), store.ErrConflict)
}

// What was wrapped for one vault opens in no other, and neither does it under the id of another root key.
func TestRewrapContext(t *testing.T) {
	a := fileKEK(t, "a")
	key, err := envelope.NewRootKey()
	if err != nil {
		t.Fatal(err)
	}
	w, err := key.Wrap(t.Context(), a, "vault-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		vault, id string
		want      error
	}{
		{"vault-1", key.ID(), nil},
		{"vault-2", key.ID(), envelope.ErrNotOpened},
		{"vault-1", "0123456789abcdef", envelope.ErrNotOpened},
	} {
		if _, err := envelope.Unwrap(t.Context(), []envelope.KEK{a}, tc.vault, tc.id, []envelope.Wrapped{w}); !errors.Is(err, tc.want) {
			t.Errorf("%v: Unwrap = %v", tc, err)
		}
	}
}

// TestRewrapFaults fails the swap in every way: what is left is the old wraps or the new ones, it opens, and the answer says which.
func TestRewrapFaults(t *testing.T) {
	for _, fate := range fates {
		t.Run(fate.String(), func(t *testing.T) {
			a, b := fileKEK(t, "a"), fileKEK(t, "b")
			m := storetest.Memory()
			s, err := store.Create(t.Context(), config(m, a), func(tx *store.Tx) error { addKey(t, tx, "k"); return nil })
			if err != nil {
				t.Fatal(err)
			}
			// b is to take the place of a, in one commit: the vault was opened by a, and the configuration has changed since.
			closeStore(t, s)
			rewrap(t, config(m), a, b)
			f := storetest.NewFaulty(m, nil)
			s = openVault(t, config(f, b))
			f.Plan(storetest.NthWrite(1, fate))
			w, err := s.Wrap(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tx := s.Begin()
			if err := tx.Rewrap(w); err != nil {
				t.Fatal(err)
			}
			_, err = s.Commit(t.Context(), tx, head(2))
			fresh := storetest.CheckInvariants(t, config(m, b))
			happened := fresh.LastCommit("n1") == tx.ID()
			if !errors.Is(err, storetest.ErrCrashed) && (err == nil) != happened {
				t.Errorf("Commit = %v, and it has happened: %v", err, happened)
			}
			if want := map[bool]int{false: 2, true: 1}[happened]; len(fresh.KEKs()) != want {
				t.Errorf("%v wrap the root key, want %d", fresh.KEKs(), want)
			}
			opensWith(t, config(m), a, !happened)
			opensWith(t, config(m), b, true)
		})
	}
}

// TestRewrapProperty walks through random sets of KEKs, some of them dead, with changes in between: the vault opens with each KEK
// of the last rewrap that went through, alone, and with no other; one with a dead KEK changes nothing.
func TestRewrapProperty(t *testing.T) {
	var pool []*sickKEK
	for i := range 5 {
		pool = append(pool, &sickKEK{KEK: fileKEK(t, fmt.Sprintf("kek%d", i))})
	}
	some := rapid.Custom(func(t *rapid.T) []*sickKEK {
		all := rapid.Permutation(pool).Draw(t, "order")
		return all[:rapid.IntRange(1, len(all)).Draw(t, "n")]
	})
	keksOf := func(of []*sickKEK) []envelope.KEK {
		var keks []envelope.KEK
		for _, k := range of {
			keks = append(keks, k)
		}
		return keks
	}
	rapid.Check(t, func(rt *rapid.T) {
		for _, k := range pool {
			k.wrap, k.unwrap = nil, nil
		}
		m := storetest.Memory()
		wrapped := some.Draw(rt, "created with")
		s, err := store.Create(t.Context(), config(m, keksOf(wrapped)...), nil)
		if err != nil {
			rt.Fatal(err)
		}
		closeStore(t, s)
		keys := 0
		for range rapid.IntRange(1, 5).Draw(rt, "rewraps") {
			configured := some.Draw(rt, "configured")
			dead := rapid.SampledFrom([]*sickKEK{nil, nil, pool[0], pool[1]}).Draw(rt, "dead")
			if dead != nil {
				dead.wrap, dead.unwrap = errDead, errDead
			}
			lives := func(k *sickKEK) bool { return k != dead && slices.Contains(wrapped, k) }
			s, err := store.Open(t.Context(), config(m, keksOf(configured)...))
			if opens := slices.ContainsFunc(configured, lives); (err == nil) != opens {
				rt.Fatalf("Open = %v, want it to open: %v", err, opens)
			}
			if err == nil {
				w, err := s.Wrap(t.Context())
				if hit := dead != nil && slices.Contains(configured, dead); errors.Is(err, errDead) != hit || (err != nil) != hit {
					rt.Fatalf("Wrap = %v, with a dead KEK: %v", err, hit)
				}
				tx := s.Begin()
				if rapid.Bool().Draw(rt, "with a key") {
					keys++
					addKey(t, tx, fmt.Sprintf("k%d", keys))
				}
				if err == nil {
					if err := tx.Rewrap(w); err != nil {
						rt.Fatal(err)
					}
					wrapped = configured
				}
				if _, err := s.Commit(t.Context(), tx, head(1)); err != nil {
					rt.Fatal(err)
				}
				closeStore(t, s)
			}
			if dead != nil {
				dead.wrap, dead.unwrap = nil, nil
			}
			for _, k := range pool {
				opensWith(t, config(m), k, slices.Contains(wrapped, k))
			}
			if snap := storetest.CheckInvariants(t, config(m, wrapped[0])); snap.Len() != keys || len(snap.KEKs()) != len(wrapped) {
				rt.Fatalf("%d keys, want %d; wrapped by %v, want %d", snap.Len(), keys, snap.KEKs(), len(wrapped))
			}
		}
	})
}

// A store that is open goes on when another has dropped the KEK that it knows: the root key is the same.
func TestRewrapByAnother(t *testing.T) {
	a, b := fileKEK(t, "a"), fileKEK(t, "b")
	m := storetest.Memory()
	s, err := store.Create(t.Context(), config(m, a), func(tx *store.Tx) error { addKey(t, tx, "k"); return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	rewrap(t, config(m), a, b)
	rewrap(t, config(m), b)
	if _, err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := sign(t, s, "k", 1); err != nil {
		t.Error(err)
	}
	commit(t, s, func(tx *store.Tx) { addKey(t, tx, "l") })
	opensWith(t, config(m), a, false)
	if snap := storetest.CheckInvariants(t, config(m, b)); snap.Len() != 2 {
		t.Errorf("%d keys, want 2", snap.Len())
	}
}
