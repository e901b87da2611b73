// Package servertest runs the real server in-process, for tests of ours and of those who call us: real TLS 1.3 over
// loopback, real certificates of the vault's own CA, the real core and log, a store in memory and a clock that stands
// still until it is told to move. Who only wants tokens needs one line:
//
//	s, c := servertest.NewMinting(t)
//	token, err := c.Mint(t.Context(), servertest.Profile, client.MintOptions{})
//
// and who has a policy and callers of their own a few:
//
//	s := servertest.New(t, servertest.Options{Keys: map[string]string{"asc": "app-store-connect"}, Policy: doc})
//	c := s.Client("spiffe://signet.test/ci/1")
//
// For what reads a client.yaml, the signet command and client.Dial, WriteConfig and ClientConfig put one on disk.
//
// A failure of the harness itself ends the test. The methods of a Server are for the test's own goroutine, but the
// connections that it hands out, the Clock and Advance are for any.
package servertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/storetest"
)

// What every server of this package is called.
const (
	TrustDomain = "signet.test"
	OperatorID  = "spiffe://signet.test/operator"
	Node        = "node-1"
)

// Options change what New starts; the zero value is fine.
type Options struct {
	// Keys are made and imported at the start: kinds, such as "app-store-connect", by name. ImportKey gives a key to who
	// needs it.
	Keys map[string]string
	// Policy is a YAML document that is applied at the start, after the keys are there; none when empty.
	Policy string
	// Backend is an empty one; in memory when nil. It stays open over a Restart; closing it is the test's.
	Backend store.Backend
	// Configure may change what New has put together, at every start.
	Configure func(*server.Config)
}

// Server is a running server.
type Server struct {
	// Clock is the server's, and that of the connections to it. It begins at the wall clock's whole second.
	Clock *Clock

	t       testing.TB
	options Options
	config  server.Config
	made    *server.Initialized
	addr    string
	running *server.Server
	served  chan error
	conns   map[string]*grpc.ClientConn // by SPIFFE id
	closers []func() error
}

// New creates a vault, serves it, and ends it with the test.
func New(t testing.TB, options ...Options) *Server {
	t.Helper()
	s := &Server{t: t, Clock: newClock(), conns: map[string]*grpc.ClientConn{}, addr: "127.0.0.1:0"}
	if len(options) > 0 {
		s.options = options[0]
	}
	s.create()
	s.start()
	t.Cleanup(func() {
		for _, closer := range s.closers {
			s.check("closing a connection", closer())
		}
		s.Stop()
	})
	for _, name := range slices.Sorted(maps.Keys(s.options.Keys)) {
		s.ImportKey(name, s.options.Keys[name])
	}
	if s.options.Policy != "" {
		s.ApplyPolicy(s.options.Policy)
	}
	return s
}

// kept is a Backend that outlives a server.
type kept struct{ store.Backend }

func (kept) Close() error { return nil }

// create makes the vault and the files beside it.
func (s *Server) create() {
	s.t.Helper()
	backend := s.options.Backend
	if backend == nil {
		backend = storetest.Memory()
	}
	dir := s.t.TempDir()
	logDir := filepath.Join(dir, "audit")
	s.check("making the log's directory", os.Mkdir(logDir, 0o700))
	s.config = server.Config{
		Backend:     kept{backend},
		KEKs:        []envelope.KEK{newKEK()},
		LogDir:      logDir,
		Node:        Node,
		Operators:   []string{OperatorID},
		TrustDomain: TrustDomain,
		TLS: server.TLSConfig{
			CertFile:     filepath.Join(dir, "server.pem"),
			KeyFile:      filepath.Join(dir, "server.key"),
			ClientCAFile: filepath.Join(dir, "ca.pem"),
		},
		Limits:  server.Limits{ReloadInterval: 20 * time.Millisecond},
		Version: "servertest",
		Now:     s.Clock.Now,
	}
	made, err := server.Init(context.Background(), server.InitConfig{
		Backend: backend, KEKs: s.config.KEKs, LogDir: logDir, Node: Node, TrustDomain: TrustDomain, Now: s.Clock.Now,
		Operator: OperatorID, Hosts: []string{"localhost", "127.0.0.1"},
	})
	s.check("creating the vault", err)
	s.made = made
	s.check("writing the certificate", os.WriteFile(s.config.TLS.CertFile, made.ServerCertificate, 0o600))
	s.check("writing the key", os.WriteFile(s.config.TLS.KeyFile, made.ServerKey, 0o600))
	s.check("writing the CA", os.WriteFile(s.config.TLS.ClientCAFile, made.CA, 0o600))
}

// start serves the vault, at the same address as before.
func (s *Server) start() {
	s.t.Helper()
	config := s.config
	if s.options.Configure != nil {
		s.options.Configure(&config)
	}
	running, err := server.New(context.Background(), config)
	s.check("starting the server", err)
	listener, err := net.Listen("tcp", s.addr)
	s.check("listening", err)
	s.addr, s.running, s.served = listener.Addr().String(), running, make(chan error, 1)
	served := s.served
	go func() { served <- running.Serve(listener) }()
}

// Stop shuts the server down. A second Stop does nothing.
func (s *Server) Stop() {
	s.t.Helper()
	if s.running == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	running := s.running
	s.running = nil
	s.check("shutting down", running.Shutdown(ctx))
	s.check("serving", <-s.served)
}

// Restart shuts the server down and starts it again on the same store and log, at the same address. Connections find it again.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.start()
}

// Ready is the running server's.
func (s *Server) Ready() error { return s.running.Ready() }

// Monitor is what the running server shows to those who watch it.
func (s *Server) Monitor() http.Handler { return s.running.Monitor() }

// Alive is the running server's.
func (s *Server) Alive(ctx context.Context) error { return s.running.Alive(ctx) }

// Config is what the server runs with.
func (s *Server) Config() server.Config { return s.config }

// LogDir is the directory of the audit log's segments.
func (s *Server) LogDir() string { return s.config.LogDir }

// LogKey is the verifier key of the log's checkpoints.
func (s *Server) LogKey() string { return s.made.LogKey }

// LogOrigin is the origin of the first log.
func (s *Server) LogOrigin() string { return s.made.LogOrigin }

// VaultID is the vault's id.
func (s *Server) VaultID() string { return s.made.VaultID }

// CA is the PEM of the vault's CA.
func (s *Server) CA() []byte { return s.made.CA }

// Addr is where the server listens.
func (s *Server) Addr() string { return s.addr }

// Operator is a connection as the vault's operator.
func (s *Server) Operator() *grpc.ClientConn {
	s.t.Helper()
	if conn, ok := s.conns[OperatorID]; ok {
		return conn
	}
	certificate := s.operator()
	s.conns[OperatorID] = s.Dial(&certificate)
	return s.conns[OperatorID]
}

// Conn is a connection as spiffe id, with a certificate that the vault's CA issues on first use.
func (s *Server) Conn(id string) *grpc.ClientConn {
	s.t.Helper()
	if id == OperatorID {
		return s.Operator()
	}
	if conn, ok := s.conns[id]; ok {
		return conn
	}
	certificate := s.Certificate(id)
	s.conns[id] = s.Dial(&certificate)
	return s.conns[id]
}

// Client is a client over Conn that has the log's key.
func (s *Server) Client(id string) *client.Client {
	s.t.Helper()
	c, err := client.New(s.Conn(id), client.LogKey{Origin: s.LogOrigin(), Key: s.LogKey()})
	s.check("making a client", err)
	return c
}

// Certificate has the vault's CA issue one for a spiffe id.
func (s *Server) Certificate(id string) tls.Certificate {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.check("making a key", err)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "ignored"}}, key)
	s.check("making a certificate request", err)
	issued, err := signetv1.NewSystemServiceClient(s.Operator()).IssueCertificate(context.Background(), &signetv1.IssueCertificateRequest{Csr: csr, Uri: id})
	s.check("issuing a certificate", err)
	return tls.Certificate{Certificate: [][]byte{issued.GetCertificate()}, PrivateKey: key}
}

// Dial is a new connection that presents a certificate, whatever it is worth; none when it is nil. It is closed with the test.
func (s *Server) Dial(certificate *tls.Certificate, options ...grpc.DialOption) *grpc.ClientConn {
	s.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.made.CA)
	present := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if certificate == nil {
			return &tls.Certificate{}, nil
		}
		return certificate, nil
	}
	security := credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, GetClientCertificate: present, Time: s.Clock.Now,
	})
	conn, err := grpc.NewClient(s.addr, append(options, grpc.WithTransportCredentials(security))...)
	s.check("dialling", err)
	s.closers = append(s.closers, conn.Close)
	return conn
}

// ApplyPolicy applies a YAML document as the operator.
func (s *Server) ApplyPolicy(document string) {
	s.t.Helper()
	_, err := signetv1.NewPolicyServiceClient(s.Operator()).ApplyPolicy(context.Background(), &signetv1.ApplyPolicyRequest{Document: []byte(document)})
	s.check("applying the policy", err)
}

func (s *Server) check(doing string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("servertest: %s: %v", doing, err)
	}
}
