package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/p8signet/signet/server/internal/authority"
	"github.com/p8signet/signet/server/policy"
)

// requestIDHeader is the metadata key under which every error names its request, and every other answer that is not bare.
const requestIDHeader = "signet-request-id"

// call is what is known of a call before its request is read.
type call struct {
	method    string
	access    access
	id        string
	began     time.Time
	principal policy.Principal

	// What a mint is counted under; the handler says it.
	mints   bool
	profile policy.ProfileName
	key     policy.KeyName // with which it minted
	reused  bool           // its caller had the token before
}

// callKey is the one context key of this package.
type callKey struct{}

// callOf is where the call leaves the context. Without a guard there is nobody, who is denied everything.
func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

// caller is who is calling: handlers hand it to the core as an argument.
func caller(ctx context.Context) (policy.Principal, authority.Request) {
	c := callOf(ctx)
	return c.principal, authority.Request{ID: c.id}
}

// register adds a service whose every method goes through the guard. The guard wraps the handlers themselves instead
// of being an interceptor, because gRPC decodes a request before it asks an interceptor: here nothing of an
// unauthenticated caller's request is parsed, and a request that does not parse is answered like every other bad one.
func (s *Server) register(desc *grpc.ServiceDesc, impl any) {
	guarded := *desc
	guarded.Methods = make([]grpc.MethodDesc, len(desc.Methods))
	for i, m := range desc.Methods {
		guarded.Methods[i] = grpc.MethodDesc{
			MethodName: m.MethodName,
			Handler:    s.guardUnary("/"+desc.ServiceName+"/"+m.MethodName, m.Handler),
		}
	}
	guarded.Streams = make([]grpc.StreamDesc, len(desc.Streams))
	for i, m := range desc.Streams {
		guarded.Streams[i] = m
		guarded.Streams[i].Handler = s.guardStream("/"+desc.ServiceName+"/"+m.StreamName, m.Handler)
	}
	s.grpc.RegisterService(&guarded, impl)
}

func (s *Server) guardUnary(method string, next grpc.MethodHandler) grpc.MethodHandler {
	rule, listed := methods[method]
	deadline := s.limits.Deadline
	if rule.waits {
		deadline = max(deadline, waitDeadline)
	}
	return func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (reply any, err error) {
		c := s.newCall(ctx, method, rule)
		// Naming the request fails only outside a call or after the headers have gone.
		defer func() {
			if err = s.settle(ctx, c, err, recover()); err != nil {
				reply = nil
				_ = grpc.SetTrailer(ctx, c.named()) // all that some clients show of an error
			}
		}()
		if !rule.bare {
			_ = grpc.SetHeader(ctx, c.named())
		}
		if err := s.admit(ctx, c, listed); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.WithValue(ctx, callKey{}, c), deadline)
		defer cancel()
		return next(srv, ctx, func(request any) error {
			if err := decode(request); err != nil {
				return transportError{err}
			}
			return s.checkRequest(request)
		}, nil)
	}
}

func (s *Server) guardStream(method string, next grpc.StreamHandler) grpc.StreamHandler {
	rule, listed := methods[method]
	return func(srv any, stream grpc.ServerStream) (err error) {
		ctx := stream.Context()
		c := s.newCall(ctx, method, rule)
		defer func() { err = s.settle(ctx, c, err, recover()) }()
		_ = stream.SetHeader(c.named())
		stream.SetTrailer(c.named())
		if err := s.admit(ctx, c, listed); err != nil {
			return err
		}
		// A stream has no deadline: it lives as long as its connection, but not beyond a Shutdown, which waits for it.
		ctx, cancel := context.WithCancel(context.WithValue(ctx, callKey{}, c))
		defer cancel()
		defer context.AfterFunc(s.background, cancel)()
		guarded := &guardedStream{ServerStream: stream, ctx: ctx, s: s, c: c}
		err = next(srv, guarded)
		if s.background.Err() != nil && guarded.health == grpc_health_v1.HealthCheckResponse_SERVING {
			// Who watches health hears that this server ends, and not only that the stream did.
			_ = guarded.SendMsg(&grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_NOT_SERVING})
		}
		if c.access != public && s.background.Err() != nil && errors.Is(err, context.Canceled) {
			// The caller did not end it, and is to go on elsewhere or later.
			return &authority.Error{Kind: authority.ErrUnavailable, Reason: authority.ReasonShuttingDown, Public: "the server is shutting down"}
		}
		return err
	}
}

// guardedStream checks what a stream receives, and before it sends that the caller's certificate is still good.
type guardedStream struct {
	grpc.ServerStream
	ctx    context.Context
	s      *Server
	c      *call
	health grpc_health_v1.HealthCheckResponse_ServingStatus // what was sent last to who watches it
}

// Context is the guarded one.
func (g *guardedStream) Context() context.Context { return g.ctx }

// SendMsg sends an answer, unless the certificate has expired meanwhile or is not trusted any more.
func (g *guardedStream) SendMsg(m any) error {
	if err := g.s.identify(g.ctx, g.c); err != nil {
		return err
	}
	if err := g.ServerStream.SendMsg(m); err != nil {
		return transportError{err}
	}
	if is, ok := m.(*grpc_health_v1.HealthCheckResponse); ok {
		g.health = is.GetStatus()
	}
	return nil
}

// RecvMsg receives and checks a request.
func (g *guardedStream) RecvMsg(m any) error {
	if err := g.ServerStream.RecvMsg(m); err != nil {
		return transportError{err}
	}
	return g.s.checkRequest(m)
}

func (s *Server) newCall(ctx context.Context, method string, r rule) *call {
	c := &call{method: method, access: r.access, id: uuid.Must(uuid.NewV7()).String(), began: s.now()}
	s.tracing.name(ctx, c.id)
	return c
}

// named is the metadata that names the request.
func (c *call) named() metadata.MD { return metadata.MD{requestIDHeader: {c.id}} }

// admit answers whether the method may be entered at all, and finds out who is calling.
func (s *Server) admit(ctx context.Context, c *call, listed bool) error {
	if !listed {
		return fmt.Errorf("method %s has no row in the method table", c.method)
	}
	return s.identify(ctx, c)
}

// identify finds out who is calling, now.
func (s *Server) identify(ctx context.Context, c *call) error {
	if c.access == public {
		return nil
	}
	from, ok := peer.FromContext(ctx)
	if !ok {
		return fmt.Errorf("call of %s without a peer", c.method)
	}
	p, err := s.auth.Authenticate(from.AuthInfo)
	if err != nil {
		s.core.Unauthenticated(from.Addr.String(), err.Error())
		return err
	}
	c.principal = p
	return nil
}

// settle turns the end of a call, a panic included, into the error that its caller gets, and counts it.
func (s *Server) settle(ctx context.Context, c *call, err error, panicked any) error {
	public := s.ending(ctx, c, err, panicked)
	if panicked != nil {
		err = errPanicked
	}
	s.metrics.ended(c, err, status.Code(public), s.now())
	return public
}

var errPanicked = errors.New("the call panicked")

// ending is the error of a call's end for its caller, once the server's own log knows what it is to know.
func (s *Server) ending(ctx context.Context, c *call, err error, panicked any) error {
	switch {
	case panicked != nil:
		// The value may hold anything, a request's content too; only what the runtime itself says is safe.
		text := fmt.Sprintf("panic of type %T", panicked)
		if r, ok := panicked.(runtime.Error); ok {
			text = r.Error()
		}
		s.logger.ErrorContext(ctx, "a call panicked", slog.String("method", c.method), slog.String("request", c.id),
			slog.String("panic", text), slog.String("stack", string(debug.Stack())))
		return internalError(c)
	case err != nil:
		err = s.publicError(ctx, c, err)
	}
	if s.logger.Enabled(ctx, slog.LevelDebug) {
		s.logger.DebugContext(ctx, "call", slog.String("method", c.method), slog.String("request", c.id),
			slog.String("principal", c.principal.ID), slog.String("code", status.Code(err).String()))
	}
	return err
}
