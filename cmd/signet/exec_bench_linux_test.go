package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
)

const execPolicy = `version: 1
profiles:
  release: {key: asc, app_store_connect: {}, ttl: 10m}
  other: {key: asc, app_store_connect: {}, ttl: 10m}
grants:
  - {id: ci, to: [{mtls: "spiffe://signet.test/ci/*"}], mint: [release], rate: none}
`

// execServer is a server by the wall clock, with a profile for spiffe://signet.test/ci/*.
func execServer(t *testing.T) *servertest.Server {
	t.Helper()
	// Tests that run in the background may have been started with these ignored, and what they start would ignore them, too. A signal
	// that is handled here is none that a new program ignores.
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGHUP} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
			t.Cleanup(func() { signal.Ignore(s) })
		}
	}
	s := servertest.New(t, servertest.Options{Configure: func(c *server.Config) { c.Now = time.Now }})
	s.ImportKey("asc", "app-store-connect")
	s.ApplyPolicy(execPolicy)
	return s
}

// bench is a user's place: programs, configuration, and a directory in memory for what exec hides.
type bench struct {
	t                 *testing.T
	bin, config, shm  string
	home, out, stderr string
}

func newBench(t *testing.T, s *servertest.Server) *bench {
	t.Helper()
	b := &bench{t: t, bin: t.TempDir(), home: t.TempDir(), out: t.TempDir()}
	b.stderr = filepath.Join(b.out, "stderr")
	self, err := os.Executable()
	b.check(err)
	for _, name := range []string{"signet", "probe"} {
		b.check(os.Symlink(self, filepath.Join(b.bin, name)))
	}
	b.shm, err = os.MkdirTemp("/dev/shm", "signet-test-")
	b.check(err)
	t.Cleanup(func() { b.check(os.RemoveAll(b.shm)) })
	b.config = s.WriteConfig(b.home, "spiffe://signet.test/ci/1")
	return b
}

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// command is signet with arguments, without a terminal unless attr says otherwise.
func (b *bench) command(attr *syscall.SysProcAttr, args ...string) *exec.Cmd {
	b.t.Helper()
	if attr == nil {
		attr = &syscall.SysProcAttr{Setsid: true}
	}
	stderr, err := os.Create(b.stderr)
	b.check(err)
	b.t.Cleanup(func() { stderr.Close() })
	return &exec.Cmd{
		Path: filepath.Join(b.bin, "signet"), Args: append([]string{"signet"}, args...), Stderr: stderr, SysProcAttr: attr,
		Env: []string{"PATH=" + b.bin + ":" + os.Getenv("PATH"), "HOME=" + b.home, "SIGNET_CONFIG=" + b.config, "XDG_RUNTIME_DIR=" + b.shm, "SIGNET_TOKEN=stale", "KEPT=yes"},
	}
}

// running is a signet exec whose probe is up.
type running struct {
	*bench
	cmd                    *exec.Cmd
	child, guard, relative int // 0: none
	env                    map[string]string
	listenedAt             string
	ended                  chan struct{}
	code                   int // once it has ended; -1: by a signal
}

// start begins a signet exec, and waits until its probe is up.
func (b *bench) start(attr *syscall.SysProcAttr, stdin *os.File, args ...string) *running {
	b.t.Helper()
	r := &running{bench: b, cmd: b.command(attr, args...), ended: make(chan struct{})}
	if stdin != nil {
		r.cmd.Stdin = stdin
	}
	b.check(r.cmd.Start())
	go func() {
		defer close(r.ended)
		_ = r.cmd.Wait()
		r.code = r.cmd.ProcessState.ExitCode()
	}()
	b.t.Cleanup(func() { _ = r.cmd.Process.Kill(); <-r.ended })
	b.eventually("the probe is up", func() bool {
		select {
		case <-r.ended:
			if _, err := os.Stat(filepath.Join(b.out, "pid")); err != nil {
				b.t.Fatalf("signet ended with %d: %s", r.code, b.read("stderr"))
			}
		default:
		}
		_, err := os.Stat(filepath.Join(b.out, "pid"))
		return err == nil
	})
	r.child = r.number("pid")
	if _, err := os.Stat(filepath.Join(b.out, "relative")); err == nil {
		r.relative = r.number("relative")
	}
	r.guard = guardOf(b.t, r.cmd.Process.Pid)
	r.env = map[string]string{}
	for line := range strings.Lines(b.read("env")) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		r.env[name] = value
	}
	u, err := url.Parse(r.env[envURL])
	b.check(err)
	r.listenedAt = u.Host
	return r
}

func (b *bench) read(name string) string {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.out, name))
	b.check(err)
	return string(data)
}

func (b *bench) number(name string) int {
	b.t.Helper()
	n, err := strconv.Atoi(b.read(name))
	b.check(err)
	return n
}

func (b *bench) eventually(what string, f func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("not in half a minute: %s", what)
		}
	}
}

func (r *running) signal(pid int, s syscall.Signal) {
	r.t.Helper()
	r.check(syscall.Kill(pid, s))
}

// end waits for signet's end.
func (r *running) end() int {
	r.t.Helper()
	select {
	case <-r.ended:
		return r.code
	case <-time.After(30 * time.Second):
		r.t.Fatalf("signet does not end: %s", r.read("stderr"))
		return 0
	}
}

// nothingLeft fails when anything of a run is left: at once, or after a moment when signet itself could not see to it.
func (r *running) nothingLeft(atOnce bool) {
	r.t.Helper()
	for what, gone := range map[string]func() bool{
		"the directory of the token": func() bool {
			entries, err := os.ReadDir(r.shm)
			r.check(err)
			return len(entries) == 0
		},
		"the program": func() bool { return !alive(r.child) },
		"the guard":   func() bool { return r.guard == 0 || !alive(r.guard) },
		"the address": func() bool {
			conn, err := net.Dial("tcp", r.listenedAt)
			if err == nil {
				conn.Close()
			}
			return errors.Is(err, syscall.ECONNREFUSED)
		},
	} {
		if atOnce {
			if !gone() {
				r.t.Errorf("%s is still there", what)
			}
			continue
		}
		r.eventually(what+" is gone", gone)
	}
	// It is killed with the program, but nobody waits for its end: it is init's child by then.
	r.eventually("the relative is gone", func() bool { return r.relative == 0 || !alive(r.relative) })
}

// alive says whether a process runs; one that only waits to be waited for does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
}

// guardOf finds the guard of a signet; 0 when signet has ended.
func guardOf(t *testing.T, signet int) int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stats {
		stat, _ := os.ReadFile(file)
		_, rest, _ := bytes.Cut(stat, []byte(") "))
		var state string
		var parent int
		if _, err := fmt.Sscan(string(rest), &state, &parent); err != nil || parent != signet {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if string(cmdline) == "signet\x00"+guardArg+"\x00" {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			return pid
		}
	}
	return 0
}
