package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server/servertest"
)

// TestSealedTooLongAgo imports a sealed file on the day that its recipient has expired, which no story can wait for.
func TestSealedTooLongAgo(t *testing.T) {
	s := servertest.New(t)
	s.ApplyPolicy("version: 1\ngrants:\n  - {id: i, to: [{mtls: spiffe://signet.test/importer}], do: [key.import, key.read]}\n")
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(in(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certify := func() []byte {
		t.Helper()
		cert := s.Certificate("spiffe://signet.test/importer")
		der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		write("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
		write("key.pem", key)
		return key
	}
	write("AuthKey_2X9R4HXF34.p8", certify()) // the caller's own key serves: it is P-256, as Apple's are
	write("ca.pem", s.CA())
	write("client.yaml", []byte("addresses: [\""+s.Addr()+"\"]\nlogs: [{origin: "+s.LogOrigin()+", key: "+s.LogKey()+"}]\n"+
		"ca: ca.pem\ncertificate: cert.pem\nkey: key.pem\n"))
	signet := func(args ...string) (int, string) {
		t.Helper()
		var out bytes.Buffer
		getenv := func(name string) string {
			return map[string]string{"SIGNET_CONFIG": in("client.yaml"), "HOME": dir}[name]
		}
		code := run(t.Context(), args, getenv, strings.NewReader(""), &out, &out)
		return code, out.String()
	}

	if code, out := signet("key", "recipient", "--out", in("r.txt")); code != cli.OK {
		t.Fatalf("recipient: %d, %s", code, out)
	}
	if code, out := signet("key", "seal", in("AuthKey_2X9R4HXF34.p8"), "--to", in("r.txt"), "--kind", "app-store-connect-individual", "--out", in("k.sealed")); code != cli.OK {
		t.Fatalf("seal: %d, %s", code, out)
	}
	s.Clock.Advance(20 * 24 * time.Hour)
	certify() // the first one would end with the recipient
	s.Clock.Advance(10*24*time.Hour + time.Hour)
	code, out := signet("key", "import", "k", in("k.sealed"))
	if code != cli.Malformed || !strings.Contains(out, "expired") || !strings.Contains(out, "signet key recipient") {
		t.Errorf("import after the recipient's end: %d, %s", code, out)
	}
	if code, out := signet("key", "list"); code != cli.OK || strings.Contains(out, "2X9R4HXF34") {
		t.Errorf("list: %d, %s", code, out)
	}
}
