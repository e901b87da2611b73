package boltstore_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/boltstore"
	"github.com/p8signet/signet/store/storetest"
)

func newPath(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "store.db")
}

func create(t testing.TB, path string) *boltstore.Backend {
	t.Helper()
	b, err := boltstore.Create(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBackend(t, b) })
	return b
}

// createWith makes a store with a root.
func createWith(t testing.TB, path, root string) *boltstore.Backend {
	t.Helper()
	b := create(t, path)
	if err := b.Swap(t.Context(), store.Change{New: []byte(root)}); err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, path string) *boltstore.Backend {
	t.Helper()
	b, err := boltstore.Open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBackend(t, b) })
	return b
}

func closeBackend(t testing.TB, b *boltstore.Backend) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func wantRoot(t testing.TB, b store.Backend, want string) {
	t.Helper()
	got, err := b.Root(t.Context())
	if err != nil || string(got) != want {
		t.Fatalf("Root = %q, %v, want %q", got, err, want)
	}
}

// files lists a directory.
func files(t testing.TB, dir string) string {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range es {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestConformance(t *testing.T) {
	t.Run("as created", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) store.Backend { return create(t, newPath(t)) })
	})
}

func TestCreateIsAtomic(t *testing.T) {
	path := newPath(t)
	b := create(t, path)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a file before there is a root: %v", err)
	}
	closeBackend(t, b)
	if got := files(t, filepath.Dir(path)); got != "" {
		t.Errorf("a creation given up leaves %s", got)
	}

	// A crash leaves the temporary file, which the next one clears away.
	if err := os.WriteFile(path+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	b = createWith(t, path, "r1")
	if got := files(t, filepath.Dir(path)); got != "store.db store.db.lock" {
		t.Errorf("the directory has %s", got)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", fi.Mode(), err)
	}
	closeBackend(t, b)
	wantRoot(t, open(t, path), "r1")
}

func TestCreateRefusesWhatIsThere(t *testing.T) {
	for _, tc := range []struct {
		name string
		make func(path string) error
	}{
		{"a file", func(p string) error { return os.WriteFile(p, []byte("mine"), 0o600) }},
		{"an empty file", func(p string) error { return os.WriteFile(p, nil, 0o600) }},
		{"a directory", func(p string) error { return os.Mkdir(p, 0o700) }},
		{"a link to nothing", func(p string) error { return os.Symlink("nowhere", p) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := newPath(t)
			if err := tc.make(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = boltstore.Create(path, boltstore.Options{})
			if !errors.Is(err, store.ErrExists) || !strings.Contains(err.Error(), path) {
				t.Errorf("Create = %v, want ErrExists with the path", err)
			}
			after, err := os.Lstat(path)
			if err != nil || !os.SameFile(before, after) || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
				t.Errorf("it has changed: %v", err)
			}
		})
	}
	t.Run("a file that appears meanwhile", func(t *testing.T) {
		path := newPath(t)
		b := create(t, path)
		if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := b.Swap(t.Context(), store.Change{New: []byte("r1")})
		if !errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrUnknown) {
			t.Errorf("Swap = %v, want ErrExists", err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "mine" {
			t.Errorf("the file has changed to %q, %v", got, err)
		}
		if got := files(t, filepath.Dir(path)); got != "store.db" {
			t.Errorf("the directory has %s", got)
		}
		if _, err := b.Root(t.Context()); !errors.Is(err, store.ErrClosed) {
			t.Errorf("Root = %v, want ErrClosed", err)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	bolt := func(path string, format string) error {
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			return err
		}
		err = db.Update(func(tx *bbolt.Tx) error {
			if _, err := tx.CreateBucket([]byte("blobs")); err != nil {
				return err
			}
			b, err := tx.CreateBucket([]byte("signet"))
			if err != nil {
				return err
			}
			return b.Put([]byte("format"), []byte(format))
		})
		return errors.Join(err, db.Close())
	}
	tests := []struct {
		name string
		make func(path string) error
		want string
	}{
		{"nothing", func(string) error { return nil }, "no such file"},
		{"an empty file", func(p string) error { return os.WriteFile(p, nil, 0o600) }, "empty"},
		{"a directory", func(p string) error { return os.Mkdir(p, 0o700) }, "directory"},
		{"a text", func(p string) error { return os.WriteFile(p, bytes.Repeat([]byte("text"), 9000), 0o600) }, "invalid"},
		{"another bbolt file", func(p string) error {
			db, err := bbolt.Open(p, 0o600, nil)
			if err != nil {
				return err
			}
			return db.Close()
		}, "not a store of Signet"},
		{"a later format", func(p string) error { return bolt(p, "signet-store 2") }, "format"},
		{"no root", func(p string) error { return bolt(p, "signet-store 1") }, ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			path := newPath(t)
			if err := tc.make(path); err != nil {
				t.Fatal(err)
			}
			b, err := boltstore.Open(path, boltstore.Options{})
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if _, err := b.Root(t.Context()); !errors.Is(err, store.ErrNoRoot) {
					t.Errorf("Root = %v, want ErrNoRoot", err)
				}
				closeBackend(t, b)
				return
			}
			if err == nil {
				closeBackend(t, b)
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("Open = %v, want %q and the path", err, tc.want)
			}
			if tc.name == "nothing" {
				if got := files(t, filepath.Dir(path)); got != "" {
					t.Errorf("Open has made %s", got)
				}
			}
		})
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	path := newPath(t)
	b := create(t, path)
	inUse := func() {
		t.Helper()
		began := time.Now()
		_, err := boltstore.Open(path, boltstore.Options{})
		if _, serr := os.Stat(path); serr != nil {
			_, err = boltstore.Create(path, boltstore.Options{})
		}
		if !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), path) {
			t.Errorf("a second one: %v, want ErrInUse with the path", err)
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("it was refused after %v", d)
		}
	}
	inUse()
	if err := b.Swap(t.Context(), store.Change{New: []byte("r1")}); err != nil {
		t.Fatal(err)
	}
	inUse()
	closeBackend(t, b)
	b = open(t, path)
	inUse()
	wantRoot(t, b, "r1")

	// A program that knows bbolt but not our lock is kept out as well.
	if db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Nanosecond}); err == nil {
		t.Error("bbolt opens a file that we have open")
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	closeBackend(t, b)
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	inUse2, err := boltstore.Open(path, boltstore.Options{})
	if !errors.Is(err, store.ErrInUse) {
		t.Errorf("Open of a file that bbolt has: %v, want ErrInUse", err)
	}
	if err == nil {
		closeBackend(t, inUse2)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, path)
}

// TestDamagedFile flips bytes all over a file and cuts it: calls may fail, the
// process may not. (That nothing wrong is believed is for package store to see to,
// and is tested there.)
func TestDamagedFile(t *testing.T) {
	path := newPath(t)
	b := createWith(t, path, "r1")
	put := map[store.Ref][]byte{}
	for range 100 {
		put[store.NewRef()] = bytes.Repeat([]byte("blob"), 100)
	}
	if err := b.Swap(t.Context(), store.Change{Old: []byte("r1"), New: []byte("r2"), Put: put}); err != nil {
		t.Fatal(err)
	}
	closeBackend(t, b)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(good, "\x00"))
	use := func(data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := boltstore.Open(path, boltstore.Options{})
		if err != nil {
			return
		}
		defer func() { _ = b.Close() }() // it may complain
		root, err := b.Root(t.Context())
		if err != nil {
			root = []byte("r2")
		}
		for ref := range put {
			_, _ = b.Get(t.Context(), ref) // what it says is checked by its hash
		}
		for _, err := range b.List(t.Context()) {
			if err != nil {
				break
			}
		}
		_ = b.Swap(t.Context(), store.Change{Old: root, New: []byte("r3"), Put: map[store.Ref][]byte{store.NewRef(): make([]byte, 10_000)}})
	}
	for i := 0; i < used; {
		bad := bytes.Clone(good)
		bad[i] ^= 0xff
		use(bad)
		if i += 1999; i < 4*4096 {
			i -= 1999 - 61 // the pages that lead to others are at the beginning, mostly
		}
	}
	for n := 0; n < used; n += 4096 {
		use(good[:n])
	}
	// Cut while it is open.
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	b = open(t, path)
	if err := os.Truncate(path, 4096*3); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for ref := range put {
		if _, err := b.Get(t.Context(), ref); err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("a file that was cut is read as if it was whole")
	}
}

// TestManyCommits lets the file settle: replaced blobs are freed.
func TestManyCommits(t *testing.T) {
	path := newPath(t)
	b := createWith(t, path, "r")
	var last store.Ref
	var mu sync.Mutex
	size := func() int64 {
		fi, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return fi.Size()
	}
	var early int64
	for i := range 200 {
		mu.Lock()
		ref := store.NewRef()
		c := store.Change{Old: []byte("r"), New: []byte("r"), Put: map[store.Ref][]byte{ref: make([]byte, 50_000)}}
		if i > 0 {
			c.Drop = []store.Ref{last}
		}
		if err := b.Swap(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		last = ref
		mu.Unlock()
		if i == 20 {
			early = size()
		}
	}
	if late := size(); late > early {
		t.Errorf("after 20 commits the file has %d bytes, after 200 %d", early, late)
	}
}

func TestLogsItsTroubles(t *testing.T) {
	path := newPath(t)
	b := createWith(t, path, "r1")
	closeBackend(t, b)
	if err := os.WriteFile(path+".lock", []byte("4711\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err = boltstore.Open(path, boltstore.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	wantRoot(t, b, "r1")
	closeBackend(t, b)
	after, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if os.SameFile(before, after) {
		t.Error("after a process that did not close it, the file was not copied")
	}
	if !strings.Contains(log.String(), "copied") {
		t.Errorf("the log says nothing of it: %s", log.String())
	}
	// After an orderly end it is not.
	b = open(t, path)
	closeBackend(t, b)
	if again, err := os.Stat(path); err != nil || !os.SameFile(after, again) {
		t.Error("after an orderly end the file was copied")
	}
}

// TestSymlink: a store of two names has one lock, and a copy takes the place of
// the file, not of the link.
func TestSymlink(t *testing.T) {
	path := newPath(t)
	closeBackend(t, createWith(t, path, "r1"))
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".lock", []byte("4711\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, link)
	wantRoot(t, b, "r1")
	if _, err := boltstore.Open(path, boltstore.Options{}); !errors.Is(err, store.ErrInUse) {
		t.Errorf("Open by the other name = %v, want ErrInUse", err)
	}
	if err := b.Swap(t.Context(), store.Change{Old: []byte("r1"), New: []byte("r2")}); err != nil {
		t.Fatal(err)
	}
	closeBackend(t, b)
	if fi, err := os.Lstat(link); err != nil || fi.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link has become %v, %v", fi.Mode(), err)
	}
	wantRoot(t, open(t, path), "r2")
}
