package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// demo is one walk: where the programs are, where the vault and its users' files are, and as whom the next command runs.
type demo struct {
	bin, dir, config string
	out              io.Writer

	mu   sync.Mutex
	said []string // the last lines of all servers, beside those that say that they are ready
}

// heard keeps a line of a server.
func (d *demo) heard(config, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.said = append(d.said, config+": "+text)
	d.said = d.said[max(0, len(d.said)-kept):]
}

// kept is how many lines of the servers are shown when the walk fails.
const kept = 30

func (d *demo) say(text string) { fmt.Fprintf(d.out, "\n== %s\n", text) }

// command prepares a program as the current user would call it.
func (d *demo) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, program), args...)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "SIGNET_CONFIG="+filepath.Join(d.dir, d.config), "XDG_STATE_HOME="+filepath.Join(d.dir, "state"))
	return cmd
}

func (d *demo) show(program string, args []string) {
	words := make([]string, len(args))
	for i, a := range args {
		if words[i] = a; strings.ContainsAny(a, " ?") {
			words[i] = "'" + a + "'"
		}
	}
	fmt.Fprintf(d.out, "$ %s %s\n", program, strings.Join(words, " "))
}

// must shows a command, runs it, shows what it printed and answers its standard output.
func (d *demo) must(ctx context.Context, program string, args ...string) (string, error) {
	d.show(program, args)
	var stdout, stderr bytes.Buffer
	cmd := d.command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	fmt.Fprint(d.out, indent(stdout.String()), indent(stderr.String()))
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", program, args[0], err)
	}
	return stdout.String(), nil
}

func (d *demo) mint(ctx context.Context, args ...string) (string, error) {
	out, err := d.must(ctx, "signet", args...)
	return strings.TrimSpace(out), err
}

// refused runs a command that must fail with this exit code.
func (d *demo) refused(ctx context.Context, code int, args ...string) error {
	_, err := d.must(ctx, "signet", args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		return fmt.Errorf("signet %s was to be refused with exit code %d, and was not: %w", args[0], code, err)
	}
	fmt.Fprintf(d.out, "  (refused, exit code %d)\n", code)
	return nil
}

// serve starts the server and answers, once it is ready, how to stop it.
func (d *demo) serve(ctx context.Context, config string) (func() error, error) {
	args := []string{"serve", "--config", config}
	d.show("signetd", append(args, "&"))
	cmd := d.command(context.WithoutCancel(ctx), "signetd", args...) // it is stopped in order
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan string, 1)
	go func() {
		defer close(ready)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			if strings.HasPrefix(s.Text(), "signetd: serving on ") {
				ready <- s.Text()
				continue
			}
			d.heard(config, s.Text())
		}
	}()
	select {
	case text, ok := <-ready:
		if !ok {
			return nil, fmt.Errorf("signetd serve ended before it was ready: %w", cmd.Wait())
		}
		fmt.Fprint(d.out, indent(text))
	case <-time.After(30 * time.Second):
		return nil, errors.Join(errors.New("signetd serve was not ready within 30 seconds"), cmd.Process.Kill())
	}
	stopped := false
	return func() error {
		if stopped {
			return nil
		}
		stopped = true
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		return cmd.Wait()
	}, nil
}

// writeKey makes a key file as Apple's page would have given it.
func (d *demo) writeKey() (*ecdsa.PublicKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return &key.PublicKey, os.WriteFile(filepath.Join(d.dir, "AuthKey_"+keyID+".p8"), text, 0o600)
}

// sealedImport makes a key, seals it to the vault and imports it.
func (d *demo) sealedImport(ctx context.Context) (*ecdsa.PublicKey, error) {
	pub, err := d.writeKey()
	if err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"key", "recipient", "--out", "recipient.txt"},
		{"key", "seal", "AuthKey_" + keyID + ".p8", "--to", "recipient.txt", "--kind", "app-store-connect", "--issuer-id", issuerID, "--out", "release.sealed"},
		{"key", "import", "asc-release", "release.sealed", "--kind", "app-store-connect"},
	} {
		if _, err := d.must(ctx, "signet", args...); err != nil {
			return nil, err
		}
	}
	return pub, nil
}

// check verifies a token with golang-jwt's parser and the public key alone, as somebody at Apple would, and prints its claims.
func (d *demo) check(token string, pub *ecdsa.PublicKey) error {
	t, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return pub, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience("appstoreconnect-v1"), jwt.WithIssuer(issuerID), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	if err != nil {
		return fmt.Errorf("the token does not verify: %w", err)
	}
	claims, err := json.Marshal(t.Claims)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  checked with another library and the public key: kid %v, claims %s\n", t.Header["kid"], claims)
	return nil
}

// firstMint finds the index of the first mint on record.
func (d *demo) firstMint(ctx context.Context) (string, error) {
	out, err := d.command(ctx, "signet", "audit", "list", "--limit", "0", "-o", "json").Output()
	if err != nil {
		return "", err
	}
	for i, text := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		var e struct{ Action, Outcome string }
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			return "", err
		}
		if e.Action == "token.mint" && e.Outcome == "allowed" {
			return fmt.Sprint(i), nil
		}
	}
	return "", errors.New("no mint is on record")
}

func indent(text string) string {
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return ""
	}
	return "  " + strings.ReplaceAll(text, "\n", "\n  ") + "\n"
}
