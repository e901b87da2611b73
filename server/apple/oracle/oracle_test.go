// Package oracle has other people's programs judge what package apple makes and takes: unrelated JWT libraries verify
// its tokens, Apple's own library makes the same ones, a client of APNs pushes with them, and OpenSSL writes key files for it. It is a
// module of its own, so that what it needs is no requirement of Signet. Its folder node has what runs in Node.js, which the tests
// install by npm and the lock file.
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
		header := map[string]any{"alg": protected.Algorithm}
		if protected.KeyID != "" {
			header["kid"] = protected.KeyID
		}
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

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign is a token, or another thing that is signed, with the family's default lifetime.
func sign(t *testing.T, facts apple.Facts, params apple.Params, call apple.Call, key *ecdsa.PrivateKey, at time.Time) apple.Token {
	t.Helper()
	terms := apple.Terms{Params: params}
	if err := terms.Check(facts); err != nil {
		t.Fatal(err)
	}
	spec, err := terms.Spec(facts, apple.Ask{TTL: terms.Limits().Default, Call: call})
	if err != nil {
		t.Fatal(err)
	}
	token, err := apple.Mint(spec, key, at)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// mint is a family's token.
func (f family) mint(t *testing.T, key *ecdsa.PrivateKey, at time.Time) string {
	t.Helper()
	return sign(t, f.facts, f.params, f.call, key, at).Text
}

// compare compares what a library found in the family's token with what is there to find.
func (f family) compare(t *testing.T, header object, payload []byte) {
	t.Helper()
	if !reflect.DeepEqual(header, f.header) {
		t.Errorf("header %v, want %v", header, f.header)
	}
	var claims object
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	if f.drawn != "" {
		if drawn, ok := claims[f.drawn].(string); !ok || drawn == "" {
			t.Errorf("%s is %v", f.drawn, claims[f.drawn])
		}
		delete(claims, f.drawn)
	}
	if !reflect.DeepEqual(claims, f.claims) {
		t.Errorf("claims %v, want %v", claims, f.claims)
	}
}

func TestTokens(t *testing.T) {
	for _, tt := range cases {
		for library, verify := range verifiers {
			t.Run(tt.name+"/"+library, func(t *testing.T) {
				key := newKey(t)
				compact := tt.mint(t, key, now)
				gotHeader, payload, err := verify(compact, &key.PublicKey)
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				tt.compare(t, gotHeader, payload)

				// A verifier that accepts anything would prove nothing.
				if _, _, err := verify(compact, &newKey(t).PublicKey); err == nil {
					t.Error("another key's signature was accepted")
				}
				parts := strings.Split(compact, ".")
				other := strings.Split(tt.mint(t, key, now.Add(time.Hour)), ".")
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
			compact := team.mint(t, key, now.Add(time.Duration(i)*time.Second))
			for library, verify := range verifiers {
				if _, _, err := verify(compact, &key.PublicKey); err != nil {
					t.Fatalf("%s refused %s: %v", library, compact, err)
				}
			}
		}
	}
}
