package sealed

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Header is what a sealed file says without being opened. It is not
// authenticated before it is.
type Header struct {
	Vault     string
	Recipient string
	Expires   time.Time // whole seconds, UTC
}

// A sealed file is text:
//
//	signet-sealed-key v1
//	vault <id>
//	recipient <id>
//	expires <RFC 3339, whole seconds, UTC>
//	<empty line>
//	<base64, 76 characters a line>
//
// There is one way to write a file: what Parse accepts, marshalFile writes.
const fileMagic = "signet-sealed-key v1"

const lineLen = 76

func marshalFile(h Header, box []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nvault %s\nrecipient %s\nexpires %s\n\n", fileMagic, h.Vault, h.Recipient, stamp(h.Expires))
	text := base64.StdEncoding.EncodeToString(box)
	for len(text) > 0 {
		n := min(lineLen, len(text))
		b.WriteString(text[:n])
		b.WriteByte('\n')
		text = text[n:]
	}
	return b.Bytes()
}

// ParseHeader reads the header of a sealed file and checks the form of the
// rest.
func ParseHeader(file []byte) (Header, error) {
	h, _, err := parseFile(file)
	return h, err
}

func parseFile(file []byte) (Header, []byte, error) {
	bad := func(what string) (Header, []byte, error) {
		return Header{}, nil, fmt.Errorf("not a sealed key file: %s: %w", what, ErrMalformed)
	}
	if len(file) > MaxFile {
		return bad(fmt.Sprintf("it has %d bytes, and at most %d are allowed", len(file), MaxFile))
	}
	// A file that went through an editor or a mail of another system.
	text := strings.ReplaceAll(string(file), "\r\n", "\n")
	first, rest, _ := strings.Cut(text, "\n")
	if first != fileMagic {
		return bad("its first line is not " + fileMagic)
	}
	fields, body, ok := cutFields(rest, "vault", "recipient", "expires")
	if !ok {
		return bad("its header is not vault, recipient, expires and an empty line")
	}
	expires, err := parseStamp(fields[2])
	if err != nil {
		return bad("its expiry is not a time such as 2026-12-31T00:00:00Z")
	}
	h := Header{Vault: fields[0], Recipient: fields[1], Expires: expires}
	if err := h.check(); err != nil {
		return Header{}, nil, fmt.Errorf("not a sealed key file: %w", err)
	}
	box, err := base64.StdEncoding.Strict().DecodeString(strings.ReplaceAll(body, "\n", ""))
	if err != nil || len(box) == 0 {
		return bad("its body is not base64")
	}
	if string(marshalFile(h, box)) != text {
		return bad("its lines are not as we write them")
	}
	return h, box, nil
}

func (h Header) check() error {
	switch {
	case !validID(h.Vault):
		return fmt.Errorf("the vault id is not one: %w", ErrMalformed)
	case !validID(h.Recipient):
		return fmt.Errorf("the recipient id is not one: %w", ErrMalformed)
	case !h.Expires.Equal(h.Expires.Truncate(time.Second)) || h.Expires.Year() < 2000 || h.Expires.Year() > 9999:
		return fmt.Errorf("the expiry is not a time in whole seconds: %w", ErrMalformed)
	}
	return nil
}

// cutFields reads one line "name value\n" for each name, then an empty line,
// and returns the values and what follows.
func cutFields(s string, names ...string) ([]string, string, bool) {
	var values []string
	for _, name := range names {
		line, rest, ok := strings.Cut(s, "\n")
		if !ok {
			return nil, "", false
		}
		n, v, ok := strings.Cut(line, " ")
		if !ok || n != name {
			return nil, "", false
		}
		values, s = append(values, v), rest
	}
	rest, ok := strings.CutPrefix(s, "\n")
	return values, rest, ok
}

// validID: what vaults, nodes and recipients are called.
func validID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return true
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// parseStamp accepts exactly what stamp writes.
func parseStamp(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || stamp(t) != s {
		return time.Time{}, ErrMalformed
	}
	return t.UTC(), nil
}

// strictJSON accepts exactly what json.Marshal writes for v.
func strictJSON(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return ErrMalformed
	}
	if again, err := json.Marshal(v); err != nil || !bytes.Equal(again, data) {
		return ErrMalformed
	}
	return nil
}
