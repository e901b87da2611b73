package apple

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

var testNow = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// signerFunc signs with a function, for signers that misbehave.
type signerFunc struct {
	public crypto.PublicKey
	sign   func(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

func (s signerFunc) Public() crypto.PublicKey { return s.public }

func (s signerFunc) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.sign(rand, digest, opts)
}

func mustMint(t testing.TB, p Params, f Facts, ask Ask) Token {
	t.Helper()
	return mustMintTerms(t, Terms{Params: p}, f, ask)
}

func mustMintTerms(t testing.TB, p Terms, f Facts, ask Ask) Token {
	t.Helper()
	spec, err := p.Spec(f, ask)
	if err != nil {
		t.Fatal(err)
	}
	token, err := Mint(spec, testKey, testNow)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func decodeSegment(t *testing.T, segment string) map[string]any {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	decodeJSON(t, text, &m)
	return m
}

// decodeJSON keeps numbers as they are written, so that 1.0 or 1e3 in place of an integer is found.
func decodeJSON(t *testing.T, text []byte, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatal(err)
	}
}

func TestMint(t *testing.T) {
	scope := []Scope{"GET /v1/apps", "GET /v1/users"}
	token := mustMint(t, AppStoreConnect{Scope: scope}, teamFacts, Ask{TTL: 5 * time.Minute})
	want := Token{
		Text:  token.Text,
		Hosts: []string{"api.appstoreconnect.apple.com"}, Family: FamilyAppStoreConnect,
		IssuedAt: testNow.Add(-30 * time.Second),
		Expires:  testNow.Add(270 * time.Second),
		Scope:    scope,
		SHA256:   sha256.Sum256([]byte(token.Text)),
	}
	type plain Token // without the redaction
	if diff := cmp.Diff(plain(want), plain(token)); diff != "" {
		t.Errorf("Mint (-want +got):\n%s", diff)
	}
	parts := strings.Split(token.Text, ".")
	if len(parts) != 3 || len(parts[2]) != 86 {
		t.Errorf("%d parts, a signature of %d characters", len(parts), len(parts[len(parts)-1]))
	}
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	if got, want := string(header), `{"alg":"ES256","kid":"2X9R4HXF34","typ":"JWT"}`; got != want {
		t.Errorf("header %s, want %s", got, want)
	}
	token.Scope[0] = "GET /v1/devices"
	if scope[0] != "GET /v1/apps" {
		t.Error("the token shares the profile's scope")
	}
	again := mustMint(t, AppStoreConnect{Scope: scope}, teamFacts, Ask{TTL: 5 * time.Minute})
	if again.Text == token.Text {
		t.Error("two mints of one second gave the same token: the log could not tell their callers apart")
	}
}

func TestMintRefuses(t *testing.T) {
	spec := must(Terms{Params: AppStoreConnect{}}.Spec(teamFacts, Ask{TTL: time.Minute}))
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	fails := signerFunc{&testKey.PublicKey, func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
		return nil, errors.New("the signer is gone")
	}}
	garbage := signerFunc{&testKey.PublicKey, func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
		return []byte("garbage"), nil
	}}
	tests := []struct {
		name   string
		spec   Spec
		signer crypto.Signer
		now    time.Time
		err    string
	}{
		{"zero spec", Spec{}, testKey, testNow, "minting: the spec is empty"},
		{"zero time", spec, testKey, time.Time{}, "minting: the clock is before 1970"},
		{"iat before 1970", spec, testKey, time.Unix(29, 0), "minting: the clock is before 1970"},
		{"P-384 signer", spec, p384, testNow, "minting: the key is not an ECDSA key on the curve P-256"},
		{"signer without a public key", spec, signerFunc{}, testNow, "minting: the key is not an ECDSA key on the curve P-256"},
		{"signer with a nil public key", spec, signerFunc{public: (*ecdsa.PublicKey)(nil)}, testNow, "minting: the key is not an ECDSA key on the curve P-256"},
		{"signer that fails", spec, fails, testNow, "minting: signing ES256: the signer is gone"},
		{"signer that returns garbage", spec, garbage, testNow, "minting: signing ES256: the signer returned something other than an ASN.1 signature of P-256"},
		{"no signer", spec, nil, testNow, "minting: signing ES256: the key is not a crypto.Signer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token, err := Mint(tt.spec, tt.signer, tt.now)
			wantError(t, err, tt.err)
			if token.Text != "" {
				t.Error("a token beside an error")
			}
		})
	}
}

// A signer that fails, fails every family, and no token is beside the error.
func TestMintFails(t *testing.T) {
	fails := signerFunc{&testKey.PublicKey, func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
		return nil, errors.New("the signer is gone")
	}}
	for family, s := range samples() {
		token, err := Mint(must(s.terms.Spec(s.facts, s.ask())), fails, testNow)
		wantError(t, err, "minting: signing ES256: the signer is gone")
		if token.Text != "" || token.Nonce != "" {
			t.Errorf("%s: a token beside an error", family)
		}
	}
}

func TestSignRefusesWhatIsNotJSON(t *testing.T) {
	if _, err := sign(make(chan int), scopedClaims{}, testKey, false); err == nil {
		t.Error("a header that is not JSON was signed")
	}
	if _, err := sign(header{}, make(chan int), testKey, false); err == nil {
		t.Error("claims that are not JSON were signed")
	}
}

// The signer is asked for ES256's hash, and with randomness.
func TestSignAsksForES256(t *testing.T) {
	signer := signerFunc{&testKey.PublicKey, func(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
		if rand == nil || opts.HashFunc() != crypto.SHA256 || len(digest) != 32 {
			t.Errorf("asked with rand %v, %v, %d bytes", rand, opts.HashFunc(), len(digest))
		}
		return testKey.Sign(rand, digest, opts)
	}}
	if _, err := (es256{}).Sign("a.b", signer); err != nil {
		t.Error(err)
	}
}

// golang-jwt's Token takes the signing method as it is.
func TestES256InGolangJWT(t *testing.T) {
	compact, err := jwt.NewWithClaims(es256{}, jwt.MapClaims{"iss": testIssuer}).SignedString(testKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(compact, &testKey.PublicKey); err != nil {
		t.Error(err)
	}
}

func TestRawSignature(t *testing.T) {
	signature := func(r, s []byte, more ...byte) []byte {
		var b cryptobyte.Builder
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(r) })
			b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(s) })
			b.AddBytes(more)
		})
		return b.BytesOrPanic()
	}
	full := bytes.Repeat([]byte{0x7f}, 32)
	high := append([]byte{0}, bytes.Repeat([]byte{0xff}, 32)...)
	tests := []struct {
		name string
		der  []byte
		want []byte // nil: refused
	}{
		{"both full", signature(full, full), append(bytes.Clone(full), full...)},
		{"sign bytes", signature(high, high), bytes.Repeat([]byte{0xff}, 64)},
		{"r short", signature(full[:31], full), append(append([]byte{0}, full[:31]...), full...)},
		{"s short", signature(full, full[:30]), append(append(bytes.Clone(full), 0, 0), full[:30]...)},
		{"both one", signature([]byte{1}, []byte{1}), append(append(make([]byte, 31), 1), append(make([]byte, 31), 1)...)},
		{"r too long", signature(append([]byte{1}, full...), full), nil},
		{"s too long", signature(full, append([]byte{1}, full...)), nil},
		{"negative", signature([]byte{0xff}, full), nil},
		{"not minimal", signature(append([]byte{0}, full...), full), nil},
		{"empty integer", signature(nil, full), nil},
		{"three integers", signature(full, full, 2, 1, 1), nil},
		{"something after", append(signature(full, full), 0), nil},
		{"cut short", signature(full, full)[:60], nil},
		{"raw already", make([]byte, 64), nil},
		{"nothing", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := rawSignature(tt.der)
			if (err == nil) != (tt.want != nil) || !bytes.Equal(got, tt.want) {
				t.Errorf("rawSignature = %x, %v, want %x", got, err, tt.want)
			}
		})
	}
}

// Among a few thousand signatures some have an r or an s with leading zeros; all are 64 bytes and verify.
func TestLeadingZerosInRealSignatures(t *testing.T) {
	var short int
	for i := range 2000 {
		text := fmt.Sprint("text ", i)
		sig, err := es256{}.Sign(text, testKey)
		if err != nil {
			t.Fatal(err)
		}
		if sig[0] != 0 && sig[32] != 0 {
			continue
		}
		short++
		if err := (es256{}).Verify(text, sig, &testKey.PublicKey); err != nil || len(sig) != 64 {
			t.Errorf("%d bytes: %v", len(sig), err)
		}
	}
	if short == 0 {
		t.Error("no signature with leading zeros: try more")
	}
}

func TestVerify(t *testing.T) {
	const (
		malformed = "verifying a token: it is malformed"
		foreign   = "verifying a token: it is not signed with ES256 by this key"
		notP256   = "verifying a token: the key is not an ECDSA key on the curve P-256"
	)
	public := &testKey.PublicKey
	other := &must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).PublicKey
	p384 := &must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)).PublicKey
	token := mustMint(t, AppStoreConnect{}, teamFacts, Ask{TTL: time.Minute}).Text
	parts := strings.Split(token, ".")
	header := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	der := must(testKey.Sign(nil, make([]byte, 32), crypto.SHA256))
	tests := []struct {
		name, compact string
		public        *ecdsa.PublicKey
		err           string
	}{
		{"ours", token, public, ""},
		{"another key", token, other, foreign},
		{"P-384", token, p384, notP256},
		{"no key", token, nil, notP256},
		{"other claims", parts[0] + "." + header(`{"iss":"x"}`) + "." + parts[2], public, foreign},
		{"alg none", header(`{"alg":"none","typ":"JWT"}`) + "." + parts[1] + ".", public, foreign},
		{"another alg", header(`{"alg":"HS256","typ":"JWT"}`) + "." + parts[1] + "." + parts[2], public, foreign},
		{"ASN.1 signature", parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(der), public, foreign},
		{"two parts", parts[0] + "." + parts[1], public, malformed},
		{"four parts", token + ".", public, malformed},
		{"padded", token + "==", public, malformed},
		{"empty", "", public, malformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantError(t, Verify(tt.compact, tt.public), tt.err) })
	}
}

func TestTokenIsRedacted(t *testing.T) {
	token := mustMint(t, Enterprise{}, enterpriseFacts, Ask{TTL: time.Minute})
	signature := token.Text[strings.LastIndex(token.Text, ".")+1:]
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("minted", slog.Any("token", token), slog.Any("pointer", &token))
	inJSON, err := json.Marshal(token)
	if err != nil {
		t.Fatal(err)
	}
	outputs := map[string]string{"log": log.String(), "JSON": string(inJSON), "String": token.String(), "GoString": token.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		outputs[verb] = fmt.Sprintf(verb+verb, token, struct{ T *Token }{&token}) + fmt.Sprintf(verb, []Token{token})
	}
	for name, output := range outputs {
		if strings.Contains(output, signature) || strings.Contains(output, fmt.Sprintf("%x", signature)) {
			t.Errorf("%s shows the token: %s", name, output)
		}
	}
	want := fmt.Sprintf("enterprise token, sha256 %x, exp 2026-01-01T00:00:30Z", sha256.Sum256([]byte(token.Text)))
	if got := token.String(); got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	if got, want := (Token{Family: FamilyMapsSnapshot}).String(), fmt.Sprintf("maps-snapshot token, sha256 %064x", 0); got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
}

func TestTokenHeader(t *testing.T) {
	if got, want := (Token{Text: "a.b.c", Family: FamilyAppStoreConnect}).Header(), "Authorization: Bearer a.b.c"; got != want {
		t.Errorf("Header = %q, want %q", got, want)
	}
	for family, want := range map[Family]string{
		FamilyAPNs: "Authorization: bearer a.b.c", FamilyAppAttest: "Authorization: a.b.c", FamilyIWorkExport: "Authorization: a.b.c",
		FamilyDeviceCheck: "Authorization: Bearer a.b.c", FamilySignInWithApple: "", FamilyMapKit: "", FamilyMapsSnapshot: "", FamilyPromotionalOffer: "", "": "",
	} {
		if got := (Token{Text: "a.b.c", Family: family}).Header(); got != want {
			t.Errorf("%s: Header = %q, want %q", family, got, want)
		}
	}
}

func TestUseUntil(t *testing.T) {
	tests := []struct {
		ttl, margin time.Duration
	}{
		{31 * time.Second, 100 * time.Millisecond},
		{60 * time.Second, 3 * time.Second},
		{600 * time.Second, 30 * time.Second},
		{1170 * time.Second, 30 * time.Second},
	}
	for _, tt := range tests {
		token := mustMint(t, AppStoreConnect{}, teamFacts, Ask{TTL: tt.ttl})
		if got := token.Expires.Sub(token.UseUntil()); got != tt.margin {
			t.Errorf("ttl %s: UseUntil is %s before exp, want %s", tt.ttl, got, tt.margin)
		}
	}
	s := samples()[FamilyMapsSnapshot]
	if url := mustMintTerms(t, s.terms, s.facts, s.ask()); !url.Expires.IsZero() || !url.UseUntil().IsZero() {
		t.Errorf("a URL that does not end ends at %s, %s", url.Expires, url.UseUntil())
	}
}

func BenchmarkMint(b *testing.B) {
	scope := []Scope{"GET /v1/apps/1234567890", "GET /v1/apps/1234567890/builds", "GET /v1/apps?filter[platform]=IOS"}
	for _, bb := range []struct {
		name   string
		params Params
	}{{"unscoped", AppStoreConnect{}}, {"scoped", AppStoreConnect{Scope: scope}}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				spec, err := Terms{Params: bb.params}.Spec(teamFacts, Ask{TTL: 10 * time.Minute})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := Mint(spec, testKey, testNow); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSignature is the part of BenchmarkMint that is the signer's.
func BenchmarkSignature(b *testing.B) {
	digest := sha256.Sum256([]byte("text"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := testKey.Sign(nil, digest[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGolangJWT is what golang-jwt takes for the same token, key bytes in hand.
func BenchmarkGolangJWT(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
			"iss": testIssuer, "iat": testNow.Unix() - 30, "exp": testNow.Unix() + 570, "aud": "appstoreconnect-v1",
		})
		token.Header["kid"] = teamFacts.KeyID
		if _, err := token.SignedString(testKey); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	token := mustMint(b, AppStoreConnect{}, teamFacts, Ask{TTL: time.Minute})
	for b.Loop() {
		if err := Verify(token.Text, &testKey.PublicKey); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseKey(b *testing.B) {
	data := encode("PRIVATE KEY", shapeApple.der())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseKey(data); err != nil {
			b.Fatal(err)
		}
	}
}

// TestHosts: a token goes where its family is taken, and one of APNs only to the environment that its profile names.
func TestHosts(t *testing.T) {
	facts := portalFacts(ServiceAPNs)
	for environment, want := range map[Environment][]string{
		"":                    FamilyAPNs.Use().Hosts,
		EnvironmentBoth:       FamilyAPNs.Use().Hosts,
		EnvironmentProduction: {"api.push.apple.com", "api-manage-broadcast.push.apple.com:2196"},
		EnvironmentSandbox:    {"api.sandbox.push.apple.com", "api-manage-broadcast.sandbox.push.apple.com:2195"},
	} {
		if got := mustMint(t, APNs{Environment: environment}, facts, Ask{}).Hosts; !slices.Equal(got, want) {
			t.Errorf("%q: hosts %v", environment, got)
		}
	}
	if got := mustMint(t, DeviceCheck{}, portalFacts(ServiceDeviceCheck), Ask{}).Hosts; !slices.Equal(got, FamilyDeviceCheck.Use().Hosts) {
		t.Errorf("hosts %v", got)
	}
}

func TestEnterpriseRoles(t *testing.T) {
	for role, fits := range map[Role]bool{RoleAdmin: true, RoleDeveloper: true, RoleFinance: false, RoleAppManager: false} {
		f := enterpriseFacts
		f.Roles = []Role{role}
		if err := f.Validate(); (err == nil) != fits {
			t.Errorf("%s: %v", role, err)
		}
	}
}
