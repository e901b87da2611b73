package client

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// backDate is how far before its making a token's iat lies.
const backDate = 30 * time.Second

// validity is a token's life on this machine's clock. The server's clock says when a token ends and this machine's may show
// anything, so the two are not compared: what counts is how much of the life was left when the token was asked for, by the server's
// time in its answer, and how much time has gone by here since.
type validity struct {
	refresh time.Time // from when on a newer one can be had
	until   time.Time // until when this one may be used; zero for one that has no end
}

// validityOf is the validity of a token that was asked for and was there at these times of this machine. It ends as if the server had
// been asked at once, and is refreshed as if it had answered at once: a little early the one, and a little late the other, so that the
// next one is there when it is asked for. Of a server that does not say its time the worst is assumed.
func validityOf(t *Token, asked, there time.Time) validity {
	if t.UseUntil.IsZero() {
		return validity{}
	}
	made := t.Issued.Add(backDate)
	refresh := t.Refresh
	if refresh.IsZero() || refresh.After(t.UseUntil) {
		refresh = made.Add(t.UseUntil.Sub(made) / 2)
	}
	then := t.server
	switch {
	case !then.IsZero():
	case t.Reused || t.Shared:
		then = refresh
	default:
		then = made
	}
	return validity{refresh: there.Add(refresh.Sub(then)), until: asked.Add(t.UseUntil.Sub(then))}
}

// before says whether now is before t by both clocks that a time may carry: the monotonic one, which nobody sets, and the wall
// clock, which goes on while the machine sleeps.
func before(now, t time.Time) bool { return now.Before(t) && now.Round(0).Before(t.Round(0)) }

// share is a random part of d, so that those who began together do not go on together.
func share(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	var b [8]byte
	_, _ = rand.Read(b[:])                                             // never fails
	return time.Duration(binary.LittleEndian.Uint64(b[:]) % uint64(d)) //nolint:gosec // less than d
}
