package vaultstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// What a call to Vault, or signing in, comes back with, by errors.Is.
var (
	// ErrUnanswered says that no answer came: Vault is not there, is not trusted, or was too slow.
	ErrUnanswered = errors.New("vault did not answer")
	// ErrUnready says that Vault, or a proxy before it, cannot answer now.
	ErrUnready = errors.New("vault is not ready")
	// ErrSealed says that Vault is sealed.
	ErrSealed = errors.New("vault is sealed")
	// ErrForbidden says that the policy of our token does not allow the call, or that the token is none.
	ErrForbidden = errors.New("vault does not allow it")
	// ErrSignIn says that Vault does not take who we say that we are.
	ErrSignIn = errors.New("vault refuses the sign-in")
)

// signInRefusals are Vault's words when a role, a secret id or a service account is not what it knows.
var signInRefusals = []string{
	"invalid role or secret ID", "invalid secret id", "invalid role ID", "service account name not authorized", "namespace not authorized", "invalid role name",
}

// Is tells the refusals apart.
func (a *answer) Is(target error) bool {
	switch target {
	case ErrSealed:
		return a.Status == http.StatusServiceUnavailable && strings.Contains(a.Text, "Vault is sealed")
	case ErrUnready:
		return (a.Status >= 500 || a.Status == http.StatusTooManyRequests) && !a.Is(ErrSealed)
	case ErrSignIn:
		return slices.ContainsFunc(signInRefusals, func(s string) bool { return strings.Contains(a.Text, s) })
	case ErrForbidden:
		return a.Status == http.StatusForbidden && !a.Is(ErrSignIn)
	}
	return false
}

// unanswered names what an HTTP client says of a server that is not there. It has no secret in it: they go in headers and bodies.
func unanswered(err error) error {
	if _, ok := errors.AsType[*url.Error](err); ok || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrUnanswered, err)
	}
	return err
}

// Validate says what is wrong with the values, without opening what they name.
func (c Config) Validate() error { return c.validate() }

// Validate says what is wrong with the names, without looking for them.
func (p Place) Validate() error {
	_, _, err := p.clean()
	return err
}

func (p Place) clean() (mount, path string, err error) {
	if mount, err = mountPath("the mount of the store", orElse(p.Mount, DefaultMount)); err != nil {
		return "", "", err
	}
	path, err = mountPath("the path of the store", orElse(p.Path, DefaultPath))
	return mount, path, err
}

// ValidTransit says what is wrong with the URI of a KEK, without looking for it.
func ValidTransit(uri string) error {
	_, _, err := cutTransit(uri)
	return err
}

func cutTransit(uri string) (mount, key string, err error) {
	rest, ok := strings.CutPrefix(uri, TransitScheme)
	if !ok {
		return "", "", errTransitForm
	}
	path, err := mountPath("what "+TransitScheme+" names", rest)
	if err != nil {
		return "", "", err
	}
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", "", errTransitForm
	}
	return path[:i], path[i+1:], nil
}

var errTransitForm = fmt.Errorf("a KEK in Vault is given as %sMOUNT/KEY", TransitScheme)
