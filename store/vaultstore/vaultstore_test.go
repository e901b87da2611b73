package vaultstore_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
	"github.com/p8signet/signet/store/vaultstore"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Backend {
		b, err := vaultstore.Open(t.Context(), config(t), fresh())
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

// A place that would lose a vault is refused, and the error says which and why.
func TestMountRefused(t *testing.T) {
	v := theVault(t)
	cfg := config(t)
	cfg.Auth = vaultstore.Auth{TokenFile: file(t, v.Token)} // that no policy hides the reason
	mount := func(name, kind, version string) {
		t.Helper()
		if err := v.Root.Sys().Mount(name, &vault.MountInput{Type: kind, Options: map[string]string{"version": version}}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = v.Root.Sys().Unmount(name) })
	}
	write := func(path string, data map[string]any) {
		t.Helper()
		var err error
		for range 100 { // a new mount is not ready at once
			if _, err = v.Root.Logical().Write(path, data); err == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatal(err)
	}
	mount("one", "kv", "1")
	mount("brief", "kv", "2")
	write("brief/config", map[string]any{"delete_version_after": "240h"})
	root := fresh()
	write("signet/metadata/"+root.Path+"/root", map[string]any{"delete_version_after": "1h"})

	tests := []struct {
		name string
		at   vaultstore.Place
		want string
	}{
		{"KV version 1", vaultstore.Place{Mount: "one"}, "KV version 1"},
		{"another engine", vaultstore.Place{Mount: "transit"}, "not a key-value engine"},
		{"versions of the mount are deleted after a time", vaultstore.Place{Mount: "brief"}, "delete_version_after is set for the mount"},
		{"versions of the root are deleted after a time", root, "delete_version_after is set for the root"},
		{"no mount", vaultstore.Place{Mount: "nowhere"}, "not there"},
		{"a path below a mount", vaultstore.Place{Mount: "signet/below"}, "below a mount"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b, err := vaultstore.Open(t.Context(), cfg, tc.at)
			if err == nil {
				_ = b.Close()
			}
			if !errors.Is(err, vaultstore.ErrMount) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Open = %v, want ErrMount with %q", err, tc.want)
			}
		})
	}
	for _, path := range []string{"../x", "a//b", "a b", "a/./b", "é"} {
		if _, err := vaultstore.Open(t.Context(), cfg, vaultstore.Place{Path: path}); err == nil || strings.Contains(err.Error(), path) {
			t.Errorf("Open with such a path = %v, want it refused and not said", err)
		}
	}
}

// A root that was there is never taken for one that never was.
func TestRootGone(t *testing.T) {
	tests := []struct {
		name   string
		method string
		path   string
		data   map[string]any
	}{
		{"deleted", "delete", "signet/data/PATH/root", nil},
		{"destroyed", "write", "signet/destroy/PATH/root", map[string]any{"versions": []int{1, 2}}},
		{"deleted with all that is known of it", "delete", "signet/metadata/PATH/root", nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			at := fresh()
			b := open(t, config(t), at)
			swap(t, b, "", "r1", nil)
			swap(t, b, "r1", "r2", nil)
			path := strings.Replace(tc.path, "PATH", at.Path, 1)
			var err error
			if tc.method == "delete" {
				_, err = theVault(t).Root.Logical().Delete(path)
			} else {
				_, err = theVault(t).Root.Logical().Write(path, tc.data)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Root(t.Context()); !errors.Is(err, vaultstore.ErrRootGone) || errors.Is(err, store.ErrNoRoot) {
				t.Errorf("Root = %v, want ErrRootGone and not ErrNoRoot", err)
			}
			for _, old := range []string{"", "r2"} {
				if err := b.Swap(t.Context(), change(old, "r3", nil)); !errors.Is(err, vaultstore.ErrRootGone) {
					t.Errorf("Swap from %q = %v, want ErrRootGone", old, err)
				}
			}
			if _, err := store.Create(t.Context(), store.Config{Backend: b, KEKs: keks(), Node: "n1", Now: time.Now}, nil); err == nil {
				t.Error("a new vault is created in its place")
			}
		})
	}
}

// What is not ours in the root's place is named, and not overwritten.
func TestRootForeign(t *testing.T) {
	at := fresh()
	b := open(t, config(t), at)
	_, err := theVault(t).Root.Logical().Write("signet/data/"+at.Path+"/root", map[string]any{
		"options": map[string]any{"cas": 0}, "data": map[string]any{"password": "hunter2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Root(t.Context()); err == nil || !strings.Contains(err.Error(), "not one of ours") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Root = %v", err)
	}
	if err := b.Swap(t.Context(), change("", "r1", nil)); err == nil || errors.Is(err, store.ErrUnknown) {
		t.Errorf("Swap = %v, want it refused", err)
	}
}

// cas is required: nothing of ours writes without it, which a mount that requires it would refuse. Blobs are on paths of their
// own: the root may be replaced any number of times without one being lost.
func TestManyRoots(t *testing.T) {
	b := open(t, config(t), fresh())
	refs := []store.Ref{store.NewRef()}
	swap(t, b, "", root(0), map[store.Ref][]byte{refs[0]: []byte("blob 0")})
	for i := 1; i < 25; i++ {
		refs = append(refs, store.NewRef())
		swap(t, b, root(i-1), root(i), map[store.Ref][]byte{refs[i]: []byte("blob")})
	}
	for _, ref := range refs {
		if _, err := b.Get(t.Context(), ref); err != nil {
			t.Error(err)
		}
	}
}

func root(i int) string { return "r" + string(rune('0'+i/10)) + string(rune('0'+i%10)) }

// A blob that was dropped goes in time, and only it.
func TestDropped(t *testing.T) {
	b := open(t, config(t), fresh())
	keep, drop := store.NewRef(), store.NewRef()
	swap(t, b, "", "r1", map[store.Ref][]byte{keep: []byte("keep"), drop: []byte("drop")})
	c := change("r1", "r2", nil)
	c.Drop = []store.Ref{drop}
	if err := b.Swap(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		var refs []store.Ref
		for ref, err := range b.List(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			refs = append(refs, ref)
		}
		if slices.Equal(refs, []store.Ref{keep}) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("there are still %v", refs)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// An older root that was put back in Vault is overruled by a commit on top of it, and one that is only read is not.
func TestOlderRoot(t *testing.T) {
	at := fresh()
	s, err := store.Create(t.Context(), store.Config{Backend: open(t, config(t), at), KEKs: keks(), Node: "n1", Now: time.Now}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	logical, root := theVault(t).Root.Logical(), "signet/data/"+at.Path+"/root"
	first, err := logical.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := s.Commit(t.Context(), s.Begin(), store.LogHead{}); err != nil {
			t.Fatal(err)
		}
	}
	known := s.Snapshot().RootID()
	gap := func(tx *store.Tx) error {
		_, err := tx.OpenGap(store.Gap{Kind: store.GapStore, Node: "n1", Found: time.Unix(1, 0)}, known.Revision)
		return err
	}
	if happened, err := s.CommitOnOlder(t.Context(), gap); happened || err != nil {
		t.Errorf("on the current root: %v, %v", happened, err)
	}
	if _, err := logical.Write(root, map[string]any{"options": map[string]any{"cas": 4}, "data": first.Data["data"]}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reload(t.Context()); !errors.Is(err, store.ErrStale) {
		t.Errorf("Reload = %v, want ErrStale", err)
	}
	if happened, err := s.CommitOnOlder(t.Context(), gap); !happened || err != nil {
		t.Errorf("on an older root: %v, %v", happened, err)
	}
	if now, err := s.Reload(t.Context()); err != nil || now.RootID().Revision != known.Revision+1 || len(now.Stops("n1")) != 1 {
		t.Errorf("Reload = %+v, %v", now.RootID(), err)
	}
}
