package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
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

	cert := s.Certificate("spiffe://signet.test/ci/1")
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	b.check(err)
	b.config = filepath.Join(b.home, "client.yaml")
	for name, data := range map[string][]byte{
		"ca.pem": s.CA(), "cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		"key.pem":     pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"client.yaml": fmt.Appendf(nil, "addresses: [%q]\nlogs: [{origin: %s, key: %s}]\nca: ca.pem\ncertificate: cert.pem\nkey: key.pem\n", s.Addr(), s.LogOrigin(), s.LogKey()),
	} {
		b.check(os.WriteFile(filepath.Join(b.home, name), data, 0o600))
	}
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
		"the program":  func() bool { return !alive(r.child) },
		"the guard":    func() bool { return r.guard == 0 || !alive(r.guard) },
		"the relative": func() bool { return r.relative == 0 || !alive(r.relative) },
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

func TestExecDoesNotBegin(t *testing.T) {
	s := execServer(t)
	before := mints(t, s)
	tests := []struct {
		name string
		args []string
		want int
		says string
	}{
		{"denied", []string{"exec", "other", "--", "probe", "DIR", "die"}, cli.Denied, "denied"},
		{"no such program", []string{"exec", "release", "--", "no-such-program"}, 127, "not there"},
		{"no such path", []string{"exec", "release", "--", "./no-such-program"}, 127, "not there"},
		{"a directory", []string{"exec", "release", "--", "/tmp"}, 126, "cannot be run"},
		{"not executable", []string{"exec", "release", "--", "/etc/passwd"}, 126, "cannot be run"},
		{"no dashes", []string{"exec", "release", "probe", "DIR", "die"}, cli.Malformed, "two dashes"},
		{"no program", []string{"exec", "release", "--"}, cli.Malformed, "two dashes"},
		{"two profiles", []string{"exec", "release", "other", "--", "probe"}, cli.Malformed, "two dashes"},
		{"no profile", []string{"exec", "--", "probe"}, cli.Malformed, "two dashes"},
		{"a bad ttl", []string{"exec", "release", "--ttl", "1s", "--", "probe", "DIR", "die"}, cli.Malformed, "too short"},
		{"a bad patience", []string{"exec", "release", "--kill-after", "-1s", "--", "probe", "DIR", "die"}, cli.Malformed, "--kill-after"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, s)
			for i := range tt.args {
				tt.args[i] = strings.ReplaceAll(tt.args[i], "DIR", b.out)
			}
			cmd := b.command(nil, tt.args...)
			_ = cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != tt.want || !strings.Contains(b.read("stderr"), tt.says) {
				t.Errorf("exit code %d, %s", got, b.read("stderr"))
			}
			if _, err := os.Stat(filepath.Join(b.out, "pid")); err == nil {
				t.Error("the program has run")
			}
			if entries, err := os.ReadDir(b.shm); err != nil || len(entries) > 0 {
				t.Errorf("left are %v, %v", entries, err)
			}
		})
	}
	if after := mints(t, s); after != before {
		t.Errorf("%d tokens were minted for nothing", after-before)
	}
}

// mints is how many tokens were given out.
func mints(t *testing.T, s *servertest.Server) int {
	t.Helper()
	n := 0
	for _, err := range s.Client(servertest.OperatorID).Entries(t.Context(), &signetv1.EntryFilter{Action: "token.mint", Outcome: "allowed"}, signetv1.EntryOrder_ENTRY_ORDER_UNSPECIFIED, 100) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// TestExecEnvironment looks at all that the program is given, and at what others can see.
func TestExecEnvironment(t *testing.T) {
	b := newBench(t, execServer(t))
	r := b.start(nil, nil, "exec", "release", "--", "probe", b.out, "die")
	token := r.env[envToken]
	if strings.Count(token, ".") != 2 || r.env["KEPT"] != "yes" {
		t.Errorf("the environment is %v", r.env)
	}
	data, err := os.ReadFile(r.env[envFile])
	if err != nil || string(data) != token {
		t.Errorf("the file holds %d bytes, %v", len(data), err)
	}
	for path, want := range map[string]os.FileMode{r.env[envFile]: 0o600, filepath.Dir(r.env[envFile]): 0o700} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
	}
	for _, pid := range []int{r.cmd.Process.Pid, r.child, r.guard} {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || len(cmdline) == 0 || bytes.Contains(cmdline, []byte(token)) || bytes.Contains(cmdline, []byte(r.env[envAuth])) {
			t.Errorf("the command line of %d: %q, %v", pid, cmdline, err)
		}
	}
	if environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", r.guard)); err == nil && len(environ) > 0 {
		t.Errorf("the guard has an environment: %q", environ)
	}

	good := map[string]string{"Authorization": r.env[envAuth]}
	tests := []struct {
		name, method, path, host string
		headers                  map[string]string
		want                     int
	}{
		{"as it should be", "GET", "", "", good, 200},
		{"no secret", "GET", "", "", nil, 401},
		{"a wrong secret", "GET", "", "", map[string]string{"Authorization": "Bearer AAAA"}, 401},
		{"the token for the secret", "GET", "", "", map[string]string{"Authorization": "Bearer " + token}, 401},
		{"the secret without its scheme", "GET", "", "", map[string]string{"Authorization": strings.TrimPrefix(r.env[envAuth], "Bearer ")}, 401},
		{"the secret in the address alone", "GET", "?auth=" + url.QueryEscape(r.env[envAuth]), "", nil, 401},
		{"another name for the host", "GET", "", "evil.example", good, 421},
		{"localhost, too", "GET", "", "localhost", good, 421},
		{"another path", "GET", "/else", "", good, 404},
		{"another path without the secret", "GET", "/else", "", nil, 401},
		{"POST", "POST", "", "", good, 405},
		{"HEAD", "HEAD", "", "", good, 405},
		{"OPTIONS, as a browser asks first", "OPTIONS", "", "", map[string]string{"Origin": "https://evil.example"}, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, header, body := ask(t, tt.method, r.env[envURL]+tt.path, tt.host, tt.headers)
			if code != tt.want || (code == 200) != (body == token) || header.Get("Cache-Control") != "no-store" || header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%d, %v, %d bytes", code, header, len(body))
			}
		})
	}
	_, header, body := ask(t, "GET", r.env[envURL], "", map[string]string{"Authorization": r.env[envAuth], "Accept": "application/json"})
	var got mintedJSON
	if err := json.Unmarshal([]byte(body), &got); err != nil || got.Token != token || got.UseUntil.Before(time.Now()) || header.Get("Content-Type") != "application/json" {
		t.Errorf("as JSON: %v, until %v, %v", err, got.UseUntil, header)
	}
}

// TestExecKeepsFresh: tokens that live for three seconds are replaced in time, in the file and at the address, until the key is off.
func TestExecKeepsFresh(t *testing.T) {
	s := execServer(t)
	b := newBench(t, s)
	r := b.start(nil, nil, "exec", "release", "--ttl", "33s", "--stop-on-denied", "--kill-after", "0", "--", "probe", b.out, "count")
	seen := map[string]bool{}
	auth := map[string]string{"Authorization": r.env[envAuth]}
	b.eventually("three tokens in the file", func() bool {
		data, err := os.ReadFile(r.env[envFile])
		b.check(err)
		if strings.Count(string(data), ".") != 2 {
			t.Fatalf("the file holds %d bytes that are no token", len(data))
		}
		seen[string(data)] = true
		if st, err := os.Stat(r.env[envFile]); err != nil || st.Mode().Perm() != 0o600 {
			t.Fatalf("the file: %v", err)
		}
		return len(seen) == 3
	})
	b.eventually("a token of the address's in the file", func() bool {
		code, _, body := ask(t, "GET", r.env[envURL], "", auth)
		data, err := os.ReadFile(r.env[envFile])
		b.check(err)
		return code == 200 && body == string(data) && body != r.env[envToken]
	})
	if stderr := b.read("stderr"); stderr != "" {
		t.Errorf("standard error: %s", stderr)
	}

	if _, err := s.Client(servertest.OperatorID).DisableKey(t.Context(), &signetv1.DisableKeyRequest{Name: "asc"}); err != nil {
		t.Fatal(err)
	}
	b.eventually("the file is gone", func() bool {
		_, err := os.Stat(r.env[envFile])
		return errors.Is(err, os.ErrNotExist)
	})
	if code, _, body := ask(t, "GET", r.env[envURL], "", auth); code != 403 || !strings.Contains(body, "disabled") {
		t.Errorf("the address answers %d, %s", code, body)
	}
	b.eventually("it is said, and the program told", func() bool {
		_, err := os.Stat(filepath.Join(b.out, "signals"))
		return err == nil && strings.Contains(b.read("stderr"), "no token any more")
	})
	if got := b.read("signals"); got != "15\n" {
		t.Errorf("signals %q", got)
	}
	r.signal(r.cmd.Process.Pid, syscall.SIGUSR2)
	if code := r.end(); code != 7 {
		t.Errorf("exit code %d", code)
	}
	r.nothingLeft(true)
}

// TestExecWithoutReader: that nobody reads standard error any more ends neither signet nor the program.
func TestExecWithoutReader(t *testing.T) {
	b := newBench(t, execServer(t))
	r, w, err := os.Pipe()
	b.check(err)
	b.check(r.Close())
	cmd := b.command(nil, "exec", "release", "--ttl", "31s", "--kill-after", "100ms", "--", "probe", b.out, "ignore")
	cmd.Stderr = w
	b.check(cmd.Start())
	b.check(w.Close())
	b.eventually("the probe is up", func() bool { _, err := os.Stat(filepath.Join(b.out, "pid")); return err == nil })
	b.check(cmd.Process.Signal(syscall.SIGTERM)) // and it is said that the program was killed
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 137 {
		t.Errorf("exit code %d", code)
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

var _ tokens = (*client.TokenSource)(nil)
