package client

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
)

const (
	firstBackOff = time.Second / 2
	maxBackOff   = 15 * time.Second
	maxAskedFor  = 5 * time.Minute // however long the server asks to be left alone
)

var errDead = fmt.Errorf("%w: the server answered with a token that is not to be used any more", ErrUnverified)

// failure is what went wrong since something last went right. The zero value is nothing.
type failure struct {
	err   error
	count int
	until time.Time // until then err is the answer, and nobody is asked
}

// standing is the answer without a call; nil when it is time to call.
func (f *failure) standing(now time.Time) error {
	if f.err == nil || !before(now, f.until) {
		return nil
	}
	return f.err
}

// add counts one more failure. The time until the next attempt doubles, half of it at random, and is what the server asks for when
// that is longer.
func (f *failure) add(err error, now time.Time) {
	wait := maxBackOff
	if f.count < 10 {
		wait = min(firstBackOff<<f.count, maxBackOff)
	}
	wait = wait/2 + share(wait/2)
	if e, ok := errors.AsType[*Error](err); ok && e.RetryAfter() > wait {
		asked := min(e.RetryAfter(), maxAskedFor)
		wait = asked + share(asked/8)
	}
	f.err, f.count, f.until = err, f.count+1, now.Add(wait)
}

// refuses says whether an error is the server's word that this caller gets no such token now, and not that it cannot tell.
func refuses(err error) bool {
	if errors.Is(err, ErrWithheld) || errors.Is(err, ErrSingleUse) {
		return true
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	switch e.st.Code() {
	case codes.PermissionDenied, codes.Unauthenticated, codes.FailedPrecondition, codes.InvalidArgument:
		return true
	default:
		return false
	}
}
