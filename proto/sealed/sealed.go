// Package sealed hands a key to a vault so that nobody in between sees it.
//
// The vault publishes a [Recipient], a public key with an id and a short life,
// in a note signed by the key of its audit log. [Seal] encrypts a PKCS#8 key and
// the facts about it to that recipient (HPKE: MLKEM768-X25519, HKDF-SHA256,
// AES-256-GCM); only the vault's [Private] half opens it. The vault's id, the
// recipient's id and the expiry are bound into the encryption.
//
// # Trust
//
// A recipient that was not checked against a verifier from elsewhere, or by its
// fingerprint, may be anyone's. A sealed file proves nothing about who made it.
//
// # Concurrency
//
// All functions are pure but for randomness; all types may be shared once made.
// There is no state that a crash could damage.
package sealed

import (
	"crypto/hpke"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

var (
	// ErrMalformed says that a file or note is not in our format.
	ErrMalformed = errors.New("malformed")
	// ErrExpired says that the recipient's time is over: ask the vault for a
	// new recipient and seal again.
	ErrExpired = errors.New("the recipient has expired")
	// ErrOtherVault says that the file was sealed to another vault or to
	// another recipient.
	ErrOtherVault = errors.New("sealed to another vault or recipient")
	// ErrNotOpened says that the seal does not open: the file was altered, or
	// sealed to a public key that only claimed to be this recipient's.
	ErrNotOpened = errors.New("the seal does not open")
	// ErrSignature says that a recipient note is not signed by the expected
	// log key.
	ErrSignature = errors.New("the recipient note is not signed by the expected key")
)

// KEM is the name of the key encapsulation in notes.
const KEM = "mlkem768-x25519"

// MaxFile is the length in bytes of the longest sealed file or recipient note.
const MaxFile = 64 << 10

// maxPlain keeps what is sealed small enough for the file to be, too.
const maxPlain = 32 << 10

func suite() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.MLKEM768X25519(), hpke.HKDFSHA256(), hpke.AES256GCM()
}

// Facts travel inside the seal with the key. Import may add what is missing,
// and must not change what is there.
type Facts struct {
	Kind   string `json:"kind,omitempty"`
	KeyID  string `json:"key_id,omitempty"`
	Issuer string `json:"issuer,omitempty"`
	Name   string `json:"name,omitempty"`
	Team   string `json:"team,omitempty"`
	Client string `json:"client,omitempty"`
	App    string `json:"app,omitempty"`
	// Lists are separated by commas.
	Services    string `json:"services,omitempty"`
	Environment string `json:"environment,omitempty"`
	Topics      string `json:"topics,omitempty"`
	Roles       string `json:"roles,omitempty"`
}

// The length in bytes of the longest fact, and of the longest list.
const (
	maxFact = 256
	maxList = 16 << 10
)

func (f Facts) check() error {
	for _, v := range []struct {
		name, text string
		most       int
	}{
		{"kind", f.Kind, maxFact}, {"key id", f.KeyID, maxFact}, {"issuer", f.Issuer, maxFact}, {"name", f.Name, maxFact},
		{"team", f.Team, maxFact}, {"client", f.Client, maxFact}, {"app", f.App, maxFact}, {"environment", f.Environment, maxFact},
		{"list of services", f.Services, maxList}, {"list of topics", f.Topics, maxList}, {"list of roles", f.Roles, maxList},
	} {
		switch {
		case len(v.text) > v.most:
			return fmt.Errorf("the %s is longer than %d bytes: %w", v.name, v.most, ErrMalformed)
		case !utf8.ValidString(v.text) || strings.ContainsFunc(v.text, func(r rune) bool { return !unicode.IsPrint(r) }):
			return fmt.Errorf("the %s has characters that cannot be printed: %w", v.name, ErrMalformed)
		}
	}
	return nil
}

// info binds a seal to its recipient. It is injective: every field is preceded
// by its length.
func info(h Header) []byte {
	var b []byte
	for _, s := range []string{"signet sealed key v1", h.Vault, h.Recipient, stamp(h.Expires)} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // checked to be short
		b = append(b, s...)
	}
	return b
}

// Seal seals a PKCS#8 key and its facts to r and returns the file. An expired
// recipient is the caller's to refuse (see [Recipient.Expires]). pkcs8 is not
// kept.
func Seal(r Recipient, pkcs8 []byte, f Facts) ([]byte, error) {
	h := Header{Vault: r.Vault, Recipient: r.ID, Expires: r.Expires}
	if err := errors.Join(h.check(), f.check()); err != nil {
		return nil, fmt.Errorf("sealing a key: %w", err)
	}
	kem, kdf, aead := suite()
	pub, err := kem.NewPublicKey(r.Public)
	if err != nil {
		return nil, fmt.Errorf("sealing a key: the recipient's public key: %w", ErrMalformed)
	}
	plain, err := marshalPlain(pkcs8, f)
	defer clear(plain)
	if err != nil {
		return nil, fmt.Errorf("sealing a key: %w", err)
	}
	box, err := hpke.Seal(pub, kdf, aead, info(h), plain)
	if err != nil {
		return nil, fmt.Errorf("sealing a key: %w", err)
	}
	return marshalFile(h, box), nil
}

// Open opens a sealed file at a time, and returns the key, for the caller to
// wipe, and its facts. Refused by name: a file to another vault or recipient
// (ErrOtherVault), one past its expiry (ErrExpired), one that is not ours
// (ErrMalformed) or was altered (ErrNotOpened).
func Open(p *Private, file []byte, now time.Time) ([]byte, Facts, error) {
	h, box, err := parseFile(file)
	if err != nil {
		return nil, Facts{}, err
	}
	r := p.Recipient()
	switch {
	case h.Vault != r.Vault:
		return nil, Facts{}, fmt.Errorf("the file is for vault %s, this is %s: %w", h.Vault, r.Vault, ErrOtherVault)
	case h.Recipient != r.ID:
		return nil, Facts{}, fmt.Errorf("the file is for recipient %s, this is %s: %w", h.Recipient, r.ID, ErrOtherVault)
	case !h.Expires.Equal(r.Expires):
		return nil, Facts{}, fmt.Errorf("the file states another expiry than its recipient has: %w", ErrNotOpened)
	case !now.Before(r.Expires):
		return nil, Facts{}, fmt.Errorf("recipient %s expired at %s: %w", r.ID, stamp(r.Expires), ErrExpired)
	}
	_, kdf, aead := suite()
	plain, err := hpke.Open(p.key, kdf, aead, info(h), box)
	defer clear(plain)
	if err != nil {
		return nil, Facts{}, ErrNotOpened
	}
	return parsePlain(plain)
}

// Usable says why this process can seal and open nothing, or nil, by doing both
// once. FIPS 140 mode may forbid it: under GODEBUG=fips140=only the certified
// module v1.0.0 has no AES-GCM as HPKE wants it, the one after it has.
func Usable() error {
	expires := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	p, err := NewPrivate("test", expires)
	if err != nil {
		return err
	}
	defer p.Wipe()
	file, err := Seal(p.Recipient(), []byte("test"), Facts{})
	if err != nil {
		return err
	}
	_, _, err = Open(p, file, expires.Add(-time.Second))
	return err
}

// The plaintext is the length of the facts (two bytes), the facts as JSON, and
// the key: so the key is never in a Go string, which could not be wiped.
func marshalPlain(pkcs8 []byte, f Facts) ([]byte, error) {
	if len(pkcs8) == 0 {
		return nil, fmt.Errorf("there is no key to seal: %w", ErrMalformed)
	}
	facts, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encoding the facts: %w", err)
	}
	n := 2 + len(facts) + len(pkcs8)
	if n > maxPlain {
		return nil, fmt.Errorf("key and facts have more than %d bytes: %w", maxPlain, ErrMalformed)
	}
	plain := make([]byte, 0, n)
	plain = binary.BigEndian.AppendUint16(plain, uint16(len(facts))) //nolint:gosec // at most maxPlain
	plain = append(plain, facts...)
	return append(plain, pkcs8...), nil
}

func parsePlain(plain []byte) ([]byte, Facts, error) {
	var f Facts
	bad := fmt.Errorf("what is sealed in the file is not a key with its facts: %w", ErrMalformed)
	if len(plain) < 2 {
		return nil, Facts{}, bad
	}
	n := int(binary.BigEndian.Uint16(plain))
	if len(plain) <= 2+n {
		return nil, Facts{}, bad
	}
	if err := strictJSON(plain[2:2+n], &f); err != nil {
		return nil, Facts{}, bad
	}
	if err := f.check(); err != nil {
		return nil, Facts{}, err
	}
	return append([]byte(nil), plain[2+n:]...), f, nil
}
