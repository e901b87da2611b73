package fakeapple_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p8signet/signet/server/servertest/fakeapple"
)

// What all keys of the tests are.
const (
	kid    = "2X9R4HXF34"
	issuer = "57246542-96fe-1a63-e053-0824d011072a"
	team   = "DEF123GHIJ"
)

// world is an Apple, the clock of it and one key, which is registered there.
type world struct {
	*fakeapple.Apple
	key *ecdsa.PrivateKey

	mu  sync.Mutex
	now time.Time
}

func newWorld(t *testing.T, k fakeapple.Key) *world {
	t.Helper()
	w := &world{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), key: newKey(t)}
	w.Apple = fakeapple.New(w.clock)
	w.add(k, w.key)
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// add registers a key, with the tests' own ids where it has none.
func (w *world) add(k fakeapple.Key, private *ecdsa.PrivateKey) {
	if k.ID == "" && k.Kind != fakeapple.Marketplace {
		k.ID = kid
	}
	if k.Team == "" {
		k.Team = team
	}
	if k.Issuer == "" && k.Kind != fakeapple.Individual {
		k.Issuer = issuer
	}
	k.Public = &private.PublicKey
	w.Register(k)
}

// at is a time in seconds, d from the clock's.
func (w *world) at(d time.Duration) int64 { return w.clock().Add(d).Unix() }

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// m is an object of JSON.
type m = map[string]any

// with is a copy of an object with other members; nil takes one out.
func with(o m, members m) m {
	o = maps.Clone(o)
	for name, value := range members {
		o[name] = value
		if value == nil {
			delete(o, name)
		}
	}
	return o
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// raw is r and s over text.
func raw(t *testing.T, key *ecdsa.PrivateKey, text string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

// der is a signature as ASN.1.
func der(t *testing.T, key *ecdsa.PrivateKey, text string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// sign is a JWT. A header or claims that are text stand there as they are.
func sign(t *testing.T, key *ecdsa.PrivateKey, header, claims any) string {
	t.Helper()
	part := func(v any) string {
		if text, ok := v.(string); ok {
			return base64.RawURLEncoding.EncodeToString([]byte(text))
		}
		return encode(t, v)
	}
	input := part(header) + "." + part(claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(raw(t, key, input))
}

// get sends a request with a token.
func (w *world) get(t *testing.T, method, url, token string, headers ...string) (int, string) {
	t.Helper()
	resp := w.do(t, method, url, "Bearer "+token, headers...)
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// do sends a request with an Authorization, and with headers by name and value.
func (w *world) do(t *testing.T, method, url, authorization string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := w.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// why checks that the last thing was refused, and for this reason; that nothing was refused when it is empty.
func (w *world) why(t *testing.T, want string) {
	t.Helper()
	all := w.Refusals()
	switch {
	case want == "" && len(all) > 0:
		t.Errorf("refused: %s", all)
	case want != "" && (len(all) == 0 || !strings.Contains(all[len(all)-1], want)):
		t.Errorf("refused for %q, want %q", all, want)
	}
}

// malformed are the ways in which a token that is good otherwise is none, whatever it is for.
func malformed(t *testing.T, w *world, header, claims m) map[string]struct{ token, why string } {
	good := sign(t, w.key, header, claims)
	dot := strings.LastIndexByte(good, '.')
	once := func(name string) string { // an object's text with a member twice
		text, _ := json.Marshal(header)
		return `{"` + name + `":"x",` + string(text[1:])
	}
	text, _ := json.Marshal(claims)
	return map[string]struct{ token, why string }{
		"none":                   {encode(t, m{"alg": "none"}) + "." + encode(t, claims) + ".", "alg"},
		"alg none, signed":       {sign(t, w.key, with(header, m{"alg": "none"}), claims), "alg"},
		"alg ES384":              {sign(t, w.key, with(header, m{"alg": "ES384"}), claims), "alg"},
		"alg in lower case":      {sign(t, w.key, with(header, m{"alg": "es256"}), claims), "alg"},
		"no alg":                 {sign(t, w.key, with(header, m{"alg": nil}), claims), "alg"},
		"a typ of its own":       {sign(t, w.key, with(header, m{"typ": "at+jwt"}), claims), "typ"},
		"a header of its own":    {sign(t, w.key, with(header, m{"cty": "JWT"}), claims), "cty"},
		"a header twice":         {sign(t, w.key, once("alg"), claims), "twice"},
		"a claim of its own":     {sign(t, w.key, header, with(claims, m{"act": "me"})), "act"},
		"a claim twice":          {sign(t, w.key, header, `{"iat":0,`+string(text[1:])), "twice"},
		"something after claims": {sign(t, w.key, header, string(text)+"{}"), "follows"},
		"claims that are a list": {sign(t, w.key, header, "[]"), "not an object"},
		"no claims":              {sign(t, w.key, header, m{}), " is not a"},
		"DER":                    {good[:dot+1] + base64.RawURLEncoding.EncodeToString(der(t, w.key, good[:dot])), "64 bytes"},
		"padding":                {good + "==", "base64url"},
		"another key":            {sign(t, newKey(t), header, claims), "verify"},
		"others' claims":         {good[:strings.IndexByte(good, '.')+1] + encode(t, with(claims, m{"iat": 5})) + good[dot:], "verify"},
		"two parts":              {good[:dot], "three parts"},
		"one part":               {"x", "three parts"},
		"iat as text":            {sign(t, w.key, header, with(claims, m{"iat": "1767225600"})), "iat is not an integer"},
		"iat with a fraction":    {sign(t, w.key, header, with(claims, m{"iat": json.RawMessage("1767225600.0")})), "iat is not an integer"},
		"iat with an exponent":   {sign(t, w.key, header, with(claims, m{"iat": json.RawMessage("1.7e9")})), "iat is not an integer"},
		"no iat":                 {sign(t, w.key, header, with(claims, m{"iat": nil})), "iat is not an integer"},
	}
}

// refusesMalformed runs malformed: take answers whether Apple took a token.
func refusesMalformed(t *testing.T, w *world, header, claims m, take func(token string) bool) {
	t.Helper()
	for name, tt := range malformed(t, w, header, claims) {
		t.Run(name, func(t *testing.T) {
			if take(tt.token) {
				t.Fatal("taken")
			}
			w.why(t, tt.why)
		})
	}
	if header["id"] == nil {
		t.Run("an id", func(t *testing.T) {
			if take(sign(t, w.key, with(header, m{"id": team + ".com.example.weather"}), claims)) {
				t.Fatal("taken")
			}
			w.why(t, `the header has "id"`)
		})
	}
	for name, kid := range map[string]any{"no kid": nil, "another kid": "AAAAAAAAAA", "a kid that is a number": 7} {
		if header["kid"] == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if take(sign(t, w.key, with(header, m{"kid": kid}), claims)) {
				t.Fatal("taken")
			}
			w.why(t, "kid")
		})
	}
	if !take(sign(t, w.key, header, claims)) {
		t.Errorf("the good one is refused: %s", w.Refusals())
	}
}

// TestHosts: who is not Apple says so.
func TestHosts(t *testing.T) {
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.Team})
	for url, want := range map[string]int{
		"https://api.appstoreconnect.apple.com/v1/apps":      401,
		"https://API.AppStoreConnect.apple.com:443/v1/apps":  401,
		"http://127.0.0.1:1234/v1/apps":                      401,
		"https://appleid.apple.com/":                         404,
		"https://account.apple.com/auth/oauth2/v2/token":     404,
		"https://appstoreconnect.apple.com/v1/apps":          404,
		"https://api.appstoreconnect.apple.com.evil.example": 421,
		"http://192.0.2.1/v1/apps":                           421,
	} {
		if got, _ := w.get(t, "GET", url, "x"); got != want {
			t.Errorf("%s: %d, want %d", url, got, want)
		}
	}
}
