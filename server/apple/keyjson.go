package apple

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Reading JSON that may hold a private key. Package encoding/json would copy strings to where they cannot be wiped, so
// it only judges here; what it has found valid is walked in place.

const noteLenient = "the file is not strict JSON: comments, commas or line ends that JSON does not have were skipped"

// jsonText is a JSON object in a scratch buffer of its file.
type jsonText struct {
	file    *keyFile
	lenient bool // something was skipped
}

// read copies the text of an object to a buffer, with spaces in place of what people write into JSON although it has
// no such thing: comments (#, //, /* */), a comma before a closing bracket, line ends within a string. Places stay
// what they are. The answer is empty when the text does not begin as an object does.
func (j *jsonText) read(data []byte) ([]byte, error) {
	text := append(j.file.buffer(len(data)), data...)
	for i, comma := 0, -1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			i += j.closeString(text[i:])
			comma = -1
		case c == '#', bytes.HasPrefix(text[i:], []byte("//")):
			i += j.blank(text[i:], "\n")
		case bytes.HasPrefix(text[i:], []byte("/*")):
			i += j.blank(text[i:], "*/")
		case c == ',':
			comma = i
		case (c == '}' || c == ']') && comma >= 0:
			text[comma], j.lenient = ' ', true
			comma = -1
		case c != ' ' && c != '\t' && c != '\n' && c != '\r':
			comma = -1
		}
	}
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return nil, nil
	}
	var none struct{}
	if err := json.Unmarshal(text, &none); err != nil {
		at := new(json.SyntaxError) // what else can be wrong with an object that goes nowhere
		_ = errors.As(err, &at)
		line := 1 + bytes.Count(text[:min(int(at.Offset), len(text))], []byte("\n"))
		return nil, fmt.Errorf("the JSON is broken at line %d: a quotation mark, comma or bracket is missing there or just before, or the file was cut off", line)
	}
	return bytes.TrimSpace(text), nil
}

// closeString puts spaces in place of the line ends within the string at the beginning of text, and answers where its
// closing quotation mark is.
func (j *jsonText) closeString(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '\n', '\r', '\t':
			text[i], j.lenient = ' ', true
		case '"':
			return i
		}
	}
	return len(text) - 1
}

// blank puts spaces in place of everything up to end, and answers where that ends. Line ends stay, for the count.
func (j *jsonText) blank(text []byte, end string) int {
	n := len(text)
	if i := bytes.Index(text, []byte(end)); i >= 0 {
		n = i + len(end)
	}
	for i := range text[:n] {
		if text[i] != '\n' {
			text[i] = ' '
		}
	}
	j.lenient = true
	return n - 1
}

// object are the members of a valid object, by name, as JSON. A name that it has twice is an error.
func (j *jsonText) object(text []byte) (map[string][]byte, error) {
	members := make(map[string][]byte)
	rest := bytes.TrimSpace(text[1:])
	for rest[0] != '}' {
		n := valueLen(rest)
		name := string(j.unquote(rest[:n]))
		rest = bytes.TrimSpace(rest[n:])
		rest = bytes.TrimSpace(rest[1:]) // the colon
		n = valueLen(rest)
		if _, twice := members[name]; twice {
			return nil, errJSONTwice
		}
		members[name] = bytes.TrimSpace(rest[:n])
		rest = behind(rest[n:])
	}
	return members, nil
}

// array are the elements of a valid array.
func array(text []byte) [][]byte {
	var all [][]byte
	rest := bytes.TrimSpace(text[1:])
	for rest[0] != ']' {
		n := valueLen(rest)
		all = append(all, bytes.TrimSpace(rest[:n]))
		rest = behind(rest[n:])
	}
	return all
}

// behind is what follows a value of a valid object or array, and the comma after it.
func behind(text []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(text), []byte(",")))
}

// valueLen is the length of the value at the beginning of the rest of a valid object or array.
func valueLen(text []byte) int {
	depth := 0
	for i := 0; ; i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:])
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			switch {
			case depth == 0:
				return i + 1
			case depth < 0:
				return i // of what the value is in
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
}

// stringEnd is where the string at the beginning of valid JSON has its closing quotation mark.
func stringEnd(text []byte) int {
	i := 1
	for ; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i
}

// unquote is what a valid JSON string says, in a scratch buffer.
func (j *jsonText) unquote(quoted []byte) []byte {
	text := quoted[1 : len(quoted)-1]
	out := j.file.buffer(len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out = append(out, text[i])
			continue
		}
		i++
		switch text[i] {
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'b', 'f':
			out = append(out, ' ')
		case 'u':
			var b [2]byte
			_, _ = hex.Decode(b[:], text[i+1:i+5]) // four hex digits, or it would not be valid
			r := rune(b[0])<<8 | rune(b[1])
			i += 4
			if utf8.RuneLen(r) < 0 {
				r = '?' // half of a pair: no key, id or path that we take has such a character
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, text[i]) // " \ /
		}
	}
	return out
}

// secret is the string that a member holds, in a scratch buffer; nil when there is none.
func (j *jsonText) secret(members map[string][]byte, name string) ([]byte, error) {
	value := members[name]
	switch {
	case value == nil, string(value) == "null":
		return nil, nil
	case value[0] != '"':
		return nil, fmt.Errorf("%s is not a string", name)
	}
	return j.unquote(value), nil
}

// text is secret for what is none. A member that is there and empty is an error: nobody can tell what was meant.
func (j *jsonText) text(members map[string][]byte, name string) (string, error) {
	value, err := j.secret(members, name)
	if err == nil && value != nil && len(bytes.TrimSpace(value)) == 0 {
		err = fmt.Errorf("%s is empty: fill it in, or take the line out", name)
	}
	return strings.TrimSpace(string(value)), err
}

// flag is a member that is true or false, as people write that.
func (j *jsonText) flag(members map[string][]byte, name string) (bool, error) {
	value := members[name]
	if len(value) > 0 && value[0] == '"' {
		value = j.unquote(value)
	}
	return parseFlag(name, string(value))
}

func parseFlag(name, value string) (bool, error) {
	switch strings.ToLower(value) {
	case "true", "yes", "1":
		return true, nil
	case "", "null", "false", "no", "0":
		return false, nil
	}
	return false, fmt.Errorf("%s is neither true nor false", name)
}

// seconds is a member that is a number of seconds.
func (j *jsonText) seconds(members map[string][]byte, name string) (int, error) {
	value := members[name]
	if len(value) > 0 && value[0] == '"' {
		value = j.unquote(value)
	}
	return parseSeconds(name, string(value))
}

func parseSeconds(name, value string) (int, error) {
	if value == "" || value == "null" {
		return 0, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > 1<<31 {
		return 0, fmt.Errorf("%s is not a number of seconds", name)
	}
	return n, nil
}
