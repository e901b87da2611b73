package auditlog

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
)

// forms are the ways in which a key gets pasted where it does not belong.
func forms(t testing.TB) map[string]string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p8 := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	ec := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}))
	body := strings.Join(strings.Split(p8, "\n")[1:4], "\n")
	std, urlsafe := base64.StdEncoding, base64.URLEncoding
	short := append([]byte{0x30, 0x25, 2, 1, 1, 4, 0x20}, raw...) // SEC 1 without its optional parts
	m := map[string]string{
		"p8": p8, "ec": ec, "p8 on one line": strings.ReplaceAll(p8, "\n", " "), "p8 escaped": strings.ReplaceAll(p8, "\n", `\n`),
		"p8 escaped twice": strings.ReplaceAll(p8, "\n", `\\n`), "p8 CRLF": strings.ReplaceAll(p8, "\n", "\r\n"),
		"p8 without newlines": strings.ReplaceAll(p8, "\n", ""), "p8 cut at the end": p8[:80], "p8 cut at the start": p8[60:],
		"body": body, "body on one line": strings.ReplaceAll(body, "\n", ""), "body escaped": strings.ReplaceAll(body, "\n", `\n`),
		"body indented": strings.ReplaceAll(body, "\n", "\n    "), "body in words": "the key is " + strings.ReplaceAll(body, "\n", "") + " thanks",
		"body quoted": `"` + strings.ReplaceAll(body, "\n", "\",\n\"") + `"`, "body percent": url.QueryEscape(body),
		"pkcs8 base64": std.EncodeToString(pkcs8), "pkcs8 base64url": urlsafe.EncodeToString(pkcs8), "pkcs8 raw": base64.RawURLEncoding.EncodeToString(pkcs8),
		"sec1 base64": std.EncodeToString(sec1), "sec1 base64url": urlsafe.EncodeToString(sec1), "sec1 short": std.EncodeToString(short),
		"pkcs8 hex": hex.EncodeToString(pkcs8), "pkcs8 HEX": strings.ToUpper(hex.EncodeToString(pkcs8)), "sec1 hex": hex.EncodeToString(sec1),
		"pkcs8 hex dump": colons(pkcs8, ":"), "pkcs8 hex spaced": colons(pkcs8, " "), "pkcs8 C": "0x" + colons(pkcs8, ", 0x"),
		"base64 of p8": std.EncodeToString([]byte(p8)), "base64url of p8": urlsafe.EncodeToString([]byte(p8)), "base64 of ec": std.EncodeToString([]byte(ec)),
		"base64 of json": std.EncodeToString([]byte(fmt.Sprintf(`{"key":%q}`, p8))), "base64 of body": std.EncodeToString([]byte(body)),
		"base64 of base64": std.EncodeToString([]byte(std.EncodeToString(pkcs8))), "hex of p8": hex.EncodeToString([]byte(p8)),
		"pkcs8 DER": string(pkcs8), "sec1 DER": string(sec1),
		"jwk": fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":"%s","y":"%s","d":"%s"}`, b64(key.X), b64(key.Y), b64(new(big.Int).SetBytes(raw))),
	}
	quoted, err := json.Marshal(map[string]string{"p8": p8})
	if err != nil {
		t.Fatal(err)
	}
	m["json"] = string(quoted)
	m["data URL"] = "data:application/x-pem-file;base64," + std.EncodeToString([]byte(p8))
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaDER, err := x509.MarshalPKCS8PrivateKey(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	m["rsa"] = std.EncodeToString(rsaDER)
	for i := range 4 { // every alignment within other base64
		m[fmt.Sprintf("inside %d", i)] = std.EncodeToString(append(make([]byte, 30+i), pkcs8...))
	}
	return m
}

func b64(n *big.Int) string {
	return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, 32)))
}

func colons(b []byte, sep string) string {
	var parts []string
	for _, c := range b {
		parts = append(parts, fmt.Sprintf("%02x", c))
	}
	return strings.Join(parts, sep)
}

func TestLooksLikeKey(t *testing.T) {
	for name, s := range forms(t) {
		t.Run(name, func(t *testing.T) {
			for _, in := range []string{s, "see " + s, s + " please", "x" + s, "xy: " + s + "."} {
				if !LooksLikeKey(in) {
					t.Errorf("not found in %q", in)
				}
			}
			e := full()
			e.Reason = strings.Map(func(r rune) rune {
				if r < 0x20 {
					return ' '
				}
				return r
			}, strings.ToValidUTF8(s, "?"))
			if _, err := e.AppendJSON(nil); strings.HasSuffix(name, "DER") {
				return // not text
			} else if !errors.Is(err, ErrEntry) || (!errors.Is(err, ErrLooksLikeKey) && !strings.Contains(err.Error(), "longer")) {
				t.Errorf("recorded, or %v", err)
			} else if strings.Contains(err.Error(), s[:20]) {
				t.Errorf("the error quotes the key")
			}
		})
	}
}

func TestLooksLikeKeyNot(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	named, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	std := base64.StdEncoding.EncodeToString
	sum := sha256.Sum256([]byte("x"))
	tests := map[string]string{
		"empty": "", "words": "rotating the key because the build machine was replaced; see incident 4711 and the private key policy",
		"spiffe": "spiffe://acme.internal/ci/ios/runner-with-quite-a-long-name/that/goes/on", "fingerprint": "sha256:" + hex.EncodeToString(sum[:]),
		"uuid": "019743d2-7f3a-7c6e-8b3a-0123456789ab", "scope": "GET /v1/apps/1234567890/builds?filter[version]=1.2.3",
		"public": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})), "public base64": std(spki),
		"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), "csr DER": string(csr), "csr base64": std(csr),
		"named csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: named})), "named csr DER": string(named),
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})), "certificate DER": string(cert),
		"policy": "version: 1\nprofiles:\n  ios-release: {key: asc-release, app_store_connect: {}, ttl: 10m}\n",
	}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			if LooksLikeKey(s) {
				t.Errorf("taken for a key: %q", s)
			}
		})
	}
	for range 20000 {
		b := make([]byte, 100)
		_, _ = rand.Read(b)
		if LooksLikeKey(std(b)) || LooksLikeKey(hex.EncodeToString(b)) || LooksLikeKey(string(b)) {
			t.Fatalf("random bytes taken for a key: %x", b)
		}
	}
}

func FuzzLooksLikeKey(f *testing.F) {
	for _, s := range forms(f) {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, s string) { LooksLikeKey(s) })
}

func BenchmarkLooksLikeKey(b *testing.B) {
	for _, bb := range []struct{ name, s string }{
		{"spiffe", "spiffe://acme.internal/ci/ios/runner-1"},
		{"reason", "rotating the key because the build machine was replaced; see incident 4711"},
		{"64 KiB", strings.Repeat("abcdefgh", 8192)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				LooksLikeKey(bb.s)
			}
		})
	}
}
