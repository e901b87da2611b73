package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// AppleHosts are where the tokens of App Store Connect are taken, of notarisation too. Of all others the token itself says it, where
// it is always the same.
func AppleHosts() []string {
	return []string{"api.appstoreconnect.apple.com", "appstoreconnect.apple.com"}
}

// ErrHost says that a request was about to go to a host that the Transport's tokens are not for. Nothing was sent.
var ErrHost = errors.New("not a host for this token")

// Transport is an http.RoundTripper that gives every request the source's token, in the header Authorization and as Apple writes it for
// the token's family. A profile whose tokens go elsewhere, into a form say, is of no use to it: every request fails with ErrForm.
//
// Apple sometimes refuses a good token, above all a new one. So a request that is answered 401 is sent again with the same token after
// a moment, and once more with a fresh one if that is refused, too; the third answer is the caller's. A request whose body cannot be
// had again (it has no GetBody) is not repeated. A key that is off at Apple thus costs each request one repeat, and the vault a fresh
// token every half minute at most.
//
// The token goes over TLS to the Hosts and nowhere else. A redirect away from them is followed without it. A request that goes
// elsewhere of itself fails with ErrHost: use another client for it. Whatever else Apple answers is the caller's, 429 too: one that waits
// and asks again knows best.
//
// It may be used from many goroutines at once; the fields are not changed after its first use.
type Transport struct {
	// Source is where the tokens come from. The Transport does not close it.
	Source *TokenSource
	// Base sends the requests; http.DefaultTransport when nil.
	Base http.RoundTripper
	// Hosts are who gets the token, each "host" for port 443 or "host:port"; the token's own Hosts when empty. One that names a
	// loopback address and its port is talked to without TLS, too: a server of a test.
	Hosts []string
	// Moment is how long to wait after the first 401; a second when 0.
	Moment time.Duration
}

// RoundTrip sends a request. The errors are those of the source's Token, ErrHost, and Base's.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if len(t.Hosts) > 0 && !takes(t.Hosts, req.URL) {
		return t.elsewhere(req)
	}
	token, err := t.Source.Token(req.Context())
	if err != nil {
		closeBody(req)
		return nil, fmt.Errorf("getting a token: %w", err)
	}
	if token.Form != FormHeader {
		closeBody(req)
		return nil, fmt.Errorf("%w: this one goes into no header, as the profile's form (%s) says; Client.Mint gives it, for what its form wants", ErrForm, token.Form)
	}
	if len(t.Hosts) == 0 && !takes(token.Hosts, req.URL) {
		return t.elsewhere(req)
	}
	resp, err := t.send(req, req.Body, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !replayable(req) {
		return resp, err
	}
	if err := t.wait(req.Context()); err != nil {
		discard(resp)
		return nil, err
	}
	repeated, err := t.again(req, resp, token)
	if err != nil || repeated == resp || repeated.StatusCode != http.StatusUnauthorized {
		return repeated, err
	}
	resp = repeated
	fresh, err := t.Source.Fresh(req.Context(), token)
	switch {
	case err == nil:
		return t.again(req, resp, fresh)
	case req.Context().Err() != nil:
		discard(resp)
		return nil, context.Cause(req.Context())
	default: // Apple's answer is better than none
		return resp, nil
	}
}

// elsewhere is a request to somebody who does not get the token.
func (t *Transport) elsewhere(req *http.Request) (*http.Response, error) {
	if req.Response != nil { // sent here by who does
		return t.base().RoundTrip(req)
	}
	closeBody(req)
	return nil, fmt.Errorf("%w: only https to the Transport's Hosts, or else the token's own, gets it; name the host in Hosts, or send other requests with another client", ErrHost)
}

// again sends a request once more, in place of an answer to it; that is the answer still when the request cannot be had again.
func (t *Transport) again(req *http.Request, answer *http.Response, token *Token) (*http.Response, error) {
	body := req.Body
	if req.GetBody != nil {
		var err error
		if body, err = req.GetBody(); err != nil {
			return answer, nil //nolint:nilerr // the answer stands
		}
	}
	discard(answer)
	return t.send(req, body, token)
}

// send sends a copy of req, which Base may keep; a RoundTripper does not change the caller's.
func (t *Transport) send(req *http.Request, body io.ReadCloser, token *Token) (*http.Response, error) {
	out := req.Clone(req.Context())
	out.Body = body
	if out.Header == nil {
		out.Header = http.Header{}
	}
	out.Header.Set("Authorization", token.Authorization())
	resp, err := t.base().RoundTrip(out)
	if resp != nil {
		resp.Request = req // what http.Client goes on with, and prints, does not hold the token
	}
	return resp, err
}

func (t *Transport) base() http.RoundTripper {
	if t.Base != nil {
		return t.Base
	}
	return http.DefaultTransport
}

// CloseIdleConnections does so in Base, where that can; http.Client calls it.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// takes says whether a token for these hosts may go to a URL.
func takes(hosts []string, u *url.URL) bool {
	if u == nil {
		return false
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	switch {
	case u.Scheme == "https" && (port == "" || port == "443"):
		return slices.ContainsFunc(hosts, func(h string) bool {
			h = strings.ToLower(h)
			return h == host || h == net.JoinHostPort(host, "443")
		})
	case u.Scheme == "http" && !loopback(host):
		return false
	case u.Scheme == "http" || u.Scheme == "https":
		return port != "" && slices.ContainsFunc(hosts, func(h string) bool { return strings.ToLower(h) == net.JoinHostPort(host, port) })
	default:
		return false
	}
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (t *Transport) wait(ctx context.Context) error {
	moment := t.Moment
	if moment == 0 {
		moment = time.Second
	}
	timer := time.NewTimer(moment)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// replayable says whether a request can be sent again.
func replayable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// discard reads the rest of a short answer, so that its connection can be used again, and closes it.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
