package daemon

import (
	"bytes"
	"crypto/tls"
	"io"
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

// TestDevLasts: whoever comes back to a dev vault after a year finds it as it was.
func TestDevLasts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	ahead := time.Duration(0)
	p := &program{cli.Env{
		Getenv: func(string) string { return "" }, Stdout: io.Discard, Stderr: io.Discard,
		Now: func() time.Time { return time.Now().Add(ahead) }, Version: "test",
	}}
	if err := p.createDev(t.Context(), dir, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	conf, err := loadConfig(filepath.Join(dir, configFile))
	if err != nil {
		t.Fatal(err)
	}
	ends := func() (operator, own time.Time) {
		t.Helper()
		if err := p.keepDev(t.Context(), conf); err != nil {
			t.Fatal(err)
		}
		a, err := tls.LoadX509KeyPair(filepath.Join(dir, "operator", "cert.pem"), filepath.Join(dir, "operator", "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := ownPair(conf)
		if err != nil {
			t.Fatal(err)
		}
		return a.Leaf.NotAfter, b.Leaf.NotAfter
	}
	operator, own := ends()
	if a, b := ends(); a != operator || b != own {
		t.Error("certificates that last were renewed")
	}
	ahead = 70 * 24 * time.Hour
	if a, b := ends(); !a.After(operator) || b != own {
		t.Errorf("after 70 days the operator's ends %s, the server's %s", a, b)
	}
	ahead = 400 * 24 * time.Hour
	if a, b := ends(); a.Before(p.Now().Add(80*24*time.Hour)) || b.Before(p.Now().Add(300*24*time.Hour)) {
		t.Errorf("after 400 days the operator's ends %s, the server's %s", a, b)
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
