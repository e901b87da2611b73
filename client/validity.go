package client

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// backDate is how far before its making a token's iat lies.
const backDate = 30 * time.Second

// validity is a token's life on this machine's clock. The server's clock says when a token ends and this machine's may show
// anything, so the two are not compared: what counts is how much of the life was left when the token was asked for, and how much time
// has gone by here since.
type validity struct {
	refresh time.Time // from when on a newer one can be had
	until   time.Time // until when this one may be used
}

// validityOf is the validity of a token that was asked for at a time of this machine, which lies off behind the server's as far as is
// known. A token that was made for this call tells the server's time. One that was given before tells only between which times it is
// given: within them the clock here is believed, corrected by off; when it lies outside it is wrong, and the worst is assumed.
func validityOf(t *Token, asked time.Time, off time.Duration) validity {
	made := t.Issued.Add(backDate)
	refresh := t.Refresh
	if refresh.IsZero() || refresh.After(t.UseUntil) {
		refresh = made.Add(t.UseUntil.Sub(made) / 2)
	}
	then := made // the server's time when the token was asked for
	if t.Reused {
		if then = asked.Add(off); then.Before(made) || then.After(refresh) {
			then = refresh
		}
	}
	return validity{refresh: asked.Add(refresh.Sub(then)), until: asked.Add(t.UseUntil.Sub(then))}
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
