package client_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/client"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
)

const uuidShape = `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`

var commerce = []byte(`{"operation":"CREATE_ONE_TIME_CHARGE","version":"1"}`)

// TestFamilies mints every form of token with a real server, and looks at what a caller gets.
func TestFamilies(t *testing.T) {
	for _, tt := range []struct {
		name, kind, profile string
		call                client.Call
		want                client.Token // Form, Scheme, SecretField, PostURL and Shared
		hosts               []string
		header              string // what stands before the token
		form                url.Values
		app                 string // the names in what an app is handed
		life                time.Duration
	}{
		{name: "app-store-connect", kind: "app-store-connect", profile: "app_store_connect: {}", want: client.Token{Form: client.FormHeader, Scheme: "Bearer"},
			hosts: client.AppleHosts(), header: "Authorization: Bearer ", life: 10 * time.Minute},
		{name: "app-store-server", kind: "in-app-purchase", profile: "app_store_server: {bundle_id: com.example.app}", want: client.Token{Form: client.FormHeader, Scheme: "Bearer"},
			hosts:  []string{"api.storekit.apple.com", "api.storekit-sandbox.apple.com", "api.storekit.itunes.apple.com", "api.storekit-sandbox.itunes.apple.com"},
			header: "Authorization: Bearer ", life: 5 * time.Minute},
		{name: "apns", kind: "developer-portal", profile: "apns: {}", want: client.Token{Form: client.FormHeader, Scheme: "bearer", Shared: true},
			hosts:  []string{"api.push.apple.com", "api.sandbox.push.apple.com", "api-manage-broadcast.push.apple.com:2196", "api-manage-broadcast.sandbox.push.apple.com:2195"},
			header: "Authorization: bearer ", life: time.Hour},
		{name: "app-attest", kind: "developer-portal", profile: "app_attest: {}", want: client.Token{Form: client.FormHeader, Shared: true},
			hosts: []string{"data.appattest.apple.com", "data-development.appattest.apple.com"}, header: "Authorization: ", life: time.Hour},
		{name: "classkit", kind: "developer-portal", profile: "classkit: {}", want: client.Token{Form: client.FormHeader, Scheme: "Bearer"},
			header: "Authorization: Bearer ", life: 15 * time.Minute},
		{name: "iwork-export", kind: "developer-portal", profile: "iwork_export: {}", call: client.IWorkExport{FileName: "Plan für Mai.pdf"},
			want: client.Token{Form: client.FormHeader}, header: "Authorization: ", life: 15 * time.Minute},
		{name: "sign-in-with-apple", kind: "developer-portal", profile: "sign_in_with_apple: {client_id: com.example.web}",
			want: client.Token{Form: client.FormSecret, SecretField: "client_secret", PostURL: "https://appleid.apple.com/auth/token"},
			form: url.Values{"client_id": {"com.example.web"}}, life: 5 * time.Minute},
		{name: "apple-ads", kind: "apple-ads", profile: "apple_ads: {}",
			want: client.Token{Form: client.FormSecret, SecretField: "client_secret", PostURL: "https://appleid.apple.com/auth/oauth2/token"},
			form: url.Values{"client_id": {servertest.AdsID}, "grant_type": {"client_credentials"}, "scope": {"searchadsorg"}}, life: 5 * time.Minute},
		{name: "school-business", kind: "school-business", profile: "school_business: {}",
			want: client.Token{Form: client.FormSecret, SecretField: "client_assertion", PostURL: "https://account.apple.com/auth/oauth2/token"},
			form: url.Values{"client_id": {servertest.BusinessID}, "grant_type": {"client_credentials"}, "scope": {"business.api"},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}, life: 5 * time.Minute},
		{name: "promotional-offer", kind: "in-app-purchase", profile: "promotional_offer: {bundle_id: com.example.app, products: [com.example.pro]}",
			call: client.PromotionalOffer{ProductID: "com.example.pro", OfferID: "winback1", TransactionID: "1000011859217"},
			want: client.Token{Form: client.FormHanded}, app: "compactJWS nonce", life: 24 * time.Hour},
		{name: "introductory-offer", kind: "in-app-purchase", profile: "introductory_offer: {bundle_id: com.example.app}",
			call: client.IntroductoryOffer{ProductID: "com.example.pro", TransactionID: "1000011859217"},
			want: client.Token{Form: client.FormHanded}, app: "compactJWS nonce", life: 24 * time.Hour},
		{name: "advanced-commerce-request", kind: "in-app-purchase", profile: "advanced_commerce_request: {bundle_id: com.example.app}",
			call: client.AdvancedCommerce{Request: commerce}, want: client.Token{Form: client.FormHanded}, app: "compactJWS nonce", life: 24 * time.Hour},
		{name: "promotional-offer-signature", kind: "in-app-purchase", profile: "promotional_offer_signature: {bundle_id: com.example.app}",
			call: client.PromotionalOffer{ProductID: "com.example.pro", OfferID: "winback1", Account: "0B9E2F0C-6D1F-4C0E-9A53-8A5F6F0D2C11"},
			want: client.Token{Form: client.FormSignature}, app: "keyIdentifier nonce signature timestamp", life: 24 * time.Hour},
		{name: "mapkit", kind: "developer-portal", profile: "mapkit: {scopes: [mapkit_js], origins: [example.com]}",
			want: client.Token{Form: client.FormHanded}, app: "token", life: 12 * time.Hour},
		{name: "marketplace", kind: "marketplace", profile: "marketplace: {}", call: client.Marketplace{DeveloperID: "dev-1"},
			want: client.Token{Form: client.FormHanded}, app: "token", life: 24 * time.Hour},
		{name: "maps-snapshot", kind: "developer-portal", profile: "maps_snapshot: {}", call: client.MapsSnapshot{Query: "center=37.33,-122.0&z=12"},
			want: client.Token{Form: client.FormURL}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, c := servertest.NewMintingOf(t, tt.kind, tt.profile)
			tok, err := c.Mint(t.Context(), servertest.Profile, client.MintOptions{Call: tt.call, Receipt: true})
			if err != nil {
				t.Fatal(err)
			}
			got := client.Token{Form: tok.Form, Scheme: tok.Scheme, SecretField: tok.SecretField, PostURL: tok.PostURL, Shared: tok.Shared}
			if diff := cmp.Diff([]any{tt.want.Form, tt.want.Scheme, tt.want.SecretField, tt.want.PostURL, tt.want.Shared},
				[]any{got.Form, got.Scheme, got.SecretField, got.PostURL, got.Shared}); diff != "" {
				t.Error(diff)
			}
			if !slices.Equal(tok.Hosts, tt.hosts) {
				t.Errorf("hosts %v, want %v", tok.Hosts, tt.hosts)
			}
			header := ""
			if tt.header != "" {
				header = tt.header + tok.Text()
			}
			if tok.Header() != header {
				t.Error("the header is not as Apple writes it")
			}
			if tt.form != nil {
				tt.form.Set(tt.want.SecretField, tok.Text())
			}
			if !maps.EqualFunc(tok.PostForm(), tt.form, slices.Equal) {
				t.Errorf("the form has %v", slices.Sorted(maps.Keys(tok.PostForm())))
			}
			app := map[string]any{}
			if text := tok.AppJSON(); text != nil {
				if err := json.Unmarshal(text, &app); err != nil {
					t.Fatal(err)
				}
			}
			if names := strings.Join(slices.Sorted(maps.Keys(app)), " "); names != tt.app {
				t.Errorf("the app gets %q, want %q", names, tt.app)
			}
			if nonce, ok := app["nonce"]; ok && (nonce != tok.Nonce || !regexp.MustCompile(uuidShape).MatchString(tok.Nonce)) {
				t.Errorf("nonce %v", nonce)
			}
			if life := tok.Expires.Sub(tok.Issued); tt.life != 0 && life != tt.life {
				t.Errorf("it lives %s, want %s", life, tt.life)
			}
			if ends := !tok.Expires.IsZero() && !tok.UseUntil.IsZero() && !tok.Deadline().IsZero(); ends != (tt.life != 0) {
				t.Errorf("it ends: %t, %s, %s, %s", ends, tok.Expires, tok.UseUntil, tok.Deadline())
			}
			if strings.Contains(tok.String(), tok.Text()) || strings.Contains(tok.String(), "0001") {
				t.Errorf("it prints itself as %s", tok)
			}
			if tok.Receipt == nil {
				t.Error("no receipt")
			}
		})
	}
}

// TestClaims: what a caller fills in is what is signed.
func TestClaims(t *testing.T) {
	_, c := servertest.NewMintingOf(t, "in-app-purchase", "introductory_offer: {bundle_id: com.example.app}")
	for _, allow := range []bool{true, false} {
		tok, err := c.Mint(t.Context(), servertest.Profile, client.MintOptions{Call: client.IntroductoryOffer{ProductID: "com.example.pro", TransactionID: "1000011859217", Allow: allow}})
		if err != nil {
			t.Fatal(err)
		}
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(tok.Text(), claims); err != nil {
			t.Fatal(err)
		}
		if claims["allowIntroductoryOffer"] != allow || claims["productId"] != "com.example.pro" || claims["transactionId"] != "1000011859217" || claims["nonce"] != tok.Nonce {
			t.Errorf("claims %v", claims)
		}
	}
}

// TestUnfit: what does not fit the profile's family, is malformed or not on its list, in the sentinels and with the field.
func TestUnfit(t *testing.T) {
	_, c := servertest.NewMintingOf(t, "in-app-purchase", "promotional_offer: {bundle_id: com.example.app, products: [com.example.pro]}")
	good := client.PromotionalOffer{ProductID: "com.example.pro", OfferID: "winback1"}
	for _, tt := range []struct {
		name          string
		o             client.MintOptions
		is            error
		reason, field string
	}{
		{"nothing filled in", client.MintOptions{}, client.ErrMalformed, "UNFIT_REQUEST", ""},
		{"another family's", client.MintOptions{Call: client.Marketplace{DeveloperID: "dev-1"}}, client.ErrMalformed, "UNFIT_REQUEST", ""},
		{"a scope", client.MintOptions{Scope: []string{"GET /v1/apps"}}, client.ErrMalformed, "UNFIT_REQUEST", ""},
		{"a lifetime", client.MintOptions{Call: good, TTL: time.Minute}, client.ErrMalformed, "UNFIT_REQUEST", ""},
		{"a product that is not on the list", client.MintOptions{Call: client.PromotionalOffer{ProductID: "com.example.other", OfferID: "winback1"}}, client.ErrDenied, "VALUE_NOT_GRANTED", ""},
		{"no product", client.MintOptions{Call: client.PromotionalOffer{OfferID: "winback1"}}, client.ErrMalformed, "MALFORMED", "promotional_offer.product_id"},
		{"a scope too", client.MintOptions{Call: good, Scope: []string{"GET /v1/apps"}}, client.ErrMalformed, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tok, err := c.Mint(t.Context(), servertest.Profile, tt.o)
			if tok != nil || !errors.Is(err, tt.is) {
				t.Fatalf("%v, %v", tok, err)
			}
			e, ok := errors.AsType[*client.Error](err)
			if ok != (tt.reason != "") {
				t.Fatalf("error is %v", err)
			}
			if !ok {
				return
			}
			if e.Reason() != tt.reason {
				t.Errorf("reason %s, %v", e.Reason(), err)
			}
			if tt.field != "" && (len(e.Problems()) != 1 || e.Problems()[0].Field != tt.field) {
				t.Errorf("problems %v", e.Problems())
			}
		})
	}
}

// TestSingleUse: a source refuses what is for one use before the server is asked.
func TestSingleUse(t *testing.T) {
	s, c := servertest.NewMintingOf(t, "in-app-purchase", "promotional_offer: {bundle_id: com.example.app}")
	for _, call := range []client.Call{
		client.PromotionalOffer{ProductID: "com.example.pro", OfferID: "winback1"}, client.IntroductoryOffer{}, client.AdvancedCommerce{Request: commerce},
		client.MapsSnapshot{}, client.IWorkExport{},
	} {
		source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{Mint: client.MintOptions{Call: call}})
		defer source.Close()
		if tok, err := source.Token(t.Context()); tok != nil || !errors.Is(err, client.ErrSingleUse) {
			t.Errorf("%T: %v, %v", call, tok, err)
		}
	}
	for range s.Client(servertest.OperatorID).Entries(t.Context(), &signetv1.EntryFilter{Action: "token.mint"}, signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST, 10) {
		t.Error("the server was asked")
	}
}
