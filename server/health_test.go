package server_test

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
)

const (
	serving    = grpc_health_v1.HealthCheckResponse_SERVING
	notServing = grpc_health_v1.HealthCheckResponse_NOT_SERVING
)

// TestHealth uses the ordinary client of grpc.health.v1, which knows nothing of us and has no certificate.
func TestHealth(t *testing.T) {
	logged := &log{}
	s := servertest.New(t, servertest.Options{Configure: func(c *server.Config) { c.Logger = slog.New(slog.NewTextHandler(logged, nil)) }})
	client := grpc_health_v1.NewHealthClient(s.Dial(nil))
	size := func() int64 {
		t.Helper()
		st, err := signetv1.NewSystemServiceClient(s.Operator()).GetStatus(t.Context(), &signetv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return st.GetLog().GetSize()
	}
	step := size()
	step = size() - step // what asking for the size itself adds

	before := size()
	for _, service := range []string{"", "signet.v1.TokenService"} {
		answer, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || answer.GetStatus() != serving {
			t.Errorf("%q: %v, %v", service, answer.GetStatus(), err)
		}
	}
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "signet.v1.Nothing"}); status.Code(err) != codes.NotFound {
		t.Errorf("a service that is not there: %v, want NotFound", err)
	}
	if _, err := client.Check(t.Context(), unknown(&grpc_health_v1.HealthCheckRequest{})); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an unknown field: %v, want InvalidArgument", err)
	}
	all, err := client.List(t.Context(), &grpc_health_v1.HealthListRequest{})
	if err != nil || len(all.GetStatuses()) != 2 {
		t.Errorf("list %v, %v", all, err)
	}
	watch, err := client.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "signet.v1.TokenService"})
	if err != nil {
		t.Fatal(err)
	}
	next := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		began := time.Now()
		answer, err := watch.Recv()
		if err != nil || answer.GetStatus() != want {
			t.Fatalf("watched %v, %v; want %v", answer.GetStatus(), err, want)
		}
		if late := time.Since(began); late > 3*time.Second { // a second, on a machine with time
			t.Errorf("%v came after %s", want, late)
		}
	}
	next(serving)
	if after := size(); after-before != step {
		t.Errorf("health checks made %d entries", after-before-step)
	}

	// A clock that went back an hour stops minting.
	s.Clock.Advance(-time.Hour)
	next(notServing)
	s.Clock.Advance(time.Hour)
	next(serving)
	for _, once := range []string{"minting has stopped", `msg="minting goes on" lasted=`} {
		n := 0
		for began := time.Now(); n == 0 && time.Since(began) < 5*time.Second; time.Sleep(time.Millisecond) {
			n = bytes.Count(logged.Bytes(), []byte(once))
		}
		if n != 1 {
			t.Errorf("%q was logged %d times, want once: %s", once, n, logged.Bytes())
		}
	}

	// Shutdown ends the stream and does not wait for its client.
	began := time.Now()
	s.Stop()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a watching client held up the shutdown for %s", took)
	}
	if answer, err := watch.Recv(); err != nil || answer.GetStatus() != notServing {
		t.Errorf("%v, %v while shutting down, want %v", answer.GetStatus(), err, notServing)
	}
	if answer, err := watch.Recv(); status.Code(err) != codes.Unavailable && status.Code(err) != codes.Canceled {
		t.Errorf("the stream ended with %v, %v", answer.GetStatus(), err)
	}
}
