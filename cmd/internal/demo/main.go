// Command demo walks the main job of Signet through with the real programs, and shows every command that it gives and what
// came back: init, a sealed import, a policy, a mint, a check of the token by a library that is not ours, the audit entry
// with its proof, a revocation and the refusal after it. With the word vault before the programs' directory the vault lies in a real
// HashiCorp Vault and three replicas serve it, of which one is cut off, and then Vault is away. It works in a temporary directory and
// leaves nothing behind, but for the Vault that it has built, in the user's cache.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
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
	walk, args := onOneServer, os.Args[1:]
	if len(args) > 0 && args[0] == "vault" {
		walk, args = onVault, args[1:]
	}
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, "usage: demo [vault] DIR-OF-THE-PROGRAMS")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, args[0], walk); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run takes a walk in a new directory.
func run(ctx context.Context, bin string, walk func(context.Context, *demo) error) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "signet-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{bin: bin, dir: dir, out: os.Stdout}
	err = walk(ctx, d)
	if err != nil && ctx.Err() == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		fmt.Fprintf(os.Stderr, "\nThe servers said last:\n%s", indent(strings.Join(d.said, "\n")))
	}
	return err
}

func onOneServer(ctx context.Context, d *demo) error {
	d.say("1. Operations makes a vault: store, audit log, a small CA, and the operator's certificate.")
	if _, err := d.must(ctx, "signetd", "init", "--dir", "vault", "--listen", "127.0.0.1:0"); err != nil {
		return err
	}
	stop, err := d.serve(ctx, "vault/signetd.yaml")
	if err != nil {
		return err
	}
	defer stop()
	d.config = "vault/operator/client.yaml"

	d.say("2. The account holder seals the freshly downloaded key to the vault. Nobody in between can open it.")
	pub, err := d.sealedImport(ctx)
	if err != nil {
		return err
	}

	d.say("3. A policy, reviewed like code, says who may mint what. Its own tests run before it is applied.")
	if err := os.WriteFile(filepath.Join(d.dir, "policy.yaml"), []byte(policy), 0o600); err != nil {
		return err
	}
	fmt.Fprint(d.out, indent(policy))
	if _, err := d.must(ctx, "signet", "policy", "apply", "policy.yaml"); err != nil {
		return err
	}

	d.say("4. A CI job proves who it is and gets a ten-minute token, with a receipt from the audit log.")
	if _, err := d.must(ctx, "signetd", "cert", "--dir", "vault", "--uri", "spiffe://signet.local/ci/1", "--out", "ci"); err != nil {
		return err
	}
	d.config = "ci/client.yaml"
	token, err := d.mint(ctx, "mint", "ios-release", "--receipt")
	if err != nil {
		return err
	}
	if err := d.check(token, pub); err != nil {
		return err
	}

	d.say("5. It may ask for less than its profile grants, and never for more.")
	if token, err = d.mint(ctx, "mint", "ios-builds-read", "--ttl", "2m", "--scope", "GET /v1/apps/1234567890"); err != nil {
		return err
	}
	if err := d.check(token, pub); err != nil {
		return err
	}
	if err := d.refused(ctx, 3, "mint", "ios-builds-read", "--scope", "GET /v1/users"); err != nil {
		return err
	}

	d.say("6. Security sees every use, and can prove that the record is whole.")
	d.config = "vault/operator/client.yaml"
	if _, err := d.must(ctx, "signet", "audit", "list", "--action", "token.mint"); err != nil {
		return err
	}
	index, err := d.firstMint(ctx)
	if err != nil {
		return err
	}
	for _, args := range [][]string{{"audit", "show", index}, {"audit", "verify"}} {
		if _, err := d.must(ctx, "signet", args...); err != nil {
			return err
		}
	}

	d.say("7. The key is revoked, for everyone, in one command. It tells who still holds what, and until when.")
	if _, err := d.must(ctx, "signet", "key", "revoke", "asc-release", "--reason", "laptop lost, ticket 4711", "--yes"); err != nil {
		return err
	}
	d.config = "ci/client.yaml"
	if err := d.refused(ctx, 3, "mint", "ios-release"); err != nil {
		return err
	}
	d.config = "vault/operator/client.yaml"
	if _, err := d.must(ctx, "signet", "audit", "verify"); err != nil {
		return err
	}
	if err := stop(); err != nil {
		return err
	}
	d.say("Held: no key left the vault, every token was on record before it was released, and off meant off.")
	return nil
}
