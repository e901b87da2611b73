package oauth2source_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/oauth2"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/client/oauth2source"
	"github.com/p8signet/signet/server/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSource(t *testing.T) {
	s, c := servertest.NewMinting(t)
	source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{})
	defer source.Close()
	want, err := source.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	adapted := oauth2source.New(t.Context(), source)
	for range 2 {
		tok, err := adapted.Token()
		if err != nil {
			t.Fatal(err)
		}
		if tok.AccessToken != want.Text() || tok.Type() != "Bearer" || !tok.Valid() {
			t.Errorf("type %s, valid %t, the same token: %t", tok.Type(), tok.Valid(), tok.AccessToken == want.Text())
		}
		if left := time.Until(tok.Expiry); left > 9*time.Minute || left < 8*time.Minute { // ten, less the back-dating and the margin
			t.Errorf("it is said to expire in %s", left)
		}
	}
	if tok, err := oauth2.ReuseTokenSource(nil, adapted).Token(); err != nil || tok.AccessToken != want.Text() {
		t.Errorf("reused: %v", err)
	}

	refused := s.DialClient("spiffe://signet.test/ci/2").TokenSource(servertest.Profile, client.TokenSourceOptions{})
	defer refused.Close()
	if tok, err := oauth2source.New(t.Context(), refused).Token(); tok != nil || !errors.Is(err, client.ErrDenied) {
		t.Errorf("another caller: %v", err)
	}
	source.Close()
	if _, err := adapted.Token(); !errors.Is(err, client.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestForms: what oauth2 cannot write as Apple wants it is refused.
func TestForms(t *testing.T) {
	for _, tt := range []struct {
		kind, profile string
		takes         bool
	}{
		{"developer-portal", "device_check: {}", true},
		{"in-app-purchase", "app_store_server: {bundle_id: com.example.app}", true},
		{"developer-portal", "apns: {}", false},
		{"developer-portal", "app_attest: {}", false},
		{"developer-portal", "sign_in_with_apple: {client_id: com.example.web}", false},
		{"developer-portal", "mapkit: {scopes: [mapkit_js], origins: [example.com]}", false},
	} {
		t.Run(tt.profile, func(t *testing.T) {
			_, c := servertest.NewMintingOf(t, tt.kind, tt.profile)
			source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{})
			defer source.Close()
			tok, err := oauth2source.New(t.Context(), source).Token()
			if (err == nil) != tt.takes || (tok == nil) == tt.takes || err != nil && !errors.Is(err, client.ErrForm) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestContext(t *testing.T) {
	_, c := servertest.NewMinting(t)
	source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{})
	defer source.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := oauth2source.New(ctx, source).Token(); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

// A library that takes an oauth2.TokenSource, or an http.Client, uses Signet's tokens.
func ExampleNew() {
	cfg, err := client.LoadConfig("client.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := client.Dial(cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	source := c.TokenSource("ios-release", client.TokenSourceOptions{})
	defer source.Close()

	hc := oauth2.NewClient(context.Background(), oauth2source.New(context.Background(), source))
	resp, err := hc.Get("https://api.appstoreconnect.apple.com/v1/apps")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
}
