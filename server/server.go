// Package server is Signet's gRPC surface: the listener, who may reach which method, what an error looks like from
// outside, and handlers that translate between the wire and the core.
//
// Trust: everything that a connection brings is hostile. The guard (guard.go) finds out who is calling before it reads
// a request, holds the method table and refuses what is not of the protocol; package authn judges certificates; the
// core (server/internal/authority) decides and records. A handler only translates: it has no way to a key, an entry or
// a decision but the core's methods, whose second argument is the principal.
//
// Concurrency: a Server's methods may be called concurrently, Shutdown once or often.
//
// Crash: a Server keeps nothing of its own. What lasts is the store's and the log's, and New puts right what a crash
// has left there.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"buf.build/go/protovalidate"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/authn"
	"github.com/p8signet/signet/server/internal/authority"
	"github.com/p8signet/signet/store"
)

// Server serves one vault.
type Server struct {
	limits    Limits
	logger    *slog.Logger
	auth      *authn.Authenticator
	core      *authority.Authority
	grpc      *grpc.Server
	health    *health.Server
	validator protovalidate.Validator
	backend   store.Backend
	now       func() time.Time
	metrics   *metrics
	tracing   *tracing          // nil: nothing is traced
	inside    *bufconn.Listener // for Alive
	stopped   atomic.Bool       // minting has, as of the last look, and the log says so
	serving   atomic.Bool       // Serve has begun

	background context.Context // ends when Shutdown begins
	stop       context.CancelFunc
	running    sync.WaitGroup // what runs in the background

	shutdown    sync.Once
	shutdownErr error
}

// New opens the vault that cfg names and makes it ready to serve. It opens nothing unless all of cfg is good. A gap in
// the record is not an error: the server serves, and mints nothing until an operator has acknowledged it.
func New(ctx context.Context, cfg Config) (*Server, error) {
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, cfg.closeBackend())
	}
	return s, nil
}

func open(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.validateVault(); err != nil {
		return nil, fmt.Errorf("server config: %w", err)
	}
	auth, err := newAuthenticator(cfg)
	if err != nil {
		return nil, err
	}
	s := &Server{
		limits:  cfg.Limits.withDefaults(),
		logger:  cfg.logger(),
		auth:    auth,
		health:  health.NewServer(),
		backend: cfg.Backend,
		now:     cfg.Now,
		metrics: newMetrics(cfg.Version),
		tracing: newTracing(cfg.Traces),
		inside:  bufconn.Listen(insideBuffer),
	}
	as := authority.Config{Bound: cmp.Or(cfg.Lease, DefaultLease), Watcher: authority.Watcher{Batch: s.metrics.batch, Stage: s.tracing.watch()}}
	if s.core, err = openCore(ctx, cfg, as); err != nil {
		return nil, err
	}
	s.metrics.known = s.core.Tokens.HasProfile
	s.metrics.registry.MustRegister(&vitals{
		of: s.core.System.Vitals, lastUse: s.metrics.lastUse, expiry: auth.Expiry, now: cfg.Now, started: cfg.Now(), keys: keySeries,
	})
	s.grpc = grpc.NewServer(s.options()...) // which starts workers, so that from here on it must be stopped
	s.register(&signetv1.TokenService_ServiceDesc, &tokenService{core: s.core.Tokens})
	s.register(&signetv1.KeyService_ServiceDesc, &keyService{core: s.core.Keys})
	s.register(&signetv1.PolicyService_ServiceDesc, &policyService{core: s.core.Policies})
	s.register(&signetv1.AuditService_ServiceDesc, &auditService{core: s.core.Log})
	s.register(&signetv1.SystemService_ServiceDesc, &systemService{core: s.core.System, version: cfg.Version})
	s.register(&grpc_health_v1.Health_ServiceDesc, s.health)
	if s.validator, err = newValidator(s.grpc.GetServiceInfo()); err != nil {
		s.grpc.Stop()
		return nil, errors.Join(err, s.core.Close())
	}

	s.background, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	told := &authority.Told{Logger: s.logger, Now: s.now, Level: slog.LevelError, Begins: "serving, but not minting", Ends: "minting goes on"}
	why := s.updateHealth()
	told.Look(ctx, why)
	told.Begins = "minting has stopped"
	s.running.Go(func() { s.watchHealth(told, why) })
	s.running.Go(s.recallUses)
	s.running.Go(func() { s.auth.Watch(s.background, s.limits.ReloadInterval) })
	s.running.Go(func() { _ = s.grpc.Serve(s.inside) }) // it ends with Shutdown, and Alive tells when it did before
	return s, nil
}

// minPing is how often a client may ping.
const minPing = 5 * time.Second

// options are what gRPC itself holds callers to.
func (s *Server) options() []grpc.ServerOption {
	return append(s.tracing.options(),
		grpc.Creds(s.auth.Credentials()),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(s.limits.RequestSize),
		grpc.MaxConcurrentStreams(s.limits.Streams),
		grpc.ConnectionTimeout(10*time.Second), // of the handshake
		grpc.MaxHeaderListSize(16<<10),
		// Clients ping every ten seconds by their own clocks, which is as often as grpc lets them.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			// gRPC adds up to a tenth at random, and calls under way may end: both within the limit.
			MaxConnectionAge:      s.limits.ConnectionAge * 10 / 12,
			MaxConnectionAgeGrace: min(waitDeadline, s.limits.ConnectionAge/12),
			Time:                  2 * time.Minute,
			Timeout:               20 * time.Second,
		}),
		// Requests and answers are small: gRPC's own 32 KiB each way and connection would be most of what a server of
		// many callers holds.
		grpc.ReadBufferSize(4<<10),
		grpc.WriteBufferSize(8<<10),
		// Goroutines that are kept do not grow their stacks anew for every signature: 4 % of a mint. A stream that lasts, such
		// as the health watch that a client holds, keeps one; when none is left, calls get goroutines of their own, and no
		// call waits.
		grpc.NumStreamWorkers(64),
		// Shutdown closes log and store after the last handler, cut off or not.
		grpc.WaitForHandlers(true),
	)
}

func newAuthenticator(cfg Config) (*authn.Authenticator, error) {
	return authn.New(authn.Config{
		CertFile:     cfg.TLS.CertFile,
		KeyFile:      cfg.TLS.KeyFile,
		ClientCAFile: cfg.TLS.ClientCAFile,
		TrustDomain:  cfg.TrustDomain,
		Now:          cfg.Now,
		Logger:       cfg.logger(),
	})
}

func openStore(ctx context.Context, cfg Config) (*store.Store, error) {
	return store.Open(ctx, store.Config{Backend: cfg.Backend, KEKs: cfg.KEKs, Node: cfg.Node, Vault: cfg.VaultID, Now: cfg.Now, Logger: cfg.logger()})
}

// openCore opens store and log; the core closes both, but not the backend. as is what cfg does not say: Bound (0 is for who serves
// nobody, and so is no replica), Enroll and Watcher.
func openCore(ctx context.Context, cfg Config, as authority.Config) (*authority.Authority, error) {
	st, err := openStore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := cfg.makeLogDir(); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	as.Store, as.LogFS, as.Node, as.Operators, as.TrustDomain = st, cfg.logFS(), cfg.Node, cfg.Operators, cfg.TrustDomain
	as.MinFree, as.Now, as.Logger = cfg.MinFree, cfg.Now, cfg.logger()
	for _, k := range cfg.KEKs {
		as.KEKs = append(as.KEKs, k.URI())
	}
	return authority.Open(ctx, as)
}

// ErrNamesake says that another process has taken over this node's name.
var ErrNamesake = authority.ErrNamesake

// Serve answers calls on l until Shutdown, which makes it return nil. It closes l. Connections beyond the limit wait
// until one before them ends. When another replica has taken over this node's name it returns ErrNamesake, and Shutdown is due.
func (s *Server) Serve(l net.Listener) error {
	s.serving.Store(true)
	lost := make(chan error, 1)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case err := <-s.core.Lost():
			lost <- err
			s.grpc.Stop()
		case <-ended:
		}
	}()
	err := s.grpc.Serve(netutil.LimitListener(l, s.limits.Connections))
	if errors.Is(err, grpc.ErrServerStopped) {
		err = nil // Shutdown came first
	}
	select {
	case why := <-lost:
		return why
	default:
		return err
	}
}

// Ready says why the server cannot mint now, or nil.
func (s *Server) Ready() error { return s.core.System.Ready() }

// Shutdown stops accepting calls, waits for those under way until ctx ends, then cuts them off, and closes the log and
// the store when the last one has returned. The error says whether calls were cut off, and what did not close.
func (s *Server) Shutdown(ctx context.Context) error {
	s.shutdown.Do(func() {
		s.health.Shutdown()
		s.stop()
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			s.grpc.GracefulStop()
		}()
		var cut error
		select {
		case <-drained:
		case <-ctx.Done():
			cut = fmt.Errorf("calls under way were cut off: %w", context.Cause(ctx))
			s.grpc.Stop()
			<-drained
		}
		s.running.Wait()
		s.shutdownErr = errors.Join(cut, s.core.Close(), s.backend.Close())
	})
	return s.shutdownErr
}
