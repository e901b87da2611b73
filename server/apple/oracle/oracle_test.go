// Package oracle has other people's programs judge what package apple makes and takes: unrelated JWT libraries verify
// its tokens, and OpenSSL writes key files for it. It is a module of its own, so that what it needs is no requirement
// of Signet.
package oracle

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	golangjwt "github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/p8signet/signet/server/apple"
)

// verifiers check a token's signature, each with a library of its own, and return its header and payload.
var verifiers = map[string]func(compact string, pub *ecdsa.PublicKey) (header map[string]any, payload []byte, err error){
	"go-jose": func(compact string, pub *ecdsa.PublicKey) (map[string]any, []byte, error) {
		object, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			return nil, nil, err
		}
		payload, err := object.Verify(pub)
		protected := object.Signatures[0].Protected
		header := map[string]any{"alg": protected.Algorithm, "kid": protected.KeyID}
		for name, value := range protected.ExtraHeaders {
			header[string(name)] = value
		}
		return header, payload, err
	},
	"jwx": func(compact string, pub *ecdsa.PublicKey) (map[string]any, []byte, error) {
		payload, err := jws.Verify([]byte(compact), jws.WithKey(jwa.ES256(), pub))
		if err != nil {
			return nil, nil, err
		}
		message, err := jws.Parse([]byte(compact))
		if err != nil {
			return nil, nil, err
		}
		text, err := json.Marshal(message.Signatures()[0].ProtectedHeaders())
		if err != nil {
			return nil, nil, err
		}
		var header map[string]any
		return header, payload, json.Unmarshal(text, &header)
	},
	"golang-jwt": func(compact string, pub *ecdsa.PublicKey) (map[string]any, []byte, error) {
		parser := golangjwt.NewParser(golangjwt.WithValidMethods([]string{"ES256"}), golangjwt.WithoutClaimsValidation())
		token, err := parser.Parse(compact, func(*golangjwt.Token) (any, error) { return pub, nil })
		if err != nil {
			return nil, nil, err
		}
		payload, err := json.Marshal(token.Claims)
		return token.Header, payload, err
	},
}

const (
	keyID  apple.KeyID    = "2X9R4HXF34"
	issuer apple.IssuerID = "57246542-96fe-1a63-e053-0824d011072a"
	scope  apple.Scope    = "GET /v1/apps?fields[apps]=name,sku&filter[platform]=IOS"
)

var (
	now    = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	iat    = float64(now.Unix() - 30)
	header = map[string]any{"alg": "ES256", "kid": string(keyID), "typ": "JWT"}
)

// cases are the families of token, by the kinds of key that sign them.
var cases = []struct {
	name   string
	facts  apple.Facts
	params apple.Params
	claims map[string]any
}{
	{
		name:   "team key",
		facts:  apple.Facts{Kind: apple.KindAppStoreConnect, KeyID: keyID, Issuer: issuer},
		params: apple.AppStoreConnect{},
		claims: map[string]any{"iss": string(issuer), "iat": iat, "exp": iat + 600, "aud": "appstoreconnect-v1"},
	},
	{
		name:   "team key, scoped",
		facts:  apple.Facts{Kind: apple.KindAppStoreConnect, KeyID: keyID, Issuer: issuer},
		params: apple.AppStoreConnect{Scope: []apple.Scope{scope}},
		claims: map[string]any{"iss": string(issuer), "iat": iat, "exp": iat + 600, "aud": "appstoreconnect-v1", "scope": []any{string(scope)}},
	},
	{
		name:   "individual key",
		facts:  apple.Facts{Kind: apple.KindAppStoreConnectIndividual, KeyID: keyID},
		params: apple.AppStoreConnect{},
		claims: map[string]any{"sub": "user", "iat": iat, "exp": iat + 600, "aud": "appstoreconnect-v1"},
	},
	{
		name:   "individual key, scoped",
		facts:  apple.Facts{Kind: apple.KindAppStoreConnectIndividual, KeyID: keyID},
		params: apple.AppStoreConnect{Scope: []apple.Scope{scope}},
		claims: map[string]any{"sub": "user", "iat": iat, "exp": iat + 600, "aud": "appstoreconnect-v1", "scope": []any{string(scope)}},
	},
	{
		name:   "enterprise key",
		facts:  apple.Facts{Kind: apple.KindEnterprise, KeyID: keyID, Issuer: issuer},
		params: apple.Enterprise{},
		claims: map[string]any{"iss": string(issuer), "iat": iat, "exp": iat + 600, "aud": "apple-developer-enterprise-v1"},
	},
	{
		name:   "enterprise key, scoped",
		facts:  apple.Facts{Kind: apple.KindEnterprise, KeyID: keyID, Issuer: issuer},
		params: apple.Enterprise{Scope: []apple.Scope{scope}},
		claims: map[string]any{"iss": string(issuer), "iat": iat, "exp": iat + 600, "aud": "apple-developer-enterprise-v1", "scope": []any{string(scope)}},
	},
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func mint(t *testing.T, params apple.Params, facts apple.Facts, key *ecdsa.PrivateKey, at time.Time) string {
	t.Helper()
	terms := apple.Terms{Params: params}
	spec, err := terms.Spec(facts, apple.Ask{TTL: terms.Limits().Default})
	if err != nil {
		t.Fatal(err)
	}
	token, err := apple.Mint(spec, key, at)
	if err != nil {
		t.Fatal(err)
	}
	return token.Text
}

func TestTokens(t *testing.T) {
	for _, tt := range cases {
		for library, verify := range verifiers {
			t.Run(tt.name+"/"+library, func(t *testing.T) {
				key := newKey(t)
				compact := mint(t, tt.params, tt.facts, key, now)
				gotHeader, payload, err := verify(compact, &key.PublicKey)
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				if !reflect.DeepEqual(gotHeader, header) {
					t.Errorf("header %v, want %v", gotHeader, header)
				}
				var claims map[string]any
				if err := json.Unmarshal(payload, &claims); err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(claims, tt.claims) {
					t.Errorf("claims %v, want %v", claims, tt.claims)
				}

				// A verifier that accepts anything would prove nothing.
				if _, _, err := verify(compact, &newKey(t).PublicKey); err == nil {
					t.Error("another key's signature was accepted")
				}
				parts := strings.Split(compact, ".")
				other := strings.Split(mint(t, tt.params, tt.facts, key, now.Add(time.Second)), ".")
				if _, _, err := verify(parts[0]+"."+other[1]+"."+parts[2], &key.PublicKey); err == nil {
					t.Error("another token's claims were accepted")
				}
			})
		}
	}
}

// Signatures of many keys and times: among them are some whose r or s begins with zeros.
func TestManyTokens(t *testing.T) {
	team := cases[0]
	for range 20 {
		key := newKey(t)
		for i := range 40 {
			compact := mint(t, team.params, team.facts, key, now.Add(time.Duration(i)*time.Second))
			for library, verify := range verifiers {
				if _, _, err := verify(compact, &key.PublicKey); err != nil {
					t.Fatalf("%s refused %s: %v", library, compact, err)
				}
			}
		}
	}
}
