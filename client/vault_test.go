package client

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
)

// vault is a server as a TokenSource sees it, with tokens of ten minutes. It is used concurrently.
type vault struct {
	mu     sync.Mutex
	calls  []bool // fresh or not, of every call
	err    error  // what it answers; nil: a token
	skew   time.Duration
	takes  time.Duration
	stalls bool
	last   *Token // given again until half of its life is gone; nil: every token is new
	reuses bool

	under, most atomic.Int64 // calls under way, and the most ever
}

const ttl = 10 * time.Minute

// made is a token that a server makes at a time of its clock.
func made(now time.Time) *Token {
	issued := now.Truncate(time.Second).Add(-backDate)
	text := fmt.Sprintf("ey.%d.x", now.UnixNano())
	return &Token{
		text: &text, Form: FormHeader, Scheme: "Bearer", Hosts: AppleHosts(),
		SHA256: "sha of " + text, Issued: issued, Expires: issued.Add(ttl),
		UseUntil: issued.Add(ttl - 30*time.Second), Refresh: issued.Add(ttl / 2), server: now,
	}
}

func (v *vault) mint(ctx context.Context, fresh bool) (*Token, error) {
	if n := v.under.Add(1); n > v.most.Load() {
		v.most.Store(n)
	}
	defer v.under.Add(-1)
	v.mu.Lock()
	v.calls = append(v.calls, fresh)
	takes, stalls, err := v.takes, v.stalls, v.err
	v.mu.Unlock()
	if stalls {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now().Add(v.skew)
	if v.reuses && !fresh && v.last != nil && now.Before(v.last.Refresh) {
		again := *v.last
		again.Reused, again.server = true, now
		return &again, nil
	}
	v.last = made(now)
	given := *v.last
	return &given, nil
}

func (v *vault) set(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = err
}

func (v *vault) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.calls)
}

// bubble runs a test with a source in a bubble of time.
func bubble(t *testing.T, v *vault, f func(t *testing.T, s *TokenSource)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newTokenSource(TokenSourceOptions{}, v.mint)
		defer s.Close()
		f(t, s)
	})
}

func want(t *testing.T, s *TokenSource) *Token {
	t.Helper()
	tok, err := s.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func unavailable(t *testing.T) error { return fromGRPC(refusal(t, codes.Unavailable, "LOG_FULL")) }

// bubbleStart is when every bubble's clock begins.
var bubbleStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
