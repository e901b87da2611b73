package apple

import "strings"

// AppStoreConnect are the parameters of tokens for the App Store Connect API: ten minutes unless said, 1170 s at most, long-lived
// ones 180 days; given again to the same principal. A profile and a call may name the requests, reads alone, of a token.
// Source: Generating Tokens for API Requests, App Store Connect API.
type AppStoreConnect struct {
	// Scope lists the requests that a token may make; nil means whatever the key's role allows. Long-lived terms need a scope of
	// which every request is on Apple's list: see Scope.CheckLongLived.
	Scope []Scope
}

// Enterprise are the parameters of tokens for the Enterprise Program API: as those of App Store Connect, and none is long-lived.
// Source: Generating Tokens for API Requests, Enterprise Program API.
type Enterprise struct {
	// Scope lists the requests that a token may make; nil means whatever the key's role allows.
	Scope []Scope
}

// Notary are the parameters of tokens for the Notary API: those of App Store Connect for the requests of notarisation alone, of
// the same lifetimes and reuse. There is nothing to narrow. A token lets its holder upload too.
// Source: Submitting software for notarization over the web; that the scope is this, anchore/quill and the asc command, which
// Apple's page does not name.
type Notary struct{}

// notaryScope covers all requests of the Notary API. It has no method, and is no scope that people can write.
const notaryScope Scope = "/notary/v2"

var notaryScopes = []Scope{notaryScope} // never written to

// scopedClaims are those of App Store Connect, Enterprise and Notary tokens.
type scopedClaims struct {
	Iss   IssuerID `json:"iss,omitempty"` // absent for an individual key
	Sub   string   `json:"sub,omitempty"` // only for an individual key
	Iat   int64    `json:"iat"`
	Exp   int64    `json:"exp"`
	Aud   string   `json:"aud"`
	Scope []Scope  `json:"scope,omitempty"` // strictly ascending; shared with the profile, never written to
}

func (c scopedClaims) at(t times) any {
	c.Iat, c.Exp = t.iat, t.exp
	return c
}

func (c scopedClaims) key() any { return c.comparable() }

// scopedKey is all that scopedClaims say but for the times.
type scopedKey struct {
	iss             IssuerID
	sub, aud, scope string
}

func (c scopedClaims) comparable() scopedKey {
	k := scopedKey{c.Iss, c.Sub, c.Aud, ""}
	switch len(c.Scope) {
	case 0:
	case 1:
		k.scope = string(c.Scope[0])
	default:
		var all strings.Builder
		for _, entry := range c.Scope {
			all.WriteString(string(entry))
			all.WriteByte('\n') // which no entry has
		}
		k.scope = all.String()
	}
	return k
}

// newScopedClaims are those of a token of App Store Connect's shape: iss for a team key, sub for an individual one.
func newScopedClaims(aud string, f Facts, granted []Scope, ask Ask) (scopedClaims, error) {
	scope, err := narrow(granted, ask.Scope)
	if err != nil {
		return scopedClaims{}, err
	}
	c := scopedClaims{Iss: f.Issuer, Aud: aud, Scope: scope}
	if f.Kind == KindAppStoreConnectIndividual {
		c.Iss, c.Sub = "", "user"
	}
	return c, nil
}

// Family returns FamilyAppStoreConnect.
func (AppStoreConnect) Family() Family { return FamilyAppStoreConnect }

// Fields returns the scope.
func (p AppStoreConnect) Fields() (fixed, asked []Field) { return scopeFields(p.Scope), nil }

func (p AppStoreConnect) check(Facts) error { return checkScopes(p.Scope) }

func (p AppStoreConnect) claims(f Facts, ask Ask) (scopedClaims, error) {
	return newScopedClaims("appstoreconnect-v1", f, p.Scope, ask)
}

// Family returns FamilyEnterprise.
func (Enterprise) Family() Family { return FamilyEnterprise }

// Fields returns the scope.
func (p Enterprise) Fields() (fixed, asked []Field) { return scopeFields(p.Scope), nil }

func (p Enterprise) check(Facts) error { return checkScopes(p.Scope) }

func (p Enterprise) claims(f Facts, ask Ask) (scopedClaims, error) {
	return newScopedClaims("apple-developer-enterprise-v1", f, p.Scope, ask)
}

// Family returns FamilyNotary.
func (Notary) Family() Family { return FamilyNotary }

// Fields returns the scope, which is always the same.
func (Notary) Fields() (fixed, asked []Field) { return scopeFields(notaryScopes), nil }

func (Notary) check(Facts) error { return nil }

func (Notary) claims(f Facts, ask Ask) (scopedClaims, error) {
	return newScopedClaims("appstoreconnect-v1", f, notaryScopes, ask)
}

func scopeFields(scope []Scope) []Field {
	if len(scope) == 0 {
		return nil
	}
	return []Field{{Name: "scope", Values: texts(scope)}}
}
