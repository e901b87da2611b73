package apple

import (
	"bytes"
	"encoding/base64"
	"errors"
)

// MaxKeyFileLen is the largest file that ParseKey looks at; Apple's are 257 bytes.
const MaxKeyFileLen = 16 << 10

const noteURLSafe = "the key's base64 was of the URL-safe kind (with - and _), not the one that PEM has; it was translated"

var (
	errNoKey      = errors.New("no private key found: a .p8 file begins with -----BEGIN PRIVATE KEY-----")
	errBeginLine  = errors.New("the BEGIN line is damaged: it is -----BEGIN PRIVATE KEY-----, five dashes on each side; copy the file again, whole")
	errEndLine    = errors.New("the END line is missing or damaged: it is -----END PRIVATE KEY-----, five dashes on each side; copy the file again, whole")
	errNotBase64  = errors.New("the private key has a character that base64 does not have: copy the file again, unchanged")
	errUTF16      = errors.New("the file is in UTF-16: save it as UTF-8 or plain ASCII, or give the .p8 file as Apple handed it out")
	errTooLarge   = errors.New("the file is larger than 16 KiB; Apple's .p8 files have some 257 bytes")
	errEmptyFile  = errors.New("the file is empty")
	errBinary     = errors.New("the file is binary and not a private key in DER: give the .p8 file as Apple handed it out")
	errJSON       = errors.New(`the file is JSON: give the .p8 file, or the text of its "key" alone, and the IDs beside it as facts`)
	errTwoKeys    = errors.New("the file holds more than one private key: give one file for each")
	errTwoBlocks  = errors.New("the file holds something beside the private key (a certificate or a public key): give a file with the key alone")
	errOpenSSH    = errors.New("the file holds an OpenSSH key: give the .p8 file as Apple handed it out")
	errParamsOnly = errors.New("the file holds the parameters of a curve and no key: give the .p8 file as Apple handed it out")
)

// ParseKey reads a private key from the contents of a .p8 file, or from one of the shapes in which people hand it over:
// DER; PEM with any line ends, indented, quoted, on one line, with "\n" written out, with text before it; the base64
// body alone; base64 of the whole file; SEC1. What was unusual enough to be worth a word is in the Key's Notes.
// It refuses what is not exactly one P-256 private key that is in order.
//
// Every error is a constant text and says what to do: none holds any part of the input. The input is not changed; what
// ParseKey itself allocates for key bytes, but for the Key it returns, is wiped.
func ParseKey(data []byte) (*Key, error) {
	if len(data) > MaxKeyFileLen {
		return nil, errTooLarge
	}
	var f keyFile
	defer f.wipe()
	k, err := f.parse(data)
	if err != nil {
		return nil, err
	}
	k.notes = append(k.notes, f.notes...)
	return k, nil
}

// keyFile is the work on one file. Every buffer that may hold key bytes is one of its scratch buffers.
type keyFile struct {
	scratch   [][]byte
	notes     []string
	unwrapped bool // a base64 layer around the whole file has been taken off
}

// buffer returns an empty buffer which, up to its capacity, will be wiped.
func (f *keyFile) buffer(capacity int) []byte {
	b := make([]byte, 0, capacity)
	f.scratch = append(f.scratch, b)
	return b
}

func (f *keyFile) wipe() {
	for _, b := range f.scratch {
		clear(b[:cap(b)])
	}
}

// parse reads the file, or what was wrapped in base64 in it.
func (f *keyFile) parse(data []byte) (*Key, error) {
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return nil, errEmptyFile
	case isUTF16(data):
		return nil, errUTF16
	case data[0] == 0x30 && isBinary(data):
		return parsePrivateKey(data)
	case isBinary(data):
		return nil, errBinary
	}
	text := bytes.TrimPrefix(data, []byte("\uFEFF"))
	text = f.unescape(unquote(bytes.TrimSpace(text)))
	if bytes.HasPrefix(text, []byte("{")) {
		return nil, errJSON
	}
	if bytes.Contains(text, []byte(pemBegin)) {
		return f.parsePEM(text)
	}
	if hasMarker(text) {
		return nil, errBeginLine
	}

	decoded, err := f.decodeBase64(text)
	switch {
	case err != nil && bytes.HasPrefix(text, []byte("MI")): // as the base64 of DER does
		return nil, err
	case err != nil:
		return nil, errNoKey
	case bytes.HasPrefix(decoded, []byte{0x30}):
		return parsePrivateKey(decoded)
	case !f.unwrapped && (isUTF16(decoded) || !isBinary(decoded)):
		f.unwrapped = true
		return f.parse(decoded)
	}
	return nil, errNoKey
}

// isUTF16 reports whether the data begins with a byte order mark of UTF-16, or with an ASCII character in it.
func isUTF16(data []byte) bool {
	if len(data) < 2 {
		return false
	}
	a, b := data[0], data[1]
	return a == 0xff && b == 0xfe || a == 0xfe && b == 0xff || (a == 0) != (b == 0)
}

// isBinary reports whether there is a control character in the data that text does not have. Every private key in DER
// has one: the tag of its version.
func isBinary(data []byte) bool {
	return bytes.ContainsFunc(data, func(r rune) bool { return r < ' ' && (r < '\t' || r > '\r') })
}

// unquote takes one pair of quotation marks off.
func unquote(text []byte) []byte {
	if n := len(text); n >= 2 && (text[0] == '"' || text[0] == '\'') && text[n-1] == text[0] {
		return bytes.TrimSpace(text[1 : n-1])
	}
	return text
}

// unescape turns what JSON, YAML and shells make of line ends, \n or \\n, back into white space, and \/ into a slash.
func (f *keyFile) unescape(text []byte) []byte {
	if !bytes.Contains(text, []byte(`\`)) {
		return text
	}
	out := f.buffer(len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out = append(out, text[i])
			continue
		}
		for i+1 < len(text) && text[i+1] == '\\' {
			i++
		}
		if i+1 < len(text) && (text[i+1] == 'n' || text[i+1] == 'r') {
			out = append(out, '\n')
			i++
		}
	}
	return out
}

// What the lines begin and end with that mark a PEM block.
const (
	pemBegin  = "-----BEGIN "
	pemEnd    = "-----END "
	pemDashes = "-----"
)

// hasMarker reports whether text has the words of a BEGIN or END line, whatever has become of the dashes.
func hasMarker(text []byte) bool {
	return bytes.Contains(text, []byte("PRIVATE KEY")) &&
		(bytes.Contains(text, []byte("BEGIN ")) || bytes.Contains(text, []byte("END ")))
}

// parsePEM reads text that has a BEGIN line.
func (f *keyFile) parsePEM(text []byte) (*Key, error) {
	label, body, err := findBlock(text)
	if err != nil {
		return nil, err
	}
	switch label {
	case "PRIVATE KEY", "EC PRIVATE KEY": // which of the two forms it is, the DER says
	case "ENCRYPTED PRIVATE KEY":
		return nil, errEncrypted
	case "RSA PRIVATE KEY":
		return nil, errRSA
	case "OPENSSH PRIVATE KEY":
		return nil, errOpenSSH
	case "PUBLIC KEY", "EC PUBLIC KEY", "RSA PUBLIC KEY":
		return nil, errPublicKey
	case "CERTIFICATE":
		return nil, errCertificate
	default:
		return nil, errNotKey
	}
	if bytes.Contains(body, []byte("ENCRYPTED")) { // Proc-Type: 4,ENCRYPTED
		return nil, errEncrypted
	}
	der, err := f.decodeBase64(body)
	if err != nil {
		return nil, err
	}
	return parsePrivateKey(der)
}

// findBlock returns the label and the body of the one PEM block in the text, not counting the EC PARAMETERS that
// OpenSSL writes before a key. Text around the block is skipped.
func findBlock(text []byte) (label string, body []byte, err error) {
	var blocks, keys int
	for {
		around, rest, found := bytes.Cut(text, []byte(pemBegin))
		if hasMarker(around) {
			return "", nil, errTwoBlocks
		}
		if !found {
			break
		}
		beginLabel, rest, ok := bytes.Cut(rest, []byte(pemDashes))
		if !ok || !isLabel(beginLabel) {
			return "", nil, errBeginLine
		}
		content, rest, ok := bytes.Cut(rest, []byte(pemEnd))
		if !ok || bytes.Contains(content, []byte(pemBegin)) {
			return "", nil, errEndLine
		}
		endLabel, rest, ok := bytes.Cut(rest, []byte(pemDashes))
		if !ok || !bytes.Equal(endLabel, beginLabel) {
			return "", nil, errEndLine
		}
		text = rest
		if string(beginLabel) == "EC PARAMETERS" {
			continue
		}
		blocks++
		if bytes.HasSuffix(beginLabel, []byte("PRIVATE KEY")) {
			keys++
		}
		label, body = string(beginLabel), content
	}
	switch {
	case blocks == 0:
		return "", nil, errParamsOnly
	case keys > 1:
		return "", nil, errTwoKeys
	case blocks > 1:
		return "", nil, errTwoBlocks
	}
	return label, body, nil
}

// isLabel reports whether text can be what stands between BEGIN and the dashes.
func isLabel(text []byte) bool {
	return len(text) <= 64 && !bytes.ContainsFunc(text, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != ' ' })
}

// decodeBase64 decodes base64 of either alphabet, padded or not, with white space anywhere in it.
func (f *keyFile) decodeBase64(text []byte) ([]byte, error) {
	clean := f.buffer(len(text))
	translated := false
	for _, c := range text {
		switch c {
		case ' ', '\t', '\n', '\v', '\f', '\r':
			continue
		case '-':
			c, translated = '+', true
		case '_':
			c, translated = '/', true
		}
		clean = append(clean, c)
	}
	clean = bytes.TrimRight(clean, "=")
	if len(clean)%4 == 1 {
		return nil, errCutShort
	}
	decoded, err := base64.RawStdEncoding.AppendDecode(f.buffer(base64.RawStdEncoding.DecodedLen(len(clean))), clean)
	if err != nil {
		return nil, errNotBase64
	}
	if translated {
		f.notes = append(f.notes, noteURLSafe)
	}
	return decoded, nil
}
