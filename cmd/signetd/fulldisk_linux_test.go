package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/p8signet/signet/client"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// fullDisk names, to the child process, the directory where it mounts a small disk of its own.
const fullDisk = "SIGNET_TEST_FULL_DISK"

// TestFullDisk fills a real, small disk under the real program: minting stops at the mark and with the reason, turning keys off
// still works and is recorded down to the last byte, and minting goes on when there is space again.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(fullDisk); dir != "" {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
			t.Fatalf("mounting a small disk: %v", err)
		}
		onSmallDisk(t, dir)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), fullDisk+"="+t.TempDir())
	// A mount namespace of its own, so that the disk ends with the child, whatever becomes of it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Unshareflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) {
		t.Skip("this machine lets no process have a mount namespace of its own, so there is no small disk to be had")
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func onSmallDisk(t *testing.T, disk string) {
	v := &victim{t: t, dir: filepath.Join(disk, "vault"), program: filepath.Join(t.TempDir(), "signetd")}
	v.run("go", "build", "-o", v.program, ".")
	v.run(v.program, "init", "--dir", v.dir, "--listen", "127.0.0.1:0")
	v.start()
	c := v.dial()
	ctx := t.Context()
	for i, name := range []string{"asc-release", "asc-second", "asc-third"} {
		v.importKey(c, name, "2X9R4HXF3"+strconv.Itoa(i))
	}
	if _, err := c.ApplyPolicy(ctx, &signetv1.ApplyPolicyRequest{Document: []byte(killPolicy)}); err != nil {
		t.Fatal(err)
	}
	mint := func() error {
		_, err := c.Mint(ctx, "release", client.MintOptions{})
		return err
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("after ten seconds still not: %s", what)
			}
		}
	}
	if err := mint(); err != nil {
		t.Fatalf("minting with space left: %v", err)
	}

	eventually("the log has put its ballast by", func() bool {
		info, err := os.Stat(filepath.Join(v.dir, "log", "ballast"))
		return err == nil && info.Size() == 8<<20
	})

	// Below the mark, with tens of MiB still free.
	filler := filepath.Join(disk, "filler")
	fill(t, filler, 40<<20)
	eventually("minting stops below the mark", func() bool { return errors.Is(mint(), client.ErrUnavailable) })
	var e *client.Error
	if err := mint(); !errors.As(err, &e) || e.Reason() != "LOG_FULL" {
		t.Errorf("minting on a full disk: %v, want the reason LOG_FULL", err)
	}
	eventually("the status says so", func() bool {
		s, err := c.GetStatus(ctx, &signetv1.GetStatusRequest{})
		return err == nil && !s.GetCanMint() && len(s.GetReasons()) > 0
	})
	if _, err := c.DisableKey(ctx, &signetv1.DisableKeyRequest{Name: "asc-second"}); err != nil {
		t.Errorf("disabling below the mark: %v", err)
	}

	// Not a byte free.
	fill(t, filler, 1<<40)
	if _, err := c.DisableKey(ctx, &signetv1.DisableKeyRequest{Name: "asc-release"}); err != nil {
		t.Errorf("disabling on a full disk: %v", err)
	}
	if _, err := c.RevokeKey(ctx, &signetv1.RevokeKeyRequest{Name: "asc-third", Reason: "leaked"}); err != nil {
		t.Errorf("revoking on a full disk: %v", err)
	}

	// What was said on a full disk holds after a kill on a full disk, and minting comes back by itself with the space.
	v.kill()
	fill(t, filler, 1<<40)
	v.start() // not a byte free, and no ballast left: it serves all the same
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	c = v.dial()
	for name, want := range map[string]signetv1.VersionState{
		"asc-release": signetv1.VersionState_VERSION_STATE_ACTIVE, "asc-third": signetv1.VersionState_VERSION_STATE_REVOKED,
	} {
		k, err := c.GetKey(ctx, &signetv1.GetKeyRequest{Name: name})
		if err != nil {
			t.Fatalf("reading %s back: %v", name, err)
		}
		if got := k.GetVersions()[0].GetState(); got != want {
			t.Errorf("%s is %v after the restart, want %v", name, got, want)
		}
		if disabled := k.GetState() == signetv1.KeyState_KEY_STATE_DISABLED; disabled != (name == "asc-release") {
			t.Errorf("%s is %v after the restart", name, k.GetState())
		}
	}
	eventually("minting goes on when there is space", func() bool {
		if _, err := c.EnableKey(ctx, &signetv1.EnableKeyRequest{Name: "asc-release"}); err != nil {
			return false
		}
		return mint() == nil
	})
	outcomes := map[string]bool{}
	for _, action := range []string{"key.disable", "key.revoke"} {
		outcomes[action] = len(done(ctx, t, c, action)) > 0
	}
	if !outcomes["key.disable"] || !outcomes["key.revoke"] {
		t.Errorf("what was done on the full disk is not all on record: %v", outcomes)
	}
	v.recorded() // verifies every entry
	v.kill()
	v.fsck()
}

// done are the entries that say that the action was done.
func done(ctx context.Context, t *testing.T, c *client.Client, action string) []*signetv1.StoredEntry {
	t.Helper()
	var all []*signetv1.StoredEntry
	for e, err := range c.Entries(ctx, &signetv1.EntryFilter{Action: action, Outcome: "done"}, signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST, 100) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// fill makes the file larger by n bytes, or by as many as the disk has.
func fill(t *testing.T, path string, n int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; n > 0 && size > 0; {
		wrote, err := f.Write(make([]byte, min(int64(size), n)))
		n -= int64(wrote)
		if errors.Is(err, unix.ENOSPC) {
			size /= 2 // down to the last byte
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
