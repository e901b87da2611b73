package vaultstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	vault "github.com/hashicorp/vault/api"
	"golang.org/x/time/rate"

	"github.com/p8signet/signet/store"
)

// client is a connection to Vault that stays signed in until it is closed.
type client struct {
	cfg   Config
	vault *vault.Client // with the token
	door  *vault.Client // without one: for signing in
	slots chan struct{} // a place in it is held by each call under way

	life context.Context // ends with close
	end  context.CancelFunc
	kept chan struct{} // closed when keep has ended

	// signing is held while the token is replaced.
	signing chan struct{}
	brake   *rate.Limiter // on signing in after a refusal
	leases  chan lease    // the newest one, for keep
}

// dial signs in. The caller closes what it returns.
func dial(ctx context.Context, cfg Config) (*client, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	tlsConfig, err := cfg.tls()
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: cfg.Timeout,
		MaxIdleConnsPerHost: cfg.Calls,
		IdleConnTimeout:     time.Minute,
		ForceAttemptHTTP2:   true,
		// A connection whose other end is gone without a word is not waited on by call after call.
		HTTP2: &http.HTTP2Config{SendPingTimeout: cfg.Timeout, PingTimeout: cfg.Timeout},
	}
	c := &client{
		cfg: cfg, slots: make(chan struct{}, cfg.Calls), kept: make(chan struct{}),
		signing: make(chan struct{}, 1), brake: rate.NewLimiter(rate.Every(2*time.Second), 3), leases: make(chan lease, 1),
	}
	if c.vault, err = newAPI(cfg, transport); err != nil {
		return nil, err
	}
	if c.door, err = newAPI(cfg, transport); err != nil {
		return nil, err
	}
	sctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	if err := c.signIn(sctx, ""); err != nil {
		transport.CloseIdleConnections()
		return nil, err
	}
	c.life, c.end = context.WithCancel(context.Background())
	go func() {
		defer close(c.kept)
		c.keep(c.life)
		transport.CloseIdleConnections()
	}()
	return c, nil
}

// newAPI makes a client of Vault's that takes nothing from the environment: what counts is what was configured.
func newAPI(cfg Config, transport http.RoundTripper) (*vault.Client, error) {
	v, err := vault.NewClient(&vault.Config{
		Address: cfg.Address,
		HttpClient: &http.Client{
			Transport:     limited{transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		MaxRetries: 0, // a write is never sent twice by itself
	})
	if err != nil {
		return nil, fmt.Errorf("preparing to talk to Vault: %w", err)
	}
	v.SetHeaders(http.Header{vault.RequestHeaderName: {"true"}})
	v.ClearToken()
	if cfg.Namespace != "" {
		v.SetNamespace(cfg.Namespace)
	}
	return v, nil
}

// limited cuts answers that are too large to be Vault's.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

// close ends the renewals, and every call under way. A token that was made for us is given back, if Vault answers soon.
func (c *client) close() {
	c.end()
	<-c.kept
	if c.cfg.Auth.TokenFile != "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(c.cfg.Timeout, time.Second))
	defer cancel()
	// It expires by itself where this fails.
	_, _ = c.vault.Logical().WriteWithContext(ctx, "auth/token/revoke-self", nil)
	c.vault.CloneConfig().HttpClient.CloseIdleConnections()
}

// A call to Vault, with the context to make it in.
type call func(ctx context.Context, v *vault.Logical) (*vault.Secret, error)

// do makes one call within the deadline and the limit. Refused with 403 it signs in again and makes it once more: the token
// may have ended. An error matches unsent when the call was not made at all; one of Vault's own is an *answer.
func (c *client) do(ctx context.Context, f call) (*vault.Secret, error) {
	return c.within(ctx, func(ctx context.Context) (*vault.Secret, error) {
		token := c.vault.Token()
		s, err := f(ctx, c.vault.Logical())
		if status(err) == http.StatusForbidden && c.signIn(ctx, token) == nil {
			s, err = f(ctx, c.vault.Logical())
		}
		return s, err
	})
}

// once makes one call within the deadline and the limit as do does, and in no case a second: refused with 403 it signs in for
// the next one. An error matches unsent also when there was no connection to send it on.
func (c *client) once(ctx context.Context, f call) (*vault.Secret, error) {
	return c.within(ctx, func(ctx context.Context) (*vault.Secret, error) {
		token := c.vault.Token()
		var sent atomic.Bool
		s, err := f(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
		}), c.vault.Logical())
		if status(err) == http.StatusForbidden {
			_ = c.signIn(ctx, token) // whether it helps, the next one says
		}
		if err != nil && !sent.Load() {
			err = unsent{err}
		}
		return s, err
	})
}

// within does f when there is a place for it among the calls under way, and ends it with the deadline or with close.
func (c *client) within(ctx context.Context, f func(context.Context) (*vault.Secret, error)) (*vault.Secret, error) {
	if c.life.Err() != nil {
		return nil, unsent{store.ErrClosed}
	}
	if err := ctx.Err(); err != nil {
		return nil, unsent{err}
	}
	outer := ctx
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, unsent{c.ended(outer, ctx.Err(), "waiting for one of the calls that may be under way")}
	}
	s, err := f(ctx)
	if err == nil {
		return s, nil
	}
	plain := c.ended(outer, c.plain(err), "waiting for its answer")
	if errors.As(err, new(unsent)) {
		plain = unsent{plain}
	}
	return nil, plain
}

// again makes a call that may be made any number of times once more where it was not answered, or Vault was not ready.
func (c *client) again(ctx context.Context, f call) (*vault.Secret, error) {
	const tries = 3
	for n := 1; ; n++ {
		s, err := c.do(ctx, f)
		st := status(err)
		if err == nil || n == tries || ctx.Err() != nil || errors.As(err, new(unsent)) || st != 0 && st < 500 && st != http.StatusTooManyRequests {
			return s, err
		}
		select {
		case <-time.After(time.Duration(n) * 50 * time.Millisecond):
		case <-ctx.Done():
		case <-c.life.Done():
		}
	}
}

// ended says why a context of ours ended: that of the caller, the deadline, or close.
func (c *client) ended(outer context.Context, err error, what string) error {
	switch {
	case outer.Err() != nil:
		return outer.Err()
	case c.life.Err() != nil:
		return store.ErrClosed
	case errors.Is(err, context.DeadlineExceeded), timeout(err):
		return fmt.Errorf("%w: %s took longer than %v: %w", ErrUnanswered, what, c.cfg.Timeout, context.DeadlineExceeded)
	}
	return err
}

// timeout says whether a deadline of the connection's ended it, as that of a handshake does, which is as long as a call's.
func timeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}
