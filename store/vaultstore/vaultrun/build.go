package vaultrun

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// module is where the module of the Vault for tests lies, from the root of Signet's.
var module = filepath.Join("store", "vaultstore", "vaulttest")

// program is a Vault that can be started.
type program struct {
	path string
	own  bool // built from module; otherwise a vault or bao of the machine
}

// find returns the Vault of the machine, or builds ours.
func find(ctx context.Context) (program, error) {
	for _, name := range []string{"vault", "bao"} {
		if path, err := exec.LookPath(name); err == nil {
			return program{path: path}, nil
		}
	}
	path, err := Build(ctx)
	return program{path, true}, err
}

// Build builds the Vault for tests, unless that was done before, and returns its path in the user's cache. It takes minutes the
// first time. Several processes may call it at once: one builds, the others wait.
func Build(ctx context.Context) (string, error) {
	path, err := build(ctx)
	if err != nil {
		return "", fmt.Errorf("building a Vault for the tests: %w", err)
	}
	return path, nil
}

func build(ctx context.Context) (string, error) {
	mod, err := above(filepath.Join(module, "go.mod"))
	src := filepath.Dir(mod)
	if err != nil {
		return "", err
	}
	what := []byte(fmt.Sprintln(runtime.Version(), runtime.GOOS, runtime.GOARCH))
	for _, name := range []string{"go.mod", "go.sum", "main.go", "discover/discover.go", "discover/provider/k8s/k8s.go"} {
		text, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			return "", err
		}
		what = append(fmt.Appendln(what, name, len(text)), text...)
	}
	sum := sha256.Sum256(what)
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "signet-vaulttest")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "vault-"+hex.EncodeToString(sum[:8]))
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close() //nolint:errcheck // it is there to be locked, and this unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", path+".new", ".")
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, os.Rename(path+".new", path)
}

// above looks for what the repository has under a name, from the working directory upwards.
func above(name string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("%s is not in this directory or one above it", name)
		}
		dir = up
	}
}
