package client

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

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
