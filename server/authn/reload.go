package authn

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Config says what an Authenticator believes.
type Config struct {
	// CertFile and KeyFile are the server's own, PEM; CertFile may hold a chain, leaf first.
	CertFile, KeyFile string
	// ClientCAFile holds the one CA certificate that callers chain to, PEM.
	ClientCAFile string
	// TrustDomain is the one that the client CA may speak for.
	TrustDomain string
	// Now is the clock. Required.
	Now func() time.Time
	// Logger hears of files that changed, and of those that are broken; slog's default when nil.
	Logger *slog.Logger
}

// Authenticator holds the server's certificate and the client CA, both as they were last good on disk.
type Authenticator struct {
	cfg    Config
	domain spiffeid.TrustDomain
	now    func() time.Time
	logger *slog.Logger

	certificate atomic.Pointer[tls.Certificate]
	trust       atomic.Pointer[trust]

	reloading sync.Mutex // guards the files
	pair, ca  watched
}

// trust is one client CA; a new one is a new pointer, which is how verdicts know that they are old.
type trust struct {
	roots    *x509.CertPool
	domain   spiffeid.TrustDomain
	notAfter time.Time // of the CA
}

// watched is what was read last, good or bad, so that a broken file is complained of once.
type watched [][]byte

func (w *watched) changed(files [][]byte) bool {
	if slices.EqualFunc(*w, files, bytes.Equal) {
		return false
	}
	*w = files
	return true
}

// New reads the files. Every one must be good.
func New(cfg Config) (*Authenticator, error) {
	if cfg.Now == nil {
		return nil, errors.New("authentication needs a clock")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	domain, err := spiffeid.TrustDomainFromString(cfg.TrustDomain)
	if err != nil {
		return nil, fmt.Errorf("trust domain %q: %w", cfg.TrustDomain, err)
	}
	a := &Authenticator{cfg: cfg, domain: domain, now: cfg.Now, logger: cfg.Logger}
	if err := errors.Join(a.reloadCertificate(), a.reloadCA()); err != nil {
		return nil, err
	}
	return a, nil
}

// Expiry is when the server's certificate and the client CA that are in use expire.
func (a *Authenticator) Expiry() (certificate, clientCA time.Time) {
	return a.certificate.Load().Leaf.NotAfter, a.trust.Load().notAfter
}

// Watch looks at the files every interval until ctx ends.
func (a *Authenticator) Watch(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.Reload(ctx)
		}
	}
}

// Reload takes over what has changed on disk. A broken file is logged, once for each content, and what was good before stays.
func (a *Authenticator) Reload(ctx context.Context) {
	if err := a.reloadCertificate(); err != nil {
		a.logger.ErrorContext(ctx, "the changed server certificate is not used, the one before stays", slog.Any("error", err))
	}
	if err := a.reloadCA(); err != nil {
		a.logger.ErrorContext(ctx, "the changed client CA is not used, the one before stays", slog.Any("error", err))
	}
}

// reloadCertificate and reloadCA answer an error only for content that was not seen before.
func (a *Authenticator) reloadCertificate() error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	files, err := read(&a.pair, a.cfg.CertFile, a.cfg.KeyFile)
	if err != nil || files == nil {
		return err
	}
	cert, err := parsePair(files[0], files[1], a.now())
	if err != nil {
		return fmt.Errorf("server certificate %s with key %s: %w", a.cfg.CertFile, a.cfg.KeyFile, err)
	}
	if a.certificate.Swap(cert) != nil {
		a.logger.Info("server certificate reloaded", slog.String("certificate", Fingerprint(cert.Leaf.Raw)), slog.Time("expires", cert.Leaf.NotAfter))
	}
	return nil
}

func (a *Authenticator) reloadCA() error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	files, err := read(&a.ca, a.cfg.ClientCAFile)
	if err != nil || files == nil {
		return err
	}
	ca, err := parseCA(files[0], a.now())
	if err != nil {
		return fmt.Errorf("client CA %s: %w", a.cfg.ClientCAFile, err)
	}
	t := &trust{roots: x509.NewCertPool(), domain: a.domain, notAfter: ca.NotAfter}
	t.roots.AddCert(ca)
	if a.trust.Swap(t) != nil {
		a.logger.Info("client CA reloaded", slog.String("certificate", Fingerprint(ca.Raw)), slog.Time("expires", ca.NotAfter))
	}
	return nil
}

// read answers nil files when their content, or the failure to read them, is what was seen last.
func read(last *watched, names ...string) ([][]byte, error) {
	files := make([][]byte, len(names))
	for i, name := range names {
		var err error
		if files[i], err = os.ReadFile(name); err != nil {
			if !last.changed([][]byte{[]byte(err.Error())}) {
				return nil, nil
			}
			return nil, err
		}
	}
	if !last.changed(files) {
		return nil, nil
	}
	return files, nil
}

// parsePair reads the server's certificate and key.
func parsePair(certPEM, keyPEM []byte, now time.Time) (*tls.Certificate, error) {
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	switch leaf := cert.Leaf; {
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth):
		return nil, errors.New("the certificate is not for server authentication (extended key usage)")
	case now.After(leaf.NotAfter):
		return nil, fmt.Errorf("the certificate expired on %s", leaf.NotAfter.Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return nil, fmt.Errorf("the certificate is not valid before %s", leaf.NotBefore.Format(time.RFC3339))
	}
	return &cert, nil
}

// parseCA reads exactly one CA certificate.
func parseCA(data []byte, now time.Time) (*x509.Certificate, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("not a PEM certificate")
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("more than one PEM block; one CA certificate is wanted")
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	if !ca.BasicConstraintsValid || !ca.IsCA {
		return nil, errors.New("the certificate is not a CA's")
	}
	if now.After(ca.NotAfter) {
		return nil, fmt.Errorf("the certificate expired on %s", ca.NotAfter.Format(time.RFC3339))
	}
	return ca, nil
}
