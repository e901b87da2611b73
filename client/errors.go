package client

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What a call can fail with. Compare with errors.Is; errors.As with *Error gives the server's reason and words.
var (
	// ErrDenied: the policy does not allow it, or there is no such profile; the two are not told apart. The reasons VALUE_NOT_GRANTED,
	// SCOPE_NOT_GRANTED and TTL_TOO_LONG say to who may mint the profile that they asked for more than it grants.
	ErrDenied = errors.New("denied")
	// ErrUnauthenticated: the server does not know this caller's certificate, or no longer.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrNotFound: no such key, version, revision, entry or gap.
	ErrNotFound = errors.New("not found")
	// ErrExists: it is there already.
	ErrExists = errors.New("already exists")
	// ErrConflict: somebody changed it in between; read again and decide again.
	ErrConflict = errors.New("conflict")
	// ErrMalformed: the request cannot be right, whoever sends it. The reason UNFIT_REQUEST says that it does not fit the profile's
	// family of tokens: it lacks what the family needs, or has what that does not know.
	ErrMalformed = errors.New("malformed")
	// ErrUnavailable: not now; nothing was changed, and no token is lost that was meant for one use. Where that is not known it is
	// ErrUnknown.
	ErrUnavailable = errors.New("unavailable")
	// ErrUnknown: nobody knows whether it was done. The call may have been accepted before it failed: a token may have been minted and
	// recorded, or a change made, and the call was not repeated, for it must not be done twice in silence. The audit log tells, and of a
	// token the exposure at the revocation of its key. It is never ErrUnavailable; it may be the context's error, too.
	ErrUnknown = errors.New("outcome unknown")
	// ErrUntrusted: the server's certificate does not verify, by the configured CA or for the name; nothing was sent.
	ErrUntrusted = errors.New("the server is not trusted")
	// ErrRateLimited: too often; Error.RetryAfter says when again.
	ErrRateLimited = errors.New("rate limited")
	// ErrWithheld: minted, but the state changed before release, and the token was dropped.
	ErrWithheld = errors.New("withheld")
	// ErrKeyDisabled: the profile's key is switched off for everyone.
	ErrKeyDisabled = errors.New("key disabled")
	// ErrKeyRevoked: the key, or the version meant, never mints again.
	ErrKeyRevoked = errors.New("key revoked")
	// ErrNoActiveVersion: the key has no version that mints.
	ErrNoActiveVersion = errors.New("no active version")
	// ErrKeyDamaged: the key's record does not open.
	ErrKeyDamaged = errors.New("key damaged")
	// ErrKeyUnfit: the key's active version cannot serve the profile.
	ErrKeyUnfit = errors.New("key unfit")
	// ErrPolicyTestFailed: a test inside the policy document does not hold.
	ErrPolicyTestFailed = errors.New("policy test failed")

	// ErrUnverified: what the server sent does not verify with the pinned log key, or contradicts what it proves.
	ErrUnverified = errors.New("unverified")
	// ErrLogEnded: a gap has ended this log, which is not the current one, and nothing is signed over what is left of it. VerifyLogs
	// verifies it by the first entry of the log that came after it.
	ErrLogEnded = errors.New("log ended by a gap")
	// ErrArchived: entries that were asked for lie in segments that were archived; what verifies the archive is its own directory.
	ErrArchived = errors.New("entries are archived")
	// ErrNoLogKey: the configuration pins no key for this log, so nothing about it can be verified.
	ErrNoLogKey = errors.New("no log key")
)

// errorDomain is the domain of Signet's ErrorInfo details.
const errorDomain = "signet"

// byReason maps the server's stable reasons to sentinels; what is not in it goes by its code.
var byReason = map[string]error{
	"DENIED":             ErrDenied,
	"VALUE_NOT_GRANTED":  ErrDenied,
	"UNAUTHENTICATED":    ErrUnauthenticated,
	"MALFORMED":          ErrMalformed,
	"UNFIT_REQUEST":      ErrMalformed,
	"POLICY_INVALID":     ErrMalformed,
	"SEAL_EXPIRED":       ErrMalformed,
	"SEAL_OTHER_VAULT":   ErrMalformed,
	"SEAL_MISMATCH":      ErrMalformed,
	"NOT_FOUND":          ErrNotFound,
	"ALREADY_EXISTS":     ErrExists,
	"KEY_KNOWN":          ErrExists,
	"NO_DUPLICATE":       ErrConflict,
	"ETAG_MISMATCH":      ErrConflict,
	"KEY_DISABLED":       ErrKeyDisabled,
	"KEY_REVOKED":        ErrKeyRevoked,
	"NO_ACTIVE_VERSION":  ErrNoActiveVersion,
	"KEY_DAMAGED":        ErrKeyDamaged,
	"KEY_UNFIT":          ErrKeyUnfit,
	"RATE_LIMITED":       ErrRateLimited,
	"WITHHELD":           ErrWithheld,
	"POLICY_TEST_FAILED": ErrPolicyTestFailed,
	"LOG_UNAVAILABLE":    ErrUnavailable,
	"LOG_FULL":           ErrUnavailable,
	"STORE_UNAVAILABLE":  ErrUnavailable,
	"OUTCOME_UNKNOWN":    ErrUnknown,
	"GAP":                ErrUnavailable,
	"LOG_ENDED":          ErrLogEnded,
	"ARCHIVED":           ErrArchived,
	"CLOCK":              ErrUnavailable,
	"SHUTTING_DOWN":      ErrUnavailable,
}

// byCode maps canonical codes to sentinels, for answers that carry no reason of ours: a proxy's, or grpc's own.
func byCode(c codes.Code) error {
	switch c {
	case codes.PermissionDenied:
		return ErrDenied
	case codes.Unauthenticated:
		return ErrUnauthenticated
	case codes.NotFound:
		return ErrNotFound
	case codes.AlreadyExists:
		return ErrExists
	case codes.Aborted:
		return ErrConflict
	case codes.InvalidArgument, codes.OutOfRange:
		return ErrMalformed
	case codes.Unavailable, codes.DeadlineExceeded:
		return ErrUnavailable
	case codes.ResourceExhausted:
		return ErrRateLimited
	default:
		return nil
	}
}

// Error is a refusal or failure of one call. Its text is what the server meant the caller to see.
type Error struct {
	st        *status.Status
	text      string
	reason    string
	requestID string
	retry     time.Duration
	problems  []FieldProblem
	sentinel  error
}

// FieldProblem is one thing that is wrong with a request.
type FieldProblem struct {
	// Field is the request's field, such as "ttl"; for a policy document "line:column".
	Field string
	// Message says what is wrong and what to do.
	Message string
}

// fromGRPC turns an error of a call into *Error; nil stays nil.
func fromGRPC(err error) error {
	if err == nil {
		return nil
	}
	answer, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err)
	if !ok {
		return err
	}
	st := answer.GRPCStatus() // status.FromError would put the words of grpc's last retry before those of the answer
	e := &Error{st: st, text: st.Message()}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == errorDomain {
				e.reason = d.GetReason()
				if e.requestID == "" {
					e.requestID = d.GetMetadata()["request_id"]
				}
			}
		case *errdetails.RequestInfo:
			e.requestID = d.GetRequestId()
		case *errdetails.RetryInfo:
			e.retry = d.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				e.problems = append(e.problems, FieldProblem{Field: v.GetField(), Message: v.GetDescription()})
			}
		}
	}
	e.sentinel = byReason[e.reason]
	if e.sentinel == nil {
		e.sentinel = byCode(st.Code())
	}
	if e.reason == "" {
		if e.text = unwrapped(e.text); e.text == context.DeadlineExceeded.Error() {
			e.text = "no answer in time"
		}
		if st.Code() == codes.Unavailable && strings.Contains(e.text, "failed to verify certificate") {
			e.sentinel = ErrUntrusted
		}
	}
	return e
}

// unwrapped is what grpc says of a connection that failed, without what grpc puts around it.
func unwrapped(text string) string {
	before, quoted, ok := strings.Cut(text, "connection error: desc = ")
	if !ok {
		return text
	}
	desc, err := strconv.QuotedPrefix(quoted)
	if err != nil {
		return text
	}
	after := quoted[len(desc):]
	if desc, err = strconv.Unquote(desc); err != nil {
		return text
	}
	for _, prefix := range []string{"transport: ", "Error while dialing: ", "authentication handshake failed: "} {
		desc = strings.TrimPrefix(desc, prefix)
	}
	return before + desc + after
}

// Error is the server's public text.
func (e *Error) Error() string { return e.text }

// Reason is the stable reason, such as KEY_DISABLED; empty when the answer did not come from Signet.
func (e *Error) Reason() string { return e.reason }

// RequestID names the call in the server's log and, where it was recorded, in the audit log; empty when unknown.
func (e *Error) RequestID() string { return e.requestID }

// RetryAfter is how long to wait before trying again; 0 when the server did not say.
func (e *Error) RetryAfter() time.Duration { return e.retry }

// Problems are what is wrong with the request, when the server said so piece by piece.
func (e *Error) Problems() []FieldProblem { return e.problems }

// GRPCStatus lets status.FromError and status.Code see through.
func (e *Error) GRPCStatus() *status.Status { return e.st }

// Is compares with the sentinels, and with the context's own errors where the call ended by them.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.st.Code() == codes.Canceled
	case context.DeadlineExceeded:
		return e.st.Code() == codes.DeadlineExceeded
	default:
		return e.sentinel != nil && target == e.sentinel
	}
}
