package oracle

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/p8signet/signet/server/apple"
)

// openssl runs OpenSSL in dir.
func openssl(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl on this machine")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// OpenSSL verifies a token's signature, turned back into ASN.1.
func TestOpenSSLVerifies(t *testing.T) {
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			key := newKey(t)
			compact := tt.mint(t, key, now)
			dot := strings.LastIndexByte(compact, '.')
			sig, err := base64.RawURLEncoding.DecodeString(compact[dot+1:])
			if err != nil || len(sig) != 64 {
				t.Fatalf("a signature of %d bytes, %v", len(sig), err)
			}
			der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
			if err != nil {
				t.Fatal(err)
			}
			opensslVerify(t, key, compact[:dot], der)
		})
	}
}

// OpenSSL verifies the original style of a promotional offer, which is ASN.1 of itself.
func TestOpenSSLVerifiesOffer(t *testing.T) {
	key := newKey(t)
	token := sign(t, purchase, apple.PromotionalOfferSignature{Bundle: bundle}, call(apple.NewOfferCall("pro", "winback1", "", "User")), key, now)
	der, err := base64.StdEncoding.DecodeString(token.Text)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join([]string{
		string(bundle), string(keyID), "pro", "winback1", "user", token.Nonce, strconv.FormatInt(now.UnixMilli()-30_000, 10),
	}, "\u2063")
	opensslVerify(t, key, text, der)
}

// opensslVerify has OpenSSL verify an ASN.1 signature over text.
func opensslVerify(t *testing.T, key *ecdsa.PrivateKey, text string, der []byte) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{"input": []byte(text), "sig": der, "pub.pem": []byte(publicPEM(t, key))} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openssl(t, dir, "dgst", "-sha256", "-verify", "pub.pem", "-signature", "sig", "input")
}

// ParseKey takes and refuses what OpenSSL writes as it does the tests' own imitations.
func TestOpenSSLKeyFiles(t *testing.T) {
	dir := t.TempDir()
	script := func(args string) []byte { return openssl(t, dir, strings.Fields(args)...) }
	script("ecparam -name prime256v1 -genkey -out key.pem") // EC PARAMETERS and SEC1
	script("pkcs8 -topk8 -nocrypt -in key.pem -out key.p8")
	script("req -x509 -key key.p8 -subj /CN=test -days 2 -out cert.pem")
	script("pkcs12 -export -inkey key.p8 -in cert.pem -passout pass:secret -out key.p12")
	public := strings.TrimSpace(string(script("pkey -in key.p8 -pubout -outform DER")))

	tests := []struct {
		name, args, err string
	}{
		{"PKCS#8", "pkcs8 -topk8 -nocrypt -in key.pem", ""},
		{"PKCS#8 in DER", "pkcs8 -topk8 -nocrypt -in key.pem -outform DER", ""},
		{"SEC1", "ec -in key.p8", ""},
		{"SEC1 without the public key", "ec -in key.p8 -no_public", ""},
		{"SEC1, compressed", "ec -in key.p8 -conv_form compressed", ""},
		{"EC PARAMETERS and SEC1", "ec -in key.pem -param_out", "parameters of a curve and no key"},
		{"out of a PKCS#12", "pkcs12 -in key.p12 -passin pass:secret -nodes -nocerts", ""},
		{"key and certificate out of a PKCS#12", "pkcs12 -in key.p12 -passin pass:secret -nodes", "something beside the private key"},
		{"explicit parameters", "ecparam -name prime256v1 -param_enc explicit -genkey -noout", "explicit parameters"},
		{"encrypted", "pkcs8 -topk8 -in key.pem -v2 aes-256-cbc -passout pass:secret", "encrypted"},
		{"encrypted in DER", "pkcs8 -topk8 -in key.pem -v2 aes-256-cbc -passout pass:secret -outform DER", "encrypted"},
		{"SEC1, encrypted", "ec -in key.p8 -aes128 -passout pass:secret", "encrypted"},
		{"P-384", "ecparam -name secp384r1 -genkey -noout", "P-384"},
		{"P-521", "ecparam -name secp521r1 -genkey -noout", "P-521"},
		{"P-384 in PKCS#8", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384", "P-384"},
		{"secp256k1", "ecparam -name secp256k1 -genkey -noout", "secp256k1"},
		{"brainpool", "ecparam -name brainpoolP256r1 -genkey -noout", "not P-256"},
		{"RSA", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", "RSA"},
		{"RSA, PKCS#1", "genrsa -traditional 2048", "RSA"},
		{"Ed25519", "genpkey -algorithm ED25519", "Ed25519"},
		{"X25519", "genpkey -algorithm X25519", "Ed25519 key or one of its kin"},
		{"public key", "pkey -in key.p8 -pubout", "public key"},
		{"public key in DER", "pkey -in key.p8 -pubout -outform DER", "public key"},
		{"certificate", "x509 -in cert.pem", "certificate"},
		{"certificate in DER", "x509 -in cert.pem -outform DER", "certificate"},
		{"PKCS#12", "pkcs12 -export -inkey key.p8 -in cert.pem -passout pass:secret", "PKCS#12"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := openssl(t, dir, strings.Fields(tt.args)...)
			key, err := apple.ParseKey(data)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			spki, err := x509.MarshalPKIXPublicKey(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			if strings.TrimSpace(string(spki)) != public {
				t.Error("it is another key")
			}
			if err := key.SelfTest(); err != nil {
				t.Error(err)
			}
		})
	}
}
