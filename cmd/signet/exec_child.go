package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is the program that signet exec runs. It is for one run, of one goroutine.
//
// With a terminal it stays in signet's process group, so that job control works as if signet were not there: Ctrl-C and Ctrl-Z reach
// both, and a pipeline keeps its terminal. Without one it leads a group of its own: a signal to signet's whole group then reaches it
// once, through signet, and with it all that it has started.
type child struct {
	cmd       *exec.Cmd
	killAfter time.Duration // 0: never
	say       func(format string, args ...any)

	terminal *os.File // signet's controlling one; nil without
}

// run starts the program and waits for its end, which is the exit code. started is told whom to kill if signet dies, as kill(2) has
// it, or 0 when the system sees to it; when it fails, so does run. A value on stop is a SIGTERM.
func (c *child) run(signals <-chan os.Signal, stop <-chan struct{}, started func(target int) error) (int, error) {
	// The system kills the child when the thread that has started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0); err == nil {
		c.terminal = tty
		defer tty.Close() //nolint:errcheck // only looked at
	}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: c.terminal == nil}
	dieWithParent(c.cmd.SysProcAttr)
	if err := c.cmd.Start(); err != nil {
		return 0, notRun(err)
	}
	if err := started(c.target()); err != nil {
		c.signal(syscall.SIGKILL)
		return 0, errors.Join(err, ended(c.cmd.Wait()))
	}
	done := make(chan error, 1)
	go func() { done <- c.cmd.Wait() }()
	return c.attend(signals, stop, done)
}

// target is whom the guard has to kill.
func (c *child) target() int {
	switch pid := c.cmd.Process.Pid; {
	case c.terminal == nil:
		return -pid
	case diesWithParent:
		return 0
	default:
		return pid
	}
}

// attend passes signals on until the program has ended.
func (c *child) attend(signals <-chan os.Signal, stop <-chan struct{}, done <-chan error) (int, error) {
	var asked syscall.Signal // the first that was to end it; 0 before
	var patience <-chan time.Time
	pass := func(s syscall.Signal) {
		switch {
		case !slices.Contains(ending, s):
			c.signal(s)
		case asked != 0:
			c.kill("a second signal came after %s", unix.SignalName(asked))
		default:
			asked = s
			c.signal(s)
			if c.killAfter > 0 {
				patience = time.After(c.killAfter)
			}
		}
	}
	for {
		select {
		case err := <-done:
			if err := ended(err); err != nil {
				return 0, err
			}
			return exitCode(c.cmd.ProcessState), nil
		case s := <-signals:
			if s, ok := s.(syscall.Signal); ok && s != syscall.SIGPIPE && !c.typed(s) {
				pass(s)
			}
		case <-stop:
			pass(syscall.SIGTERM)
		case <-patience:
			c.kill("it did not end within %s of %s", c.killAfter, unix.SignalName(asked))
		}
	}
}

// ending are the signals that are meant to end a program. SIGHUP is not one of them: to many it means to read something again, and
// whom it does end needs no help.
var ending = []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT}

// typed says whether a signal is one that the terminal has given to the program itself: a key was pressed while signet and its
// program were in the foreground. Who sends signet alone such a signal from elsewhere, then, does not reach the program.
func (c *child) typed(s syscall.Signal) bool {
	if c.terminal == nil || s != syscall.SIGINT && s != syscall.SIGQUIT {
		return false
	}
	foreground, err := unix.IoctlGetInt(int(c.terminal.Fd()), unix.TIOCGPGRP)
	return err == nil && foreground == unix.Getpgrp()
}

func (c *child) kill(why string, args ...any) {
	c.say("the program was killed: %s", fmt.Sprintf(why, args...))
	c.signal(syscall.SIGKILL)
}

// signal sends a signal to the program, or to its group where it has one. That it has ended already is no failure.
func (c *child) signal(s syscall.Signal) {
	if c.terminal == nil {
		_ = unix.Kill(-c.cmd.Process.Pid, s)
		return
	}
	_ = c.cmd.Process.Signal(s)
}

// ended is what went wrong when a program was waited for: not what it ended with.
func ended(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok || err == nil {
		return nil
	}
	return fmt.Errorf("waiting for the program: %w", err)
}

// exitCode is a program's end as a shell tells it.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return signaled + int(status.Signal())
	}
	return state.ExitCode()
}
