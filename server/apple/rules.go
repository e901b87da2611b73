package apple

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Family is a family of tokens: those with the same claims, rules and service at Apple. With its hyphens turned into
// underscores it is also the key under which a profile of the policy gives the family's parameters.
type Family string

// The families of token that can be minted.
const (
	FamilyAppStoreConnect           Family = "app-store-connect"
	FamilyEnterprise                Family = "enterprise"
	FamilyNotary                    Family = "notary"
	FamilyAppStoreServer            Family = "app-store-server" // External Purchase, Advanced Commerce and Retention Messaging too
	FamilyPromotionalOffer          Family = "promotional-offer"
	FamilyIntroductoryOffer         Family = "introductory-offer"
	FamilyAdvancedCommerceRequest   Family = "advanced-commerce-request"
	FamilyPromotionalOfferSignature Family = "promotional-offer-signature" // the original style
	FamilyAPNs                      Family = "apns"
	FamilyDeviceCheck               Family = "device-check"
	FamilyAppAttest                 Family = "app-attest"
	FamilySignInWithApple           Family = "sign-in-with-apple" // Account & Organizational Data Sharing too
	FamilyAppleMusic                Family = "apple-music"        // Apple Music Feed, Apps and Books too
	FamilyMapsServer                Family = "maps-server"
	FamilyMapKit                    Family = "mapkit" // MapKit JS, Embed, Web Snapshots
	FamilyMapsSnapshot              Family = "maps-snapshot"
	FamilyWeatherKit                Family = "weatherkit"
	FamilyClassKit                  Family = "classkit"
	FamilyIWorkExport               Family = "iwork-export"
	FamilyAppleAds                  Family = "apple-ads"
	FamilySchoolBusiness            Family = "school-business"
	FamilyMarketplace               Family = "marketplace"
)

// Limits are a family's limits of exp − iat.
type Limits struct {
	Default time.Duration // when neither profile nor caller says one; 0: the profile must
	Max     time.Duration // no profile and no caller gets more; 0: there is no lifetime to choose
	// Life is how long after its iat Apple may take a token that has no exp; 0 for those that have one.
	Life time.Duration
}

// Unending is the life of what Apple takes for as long as its key is not revoked.
const Unending = 100 * 365 * 24 * time.Hour

// Form is the form in which Apple takes what was signed.
type Form string

// The forms.
const (
	FormHeader    Form = "header"    // of an HTTP request: a JWT
	FormSecret    Form = "secret"    // a field of an OAuth form: a JWT
	FormApp       Form = "app"       // handed to the app or the page: a JWT
	FormSignature Form = "signature" // handed to the app with what it signs, for StoreKit: DER in base64
	FormURL       Form = "url"       // a URL that is signed
	FormUpload    Form = "upload"    // given to somebody who uploads it: a JWT
)

// Use is how and where Apple takes what was signed. It is shared; nobody writes to it.
type Use struct {
	Form Form
	// Scheme is what stands before the token in the header; empty for a token that stands alone. Only for FormHeader.
	Scheme string
	// Field is the name of the form's field that holds the token. Only for FormSecret.
	Field string
	// Hosts are who takes it; nil for what goes to an app. The first is the usual one.
	Hosts []string
	// Path is where on a host a form is posted to.
	Path string
}

// timing says how a family's tokens are dated.
type timing uint8

const (
	expiring timing = iota // iat is back-dated, exp follows from the lifetime
	shared                 // iat is the last edge, there is no exp: everybody has the same token
	single                 // iat is back-dated, there is no exp: for one use
)

// edge is how far apart the iat of tokens lie that are shared. APNs refuses a token that is an hour old, and a client that
// changes its token more often than every 20 minutes.
const edge = 30 * time.Minute

// Apple takes a token of APNs for an hour after its iat; clients use it for ten minutes less.
const (
	sharedLife = time.Hour
	sharedUse  = 50 * time.Minute
)

// singleLife is how long Apple may take a signature for StoreKit. Of the older form Apple says 24 hours; of a JWS that it
// derives the end from iat and not how, so that the same is assumed.
const singleLife = 24 * time.Hour

const (
	day       = 24 * time.Hour
	longLived = 180 * day // Apple says six months, elsewhere 15,777,000 s: 180 days are fewer than any
)

// rules are what all tokens of a family have in common.
type rules struct {
	family   Family
	kinds    []Kind    // of key that can sign it
	services []Service // one of which a key of the developer portal must be enabled for
	timing   timing
	limits   Limits
	long     Limits  // of long-lived tokens; zero where there are none
	reuses   []Reuse // that a profile may choose from; the first holds when it says none
	scoped   bool    // a call may ask for fewer requests
	called   bool    // a call fills something in
	use      Use
}

var (
	once        = []Reuse{ReuseNever}
	byPrincipal = []Reuse{ReusePerPrincipal, ReuseNever}
	byAll       = []Reuse{ReuseShared}

	secretLimits = Limits{Default: 5 * time.Minute, Max: time.Hour}
	pageLimits   = Limits{Default: 12 * time.Hour, Max: 30 * day}
	serverLimits = Limits{Default: 15 * time.Minute, Max: time.Hour}
	sharedLimits = Limits{Life: sharedLife}
	singleLimits = Limits{Life: singleLife}

	teamKinds   = []Kind{KindAppStoreConnect, KindAppStoreConnectIndividual}
	iapKinds    = []Kind{KindInAppPurchase}
	portalKinds = []Kind{KindDeveloperPortal}
)

// families are the rules of all families, in the order in which they are documented.
var families = []*rules{
	// Apple refuses exp − iat over 1200 s, and an exp that is more than 1200 s ahead of its own clock; back-dated, 1170 s
	// stays below the one by 30 s, the other by 60 s.
	{family: FamilyAppStoreConnect, kinds: teamKinds, limits: scopedLimits, long: Limits{Max: longLived}, reuses: byPrincipal, scoped: true,
		use: Use{Form: FormHeader, Scheme: "Bearer", Hosts: []string{"api.appstoreconnect.apple.com"}}},
	{family: FamilyEnterprise, kinds: []Kind{KindEnterprise}, limits: scopedLimits, reuses: byPrincipal, scoped: true,
		use: Use{Form: FormHeader, Scheme: "Bearer", Hosts: []string{"api.enterprise.developer.apple.com"}}},
	{family: FamilyNotary, kinds: []Kind{KindAppStoreConnect}, limits: scopedLimits, reuses: byPrincipal,
		use: Use{Form: FormHeader, Scheme: "Bearer", Hosts: []string{"appstoreconnect.apple.com"}}},
	{family: FamilyAppStoreServer, kinds: iapKinds, limits: Limits{Default: 5 * time.Minute, Max: time.Hour - BackDate}, reuses: byPrincipal,
		use: Use{Form: FormHeader, Scheme: "Bearer", Hosts: []string{
			"api.storekit.apple.com", "api.storekit-sandbox.apple.com", "api.storekit.itunes.apple.com", "api.storekit-sandbox.itunes.apple.com"}}},
	{family: FamilyPromotionalOffer, kinds: iapKinds, timing: single, limits: singleLimits, reuses: once, called: true, use: Use{Form: FormApp}},
	{family: FamilyIntroductoryOffer, kinds: iapKinds, timing: single, limits: singleLimits, reuses: once, called: true, use: Use{Form: FormApp}},
	{family: FamilyAdvancedCommerceRequest, kinds: iapKinds, timing: single, limits: singleLimits, reuses: once, called: true, use: Use{Form: FormApp}},
	{family: FamilyPromotionalOfferSignature, kinds: iapKinds, timing: single, limits: singleLimits, reuses: once, called: true, use: Use{Form: FormSignature}},
	{family: FamilyAPNs, kinds: portalKinds, services: []Service{ServiceAPNs}, timing: shared, limits: sharedLimits, reuses: byAll,
		use: Use{Form: FormHeader, Scheme: "bearer", Hosts: []string{
			"api.push.apple.com", "api.sandbox.push.apple.com",
			"api-manage-broadcast.push.apple.com:2196", "api-manage-broadcast.sandbox.push.apple.com:2195"}}},
	{family: FamilyDeviceCheck, kinds: portalKinds, services: []Service{ServiceDeviceCheck}, timing: shared, limits: sharedLimits, reuses: byAll,
		use: Use{Form: FormHeader, Scheme: "Bearer", Hosts: []string{"api.devicecheck.apple.com", "api.development.devicecheck.apple.com"}}},
	{family: FamilyAppAttest, kinds: portalKinds, services: []Service{ServiceDeviceCheck}, timing: shared, limits: sharedLimits, reuses: byAll,
		use: Use{Form: FormHeader, Hosts: []string{"data.appattest.apple.com", "data-development.appattest.apple.com"}}},
	{family: FamilySignInWithApple, kinds: portalKinds, services: []Service{ServiceSignIn, ServiceDataSharing},
		limits: secretLimits, long: Limits{Max: longLived}, reuses: byPrincipal,
		use: Use{Form: FormSecret, Field: "client_secret", Hosts: []string{"appleid.apple.com"}, Path: "/auth/token"}},
	{family: FamilyAppleMusic, kinds: portalKinds, services: []Service{ServiceMedia}, limits: pageLimits, long: Limits{Max: longLived}, reuses: byPrincipal,
		use: Use{Form: FormHeader, Scheme: "Bearer", Hosts: []string{"api.music.apple.com", "api.ent.apple.com"}}},
	{family: FamilyMapsServer, kinds: portalKinds, services: []Service{ServiceMapKit}, limits: serverLimits, reuses: byPrincipal,
		use: Use{Form: FormHeader, Scheme: "Bearer", Hosts: []string{"maps-api.apple.com"}}},
	{family: FamilyMapKit, kinds: portalKinds, services: []Service{ServiceMapKit}, limits: pageLimits, long: Limits{Max: longLived}, reuses: byPrincipal,
		use: Use{Form: FormApp}},
	{family: FamilyMapsSnapshot, kinds: portalKinds, services: []Service{ServiceMapKit}, timing: single, limits: Limits{Life: Unending}, reuses: once, called: true,
		use: Use{Form: FormURL, Hosts: []string{"snapshot.apple-mapkit.com"}}},
	{family: FamilyWeatherKit, kinds: portalKinds, services: []Service{ServiceWeatherKit}, limits: serverLimits, reuses: byPrincipal,
		use: Use{Form: FormHeader, Scheme: "Bearer", Hosts: []string{"weatherkit.apple.com"}}},
	{family: FamilyClassKit, kinds: portalKinds, services: []Service{ServiceClassKit}, limits: serverLimits, reuses: byPrincipal,
		use: Use{Form: FormHeader, Scheme: "Bearer"}},
	// Apple takes the earlier of exp and iat + 4 h.
	{family: FamilyIWorkExport, kinds: portalKinds, services: []Service{ServiceIWorkExports}, limits: Limits{Default: 15 * time.Minute, Max: 4*time.Hour - BackDate}, reuses: once, called: true,
		use: Use{Form: FormHeader}},
	// exp must be less than 180 days after iat.
	{family: FamilyAppleAds, kinds: []Kind{KindAppleAds}, limits: secretLimits, long: Limits{Max: longLived - time.Minute}, reuses: byPrincipal,
		use: Use{Form: FormSecret, Field: "client_secret", Hosts: []string{"appleid.apple.com"}, Path: "/auth/oauth2/token"}},
	{family: FamilySchoolBusiness, kinds: []Kind{KindSchoolBusiness}, limits: secretLimits, long: Limits{Max: longLived - time.Minute}, reuses: once,
		use: Use{Form: FormSecret, Field: "client_assertion", Hosts: []string{"account.apple.com"}, Path: "/auth/oauth2/token"}},
	// exp must be less than 7 days ahead of Apple's clock.
	{family: FamilyMarketplace, kinds: []Kind{KindMarketplace}, limits: Limits{Default: day, Max: 7*day - time.Minute}, reuses: byPrincipal, called: true,
		use: Use{Form: FormUpload}},
}

// scopedLimits are those of App Store Connect, Enterprise and Notary tokens.
var scopedLimits = Limits{Default: 600 * time.Second, Max: 1170 * time.Second}

// byFamily finds the rules.
var byFamily = func() map[Family]*rules {
	m := make(map[Family]*rules, len(families))
	for _, r := range families {
		m[r.family] = r
	}
	return m
}()

// Families lists every family, in the order in which they are documented.
func Families() []Family {
	all := make([]Family, len(families))
	for i, r := range families {
		all[i] = r.family
	}
	return all
}

// rules are those of a family that is known here.
func (f Family) rules() *rules {
	if r := byFamily[f]; r != nil {
		return r
	}
	return &rules{}
}

// Use is how Apple takes the family's tokens; zero for a family that is not known here.
func (f Family) Use() Use { return f.rules().use }

// Limits are those of the family's tokens, or of its long-lived ones; zero where there are none.
func (f Family) Limits(longLived bool) Limits {
	if longLived {
		return f.rules().long
	}
	return f.rules().limits
}

// Reuses are the rules of reuse that a profile may choose from; the first holds when it says none.
func (f Family) Reuses() []Reuse { return slices.Clone(f.rules().reuses) }

// Scoped says whether a profile and a call can limit a token to some requests.
func (f Family) Scoped() bool { return f.rules().scoped }

// Shared says whether everybody is given the very same token at a time.
func (f Family) Shared() bool { return f.rules().timing == shared }

// URL is where Apple takes the family's tokens; empty for a family that is not known here, and for what goes to no server
// of Apple's that is always the same.
func (f Family) URL() string {
	use := f.rules().use
	if len(use.Hosts) == 0 {
		return ""
	}
	return "https://" + use.Hosts[0] + use.Path
}

// CheckKind reports whether keys of this kind can sign this family; all that can be checked of a key without facts.
func (f Family) CheckKind(k Kind) error {
	r := f.rules()
	if slices.Contains(r.kinds, k) {
		return nil
	}
	if f == FamilyNotary && k == KindAppStoreConnectIndividual {
		return errIndividualNotary
	}
	return fmt.Errorf("%s needs a key of kind %s: name such a key in the profile, or give the profile the family of its key", f, strings.ReplaceAll(list(r.kinds), ", ", " or "))
}

// checkKey reports whether a key can sign this family.
func (r *rules) checkKey(f Facts) error {
	if !slices.Contains(r.kinds, f.Kind) {
		return r.family.CheckKind(f.Kind)
	}
	if len(r.services) > 0 && !slices.ContainsFunc(r.services, func(s Service) bool { return slices.Contains(f.Services, s) }) {
		return fmt.Errorf("%s needs a key that is enabled for %s at Apple, and as far as is known here this one is not: name another key, or, when it is enabled, say so with signet key update KEY --services",
			r.family, strings.ReplaceAll(list(r.services), ", ", " or "))
	}
	return nil
}

// errNotLasting is why a family's tokens cannot live long.
var errNotLasting = errors.New("long_lived with a family of which Apple takes no long-lived tokens: take it out")

// CheckLongLived reports whether Apple takes long-lived tokens of the family at all.
func (f Family) CheckLongLived() error { return f.rules().checkLongLived() }

func (r *rules) checkLongLived() error {
	if r.long == (Limits{}) {
		return errNotLasting
	}
	return nil
}

// OrdinaryTTL is the longest time for which Apple may take any token of the family that is not long-lived.
func (f Family) OrdinaryTTL() time.Duration {
	l := f.rules().limits
	return max(l.Max, l.Life)
}

// LongestTTL is the longest time for which Apple may take any token of the family.
func (f Family) LongestTTL() time.Duration { return max(f.OrdinaryTTL(), f.rules().long.Max) }

// LongestTTL is the longest time for which Apple may take any token of any family.
func LongestTTL() time.Duration {
	longest := time.Duration(0)
	for _, r := range families {
		longest = max(longest, r.family.LongestTTL())
	}
	return longest
}
