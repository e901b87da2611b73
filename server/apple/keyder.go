package apple

import (
	"crypto/subtle"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Contents of the object identifiers that key files have.
const (
	oidECPublicKey = "\x2a\x86\x48\xce\x3d\x02\x01"
	oidP256        = "\x2a\x86\x48\xce\x3d\x03\x01\x07"
	oidP224        = "\x2b\x81\x04\x00\x21"
	oidP384        = "\x2b\x81\x04\x00\x22"
	oidP521        = "\x2b\x81\x04\x00\x23"
	oidSecp256k1   = "\x2b\x81\x04\x00\x0a"
	oidRSA         = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
	oidX25519      = "\x2b\x65\x6e"
	oidX448        = "\x2b\x65\x6f"
	oidEd25519     = "\x2b\x65\x70"
	oidEd448       = "\x2b\x65\x71"
)

const noteSEC1 = "the key was in SEC1 form (EC PRIVATE KEY), which is usual for Apple Ads, but not for a .p8 file of Apple; it was converted to PKCS#8"

var (
	errNotKey      = errors.New("the file holds something that is not a P-256 private key: give the .p8 file as Apple handed it out")
	errMalformed   = errors.New("the private key is malformed: copy the file again, whole and unchanged")
	errCutShort    = errors.New("the private key is cut short: copy the file again, whole")
	errMismatch    = errors.New("the key is damaged: its public part does not belong to its private part")
	errEncrypted   = errors.New("the private key is encrypted; Apple's never are: give the .p8 file as Apple handed it out, or decrypt it first (openssl pkcs8)")
	errPublicKey   = errors.New("the file holds a public key: the private key is needed, the .p8 file that Apple lets one download once")
	errCertificate = errors.New("the file holds a certificate: the private key is needed, the .p8 file that Apple lets one download once")
	errRSA         = errors.New("the key is an RSA key; Apple's .p8 keys are P-256")
	errNoCurve     = errors.New("the key does not say which curve it is on; Apple's .p8 keys say P-256")
)

// parsePrivateKey reads the DER of a private key on P-256, PKCS#8 or SEC1. It is strict: what it accepts is one whole
// value, and a public part that comes with the private one belongs to it.
func parsePrivateKey(der []byte) (*Key, error) {
	input, outer := cryptobyte.String(der), cryptobyte.String(nil)
	if !input.ReadASN1(&outer, asn1.SEQUENCE) {
		if isCutShort(der) {
			return nil, errCutShort
		}
		return nil, errNotKey
	}
	if !input.Empty() {
		return nil, errors.New("there is something after the private key: give a file with the key alone")
	}

	var version int
	rest := outer
	if !rest.ReadASN1Integer(&version) {
		return nil, refuseNoVersion(outer)
	}
	switch {
	case version == 3 && rest.PeekASN1Tag(asn1.SEQUENCE):
		return nil, errors.New("the file is a PKCS#12 container (.p12), which goes with a certificate: give the .p8 file as Apple handed it out")
	case rest.PeekASN1Tag(asn1.INTEGER):
		return nil, errRSA // PKCS#1; DSA's form begins likewise and is as useless
	case rest.PeekASN1Tag(asn1.OCTET_STRING):
		ec, err := readECPrivateKey(outer)
		if err != nil {
			return nil, err
		}
		if !ec.onP256 && ec.point == nil {
			return nil, errNoCurve
		}
		k, err := ec.key()
		if err != nil {
			return nil, err
		}
		k.notes = append(k.notes, noteSEC1)
		return k, nil
	}
	if version != 0 {
		return nil, errMalformed
	}
	return parsePKCS8(rest)
}

// isCutShort reports whether DER begins with a length that is longer than what follows.
func isCutShort(der []byte) bool {
	input := cryptobyte.String(der)
	var tag, length uint8
	if !input.ReadUint8(&tag) || asn1.Tag(tag) != asn1.SEQUENCE || !input.ReadUint8(&length) {
		return false
	}
	declared := int(length)
	if length >= 0x80 {
		var longer []byte
		if n := int(length & 0x7f); n < 1 || n > 2 || !input.ReadBytes(&longer, n) {
			return false
		}
		declared = 0
		for _, b := range longer {
			declared = declared<<8 | int(b)
		}
	}
	return len(input) < declared
}

// refuseNoVersion says what a SEQUENCE is that does not begin with a version, as private keys do.
func refuseNoVersion(s cryptobyte.String) error {
	switch {
	case !s.SkipASN1(asn1.SEQUENCE):
		return errNotKey
	case s.PeekASN1Tag(asn1.BIT_STRING):
		return errPublicKey // SubjectPublicKeyInfo
	case s.PeekASN1Tag(asn1.OCTET_STRING):
		return errEncrypted // EncryptedPrivateKeyInfo
	case s.PeekASN1Tag(asn1.SEQUENCE):
		return errCertificate
	}
	return errNotKey
}

// parsePKCS8 reads what follows the version of a PrivateKeyInfo.
func parsePKCS8(s cryptobyte.String) (*Key, error) {
	var algorithm, oid, inner, octets cryptobyte.String
	if !s.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) {
		return nil, errMalformed
	}
	switch string(oid) {
	case oidECPublicKey:
	case oidRSA:
		return nil, errRSA
	case oidEd25519, oidEd448, oidX25519, oidX448:
		return nil, errors.New("the key is an Ed25519 key or one of its kin; Apple's .p8 keys are P-256")
	default:
		return nil, errors.New("the key is of an algorithm that Apple's .p8 keys never are; they are P-256")
	}
	if err := checkCurve(algorithm); err != nil {
		return nil, err
	}
	if !s.ReadASN1(&octets, asn1.OCTET_STRING) || !octets.ReadASN1(&inner, asn1.SEQUENCE) || !octets.Empty() {
		return nil, errMalformed
	}
	// Attributes say what the key is for, and matter to no one here.
	if !s.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) || !s.Empty() {
		return nil, errMalformed
	}
	ec, err := readECPrivateKey(inner)
	if err != nil {
		return nil, err
	}
	return ec.key()
}

// checkCurve wants the name of P-256 and nothing after it.
func checkCurve(params cryptobyte.String) error {
	var oid cryptobyte.String
	switch {
	case params.Empty():
		return errNoCurve
	case params.PeekASN1Tag(asn1.SEQUENCE):
		return errors.New("the key spells its curve out as explicit parameters; Apple's .p8 keys name P-256: give the file as Apple handed it out")
	case !params.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) || !params.Empty():
		return errMalformed
	}
	switch string(oid) {
	case oidP256:
		return nil
	case oidP384:
		return errors.New("the key is on the curve P-384; Apple's .p8 keys are on P-256")
	case oidSecp256k1:
		return errors.New("the key is on the curve secp256k1; Apple's .p8 keys are on P-256, also called prime256v1 or secp256r1")
	case oidP224, oidP521:
		return errors.New("the key is on the curve P-224 or P-521; Apple's .p8 keys are on P-256")
	}
	return errors.New("the key is on a curve that is not P-256; Apple's .p8 keys are")
}

// ecPrivateKey is SEC1's ECPrivateKey. The slices are parts of the input.
type ecPrivateKey struct {
	scalar []byte
	point  []byte // nil: absent
	onP256 bool   // it says so
}

// readECPrivateKey reads the contents of an ECPrivateKey.
func readECPrivateKey(s cryptobyte.String) (ecPrivateKey, error) {
	var ec ecPrivateKey
	var version int
	var scalar, params, public cryptobyte.String
	var hasParams, hasPublic bool
	if !s.ReadASN1Integer(&version) || version != 1 ||
		!s.ReadASN1(&scalar, asn1.OCTET_STRING) ||
		!s.ReadOptionalASN1(&params, &hasParams, asn1.Tag(0).Constructed().ContextSpecific()) ||
		!s.ReadOptionalASN1(&public, &hasPublic, asn1.Tag(1).Constructed().ContextSpecific()) ||
		!s.Empty() {
		return ec, errMalformed
	}
	ec.scalar = scalar
	if hasParams {
		if err := checkCurve(params); err != nil {
			return ec, err
		}
		ec.onP256 = true
	}
	if hasPublic && (!public.ReadASN1BitStringAsBytes(&ec.point) || !public.Empty()) {
		return ec, errMalformed
	}
	return ec, nil
}

// key makes the Key, on P-256, and checks that the public point, if there is one, is its.
func (ec ecPrivateKey) key() (*Key, error) {
	// Some writers drop leading zeros, some pad with them.
	digits := ec.scalar
	for len(digits) > scalarLen && digits[0] == 0 {
		digits = digits[1:]
	}
	if len(digits) > scalarLen {
		return nil, errMalformed
	}
	var scalar [scalarLen]byte
	defer clear(scalar[:])
	copy(scalar[scalarLen-len(digits):], digits)
	k, err := newKey(&scalar)
	if err != nil {
		return nil, err
	}
	if ec.point != nil && !isPoint(ec.point, k.point()) {
		k.Wipe()
		return nil, errMismatch
	}
	return k, nil
}

// isPoint reports whether encoded is the point, given uncompressed, in its uncompressed or compressed form.
func isPoint(encoded, point []byte) bool {
	if len(encoded) == pointLen {
		return subtle.ConstantTimeCompare(encoded, point) == 1
	}
	compressed := append([]byte{2 + point[pointLen-1]&1}, point[1:][:32]...)
	return subtle.ConstantTimeCompare(encoded, compressed) == 1
}
