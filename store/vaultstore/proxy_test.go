package vaultstore_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p8signet/signet/store/vaultstore"
)

// fate is what becomes of a request on its way through the proxy.
type fate string

const (
	fine        fate = "fine"
	lost        fate = "the request is lost"
	replyLost   fate = "the reply is lost"
	twice       fate = "the request comes twice, and the second is answered"
	busy        fate = "429 before Vault"
	unavailable fate = "503 before Vault"
	failedLate  fate = "503 after Vault has done it"
	forbidden   fate = "403 before Vault"
	hangs       fate = "nothing is answered, and nothing was done"
	hangsLate   fate = "nothing is answered, and it was done"
	foreign     fate = "408 in a proxy's words after Vault has done it"
	impostor    fate = "200 before Vault, and not in its words"
	late        fate = "the request is held up, and comes with the next write"
)

// proxy stands between a Backend and Vault.
type proxy struct {
	address, ca string
	next        http.Handler

	mu   sync.Mutex
	plan func(r *http.Request) fate
	held []*http.Request
	quit chan struct{}
}

func newProxy(t testing.TB) *proxy {
	t.Helper()
	v := theVault(t)
	text, err := os.ReadFile(v.CA)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	target, err := url.Parse(v.Address)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 32}
	rp := httputil.NewSingleHostReverseProxy(target)
	rp.Transport = transport
	rp.ErrorLog = log.New(io.Discard, "", 0)
	p := &proxy{next: rp, quit: make(chan struct{})}
	s := httptest.NewUnstartedServer(p)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(func() {
		close(p.quit)
		s.Close()
		transport.CloseIdleConnections()
	})
	p.address, p.ca = s.URL, filepath.Join(t.TempDir(), "proxy.pem")
	if err := os.WriteFile(p.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// config signs in through the proxy, and is quick to give up.
func (p *proxy) config(t testing.TB) vaultstore.Config {
	cfg := config(t)
	cfg.Address, cfg.CA, cfg.Timeout = p.address, p.ca, time.Second
	return cfg
}

func (p *proxy) set(plan func(r *http.Request) fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = plan
}

// writesRoot says whether a request replaces the root.
func writesRoot(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/root")
}

// writesRegister says whether a request writes a register.
func writesRegister(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/data/") && strings.Contains(r.URL.Path, "/registers/")
}

// once lets the first request that match picks meet f.
func once(match func(*http.Request) bool, f fate) func(*http.Request) fate {
	done := false
	return func(r *http.Request) fate {
		if done || !match(r) {
			return fine
		}
		done = true
		return f
	}
}

func always(match func(*http.Request) bool, f fate) func(*http.Request) fate {
	return func(r *http.Request) fate {
		if match(r) {
			return f
		}
		return fine
	}
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	again := func() *http.Request {
		c := r.Clone(r.Context())
		c.Body = io.NopCloser(bytes.NewReader(body))
		return c
	}
	p.mu.Lock()
	f := fine
	if p.plan != nil {
		f = p.plan(r)
	}
	var held []*http.Request
	if r.Method == http.MethodPut && f != late {
		held, p.held = p.held, nil
	}
	p.mu.Unlock()
	for _, h := range held {
		p.next.ServeHTTP(httptest.NewRecorder(), h)
	}
	refuse := func(status int, text string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"errors":["`+text+`"]}`)
	}
	hang := func() {
		select {
		case <-r.Context().Done():
		case <-p.quit:
		}
		panic(http.ErrAbortHandler)
	}
	switch f {
	case fine:
		p.next.ServeHTTP(w, again())
	case lost:
		panic(http.ErrAbortHandler)
	case replyLost:
		p.next.ServeHTTP(httptest.NewRecorder(), again())
		panic(http.ErrAbortHandler)
	case twice:
		p.next.ServeHTTP(httptest.NewRecorder(), again())
		p.next.ServeHTTP(w, again())
	case busy:
		refuse(http.StatusTooManyRequests, "rate limit quota exceeded")
	case unavailable:
		refuse(http.StatusServiceUnavailable, "Vault is sealed")
	case failedLate:
		p.next.ServeHTTP(httptest.NewRecorder(), again())
		refuse(http.StatusServiceUnavailable, "Vault is sealed")
	case foreign:
		p.next.ServeHTTP(httptest.NewRecorder(), again())
		http.Error(w, "Request Timeout", http.StatusRequestTimeout)
	case impostor:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	case forbidden:
		refuse(http.StatusForbidden, "permission denied")
	case hangs:
		hang()
	case hangsLate:
		p.next.ServeHTTP(httptest.NewRecorder(), again())
		hang()
	case late:
		h := again().WithContext(context.WithoutCancel(r.Context()))
		p.mu.Lock()
		p.held = append(p.held, h)
		p.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
}
