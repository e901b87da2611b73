package house

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTour runs every command of the README's tour, in order, in one shell, in a copy of the sources. Two things differ from
// what a reader does: the port is a free one, and the server goes to the background instead of to another terminal.
func TestTour(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, tour, ok := strings.Cut(string(readme), "## A five-minute tour")
	if !ok {
		t.Fatal("README.md has no tour")
	}
	tour, _, _ = strings.Cut(tour, "\n## ")

	script := "set -euxo pipefail\n"
	commands := 0
	for i, block := range strings.Split(tour, "```") {
		body, isShell := strings.CutPrefix(block, "sh\n")
		if i%2 == 0 || !isShell {
			continue
		}
		for line := range strings.Lines(body) {
			commands++
			if strings.HasPrefix(line, "signetd serve ") {
				line = strings.TrimSpace(line) + " 2>serve.log &\n" +
					"trap 'kill %1; wait %1' EXIT\n" +
					"until grep -q '^signetd: serving on ' serve.log; do kill -0 %1; sleep 0.1; done\n"
			}
			script += strings.ReplaceAll(line, "127.0.0.1:7443", "127.0.0.1:0")
		}
		if strings.Contains(body, "cd tour") {
			script += "mv ../AuthKey_2X9R4HXF34.p8 .\n" // the reader brings one
		}
	}
	if commands < 20 {
		t.Fatalf("found %d commands in the tour; has its form changed?", commands)
	}

	dir := t.TempDir()
	files := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	files.Dir = filepath.Join("..", "..", "..")
	list, err := files.Output()
	if err != nil {
		t.Fatalf("listing the sources: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		copyFile(t, filepath.Join(files.Dir, name), filepath.Join(dir, name))
	}

	writeKey(t, filepath.Join(dir, "AuthKey_2X9R4HXF34.p8"))

	cmd := exec.CommandContext(t.Context(), "bash")
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+t.TempDir())
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the tour breaks off: %v\n%s", err, out)
	}
}

// writeKey makes a key file of the form that Apple gives out.
func writeKey(t *testing.T, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if os.IsNotExist(err) {
		return // listed by git, and deleted since
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, info.Mode()); err != nil {
		t.Fatal(err)
	}
}
