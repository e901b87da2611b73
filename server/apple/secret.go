package apple

import "crypto"

// SignInWithApple are the parameters of client secrets for Sign in with Apple, and for Account & Organizational Data Sharing.
// A secret also has the tokens with which a user is moved to another team, so that it is for five minutes unless said and for an
// hour at most, long-lived ones 180 days (Apple says six months); given again to the same principal. A secret is for one client.
// Source: Creating a client secret.
type SignInWithApple struct {
	Client BundleID // the App ID or Services ID that is the client_id; Apple minds upper and lower case
}

// AppleAds are the parameters of client secrets for the Apple Ads APIs: five minutes unless said, an hour at most, long-lived ones a
// minute less than the 180 days that Apple does not take; given again to the same principal. There is nothing to narrow.
// Source: Implementing OAuth for the Apple Search Ads API, and for the Apple Ads Platform API.
type AppleAds struct{}

// SchoolBusiness are the parameters of client assertions for the Apple School Manager and Apple Business API. Their lifetimes are
// those of AppleAds; each is a new one, for it has a jti. There is nothing to narrow.
// Source: Implementing OAuth for the Apple School Manager and Apple Business API.
type SchoolBusiness struct{}

// Marketplace are the parameters of the tokens with which a developer's apps come to an alternative marketplace: a day unless said,
// a minute less than the seven days that Apple does not take at most; given again to the same principal. A profile may list the
// developers of whom a call names one.
// Source: Creating keys and establishing alternative marketplace connections.
type Marketplace struct {
	Developers []string // whose apps may come; nil for all
}

// clientClaims are those of Sign in with Apple and Apple Ads.
type clientClaims struct {
	Iss TeamID `json:"iss"`
	Iat int64  `json:"iat"`
	Exp int64  `json:"exp"`
	Aud string `json:"aud"`
	Sub string `json:"sub"`
}

func (c clientClaims) key() any { return c }
func (c clientClaims) at(t times) any {
	c.Iat, c.Exp = t.iat, t.exp
	return c
}

// assertionClaims are those of School and Business. Apple's table has no iss, its script has.
type assertionClaims struct {
	Iss ClientID `json:"iss"`
	Sub ClientID `json:"sub"`
	Aud string   `json:"aud"`
	Iat int64    `json:"iat"`
	Exp int64    `json:"exp"`
	Jti string   `json:"jti"` // a UUID
}

// assertion is the draft of a client assertion, with a jti that is drawn when it is signed.
type assertion struct {
	kid    KeyID
	claims assertionClaims
	fields []FormField
}

type marketplaceClaims struct {
	Iss AppID  `json:"iss"`
	Iat int64  `json:"iat"`
	Exp int64  `json:"exp"`
	Aud string `json:"aud"`
	Pid string `json:"pid"`
}

func (c marketplaceClaims) key() any { return c }
func (c marketplaceClaims) at(t times) any {
	c.Iat, c.Exp = t.iat, t.exp
	return c
}

// appleID is the audience of the secrets that are posted there.
const appleID = "https://appleid.apple.com"

// Family returns FamilySignInWithApple.
func (SignInWithApple) Family() Family { return FamilySignInWithApple }

// Fields returns the client.
func (p SignInWithApple) Fields() (fixed, asked []Field) {
	return []Field{{Name: "client_id", Values: []string{string(p.Client)}}}, nil
}

func (p SignInWithApple) check(f Facts) error { return checkClientID("client_id", p.Client, f) }

func (p SignInWithApple) draft(f Facts, _ Ask) (draft, error) {
	return webToken{
		kid: f.KeyID, claims: clientClaims{Iss: f.Team, Aud: appleID, Sub: string(p.Client)},
		fields: []FormField{{"client_id", string(p.Client)}},
	}, nil
}

// Family returns FamilyAppleAds.
func (AppleAds) Family() Family { return FamilyAppleAds }

// Fields returns nothing.
func (AppleAds) Fields() (fixed, asked []Field) { return nil, nil }

func (AppleAds) check(Facts) error { return nil }

func (AppleAds) draft(f Facts, _ Ask) (draft, error) {
	return webToken{
		kid: f.KeyID, claims: clientClaims{Iss: f.Team, Aud: appleID, Sub: string(f.Client)},
		fields: []FormField{{"grant_type", "client_credentials"}, {"client_id", string(f.Client)}, {"scope", "searchadsorg"}},
	}, nil
}

// Family returns FamilySchoolBusiness.
func (SchoolBusiness) Family() Family { return FamilySchoolBusiness }

// Fields returns nothing.
func (SchoolBusiness) Fields() (fixed, asked []Field) { return nil, nil }

func (SchoolBusiness) check(Facts) error { return nil }

func (SchoolBusiness) draft(f Facts, _ Ask) (draft, error) {
	scope := "business.api"
	if f.Client[0] == 'S' { // SCHOOLAPI.…
		scope = "school.api"
	}
	return assertion{
		kid:    f.KeyID,
		claims: assertionClaims{Iss: f.Client, Sub: f.Client, Aud: "https://account.apple.com/auth/oauth2/v2/token"},
		fields: []FormField{
			{"grant_type", "client_credentials"}, {"client_id", string(f.Client)},
			{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, {"scope", scope},
		},
	}, nil
}

func (d assertion) key() any {
	return struct {
		kid    KeyID
		claims assertionClaims
	}{d.kid, d.claims}
}

func (d assertion) sign(signer crypto.Signer, t times) (Token, error) {
	c := d.claims
	c.Iat, c.Exp, c.Jti = t.iat, t.exp, newNonce()
	text, err := sign(header{Alg: es256{}.Alg(), Kid: d.kid}, c, signer, false)
	return Token{Text: string(text), Fields: d.fields, Nonce: c.Jti}, err
}

// Family returns FamilyMarketplace.
func (Marketplace) Family() Family { return FamilyMarketplace }

// Fields returns the developer.
func (p Marketplace) Fields() (fixed, asked []Field) {
	return nil, []Field{{"developer_id", texts(p.Developers), true}}
}

func (p Marketplace) check(Facts) error {
	return checkList("developers", p.Developers, ParseDeveloperID)
}

func (p Marketplace) draft(f Facts, ask Ask) (draft, error) {
	c, err := callOf[MarketplaceCall](ask, "a developer")
	if err != nil {
		return nil, err
	}
	if err := granted(p.Developers, c.developer, "developer_id"); err != nil {
		return nil, err
	}
	return webToken{typ: typ, claims: marketplaceClaims{Iss: f.App, Aud: "appstoreconnect-v1", Pid: c.developer}}, nil
}
