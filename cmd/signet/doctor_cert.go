package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/p8signet/signet/client"
)

const (
	renewCaller = "signetd cert makes a new one"
	renewCA     = "whoever runs the server has the new one; until then nobody is trusted by it"
	renewServer = "whoever runs the server makes a new one"
)

// ca looks at the CA's file, and answers the pool of it; nil when it is of no use.
func (d *doctor) ca(path string) *x509.CertPool {
	text, err := os.ReadFile(path)
	if err != nil {
		d.fail("ca", "ca in client.yaml names it; it lies beside the client.yaml that signetd wrote", err)
		return nil
	}
	pool := x509.NewCertPool()
	n := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			continue
		}
		n++
		pool.AddCert(c)
		d.validity("ca", c, renewCA, fmt.Sprintf("%s, which certifies the server,", path))
	}
	if n == 0 {
		d.add(levelFail, "ca", "ca in client.yaml names it; it lies beside the client.yaml that signetd wrote", "%s holds no certificate", path)
		return nil
	}
	return pool
}

// certificate looks at the caller's certificate and key, and answers them; nil when they are of no use.
func (d *doctor) certificate(config client.Config, roots *x509.CertPool) *tls.Certificate {
	pair, err := tls.LoadX509KeyPair(config.Certificate, config.Key)
	if err != nil {
		d.fail("certificate", renewCaller, fmt.Errorf("%s and %s: %w", config.Certificate, config.Key, err))
		return nil
	}
	if st, err := os.Stat(config.Key); err == nil && st.Mode().Perm()&0o077 != 0 {
		d.add(levelWarn, "key", "chmod 600 it, and think about a new one", "others than its owner may read or change %s: who has it is this caller", config.Key)
	}
	leaf := pair.Leaf
	id, err := callerID(leaf)
	if err != nil {
		d.fail("certificate", renewCaller, err)
		return &pair
	}
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		d.add(levelFail, "certificate", renewCaller, "the certificate of %s is not for client authentication", id)
		return &pair
	}
	d.validity("certificate", leaf, renewCaller, "the certificate of "+id)
	if roots != nil && !issuedBy(pair, roots) {
		d.add(levelWarn, "certificate", "that is right only where the server trusts another CA for its callers than the one that certifies it",
			"the certificate of %s was not issued by the CA in %s", id, config.CA)
	}
	return &pair
}

// errNoURI is a certificate that names nobody.
var errNoURI = errors.New("the certificate does not hold exactly one URI, a SPIFFE id, so that no server takes it for anybody's")

// callerID is who a certificate is of.
func callerID(leaf *x509.Certificate) (string, error) {
	if len(leaf.URIs) != 1 {
		return "", errNoURI
	}
	id, err := spiffeid.FromURI(leaf.URIs[0])
	if err != nil || id.Path() == "" {
		return "", errNoURI
	}
	return id.String(), nil
}

// issuedBy says whether a certificate chains to roots, at a time when it is valid.
func issuedBy(pair tls.Certificate, roots *x509.CertPool) bool {
	between := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	_, err := pair.Leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: pair.Leaf.NotBefore.Add(time.Second), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return !errors.As(err, new(x509.UnknownAuthorityError))
}

// validity is a finding of when a certificate is valid. In the last fifth of its life it is time to renew it.
func (d *doctor) validity(check string, c *x509.Certificate, renew, whose string) {
	now, end := d.Now(), c.NotAfter.UTC().Format(time.RFC3339)
	left := c.NotAfter.Sub(now)
	switch {
	case now.Before(c.NotBefore):
		d.add(levelFail, check, "is this machine's clock right?", "%s is not valid before %s", whose, c.NotBefore.UTC().Format(time.RFC3339))
	case left <= 0:
		d.add(levelFail, check, renew, "%s has expired at %s", whose, end)
	case left < c.NotAfter.Sub(c.NotBefore)/5:
		d.add(levelWarn, check, renew, "%s expires in %s, at %s", whose, days(left), end)
	default:
		d.add(levelOK, check, "", "%s is valid for %s more, until %s", whose, days(left), end)
	}
}

// serverName is the name that the certificate at an address must hold.
func serverName(config client.Config, address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return config.ServerName
	}
	return cmp.Or(config.ServerName, host)
}
