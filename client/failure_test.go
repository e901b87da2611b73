package client

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
)

// TestRefused: a refusal ends the token at once, costs few calls, and is over when the server thinks better of it.
func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		code   codes.Code
		reason string
		is     error
	}{
		{codes.PermissionDenied, "DENIED", ErrDenied},
		{codes.PermissionDenied, "", ErrDenied},
		{codes.Unauthenticated, "UNAUTHENTICATED", ErrUnauthenticated},
		{codes.FailedPrecondition, "KEY_DISABLED", ErrKeyDisabled},
		{codes.FailedPrecondition, "KEY_REVOKED", ErrKeyRevoked},
		{codes.FailedPrecondition, "NO_ACTIVE_VERSION", ErrNoActiveVersion},
		{codes.FailedPrecondition, "KEY_DAMAGED", ErrKeyDamaged},
		{codes.FailedPrecondition, "KEY_UNFIT", ErrKeyUnfit},
		{codes.FailedPrecondition, "A_NEW_REASON", nil},
		{codes.Unavailable, "WITHHELD", ErrWithheld},
		{codes.InvalidArgument, "MALFORMED", ErrMalformed},
	} {
		t.Run(tt.code.String()+" "+tt.reason, func(t *testing.T) {
			v := &vault{}
			bubble(t, v, func(t *testing.T, s *TokenSource) {
				first := want(t, s)
				refused := fromGRPC(refusal(t, tt.code, tt.reason))
				v.set(refused)
				time.Sleep(time.Until(first.UseUntil.Add(-time.Minute))) // due
				_ = want(t, s)
				synctest.Wait()
				before := v.count()
				for range 3000 { // five minutes of a hot loop
					tok, err := s.Token(t.Context())
					if tok != nil || err != refused || tt.is != nil && !errors.Is(err, tt.is) { //nolint:errorlint // the very one
						t.Fatalf("%v, %v", tok, err)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if n := v.count() - before; n < 10 || n > 50 {
					t.Errorf("%d calls in five minutes", n)
				}
				v.set(nil)
				time.Sleep(maxBackOff)
				_ = want(t, s)
			})
		})
	}
}

func TestRetryInfo(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{time.Minute: time.Minute, time.Hour: maxAskedFor, time.Millisecond: firstBackOff / 2} {
		v := &vault{err: fromGRPC(refusal(t, codes.ResourceExhausted, "RATE_LIMITED", &errdetails.RetryInfo{RetryDelay: durationpb.New(asked)}))}
		bubble(t, v, func(t *testing.T, s *TokenSource) {
			began := time.Now()
			for v.count() < 2 {
				if _, err := s.Token(t.Context()); !errors.Is(err, ErrRateLimited) {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Millisecond)
			}
			if took := time.Since(began); took < want || took > want+want/8+firstBackOff {
				t.Errorf("asked to wait %s it waited %s", asked, took)
			}
		})
	}
}

func TestBackOff(t *testing.T) {
	now := time.Now()
	var f failure
	for _, longest := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, maxBackOff, maxBackOff} {
		f.add(ErrUnavailable, now)
		if wait := f.until.Sub(now); wait < longest/2 || wait > longest {
			t.Errorf("the wait is %s, want %s or half of it", wait, longest)
		}
		if f.standing(f.until) != nil || f.standing(f.until.Add(-1)) == nil {
			t.Error("it stands too long, or not long enough")
		}
	}
	for range 100 {
		f.add(ErrUnavailable, now)
	}
	if wait := f.until.Sub(now); wait < maxBackOff/2 || wait > maxBackOff {
		t.Errorf("after a hundred the wait is %s", wait)
	}
}
