package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestNewRefuses(t *testing.T) {
	ca := newIssuer(t, nil, nil)
	leaf, _ := ca.leaf(nil)
	tests := []struct {
		name  string
		spoil func(*files, *Config)
		want  string
	}{
		{"no clock", func(_ *files, c *Config) { c.Now = nil }, "clock"},
		{"trust domain with a path", func(_ *files, c *Config) { c.TrustDomain = "signet.test/x" }, "trust domain"},
		{"no certificate", func(f *files, c *Config) { c.CertFile = f.path("nowhere") }, "nowhere"},
		{"no CA", func(f *files, c *Config) { c.ClientCAFile = f.path("nowhere") }, "nowhere"},
		{"key of another certificate", func(f *files, _ *Config) {
			old, err := os.ReadFile(f.path("server.key"))
			if err != nil {
				t.Fatal(err)
			}
			f.writePair(ca, func(*x509.Certificate) {})
			f.write("server.key", old)
		}, "private key does not match"},
		{"certificate for clients", func(f *files, _ *Config) {
			f.writePair(ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
		}, "not for server authentication"},
		{"certificate without extended key usage", func(f *files, _ *Config) {
			f.writePair(ca, func(c *x509.Certificate) { c.ExtKeyUsage = nil })
		}, "not for server authentication"},
		{"certificate expired", func(f *files, _ *Config) {
			f.writePair(ca, func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Second) })
		}, "expired on 2026-06-01T11:59:59Z"},
		{"certificate not valid yet", func(f *files, _ *Config) {
			f.writePair(ca, func(c *x509.Certificate) { c.NotBefore = noon.Add(time.Minute) })
		}, "not valid before 2026-06-01T12:01:00Z"},
		{"CA is empty", func(f *files, _ *Config) { f.write("ca.pem", nil) }, "not a PEM certificate"},
		{"CA is a key", func(f *files, _ *Config) { f.write("ca.pem", []byte("-----BEGIN X-----\nAAAA\n-----END X-----\n")) }, "not a PEM certificate"},
		{"CA is garbage", func(f *files, _ *Config) {
			f.write("ca.pem", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		}, "x509"},
		{"CA is a leaf", func(f *files, _ *Config) { f.write("ca.pem", certPEM(leaf)) }, "not a CA's"},
		{"two CAs", func(f *files, _ *Config) { f.write("ca.pem", append(certPEM(ca.cert), certPEM(ca.cert)...)) }, "more than one"},
		{"CA expired", func(f *files, _ *Config) {
			f.writeCA(newIssuer(t, nil, func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Second) }))
		}, "expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFiles(t, ca)
			config := f.config()
			tt.spoil(f, &config)
			_, err := New(config)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one about %q", err, tt.want)
			}
		})
	}
}

func TestReloadCA(t *testing.T) {
	old, next := newIssuer(t, nil, nil), newIssuer(t, nil, nil)
	f := newFiles(t, old)
	a := f.open()
	oldLeaf, _ := old.leaf(nil)
	nextLeaf, _ := next.leaf(nil)
	c, d := conn(oldLeaf), conn(nextLeaf)
	expect := func(when string, ofOld, ofNext error) {
		t.Helper()
		if _, err := a.Authenticate(c); !errors.Is(err, ofOld) {
			t.Errorf("%s: caller of the old CA: %v, want %v", when, err, ofOld)
		}
		if _, err := a.Authenticate(d); !errors.Is(err, ofNext) {
			t.Errorf("%s: caller of the next CA: %v, want %v", when, err, ofNext)
		}
	}
	expect("at first", nil, UnknownIssuer)

	f.write("ca.pem", []byte("half a fi"))
	for range 3 {
		a.Reload(t.Context())
	}
	expect("with a broken file", nil, UnknownIssuer)
	if n := strings.Count(f.log.String(), "level=ERROR"); n != 1 {
		t.Errorf("a broken file was complained of %d times, want once:\n%s", n, f.log.String())
	}

	f.writeCA(next)
	a.Reload(t.Context())
	expect("with the next CA", UnknownIssuer, nil)

	if err := os.Remove(f.path("ca.pem")); err != nil {
		t.Fatal(err)
	}
	a.Reload(t.Context())
	a.Reload(t.Context())
	expect("without a file", UnknownIssuer, nil)
	if n := strings.Count(f.log.String(), "level=ERROR"); n != 2 {
		t.Errorf("two things were wrong and %d were logged:\n%s", n, f.log.String())
	}

	f.writeCA(old)
	a.Reload(t.Context())
	expect("with the old CA again", nil, UnknownIssuer)
}

func TestReloadCertificate(t *testing.T) {
	ca := newIssuer(t, nil, nil)
	f := newFiles(t, ca)
	a := f.open()
	first := a.certificate.Load()

	a.Reload(t.Context())
	if a.certificate.Load() != first {
		t.Error("an unchanged certificate was loaded again")
	}
	// The certificate is replaced before its key: for a moment they do not fit.
	key, err := os.ReadFile(f.path("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	second := f.writePair(ca, func(*x509.Certificate) {})
	newKey, err := os.ReadFile(f.path("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	f.write("server.key", key)
	a.Reload(t.Context())
	if a.certificate.Load() != first {
		t.Error("a certificate without its key was taken")
	}
	f.write("server.key", newKey)
	a.Reload(t.Context())
	if got := a.certificate.Load(); !got.Leaf.Equal(second) {
		t.Error("the new certificate was not taken")
	}
}

func TestWatch(t *testing.T) {
	old, next := newIssuer(t, nil, nil), newIssuer(t, nil, nil)
	f := newFiles(t, old)
	a := f.open()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Watch(ctx, time.Millisecond)
	}()
	before := a.trust.Load()
	f.writeCA(next)
	for deadline := time.Now().Add(10 * time.Second); a.trust.Load() == before; {
		if time.Now().After(deadline) {
			t.Fatal("a changed CA was not noticed")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
}
