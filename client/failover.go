package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// Where a call goes when an address fails it, and when that must not be:
//
//	what the address made of it                         a mint                      a change
//	was not sent                                        goes elsewhere (grpc)       goes elsewhere (grpc)
//	refused with a reason of the state of that server   goes elsewhere              goes elsewhere
//	refused otherwise                                   is answered                 is answered
//	may have been accepted                              below                       ErrUnknown
//
// A mint that may have been accepted may have given a token that is recorded, and that nobody has. Where that may be given again, or is
// the same for all, another one does no harm; where it is for one use, or was asked for as a new one, there would be two. So a request
// with values for one use (Call), or with Fresh, is ErrUnknown. Of any other only the policy knows: the client asks another address how
// the profile's tokens are reused, which anybody may who may mint it, and repeats the mint there unless the answer is never, or none. A
// TokenSource wants a token and asks again in any case, so that its mints always go elsewhere.
//
// A call that only reads goes elsewhere from a server that is cut off from the store (read), and from one whose connection ends (grpc).
//
// An address that takes a mint or a read and does not answer is given up when half of the time is gone, and after patience at the latest,
// where there is another one to go to and the call may be repeated; not so a read that may take that long (searches). It then gets no calls
// for a while, nor does one that has not answered a mint that was waited for to the end. All attempts together have the call's one
// deadline. One that hangs for longer loses its connection (alive), which ends what was not given up.

const (
	patience = 5 * time.Second  // how long a server may take for a call that another one could do
	slowFor  = 10 * time.Second // how long one that took longer gets none
)

// route is the way of one call through the addresses. The picker reads where it may go and notes where it went.
type route struct {
	only  string   // the one address that it is for; empty for any
	avoid []string // where it has failed; not changed during an attempt

	mu      sync.Mutex
	at      *backend    // where it went last; nil: nowhere yet
	nowhere bool        // no address was left
	slow    *time.Timer // until the server is given up; nil while it is not
	limit   func() time.Duration
	giveUp  func() // nil: never
}

type routeKey struct{}

// routeOf is the route of a call; nil when it has none and goes where all go.
func routeOf(ctx context.Context) *route {
	r, _ := ctx.Value(routeKey{}).(*route)
	return r
}

// barred says whether the call must not go to an address.
func (r *route) barred(address string) bool {
	return r != nil && slices.Contains(r.avoid, address)
}

// went notes where a call goes, and whether it could go elsewhere after that.
func (r *route) went(to *backend, more bool) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = to
	if r.slow != nil {
		r.slow.Stop()
		r.slow = nil
	}
	if more && r.giveUp != nil {
		r.slow = time.AfterFunc(r.limit(), r.giveUp)
	}
}

// stranded notes that there is no address left.
func (r *route) stranded() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nowhere = true
}

// end is where an attempt went, and whether it went nowhere because no address was left.
func (r *route) end() (*backend, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slow != nil {
		r.slow.Stop()
		r.slow = nil
	}
	return r.at, r.nowhere
}

// mapped turns the errors of every call into *Error, and sends calls to another address where one fails them.
type mapped struct {
	grpc.ClientConnInterface
	only string // the one address to call; empty for any
	many bool   // there are several to choose from
}

// Invoke implements grpc.ClientConnInterface.
func (m mapped) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	c := call{mapped: m, kind: kindOf[method], method: method, args: args, reply: reply, opts: opts}
	switch {
	case c.kind == watches, c.kind == reads && !m.many:
		return fromGRPC(m.ClientConnInterface.Invoke(m.routed(ctx), method, args, reply, opts...))
	case c.kind == reads:
		return c.read(ctx)
	default:
		return c.do(ctx)
	}
}

// NewStream is as Invoke, but that a stream stays where it began.
func (m mapped) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := m.ClientConnInterface.NewStream(m.routed(ctx), desc, method, opts...)
	if err != nil {
		return nil, fromGRPC(err)
	}
	return mappedStream{s}, nil
}

// routed is the context of a call that goes to one attempt's address and no further.
func (m mapped) routed(ctx context.Context) context.Context {
	if m.only == "" {
		return ctx
	}
	return context.WithValue(ctx, routeKey{}, &route{only: m.only})
}

// call is one in as many attempts as it takes.
type call struct {
	mapped
	kind        kind
	method      string
	args, reply any
	opts        []grpc.CallOption

	avoid []string // where it has failed
	again bool     // it is known that it may be repeated
}

// do makes the attempts of a mint or a change. What it answers is what the last address said that was asked.
func (c *call) do(ctx context.Context) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	c.again = c.kind == mints && repeats(ctx)
	var said error
	for {
		a := c.attempt(ctx)
		switch {
		case a.err == nil:
			return nil
		case said != nil && !a.sent:
			return said
		}
		switch c.outcome(a) {
		case settled:
			return a.err
		case unknown:
			if !c.mayRepeat(ctx, a) {
				return c.unknown(a.err)
			}
		case undone:
		}
		if !c.many || a.at == nil {
			return a.err
		}
		c.avoid = append(c.avoid, a.at.address)
		said = a.err
	}
}

// bounded gives all attempts one deadline together, where there are several addresses.
func (c *call) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	switch {
	case !c.many:
		return ctx, func() {}
	case c.kind == changes:
		return context.WithTimeout(ctx, changeTime)
	default:
		return context.WithTimeout(ctx, callTime)
	}
}

// read makes the attempts of a call that only reads, where there are several addresses. It goes elsewhere from a server that does not
// answer in time, and from one that is cut off from the store alone, for a replica that is need not be away for anybody else; where the
// connection fails is grpc's affair.
func (c *call) read(ctx context.Context) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	var said error
	for {
		a := c.attempt(ctx)
		switch {
		case a.err == nil:
			return nil
		case said != nil && a.at == nil:
			return said
		}
		e, ok := errors.AsType[*Error](a.err)
		if cut := ok && e.reason == "STORE_UNAVAILABLE"; !cut && !a.slow || a.at == nil {
			return a.err
		}
		c.avoid = append(c.avoid, a.at.address)
		said = a.err
	}
}

// attempted is how one attempt has ended.
type attempted struct {
	err  error    // nil: well
	sent bool     // a server may have seen it
	at   *backend // which; nil when that is not known
	slow bool     // it was given up
}

// attempt sends the call once.
func (c *call) attempt(ctx context.Context) attempted {
	var p peer.Peer // is filled in when the call has been given to a connection
	opts := append(slices.Clip(c.opts), grpc.Peer(&p))
	if !c.many {
		err := fromGRPC(c.ClientConnInterface.Invoke(c.routed(ctx), c.method, c.args, c.reply, opts...))
		return attempted{err: err, sent: p.Addr != nil}
	}
	r := &route{avoid: c.avoid}
	within, cancel := context.WithCancelCause(context.WithValue(ctx, routeKey{}, r))
	defer cancel(nil)
	if c.kind == mints && (c.again || !single(c.args)) || c.kind == reads && !searches[c.method] {
		r.limit, r.giveUp = func() time.Duration { return shareOf(ctx) }, func() { cancel(errSlow) }
	}
	began := time.Now()
	err := c.ClientConnInterface.Invoke(within, c.method, c.args, c.reply, opts...)
	at, nowhere := r.end()
	a := attempted{sent: p.Addr != nil, at: at}
	switch {
	case err == nil:
		return a
	case nowhere:
		a.sent, a.at = false, nil
	case errors.Is(context.Cause(within), errSlow) && status.Code(err) == codes.Canceled:
		at.suspect(time.Now())
		a.slow = true
		err = status.Errorf(codes.Unavailable, "%s took the call and has not answered", at.address)
	case c.kind == mints && a.sent && status.Code(err) == codes.DeadlineExceeded && time.Since(began) >= patience:
		at.suspect(time.Now())
	}
	a.err = fromGRPC(err)
	return a
}

// errSlow ends an attempt at a server that has been waited for long enough.
var errSlow = errors.New("given up")

// shareOf is how much of a call's time one attempt gets while there is another address.
func shareOf(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return patience
	}
	return min(time.Until(deadline)/2, patience)
}

// outcome is what may have come of an attempt that failed.
type outcome int

const (
	settled outcome = iota // nothing, and it is so wherever one asks
	undone                 // nothing, and another server may do it
	unknown                // that is not known
)

// outcome judges by the server's reason, and where it gave none, by whether it can have seen the call.
func (c *call) outcome(a attempted) outcome {
	e, ok := errors.AsType[*Error](a.err)
	if !ok {
		return settled // it is not grpc's, but of a connection that the caller made
	}
	switch e.reason {
	case "":
		if !a.sent {
			return settled
		}
		switch e.st.Code() {
		case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Internal, codes.Unknown, codes.DataLoss:
			return unknown
		default:
			return settled
		}
	case "OUTCOME_UNKNOWN", "DEADLINE_EXCEEDED", "CANCELED":
		return unknown
	case "GAP", "LOG_FULL", "SHUTTING_DOWN", "STORE_UNAVAILABLE":
		return undone
	}
	if c.kind == mints && e.st.Code() == codes.Unavailable {
		return undone // whatever the reason: who is answered with an error has been given no token
	}
	return settled
}

// mayRepeat says whether a call that may have been accepted may be sent again.
func (c *call) mayRepeat(ctx context.Context, a attempted) bool {
	if c.kind != mints {
		return false
	}
	if !c.again && !single(c.args) && c.many && a.at != nil {
		c.again = c.reused(ctx, a.at.address)
	}
	return c.again
}

// reused asks another address than those that failed whether the profile's tokens are given again.
func (c *call) reused(ctx context.Context, failed string) bool {
	req, ok := c.args.(*signetv1.MintTokenRequest)
	if !ok {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, shareOf(ctx))
	defer cancel()
	ctx = context.WithValue(ctx, routeKey{}, &route{avoid: append(slices.Clip(c.avoid), failed)})
	profiles := paged(func(token string) ([]*signetv1.Profile, string, error) {
		list, page := &signetv1.ListProfilesRequest{PageSize: 1000, PageToken: token}, &signetv1.ListProfilesResponse{}
		err := c.ClientConnInterface.Invoke(ctx, signetv1.TokenService_ListProfiles_FullMethodName, list, page)
		return page.GetProfiles(), page.GetNextPageToken(), err
	})
	for p, err := range profiles {
		switch {
		case err != nil:
			return false
		case p.GetName() == req.GetProfile():
			return p.GetReuse() == "per-principal" || p.GetReuse() == "shared"
		}
	}
	return false
}

// single says whether a mint asks for something of its own: a new token, or one for one use.
func single(args any) bool {
	req, ok := args.(*signetv1.MintTokenRequest)
	if !ok || req.GetFresh() {
		return true
	}
	switch req.GetParameters().(type) {
	case nil, *signetv1.MintTokenRequest_Scope, *signetv1.MintTokenRequest_Marketplace:
		return false
	default:
		return true
	}
}

// unknown is the error of a call of which nobody knows what came of it.
func (c *call) unknown(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	u := *e
	u.sentinel = ErrUnknown
	if c.kind == mints {
		u.text = fmt.Sprintf("the token may have been minted and recorded, and was not asked for again: %s. "+
			"signet audit tells whether it was, and the exposure counts it when its key is revoked", e.text)
	} else {
		u.text = fmt.Sprintf("it may have been done and recorded, and was not tried again: %s. signet audit tells whether it was", e.text)
	}
	return &u
}

type repeatsKey struct{}

// repeating is for mints of a caller who asks again until there is a token.
func repeating(ctx context.Context) context.Context {
	return context.WithValue(ctx, repeatsKey{}, true)
}

func repeats(ctx context.Context) bool { return ctx.Value(repeatsKey{}) != nil }
