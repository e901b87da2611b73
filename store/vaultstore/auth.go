package vaultstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	vault "github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"
)

// lease is how long a token lives from when it was asked for.
type lease struct {
	ttl       time.Duration // 0: it does not end
	granted   time.Duration // the ttl that it had at first
	renewable bool
}

func newLease(ttl time.Duration, renewable bool) lease { return lease{ttl, ttl, renewable} }

// The shortest time after which a token is looked after again, and the longest while that fails.
const (
	soonest  = time.Second
	latest   = 30 * time.Second
	maxToken = 64 << 10
)

var errTooOften = errors.New("signing in to Vault has just been done")

// signIn replaces the token was. If another has been put in its place in the meantime there is nothing to do.
func (c *client) signIn(ctx context.Context, was string) error {
	select {
	case c.signing <- struct{}{}:
		defer func() { <-c.signing }()
	case <-ctx.Done():
		return fmt.Errorf("signing in to Vault: %w", ctx.Err())
	}
	if c.vault.Token() != was {
		return nil
	}
	// A policy that was cut answers as a token that has ended does: not every call signs in because of it.
	if was != "" && !c.brake.Allow() {
		return errTooOften
	}
	token, l, err := c.acquire(ctx)
	if err != nil {
		return fmt.Errorf("signing in to Vault: %w", err)
	}
	c.vault.SetToken(token)
	select { // only signIn sends, and signing is held
	case <-c.leases:
	default:
	}
	c.leases <- l
	return nil
}

// acquire gets a token by the configured way.
func (c *client) acquire(ctx context.Context) (string, lease, error) {
	var method vault.AuthMethod
	var err error
	switch a := c.cfg.Auth; {
	case a.TokenFile != "":
		return c.fromFile(ctx)
	case a.AppRole != nil:
		method, err = approle.NewAppRoleAuth(a.AppRole.RoleID, &approle.SecretID{FromFile: a.AppRole.SecretIDFile},
			approle.WithMountPath(orElse(a.AppRole.Mount, "approle")))
	default:
		opts := []kubernetes.LoginOption{kubernetes.WithMountPath(orElse(a.Kubernetes.Mount, "kubernetes"))}
		if a.Kubernetes.TokenFile != "" {
			opts = append(opts, kubernetes.WithServiceAccountTokenPath(a.Kubernetes.TokenFile))
		}
		method, err = kubernetes.NewKubernetesAuth(a.Kubernetes.Role, opts...)
	}
	if err != nil {
		return "", lease{}, err
	}
	s, err := method.Login(ctx, c.door)
	if err != nil {
		return "", lease{}, c.unecho(err)
	}
	if s == nil || s.Auth == nil || s.Auth.ClientToken == "" {
		return "", lease{}, errors.New("vault answered without a token (a second factor is not supported)")
	}
	return s.Auth.ClientToken, newLease(time.Duration(s.Auth.LeaseDuration)*time.Second, s.Auth.Renewable), nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// fromFile reads the token and asks Vault how long it lives.
func (c *client) fromFile(ctx context.Context) (string, lease, error) {
	token, err := readToken(c.cfg.Auth.TokenFile)
	if err != nil {
		return "", lease{}, err
	}
	v, err := c.door.Clone()
	if err != nil {
		return "", lease{}, err
	}
	if c.cfg.Namespace != "" {
		v.SetNamespace(c.cfg.Namespace)
	}
	v.SetToken(token)
	s, err := v.Logical().ReadWithContext(ctx, "auth/token/lookup-self")
	if err != nil {
		return "", lease{}, fmt.Errorf("asking Vault about the token in %s, which may have ended: %w", c.cfg.Auth.TokenFile, c.unecho(err))
	}
	if s == nil {
		return "", lease{}, errors.New("vault does not know its own token")
	}
	ttl, ok := number(s.Data, "ttl")
	if !ok {
		return "", lease{}, errors.New("vault does not say how long its token lives")
	}
	renewable, _ := s.Data["renewable"].(bool)
	return token, newLease(time.Duration(ttl)*time.Second, renewable), nil
}

func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("reading the token for Vault: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("reading the token for Vault: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(text) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("the file %s does not hold a token of Vault's and nothing else", path)
	}
	return token, nil
}

// keep renews the token after two thirds of its life, and gets another when that fails or no longer helps, until ctx ends.
func (c *client) keep(ctx context.Context) {
	var l lease
	var fails int
	well := func(next lease) {
		if fails > 0 {
			c.cfg.Logger.InfoContext(ctx, "there is a token for Vault again", slog.Int("failures", fails))
		}
		l, fails = next, 0
	}
	for {
		var due <-chan time.Time // nil where there is nothing to wait for: it never comes
		switch {
		case l.ttl == 0:
		case fails > 0:
			due = time.After(min(soonest<<min(fails-1, 10), latest))
		default:
			due = time.After(max(l.ttl*2/3, soonest))
		}
		select {
		case <-ctx.Done():
			return
		case next := <-c.leases:
			well(next)
			continue
		case <-due:
		}
		next, err := c.renew(ctx, l)
		if err != nil && ctx.Err() == nil {
			if fails++; fails == 1 {
				c.cfg.Logger.WarnContext(ctx, "the token for Vault could not be renewed, nor another be had; it is tried again", slog.Any("error", err))
			}
			continue
		}
		well(next)
	}
}

// renew lengthens the life of the token, or puts another in its place.
func (c *client) renew(ctx context.Context, l lease) (lease, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	token := c.vault.Token()
	fresh := false // the file has another token than ours
	if c.cfg.Auth.TokenFile != "" {
		t, err := readToken(c.cfg.Auth.TokenFile)
		fresh = err == nil && t != token
	}
	if l.renewable && !fresh {
		s, err := c.vault.Logical().WriteWithContext(ctx, "auth/token/renew-self", nil)
		if err == nil && s != nil && s.Auth != nil {
			next := lease{time.Duration(s.Auth.LeaseDuration) * time.Second, l.granted, s.Auth.Renewable}
			// Near the longest life that Vault allows it renews by less and less.
			if next.ttl >= next.granted/2 {
				return next, nil
			}
		}
	}
	// Once in so many seconds: no brake is needed, and none may hold it up.
	select {
	case c.signing <- struct{}{}:
		defer func() { <-c.signing }()
	case <-ctx.Done():
		return l, ctx.Err()
	}
	if c.vault.Token() != token {
		return l, nil // a call was faster; its lease is waiting to be read
	}
	next, nl, err := c.acquire(ctx)
	if err != nil {
		return l, err
	}
	c.vault.SetToken(next)
	return nl, nil
}
