package daemon

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// pair writes a certificate that ends then, and its key.
func pair(t *testing.T, end time.Time) tlsFiles {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := tlsFiles{Certificate: filepath.Join(t.TempDir(), "server.pem"), Key: filepath.Join(t.TempDir(), "server.key")}
	for path, block := range map[string]*pem.Block{files.Certificate: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestServeWarnsEveryDayOfTheLastThirty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := &config{TLS: pair(t, time.Now().Add(32*24*time.Hour+time.Minute))}
		var stderr lockedBuffer
		p := &program{cli.Env{Now: time.Now}}
		logger := slog.New(slog.NewTextHandler(&stderr, nil))
		p.warnCertificate(t.Context(), conf, logger)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go p.warnDaily(ctx, conf, logger)
		time.Sleep(49 * time.Hour)
		synctest.Wait()
		if said := stderr.String(); said != "" {
			t.Errorf("long before the end: %s", said)
		}
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if n := strings.Count(stderr.String(), "the server's certificate ends soon, and then no caller connects\" ends=2000-02-02"); n != 2 {
			t.Errorf("%d warnings in two days: %s", n, stderr.String())
		}
	})
}

// lockedBuffer is a buffer that one goroutine fills and another reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestWritable(t *testing.T) {
	dir := t.TempDir()
	c := &config{Store: filepath.Join(dir, "store.db"), Log: filepath.Join(dir, "missing")}
	if err := writable(c); err != nil {
		t.Errorf("of a directory of one's own, and one that is not there: %v", err)
	}
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := writable(c); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("of a directory that nobody may write to: %v", err)
	}
}

// TestInterrupted: a signal while a directory is being made leaves nothing of it.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	err := interruptible(t.Context(), func(ctx context.Context) error {
		return newDir(filepath.Join(dir, "vault"), func(tmp string) error {
			if err := os.WriteFile(filepath.Join(tmp, "key.pem"), nil, 0o600); err != nil {
				return err
			}
			if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		})
	})
	if code, ok := errors.AsType[cli.Exit](err); !ok || code != cli.Interrupted {
		t.Errorf("ended with %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	refused := errors.New("refused")
	if err := interruptible(t.Context(), func(context.Context) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("without a signal: %v", err)
	}
}
