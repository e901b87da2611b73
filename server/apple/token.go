package apple

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Token is a minted token. It is a value, safe for concurrent use; printed, logged or turned into JSON it does not
// show the compact text.
type Token struct {
	Compact  string    `json:"-"` // the token itself: whoever holds it can use it
	Family   Family    // what it is for
	IssuedAt time.Time // iat, whole seconds, UTC: BackDate before the token was made
	Expires  time.Time // exp, whole seconds, UTC
	Scope    []Scope   // sorted; nil: whatever the key's role allows
	SHA256   [32]byte  // of Compact: the token's name in the audit log
}

// header is a token's header: exactly what Apple lists.
type header struct {
	Alg string `json:"alg"`
	Kid KeyID  `json:"kid"`
	Typ string `json:"typ"`
}

// claims are those of App Store Connect and Enterprise tokens: exactly what Apple lists. aud is a string, not a list.
type claims struct {
	Iss   IssuerID `json:"iss,omitempty"` // absent for an individual key
	Sub   string   `json:"sub,omitempty"` // only for an individual key
	Iat   int64    `json:"iat"`
	Exp   int64    `json:"exp"`
	Aud   string   `json:"aud"`
	Scope []Scope  `json:"scope,omitempty"`
}

// Mint signs what the Spec says, as of now; every call gives another token, by its signature. The signer must hold a P-256
// key, that of the Spec's key ID. The zero Spec is refused, and so is a time before 1970.
func Mint(spec Spec, signer crypto.Signer, now time.Time) (Token, error) {
	if spec.family == "" {
		return Token{}, errors.New("minting: the spec is empty")
	}
	if now.Unix() < int64(BackDate/time.Second) {
		return Token{}, errors.New("minting: the clock is before 1970")
	}
	iat := time.Unix(now.Unix(), 0).UTC().Add(-BackDate)
	exp := iat.Add(spec.ttl)

	compact, err := sign(
		header{Alg: es256{}.Alg(), Kid: spec.keyID, Typ: "JWT"},
		claims{Iss: spec.issuer, Sub: spec.subject, Iat: iat.Unix(), Exp: exp.Unix(), Aud: spec.audience, Scope: spec.scope},
		signer)
	if err != nil {
		return Token{}, fmt.Errorf("minting: %w", err)
	}
	return Token{
		Compact:  string(compact),
		Family:   spec.family,
		IssuedAt: iat,
		Expires:  exp,
		Scope:    spec.Scope(),
		SHA256:   sha256.Sum256(compact),
	}, nil
}

// sign returns the compact serialization of a token. golang-jwt's own Token would take the header as a map and encode
// all of it through more interfaces; what it makes is this.
func sign(header, claims any, signer crypto.Signer) ([]byte, error) {
	head, err := json.Marshal(header)
	if err != nil {
		return nil, fmt.Errorf("encoding the header: %w", err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return nil, fmt.Errorf("encoding the claims: %w", err)
	}
	b64 := base64.RawURLEncoding
	compact := make([]byte, 0, b64.EncodedLen(len(head))+1+b64.EncodedLen(len(body))+1+b64.EncodedLen(signatureLen))
	compact = b64.AppendEncode(compact, head)
	compact = append(compact, '.')
	compact = b64.AppendEncode(compact, body)
	sig, err := es256{}.Sign(string(compact), signer)
	if err != nil {
		return nil, err
	}
	compact = append(compact, '.')
	return b64.AppendEncode(compact, sig), nil
}

var verifier = jwt.NewParser(
	jwt.WithValidMethods([]string{es256{}.Alg()}),
	jwt.WithStrictDecoding(),
	jwt.WithoutClaimsValidation(), // there is no clock here, and whether a token has expired is not asked
)

// Verify checks that compact is a JWT with alg ES256, signed by the private half of pub. It is golang-jwt's parser and
// shares nothing with Mint; the first signature of a key version goes through it before the token is released. It says
// nothing about the claims.
func Verify(compact string, pub *ecdsa.PublicKey) error {
	if !isP256(pub) {
		return fmt.Errorf("verifying a token: %w", errNotP256)
	}
	_, err := verifier.Parse(compact, func(*jwt.Token) (any, error) { return pub, nil })
	switch { // golang-jwt's texts may quote the token
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrTokenMalformed):
		return errors.New("verifying a token: it is malformed")
	default:
		return errors.New("verifying a token: it is not signed with ES256 by this key")
	}
}

// UseUntil is when to stop using the token and have a new one: before exp by a tenth of the usable life, at most 30 s,
// for requests under way and for a clock of Apple's that runs ahead of ours.
func (t Token) UseUntil() time.Time {
	usable := t.Expires.Sub(t.IssuedAt) - BackDate
	return t.Expires.Add(-min(usable/10, 30*time.Second))
}

// Refresh is when half of the token's usable life is gone: until then a token that is reused is given again, and from then
// on whoever asks is given a newer one. It is before UseUntil.
func (t Token) Refresh() time.Time {
	return t.IssuedAt.Add(BackDate + (t.Expires.Sub(t.IssuedAt)-BackDate)/2)
}

// Header returns the line with which Apple's HTTP APIs take the token: "Authorization: Bearer …".
func (t Token) Header() string { return "Authorization: Bearer " + t.Compact }

// String names the token without showing it.
func (t Token) String() string {
	return fmt.Sprintf("%s token, sha256 %x, exp %s", t.Family, t.SHA256, t.Expires.Format(time.RFC3339))
}

// Format writes String for every verb, %#v and %x too.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// GoString is String.
func (t Token) GoString() string { return t.String() }

// LogValue is String.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }
