package boltstore_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/boltstore"
)

// contents are the files of a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		fi, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = fi.ModTime().String() + string(data)
	}
	return all
}

// TestReadOnly: whatever state a store was left in, looking at it changes no byte of it.
func TestReadOnly(t *testing.T) {
	ref := store.NewRef()
	tests := []struct {
		name  string
		leave func(t *testing.T, path string)
		opens bool
	}{
		{"closed in order", func(*testing.T, string) {}, true},
		{"left by a process that was killed", func(t *testing.T, path string) {
			write(t, path+".lock", []byte("12345                  \n"))
		}, true},
		{"with a copy that was not finished", func(t *testing.T, path string) { write(t, path+".new", []byte("half")) }, true},
		{"without a lock file", func(t *testing.T, path string) {
			if err := os.Remove(path + ".lock"); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"cut", func(t *testing.T, path string) {
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"emptied", func(t *testing.T, path string) { write(t, path, nil) }, false},
		{"not to be written", func(t *testing.T, path string) {
			for _, p := range []string{path, path + ".lock"} {
				if err := os.Chmod(p, 0o400); err != nil {
					t.Fatal(err)
				}
			}
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := newPath(t)
			b := create(t, path)
			if err := b.Swap(t.Context(), store.Change{New: []byte("r1"), Put: map[store.Ref][]byte{ref: []byte("blob")}}); err != nil {
				t.Fatal(err)
			}
			closeBackend(t, b)
			tt.leave(t, path)
			before := contents(t, filepath.Dir(path))
			b, err := boltstore.Open(path, boltstore.Options{ReadOnly: true})
			if (err == nil) != tt.opens {
				t.Fatalf("Open = %v", err)
			}
			if err == nil {
				wantRoot(t, b, "r1")
				if blob, err := b.Get(t.Context(), ref); err != nil || !bytes.Equal(blob, []byte("blob")) {
					t.Errorf("Get = %q, %v", blob, err)
				}
				if err := b.Swap(t.Context(), store.Change{Old: []byte("r1"), New: []byte("r2")}); !errors.Is(err, boltstore.ErrReadOnly) || errors.Is(err, store.ErrUnknown) {
					t.Errorf("Swap = %v", err)
				}
				if err := b.Delete(t.Context(), ref); !errors.Is(err, boltstore.ErrReadOnly) {
					t.Errorf("Delete = %v", err)
				}
				closeBackend(t, b)
			}
			if diff := cmp.Diff(before, contents(t, filepath.Dir(path))); diff != "" {
				t.Errorf("looking has changed files: %.500s", diff)
			}
		})
	}
}

// TestReadOnlyExcludes: who reads keeps out who writes, and the other way round, with a lock file and without one.
func TestReadOnlyExcludes(t *testing.T) {
	readOnly := boltstore.Options{ReadOnly: true}
	if _, err := boltstore.Create(newPath(t), readOnly); !errors.Is(err, boltstore.ErrReadOnly) {
		t.Errorf("Create = %v", err)
	}
	for _, bare := range []bool{false, true} {
		path := newPath(t)
		b := createWith(t, path, "r1")
		if bare {
			if err := os.Remove(path + ".lock"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := boltstore.Open(path, readOnly); !errors.Is(err, store.ErrInUse) {
			t.Errorf("Open for reading of one that is open = %v", err)
		}
		if bare {
			write(t, path+".lock", nil) // for Close
		}
		closeBackend(t, b)
		if bare {
			if err := os.Remove(path + ".lock"); err != nil {
				t.Fatal(err)
			}
		}
		reader, err := boltstore.Open(path, readOnly)
		if err != nil {
			t.Fatal(err)
		}
		other, err := boltstore.Open(path, readOnly)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := boltstore.Open(path, boltstore.Options{}); !errors.Is(err, store.ErrInUse) {
			t.Errorf("Open of one that is read = %v", err)
		}
		closeBackend(t, reader)
		closeBackend(t, other)
		wantRoot(t, open(t, path), "r1")
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
