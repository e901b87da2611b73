package authn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/credentials"

	"github.com/p8signet/signet/server/policy"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// issuer makes certificates.
type issuer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T, parent *issuer, change func(*x509.Certificate)) *issuer {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA " + rand.Text()},
		NotBefore: noon.Add(-time.Hour), NotAfter: noon.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(template)
	}
	i := &issuer{t: t}
	i.cert, i.key = i.sign(template, parent)
	return i
}

// sign signs a template; by itself when there is no parent.
func (i *issuer) sign(template *x509.Certificate, parent *issuer) (*x509.Certificate, *ecdsa.PrivateKey) {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	by, with := template, key
	if parent != nil {
		by, with = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), with)
	if err != nil {
		i.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return cert, key
}

// leaf is a good caller's certificate, changed.
func (i *issuer) leaf(change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	i.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "spiffe://signet.test/admin"},
		NotBefore: noon.Add(-time.Minute), NotAfter: noon.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs: uris(i.t, "spiffe://signet.test/ci/1"),
	}
	if change != nil {
		change(template)
	}
	return i.sign(template, i)
}

func uris(t *testing.T, texts ...string) []*url.URL {
	t.Helper()
	var all []*url.URL
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// files is what an Authenticator reads, and its clock.
type files struct {
	t   *testing.T
	dir string
	now time.Time
	log strings.Builder
}

func newFiles(t *testing.T, ca *issuer) *files {
	t.Helper()
	f := &files{t: t, dir: t.TempDir(), now: noon}
	f.writeCA(ca)
	f.writePair(ca, func(c *x509.Certificate) {})
	return f
}

func (f *files) path(name string) string { return filepath.Join(f.dir, name) }

func (f *files) write(name string, data []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), data, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *files) writeCA(ca *issuer) { f.write("ca.pem", certPEM(ca.cert)) }

func (f *files) writePair(ca *issuer, change func(*x509.Certificate)) *x509.Certificate {
	f.t.Helper()
	cert, key := ca.leaf(func(c *x509.Certificate) {
		c.URIs, c.DNSNames = nil, []string{"localhost"}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		change(c)
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	f.write("server.pem", certPEM(cert))
	f.write("server.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return cert
}

func (f *files) config() Config {
	return Config{
		CertFile: f.path("server.pem"), KeyFile: f.path("server.key"), ClientCAFile: f.path("ca.pem"), TrustDomain: "signet.test",
		Now: func() time.Time { return f.now }, Logger: slog.New(slog.NewTextHandler(&f.log, nil)),
	}
}

func (f *files) open() *Authenticator {
	f.t.Helper()
	a, err := New(f.config())
	if err != nil {
		f.t.Fatal(err)
	}
	return a
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func conn(presented ...*x509.Certificate) *Conn {
	return &Conn{TLSInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: presented}}, peer: "192.0.2.1:7"}
}

func TestAuthenticate(t *testing.T) {
	ca, other := newIssuer(t, nil, nil), newIssuer(t, nil, nil)
	between := newIssuer(t, ca, nil)
	serversOnly := newIssuer(t, ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	shortLived := newIssuer(t, ca, func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Second) })

	tests := []struct {
		name   string
		by     *issuer
		change func(*x509.Certificate)
		chain  []*issuer // presented after the leaf
		want   error
	}{
		{name: "good", by: ca},
		{name: "good for servers too, as SPIRE issues them", by: ca, change: func(c *x509.Certificate) {
			c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		}},
		{name: "DNS name beside the URI", by: ca, change: func(c *x509.Certificate) { c.DNSNames = []string{"ci.signet.test"} }},
		{name: "through an intermediate", by: between, chain: []*issuer{between}},
		{name: "the last valid second", by: ca, change: func(c *x509.Certificate) { c.NotAfter = noon }},

		{name: "other CA", by: other, want: UnknownIssuer},
		{name: "other CA, presented with its certificate", by: other, chain: []*issuer{other}, want: UnknownIssuer},
		{name: "intermediate not presented", by: between, want: UnknownIssuer},
		{name: "too long a chain", by: between, chain: []*issuer{between, between, between, between}, want: UnknownIssuer},
		{name: "intermediate for servers only", by: serversOnly, chain: []*issuer{serversOnly}, want: UnknownIssuer},
		{name: "intermediate expired", by: shortLived, chain: []*issuer{shortLived}, want: Expired},
		{name: "expired", by: ca, change: func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Second) }, want: Expired},
		{name: "not valid yet", by: ca, change: func(c *x509.Certificate) { c.NotBefore = noon.Add(time.Second) }, want: NotYetValid},
		{name: "two URIs", by: ca, change: func(c *x509.Certificate) {
			c.URIs = uris(t, "spiffe://signet.test/ci/1", "spiffe://signet.test/ci/2")
		}, want: NotOneURI},
		{name: "the same URI twice", by: ca, change: func(c *x509.Certificate) {
			c.URIs = uris(t, "spiffe://signet.test/ci/1", "spiffe://signet.test/ci/1")
		}, want: NotOneURI},
		{name: "a second URI of another scheme", by: ca, change: func(c *x509.Certificate) {
			c.URIs = uris(t, "spiffe://signet.test/ci/1", "https://signet.test/ci/1")
		}, want: NotOneURI},
		{name: "no SAN, but a common name", by: ca, change: func(c *x509.Certificate) { c.URIs = nil }, want: NotOneURI},
		{name: "DNS name only", by: ca, change: func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"ci.signet.test"} }, want: NotOneURI},
		{name: "URI of another scheme", by: ca, change: func(c *x509.Certificate) { c.URIs = uris(t, "https://signet.test/ci/1") }, want: NotSPIFFE},
		{name: "no path", by: ca, change: func(c *x509.Certificate) { c.URIs = uris(t, "spiffe://signet.test") }, want: NotSPIFFE},
		{name: "dots in the path", by: ca, change: func(c *x509.Certificate) { c.URIs = uris(t, "spiffe://signet.test/ci/../operator") }, want: NotSPIFFE},
		{name: "escaped path", by: ca, change: func(c *x509.Certificate) { c.URIs = uris(t, "spiffe://signet.test/ci%2f1") }, want: NotSPIFFE},
		{name: "query", by: ca, change: func(c *x509.Certificate) { c.URIs = uris(t, "spiffe://signet.test/ci/1?x=y") }, want: NotSPIFFE},
		{name: "user", by: ca, change: func(c *x509.Certificate) { c.URIs = uris(t, "spiffe://me@signet.test/ci/1") }, want: NotSPIFFE},
		{name: "other trust domain", by: ca, change: func(c *x509.Certificate) { c.URIs = uris(t, "spiffe://elsewhere.test/ci/1") }, want: OtherDomain},
		{name: "server's extended key usage", by: ca, change: func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, want: NotClientAuth},
		{name: "no extended key usage", by: ca, change: func(c *x509.Certificate) { c.ExtKeyUsage = nil }, want: NotClientAuth},
		{name: "any extended key usage", by: ca, change: func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
		}, want: NotClientAuth},
		{name: "a CA's certificate", by: ca, change: func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		}, want: IsCA},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newFiles(t, ca).open()
			leaf, _ := tt.by.leaf(tt.change)
			presented := []*x509.Certificate{leaf}
			for _, i := range tt.chain {
				presented = append(presented, i.cert)
			}
			c := conn(presented...)
			for range 2 { // judged, then remembered
				got, err := a.Authenticate(c)
				if !errors.Is(err, tt.want) || (tt.want == nil) != (err == nil) {
					t.Fatalf("error %v, want %v", err, tt.want)
				}
				want := policy.Principal{}
				if tt.want == nil {
					want = policy.Principal{Kind: "mtls", ID: "spiffe://signet.test/ci/1", Certificate: Fingerprint(leaf.Raw), Peer: "192.0.2.1:7"}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatal(diff)
				}
			}
		})
	}
}

func TestAuthenticateNobody(t *testing.T) {
	a := newFiles(t, newIssuer(t, nil, nil)).open()
	tests := []struct {
		name string
		info credentials.AuthInfo
		want Failure
	}{
		{"no certificate", conn(), NoCertificate},
		{"no TLS", nil, NotTLS},
		{"another kind of connection", credentials.TLSInfo{}, NotTLS},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := a.Authenticate(tt.info); !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// TestTimePasses holds a connection open over the ends of its certificates.
func TestTimePasses(t *testing.T) {
	ca := newIssuer(t, nil, nil)
	between := newIssuer(t, ca, func(c *x509.Certificate) { c.NotAfter = noon.Add(time.Hour) })
	long, _ := ca.leaf(nil)
	short, _ := between.leaf(nil)
	f := newFiles(t, ca)
	a := f.open()
	direct, through := conn(long), conn(short, between.cert)

	steps := []struct {
		name            string
		at              time.Time
		direct, through error
	}{
		{"at once", noon, nil, nil},
		{"the intermediate's last second", noon.Add(time.Hour), nil, nil},
		{"the intermediate is over", noon.Add(time.Hour + time.Second), nil, Expired},
		{"the leaf is over", noon.Add(24*time.Hour + time.Second), Expired, Expired},
		{"the clock went back before all", noon.Add(-30 * time.Minute), NotYetValid, NotYetValid},
		{"and came again", noon, nil, nil},
	}
	for _, s := range steps {
		f.now = s.at
		if _, err := a.Authenticate(direct); !errors.Is(err, s.direct) {
			t.Errorf("%s: directly: %v, want %v", s.name, err, s.direct)
		}
		if _, err := a.Authenticate(through); !errors.Is(err, s.through) {
			t.Errorf("%s: through the intermediate: %v, want %v", s.name, err, s.through)
		}
	}
}

// TestEarlyIsNotForEver asks too early first: what was refused for its time alone is not remembered as refused.
func TestEarlyIsNotForEver(t *testing.T) {
	ca := newIssuer(t, nil, nil)
	f := newFiles(t, ca)
	a := f.open()
	leaf, _ := ca.leaf(nil)
	c := conn(leaf)
	f.now = noon.Add(-time.Hour)
	if _, err := a.Authenticate(c); !errors.Is(err, NotYetValid) {
		t.Fatalf("early: %v", err)
	}
	f.now = noon
	if _, err := a.Authenticate(c); err != nil {
		t.Fatalf("in time: %v", err)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	t := &testing.T{}
	ca := newIssuer(t, nil, nil)
	leaf, _ := ca.leaf(nil)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	a := &Authenticator{now: func() time.Time { return noon }}
	a.trust.Store(&trust{roots: roots})
	c := conn(leaf)
	for b.Loop() {
		_, _ = a.Authenticate(c)
	}
}
