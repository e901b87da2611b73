// Command demo walks the main job of Signet through with the real programs, and shows every command that it gives and what
// came back: init, a sealed import, a policy, a mint, a check of the token by a library that is not ours, the audit entry
// with its proof, a revocation and the refusal after it. It works in a temporary directory and leaves nothing behind.
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
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	keyID    = "2X9R4HXF34"
	issuerID = "57246542-96fe-1a63-e053-0824d011072a"

	policy = `version: 1
profiles:
  ios-release:     {key: asc-release, app_store_connect: {}, ttl: 10m}
  ios-builds-read:
    key: asc-release
    app_store_connect: {scope: [GET /v1/apps/1234567890, GET /v1/apps/1234567890/builds]}
    ttl: 15m
grants:
  - id: ios-ci
    to: [{mtls: spiffe://signet.local/ci/*}]
    mint: [ios-release, ios-builds-read]
    rate: 60/h
tests:
  - {as: {mtls: spiffe://signet.local/ci/1},      mint: ios-release, expect: allow}
  - {as: {mtls: spiffe://signet.local/android/1}, mint: ios-release, expect: deny}
`
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: demo DIR-OF-THE-PROGRAMS")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one walk: where the programs are, where the vault and its users' files are, and as whom the next command runs.
type demo struct {
	bin, dir, config string
	out              io.Writer
}

func run(bin string, out io.Writer) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "signet-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{bin: bin, dir: dir, out: out}

	d.say("1. Operations makes a vault: store, audit log, a small CA, and the operator's certificate.")
	if _, err := d.must("signetd", "init", "--dir", "vault", "--listen", "127.0.0.1:0"); err != nil {
		return err
	}
	stop, err := d.serve()
	if err != nil {
		return err
	}
	defer stop()
	d.config = "vault/operator/client.yaml"

	d.say("2. The account holder seals the freshly downloaded key to the vault. Nobody in between can open it.")
	pub, err := d.writeKey()
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"key", "recipient", "--out", "recipient.txt"},
		{"key", "seal", "AuthKey_" + keyID + ".p8", "--to", "recipient.txt", "--kind", "app-store-connect", "--issuer-id", issuerID, "--out", "release.sealed"},
		{"key", "import", "asc-release", "release.sealed", "--kind", "app-store-connect"},
	} {
		if _, err := d.must("signet", args...); err != nil {
			return err
		}
	}

	d.say("3. A policy, reviewed like code, says who may mint what. Its own tests run before it is applied.")
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(policy), 0o600); err != nil {
		return err
	}
	fmt.Fprint(out, indent(policy))
	if _, err := d.must("signet", "policy", "apply", "policy.yaml"); err != nil {
		return err
	}

	d.say("4. A CI job proves who it is and gets a ten-minute token, with a receipt from the audit log.")
	if _, err := d.must("signetd", "cert", "--dir", "vault", "--uri", "spiffe://signet.local/ci/1", "--out", "ci"); err != nil {
		return err
	}
	d.config = "ci/client.yaml"
	token, err := d.mint("mint", "ios-release", "--receipt")
	if err != nil {
		return err
	}
	if err := d.check(token, pub); err != nil {
		return err
	}

	d.say("5. It may ask for less than its profile grants, and never for more.")
	if token, err = d.mint("mint", "ios-builds-read", "--ttl", "2m", "--scope", "GET /v1/apps/1234567890"); err != nil {
		return err
	}
	if err := d.check(token, pub); err != nil {
		return err
	}
	if err := d.refused(3, "mint", "ios-builds-read", "--scope", "GET /v1/users"); err != nil {
		return err
	}

	d.say("6. Security sees every use, and can prove that the record is whole.")
	d.config = "vault/operator/client.yaml"
	if _, err := d.must("signet", "audit", "list", "--action", "token.mint"); err != nil {
		return err
	}
	index, err := d.firstMint()
	if err != nil {
		return err
	}
	for _, args := range [][]string{{"audit", "show", index}, {"audit", "verify"}} {
		if _, err := d.must("signet", args...); err != nil {
			return err
		}
	}

	d.say("7. The key is revoked, for everyone, in one command. It tells who still holds what, and until when.")
	if _, err := d.must("signet", "key", "revoke", "asc-release", "--reason", "laptop lost, ticket 4711", "--yes"); err != nil {
		return err
	}
	d.config = "ci/client.yaml"
	if err := d.refused(3, "mint", "ios-release"); err != nil {
		return err
	}
	d.config = "vault/operator/client.yaml"
	if _, err := d.must("signet", "audit", "verify"); err != nil {
		return err
	}
	if err := stop(); err != nil {
		return err
	}
	d.say("Held: no key left the vault, every token was on record before it was released, and off meant off.")
	return nil
}

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
func (d *demo) must(program string, args ...string) (string, error) {
	d.show(program, args)
	var stdout, stderr bytes.Buffer
	cmd := d.command(context.Background(), program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	fmt.Fprint(d.out, indent(stdout.String()), indent(stderr.String()))
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", program, args[0], err)
	}
	return stdout.String(), nil
}

func (d *demo) mint(args ...string) (string, error) {
	out, err := d.must("signet", args...)
	return strings.TrimSpace(out), err
}

// refused runs a command that must fail with this exit code.
func (d *demo) refused(code int, args ...string) error {
	_, err := d.must("signet", args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		return fmt.Errorf("signet %s was to be refused with exit code %d, and was not: %w", args[0], code, err)
	}
	fmt.Fprintf(d.out, "  (refused, exit code %d)\n", code)
	return nil
}

// serve starts the server and answers, once it is ready, how to stop it.
func (d *demo) serve() (func() error, error) {
	args := []string{"serve", "--config", "vault/signetd.yaml"}
	d.show("signetd", append(args, "&"))
	cmd := d.command(context.Background(), "signetd", args...)
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
			}
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
func (d *demo) firstMint() (string, error) {
	out, err := d.command(context.Background(), "signet", "audit", "list", "--limit", "0", "-o", "json").Output()
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
