package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/server/apple"
)

// Keys of every kind, by the names that the documents of the tests give them.
var (
	individualKey = KeyFacts{Facts: apple.Facts{Kind: apple.KindAppStoreConnectIndividual, KeyID: "4X9R4HXF34"}, State: KeyStateUsable, Version: 1}
	purchaseKey   = KeyFacts{Facts: apple.Facts{Kind: apple.KindInAppPurchase, KeyID: "5X9R4HXF34", Issuer: teamKey.Issuer}, State: KeyStateUsable, Version: 1}
	portalKey     = KeyFacts{Facts: apple.Facts{Kind: apple.KindDeveloperPortal, KeyID: "6X9R4HXF34", Team: "DEF123GHIJ", Services: sorted(apple.Services())}, State: KeyStateUsable, Version: 1}
	adsKey        = KeyFacts{Facts: apple.Facts{Kind: apple.KindAppleAds, KeyID: "a273d0d3-4d9e-458c-a173-0db8619ca7d7", Team: "SEARCHADS.9703f56c-10ce-4876-8f59-e78e5e23a152", Client: "SEARCHADS.8703f56c-10ce-4876-8f59-e78e5e23a152"}, State: KeyStateUsable, Version: 1}
	schoolKey     = KeyFacts{Facts: apple.Facts{Kind: apple.KindSchoolBusiness, KeyID: "d136aa66-0c3b-4bd4-9892-c20e8db024ab", Client: "BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152"}, State: KeyStateUsable, Version: 1}
	marketKey     = KeyFacts{Facts: apple.Facts{Kind: apple.KindMarketplace, App: "1234567890"}, State: KeyStateUsable, Version: 1}

	keyOfKind = map[apple.Kind]KeyFacts{
		apple.KindAppStoreConnect: teamKey, apple.KindAppStoreConnectIndividual: individualKey, apple.KindEnterprise: enterpriseKey,
		apple.KindInAppPurchase: purchaseKey, apple.KindDeveloperPortal: portalKey, apple.KindAppleAds: adsKey,
		apple.KindSchoolBusiness: schoolKey, apple.KindMarketplace: marketKey,
	}
)

func sorted[T ~string](all []T) []T {
	slices.Sort(all)
	return all
}

// with is the key with other facts.
func (k KeyFacts) with(change func(*apple.Facts)) KeyFacts {
	change(&k.Facts)
	return k
}

// example is a family as profiles of it are written.
type example struct {
	family   apple.Family
	least    string          // the parameters that it must have
	full     string          // all of its parameters
	services []apple.Service // one of which a key of the developer portal must have
	kinds    []apple.Kind    // of key
	ttl      time.Duration   // when a profile says none
	most     time.Duration   // 0 where there is no lifetime to choose
	long     time.Duration   // the most of a long-lived one; 0 where there are none
	reuses   []apple.Reuse
	fixed    []apple.Field // by the full parameters
	asked    []apple.Field
	good     []apple.Call // that the full parameters grant; the least too
	beyond   []apple.Call // that they do not grant; the least do
}

func offerCall(product, offer, transaction, account string) apple.Call {
	return must1(apple.NewOfferCall(product, offer, transaction, account))
}

func introductoryCall(product string, allow bool) apple.Call {
	return must1(apple.NewIntroductoryOfferCall(product, "1000011859217", allow))
}

func commerceCall(operation string) apple.Call {
	return must1(apple.NewCommerceCall([]byte(`{"operation":"` + operation + `","version":"1"}`)))
}

func marketplaceCall(developer string) apple.Call {
	return must1(apple.NewMarketplaceCall(developer))
}

// must1 is the value of what cannot fail in a test.
func must1[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

var (
	teamKinds   = []apple.Kind{apple.KindAppStoreConnect, apple.KindAppStoreConnectIndividual}
	iapKinds    = []apple.Kind{apple.KindInAppPurchase}
	portalKinds = []apple.Kind{apple.KindDeveloperPortal}
	ownReuses   = []apple.Reuse{apple.ReusePerPrincipal, apple.ReuseNever}
	noReuses    = []apple.Reuse{apple.ReuseNever}
	allReuses   = []apple.Reuse{apple.ReuseShared}
	bundleFixed = []apple.Field{{Name: "bundle_id", Values: []string{"com.example.app"}}}
)

// examples are all families, with the facts of apple.md: they are written down here again and not asked of package apple.
var examples = []example{
	{family: apple.FamilyAppStoreConnect, full: "scope: [GET /v1/users], app: '42', read: [builds, beta]", kinds: teamKinds,
		ttl: 600 * time.Second, most: 1170 * time.Second, long: 180 * day, reuses: ownReuses},
	{family: apple.FamilyEnterprise, full: "scope: [GET /v1/devices, 'GET /v1/bundleIds?filter[platform]=IOS']", kinds: []apple.Kind{apple.KindEnterprise},
		ttl: 600 * time.Second, most: 1170 * time.Second, reuses: ownReuses},
	{family: apple.FamilyNotary, kinds: []apple.Kind{apple.KindAppStoreConnect}, ttl: 600 * time.Second, most: 1170 * time.Second, reuses: ownReuses,
		fixed: []apple.Field{{Name: "scope", Values: []string{"/notary/v2"}}}},
	{family: apple.FamilyAppStoreServer, least: "bundle_id: com.example.app", full: "bundle_id: com.example.app", kinds: iapKinds,
		ttl: 5 * time.Minute, most: time.Hour - 30*time.Second, reuses: ownReuses, fixed: bundleFixed},
	{family: apple.FamilyPromotionalOffer, least: "bundle_id: com.example.app", full: "bundle_id: com.example.app, products: [pro, plus], offers: [winback-1]", kinds: iapKinds, reuses: noReuses, fixed: bundleFixed,
		asked:  []apple.Field{{Name: "product_id", Values: []string{"pro", "plus"}, Required: true}, {Name: "offer_id", Values: []string{"winback-1"}, Required: true}, {Name: "transaction_id"}},
		good:   []apple.Call{offerCall("pro", "winback-1", "1000011859217", ""), offerCall("plus", "winback-1", "", "")},
		beyond: []apple.Call{offerCall("max", "winback-1", "", ""), offerCall("pro", "winback-2", "", ""), offerCall("Pro", "winback-1", "", ""), offerCall("pro", "winback-10", "", "")}},
	{family: apple.FamilyIntroductoryOffer, least: "bundle_id: com.example.app", full: "bundle_id: com.example.app, products: [pro]", kinds: iapKinds, reuses: noReuses, fixed: bundleFixed,
		asked: []apple.Field{{Name: "product_id", Values: []string{"pro"}, Required: true}, {Name: "transaction_id", Required: true}, {Name: "allow_introductory_offer", Values: []string{"true", "false"}, Required: true}},
		good:  []apple.Call{introductoryCall("pro", true), introductoryCall("pro", false)}, beyond: []apple.Call{introductoryCall("plus", false)}},
	{family: apple.FamilyAdvancedCommerceRequest, least: "bundle_id: com.example.app", full: "bundle_id: com.example.app, operations: [CREATE_ONE_TIME_CHARGE]", kinds: iapKinds, reuses: noReuses,
		fixed: append(slices.Clone(bundleFixed), apple.Field{Name: "operations", Values: []string{"CREATE_ONE_TIME_CHARGE"}}), asked: []apple.Field{{Name: "request", Required: true}},
		good: []apple.Call{commerceCall("CREATE_ONE_TIME_CHARGE")}, beyond: []apple.Call{commerceCall("CREATE_SUBSCRIPTION")}},
	{family: apple.FamilyPromotionalOfferSignature, least: "bundle_id: com.example.app", full: "bundle_id: com.example.app, products: [pro, plus], offers: [winback-1]", kinds: iapKinds, reuses: noReuses, fixed: bundleFixed,
		asked:  []apple.Field{{Name: "product_id", Values: []string{"pro", "plus"}, Required: true}, {Name: "offer_id", Values: []string{"winback-1"}, Required: true}, {Name: "account"}},
		good:   []apple.Call{offerCall("pro", "winback-1", "", "0B9E2F0C-6d1f-4c0e-9a53-8a5f6f0d2c11"), offerCall("plus", "winback-1", "", "")},
		beyond: []apple.Call{offerCall("max", "winback-1", "", ""), offerCall("pro", "winback-2", "", "")}},
	{family: apple.FamilyAPNs, full: "environment: production, topics: [com.example.app, com.example.app.voip]", kinds: portalKinds, services: []apple.Service{apple.ServiceAPNs}, reuses: allReuses,
		fixed: []apple.Field{{Name: "environment", Values: []string{"production"}}, {Name: "topics", Values: []string{"com.example.app", "com.example.app.voip"}}}},
	{family: apple.FamilyDeviceCheck, kinds: portalKinds, services: []apple.Service{apple.ServiceDeviceCheck}, reuses: allReuses},
	{family: apple.FamilyAppAttest, kinds: portalKinds, services: []apple.Service{apple.ServiceDeviceCheck}, reuses: allReuses},
	{family: apple.FamilySignInWithApple, least: "client_id: com.example.web", full: "client_id: com.example.web", kinds: portalKinds, services: []apple.Service{apple.ServiceSignIn, apple.ServiceDataSharing},
		ttl: 5 * time.Minute, most: time.Hour, long: 180 * day, reuses: ownReuses, fixed: []apple.Field{{Name: "client_id", Values: []string{"com.example.web"}}}},
	{family: apple.FamilyAppleMusic, full: "origins: ['https://example.com', 'http://localhost:8080']", kinds: portalKinds, services: []apple.Service{apple.ServiceMedia},
		ttl: 12 * time.Hour, most: 30 * day, long: 180 * day, reuses: ownReuses, fixed: []apple.Field{{Name: "origins", Values: []string{"https://example.com", "http://localhost:8080"}}}},
	{family: apple.FamilyMapsServer, kinds: portalKinds, services: []apple.Service{apple.ServiceMapKit}, ttl: 15 * time.Minute, most: time.Hour, reuses: ownReuses},
	{family: apple.FamilyMapKit, least: "scopes: [mapkit_js], origins: [example.com]", full: "scopes: [mapkit_js, embed_api, web_snapshots], origins: [example.com, '*.example.com']", kinds: portalKinds, services: []apple.Service{apple.ServiceMapKit},
		ttl: 12 * time.Hour, most: 30 * day, long: 180 * day, reuses: ownReuses,
		fixed: []apple.Field{{Name: "scopes", Values: []string{"mapkit_js", "embed_api", "web_snapshots"}}, {Name: "origins", Values: []string{"example.com", "*.example.com"}}}},
	{family: apple.FamilyMapsSnapshot, kinds: portalKinds, services: []apple.Service{apple.ServiceMapKit}, reuses: noReuses, asked: []apple.Field{{Name: "query", Required: true}},
		good: []apple.Call{must1(apple.NewSnapshotCall("center=37.33,-122.0&z=12"))}},
	{family: apple.FamilyWeatherKit, least: "service_id: com.example.weather", full: "service_id: com.example.weather", kinds: portalKinds, services: []apple.Service{apple.ServiceWeatherKit},
		ttl: 15 * time.Minute, most: time.Hour, reuses: ownReuses, fixed: []apple.Field{{Name: "service_id", Values: []string{"com.example.weather"}}}},
	{family: apple.FamilyClassKit, kinds: portalKinds, services: []apple.Service{apple.ServiceClassKit}, ttl: 15 * time.Minute, most: time.Hour, reuses: ownReuses},
	{family: apple.FamilyIWorkExport, kinds: portalKinds, services: []apple.Service{apple.ServiceIWorkExports}, ttl: 15 * time.Minute, most: 4*time.Hour - 30*time.Second, reuses: noReuses,
		asked: []apple.Field{{Name: "file_name", Required: true}}, good: []apple.Call{must1(apple.NewExportCall("Übersicht.pdf"))}},
	{family: apple.FamilyAppleAds, kinds: []apple.Kind{apple.KindAppleAds}, ttl: 5 * time.Minute, most: time.Hour, long: 180*day - time.Minute, reuses: ownReuses},
	{family: apple.FamilySchoolBusiness, kinds: []apple.Kind{apple.KindSchoolBusiness}, ttl: 5 * time.Minute, most: time.Hour, long: 180*day - time.Minute, reuses: noReuses},
	{family: apple.FamilyMarketplace, full: "developers: [1a2b-3c, 99]", kinds: []apple.Kind{apple.KindMarketplace}, ttl: day, most: 7*day - time.Minute, reuses: ownReuses,
		asked: []apple.Field{{Name: "developer_id", Values: []string{"1a2b-3c", "99"}, Required: true}},
		good:  []apple.Call{marketplaceCall("1a2b-3c")}, beyond: []apple.Call{marketplaceCall("1a2b"), marketplaceCall("100")}},
}

func init() {
	for i, e := range examples {
		examples[i].full = strings.Replace(e.full, ", 99]", `, "99"]`, 1) // a number is no text
	}
}

func (e example) field() string { return strings.ReplaceAll(string(e.family), "-", "_") }

// doc is a policy with one profile, p, of the key k, on line 3, and a grant of it to who may mint.
func (e example) doc(params string, more ...string) string {
	return "version: 1\nprofiles:\n  p: {key: k, " + e.field() + ": {" + params + "}" + strings.Join(append([]string{""}, more...), ", ") + "}\n" +
		"grants:\n- {id: g, to: [{mtls: spiffe://a/b}], mint: [p]}\n"
}

// key is one that can serve the family.
func (e example) key() KeyFacts { return keyOfKind[e.kinds[0]] }

// calls are what can be filled in: nil alone where there is nothing.
func (e example) calls() []apple.Call {
	if e.good == nil {
		return []apple.Call{nil}
	}
	return e.good
}

// placeOf is where a text first stands on the line of the profile.
func placeOf(doc, text string) string {
	return fmt.Sprintf("3:%d: ", strings.Index(strings.Split(doc, "\n")[2], text)+1)
}

func mintBy(call apple.Call) Request {
	return Request{Principal: by("spiffe://a/b"), Action: TokenMint, Profile: "p", Call: call}
}

// TestFamilies has every family as a profile, with the least and with all that can be said of it, for every kind of key that
// serves it; and what a mint of it is, and what is said of it.
func TestFamilies(t *testing.T) {
	if got := slices.Collect(func(yield func(apple.Family) bool) {
		for _, e := range examples {
			if !yield(e.family) {
				return
			}
		}
	}); !slices.Equal(got, apple.Families()) {
		t.Errorf("the examples are of %v", got)
	}
	for i, f := range families {
		if f.of != examples[i].family || f.field != examples[i].field() {
			t.Errorf("%s stands as %s where %s is wanted", f.of, f.field, examples[i].family)
		}
	}
	for _, e := range examples {
		t.Run(string(e.family), func(t *testing.T) {
			for _, kind := range e.kinds {
				for _, params := range []string{e.least, e.full} {
					facts := keys{"k": keyOfKind[kind]}
					p, err := Compile([]byte(e.doc(params)), nil, facts)
					if err != nil {
						t.Fatalf("%s, {%s}: %v", kind, params, err)
					}
					if got, want := p.MaxTTL("k"), max(e.ttl, e.family.Limits(false).Life); got != want || got == 0 {
						t.Errorf("MaxTTL = %s, want %s", got, want)
					}
					for _, call := range e.calls() {
						d := p.Decide(mintBy(call), facts)
						if !d.Allowed() || d.Spec().Family() != e.family || d.Spec().TTL() != e.ttl || d.Spec().KeyID() != facts["k"].KeyID || d.Version() != facts["k"].Version || d.Reuse() != e.reuses[0] {
							t.Errorf("%s, {%s}: %s (%s), %s for %s, %v", kind, params, d.Code(), d.Reason(), d.Spec().Family(), d.Spec().TTL(), d.Reuse())
						}
					}
				}
			}
			p := mustCompile(t, e.doc(e.full))
			got, _ := p.Profile("p")
			want := Profile{Name: "p", Family: e.family, TTL: e.ttl, Reuse: e.reuses[0], Fixed: e.fixed, Asked: e.asked, Scope: got.Scope, Reads: got.Reads}
			if diff := cmp.Diff(want, got); diff != "" || (got.Scope != nil) != strings.Contains(e.full, "scope: ") {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestFamiliesTTLAndReuse has the lifetimes and the rules of reuse that a profile of each family can say, at their bounds.
func TestFamiliesTTLAndReuse(t *testing.T) {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%ds", d/time.Second) }
	for _, e := range examples {
		t.Run(string(e.family), func(t *testing.T) {
			good := func(ttl time.Duration, more ...string) {
				t.Helper()
				params, call := e.full, e.calls()[0]
				if len(more) > 1 && e.family == apple.FamilyAppStoreConnect {
					params = "scope: [GET /v1/ciProducts]"
				}
				p, err := Compile([]byte(e.doc(params, more...)), nil, keys{"k": e.key()})
				if err != nil {
					t.Errorf("%q: %v", more, err)
					return
				}
				if d := p.Decide(mintBy(call), keys{"k": e.key()}); d.Spec().TTL() != ttl || e.most > 0 && p.MaxTTL("k") != ttl {
					t.Errorf("%q: for %s, at most %s (%s)", more, d.Spec().TTL(), p.MaxTTL("k"), d.Reason())
				}
			}
			// bad wants one problem with the first of more, at its name or at its value.
			bad := func(want string, more ...string) {
				t.Helper()
				doc := e.doc(e.full, more...)
				_, value, _ := strings.Cut(more[0], ": ")
				got := problemsOf(t, doc, keys{"k": e.key()})
				if !slices.Contains(got, placeOf(doc, more[0])+want) && !slices.Contains(got, placeOf(doc, value)+want) {
					t.Errorf("%q: %q, want %q", more, got, want)
				}
			}
			if e.most == 0 {
				bad("a ttl for tokens that have no lifetime to choose: take it out", "ttl: 10m")
			} else {
				good(31*time.Second, "ttl: 31s")
				good(e.most, "ttl: "+seconds(e.most))
				bad(fmt.Sprintf("a ttl above %s, the most for such tokens: write that or less", apple.TTLText(e.most)), "ttl: "+seconds(e.most+time.Second))
				bad(errDuration.Error(), "ttl: Canary")
			}
			if e.long == 0 {
				bad("long_lived with a family of which Apple takes no long-lived tokens: take it out", "long_lived: true")
			} else {
				good(e.long, "long_lived: true", "ttl: "+seconds(e.long))
				bad("long_lived is something other than true: write long_lived: true, or leave it out", "long_lived: 'true'")
				if got := problemsOf(t, e.doc(e.full, "long_lived: true"), nil); !slices.Contains(got, "3:3: a long-lived profile without a ttl: say how long its tokens live, at most "+apple.TTLText(e.long)) {
					t.Errorf("without a ttl: %q", got)
				}
				bad(fmt.Sprintf("a ttl above %s, the most for such tokens: write that or less", apple.TTLText(e.long)), "ttl: "+seconds(e.long+time.Second), "long_lived: true")
			}
			for _, r := range []apple.Reuse{apple.ReuseNever, apple.ReusePerPrincipal, apple.ReuseShared} {
				if slices.Contains(e.reuses, r) {
					good(e.ttl, "reuse: "+r.String())
					continue
				}
				bad(fmt.Sprintf("not a rule of reuse that this family of tokens has: want one of %v", e.reuses), "reuse: "+r.String())
			}
			bad(fmt.Sprintf("not a rule of reuse that this family of tokens has: want one of %v", e.reuses), "reuse: Canary")
			bad("reuse is a number: want a rule of reuse such as never", "reuse: 70707")
		})
	}
}

// parameter is how a parameter can be wrong.
type parameter struct {
	list bool
	good string // in the alphabet, and short
	long string // in the alphabet, and too long
	must bool   // it cannot be left out
}

// parameters are those of all families but for scope, app and read, which TestProblems has.
var parameters = map[string]parameter{
	"bundle_id":   {good: "com.example.app", long: "com." + strings.Repeat("a", 152), must: true},
	"client_id":   {good: "com.example.web", long: "com." + strings.Repeat("a", 152), must: true},
	"service_id":  {good: "com.example.weather", long: "com." + strings.Repeat("a", 152), must: true},
	"environment": {good: "sandbox", long: strings.Repeat("sandbox", 20)},
	"products":    {list: true, good: "pro", long: strings.Repeat("a", 256)},
	"offers":      {list: true, good: "winback", long: strings.Repeat("a", 256)},
	"operations":  {list: true, good: "CREATE_SUBSCRIPTION", long: strings.Repeat("A", 65)},
	"topics":      {list: true, good: "com.example.app", long: "com." + strings.Repeat("a", 152)},
	"developers":  {list: true, good: "1a2b", long: strings.Repeat("a", 65)},
	"scopes":      {list: true, good: "mapkit_js", long: strings.Repeat("mapkit_js", 20), must: true},
	"origins":     {list: true, good: "https://example.com", long: "https://" + strings.Repeat("a", 248)},
}

// written are the parameters of the family, by name, as the full example writes them.
func (e example) written(t *testing.T) map[string]string {
	all := make(map[string]string)
	for _, f := range families {
		if f.of != e.family {
			continue
		}
		for i, name := range f.known {
			_, rest, ok := strings.Cut(e.full, name+": ")
			if !ok {
				t.Fatalf("the example of %s is not full: it has no %s", e.family, name)
			}
			if i+1 < len(f.known) {
				rest, _, _ = strings.Cut(rest, ", "+f.known[i+1]+": ")
			}
			all[name] = rest
		}
	}
	return all
}

// TestBadParameters has each parameter of each family wrong in every way there is: one problem, at its place, that names the
// parameter and repeats nothing of what is there.
func TestBadParameters(t *testing.T) {
	tried := 0
	for _, e := range examples {
		t.Run(string(e.family), func(t *testing.T) {
			written := e.written(t)
			// only wants one problem, so many characters after the beginning of the value, or at the parameter's name when at is -1.
			only := func(name, value string, at int) {
				t.Helper()
				tried++
				params := maps.Clone(written)
				params[name] = value
				doc := e.doc(inOrder(params))
				begin := strings.Index(strings.Split(doc, "\n")[2], name+": ")
				column := begin + 1
				if at >= 0 {
					column += len(name) + len(": ") + at
				}
				place := fmt.Sprintf("3:%d: ", column)
				got := problemsOf(t, doc, keys{"k": e.key()})
				if len(got) != 1 || !strings.HasPrefix(got[0], place) || !strings.Contains(got[0][len(place):], name) || strings.Contains(got[0], "Canary") || len(got[0]) > 300 {
					t.Errorf("%s: %s is %q, want one problem at %s", name, value, got, place)
				}
			}
			anyType := []string{"7", "1.5", "[Canary]", "{Canary: x}", "true", "''", "'Canary !'", "Canaryß", `"` + canary + `="`}
			for name := range written {
				p, ok := parameters[name]
				switch {
				case name == "scope" || name == "app" || name == "read":
				case !ok:
					t.Fatalf("nothing is known of %s", name)
				case p.list:
					for _, bad := range []string{p.good, "7", "{Canary: x}", "true", "''", "Canary"} {
						only(name, bad, 0)
					}
					only(name, "[]", -1)
					only(name, "["+p.good+", "+p.good+"]", len("["+p.good+", "))
					for _, bad := range append(anyType, p.long) {
						only(name, "["+p.good+", "+bad+"]", len("["+p.good+", "))
					}
				default:
					for _, bad := range append(anyType, p.long) {
						only(name, bad, 0)
					}
				}
			}
		})
	}
	if tried < 200 {
		t.Errorf("%d were tried: the table of families is not what it was", tried)
	}
}

// inOrder writes parameters.
func inOrder(params map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(params)) {
		all = append(all, name+": "+params[name])
	}
	return strings.Join(all, ", ")
}

// TestBadFamilies has what a profile gives under the key of its family wrong as a whole, and parameters that are not there.
func TestBadFamilies(t *testing.T) {
	for i, e := range examples {
		t.Run(string(e.family), func(t *testing.T) {
			want := func(name, doc string, want ...string) {
				t.Helper()
				if diff := cmp.Diff(want, problemsOf(t, doc, keys{"k": e.key()})); diff != "" {
					t.Errorf("%s (-want +got)\n%s", name, diff)
				}
			}
			for text, kind := range map[string]string{"Canary": "text", "[Canary]": "a list", "70707": "a number", "true": "true or false", "''": "text"} {
				doc := strings.Replace(e.doc(""), "{}", text, 1)
				want("a family that is "+kind, doc, placeOf(doc, text)+e.field()+" is "+kind+": want a mapping, {key: value}")
			}
			known, missing := "none", []string(nil)
			for _, f := range families {
				if f.of != e.family || f.known == nil {
					continue
				}
				known = strings.Join(f.known, ", ")
				for _, name := range f.known {
					if parameters[name].must || name == "origins" && e.family == apple.FamilyMapKit {
						missing = append(missing, placeOf(e.doc(""), e.field())+e.field()+" without "+name+": give it "+wanted[name])
					}
				}
			}
			want("nothing", e.doc(""), missing...)
			doc := e.doc(strings.TrimPrefix(e.full+", Canary: x", ", "))
			want("an unknown parameter", doc, placeOf(doc, "Canary")+"an unknown key: "+e.field()+" has "+known)

			other := examples[(i+1)%len(examples)]
			doc = e.doc(e.full, other.field()+": {"+other.full+"}")
			want("two families", doc, placeOf(doc, other.field()+": {"+other.full)+"a second family of tokens: a profile has one, so make two profiles")
		})
	}
}

// wanted is what is said of a parameter that is missing.
var wanted = map[string]string{
	"bundle_id":  "the app's bundle ID, such as com.example.app",
	"client_id":  "the App ID or Services ID, such as com.example.web",
	"service_id": "the Services ID, such as com.example.weather",
	"scopes":     "what its tokens are for, such as [mapkit_js]",
	"origins":    "the domains of the pages that use them, such as [example.com]",
}

// TestKeysOfFamilies has every family with a key of every kind, enabled for everything but it, and lacking each of its facts.
func TestKeysOfFamilies(t *testing.T) {
	lacking := []struct {
		name string
		take func(*apple.Facts)
	}{
		{"key ID", func(f *apple.Facts) { f.KeyID = "" }},
		{"issuer ID", func(f *apple.Facts) { f.Issuer = "" }},
		{"team ID", func(f *apple.Facts) { f.Team = "" }},
		{"client ID", func(f *apple.Facts) { f.Client = "" }},
		{"app ID", func(f *apple.Facts) { f.App = "" }},
	}
	for _, e := range examples {
		t.Run(string(e.family), func(t *testing.T) {
			place := placeOf(e.doc(""), e.field())
			// refused wants one problem at the family, and the same reason at a mint of a policy that was applied before.
			refused := func(name string, key KeyFacts, want string) {
				t.Helper()
				got := problemsOf(t, e.doc(e.full), keys{"k": key})
				if len(got) != 1 || !strings.HasPrefix(got[0], place) || !strings.Contains(got[0], want) {
					t.Errorf("%s: %q, want %s…%s", name, got, place, want)
				}
				d := mustCompile(t, e.doc(e.full)).Decide(mintBy(e.calls()[0]), keys{"k": key})
				if d.Code() != KeyUnfit || !d.Tell() || key.Version > 0 && !strings.Contains(d.Reason(), strings.TrimPrefix(want, "the key cannot sign yet: ")) {
					t.Errorf("%s, minted: %s, %q", name, d.Code(), d.Reason())
				}
			}
			for kind, key := range keyOfKind {
				switch {
				case slices.Contains(e.kinds, kind):
				case e.family == apple.FamilyNotary && kind == apple.KindAppStoreConnectIndividual:
					refused(string(kind), key, "an individual key cannot do that: notarisation is for team keys alone; name one, of kind app-store-connect")
				default:
					refused(string(kind), key, string(e.family)+" needs a key of kind "+string(e.kinds[0]))
				}
			}
			for _, l := range lacking {
				key := e.key().with(l.take)
				if key.Validate() == nil {
					continue // such keys never have it
				}
				refused("without "+l.name, key, "the key cannot sign yet: the "+l.name+" is missing: ")
				if got := problemsOf(t, e.doc(e.full), keys{"k": key}); !strings.HasSuffix(strings.Join(got, "\n"), "; say it with signet key update KEY, then apply the policy") {
					t.Errorf("without %s: %q", l.name, got)
				}
				key.Version, key.State = 0, KeyStateNoActive
				if got := problemsOf(t, e.doc(e.full), keys{"k": key}); got != nil {
					t.Errorf("without %s, and none active: %q", l.name, got)
				}
			}
			if e.services == nil {
				return
			}
			others := e.key().with(func(f *apple.Facts) {
				f.Services = slices.DeleteFunc(slices.Clone(f.Services), func(s apple.Service) bool { return slices.Contains(e.services, s) })
			})
			refused("without the service", others, string(e.family)+" needs a key that is enabled for "+string(e.services[0]))
			others.Version, others.State = 0, KeyStateNoActive
			if got := problemsOf(t, e.doc(e.full), keys{"k": others}); len(got) != 1 || !strings.HasPrefix(got[0], place) {
				t.Errorf("without the service, and none active: %q", got)
			}
			for _, s := range e.services {
				alone := e.key().with(func(f *apple.Facts) { f.Services = []apple.Service{s} })
				if got := problemsOf(t, e.doc(e.full), keys{"k": alone}); got != nil {
					t.Errorf("with %s alone: %q", s, got)
				}
			}
		})
	}
}

// TestKeysOfAPNs has the environment and the topics that a profile counts on and a key has, or has not. Facts that change later
// are held at the mint.
func TestKeysOfAPNs(t *testing.T) {
	const (
		otherPlace = "works in "
		otherTopic = "topics, entry 2: the key is for other topics alone"
	)
	key := func(environment apple.Environment, topics ...apple.BundleID) KeyFacts {
		return portalKey.with(func(f *apple.Facts) {
			f.Services, f.Environment, f.Topics = []apple.Service{apple.ServiceAPNs}, environment, topics
		})
	}
	for _, tt := range []struct {
		name, params string
		key          KeyFacts
		want         string // empty: it is served
	}{
		{"nothing is counted on", "", key("sandbox", "com.example.app"), ""},
		{"nothing is known", "environment: production, topics: [com.example.app]", key(""), ""},
		{"the environment", "environment: production", key("production"), ""},
		{"one of both", "environment: sandbox", key("sandbox-and-production"), ""},
		{"both of both", "environment: sandbox-and-production", key("sandbox-and-production"), ""},
		{"another environment", "environment: production", key("sandbox"), otherPlace},
		{"both of one", "environment: sandbox-and-production", key("sandbox"), otherPlace},
		{"the topics", "topics: [b.a, a.b]", key("", "a.b", "a.c", "b.a"), ""},
		{"a topic of a team's key", "topics: [com.example.app]", key("production"), ""},
		{"another topic", "topics: [a.b, a.b.voip]", key("", "a.b"), otherTopic},
		{"a topic in other letters", "topics: [a.b, a.B]", key("", "a.b"), otherTopic},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := examples[slices.IndexFunc(examples, func(e example) bool { return e.family == apple.FamilyAPNs })]
			got := problemsOf(t, e.doc(tt.params), keys{"k": tt.key})
			d := mustCompile(t, e.doc(tt.params)).Decide(mintBy(nil), keys{"k": tt.key})
			if tt.want == "" {
				if got != nil || !d.Allowed() {
					t.Errorf("%q, and minted %s", got, d.Code())
				}
				return
			}
			if len(got) != 1 || !strings.HasPrefix(got[0], "3:15: ") || !strings.Contains(got[0], tt.want) {
				t.Errorf("%q, want %s", got, tt.want)
			}
			if d.Code() != KeyUnfit || !strings.Contains(d.Reason(), tt.want) {
				t.Errorf("minted: %s (%s)", d.Code(), d.Reason())
			}
		})
	}
}

// TestIdentifiersWithoutTheTeam: of Sign in with Apple and WeatherKit, the identifier is told without the team before it.
func TestIdentifiersWithoutTheTeam(t *testing.T) {
	for _, e := range examples {
		name, _, _ := strings.Cut(e.full, ":")
		if name != "client_id" && name != "service_id" {
			continue
		}
		got := problemsOf(t, e.doc(name+": DEF123GHIJ.com.example.app"), keys{"k": portalKey})
		if want := "3:15: the " + name + " begins with the team ID: leave that out"; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, want %q", e.family, got, want)
		}
	}
}

// TestOriginsAreBounded: all of them stand in the token.
func TestOriginsAreBounded(t *testing.T) {
	for family, scheme := range map[apple.Family]string{apple.FamilyAppleMusic: "https://", apple.FamilyMapKit: ""} {
		e := examples[slices.IndexFunc(examples, func(e example) bool { return e.family == family })]
		for _, n := range []int{apple.MaxOrigins, apple.MaxOrigins + 1} {
			var all, want []string
			for i := range n {
				all = append(all, fmt.Sprintf("'%sa%d.example'", scheme, i))
			}
			params := "origins: [" + strings.Join(all, ", ") + "]"
			if family == apple.FamilyMapKit {
				params += ", scopes: [mapkit_js]"
			}
			if n > apple.MaxOrigins {
				want = []string{placeOf(e.doc(params), "origins") + "origins has more than 64 entries: make several profiles"}
			}
			if got := problemsOf(t, e.doc(params), nil); !slices.Equal(got, want) {
				t.Errorf("%d origins of %s: %q, want %q", n, family, got, want)
			}
		}
	}
}
