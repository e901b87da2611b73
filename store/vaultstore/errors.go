package vaultstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	vault "github.com/hashicorp/vault/api"

	"github.com/p8signet/signet/store"
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
	"invalid role or secret ID", "invalid secret id", "missing secret_id", "invalid role ID", "service account name not authorized", "namespace not authorized", "invalid role name",
}

// answer is Vault saying no.
type answer struct {
	Status int
	Text   string // Vault's words; "" if they were not Vault's
}

func (a *answer) Error() string {
	s := fmt.Sprintf("vault answered %d", a.Status)
	if a.Text != "" {
		s += ": " + a.Text
	}
	switch a.Status {
	case http.StatusForbidden:
		s += " (look at the policy in Vault, deploy/vault/policy.hcl)"
	case http.StatusRequestEntityTooLarge:
		s += " (the record is larger than Vault takes; look at max_entry_size and max_request_size)"
	}
	return s
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

// status is the HTTP status of a refusal of Vault's, or 0.
func status(err error) int {
	if a, ok := errors.AsType[*answer](err); ok {
		return a.Status
	}
	if r, ok := errors.AsType[*vault.ResponseError](err); ok {
		return r.StatusCode
	}
	return 0
}

// refused says whether Vault itself, and not a proxy before it, refused a call of ours: it does that before it does anything.
func refused(err error) bool {
	a, ok := errors.AsType[*answer](err)
	return ok && a.Text != "" && a.Status >= http.StatusBadRequest && a.Status < http.StatusInternalServerError
}

// mismatch says whether Vault refused a check-and-set because another version is there.
func mismatch(err error) bool {
	a, ok := errors.AsType[*answer](err)
	return ok && a.Status == http.StatusBadRequest && strings.Contains(a.Text, "check-and-set parameter did not match")
}

// outcome says of a write that failed whether it may have happened: not where it was never sent, or Vault refused it.
func outcome(err error) error {
	if errors.As(err, new(unsent)) || refused(err) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnknown, err)
}

// unsent is the error of a call that was not made.
type unsent struct{ error }

func (u unsent) Unwrap() error { return u.error }

// unanswered names what an HTTP client says of a server that is not there. It has no secret in it: they go in headers and bodies.
func unanswered(err error) error {
	if _, ok := errors.AsType[*url.Error](err); ok || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrUnanswered, err)
	}
	return err
}

// plain puts Vault's refusal into our words. What a proxy before it wrote, and whatever has a token in it, is left out.
func (c *client) plain(err error) error {
	r, ok := errors.AsType[*vault.ResponseError](err)
	if !ok {
		return unanswered(err)
	}
	a := &answer{Status: r.StatusCode}
	if r.RawError {
		return a
	}
	text := strings.Join(strings.Fields(strings.Join(r.Errors, "; ")), " ")
	if token := c.vault.Token(); token != "" && strings.Contains(text, token) {
		return a
	}
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	a.Text = text
	return a
}

// unecho keeps of an error of signing in what Vault is known to say: never what was sent.
func (c *client) unecho(err error) error {
	if status(err) == 0 {
		return unanswered(err) // of the network or a file: it has no secret in it
	}
	a := &answer{Status: status(err)}
	r, _ := errors.AsType[*vault.ResponseError](err)
	for _, known := range slices.Concat(signInRefusals, []string{
		"permission denied", "Vault is sealed", "missing client token", "lease count quota exceeded", "rate limit quota exceeded",
	}) {
		if r != nil && !r.RawError && strings.Contains(strings.Join(r.Errors, "\n"), known) {
			a.Text = known
			break
		}
	}
	return a
}
