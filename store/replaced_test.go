package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

// between is a vault that two nodes share, each with a Store of its own: what meddle commits replaces every blob that is read.
type between struct {
	cfg    store.Config // of node n1, whose Backend is f
	f      *storetest.SharedFaulty
	shared *storetest.SharedMemory
	other  *store.Store
	round  int
}

const betweenKeys = 12

func newBetween(t *testing.T) *between {
	t.Helper()
	b := &between{shared: storetest.Shared()}
	kek := storetest.KEK()
	cfg := config(b.shared, kek)
	cfg.Node = "n2"
	var err error
	b.other, err = store.Create(t.Context(), cfg, func(tx *store.Tx) error {
		for i := range betweenKeys {
			addKey(t, tx, fmt.Sprint("key-", i))
		}
		return tx.PutDocument("doc", []byte("0"))
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := sealed.NewPrivate(b.other.Snapshot().Vault(), start.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	commit(t, b.other, func(tx *store.Tx) {
		if err := tx.PutRecipient(p); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { closeStore(t, b.other) })
	b.f = storetest.NewSharedFaulty(b.shared, nil)
	b.cfg = config(b.f, kek)
	return b
}

// meddle commits on the other node: the record of every key is replaced, and a document, and their shards with them; and a
// recipient goes.
func (b *between) meddle(t *testing.T) {
	t.Helper()
	b.round++
	if _, err := b.other.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	commit(t, b.other, func(tx *store.Tx) {
		for i := range betweenKeys {
			k, _ := tx.Key(fmt.Sprint("key-", i))
			if k = k.Enable(); b.round%2 == 1 {
				k = k.Disable()
			}
			if err := tx.PutKey(k); err != nil {
				t.Fatal(err)
			}
		}
		tx.DropExpiredRecipients(start.Add(2 * time.Hour))
		if err := tx.PutDocument("doc", fmt.Append(nil, b.round)); err != nil {
			t.Fatal(err)
		}
	})
}

// before meddles once, just before the nth call, and then lets all pass.
func (b *between) before(t *testing.T, n int) func(storetest.Call) storetest.Fate {
	return func(c storetest.Call) storetest.Fate {
		if c.N == n {
			b.meddle(t)
		}
		return storetest.Fine
	}
}

// always meddles before every blob that is read.
func (b *between) always(t *testing.T) func(storetest.Call) storetest.Fate {
	return func(c storetest.Call) storetest.Fate {
		if c.Op == "get" {
			b.meddle(t)
		}
		return storetest.Fine
	}
}

func wantWhole(t *testing.T, what string, snap *store.Snapshot) {
	t.Helper()
	if d := snap.Damage(); len(d) > 0 || snap.Len() != betweenKeys {
		t.Errorf("%s: %d keys, and damaged are %v", what, snap.Len(), d)
	}
}

// Whatever is read while another node replaces it, no damage is seen: not by opening, reloading, settling or checking.
func TestReplacedWhileRead(t *testing.T) {
	tests := []struct {
		name string
		run  func(t *testing.T, b *between, plan func(storetest.Call) storetest.Fate)
	}{
		{"open", func(t *testing.T, b *between, plan func(storetest.Call) storetest.Fate) {
			b.f.Plan(plan)
			wantWhole(t, "Open", openVault(t, b.cfg).Snapshot())
		}},
		{"reload", func(t *testing.T, b *between, plan func(storetest.Call) storetest.Fate) {
			s := openVault(t, b.cfg)
			b.meddle(t)
			b.f.Plan(plan)
			snap, err := s.Reload(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wantWhole(t, "Reload", snap)
		}},
		{"settle", func(t *testing.T, b *between, plan func(storetest.Call) storetest.Fate) {
			s := openVault(t, b.cfg)
			tx := s.Begin()
			b.f.Plan(func(c storetest.Call) storetest.Fate {
				if c.Write == 1 {
					b.meddle(t)
					return storetest.UnknownLost
				}
				c.N-- // without that write
				return plan(c)
			})
			if _, err := s.Commit(t.Context(), tx, head(2)); err == nil || errors.Is(err, store.ErrUnknown) {
				t.Errorf("Commit = %v, want it settled", err)
			}
			wantWhole(t, "Commit", s.Snapshot())
		}},
		{"fsck", func(t *testing.T, b *between, plan func(storetest.Call) storetest.Fate) {
			s := openVault(t, b.cfg)
			b.f.Plan(plan)
			r, err := s.Fsck(t.Context())
			if err != nil || len(r.Damaged) > 0 {
				t.Errorf("Fsck = %v, %v", r.Damaged, err)
			}
		}},
		{"document", func(t *testing.T, b *between, plan func(storetest.Call) storetest.Fate) {
			s := openVault(t, b.cfg)
			b.meddle(t)
			b.f.Plan(plan)
			if doc, err := s.Document(t.Context(), "doc"); err != nil || string(doc) != fmt.Sprint(b.round) {
				t.Errorf("Document = %q, %v, want %d", doc, err, b.round)
			}
			if s.Snapshot().RootID() == b.other.Snapshot().RootID() {
				t.Error("reading a document has adopted a root")
			}
		}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			for n := 1; ; n++ {
				b := newBetween(t)
				tc.run(t, b, b.before(t, n))
				all, _ := b.f.Calls()
				if t.Failed() {
					t.Fatalf("with a commit before call %d of %d", n, all)
				}
				if all < n {
					break
				}
			}
		})
	}
}

// A store that never holds still is not read, and not called damaged. The calls come to an end, and what was in place stays.
func TestReplacedForEver(t *testing.T) {
	b := newBetween(t)
	s := openVault(t, b.cfg)
	was := s.Snapshot()
	b.meddle(t)
	tests := []struct {
		name string
		call func() error
	}{
		{"Open", func() error { _, err := store.Open(t.Context(), b.cfg); return err }},
		{"Reload", func() error { _, err := s.Reload(t.Context()); return err }},
		{"Fsck", func() error { _, err := s.Fsck(t.Context()); return err }},
		{"Document", func() error { _, err := s.Document(t.Context(), "doc"); return err }},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b.f.Plan(b.always(t))
			if err := tc.call(); err == nil || errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s = %v, want another error", tc.name, err)
			}
			if all, _ := b.f.Calls(); all > 2000 {
				t.Errorf("it took %d calls", all)
			}
			if s.Snapshot() != was {
				t.Error("another snapshot is in place")
			}
		})
	}
	b.f.Plan(nil)
	snap, err := s.Reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantWhole(t, "Reload", snap)
	if err := sign(t, s, "key-3", 1); err != nil {
		t.Error(err)
	}
}

// What is missing under the current root is damage, whoever reads it, and is found to be whole once it is there again.
func TestMissingUnderCurrentRoot(t *testing.T) {
	b := newBetween(t)
	s := openVault(t, b.cfg)
	doc := blobOf(t, b, s)
	blob, err := b.shared.Get(t.Context(), doc)
	if err != nil {
		t.Fatal(err)
	}
	b.shared.SetBlob(doc, nil)
	if _, err := s.Document(t.Context(), "doc"); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Document = %v, want ErrDamaged", err)
	}
	r, err := s.Fsck(t.Context())
	if err != nil || len(r.Damaged) != 1 {
		t.Errorf("Fsck = %v, %v, want the document damaged", r.Damaged, err)
	}
	b.shared.SetBlob(doc, blob)
	if _, err := s.Document(t.Context(), "doc"); err != nil {
		t.Error(err)
	}
	for ref, err := range b.shared.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		b.shared.SetBlob(ref, nil)
	}
	b.f.Plan(nil)
	if snap := openVault(t, b.cfg).Snapshot(); len(snap.Damage()) == 0 || snap.Len() != 0 {
		t.Errorf("%d keys, and damaged are %v", snap.Len(), snap.Damage())
	}
	if all, _ := b.f.Calls(); all > 2+256 {
		t.Errorf("it took %d calls to see that", all)
	}
}

// blobOf finds the blob of the document: the one whose loss only it minds.
func blobOf(t *testing.T, b *between, s *store.Store) store.Ref {
	t.Helper()
	var found store.Ref
	b.f.Plan(nil)
	for ref, err := range b.shared.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		blob, err := b.shared.Get(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		b.shared.SetBlob(ref, nil)
		if _, err := s.Document(t.Context(), "doc"); err != nil {
			found = ref
		}
		b.shared.SetBlob(ref, blob)
	}
	return found
}

// A root that is answered stale is no proof of damage: the read fails, and the next succeeds.
func TestReplacedAndStale(t *testing.T) {
	b := newBetween(t)
	s := openVault(t, b.cfg)
	commit(t, s, func(tx *store.Tx) { addKey(t, tx, "another") }) // the root that f has seen is older now
	b.meddle(t)
	b.f.Plan(func(c storetest.Call) storetest.Fate {
		if c.Op == "root" {
			return storetest.Stale
		}
		return storetest.Fine
	})
	if _, err := s.Document(t.Context(), "doc"); !errors.Is(err, store.ErrStale) || errors.Is(err, store.ErrDamaged) {
		t.Errorf("Document = %v, want ErrStale", err)
	}
	b.f.Plan(nil)
	if doc, err := s.Document(t.Context(), "doc"); err != nil || string(doc) != "1" {
		t.Errorf("Document = %q, %v", doc, err)
	}
}

// TestSettleOnOldRoot: as long as reads of the root are stale, a commit cannot be settled, and nothing that is read looks new.
func TestSettleOnOldRoot(t *testing.T) {
	b := newBetween(t)
	s := openVault(t, b.cfg)
	b.meddle(t)
	b.f.Plan(func(c storetest.Call) storetest.Fate {
		switch {
		case c.Op == "root":
			return storetest.Stale
		case c.Write == 1:
			return storetest.UnknownLost
		}
		return storetest.Fine
	})
	before := s.Snapshot()
	if _, err := s.Commit(t.Context(), s.Begin(), head(1)); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("Commit: %v", err)
	}
	for range 3 {
		if err := s.Settle(t.Context()); !errors.Is(err, store.ErrUnknown) || errors.Is(err, store.ErrConflict) {
			t.Errorf("Settle: %v, want what is unknown and no conflict", err)
		}
		if s.Snapshot() != before {
			t.Error("there is another snapshot of the same root")
		}
	}
	b.f.Plan(nil)
	if err := s.Settle(t.Context()); err != nil {
		t.Errorf("Settle, when reads are not stale any more: %v", err)
	}
}
