package authority

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store"
)

// The lives of certificates. A caller's is short because a lost one is stopped by a deny grant until it ends; the
// server's lasts longer because nobody is locked out by it but everybody is by its end.
const (
	callerLife   = 30 * 24 * time.Hour
	operatorLife = 90 * 24 * time.Hour
	serverLife   = 365 * 24 * time.Hour
	caLife       = 10 * 365 * 24 * time.Hour

	// certificateSlack back-dates notBefore, for machines whose clock is behind ours.
	certificateSlack = 5 * time.Minute
)

// ca signs certificates with the vault's own CA key, which stays in the store.
type ca struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// caName names the CA's key among the system records, and its certificate among the documents.
const caName = "ca"

// openCA lends the CA of the vault.
func openCA(ctx context.Context, s *store.Store) (*ca, error) {
	der, err := s.Document(ctx, caName)
	if err != nil {
		return nil, fmt.Errorf("opening the CA certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the CA certificate: %w", err)
	}
	key, err := s.SystemSigner(ctx, caName)
	if err != nil {
		return nil, fmt.Errorf("opening the CA key: %w", err)
	}
	return &ca{certificate: certificate, key: key}, nil
}

// newCA makes the CA of a new vault: its certificate (DER) and its private key (PKCS#8), which the caller wipes.
func newCA(trustDomain string, now time.Time) ([]byte, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("drawing the CA key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: "Signet CA of " + trustDomain},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
		NotBefore:             now.Add(-certificateSlack),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("making the CA certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the CA key: %w", err)
	}
	return der, pkcs8, nil
}

// caller certifies a caller: one URI SAN, client authentication, nothing else. The life must have been judged.
func (a *ca) caller(uri *url.URL, public crypto.PublicKey, life time.Duration, now time.Time) (Certificate, error) {
	return a.sign(&x509.Certificate{
		URIs:        []*url.URL{uri},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotAfter:    now.Add(life),
	}, public, now)
}

// server certifies the server for DNS names and IP addresses.
func (a *ca) server(hosts []string, public crypto.PublicKey, now time.Time) (Certificate, error) {
	template := &x509.Certificate{
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotAfter:    now.Add(serverLife),
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return a.sign(template, public, now)
}

// sign completes a template: serial, validity within the CA's own, and what is alike in all leaves.
func (a *ca) sign(template *x509.Certificate, public crypto.PublicKey, now time.Time) (Certificate, error) {
	template.SerialNumber = newSerial()
	template.NotBefore = now.Add(-certificateSlack)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	if template.NotAfter.After(a.certificate.NotAfter) {
		template.NotAfter = a.certificate.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return Certificate{}, fmt.Errorf("signing a certificate: %w", err)
	}
	sum := sha256.Sum256(der)
	return Certificate{
		DER:         der,
		CA:          a.certificate.Raw,
		Fingerprint: "sha256:" + hex.EncodeToString(sum[:]),
		NotAfter:    template.NotAfter.UTC().Truncate(time.Second),
	}, nil
}

// newSerial draws 128 bits; a serial number is positive.
func newSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

// requestedKey is the public key of a PKCS#10 request that proves to hold the private one. Nothing else in a request
// is believed. The error's text is for the caller.
func requestedKey(csr []byte) (crypto.PublicKey, error) {
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, errors.New("the certificate request is not PKCS#10 in DER")
	}
	if err := req.CheckSignature(); err != nil {
		return nil, errors.New("the certificate request is not signed by its own key, or with an algorithm that is not accepted")
	}
	switch key := req.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() {
			return key, nil
		}
	case ed25519.PublicKey:
		return key, nil
	case *rsa.PublicKey:
		if key.N.BitLen() >= 2048 && key.N.BitLen() <= 4096 {
			return key, nil
		}
	}
	return nil, errors.New("the certificate request's key is not accepted: use ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits")
}

// newLeafKey draws a key for a certificate that is made in our own process: signer and PEM.
func newLeafKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("drawing a key: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a key: %w", err)
	}
	defer clear(pkcs8)
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// issuedEntry is how an issued certificate stands in the log.
func issuedEntry(uri string, c Certificate) *auditlog.Issued {
	return &auditlog.Issued{URI: uri, SHA256: sha256.Sum256(c.DER), Expires: c.NotAfter}
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
