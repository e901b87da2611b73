package audit_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
)

// TestFS holds both file systems to the same contract.
func TestFS(t *testing.T) {
	for _, tt := range []struct {
		name string
		fs   audit.FS
	}{{"directory", audit.DirFS(t.TempDir())}, {"memory", storetest.NewFaultFS()}} {
		t.Run(tt.name, func(t *testing.T) {
			f := tt.fs
			if err := f.Mkdir("d"); err != nil {
				t.Fatal(err)
			}
			if err := f.Mkdir("d"); !errors.Is(err, fs.ErrExist) {
				t.Errorf("Mkdir again: %v", err)
			}
			a, err := f.Create("d/a")
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			if _, err := f.Create("d/a"); !errors.Is(err, fs.ErrExist) {
				t.Errorf("Create again: %v", err)
			}
			if _, err := f.Open("d/b"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Open of nothing: %v", err)
			}
			if _, err := f.Create("../x"); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("a path out of the directory: %v", err)
			}
			if _, err := a.WriteAt([]byte("hello"), 3); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 10)
			if n, err := a.ReadAt(buf, 0); n != 8 || !errors.Is(err, io.EOF) || string(buf[:n]) != "\x00\x00\x00hello" {
				t.Errorf("%q, %v", buf[:n], err)
			}
			if err := errors.Join(a.Sync(), f.SyncDir("d"), f.SyncDir(".")); err != nil {
				t.Error(err)
			}
			if info, err := a.Stat(); err != nil || info != (audit.FileInfo{Name: "a", Size: 8, Linked: true}) {
				t.Errorf("%+v, %v", info, err)
			}
			if err := f.Rename("d/a", "d/b"); err != nil {
				t.Fatal(err)
			}
			if info, err := a.Stat(); err != nil || info.Linked {
				t.Errorf("renamed: %+v, %v", info, err)
			}
			c, err := f.Create("d/a")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if info, err := a.Stat(); err != nil || info.Linked {
				t.Errorf("another one in its place: %+v, %v", info, err)
			}
			list, err := f.ReadDir("d")
			if diff := cmp.Diff([]audit.FileInfo{{Name: "a"}, {Name: "b", Size: 8}}, list); diff != "" || err != nil {
				t.Errorf("list (-want +got):\n%s %v", diff, err)
			}
			if _, err := f.ReadDir("e"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("ReadDir of nothing: %v", err)
			}
			if err := f.Rename("d/a", "d/b"); err != nil {
				t.Errorf("Rename over: %v", err)
			}
			if err := f.Remove("d/b"); err != nil {
				t.Error(err)
			}
			if err := f.Remove("d/b"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Remove again: %v", err)
			}
			if free, err := f.Free(); err != nil || free <= 0 {
				t.Errorf("%d free, %v", free, err)
			}
			lock, err := f.Lock()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Lock(); !errors.Is(err, audit.ErrLocked) {
				t.Errorf("Lock again: %v", err)
			}
			if err := lock.Close(); err != nil {
				t.Error(err)
			}
			if lock, err = f.Lock(); err != nil || lock.Close() != nil {
				t.Errorf("Lock once more: %v", err)
			}
		})
	}
}

// TestRealNoSpace sees the real error of a full disk, on a tmpfs of 64 KiB.
func TestRealNoSpace(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("this machine lets the test mount no tmpfs: %v: %s", err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	}()
	l := mustOpen(t, config(audit.DirFS(dir)))
	var err error
	n := int64(0)
	for ; err == nil && n < 1000; n++ {
		_, err = l.Append(t.Context(), entry(int(n)), audit.AppendOptions{Privileged: true})
	}
	if !errors.Is(err, audit.ErrNoSpace) {
		t.Errorf("after %d entries: %v", n, err)
	}
	mustClose(t, l)
	report, err := auditlog.VerifyLogs(os.DirFS(dir), verifier, auditlog.VerifyOptions{})
	if err != nil || len(report) != 1 || len(report[0].Damage) > 0 || report[0].Size != n-1 {
		t.Errorf("%d acknowledged, offline %+v, %v", n-1, report, err)
	}
}

// TestFilesForOthers: the files are lines of JSON that a log shipper in the group can read.
func TestFilesForOthers(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, config(audit.DirFS(dir)))
	mustAppend(t, l, entry(0), audit.AppendOptions{})
	mustClose(t, l)
	name := filepath.Join(dir, segmentPath(1))
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm()&0o040 == 0 || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	var kinds []auditlog.LineKind
	for _, l := range lines {
		kinds = append(kinds, auditlog.KindOf([]byte(l)))
	}
	if diff := cmp.Diff([]auditlog.LineKind{auditlog.HeaderLine, auditlog.EntryLine, auditlog.MarkerLine}, kinds); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
