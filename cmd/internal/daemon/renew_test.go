package daemon

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// TestRenewAfterTheEnd renews a certificate with which no server starts any more.
func TestRenewAfterTheEnd(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	ahead := time.Duration(0)
	signetd := func(args ...string) (int, string) {
		t.Helper()
		var out bytes.Buffer
		code := Run(t.Context(), cli.Env{
			Args: args, Getenv: func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
			Now: func() time.Time { return time.Now().Add(ahead) }, Version: "test",
		})
		return code, out.String()
	}
	if code, out := signetd("init", "--dir", dir, "--listen", "127.0.0.1:0"); code != cli.OK {
		t.Fatal(out)
	}
	ahead = 400 * 24 * time.Hour
	config := filepath.Join(dir, configFile)
	if code, out := signetd("check", "--config", config); code != cli.Malformed || !strings.Contains(out, "expired") || !strings.Contains(out, "--server") {
		t.Errorf("check: %d, %s", code, out)
	}
	if code, out := signetd("cert", "--dir", dir, "--server"); code != cli.OK {
		t.Fatalf("cert --server: %d, %s", code, out)
	}
	if code, out := signetd("check", "--config", config); code != cli.OK || strings.Contains(out, "ends") {
		t.Errorf("check after it: %d, %s", code, out)
	}
}

// TestRenewOthers: a certificate of another CA is not replaced by ours.
func TestRenewOthers(t *testing.T) {
	own, other := pair(t, time.Now().Add(time.Hour)), pair(t, time.Now().Add(time.Hour))
	own.ClientCA = other.Certificate
	if _, err := ownPair(&config{TLS: own}); cli.Code(err) != cli.Conflict {
		t.Errorf("of another CA: %v", err)
	}
	own.Key = other.Key
	if _, err := ownPair(&config{TLS: own}); cli.Code(err) != cli.Malformed {
		t.Errorf("with another key: %v", err)
	}
	own = pair(t, time.Now().Add(time.Hour))
	own.ClientCA = own.Key
	if _, err := ownPair(&config{TLS: own}); err == nil {
		t.Error("a CA that is none was believed")
	}
	own.ClientCA = filepath.Join(t.TempDir(), "none")
	if _, err := ownPair(&config{TLS: own}); err == nil {
		t.Error("without a CA")
	}
	if err := os.WriteFile(own.ClientCA, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ownPair(&config{TLS: own}); cli.Code(err) != cli.Malformed {
		t.Errorf("with a CA that is no PEM: %v", err)
	}
	if _, err := tls.LoadX509KeyPair(own.Certificate, own.Key); err != nil {
		t.Errorf("the pair was touched: %v", err)
	}
}
