package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
)

func csrOf(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	evil, err := url.Parse(operatorID)
	check(t, err)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "root"}, URIs: []*url.URL{evil}, DNSNames: []string{"evil.example"},
	}, key)
	check(t, err)
	return csr
}

func newECDSA(t testing.TB, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	check(t, err)
	return key
}

// TestInitialized looks at what a new vault comes with: certificates that TLS takes, each for its own purpose only.
func TestInitialized(t *testing.T) {
	v := newVault(t)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(v.made.CA) {
		t.Fatal("the CA is not PEM")
	}
	server, err := tls.X509KeyPair(v.made.ServerCertificate, v.made.ServerKey)
	check(t, err)
	operator, err := tls.X509KeyPair(v.made.OperatorCertificate, v.made.OperatorKey)
	check(t, err)
	verify := func(c tls.Certificate, name string, usage x509.ExtKeyUsage) error {
		_, err := c.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: v.clock.Now()})
		return err
	}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		check(t, verify(server, host, x509.ExtKeyUsageServerAuth))
	}
	check(t, verify(operator, "", x509.ExtKeyUsageClientAuth))
	if verify(server, "", x509.ExtKeyUsageClientAuth) == nil || verify(operator, "", x509.ExtKeyUsageServerAuth) == nil {
		t.Error("a certificate serves both ways")
	}
	if len(operator.Leaf.URIs) != 1 || operator.Leaf.URIs[0].String() != operatorID {
		t.Errorf("the operator is %v", operator.Leaf.URIs)
	}
	var issued, outside []string
	for _, e := range v.entries() {
		if e.Issued != nil {
			issued = append(issued, e.Issued.URI)
		} else if e.Outcome != auditlog.Done && e.Action != string(actionInit) {
			outside = append(outside, e.Action)
		}
	}
	if len(issued) != 2 || len(outside) != 0 {
		t.Errorf("the first entries are of certificates for %v, and of %v", issued, outside)
	}
	v.checkInvariants()
}

func TestIssueCertificate(t *testing.T) {
	v := ready(t)
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	p256 := newECDSA(t, elliptic.P256())
	broken := csrOf(t, p256)
	broken[len(broken)-1] ^= 1

	const id = "spiffe://signet.test/ci/7"
	tests := []struct {
		name string
		by   string
		csr  []byte
		uri  string
		ttl  time.Duration
		life time.Duration
		kind error
	}{
		{name: "a caller", by: operatorID, csr: csrOf(t, p256), uri: id, life: callerLife},
		{name: "a caller, for an hour", by: operatorID, csr: csrOf(t, p256), uri: id, ttl: time.Hour, life: time.Hour},
		{name: "an operator", by: operatorID, csr: csrOf(t, p256), uri: operatorID, life: operatorLife},
		{name: "P-384", by: operatorID, csr: csrOf(t, newECDSA(t, elliptic.P384())), uri: id, life: callerLife},
		{name: "Ed25519", by: operatorID, csr: csrOf(t, ed), uri: id, life: callerLife},
		{name: "RSA", by: operatorID, csr: csrOf(t, rsa2048), uri: id, life: callerLife},
		{name: "P-521", by: operatorID, csr: csrOf(t, newECDSA(t, elliptic.P521())), uri: id, kind: ErrMalformed},
		{name: "too long", by: operatorID, csr: csrOf(t, p256), uri: id, ttl: callerLife + time.Second, kind: ErrMalformed},
		{name: "negative", by: operatorID, csr: csrOf(t, p256), uri: id, ttl: -time.Hour, kind: ErrMalformed},
		{name: "another trust domain", by: operatorID, csr: csrOf(t, p256), uri: "spiffe://other.test/ci/7", kind: ErrMalformed},
		{name: "no SPIFFE id", by: operatorID, csr: csrOf(t, p256), uri: "https://signet.test/ci/7", kind: ErrMalformed},
		{name: "a wildcard", by: operatorID, csr: csrOf(t, p256), uri: "spiffe://signet.test/ci/*", kind: ErrMalformed},
		{name: "not canonical", by: operatorID, csr: csrOf(t, p256), uri: "spiffe://signet.test/ci/%37", kind: ErrMalformed},
		{name: "no request", by: operatorID, csr: []byte("x"), uri: id, kind: ErrMalformed},
		{name: "not signed by its key", by: operatorID, csr: broken, uri: id, kind: ErrMalformed},
		{name: "by a stranger", by: strangerID, csr: csrOf(t, p256), uri: id, kind: ErrDenied},
		{name: "by an issuer", by: "spiffe://signet.test/issuer", csr: csrOf(t, p256), uri: id, life: callerLife},
		{name: "an operator, by an issuer", by: "spiffe://signet.test/issuer", csr: csrOf(t, p256), uri: operatorID, kind: ErrDenied},
	}
	v.apply(basicPolicy + "  - {id: issuers, to: [{mtls: \"spiffe://signet.test/issuer\"}], do: [system.issue]}\n")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(v.made.CA)
	serials := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := v.System.IssueCertificate(t.Context(), principal(tt.by), CertificateRequest{Request: Request{"the-issue"}, CSR: tt.csr, URI: tt.uri, TTL: tt.ttl})
			if tt.kind != nil {
				wantReason(t, err, tt.kind, map[error]Reason{ErrMalformed: ReasonMalformed, ErrDenied: ReasonDenied}[tt.kind])
				if e := v.last(); e.ID != "the-issue" || e.Issued != nil || e.Outcome == auditlog.Allowed {
					t.Errorf("the entry is %+v", e)
				}
				return
			}
			check(t, err)
			leaf, err := x509.ParseCertificate(got.DER)
			check(t, err)
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, CurrentTime: v.clock.Now()}); err != nil {
				t.Errorf("it does not verify: %v", err)
			}
			if len(leaf.URIs) != 1 || leaf.URIs[0].String() != tt.uri || len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) != 0 || leaf.Subject.CommonName != "" || leaf.IsCA {
				t.Errorf("it says %v, %v, %v", leaf.URIs, leaf.DNSNames, leaf.Subject)
			}
			if len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
				t.Errorf("its uses are %v", leaf.ExtKeyUsage)
			}
			if got := leaf.NotAfter.Sub(v.clock.Now()); got != tt.life {
				t.Errorf("it lives %v, want %v", got, tt.life)
			}
			if n := leaf.SerialNumber.BitLen(); n < 120 || n > 128 || serials[leaf.SerialNumber.String()] {
				t.Errorf("the serial has %d bits", n)
			}
			serials[leaf.SerialNumber.String()] = true
			e := v.last()
			if e.ID != "the-issue" || e.Outcome != auditlog.Allowed || e.Issued == nil || e.Issued.URI != tt.uri ||
				"sha256:"+e.Issued.SHA256.String() != got.Fingerprint || !e.Issued.Expires.Equal(leaf.NotAfter) || !strings.HasPrefix(got.Fingerprint, "sha256:") {
				t.Errorf("the entry is %+v, %+v", e, e.Issued)
			}
		})
	}

	for _, hosts := range [][]string{{"*.signet.test"}, {"a b"}, {""}, {"-a.test"}, {"https://a.test"}, {"ok.test", "10.0.0.0/8"}, {strings.Repeat("a.", 127)}} {
		_, err = v.System.IssueCertificate(t.Context(), principal(operatorID), CertificateRequest{CSR: csrOf(t, p256), Hosts: hosts})
		wantReason(t, err, ErrMalformed, ReasonMalformed)
	}
	_, err = v.System.IssueCertificate(t.Context(), principal(operatorID), CertificateRequest{CSR: csrOf(t, p256), Hosts: []string{"a.test"}, URI: id})
	wantReason(t, err, ErrMalformed, ReasonMalformed)
	_, err = v.System.IssueCertificate(t.Context(), principal(operatorID), CertificateRequest{CSR: csrOf(t, p256), Hosts: []string{"a.test"}, TTL: time.Hour})
	wantReason(t, err, ErrMalformed, ReasonMalformed)
	// Whoever may certify callers may not become the server.
	_, err = v.System.IssueCertificate(t.Context(), principal("spiffe://signet.test/issuer"), CertificateRequest{CSR: csrOf(t, p256), Hosts: []string{"a.test"}})
	wantReason(t, err, ErrDenied, ReasonDenied)
	own, err := v.System.IssueCertificate(t.Context(), principal(operatorID), CertificateRequest{CSR: csrOf(t, p256), Hosts: []string{"a.test", "::1", "10.0.0.7"}})
	check(t, err)
	leaf, err := x509.ParseCertificate(own.DER)
	check(t, err)
	for _, name := range []string{"a.test", "::1", "10.0.0.7"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, CurrentTime: v.clock.Now()}); err != nil {
			t.Errorf("the server's certificate for %s: %v", name, err)
		}
	}
	if len(leaf.ExtKeyUsage) != 1 || len(leaf.URIs) != 0 || leaf.NotAfter.Sub(v.clock.Now()) != serverLife {
		t.Errorf("the server's certificate says %v, %v, until %v", leaf.ExtKeyUsage, leaf.URIs, leaf.NotAfter)
	}
	if e := v.last(); e.Issued == nil || e.Issued.URI != "https://a.test" || "sha256:"+e.Issued.SHA256.String() != own.Fingerprint {
		t.Errorf("the entry is %+v, %+v", e, e.Issued)
	}

	// While a gap is open only operators have certificates made.
	_, err = v.show(v.forge(3))
	wantReason(t, err, ErrPrecondition, ReasonGap)
	_, err = v.System.IssueCertificate(t.Context(), principal("spiffe://signet.test/issuer"), CertificateRequest{CSR: csrOf(t, p256), URI: id})
	wantReason(t, err, ErrUnavailable, ReasonGap)
	_, err = v.System.IssueCertificate(t.Context(), principal(operatorID), CertificateRequest{CSR: csrOf(t, p256), URI: operatorID})
	check(t, err)

	// Nothing outlives the CA.
	v.acknowledge(v.openGaps()[0].ID)
	v.clock.Advance(caLife - time.Hour)
	last, err := v.System.IssueCertificate(t.Context(), principal(operatorID), CertificateRequest{CSR: csrOf(t, p256), URI: id})
	check(t, err)
	if got := last.NotAfter.Sub(v.clock.Now()); got != time.Hour {
		t.Errorf("a certificate outlives the CA: %v", got)
	}
}
