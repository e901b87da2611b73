package daemon

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// healthy runs the command on a directory's config.
func healthy(t *testing.T, dir string, flags ...string) (code int, said string) {
	t.Helper()
	var out bytes.Buffer
	code = Run(t.Context(), cli.Env{
		Args:   append([]string{"healthy", "--config", filepath.Join(dir, configFile)}, flags...),
		Getenv: func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Now: time.Now, Version: "test",
	})
	return code, out.String()
}

func TestHealthy(t *testing.T) {
	r := serveVault(t, "", nil)
	for _, flags := range [][]string{nil, {"--mint"}} {
		if code, said := healthy(t, r.dir, flags...); code != cli.OK || said != "takes calls, and can mint\n" {
			t.Errorf("%v: %d, %s", flags, code, said)
		}
	}

	// Another server has the address.
	other := filepath.Join(t.TempDir(), "other")
	if code := Run(t.Context(), cli.Env{
		Args: []string{"init", "--dir", other, "--listen", "127.0.0.1:0"}, Getenv: func(string) string { return "" }, Stdout: io.Discard, Stderr: io.Discard, Now: time.Now,
	}); code != cli.OK {
		t.Fatal(code)
	}
	own, err := os.ReadFile(filepath.Join(r.dir, configFile))
	if err != nil {
		t.Fatal(err)
	}
	listen := regexp.MustCompile(`(?m)^listen: .*$`)
	replaceInFile(t, filepath.Join(other, configFile), listen, string(listen.Find(own)))
	if code, said := healthy(t, other); code != cli.Unavailable || !strings.Contains(said, "another server answers") {
		t.Errorf("another server: %d, %s", code, said)
	}
	_, port, _ := strings.Cut(string(listen.Find(own)), "127.0.0.1:")
	replaceInFile(t, filepath.Join(r.dir, configFile), listen, "listen: 0.0.0.0:"+port)
	if code, said := healthy(t, r.dir); code != cli.OK {
		t.Errorf("on every address: %d, %s", code, said)
	}

	r.stop()
	if code, said := healthy(t, r.dir); code != cli.Unavailable || !strings.Contains(said, "does not answer") {
		t.Errorf("nobody there: %d, %s", code, said)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "tls", "server.pem"), []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, said := healthy(t, r.dir); code != cli.Unavailable || !strings.Contains(said, "holds no certificate") {
		t.Errorf("no certificate: %d, %s", code, said)
	}
	if code, said := healthy(t, t.TempDir()); code != cli.Malformed {
		t.Errorf("no config: %d, %s", code, said)
	}
}

// TestHealthyWithoutMinting: a server that cannot mint takes calls, and only who insists is told that it fails.
func TestHealthyWithoutMinting(t *testing.T) {
	r := serveVault(t, "log_min_free: 1000000GiB\n", nil)
	if code, said := healthy(t, r.dir); code != cli.OK || !strings.Contains(said, "cannot mint now") {
		t.Errorf("%d, %s", code, said)
	}
	if code, said := healthy(t, r.dir, "--mint"); code != cli.Unavailable || !strings.Contains(said, "signet system status says why") {
		t.Errorf("%d, %s", code, said)
	}
}

func replaceInFile(t *testing.T, path string, what *regexp.Regexp, with string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !what.Match(text) {
		t.Fatalf("%s is not in %s", what, path)
	}
	if err := os.WriteFile(path, what.ReplaceAllLiteral(text, []byte(with)), 0o600); err != nil {
		t.Fatal(err)
	}
}
