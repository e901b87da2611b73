package client

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
)

// tlsConfig is mutual TLS 1.3 with the files of c. It fails at once when a file is missing or makes no sense.
func tlsConfig(c Config) (*tls.Config, error) {
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("reading the CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: holds no certificate", c.CA)
	}
	cert := &certificate{certFile: c.Certificate, keyFile: c.Key}
	if _, err := cert.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    pool,
		ServerName: c.ServerName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return cert.load()
		},
	}, nil
}

// certificate is the caller's certificate on disk. Handshakes are rare, so each reads it anew; while a renewal is half
// written the last good one serves.
type certificate struct {
	certFile, keyFile string

	mu   sync.Mutex
	last *tls.Certificate // guarded by mu; nil until one was read
}

func (c *certificate) load() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		if c.last != nil {
			return c.last, nil
		}
		return nil, fmt.Errorf("reading the caller's certificate %s and key: %w", c.certFile, err)
	}
	c.last = &cert
	return c.last, nil
}
