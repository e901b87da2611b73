package policy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/p8signet/signet/server/apple"
)

// drawnProfile is a profile of any family, as its author thinks of it.
type drawnProfile struct {
	example
	key   KeyFacts
	lists map[string][]string // the parameters, in the order of the document; one element for what is no list
	long  bool
	ttl   time.Duration // 0 when the document has none
	reuse string        // empty when the document has none
}

// pools are small, so that what is granted and what is asked for meet.
var pools = map[string][]string{
	"bundle_id":   {"com.example.app", "com.example.other"},
	"client_id":   {"com.example.web", "com.example.app"},
	"service_id":  {"com.example.weather"},
	"environment": {"sandbox", "production"},
	"products":    {"pro", "plus", "Pro", "pro.1"},
	"offers":      {"a", "b", "ab"},
	"operations":  {"CREATE_SUBSCRIPTION", "CREATE_ONE_TIME_CHARGE"},
	"topics":      {"com.example.app", "com.example.app.voip"},
	"developers":  {"1a", "1a2b", "2b"},
	"scopes":      {"mapkit_js", "embed_api", "web_snapshots"},
	"origins":     {"https://example.com", "https://a.example.com", "http://localhost:8080"},
	"scope":       {"GET /v1/apps", "GET /v1/ciProducts", "GET /v1/scmProviders", "GET /v1/apps/1/ciProduct"},
}

var anyFamily = rapid.Custom(func(t *rapid.T) drawnProfile {
	p := drawnProfile{example: rapid.SampledFrom(examples).Draw(t, "family"), lists: map[string][]string{}}
	p.key = keyOfKind[rapid.SampledFrom(p.kinds).Draw(t, "kind")]
	p.long = p.example.long > 0 && rapid.IntRange(0, 2).Draw(t, "long") == 0
	for _, f := range families {
		if f.of != p.family {
			continue
		}
		for _, name := range f.known {
			param, isList := parameters[name], parameters[name].list || name == "scope"
			must := param.must || name == "origins" && p.family == apple.FamilyMapKit || name == "scope" && p.long
			switch {
			case pools[name] == nil || !must && rapid.Bool().Draw(t, "without "+name):
			case isList:
				p.lists[name] = rapid.SliceOfNDistinct(rapid.SampledFrom(pools[name]), 1, 3, rapid.ID).Draw(t, name)
			default:
				p.lists[name] = []string{rapid.SampledFrom(pools[name]).Draw(t, name)}
			}
		}
	}
	if p.long {
		p.lists["scope"] = slices.DeleteFunc(p.lists["scope"], func(s string) bool { return s == "GET /v1/apps" })
		if p.family == apple.FamilyAppStoreConnect && len(p.lists["scope"]) == 0 {
			p.lists["scope"] = []string{"GET /v1/ciProducts"}
		}
		if p.family != apple.FamilyAppStoreConnect {
			delete(p.lists, "scope")
		}
	}
	most := p.most
	if p.long {
		most = p.example.long
	}
	if p.long || p.most > 0 && rapid.Bool().Draw(t, "says a ttl") {
		p.ttl = time.Duration(rapid.Int64Range(31, int64(most/time.Second)).Draw(t, "ttl")) * time.Second
	}
	if rapid.Bool().Draw(t, "says a reuse") {
		p.reuse = rapid.SampledFrom(p.reuses).Draw(t, "reuse").String()
	}
	return p
})

// profile writes the profile, of that key.
func (p drawnProfile) profile(name, key string) string {
	var params []string
	for _, name := range slices.Sorted(maps.Keys(p.lists)) {
		values := make([]string, len(p.lists[name]))
		for i, v := range p.lists[name] {
			values[i] = fmt.Sprintf("%q", v)
		}
		if parameters[name].list || name == "scope" {
			params = append(params, name+": ["+strings.Join(values, ", ")+"]")
		} else {
			params = append(params, name+": "+values[0])
		}
	}
	more := ""
	if p.ttl > 0 {
		more += fmt.Sprintf(", ttl: %ds", p.ttl/time.Second)
	}
	if p.reuse != "" {
		more += ", reuse: " + p.reuse
	}
	if p.long {
		more += ", long_lived: true"
	}
	return fmt.Sprintf("  %s: {key: %s, %s: {%s}%s}\n", name, key, p.field(), strings.Join(params, ", "), more)
}

// lives is the lifetime that the profile gives; 0 where there is none to choose.
func (p drawnProfile) lives() time.Duration {
	if p.ttl > 0 {
		return p.ttl
	}
	return p.example.ttl
}

// drawnCall is what somebody fills in, in whatever way.
type drawnCall struct {
	product, offer, transaction, account, operation, developer string
	allow                                                      bool
	made                                                       apple.Call
}

// callOf is which of the calls that drawCall makes are the family's; 6 where there is none.
var callOf = map[apple.Family]int{
	apple.FamilyPromotionalOffer: 0, apple.FamilyPromotionalOfferSignature: 0, apple.FamilyIntroductoryOffer: 1,
	apple.FamilyAdvancedCommerceRequest: 2, apple.FamilyMapsSnapshot: 3, apple.FamilyIWorkExport: 4, apple.FamilyMarketplace: 5,
}

// drawCall draws what often is the family's.
func (p drawnProfile) drawCall(t *rapid.T) drawnCall {
	fitting, ok := callOf[p.family]
	if !ok {
		fitting = 6
	}
	c := drawnCall{
		product:     rapid.SampledFrom(append(pools["products"], "max")).Draw(t, "product"),
		offer:       rapid.SampledFrom(append(pools["offers"], "c")).Draw(t, "offer"),
		transaction: rapid.SampledFrom([]string{"", "1000011859217"}).Draw(t, "transaction"),
		account:     rapid.SampledFrom([]string{"", "", "someone"}).Draw(t, "account"),
		operation:   rapid.SampledFrom(append(pools["operations"], "CHANGE_PRICE")).Draw(t, "operation"),
		developer:   rapid.SampledFrom(append(pools["developers"], "3c")).Draw(t, "developer"),
		allow:       rapid.Bool().Draw(t, "allow"),
	}
	var err error
	switch rapid.OneOf(rapid.IntRange(0, 6), rapid.Just(fitting), rapid.Just(fitting)).Draw(t, "call") {
	case 0:
		c.made, err = apple.NewOfferCall(c.product, c.offer, c.transaction, c.account)
	case 1:
		c.transaction = "1000011859217"
		c.made, err = apple.NewIntroductoryOfferCall(c.product, c.transaction, c.allow)
	case 2:
		c.made, err = apple.NewCommerceCall([]byte(c.request()))
	case 3:
		c.made, err = apple.NewSnapshotCall("center=1,2")
	case 4:
		c.made, err = apple.NewExportCall("a.pdf")
	case 5:
		c.made, err = apple.NewMarketplaceCall(c.developer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c drawnCall) request() string { return `{"operation":"` + c.operation + `","version":"1"}` }

// fits says what is to come of the call, by the profile.
func (p drawnProfile) fits(c drawnCall) Code {
	granted := func(list, value string) bool { return p.lists[list] == nil || slices.Contains(p.lists[list], value) }
	ok := true
	switch p.family {
	case apple.FamilyPromotionalOffer, apple.FamilyPromotionalOfferSignature:
		style := c.account == ""
		if p.family == apple.FamilyPromotionalOfferSignature {
			style = c.transaction == ""
		}
		if _, is := c.made.(apple.OfferCall); !is || !style {
			return UnfitRequest
		}
		ok = granted("products", c.product) && granted("offers", c.offer)
	case apple.FamilyIntroductoryOffer:
		if _, is := c.made.(apple.IntroductoryOfferCall); !is {
			return UnfitRequest
		}
		ok = granted("products", c.product)
	case apple.FamilyAdvancedCommerceRequest:
		if _, is := c.made.(apple.CommerceCall); !is {
			return UnfitRequest
		}
		ok = granted("operations", c.operation)
	case apple.FamilyMapsSnapshot:
		if _, is := c.made.(apple.SnapshotCall); !is {
			return UnfitRequest
		}
	case apple.FamilyIWorkExport:
		if _, is := c.made.(apple.ExportCall); !is {
			return UnfitRequest
		}
	case apple.FamilyMarketplace:
		if _, is := c.made.(apple.MarketplaceCall); !is {
			return UnfitRequest
		}
		ok = granted("developers", c.developer)
	default:
		if c.made != nil {
			return UnfitRequest
		}
	}
	if !ok {
		return ValueNotGranted
	}
	return OK
}

// says is the header and the claims that a token is to have, but for what is drawn and for the time.
func (p drawnProfile) says(c drawnCall, asked []apple.Scope) (header, claims map[string]any) {
	one := func(name string) any { return p.lists[name][0] }
	f := p.key.Facts
	header, claims = map[string]any{"alg": "ES256", "kid": string(f.KeyID)}, map[string]any{}
	jwt := func() { header["typ"] = "JWT" }
	team := func() { claims["iss"] = string(f.Team) }
	scoped := func(aud string, scope []string) {
		jwt()
		claims["aud"] = aud
		if f.Kind == apple.KindAppStoreConnectIndividual {
			claims["sub"] = "user"
		} else {
			claims["iss"] = string(f.Issuer)
		}
		if len(asked) > 0 {
			scope = nil
			for _, s := range asked {
				scope = append(scope, string(s))
			}
		}
		if len(scope) > 0 {
			all := []any{}
			for _, s := range slices.Sorted(slices.Values(scope)) {
				all = append(all, s)
			}
			claims["scope"] = all
		}
	}
	storeKit := func(aud string) {
		jwt()
		claims["iss"], claims["aud"], claims["bid"] = string(f.Issuer), aud, one("bundle_id")
	}
	switch p.family {
	case apple.FamilyAppStoreConnect:
		scoped("appstoreconnect-v1", p.lists["scope"])
	case apple.FamilyEnterprise:
		scoped("apple-developer-enterprise-v1", p.lists["scope"])
	case apple.FamilyNotary:
		scoped("appstoreconnect-v1", []string{"/notary/v2"})
	case apple.FamilyAppStoreServer:
		storeKit("appstoreconnect-v1")
	case apple.FamilyPromotionalOffer:
		storeKit("promotional-offer")
		claims["productId"], claims["offerIdentifier"] = c.product, c.offer
		if c.transaction != "" {
			claims["transactionId"] = c.transaction
		}
	case apple.FamilyIntroductoryOffer:
		storeKit("introductory-offer-eligibility")
		claims["productId"], claims["transactionId"], claims["allowIntroductoryOffer"] = c.product, c.transaction, c.allow
	case apple.FamilyAdvancedCommerceRequest:
		storeKit("advanced-commerce-api")
		claims["request"] = base64.StdEncoding.EncodeToString([]byte(c.request()))
	case apple.FamilyAPNs, apple.FamilyDeviceCheck, apple.FamilyAppAttest:
		team()
	case apple.FamilyClassKit:
		jwt()
		team()
	case apple.FamilySignInWithApple:
		team()
		claims["aud"], claims["sub"] = "https://appleid.apple.com", one("client_id")
	case apple.FamilyAppleMusic:
		team()
		if p.lists["origins"] != nil {
			all := []any{}
			for _, o := range p.lists["origins"] {
				all = append(all, o)
			}
			claims["origin"] = all
		}
	case apple.FamilyMapsServer:
		jwt()
		team()
		claims["scope"] = "server_api"
	case apple.FamilyMapKit:
		jwt()
		team()
		claims["scope"], claims["origin"] = strings.Join(p.lists["scopes"], " "), strings.Join(p.lists["origins"], ",")
	case apple.FamilyWeatherKit:
		team()
		header["id"], claims["sub"] = string(f.Team)+"."+p.lists["service_id"][0], one("service_id")
	case apple.FamilyIWorkExport:
		team()
		claims["encoded_filename"], claims["export_format"] = base64.RawURLEncoding.EncodeToString([]byte("a.pdf")), "com.adobe.pdf"
	case apple.FamilyAppleAds:
		team()
		claims["aud"], claims["sub"] = "https://appleid.apple.com", string(f.Client)
	case apple.FamilySchoolBusiness:
		claims["iss"], claims["sub"], claims["aud"] = string(f.Client), string(f.Client), "https://account.apple.com/auth/oauth2/v2/token"
	case apple.FamilyMarketplace:
		jwt()
		delete(header, "kid")
		claims["iss"], claims["aud"], claims["pid"] = string(f.App), "appstoreconnect-v1", c.developer
	case apple.FamilyPromotionalOfferSignature, apple.FamilyMapsSnapshot: // no JWT
	}
	return header, claims
}

// TestNothingWidens draws profiles of every family and what somebody fills in, and mints: whatever it is, the token says what
// the profile and the key say, and of the call no more than the profile grants. (Law 3.)
func TestNothingWidens(t *testing.T) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	codes, minted := make(map[Code]int), make(map[apple.Family]int)
	rapid.Check(t, func(t *rapid.T) {
		p := anyFamily.Draw(t, "profile")
		facts := keys{"k": p.key}
		doc := "version: 1\nprofiles:\n" + p.profile("p", "k") + "grants:\n- {id: g, to: [{mtls: spiffe://a/b}], mint: [p]}\n"
		policy, err := Compile([]byte(doc), nil, facts)
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		for range 20 {
			call := p.drawCall(t)
			r := mintBy(call.made)
			want := p.fits(call)
			if rapid.IntRange(0, 3).Draw(t, "asks for a ttl") == 0 {
				r.TTL = rapid.SampledFrom([]time.Duration{31 * time.Second, time.Minute, p.lives(), p.lives() + time.Second, 200 * day}).Filter(func(d time.Duration) bool { return d > 30*time.Second }).Draw(t, "ttl")
			}
			if rapid.IntRange(0, 3).Draw(t, "asks for a scope") == 0 {
				r.Scope = []apple.Scope{apple.Scope(rapid.SampledFrom(pools["scope"]).Draw(t, "scope"))}
			}
			switch outside := p.lists["scope"] != nil && len(r.Scope) > 0 && !slices.Contains(p.lists["scope"], string(r.Scope[0])); {
			case r.TTL != 0 && p.most == 0:
				want = UnfitRequest
			case r.TTL > p.lives() && p.most > 0:
				want = TTLTooLong
			case outside:
				want = ScopeNotGranted
			case len(r.Scope) > 0 && p.family != apple.FamilyAppStoreConnect && p.family != apple.FamilyEnterprise:
				want = UnfitRequest
			}
			d := policy.Decide(r, facts)
			if d.Code() != want {
				t.Fatalf("%+v: %s (%s), want %s\n%s", call, d.Code(), d.Reason(), want, doc)
			}
			codes[want]++
			if !d.Allowed() {
				continue
			}
			minted[p.family]++
			token, err := apple.Mint(d.Spec(), signer, time.Unix(1767225600, 0))
			if err != nil {
				t.Fatal(err)
			}
			ttl := p.lives()
			if r.TTL > 0 {
				ttl = r.TTL
			}
			p.check(t, token, call, r, ttl)
		}
	})
	t.Logf("decided: %v", codes)
	for _, c := range []Code{OK, UnfitRequest, ValueNotGranted, TTLTooLong, ScopeNotGranted} {
		if codes[c] == 0 {
			t.Errorf("%s was never decided: the test draws the wrong things", c)
		}
	}
	if !testing.Short() && len(minted) < 15 {
		t.Errorf("only %v were minted: the test draws the wrong things", minted)
	}
}

// check holds a token against what it is to say.
func (p drawnProfile) check(t *rapid.T, token apple.Token, call drawnCall, r Request, ttl time.Duration) {
	switch p.family {
	case apple.FamilyMapsSnapshot:
		if !strings.HasPrefix(token.Text, "https://snapshot.apple-mapkit.com/api/v1/snapshot?center=1,2&teamId="+string(p.key.Team)+"&keyId="+string(p.key.KeyID)+"&signature=") {
			t.Fatalf("signed %s", token.Text)
		}
		return
	case apple.FamilyPromotionalOfferSignature:
		return // what was signed does not show; apple's own tests hold it
	default:
	}
	parts := strings.Split(token.Text, ".")
	decode := func(part string) map[string]any {
		text, err := base64.RawURLEncoding.DecodeString(part)
		m := make(map[string]any)
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	gotHeader, got := decode(parts[0]), decode(parts[1])
	header, claims := p.says(call, r.Scope)
	iat, _ := got["iat"].(float64)
	exp, hasExp := got["exp"].(float64)
	switch {
	case ttl > 0 && time.Duration(exp-iat)*time.Second != ttl, ttl == 0 && hasExp:
		t.Fatalf("lives from %v to %v, want %s", iat, exp, ttl)
	}
	for _, once := range []string{"nonce", "jti"} {
		if v, ok := got[once]; ok && v != token.Nonce {
			t.Fatalf("%s is %v", once, v)
		}
		delete(got, once)
	}
	delete(got, "iat")
	delete(got, "exp")
	if diff := cmp.Diff([]map[string]any{header, claims}, []map[string]any{gotHeader, got}); diff != "" {
		t.Fatalf("%s (-want +got)\n%s", p.family, diff)
	}
}

// anyFamilies are a document with some profiles of all families, and their keys.
var anyFamilies = rapid.Custom(func(t *rapid.T) drawnPolicy {
	d := drawnPolicy{facts: keys{}}
	d.doc = "version: 1\nprofiles:\n"
	var mint []string
	for i := range rapid.IntRange(1, 5).Draw(t, "profiles") {
		p := anyFamily.Draw(t, "profile")
		name, key := fmt.Sprintf("p%d", i), fmt.Sprintf("k%d", rapid.IntRange(0, 1).Draw(t, "key"))
		if f, ok := d.facts[KeyName(key)]; ok && f.Kind != p.key.Kind {
			key = fmt.Sprintf("k-%d", i)
		}
		p.key.State = rapid.SampledFrom([]KeyState{KeyStateUsable, KeyStateUsable, KeyStateDisabled, KeyStateRevoked, KeyStateDamaged}).Draw(t, "state")
		d.facts[KeyName(key)] = p.key
		d.names = append(d.names, ProfileName(name))
		d.doc += p.profile(name, key)
		if rapid.Bool().Draw(t, "granted") {
			mint = append(mint, name)
		}
	}
	if len(mint) > 0 {
		d.doc += "grants:\n- {id: g, to: [{mtls: spiffe://a/b}], mint: [" + strings.Join(mint, ", ") + "]}\n"
	}
	return d
})

type drawnPolicy struct {
	doc   string
	facts keys
	names []ProfileName
}

// TestMintableOfAllFamilies: a profile is listed if and only if its mint is not denied, whether the family needs something
// filled in or not, and a mint with it filled in gets what the list says.
func TestMintableOfAllFamilies(t *testing.T) {
	listed, unlisted, unfit := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		drawn := anyFamilies.Draw(t, "policy")
		p, err := Compile([]byte(drawn.doc), nil, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, drawn.doc)
		}
		names := p.Mintable(by("spiffe://a/b"))
		for _, name := range append(drawn.names, "unknown") {
			for _, facts := range []Facts{nil, drawn.facts} {
				for _, call := range everyCall() {
					r := mintBy(call)
					r.Profile = name
					d := p.Decide(r, facts)
					in := slices.Contains(names, name)
					if denied := d.Code() == Denied || d.Code() == UnknownProfile; in == denied || in && !d.Allowed() != d.Tell() {
						t.Fatalf("%s is listed: %v, and minted: %s, told: %v\n%s", name, in, d.Code(), d.Tell(), drawn.doc)
					}
					pr, _ := p.Profile(name)
					switch {
					case !in:
						unlisted++
					case d.Code() == UnfitRequest:
						unfit++
					case d.Allowed() && facts != nil:
						listed++
						if spec := d.Spec(); spec.TTL() != pr.TTL || spec.Family() != pr.Family || d.Reuse() != pr.Reuse || pr.Family.Scoped() && !slices.Equal(spec.Scope(), pr.Scope) {
							t.Fatalf("listed as %+v, minted with %s, %v", pr, spec.TTL(), spec.Scope())
						}
						if needs := slices.ContainsFunc(pr.Asked, func(f apple.Field) bool { return f.Required }); needs != (call != nil) {
							t.Fatalf("%+v needs something filled in: %v, and %v was", pr, needs, call != nil)
						}
					}
				}
			}
		}
	})
	if listed == 0 || unlisted == 0 || unfit == 0 {
		t.Errorf("%d were listed, %d not, %d were listed and lacked a call: the test draws the wrong things", listed, unlisted, unfit)
	}
}

// TestCeiling: what a document says bounds how long any of its tokens can live, those without an exp too, whatever is read of
// it without compiling it.
func TestCeiling(t *testing.T) {
	below := 0
	rapid.Check(t, func(t *rapid.T) {
		drawn := anyFamilies.Draw(t, "policy")
		p, err := Compile([]byte(drawn.doc), nil, drawn.facts)
		if err != nil {
			t.Fatalf("%v\n%s", err, drawn.doc)
		}
		ceiling := Ceiling([]byte(drawn.doc))
		longest := time.Duration(0)
		for key := range drawn.facts {
			longest = max(longest, p.MaxTTL(key))
		}
		if longest == 0 || longest > ceiling || ceiling > apple.LongestTTL() {
			t.Fatalf("tokens live for %s, and the ceiling is %s\n%s", longest, ceiling, drawn.doc)
		}
		if ceiling < 180*day {
			below++
		}
		for name := range p.profiles {
			pr, _ := p.Profile(name)
			if life := max(pr.TTL, pr.Family.Limits(pr.LongLived).Life); life > longest || life == 0 {
				t.Fatalf("%s lives for %s, and the longest of all is %s", name, life, longest)
			}
		}
	})
	if below == 0 {
		t.Error("no document had a ceiling below the longest: the test draws the wrong things")
	}
	for _, e := range examples {
		if got, want := Ceiling([]byte(e.doc(e.full))), max(e.most, e.family.Limits(false).Life); got != want {
			t.Errorf("%s: %s, want %s", e.family, got, want)
		}
	}
	snapshots := "version: 1\nprofiles: {p: {key: k, maps_snapshot: {}}}\n"
	if got := Ceiling([]byte(snapshots)); got != apple.Unending || mustCompile(t, snapshots).MaxTTL("k") != apple.Unending {
		t.Errorf("of URLs that do not end: %s", got)
	}
	if got := Ceiling([]byte("version: 1\n")); got != 0 {
		t.Errorf("of nothing: %s", got)
	}
	if got := Ceiling([]byte(`version: 1 # \`)); got != apple.LongestTTL() {
		t.Errorf("with an escape: %s", got)
	}
}
