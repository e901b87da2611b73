package fakeapple

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// object is a JSON object of which every name stands there once.
type object map[string]json.RawMessage

// token is a JWT whose signature nobody has looked at.
type token struct {
	header, claims object
	signed         string
	signature      []byte
}

// parse takes a JWT in compact form apart. Its alg is ES256 and its header has nothing but alg, kid and typ, which is tolerated in every
// family, and what else is named.
func parse(compact string, more ...string) (token, error) {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return token{}, errors.New("not three parts")
	}
	var t token
	var err error
	if t.header, err = parseObject(parts[0]); err != nil {
		return token{}, fmt.Errorf("the header: %w", err)
	}
	if t.claims, err = parseObject(parts[1]); err != nil {
		return token{}, fmt.Errorf("the claims: %w", err)
	}
	t.signed = parts[0] + "." + parts[1]
	if t.signature, err = base64.RawURLEncoding.Strict().DecodeString(parts[2]); err != nil {
		return token{}, errors.New("the signature is not base64url")
	}
	if alg, err := t.header.text("alg"); err != nil || alg != "ES256" {
		return token{}, errors.New("the alg is not ES256")
	}
	if typ, err := t.header.text("typ"); t.header["typ"] != nil && (err != nil || typ != "JWT") {
		return token{}, errors.New("the typ is not JWT")
	}
	return t, t.header.only("the header has", append(more, "alg", "kid", "typ")...)
}

func parseObject(encoded string) (object, error) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, errors.New("not base64url")
	}
	return decodeObject(text)
}

func decodeObject(text []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, errors.New("not an object of JSON")
	}
	o := object{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, errors.New("not an object of JSON")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("not an object of JSON")
		}
		key := fmt.Sprint(name)
		if o[key] != nil {
			return nil, fmt.Errorf("%s stands there twice", key)
		}
		o[key] = value
	}
	if end, err := d.Token(); err != nil || end != json.Delim('}') {
		return nil, errors.New("not an object of JSON")
	}
	if d.InputOffset() != int64(len(text)) {
		return nil, errors.New("something follows the object")
	}
	return o, nil
}

// only reports the first member that is not among the names.
func (o object) only(has string, names ...string) error {
	for name := range o {
		if !slices.Contains(names, name) {
			return fmt.Errorf("%s %q, which Apple does not list", has, name)
		}
	}
	return nil
}

// text is a member that is a string, and not empty.
func (o object) text(name string) (string, error) {
	var s string
	if raw := o[name]; len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil || s == "" {
		return "", fmt.Errorf("%s is not a string", name)
	}
	return s, nil
}

// is reports whether a member is a string of this value.
func (o object) is(name, want string) error {
	if got, err := o.text(name); err != nil {
		return err
	} else if got != want {
		return fmt.Errorf("%s is not the expected one", name)
	}
	return nil
}

var integer = regexp.MustCompile(`^(0|[1-9][0-9]{0,14})$`)

// number is a member that is an integer as JSON writes one: no string, no fraction, no exponent.
func (o object) number(name string) (int64, error) {
	if !integer.Match(o[name]) {
		return 0, fmt.Errorf("%s is not an integer", name)
	}
	return strconv.ParseInt(string(o[name]), 10, 64)
}

// list is a member that is a list of strings, and not empty.
func (o object) list(name string) ([]string, error) {
	var all []string
	if err := json.Unmarshal(o[name], &all); err != nil || len(all) == 0 {
		return nil, fmt.Errorf("%s is not a list of strings", name)
	}
	return all, nil
}

// dated is a token's iat and exp by Apple's clock: iat is not ahead of it, exp is.
func (o object) dated(now int64) (iat, exp int64, err error) {
	if iat, err = o.number("iat"); err != nil {
		return 0, 0, err
	}
	if exp, err = o.number("exp"); err != nil {
		return 0, 0, err
	}
	switch {
	case iat > now:
		return 0, 0, errors.New("iat is in the future")
	case exp <= now:
		return 0, 0, errors.New("it has expired")
	}
	return iat, exp, nil
}

// verify checks a signature of r and s.
func (t token) verify(public *ecdsa.PublicKey) error {
	return verifyRaw(public, t.signed, t.signature)
}

func verifyRaw(public *ecdsa.PublicKey, signed string, signature []byte) error {
	if public == nil || public.Curve != elliptic.P256() {
		return errors.New("the key is not on P-256")
	}
	if len(signature) != 64 {
		return errors.New("the signature is not 64 bytes of r and s")
	}
	sum := sha256.Sum256([]byte(signed))
	if !ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return errors.New("the signature does not verify")
	}
	return nil
}

// portal checks a token of a portal key: signature, team, and that it has no claims but these beside iss and iat.
func (a *Apple) portal(compact string, service Service, claims ...string) (token, *registered, error) {
	var header []string
	if service == Weather {
		header = []string{"id"}
	}
	t, err := parse(compact, header...)
	if err != nil {
		return token{}, nil, err
	}
	kid, err := t.header.text("kid")
	if err != nil {
		return token{}, nil, err
	}
	k, err := a.key(kid, service, Portal)
	if err != nil {
		return token{}, nil, err
	}
	if err := t.verify(k.Public); err != nil {
		return token{}, nil, err
	}
	if err := t.claims.is("iss", k.Team); err != nil {
		return token{}, nil, err
	}
	return t, k, t.claims.only("the token has", append(claims, "iss", "iat")...)
}

// sixMonths is what Apple calls so, in seconds.
const sixMonths = 15_777_000

// within6Months checks the exp of a token that lives six months at most, from Apple's time on.
func within6Months(exp, now int64) error {
	if exp > now+sixMonths {
		return errors.New("exp is more than six months ahead")
	}
	return nil
}
