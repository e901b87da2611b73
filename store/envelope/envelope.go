// Package envelope seals what the store keeps. It is the only place with AEAD
// code.
//
// Three layers: a KEK wraps a root key, the root key wraps a data key (DEK) made
// for one record, the DEK seals the record. All three are AES-256-GCM with
// random nonces (cipher.NewGCMWithRandomNonce, which FIPS mode allows too), and
// every one is bound by associated data to its place: a wrapped root key to its
// vault and id, a record to vault, name, version and root key.
//
// # Trust
//
// Input of every function that opens something may come from an attacker. What
// opens was sealed by a holder of the key, for exactly that place.
//
// # Concurrency
//
// Everything is safe for concurrent use.
//
// # Memory
//
// Keys and plaintext are wiped after use where Go lets us: slices of ours are
// cleared, the expanded key inside a cipher of the standard library is not in
// our reach. Code that has key bytes at hand runs in Secret, which erases the
// rest, too, in a build with GOEXPERIMENT=runtimesecret.
package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
)

// ErrNotOpened says that something sealed does not open: it has been altered,
// it belongs to another place, or the key is another one.
var ErrNotOpened = errors.New("does not open")

// ErrWiped says that the root key is gone from memory.
var ErrWiped = errors.New("the root key has been wiped")

const (
	// KeySize is the size of every key here, in bytes.
	KeySize = 32

	format      = 1  // first byte of a sealed record
	idSize      = 8  // bytes of a root key's id
	aeadSize    = 28 // nonce and tag
	wrappedSize = KeySize + aeadSize
	headerSize  = 1 + idSize
	// Overhead is by how much a sealed record is longer than its plaintext.
	Overhead = headerSize + wrappedSize + aeadSize
)

// Place says where a record belongs. It is associated data: what was sealed for
// one place opens for no other.
type Place struct {
	Vault   string // vault id
	Name    string // record name
	Version uint64 // which writing of the record
}

// aad is injective: every field is preceded by its length.
func aad(label string, id [idSize]byte, p Place) []byte {
	b := make([]byte, 0, 64+len(label)+len(p.Vault)+len(p.Name))
	for _, s := range []string{"signet record v1", label, string(id[:]), p.Vault, p.Name} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // names are short
		b = append(b, s...)
	}
	return binary.BigEndian.AppendUint64(b, p.Version)
}

// RootKey wraps the data keys of records and authenticates roots. It has no
// String method and must not be copied.
type RootKey struct {
	id [idSize]byte

	mu   sync.RWMutex // held for reading while a key is in use, for writing to wipe
	key  []byte
	mac  []byte      // derived from key
	aead cipher.AEAD // over key; nil once wiped
}

// NewRootKey draws a root key and its id.
func NewRootKey() (root *RootKey, err error) {
	Secret(func() {
		key := make([]byte, KeySize)
		rand.Read(key) // never fails
		var id [idSize]byte
		rand.Read(id[:])
		root, err = newRootKey(id, key)
	})
	return root, err
}

// newRootKey takes key over.
func newRootKey(id [idSize]byte, key []byte) (*RootKey, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("a root key has %d bytes, not %d", KeySize, len(key))
	}
	mac, err := hkdf.Key(sha256.New, key, nil, "signet root mac v1", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("deriving the root's MAC key: %w", err)
	}
	a, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	return &RootKey{id: id, key: key, mac: mac, aead: a}, nil
}

// ID names the root key: 16 hexadecimal digits. It says nothing about the key.
func (k *RootKey) ID() string { return hex.EncodeToString(k.id[:]) }

// Wipe clears the key. Every later use returns ErrWiped (MAC: nothing that
// verifies).
func (k *RootKey) Wipe() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.key)
	clear(k.mac)
	k.aead, k.mac = nil, nil
}

// Seal seals plaintext for p under a fresh data key. The blob names the root
// key. plaintext is not kept.
func (k *RootKey) Seal(p Place, plaintext []byte) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.aead == nil {
		return nil, ErrWiped
	}
	var dek [KeySize]byte
	defer clear(dek[:])
	rand.Read(dek[:]) // never fails
	a, err := newAEAD(dek[:])
	if err != nil {
		return nil, err
	}
	blob := make([]byte, 0, len(plaintext)+Overhead)
	blob = append(blob, format)
	blob = append(blob, k.id[:]...)
	blob = seal(blob, k.aead, dek[:], aad("dek", k.id, p))
	return seal(blob, a, plaintext, aad("body", k.id, p)), nil
}

// Open opens a blob that was sealed for p under k and lends the plaintext to
// use, which must not keep it: it is wiped when use returns. ErrNotOpened, with
// use not called, when anything about blob or place differs from what was
// sealed. An error of use is returned as it is.
func (k *RootKey) Open(p Place, blob []byte, use func(plain []byte) error) error {
	plain, err := k.open(p, blob)
	defer clear(plain)
	if err != nil {
		return err
	}
	return use(plain)
}

func (k *RootKey) open(p Place, blob []byte) ([]byte, error) {
	id, err := parseBlob(blob)
	if err != nil {
		return nil, err
	}
	if id != k.id {
		return nil, fmt.Errorf("the record is sealed under another root key: %w", ErrNotOpened)
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.aead == nil {
		return nil, ErrWiped
	}
	wrapped, body := blob[headerSize:headerSize+wrappedSize], blob[headerSize+wrappedSize:]
	dek, err := k.aead.Open(nil, nil, wrapped, aad("dek", k.id, p))
	defer clear(dek)
	if err != nil {
		return nil, fmt.Errorf("the record's data key: %w", ErrNotOpened)
	}
	a, err := newAEAD(dek)
	if err != nil {
		return nil, err
	}
	plain, err := a.Open(nil, nil, body, aad("body", k.id, p))
	if err != nil {
		return nil, fmt.Errorf("the record: %w", ErrNotOpened)
	}
	return plain, nil
}

// BlobKeyID reads the id of the root key that a sealed record names. Nothing is
// authenticated by that.
func BlobKeyID(blob []byte) (string, error) {
	id, err := parseBlob(blob)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(id[:]), nil
}

func parseBlob(blob []byte) ([idSize]byte, error) {
	var id [idSize]byte
	switch {
	case len(blob) < Overhead:
		return id, fmt.Errorf("a sealed record has at least %d bytes, not %d: %w", Overhead, len(blob), ErrNotOpened)
	case blob[0] != format:
		return id, fmt.Errorf("a sealed record of format %d, which this version does not know: %w", blob[0], ErrNotOpened)
	}
	copy(id[:], blob[1:headerSize])
	return id, nil
}

// MAC authenticates a root's body.
func (k *RootKey) MAC(body []byte) []byte {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.mac == nil {
		return nil
	}
	h := hmac.New(sha256.New, k.mac)
	h.Write(body)
	return h.Sum(nil)
}

// CheckMAC says whether mac is that of body, in constant time.
func (k *RootKey) CheckMAC(body, mac []byte) bool {
	want := k.MAC(body)
	return want != nil && hmac.Equal(want, mac)
}

// SealKey seals key under kek. It is for KEKs that hold their key themselves.
func SealKey(kek, key, aad []byte) ([]byte, error) {
	a, err := newAEAD(kek)
	if err != nil {
		return nil, err
	}
	return seal(nil, a, key, aad), nil
}

// OpenKey opens what SealKey made; ErrNotOpened if kek or aad is another. The
// caller wipes the key.
func OpenKey(kek, sealed, aad []byte) ([]byte, error) {
	a, err := newAEAD(kek)
	if err != nil {
		return nil, err
	}
	key, err := a.Open(nil, nil, sealed, aad)
	if err != nil {
		return nil, ErrNotOpened
	}
	return key, nil
}

// seal appends to dst. The nonce is drawn by a, and is part of what it appends.
func seal(dst []byte, a cipher.AEAD, plaintext, aad []byte) []byte {
	return a.Seal(dst, nil, plaintext, aad) //nolint:gosec // G407: that there is none here is not a constant nonce
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("an AES-256 key has %d bytes, not %d", KeySize, len(key))
	}
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("preparing AES-256: %w", err)
	}
	a, err := cipher.NewGCMWithRandomNonce(b)
	if err != nil {
		return nil, fmt.Errorf("preparing AES-256-GCM: %w", err)
	}
	return a, nil
}
