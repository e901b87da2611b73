package server_test

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
)

// TestConnections: the server takes as many connections as the config says; the next waits for one to end. What is full is not dead.
func TestConnections(t *testing.T) {
	s := servertest.New(t, servertest.Options{Configure: func(c *server.Config) { c.Limits.Connections = 2 }})
	health := func(ctx context.Context) error {
		_, err := grpc_health_v1.NewHealthClient(s.Dial(nil)).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		return err
	}
	if err := health(t.Context()); err != nil { // the first connection, which stays
		t.Fatal(err)
	}
	second, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	third := make(chan error, 1)
	go func() { third <- health(t.Context()) }()
	select {
	case err := <-third:
		t.Fatalf("a third connection got an answer: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := s.Alive(t.Context()); err != nil {
		t.Errorf("a full server: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-third; err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}

func TestAlive(t *testing.T) {
	s := servertest.New(t)
	if err := s.Alive(t.Context()); err != nil {
		t.Errorf("a server that serves: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if s.Alive(gone) == nil {
		t.Error("it answered nobody who waits")
	}
	s.Stop()
	ended, err := server.New(t.Context(), s.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := ended.Alive(t.Context()); err != nil {
		t.Errorf("a server that nobody reaches from outside: %v", err)
	}
	if err := ended.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if ended.Alive(ctx) == nil {
		t.Error("a server that has ended is alive")
	}
}
