package apple

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// es256 is the signature of every token: ECDSA over P-256 and SHA-256. It differs from golang-jwt's ES256 in that it
// signs with a crypto.Signer and needs no private key.
type es256 struct {
	rfc6979 bool // the signature follows from key and text; else it is randomized
}

var _ jwt.SigningMethod = es256{}

// Alg returns the name of the algorithm in a token's header.
func (es256) Alg() string { return "ES256" }

// Sign signs with key, a crypto.Signer with a P-256 key, and returns the 64 bytes r‖s. The signature is randomized, but for
// RFC 6979's, so that no two tokens are alike: two callers who mint the same within one second hold tokens that the log tells apart.
func (m es256) Sign(signingInput string, key any) ([]byte, error) {
	return m.signRaw([]byte(signingInput), key)
}

// signRaw is Sign of bytes.
func (m es256) signRaw(signingInput []byte, key any) ([]byte, error) {
	der, err := m.signASN1(signingInput, key)
	if err != nil {
		return nil, err
	}
	return rawSignature(der)
}

// signASN1 is Sign of bytes, and returns the signature as X.509 writes it.
func (m es256) signASN1(signingInput []byte, key any) ([]byte, error) {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("signing ES256: the key is not a crypto.Signer")
	}
	if pub, ok := signer.Public().(*ecdsa.PublicKey); !ok || !isP256(pub) {
		return nil, errNotP256
	}
	random := rand.Reader
	if m.rfc6979 {
		random = nil
	}
	digest := sha256.Sum256(signingInput)
	der, err := signer.Sign(random, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing ES256: %w", err)
	}
	return der, nil
}

// Verify checks a signature with golang-jwt's own code, which shares nothing with Sign.
func (es256) Verify(signingInput string, sig []byte, key any) error {
	return jwt.SigningMethodES256.Verify(signingInput, sig, key)
}

// signatureLen is the length of r‖s.
const signatureLen = 64

var errNotP256 = errors.New("the key is not an ECDSA key on the curve P-256")

func isP256(pub *ecdsa.PublicKey) bool { return pub != nil && pub.Curve == elliptic.P256() }

// rawSignature turns the ASN.1 signature of a crypto.Signer into JWS's: r and s, 32 bytes each, leading zeros kept.
func rawSignature(der []byte) ([]byte, error) {
	input, inner := cryptobyte.String(der), cryptobyte.String(nil)
	var r, s []byte
	if !input.ReadASN1(&inner, asn1.SEQUENCE) || !input.Empty() ||
		!inner.ReadASN1Integer(&r) || !inner.ReadASN1Integer(&s) || !inner.Empty() ||
		len(r) > signatureLen/2 || len(s) > signatureLen/2 {
		return nil, errors.New("signing ES256: the signer returned something other than an ASN.1 signature of P-256")
	}
	raw := make([]byte, signatureLen)
	copy(raw[signatureLen/2-len(r):], r)
	copy(raw[signatureLen-len(s):], s)
	return raw, nil
}
