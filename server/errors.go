package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/p8signet/signet/server/authn"
	"github.com/p8signet/signet/server/internal/authority"
	"github.com/p8signet/signet/server/policy"
)

// errorDomain is the ErrorInfo domain of every reason.
const errorDomain = "signet"

// The reasons that the core does not know.
const (
	reasonUnauthenticated authority.Reason = "UNAUTHENTICATED"
	reasonDeadline        authority.Reason = "DEADLINE_EXCEEDED"
	reasonCanceled        authority.Reason = "CANCELED"
	reasonTransport       authority.Reason = "TRANSPORT" // counted only: the caller hears gRPC's own error
)

// codeOf is the error table: the core's kinds and gRPC's codes.
var codeOf = []struct {
	kind error
	code codes.Code
}{
	{authority.ErrDenied, codes.PermissionDenied},
	{authority.ErrMalformed, codes.InvalidArgument},
	{authority.ErrNotFound, codes.NotFound},
	{authority.ErrExists, codes.AlreadyExists},
	{authority.ErrConflict, codes.Aborted},
	{authority.ErrPrecondition, codes.FailedPrecondition},
	{authority.ErrRateLimited, codes.ResourceExhausted},
	{authority.ErrUnavailable, codes.Unavailable},
}

// badRequest is a request that breaks the protocol's rules: in one field, or as a whole when field is empty.
type badRequest struct{ field, problem string }

// Error says where and what.
func (b *badRequest) Error() string {
	if b.field == "" {
		return b.problem
	}
	return b.field + ": " + b.problem
}

// malformed is a badRequest. The text never repeats a value.
func malformed(field, format string, args ...any) error {
	return &badRequest{field, fmt.Sprintf(format, args...)}
}

// transportError is gRPC's own failure to receive a request or to send an answer; its caller has been answered already, or is gone.
type transportError struct{ error }

// Unwrap is gRPC's error.
func (t transportError) Unwrap() error { return t.error }

// publicError is what the caller gets for err: a code, a stable reason, and a text of ours. Whatever is not known to
// be fit for callers is logged and answered as an internal error.
func (s *Server) publicError(ctx context.Context, c *call, err error) error {
	var (
		transport transportError
		failure   authn.Failure
		bad       *badRequest
		refused   *authority.Error
		theirs    interface{ GRPCStatus() *status.Status }
	)
	switch {
	case c.access == public && errors.As(err, &theirs):
		return err // gRPC's health service answers in its own words
	case errors.As(err, &transport):
		return transport.error
	case errors.As(err, &failure):
		return answer(c, codes.Unauthenticated, reasonUnauthenticated, "a valid client certificate is required")
	case errors.As(err, &bad):
		violation := &errdetails.BadRequest_FieldViolation{Field: bad.field, Description: bad.problem}
		return answer(c, codes.InvalidArgument, authority.ReasonMalformed, bad.Error(),
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{violation}})
	case errors.As(err, &refused):
		for _, row := range codeOf {
			if errors.Is(refused, row.kind) {
				if row.code == codes.Unavailable && refused.Reason != authority.ReasonShuttingDown && !s.stopped.Load() {
					// What stops everybody is logged once, by watchHealth; this stopped one call.
					s.logger.WarnContext(ctx, "a call failed", slog.String("method", c.method), slog.String("request", c.id),
						slog.String("reason", string(refused.Reason)), slog.Any("cause", errors.Unwrap(refused)))
				}
				return answer(c, row.code, refused.Reason, refused.Public, details(refused)...)
			}
		}
	case errors.Is(err, context.DeadlineExceeded):
		return answer(c, codes.DeadlineExceeded, reasonDeadline, "the call took too long; whether it had an effect is in the audit log")
	case errors.Is(err, context.Canceled):
		return answer(c, codes.Canceled, reasonCanceled, "the call was cancelled; whether it had an effect is in the audit log")
	}
	s.logger.ErrorContext(ctx, "internal error", slog.String("method", c.method), slog.String("request", c.id), slog.Any("error", causes(err)))
	return internalError(c)
}

func internalError(c *call) error {
	return answer(c, codes.Internal, authority.ReasonInternal, "internal error; the server's log knows more under request "+c.id)
}

// causes is what the server's own log says of an error: an *authority.Error prints only its public text.
func causes(err error) error {
	var refused *authority.Error
	if errors.As(err, &refused) && errors.Unwrap(refused) != nil {
		return fmt.Errorf("%w: %w", err, errors.Unwrap(refused))
	}
	return err
}

// details are what a caller can act on beyond the reason.
func details(e *authority.Error) []protoadapt.MessageV1 {
	var all []protoadapt.MessageV1
	if e.RetryAfter > 0 {
		all = append(all, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter.Round(time.Millisecond))})
	}
	var p *policy.Error
	if errors.As(e, &p) {
		violations := make([]*errdetails.BadRequest_FieldViolation, len(p.Problems))
		for i, problem := range p.Problems {
			violations[i] = &errdetails.BadRequest_FieldViolation{Description: problem.Message}
			if problem.Line > 0 {
				violations[i].Field = fmt.Sprintf("%d:%d", problem.Line, problem.Column)
			}
		}
		all = append(all, &errdetails.BadRequest{FieldViolations: bounded(violations)})
	}
	return all
}

// bounded keeps a status small enough for every client's limit on headers, which is 8 KB for some.
func bounded(violations []*errdetails.BadRequest_FieldViolation) []*errdetails.BadRequest_FieldViolation {
	size := 0
	for i, v := range violations {
		if size += len(v.GetField()) + len(v.GetDescription()) + 8; size > 4096 && i > 0 {
			rest := &errdetails.BadRequest_FieldViolation{Description: fmt.Sprintf("and %d more", len(violations)-i)}
			return append(violations[:i:i], rest)
		}
	}
	return violations
}

// answer is a status with ErrorInfo, which also names the request.
func answer(c *call, code codes.Code, reason authority.Reason, text string, more ...protoadapt.MessageV1) error {
	st := status.New(code, text)
	info := &errdetails.ErrorInfo{Domain: errorDomain, Reason: string(reason), Metadata: map[string]string{"request_id": c.id}}
	all := append([]protoadapt.MessageV1{info}, more...)
	// WithDetails fails only for codes.OK or a message that does not marshal; the bare status is still true.
	if detailed, err := st.WithDetails(all...); err == nil {
		st = detailed
	}
	return st.Err()
}
