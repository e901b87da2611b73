package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
)

// TestSameAgain: a server that goes on giving the old token after its time is not asked all the time.
func TestSameAgain(t *testing.T) {
	v := &vault{}
	bubble(t, v, func(t *testing.T, s *TokenSource) {
		first := want(t, s)
		given := *v.last
		given.Reused = true
		s.mint = func(context.Context, bool) (*Token, error) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.calls = append(v.calls, false)
			again := given
			again.server = time.Now()
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
	synctest.Test(t, func(t *testing.T) {
		s := newTokenSource(TokenSourceOptions{}, func(context.Context, bool) (*Token, error) { return made(bubbleStart), nil })
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
