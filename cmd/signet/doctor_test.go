package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// doctorAt is a doctor whose clock shows now.
func doctorAt(now time.Time) *doctor {
	return &doctor{app: &app{Env: cli.Env{Now: func() time.Time { return now }, Getenv: func(string) string { return "" }}}}
}

// only is the one finding.
func (d *doctor) only(t *testing.T) finding {
	t.Helper()
	if len(d.found) != 1 {
		t.Fatalf("found %+v", d.found)
	}
	return d.found[0]
}

func TestDoctorsClock(t *testing.T) {
	asked := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	answered := asked.Add(40 * time.Millisecond)
	tests := []struct {
		name   string
		server time.Time
		want   level
		says   string
	}{
		{"in between", asked.Add(20 * time.Millisecond), levelOK, "to within 40ms"},
		{"a little behind", asked.Add(-time.Second), levelOK, "to within 1s"},
		{"five seconds behind", asked.Add(-5 * time.Second), levelWarn, "5s ahead of the server's"},
		{"five seconds ahead", answered.Add(5 * time.Second), levelWarn, "5s behind the server's"},
		{"just not half a minute", answered.Add(30*time.Second - time.Millisecond), levelWarn, "29.999s behind the server's"},
		{"half a minute behind", asked.Add(-30 * time.Second), levelFail, "30s ahead of the server's"},
		{"a year ahead", answered.AddDate(1, 0, 0), levelFail, "behind the server's"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := doctorAt(answered)
			d.clock(asked, tt.server, answered)
			if got := d.only(t); got.Level != tt.want || !strings.Contains(got.Text, tt.says) || (got.Todo == "") != (tt.want == levelOK) {
				t.Errorf("found %+v", got)
			}
		})
	}
}

func TestServerTime(t *testing.T) {
	before := time.Now().Add(-time.Second)
	got, ok := serverTime(metadata.Pairs(requestID, uuid.Must(uuid.NewV7()).String()))
	if !ok || got.Before(before) || got.After(time.Now().Add(time.Second)) {
		t.Errorf("%v, %v", got, ok)
	}
	for _, other := range []metadata.MD{nil, metadata.Pairs(requestID, "nonsense"), metadata.Pairs(requestID, uuid.NewString()), metadata.Pairs("other", uuid.Must(uuid.NewV7()).String())} {
		if got, ok := serverTime(other); ok {
			t.Errorf("%v has the time %v", other, got)
		}
	}
}

func TestDoctorsValidity(t *testing.T) {
	from := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	cert := &x509.Certificate{NotBefore: from, NotAfter: from.Add(30 * 24 * time.Hour)}
	tests := []struct {
		name string
		now  time.Time
		want level
		says string
	}{
		{"too early", from.Add(-time.Second), levelFail, "not valid before 2026-11-01T00:00:00Z"},
		{"fresh", from, levelOK, "30 days more"},
		{"four fifths", from.Add(24 * 24 * time.Hour), levelOK, "6 days more"},
		{"more", from.Add(24*24*time.Hour + time.Second), levelWarn, "expires in 5 days"},
		{"the last day", from.Add(29*24*time.Hour + 30*time.Minute), levelWarn, "expires in 23 hours"},
		{"the last hour", from.Add(30*24*time.Hour - 59*time.Minute), levelWarn, "expires in 59 minutes"},
		{"the last minute", from.Add(30*24*time.Hour - time.Second), levelWarn, "less than a minute"},
		{"over", from.Add(30 * 24 * time.Hour), levelFail, "has expired at 2026-12-01T00:00:00Z"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := doctorAt(tt.now)
			d.validity("certificate", cert, "renew it", "the certificate")
			if got := d.only(t); got.Level != tt.want || !strings.Contains(got.Text, tt.says) {
				t.Errorf("found %+v", got)
			}
		})
	}
}

func TestCallerID(t *testing.T) {
	uris := func(all ...string) *x509.Certificate {
		c := &x509.Certificate{}
		for _, s := range all {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, u)
		}
		return c
	}
	if id, err := callerID(uris("spiffe://a.example/ci")); err != nil || id != "spiffe://a.example/ci" {
		t.Errorf("%s, %v", id, err)
	}
	for _, bad := range []*x509.Certificate{uris(), uris("spiffe://a.example/ci", "spiffe://a.example/ci2"), uris("https://a.example/ci"), uris("spiffe://a.example")} {
		if id, err := callerID(bad); err == nil {
			t.Errorf("%v is %s", bad.URIs, id)
		}
	}
}

// TestIssuedBy: who issued a certificate is another question than whether it is valid now.
func TestIssuedBy(t *testing.T) {
	from := time.Now().Add(-48 * time.Hour)
	issue := func(parent *tls.Certificate, ca bool) *tls.Certificate {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: rand.Text()}, NotBefore: from, NotAfter: from.Add(24 * time.Hour),
			IsCA: ca, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		signer, above := any(key), c
		if parent != nil {
			signer, above = parent.PrivateKey, parent.Leaf
		}
		der, err := x509.CreateCertificate(rand.Reader, c, above, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	}
	ca, other := issue(nil, true), issue(nil, true)
	between := issue(ca, true)
	direct, indirect := issue(ca, false), issue(between, false)
	indirect.Certificate = append(indirect.Certificate, between.Certificate[0])
	roots := x509.NewCertPool()
	roots.AddCert(ca.Leaf)
	for name, tt := range map[string]struct {
		cert *tls.Certificate
		want bool
	}{"direct, and expired": {direct, true}, "through another": {indirect, true}, "of another CA": {issue(other, false), false}} {
		if got := issuedBy(*tt.cert, roots); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestDoctorReports: lines for people, exit code and JSON agree.
func TestDoctorReports(t *testing.T) {
	for _, worst := range []level{levelOK, levelWarn, levelFail} {
		var out strings.Builder
		d := doctorAt(time.Now())
		d.Stdout = &out
		d.add(levelOK, "config", "", "fine")
		d.address = "host:1"
		d.add(worst, "clock", "set it", "wrong\x1b[2J")
		err := d.report("table")
		if (err != nil) != (worst == levelFail) || strings.Contains(out.String(), "\x1b") || !strings.Contains(out.String(), "host:1: wrong") || !strings.Contains(out.String(), "; set it") {
			t.Errorf("%v, %q", err, &out)
		}
		if code := cli.Code(err); worst == levelFail && code != cli.Other {
			t.Errorf("exit code %d", code)
		}
	}
}
