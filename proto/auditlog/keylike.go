package auditlog

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// LooksLikeKey reports whether s may hold a private key: PEM markers, or PKCS#8 or SEC 1 structures as they are, in
// base64 (either alphabet), in hexadecimal, in a JWK, or base64 of any of these; also when broken by whitespace,
// quotes, escaped newlines or percent signs, and in the middle of other text. Certificates and requests for them pass.
//
// A bare secret number without any structure around it cannot be told from a hash and is not found.
func LooksLikeKey(s string) bool { return looksLikeKey(s, 2) }

// minCarrier is the shortest run of characters that is looked into: a P-256 private key alone is 39 bytes of DER,
// 52 characters of base64. Shorter than that by far, so that a key cut off in its public half is found too.
const minCarrier = 40

func looksLikeKey(s string, depth int) bool {
	if len(s) < 16 {
		return false
	}
	if hasDER(s) {
		return true
	}
	if depth == 0 || longestRun(s, carriers) < minCarrier && !strings.Contains(s, "--") {
		return false
	}
	c := unwrap(s)
	for _, mark := range pemMarks {
		if strings.Contains(c, mark) {
			return true
		}
	}
	for run := range runs(c, base64Digits, minCarrier) {
		if hasJWK(c, run) {
			return true
		}
		std := toStd.Replace(run)
		for skip := range 4 {
			part := std[skip:]
			b, err := base64.RawStdEncoding.DecodeString(part[:len(part)-len(part)%4])
			if err == nil && looksLikeKey(string(b), depth-1) {
				return true
			}
		}
	}
	for run := range runs(toHex.Replace(c), hexDigits, minCarrier) {
		for skip := range 2 {
			part := run[skip:]
			b, err := hex.DecodeString(part[:len(part)-len(part)%2])
			if err == nil && looksLikeKey(string(b), depth-1) {
				return true
			}
		}
	}
	return false
}

// pemMarks are parts of the lines around a private key, without their spaces. Each alone is enough, so that a key
// whose beginning or end was cut off is found too.
var pemMarks = []string{
	"PRIVATEKEY--", "--BEGINPRIV", "--BEGINEC", "--BEGINENCRYPTED", "--BEGINRSA", "--BEGINOPENSSH",
}

// hasDER reports whether binary data holds the beginning of a PKCS#8 or SEC 1 private key.
func hasDER(s string) bool {
	// PKCS#8: version 0 or 1, then a sequence that begins with the OID of EC or RSA keys.
	for _, oid := range []string{"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"} {
		for rest, off := s, 0; ; {
			i := strings.Index(rest, oid)
			if i < 0 {
				break
			}
			at := off + i
			if at >= 5 && s[at-5:at-3] == "\x02\x01" && s[at-3] <= 1 && s[at-2] == 0x30 {
				return true
			}
			rest, off = rest[i+1:], at+1
		}
	}
	// SEC 1: a sequence of version 1 and an octet string of 32, 48 or 66 bytes.
	for rest, off := s, 0; ; {
		i := strings.Index(rest, "\x02\x01\x01\x04")
		if i < 0 {
			return false
		}
		at := off + i
		if at+4 < len(s) && (s[at+4] == 0x20 || s[at+4] == 0x30 || s[at+4] == 0x42) &&
			(at >= 2 && s[at-2] == 0x30 || at >= 3 && s[at-3] == 0x30 && s[at-2] == 0x81) {
			return true
		}
		rest, off = rest[i+1:], at+1
	}
}

// hasJWK reports whether run is the private part of an elliptic JWK in the unwrapped text c.
func hasJWK(c, run string) bool {
	return len(run) >= 43 && strings.Contains(c, "kty:EC") && strings.Contains(c, "d:"+run)
}

// Kinds of characters.
const (
	base64Digit = 1 << iota
	hexDigit
	filler // what stands between digits when a key is wrapped, quoted or escaped
)

var class = func() (t [256]byte) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_" {
		t[c] |= base64Digit
	}
	for _, c := range "0123456789abcdefABCDEF" {
		t[c] |= hexDigit
	}
	for _, c := range " \t\r\n\v\f\"'`,\\%:" {
		t[c] |= filler
	}
	return t
}()

const (
	carriers     = base64Digit | filler
	base64Digits = base64Digit
	hexDigits    = hexDigit
)

var (
	toStd = strings.NewReplacer("-", "+", "_", "/")
	toHex = strings.NewReplacer(":", "", "-", "", "0x", "", "0X", "")
)

func longestRun(s string, of byte) int {
	longest, n := 0, 0
	for i := range len(s) {
		if class[s[i]]&of == 0 {
			n = 0
			continue
		}
		n++
		longest = max(longest, n)
	}
	return longest
}

// runs yields the maximal runs of at least shortest bytes of a class.
func runs(s string, of byte, shortest int) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start := 0
		for i := 0; i <= len(s); i++ {
			if i < len(s) && class[s[i]]&of != 0 {
				continue
			}
			if i-start >= shortest && !yield(s[start:i]) {
				return
			}
			start = i + 1
		}
	}
}

// unwrap takes out what stands between the digits of a wrapped, quoted, escaped or percent-encoded key.
func unwrap(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s) && strings.IndexByte("nrt", s[i+1]) >= 0:
			i++
			continue
		case c == '%' && i+2 < len(s):
			if h, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				c = h[0]
				i += 2
			}
		}
		if strings.IndexByte(" \t\r\n\v\f\"'`,\\", c) < 0 {
			b = append(b, c)
		}
	}
	return string(b)
}
