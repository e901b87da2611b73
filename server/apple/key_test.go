package apple

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseKey(t *testing.T) {
	canonical := must(x509.MarshalPKCS8PrivateKey(testKey))
	spki := sha256.Sum256(must(x509.MarshalPKIXPublicKey(&testKey.PublicKey)))
	for _, row := range keyRows(t) {
		t.Run(row.name, func(t *testing.T) {
			before := bytes.Clone(row.data)
			k, err := ParseKey(row.data)
			if !bytes.Equal(row.data, before) {
				t.Error("the input was changed")
			}
			if row.want != "" {
				if err == nil {
					t.Fatalf("accepted; want the error %q", row.want)
				}
				if err.Error() != row.want {
					t.Fatalf("error\n got %q\nwant %q", err, row.want)
				}
				return
			}
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			if got := k.PKCS8(); !bytes.Equal(got, canonical) {
				t.Errorf("PKCS8 is not the canonical form (%d bytes)", len(got))
			}
			if !k.Public().Equal(&testKey.PublicKey) {
				t.Error("Public is another key")
			}
			if got, want := k.Fingerprint(), Fingerprint("sha256:"+hex.EncodeToString(spki[:])); got != want {
				t.Errorf("Fingerprint = %s, want %s", got, want)
			}
			if diff := cmp.Diff(row.notes, k.Notes(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("Notes (-want +got):\n%s", diff)
			}
			if err := k.SelfTest(); err != nil {
				t.Errorf("SelfTest: %v", err)
			}
		})
	}
}

// The two forms of PKCS#8 have the lengths that Apple's and OpenSSL's have.
func TestKeyForms(t *testing.T) {
	if n := len(shapeApple.der()); n != 150 {
		t.Errorf("Apple's form has %d bytes, want 150", n)
	}
	if n := len(shapeShort.der()); n != 138 {
		t.Errorf("the short form has %d bytes, want 138", n)
	}
	if got := encode("PRIVATE KEY", shapeApple.der()); len(got) != 258 || !bytes.Contains(got, []byte("\nMIGTAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBHkwdwIBAQQg")) {
		t.Errorf("a file of Apple's form has %d bytes, want 258 and Apple's first characters", len(got))
	}
}

// Keys whose private number begins with zeros keep their length, however the file writes them.
func TestParseKeyLeadingZeros(t *testing.T) {
	for _, zeros := range []int{1, 2, 31} {
		scalar := bytes.Clone(testScalar[:])
		clear(scalar[:zeros])
		want := must(x509.MarshalPKCS8PrivateKey(mustKey(scalar)))
		for name, digits := range map[string][]byte{"kept": scalar, "dropped": scalar[zeros:]} {
			k, err := ParseKey(shapeShort.with(func(s *keyShape) { s.scalar, s.point = digits, nil }))
			if err != nil {
				t.Fatalf("%d zeros %s: %v", zeros, name, err)
			}
			if !bytes.Equal(k.PKCS8(), want) {
				t.Errorf("%d zeros %s: not the canonical form", zeros, name)
			}
		}
	}
}

// No error and no note of ParseKey holds anything of the file: every file is tried with its key bytes, and with every
// byte of text replaced, and the words must stay those of the table.
func TestParseKeyEchoesNothing(t *testing.T) {
	rows := keyRows(t)
	words := keyWords(rows)
	check := func(t *testing.T, data []byte) {
		k, err := ParseKey(data)
		if err != nil && !words[err.Error()] {
			t.Fatalf("an error that is not in the table: %q", err)
		}
		if err == nil {
			for _, note := range k.Notes() {
				if note != noteSEC1 && note != noteURLSafe {
					t.Fatalf("an unknown note: %q", note)
				}
			}
		}
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if len(row.data) > MaxKeyFileLen {
				return
			}
			for i := range row.data {
				for _, c := range []byte("\x00\x01-Q\xff") {
					data := bytes.Clone(row.data)
					data[i] = c
					check(t, data)
				}
				check(t, row.data[:i])
				check(t, row.data[i:])
			}
		})
	}
}

// keyWords are the texts of all errors of ParseKey.
func keyWords(rows []keyRow) map[string]bool {
	words := make(map[string]bool)
	for _, row := range rows {
		words[row.want] = true
	}
	return words
}

// Whatever ParseKey allocated for the file is wiped, whether it accepts it or not.
func TestParseKeyWipes(t *testing.T) {
	for _, row := range keyRows(t) {
		t.Run(row.name, func(t *testing.T) {
			if len(row.data) > MaxKeyFileLen {
				return
			}
			var f keyFile
			_, _ = f.parse(bytes.Clone(row.data))
			f.wipe()
			for i, b := range f.scratch {
				if len(bytes.Trim(b[:cap(b)], "\x00")) > 0 {
					t.Errorf("scratch buffer %d is not wiped", i)
				}
			}
		})
	}
	t.Run("the buffers do hold the key", func(t *testing.T) {
		var f keyFile
		if _, err := f.parse(encode("PRIVATE KEY", shapeShort.der())); err != nil {
			t.Fatal(err)
		}
		found := false
		for _, b := range f.scratch {
			found = found || bytes.Contains(b[:cap(b)], testScalar[:])
		}
		if !found {
			t.Error("the key was decoded into some other buffer")
		}
	})
}

func TestKeyWipe(t *testing.T) {
	k := must(ParseKey(shapeShort.der()))
	fingerprint := k.Fingerprint()
	k.Wipe()
	if got := k.PKCS8(); !bytes.Equal(got, make([]byte, pkcs8Len)) {
		t.Error("PKCS8 is not all zeros after Wipe")
	}
	if err := k.SelfTest(); err == nil || err.Error() != "testing the key: there is no private number in it (any more)" {
		t.Errorf("SelfTest after Wipe: %v", err)
	}
	if got := must(FingerprintOf(k.Public())); got != fingerprint {
		t.Error("the public half did not survive Wipe")
	}
}

func TestKeyIsRedacted(t *testing.T) {
	k := must(ParseKey(shapeShort.der()))
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("imported", slog.Any("key", k))
	outputs := map[string]string{"log": log.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		outputs[verb] = fmt.Sprintf(verb+verb, k, *k)
	}
	for name, output := range outputs {
		for _, verb := range []string{"%d", "%x", "%X", "%s", "%#v"} {
			digits := strings.Trim(fmt.Sprintf(verb, testScalar[4:12]), "[]")
			if strings.Contains(output, digits) {
				t.Errorf("%s shows the private number: %s", name, output)
			}
		}
	}
	if got, want := fmt.Sprint(k), "private key "+string(k.Fingerprint()); got != want {
		t.Errorf("printed as %q, want %q", got, want)
	}
}

func TestKeyIsNotShared(t *testing.T) {
	k := must(ParseKey(shapeSEC1.der()))
	clear(k.PKCS8())
	k.Notes()[0] = ""
	if err := k.SelfTest(); err != nil {
		t.Error(err)
	}
	if k.Notes()[0] == "" {
		t.Error("Notes shares its slice")
	}
}

func TestSelfTestFindsAForeignPublicHalf(t *testing.T) {
	k := must(ParseKey(shapeShort.der()))
	other := sha256.Sum256([]byte("another"))
	k.public = &mustKey(other[:]).PublicKey
	if err := k.SelfTest(); err == nil {
		t.Error("a key whose halves do not belong together passed")
	}
}

func TestFingerprintOf(t *testing.T) {
	offCurve := &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)} //nolint:staticcheck // no other way makes a bad one
	tests := []struct {
		name string
		pub  *ecdsa.PublicKey
	}{
		{"nil", nil},
		{"another curve", &must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)).PublicKey},
		{"a point that is not on the curve", offCurve},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := FingerprintOf(tt.pub); err == nil {
				t.Errorf("FingerprintOf = %s, want an error", got)
			}
		})
	}
}

// FuzzParseKey checks that what is accepted is one key that Go's own parser agrees on, and that an error says one of
// the things that the table says and nothing of the input.
func FuzzParseKey(f *testing.F) {
	rows := keyRows(f)
	words := keyWords(rows)
	for _, row := range rows {
		f.Add(row.data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		k, err := ParseKey(data)
		if !bytes.Equal(data, before) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if !words[err.Error()] {
				t.Fatalf("an error that is not in the table: %q", err)
			}
			return
		}
		der := k.PKCS8()
		parsed, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			t.Fatalf("Go refuses the canonical form: %v", err)
		}
		if key, ok := parsed.(*ecdsa.PrivateKey); !ok || !key.PublicKey.Equal(k.Public()) {
			t.Fatal("Go reads another key from the canonical form")
		}
		if again, err := ParseKey(der); err != nil || again.Fingerprint() != k.Fingerprint() {
			t.Fatalf("the canonical form does not parse to the same key: %v", err)
		}
		if key := parseAsGo(data); key != nil && !key.PublicKey.Equal(k.Public()) {
			t.Fatal("Go reads another key from the file")
		}
	})
}

// parseAsGo reads a plain PEM file as most programs do; nil: it cannot.
func parseAsGo(data []byte) *ecdsa.PrivateKey {
	block, _ := pem.Decode(data)
	if block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return nil
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		ec, _ := key.(*ecdsa.PrivateKey)
		return ec
	}
	key, _ := x509.ParseECPrivateKey(block.Bytes)
	return key
}

// TestGenerateKey: a key that is made here is a good one, and another each time.
func TestGenerateKey(t *testing.T) {
	one, two := must(GenerateKey()), must(GenerateKey())
	if one.Fingerprint() == two.Fingerprint() {
		t.Error("the same key twice")
	}
	if err := one.SelfTest(); err != nil {
		t.Error(err)
	}
	one.Wipe()
	if one.SelfTest() == nil {
		t.Error("a key that was wiped signs")
	}
}
