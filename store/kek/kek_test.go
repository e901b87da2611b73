package kek_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/kek"
)

func TestCreateFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kek")
	if err := kek.CreateFile(path); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode() != 0o600 || fi.Size() != envelope.KeySize {
		t.Errorf("the file is %v of %d bytes, %v", fi.Mode(), fi.Size(), err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := kek.CreateFile(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("CreateFile again = %v, want fs.ErrExist", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Error("a KEK that was there has changed")
	}
	if err := kek.CreateFile(filepath.Join(dir, "no", "kek")); err == nil {
		t.Error("a KEK is made in a directory that is not there")
	}
	if es, err := os.ReadDir(dir); err != nil || len(es) != 1 {
		t.Errorf("the directory has %v, %v", es, err)
	}
	if err := kek.CreateFile(path + "2"); err != nil {
		t.Fatal(err)
	}
	if other, err := os.ReadFile(path + "2"); err != nil || bytes.Equal(before, other) {
		t.Error("two KEKs are the same")
	}
}

func TestWrap(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"kek", "other"} {
		if err := kek.CreateFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	key, aad := bytes.Repeat([]byte("k"), 32), []byte("aad")
	k, err := kek.Open("file:kek", dir)
	if err != nil {
		t.Fatal(err)
	}
	if k.URI() != "file:kek" {
		t.Errorf("URI = %q", k.URI())
	}
	w, err := k.Wrap(t.Context(), key, aad)
	if err != nil || bytes.Contains(w, key) {
		t.Fatalf("Wrap = %x, %v", w, err)
	}
	abs, err := kek.Open("file:"+filepath.Join(dir, "kek"), "/nowhere")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []envelope.KEK{k, abs} {
		if got, err := k.Unwrap(t.Context(), w, aad); err != nil || !bytes.Equal(got, key) {
			t.Errorf("Unwrap = %x, %v", got, err)
		}
	}
	other, err := kek.Open("file:other", dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Unwrap(t.Context(), w, aad)
	if !errors.Is(err, envelope.ErrNotOpened) || !strings.Contains(err.Error(), filepath.Join(dir, "other")) {
		t.Errorf("Unwrap by another = %v, want ErrNotOpened with the file's name", err)
	}
	for name, args := range map[string][2][]byte{
		"another aad": {w, []byte("x")}, "cut": {w[:40], aad}, "nothing": {nil, aad},
	} {
		if _, err := k.Unwrap(t.Context(), args[0], args[1]); !errors.Is(err, envelope.ErrNotOpened) {
			t.Errorf("%s: %v, want ErrNotOpened", name, err)
		}
	}
	// It is read when it is needed: one that is gone is not a wrong one.
	if err := os.Remove(filepath.Join(dir, "kek")); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Unwrap(t.Context(), w, aad); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, envelope.ErrNotOpened) {
		t.Errorf("Unwrap without the file = %v, want fs.ErrNotExist", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := bytes.Repeat([]byte{7}, 32)
	write := func(data []byte, mode os.FileMode) func(string) error {
		return func(p string) error {
			if err := os.WriteFile(p, data, 0o600); err != nil {
				return err
			}
			return os.Chmod(p, mode)
		}
	}
	tests := []struct {
		name string
		uri  string
		make func(path string) error
		want string // in the error; "" when it opens
	}{
		{name: "as it should be", make: write(good, 0o600)},
		{name: "read-only", make: write(good, 0o400)},
		{name: "the group may read it", make: write(good, 0o640), want: "0640"},
		{name: "everyone may read it", make: write(good, 0o604), want: "0604"},
		{name: "the group may write it", make: write(good, 0o620), want: "0620"},
		{name: "too short", make: write(good[:31], 0o600), want: "31 bytes"},
		{name: "empty", make: write(nil, 0o600), want: "0 bytes"},
		{name: "too long", make: write(append(good, '\n'), 0o600), want: "longer"},
		{name: "a directory", make: func(p string) error { return os.Mkdir(p, 0o700) }, want: "regular"},
		{name: "a FIFO", make: func(p string) error { return syscall.Mkfifo(p, 0o600) }, want: "regular"},
		{name: "not there", make: func(string) error { return nil }, want: "no such file"},
		{name: "someone else's", make: func(p string) error {
			if err := write(good, 0o600)(p); err != nil {
				return err
			}
			return os.Chown(p, 65534, 65534)
		}, want: "65534"},
		{name: "no scheme", uri: "kek", make: write(good, 0o600), want: "scheme"},
		{name: "another scheme", uri: "ftp:kek", make: write(good, 0o600), want: "file:PATH"},
		{name: "no path", uri: "file:", make: write(good, 0o600), want: "no file"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := tc.make(filepath.Join(dir, "kek")); err != nil {
				if errors.Is(err, fs.ErrPermission) {
					t.Skipf("only root can give a file away: %v", err)
				}
				t.Fatal(err)
			}
			uri := tc.uri
			if uri == "" {
				uri = "file:kek"
			}
			began := time.Now()
			_, err := kek.Open(uri, dir)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Open = %v, want %q", err, tc.want)
			}
			if err != nil && bytes.Contains([]byte(err.Error()), good[:8]) {
				t.Error("the error has the key in it")
			}
			if d := time.Since(began); d > 5*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
}
