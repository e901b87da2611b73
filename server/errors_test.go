package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/p8signet/signet/server/authn"
	"github.com/p8signet/signet/server/internal/authority"
)

// reasonOf is the one ErrorInfo of an answer.
func reasonOf(t *testing.T, st *status.Status) string {
	t.Helper()
	var reasons []string
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			if info.GetDomain() != "signet" {
				t.Errorf("ErrorInfo of domain %q", info.GetDomain())
			}
			reasons = append(reasons, info.GetReason())
		}
	}
	if len(reasons) != 1 {
		t.Fatalf("%s has %d ErrorInfo, want one", st, len(reasons))
	}
	return reasons[0]
}

func TestPublicError(t *testing.T) {
	of := func(kind error, reason authority.Reason) error {
		return fmt.Errorf("in passing: %w", &authority.Error{Kind: kind, Reason: reason, Public: "say so"})
	}
	tests := []struct {
		name   string
		err    error
		code   codes.Code
		reason string
		text   string
		logged string // in the server's own log; nothing is logged when empty
	}{
		{name: "denied", err: of(authority.ErrDenied, authority.ReasonDenied), code: codes.PermissionDenied, reason: "DENIED", text: "say so"},
		{name: "malformed", err: of(authority.ErrMalformed, authority.ReasonMalformed), code: codes.InvalidArgument, reason: "MALFORMED", text: "say so"},
		{name: "not found", err: of(authority.ErrNotFound, authority.ReasonNotFound), code: codes.NotFound, reason: "NOT_FOUND", text: "say so"},
		{name: "exists", err: of(authority.ErrExists, authority.ReasonKeyKnown), code: codes.AlreadyExists, reason: "KEY_KNOWN", text: "say so"},
		{name: "conflict", err: of(authority.ErrConflict, authority.ReasonETagMismatch), code: codes.Aborted, reason: "ETAG_MISMATCH", text: "say so"},
		{name: "precondition", err: of(authority.ErrPrecondition, authority.ReasonKeyDisabled), code: codes.FailedPrecondition, reason: "KEY_DISABLED", text: "say so"},
		{name: "rate", err: of(authority.ErrRateLimited, authority.ReasonRateLimited), code: codes.ResourceExhausted, reason: "RATE_LIMITED", text: "say so"},
		{name: "unavailable", err: of(authority.ErrUnavailable, authority.ReasonLogFull), code: codes.Unavailable, reason: "LOG_FULL", text: "say so", logged: "LOG_FULL"},
		{name: "of a kind without a row", err: of(errors.New("new kind"), authority.ReasonInternal), code: codes.Internal, reason: "INTERNAL", text: "request r-1", logged: "request=r-1"},
		{name: "of no kind", err: of(nil, "NEW"), code: codes.Internal, reason: "INTERNAL", text: "request r-1", logged: "request=r-1"},
		{name: "unauthenticated", err: authn.Expired, code: codes.Unauthenticated, reason: "UNAUTHENTICATED", text: "a valid client certificate is required"},
		{name: "bad request", err: malformed("ttl", "is zero"), code: codes.InvalidArgument, reason: "MALFORMED", text: "ttl: is zero"},
		{name: "bad as a whole", err: malformed("", "is not it"), code: codes.InvalidArgument, reason: "MALFORMED", text: "is not it"},
		{name: "deadline", err: fmt.Errorf("x: %w", context.DeadlineExceeded), code: codes.DeadlineExceeded, reason: "DEADLINE_EXCEEDED", text: "took too long"},
		{name: "cancelled", err: context.Canceled, code: codes.Canceled, reason: "CANCELED", text: "cancelled"},
		{name: "unknown", err: errors.New("disk /dev/x is on fire"), code: codes.Internal, reason: "INTERNAL", text: "request r-1", logged: "on fire"},
		{name: "status from below", err: status.Error(codes.OK+3, "not for callers"), code: codes.Internal, reason: "INTERNAL", text: "request r-1", logged: "not for callers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			s := &Server{logger: slog.New(slog.NewTextHandler(&log, nil))}
			st := status.Convert(s.publicError(t.Context(), &call{method: "/x/Y", id: "r-1"}, tt.err))
			if st.Code() != tt.code || reasonOf(t, st) != tt.reason {
				t.Errorf("%s %s, want %s %s", st.Code(), reasonOf(t, st), tt.code, tt.reason)
			}
			if !strings.Contains(st.Message(), tt.text) {
				t.Errorf("text %q, want one with %q", st.Message(), tt.text)
			}
			if tt.logged == "" && log.Len() > 0 || !strings.Contains(log.String(), tt.logged) {
				t.Errorf("logged %q, want %q", log.String(), tt.logged)
			}
			if strings.Contains(st.Message(), "on fire") || strings.Contains(st.Message(), "not for callers") {
				t.Errorf("the caller was told the cause: %q", st.Message())
			}
		})
	}
}

func TestPublicErrorDetails(t *testing.T) {
	s := &Server{logger: slog.New(slog.DiscardHandler)}
	answer := func(err error) []any {
		return status.Convert(s.publicError(t.Context(), &call{}, err)).Details()
	}

	retry := answer(&authority.Error{Kind: authority.ErrRateLimited, Reason: authority.ReasonRateLimited, RetryAfter: 90 * time.Second})
	if info, ok := retry[1].(*errdetails.RetryInfo); !ok || info.GetRetryDelay().AsDuration() != 90*time.Second {
		t.Errorf("details %v, want a RetryInfo of 90 s", retry)
	}

	bad := answer(malformed("ttl", "is zero"))
	violations, ok := bad[1].(*errdetails.BadRequest)
	if !ok || violations.GetFieldViolations()[0].GetField() != "ttl" {
		t.Errorf("details %v, want a BadRequest of ttl", bad)
	}

	long := bounded([]*errdetails.BadRequest_FieldViolation{{Field: "one"}, {Description: strings.Repeat("x", 5000)}, {Field: "three"}})
	if len(long) != 2 || long[1].GetDescription() != "and 2 more" {
		t.Errorf("bounded to %v", long)
	}
	if n := proto.Size(&errdetails.BadRequest{FieldViolations: long}); n > 8000 {
		t.Errorf("a status of %d bytes is too much for some clients", n)
	}
}
