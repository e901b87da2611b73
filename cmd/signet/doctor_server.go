package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/p8signet/signet/client"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// patienceWith is how long one address is waited for, at each step.
const patienceWith = 5 * time.Second

// server looks at one address, from the outside in.
func (d *doctor) server(ctx context.Context, config client.Config, address string, tc *tls.Config) {
	if !d.reach(ctx, address, tc) {
		return
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(tc)))
	if err != nil {
		d.fail("server", "", err)
		return
	}
	defer conn.Close() //nolint:errcheck // it was only asked
	d.health(ctx, conn)
	cl, err := client.New(conn, config.Logs...)
	if err != nil {
		d.fail("config", "", err)
		return
	}
	d.caller(ctx, cl, len(config.Logs) > 0)
}

// reach makes a connection, and looks at the server's certificate.
func (d *doctor) reach(ctx context.Context, address string, tc *tls.Config) bool {
	ctx, cancel := context.WithTimeout(ctx, patienceWith)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		d.fail("address", "is signetd running, and is this its address? Is a firewall in between?", err)
		return false
	}
	conn := tls.Client(raw, tc)
	defer conn.Close() //nolint:errcheck // nothing was sent
	if err := conn.HandshakeContext(ctx); err != nil {
		todo := "does anything but signetd listen there?"
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			err = fmt.Errorf("takes the connection, and has said nothing in %s", patienceWith)
			todo = "is the server stopped, or does anything but signetd listen there?"
		case errors.As(err, new(*tls.CertificateVerificationError)):
			todo = "ca in client.yaml must certify this server, and the host in addresses, or else server_name, must be a name in its certificate"
		}
		d.fail("server", todo, err)
		return false
	}
	d.add(levelOK, "address", "", "is reached, as %s", conn.RemoteAddr())
	d.validity("server", conn.ConnectionState().PeerCertificates[0], renewServer, "the server's certificate")
	return true
}

// The clocks' difference at which something is said, and at which something fails: a token's iat lies 30 seconds before the server's
// time, and no further does Apple's clock excuse it.
const (
	skewWarn = 5 * time.Second
	skewFail = 30 * time.Second
)

// requestID is the header in which every answer names its request, by a UUIDv7: the server's time is in it.
const requestID = "signet-request-id"

// health asks whether the server mints, which anybody may, and takes the time from the answer.
func (d *doctor) health(ctx context.Context, conn *grpc.ClientConn) {
	ctx, cancel := context.WithTimeout(ctx, patienceWith)
	defer cancel()
	check := func() (*grpc_health_v1.HealthCheckResponse, time.Time, metadata.MD, error) {
		var header metadata.MD
		asked := d.Now()
		h, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: signetv1.TokenService_ServiceDesc.ServiceName}, grpc.Header(&header))
		return h, asked, header, err
	}
	h, _, _, err := check() // this one also connects
	switch {
	case err != nil:
		d.add(levelFail, "server", "is it signetd that listens there?", "does not say whether it mints: %s", status.Convert(err).Message())
		return
	case h.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING:
		d.add(levelFail, "server", "signet system status says why, to who may ask", "is there, and does not mint")
	default:
		d.add(levelOK, "server", "", "mints")
	}
	_, asked, header, err := check()
	if err != nil {
		return // it has answered just before
	}
	if id, ok := serverTime(header); ok {
		d.clock(asked, id, d.Now())
	}
}

// serverTime is when a server received the request that an answer belongs to, by its clock.
func serverTime(header metadata.MD) (time.Time, bool) {
	for _, text := range header.Get(requestID) {
		if id, err := uuid.Parse(text); err == nil && id.Version() == 7 {
			return time.Unix(id.Time().UnixTime()), true
		}
	}
	return time.Time{}, false
}

// clock compares the server's time with this machine's when it was asked for and when it was there.
func (d *doctor) clock(asked, server, answered time.Time) {
	var off time.Duration // how far this clock is ahead, at least
	switch {
	case server.Before(asked):
		off = asked.Sub(server)
	case server.After(answered):
		off = answered.Sub(server)
	}
	say := func(l level, todo string) {
		what := "ahead of"
		if off < 0 {
			what = "behind"
		}
		d.add(l, "clock", todo, "this clock is %s %s the server's", off.Abs().Round(time.Millisecond), what)
	}
	const todo = "set the wrong one right: certificates end by this clock, and Apple refuses tokens of a server whose clock is half a minute ahead"
	switch {
	case off.Abs() >= skewFail:
		say(levelFail, todo)
	case off.Abs() >= skewWarn:
		say(levelWarn, todo)
	default:
		d.add(levelOK, "clock", "", "agrees with the server's to within %s", max(off.Abs(), answered.Sub(asked)).Round(time.Millisecond))
	}
}

// caller asks for what every caller may have, so that the answer says whether the server takes this one for one.
func (d *doctor) caller(ctx context.Context, cl *client.Client, pinned bool) {
	ctx, cancel := context.WithTimeout(ctx, patienceWith)
	defer cancel()
	cp, err := cl.Checkpoint(ctx, "")
	switch {
	case errors.Is(err, client.ErrUnauthenticated):
		d.fail("caller", "", fmt.Errorf("the server does not know this caller's certificate: %w", err))
		return
	case errors.Is(err, client.ErrNoLogKey), errors.Is(err, client.ErrUnverified):
		d.add(levelOK, "caller", "", "the server knows this caller")
		if pinned {
			d.fail("log", "", unproved(err))
		}
		return
	case err != nil:
		d.fail("caller", "", err)
		return
	}
	d.add(levelOK, "caller", "", "the server knows this caller")
	d.log(ctx, cl, cp)
}
