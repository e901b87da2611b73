package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
)

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
	cmd := b.command(nil, "exec", "release", "--ttl", "33s", "--kill-after", "100ms", "--", "probe", b.out, "ignore")
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

var _ tokens = (*client.TokenSource)(nil)
