package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
)

// testCA is a client CA whose key the test has, unlike the vault's own.
type testCA struct {
	t    *testing.T
	now  func() time.Time
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T, now func() time.Time) *testCA {
	t.Helper()
	ca := &testCA{t: t, now: now}
	ca.cert, ca.key = ca.sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now().Add(-time.Hour), NotAfter: now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return ca
}

func (ca *testCA) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	by, with := template, key
	if ca.key != nil {
		by, with = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key.Public(), with)
	if err != nil {
		ca.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert, key
}

// caller is a good certificate of a caller, changed.
func (ca *testCA) caller(change func(*x509.Certificate)) *tls.Certificate {
	ca.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: ca.now().Add(-time.Minute), NotAfter: ca.now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs: []*url.URL{spiffe(ca.t, ci)},
	}
	if change != nil {
		change(template)
	}
	cert, key := ca.sign(template)
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (ca *testCA) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

func spiffe(t *testing.T, id string) *url.URL {
	t.Helper()
	u, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// trusting is a server whose callers are certified by a CA of the test's.
func trusting(t *testing.T) (s *servertest.Server, ca *testCA, caFile string) {
	t.Helper()
	caFile = filepath.Join(t.TempDir(), "callers.pem")
	s = servertest.New(t, servertest.Options{Configure: func(c *server.Config) {
		if ca == nil {
			ca = newCA(t, c.Now)
			write(t, caFile, ca.pem())
		}
		c.TLS.ClientCAFile = caFile
	}})
	return s, ca, caFile
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// ask makes a call that every authenticated caller may make.
func ask(t *testing.T, conn *grpc.ClientConn) error {
	t.Helper()
	_, err := signetv1.NewAuditServiceClient(conn).GetCheckpoint(t.Context(), &signetv1.GetCheckpointRequest{})
	return err
}

func TestWhoIsCalling(t *testing.T) {
	s, ca, _ := trusting(t)
	other := newCA(t, s.Clock.Now)
	refused := map[string]*tls.Certificate{
		"none":          nil,
		"other CA":      other.caller(nil),
		"expired":       ca.caller(func(c *x509.Certificate) { c.NotAfter = s.Clock.Now().Add(-time.Second) }),
		"not yet valid": ca.caller(func(c *x509.Certificate) { c.NotBefore = s.Clock.Now().Add(time.Minute) }),
		"two URI SANs":  ca.caller(func(c *x509.Certificate) { c.URIs = append(c.URIs, spiffe(t, stranger)) }),
		"no SAN":        ca.caller(func(c *x509.Certificate) { c.URIs, c.Subject.CommonName = nil, ci }),
		"DNS only":      ca.caller(func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"localhost"} }),
		"server EKU": ca.caller(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}),
	}
	if err := ask(t, s.Dial(ca.caller(nil))); err != nil {
		t.Fatalf("a good certificate: %v", err)
	}
	var one *status.Status
	for name, certificate := range refused {
		err := ask(t, s.Dial(certificate))
		expect(t, err, codes.Unauthenticated, "UNAUTHENTICATED")
		if st := status.Convert(err); one == nil {
			one = st
		} else if st.Message() != one.Message() || len(st.Details()) != len(one.Details()) {
			t.Errorf("%s is answered %q, another %q: they are to be the same", name, st.Message(), one.Message())
		}
	}
}

// TestEveryMethodAuthenticates asks every method of ours without a certificate, with a request that is no request.
func TestEveryMethodAuthenticates(t *testing.T) {
	s := servertest.New(t)
	nobody := s.Dial(nil)
	for _, m := range ours() {
		junk := dynamicpb.NewMessage(m.Input())
		junk.SetUnknown([]byte("\x0a\xff"))
		_, err := call(t.Context(), nobody, m, junk)
		if status.Code(err) != codes.Unauthenticated || reason(err) != "UNAUTHENTICATED" {
			t.Errorf("%s answered %v to nobody", path(m), err)
		}
	}
}

// TestFailuresAreSummarised: any number of them is one entry.
func TestFailuresAreSummarised(t *testing.T) {
	s := servertest.New(t)
	nobody := s.Dial(nil)
	const calls = 50
	for range calls {
		expect(t, ask(t, nobody), codes.Unauthenticated, "UNAUTHENTICATED")
	}
	s.Restart() // what was counted is recorded at the end at the latest
	lines := entries(t, s, &signetv1.EntryFilter{Outcome: "summary"})
	var total int
	for _, line := range lines {
		var e struct{ Count int }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		total += e.Count
	}
	if total != calls || len(lines) > 3 {
		t.Errorf("%d failures are in %d entries: %q", total, len(lines), lines)
	}
}

func TestExpiryWhileConnected(t *testing.T) {
	s, ca, _ := trusting(t)
	conn := s.Dial(ca.caller(nil))
	if err := ask(t, conn); err != nil {
		t.Fatal(err)
	}
	s.Clock.Advance(time.Hour)
	if err := ask(t, conn); err != nil {
		t.Fatalf("in the last second: %v", err)
	}
	s.Clock.Advance(time.Second)
	expect(t, ask(t, conn), codes.Unauthenticated, "UNAUTHENTICATED")
}

func TestCAReloadDropsTrust(t *testing.T) {
	s, ca, file := trusting(t)
	conn := s.Dial(ca.caller(nil))
	if err := ask(t, conn); err != nil {
		t.Fatal(err)
	}
	eventually := func(what string, want codes.Code) {
		t.Helper()
		var got codes.Code
		for range 500 {
			if got = status.Code(ask(t, conn)); got == want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
	write(t, file, newCA(t, s.Clock.Now).pem())
	eventually("with another CA", codes.Unauthenticated)
	write(t, file, ca.pem())
	eventually("with the CA again", codes.OK)
	write(t, file, []byte("broken"))
	time.Sleep(100 * time.Millisecond)
	eventually("with a broken file", codes.OK)
}

// TestOldTLS: nothing below 1.3.
func TestOldTLS(t *testing.T) {
	s := servertest.New(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA())
	conn, err := tls.Dial("tcp", s.Addr(), &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS12, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}})
	if err == nil {
		t.Errorf("connected with TLS 1.2: %v", conn.Close())
	}
	conn, err = tls.Dial("tcp", s.Addr(), &tls.Config{RootCAs: roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatalf("with TLS 1.3: %v", err)
	}
	if v := conn.ConnectionState().Version; v != tls.VersionTLS13 {
		t.Errorf("TLS version %x", v)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// TestServerCertificateIsNoCaller: the extended key usage is enforced the other way too.
func TestServerCertificateIsNoCaller(t *testing.T) {
	s := servertest.New(t)
	certificate, err := tls.LoadX509KeyPair(s.Config().TLS.CertFile, s.Config().TLS.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, ask(t, s.Dial(&certificate)), codes.Unauthenticated, "UNAUTHENTICATED")

	// And a caller's certificate is no server's: the server does not start with it.
	caller := s.Certificate(ci)
	der, err := x509.MarshalPKCS8PrivateKey(caller.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg := s.Config()
	cfg.Backend = nil
	cfg.TLS.CertFile, cfg.TLS.KeyFile = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	write(t, cfg.TLS.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caller.Certificate[0]}))
	write(t, cfg.TLS.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err := server.Check(t.Context(), cfg); err == nil {
		t.Error("a caller's certificate was taken for a server's")
	}
}
