package server_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
)

// TestTraces: a call is a span that names the request as its entry does, its stages lie below it, a caller's trace goes
// on in it, and nothing of what was asked for or answered is in it.
func TestTraces(t *testing.T) {
	recorded := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(recorded))
	s, key := minting(t, servertest.Options{Configure: func(c *server.Config) { c.Traces = provider }})
	conn := s.Conn(ci)
	recorded.Reset()

	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+trace+"-00f067aa0ba902b7-01", "baggage", "secret=of-the-caller")
	answer, err := mint(ctx, conn, "release")
	if err != nil {
		t.Fatal(err)
	}
	mints := spans(t, recorded, "signet.v1.TokenService/MintToken", 4)
	var stages []string
	request := ""
	for _, span := range mints {
		if span.SpanContext.TraceID().String() != trace {
			t.Errorf("span %s is of the trace %s, not of its caller's", span.Name, span.SpanContext.TraceID())
		}
		if !strings.Contains(span.Name, "/") {
			stages = append(stages, span.Name)
			continue
		}
		for _, a := range span.Attributes {
			if a.Key == "signet.request_id" {
				request = a.Value.AsString()
			}
		}
	}
	if want := []string{"decide", "sign", "append"}; !slices.Equal(stages, want) {
		t.Errorf("stages %q, want %q", stages, want)
	}
	lines := entries(t, s, &signetv1.EntryFilter{Action: "token.mint"})
	if len(lines) != 1 {
		t.Fatalf("%d entries of mints", len(lines))
	}
	entry, err := auditlog.ParseEntry([]byte(lines[0]))
	if err != nil || request == "" || entry.ID != request {
		t.Errorf("the span is of request %q, the entry of %q (%v)", request, entry.ID, err)
	}

	nobody := s.Conn(stranger)
	recorded.Reset()
	_, err = mint(t.Context(), nobody, "profile-of-nobody")
	expect(t, err, codes.PermissionDenied, "DENIED")
	_, err = mint(t.Context(), s.Dial(nil), "release")
	expect(t, err, codes.Unauthenticated, "UNAUTHENTICATED")
	refused := spans(t, recorded, "signet.v1.TokenService/MintToken", 4)
	recorded.Reset()
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := mint(t.Context(), conn, "release"); err != nil { // whose span ends after that of the health check
		t.Fatal(err)
	}
	for _, span := range spans(t, recorded, "signet.v1.TokenService/MintToken", 3) {
		if strings.Contains(span.Name, "Health") {
			t.Errorf("a health check is traced: %s", span.Name)
		}
	}

	all, err := json.Marshal(slices.Concat(recorded.GetSpans(), mints, refused))
	if err != nil || !strings.Contains(string(all), request) {
		t.Fatalf("the spans do not name their request: %v %s", err, all)
	}
	for _, secret := range append(strings.Split(answer.GetBearerToken().GetToken(), "."), "release", "profile-of-nobody", ci, stranger, "of-the-caller") {
		if strings.Contains(string(all), secret) {
			t.Errorf("%q is in a span", secret)
		}
	}
	if found := newCanary(t, key).in(all); len(found) > 0 {
		t.Errorf("the key is in a span: %q", found)
	}
}

// spans waits until a call of that name has ended, and n spans with it, and answers all that there are.
func spans(t *testing.T, from *tracetest.InMemoryExporter, name string, n int) tracetest.SpanStubs {
	t.Helper()
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(time.Millisecond) {
		all := from.GetSpans()
		if len(all) >= n && slices.ContainsFunc(all, func(s tracetest.SpanStub) bool { return s.Name == name }) {
			return all
		}
	}
	t.Fatalf("there is no span of %s among %d after ten seconds", name, len(from.GetSpans()))
	return nil
}
