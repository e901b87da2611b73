package sealed

import (
	"bytes"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// Recipient is whom a key is sealed to. It holds nothing secret.
type Recipient struct {
	Vault string
	ID    string
	// Expires is when the private half stops opening anything: whole seconds,
	// UTC.
	Expires time.Time
	Public  []byte // MLKEM768-X25519 public key
	// Log is the verifier key (note format) of the log that signs the note.
	Log string
}

// Fingerprint is what two people compare to know that they mean the same
// recipient: "sha256:" and 64 hexadecimal digits, over vault, id, expiry and
// public key.
func (r Recipient) Fingerprint() string {
	sum := sha256.Sum256(append(info(Header{Vault: r.Vault, Recipient: r.ID, Expires: r.Expires}), r.Public...))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (r Recipient) header() Header {
	return Header{Vault: r.Vault, Recipient: r.ID, Expires: r.Expires}
}

func (r Recipient) check() error {
	if err := r.header().check(); err != nil {
		return err
	}
	kem, _, _ := suite()
	if _, err := kem.NewPublicKey(r.Public); err != nil {
		return fmt.Errorf("the public key is not one of %s: %w", KEM, ErrMalformed)
	}
	return nil
}

// The text of a recipient's note:
//
//	signet-import-recipient v1
//	vault <id>
//	recipient <id>
//	expires <RFC 3339, whole seconds, UTC>
//	kem mlkem768-x25519
//	public <base64>
//	log <verifier key>
const noteMagic = "signet-import-recipient v1"

func (r Recipient) text() string {
	return fmt.Sprintf("%s\nvault %s\nrecipient %s\nexpires %s\nkem %s\npublic %s\nlog %s\n", noteMagic,
		r.Vault, r.ID, stamp(r.Expires), KEM, base64.StdEncoding.EncodeToString(r.Public), r.Log)
}

// MarshalNote writes the recipient as a note signed by the log key. r.Log must
// be the verifier key of signer.
func (r Recipient) MarshalNote(signer note.Signer) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("writing the recipient note: %w", err)
	}
	v, err := note.NewVerifier(r.Log)
	if err != nil {
		return nil, fmt.Errorf("writing the recipient note: the log's verifier key: %w", err)
	}
	if v.Name() != signer.Name() || v.KeyHash() != signer.KeyHash() {
		return nil, errors.New("writing the recipient note: the verifier key is not that of the signer")
	}
	msg, err := note.Sign(&note.Note{Text: r.text()}, signer)
	if err != nil {
		return nil, fmt.Errorf("signing the recipient note: %w", err)
	}
	return msg, nil
}

// ParseRecipient reads a recipient note. With a verifier, the note must be
// signed by that key; without, only by the key that it names itself, which
// proves that it is whole, not whose it is: then compare fingerprints.
// ErrMalformed, ErrSignature.
func ParseRecipient(msg []byte, v note.Verifier) (Recipient, error) {
	if len(msg) > MaxFile {
		return Recipient{}, fmt.Errorf("not a recipient note: it has %d bytes, and at most %d are allowed: %w", len(msg), MaxFile, ErrMalformed)
	}
	msg = bytes.ReplaceAll(msg, []byte("\r\n"), []byte("\n"))
	text, _, ok := strings.Cut(string(msg), "\n\n")
	if !ok {
		return Recipient{}, fmt.Errorf("not a recipient note: it has no signature: %w", ErrMalformed)
	}
	r, err := parseText(text + "\n")
	if err != nil {
		return Recipient{}, err
	}
	own, err := note.NewVerifier(r.Log)
	if err != nil {
		return Recipient{}, fmt.Errorf("not a recipient note: its log key is not a verifier key: %w", ErrMalformed)
	}
	if v == nil {
		v = own
	}
	if v.Name() != own.Name() || v.KeyHash() != own.KeyHash() {
		return Recipient{}, fmt.Errorf("the note names the log key %s: %w", own.Name(), ErrSignature)
	}
	n, err := note.Open(msg, note.VerifierList(v))
	if err != nil {
		return Recipient{}, ErrSignature
	}
	if n.Text != r.text() {
		return Recipient{}, fmt.Errorf("not a recipient note: its lines are not as we write them: %w", ErrMalformed)
	}
	return r, nil
}

func parseText(text string) (Recipient, error) {
	bad := func(what string) (Recipient, error) {
		return Recipient{}, fmt.Errorf("not a recipient note: %s: %w", what, ErrMalformed)
	}
	first, rest, _ := strings.Cut(text, "\n")
	if first != noteMagic {
		return bad("its first line is not " + noteMagic)
	}
	f, rest, ok := cutFields(rest+"\n", "vault", "recipient", "expires", "kem", "public", "log")
	if !ok || rest != "" {
		return bad("its lines are not vault, recipient, expires, kem, public, log")
	}
	if f[3] != KEM {
		return bad("it wants another key encapsulation than " + KEM + ", the only one this version knows")
	}
	expires, err := parseStamp(f[2])
	if err != nil {
		return bad("its expiry is not a time such as 2026-12-31T00:00:00Z")
	}
	pub, err := base64.StdEncoding.Strict().DecodeString(f[4])
	if err != nil {
		return bad("its public key is not base64")
	}
	r := Recipient{Vault: f[0], ID: f[1], Expires: expires, Public: pub, Log: f[5]}
	if err := r.check(); err != nil {
		return Recipient{}, fmt.Errorf("not a recipient note: %w", err)
	}
	return r, nil
}

// Private is the private half of a Recipient. It has no String method.
type Private struct {
	recipient Recipient
	key       hpke.PrivateKey
}

// NewPrivate draws a recipient for the vault. The expiry is cut to whole
// seconds.
func NewPrivate(vault string, expires time.Time) (*Private, error) {
	var id [10]byte
	rand.Read(id[:]) // never fails
	kem, _, _ := suite()
	key, err := kem.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("drawing a recipient's key: %w", err)
	}
	p := &Private{key: key, recipient: Recipient{
		Vault:   vault,
		ID:      strings.ToLower(base32.StdEncoding.EncodeToString(id[:])),
		Expires: expires.UTC().Truncate(time.Second),
		Public:  key.PublicKey().Bytes(),
	}}
	if err := p.recipient.check(); err != nil {
		return nil, fmt.Errorf("drawing a recipient: %w", err)
	}
	return p, nil
}

// ParsePrivate puts a private half together again from what Recipient and Bytes
// returned. key is not kept.
func ParsePrivate(r Recipient, key []byte) (*Private, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("reading a recipient: %w", err)
	}
	kem, _, _ := suite()
	k, err := kem.NewPrivateKey(bytes.Clone(key)) // which keeps what it is given
	if err != nil {
		return nil, fmt.Errorf("reading a recipient's key: %w", ErrMalformed)
	}
	if !bytes.Equal(k.PublicKey().Bytes(), r.Public) {
		return nil, fmt.Errorf("a recipient's key and its public half do not belong together: %w", ErrMalformed)
	}
	return &Private{recipient: r, key: k}, nil
}

// Recipient is the public half. Its Log is empty unless ParsePrivate was given
// one.
func (p *Private) Recipient() Recipient { return p.recipient }

// Bytes returns the key, for the caller to seal and wipe. Only the store calls
// it.
func (p *Private) Bytes() ([]byte, error) {
	b, err := p.key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encoding a recipient's key: %w", err)
	}
	return bytes.Clone(b), nil
}

// Wipe clears the seed of the key; Bytes is of no use after it. (The keys
// derived from it are inside the standard library and not in our reach.)
func (p *Private) Wipe() {
	if seed, err := p.key.Bytes(); err == nil {
		clear(seed) // the library's own slice, not a copy
	}
}
