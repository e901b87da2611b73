package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p8signet/signet/client"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
	"github.com/p8signet/signet/server/servertest/fakeapple"
)

// atApple is a server with a key of a kind and a profile of it, as NewMintingOf makes them, and an Apple to which the key is known, whose clock
// is off by skew.
func atApple(t *testing.T, kind, profile string, skew time.Duration) (*servertest.Server, *fakeapple.Apple, *client.Client) {
	t.Helper()
	s := servertest.New(t)
	key := s.ImportKey(servertest.KeyName, kind)
	s.ApplyPolicy(policyOf(profile))
	a := fakeapple.New(func() time.Time { return s.Clock.Now().Add(skew) })
	a.Register(asApple(key))
	return s, a, s.DialClient(servertest.CallerID)
}

func policyOf(profile string) string {
	return `version: 1
profiles:
  ` + servertest.Profile + ": {key: " + servertest.KeyName + ", " + profile + `}
grants:
  - {id: ci, to: [{mtls: ` + servertest.CallerID + `}], mint: [` + servertest.Profile + `], rate: none}
`
}

// asApple is what Apple knows of a key.
func asApple(key *servertest.Key) fakeapple.Key {
	k := fakeapple.Key{ID: key.KeyID, Public: &key.Private.PublicKey, Issuer: key.IssuerID}
	switch key.Kind {
	case "app-store-connect":
		k.Kind = fakeapple.Team
	case "app-store-connect-individual":
		k.Kind = fakeapple.Individual
	case "enterprise":
		k.Kind = fakeapple.Enterprise
	case "in-app-purchase":
		k.Kind = fakeapple.InAppPurchase
	case "developer-portal":
		k.Kind, k.Team, k.Clients = fakeapple.Portal, servertest.TeamID, []string{"com.example.web", "com.example.weather"}
		k.Services = []fakeapple.Service{
			fakeapple.APNs, fakeapple.DeviceCheck, fakeapple.SignIn, fakeapple.Media, fakeapple.Maps, fakeapple.Weather, fakeapple.ClassKit, fakeapple.IWork,
		}
	case "apple-ads":
		k.Kind, k.Team, k.Client = fakeapple.Ads, servertest.AdsID, servertest.AdsID
	case "school-business":
		k.Kind, k.Client = fakeapple.SchoolBusiness, servertest.BusinessID
	case "marketplace":
		k.Kind, k.App = fakeapple.Marketplace, servertest.AppID
	}
	return k
}

// taking is how Apple is given what was minted; the error is Apple's refusal.
type taking func(t *testing.T, a *fakeapple.Apple, tok *client.Token) error

// requesting makes a request with the header that the client writes.
func requesting(method, url string, headers ...string) taking {
	return func(t *testing.T, a *fakeapple.Apple, tok *client.Token) error {
		req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
		if err != nil {
			return err
		}
		if !slices.Contains(tok.Hosts, req.URL.Host) {
			return fmt.Errorf("the token is for %v", tok.Hosts)
		}
		req.Header.Set("Authorization", tok.Authorization())
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		return answered(a.RoundTrip(req))
	}
}

// answered is the answer as an error.
func answered(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return err
}

// posting posts the form that the client fills in, and what the caller adds.
func posting(added ...string) taking {
	return func(_ *testing.T, a *fakeapple.Apple, tok *client.Token) error {
		form := tok.PostForm()
		for i := 0; i < len(added); i += 2 {
			form.Set(added[i], added[i+1])
		}
		return answered((&http.Client{Transport: a}).PostForm(tok.PostURL, form))
	}
}

func toStoreKit(_ *testing.T, a *fakeapple.Apple, tok *client.Token) error {
	return a.StoreKit(tok.Text(), "com.example.app")
}

// everyFamily is a profile of every family, and how Apple takes what it mints.
var everyFamily = []struct {
	name, kind, profile string
	call                client.Call
	take                taking
}{
	{"app-store-connect", "app-store-connect", "app_store_connect: {}, ttl: 1170s", nil, requesting("POST", "https://api.appstoreconnect.apple.com/v1/users")},
	{"app-store-connect, individual", "app-store-connect-individual", "app_store_connect: {}, ttl: 1170s", nil, requesting("GET", "https://api.appstoreconnect.apple.com/v1/apps")},
	{"app-store-connect, scoped", "app-store-connect", `app_store_connect: {scope: ["GET /v1/apps?filter[platform]=IOS&include=builds"]}`, nil,
		requesting("GET", "https://api.appstoreconnect.apple.com/v1/apps?limit=2&include=builds&filter%5Bplatform%5D=IOS")},
	{"app-store-connect, long-lived", "app-store-connect", `app_store_connect: {scope: ["GET /v1/ciProducts"]}, ttl: 180d, long_lived: true`, nil,
		requesting("GET", "https://api.appstoreconnect.apple.com/v1/ciProducts")},
	{"enterprise", "enterprise", "enterprise: {}, ttl: 1170s", nil, requesting("GET", "https://api.enterprise.developer.apple.com/v1/bundleIds")},
	{"notary", "app-store-connect", "notary: {}, ttl: 1170s", nil, requesting("POST", "https://appstoreconnect.apple.com/notary/v2/submissions")},
	{"app-store-server", "in-app-purchase", "app_store_server: {bundle_id: com.example.app}, ttl: 3570s", nil,
		requesting("GET", "https://api.storekit-sandbox.apple.com/inApps/v1/transactions/1000011859217")},
	{"promotional-offer", "in-app-purchase", "promotional_offer: {bundle_id: com.example.app}",
		client.PromotionalOffer{ProductID: "com.example.pro", OfferID: "winback1", TransactionID: "1000011859217"}, toStoreKit},
	{"introductory-offer", "in-app-purchase", "introductory_offer: {bundle_id: com.example.app}",
		client.IntroductoryOffer{ProductID: "com.example.pro", TransactionID: "1000011859217"}, toStoreKit},
	{"advanced-commerce-request", "in-app-purchase", "advanced_commerce_request: {bundle_id: com.example.app}", client.AdvancedCommerce{Request: commerce}, toStoreKit},
	{"promotional-offer-signature", "in-app-purchase", "promotional_offer_signature: {bundle_id: com.example.app}",
		client.PromotionalOffer{ProductID: "com.example.pro", OfferID: "winback1", Account: "7E3FB204-2DD2-4F5B-BE25-93C0A4DFBC1F"},
		func(_ *testing.T, a *fakeapple.Apple, tok *client.Token) error {
			return a.Redeem(fakeapple.Offer{
				Bundle: "com.example.app", KeyID: tok.KeyID, Product: "com.example.pro", Offer: "winback1", Account: "7E3FB204-2DD2-4F5B-BE25-93C0A4DFBC1F",
				Nonce: tok.Nonce, Timestamp: tok.Timestamp, Signature: tok.Text(),
			})
		}},
	{"apns", "developer-portal", "apns: {}", nil, func(t *testing.T, a *fakeapple.Apple, tok *client.Token) error {
		s := a.PushServer(t, false)
		clients, closeAll := fakeapple.Connections(s, 1)
		defer closeAll()
		return answered(pushing(t.Context(), clients[0], s, tok.Authorization()))
	}},
	{"device-check", "developer-portal", "device_check: {}", nil, requesting("POST", "https://api.devicecheck.apple.com/v1/query_two_bits")},
	{"app-attest", "developer-portal", "app_attest: {}", nil, requesting("POST", "https://data.appattest.apple.com/v1/attestationData")},
	{"sign-in-with-apple", "developer-portal", "sign_in_with_apple: {client_id: com.example.web}, ttl: 1h", nil, posting("grant_type", "authorization_code", "code", "c")},
	{"sign-in-with-apple, long-lived", "developer-portal", "sign_in_with_apple: {client_id: com.example.web}, ttl: 180d, long_lived: true", nil, posting("token", "t")},
	{"apple-music", "developer-portal", "apple_music: {origins: [https://music.example.com]}, ttl: 30d", nil,
		requesting("GET", "https://api.music.apple.com/v1/catalog/us/songs/1", "Origin", "https://music.example.com")},
	{"apple-music, long-lived", "developer-portal", "apple_music: {}, ttl: 180d, long_lived: true", nil, requesting("GET", "https://api.ent.apple.com/v1/feed/song/latest")},
	{"maps-server", "developer-portal", "maps_server: {}", nil, requesting("GET", "https://maps-api.apple.com/v1/token")},
	{"mapkit", "developer-portal", `mapkit: {scopes: [mapkit_js], origins: [example.com, "*.example.com"]}, ttl: 180d, long_lived: true`, nil,
		func(_ *testing.T, a *fakeapple.Apple, tok *client.Token) error {
			return a.MapKit(tok.Text(), "mapkit_js", "www.example.com")
		}},
	{"maps-snapshot", "developer-portal", "maps_snapshot: {}", client.MapsSnapshot{Query: "center=37.33%2C-122.0&z=12&lang=de"},
		func(t *testing.T, a *fakeapple.Apple, tok *client.Token) error {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tok.Text(), http.NoBody)
			if err != nil {
				return err
			}
			return answered(a.RoundTrip(req))
		}},
	{"weatherkit", "developer-portal", "weatherkit: {service_id: com.example.weather}", nil, requesting("GET", "https://weatherkit.apple.com/api/v1/weather/en/37/122")},
	{"classkit", "developer-portal", "classkit: {}", nil, func(_ *testing.T, a *fakeapple.Apple, tok *client.Token) error {
		return a.ClassKit(tok.Text())
	}},
	{"iwork-export", "developer-portal", "iwork_export: {}, ttl: 14370s", client.IWorkExport{FileName: "Plan für morgen.pages"},
		func(_ *testing.T, a *fakeapple.Apple, tok *client.Token) error {
			return a.Export(tok.Authorization())
		}},
	{"apple-ads", "apple-ads", "apple_ads: {}, ttl: 1h", nil, posting()},
	{"school-business", "school-business", "school_business: {}, ttl: 1h", nil, posting()},
	{"marketplace", "marketplace", "marketplace: {}, ttl: 604740s", client.Marketplace{DeveloperID: "dev-1"},
		func(_ *testing.T, a *fakeapple.Apple, tok *client.Token) error {
			return a.Transfer(tok.Text(), "dev-1")
		}},
}

// TestAppleTakes: Apple takes what is minted of every family, at its longest, with a clock that is 20 seconds from the vault's; and with one
// that is 20 seconds ahead until just before it is to be used no longer.
func TestAppleTakes(t *testing.T) {
	s := servertest.New(t)
	keys := map[string]fakeapple.Key{}
	profiles, names := "version: 1\nprofiles:\n", []string{}
	for _, tt := range everyFamily {
		if _, ok := keys[tt.kind]; !ok {
			keys[tt.kind] = asApple(s.ImportKey(tt.kind, tt.kind))
		}
		name := strings.ReplaceAll(tt.name, ", ", ".")
		names = append(names, name)
		profiles += "  " + name + ": {key: " + tt.kind + ", " + tt.profile + "}\n"
	}
	s.ApplyPolicy(profiles + "grants:\n  - {id: ci, to: [{mtls: " + servertest.CallerID + "}], mint: [" + strings.Join(names, ", ") + "], rate: none}\n")
	c := s.DialClient(servertest.CallerID)

	// taken mints a token, and gives it to an Apple whose clock shows at of it.
	taken := func(t *testing.T, i int, at func(*client.Token) time.Time) {
		t.Helper()
		tt := everyFamily[i]
		tok, err := c.Mint(t.Context(), names[i], client.MintOptions{Call: tt.call})
		if err != nil {
			t.Fatal(err)
		}
		now := at(tok)
		a := fakeapple.New(func() time.Time { return now })
		a.Register(keys[tt.kind])
		if err := tt.take(t, a, tok); err != nil {
			t.Errorf("Apple refuses it: %v, %v", err, a.Refusals())
		}
	}
	for i, tt := range everyFamily {
		for _, skew := range []time.Duration{-20 * time.Second, 0, 20 * time.Second} {
			t.Run(tt.name+"/"+skew.String(), func(t *testing.T) {
				taken(t, i, func(*client.Token) time.Time { return s.Clock.Now().Add(skew) })
			})
		}
		if tt.call != nil {
			continue // for one use, at once
		}
		t.Run(tt.name+"/last moment", func(t *testing.T) {
			taken(t, i, func(tok *client.Token) time.Time { return tok.UseUntil.Add(20*time.Second - time.Second) })
		})
	}
}

// TestAppleClockTooFar: what a token is back-dated by is what it bears, and no more.
func TestAppleClockTooFar(t *testing.T) {
	for behind, want := range map[time.Duration]int{-30 * time.Second: 200, -31 * time.Second: 401} {
		_, a, c := atApple(t, "app-store-connect", "app_store_connect: {}", behind)
		tok, err := c.Mint(t.Context(), servertest.Profile, client.MintOptions{})
		if err != nil {
			t.Fatal(err)
		}
		err = requesting("GET", "https://api.appstoreconnect.apple.com/v1/apps")(t, a, tok)
		if (err == nil) != (want == 200) {
			t.Errorf("%s: %v", behind, err)
		}
	}
}

// transport is an http.Client whose requests go to Apple with a source's tokens.
func transport(t *testing.T, s *servertest.Server, a *fakeapple.Apple, c *client.Client, mint client.MintOptions) *http.Client {
	t.Helper()
	source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{Mint: mint, Now: s.Clock.Now})
	t.Cleanup(source.Close)
	return &http.Client{Transport: &client.Transport{Source: source, Base: a, Moment: time.Millisecond}}
}

// TestAppleScope: a program's requests are those of its profile, and of what it asked for, and no others.
func TestAppleScope(t *testing.T) {
	const base = "https://api.appstoreconnect.apple.com"
	profile := `app_store_connect: {scope: ["GET /v1/apps?filter[platform]=IOS", "GET /v1/builds"]}`
	for _, tt := range []struct {
		name  string
		scope []string
		taken map[string]bool // by request
	}{
		{"all of it", nil, map[string]bool{
			"GET /v1/apps?filter[platform]=IOS": true, "GET /v1/apps?filter[platform]=IOS&limit=5": true, "GET /v1/builds": true,
			"GET /v1/apps": false, "GET /v1/builds/1": false, "POST /v1/builds": false, "GET /v1/users": false,
		}},
		{"less", []string{"GET /v1/builds"}, map[string]bool{"GET /v1/builds": true, "GET /v1/apps?filter[platform]=IOS": false}},
	} {
		for _, request := range slices.Sorted(maps.Keys(tt.taken)) {
			t.Run(tt.name+"/"+request, func(t *testing.T) {
				s, a, c := atApple(t, "app-store-connect", profile, 0)
				hc := transport(t, s, a, c, client.MintOptions{Scope: tt.scope})
				method, target, _ := strings.Cut(request, " ")
				req, err := http.NewRequestWithContext(t.Context(), method, base+target, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				if err := answered(hc.Do(req)); (err == nil) != tt.taken[request] {
					t.Errorf("%v, %v", err, a.Refusals())
				}
			})
		}
	}
}

// mints counts the tokens that were signed and those that were given again.
func mints(t *testing.T, s *servertest.Server) (n int) {
	t.Helper()
	filter := &signetv1.EntryFilter{Action: "token.mint"}
	for _, err := range s.Client(servertest.OperatorID).Entries(t.Context(), filter, signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST, 1000) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// TestAppleStumbles: a good token that Apple refuses now and then is no failure of a program, and no flood of tokens.
func TestAppleStumbles(t *testing.T) {
	for _, tt := range []struct {
		name     string
		stumbles int
		revoked  int
		limit    int
		before   int // requests that are taken before
		status   int
		refused  int // how often Apple said no
		mints    int
	}{
		{"never", 0, 0, 0, 0, 200, 0, 1},
		{"once", 1, 0, 0, 0, 200, 1, 1},
		{"twice", 2, 0, 0, 0, 200, 2, 2},
		{"always", 9, 0, 0, 0, 401, 3, 2},
		{"the key is revoked, 401", 0, 401, 0, 1, 401, 3, 2},
		{"the key is revoked, 403", 0, 403, 0, 1, 403, 1, 1},
		{"too many requests", 0, 0, 2, 2, 429, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := servertest.New(t)
			key := s.ImportKey(servertest.KeyName, "app-store-connect")
			s.ApplyPolicy(policyOf("app_store_connect: {}"))
			a := fakeapple.New(s.Clock.Now)
			known := asApple(key)
			known.HourLimit = tt.limit
			a.Register(known)
			hc := transport(t, s, a, s.DialClient(servertest.CallerID), client.MintOptions{})
			for range tt.before {
				if status := get(t, hc, appsURL); status != http.StatusOK {
					t.Fatalf("answered %d: %v", status, a.Refusals())
				}
			}
			a.Stumble(tt.stumbles)
			if tt.revoked != 0 {
				a.Revoke(key.KeyID, tt.revoked)
			}
			s.Clock.Advance(time.Second) // a fresh token of the same second would be the same but for its signature
			if status := get(t, hc, appsURL); status != tt.status {
				t.Errorf("answered %d, want %d", status, tt.status)
			}
			if n := len(a.Refusals()); n != tt.refused {
				t.Errorf("Apple refused %d times, want %d: %v", n, tt.refused, a.Refusals())
			}
			if n := mints(t, s); n != tt.mints {
				t.Errorf("%d mints, want %d", n, tt.mints)
			}
		})
	}
}

const appsURL = "https://api.appstoreconnect.apple.com/v1/apps"

// TestAppleKeyChanges: when a key is rotated its programs go over to the new one; the old one can be revoked when its last token has ended.
func TestAppleKeyChanges(t *testing.T) {
	s, a, c := atApple(t, "app-store-connect", "app_store_connect: {}", 0)
	hc := transport(t, s, a, c, client.MintOptions{})
	if status := get(t, hc, appsURL); status != http.StatusOK {
		t.Fatal(status)
	}
	old, err := c.Mint(t.Context(), servertest.Profile, client.MintOptions{})
	if err != nil {
		t.Fatal(err)
	}
	key := s.NewKey("app-store-connect")
	a.Register(asApple(key))
	operator := s.Client(servertest.OperatorID)
	added, err := operator.ImportKey(t.Context(), &signetv1.ImportKeyRequest{Name: servertest.KeyName, Sealed: s.Seal(key)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := operator.ActivateVersion(t.Context(), &signetv1.ActivateVersionRequest{Name: servertest.KeyName, Version: added.GetVersion()}); err != nil {
		t.Fatal(err)
	}
	s.Clock.Advance(old.UseUntil.Sub(s.Clock.Now()))
	a.Revoke(old.KeyID, http.StatusUnauthorized)
	if status := get(t, hc, appsURL); status != http.StatusOK {
		t.Errorf("after the old key is gone: %d, %v", status, a.Refusals())
	}
}

// pushing pushes with a value of the Authorization header; with none, the client's own transport sets it.
func pushing(ctx context.Context, hc *http.Client, s *httptest.Server, authorization string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/3/device/00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0", http.NoBody)
	if err != nil {
		return nil, err
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	req.Header.Set("Apns-Topic", "com.example.app")
	return hc.Do(req)
}

// TestAppleTwentyMinutes: two vaults with one key, whose clocks are 15 seconds apart, and programs with clocks that show anything push for
// two hours, each of them with many goroutines over one connection. APNs refuses nothing: no connection changes its token more than once
// in 20 minutes, and none goes back. But for the edges all have one token, and a vault that was restarted has it again.
func TestAppleTwentyMinutes(t *testing.T) {
	first := servertest.New(t)
	key := first.ImportKey(servertest.KeyName, "developer-portal")
	second := servertest.New(t)
	if _, err := second.Client(servertest.OperatorID).ImportKey(t.Context(), &signetv1.ImportKeyRequest{Name: servertest.KeyName, Sealed: second.Seal(key)}); err != nil {
		t.Fatal(err)
	}
	vaults := []*servertest.Server{first, second}
	const apart = 15 * time.Second
	second.Clock.Advance(first.Clock.Now().Add(apart).Sub(second.Clock.Now()))

	a := fakeapple.New(first.Clock.Now)
	a.Register(asApple(key))
	push := a.PushServer(t, false)
	programs := make([]*http.Client, 6)
	sources := make([]*client.TokenSource, len(programs))
	connections, closeAll := fakeapple.Connections(push, len(programs))
	defer closeAll()
	for i := range programs {
		s := vaults[i%2]
		if i < 2 {
			s.ApplyPolicy(policyOf("apns: {}"))
		}
		off := time.Duration(i-2) * 11 * time.Minute // the program's clock is nobody's
		sources[i] = s.DialClient(servertest.CallerID).TokenSource(servertest.Profile, client.TokenSourceOptions{
			Now: func() time.Time { return s.Clock.Now().Add(off) },
		})
		defer sources[i].Close()
		programs[i] = &http.Client{Transport: &client.Transport{Source: sources[i], Base: connections[i].Transport, Hosts: []string{push.Listener.Addr().String()}}}
	}

	// The clock goes fast, but slowly around an edge, which is 30 seconds after each half hour.
	step := func() time.Duration {
		shifted := first.Clock.Now().Add(2*time.Minute - 30*time.Second)
		if shifted.Sub(shifted.Truncate(30*time.Minute)) < 4*time.Minute {
			return apart
		}
		return time.Minute
	}
	seen := map[string]bool{}
	steps, edges := 0, 0
	began, restarted := first.Clock.Now(), 0
	for ; first.Clock.Now().Sub(began) < 2*time.Hour; steps++ {
		at := first.Clock.Now().Sub(began)
		var wg sync.WaitGroup
		for _, hc := range programs {
			for range 3 {
				wg.Go(func() {
					if err := answered(pushing(t.Context(), hc, push, "")); err != nil {
						t.Errorf("after %s: %v", at, err)
					}
				})
			}
		}
		wg.Wait()
		now := map[string]bool{}
		for i, source := range sources {
			tok, err := source.Token(t.Context())
			if err != nil {
				t.Fatalf("program %d after %s: %v", i, at, err)
			}
			now[tok.Text()], seen[tok.Text()] = true, true
		}
		if len(now) > 1 {
			edges++
		}
		if steps%50 == 10 {
			fresh(t, sources)
		}
		if t.Failed() {
			t.Fatal(a.Refusals())
		}
		if restarted < 2 && at > time.Duration(restarted+1)*40*time.Minute {
			vaults[restarted].Restart()
			restarted++
		}
		forward := step()
		for _, s := range vaults {
			s.Clock.Advance(forward)
		}
	}
	if n := len(seen); n < 4 || n > 6 {
		t.Errorf("%d tokens in two hours, want one for each half hour", n)
	}
	// The clocks are a small step apart, so the programs differ in one step of each edge, and in another one when an answer was on
	// its way for long.
	if edges > 3*len(seen) {
		t.Errorf("the programs had different tokens in %d of %d steps", edges, steps)
	}
	t.Logf("%d pushes with %d tokens; in %d of %d steps the programs had different ones", a.Taken(), len(seen), edges, steps)
}

// fresh asks for fresh tokens, which there are none of.
func fresh(t *testing.T, sources []*client.TokenSource) {
	t.Helper()
	for i, source := range sources {
		tok, err := source.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// At an edge the next one comes between the two calls.
		if other, err := source.Fresh(t.Context(), tok); !errors.Is(err, client.ErrNoNewer) && (err != nil || other.Issued.Equal(tok.Issued)) {
			t.Errorf("program %d has a fresh token: %v, %v", i, other, err)
		}
	}
}
