package vaultstore_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/store/vaultstore"
	"github.com/p8signet/signet/store/vaultstore/vaultrun"
)

// What kept a call from Vault is told by errors.Is, and one at a time.
func TestErrorsByName(t *testing.T) {
	v, err := vaultrun.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer v.Kill()
	with := func(change func(*vaultstore.Config)) vaultstore.Config {
		c := vaultstore.Config{Address: v.Address, CA: v.CA, Timeout: 2 * time.Second, Auth: vaultstore.Auth{TokenFile: file(t, v.Token)}}
		change(&c)
		return c
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it takes connections and says nothing
	tests := []struct {
		name   string
		config vaultstore.Config
		want   error
	}{
		{"nobody there", with(func(c *vaultstore.Config) { c.Address = "https://127.0.0.1:1" }), vaultstore.ErrUnanswered},
		{"silence", with(func(c *vaultstore.Config) { c.Address = "https://" + l.Addr().String() }), vaultstore.ErrUnanswered},
		{"another CA", with(func(c *vaultstore.Config) { c.CA = "" }), vaultstore.ErrUnanswered},
		{"no token", with(func(c *vaultstore.Config) { c.Auth.TokenFile = file(t, "hvs.none") }), vaultstore.ErrForbidden},
		{"no role", with(func(c *vaultstore.Config) {
			c.Auth = vaultstore.Auth{AppRole: &vaultstore.AppRole{RoleID: "x", SecretIDFile: file(t, "y")}}
		}), vaultstore.ErrForbidden}, // there is no such method
	}
	all := []error{vaultstore.ErrUnanswered, vaultstore.ErrForbidden, vaultstore.ErrSealed, vaultstore.ErrSignIn, vaultstore.ErrUnready}
	check := func(name string, err, want error) {
		t.Helper()
		for _, e := range all {
			if errors.Is(err, e) != errors.Is(want, e) {
				t.Errorf("%s: %v: errors.Is %v is %t", name, err, e, errors.Is(err, e))
			}
		}
	}
	for _, tt := range tests {
		_, err := vaultstore.Open(t.Context(), tt.config, vaultstore.Place{})
		check(tt.name, err, tt.want)
	}
	_, err = vaultstore.Open(t.Context(), func() vaultstore.Config {
		c := config(t)
		c.Auth.AppRole = &vaultstore.AppRole{RoleID: "x", SecretIDFile: c.Auth.AppRole.SecretIDFile}
		return c
	}(), vaultstore.Place{})
	check("another role id", err, vaultstore.ErrSignIn)
	if err := v.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = vaultstore.Open(t.Context(), with(func(*vaultstore.Config) {}), vaultstore.Place{})
	check("sealed", err, vaultstore.ErrSealed)
}

// A KEK that is not looked at when it is made is looked at when it is used.
func TestTransitLater(t *testing.T) {
	if _, err := transit(t, "plainlater", map[string]any{}); !errors.Is(err, vaultstore.ErrUnfitKey) {
		t.Errorf("openTransit = %v, want ErrUnfitKey", err)
	}
	admin := config(t)
	admin.Auth = vaultstore.Auth{TokenFile: file(t, theVault(t).Token)}
	k, err := vaultstore.NewTransit(admin, "vault-transit:transit/plainlater")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Wrap(t.Context(), []byte("k"), []byte("a")); !errors.Is(err, vaultstore.ErrUnfitKey) {
		t.Errorf("Wrap by a key that is not fit = %v", err)
	}
	if k, err = vaultstore.NewTransit(config(t), "vault-transit:transit/signet"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Wrap(t.Context(), []byte("k"), []byte("a")); err != nil {
		t.Errorf("Wrap = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if k, err = vaultstore.NewTransit(config(t), "vault-transit:transit/signet"); err != nil {
		t.Fatal(err)
	}
	if err := k.Look(ctx); err == nil || errors.Is(err, vaultstore.ErrUnfitKey) {
		t.Errorf("Look without an answer = %v", err)
	}
	if err := vaultstore.ValidTransit("vault-transit:transit"); err == nil || !strings.Contains(err.Error(), "MOUNT/KEY") {
		t.Errorf("ValidTransit = %v", err)
	}
}
