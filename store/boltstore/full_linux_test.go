package boltstore_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

// TestFullDisk fills a small disk to the last byte. Small changes, such as
// turning a key off, must go on; a big one is refused, and known not to have
// happened; when there is room again it goes on.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("this machine does not let us mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, b := vault(t, dir)
	if err := put(s, "before"); err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(dir, "ballast"))

	for i := range 300 {
		if err := put(s, fmt.Sprint("doc", i%30)); err != nil {
			t.Fatalf("small change %d on the full disk: %v", i, err)
		}
	}
	big := make([]byte, 6<<20)
	rand.Read(big)
	tx := s.Begin()
	if err := tx.PutDocument("big", big); err != nil {
		t.Fatal(err)
	}
	_, err := s.Commit(t.Context(), tx, store.LogHead{Log: "log"})
	if err == nil || errors.Is(err, store.ErrUnknown) || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a change that does not fit: %v, want ENOSPC, and not unknown", err)
	}
	wantDocument(t, s, "big", false)
	for i := range 30 {
		if err := put(s, fmt.Sprint("doc", i)); err != nil {
			t.Fatalf("small change %d after the big one: %v", i, err)
		}
	}
	storetest.CheckInvariants(t, config(t, dir, b))

	// It opens on the full disk, in order and after a process that did not close it.
	path := filepath.Join(dir, "store.db")
	for _, left := range []bool{false, true} {
		closeBackend(t, b)
		if left {
			mark(t, path)
		}
		fill(t, filepath.Join(dir, "ballast")) // what closing has freed
		old := stat(t, path)
		b = open(t, path)
		if !os.SameFile(old, stat(t, path)) {
			t.Error("there was room for a copy, so this tests nothing")
		}
		var err error
		if s, err = store.Open(t.Context(), config(t, dir, b)); err != nil {
			t.Fatal(err)
		}
		storetest.CheckInvariants(t, config(t, dir, b))
		if err := put(s, "doc1"); err != nil {
			t.Errorf("a small change after opening on the full disk: %v", err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	tx = s.Begin()
	if err := tx.PutDocument("fits", big[:1<<20]); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(t.Context(), tx, store.LogHead{Log: "log"}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	closeBackend(t, b)
	storetest.CheckInvariants(t, config(t, dir, open(t, filepath.Join(dir, "store.db"))))
}

// mark makes a store look as if its process had not closed it.
func mark(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path+".lock", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("4711    "), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// fill takes all that is left of a disk.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1 << 20, 1 << 12, 1} {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
