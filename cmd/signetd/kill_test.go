package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/proto/sealed"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// rounds is how often the loaded server is killed: 200, a few with -short, or what SIGNET_KILL_ROUNDS says.
func rounds(t *testing.T) int {
	if s := os.Getenv("SIGNET_KILL_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("SIGNET_KILL_ROUNDS: %v", err)
		}
		return n
	}
	if testing.Short() {
		return 10
	}
	return 200
}

const killPolicy = `version: 1
profiles:
  release: {key: asc-release, app_store_connect: {}, reuse: never}
grants:
  - {id: load, to: [{mtls: spiffe://signet.local/operator}], mint: [release], rate: none}
`

// TestKilledServerKeepsItsWord kills the real program under load, again and again, with nothing but SIGKILL, and starts it again on
// what that left. Every token that a caller ever received must be in the recovered log, and the vault must be whole.
func TestKilledServerKeepsItsWord(t *testing.T) {
	v := &victim{t: t, dir: filepath.Join(t.TempDir(), "vault"), program: filepath.Join(t.TempDir(), "signetd")}
	v.run("go", "build", "-o", v.program, ".")
	v.run(v.program, "init", "--dir", v.dir, "--listen", "127.0.0.1:0")
	v.start()
	c := v.dial()
	v.importKey(c, "asc-release", "2X9R4HXF34")
	v.importKey(c, "asc-other", "OTHERKEY01")
	if _, err := c.ApplyPolicy(t.Context(), &signetv1.ApplyPolicyRequest{Document: []byte(killPolicy)}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	var received []string
	seen := make(map[string]bool)
	n, began := rounds(t), time.Now()
	for round := range n {
		if round > 0 {
			v.start()
		}
		received = append(received, v.loadAndKill()...)
		if round%50 == 49 {
			v.fsck()
		}
	}
	t.Logf("%d rounds in %s, %d tokens received", n, time.Since(began).Round(time.Millisecond), len(received))
	if len(received) < n {
		t.Errorf("only %d tokens in %d rounds: that was no load", len(received), n)
	}
	// An entry is told by its token's hash, so the test proves nothing about tokens that are alike.
	for _, sha := range received {
		if seen[sha] {
			t.Fatalf("token %s was received twice", sha)
		}
		seen[sha] = true
	}

	v.start()
	recorded := v.recorded()
	lost := 0
	for _, sha := range received {
		if !recorded[sha] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of the %d tokens that callers received are not in the log", lost, len(received))
	}
	t.Logf("%d mints on record", len(recorded))
	v.kill()
	v.fsck()
}

// victim is a vault and the server that has it open.
type victim struct {
	t            *testing.T
	dir, program string
	server       *exec.Cmd
	minted       atomic.Int64 // asked for so far, over all rounds
}

func (v *victim) run(program string, args ...string) {
	v.t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		v.t.Fatalf("%s %s: %v\n%s", filepath.Base(program), args[0], err, out)
	}
}

func (v *victim) fsck() {
	v.t.Helper()
	v.run(v.program, "fsck", "--config", filepath.Join(v.dir, "signetd.yaml"))
}

// start starts the server and waits for its line.
func (v *victim) start() {
	v.t.Helper()
	v.server = exec.Command(v.program, "serve", "--config", filepath.Join(v.dir, "signetd.yaml"))
	stderr, err := v.server.StderrPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	if err := v.server.Start(); err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = v.server.Process.Kill() })
	var said bytes.Buffer
	for s := bufio.NewScanner(stderr); s.Scan(); {
		if strings.HasPrefix(s.Text(), "signetd: serving on ") {
			return
		}
		said.WriteString(s.Text() + "\n")
	}
	v.t.Fatalf("the server ended before it was ready: %v\n%s", v.server.Wait(), &said)
}

func (v *victim) kill() {
	v.t.Helper()
	if err := v.server.Process.Kill(); err != nil {
		v.t.Fatal(err)
	}
	_, _ = v.server.Process.Wait()
}

func (v *victim) dial() *client.Client {
	v.t.Helper()
	conf, err := client.LoadConfig(filepath.Join(v.dir, "operator", "client.yaml"))
	if err != nil {
		v.t.Fatal(err)
	}
	c, err := client.Dial(conf)
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

func (v *victim) importKey(c *client.Client, name, keyID string) {
	v.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		v.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		v.t.Fatal(err)
	}
	r, _, err := c.Recipient(v.t.Context())
	if err != nil {
		v.t.Fatal(err)
	}
	file, err := sealed.Seal(r, der, sealed.Facts{Kind: "app-store-connect", KeyID: keyID, Issuer: "57246542-96fe-1a63-e053-0824d011072a"})
	if err != nil {
		v.t.Fatal(err)
	}
	if _, err := c.ImportKey(v.t.Context(), &signetv1.ImportKeyRequest{Name: name, Sealed: file}); err != nil {
		v.t.Fatal(err)
	}
}

// loadAndKill mints from many callers, and changes the state of another key all the while, until the server is killed in the midst
// of it. It answers the SHA-256 of every token that was received.
func (v *victim) loadAndKill() []string {
	v.t.Helper()
	c := v.dial()
	defer c.Close()
	ctx, cancel := context.WithCancel(v.t.Context())
	defer cancel()
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		received []string
	)
	// A call that fails ends its caller: the server is dead, or about to be. Any other failure than that is one of the test.
	ended := func(err error) bool {
		if err != nil && !errors.Is(err, client.ErrUnavailable) && !errors.Is(err, client.ErrUnknown) && !errors.Is(err, context.Canceled) {
			v.t.Errorf("a call failed before the server was killed: %v", err)
		}
		return err != nil
	}
	for range 16 {
		wg.Go(func() {
			for {
				// A scope of its own makes each token another one, even within one second.
				scope := fmt.Sprintf("GET /v1/apps/%d", v.minted.Add(1))
				tok, err := c.Mint(ctx, "release", client.MintOptions{Scope: []string{scope}})
				if ended(err) {
					return
				}
				mu.Lock()
				received = append(received, tok.SHA256)
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for {
			if _, err := c.DisableKey(ctx, &signetv1.DisableKeyRequest{Name: "asc-other"}); ended(err) {
				return
			}
			if _, err := c.EnableKey(ctx, &signetv1.EnableKeyRequest{Name: "asc-other"}); ended(err) {
				return
			}
		}
	})
	time.Sleep(time.Duration(50+mathrand.IntN(50)) * time.Millisecond)
	v.kill()
	cancel()
	wg.Wait()
	return received
}

// recorded are the SHA-256 of all tokens that are in the log which the running server recovered, after a check that its entries are
// those that it signed.
func (v *victim) recorded() map[string]bool {
	v.t.Helper()
	c := v.dial()
	defer c.Close()
	ctx := v.t.Context()
	all := make(map[string]bool)
	f := &signetv1.EntryFilter{Action: "token.mint"}
	for e, err := range c.Entries(ctx, f, signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST, 5000) {
		if err != nil {
			v.t.Fatal(err)
		}
		entry, err := auditlog.ParseEntry(e.GetLine())
		if err != nil {
			v.t.Fatalf("entry %d: %v", e.GetIndex(), err)
		}
		if entry.Token != nil {
			all[entry.Token.SHA256.String()] = true
		}
	}
	cp, err := c.Checkpoint(ctx, "")
	if err != nil {
		v.t.Fatal(err)
	}
	if err := c.VerifyEntries(ctx, cp, nil); err != nil {
		v.t.Fatal(err)
	}
	s, err := c.GetStatus(ctx, &signetv1.GetStatusRequest{})
	if err != nil {
		v.t.Fatal(err)
	}
	if !s.GetCanMint() || len(s.GetGaps()) > 0 {
		v.t.Errorf("after all the kills the server has something to say: %v", fmt.Sprint(s.GetReasons(), s.GetGaps()))
	}
	return all
}
