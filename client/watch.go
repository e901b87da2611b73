package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// Watch is a filter for entries that are still to come.
type Watch struct {
	// Filter says which; it has no log, index or until. Its since is only for a watch without From.
	Filter *signetv1.EntryFilter
	// From is where to begin: the place of the first entry that is wanted. When nil, with the first entry that is not older than the
	// filter's since or, without that, with the first one after now.
	From *signetv1.EntryPlace
	// Lost, which may be nil, is told why the watch was interrupted, or could not go on yet, and how often that was so since the last
	// answer. Nothing is missing afterwards.
	Lost func(err error, times int)
}

// How long a watch waits before it tries to go on.
const (
	watchWait    = 200 * time.Millisecond
	watchWaitMax = 10 * time.Second
)

// Watched yields entries as they become durable: in order, each once, from one log into the next. When the server stops, or the
// connection ends, it goes on at the place where it was, for as long as it takes. It ends with ctx, with an error before the first
// answer, and with every error that is not of a server that is away, such as ErrDenied when the caller may no longer; after an error
// there are no more. Entries are as the server sends them: Prove verifies one.
func (c *Client) Watched(ctx context.Context, w Watch) iter.Seq2[*signetv1.StoredEntry, error] {
	return func(yield func(*signetv1.StoredEntry, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		next, wait := w.From, watchWait
		begun, times := false, 0
		answered := func() { begun, times, wait = true, 0, watchWait }
		for {
			err := c.watch(ctx, w.Filter, &next, func(e *signetv1.StoredEntry) bool { return yield(e, nil) }, answered)
			switch {
			case errors.Is(err, errEnough):
				return
			case ctx.Err() != nil:
				yield(nil, ctx.Err())
				return
			case !begun || !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrRateLimited):
				yield(nil, err)
				return
			}
			if times++; w.Lost != nil {
				w.Lost(err, times)
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
			wait = min(2*wait, watchWaitMax)
		}
	}
}

// errEnough ends a watch whose reader has had enough.
var errEnough = errors.New("enough")

// watch is one call of Watched. It moves next on with everything that each has taken; answered is called for every answer. It does
// not return nil.
func (c *Client) watch(ctx context.Context, f *signetv1.EntryFilter, next **signetv1.EntryPlace, each func(*signetv1.StoredEntry) bool, answered func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // which ends the stream
	stream, err := c.WatchEntries(ctx, &signetv1.WatchEntriesRequest{Filter: f, From: *next})
	if err != nil {
		return err
	}
	for {
		found, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: the server has ended the watch", ErrUnavailable)
		}
		if err != nil {
			return err
		}
		if found.GetNext() == nil {
			return fmt.Errorf("%w: an answer that does not say where to go on", ErrUnverified)
		}
		answered()
		for _, e := range found.GetEntries() {
			if !each(e) {
				return errEnough
			}
		}
		*next = found.GetNext()
	}
}

// mappedStream turns the errors of a stream into *Error. io.EOF, which ends one that did not fail, stays.
type mappedStream struct{ grpc.ClientStream }

func (s mappedStream) RecvMsg(m any) error { return fromGRPC(s.ClientStream.RecvMsg(m)) }

func (s mappedStream) SendMsg(m any) error { return fromGRPC(s.ClientStream.SendMsg(m)) }
