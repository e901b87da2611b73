package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/p8signet/signet/server"
)

// traces is where spans go, by OTLP over HTTP. OpenTelemetry's own environment variables fill what is not said.
type traces struct {
	// Endpoint is the collector's, such as http://127.0.0.1:4318. Without one, here or in OTEL_EXPORTER_OTLP_ENDPOINT or
	// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, nothing is traced.
	Endpoint string `yaml:"endpoint,omitempty"`
	// Ratio is how many of the calls that bring no trace of their own are traced, from 0 to 1; 0.01 when left out.
	Ratio *float64 `yaml:"ratio,omitempty"`
}

const (
	defaultRatio = 0.01
	// flushTraces is how long spans that are left over may take to be sent at the end.
	flushTraces = 2 * time.Second
)

func (t traces) validate() error {
	if r := t.Ratio; r != nil && (*r < 0 || *r > 1 || *r != *r) {
		return errors.New("ratio is a number from 0 to 1")
	}
	if t.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(t.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return errors.New("endpoint is a URL such as http://127.0.0.1:4318; what proves who sends goes into OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}

// trace has the server make spans, if somebody wants them, and answers what sends those that are left at the end. Nothing
// is connected to yet.
func (p *program) trace(ctx context.Context, conf *config, sc *server.Config) (flush func() error, err error) {
	if conf.Traces.Endpoint == "" && p.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && p.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return func() error { return nil }, nil
	}
	provider, err := p.newProvider(ctx, conf, sc.Logger)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	sc.Traces = provider
	sc.Logger.InfoContext(ctx, "traces on")
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTraces)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("ending the traces: %w", err)
		}
		return nil
	}, nil
}

func (p *program) newProvider(ctx context.Context, conf *config, logger *slog.Logger) (*sdktrace.TracerProvider, error) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := p.Getenv(name); protocol != "" && protocol != "http/protobuf" {
			return nil, fmt.Errorf("%s asks for another protocol than http/protobuf, which is the one there is", name)
		}
	}
	var options []otlptracehttp.Option
	if at := conf.Traces.Endpoint; at != "" {
		if u, err := url.Parse(at); err == nil && strings.Trim(u.Path, "/") == "" {
			at = u.JoinPath("v1", "traces").String()
		}
		options = append(options, otlptracehttp.WithEndpointURL(at))
	}
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, err
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "signetd"), attribute.String("service.version", p.Version), attribute.String("service.instance.id", conf.Node),
	), resource.WithFromEnv())
	if err != nil {
		return nil, errors.Join(err, exporter.Shutdown(ctx))
	}
	provider := []sdktrace.TracerProviderOption{sdktrace.WithBatcher(&toldOnce{SpanExporter: exporter, logger: logger}), sdktrace.WithResource(about)}
	if conf.Traces.Ratio != nil || p.Getenv("OTEL_TRACES_SAMPLER") == "" {
		ratio := defaultRatio
		if r := conf.Traces.Ratio; r != nil {
			ratio = *r
		}
		provider = append(provider, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio))))
	}
	return sdktrace.NewTracerProvider(provider...), nil
}

// toldOnce logs that spans cannot be sent when that begins and when it ends, in place of every time and for the whole
// process. Spans that cannot be sent are lost, and nothing waits for them.
type toldOnce struct {
	sdktrace.SpanExporter
	logger  *slog.Logger
	failing atomic.Bool
}

// ExportSpans never fails.
func (t *toldOnce) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := t.SpanExporter.ExportSpans(ctx, spans)
	switch was := t.failing.Swap(err != nil); {
	case err != nil && !was:
		t.logger.WarnContext(ctx, "spans cannot be sent and are lost", slog.Any("error", err))
	case err == nil && was:
		t.logger.InfoContext(ctx, "spans are sent again")
	}
	return nil
}
