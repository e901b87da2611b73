package sealed

import (
	"crypto/hpke"
	"errors"
	"time"

	"golang.org/x/mod/sumdb/note"
)

var (
	// ErrMalformed says that a file or note is not in our format.
	ErrMalformed = errors.New("malformed")
	// ErrExpired says that the recipient's time is over.
	ErrExpired = errors.New("the recipient has expired")
	// ErrOtherVault says that a file was sealed to another vault or recipient.
	ErrOtherVault = errors.New("sealed to another vault or recipient")
	// ErrNotOpened says that the seal does not open: altered, or not ours.
	ErrNotOpened = errors.New("the seal does not open")
	// ErrSignature says that a recipient note is not signed by the expected log.
	ErrSignature = errors.New("the recipient note is not signed by the expected key")
)

// Recipient is whom a key is sealed to. It holds nothing secret.
type Recipient struct {
	Vault   string
	ID      string
	Expires time.Time // whole seconds, UTC
	Public  []byte    // MLKEM768-X25519 public key
	Log     string    // the vault's log verifier key (note format), for comparison
}

// Fingerprint is what people compare: of vault, id, expiry and public key.
func (r Recipient) Fingerprint() string { panic("not yet") }

// MarshalNote writes the recipient as a note signed by the log key. r.Log must
// be the verifier key of signer.
func (r Recipient) MarshalNote(signer note.Signer) ([]byte, error) { panic("not yet") }

// ParseRecipient reads a note. With a verifier the note must be signed by it;
// nil checks only that it is signed by the key it names itself.
func ParseRecipient(msg []byte, v note.Verifier) (Recipient, error) { panic("not yet") }

// Facts travel inside the seal with the key.
type Facts struct {
	Kind   string `json:"kind"`
	KeyID  string `json:"key_id"`
	Issuer string `json:"issuer,omitempty"`
	Name   string `json:"name,omitempty"`
}

// Seal seals a canonical PKCS#8 key and its facts to r, and returns the file.
func Seal(r Recipient, pkcs8 []byte, f Facts) ([]byte, error) { panic("not yet") }

// Header is what a sealed file says without being opened.
type Header struct {
	Vault     string
	Recipient string
	Expires   time.Time
}

// ParseHeader reads the header of a sealed file.
func ParseHeader(file []byte) (Header, error) { panic("not yet") }

// Private is the private half of a Recipient.
type Private struct {
	recipient Recipient
	key       hpke.PrivateKey
}

// NewPrivate draws a recipient for the vault.
func NewPrivate(vault string, expires time.Time) (*Private, error) { panic("not yet") }

// Recipient is the public half. Its Log is empty.
func (p *Private) Recipient() Recipient { panic("not yet") }

// Open opens a sealed file. The caller wipes pkcs8.
func Open(p *Private, file []byte, now time.Time) (pkcs8 []byte, f Facts, err error) {
	panic("not yet")
}
