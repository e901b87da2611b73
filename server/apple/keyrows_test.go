package apple

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"unicode/utf16"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// The key of these tests. Its number is the SHA-256 of a sentence: nobody's.
var (
	testScalar = sha256.Sum256([]byte("the private key of Signet's tests, which signs for nobody"))
	testKey    = mustKey(testScalar[:])
	testPoint  = must(testKey.PublicKey.Bytes())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func mustKey(scalar []byte) *ecdsa.PrivateKey {
	return must(ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar))
}

// keyShape describes a key in DER with everything about it that a test may want to get wrong.
type keyShape struct {
	algorithm string                    // OID of the algorithm; empty: SEC1 alone, without PKCS#8 around it
	outer     func(*cryptobyte.Builder) // parameters of the algorithm
	inner     func(*cryptobyte.Builder) // parameters in the ECPrivateKey; nil: none
	scalar    []byte
	point     []byte // nil: none
	after     func(*cryptobyte.Builder)
}

func curve(oid string) func(*cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(oid)) })
	}
}

// explicitP256 spells P-256 out, as openssl's -param_enc explicit does (without the seed).
func explicitP256(b *cryptobyte.Builder) {
	p := elliptic.P256().Params()
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte("\x2a\x86\x48\xce\x3d\x01\x01")) })
			b.AddASN1BigInt(p.P)
		})
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1OctetString(new(big.Int).Sub(p.P, big.NewInt(3)).Bytes())
			b.AddASN1OctetString(p.B.Bytes())
		})
		b.AddASN1OctetString(append([]byte{4}, append(p.Gx.FillBytes(make([]byte, 32)), p.Gy.FillBytes(make([]byte, 32))...)...))
		b.AddASN1BigInt(p.N)
		b.AddASN1Int64(1)
	})
}

func (s keyShape) ecPrivateKey(b *cryptobyte.Builder) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1OctetString(s.scalar)
		if s.inner != nil {
			b.AddASN1(asn1.Tag(0).Constructed().ContextSpecific(), s.inner)
		}
		if s.point != nil {
			b.AddASN1(asn1.Tag(1).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddASN1BitString(s.point) })
		}
	})
}

func (s keyShape) der() []byte {
	var b cryptobyte.Builder
	if s.algorithm == "" {
		s.ecPrivateKey(&b)
		return b.BytesOrPanic()
	}
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			curve(s.algorithm)(b)
			if s.outer != nil {
				s.outer(b)
			}
		})
		b.AddASN1(asn1.OCTET_STRING, s.ecPrivateKey)
		if s.after != nil {
			s.after(b)
		}
	})
	return b.BytesOrPanic()
}

// The two PKCS#8 forms, and SEC1's.
var (
	shapeApple = keyShape{algorithm: oidECPublicKey, outer: curve(oidP256), inner: curve(oidP256), scalar: testScalar[:], point: testPoint}
	shapeShort = keyShape{algorithm: oidECPublicKey, outer: curve(oidP256), scalar: testScalar[:], point: testPoint}
	shapeSEC1  = keyShape{inner: curve(oidP256), scalar: testScalar[:], point: testPoint}
)

func (s keyShape) with(change func(*keyShape)) []byte {
	change(&s)
	return s.der()
}

func encode(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}

func sequence(parts ...func(*cryptobyte.Builder)) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, part := range parts {
			part(b)
		}
	})
	return b.BytesOrPanic()
}

func raw(der []byte) func(*cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) { b.AddBytes(der) }
}

func octets(data string) func(*cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) { b.AddASN1OctetString([]byte(data)) }
}

func number(n int64) func(*cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) { b.AddASN1Int64(n) }
}

// keyRow is one shape of file: what it is, and the words of its error or the notes of its key.
type keyRow struct {
	name  string
	data  []byte
	want  string // the error; empty: accepted
	notes []string
}

// keyRows has every row of the table of malformations and more. Every error that ParseKey has is in it.
func keyRows(t testing.TB) []keyRow {
	t.Helper()
	apple := encode("PRIVATE KEY", shapeApple.der())
	short := encode("PRIVATE KEY", shapeShort.der())
	sec1 := encode("EC PRIVATE KEY", shapeSEC1.der())
	text := strings.TrimSpace(string(apple))
	body := strings.TrimSuffix(strings.TrimPrefix(text, "-----BEGIN PRIVATE KEY-----\n"), "\n-----END PRIVATE KEY-----")
	replace := func(old, new string) []byte { return []byte(strings.ReplaceAll(text, old, new)) }

	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := sha256.Sum256([]byte("another"))
	otherPoint := must(mustKey(other[:]).PublicKey.Bytes())
	spki := must(x509.MarshalPKIXPublicKey(&testKey.PublicKey))
	utf16File := func(bom bool, order func(uint16) []byte) []byte {
		var b []byte
		if bom {
			b = order(0xfeff)
		}
		for _, u := range utf16.Encode([]rune(text)) {
			b = append(b, order(u)...)
		}
		return b
	}
	little := func(u uint16) []byte { return []byte{byte(u), byte(u >> 8)} }
	big := func(u uint16) []byte { return []byte{byte(u >> 8), byte(u)} }
	urlSafe := []byte(strings.Replace(text, body, strings.NewReplacer("+", "-", "/", "_").Replace(body), 1))
	if !strings.ContainsAny(body, "+/") {
		t.Fatal("the test key's base64 is the same in both alphabets")
	}

	const (
		damagedBegin = "the BEGIN line is damaged: it is -----BEGIN PRIVATE KEY-----, five dashes on each side; copy the file again, whole"
		damagedEnd   = "the END line is missing or damaged: it is -----END PRIVATE KEY-----, five dashes on each side; copy the file again, whole"
		noKey        = "no private key found: a .p8 file begins with -----BEGIN PRIVATE KEY-----"
		notBase64    = "the private key has a character that base64 does not have: copy the file again, unchanged"
		inUTF16      = "the file is in UTF-16: save it as UTF-8 or plain ASCII, or give the .p8 file as Apple handed it out"
		cutShort     = "the private key is cut short: copy the file again, whole"
		malformed    = "the private key is malformed: copy the file again, whole and unchanged"
		twoKeys      = "the file holds more than one private key: give one file for each"
		twoBlocks    = "the file holds something beside the private key (a certificate or a public key): give a file with the key alone"
		encrypted    = "the private key is encrypted; Apple's never are: give the .p8 file as Apple handed it out, or decrypt it first (openssl pkcs8)"
		onP384       = "the key is on the curve P-384; Apple's .p8 keys are on P-256"
		onSecp256k1  = "the key is on the curve secp256k1; Apple's .p8 keys are on P-256, also called prime256v1 or secp256r1"
		explicit     = "the key spells its curve out as explicit parameters; Apple's .p8 keys name P-256: give the file as Apple handed it out"
		isRSA        = "the key is an RSA key; Apple's .p8 keys are P-256"
		isEd25519    = "the key is an Ed25519 key or one of its kin; Apple's .p8 keys are P-256"
		isPublic     = "the file holds a public key: the private key is needed, the .p8 file that Apple lets one download once"
		isCert       = "the file holds a certificate: the private key is needed, the .p8 file that Apple lets one download once"
		noCurve      = "the key does not say which curve it is on; Apple's .p8 keys say P-256"
		mismatch     = "the key is damaged: its public part does not belong to its private part"
		outOfRange   = "the key is damaged: its private number is not one that P-256 has"
		something    = "the file holds something that is not a P-256 private key: give the .p8 file as Apple handed it out"
		trailing     = "there is something after the private key: give a file with the key alone"
	)
	converted := []string{noteSEC1}

	return []keyRow{
		{name: "as Apple hands it out", data: []byte(text)},
		{name: "as OpenSSL and Go write it", data: short},

		// The table.
		{name: "CRLF line ends", data: replace("\n", "\r\n")},
		{name: "no trailing newline", data: []byte(text)},
		{name: "UTF-8 BOM first", data: []byte("\uFEFF" + text)},
		{name: "UTF-16, little endian", data: utf16File(true, little), want: inUTF16},
		{name: "UTF-16, big endian", data: utf16File(true, big), want: inUTF16},
		{name: "UTF-16, little endian, no BOM", data: utf16File(false, little), want: inUTF16},
		{name: "UTF-16, big endian, no BOM", data: utf16File(false, big), want: inUTF16},
		{name: `literal \n in one line`, data: replace("\n", `\n`)},
		{name: `literal \r\n in one line`, data: replace("\n", `\r\n`)},
		{name: `literal \\n in one line`, data: replace("\n", `\\n`)},
		{name: `literal \n inside quotes`, data: []byte(`"` + string(replace("\n", `\n`)) + `\n"`)},
		{name: "inside single quotes", data: []byte("'" + text + "'\n")},
		{name: `slashes escaped, as JSON may`, data: replace("/", `\/`)},
		{name: "newlines turned into spaces", data: replace("\n", " ")},
		{name: "body on one long line", data: []byte("-----BEGIN PRIVATE KEY-----\n" + strings.ReplaceAll(body, "\n", "") + "\n-----END PRIVATE KEY-----\n")},
		{name: "body only, wrapped", data: []byte(body + "\n")},
		{name: "body only, on one line", data: []byte(strings.ReplaceAll(body, "\n", ""))},
		{name: "body only, of the short form", data: []byte(base64.StdEncoding.EncodeToString(shapeShort.der()))},
		{name: "body only, without padding", data: []byte(base64.RawStdEncoding.EncodeToString(shapeShort.with(func(s *keyShape) { s.point = nil })))},
		{name: "base64 of the whole PEM", data: []byte(base64.StdEncoding.EncodeToString(apple))},
		{name: "base64 of the whole PEM, wrapped and with CRLF inside", data: []byte(wrap(base64.StdEncoding.EncodeToString(replace("\n", "\r\n"))))},
		{name: "base64 of the whole PEM in UTF-16", data: []byte(base64.StdEncoding.EncodeToString(utf16File(true, little))), want: inUTF16},
		{name: "indented lines", data: replace("\n", "\n    ")},
		{name: "four dashes", data: replace("-----", "----"), want: damagedBegin},
		{name: "four dashes before BEGIN", data: replace("-----BEGIN", "----BEGIN"), want: damagedBegin},
		{name: "four dashes after BEGIN", data: replace("KEY-----\n", "KEY----\n"), want: damagedBegin},
		{name: "four dashes before END", data: replace("-----END", "----END"), want: damagedEnd},
		{name: "four dashes after END", data: []byte(text[:len(text)-1]), want: damagedEnd},
		{name: "dashes turned into long ones", data: replace("-----", "\u2014\u2013"), want: damagedBegin},
		{name: "no dashes", data: replace("-----", ""), want: damagedBegin},
		{name: "truncated in the BEGIN line", data: []byte(text[:20]), want: damagedBegin},
		{name: "truncated in the body", data: []byte(text[:100]), want: damagedEnd},
		{name: "truncated in the END line", data: []byte(text[:len(text)-12]), want: damagedEnd},
		{name: "the top missing", data: []byte(text[60:]), want: damagedBegin},
		{name: "a line of the body missing", data: []byte(strings.Join(append(strings.Split(text, "\n")[:2], strings.Split(text, "\n")[3:]...), "\n")), want: cutShort},
		{name: "a character of the body missing", data: []byte(text[:60] + text[61:]), want: cutShort},
		{name: "body only, truncated by a line", data: []byte(body[:130]), want: cutShort},
		{name: "body only, truncated by a character", data: []byte(strings.TrimRight(body, "=\n")[:197]), want: cutShort},
		{name: "url-safe base64 body", data: urlSafe, notes: []string{noteURLSafe}},
		{name: "leading text (Bag Attributes)", data: []byte("Bag Attributes\n    friendlyName: Clé\n    localKeyID: 54 69\nKey Attributes: <No Attributes>\n" + text)},
		{name: "trailing text", data: []byte(text + "\nkeep this safe\n")},
		{name: "in a shell's assignment", data: []byte(`export KEY="` + text + `"`)},
		{name: "two keys", data: append(bytes.Clone(apple), encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(mustKey(other[:]))))...), want: twoKeys},
		{name: "the same key twice", data: append(bytes.Clone(apple), apple...), want: twoKeys},
		{name: "two keys, one in SEC1", data: append(bytes.Clone(apple), sec1...), want: twoKeys},
		{name: "two keys, one encrypted", data: append(bytes.Clone(apple), encode("ENCRYPTED PRIVATE KEY", []byte("x"))...), want: twoKeys},
		{name: "two keys, the second with four dashes", data: append(bytes.Clone(apple), replace("-----", "----")...), want: twoBlocks},
		{name: "two keys, the first without END", data: append([]byte(text[:100]+"\n"), apple...), want: damagedEnd},
		{name: "a key and a certificate", data: append(bytes.Clone(apple), encode("CERTIFICATE", spki)...), want: twoBlocks},
		{name: "a key and its public key", data: append(encode("PUBLIC KEY", spki), apple...), want: twoBlocks},
		{name: "SEC1 EC PRIVATE KEY", data: sec1, notes: converted},
		{name: "EC PARAMETERS and SEC1", data: append(encode("EC PARAMETERS", []byte("\x06\x08"+oidP256)), sec1...), notes: converted},
		{name: "EC PARAMETERS alone", data: encode("EC PARAMETERS", []byte("\x06\x08"+oidP256)), want: "the file holds the parameters of a curve and no key: give the .p8 file as Apple handed it out"},
		{name: "SEC1 body under PRIVATE KEY label", data: encode("PRIVATE KEY", shapeSEC1.der()), notes: converted},
		{name: "PKCS#8 body under EC PRIVATE KEY label", data: encode("EC PRIVATE KEY", shapeApple.der())},
		{name: "SEC1 without the curve's name, but with the public key", data: encode("EC PRIVATE KEY", shapeSEC1.with(func(s *keyShape) { s.inner = nil })), notes: converted},
		{name: "SEC1 without the curve's name and public key", data: encode("EC PRIVATE KEY", shapeSEC1.with(func(s *keyShape) { s.inner, s.point = nil, nil })), want: noCurve},
		{name: "SEC1 of P-384", data: encode("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p384))), want: onP384},
		{name: "SEC1, encrypted", data: []byte(strings.Replace(string(sec1), "KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1)), want: encrypted},
		{name: "ENCRYPTED PRIVATE KEY", data: encode("ENCRYPTED PRIVATE KEY", sequence(raw(sequence(curve("\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d"))), octets("sealed"))), want: encrypted},
		{name: "encrypted under PRIVATE KEY label", data: encode("PRIVATE KEY", sequence(raw(sequence(curve("\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d"))), octets("sealed"))), want: encrypted},
		{name: "P-384", data: encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(p384))), want: onP384},
		{name: "P-224", data: encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))))), want: "the key is on the curve P-224 or P-521; Apple's .p8 keys are on P-256"},
		{name: "P-521", data: encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))))), want: "the key is on the curve P-224 or P-521; Apple's .p8 keys are on P-256"},
		{name: "secp256k1", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.outer = curve(oidSecp256k1) })), want: onSecp256k1},
		{name: "secp256k1 in SEC1", data: encode("EC PRIVATE KEY", shapeSEC1.with(func(s *keyShape) { s.inner = curve(oidSecp256k1) })), want: onSecp256k1},
		{name: "brainpoolP256r1", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.outer = curve("\x2b\x24\x03\x03\x02\x08\x01\x01\x07") })), want: "the key is on a curve that is not P-256; Apple's .p8 keys are"},
		{name: "P-256 outside, P-384 inside", data: encode("PRIVATE KEY", shapeApple.with(func(s *keyShape) { s.inner = curve(oidP384) })), want: onP384},
		{name: "explicit curve parameters", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.outer = explicitP256 })), want: explicit},
		{name: "explicit curve parameters in SEC1", data: encode("EC PRIVATE KEY", shapeSEC1.with(func(s *keyShape) { s.inner = explicitP256 })), want: explicit},
		{name: "no curve", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.outer = nil })), want: noCurve},
		{name: "RSA", data: encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey))), want: isRSA},
		{name: "RSA PRIVATE KEY", data: encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), want: isRSA},
		{name: "RSA, PKCS#1 under PRIVATE KEY label", data: encode("PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), want: isRSA},
		{name: "Ed25519", data: encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(edKey))), want: isEd25519},
		{name: "some other algorithm", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.algorithm = "\x2a\x03" })), want: "the key is of an algorithm that Apple's .p8 keys never are; they are P-256"},
		{name: "PKCS#8 without embedded public key", data: encode("PRIVATE KEY", shapeApple.with(func(s *keyShape) { s.point = nil }))},
		{name: "public key pasted", data: encode("PUBLIC KEY", spki), want: isPublic},
		{name: "public key under PRIVATE KEY label", data: encode("PRIVATE KEY", spki), want: isPublic},
		{name: "public key in DER", data: spki, want: isPublic},
		{name: "DER bytes", data: shapeApple.der()},
		{name: "DER bytes of the short form", data: shapeShort.der()},
		{name: "DER bytes of SEC1", data: shapeSEC1.der(), notes: converted},

		// Files that are something else.
		{name: "nothing", data: nil, want: "the file is empty"},
		{name: "white space", data: []byte(" \r\n\t"), want: "the file is empty"},
		{name: "too large", data: append(bytes.Clone(apple), make([]byte, MaxKeyFileLen)...), want: "the file is larger than 16 KiB; Apple's .p8 files have some 257 bytes"},
		{name: "words", data: []byte("the key is in the safe"), want: noKey},
		{name: "words of which four make base64", data: []byte("good luck with this key now"), want: noKey},
		{name: "base64 of words", data: []byte(base64.StdEncoding.EncodeToString([]byte("the key is in the safe"))), want: noKey},
		{name: "base64 of base64 of the file", data: []byte(base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString(apple)))), want: noKey},
		{name: "base64 of a picture", data: []byte(base64.StdEncoding.EncodeToString([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"))), want: noKey},
		{name: "base64 of nothing", data: []byte("=="), want: "the file is empty"},
		{name: "binary", data: []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"), want: "the file is binary and not a private key in DER: give the .p8 file as Apple handed it out"},
		{name: "zeros", data: make([]byte, 257), want: "the file is binary and not a private key in DER: give the .p8 file as Apple handed it out"},
		{name: "one byte", data: []byte("-"), want: noKey},
		{name: "fastlane's JSON", data: []byte(`{"key_id":"D383SF739","key":"` + string(replace("\n", `\n`)) + `"}`), want: `the file is JSON: give the .p8 file, or the text of its "key" alone, and the IDs beside it as facts`},
		{name: "a certificate", data: encode("CERTIFICATE", sequence(raw(sequence(number(2))), raw(sequence()))), want: isCert},
		{name: "a certificate in DER", data: sequence(raw(sequence(number(2))), raw(sequence())), want: isCert},
		{name: "an OpenSSH key", data: encode("OPENSSH PRIVATE KEY", []byte("openssh-key-v1\x00")), want: "the file holds an OpenSSH key: give the .p8 file as Apple handed it out"},
		{name: "a PKCS#12 container", data: sequence(number(3), raw(sequence())), want: "the file is a PKCS#12 container (.p12), which goes with a certificate: give the .p8 file as Apple handed it out"},
		{name: "a DSA key", data: encode("DSA PRIVATE KEY", sequence(number(0), number(1), number(1))), want: something},
		{name: "another PEM block", data: encode("X509 CRL", spki), want: something},
		{name: "another DER value", data: []byte("\x30\x80\x01\x01"), want: something},
		{name: "a sequence of nothing known", data: sequence(octets("a")), want: something},
		{name: "a sequence of a sequence alone", data: sequence(raw(sequence(number(1)))), want: something},
		{name: "a long length cut short", data: []byte("\x30\x82\x01"), want: something},

		// Damage within.
		{name: "a character that base64 does not have", data: []byte(text[:60] + "!" + text[61:]), want: notBase64},
		{name: "the END label of another block", data: replace("END PRIVATE KEY", "END EC PRIVATE KEY"), want: damagedEnd},
		{name: "DER cut short", data: shapeApple.der()[:149], want: cutShort},
		{name: "short DER cut short", data: shapeShort.with(func(s *keyShape) { s.point = nil })[:60], want: cutShort},
		{name: "something after the DER", data: append(shapeApple.der(), '\n'), want: trailing},
		{name: "another key's public part", data: encode("PRIVATE KEY", shapeApple.with(func(s *keyShape) { s.point = otherPoint })), want: mismatch},
		{name: "another key's public part in SEC1", data: encode("EC PRIVATE KEY", shapeSEC1.with(func(s *keyShape) { s.point = otherPoint })), want: mismatch},
		{name: "compressed public part", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.point = compressed(testPoint) }))},
		{name: "another key's compressed public part", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.point = compressed(otherPoint) })), want: mismatch},
		{name: "a public part of no bytes", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.point = []byte{} })), want: mismatch},
		{name: "private number padded", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.scalar = append([]byte{0, 0}, s.scalar...) }))},
		{name: "private number too long", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.scalar = append([]byte{1}, s.scalar...) })), want: malformed},
		{name: "private number zero", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.scalar = make([]byte, 32) })), want: outOfRange},
		{name: "private number above the order", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.scalar = bytes.Repeat([]byte{0xff}, 32) })), want: outOfRange},
		{name: "attributes", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) {
			s.after = func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.Tag(0).Constructed().ContextSpecific(), raw(sequence(number(1))))
			}
		}))},
		{name: "something after the attributes", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.after = number(1) })), want: malformed},
		{name: "no algorithm", data: sequence(number(0), raw(sequence())), want: malformed},
		{name: "no key in PKCS#8", data: sequence(number(0), raw(sequence(curve(oidECPublicKey), curve(oidP256)))), want: malformed},
		{name: "a curve that is no OID", data: encode("PRIVATE KEY", shapeShort.with(func(s *keyShape) { s.outer = number(5) })), want: malformed},
		{name: "PKCS#8 of version 2", data: append([]byte("\x30\x81\x87\x02\x01\x02"), shapeShort.der()[6:]...), want: malformed},
		{name: "ECPrivateKey of version 2", data: sequence(number(2), octets("a")), want: malformed},
		{name: "ECPrivateKey in PKCS#8 of version 2", data: sequence(number(0), raw(sequence(curve(oidECPublicKey), curve(oidP256))), octets(string(sequence(number(2), octets("a"))))), want: malformed},
		{name: "a public part that is no bit string", data: sequence(number(1), octets(string(testScalar[:])), raw([]byte("\xa1\x02\x04\x00"))), want: malformed},
	}
}

func compressed(point []byte) []byte {
	return elliptic.MarshalCompressed(elliptic.P256(), new(big.Int).SetBytes(point[1:33]), new(big.Int).SetBytes(point[33:]))
}

func wrap(s string) string {
	var b strings.Builder
	for len(s) > 76 {
		b.WriteString(s[:76] + "\n")
		s = s[76:]
	}
	return b.String() + s + "\n"
}
