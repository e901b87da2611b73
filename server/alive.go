package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Alive says whether the server still does anything at all, or nil: it answers a call, handshake and guard included, and
// its core can be asked, both before ctx ends. A server that does not mint is alive. The call comes over a connection
// inside the process, which no flood of connections from outside keeps out: a full server is not to be taken for a
// dead one. What a dead core keeps waiting is not waited for.
func (s *Server) Alive(ctx context.Context) error {
	asked := make(chan struct{})
	go func() {
		_ = s.Ready()
		close(asked)
	}()
	if err := s.probe(ctx); err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	select {
	case <-asked:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the core does not answer: %w", context.Cause(ctx))
	}
}

// probe makes a connection and a call on it.
func (s *Server) probe(ctx context.Context) (err error) {
	conn, err := grpc.NewClient("passthrough:///inside",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.inside.DialContext(ctx) }),
		// What is inside this process need not prove who it is.
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true})), //nolint:gosec // G402: see above
	)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

// insideBuffer is what a connection inside the process holds, in bytes each way.
const insideBuffer = 16 << 10
