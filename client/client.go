package client

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// The services' generated clients, embedded under names that outsiders cannot assign to.
type (
	tokens   = signetv1.TokenServiceClient
	keys     = signetv1.KeyServiceClient
	policies = signetv1.PolicyServiceClient
	audit    = signetv1.AuditServiceClient
	system   = signetv1.SystemServiceClient
)

// Client speaks to one vault. Every method of the API is a method of it, taking and giving the messages of proto/signet/v1 and
// failing with *Error; Mint and the methods that verify are made of those.
type Client struct {
	tokens
	keys
	policies
	audit
	system

	logs  logKeys
	cc    mapped
	close func() error
	// addresses are those of the configuration, each once; empty where the caller made the connection.
	addresses []string
}

// alive finds out within a quarter of a minute that a server hangs or is gone without a word, and ends its connection: calls under way
// fail, those that only read go elsewhere, and no other one goes there. grpc pings no more often than this, and servers allow it twice as
// often. The watch of a server's health, which lasts as long as its connection, keeps the pings going between calls.
var alive = keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}

// backOff is for connections that fail: a restart takes a second, and a vault is not reached by thousands at once.
var backOff = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 15 * time.Second},
	MinConnectTimeout: 10 * time.Second,
}

// maxMessage is the largest answer taken: a page of 5000 audit entries fits with room.
const maxMessage = 32 << 20

// Dial prepares a client from cfg; it reads the files that cfg names and connects with the first call. Close ends it.
func Dial(cfg Config) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("client config: %w", err)
	}
	tc, err := tlsConfig(cfg)
	if err != nil {
		return nil, err
	}
	return dial(cfg, credentials.NewTLS(tc))
}

func dial(cfg Config, security credentials.TransportCredentials) (*Client, error) {
	logs, err := parseLogs(cfg.Logs)
	if err != nil {
		return nil, err
	}
	conn, err := connection(cfg, security)
	if err != nil {
		return nil, err
	}
	addresses := distinct(cfg.Addresses)
	c := over(mapped{ClientConnInterface: conn, many: len(addresses) > 1}, logs)
	c.addresses, c.close = addresses, conn.Close
	return c, nil
}

// distinct are the addresses in their order, each once.
func distinct(addresses []string) []string {
	var all []string
	for _, a := range addresses {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

// connection is to all addresses of cfg at once. Each is verified by its own host unless cfg names another.
func connection(cfg Config, security credentials.TransportCredentials) (*grpc.ClientConn, error) {
	var state resolver.State
	for _, a := range distinct(cfg.Addresses) {
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			return nil, fmt.Errorf("client config: %w", err)
		}
		state.Addresses = append(state.Addresses, resolver.Address{Addr: a, ServerName: cmp.Or(cfg.ServerName, host)})
	}
	const scheme = "signet"
	r := manual.NewBuilderWithScheme(scheme)
	r.InitialState(state)
	conn, err := grpc.NewClient(scheme+":///vault",
		grpc.WithResolvers(r),
		grpc.WithTransportCredentials(security),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDisableServiceConfig(),
		grpc.WithKeepaliveParams(alive),
		grpc.WithConnectParams(backOff),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection: %w", err)
	}
	return conn, nil
}

// New makes a client over a connection that the caller made and closes; for tests and for callers with a transport of their own. No
// call of it goes to another address than the connection takes it to. Whether a call that failed was sent, it takes from what the
// connection makes of grpc.Peer.
func New(conn grpc.ClientConnInterface, logs ...LogKey) (*Client, error) {
	lk, err := parseLogs(logs)
	if err != nil {
		return nil, err
	}
	return over(mapped{ClientConnInterface: conn}, lk), nil
}

// over is a client that calls by cc, and has nothing to close.
func over(cc mapped, logs logKeys) *Client {
	return &Client{
		tokens:   signetv1.NewTokenServiceClient(cc),
		keys:     signetv1.NewKeyServiceClient(cc),
		policies: signetv1.NewPolicyServiceClient(cc),
		audit:    signetv1.NewAuditServiceClient(cc),
		system:   signetv1.NewSystemServiceClient(cc),
		logs:     logs,
		cc:       cc,
		close:    func() error { return nil },
	}
}

// Close closes the connection that Dial made. Calls under way fail.
func (c *Client) Close() error { return c.close() }
