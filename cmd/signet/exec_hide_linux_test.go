package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// TestExecSweeps: what was left when everything was killed at one blow is gone after the next run; what is in use, of somebody else or
// too young to tell, is not touched.
func TestExecSweeps(t *testing.T) {
	b := newBench(t, execServer(t))
	make := func(name string, age time.Duration) string {
		dir := filepath.Join(b.shm, hidePrefix+name)
		b.check(os.Mkdir(dir, 0o700))
		b.check(os.WriteFile(filepath.Join(dir, "token"), []byte("t"), 0o600))
		b.check(os.Chtimes(dir, time.Time{}, time.Now().Add(-age)))
		return dir
	}
	stale, young, held := make("stale", time.Hour), make("young", 0), make("held", time.Hour)
	lock, err := lockDir(held)
	b.check(err)
	defer lock.Close()
	elsewhere := filepath.Join(b.home, "elsewhere")
	b.check(os.Mkdir(elsewhere, 0o700))
	link := filepath.Join(b.shm, hidePrefix+"link")
	b.check(os.Symlink(elsewhere, link))
	cmd := b.command(nil, "exec", "release", "--", "probe", b.out, "exit", "0")
	b.check(cmd.Run())
	for path, want := range map[string]bool{stale: false, young: true, held: true, elsewhere: true, link: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestExecHidesWhereItCan: a directory that is not in memory or that others can play with is not taken; on disk it is said.
func TestExecHidesWhereItCan(t *testing.T) {
	memory, err := os.MkdirTemp("/dev/shm", "signet-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	place := func(runtime string) (string, bool) {
		a := &app{Env: cli.Env{Getenv: func(string) string { return runtime }}}
		return a.hidePlace()
	}
	if dir, ok := place(memory); dir != memory || !ok {
		t.Errorf("a good one: %s, %v", dir, ok)
	}
	for _, bad := range []string{"", "relative", filepath.Join(memory, "missing"), "/proc"} {
		if dir, ok := place(bad); dir != "/dev/shm" || !ok {
			t.Errorf("%q: %s, %v", bad, dir, ok)
		}
	}
	if err := os.Chmod(memory, 0o777); err != nil {
		t.Fatal(err)
	}
	if dir, _ := place(memory); dir == memory {
		t.Error("a directory in which everybody can rename was taken")
	}
}
