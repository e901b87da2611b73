package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
)

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
			if waited := time.Since(bubbleStart); waited > 2*time.Second {
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
