package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"
)

const edge = 30 * time.Minute

// sharedAt is the token that every server has at a time of its clock.
func sharedAt(now time.Time) *Token {
	issued := now.Add(-backDate).Truncate(edge)
	text := "ey.shared." + issued.Format(time.RFC3339)
	return &Token{
		text: &text, Form: FormHeader, Scheme: "bearer", Hosts: []string{"api.push.apple.com"}, Shared: true, SHA256: "sha of " + text,
		Issued: issued, Expires: issued.Add(time.Hour), UseUntil: issued.Add(50 * time.Minute), Refresh: issued.Add(backDate + edge), server: now,
	}
}

// cluster are servers whose clocks are not one. A call goes to any of them.
type cluster struct {
	mu   sync.Mutex
	off  []time.Duration
	down bool
	no   error // what all of them answer
	rand *rand.Rand
	n    int
}

func (c *cluster) mint(ctx context.Context, _ bool) (*Token, error) {
	c.mu.Lock()
	c.n++
	way, down, no := time.Duration(c.rand.IntN(200))*time.Millisecond, c.down, c.no
	off := c.off[c.rand.IntN(len(c.off))]
	c.mu.Unlock()
	time.Sleep(way)
	switch {
	case down:
		return nil, ErrUnavailable
	case no != nil:
		return nil, no
	}
	tok := sharedAt(time.Now().Add(off))
	time.Sleep(way)
	return tok, ctx.Err()
}

// calls is how often they were asked so far.
func (c *cluster) calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *cluster) set(down bool, no error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down, c.no = down, no
}

// TestSharedTogether: over hours, with servers whose clocks differ, clients whose clocks show anything, and servers that are away
// or refuse for a while, no client goes back, none changes its token twice in 20 minutes (unless it ends, or was
// refused in between), none uses one that is too old, and when the servers are there all clients have the same token but for the time by which the servers differ.
func TestSharedTogether(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		ahead := time.Duration(rapid.IntRange(0, 20_000).Draw(r, "ahead")) * time.Millisecond
		c := &cluster{off: []time.Duration{0, ahead}, rand: rand.New(rand.NewPCG(1, rapid.Uint64().Draw(r, "seed")))}
		skews := rapid.SliceOfN(rapid.IntRange(-10_000, 10_000), 2, 4).Draw(r, "skews")
		begin := time.Duration(rapid.IntRange(0, 1800).Draw(r, "begin")) * time.Second
		away := rapid.SliceOfN(rapid.IntRange(0, 120), 0, 3).Draw(r, "away") // minutes in which the servers are away
		long := rapid.IntRange(1, 40).Draw(r, "long")
		refuses, fresh := rapid.Bool().Draw(r, "refuses"), rapid.Bool().Draw(r, "fresh")
		var broken string
		synctest.Test(t, func(t *testing.T) { broken = together(t, c, ahead, skews, begin, away, long, refuses, fresh) })
		if broken != "" {
			r.Fatal(broken)
		}
	})
}

func together(t *testing.T, c *cluster, ahead time.Duration, skews []int, begin time.Duration, away []int, long int, refuses, fresh bool) (broken string) {
	time.Sleep(begin)
	type user struct {
		source  *TokenSource
		last    *Token
		changed time.Time
	}
	users := make([]*user, len(skews))
	for i, skew := range skews {
		s := newTokenSource(TokenSourceOptions{Now: func() time.Time { return time.Now().Add(time.Duration(skew) * time.Second) }}, c.mint)
		defer s.Close()
		users[i] = &user{source: s}
	}
	denied := fromGRPC(refusal(t, codes.PermissionDenied, "DENIED"))
	since := -1 // the minute from which on the servers are there
	for second := range 2 * 3600 {
		minute := second / 60
		down := false
		for _, m := range away {
			down = down || minute >= m && minute < m+long
		}
		switch {
		case !down:
			if since < 0 {
				since = minute
			}
			c.set(false, nil)
		case refuses:
			since = -1
			c.set(false, denied)
		default:
			since = -1
			c.set(true, nil)
		}
		time.Sleep(time.Second)
		now := time.Now()
		for i, u := range users {
			tok, err := u.source.Token(t.Context())
			refused := false
			if fresh && err == nil && second%13 == i {
				// As where Apple has refused it: then there is nothing to lose by a change.
				if newer, err := u.source.Fresh(t.Context(), tok); err == nil {
					tok, refused = newer, true
				}
			}
			if err != nil {
				if since >= 0 && minute > since+1 {
					return fmt.Sprintf("client %d has no token, and the servers are there: %v", i, err)
				}
				if errors.Is(err, ErrDenied) {
					u.changed = time.Time{} // it has lost what it had, and is given later what is given then
				}
				continue
			}
			got := time.Now()
			switch changes := u.last != nil && tok.SHA256 != u.last.SHA256; {
			case u.last != nil && tok.Issued.Before(u.last.Issued):
				return fmt.Sprintf("client %d went back from %s to %s", i, u.last, tok)
			case got.Sub(tok.Issued) > time.Hour-time.Minute:
				return fmt.Sprintf("client %d uses a token at the age of %s", i, got.Sub(tok.Issued))
			case changes && !refused && !u.changed.IsZero() && got.Sub(u.changed) < 20*time.Minute && got.Before(u.last.UseUntil.Add(-ahead)):
				return fmt.Sprintf("client %d changes after %s", i, got.Sub(u.changed))
			case changes:
				u.changed = got
			}
			u.last = tok
			// Far from an edge, and when nothing has been amiss for an hour, all have the one token of the time.
			if into := now.Add(-backDate).Sub(now.Add(-backDate).Truncate(edge)); minute-since > 60 && since >= 0 && into > 2*time.Second && into < edge-25*time.Second {
				if want := sharedAt(now); tok.SHA256 != want.SHA256 {
					return fmt.Sprintf("client %d has %s, %s after the edge, and the others %s", i, tok, into, want)
				}
			}
		}
	}
	if n := c.calls(); len(away) == 0 && !fresh && n > len(users)*60 {
		return fmt.Sprintf("%d calls for two hours of %d clients", n, len(users))
	}
	return ""
}

// TestSharedEdge: who wants a token when the edge is there gets the next one, and who wants one a moment before does not.
func TestSharedEdge(t *testing.T) {
	for _, skew := range []time.Duration{0, 25 * time.Minute, -25 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			c := &cluster{off: []time.Duration{skew}, rand: rand.New(rand.NewPCG(1, 2))}
			s := newTokenSource(TokenSourceOptions{}, c.mint)
			defer s.Close()
			first := want(t, s)
			at := first.Refresh.Add(-skew)
			time.Sleep(time.Until(at) - time.Millisecond)
			if want(t, s) != first {
				t.Error("the next one before its time")
			}
			time.Sleep(time.Second / 2) // an answer's way and back, by which the source cannot know better
			if next := want(t, s); next.Issued != first.Issued.Add(edge) {
				t.Errorf("after the edge: %v", next)
			}
			if n := c.calls(); n != 2 {
				t.Errorf("%d calls", n)
			}
		})
	}
}

// TestSharedEdgeAway: at the edge nobody waits long for a server that is away, and after it has failed nobody waits at all.
func TestSharedEdgeAway(t *testing.T) {
	for name, tt := range map[string]struct {
		mint  func(context.Context, bool) (*Token, error)
		waits time.Duration
		err   error
	}{
		"it stalls":  {func(ctx context.Context, _ bool) (*Token, error) { <-ctx.Done(); return nil, ctx.Err() }, sharedWait, nil},
		"it is away": {func(context.Context, bool) (*Token, error) { return nil, ErrUnavailable }, 0, nil},
		"it refuses": {func(context.Context, bool) (*Token, error) {
			return nil, fromGRPC(refusal(t, codes.PermissionDenied, ""))
		}, 0, ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &cluster{off: []time.Duration{0}, rand: rand.New(rand.NewPCG(1, 2))}
				s := newTokenSource(TokenSourceOptions{}, c.mint)
				defer s.Close()
				first := want(t, s)
				time.Sleep(time.Until(s.due))
				s.mint = tt.mint
				for i, waits := range []time.Duration{tt.waits, 0, 0} {
					began := time.Now()
					tok, err := s.Token(t.Context())
					if !errors.Is(err, tt.err) || err == nil && tok != first || time.Since(began) != waits {
						t.Errorf("%d: %v, %v after %s", i, tok, err, time.Since(began))
					}
				}
				if tt.err != nil {
					return
				}
				for range 60 { // while it goes on failing
					time.Sleep(time.Second)
					began := time.Now()
					if tok, err := s.Token(t.Context()); err != nil || tok != first || time.Since(began) > 0 {
						t.Errorf("%v, %v after %s", tok, err, time.Since(began))
					}
				}
			})
		})
	}
}

// TestSharedFresh: there is no fresh one before the edge.
func TestSharedFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{off: []time.Duration{0}, rand: rand.New(rand.NewPCG(1, 2))}
		s := newTokenSource(TokenSourceOptions{}, c.mint)
		defer s.Close()
		time.Sleep(10 * time.Minute)
		first := want(t, s)
		for range 10 {
			if tok, err := s.Fresh(t.Context(), first); !errors.Is(err, ErrNoNewer) {
				t.Errorf("%v, %v", tok, err)
			}
		}
		if n := c.calls(); n != 2 {
			t.Errorf("%d calls", n)
		}
		time.Sleep(time.Until(first.Refresh) - 5*time.Second)
		if tok, err := s.Fresh(t.Context(), first); !errors.Is(err, ErrNoNewer) {
			t.Errorf("%v, %v", tok, err)
		}
		time.Sleep(6 * time.Second) // less than fresh ones are asked for, and the edge is there
		if tok, err := s.Fresh(t.Context(), first); err != nil || !tok.Issued.After(first.Issued) {
			t.Errorf("%v, %v", tok, err)
		}
	})
}

// TestSharedOlder: after a refusal, too, an older token than the last is not taken, for as long as the last could be used.
func TestSharedOlder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{off: []time.Duration{20 * time.Second}, rand: rand.New(rand.NewPCG(1, 2))}
		s := newTokenSource(TokenSourceOptions{}, c.mint)
		defer s.Close()
		next := time.Now().Add(-backDate).Truncate(edge).Add(edge + backDate)
		time.Sleep(time.Until(next) - 15*time.Second)
		first := want(t, s) // of a server whose edge is there
		c.set(false, fromGRPC(refusal(t, codes.FailedPrecondition, "KEY_DISABLED")))
		if _, err := s.Fresh(t.Context(), first); !errors.Is(err, ErrKeyDisabled) {
			t.Fatal(err)
		}
		c.set(false, nil)
		c.off[0] = 0
		time.Sleep(time.Second)
		if tok, err := s.Token(t.Context()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v, %v", tok, err)
		}
		time.Sleep(time.Until(next) + time.Second)
		if tok := want(t, s); tok.SHA256 != first.SHA256 {
			t.Errorf("it is %v", tok)
		}
	})
}
