package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
)

// Reason is why a call failed: stable from release to release, what a client matches on and what the log says.
type Reason string

// The reasons. Clients see them as ErrorInfo.reason of the domain "signet".
const (
	ReasonDenied           Reason = "DENIED"
	ReasonMalformed        Reason = "MALFORMED"
	ReasonNotFound         Reason = "NOT_FOUND"
	ReasonExists           Reason = "ALREADY_EXISTS"
	ReasonETagMismatch     Reason = "ETAG_MISMATCH"
	ReasonConflict         Reason = "CONFLICT"
	ReasonKeyKnown         Reason = "KEY_KNOWN"
	ReasonNoDuplicate      Reason = "NO_DUPLICATE"
	ReasonKeyDisabled      Reason = "KEY_DISABLED"
	ReasonKeyRevoked       Reason = "KEY_REVOKED"
	ReasonKeyDamaged       Reason = "KEY_DAMAGED"
	ReasonKeyUnfit         Reason = "KEY_UNFIT"
	ReasonNoActiveVersion  Reason = "NO_ACTIVE_VERSION"
	ReasonTTLTooLong       Reason = "TTL_TOO_LONG"
	ReasonScopeNotGranted  Reason = "SCOPE_NOT_GRANTED"
	ReasonValueNotGranted  Reason = "VALUE_NOT_GRANTED"
	ReasonUnfitRequest     Reason = "UNFIT_REQUEST"
	ReasonRateLimited      Reason = "RATE_LIMITED"
	ReasonLogUnavailable   Reason = "LOG_UNAVAILABLE"
	ReasonLogFull          Reason = "LOG_FULL"
	ReasonStoreUnavailable Reason = "STORE_UNAVAILABLE"
	ReasonKEKUnavailable   Reason = "KEK_UNAVAILABLE"
	ReasonOutcomeUnknown   Reason = "OUTCOME_UNKNOWN"
	ReasonGap              Reason = "GAP"
	ReasonLogEnded         Reason = "LOG_ENDED"
	ReasonArchived         Reason = "ARCHIVED"
	ReasonClock            Reason = "CLOCK"
	ReasonWithheld         Reason = "WITHHELD"
	ReasonLeaseLapsed      Reason = "LEASE_LAPSED"
	ReasonNotEverywhere    Reason = "NOT_EVERYWHERE"
	ReasonShuttingDown     Reason = "SHUTTING_DOWN"
	ReasonInternal         Reason = "INTERNAL"
	ReasonSealExpired      Reason = "SEAL_EXPIRED"
	ReasonSealOtherVault   Reason = "SEAL_OTHER_VAULT"
	ReasonSealMismatch     Reason = "SEAL_MISMATCH"
	ReasonPolicyInvalid    Reason = "POLICY_INVALID"
	ReasonPolicyTestFailed Reason = "POLICY_TEST_FAILED"
)

// The sentinels: which kind of failure it was. Every failure that this package has a reason for is an *Error that is
// one of them under errors.Is; any other error is an internal one, or that of a context that ended.
var (
	ErrDenied       = errors.New("denied")
	ErrMalformed    = errors.New("malformed")
	ErrNotFound     = errors.New("not found")
	ErrExists       = errors.New("already exists")
	ErrConflict     = errors.New("conflict")
	ErrPrecondition = errors.New("not possible in this state")
	ErrRateLimited  = errors.New("rate limited")
	ErrUnavailable  = errors.New("unavailable")
)

// Error is a failure with a stable reason and a text that the caller may read. The cause is for the server's own
// log; Error does not print it.
type Error struct {
	// Kind is one of the sentinels.
	Kind error
	// Reason is what a client matches on.
	Reason Reason
	// Public is for the caller: what was seen and what to do. It never repeats input.
	Public string
	// RetryAfter is when a repeat may succeed; 0 when nobody knows.
	RetryAfter time.Duration

	cause error
}

// Error is the public text.
func (e *Error) Error() string { return e.Public }

// Is makes errors.Is(err, ErrDenied) and its like work.
func (e *Error) Is(target error) bool { return target == e.Kind }

// Unwrap is the cause: not for the caller, but for a *policy.Error, whose problems the policy's author may read.
func (e *Error) Unwrap() error { return e.cause }

// inFull is an error with its cause, for the server's own log and for who runs the program.
func inFull(err error) error {
	var e *Error
	if errors.As(err, &e) && e.cause != nil {
		return fmt.Errorf("%w: %w", err, e.cause)
	}
	return err
}

func malformed(public string) *Error {
	return &Error{Kind: ErrMalformed, Reason: ReasonMalformed, Public: public}
}

// refused is what the caller hears of a decision. Only one whose grant allows the profile is told what stands in the
// way; to everyone else the unknown and the forbidden sound alike.
func refused(d policy.Decision) *Error {
	cause := errors.New(d.Reason())
	if !d.Tell() {
		return &Error{Kind: ErrDenied, Reason: ReasonDenied, Public: "denied", cause: cause}
	}
	e := &Error{Kind: ErrPrecondition, Reason: Reason(d.Code()), cause: cause}
	switch d.Code() {
	case policy.KeyDisabled:
		e.Public = "the profile's key is disabled; an operator can enable it"
	case policy.KeyRevoked:
		e.Public = "the profile's key is revoked; it mints again when another version of it is activated"
	case policy.NoActiveVersion:
		e.Public = "the profile's key has no active version; activate one"
	case policy.KeyDamaged:
		e.Public = "the profile's key does not open; see the status"
	case policy.KeyUnfit:
		e.Public = "the active version of the profile's key cannot sign what the profile is for: a fact of the key is missing, or is not what the profile counts on; signet key show tells what is known of it, and signet key update sets it"
	case policy.TTLTooLong:
		e.Kind, e.Public = ErrDenied, "the ttl is longer than the profile or Apple allows; ask for less, or leave it out"
	case policy.ScopeNotGranted:
		e.Kind, e.Public = ErrDenied, "the scope asks for a request that the profile does not grant"
	case policy.ValueNotGranted:
		e.Kind, e.Public = ErrDenied, d.Reason()
	case policy.UnfitRequest:
		e.Kind, e.Public = ErrMalformed, d.Reason()
	default:
		e.Kind, e.Reason, e.Public = ErrDenied, ReasonDenied, "denied"
	}
	return e
}

// logError is why an entry could not be recorded.
func logError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, auditlog.ErrEntry):
		return &Error{
			Kind: ErrMalformed, Reason: ReasonMalformed, cause: err,
			Public: "text of the request cannot be recorded: it looks like a private key, has control characters or is too long; a key that was pasted must be taken for leaked",
		}
	case errors.Is(err, audit.ErrClosed):
		return shuttingDown(err)
	case errors.Is(err, audit.ErrFull):
		return &Error{
			Kind: ErrUnavailable, Reason: ReasonLogFull, cause: err,
			Public: "the disk of the audit log is nearly full; disable and revoke still work, the rest goes on when space is freed",
		}
	default:
		return &Error{
			Kind: ErrUnavailable, Reason: ReasonLogUnavailable, cause: err,
			Public: "the audit log cannot be written, and nothing is done that is not recorded",
		}
	}
}

// storeError is why the store did not do what it was asked.
func storeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrClosed):
		return shuttingDown(err)
	case errors.Is(err, store.ErrUnknown):
		return &Error{
			Kind: ErrUnavailable, Reason: ReasonOutcomeUnknown, cause: err,
			Public: "the store has not said whether the change is made; repeat it to find out",
		}
	case errors.Is(err, store.ErrConflict):
		return &Error{
			Kind: ErrConflict, Reason: ReasonConflict, cause: err,
			Public: "the store kept changing under this change; nothing was done, repeat it",
		}
	case errors.Is(err, store.ErrDamaged):
		return &Error{
			Kind: ErrPrecondition, Reason: ReasonKeyDamaged, cause: err,
			Public: "a record of the store does not open: it was changed from outside, or lost; see the status",
		}
	case errors.Is(err, store.ErrStale):
		return &Error{
			Kind: ErrUnavailable, Reason: ReasonStoreUnavailable, cause: err,
			Public: "the store is older than what this server has seen, and nothing was changed; if it was restored, the server makes a gap of that within seconds; see the status",
		}
	default:
		return &Error{
			Kind: ErrUnavailable, Reason: ReasonStoreUnavailable, cause: err,
			Public: "the store cannot be reached; nothing was changed",
		}
	}
}

func withheld(cause error) *Error {
	return &Error{
		Kind: ErrUnavailable, Reason: ReasonWithheld, cause: cause,
		Public: "the vault changed while this was under way, and forbids it now; a repeat is told why",
	}
}

func shuttingDown(cause error) *Error {
	return &Error{Kind: ErrUnavailable, Reason: ReasonShuttingDown, Public: "the server is shutting down", cause: cause}
}

// recorded is how an error stands in the log: its outcome and its words.
func recorded(err error) (auditlog.Outcome, string) {
	var e *Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return auditlog.Failed, "CANCELED: the caller did not wait"
	case !errors.As(err, &e):
		return auditlog.Failed, string(ReasonInternal)
	case errors.Is(e, ErrDenied) && e.cause != nil:
		return auditlog.Denied, string(e.Reason) + ": " + e.cause.Error()
	case errors.Is(e, ErrDenied), errors.Is(e, ErrRateLimited):
		return auditlog.Denied, string(e.Reason)
	default:
		return auditlog.Failed, string(e.Reason) + ": " + e.Public
	}
}
