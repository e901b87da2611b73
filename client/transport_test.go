package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
)

// apple is the other side of a Transport: it answers each request with the next of its codes, the last one for ever. Codes below 0
// fail the request.
type apple struct {
	codes   []int
	headers []string // Authorization, of every request
	bodies  []string
	times   []time.Time
	open    int // answers that nobody has closed
}

func (a *apple) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		_ = req.Body.Close()
	}
	a.headers = append(a.headers, req.Header.Get("Authorization"))
	a.bodies = append(a.bodies, string(body))
	a.times = append(a.times, time.Now())
	code := a.codes[min(len(a.headers), len(a.codes))-1]
	if code < 0 {
		return nil, io.ErrUnexpectedEOF
	}
	a.open++
	return &http.Response{StatusCode: code, Body: &answer{strings.NewReader(http.StatusText(code)), a}, Request: req}, nil
}

type answer struct {
	io.Reader
	a *apple
}

func (r *answer) Close() error { r.a.open--; return nil }

// body is a request's, and knows whether it was closed.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error { b.closed = true; return nil }

const appURL = "https://api.appstoreconnect.apple.com/v1/apps"

func post(t *testing.T, replay bool) (*http.Request, *body) {
	t.Helper()
	b := &body{Reader: strings.NewReader("{}")}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, appURL, b)
	if err != nil {
		t.Fatal(err)
	}
	if replay {
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("{}")), nil }
	}
	return req, b
}

// TestRoundTrip: what Apple may answer, and what is done about it. A letter is a token in the order in which they were minted.
func TestRoundTrip(t *testing.T) {
	get := func(t *testing.T) *http.Request {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, appURL, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		return req
	}
	replayable := func(t *testing.T) *http.Request { req, _ := post(t, true); return req }
	once := func(t *testing.T) *http.Request { req, _ := post(t, false); return req }
	broken := func(t *testing.T) *http.Request {
		req, _ := post(t, true)
		req.GetBody = func() (io.ReadCloser, error) { return nil, io.ErrUnexpectedEOF }
		return req
	}
	for _, tt := range []struct {
		name  string
		codes []int
		req   func(*testing.T) *http.Request
		vault error // from after the first token on
		sent  string
		code  int
	}{
		{"taken", []int{200}, get, nil, "a", 200},
		{"another failure", []int{403}, get, nil, "a", 403},
		{"401 once", []int{401, 200}, get, nil, "aa", 200},
		{"401 once, with a body", []int{401, 201}, replayable, nil, "aa", 201},
		{"401 twice", []int{401, 401, 200}, get, nil, "aab", 200},
		{"401 twice, with a body", []int{401, 401, 201}, replayable, nil, "aab", 201},
		{"401 three times", []int{401}, replayable, nil, "aab", 401},
		{"too many", []int{429, 200}, get, nil, "a", 429},
		{"401, then another failure", []int{401, 429}, get, nil, "aa", 429},
		{"401, and the body cannot be had again", []int{401, 200}, once, nil, "a", 401},
		{"401, and the body cannot be had again after all", []int{401, 200}, broken, nil, "a", 401},
		{"no answer", []int{-1}, get, nil, "a", 0},
		{"401, then no answer", []int{401, -1}, get, nil, "aa", 0},
		{"401 twice, then no answer", []int{401, 401, -1}, get, nil, "aab", 0},
		{"401 twice, and the vault is away", []int{401}, get, unavailable(t), "aa", 401},
		{"401 twice, and the vault refuses", []int{401}, get, fromGRPC(refusal(t, codes.FailedPrecondition, "KEY_REVOKED")), "aa", 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := &vault{}
			bubble(t, v, func(t *testing.T, s *TokenSource) {
				first := want(t, s)
				v.set(tt.vault)
				a := &apple{codes: tt.codes}
				tr := &Transport{Source: s, Base: a}
				req := tt.req(t)
				resp, err := tr.RoundTrip(req)
				if (err == nil) == (tt.code == 0) {
					t.Fatalf("error is %v", err)
				}
				var sent strings.Builder
				letters := map[string]string{"Bearer " + first.Text(): "a"}
				for _, h := range a.headers {
					if letters[h] == "" {
						letters[h] = string(rune('a' + len(letters)))
					}
					sent.WriteString(letters[h])
				}
				if sent.String() != tt.sent {
					t.Errorf("tokens sent: %s, want %s", &sent, tt.sent)
				}
				if mints := strings.Count(tt.sent, "b") + 1; v.count() != mints && tt.vault == nil {
					t.Errorf("%d mints, want %d", v.count(), mints)
				}
				if len(a.times) > 1 && a.times[1].Sub(a.times[0]) != time.Second {
					t.Errorf("the moment was %s", a.times[1].Sub(a.times[0]))
				}
				if slices.ContainsFunc(a.bodies, func(b string) bool { return b != a.bodies[0] }) {
					t.Errorf("bodies %q", a.bodies)
				}
				if req.Header.Get("Authorization") != "" {
					t.Error("the caller's request was changed")
				}
				if err != nil {
					if a.open != 0 {
						t.Errorf("%d answers were left open", a.open)
					}
					return
				}
				if a.open != 1 || resp.StatusCode != tt.code || resp.Request != req {
					t.Errorf("%d answers are open, the code is %d", a.open, resp.StatusCode)
				}
				if text, err := io.ReadAll(resp.Body); err != nil || string(text) != http.StatusText(tt.code) {
					t.Errorf("the answer is %q, %v", text, err)
				}
			})
		})
	}
}

// TestRoundTripCancelled: a caller that gives up, before, during the moment, and while a fresh token is minted.
func TestRoundTripCancelled(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		sent  int
	}{{"before", 0, 0}, {"during the moment", time.Second / 2, 1}, {"waiting for a fresh one", 2 * time.Second, 2}} {
		t.Run(tt.name, func(t *testing.T) {
			v := &vault{}
			bubble(t, v, func(t *testing.T, s *TokenSource) {
				if tt.after > 0 {
					_ = want(t, s)
				}
				v.mu.Lock()
				v.takes = 20 * time.Second
				v.mu.Unlock()
				a := &apple{codes: []int{401}}
				tr := &Transport{Source: s, Base: a}
				req, b := post(t, true)
				gone := errors.New("gone")
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(tt.after, func() { cancel(gone) })
				began := time.Now()
				resp, err := tr.RoundTrip(req.WithContext(ctx))
				if resp != nil || !errors.Is(err, gone) || time.Since(began) != tt.after {
					t.Errorf("%v, %v after %s", resp, err, time.Since(began))
				}
				if len(a.headers) != tt.sent || a.open != 0 || !b.closed {
					t.Errorf("%d sent, %d open, the body is closed: %t", len(a.headers), a.open, b.closed)
				}
			})
		})
	}
}

// TestRevokedAtApple: a key that only Apple knows to be off does not make the vault mint for every request.
func TestRevokedAtApple(t *testing.T) {
	v := &vault{}
	bubble(t, v, func(t *testing.T, s *TokenSource) {
		a := &apple{codes: []int{401}}
		hc := &http.Client{Transport: &Transport{Source: s, Base: a}}
		for range 60 { // each takes a moment
			resp, err := hc.Get(appURL)
			if err != nil || resp.StatusCode != http.StatusUnauthorized {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		}
		if n := v.count(); n < 2 || n > 4 {
			t.Errorf("%d mints in a minute", n)
		}
	})
}

func TestNoToken(t *testing.T) {
	v := &vault{err: fromGRPC(refusal(t, codes.PermissionDenied, "DENIED"))}
	bubble(t, v, func(t *testing.T, s *TokenSource) {
		a := &apple{codes: []int{200}}
		req, b := post(t, true)
		if _, err := (&Transport{Source: s, Base: a}).RoundTrip(req); !errors.Is(err, ErrDenied) {
			t.Errorf("error is %v", err)
		}
		if len(a.headers) != 0 || !b.closed {
			t.Error("it was sent, or its body left open")
		}
	})
}

func TestHosts(t *testing.T) {
	own := []string{"Proxy.Internal:8443", "apple.internal", "127.0.0.1:8080", "[::1]:8080", "10.0.0.1:8080"}
	for _, tt := range []struct {
		url   string
		hosts []string
		takes bool
	}{
		{"https://api.appstoreconnect.apple.com/v1/apps", nil, true},
		{"https://API.AppStoreConnect.apple.com:443/v1/apps", nil, true},
		{"https://appstoreconnect.apple.com/notary/v2/submissions", nil, true},
		{"https://api.enterprise.developer.apple.com/v1/users", nil, false},
		{"http://api.appstoreconnect.apple.com/v1/apps", nil, false},
		{"https://api.appstoreconnect.apple.com:8443/v1/apps", nil, false},
		{"https://api.appstoreconnect.apple.com.evil.example/", nil, false},
		{"https://evil.example/api.appstoreconnect.apple.com", nil, false},
		{"https://api.appstoreconnect.apple.com@evil.example/", nil, false},
		{"https://apple.com/", nil, false},
		{"https://sub.api.appstoreconnect.apple.com/", nil, false},
		{"https:///v1/apps", nil, false},
		{"http://127.0.0.1:8080/", nil, false},
		{"https://api.appstoreconnect.apple.com/v1/apps", own, false},
		{"https://proxy.internal:8443/", own, true},
		{"https://proxy.internal/", own, false},
		{"https://apple.internal/", own, true},
		{"https://apple.internal:444/", own, false},
		{"http://apple.internal/", own, false},
		{"http://127.0.0.1:8080/", own, true},
		{"https://127.0.0.1:8080/", own, true},
		{"http://127.0.0.1:8081/", own, false},
		{"http://127.0.0.1/", own, false},
		{"http://[::1]:8080/", own, true},
		{"http://10.0.0.1:8080/", own, false},
		{"ftp://127.0.0.1:8080/", own, false},
	} {
		u, err := url.Parse(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		hosts := tt.hosts
		if hosts == nil {
			hosts = AppleHosts()
		}
		if got := takes(hosts, u); got != tt.takes {
			t.Errorf("%s, hosts %v: takes is %t", tt.url, tt.hosts, got)
		}
	}
	if takes(AppleHosts(), nil) {
		t.Error("it takes no URL at all")
	}
	for _, hosts := range [][]string{nil, AppleHosts()} {
		v := &vault{}
		bubble(t, v, func(t *testing.T, s *TokenSource) {
			a := &apple{codes: []int{200}}
			req, b := post(t, true)
			req.URL.Host = "evil.example"
			if _, err := (&Transport{Source: s, Base: a, Hosts: hosts}).RoundTrip(req); !errors.Is(err, ErrHost) {
				t.Errorf("error is %v", err)
			}
			if len(a.headers) != 0 || !b.closed {
				t.Error("it was sent, or its body left open")
			}
			if v.count() != 0 && hosts != nil {
				t.Error("a token was minted")
			}
		})
	}
}

// TestForms: a token is written as its family wants it, goes to its own hosts, and nowhere when it is for no header.
func TestForms(t *testing.T) {
	for _, tt := range []struct {
		name  string
		token Token
		hosts []string
		url   string
		sent  string // the header; TOKEN stands for the token
		err   error
	}{
		{"of App Store Connect", Token{Form: FormHeader, Scheme: "Bearer", Hosts: AppleHosts()}, nil, appURL, "Bearer TOKEN", nil},
		{"of APNs", Token{Form: FormHeader, Scheme: "bearer", Hosts: []string{"api.push.apple.com"}}, nil, "https://api.push.apple.com/3/device/1", "bearer TOKEN", nil},
		{"of APNs, elsewhere", Token{Form: FormHeader, Scheme: "bearer", Hosts: []string{"api.push.apple.com"}}, nil, appURL, "", ErrHost},
		{"of APNs, on a port", Token{Form: FormHeader, Scheme: "bearer", Hosts: []string{"api-manage-broadcast.push.apple.com:2196"}}, nil,
			"https://api-manage-broadcast.push.apple.com:2196/1/apps/com.example.app/channels", "bearer TOKEN", nil},
		{"alone", Token{Form: FormHeader, Hosts: []string{"data.appattest.apple.com"}}, nil, "https://data.appattest.apple.com/v1/attestationData", "TOKEN", nil},
		{"to hosts of the caller's", Token{Form: FormHeader, Scheme: "Bearer"}, []string{"api.appstoreconnect.apple.com"}, appURL, "Bearer TOKEN", nil},
		{"to no host that it says", Token{Form: FormHeader, Scheme: "Bearer"}, nil, appURL, "", ErrHost},
		{"of a form", Token{Form: FormSecret}, nil, appURL, "", ErrForm},
		{"handed on", Token{Form: FormHanded}, []string{"api.appstoreconnect.apple.com"}, appURL, "", ErrForm},
		{"for one use", Token{Form: FormHanded, Nonce: "n"}, nil, appURL, "", ErrSingleUse},
		{"a signature", Token{Form: FormSignature}, nil, appURL, "", ErrSingleUse},
		{"a URL", Token{Form: FormURL}, nil, appURL, "", ErrSingleUse},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, &vault{}, func(t *testing.T, s *TokenSource) {
				s.mint = func(context.Context, bool) (*Token, error) {
					tok := made(time.Now())
					tok.Form, tok.Scheme, tok.Hosts, tok.Nonce = tt.token.Form, tt.token.Scheme, tt.token.Hosts, tt.token.Nonce
					text := "TOKEN"
					tok.text = &text
					return tok, nil
				}
				a := &apple{codes: []int{200}}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tt.url, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := (&Transport{Source: s, Base: a, Hosts: tt.hosts}).RoundTrip(req); !errors.Is(err, tt.err) || err != nil && strings.Contains(err.Error(), "TOKEN") {
					t.Errorf("error is %v", err)
				}
				if sent := strings.Join(a.headers, " "); sent != tt.sent {
					t.Errorf("sent %q, want %q", sent, tt.sent)
				}
			})
		})
	}
}

// TestRedirect follows one to another server, which gets the request and not the token.
func TestRedirect(t *testing.T) {
	var mu sync.Mutex
	got := map[string]string{}
	see := func(name string, then http.HandlerFunc) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			got[name] = r.Header.Get("Authorization")
			mu.Unlock()
			then(w, r)
		}))
		t.Cleanup(s.Close)
		return s
	}
	elsewhere := see("elsewhere", func(http.ResponseWriter, *http.Request) {})
	here := see("here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) })
	s := newTokenSource(TokenSourceOptions{}, (&vault{}).mint)
	defer s.Close()
	tr := &Transport{Source: s, Hosts: []string{strings.TrimPrefix(here.URL, "http://")}, Base: &http.Transport{}}
	hc := &http.Client{Transport: tr}
	defer hc.CloseIdleConnections()
	resp, err := hc.Get(here.URL)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	_ = resp.Body.Close()
	tok := want(t, s)
	if got["here"] != "Bearer "+tok.Text() || got["elsewhere"] != "" {
		t.Errorf("got %v", got)
	}
	if _, err := hc.Get(elsewhere.URL); !errors.Is(err, ErrHost) || strings.Contains(err.Error(), tok.Text()) {
		t.Errorf("without a redirect: %v", err)
	}
}

func TestTransportTogether(t *testing.T) {
	v := &vault{takes: time.Second}
	synctest.Test(t, func(t *testing.T) {
		s := newTokenSource(TokenSourceOptions{}, v.mint)
		defer s.Close()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				resp, err := (&Transport{Source: s, Base: &apple{codes: []int{401, 401, 200}}}).RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, appURL, nil))
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("%v, %v", resp, err)
				}
			})
		}
		wg.Wait()
		if n := v.count(); n != 2 {
			t.Errorf("%d mints", n)
		}
	})
}
