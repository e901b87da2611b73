package authority

import (
	"errors"
	"time"
)

// Reason is why a call failed: stable, the same in the log of every release, and what a client matches on.
type Reason string

// The reasons. Clients see them as ErrorInfo.reason of the domain "signet".
const (
	ReasonDenied           Reason = "DENIED"
	ReasonMalformed        Reason = "MALFORMED"
	ReasonNotFound         Reason = "NOT_FOUND"
	ReasonExists           Reason = "ALREADY_EXISTS"
	ReasonKeyKnown         Reason = "KEY_KNOWN"
	ReasonETagMismatch     Reason = "ETAG_MISMATCH"
	ReasonKeyDisabled      Reason = "KEY_DISABLED"
	ReasonKeyRevoked       Reason = "KEY_REVOKED"
	ReasonNoActiveVersion  Reason = "NO_ACTIVE_VERSION"
	ReasonKeyDamaged       Reason = "KEY_DAMAGED"
	ReasonRateLimited      Reason = "RATE_LIMITED"
	ReasonLogUnavailable   Reason = "LOG_UNAVAILABLE"
	ReasonLogFull          Reason = "LOG_FULL"
	ReasonStoreUnavailable Reason = "STORE_UNAVAILABLE"
	ReasonOutcomeUnknown   Reason = "OUTCOME_UNKNOWN"
	ReasonGap              Reason = "GAP"
	ReasonClock            Reason = "CLOCK"
	ReasonWithheld         Reason = "WITHHELD"
	ReasonShuttingDown     Reason = "SHUTTING_DOWN"
	ReasonInternal         Reason = "INTERNAL"
	ReasonSealExpired      Reason = "SEAL_EXPIRED"
	ReasonSealOtherVault   Reason = "SEAL_OTHER_VAULT"
	ReasonSealMismatch     Reason = "SEAL_MISMATCH"
	ReasonPolicyInvalid    Reason = "POLICY_INVALID"
	ReasonPolicyTestFailed Reason = "POLICY_TEST_FAILED"
)

// The sentinels: which kind of failure it was. Every error that a method of this package returns for a reason of
// its own is an *Error that is one of them under errors.Is; any other error is an internal one.
var (
	ErrDenied       = errors.New("denied")
	ErrMalformed    = errors.New("malformed")
	ErrNotFound     = errors.New("not found")
	ErrExists       = errors.New("already exists")
	ErrConflict     = errors.New("conflict")
	ErrPrecondition = errors.New("not possible in this state")
	ErrRateLimited  = errors.New("rate limited")
	ErrUnavailable  = errors.New("unavailable")
	ErrInternal     = errors.New("internal error")
)

// Error is a failure with a stable reason and a text that the caller may read. The cause is for the server's own
// log only; Error does not print it.
type Error struct {
	// Kind is one of the sentinels.
	Kind error
	// Reason is what a client matches on.
	Reason Reason
	// Public is one sentence for the caller: what was seen and what to do. It never repeats input.
	Public string
	// RetryAfter is when a repeat may succeed; 0 when nobody knows.
	RetryAfter time.Duration

	cause error
}

// Error is the public text.
func (e *Error) Error() string { return e.Public }

// Is makes errors.Is(err, ErrDenied) and its like work.
func (e *Error) Is(target error) bool { return target == e.Kind }

// Unwrap is the cause: never for the caller, but for *policy.Error, whose problems the author of a policy may read.
func (e *Error) Unwrap() error { return e.cause }
