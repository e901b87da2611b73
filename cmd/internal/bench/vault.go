package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/boltstore"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/kek"
)

// workshop is a temporary directory with what was started in it.
type workshop struct {
	bin    string // where the programs are
	dir    string
	closes []func() error
}

func newWorkshop(bin string) (*workshop, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "signet-bench-")
	if err != nil {
		return nil, err
	}
	return &workshop{bin: bin, dir: dir}, nil
}

// stop stops what was started, the last first: after a part, so that nothing of it runs beside the next.
func (w *workshop) stop() error {
	var errs []error
	for _, c := range slices.Backward(w.closes) {
		errs = append(errs, c())
	}
	w.closes = nil
	return errors.Join(errs...)
}

func (w *workshop) run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(w.bin, program), args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(w.dir, "state"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, out)
	}
	return nil
}

// process is a started server.
type process struct {
	cmd  *exec.Cmd
	addr string
}

// start runs a server until it says "…: serving on ADDR", and answers how long that took.
func start(cmd *exec.Cmd) (*process, time.Duration, error) {
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, 0, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	addr := make(chan string, 1)
	go func() {
		defer close(addr)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			if _, a, ok := strings.Cut(s.Text(), ": serving on "); ok {
				addr <- a
			}
		}
	}()
	select {
	case a, ok := <-addr:
		if !ok {
			return nil, 0, fmt.Errorf("%s ended before it served: %w", cmd.Path, cmd.Wait())
		}
		return &process{cmd, a}, time.Since(began), nil
	case <-time.After(time.Minute):
		return nil, 0, errors.Join(fmt.Errorf("%s did not serve within a minute", cmd.Path), cmd.Process.Kill())
	}
}

func (p *process) stop(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return err
	}
	err := p.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && sig == syscall.SIGKILL && exit.Sys().(syscall.WaitStatus).Signaled() {
		return nil
	}
	return err
}

// vault is a Signet server with its caller.
type vault struct {
	w       *workshop
	dir     string   // relative to the workshop, as is caller
	caller  string   // who may mint
	process *process // nil while it is stopped
	target  *target
}

// place is where a vault's store lies.
type place interface {
	// initArgs are what signetd init is told of it.
	initArgs() []string
	// open opens the store of the vault in dir, which is not running.
	open(ctx context.Context, dir string) (store.Backend, error)
}

// onDisk is a file of the vault's directory.
type onDisk struct{}

func (onDisk) initArgs() []string { return nil }

func (onDisk) open(_ context.Context, dir string) (store.Backend, error) {
	return boltstore.Open(filepath.Join(dir, "store.db"), boltstore.Options{})
}

// vault makes a vault with so many keys, and starts it. One key comes through the front door; the others, which only have to
// be there, are put into the store in one commit.
func (w *workshop) vault(ctx context.Context, name string, at place, keys int, policy []byte) (*vault, error) {
	v := &vault{w: w, dir: name, caller: name + "-caller"}
	if err := w.run(ctx, "signetd", append([]string{"init", "--dir", name, "--listen", "127.0.0.1:0"}, at.initArgs()...)...); err != nil {
		return nil, err
	}
	if err := fill(ctx, at, filepath.Join(w.dir, name), keys-1); err != nil {
		return nil, fmt.Errorf("filling the store: %w", err)
	}
	if _, err := v.start(ctx); err != nil {
		return nil, err
	}
	w.closes = append(w.closes, v.stop)
	keyFile, err := writeKey(w.dir)
	if err != nil {
		return nil, err
	}
	policyFile := filepath.Join(w.dir, name+".policy.yaml")
	if err := os.WriteFile(policyFile, policy, 0o600); err != nil {
		return nil, err
	}
	operator := filepath.Join(name, "operator", "client.yaml")
	for _, args := range [][]string{
		{"signet", "--config", operator, "key", "import", "asc-release", keyFile, "--kind", "app-store-connect", "--issuer-id", "57246542-96fe-1a63-e053-0824d011072a"},
		{"signet", "--config", operator, "policy", "apply", policyFile},
		{"signetd", "cert", "--dir", name, "--uri", "spiffe://signet.local/bench/caller", "--out", v.caller},
	} {
		if err := w.run(ctx, args[0], args[1:]...); err != nil {
			return nil, err
		}
	}
	addr, conf, err := w.identity(v.caller)
	if err != nil {
		return nil, err
	}
	if v.target, err = dial("signet", v.process, addr, "release", conf, callers); err != nil {
		return nil, err
	}
	w.closes = append(w.closes, v.target.close)
	return v, nil
}

// identity is who a directory with a client.yaml lets one be, and the last server that it names.
func (w *workshop) identity(dir string) (string, *tls.Config, error) {
	c, err := client.LoadConfig(filepath.Join(w.dir, dir, "client.yaml"))
	if err != nil {
		return "", nil, err
	}
	cert, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return "", nil, err
	}
	pool, err := readPool(c.CA)
	if err != nil {
		return "", nil, err
	}
	return c.Addresses[len(c.Addresses)-1], &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{cert}}, nil
}

func (v *vault) start(ctx context.Context) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(v.w.bin, "signetd"), "serve", "--config", filepath.Join(v.w.dir, v.dir, "signetd.yaml"))
	p, took, err := start(cmd)
	v.process = p
	return took, err
}

func (v *vault) stop() error {
	if v.process == nil {
		return nil
	}
	p := v.process
	v.process = nil
	return p.stop(syscall.SIGTERM)
}

// resident is the server's resident memory in bytes.
func (v *vault) resident() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.process.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for text := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(text, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")), 10, 64)
			return n * 1024, err
		}
	}
	return 0, errors.New("no VmRSS in the status of the process")
}

// policyDocument has the caller's grant last, behind all the others.
func policyDocument(grants int) []byte {
	var b bytes.Buffer
	b.WriteString("version: 1\nprofiles:\n  release: {key: asc-release, app_store_connect: {}, reuse: never}\ngrants:\n")
	for i := range grants - 1 {
		fmt.Fprintf(&b, "- {id: g%d, to: [{mtls: spiffe://signet.local/ci/%d}], mint: [release]}\n", i, i)
	}
	b.WriteString("- {id: bench, to: [{mtls: spiffe://signet.local/bench/*}], mint: [release], rate: none}\n")
	return b.Bytes()
}

func newKeyDER() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return key, der, err
}

// writeKey makes a fresh key file; no vault takes the same key twice.
func writeKey(dir string) (string, error) {
	_, der, err := newKeyDER()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "AuthKey_2X9R4HXF34.p8")
	return path, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// bulkKey is the name of a key that is put straight into the store.
func bulkKey(i int) string { return fmt.Sprintf("bulk-%06d", i) }

// fill puts n keys into the store of a vault that is not running.
func fill(ctx context.Context, at place, dir string, n int) error {
	backend, err := at.open(ctx, dir)
	if err != nil {
		return err
	}
	wrap, err := kek.Open("file:kek", dir)
	if err != nil {
		return errors.Join(err, backend.Close())
	}
	const node = "node-1"
	s, err := store.Open(ctx, store.Config{Backend: backend, KEKs: []envelope.KEK{wrap}, Node: node, Now: time.Now})
	if err != nil {
		return errors.Join(err, backend.Close())
	}
	err = func() error {
		tx := s.Begin()
		for i := range n {
			key, der, err := newKeyDER()
			if err != nil {
				return err
			}
			spki, err := x509.MarshalPKIXPublicKey(key.Public())
			if err != nil {
				return err
			}
			sum := sha256.Sum256(spki)
			name := bulkKey(i)
			if err := tx.PutKey(store.Key{Name: name, Kind: "app-store-connect", Attributes: map[string]string{"issuer": "57246542-96fe-1a63-e053-0824d011072a"}, Created: time.Now()}); err != nil {
				return err
			}
			if _, err := tx.AddVersion(name, store.KeyVersion{KeyID: fmt.Sprintf("K%09d", i), Fingerprint: "sha256:" + hex.EncodeToString(sum[:]), Created: time.Now()}, der); err != nil {
				return err
			}
		}
		head, _ := s.Snapshot().LogHead(node)
		_, err := s.Commit(ctx, tx, head)
		return err
	}()
	return errors.Join(err, s.Close(), backend.Close())
}

// bare starts the yardstick, with a CA and certificates of its own that cost the same handshake.
func (w *workshop) bare(ctx context.Context) (*target, error) {
	dir := filepath.Join(w.dir, "bare")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	ca, caKey, err := certify(dir, "ca", nil, nil)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"server", "caller"} {
		if _, _, err := certify(dir, name, ca, caKey); err != nil {
			return nil, err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	p, _, err := start(exec.CommandContext(ctx, self, "serve-bare", at("server.pem"), at("server.key"), at("ca.pem"), at("log")))
	if err != nil {
		return nil, err
	}
	w.closes = append(w.closes, func() error { return p.stop(syscall.SIGKILL) })
	cert, err := tls.LoadX509KeyPair(at("caller.pem"), at("caller.key"))
	if err != nil {
		return nil, err
	}
	pool, err := readPool(at("ca.pem"))
	if err != nil {
		return nil, err
	}
	t, err := dial("bare", p, p.addr, "release", &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{cert}}, callers)
	if err != nil {
		return nil, err
	}
	w.closes = append(w.closes, t.close)
	return t, nil
}

// certify writes NAME.pem and NAME.key, signed by the CA, or by itself when there is none yet.
func certify(dir, name string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, keyDER, err := newKeyDER()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ca == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		ca, caKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	return cert, key, errors.Join(
		os.WriteFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600),
	)
}
