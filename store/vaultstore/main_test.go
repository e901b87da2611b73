package vaultstore_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/vaultstore"
	"github.com/p8signet/signet/store/vaultstore/vaultrun"
)

// The Vault of the tests that do not stop theirs, started by the first.
var shared struct {
	sync.Once
	*vaultrun.Vault
	secretID string // a file
	roleID   string
	err      error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.Vault != nil {
		if err := shared.Kill(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		_ = os.RemoveAll(filepath.Dir(shared.CA))
	}
	os.Exit(code)
}

// theVault is the shared Vault, set up as deploy/vault does it.
func theVault(t testing.TB) *vaultrun.Vault {
	t.Helper()
	shared.Do(func() {
		dir, err := os.MkdirTemp("", "signet-vault-")
		if err != nil {
			shared.err = err
			return
		}
		if shared.Vault, shared.err = vaultrun.Start(context.Background(), dir); shared.err == nil {
			shared.roleID, shared.secretID, shared.err = setUp(shared.Vault, dir)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.Vault
}

// setUp makes what setup.sh makes, but for any path in the mount.
func setUp(v *vaultrun.Vault, dir string) (roleID, secretID string, err error) {
	policy, err := os.ReadFile("../../deploy/vault/policy.hcl")
	if err != nil {
		return "", "", err
	}
	text := strings.NewReplacer("data/vault/", "data/+/", "metadata/vault/", "metadata/+/").Replace(string(policy))
	sys, logical := v.Root.Sys(), v.Root.Logical()
	write := func(path string, data map[string]any) *vault.Secret {
		var s *vault.Secret
		if err == nil {
			s, err = logical.Write(path, data)
		}
		return s
	}
	if err := sys.Mount("signet", &vault.MountInput{Type: "kv", Options: map[string]string{"version": "2"}}); err != nil {
		return "", "", err
	}
	if err := sys.Mount("transit", &vault.MountInput{Type: "transit"}); err != nil {
		return "", "", err
	}
	if err := sys.PutPolicy("signet", text); err != nil {
		return "", "", err
	}
	if err := sys.EnableAuthWithOptions("approle", &vault.EnableAuthOptions{Type: "approle"}); err != nil {
		return "", "", err
	}
	for range 100 { // a new mount is not ready at once
		if _, err = logical.Write("signet/config", map[string]any{"cas_required": true}); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	write("transit/keys/signet", map[string]any{"derived": true})
	write("auth/approle/role/signet", map[string]any{"token_policies": "signet", "token_no_default_policy": true, "token_ttl": "1h"})
	write("auth/approle/role/brief", map[string]any{"token_policies": "signet", "token_no_default_policy": true, "token_ttl": "2s", "token_max_ttl": "4s"})
	if err != nil {
		return "", "", err
	}
	return credentials(v, dir, "signet")
}

// credentials makes a secret id for a role and puts it into a file.
func credentials(v *vaultrun.Vault, dir, role string) (roleID, secretID string, err error) {
	r, err := v.Root.Logical().Read("auth/approle/role/" + role + "/role-id")
	if err != nil {
		return "", "", err
	}
	s, err := v.Root.Logical().Write("auth/approle/role/"+role+"/secret-id", map[string]any{})
	if err != nil {
		return "", "", err
	}
	secretID = filepath.Join(dir, "secret-id-"+role)
	return r.Data["role_id"].(string), secretID, os.WriteFile(secretID, []byte(s.Data["secret_id"].(string)+"\n"), 0o600)
}

// config signs in to the shared Vault with the least policy.
func config(t testing.TB) vaultstore.Config {
	v := theVault(t)
	return vaultstore.Config{
		Address: v.Address, CA: v.CA,
		Auth: vaultstore.Auth{AppRole: &vaultstore.AppRole{RoleID: shared.roleID, SecretIDFile: shared.secretID}},
	}
}

// fresh is a place in which there is nothing.
func fresh() vaultstore.Place { return vaultstore.Place{Path: "t-" + strings.ToLower(rand.Text())} }

// open opens a Backend that is closed with the test.
func open(t testing.TB, cfg vaultstore.Config, at vaultstore.Place) *vaultstore.Backend {
	t.Helper()
	b, err := vaultstore.Open(t.Context(), cfg, at)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return b
}

func swap(t testing.TB, b store.Backend, old, root string, put map[store.Ref][]byte) {
	t.Helper()
	if err := b.Swap(t.Context(), change(old, root, put)); err != nil {
		t.Fatalf("Swap: %v", err)
	}
}

func change(old, root string, put map[store.Ref][]byte) store.Change {
	c := store.Change{New: []byte(root), Put: put}
	if old != "" {
		c.Old = []byte(old)
	}
	return c
}
