package client

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// node is a server that says its name, and whether it can mint. What it cannot mint it refuses with a reason.
type node struct {
	signetv1.UnimplementedTokenServiceServer
	signetv1.UnimplementedKeyServiceServer
	t      *testing.T
	name   string
	addr   string
	server *grpc.Server
	health *health.Server
	// does, when it is not nil, is what it does with a mint or a change after it has accepted it; nil lets it answer.
	does func(context.Context, *node) error
	// reads, when it is not nil, is what it says to who asks for a key.
	reads    atomic.Pointer[error]
	accepted atomic.Int64 // mints and changes
	reuse    string       // of every profile; empty: it knows none
}

func startNode(t *testing.T, name string, able bool) *node {
	t.Helper()
	n := &node{t: t, name: name, addr: "127.0.0.1:0", health: health.NewServer()}
	n.able(able)
	n.start()
	t.Cleanup(func() { n.server.Stop() })
	return n
}

func (n *node) start() {
	n.t.Helper()
	l, err := net.Listen("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	n.addr = l.Addr().String()
	n.server = grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true})) // as Signet's
	signetv1.RegisterTokenServiceServer(n.server, n)
	signetv1.RegisterKeyServiceServer(n.server, n)
	grpc_health_v1.RegisterHealthServer(n.server, n.health)
	go n.server.Serve(l)
}

func (n *node) able(able bool) {
	status := grpc_health_v1.HealthCheckResponse_SERVING
	if !able {
		status = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	n.health.SetServingStatus("signet.v1.TokenService", status)
}

// accept counts a mint or a change, and does with it what is to be done.
func (n *node) accept(ctx context.Context) error {
	n.accepted.Add(1)
	if n.does == nil {
		return nil
	}
	return n.does(ctx, n)
}

func (n *node) MintToken(ctx context.Context, _ *signetv1.MintTokenRequest) (*signetv1.MintTokenResponse, error) {
	if err := n.accept(ctx); err != nil {
		return nil, err
	}
	resp, err := n.health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "signet.v1.TokenService"})
	if err != nil {
		return nil, err
	}
	if resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return nil, refusal(n.t, codes.Unavailable, "GAP")
	}
	return &signetv1.MintTokenResponse{KeyId: n.name, Credential: &signetv1.MintTokenResponse_BearerToken{BearerToken: &signetv1.BearerToken{Token: "ey"}}}, nil
}

func (n *node) DisableKey(ctx context.Context, _ *signetv1.DisableKeyRequest) (*signetv1.Key, error) {
	return &signetv1.Key{Name: n.name}, n.accept(ctx)
}

// ListProfiles has two pages, and what is asked for on the second.
func (n *node) ListProfiles(_ context.Context, r *signetv1.ListProfilesRequest) (*signetv1.ListProfilesResponse, error) {
	switch {
	case n.reuse == "":
		return &signetv1.ListProfilesResponse{}, nil
	case r.GetPageToken() == "":
		return &signetv1.ListProfilesResponse{Profiles: []*signetv1.Profile{{Name: "o", Reuse: "shared"}}, NextPageToken: "2"}, nil
	}
	return &signetv1.ListProfilesResponse{Profiles: []*signetv1.Profile{{Name: "p", Reuse: n.reuse}}}, nil
}

func (n *node) GetKey(context.Context, *signetv1.GetKeyRequest) (*signetv1.Key, error) {
	if err := n.reads.Load(); err != nil {
		return nil, *err
	}
	return &signetv1.Key{Name: n.name}, nil
}

// nodes is a client of some addresses.
func nodes(t *testing.T, addresses ...string) *Client {
	t.Helper()
	c, err := dial(Config{Addresses: addresses}, insecure.NewCredentials())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// who mints and who answers the rest, each in n calls, by the letters of their names.
func who(t *testing.T, c *Client, n int) (mints, rest string) {
	t.Helper()
	var m, r strings.Builder
	for range n {
		tok, err := c.Mint(t.Context(), "p", MintOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m.WriteString(tok.KeyID)
		key, err := c.GetKey(t.Context(), &signetv1.GetKeyRequest{})
		if err != nil {
			t.Fatal(err)
		}
		r.WriteString(key.GetName())
	}
	return m.String(), r.String()
}

// settle waits until only these nodes mint.
func settle(t *testing.T, c *Client, names string) {
	t.Helper()
	var got string
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		got = ""
		seen := map[string]bool{}
		for range 4 {
			tok, err := c.Mint(t.Context(), "p", MintOptions{})
			if err != nil {
				break
			}
			seen[tok.KeyID] = true
		}
		for _, name := range []string{"a", "b"} {
			if seen[name] {
				got += name
			}
		}
		if got == names {
			return
		}
	}
	t.Fatalf("%q mint, want %q", got, names)
}

func TestInTurn(t *testing.T) {
	a, b := startNode(t, "a", true), startNode(t, "b", true)
	c := nodes(t, a.addr, b.addr)
	settle(t, c, "ab")
	mints, rest := who(t, c, 10)
	if strings.Contains(mints, "aa") || strings.Contains(mints, "bb") || strings.Trim(rest, "a") != "" && strings.Trim(rest, "b") != "" {
		t.Errorf("minted by %s, the rest answered by %s", mints, rest)
	}
	a.able(false)
	settle(t, c, "b")
	a.able(true)
	settle(t, c, "ab")

	// Where nobody can mint, somebody says why, and all else goes on.
	a.able(false)
	b.able(false)
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		_, err := c.Mint(t.Context(), "p", MintOptions{})
		if e, ok := errors.AsType[*Error](err); ok && e.Reason() == "GAP" {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("error is %v", err)
		}
	}
	if _, err := c.GetKey(t.Context(), &signetv1.GetKeyRequest{}); err != nil {
		t.Error(err)
	}
}

// TestFirstMint goes to who can mint, however young the connections are.
func TestFirstMint(t *testing.T) {
	a, b := startNode(t, "a", false), startNode(t, "b", true)
	for range 20 {
		tok, err := nodes(t, a.addr, b.addr).Mint(t.Context(), "p", MintOptions{})
		if err != nil || tok.KeyID != "b" {
			t.Fatalf("%v, %v", tok, err)
		}
	}
	if _, err := nodes(t, a.addr).Mint(t.Context(), "p", MintOptions{}); !errors.Is(err, ErrUnavailable) || err.Error() != "public text" {
		t.Errorf("the only one: %v", err)
	}
}

func TestNodesComeAndGo(t *testing.T) {
	a, b := startNode(t, "a", true), startNode(t, "b", true)
	c := nodes(t, a.addr, b.addr)
	settle(t, c, "ab")
	a.server.GracefulStop()
	if _, rest := who(t, c, 5); strings.Trim(rest, "b") != "" {
		t.Errorf("the rest is answered by %s", rest)
	}
	settle(t, c, "b")
	a.start()
	settle(t, c, "ab")
	if _, rest := who(t, c, 5); strings.Trim(rest, "b") != "" {
		t.Errorf("the rest changed its server without need: %s", rest)
	}
	b.server.Stop()
	settle(t, c, "a")
	if _, rest := who(t, c, 5); strings.Trim(rest, "a") != "" {
		t.Errorf("the rest is answered by %s", rest)
	}
}

func TestNobodyThere(t *testing.T) {
	var addrs []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, l.Addr().String())
		_ = l.Close()
	}
	began := time.Now()
	_, err := nodes(t, addrs...).Mint(t.Context(), "p", MintOptions{})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), addrs[0]) || !strings.Contains(err.Error(), addrs[1]) || strings.Contains(err.Error(), "desc") {
		t.Errorf("error is %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	a := startNode(t, "a", true)
	if tok, err := nodes(t, addrs[0], a.addr).Mint(t.Context(), "p", MintOptions{}); err != nil || tok.KeyID != "a" {
		t.Errorf("%v, %v", tok, err)
	}
}

// TestRestartIsWaitedFor: calls to a server that was there a moment ago wait for it a little.
func TestRestartIsWaitedFor(t *testing.T) {
	a := startNode(t, "a", true)
	c := nodes(t, a.addr)
	_, _ = who(t, c, 1)
	for range 3 {
		a.server.Stop()
		back := make(chan struct{})
		go func() {
			defer close(back)
			time.Sleep(150 * time.Millisecond)
			a.start()
		}()
		time.Sleep(50 * time.Millisecond) // the connection's end is known
		_, _ = who(t, c, 1)
		<-back
	}
	a.server.Stop()
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	if _, err := c.Mint(t.Context(), "p", MintOptions{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error is %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}
