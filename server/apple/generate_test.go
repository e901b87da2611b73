package apple

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// minting is all that it takes to mint: every draw of it fits together.
type minting struct {
	terms Terms
	facts Facts
	ask   Ask
}

// world draws mintings. A small one has so few values that the same come again.
type world struct{ small bool }

// either draws one of two texts in a small world, and one that matches in another.
func either[T ~string](w world, a, b, match string) *rapid.Generator[T] {
	if w.small {
		return rapid.SampledFrom([]T{T(a), T(b)})
	}
	return rapid.Map(rapid.OneOf(rapid.SampledFrom([]string{a, b}), rapid.StringMatching(match)), func(s string) T { return T(s) })
}

// some draws a few different ones, or nil.
func some[T comparable](of *rapid.Generator[T]) *rapid.Generator[[]T] {
	return rapid.Custom(func(t *rapid.T) []T {
		if rapid.Bool().Draw(t, "none") {
			return nil
		}
		return rapid.SliceOfNDistinct(of, 1, 2, rapid.ID).Draw(t, "some")
	})
}

// oneOf draws one of a list, or any where there is no list.
func oneOf[T ~string](list []T, free *rapid.Generator[T]) *rapid.Generator[T] {
	if list != nil {
		return rapid.SampledFrom(list)
	}
	return free
}

func (w world) bundle() *rapid.Generator[BundleID] {
	return either[BundleID](w, "com.example.app", "com.example.App", `[A-Za-z0-9-]{1,20}(\.[A-Za-z0-9_-]{1,20}){1,4}`)
}

func (w world) product() *rapid.Generator[ProductID] {
	return either[ProductID](w, "com.example.pro", "com.example.max", `[A-Za-z0-9._-]{1,255}`)
}

func (w world) offer() *rapid.Generator[OfferID] {
	return either[OfferID](w, "winback1", "spring", `[A-Za-z0-9._-]{1,100}`)
}

func (w world) transaction() *rapid.Generator[string] {
	return either[string](w, "1000011859217", "1000011859218", `[0-9]{1,20}`)
}

func (w world) scope() *rapid.Generator[Scope] {
	return rapid.SampledFrom([]Scope{"GET /v1/apps", "GET /v1/apps?filter[platform]=IOS", "GET /v1/ciProducts", "GET /v1/scmProviders/1"})
}

func (w world) account() *rapid.Generator[string] {
	plain := rapid.SampledFrom([]string{"", "6F9619FF-8B86-D011-B42D-00CF4FC964FF", "6f9619ff-8b86-d011-b42d-00cf4fc964fe"})
	if w.small {
		return plain
	}
	return rapid.OneOf(plain, rapid.String().Filter(func(s string) bool { return checkAccount(s) == nil }))
}

// facts are those of a key that can sign the family.
func (w world) facts(t *rapid.T, r *rules) Facts {
	const uuid = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`
	f := Facts{Kind: rapid.SampledFrom(r.kinds).Draw(t, "kind")}
	id := func(a, b, match, name string) string { return either[string](w, a, b, match).Draw(t, name) }
	if f.Kind != KindMarketplace {
		f.KeyID = KeyID(id("2X9R4HXF34", "2X9R4HXF35", `[A-Za-z0-9._-]{1,64}`, "key ID"))
	}
	switch f.Kind {
	case KindAppStoreConnect, KindEnterprise, KindInAppPurchase:
		f.Issuer = IssuerID(id(string(testIssuer), strings.ToUpper(string(testIssuer)), uuid, "issuer"))
	case KindDeveloperPortal:
		f.Team = TeamID(id("DEF123GHIJ", "DEF123GHIK", `[A-Z0-9]{10}`, "team"))
		f.Services = append(rapid.SliceOfDistinct(rapid.SampledFrom(Services()), rapid.ID).Draw(t, "services"), rapid.SampledFrom(r.services).Draw(t, "service"))
		slices.Sort(f.Services)
		f.Services = slices.Compact(f.Services)
		if slices.Contains(f.Services, ServiceAPNs) {
			f.Environment = rapid.SampledFrom([]Environment{"", EnvironmentSandbox, EnvironmentProduction, EnvironmentBoth}).Draw(t, "environment")
			f.Topics = some(w.bundle()).Draw(t, "topics")
			slices.Sort(f.Topics)
		}
	case KindAppleAds:
		f.Team = TeamID("SEARCHADS." + id(adsID[10:], adsID[10:45]+"x", uuid, "team"))
		f.Client = ClientID("SEARCHADS." + id(adsID[10:], adsID[10:45]+"x", uuid, "client"))
	case KindSchoolBusiness:
		f.Client = ClientID(rapid.SampledFrom([]string{"BUSINESSAPI.", "SCHOOLAPI."}).Draw(t, "which") + id(adsID[10:], adsID[10:45]+"x", uuid, "client"))
	case KindMarketplace:
		f.App = AppID(id("1234567890", "1234567891", `[1-9][0-9]{0,18}`, "app"))
	case KindAppStoreConnectIndividual:
	}
	return f
}

// params are a profile's, which the key can serve, and a call that they grant.
func (w world) params(t *rapid.T, family Family, f Facts) (Params, Call) {
	product := func(list []ProductID) string { return string(oneOf(list, w.product()).Draw(t, "product")) }
	offer := func(list []OfferID) string { return string(oneOf(list, w.offer()).Draw(t, "offer")) }
	bundle := func() BundleID { return w.bundle().Draw(t, "bundle") }
	switch family {
	case FamilyAppStoreConnect:
		return AppStoreConnect{sorted(some(w.scope()).Draw(t, "granted"))}, nil
	case FamilyEnterprise:
		return Enterprise{sorted(some(w.scope()).Draw(t, "granted"))}, nil
	case FamilyNotary:
		return Notary{}, nil
	case FamilyAppStoreServer:
		return AppStoreServer{bundle()}, nil
	case FamilyPromotionalOffer:
		p := PromotionalOffer{bundle(), some(w.product()).Draw(t, "products"), some(w.offer()).Draw(t, "offers")}
		return p, called(NewOfferCall(product(p.Products), offer(p.Offers), rapid.OneOf(rapid.Just(""), w.transaction()).Draw(t, "transaction"), ""))
	case FamilyIntroductoryOffer:
		p := IntroductoryOffer{bundle(), some(w.product()).Draw(t, "products")}
		return p, called(NewIntroductoryOfferCall(product(p.Products), w.transaction().Draw(t, "transaction"), rapid.Bool().Draw(t, "allow")))
	case FamilyAdvancedCommerceRequest:
		p := AdvancedCommerceRequest{bundle(), some(rapid.SampledFrom([]string{"MODIFY", "CREATE_ONE_TIME_CHARGE"})).Draw(t, "operations")}
		operation := oneOf(p.Operations, rapid.StringMatching(`[A-Z][A-Z0-9_]{0,63}`)).Draw(t, "operation")
		return p, called(NewCommerceCall(fmt.Appendf(nil, `{"operation":%q,"version":"1","x":%d}`, operation, rapid.IntRange(0, 1).Draw(t, "x"))))
	case FamilyPromotionalOfferSignature:
		p := PromotionalOfferSignature{bundle(), some(w.product()).Draw(t, "products"), some(w.offer()).Draw(t, "offers")}
		return p, called(NewOfferCall(product(p.Products), offer(p.Offers), "", w.account().Draw(t, "account")))
	case FamilyAPNs:
		p := APNs{Environment: f.Environment}
		if f.Environment == "" || f.Environment == EnvironmentBoth {
			p.Environment = rapid.SampledFrom([]Environment{"", EnvironmentSandbox, EnvironmentProduction}).Draw(t, "wanted")
		}
		if f.Topics != nil {
			p.Topics = f.Topics[:1]
		}
		return p, nil
	case FamilyDeviceCheck:
		return DeviceCheck{}, nil
	case FamilyAppAttest:
		return AppAttest{}, nil
	case FamilySignInWithApple:
		return SignInWithApple{bundle()}, nil
	case FamilyAppleMusic:
		return AppleMusic{some(either[Origin](w, "https://example.com", "https://a.example:8443", `https://[a-z0-9-]{1,20}(\.[a-z0-9-]{1,20}){0,3}`)).Draw(t, "origins")}, nil
	case FamilyMapsServer:
		return MapsServer{}, nil
	case FamilyMapKit:
		return MapKit{
			rapid.SliceOfNDistinct(rapid.SampledFrom(MapScopes()), 1, 3, rapid.ID).Draw(t, "scopes"),
			rapid.SliceOfNDistinct(either[Domain](w, "example.com", "*.example.com", `[a-z0-9-]{1,20}(\.[a-z0-9-]{1,20}){0,3}`), 1, 2, rapid.ID).Draw(t, "domains"),
		}, nil
	case FamilyMapsSnapshot:
		return MapsSnapshot{}, called(NewSnapshotCall(either[string](w, "center=1,2", "center=2,1&z=12", `[a-c]{1,5}=([A-Za-z0-9.,:;/?-]|%2[0-9A-F]){0,60}(&[a-c]{1,5}=[A-Za-z0-9]{0,9}){0,3}`).Draw(t, "query")))
	case FamilyWeatherKit:
		return WeatherKit{bundle()}, nil
	case FamilyClassKit:
		return ClassKit{}, nil
	case FamilyIWorkExport:
		return IWorkExport{}, called(NewExportCall(either[string](w, "a.key", "b.key", `[A-Za-z0-9 äöüß"\\.-]{1,60}`).Draw(t, "file")))
	case FamilyAppleAds:
		return AppleAds{}, nil
	case FamilySchoolBusiness:
		return SchoolBusiness{}, nil
	case FamilyMarketplace:
		p := Marketplace{some(rapid.StringMatching(`[A-Za-z0-9-]{1,64}`)).Draw(t, "developers")}
		return p, called(NewMarketplaceCall(oneOf(p.Developers, either[string](w, "X", "Y", `[A-Za-z0-9-]{1,64}`)).Draw(t, "developer")))
	}
	t.Fatalf("there is no generator for %s", family)
	return nil, nil
}

// draw draws a minting of a family.
func (w world) draw(t *rapid.T, family Family) minting {
	r := family.rules()
	m := minting{facts: w.facts(t, r)}
	m.terms.Params, m.ask.Call = w.params(t, family, m.facts)
	if r.long.Max != 0 && rapid.Bool().Draw(t, "long-lived") {
		m.terms.LongLived = true
		if _, ok := m.terms.Params.(AppStoreConnect); ok {
			m.terms.Params = AppStoreConnect{[]Scope{"GET /v1/ciProducts", "GET /v1/scmProviders/1"}}
		}
	}
	if l := m.terms.Limits(); l.Max != 0 {
		longest := int64(l.Max / time.Second)
		seconds := rapid.OneOf(rapid.SampledFrom([]int64{31, longest}), rapid.Int64Range(31, longest))
		if w.small {
			seconds = rapid.SampledFrom([]int64{300, 301})
		}
		m.ask.TTL = time.Duration(seconds.Draw(t, "ttl")) * time.Second
	}
	if granted := grantedScope(m.terms.Params); r.scoped && rapid.Bool().Draw(t, "narrowed") {
		m.ask.Scope = rapid.SliceOfN(oneOf(granted, w.scope()), 0, 2).Draw(t, "asked")
	}
	return m
}

func grantedScope(p Params) []Scope {
	switch p := p.(type) {
	case AppStoreConnect:
		return p.Scope
	case Enterprise:
		return p.Scope
	}
	return nil
}

// drawNow draws a time of this century at which people are alive.
func drawNow(t *rapid.T) time.Time {
	return time.Unix(rapid.Int64Range(1_700_000_000, 2_500_000_000).Draw(t, "now"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
}

// mint mints it; what fits together is refused nowhere.
func (m minting) mint(t *rapid.T, now time.Time) Token {
	if err := m.terms.Check(m.facts); err != nil {
		t.Fatalf("Check: %v", err)
	}
	spec, err := m.terms.Spec(m.facts, m.ask)
	if err != nil {
		t.Fatalf("Spec: %v", err)
	}
	token, err := Mint(spec, testKey, now)
	if err != nil {
		t.Fatalf("Mint: %v", err)
	}
	return token
}

// spoil makes a minting that does not fit together of one that does, and says which error there must be; "" when this spoils
// nothing of the family.
func spoil(t *rapid.T, m *minting) string {
	r, l := m.terms.Family().rules(), m.terms.Limits()
	switch rapid.IntRange(0, 6).Draw(t, "spoiled") {
	case 0: // a lifetime above the ceiling
		m.ask.TTL = l.Max + time.Duration(rapid.Int64Range(1, 1<<30).Draw(t, "above"))*time.Second
		if l.Max == 0 {
			return ErrUnfitAsk.Error()
		}
		return ErrTTLTooLong.Error()
	case 1: // one that is none
		if l.Max == 0 {
			return ""
		}
		m.ask.TTL = time.Duration(rapid.Int64Range(-1<<40, int64(BackDate)).Draw(t, "below"))
		return "the ttl is"
	case 2: // more than is granted
		switch m.ask.Scope = []Scope{"GET /v1/devices"}; {
		case !r.scoped:
			return "has no scope"
		case grantedScope(m.terms.Params) == nil:
			return ""
		}
		return ErrScopeNotGranted.Error()
	case 3: // the call of another family, or none
		other := rapid.SampledFrom([]Call{nil, OfferCall{product: "a", offer: "b"}, SnapshotCall{"z=1"}, ExportCall{"a"}, MarketplaceCall{"X"}}).Draw(t, "call")
		if reflect.TypeOf(other) == reflect.TypeOf(m.ask.Call) {
			return ""
		}
		m.ask.Call = other
		return ErrUnfitAsk.Error()
	case 4: // a key of another kind
		kind := rapid.SampledFrom(Kinds()).Draw(t, "kind")
		if slices.Contains(r.kinds, kind) {
			return ""
		}
		m.facts.Kind = kind
		if r.family == FamilyNotary && kind == KindAppStoreConnectIndividual {
			return "an individual key cannot do that"
		}
		return "needs a key of kind"
	case 5: // a key without the service
		if r.services == nil {
			return ""
		}
		m.facts.Services = slices.DeleteFunc(Services(), func(s Service) bool { return slices.Contains(r.services, s) })
		return "enabled for " + string(r.services[0])
	default: // a key of which a fact is not there
		m.facts = Facts{Kind: m.facts.Kind, Services: m.facts.Services}
		return "is missing"
	}
}
