package oracle

import (
	"encoding/base64"
	"slices"
	"testing"
	"time"

	"github.com/p8signet/signet/server/apple"
)

const (
	keyID  apple.KeyID    = "2X9R4HXF34"
	uuidID apple.KeyID    = "a273d0d3-4d9e-458c-a173-0db8619ca7d7"
	issuer apple.IssuerID = "57246542-96fe-1a63-e053-0824d011072a"
	team   apple.TeamID   = "DEF123GHIJ"
	ads                   = "SEARCHADS.9703f56c-10ce-4876-8f59-e78e5e23a152"
	school                = "BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152"
	bundle apple.BundleID = "com.example.app"
	scope  apple.Scope    = "GET /v1/apps?fields[apps]=name,sku&filter[platform]=IOS"
	order                 = `{"operation":"CREATE_ONE_TIME_CHARGE","version":"1","description":"ünïcode"}`
)

// object is one of JSON.
type object = map[string]any

var (
	now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	iat = float64(now.Unix() - 30)

	typed   = object{"alg": "ES256", "kid": string(keyID), "typ": "JWT"}
	untyped = object{"alg": "ES256", "kid": string(keyID)}
	byUUID  = object{"alg": "ES256", "kid": string(uuidID)}

	teamKey    = apple.Facts{Kind: apple.KindAppStoreConnect, KeyID: keyID, Issuer: issuer}
	individual = apple.Facts{Kind: apple.KindAppStoreConnectIndividual, KeyID: keyID}
	enterprise = apple.Facts{Kind: apple.KindEnterprise, KeyID: keyID, Issuer: issuer}
	purchase   = apple.Facts{Kind: apple.KindInAppPurchase, KeyID: keyID, Issuer: issuer}
	portal     = apple.Facts{Kind: apple.KindDeveloperPortal, KeyID: keyID, Team: team, Services: slices.Sorted(slices.Values(apple.Services()))}
)

// family is one of JWTs: what it is made of, and what its header and claims are. The claims of drawn are random.
type family struct {
	name   string
	facts  apple.Facts
	params apple.Params
	call   apple.Call
	header object
	claims object
	drawn  string
}

// cases are the families of token that are JWTs, by the kinds of key that sign them.
var cases = []family{
	{"team key", teamKey, apple.AppStoreConnect{}, nil, typed,
		object{"iss": string(issuer), "iat": iat, "exp": iat + 600, "aud": "appstoreconnect-v1"}, ""},
	{"team key, scoped", teamKey, apple.AppStoreConnect{Scope: []apple.Scope{scope}}, nil, typed,
		object{"iss": string(issuer), "iat": iat, "exp": iat + 600, "aud": "appstoreconnect-v1", "scope": []any{string(scope)}}, ""},
	{"individual key", individual, apple.AppStoreConnect{}, nil, typed,
		object{"sub": "user", "iat": iat, "exp": iat + 600, "aud": "appstoreconnect-v1"}, ""},
	{"individual key, scoped", individual, apple.AppStoreConnect{Scope: []apple.Scope{scope}}, nil, typed,
		object{"sub": "user", "iat": iat, "exp": iat + 600, "aud": "appstoreconnect-v1", "scope": []any{string(scope)}}, ""},
	{"enterprise", enterprise, apple.Enterprise{}, nil, typed,
		object{"iss": string(issuer), "iat": iat, "exp": iat + 600, "aud": "apple-developer-enterprise-v1"}, ""},
	{"enterprise, scoped", enterprise, apple.Enterprise{Scope: []apple.Scope{scope}}, nil, typed,
		object{"iss": string(issuer), "iat": iat, "exp": iat + 600, "aud": "apple-developer-enterprise-v1", "scope": []any{string(scope)}}, ""},
	{"notary", teamKey, apple.Notary{}, nil, typed,
		object{"iss": string(issuer), "iat": iat, "exp": iat + 600, "aud": "appstoreconnect-v1", "scope": []any{"/notary/v2"}}, ""},
	{"App Store Server", purchase, apple.AppStoreServer{Bundle: bundle}, nil, typed,
		object{"iss": string(issuer), "iat": iat, "exp": iat + 300, "aud": "appstoreconnect-v1", "bid": string(bundle)}, ""},
	{"promotional offer", purchase, apple.PromotionalOffer{Bundle: bundle}, call(apple.NewOfferCall("pro", "winback1", "1000011859217", "")), typed,
		object{"iss": string(issuer), "iat": iat, "aud": "promotional-offer", "bid": string(bundle), "productId": "pro", "offerIdentifier": "winback1", "transactionId": "1000011859217"}, "nonce"},
	{"promotional offer without a transaction", purchase, apple.PromotionalOffer{Bundle: bundle}, call(apple.NewOfferCall("pro", "winback1", "", "")), typed,
		object{"iss": string(issuer), "iat": iat, "aud": "promotional-offer", "bid": string(bundle), "productId": "pro", "offerIdentifier": "winback1"}, "nonce"},
	{"introductory offer", purchase, apple.IntroductoryOffer{Bundle: bundle}, call(apple.NewIntroductoryOfferCall("pro", "1000011859217", true)), typed,
		object{"iss": string(issuer), "iat": iat, "aud": "introductory-offer-eligibility", "bid": string(bundle), "productId": "pro", "allowIntroductoryOffer": true, "transactionId": "1000011859217"}, "nonce"},
	{"no introductory offer", purchase, apple.IntroductoryOffer{Bundle: bundle}, call(apple.NewIntroductoryOfferCall("pro", "1000011859217", false)), typed,
		object{"iss": string(issuer), "iat": iat, "aud": "introductory-offer-eligibility", "bid": string(bundle), "productId": "pro", "allowIntroductoryOffer": false, "transactionId": "1000011859217"}, "nonce"},
	{"Advanced Commerce", purchase, apple.AdvancedCommerceRequest{Bundle: bundle}, call(apple.NewCommerceCall([]byte(order))), typed,
		object{"iss": string(issuer), "iat": iat, "aud": "advanced-commerce-api", "bid": string(bundle), "request": base64.StdEncoding.EncodeToString([]byte(order))}, "nonce"},
	{"APNs", portal, apple.APNs{}, nil, untyped, object{"iss": string(team), "iat": edge}, ""},
	{"DeviceCheck", portal, apple.DeviceCheck{}, nil, untyped, object{"iss": string(team), "iat": edge}, ""},
	{"App Attest", portal, apple.AppAttest{}, nil, untyped, object{"iss": string(team), "iat": edge}, ""},
	{"Sign in with Apple", portal, apple.SignInWithApple{Client: "com.example.web"}, nil, untyped,
		object{"iss": string(team), "iat": iat, "exp": iat + 300, "aud": "https://appleid.apple.com", "sub": "com.example.web"}, ""},
	{"Apple Music", portal, apple.AppleMusic{}, nil, untyped, object{"iss": string(team), "iat": iat, "exp": iat + 43200}, ""},
	{"Apple Music, with origins", portal, apple.AppleMusic{Origins: []apple.Origin{"https://a.example", "https://b.example"}}, nil, untyped,
		object{"iss": string(team), "iat": iat, "exp": iat + 43200, "origin": []any{"https://a.example", "https://b.example"}}, ""},
	{"Maps Server", portal, apple.MapsServer{}, nil, typed, object{"iss": string(team), "iat": iat, "exp": iat + 900, "scope": "server_api"}, ""},
	{"MapKit", portal, apple.MapKit{Scopes: []apple.MapScope{"mapkit_js", "embed_api"}, Origins: []apple.Domain{"example.com", "*.example.com"}}, nil, typed,
		object{"iss": string(team), "iat": iat, "exp": iat + 43200, "scope": "mapkit_js embed_api", "origin": "example.com,*.example.com"}, ""},
	{"WeatherKit", portal, apple.WeatherKit{Service: "com.example.weather"}, nil,
		object{"alg": "ES256", "kid": string(keyID), "id": string(team) + ".com.example.weather"},
		object{"iss": string(team), "iat": iat, "exp": iat + 900, "sub": "com.example.weather"}, ""},
	{"ClassKit", portal, apple.ClassKit{}, nil, typed, object{"iss": string(team), "iat": iat, "exp": iat + 900}, ""},
	{"iWork", portal, apple.IWorkExport{}, call(apple.NewExportCall("Plan für morgen.pages")), untyped,
		object{"iss": string(team), "iat": iat, "exp": iat + 900, "export_format": "com.adobe.pdf",
			"encoded_filename": base64.RawURLEncoding.EncodeToString([]byte("Plan für morgen.pages"))}, ""},
	{"Apple Ads", apple.Facts{Kind: apple.KindAppleAds, KeyID: uuidID, Team: ads, Client: ads}, apple.AppleAds{}, nil, byUUID,
		object{"iss": ads, "sub": ads, "iat": iat, "exp": iat + 300, "aud": "https://appleid.apple.com"}, ""},
	{"School and Business", apple.Facts{Kind: apple.KindSchoolBusiness, KeyID: uuidID, Client: school}, apple.SchoolBusiness{}, nil, byUUID,
		object{"iss": school, "sub": school, "iat": iat, "exp": iat + 300, "aud": "https://account.apple.com/auth/oauth2/v2/token"}, "jti"},
	{"marketplace", apple.Facts{Kind: apple.KindMarketplace, App: "1234567890"}, apple.Marketplace{}, call(apple.NewMarketplaceCall("dev-1")),
		object{"alg": "ES256", "typ": "JWT"},
		object{"iss": "1234567890", "iat": iat, "exp": iat + 86400, "aud": "appstoreconnect-v1", "pid": "dev-1"}, ""},
}

// edge is the iat of what is shared: the last half hour before iat.
var edge = float64(now.Unix() - 1800)

// call is a call that is well-formed.
func call[C apple.Call](c C, err error) apple.Call {
	if err != nil {
		panic(err)
	}
	return c
}

// TestCases: no family of JWTs is left out.
func TestCases(t *testing.T) {
	notJWT := []apple.Family{apple.FamilyPromotionalOfferSignature, apple.FamilyMapsSnapshot}
	for _, f := range apple.Families() {
		has := slices.ContainsFunc(cases, func(c family) bool { return c.params.Family() == f })
		if has == slices.Contains(notJWT, f) {
			t.Errorf("%s has a case: %v", f, has)
		}
	}
}
