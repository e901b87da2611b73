package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

// old answers an older root than there is.
type old struct {
	*storetest.MemoryBackend
	root []byte
}

func (o *old) Root(ctx context.Context) ([]byte, error) {
	if o.root != nil {
		return o.root, nil
	}
	return o.MemoryBackend.Root(ctx)
}

func TestCommitOnOlder(t *testing.T) {
	b := &old{MemoryBackend: storetest.Memory()}
	cfg := config(b, storetest.KEK())
	s, err := store.Create(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	commit(t, s, func(tx *store.Tx) { addKey(t, tx, "one") })
	first := mustRoot(t, b)
	commit(t, s, func(tx *store.Tx) { addKey(t, tx, "two") })

	never := func(*store.Tx) error { t.Error("a root that is not older was changed"); return nil }
	gap := func(tx *store.Tx) error {
		_, err := tx.OpenGap(store.Gap{Kind: store.GapStore, Node: "n1", Found: start}, s.Snapshot().RootID().Revision)
		return err
	}
	want := func(what string, edit func(*store.Tx) error, happens bool, wantErr error) {
		t.Helper()
		happened, err := s.CommitOnOlder(t.Context(), edit)
		if happened != happens || !errors.Is(err, wantErr) {
			t.Errorf("%s: %v, %v", what, happened, err)
		}
	}
	want("the current root", never, false, nil)
	b.root = first
	want("a read that is stale", gap, false, store.ErrConflict)
	b.root = nil
	other := openVault(t, cfg)
	commit(t, other, func(tx *store.Tx) { addKey(t, tx, "three") })
	want("a newer root", never, false, nil)
	known := s.Snapshot().RootID()
	if known != other.Snapshot().RootID() {
		t.Errorf("the newer root was not adopted: %+v", known)
	}

	b.SetRoot(first)
	if _, err := s.Reload(t.Context()); !errors.Is(err, store.ErrStale) {
		t.Fatalf("Reload = %v", err)
	}
	want("a change that would be older", func(*store.Tx) error { return nil }, false, store.ErrInvalid)
	refused := errors.New("refused")
	want("a change that is refused", func(*store.Tx) error { return refused }, false, refused)
	want("an older root", gap, true, nil)
	snap := s.Snapshot()
	if id := snap.RootID(); id.Revision != known.Revision+1 || id.Lineage == known.Lineage || len(snap.Stops("n1")) != 1 {
		t.Errorf("the root is %+v after %+v, with the gaps %+v", id, known, snap.Gaps())
	}
	for name, there := range map[string]bool{"one": true, "two": false, "three": false} {
		if _, ok := snap.Key(name); ok != there {
			t.Errorf("%s is there: %v", name, ok)
		}
	}
	want("it again", never, false, nil)
	// Who knew as much follows.
	if next, err := other.Reload(t.Context()); err != nil || next.RootID() != snap.RootID() {
		t.Errorf("another node has %v, %v", next, err)
	}
	if r, err := s.Fsck(t.Context()); err != nil || len(r.Damaged) > 0 {
		t.Errorf("Fsck = %+v, %v", r.Damaged, err)
	}
}
