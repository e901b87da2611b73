// Package vaultrun runs a real Vault for tests: a process of its own on a loopback port, with TLS, that can be killed, started
// again on what it has kept, sealed and paused. Nothing that is given out links it.
//
// A vault or bao on the PATH is used where there is one. Otherwise that of the module store/vaultstore/vaulttest is built, once,
// into the user's cache.
package vaultrun

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	vault "github.com/hashicorp/vault/api"
)

// Vault is a running one. Its methods may not be called concurrently.
type Vault struct {
	Addr    string // HOST:PORT
	Address string // https://HOST:PORT
	CA      string // file of the CA of its certificate
	Token   string // the root token
	Root    *vault.Client

	dir     string
	program program
	unseal  string
	cmd     *exec.Cmd
	exited  chan struct{}
	mu      sync.Mutex
	said    []string // its last lines
}

// Start starts a new one that keeps everything below dir, which it makes.
func Start(ctx context.Context, dir string) (*Vault, error) {
	v, err := launch(ctx, dir)
	if err == nil {
		err = v.initialize(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("starting a Vault: %w", err)
	}
	return v, nil
}

// Launch is Start for who initializes and unseals it in another way: it has no Token, and Restart leaves it sealed.
func Launch(ctx context.Context, dir string) (*Vault, error) {
	v, err := launch(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("starting a Vault: %w", err)
	}
	return v, nil
}

func launch(ctx context.Context, dir string) (*Vault, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p, err := find(ctx)
	if err != nil {
		return nil, err
	}
	v := &Vault{dir: dir, program: p, CA: filepath.Join(dir, "ca.pem")}
	pool, err := v.certificates()
	if err != nil {
		return nil, err
	}
	// A port that was free a moment ago: it must be the same one after a restart.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	v.Addr = l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	v.Address = "https://" + v.Addr
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	if v.Root, err = vault.NewClient(&vault.Config{Address: v.Address, HttpClient: &http.Client{Transport: transport}}); err != nil {
		return nil, err
	}
	v.Root.ClearNamespace()
	v.Root.ClearToken()
	return v, v.run(ctx)
}

// SetUp sets it up for Signet by deploy/vault/setup.sh, which wants curl, as its administrator. It answers what the script prints, the
// file for signetd init --vault; the secret id goes into a file, where that is new. What env says beside may give other names than the usual.
func (v *Vault) SetUp(ctx context.Context, secretID string, env ...string) ([]byte, error) {
	script, err := above(filepath.Join("deploy", "vault", "setup.sh"))
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "sh", script, secretID)
	cmd.Env = append(os.Environ(), "VAULT_ADDR="+v.Address, "VAULT_TOKEN="+v.Token, "VAULT_CACERT="+v.CA, "VAULT_NAMESPACE=")
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.Output() // what it says beside is for people
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("setup.sh: %w: %s", err, e.Stderr)
	}
	return out, err
}

// initialize initializes and unseals it.
func (v *Vault) initialize(ctx context.Context) error {
	init, err := v.Root.Sys().InitWithContext(ctx, &vault.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return errors.Join(err, v.Kill())
	}
	v.unseal, v.Token = init.Keys[0], init.RootToken
	v.Root.SetToken(v.Token)
	if err := v.Unseal(ctx); err != nil {
		return errors.Join(err, v.Kill())
	}
	return nil
}

// run starts the process and waits until it answers.
func (v *Vault) run(ctx context.Context) error {
	storage, cert, key := filepath.Join(v.dir, "storage"), filepath.Join(v.dir, "cert.pem"), filepath.Join(v.dir, "key.pem")
	args := []string{"-listen", v.Addr, "-storage", storage, "-cert", cert, "-key", key}
	if !v.program.own {
		config := fmt.Sprintf("disable_mlock = true\nui = false\napi_addr = %q\nstorage \"file\" {\n  path = %q\n}\nlistener \"tcp\" {\n  address = %q\n  tls_cert_file = %q\n  tls_key_file = %q\n}\n",
			v.Address, storage, v.Addr, cert, key)
		file := filepath.Join(v.dir, "vault.hcl")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return err
		}
		args = []string{"server", "-config", file, "-log-level", "warn"}
	}
	v.cmd = exec.Command(v.program.path, args...) // not of ctx: it outlives the call
	v.cmd.SysProcAttr = childOf()
	r, w := io.Pipe()
	v.cmd.Stdout, v.cmd.Stderr = w, w
	if err := v.cmd.Start(); err != nil {
		return err
	}
	go v.listen(r)
	exited := make(chan struct{})
	v.exited = exited
	go func(cmd *exec.Cmd) {
		defer close(exited)
		_ = cmd.Wait() // how it ended is in what it said
		_ = w.Close()
	}(v.cmd)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if _, err := v.Root.Sys().SealStatusWithContext(ctx); err == nil {
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("it has ended:\n%s", v.Said())
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("it does not answer: %w\n%s", ctx.Err(), v.Said()), v.Kill())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (v *Vault) listen(r io.Reader) {
	s := bufio.NewScanner(r)
	for s.Scan() {
		v.mu.Lock()
		v.said = append(v.said, s.Text())
		if len(v.said) > 50 {
			v.said = v.said[1:]
		}
		v.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, r)
}

// Said is the last of what it has written.
func (v *Vault) Said() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return strings.Join(v.said, "\n")
}

// Kill ends the process as a crash does. What it keeps stays. It may be killed already.
func (v *Vault) Kill() error {
	err := v.cmd.Process.Signal(syscall.SIGKILL)
	<-v.exited
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Process is the id of its process, another one after Restart.
func (v *Vault) Process() int { return v.cmd.Process.Pid }

// Restart starts it again after Kill, on what it has kept, and unseals it.
func (v *Vault) Restart(ctx context.Context) error {
	if err := v.run(ctx); err != nil || v.unseal == "" {
		return err
	}
	return v.Unseal(ctx)
}

// Seal seals it: it answers 503 to everything.
func (v *Vault) Seal(ctx context.Context) error { return v.Root.Sys().SealWithContext(ctx) }

// Unseal unseals it and waits until it is ready.
func (v *Vault) Unseal(ctx context.Context) error {
	if _, err := v.Root.Sys().UnsealWithContext(ctx, v.unseal); err != nil {
		return err
	}
	for {
		h, err := v.Root.Sys().HealthWithContext(ctx)
		if err == nil && h.Initialized && !h.Sealed && !h.Standby {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Pause stops the process where it is: it takes connections and answers nothing. Resume lets it go on.
func (v *Vault) Pause() error  { return v.cmd.Process.Signal(syscall.SIGSTOP) }
func (v *Vault) Resume() error { return v.cmd.Process.Signal(syscall.SIGCONT) }

// certificates makes a CA and a certificate for loopback.
func (v *Vault) certificates() (*x509.CertPool, error) {
	now := time.Now()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a CA for tests"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(240 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "vault"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	caPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	for name, text := range map[string][]byte{
		"ca.pem": caPEM, "cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}),
		"key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(filepath.Join(v.dir, name), text, 0o600); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Join(v.dir, "storage"), 0o700); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(caPEM)
	return pool, nil
}
