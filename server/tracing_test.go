package server_test

import (
	"context"
	"encoding/json"
	"fmt"
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
	answer, err := mint(traced(t, 1), conn, "release")
	if err != nil {
		t.Fatal(err)
	}
	mints := spansOf(t, recorded, 1)
	var stages []string
	request := ""
	for _, span := range mints {
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

	_, err = mint(traced(t, 2), s.Conn(stranger), "profile-of-nobody")
	expect(t, err, codes.PermissionDenied, "DENIED")
	_, err = mint(traced(t, 3), s.Dial(nil), "release")
	expect(t, err, codes.Unauthenticated, "UNAUTHENTICATED")
	refused := slices.Concat(spansOf(t, recorded, 2), spansOf(t, recorded, 3))
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(traced(t, 4), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := mint(traced(t, 5), conn, "release"); err != nil { // whose span ends after that of the health check
		t.Fatal(err)
	}
	spansOf(t, recorded, 5)
	if health := ofTrace(recorded, 4); len(health) > 0 {
		t.Errorf("a health check is traced: %s", health[0].Name)
	}

	all, err := json.Marshal(slices.Concat(mints, refused))
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

// traced is a context whose calls bring a trace of their own, the nth.
func traced(t *testing.T, n int) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), "traceparent", fmt.Sprintf("00-%032x-00f067aa0ba902b7-01", n), "baggage", "secret=of-the-caller")
}

// ofTrace are the spans of the nth trace that have ended.
func ofTrace(from *tracetest.InMemoryExporter, n int) tracetest.SpanStubs {
	return slices.DeleteFunc(from.GetSpans(), func(s tracetest.SpanStub) bool {
		return s.SpanContext.TraceID().String() != fmt.Sprintf("%032x", n)
	})
}

// spansOf waits until the mint of the nth trace has ended, after which its stages have.
func spansOf(t *testing.T, from *tracetest.InMemoryExporter, n int) tracetest.SpanStubs {
	t.Helper()
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(time.Millisecond) {
		all := ofTrace(from, n)
		if slices.ContainsFunc(all, func(s tracetest.SpanStub) bool { return s.Name == "signet.v1.TokenService/MintToken" }) {
			return all
		}
	}
	t.Fatalf("there is no span of the mint of trace %d after ten seconds", n)
	return nil
}
