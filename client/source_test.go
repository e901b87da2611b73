package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"
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
		text: &text, SHA256: "sha of " + text, Issued: issued, Expires: issued.Add(ttl),
		UseUntil: issued.Add(ttl - 30*time.Second), Refresh: issued.Add(ttl / 2),
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
		again.Reused = true
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

func TestOneFlight(t *testing.T) {
	v := &vault{takes: time.Second}
	bubble(t, v, func(t *testing.T, s *TokenSource) {
		if v.count() != 0 {
			t.Error("it asked before anybody wanted a token")
		}
		var first atomic.Pointer[Token]
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				tok, err := s.Token(t.Context())
				if err != nil || !first.CompareAndSwap(nil, tok) && first.Load() != tok {
					t.Errorf("%v, %v", tok, err)
				}
			})
		}
		wg.Wait()
		if want(t, s) != first.Load() || v.count() != 1 {
			t.Errorf("%d mints for a hundred callers", v.count())
		}
	})
}

// TestEarly: the next token is asked for in the background, between half of the life and a quarter of the rest later, and only when
// somebody wants one.
func TestEarly(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 20 {
		v := &vault{takes: time.Second}
		bubble(t, v, func(t *testing.T, s *TokenSource) {
			first := want(t, s)
			got := time.Now()
			for want(t, s) == first {
				time.Sleep(100 * time.Millisecond)
			}
			// It was made 30 s after its iat; the answer took a second, twice.
			early, late := first.Refresh.Sub(first.Issued)-backDate-2*time.Second, first.UseUntil.Sub(first.Refresh)/4
			if took := time.Since(got); took < early || took > early+late+3*time.Second {
				t.Errorf("the next one came after %s, want from %s, within %s", took, early, late)
			} else {
				seen[took.Truncate(time.Second)] = true
			}
			if v.count() != 2 {
				t.Errorf("%d mints", v.count())
			}
		})
	}
	if len(seen) < 5 {
		t.Errorf("there is no jitter: %v", seen)
	}

	v := &vault{}
	bubble(t, v, func(t *testing.T, s *TokenSource) {
		first := want(t, s)
		time.Sleep(time.Until(first.UseUntil.Add(-time.Second)))
		if v.count() != 1 {
			t.Error("it asked for a token that nobody wanted")
		}
		if want(t, s) != first {
			t.Error("a token that lives was not given out")
		}
		synctest.Wait()
		if want(t, s) == first || v.count() != 2 {
			t.Error("the next one was not asked for")
		}
		time.Sleep(time.Hour)
		if tok := want(t, s); !time.Now().Before(tok.UseUntil) {
			t.Error("a dead token was given out")
		}
	})
}

// TestOldServes: while the server is away the token is given out until its end, and the server is asked less and less.
func TestOldServes(t *testing.T) {
	for name, away := range map[string]func(*vault){
		"unavailable":  func(v *vault) { v.set(unavailable(t)) },
		"rate limited": func(v *vault) { v.set(fromGRPC(refusal(t, codes.ResourceExhausted, "RATE_LIMITED"))) },
		"internal":     func(v *vault) { v.set(fromGRPC(refusal(t, codes.Internal, "INTERNAL"))) },
		"untrusted":    func(v *vault) { v.set(ErrUntrusted) },
		"stalls":       func(v *vault) { v.mu.Lock(); v.stalls = true; v.mu.Unlock() },
	} {
		t.Run(name, func(t *testing.T) {
			v := &vault{}
			bubble(t, v, func(t *testing.T, s *TokenSource) {
				first := want(t, s)
				away(v)
				for time.Now().Before(first.UseUntil) {
					if want(t, s) != first {
						t.Fatal("another token")
					}
					time.Sleep(50 * time.Millisecond)
				}
				n := v.count()
				if n < 5 || n > 60 { // in four and a half minutes, at most every 7.5 s once it has backed off
					t.Errorf("%d attempts", n)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if _, err := s.Token(ctx); err == nil || errors.Is(err, ErrClosed) {
					t.Errorf("after the end: %v", err)
				}
				v.set(nil)
				v.mu.Lock()
				v.stalls = false
				v.mu.Unlock()
				time.Sleep(time.Minute)
				if tok := want(t, s); tok == first {
					t.Error("the dead one again")
				}
			})
		})
	}
}

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

// TestOwnWait: a caller that gives up takes nobody with it.
func TestOwnWait(t *testing.T) {
	v := &vault{takes: 10 * time.Second}
	bubble(t, v, func(t *testing.T, s *TokenSource) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the impatient: %v", err)
			}
			if waited := time.Since(started(t, s)); waited > 2*time.Second {
				t.Errorf("the impatient waited %s", waited)
			}
		})
		wg.Go(func() {
			if _, err := s.Token(t.Context()); err != nil {
				t.Errorf("the patient: %v", err)
			}
		})
		wg.Wait()
		if v.count() != 1 {
			t.Errorf("%d mints", v.count())
		}
	})
}

// started is when a bubble's clock began.
func started(t *testing.T, _ *TokenSource) time.Time {
	t.Helper()
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
}

func TestClose(t *testing.T) {
	v := &vault{stalls: true}
	bubble(t, v, func(t *testing.T, s *TokenSource) {
		var wg sync.WaitGroup
		for _, f := range []func() (*Token, error){
			func() (*Token, error) { return s.Token(t.Context()) },
			func() (*Token, error) { return s.Fresh(t.Context(), nil) },
			func() (*Token, error) { return s.Next(t.Context(), nil) },
		} {
			wg.Go(func() {
				if _, err := f(); !errors.Is(err, ErrClosed) {
					t.Errorf("waiting: %v", err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		s.Close()
		if n, took := v.under.Load(), time.Since(began); n != 0 || took > time.Second {
			t.Errorf("%d calls are under way after Close, which took %s", n, took)
		}
		s.Close()
		wg.Wait()
		_, token := s.Token(t.Context())
		_, fresh := s.Fresh(t.Context(), nil)
		_, next := s.Next(t.Context(), nil)
		for _, err := range []error{token, fresh, next} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("after: %v", err)
			}
		}
	})
}

// TestClockOff: what this machine's clock shows does not matter.
func TestClockOff(t *testing.T) {
	for _, skew := range []time.Duration{0, time.Hour, -time.Hour, 4 * time.Minute, -4 * time.Minute, 200 * 24 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			v := &vault{skew: skew, reuses: true}
			bubble(t, v, func(t *testing.T, s *TokenSource) {
				server := func() time.Time { return time.Now().Add(skew) }
				first := want(t, s)
				if left := time.Until(first.Deadline()); left != first.UseUntil.Sub(first.Issued)-backDate {
					t.Errorf("it is thought to live %s", left)
				}
				for range 3600 { // an hour
					if tok := want(t, s); !server().Before(tok.UseUntil) {
						t.Fatal("a dead token was given out")
					}
					time.Sleep(time.Second)
				}
				if n := v.count(); n < 8 || n > 15 { // half of ten minutes, and a little
					t.Errorf("%d mints in an hour", n)
				}
			})
		})
	}
}

// TestValidityOfReused: a token that was given before does not tell the server's time.
func TestValidityOfReused(t *testing.T) {
	server := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	tok := made(server)
	tok.Reused = true
	half, whole := tok.UseUntil.Sub(tok.Refresh), tok.UseUntil.Sub(tok.Issued)-backDate
	for _, tt := range []struct {
		name    string
		asked   time.Time
		off     time.Duration
		left    time.Duration
		refresh time.Duration
	}{
		{"a good clock", server.Add(2 * time.Minute), 0, whole - 2*time.Minute, whole - half - 2*time.Minute},
		{"just made", server, 0, whole, whole - half},
		{"known to be off", server.Add(2*time.Minute + time.Hour), -time.Hour, whole - 2*time.Minute, whole - half - 2*time.Minute},
		{"behind", server.Add(-time.Hour), 0, half, 0},
		{"ahead", server.Add(time.Hour), 0, half, 0},
	} {
		got := validityOf(tok, tt.asked, tt.off)
		if left := got.until.Sub(tt.asked); left != tt.left {
			t.Errorf("%s: %s left, want %s", tt.name, left, tt.left)
		}
		if refresh := got.refresh.Sub(tt.asked); refresh != tt.refresh {
			t.Errorf("%s: refresh in %s, want %s", tt.name, refresh, tt.refresh)
		}
	}
	tok.Reused, tok.Refresh = false, time.Time{}
	if got := validityOf(tok, server, 0); got.refresh.Sub(server) != whole/2 {
		t.Errorf("a server that does not say when: refresh in %s, want %s", got.refresh.Sub(server), whole/2)
	}
}

// TestOffIsLearned: where the first token tells how far the clocks are apart, that holds for later ones that do not.
func TestOffIsLearned(t *testing.T) {
	v := &vault{skew: time.Hour, reuses: true}
	bubble(t, v, func(t *testing.T, s *TokenSource) {
		first := want(t, s)
		time.Sleep(time.Until(s.due))
		server := time.Now().Add(v.skew)
		v.last = made(server.Add(-2 * time.Minute)) // for another process of this caller
		_ = want(t, s)
		synctest.Wait()
		second := want(t, s)
		if second.SHA256 == first.SHA256 || !second.Reused {
			t.Fatalf("it is %v", second)
		}
		if left, want := time.Until(second.Deadline()), second.UseUntil.Sub(server); (left - want).Abs() > time.Second {
			t.Errorf("it is thought to live %s, want %s", left, want)
		}
	})
}

// TestSameAgain: a server that goes on giving the old token after its time is not asked all the time.
func TestSameAgain(t *testing.T) {
	v := &vault{}
	bubble(t, v, func(t *testing.T, s *TokenSource) {
		first := want(t, s)
		given := *v.last
		given.Reused = true
		s.mint = func(context.Context, bool) (*Token, error) {
			v.calls = append(v.calls, false)
			again := given
			return &again, nil
		}
		for time.Now().Before(first.UseUntil.Add(-time.Second)) {
			if got := want(t, s); got.SHA256 != first.SHA256 {
				t.Fatal("another one")
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := v.count(); n < 3 || n > 30 {
			t.Errorf("asked %d times", n)
		}
	})
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

func TestDeadOnArrival(t *testing.T) {
	bubble(t, &vault{takes: 29 * time.Second}, func(t *testing.T, s *TokenSource) {
		s.mint = func(context.Context, bool) (*Token, error) {
			tok := made(time.Now())
			tok.UseUntil = tok.Issued
			return tok, nil
		}
		if tok, err := s.Token(t.Context()); tok != nil || !errors.Is(err, ErrUnverified) {
			t.Errorf("%v, %v", tok, err)
		}
	})
}

func TestFresh(t *testing.T) {
	v := &vault{takes: time.Second, reuses: true}
	bubble(t, v, func(t *testing.T, s *TokenSource) {
		first := want(t, s)
		time.Sleep(time.Second)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if tok, err := s.Fresh(t.Context(), first); err != nil || tok.SHA256 == first.SHA256 || tok.Reused {
					t.Errorf("%v, %v", tok, err)
				}
			})
		}
		synctest.Wait()
		if want(t, s) != first {
			t.Error("the old one is not given out while the new one is on its way")
		}
		wg.Wait()
		second := want(t, s)
		if second.SHA256 == first.SHA256 || v.count() != 2 || !v.calls[1] {
			t.Errorf("%s, calls %v", second, v.calls)
		}
		if tok, err := s.Fresh(t.Context(), first); err != nil || tok != second {
			t.Errorf("one was there already: %v, %v", tok, err)
		}
		if _, err := s.Fresh(t.Context(), second); !errors.Is(err, ErrNoNewer) {
			t.Errorf("at once again: %v", err)
		}
		time.Sleep(freshEvery)
		if tok, err := s.Fresh(t.Context(), second); err != nil || tok.SHA256 == second.SHA256 {
			t.Errorf("later: %v, %v", tok, err)
		}
		if v.count() != 3 {
			t.Errorf("calls %v", v.calls)
		}
	})
}

// TestFreshJoins a flight that is under way, and asks itself only if that brings the old token again.
func TestFreshJoins(t *testing.T) {
	for _, reuses := range []bool{false, true} {
		v := &vault{reuses: reuses}
		bubble(t, v, func(t *testing.T, s *TokenSource) {
			first := want(t, s)
			time.Sleep(time.Until(s.due))
			v.takes = time.Second
			v.last.Refresh = time.Now().Add(time.Minute) // the server gives it a little longer than it said
			_ = want(t, s)
			tok, err := s.Fresh(t.Context(), first)
			if err != nil || tok.SHA256 == first.SHA256 {
				t.Fatalf("%v, %v", tok, err)
			}
			calls := []bool{false, false}
			if reuses {
				calls = append(calls, true)
			}
			if fmt.Sprint(v.calls) != fmt.Sprint(calls) {
				t.Errorf("reuses %t: calls %v", reuses, v.calls)
			}
		})
	}
}

func TestFreshFails(t *testing.T) {
	v := &vault{}
	bubble(t, v, func(t *testing.T, s *TokenSource) {
		first := want(t, s)
		v.set(unavailable(t))
		if _, err := s.Fresh(t.Context(), first); !errors.Is(err, ErrUnavailable) {
			t.Errorf("error is %v", err)
		}
		if want(t, s) != first {
			t.Error("the old one is gone")
		}
		if _, err := s.Fresh(t.Context(), first); !errors.Is(err, ErrUnavailable) || v.count() != 2 {
			t.Errorf("at once again: %v, %d calls", err, v.count())
		}
		v.set(fromGRPC(refusal(t, codes.PermissionDenied, "DENIED")))
		time.Sleep(freshEvery)
		if _, err := s.Fresh(t.Context(), first); !errors.Is(err, ErrDenied) {
			t.Errorf("error is %v", err)
		}
		if _, err := s.Token(t.Context()); !errors.Is(err, ErrDenied) {
			t.Errorf("the old one is given out after a refusal: %v", err)
		}
	})
	same := made(time.Now())
	synctest.Test(t, func(t *testing.T) {
		s := newTokenSource(TokenSourceOptions{}, func(context.Context, bool) (*Token, error) {
			tok := made(started(t, nil))
			tok.SHA256 = same.SHA256
			return tok, nil
		})
		defer s.Close()
		if _, err := s.Fresh(t.Context(), want(t, s)); !errors.Is(err, ErrNoNewer) {
			t.Errorf("the same again: %v", err)
		}
	})
}

// TestNeverBack: of two servers that change to a new token one after the other the later one's old token is not taken.
func TestNeverBack(t *testing.T) {
	v := &vault{}
	bubble(t, v, func(t *testing.T, s *TokenSource) {
		first := want(t, s)
		time.Sleep(time.Until(s.due))
		old := *first
		old.SHA256, old.Issued = "older", old.Issued.Add(-time.Minute)
		s.mint = func(context.Context, bool) (*Token, error) { v.calls = append(v.calls, false); return &old, nil }
		for range 100 {
			if want(t, s) != first {
				t.Fatal("it went back")
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if n := v.count(); n > 3 {
			t.Errorf("%d calls in ten seconds", n)
		}
	})
}

func TestKeepAndFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vault{}
		full := errors.New("disk full")
		var keep error
		var kept, failed []string
		s := newTokenSource(TokenSourceOptions{
			Keep:   func(tok *Token) error { kept = append(kept, tok.SHA256); return keep },
			Failed: func(err error) { failed = append(failed, err.Error()) },
		}, v.mint)
		defer s.Close()
		first := want(t, s)
		if len(kept) != 1 || kept[0] != first.SHA256 {
			t.Errorf("kept %v", kept)
		}
		keep = full
		if _, err := s.Fresh(t.Context(), first); !errors.Is(err, full) {
			t.Errorf("a token that was not kept: %v", err)
		}
		if want(t, s) != first || len(failed) != 1 || failed[0] != full.Error() {
			t.Errorf("failed %v", failed)
		}
	})
}

func TestNext(t *testing.T) {
	v := &vault{takes: time.Second}
	bubble(t, v, func(t *testing.T, s *TokenSource) {
		first, err := s.Next(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		second, err := s.Next(t.Context(), first)
		if err != nil || second.SHA256 == first.SHA256 || v.count() != 2 {
			t.Fatalf("%v, %v, %d mints", second, err, v.count())
		}
		if now := time.Now(); now.Before(first.Refresh) || now.After(first.UseUntil) {
			t.Errorf("it came at %s", now)
		}

		// What somebody else has got by asking for a fresh one is next, too.
		time.Sleep(time.Minute)
		got := make(chan *Token)
		go func() { tok, _ := s.Next(t.Context(), second); got <- tok }()
		synctest.Wait()
		fresh, err := s.Fresh(t.Context(), second)
		if err != nil {
			t.Fatal(err)
		}
		if tok := <-got; tok != fresh || time.Since(second.Issued) > 2*time.Minute {
			t.Errorf("next is %v", tok)
		}

		// A server that is away is not news while the token lives.
		v.set(unavailable(t))
		began := v.count()
		if tok, err := s.Next(t.Context(), fresh); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v, %v", tok, err)
		}
		if now := time.Now(); now.Before(fresh.UseUntil.Add(-time.Second)) || now.After(fresh.UseUntil.Add(2*time.Second)) {
			t.Errorf("the end of the token was told at %s", now)
		}
		if n := v.count() - began; n < 5 || n > 60 {
			t.Errorf("%d attempts", n)
		}
		// Nor does who asks again at once spin.
		began, at := v.count(), time.Now()
		for range 10 {
			if _, err := s.Next(t.Context(), fresh); !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
		}
		if n, took := v.count()-began, time.Since(at); n != 10 || took < 10*maxBackOff/2 {
			t.Errorf("ten calls made %d attempts in %s", n, took)
		}
		v.set(nil)
		again, err := s.Next(t.Context(), fresh)
		if err != nil {
			t.Fatal(err)
		}

		// A refusal is told when it comes.
		denied := fromGRPC(refusal(t, codes.PermissionDenied, "DENIED"))
		v.set(denied)
		if tok, err := s.Next(t.Context(), again); tok != nil || !errors.Is(err, ErrDenied) {
			t.Errorf("%v, %v", tok, err)
		}
		if now := time.Now(); now.After(again.UseUntil.Add(-time.Minute)) {
			t.Errorf("the refusal was told at %s", now)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Next(ctx, again); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}

// TestNextAfterSleep: a machine that slept finds its token old, though hardly any time has gone by for its timers.
func TestNextAfterSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vault{}
		var slept atomic.Int64
		s := newTokenSource(TokenSourceOptions{Now: func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }}, v.mint)
		defer s.Close()
		first := want(t, s)
		began := time.Now()
		time.AfterFunc(time.Second, func() { slept.Store(int64(time.Hour)) })
		if tok, err := s.Next(t.Context(), first); err != nil || tok.SHA256 == first.SHA256 || time.Since(began) > 2*lookEvery {
			t.Errorf("%v, %v after %s", tok, err, time.Since(began))
		}
	})
}

// step is one thing that happens to a source.
type step struct {
	what  int
	value int
}

// TestSourceHolds does anything in any order and looks at what must hold: one flight at a time; no token after its end; after a
// refusal no token from before; a token or an error, never both; never back to an older one.
func TestSourceHolds(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v := &vault{
			skew:   time.Duration(rapid.IntRange(-10000, 10000).Draw(r, "skew")) * time.Second,
			reuses: rapid.Bool().Draw(r, "reuses"),
		}
		steps := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) step {
			return step{rapid.IntRange(0, 5).Draw(r, "what"), rapid.IntRange(0, 300_000).Draw(r, "value")}
		}), 1, 80).Draw(r, "steps")
		var broken string
		bubble(t, v, func(t *testing.T, s *TokenSource) { broken = walk(t, v, s, steps) })
		if broken != "" {
			r.Fatal(broken)
		}
	})
}

func walk(t *testing.T, v *vault, s *TokenSource, steps []step) string {
	answers := []error{
		nil, nil, nil, fromGRPC(refusal(t, codes.Unavailable, "")),
		fromGRPC(refusal(t, codes.PermissionDenied, "")), fromGRPC(refusal(t, codes.FailedPrecondition, "KEY_DISABLED")),
	}
	var last *Token
	dropped := map[*Token]bool{} // given out before a refusal
	for _, step := range steps {
		ask := s.Token
		switch step.what {
		case 0:
			time.Sleep(time.Duration(step.value) * time.Millisecond)
			continue
		case 1:
			v.set(answers[step.value%len(answers)])
			continue
		case 2:
			v.mu.Lock()
			v.takes = time.Duration(step.value/100) * time.Millisecond
			v.mu.Unlock()
			continue
		case 3:
			was := last
			ask = func(ctx context.Context) (*Token, error) { return s.Fresh(ctx, was) }
		}
		tok, err := ask(t.Context())
		now := time.Now().Add(v.skew)
		switch {
		case (tok == nil) == (err == nil):
			return fmt.Sprintf("%v and %v", tok, err)
		case err != nil:
			if refuses(err) {
				dropped[last] = true
			}
			continue
		case dropped[tok]:
			return "given out after the server had refused"
		case !now.Before(tok.UseUntil.Add(time.Second)):
			return fmt.Sprintf("given out at %s, and to be used until %s", now, tok.UseUntil)
		case last != nil && tok.Issued.Before(last.Issued):
			return "it went back"
		case step.what == 3 && last != nil && tok.SHA256 == last.SHA256:
			return "fresh is the same"
		}
		last = tok
	}
	synctest.Wait()
	if n := v.most.Load(); n > 1 {
		return fmt.Sprintf("%d flights at once", n)
	}
	return ""
}
