package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
)

// takesTokens is a server that stands for Apple's: it takes any token but those that were taken back, and counts what it refused.
type takesTokens struct {
	*httptest.Server
	mu      sync.Mutex
	refused map[string]int
	seen    map[string]bool
}

func apple(t *testing.T) *takesTokens {
	t.Helper()
	a := &takesTokens{refused: map[string]int{}, seen: map[string]bool{}}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		a.mu.Lock()
		defer a.mu.Unlock()
		_, off := a.refused[token]
		a.seen[token] = true
		if !ok || off {
			a.refused[token]++
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "done")
	}))
	t.Cleanup(a.Close)
	return a
}

// client is an http.Client that asks with the source's tokens.
func (a *takesTokens) client(t *testing.T, s *client.TokenSource) *http.Client {
	t.Helper()
	hc := &http.Client{Transport: &client.Transport{
		Source: s, Base: &http.Transport{}, Hosts: []string{a.Listener.Addr().String()}, Moment: time.Millisecond,
	}}
	t.Cleanup(hc.CloseIdleConnections)
	return hc
}

func get(t *testing.T, hc *http.Client, url string) int {
	t.Helper()
	resp, err := hc.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestServerAway: Apple is asked on while the server restarts, is gone, and comes back.
func TestServerAway(t *testing.T) {
	s, c := servertest.NewMinting(t)
	source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{})
	defer source.Close()
	a := apple(t)
	hc := a.client(t, source)
	if code := get(t, hc, a.URL); code != http.StatusOK {
		t.Fatalf("at first: %d", code)
	}
	first, err := source.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Restart()
	if code := get(t, hc, a.URL); code != http.StatusOK {
		t.Errorf("after a restart: %d", code)
	}
	s.Stop()
	if code := get(t, hc, a.URL); code != http.StatusOK {
		t.Errorf("without a server: %d", code)
	}

	// A token that Apple refuses is a 401 while there is no other, and none when there is.
	a.mu.Lock()
	a.refused[first.Text()] = 0
	a.mu.Unlock()
	if code := get(t, hc, a.URL); code != http.StatusUnauthorized {
		t.Errorf("a token that is refused, without a server: %d", code)
	}
	if n := a.refused[first.Text()]; n != 2 {
		t.Errorf("asked %d times with one token, want 2", n)
	}
	s.Clock.Advance(time.Second) // else the fresh one would be the same
	s.Restart()
	for began := time.Now(); get(t, hc, a.URL) != http.StatusOK; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("no fresh token after the server came back")
		}
	}
	if second, err := source.Token(t.Context()); err != nil || second.SHA256 == first.SHA256 {
		t.Errorf("%v, %v", second, err)
	}
}

// TestServerDrains: whatever a restart does to the mints under way, each token that came is on record, and none was asked for twice.
func TestServerDrains(t *testing.T) {
	s, _ := servertest.NewMinting(t)
	var got sync.Map
	var calls atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		c := s.DialClient(servertest.CallerID)
		wg.Go(func() {
			for ctx.Err() == nil {
				calls.Add(1)
				tok, err := c.Mint(t.Context(), servertest.Profile, client.MintOptions{Fresh: true})
				switch {
				case err == nil:
					got.Store(tok.SHA256, true)
				case !errors.Is(err, client.ErrUnavailable) && !errors.Is(err, client.ErrUnknown):
					t.Errorf("a call under a restart: %v", err)
				}
			}
		})
	}
	for range 4 {
		time.Sleep(50 * time.Millisecond)
		s.Clock.Advance(time.Second)
		s.Restart()
	}
	cancel()
	wg.Wait()
	on := map[string]bool{}
	recorded := int64(0)
	for e, err := range s.Client(servertest.OperatorID).Entries(t.Context(), &signetv1.EntryFilter{Action: "token.mint"}, signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST, 1000) {
		if err != nil {
			t.Fatal(err)
		}
		entry, err := auditlog.ParseEntry(e.GetLine())
		if err != nil {
			t.Fatal(err)
		}
		recorded++
		if entry.Token != nil {
			on[entry.Token.SHA256.String()] = true
		}
	}
	got.Range(func(sum, _ any) bool {
		if !on[sum.(string)] {
			t.Errorf("token %s is not on record", sum)
		}
		return true
	})
	if n := calls.Load(); recorded > n || recorded == 0 {
		t.Errorf("%d calls made %d entries", n, recorded)
	}
}

// TestServerRefuses: what the server says when the grant is gone or the key is off is what the source says, at once.
func TestServerRefuses(t *testing.T) {
	disable := func(t *testing.T, s *servertest.Server) {
		if _, err := s.Client(servertest.OperatorID).DisableKey(t.Context(), &signetv1.DisableKeyRequest{Name: servertest.KeyName}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		off  func(*testing.T, *servertest.Server)
		want error
	}{
		{"the key is disabled", disable, client.ErrKeyDisabled},
		{"the grant is gone", func(_ *testing.T, s *servertest.Server) { s.ApplyPolicy("version: 1\n") }, client.ErrDenied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c := servertest.NewMinting(t)
			source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{Now: s.Clock.Now})
			defer source.Close()
			first, err := source.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tt.off(t, s)
			if got, err := source.Token(t.Context()); err != nil || got != first {
				t.Errorf("before anybody asked: %v, %v", got, err)
			}
			s.Clock.Advance(8 * time.Minute) // it lives, and the next one is due
			if _, err := source.Token(t.Context()); err != nil {
				t.Errorf("the one that lives: %v", err)
			}
			for began := time.Now(); ; time.Sleep(time.Millisecond) {
				got, err := source.Token(t.Context())
				if errors.Is(err, tt.want) && got == nil {
					break
				}
				if err != nil || time.Since(began) > 10*time.Second {
					t.Fatalf("%v, %v; want %v", got, err, tt.want)
				}
			}
		})
	}
}

// TestServerStalls: a server that takes the connection and says no more holds up nobody longer than they want to wait.
func TestServerStalls(t *testing.T) {
	s := servertest.New(t)
	stalled, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stalled.Close() })
	cfg := s.ClientConfig(servertest.CallerID)
	cfg.Addresses = []string{stalled.Addr().String()}
	c, err := client.Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{})
	defer source.Close()
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := source.Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		cancel()
	}

	// Beside one that works nobody notices it.
	cfg.Addresses = append(cfg.Addresses, s.Addr())
	both, err := client.Dial(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer both.Close()
	began := time.Now()
	if _, err := both.Mint(t.Context(), servertest.Profile, client.MintOptions{}); !errors.Is(err, client.ErrDenied) {
		t.Errorf("error is %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestServerReuses: two programs of one caller use one token, and what is fresh for one of them is for both.
func TestServerReuses(t *testing.T) {
	s, c := servertest.NewMinting(t)
	var sources [2]*client.TokenSource
	var tokens [2]*client.Token
	for i, c := range []*client.Client{c, s.DialClient(servertest.CallerID)} {
		sources[i] = c.TokenSource(servertest.Profile, client.TokenSourceOptions{Now: s.Clock.Now})
		defer sources[i].Close()
		var err error
		if tokens[i], err = sources[i].Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Clock.Advance(time.Minute)
	}
	if tokens[0].SHA256 != tokens[1].SHA256 || tokens[0].Reused || !tokens[1].Reused {
		t.Fatalf("%v, %v", tokens[0], tokens[1])
	}
	for _, tok := range tokens {
		if d := tok.Deadline().Sub(tok.UseUntil); d.Abs() > time.Second {
			t.Errorf("with clocks that agree the deadline is %s off", d)
		}
	}
	fresh, err := sources[0].Fresh(t.Context(), tokens[0])
	if err != nil || fresh.Reused || fresh.SHA256 == tokens[0].SHA256 {
		t.Fatalf("%v, %v", fresh, err)
	}
	s.Clock.Advance(8 * time.Minute) // the first one is over
	if again, err := sources[1].Token(t.Context()); err != nil || again.SHA256 == tokens[1].SHA256 {
		t.Errorf("%v, %v", again, err)
	}
}

// TestServerClockOff: the server's clock is far from this machine's.
func TestServerClockOff(t *testing.T) {
	for _, off := range []time.Duration{-90 * time.Minute, 90 * time.Minute} {
		t.Run(off.String(), func(t *testing.T) {
			s, c := servertest.NewMinting(t)
			source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{Now: func() time.Time { return s.Clock.Now().Add(off) }})
			defer source.Close()
			minted := map[string]bool{}
			for range 120 { // two hours
				tok, err := source.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if !s.Clock.Now().Before(tok.UseUntil) {
					t.Fatalf("a token to be used until %s was given out at %s", tok.UseUntil, s.Clock.Now())
				}
				minted[tok.SHA256] = true
				s.Clock.Advance(time.Minute)
			}
			if n := len(minted); n < 120/10 || n > 120/4 {
				t.Errorf("%d tokens in two hours", n)
			}
		})
	}
}

// TestServerShared: programs of several callers have one token, and change it in the same minute, whatever their clocks show.
func TestServerShared(t *testing.T) {
	s := servertest.New(t, servertest.Options{Keys: map[string]string{"push": "developer-portal"}, Policy: `version: 1
profiles:
  push: {key: push, apns: {}}
grants:
  - {id: ci, to: [{mtls: spiffe://signet.test/ci/*}], mint: [push], rate: none}
`})
	var sources []*client.TokenSource
	for id, off := range map[string]time.Duration{"spiffe://signet.test/ci/1": 0, "spiffe://signet.test/ci/2": 40 * time.Minute, "spiffe://signet.test/ci/3": -40 * time.Minute} {
		source := s.DialClient(id).TokenSource("push", client.TokenSourceOptions{Now: func() time.Time { return s.Clock.Now().Add(off) }})
		defer source.Close()
		sources = append(sources, source)
	}
	changes := 0
	var last *client.Token
	for range 120 { // two hours
		var first *client.Token
		for _, source := range sources {
			tok, err := source.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = tok
			}
			if age := s.Clock.Now().Sub(tok.Issued); tok.SHA256 != first.SHA256 || age > 31*time.Minute {
				t.Fatalf("at %s one has %v, at the age of %s, and another %v", s.Clock.Now(), tok, age, first)
			}
		}
		if last != nil && last.SHA256 != first.SHA256 {
			changes++
		}
		last = first
		s.Clock.Advance(time.Minute)
	}
	if changes < 3 || changes > 4 {
		t.Errorf("%d changes in two hours", changes)
	}
	mints := 0
	for _, err := range s.Client(servertest.OperatorID).Entries(t.Context(), &signetv1.EntryFilter{Action: "token.mint"}, signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST, 1000) {
		if err != nil {
			t.Fatal(err)
		}
		mints++
	}
	if most := len(sources) * 5; mints > most { // a clock that is off makes nobody ask more
		t.Errorf("%d mints, want at most %d", mints, most)
	}
}

// TestServerNames: each address is verified by its own host.
func TestServerNames(t *testing.T) {
	s := servertest.New(t)
	_, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.ClientConfig(servertest.OperatorID)
	status := func(cfg client.Config) error {
		c, err := client.Dial(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = c.GetStatus(t.Context(), &signetv1.GetStatusRequest{})
		return err
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		cfg.Addresses = []string{net.JoinHostPort(host, port)}
		if err := status(cfg); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	cfg.ServerName = "another.example"
	if err := status(cfg); !errors.Is(err, client.ErrUntrusted) {
		t.Errorf("another name: %v", err)
	}
}

// TestTogether: many callers, one client, a real server.
func TestTogether(t *testing.T) {
	s, c := servertest.NewMinting(t)
	source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{})
	defer source.Close()
	a := apple(t)
	hc := a.client(t, source)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 10 {
				resp, err := hc.Get(a.URL)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
	wg.Wait()
	if len(a.seen) != 1 {
		t.Errorf("%d tokens were used", len(a.seen))
	}
	n := 0
	for _, err := range s.Client(servertest.OperatorID).Entries(t.Context(), &signetv1.EntryFilter{Action: "token.mint"}, signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST, 10) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d mints are on record", n)
	}
}
