// Package servertest runs the real server in-process, for tests.
package servertest

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
)

// Options change what New starts; the zero value is fine.
type Options struct {
	// Policy is a YAML document applied at the start; none when empty.
	Policy string
}

// Server is a running server.
type Server struct {
	// Clock is the server's clock.
	Clock *Clock
}

// Clock is a clock that moves when told.
type Clock struct{}

// Now answers the clock's time.
func (c *Clock) Now() time.Time { panic("being written") }

// Advance moves the clock.
func (c *Clock) Advance(d time.Duration) { panic("being written") }

// New starts a server with a new vault, and ends it with the test.
func New(t testing.TB, opts ...Options) *Server { panic("being written") }

// Conn is a connection as spiffe id, with a certificate of the vault's CA.
func (s *Server) Conn(id string) *grpc.ClientConn { panic("being written") }

// Operator is a connection as the vault's operator.
func (s *Server) Operator() *grpc.ClientConn { panic("being written") }

// ImportKey makes a key of the kind and imports it under the name, sealed, through the API. It answers the .p8.
func (s *Server) ImportKey(ctx context.Context, name, kind string) []byte { panic("being written") }

// ApplyPolicy applies a YAML document as the operator.
func (s *Server) ApplyPolicy(doc string) { panic("being written") }

// Restart shuts the server down and starts it again on the same store and log.
func (s *Server) Restart() { panic("being written") }

// LogDir is the directory of the audit log's segments; LogKey verifies its checkpoints; Addr is where it listens.
func (s *Server) LogDir() string { panic("being written") }

// LogKey is the verifier key of the log's checkpoints.
func (s *Server) LogKey() string { panic("being written") }

// Addr is where the server listens.
func (s *Server) Addr() string { panic("being written") }
