package client

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	_ "google.golang.org/grpc/health" // watches what healthCheckConfig names
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// balancing is the name of our load balancing policy in the service config. It is not round_robin: that gives up every connection
// whose server says that it cannot mint, and so the only way to an operator's acknowledge, disable or status; and it would read one
// node's log with another one's page token.
const balancing = "signet"

func init() { balancer.Register(balanceBuilder{}) }

type balanceBuilder struct{}

func (balanceBuilder) Name() string { return balancing }

func (balanceBuilder) Build(cc balancer.ClientConn, _ balancer.BuildOptions) balancer.Balancer {
	return &balance{cc: cc}
}

// balance keeps a connection to every address and knows which servers can mint. Mints go to those in turn; to any that is connected
// when none can, for its answer says why. Every other call goes to one server for as long as its connection lasts and it answers. A call
// with a route goes where that lets it. grpc calls its methods and listeners one at a time.
type balance struct {
	cc    balancer.ClientConn
	conns []*backend // in the configuration's order
	home  *backend   // where all but mints goes; nil when nothing is connected
}

// backend is one address.
type backend struct {
	address string
	slow    atomic.Int64 // until when it gets no calls that another one could do, in Unix nanoseconds; pickers use it, too

	conn   balancer.SubConn
	state  connectivity.State // Idle is never kept
	health connectivity.State // of a connected one: Connecting until the server has said
	err    error              // why it failed last
	grace  int                // how often it may yet fail and be taken for one that restarts
}

// suspect notes that the server does not answer.
func (c *backend) suspect(now time.Time) { c.slow.Store(now.Add(slowFor).UnixNano()) }

// suspected says whether the server did not answer lately.
func (c *backend) suspected() bool {
	until := c.slow.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// grace is for a server that was there a moment ago: with backOff these attempts are a second, in which calls wait instead of failing.
const grace = 3

// UpdateClientConnState connects to the addresses, which never change.
func (b *balance) UpdateClientConnState(s balancer.ClientConnState) error {
	if b.conns != nil {
		return nil
	}
	for _, a := range s.ResolverState.Addresses {
		c := &backend{address: a.Addr, state: connectivity.Connecting}
		conn, err := b.cc.NewSubConn([]resolver.Address{a}, balancer.NewSubConnOptions{ //nolint:staticcheck // deprecated for more than one address
			StateListener: func(s balancer.SubConnState) { b.changed(c, s) },
		})
		if err != nil {
			return err
		}
		c.conn = conn
		b.conns = append(b.conns, c)
	}
	for _, c := range b.conns {
		c.conn.Connect()
	}
	b.publish()
	return nil
}

func (b *balance) changed(c *backend, s balancer.SubConnState) {
	switch s.ConnectivityState {
	case connectivity.Idle:
		c.conn.Connect()
		if c.state == connectivity.TransientFailure {
			return // until it is connected; else calls would wait for ever where nobody answers
		}
		c.state = connectivity.Connecting
	case connectivity.Connecting:
		if c.state == connectivity.TransientFailure {
			return
		}
		c.state = connectivity.Connecting
	case connectivity.Ready:
		c.state, c.health, c.grace = connectivity.Ready, connectivity.Connecting, grace
		c.conn.RegisterHealthListener(func(h balancer.SubConnState) {
			if h.ConnectivityState != connectivity.Connecting { // asking again; the last answer stands
				c.health = h.ConnectivityState
				b.publish()
			}
		})
	case connectivity.TransientFailure:
		c.state, c.err = connectivity.TransientFailure, s.ConnectionError
		if c.grace > 0 {
			c.state, c.grace = connectivity.Connecting, c.grace-1
		}
	case connectivity.Shutdown:
		return
	}
	b.publish()
}

// publish makes the next picks follow the state.
func (b *balance) publish() {
	p := &picker{}
	connecting := false
	for _, c := range b.conns {
		p.all = append(p.all, standing{c, c.state, c.err})
		switch {
		case c.state == connectivity.Connecting:
			connecting = true
		case c.state != connectivity.Ready:
		case c.health == connectivity.Ready:
			p.mints = append(p.mints, c)
		case c.health == connectivity.Connecting:
			p.wait = len(b.conns) > 1 // with one there is no choice to wait for
		}
	}
	if b.home == nil || b.home.state != connectivity.Ready {
		b.home = nil
		if i := slices.IndexFunc(b.conns, func(c *backend) bool { return c.state == connectivity.Ready }); i >= 0 {
			b.home = b.conns[i]
		}
	}
	state := balancer.State{Picker: p, ConnectivityState: connectivity.Ready}
	switch {
	case b.home != nil:
		p.home, p.wait = b.home, p.wait || connecting
	case connecting:
		state.ConnectivityState = connectivity.Connecting
	default:
		state.ConnectivityState, p.err = connectivity.TransientFailure, b.failure()
	}
	b.cc.UpdateState(state)
}

// failure is why no address is connected, in words that each differ.
func (b *balance) failure() error {
	var texts []string
	for _, c := range b.conns {
		if c.err == nil {
			continue
		}
		if text := unwrapped(c.err.Error()); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return status.Error(codes.Unavailable, strings.Join(texts, "; "))
}

// ResolverError does not happen: the addresses are those of the configuration.
func (b *balance) ResolverError(error) {}

// UpdateSubConnState is not called: each connection has its listener.
func (b *balance) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle has nothing to do: connections are always sought.
func (b *balance) ExitIdle() {}

// Close has nothing to close: grpc closes the connections.
func (b *balance) Close() {}

// standing is an address as it was when a picker was made.
type standing struct {
	*backend
	state connectivity.State
	err   error
}

// picker is the state as picks see it. It is used concurrently.
type picker struct {
	all   []standing
	mints []*backend // who can mint
	turn  atomic.Uint64
	home  *backend // who gets everything else; nil: nobody is connected
	wait  bool     // somebody may yet turn out to be able to mint
	err   error    // why nobody is connected; nil while that may change
}

// errNowhere ends a call that has failed at every address that could do it; the call's own failure is told instead.
var errNowhere = status.Error(codes.Unavailable, "no other address can do it")

// Pick chooses a connection for one call, or makes it wait for the next picker.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	r := routeOf(info.Ctx)
	mint := info.FullMethodName == signetv1.TokenService_MintToken_FullMethodName
	switch {
	case r != nil && r.only != "":
		return p.pickOnly(r.only)
	case r != nil && len(r.avoid) > 0:
		return p.pickOther(r, mint)
	case p.err != nil:
		return balancer.PickResult{}, p.err
	case mint && len(p.mints) > 0:
		return taken(r, p.next(r), len(p.mints) > 1)
	case p.home == nil, mint && p.wait:
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	case mint:
		return taken(r, p.home, false)
	default:
		ready := p.ready(nil)
		c := rather(p.home, ready)
		return taken(r, c, len(ready) > 1)
	}
}

// ready are the addresses that are connected and to which a call may go.
func (p *picker) ready(r *route) []*backend {
	var all []*backend
	for _, c := range p.all {
		if c.state == connectivity.Ready && !r.barred(c.address) {
			all = append(all, c.backend)
		}
	}
	return all
}

// rather is the first choice, unless it did not answer lately and another one did.
func rather(first *backend, others []*backend) *backend {
	if first.suspected() {
		for _, c := range others {
			if !c.suspected() {
				return c
			}
		}
	}
	return first
}

// taken is the pick of an address. more says whether there is another one that could do it.
func taken(r *route, c *backend, more bool) (balancer.PickResult, error) {
	r.went(c, more)
	return balancer.PickResult{SubConn: c.conn}, nil
}

// next is who mints next, of those to which the call may go, and of these rather one that answers; nil when there is none.
func (p *picker) next(r *route) *backend {
	var slow *backend
	n := uint64(len(p.mints))
	for i, turn := uint64(0), p.turn.Add(1)-1; i < n; i++ {
		c := p.mints[(turn+i)%n]
		switch {
		case r.barred(c.address):
		case !c.suspected():
			return c
		case slow == nil:
			slow = c
		}
	}
	return slow
}

// pickOther is for a call that has failed elsewhere. What did not mint for one reason does not try for another: only those that can
// mint get such a mint.
func (p *picker) pickOther(r *route, mint bool) (balancer.PickResult, error) {
	able := p.ready(r)
	if mint {
		able = slices.DeleteFunc(able, func(c *backend) bool { return !slices.Contains(p.mints, c) })
	}
	switch {
	case mint && len(able) > 0:
		return taken(r, p.next(r), len(able) > 1)
	case len(able) > 0:
		return taken(r, rather(able[0], able), len(able) > 1)
	case slices.ContainsFunc(p.all, func(c standing) bool { return c.state == connectivity.Connecting && !r.barred(c.address) }):
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	default:
		r.stranded()
		return balancer.PickResult{}, errNowhere
	}
}

// pickOnly is for a call to one address.
func (p *picker) pickOnly(address string) (balancer.PickResult, error) {
	for _, c := range p.all {
		switch {
		case c.address != address:
		case c.state == connectivity.Ready:
			return balancer.PickResult{SubConn: c.conn}, nil
		case c.state == connectivity.TransientFailure:
			return balancer.PickResult{}, status.Error(codes.Unavailable, unwrapped(c.err.Error()))
		}
	}
	return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
}
