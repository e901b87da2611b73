package client

import (
	"cmp"
	"context"
	"fmt"
	"net"
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
	close func() error
}

// serviceConfig says how calls are made: to whom (balance.go, by what the servers say of themselves), with a deadline unless the
// caller's is shorter, and which are tried again. Those that only read are, when the server is unavailable. What changes something is
// not, and MintToken is of these: UNAVAILABLE may come from a server that has minted, recorded and counted the token and then lost the
// connection, and a second attempt would be a second token. A watch goes on until it is ended. grpc itself sends a call again only where the server provably did not see
// it: when it could not be written to a connection, or the server refused the stream or was going away before it. Who wants a token in
// spite of a server that comes and goes uses a TokenSource.
const serviceConfig = `{
"loadBalancingConfig": [{"` + balancing + `": {}}],
"healthCheckConfig": {"serviceName": "signet.v1.TokenService"},
"methodConfig": [
 {"name": [{}], "timeout": "30s"},
 {"name": [
   {"service": "signet.v1.TokenService", "method": "ListProfiles"},
   {"service": "signet.v1.KeyService", "method": "GetRecipient"},
   {"service": "signet.v1.KeyService", "method": "ListKeys"},
   {"service": "signet.v1.KeyService", "method": "GetKey"},
   {"service": "signet.v1.KeyService", "method": "GetPublicKey"},
   {"service": "signet.v1.PolicyService", "method": "GetPolicy"},
   {"service": "signet.v1.PolicyService", "method": "ListRevisions"},
   {"service": "signet.v1.AuditService"},
   {"service": "signet.v1.SystemService", "method": "GetStatus"}],
  "timeout": "30s",
  "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}},
 {"name": [{"service": "signet.v1.AuditService", "method": "WatchEntries"}]}
]}`

// alive finds out that a server is gone without a word within a minute of quiet; servers allow a ping every ten seconds.
var alive = keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}

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
	conn, err := connection(cfg, credentials.NewTLS(tc))
	if err != nil {
		return nil, err
	}
	c, err := New(conn, cfg.Logs...)
	if err != nil {
		return nil, err
	}
	c.close = conn.Close
	return c, nil
}

// connection is to all addresses of cfg at once. Each is verified by its own host unless cfg names another.
func connection(cfg Config, security credentials.TransportCredentials) (*grpc.ClientConn, error) {
	var state resolver.State
	for _, a := range cfg.Addresses {
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

// New makes a client over a connection that the caller made and closes; for tests and for callers with a transport of their own.
func New(conn grpc.ClientConnInterface, logs ...LogKey) (*Client, error) {
	lk, err := parseLogs(logs)
	if err != nil {
		return nil, err
	}
	cc := mapped{conn}
	return &Client{
		tokens:   signetv1.NewTokenServiceClient(cc),
		keys:     signetv1.NewKeyServiceClient(cc),
		policies: signetv1.NewPolicyServiceClient(cc),
		audit:    signetv1.NewAuditServiceClient(cc),
		system:   signetv1.NewSystemServiceClient(cc),
		logs:     lk,
		close:    func() error { return nil },
	}, nil
}

// Close closes the connection that Dial made. Calls under way fail.
func (c *Client) Close() error { return c.close() }

// mapped turns the errors of every call into *Error.
type mapped struct{ grpc.ClientConnInterface }

func (m mapped) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return fromGRPC(m.ClientConnInterface.Invoke(ctx, method, args, reply, opts...))
}
