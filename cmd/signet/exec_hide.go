package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// hidePrefix begins the name of every hideaway.
const hidePrefix = "signet-exec-"

// hideaway is a directory for one token file, the user's alone, in memory where there is a place in memory. It is locked while it is
// in use, and a guard, which is a process of its own, removes it when this process dies without having done so. The lock is for what
// the guard cannot do anything about: that it is killed, too. The next hideaway in the same place then removes it.
type hideaway struct {
	dir    string
	lock   *os.File
	guard  *exec.Cmd
	orders *os.File // to the guard; its end is this process's end
}

// hide makes a hideaway.
func (a *app) hide() (*hideaway, error) {
	base, memory := a.hidePlace()
	if !memory {
		a.say("there is no file system in memory, so that the token's file lies on disk, in %s", base)
	}
	return hideIn(base, a.Now())
}

// hideIn makes a hideaway in a directory. The guard is there before it.
func hideIn(base string, now time.Time) (_ *hideaway, err error) {
	if !safe(base) {
		return nil, cli.Malformedf("name a directory of your own in TMPDIR",
			"there is no place for the token's file: %s cannot be written, or others could put a directory of theirs in the place of ours there", base)
	}
	sweep(base, now)
	h := &hideaway{dir: filepath.Join(base, hidePrefix+rand.Text())}
	if err := h.post(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.Close())
		}
	}()
	if err := h.order(orderRemove, h.dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making a directory for the token's file: %w", err)
	}
	if h.lock, err = lockDir(h.dir); err != nil {
		return nil, fmt.Errorf("locking the directory of the token's file: %w", err)
	}
	return h, nil
}

// hidePlace is where a hideaway is made, and whether that is in memory.
func (a *app) hidePlace() (string, bool) {
	for _, dir := range []string{a.Getenv("XDG_RUNTIME_DIR"), "/dev/shm", os.TempDir()} {
		if filepath.IsAbs(dir) && inMemory(dir) && safe(dir) {
			return dir, true
		}
	}
	return os.TempDir(), false
}

// safe says whether what this user makes in a directory can be made, and not be renamed by others.
func safe(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	mine := ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid()) && (info.Mode().Perm()&0o022 == 0 || info.Mode()&os.ModeSticky != 0)
	return mine && unix.Access(dir, unix.W_OK|unix.X_OK) == nil
}

// sweepAge keeps a sweep away from a directory that is being made, and is not locked yet.
const sweepAge = time.Minute

// sweep removes this user's hideaways that nobody holds. What cannot be removed is left to the next one.
func sweep(base string, now time.Time) {
	old, err := filepath.Glob(filepath.Join(base, hidePrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range old {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || now.Sub(info.ModTime()) < sweepAge {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() {
			continue
		}
		if lock, err := lockDir(dir); err == nil {
			_ = os.RemoveAll(dir)
			_ = lock.Close()
		}
	}
}

// lockDir locks a directory for as long as what it answers is open.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// file is where the token lies.
func (h *hideaway) file() string { return filepath.Join(h.dir, "token") }

// Close removes the directory and ends the guard.
func (h *hideaway) Close() error {
	err := os.RemoveAll(h.dir)
	if h.lock != nil {
		err = errors.Join(err, h.lock.Close())
	}
	// Killed, it acts on no order any more.
	if killed := h.guard.Process.Kill(); !errors.Is(killed, os.ErrProcessDone) {
		err = errors.Join(err, killed)
	}
	return errors.Join(err, ended(h.guard.Wait()), h.orders.Close())
}

// guardArg is signet's one argument when it is a guard. It is no command: nobody has a use for it.
const guardArg = "exec-guard"

// The orders to a guard.
const (
	orderRemove = "remove" // the directory
	orderKill   = "kill"   // this process or group; 0 for nobody
)

// post starts the guard, in a session of its own: what is sent to this process's group or comes from its terminal does not reach it.
func (h *hideaway) post() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the program for the guard: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe to the guard: %w", err)
	}
	defer r.Close() //nolint:errcheck // the guard has its own
	h.orders = w
	h.guard = &exec.Cmd{Path: self, Args: []string{"signet", guardArg}, Env: []string{}, Dir: "/", Stdin: r, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	ready, err := h.guard.StdoutPipe()
	if err == nil {
		err = h.guard.Start()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("starting the guard of the token's file: %w", err), w.Close())
	}
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		return errors.Join(fmt.Errorf("the guard of the token's file does not start: %w", err), w.Close(), ended(h.guard.Wait()))
	}
	return nil
}

// guards has the guard kill a process, or a group of them as kill(2) names it, when this process dies; nobody when target is 0.
func (h *hideaway) guards(target int) error { return h.order(orderKill, strconv.Itoa(target)) }

func (h *hideaway) order(what, value string) error {
	if _, err := fmt.Fprintf(h.orders, "%s %q\n", what, value); err != nil {
		return fmt.Errorf("telling the guard of the token's file: %w", err)
	}
	return nil
}

// guard is the guard's main: it outlives what ends others, and says when that is so.
func guard() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	if _, err := os.Stdout.Write([]byte{'\n'}); err == nil {
		obey(os.Stdin)
	}
}

// obey takes orders until whoever gives them is gone, and then acts on the last ones.
func obey(orders io.Reader) {
	var dir string
	var target int
	for lines := bufio.NewScanner(orders); lines.Scan(); {
		what, text, _ := strings.Cut(lines.Text(), " ")
		value, err := strconv.Unquote(text)
		if err != nil {
			continue // cut off
		}
		switch what {
		case orderRemove:
			dir = value
		case orderKill:
			target, _ = strconv.Atoi(value)
		}
	}
	if target < -1 || target > 1 {
		_ = unix.Kill(target, syscall.SIGKILL)
	}
	if dir != "" {
		_ = os.RemoveAll(dir)
	}
}
