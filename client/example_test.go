package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
)

// A program that calls App Store Connect, and never thinks of tokens again.
func Example() {
	cfg, err := client.LoadConfig(os.Getenv("SIGNET_CONFIG"))
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

	apple := &http.Client{Transport: &client.Transport{Source: source}}
	resp, err := apple.Get("https://api.appstoreconnect.apple.com/v1/apps")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
}

// One token, for two minutes and one request, and what may come instead.
func ExampleClient_Mint() {
	var c *client.Client // from Dial
	token, err := c.Mint(context.Background(), "ios-builds-read", client.MintOptions{
		TTL:   2 * time.Minute,
		Scope: []string{"GET /v1/apps/1234567890"},
	})
	switch {
	case errors.Is(err, client.ErrDenied):
		fmt.Println("no grant for this profile, or there is no such profile")
	case errors.Is(err, client.ErrKeyDisabled), errors.Is(err, client.ErrKeyRevoked):
		fmt.Println("operations has turned the key off")
	case errors.Is(err, client.ErrRateLimited), errors.Is(err, client.ErrUnavailable):
		fmt.Println("try again later")
	case errors.Is(err, client.ErrUnknown):
		fmt.Println("it may have been minted; to ask again is to ask for a second one")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println(token) // its hash and end; token.Text() is the token itself
	}
}

// The signature of an offer, as an app's server hands it to the app. Each is for one purchase.
func ExampleClient_Mint_offer() {
	var c *client.Client // from Dial
	signed, err := c.Mint(context.Background(), "offers", client.MintOptions{
		Call: client.PromotionalOffer{ProductID: "com.example.pro", OfferID: "winback1", TransactionID: "1000011859217"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var w http.ResponseWriter // to the app
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(signed.AppJSON()) // {"compactJWS": …, "nonce": …}
}

// Sign in with Apple: a code of an authorization becomes tokens of the user's.
func ExampleToken_PostForm() {
	var c *client.Client // from Dial
	secret, err := c.Mint(context.Background(), "sign-in", client.MintOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	form := secret.PostForm() // client_id and client_secret
	form.Set("grant_type", "authorization_code")
	form.Set("code", "c1234")
	resp, err := http.PostForm(secret.PostURL, form)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
}

// A file that always holds a good token.
func ExampleTokenSource_Next() {
	var c *client.Client // from Dial
	source := c.TokenSource("ios-release", client.TokenSourceOptions{})
	defer source.Close()
	ctx := context.Background()
	var token *client.Token
	for ctx.Err() == nil {
		next, err := source.Next(ctx, token)
		if err != nil {
			fmt.Println("no token now:", err) // calling Next again waits until it is time to try again
			token = nil
			continue
		}
		token = next
		if err := os.WriteFile("token.new", []byte(token.Text()), 0o600); err != nil {
			fmt.Println(err)
			return
		}
		if err := os.Rename("token.new", "token"); err != nil {
			fmt.Println(err)
			return
		}
	}
}

// Every token's proof that it is on record, kept where it can be checked for years: without Signet's server, and without its client.
func ExampleKeepReceipts() {
	var c *client.Client // from Dial, with a config that pins the log's key
	source := c.TokenSource("ios-release", client.TokenSourceOptions{Keep: client.KeepReceipts("receipts")})
	defer source.Close()
	token, err := source.Token(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}

	file, err := os.ReadFile("receipts/" + token.SHA256 + ".json")
	if err != nil {
		fmt.Println(err)
		return
	}
	var receipt struct{ Proof, Entry string }
	if err := json.Unmarshal(file, &receipt); err != nil {
		fmt.Println(err)
		return
	}
	verifier, err := note.NewVerifier("vault/node-1+…+…") // logs[].key of client.yaml
	if err != nil {
		fmt.Println(err)
		return
	}
	proved, err := auditlog.VerifyReceipt([]byte(receipt.Proof), verifier)
	if err != nil || proved.Leaf != auditlog.LeafHash([]byte(receipt.Entry)) {
		fmt.Println("this proves nothing:", err)
		return
	}
	fmt.Println("entry", proved.Index, "of", proved.Checkpoint.Origin, "is", receipt.Entry)
}

// TestYourProgram is a test to copy: a program that calls Apple, against a real Signet and a server that stands for Apple.
func TestYourProgram(t *testing.T) {
	_, c := servertest.NewMinting(t)
	source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{})
	defer source.Close()

	standIn := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer standIn.Close()
	apple := &http.Client{Transport: &client.Transport{
		Source: source,
		Base:   standIn.Client().Transport,
		Hosts:  []string{standIn.Listener.Addr().String()},
	}}

	resp, err := apple.Get(standIn.URL + "/v1/apps")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status is %s", resp.Status)
	}
}

// TestYourProgramWhenTheKeyIsOff is a test to copy, too: what a program does when operations turns the key off. The source goes by the
// server's clock, which the test moves.
func TestYourProgramWhenTheKeyIsOff(t *testing.T) {
	s, c := servertest.NewMinting(t)
	source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{Now: s.Clock.Now})
	defer source.Close()
	if _, err := source.Token(t.Context()); err != nil {
		t.Fatal(err)
	}

	operator := s.Client(servertest.OperatorID)
	if _, err := operator.DisableKey(t.Context(), &signetv1.DisableKeyRequest{Name: servertest.KeyName}); err != nil {
		t.Fatal(err)
	}
	s.Clock.Advance(10 * time.Minute) // the token is over
	if _, err := source.Token(t.Context()); !errors.Is(err, client.ErrKeyDisabled) {
		t.Errorf("error is %v, want ErrKeyDisabled", err)
	}
}

// Every server of a vault has a log of its own, and each says which.
func ExampleClient_Replicas() {
	var c *client.Client // from Dial
	for _, r := range c.Replicas() {
		origin, err := r.Origin(context.Background())
		if err != nil {
			fmt.Println(r.Address, err)
			continue
		}
		fmt.Println(r.Address, "writes", origin)
	}
}
