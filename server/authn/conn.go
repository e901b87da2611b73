package authn

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"

	"google.golang.org/grpc/credentials"
)

// Conn is what the handshake of one connection left: gRPC hands it to every call of the connection as its AuthInfo.
type Conn struct {
	credentials.TLSInfo

	peer    string
	verdict atomic.Pointer[verdict]
}

// Credentials are the listener's: TLS 1.3 with the current server certificate, a client certificate requested and
// not judged.
func (a *Authenticator) Credentials() credentials.TransportCredentials {
	return &transport{credentials.NewTLS(&tls.Config{
		MinVersion:     tls.VersionTLS13,
		ClientAuth:     tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.certificate.Load(), nil },
		// A resumed session would carry a certificate over from a handshake that nobody remembers.
		SessionTicketsDisabled: true,
		Time:                   a.now,
	})}
}

type transport struct {
	credentials.TransportCredentials
}

// ServerHandshake is TLS's own, and makes the Conn.
func (t *transport) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := t.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	state, ok := info.(credentials.TLSInfo)
	if !ok {
		return nil, nil, errors.Join(errors.New("TLS credentials gave no TLS information"), conn.Close())
	}
	return conn, &Conn{TLSInfo: state, peer: raw.RemoteAddr().String()}, nil
}

// ClientHandshake is not for servers.
func (t *transport) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("credentials of a server")
}

// Clone is a copy over the same authenticator.
func (t *transport) Clone() credentials.TransportCredentials {
	return &transport{t.TransportCredentials.Clone()}
}
