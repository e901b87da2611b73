package main

import (
	"bytes"
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
	config := s.WriteConfig(dir, "spiffe://signet.test/importer")
	key, err := os.ReadFile(in("key.pem")) // the caller's own key serves: it is P-256, as Apple's are
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in("AuthKey_2X9R4HXF34.p8"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	signet := func(args ...string) (int, string) {
		t.Helper()
		var out bytes.Buffer
		getenv := func(name string) string {
			return map[string]string{"SIGNET_CONFIG": config, "HOME": dir}[name]
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
	s.WriteConfig(dir, "spiffe://signet.test/importer") // the first certificate would end with the recipient
	s.Clock.Advance(10*24*time.Hour + time.Hour)
	code, out := signet("key", "import", "k", in("k.sealed"))
	if code != cli.Malformed || !strings.Contains(out, "expired") || !strings.Contains(out, "signet key recipient") {
		t.Errorf("import after the recipient's end: %d, %s", code, out)
	}
	if code, out := signet("key", "list"); code != cli.OK || strings.Contains(out, "2X9R4HXF34") {
		t.Errorf("list: %d, %s", code, out)
	}
}
