package apple

import "crypto/ecdsa"

// Fingerprint identifies a key pair: "sha256:" and the lower-case hex of the SHA-256 of its SubjectPublicKeyInfo in DER.
type Fingerprint string

// FingerprintOf returns the fingerprint of a P-256 public key.
func FingerprintOf(pub *ecdsa.PublicKey) (Fingerprint, error) { panic("apple: not yet") }

// Key is a private key that is being imported.
type Key struct{}

// ParseKey reads a private key from a .p8 file or one of the shapes in which people hand it over.
func ParseKey(data []byte) (*Key, error) { panic("apple: not yet") }

// PKCS8 returns the canonical PKCS#8 DER of the key. The bytes are the caller's own, to wipe.
func (k *Key) PKCS8() []byte { panic("apple: not yet") }

// Public returns the public half.
func (k *Key) Public() *ecdsa.PublicKey { panic("apple: not yet") }

// Fingerprint returns the fingerprint of the public half.
func (k *Key) Fingerprint() Fingerprint { panic("apple: not yet") }

// Notes says what was odd about the file and was put right.
func (k *Key) Notes() []string { panic("apple: not yet") }

// SelfTest signs a random digest and verifies the signature.
func (k *Key) SelfTest() error { panic("apple: not yet") }

// Wipe overwrites the private key bytes.
func (k *Key) Wipe() { panic("apple: not yet") }
