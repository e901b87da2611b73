package apple

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Family is a family of tokens: those with the same claims, rules and service at Apple. With its hyphens turned into
// underscores it is also the key under which a profile of the policy gives the family's parameters.
type Family string

// The families of token that can be minted.
const (
	FamilyAppStoreConnect Family = "app-store-connect"
	FamilyEnterprise      Family = "enterprise"
)

// URL is where Apple takes the family's tokens; empty for a family that is not known here.
func (f Family) URL() string {
	switch f {
	case FamilyAppStoreConnect:
		return "https://api.appstoreconnect.apple.com"
	case FamilyEnterprise:
		return "https://api.enterprise.developer.apple.com"
	}
	return ""
}

// BackDate is how far before now a token's iat lies. Apple refuses an iat that is even a little in its future, so the
// back-dating absorbs a clock of ours that runs ahead. It counts against the lifetime.
const BackDate = 30 * time.Second

// Errors of Params.Spec for an ask that exceeds what there is to have, as opposed to one that is malformed.
var (
	// ErrTTLTooLong: more than the family's ceiling was asked for.
	ErrTTLTooLong = errors.New("the lifetime is longer than Apple accepts for this family of token")
	// ErrScopeNotGranted: a request was asked for that the profile does not grant.
	ErrScopeNotGranted = errors.New("the scope asks for a request that the profile does not grant")
)

// Limits are a family's limits of exp − iat.
type Limits struct {
	Default time.Duration // when neither profile nor caller says one; 0: the profile must
	Max     time.Duration // no profile and no caller gets more
}

// scopedLimits are those of App Store Connect and Enterprise: Apple refuses exp − iat over 1200 s, and an exp
// that is more than 1200 s ahead of its own clock; back-dated, 1170 s stays below the one by 30 s, the other by 60 s.
var scopedLimits = Limits{Default: 600 * time.Second, Max: 1170 * time.Second}

// ParseTTL checks a lifetime (exp − iat) that somebody gave explicitly: whole seconds, and more than BackDate, for of
// less nothing would be left to use. It knows no ceiling: a lifetime above one is well-formed and denied, not malformed.
func ParseTTL(d time.Duration) (time.Duration, error) {
	switch {
	case d == 0:
		return 0, errors.New("the ttl is zero: give a positive one, such as 5m, or leave it out for the profile's default")
	case d < 0:
		return 0, errors.New("the ttl is negative: give a positive one, such as 5m, or leave it out for the profile's default")
	case d%time.Second != 0:
		return 0, errors.New("the ttl is not in whole seconds: Apple's times are integers")
	case d <= BackDate:
		return 0, fmt.Errorf("the ttl is too short: tokens are back-dated by %s, which counts, so it must be more than that", BackDate)
	}
	return d, nil
}

// Params are the parameters that a profile gives for tokens of one family. Only this package implements it, by one
// small type per family; the values are immutable once made and safe for concurrent use.
type Params interface {
	Family() Family
	Limits() Limits
	// Reuses are the rules of reuse that a profile may choose from; the first holds when it says none.
	Reuses() []Reuse
	// CheckKind reports whether keys of this kind can sign this family; all that can be checked of a key without an
	// active version.
	CheckKind(Kind) error
	// Check reports whether a key with these facts can sign this family, and whether the parameters make sense; the
	// error says what to do. The policy calls it when it is applied.
	Check(Facts) error
	// Spec composes what Mint will sign, never more than the parameters grant. The error is ErrTTLTooLong,
	// ErrScopeNotGranted, one that Check would give of the key, or says what is malformed in the ask.
	Spec(Facts, Ask) (Spec, error)
	unexported()
}

// Ask is what one call asks for.
type Ask struct {
	TTL   time.Duration // exp − iat, already decided: not zero
	Scope []Scope       // empty: all that the profile grants
}

// AppStoreConnect are the parameters of tokens for the App Store Connect API.
type AppStoreConnect struct {
	// Scope lists the requests that a token may make; nil means whatever the key's role allows.
	Scope []Scope
	// LongLived lets tokens live longer than others: 180 days at most. It needs a scope of which every request is on Apple's
	// list: see Scope.CheckLongLived.
	LongLived bool
}

// Enterprise are the parameters of tokens for the Enterprise Program API.
type Enterprise struct {
	// Scope lists the requests that a token may make; nil means whatever the key's role allows.
	Scope []Scope
}

var (
	_ Params = AppStoreConnect{}
	_ Params = Enterprise{}
)

// Family returns FamilyAppStoreConnect.
func (AppStoreConnect) Family() Family { return FamilyAppStoreConnect }

// Limits returns the lifetimes that App Store Connect allows.
func (p AppStoreConnect) Limits() Limits {
	if p.LongLived {
		return longLimits
	}
	return scopedLimits
}

// Check wants a team key or an individual key of App Store Connect.
func (p AppStoreConnect) Check(f Facts) error {
	return cmp.Or(checkScopes(p.Scope), p.checkLongLived(), f.Validate(), p.CheckKind(f.Kind))
}

// checkLongLived holds Apple's rule of the tokens that live long.
func (p AppStoreConnect) checkLongLived() error {
	if p.LongLived {
		return checkLongLived(p.Scope)
	}
	return nil
}

// Spec composes an App Store Connect token: iss for a team key, sub for an individual one.
func (p AppStoreConnect) Spec(f Facts, ask Ask) (Spec, error) {
	if err := cmp.Or(p.CheckKind(f.Kind), p.checkLongLived()); err != nil {
		return Spec{}, err
	}
	return scopedSpec(Spec{family: FamilyAppStoreConnect, audience: "appstoreconnect-v1"}, p.Limits().Max, f, p.Scope, ask)
}

// CheckKind accepts team keys and individual keys of App Store Connect.
func (AppStoreConnect) CheckKind(k Kind) error {
	if k == KindAppStoreConnect || k == KindAppStoreConnectIndividual {
		return nil
	}
	return errors.New("an app-store-connect token needs a key of kind app-store-connect or app-store-connect-individual: name such a key in the profile, or, for an enterprise key, use enterprise in place of app_store_connect")
}

func (AppStoreConnect) unexported() {}

// Family returns FamilyEnterprise.
func (Enterprise) Family() Family { return FamilyEnterprise }

// Limits returns the lifetimes that the Enterprise Program API allows.
func (Enterprise) Limits() Limits { return scopedLimits }

// Check wants an enterprise key.
func (p Enterprise) Check(f Facts) error {
	return cmp.Or(checkScopes(p.Scope), f.Validate(), p.CheckKind(f.Kind))
}

// Spec composes an Enterprise Program token.
func (p Enterprise) Spec(f Facts, ask Ask) (Spec, error) {
	if err := p.CheckKind(f.Kind); err != nil {
		return Spec{}, err
	}
	return scopedSpec(Spec{family: FamilyEnterprise, audience: "apple-developer-enterprise-v1"}, p.Limits().Max, f, p.Scope, ask)
}

// CheckKind accepts enterprise keys.
func (Enterprise) CheckKind(k Kind) error {
	if k == KindEnterprise {
		return nil
	}
	return errors.New("an enterprise token needs a key of kind enterprise: name such a key in the profile, or, for a key of App Store Connect, use app_store_connect in place of enterprise")
}

func (Enterprise) unexported() {}

// Spec is what to sign, all of it but the time. Only a family's Params make one; the zero Spec cannot be minted.
type Spec struct {
	family   Family
	audience string
	keyID    KeyID
	issuer   IssuerID // iss; empty for an individual key
	subject  string   // sub; only for an individual key
	ttl      time.Duration
	scope    []Scope // strictly ascending; shared with the profile, never written to
}

// Family returns the family of the token.
func (s Spec) Family() Family { return s.family }

// KeyID returns the key ID that the header will name.
func (s Spec) KeyID() KeyID { return s.keyID }

// TTL returns exp − iat.
func (s Spec) TTL() time.Duration { return s.ttl }

// Scope returns the requests that the token will be limited to, sorted; nil means whatever the key's role allows. The
// slice is the caller's own.
func (s Spec) Scope() []Scope { return slices.Clone(s.scope) }

// scopedSpec completes a Spec of App Store Connect's shape, which has its family and audience.
func scopedSpec(s Spec, longest time.Duration, f Facts, granted []Scope, ask Ask) (Spec, error) {
	ttl, err := ParseTTL(ask.TTL)
	if err != nil {
		return Spec{}, err
	}
	if ttl > longest {
		return Spec{}, fmt.Errorf("%w: ask for %s or less", ErrTTLTooLong, TTLText(longest))
	}
	scope, err := narrow(granted, ask.Scope)
	if err != nil {
		return Spec{}, err
	}
	if f.KeyID == "" || (f.Issuer == "") != (f.Kind == KindAppStoreConnectIndividual) {
		return Spec{}, f.Validate()
	}
	s.keyID, s.issuer, s.ttl, s.scope = f.KeyID, f.Issuer, ttl, scope
	if f.Kind == KindAppStoreConnectIndividual {
		s.subject = "user"
	}
	return s, nil
}
