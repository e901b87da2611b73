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
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Token is a minted token, or another thing that was signed for Apple. It is a value, safe for concurrent use; printed,
// logged or turned into JSON it does not show its text.
type Token struct {
	Text     string    `json:"-"` // the token itself, signature or URL: whoever holds it can use it
	Family   Family    // what it is for
	IssuedAt time.Time // iat, whole seconds, UTC: at least BackDate before the token was made
	// Expires is exp, whole seconds, UTC; of what has no exp, when Apple takes it no longer; zero where that is never.
	Expires time.Time
	Scope   []Scope     // sorted; nil: whatever the key's role allows
	Hosts   []string    // who takes it, of a FormHeader; shared, not to be written to
	Fields  []FormField // what is posted beside a FormSecret, in order
	Offer   *Offer      // what is handed to the app beside a FormSignature
	Nonce   string      // of what is used once; empty for the others
	SHA256  [32]byte    // of Text: the token's name in the audit log
}

// FormField is a field of a form, before it is encoded.
type FormField struct{ Name, Value string }

// Offer is what StoreKit wants to know beside the signature of a promotional offer. The nonce is the Token's.
type Offer struct {
	KeyID     KeyID
	Timestamp int64 // Unix milliseconds
}

// draft is a token but for its times.
type draft interface {
	// sign makes it. It sets the text, and what else only the draft knows.
	sign(crypto.Signer, times) (Token, error)
	// key is all that the draft says, in a comparable form.
	key() any
}

// times are those of one token.
type times struct {
	iat, exp int64 // Unix seconds; exp 0 for a token that has none
	shared   bool  // the signature must follow from key and text
}

// dates are the times of a token that is made now.
func (s Spec) dates(now time.Time) times {
	t := times{iat: now.Unix() - int64(BackDate/time.Second)}
	switch s.rules.timing {
	case expiring:
		t.exp = t.iat + int64(s.ttl/time.Second)
	case shared:
		t.iat -= t.iat % int64(edge/time.Second)
		t.shared = true
	case single:
	}
	return t
}

// Mint signs what the Spec says, as of now. Every call gives another token, by its signature, but where the family's tokens
// are shared: those follow from key and time, and each is verified here, for a fault in a signature that is not randomized gives
// the key away. The signer must hold a P-256 key, that of the Spec's key ID. The zero Spec is refused, and so is a time before 1970.
func Mint(spec Spec, signer crypto.Signer, now time.Time) (Token, error) {
	draft := spec.content()
	if draft == nil {
		return Token{}, errors.New("minting: the spec is empty")
	}
	if now.Unix() < int64(edge/time.Second) {
		return Token{}, errors.New("minting: the clock is before 1970")
	}
	at := spec.dates(now)
	token, err := draft.sign(signer, at)
	if err != nil {
		return Token{}, fmt.Errorf("minting: %w", err)
	}
	token.Family = spec.rules.family
	if token.Hosts == nil {
		token.Hosts = spec.rules.use.Hosts
	}
	token.IssuedAt = time.Unix(at.iat, 0).UTC()
	switch life := spec.rules.limits.Life; {
	case at.exp != 0:
		token.Expires = time.Unix(at.exp, 0).UTC()
	case life != Unending:
		token.Expires = token.IssuedAt.Add(life)
	}
	token.SHA256 = sha256.Sum256([]byte(token.Text))
	return token, nil
}

// header is a token's header: exactly what Apple lists for its family.
type header struct {
	Alg string `json:"alg"`
	Kid KeyID  `json:"kid,omitempty"` // absent for a marketplace
	Typ string `json:"typ,omitempty"` // where Apple lists it
	ID  string `json:"id,omitempty"`  // only for WeatherKit
}

// claims are those of one family: exactly what Apple lists. aud is a string, not a list.
type claims interface {
	// at are the claims of a token with these times.
	at(times) any
	// key is all that they say but for the times, in a comparable form.
	key() any
}

// typ is that of the families for which Apple lists it.
const typ = "JWT"

// webToken is the draft of a JWT.
type webToken struct {
	kid    KeyID
	typ    string
	id     string
	claims claims
	fields []FormField // of a FormSecret; they follow from the claims
	hosts  []string    // where the parameters leave out some of the family's; nil for all
}

// key is the claims': typ follows from the family and kid is the Spec's, both in the SpecKey, id and fields follow from the claims.
func (d webToken) key() any { return d.claims.key() }

func (d webToken) sign(signer crypto.Signer, t times) (Token, error) {
	text, err := sign(header{Alg: es256{}.Alg(), Kid: d.kid, Typ: d.typ, ID: d.id}, d.claims.at(t), signer, t.shared)
	if err != nil {
		return Token{}, err
	}
	token := Token{Text: string(text), Fields: d.fields, Hosts: d.hosts}
	if c, ok := d.claims.(scopedClaims); ok {
		token.Scope = slices.Clone(c.Scope)
	}
	return token, nil
}

// sign returns the compact serialization of a token. golang-jwt's own Token would take the header as a map and encode
// all of it through more interfaces; what it makes is this.
func sign(header, claims any, signer crypto.Signer, shared bool) ([]byte, error) {
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
	method := es256{rfc6979: shared}
	sig, err := method.signRaw(compact, signer)
	if err != nil {
		return nil, err
	}
	if shared {
		if err := method.Verify(string(compact), sig, signer.Public()); err != nil {
			return nil, errors.New("a shared token's signature does not verify")
		}
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
// for requests under way and for a clock of Apple's that runs ahead of ours; ten minutes before the end for a token that is shared.
// Zero where there is no end.
func (t Token) UseUntil() time.Time {
	switch {
	case t.Expires.IsZero():
		return time.Time{}
	case t.Family.Shared():
		return t.IssuedAt.Add(sharedUse)
	}
	usable := t.Expires.Sub(t.IssuedAt) - BackDate
	return t.Expires.Add(-min(usable/10, 30*time.Second))
}

// Refresh is when half of the token's usable life is gone: until then a token that is reused is given again, and from then
// on whoever asks is given a newer one. It is before UseUntil. A token that is shared is replaced at the next edge, by all at
// once; what is used once is newer at every call, so that this is when it was made.
func (t Token) Refresh() time.Time {
	r := t.Family.rules()
	switch r.timing {
	case shared:
		return t.IssuedAt.Add(BackDate + edge)
	case single:
		return t.IssuedAt.Add(BackDate)
	case expiring:
	}
	return t.IssuedAt.Add(BackDate + (t.Expires.Sub(t.IssuedAt)-BackDate)/2)
}

// Header returns the line with which Apple's HTTP APIs take the token, "Authorization: Bearer …"; empty for what goes into
// no header.
func (t Token) Header() string {
	switch use := t.Family.Use(); {
	case use.Form != FormHeader:
		return ""
	case use.Scheme == "":
		return "Authorization: " + t.Text
	default:
		return "Authorization: " + use.Scheme + " " + t.Text
	}
}

// String names the token without showing it.
func (t Token) String() string {
	name := fmt.Sprintf("%s token, sha256 %x", t.Family, t.SHA256)
	if t.Expires.IsZero() {
		return name
	}
	return name + ", exp " + t.Expires.Format(time.RFC3339)
}

// Format writes String for every verb, %#v and %x too.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// GoString is String.
func (t Token) GoString() string { return t.String() }

// LogValue is String.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }
