package apple

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
)

// Fingerprint identifies a key pair: "sha256:" and the lower-case hex of the SHA-256 of its SubjectPublicKeyInfo in DER.
type Fingerprint string

// FingerprintOf returns the fingerprint of a P-256 public key; the error says that it is not one.
func FingerprintOf(pub *ecdsa.PublicKey) (Fingerprint, error) {
	if !isP256(pub) {
		return "", errNotP256
	}
	point, err := pub.Bytes()
	if err != nil {
		return "", fmt.Errorf("fingerprinting a public key: %w", err)
	}
	return fingerprintOf(point), nil
}

func fingerprintOf(point []byte) Fingerprint {
	sum := sha256.Sum256(append([]byte(spkiHead), point...))
	return Fingerprint("sha256:" + hex.EncodeToString(sum[:]))
}

// spkiHead comes before the uncompressed point in a SubjectPublicKeyInfo of P-256.
const spkiHead = "\x30\x59\x30\x13\x06\x07" + oidECPublicKey + "\x06\x08" + oidP256 + "\x03\x42\x00"

// Key is a private key on its way from a file, or from its making, into the vault: on P-256, and its public half was computed from its
// private half. It may be read concurrently, but not while it is wiped.
type Key struct {
	der         [pkcs8Len]byte
	public      *ecdsa.PublicKey
	fingerprint Fingerprint
	notes       []string
}

// The canonical PKCS#8 form is what OpenSSL and Go write: version 0, id-ecPublicKey, prime256v1, and an ECPrivateKey of
// version 1 that holds the public point and does not name the curve a second time.
const (
	pkcs8Head = "\x30\x81\x87\x02\x01\x00" +
		"\x30\x13\x06\x07" + oidECPublicKey + "\x06\x08" + oidP256 +
		"\x04\x6d\x30\x6b\x02\x01\x01\x04\x20"
	pkcs8Middle = "\xa1\x44\x03\x42\x00"

	scalarLen = 32
	pointLen  = 1 + 2*32 // uncompressed
	pkcs8Len  = len(pkcs8Head) + scalarLen + len(pkcs8Middle) + pointLen
)

// newKey makes the Key of a private number, which stays the caller's, and refuses one that is out of range.
func newKey(scalar *[scalarLen]byte) (*Key, error) {
	public, point, err := publicHalf(scalar)
	if err != nil {
		return nil, errors.New("the key is damaged: its private number is not one that P-256 has")
	}
	k := &Key{public: public, fingerprint: fingerprintOf(point)}
	b := append(k.der[:0], pkcs8Head...)
	b = append(b, scalar[:]...)
	b = append(b, pkcs8Middle...)
	_ = append(b, point...)
	return k, nil
}

// publicHalf computes the public half of a private number, as a key and as an uncompressed point.
func publicHalf(scalar *[scalarLen]byte) (*ecdsa.PublicKey, []byte, error) {
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:])
	if err != nil {
		return nil, nil, err
	}
	defer wipePrivate(private)
	public := private.PublicKey // a copy, so as not to keep the private half alive
	point, err := public.Bytes()
	return &public, point, err
}

// GenerateKey draws a new key.
func GenerateKey() (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("drawing a key: %w", err)
	}
	defer wipePrivate(private)
	drawn, err := private.Bytes()
	if err != nil {
		return nil, fmt.Errorf("drawing a key: %w", err)
	}
	defer clear(drawn)
	scalar := [scalarLen]byte(drawn)
	defer clear(scalar[:])
	return newKey(&scalar)
}

func (k *Key) scalar() []byte { return k.der[len(pkcs8Head):][:scalarLen] }

func (k *Key) point() []byte { return k.der[pkcs8Len-pointLen:] }

// PKCS8 returns the canonical PKCS#8 DER of the key, the same for every shape of file: 138 bytes, the caller's own, to
// be wiped. After Wipe it is all zeros.
func (k *Key) PKCS8() []byte { return slices.Clone(k.der[:]) }

// Public returns the public half, which stays good after Wipe. It is shared: do not change it.
func (k *Key) Public() *ecdsa.PublicKey { return k.public }

// Fingerprint returns the fingerprint of the public half.
func (k *Key) Fingerprint() Fingerprint { return k.fingerprint }

// Notes says what was unusual about the file and was put right, a sentence each, for whoever imports it. It holds
// nothing of the file's contents.
func (k *Key) Notes() []string { return slices.Clone(k.notes) }

// SEC1 says whether the key came in the form of which Apple tells its customers to make keys, and in which it hands out none.
func (k *Key) SEC1() bool { return slices.Contains(k.notes, noteSEC1) }

// Format writes the fingerprint, whatever the verb: the private number is not to be printed by mistake.
func (k Key) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "private key "+string(k.fingerprint))
}

// LogValue is what Format writes.
func (k Key) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(k)) }

// SelfTest signs a random text as Mint does and verifies the signature with other code and the public half.
func (k *Key) SelfTest() error {
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), k.scalar())
	if err != nil {
		return errors.New("testing the key: there is no private number in it (any more)")
	}
	defer wipePrivate(private)
	text := rand.Text()
	sig, err := es256{}.Sign(text, private)
	if err == nil {
		err = es256{}.Verify(text, sig, k.public)
	}
	if err != nil {
		return fmt.Errorf("testing the key: %w", err)
	}
	return nil
}

// Wipe overwrites the private key bytes. What Go's own packages copied meanwhile is left to the collector.
func (k *Key) Wipe() { clear(k.der[:]) }

// wipePrivate overwrites the private number of a key of crypto/ecdsa that nobody uses any more.
func wipePrivate(key *ecdsa.PrivateKey) {
	clear(key.D.Bits()) //nolint:staticcheck // D is deprecated for making keys; there is no other way to wipe one
}
