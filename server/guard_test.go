package server

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/authn"
)

// lockedBuffer is a log that a test and a server may use at once.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// guarded serves one service behind the guard alone: no TLS, no core.
func guarded(t *testing.T, desc *grpc.ServiceDesc, impl any) (*grpc.ClientConn, *lockedBuffer) {
	t.Helper()
	return guardedUntil(t.Context(), t, desc, impl)
}

// guardedUntil is guarded, with a Shutdown that begins when background ends.
func guardedUntil(background context.Context, t *testing.T, desc *grpc.ServiceDesc, impl any) (*grpc.ClientConn, *lockedBuffer) {
	t.Helper()
	log := &lockedBuffer{}
	s := &Server{
		limits: defaultLimits, logger: slog.New(slog.NewTextHandler(log, nil)), auth: &authn.Authenticator{},
		grpc: grpc.NewServer(grpc.ForceServerCodecV2(newCodec())), background: background,
		now: time.Now, metrics: newMetrics("test"),
	}
	s.register(desc, impl)
	var err error
	if s.validator, err = newValidator(map[string]grpc.ServiceInfo{"signet.v1.TokenService": {}, "grpc.health.v1.Health": {}}); err != nil {
		t.Fatal(err)
	}
	listener := bufconn.Listen(1 << 16)
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///guarded", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		s.grpc.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return conn, log
}

// tokens answers or panics as a test wants.
type tokens struct {
	signetv1.UnimplementedTokenServiceServer
	calls int
}

func (s *tokens) MintToken(context.Context, *signetv1.MintTokenRequest) (*signetv1.MintTokenResponse, error) {
	s.calls++
	return &signetv1.MintTokenResponse{}, nil
}

func TestUnlistedMethod(t *testing.T) {
	desc := signetv1.TokenService_ServiceDesc
	desc.ServiceName = "signet.v1.NewService"
	impl := &tokens{}
	conn, log := guarded(t, &desc, impl)

	var header, trailer metadata.MD
	err := conn.Invoke(t.Context(), "/signet.v1.NewService/MintToken", &signetv1.MintTokenRequest{Profile: "p"}, &signetv1.MintTokenResponse{}, grpc.Header(&header), grpc.Trailer(&trailer))
	st := status.Convert(err)
	if st.Code() != codes.Internal || reasonOf(t, st) != "INTERNAL" {
		t.Errorf("an unlisted method answered %v", st)
	}
	if impl.calls != 0 {
		t.Error("an unlisted method was reached")
	}
	if !strings.Contains(log.String(), "method /signet.v1.NewService/MintToken has no row") {
		t.Errorf("the log does not say why: %s", log)
	}
	id := header.Get(requestIDHeader)
	if len(id) != 1 || len(id[0]) != 36 || !strings.Contains(st.Message(), id[0]) || !strings.Contains(log.String(), id[0]) {
		t.Errorf("request id %q is not in the text %q and in the log %s", id, st.Message(), log)
	}
	if got := trailer.Get(requestIDHeader); !slices.Equal(got, id) {
		t.Errorf("request id %q in the trailer, %q in the header", got, id)
	}
}

func TestWithoutTLSNobodyIsAuthenticated(t *testing.T) {
	// The core that would count the failure is not here, so the panic shows that it was asked.
	impl := &tokens{}
	conn, _ := guarded(t, &signetv1.TokenService_ServiceDesc, impl)
	_, err := signetv1.NewTokenServiceClient(conn).MintToken(t.Context(), &signetv1.MintTokenRequest{Profile: "p"})
	if err == nil || impl.calls != 0 {
		t.Errorf("a call without TLS: %v, reached %d times", err, impl.calls)
	}
}

// health misbehaves.
type misbehaving struct {
	grpc_health_v1.UnimplementedHealthServer
	check func(context.Context) error
}

func (h *misbehaving) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return &grpc_health_v1.HealthCheckResponse{}, h.check(ctx)
}

func (h *misbehaving) Watch(_ *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	return h.check(stream.Context())
}

func TestPanic(t *testing.T) {
	const canary = "what-the-caller-sent"
	tests := []struct {
		name   string
		panics func()
		logged string
	}{
		{"a text", func() { panic(canary) }, "panic of type string"},
		{"an error", func() { panic(bytes.ErrTooLarge) }, "panic of type *errors.errorString"},
		{"the runtime's", func() { _ = []int{}[len(canary)] }, "index out of range"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, log := guarded(t, &grpc_health_v1.Health_ServiceDesc, &misbehaving{check: func(context.Context) error { tt.panics(); return nil }})
			client := grpc_health_v1.NewHealthClient(conn)
			_, unary := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: canary})
			watch, err := client.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: canary})
			if err != nil {
				t.Fatal(err)
			}
			_, stream := watch.Recv()
			for _, err := range []error{unary, stream} {
				if st := status.Convert(err); st.Code() != codes.Internal || strings.Contains(st.String(), canary) {
					t.Errorf("answered %v", st)
				}
			}
			if !strings.Contains(log.String(), tt.logged) || !strings.Contains(log.String(), "guard_test.go") {
				t.Errorf("the log lacks %q or the stack: %s", tt.logged, log)
			}
			if strings.Contains(log.String(), canary) {
				t.Errorf("the log has what the caller sent: %s", log)
			}
		})
	}
}

// taciturn watches health until the watch ends, and has not come to say that it has changed.
type taciturn struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (taciturn) Watch(_ *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	if err := stream.Send(&grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return status.Error(codes.Canceled, "ended")
}

// TestLastWord: who watches health hears that the server ends before the watch does, once.
func TestLastWord(t *testing.T) {
	background, shutdown := context.WithCancel(t.Context())
	defer shutdown()
	conn, _ := guardedUntil(background, t, &grpc_health_v1.Health_ServiceDesc, taciturn{})
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []grpc_health_v1.HealthCheckResponse_ServingStatus{grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING} {
		if is, err := watch.Recv(); err != nil || is.GetStatus() != want {
			t.Errorf("watched %v, %v; want %v", is.GetStatus(), err, want)
		}
		shutdown()
	}
	if is, err := watch.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("watched %v, %v; want the end", is.GetStatus(), err)
	}
}

func TestDeadline(t *testing.T) {
	var left time.Duration
	conn, _ := guarded(t, &grpc_health_v1.Health_ServiceDesc, &misbehaving{check: func(ctx context.Context) error {
		deadline, ok := ctx.Deadline()
		if !ok {
			t.Error("a call without a deadline")
		}
		left = time.Until(deadline)
		return nil
	}})
	client := grpc_health_v1.NewHealthClient(conn)
	for _, asked := range []time.Duration{0, time.Hour, 5 * time.Second} {
		ctx, cancel := t.Context(), context.CancelFunc(func() {})
		want := 30 * time.Second
		if asked != 0 {
			ctx, cancel = context.WithTimeout(ctx, asked)
			want = min(want, asked)
		}
		if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
		cancel()
		if left > want || left < want/2 {
			t.Errorf("asked for %s and has %s left, want about %s", asked, left, want)
		}
	}
}
