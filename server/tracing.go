package server

import (
	"context"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/p8signet/signet/server/internal/authority"
)

// requestIDAttribute is the attribute under which a span names its request: as the request's entry in the log does.
const requestIDAttribute = "signet.request_id"

// tracing makes a span of every call but health's, with its stages below it. A span says which method, which request,
// how long and how it ended; never what was asked for or answered. A nil tracing costs a mint nothing.
type tracing struct {
	provider trace.TracerProvider
	tracer   trace.Tracer
}

// newTracing is nil for no provider.
func newTracing(p trace.TracerProvider) *tracing {
	if p == nil {
		return nil
	}
	return &tracing{p, p.Tracer("github.com/p8signet/signet/server")}
}

// options make gRPC begin and end the spans.
func (t *tracing) options() []grpc.ServerOption {
	if t == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(t.provider),
		otelgrpc.WithPropagators(propagation.TraceContext{}), // baggage would be a caller's text
		otelgrpc.WithMeterProvider(noop.NewMeterProvider()),
		otelgrpc.WithFilter(filters.Not(filters.HealthCheck())),
	))}
}

// name says in the call's span which request it is.
func (t *tracing) name(ctx context.Context, request string) {
	if t == nil {
		return
	}
	trace.SpanFromContext(ctx).SetAttributes(attribute.String(requestIDAttribute, request))
}

// watch is what the core calls when a stage begins; nil when nobody wants to know.
func (t *tracing) watch() func(context.Context, authority.Stage) func() {
	if t == nil {
		return nil
	}
	return func(ctx context.Context, stage authority.Stage) func() {
		if !trace.SpanFromContext(ctx).IsRecording() {
			return func() {}
		}
		_, span := t.tracer.Start(ctx, string(stage))
		return func() { span.End() }
	}
}
