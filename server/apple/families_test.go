package apple

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// sample is a family with parameters, facts and a call that fit it.
type sample struct {
	terms Terms
	facts Facts
	call  Call
}

func (s sample) ask() Ask { return Ask{TTL: s.terms.Limits().Default, Call: s.call} }

func portalFacts(services ...Service) Facts {
	slices.Sort(services)
	return Facts{Kind: KindDeveloperPortal, KeyID: "ABC123DEFG", Team: "DEF123GHIJ", Services: services}
}

const adsID = "SEARCHADS.9703f56c-10ce-4876-8f59-e78e5e23a152"

var (
	iapFacts         = Facts{Kind: KindInAppPurchase, KeyID: "2X9R4HXF34", Issuer: testIssuer}
	adsFacts         = Facts{Kind: KindAppleAds, KeyID: "a273d0d3-4d9e-458c-a173-0db8619ca7d7", Team: adsID, Client: adsID}
	businessFacts    = Facts{Kind: KindSchoolBusiness, KeyID: "d136aa66-0c3b-4bd4-9892-c20e8db024ab", Client: "BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152"}
	marketplaceFacts = Facts{Kind: KindMarketplace, App: "1234567890"}
)

// called panics on a call that is malformed: the samples are constants.
func called[C Call](c C, err error) Call {
	if err != nil {
		panic(err)
	}
	return c
}

// samples has every family once.
func samples() map[Family]sample {
	const bundle = "com.example.app"
	portal := portalFacts(slices.DeleteFunc(Services(), func(s Service) bool { return s == ServiceDataSharing })...)
	offer := called(NewOfferCall("com.example.pro", "winback1", "", ""))
	all := make(map[Family]sample)
	for _, s := range []sample{
		{Terms{Params: AppStoreConnect{}}, teamFacts, nil},
		{Terms{Params: Enterprise{}}, enterpriseFacts, nil},
		{Terms{Params: Notary{}}, teamFacts, nil},
		{Terms{Params: AppStoreServer{bundle}}, iapFacts, nil},
		{Terms{Params: PromotionalOffer{Bundle: bundle}}, iapFacts, offer},
		{Terms{Params: IntroductoryOffer{Bundle: bundle}}, iapFacts, called(NewIntroductoryOfferCall("com.example.pro", "1000011859217", true))},
		{Terms{Params: AdvancedCommerceRequest{Bundle: bundle}}, iapFacts, called(NewCommerceCall([]byte(`{"operation":"MODIFY","version":"1"}`)))},
		{Terms{Params: PromotionalOfferSignature{Bundle: bundle}}, iapFacts, offer},
		{Terms{Params: APNs{}}, portal, nil},
		{Terms{Params: DeviceCheck{}}, portal, nil},
		{Terms{Params: AppAttest{}}, portal, nil},
		{Terms{Params: SignInWithApple{"com.example.web"}}, portal, nil},
		{Terms{Params: AppleMusic{[]Origin{"https://example.com"}}}, portal, nil},
		{Terms{Params: MapsServer{}}, portal, nil},
		{Terms{Params: MapKit{MapScopes(), []Domain{"example.com", "*.example.com"}}}, portal, nil},
		{Terms{Params: MapsSnapshot{}}, portal, called(NewSnapshotCall("center=37.33,-122.0&z=12"))},
		{Terms{Params: WeatherKit{"com.example.weather"}}, portal, nil},
		{Terms{Params: ClassKit{}}, portal, nil},
		{Terms{Params: IWorkExport{}}, portal, called(NewExportCall("Übersicht.pages"))},
		{Terms{Params: AppleAds{}}, adsFacts, nil},
		{Terms{Params: SchoolBusiness{}}, businessFacts, nil},
		{Terms{Params: Marketplace{}}, marketplaceFacts, called(NewMarketplaceCall("DEV-1"))},
	} {
		all[s.terms.Family()] = s
	}
	return all
}

func (s sample) mint(t rapid.TB, ask Ask, key *ecdsa.PrivateKey, now time.Time) Token {
	t.Helper()
	spec, err := s.terms.Spec(s.facts, ask)
	if err != nil {
		t.Fatalf("%s: %v", s.terms.Family(), err)
	}
	token, err := Mint(spec, key, now)
	if err != nil {
		t.Fatalf("%s: %v", s.terms.Family(), err)
	}
	return token
}

// listed are the members that Apple lists for a family's header and claims; one with a question mark may be left out.
var listed = map[Family][2]string{
	FamilyAppStoreConnect:         {"alg kid typ", "iss? sub? iat exp aud scope?"},
	FamilyEnterprise:              {"alg kid typ", "iss iat exp aud scope?"},
	FamilyNotary:                  {"alg kid typ", "iss iat exp aud scope"},
	FamilyAppStoreServer:          {"alg kid typ", "iss iat exp aud bid"},
	FamilyPromotionalOffer:        {"alg kid typ", "iss iat aud bid nonce productId offerIdentifier transactionId?"},
	FamilyIntroductoryOffer:       {"alg kid typ", "iss iat aud bid nonce productId allowIntroductoryOffer transactionId"},
	FamilyAdvancedCommerceRequest: {"alg kid typ", "iss iat aud bid nonce request"},
	FamilyAPNs:                    {"alg kid", "iss iat"},
	FamilyDeviceCheck:             {"alg kid", "iss iat"},
	FamilyAppAttest:               {"alg kid", "iss iat"},
	FamilySignInWithApple:         {"alg kid", "iss iat exp aud sub"},
	FamilyAppleMusic:              {"alg kid", "iss iat exp origin?"},
	FamilyMapsServer:              {"alg kid typ", "iss iat exp scope"},
	FamilyMapKit:                  {"alg kid typ", "iss iat exp scope origin"},
	FamilyWeatherKit:              {"alg kid id", "iss iat exp sub"},
	FamilyClassKit:                {"alg kid typ", "iss iat exp"},
	FamilyIWorkExport:             {"alg kid", "iss iat exp encoded_filename export_format"},
	FamilyAppleAds:                {"alg kid", "iss iat exp aud sub"},
	FamilySchoolBusiness:          {"alg kid", "iss sub iat exp aud jti"},
	FamilyMarketplace:             {"alg typ", "iss iat exp aud pid"},
}

// decodeOnce decodes an object and refuses a member that stands there twice.
func decodeOnce(t rapid.TB, segment string) map[string]json.RawMessage {
	t.Helper()
	text, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	members, err := topMembers(text)
	if err != nil {
		t.Fatal(err)
	}
	return members
}

func checkListed(t rapid.TB, what, list string, members map[string]json.RawMessage) {
	t.Helper()
	left := len(members)
	for name := range strings.FieldsSeq(list) {
		name, optional := strings.CutSuffix(name, "?")
		if _, ok := members[name]; ok {
			left--
		} else if !optional {
			t.Errorf("the %s lacks %s", what, name)
		}
	}
	if left != 0 {
		t.Errorf("the %s has what Apple does not list: %v", what, members)
	}
}

var integer = regexp.MustCompile(`^[1-9][0-9]*$`)

// TestEveryFamily holds what is true of all families, for whatever fits together, at any time.
func TestEveryFamily(t *testing.T) {
	for _, family := range Families() {
		t.Run(string(family), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m, now := world{}.draw(t, family), drawNow(t)
				token := m.mint(t, now)
				checkToken(t, family, token, m.ask, now)
				checkSignature(t, m, token)
				if want := min(m.ask.TTL, m.terms.Limits().Max); m.ask.TTL != want {
					t.Errorf("a ttl of %s, and the ceiling is %s", m.ask.TTL, want)
				}
				if token.IssuedAt.Nanosecond() != 0 || token.Expires.Nanosecond() != 0 {
					t.Errorf("times that are not in whole seconds: %s, %s", token.IssuedAt, token.Expires)
				}
			})
		})
	}
}

// TestWhatDoesNotFit: of whatever fits together, one thing that does not is refused, and nothing is signed.
func TestWhatDoesNotFit(t *testing.T) {
	refused := 0
	rapid.Check(t, func(t *rapid.T) {
		m := world{}.draw(t, rapid.SampledFrom(Families()).Draw(t, "family"))
		want := spoil(t, &m)
		spec, err := m.terms.Spec(m.facts, m.ask)
		if want == "" {
			return
		}
		refused++
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%s: error %v, want one that says %q", m.terms.Family(), err, want)
		}
		if spec.Key() != (SpecKey{}) {
			t.Fatal("a spec beside an error")
		}
	})
	if refused == 0 {
		t.Error("nothing was spoiled: the test draws the wrong things")
	}
}

// checkSignature verifies what is no JWT, over the text that the minting must have.
func checkSignature(t *rapid.T, m minting, token Token) {
	switch c := m.ask.Call.(type) {
	case SnapshotCall:
		path, sig, ok := strings.Cut(strings.TrimPrefix(token.Text, "https://snapshot.apple-mapkit.com"), "&signature=")
		raw, err := base64.RawURLEncoding.Strict().DecodeString(sig)
		want := "/api/v1/snapshot?" + c.query + "&teamId=" + string(m.facts.Team) + "&keyId=" + string(m.facts.KeyID)
		if !ok || err != nil || path != want {
			t.Fatalf("the URL %s", token.Text)
		}
		if err := (es256{}).Verify(path, raw, &testKey.PublicKey); err != nil {
			t.Fatal(err)
		}
	case OfferCall:
		if token.Offer == nil {
			return // a JWT
		}
		der, err := base64.StdEncoding.Strict().DecodeString(token.Text)
		if err != nil {
			t.Fatal(err)
		}
		var rs struct{ R, S *big.Int }
		if rest, err := asn1.Unmarshal(der, &rs); err != nil || len(rest) != 0 {
			t.Fatalf("no DER of a signature: %v", err)
		}
		signed := strings.Join([]string{
			string(m.terms.Params.(PromotionalOfferSignature).Bundle), string(m.facts.KeyID), string(c.product), string(c.offer), c.account,
			token.Nonce, fmt.Sprint(token.Offer.Timestamp),
		}, "\u2063")
		digest := sha256.Sum256([]byte(signed))
		if strings.Count(signed, "\u2063") != 6 || !ecdsa.VerifyASN1(&testKey.PublicKey, digest[:], der) {
			t.Fatalf("the signature is not of %q", signed)
		}
		if token.Offer.Timestamp != token.IssuedAt.UnixMilli() || token.Offer.KeyID != m.facts.KeyID {
			t.Fatalf("the offer %v", token.Offer)
		}
	}
}

func checkToken(t *rapid.T, family Family, token Token, ask Ask, now time.Time) {
	back := now.Sub(token.IssuedAt)
	switch {
	case family.Shared() && (back < BackDate || back >= edge+BackDate+time.Second || token.IssuedAt.Unix()%1800 != 0):
		t.Errorf("iat lies %s back, at %s", back, token.IssuedAt)
	case !family.Shared() && (back < BackDate || back >= BackDate+time.Second):
		t.Errorf("iat lies %s back", back)
	case token.Family != family, len(token.Text) == 0:
		t.Errorf("a token of %s: %s", token.Family, token)
	}
	if !token.Expires.IsZero() {
		if until := token.UseUntil(); !until.Before(token.Expires) || until.Before(now) && ask.TTL > time.Minute || token.Refresh().After(until) {
			t.Errorf("refresh %s, use until %s, expires %s, now %s", token.Refresh(), until, token.Expires, now)
		}
	}
	claims, isJWT := listed[family]
	if !isJWT {
		return
	}
	if err := Verify(token.Text, &testKey.PublicKey); err != nil {
		t.Error(err)
	}
	parts := strings.Split(token.Text, ".")
	header, body := decodeOnce(t, parts[0]), decodeOnce(t, parts[1])
	checkListed(t, "header", claims[0], header)
	checkListed(t, "claims", claims[1], body)
	if string(header["alg"]) != `"ES256"` {
		t.Errorf("alg is %s", header["alg"])
	}
	for _, name := range []string{"iat", "exp"} {
		if v, ok := body[name]; ok && !integer.Match(v) {
			t.Errorf("%s is %s", name, v)
		}
	}
	if aud, ok := body["aud"]; ok && aud[0] != '"' {
		t.Errorf("aud is %s", aud)
	}
	if exp, ok := body["exp"]; ok {
		var iat, until int64
		if json.Unmarshal(body["iat"], &iat) != nil || json.Unmarshal(exp, &until) != nil || time.Duration(until-iat)*time.Second != ask.TTL {
			t.Errorf("exp %s, iat %s, ttl %s", exp, body["iat"], ask.TTL)
		}
	}
}

// appleTakes are Apple's limits as its pages have them, for the clock at Apple: not ours.
var appleTakes = map[Family]func(iat, exp, now int64) bool{
	FamilyAppStoreConnect: shortLived, FamilyEnterprise: shortLived, FamilyNotary: shortLived,
	FamilyAppStoreServer:  func(iat, exp, now int64) bool { return iat <= now && exp > now && exp <= iat+3600 },
	FamilyAPNs:            withinHour,
	FamilyDeviceCheck:     withinHour,
	FamilyAppAttest:       withinHour,
	FamilySignInWithApple: func(_, exp, now int64) bool { return exp > now && exp <= now+15_777_000 },
	FamilyAppleMusic:      func(_, exp, now int64) bool { return exp > now && exp <= now+15_777_000 },
	FamilyMapsServer:      within,
	FamilyMapKit:          within,
	FamilyWeatherKit:      within,
	FamilyClassKit:        within,
	FamilyIWorkExport:     func(iat, exp, now int64) bool { return iat <= now && min(exp, iat+4*3600) > now },
	FamilyAppleAds:        func(iat, exp, now int64) bool { return iat <= now && exp > now && exp < iat+180*86400 },
	FamilySchoolBusiness:  func(iat, exp, now int64) bool { return iat <= now && exp > now && exp < iat+180*86400 },
	FamilyMarketplace:     func(_, exp, now int64) bool { return exp > now && exp < now+7*86400 },
}

func shortLived(iat, exp, now int64) bool {
	return within(iat, exp, now) && exp-iat <= 1200 && exp <= now+1200
}
func halfYear(iat, exp, now int64) bool { return within(iat, exp, now) && exp <= now+15_777_000 }
func withinHour(iat, _, now int64) bool { return iat <= now+3600 && now-iat <= 3600 }
func within(iat, exp, now int64) bool   { return iat <= now && exp > now }

// TestAppleTakes holds every family to Apple's limits while the clocks differ by up to half a minute: at once, and when the
// token is to be used no longer.
func TestAppleTakes(t *testing.T) {
	for family, takes := range appleTakes {
		t.Run(string(family), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m, now := world{}.draw(t, family), drawNow(t)
				takes := takes
				if family == FamilyAppStoreConnect && m.terms.LongLived {
					takes = halfYear
				}
				token := m.mint(t, now)
				skew := rapid.Int64Range(-30, 30).Draw(t, "skew")
				iat, exp := token.IssuedAt.Unix(), token.Expires.Unix()
				if m.ask.TTL >= time.Minute+time.Second || skew <= 0 || family.Shared() { // a token for half a minute is over when Apple's clock is half a minute ahead
					if !takes(iat, exp, now.Unix()+skew) {
						t.Fatalf("a token for %s, long-lived %v: refused when Apple's clock is %d s ahead", m.ask.TTL, m.terms.LongLived, skew)
					}
				}
				margin := min(int64((m.ask.TTL-BackDate)/10/time.Second), 30)
				if family.Shared() {
					margin = 31
				}
				if last := token.UseUntil().Unix(); !takes(iat, exp, last+min(skew, margin-1)) {
					t.Fatalf("a token for %s: refused before it is to be used no longer, when Apple's clock is %d s ahead", m.ask.TTL, skew)
				}
			})
		})
	}
}

// TestShared: one text for all between two edges, whoever signs, and another one after each.
func TestShared(t *testing.T) {
	again, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), must(testKey.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	for family, s := range samples() {
		if !family.Shared() {
			continue
		}
		start := time.Unix(1_767_225_600, 0).Add(BackDate)
		texts := make(map[string]int)
		for minute := range 120 {
			texts[s.mint(t, s.ask(), testKey, start.Add(time.Duration(minute)*time.Minute)).Text]++
		}
		if len(texts) != 4 {
			t.Errorf("%s: %d texts in two hours", family, len(texts))
		}
		for text, n := range texts {
			if n != 30 {
				t.Errorf("%s: %d minutes of %.20s…", family, n, text)
			}
		}
		last := start.Add(edge - 1)
		one := s.mint(t, s.ask(), testKey, start)
		if two := s.mint(t, s.ask(), again, last); one.Text != two.Text || one.SHA256 != two.SHA256 {
			t.Errorf("%s: two that have the key sign two tokens", family)
		}
		if next := s.mint(t, s.ask(), testKey, start.Add(edge)); next.Text == one.Text || !next.IssuedAt.Equal(one.IssuedAt.Add(edge)) {
			t.Errorf("%s: no new token at the edge", family)
		}
		if !one.Refresh().Equal(start.Add(edge)) {
			t.Errorf("%s: to be replaced at %s, and the edge is at %s", family, one.Refresh(), start.Add(edge))
		}
	}
}

// TestSharedAtAnyTime: two tokens of one key are one text if and only if the same edge lies before them.
func TestSharedAtAnyTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		family := rapid.SampledFrom([]Family{FamilyAPNs, FamilyDeviceCheck, FamilyAppAttest}).Draw(t, "family")
		m, now := world{}.draw(t, family), drawNow(t)
		later := now.Add(time.Duration(rapid.Int64Range(0, int64(2*edge)).Draw(t, "later")))
		edgeOf := func(now time.Time) int64 { return now.Add(-30*time.Second).Unix() / 1800 }
		one, two := m.mint(t, now), m.mint(t, later)
		if (one.Text == two.Text) != (edgeOf(now) == edgeOf(later)) || two.IssuedAt.Before(one.IssuedAt) {
			t.Fatalf("at %s and %s: the same text %v", now, later, one.Text == two.Text)
		}
		if until := one.UseUntil(); !until.After(one.Refresh()) || one.Refresh().Before(now) || until.Sub(one.IssuedAt) > 55*time.Minute {
			t.Fatalf("minted at %s, to be replaced at %s, used until %s", now, one.Refresh(), until)
		}
	})
}

// TestFaultySharedSignature: a signature that does not verify never gets out: RFC 6979 twice with a fault gives the key away.
func TestFaultySharedSignature(t *testing.T) {
	s := samples()[FamilyAPNs]
	spec, err := s.terms.Spec(s.facts, s.ask())
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if token, err := Mint(spec, faulty{testKey, other}, testNow); err == nil || token.Text != "" {
		t.Errorf("a signature that does not verify was released: %v", err)
	}
}

// faulty shows one key and signs with another.
type faulty struct {
	*ecdsa.PrivateKey
	with *ecdsa.PrivateKey
}

func (f faulty) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return f.with.Sign(random, digest, opts)
}

// TestNonces: what is used once has a nonce that nothing before had, however many are made at once.
func TestNonces(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[string]bool)
	var wg sync.WaitGroup
	for family, s := range samples() {
		if family.Use().Form == FormURL || !slices.Equal(family.Reuses(), []Reuse{ReuseNever}) || family == FamilyIWorkExport {
			continue
		}
		for range 4 {
			wg.Go(func() {
				for range 500 {
					token := s.mint(t, s.ask(), testKey, testNow)
					mu.Lock()
					if seen[token.Nonce] || !nonceShape.MatchString(token.Nonce) {
						t.Errorf("%s: nonce %q", family, token.Nonce)
					}
					seen[token.Nonce] = true
					mu.Unlock()
				}
			})
		}
	}
	wg.Wait()
	if len(seen) != 5*2000 {
		t.Errorf("%d nonces", len(seen))
	}
}

var nonceShape = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// TestSpecKeys: two keys are equal if and only if the tokens differ in nothing but times, nonces and signatures.
func TestSpecKeys(t *testing.T) {
	equal := 0
	rapid.Check(t, func(t *rapid.T) {
		families := rapid.SliceOfN(rapid.SampledFrom(Families()), 2, 2).Draw(t, "families")
		if rapid.IntRange(0, 9).Draw(t, "another family") != 0 {
			families[1] = families[0]
		}
		one, two := world{small: true}.draw(t, families[0]), world{small: true}.draw(t, families[1])
		if rapid.Bool().Draw(t, "of one profile") && families[0] == families[1] {
			two.terms, two.facts = one.terms, one.facts
			if two.terms.Check(two.facts) != nil || !fits(two) {
				two = one
			}
		}
		a, b := must(one.terms.Spec(one.facts, one.ask)), must(two.terms.Spec(two.facts, two.ask))
		said := lasting(t, a, one.mint(t, testNow)) == lasting(t, b, two.mint(t, testNow.Add(time.Hour)))
		if (a.Key() == b.Key()) != said {
			t.Fatalf("equal keys: %v, equal tokens: %v", a.Key() == b.Key(), said)
		}
		if said {
			equal++
		}
	})
	if equal == 0 {
		t.Error("no two were equal: the test draws the wrong things")
	}
	if (Spec{}).Key() != (SpecKey{}) || (Spec{}).Scope() != nil {
		t.Error("the zero Spec says something")
	}
}

func fits(m minting) bool {
	_, err := m.terms.Spec(m.facts, m.ask)
	return err == nil
}

// lasting is what a token says but for its times, nonce and signature: its lifetime is said, when it begins is not.
func lasting(t *rapid.T, spec Spec, token Token) string {
	said := fmt.Sprint(token.Family, token.Fields)
	if d, ok := spec.draft.(offerSignature); ok {
		return said + d.text("", 0)
	}
	if token.Family.Use().Form == FormURL {
		path, _, _ := strings.Cut(token.Text, "&signature=")
		return said + path
	}
	parts := strings.Split(token.Text, ".")
	body := decodeOnce(t, parts[1])
	if body["exp"] != nil {
		body["exp"] = json.RawMessage(token.Expires.Sub(token.IssuedAt).String())
	}
	for _, name := range []string{"iat", "nonce", "jti"} {
		delete(body, name)
	}
	for _, name := range slices.Sorted(maps.Keys(body)) {
		said += name + string(body[name])
	}
	return said + parts[0]
}

// TestEveryKind has every kind of key serve its families and no other, and says why of the others.
func TestEveryKind(t *testing.T) {
	facts := []Facts{teamFacts, individualFacts, enterpriseFacts, iapFacts, adsFacts, businessFacts, marketplaceFacts, portalFacts(Services()...)}
	for family, s := range samples() {
		served := 0
		for _, f := range facts {
			err := s.terms.Check(f)
			if (err == nil) != slices.Contains(family.rules().kinds, f.Kind) {
				t.Errorf("%s with a key of kind %s: %v", family, f.Kind, err)
			}
			_, specErr := s.terms.Spec(f, s.ask())
			if (specErr == nil) != (err == nil) {
				t.Errorf("%s with a key of kind %s: Check says %v, Spec %v", family, f.Kind, err, specErr)
			}
			if err == nil {
				served++
			} else if !strings.Contains(err.Error(), "needs a key of kind") && !strings.Contains(err.Error(), "an individual key cannot do that") {
				t.Errorf("%s with a key of kind %s: %v", family, f.Kind, err)
			}
		}
		if served == 0 {
			t.Errorf("no kind of key serves %s", family)
		}
		for _, service := range family.rules().services {
			others := portalFacts(slices.DeleteFunc(Services(), func(o Service) bool { return slices.Contains(family.rules().services, o) })...)
			if err := s.terms.Check(others); err == nil || !strings.Contains(err.Error(), string(service)) || !strings.Contains(err.Error(), "signet key update") {
				t.Errorf("%s with a key that has every other service: %v", family, err)
			}
		}
	}
}

var signingInput = regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$`)

// TestNoOtherSignature: whatever a caller fills in, what is signed of the two forms that are no JWT is none, and has its own form.
func TestNoOtherSignature(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hostile := rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-Za-z0-9_.=&%-]{0,40}`), rapid.SampledFrom([]string{"a" + separator + "b", "e30.e30", "x=e30.e30", "a=b#c"}))
		spec := func(f Family, c Call) draft {
			s := samples()[f]
			return must(s.terms.Spec(s.facts, Ask{Call: c})).draft
		}
		if c, err := NewOfferCall(hostile.Draw(t, "product"), hostile.Draw(t, "offer"), "", hostile.Draw(t, "account")); err == nil {
			text := spec(FamilyPromotionalOfferSignature, c).(offerSignature).text("nonce", 1)
			if strings.Count(text, separator) != 6 || signingInput.MatchString(text) {
				t.Fatalf("signed %q", text)
			}
		}
		if c, err := NewSnapshotCall(hostile.Draw(t, "query")); err == nil {
			text := spec(FamilyMapsSnapshot, c).(snapshotURL).path()
			if !strings.HasPrefix(text, snapshotPath) || signingInput.MatchString(text) || strings.Contains(text, separator) ||
				!strings.HasSuffix(text, "&teamId=DEF123GHIJ&keyId=ABC123DEFG") {
				t.Fatalf("signed %q", text)
			}
		}
	})
}
