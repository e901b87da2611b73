package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestExecLeavesNothing(t *testing.T) {
	s := execServer(t)
	toSignet := func(signals ...syscall.Signal) func(*running) {
		return func(r *running) {
			for _, n := range signals {
				r.signal(r.cmd.Process.Pid, n)
				time.Sleep(100 * time.Millisecond) // like signals that come together are one
			}
		}
	}
	tests := []struct {
		name string
		mode string // of probe
		args []string
		do   func(*running)
		want int // -1: by a signal
		// killed: signet itself
		killed bool
	}{
		{name: "exits", mode: "exit 0", want: 0},
		{name: "exits with a code", mode: "exit 3", want: 3},
		{name: "the program is killed", mode: "die", do: func(r *running) { r.signal(r.child, syscall.SIGKILL) }, want: 137},
		{name: "SIGTERM", mode: "die", do: toSignet(syscall.SIGTERM), want: 143},
		{name: "SIGINT", mode: "die", do: toSignet(syscall.SIGINT), want: 130},
		{name: "SIGHUP", mode: "die", do: toSignet(syscall.SIGHUP), want: 129},
		{name: "SIGTERM to the whole group", mode: "die", do: func(r *running) { r.signal(-r.cmd.Process.Pid, syscall.SIGTERM) }, want: 143},
		{name: "ignores SIGTERM", mode: "ignore", args: []string{"--kill-after", "300ms"}, do: toSignet(syscall.SIGTERM), want: 137},
		{name: "ignores SIGTERM twice", mode: "ignore", args: []string{"--kill-after", "0"}, do: toSignet(syscall.SIGTERM, syscall.SIGTERM), want: 137},
		{name: "ignores SIGINT and SIGTERM", mode: "ignore", args: []string{"--kill-after", "1h"}, do: toSignet(syscall.SIGINT, syscall.SIGTERM), want: 137},
		{name: "a family ignores SIGTERM", mode: "family", args: []string{"--kill-after", "300ms"}, do: toSignet(syscall.SIGTERM), want: 137},
		{name: "the guard is killed before", mode: "die", do: func(r *running) { r.signal(r.guard, syscall.SIGKILL); r.signal(r.cmd.Process.Pid, syscall.SIGTERM) }, want: 143},
		{name: "the guard is asked to end", mode: "die", do: func(r *running) {
			r.signal(r.guard, syscall.SIGTERM)
			r.signal(r.guard, syscall.SIGHUP)
			time.Sleep(100 * time.Millisecond)
			r.signal(r.cmd.Process.Pid, syscall.SIGKILL)
		}, want: -1, killed: true},
		{name: "SIGKILL", mode: "die", do: toSignet(syscall.SIGKILL), want: -1, killed: true},
		{name: "SIGKILL, and the program ignores what it can", mode: "ignore", do: toSignet(syscall.SIGKILL), want: -1, killed: true},
		{name: "SIGKILL, and there is a family", mode: "family", do: toSignet(syscall.SIGKILL), want: -1, killed: true},
		{name: "SIGKILL to the whole group", mode: "family", do: func(r *running) { r.signal(-r.cmd.Process.Pid, syscall.SIGKILL) }, want: -1, killed: true},
		{name: "SIGSEGV", mode: "ignore", do: toSignet(syscall.SIGSEGV), want: 2, killed: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, s)
			args := append([]string{"exec", "release"}, tt.args...)
			args = append(args, "--", "probe", b.out)
			r := b.start(nil, nil, append(args, strings.Fields(tt.mode)...)...)
			if tt.do != nil {
				if r.guard == 0 {
					t.Fatal("there is no guard")
				}
				tt.do(r)
			}
			if code := r.end(); code != tt.want {
				t.Errorf("exit code %d, want %d; %s", code, tt.want, r.read("stderr"))
			}
			r.nothingLeft(!tt.killed)
		})
	}
}

// TestExecSignalsOnce: what signet alone gets, and what its group gets, reaches the program once.
func TestExecSignalsOnce(t *testing.T) {
	b := newBench(t, execServer(t))
	r := b.start(nil, nil, "exec", "release", "--kill-after", "0", "--", "probe", b.out, "count")
	want := ""
	for _, to := range []int{r.cmd.Process.Pid, -r.cmd.Process.Pid} {
		for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1} {
			r.signal(to, s)
			want += strconv.Itoa(int(s)) + "\n"
			b.eventually("the signal has arrived", func() bool {
				_, err := os.Stat(filepath.Join(b.out, "signals"))
				return err == nil && b.read("signals") == want
			})
		}
	}
	r.signal(-r.cmd.Process.Pid, syscall.SIGTERM)
	r.signal(r.cmd.Process.Pid, syscall.SIGUSR2)
	if code := r.end(); code != 7 {
		t.Errorf("exit code %d", code)
	}
	for _, n := range []string{"15\n", "12\n"} { // in either order
		if strings.Count(b.read("signals"), n) > 1 {
			t.Errorf("signals %q", b.read("signals"))
		}
	}
}

// TestExecOnATerminal: Ctrl-C reaches the program once, however often it is pressed, and never kills it for not ending.
func TestExecOnATerminal(t *testing.T) {
	b := newBench(t, execServer(t))
	master, slave := openTerminal(t)
	r := b.start(&syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}, slave, "exec", "release", "--kill-after", "1ms", "--", "probe", b.out, "count")
	want := ""
	for _, key := range []struct {
		key byte
		n   syscall.Signal
	}{{0x03, syscall.SIGINT}, {0x03, syscall.SIGINT}, {0x1c, syscall.SIGQUIT}, {0x03, syscall.SIGINT}} {
		if _, err := master.Write([]byte{key.key}); err != nil {
			t.Fatal(err)
		}
		want += strconv.Itoa(int(key.n)) + "\n"
		b.eventually("the key has arrived", func() bool {
			_, err := os.Stat(filepath.Join(b.out, "signals"))
			return err == nil && b.read("signals") == want
		})
	}
	time.Sleep(100 * time.Millisecond) // for what must not come
	if got := b.read("signals"); got != want {
		t.Errorf("signals %q", got)
	}
	if pgrp, err := unix.Getpgid(r.child); err != nil || pgrp != r.cmd.Process.Pid {
		t.Errorf("the program's group is %d, %v: a pipeline would lose its terminal", pgrp, err)
	}
	r.signal(r.cmd.Process.Pid, syscall.SIGUSR2)
	if code := r.end(); code != 7 {
		t.Errorf("exit code %d", code)
	}
	r.nothingLeft(true)
}

// TestExecIsHungUp: the terminal goes away.
func TestExecIsHungUp(t *testing.T) {
	b := newBench(t, execServer(t))
	master, slave := openTerminal(t)
	r := b.start(&syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}, slave, "exec", "release", "--", "probe", b.out, "die")
	b.check(slave.Close())
	b.check(master.Close())
	if code := r.end(); code != 129 {
		t.Errorf("exit code %d", code)
	}
	r.nothingLeft(true)
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no terminals to be had: %v", err)
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close(); master.Close() })
	return master, slave
}

// TestExecIgnoredStaysIgnored: what a shell has ignored for a program in the background is ignored by what signet runs there.
func TestExecIgnoredStaysIgnored(t *testing.T) {
	b := newBench(t, execServer(t))
	r := b.start(nil, nil, "exec", "release", "--", "sh", "-c", `trap "" INT; trap "" HUP; exec signet exec release -- probe "$0" die`, b.out)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.child))
	b.check(err)
	_, rest, _ := strings.Cut(string(status), "SigIgn:\t")
	mask, err := strconv.ParseUint(rest[:16], 16, 64)
	b.check(err)
	if mask&(1<<(syscall.SIGINT-1)) == 0 || mask&(1<<(syscall.SIGHUP-1)) == 0 || mask&(1<<(syscall.SIGTERM-1)) != 0 || mask&(1<<(syscall.SIGPIPE-1)) != 0 {
		t.Errorf("the program ignores %x", mask)
	}
}
