package vaultrun

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Fate is what becomes of a request on its way through a Proxy.
type Fate string

// The fates.
const (
	Fine        Fate = "fine"
	Lost        Fate = "the request is lost"
	ReplyLost   Fate = "the reply is lost"
	Twice       Fate = "the request comes twice, and the second is answered"
	Busy        Fate = "429 before Vault"
	Unavailable Fate = "503 before Vault"
	FailedLate  Fate = "503 after Vault has done it"
	Forbidden   Fate = "403 before Vault"
	Hangs       Fate = "nothing is answered, and nothing was done"
	HangsLate   Fate = "nothing is answered, and it was done"
	Foreign     Fate = "408 in a proxy's words after Vault has done it"
	Impostor    Fate = "200 before Vault, and not in its words"
	Late        Fate = "the request is held up, and comes with the next write"
	Echo        Fate = "the request comes once more with the next write"
	Stale       Fate = "a read is answered as it was the last time that it was not stale"
)

// Proxy stands between somebody and a Vault, with a certificate of its own, and lets happen what it is told.
type Proxy struct {
	Address string // https://HOST:PORT
	CA      string // a file

	server    *httptest.Server
	transport *http.Transport
	next      http.Handler
	quit      chan struct{}

	mu    sync.Mutex
	plan  func(*http.Request) Fate
	delay func() (there, back time.Duration)
	held  []*http.Request
	seen  map[string]*httptest.ResponseRecorder // answers to reads, by URL
}

// NewProxy starts one before v. Its CA lies in dir.
func NewProxy(v *Vault, dir string) (*Proxy, error) {
	text, err := os.ReadFile(v.CA)
	if err != nil {
		return nil, fmt.Errorf("starting a proxy: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	target, err := url.Parse(v.Address)
	if err != nil {
		return nil, fmt.Errorf("starting a proxy: %w", err)
	}
	p := &Proxy{quit: make(chan struct{}), seen: map[string]*httptest.ResponseRecorder{}}
	p.transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 32}
	rp := httputil.NewSingleHostReverseProxy(target)
	rp.Transport = p.transport
	rp.ErrorLog = log.New(io.Discard, "", 0)
	p.next = rp
	p.server = httptest.NewUnstartedServer(p)
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.server.StartTLS()
	p.Address, p.CA = p.server.URL, filepath.Join(dir, "proxy.pem")
	if err := os.WriteFile(p.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw}), 0o600); err != nil {
		p.Close()
		return nil, fmt.Errorf("starting a proxy: %w", err)
	}
	return p, nil
}

// Close ends it, and what hangs in it.
func (p *Proxy) Close() {
	close(p.quit)
	p.server.CloseClientConnections() // of those that were stopped and hold on to them
	p.server.Close()
	p.transport.CloseIdleConnections()
}

// Plan says what becomes of requests; nil: all is fine. Calls of plan do not overlap.
func (p *Proxy) Plan(plan func(*http.Request) Fate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = plan
}

// Delay says how long a request is under way, and its answer. One that is delayed arrives, even if who sent it has given up. nil: no
// time. Calls of delay do not overlap.
func (p *Proxy) Delay(delay func() (there, back time.Duration)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// decide says what becomes of a request, how long it takes, and what comes with it.
func (p *Proxy) decide(r *http.Request) (f Fate, there, back time.Duration, held []*http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f = Fine
	if p.plan != nil {
		f = p.plan(r)
	}
	if p.delay != nil {
		there, back = p.delay()
	}
	if r.Method == http.MethodPut && f != Late {
		held, p.held = p.held, nil
	}
	return f, there, back, held
}

func (p *Proxy) hold(r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = append(p.held, r.WithContext(context.WithoutCancel(r.Context())))
}

func (p *Proxy) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-p.quit:
	}
}

// errGone ends a handler and its connection.
var errGone = errors.New("gone")

// ServeHTTP lets one request pass, or not.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	f, there, back, held := p.decide(r)
	ctx := r.Context()
	if there > 0 {
		ctx = context.WithoutCancel(ctx)
	}
	again := func() *http.Request {
		c := r.Clone(ctx)
		c.Body = io.NopCloser(bytes.NewReader(body))
		return c
	}
	p.sleep(there)
	for _, h := range held {
		p.next.ServeHTTP(httptest.NewRecorder(), h)
	}
	answer, err := p.pass(r, f, again)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	p.sleep(back)
	copyAnswer(w, answer)
}

// pass lets a request meet its fate. errGone: nothing is answered.
func (p *Proxy) pass(r *http.Request, f Fate, again func() *http.Request) (*httptest.ResponseRecorder, error) {
	send := func() *httptest.ResponseRecorder {
		answer := httptest.NewRecorder()
		p.next.ServeHTTP(answer, again())
		return answer
	}
	hang := func() (*httptest.ResponseRecorder, error) {
		select {
		case <-r.Context().Done():
		case <-p.quit:
		}
		return nil, errGone
	}
	switch f {
	case Lost:
		return nil, errGone
	case ReplyLost:
		send()
		return nil, errGone
	case Twice:
		send()
		return send(), nil
	case Busy:
		return refusal(http.StatusTooManyRequests, "rate limit quota exceeded"), nil
	case Unavailable:
		return refusal(http.StatusServiceUnavailable, "Vault is sealed"), nil
	case FailedLate:
		send()
		return refusal(http.StatusServiceUnavailable, "Vault is sealed"), nil
	case Foreign:
		send()
		answer := httptest.NewRecorder()
		http.Error(answer, "Request Timeout", http.StatusRequestTimeout)
		return answer, nil
	case Impostor:
		answer := httptest.NewRecorder()
		answer.Header().Set("Content-Type", "application/json")
		answer.Body.WriteString("{}")
		return answer, nil
	case Forbidden:
		return refusal(http.StatusForbidden, "permission denied"), nil
	case Hangs:
		return hang()
	case HangsLate:
		send()
		return hang()
	case Late:
		p.hold(again())
		return nil, errGone
	case Echo:
		answer := send()
		p.hold(again())
		return answer, nil
	case Stale:
		if old := p.last(r); old != nil {
			return old, nil
		}
		return p.keep(r, send()), nil
	default:
		return p.keep(r, send()), nil
	}
}

func refusal(status int, text string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	answer.Header().Set("Content-Type", "application/json")
	answer.WriteHeader(status)
	answer.Body.WriteString(`{"errors":["` + text + `"]}`)
	return answer
}

// last is what a read was last answered that was not stale, nil before.
func (p *Proxy) last(r *http.Request) *httptest.ResponseRecorder {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.Method != http.MethodGet {
		return nil
	}
	return p.seen[r.URL.String()]
}

// keep remembers what a read was answered. Only what is written again is worth it: the root and registers.
func (p *Proxy) keep(r *http.Request, answer *httptest.ResponseRecorder) *httptest.ResponseRecorder {
	if r.Method == http.MethodGet && (answer.Code == http.StatusOK || answer.Code == http.StatusNotFound) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.seen[r.URL.String()] = answer
	}
	return answer
}

func copyAnswer(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // who asked may have gone
}
