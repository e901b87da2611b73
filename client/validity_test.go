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

// TestValidity: what counts is the server's time in the answer, and what this clock shows does not.
func TestValidity(t *testing.T) {
	server := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	tok := made(server)
	half, whole := tok.UseUntil.Sub(tok.Refresh), tok.UseUntil.Sub(tok.Issued)-backDate
	for _, tt := range []struct {
		name          string
		change        func(*Token)
		left, refresh time.Duration // from when it was asked for
		takes         time.Duration
		wall          time.Duration // how far this clock is off
	}{
		{name: "just made", left: whole, refresh: whole - half},
		{name: "just made, and this clock is off", wall: -time.Hour, left: whole, refresh: whole - half},
		{name: "an answer that took its time", takes: time.Second, left: whole, refresh: whole - half + time.Second},
		{name: "given before", change: func(t *Token) { t.Reused, t.server = true, server.Add(2*time.Minute) }, left: whole - 2*time.Minute, refresh: whole - half - 2*time.Minute},
		{name: "a server that does not say its time", change: func(t *Token) { t.server = time.Time{} }, left: whole, refresh: whole - half},
		{name: "nor that, and given before", change: func(t *Token) { t.server, t.Reused = time.Time{}, true }, left: half},
		{name: "nor that, and shared", change: func(t *Token) { t.server, t.Shared = time.Time{}, true }, left: half},
		{name: "a server that does not say when", change: func(t *Token) { t.Refresh = time.Time{} }, left: whole, refresh: whole / 2},
		{name: "a refresh after the end", change: func(t *Token) { t.Refresh = t.UseUntil.Add(1) }, left: whole, refresh: whole / 2},
	} {
		given := *tok
		if tt.change != nil {
			tt.change(&given)
		}
		asked := server.Add(tt.wall)
		got := validityOf(&given, asked, asked.Add(tt.takes))
		if left := got.until.Sub(asked); left != tt.left {
			t.Errorf("%s: %s left, want %s", tt.name, left, tt.left)
		}
		if refresh := got.refresh.Sub(asked); refresh != tt.refresh {
			t.Errorf("%s: refresh in %s, want %s", tt.name, refresh, tt.refresh)
		}
	}
	tok.UseUntil = time.Time{}
	if got := validityOf(tok, server, server); !got.until.IsZero() {
		t.Errorf("without an end: %s", got.until)
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
