package kek

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/p8signet/signet/store/envelope"
)

// file is a KEK in a file.
type file struct {
	uri  string
	path string
}

func (f *file) URI() string { return f.uri }

func (f *file) Wrap(_ context.Context, key, aad []byte) ([]byte, error) {
	var w []byte
	err := f.lend(func(kek []byte) error {
		var err error
		w, err = envelope.SealKey(kek, key, aad)
		return err
	})
	return w, err
}

func (f *file) Unwrap(_ context.Context, wrapped, aad []byte) ([]byte, error) {
	var key []byte
	err := f.lend(func(kek []byte) error {
		var err error
		if key, err = envelope.OpenKey(kek, wrapped, aad); errors.Is(err, envelope.ErrNotOpened) {
			return fmt.Errorf("the key in %s is not the one that wrapped: %w", f.path, err)
		}
		return err
	})
	return key, err
}

// lend reads the file, refuses one that is not as it must be, and lends the key
// to use.
func (f *file) lend(use func(kek []byte) error) (err error) {
	// Non-blocking, so that a FIFO in its place is refused and not waited for.
	h, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("opening the KEK %s: %w", f.uri, err)
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	fi, err := h.Stat()
	if err != nil {
		return fmt.Errorf("opening the KEK %s: %w", f.uri, err)
	}
	if err := check(f.path, fi); err != nil {
		return fmt.Errorf("the KEK %s: %w", f.uri, err)
	}
	// One byte more than wanted tells a longer file.
	buf := make([]byte, envelope.KeySize+1)
	defer clear(buf)
	switch n, err := io.ReadFull(h, buf); {
	case err == nil:
		return fmt.Errorf("the KEK %s: %s is longer than %d bytes", f.uri, f.path, envelope.KeySize)
	case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		return fmt.Errorf("reading the KEK %s: %w", f.uri, err)
	case n != envelope.KeySize:
		return fmt.Errorf("the KEK %s: %s has %d bytes, not %d", f.uri, f.path, n, envelope.KeySize)
	}
	return use(buf[:envelope.KeySize])
}

// check refuses a file that someone else could have read or written.
func check(path string, fi os.FileInfo) error {
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if p := fi.Mode().Perm(); p&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o: others can read or change it; make it 0600 (and the key new, if someone may have)", path, p)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner cannot be told on this system", path)
	}
	if uid := os.Geteuid(); int(st.Uid) != uid {
		return fmt.Errorf("%s belongs to user %d, not to user %d that we run as", path, st.Uid, uid)
	}
	return nil
}

// CreateFile makes a file KEK: 32 random bytes, mode 0600, synced with its
// directory. A file that is there is not touched: fs.ErrExist. A crash leaves
// nothing under that name, or the whole file.
func CreateFile(path string) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("creating a KEK: %s: %w", path, os.ErrExist)
	}
	dir := filepath.Dir(path)
	t, err := os.CreateTemp(dir, ".kek-*") // mode 0600
	if err != nil {
		return fmt.Errorf("creating a KEK: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(t.Name())) }()
	key := make([]byte, envelope.KeySize)
	defer clear(key)
	rand.Read(key) // never fails
	_, werr := t.Write(key)
	if err := errors.Join(werr, t.Sync(), t.Close()); err != nil {
		return fmt.Errorf("writing a KEK: %w", err)
	}
	// A link, unlike a rename, never replaces what is there.
	if err := os.Link(t.Name(), path); err != nil {
		return fmt.Errorf("creating a KEK: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing the directory of a KEK: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing the directory of a KEK: %w", err)
	}
	return nil
}
