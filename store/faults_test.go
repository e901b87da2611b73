package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

var fates = []storetest.Fate{
	storetest.Refused, storetest.UnknownLost, storetest.UnknownPersisted, storetest.UnknownLate,
	storetest.CrashBefore, storetest.CrashAfter,
}

// TestCreateFaults fails each write of Create in every way: what is left is
// nothing, or a whole vault, and the answer says which.
func TestCreateFaults(t *testing.T) {
	for _, fate := range fates {
		t.Run(fate.String(), func(t *testing.T) {
			m, kek := storetest.Memory(), storetest.KEK()
			f := storetest.NewFaulty(m, storetest.NthWrite(1, fate))
			s, err := store.Create(t.Context(), config(f, kek), func(tx *store.Tx) error {
				addKey(t, tx, "k")
				return nil
			})
			if err == nil {
				closeStore(t, s)
			}
			if want := fate == storetest.UnknownPersisted; (err == nil) != want {
				t.Errorf("Create: %v", err)
			}
			_, rerr := m.Root(t.Context())
			switch fate {
			case storetest.UnknownPersisted, storetest.CrashAfter:
				if rerr != nil {
					t.Fatalf("there is no root: %v", rerr)
				}
				if snap := storetest.CheckInvariants(t, config(m, kek)); snap.Len() != 1 {
					t.Error("the vault is not whole")
				}
			default:
				wantError(t, rerr, store.ErrNoRoot)
				for range m.List(t.Context()) {
					t.Error("a blob is left")
				}
				// And it can be done again.
				s, err := store.Create(t.Context(), config(m, kek), nil)
				if err != nil {
					t.Fatal(err)
				}
				closeStore(t, s)
			}
		})
	}
}

// step is a commit of the sequence that TestCommitFaults makes. It says what it
// does, and what must be true once it has.
type step struct {
	name string
	do   func(*testing.T, *store.Tx)
	done func(*store.Snapshot) bool
}

func versions(name string, n int) func(*store.Snapshot) bool {
	return func(s *store.Snapshot) bool {
		k, _ := s.Key(name)
		return len(k.Versions) >= n
	}
}

var steps = []step{
	{"import", func(t *testing.T, tx *store.Tx) { addKey(t, tx, "a") }, versions("a", 1)},
	{"import again", func(t *testing.T, tx *store.Tx) { addVersion(t, tx, "a") }, versions("a", 2)},
	{"import another", func(t *testing.T, tx *store.Tx) { addKey(t, tx, "b") }, versions("b", 1)},
	{"policy", func(t *testing.T, tx *store.Tx) {
		if _, err := tx.PutPolicy(store.PolicyRevision{Document: []byte("doc")}); err != nil {
			t.Fatal(err)
		}
	}, func(s *store.Snapshot) bool { return s.PolicyNumber() == 1 }},
	{"gap", func(t *testing.T, tx *store.Tx) {
		if _, err := tx.OpenGap(store.Gap{ID: "g", Kind: store.GapLog, Node: "n1", Found: start}, 50); err != nil {
			t.Fatal(err)
		}
	}, func(s *store.Snapshot) bool { return len(s.Gaps()) == 1 && s.RootID().Revision > 50 }},
	{"revoke", func(t *testing.T, tx *store.Tx) {
		k, _ := tx.Key("a")
		k, err := k.Revoke(1, start)
		if err == nil {
			err = tx.PutKey(k)
		}
		if err != nil {
			t.Fatal(err)
		}
	}, func(s *store.Snapshot) bool { k, _ := s.Key("a"); return k.Versions[0].State == store.StateRevoked }},
	{"nothing", func(*testing.T, *store.Tx) {}, func(*store.Snapshot) bool { return true }},
	{"activate", func(t *testing.T, tx *store.Tx) {
		k, _ := tx.Key("a")
		k, err := k.Activate(2, start)
		if err == nil {
			err = tx.PutKey(k)
		}
		if err != nil {
			t.Fatal(err)
		}
	}, func(s *store.Snapshot) bool { k, _ := s.Key("a"); return k.Active == 2 }},
}

// TestCommitFaults fails each write of a sequence of commits in every way. What
// Commit answers must be what a fresh process finds; a step that did not happen
// is done again; at the end everything has happened once.
func TestCommitFaults(t *testing.T) {
	for _, fate := range fates {
		for n := 1; n <= len(steps)+1; n++ {
			t.Run(fmt.Sprintf("%s %d", fate, n), func(t *testing.T) {
				m, kek := storetest.Memory(), storetest.KEK()
				f := storetest.NewFaulty(m, nil)
				s, err := store.Create(t.Context(), config(f, kek), nil)
				if err != nil {
					t.Fatal(err)
				}
				f.Plan(storetest.NthWrite(n, fate))
				for i, st := range steps {
					s, f = runStep(t, s, f, m, config(f, kek), st, int64(i))
				}
				closeStore(t, s)
				snap := storetest.CheckInvariants(t, config(m, kek))
				for _, st := range steps {
					if !st.done(snap) {
						t.Errorf("%s has not happened", st.name)
					}
				}
				if a, _ := snap.Key("a"); len(a.Versions) != 2 {
					t.Errorf("key a has %d versions", len(a.Versions))
				}
			})
		}
	}
}

// runStep makes one step, as often as it takes, and returns the store to go on
// with: another one after a crash.
func runStep(t *testing.T, s *store.Store, f *storetest.Faulty, m *storetest.MemoryBackend, cfg store.Config, st step, n int64) (*store.Store, *storetest.Faulty) {
	t.Helper()
	for try := range 5 {
		tx := s.Begin()
		st.do(t, tx)
		before := s.Snapshot()
		snap, err := s.Commit(t.Context(), tx, head(n))
		if errors.Is(err, storetest.ErrCrashed) {
			closeStore(t, s)
			f = storetest.NewFaulty(m, nil)
			cfg.Backend = f
			s = openVault(t, cfg)
			if s.Snapshot().LastCommit("n1") == tx.ID() {
				err, snap = nil, s.Snapshot()
			}
		}
		// A fresh process sees what this one was told.
		fresh := storetest.CheckInvariants(t, config(m, cfg.KEKs...))
		happened := fresh.LastCommit("n1") == tx.ID()
		if err == nil != happened {
			t.Fatalf("%s, try %d: Commit says %v, and a fresh process sees happened = %v", st.name, try, err, happened)
		}
		if err == nil {
			if !st.done(snap) || snap.RootID() != fresh.RootID() || s.Snapshot() != snap {
				t.Fatalf("%s: committed, and the snapshot does not show it", st.name)
			}
			return s, f
		}
		if errors.Is(err, store.ErrUnknown) {
			t.Fatalf("%s: one fault left it unknown: %v", st.name, err)
		}
		if now := s.Snapshot(); now.RootID().Revision < before.RootID().Revision {
			t.Fatalf("%s: the snapshot went back", st.name)
		}
	}
	t.Fatalf("%s does not happen", st.name)
	return nil, nil
}

// TestSettlingFails fails the write and, in every way, the ones that settle it.
func TestSettlingFails(t *testing.T) {
	unknown := []storetest.Fate{storetest.UnknownLost, storetest.UnknownPersisted, storetest.UnknownLate}
	for _, first := range unknown {
		for _, second := range append(unknown, storetest.Refused) {
			for _, third := range append(unknown, storetest.Fine) {
				t.Run(fmt.Sprintf("%s, then %s, then %s", first, second, third), func(t *testing.T) {
					m, kek := storetest.Memory(), storetest.KEK()
					f := storetest.NewFaulty(m, nil)
					s, err := store.Create(t.Context(), config(f, kek), nil)
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { closeStore(t, s) })
					f.Plan(func(c storetest.Call) storetest.Fate {
						if c.Write >= 1 && c.Write <= 3 {
							return []storetest.Fate{first, second, third}[c.Write-1]
						}
						return storetest.Fine
					})
					tx := s.Begin()
					addKey(t, tx, "k")
					_, err = s.Commit(t.Context(), tx, head(1))
					if errors.Is(err, store.ErrUnknown) {
						t.Fatalf("three faults left it unknown: %v", err)
					}
					if err := s.Settle(t.Context()); err != nil {
						t.Fatal(err)
					}
					// Whatever is still on its way arrives now, and changes nothing.
					f.Plan(nil)
					commit(t, s, nil)
					snap := storetest.CheckInvariants(t, config(m, kek))
					if _, ok := snap.Key("k"); ok != (err == nil) {
						t.Errorf("Commit said %v, and the key is there: %v", err, ok)
					}
					if snap.RootID() != s.Snapshot().RootID() {
						t.Error("the snapshot is not what is there")
					}
				})
			}
		}
	}
}

// TestUnsettled has a Backend that stays silent after an unknown outcome: the
// caller is told, nothing is committed until it is settled, and then the truth
// is found, whichever it is.
func TestUnsettled(t *testing.T) {
	for _, fate := range []storetest.Fate{storetest.UnknownLost, storetest.UnknownPersisted, storetest.UnknownLate} {
		t.Run(fate.String(), func(t *testing.T) {
			m, kek := storetest.Memory(), storetest.KEK()
			f := storetest.NewFaulty(m, nil)
			s, err := store.Create(t.Context(), config(f, kek), nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { closeStore(t, s) })
			down := true
			f.Plan(func(c storetest.Call) storetest.Fate {
				switch {
				case c.Write == 1:
					return fate
				case c.Op == "root" && down:
					return storetest.Refused
				}
				return storetest.Fine
			})
			tx := s.Begin()
			addKey(t, tx, "k")
			_, err = s.Commit(t.Context(), tx, head(1))
			wantError(t, err, store.ErrUnknown)
			if _, ok := s.Snapshot().Key("k"); ok {
				t.Error("an unsettled change is in the snapshot")
			}
			// Nothing else goes before it is settled.
			next := s.Begin()
			_, err = s.Commit(t.Context(), next, head(2))
			wantError(t, err, store.ErrUnknown)
			wantError(t, s.Settle(t.Context()), store.ErrUnknown)

			down = false
			if err := s.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			happened := fate != storetest.UnknownLost
			// A late one lands before the empty commit, which then conflicts.
			if _, ok := s.Snapshot().Key("k"); ok != happened {
				t.Errorf("after settling, the key is there: %v, want %v", ok, happened)
			}
			_, err = s.Commit(t.Context(), next, head(2))
			wantError(t, err, store.ErrConflict)
			if err := s.Settle(t.Context()); err != nil {
				t.Errorf("Settle repeated: %v", err)
			}
			snap := storetest.CheckInvariants(t, config(m, kek))
			if snap.RootID() != s.Snapshot().RootID() {
				t.Error("the snapshot is not what is there")
			}
		})
	}
}

// TestLateCommitCannotHappen: once a change was said not to have happened, its
// write, arriving at last, changes nothing.
func TestLateCommitCannotHappen(t *testing.T) {
	m, kek := storetest.Memory(), storetest.KEK()
	var late store.Change
	f := storetest.NewFaulty(m, func(c storetest.Call) storetest.Fate {
		if c.Write == 2 {
			late = c.Change
			return storetest.UnknownLost
		}
		return storetest.Fine
	})
	s, err := store.Create(t.Context(), config(f, kek), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	tx := s.Begin()
	addKey(t, tx, "k")
	_, err = s.Commit(t.Context(), tx, head(1))
	if err == nil || errors.Is(err, store.ErrUnknown) || errors.Is(err, store.ErrConflict) {
		t.Fatalf("Commit = %v, want a plain failure", err)
	}
	wantError(t, m.Swap(t.Context(), late), store.ErrConflict)
	snap := storetest.CheckInvariants(t, config(m, kek))
	if snap.Len() != 0 {
		t.Error("the late change has happened")
	}
	// The log head of a change that did not happen is not in the root either.
	if h, _ := snap.LogHead("n1"); h == head(1) {
		t.Error("the root has the log head of the change that did not happen")
	}
}

// TestReadFaults fails each read of opening: no panic, no empty vault.
func TestReadFaults(t *testing.T) {
	_, m, cfg := newVault(t, func(tx *store.Tx) error {
		addKey(t, tx, "a")
		addKey(t, tx, "b")
		_, err := tx.PutPolicy(store.PolicyRevision{Document: []byte("doc")})
		return err
	})
	f := storetest.NewFaulty(m, nil)
	cfg.Backend = f
	closeStore(t, openVault(t, cfg))
	all, _ := f.Calls()
	for n := 1; n <= all; n++ {
		f.Plan(storetest.NthCall(n, storetest.Refused))
		s, err := store.Open(t.Context(), cfg)
		if err == nil {
			closeStore(t, s)
			t.Errorf("read %d of %d failed, and the store opened", n, all)
			continue
		}
		wantError(t, err, storetest.ErrRefused)
	}
}
