package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

// lazy leaves what is dropped as garbage, and lets something happen between the list and the swap.
type lazy struct {
	*storetest.MemoryBackend
	before func(store.Change)
}

func (l *lazy) Swap(ctx context.Context, c store.Change) error {
	if l.before != nil {
		l.before(c)
	}
	c.Drop = nil
	return l.MemoryBackend.Swap(ctx, c)
}

func TestCollect(t *testing.T) {
	b := &lazy{MemoryBackend: storetest.Memory()}
	kek := storetest.KEK()
	s, err := store.Create(t.Context(), config(b, kek), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	for _, name := range []string{"one", "two"} {
		commit(t, s, func(tx *store.Tx) { addKey(t, tx, name) })
	}
	for range 5 {
		commit(t, s, func(tx *store.Tx) { addVersion(t, tx, "one") })
	}
	report := func() store.Report {
		t.Helper()
		r, err := s.Fsck(t.Context())
		if err != nil || len(r.Damaged) > 0 {
			t.Fatalf("Fsck = %v, %v", r.Damaged, err)
		}
		return r
	}
	// The blobs of a commit that is on its way while garbage is collected: it must not happen after they are gone.
	late := store.Change{Old: mustRoot(t, b), New: []byte("late"), Put: map[store.Ref][]byte{store.NewRef(): []byte("late")}}
	for ref, blob := range late.Put {
		b.SetBlob(ref, blob)
	}
	want := len(report().Garbage)
	if want < 6 {
		t.Fatalf("there are %d blobs of garbage; the test shows nothing", want)
	}
	n, err := s.Collect(t.Context())
	if err != nil || n != want {
		t.Fatalf("Collect = %d, %v, want %d", n, err, want)
	}
	if left := report().Garbage; len(left) != 0 {
		t.Errorf("%d blobs of garbage are left", len(left))
	}
	if err := b.Swap(t.Context(), late); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a commit whose blobs were collected = %v, want ErrConflict", err)
	}
	rev := s.Snapshot().RootID().Revision
	if n, err := s.Collect(t.Context()); n != 0 || err != nil || s.Snapshot().RootID().Revision != rev {
		t.Errorf("Collect of nothing = %d, %v, at revision %d after %d", n, err, s.Snapshot().RootID().Revision, rev)
	}

	// Someone else commits between the list and the empty commit: nothing is deleted.
	b.SetBlob(store.NewRef(), []byte("garbage"))
	other := openVault(t, config(b.MemoryBackend, kek))
	b.before = func(store.Change) {
		b.before = nil
		commit(t, other, func(tx *store.Tx) { addKey(t, tx, "three") })
	}
	if n, err := s.Collect(t.Context()); n != 0 || !errors.Is(err, store.ErrConflict) {
		t.Errorf("Collect after a commit of another = %d, %v, want ErrConflict", n, err)
	}
	if _, err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(report().Garbage) == 0 {
		t.Error("something was deleted all the same")
	}
}

func mustRoot(t *testing.T, b store.Backend) []byte {
	t.Helper()
	root, err := b.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return root
}
