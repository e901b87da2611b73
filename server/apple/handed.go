package apple

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"
)

// MaxHandedLen is the largest text that ParseHanded looks at: a configuration of asc may name many keys.
const MaxHandedLen = 64 << 10

// Shape is the tool in whose way a key was kept.
type Shape string

// The shapes in which keys are handed over.
const (
	// ShapeFile is a key file alone, in any of the shapes that ParseKey takes.
	ShapeFile Shape = "key file"
	// ShapeFastlane is the API-key JSON of fastlane, or its environment.
	ShapeFastlane Shape = "fastlane"
	// ShapeRcodesign is the unified API key of rcodesign.
	ShapeRcodesign Shape = "rcodesign"
	// ShapeASC is the configuration of the asc command, or its environment.
	ShapeASC Shape = "asc"
)

// Handed is a key as somebody hands it over: the key itself or where it lies, and what stands beside it. What is empty
// was not said. Kind follows from the rules of the tool: in fastlane's shape no issuer ID means an individual key.
type Handed struct {
	Shape Shape
	// At is the member or the variable that holds the key or its path; empty for a key file.
	At string
	// Key is nil when Path says where the key lies. The receiver wipes it.
	Key *Key
	// Path is as it was written; fastlane's is taken from the folder of the JSON.
	Path string

	Name   string // what the tool calls the key; anything
	Kind   Kind
	KeyID  KeyID
	Issuer IssuerID
	// Duration is the lifetime that the tool asked for of its tokens; 0 when it did not say.
	Duration time.Duration
	// Notes say what was unusual and put right, a sentence each, and hold nothing of the text.
	Notes []string
}

// Wipe overwrites the private key bytes, if there are any.
func (h *Handed) Wipe() {
	if h.Key != nil {
		h.Key.Wipe()
	}
}

var (
	errJSONTwice   = errors.New("a member stands in the JSON twice: take the wrong one out")
	errJSONUnknown = errors.New("the JSON has none of the members that hold a key: key or filepath (fastlane), private_key (rcodesign), keys or private_key_path (asc)")
	errJSONMixed   = errors.New("the JSON has members that do not go together, such as key and private_key or key and filepath: leave the one that counts")
	errNoKeys      = errors.New("the configuration names no key: its keys are empty")
	errTooLong     = errors.New("the file is larger than 64 KiB, more than a key or a configuration of keys has")

	errKeyContent  = errors.New("key_content is what the Ruby action is given; in the JSON file it is key: rename it")
	errKeyFilepath = errors.New("key_filepath is what the Ruby action is given; in the JSON file it is filepath: rename it")
)

// ParseHanded reads what a file of any known shape hands over: a key file, or the JSON of fastlane, rcodesign or asc,
// which alone may name several. Members that it does not know it passes over, as the tools do.
//
// It is as careful as ParseKey: no error holds any part of the input, the input is not changed, and what it allocates
// for key bytes, but for the Keys it returns, is wiped. After an error there are none.
func ParseHanded(data []byte) ([]Handed, error) {
	if len(data) > MaxHandedLen {
		return nil, errTooLong
	}
	if isUTF16(data) {
		return nil, errUTF16
	}
	text := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\uFEFF")))
	if len(text) > 0 && strings.IndexByte("{#/", text[0]) >= 0 {
		var f keyFile
		defer f.wipe()
		all, err := f.parseJSON(text)
		if len(all) > 0 || err != nil {
			return all, err
		}
	}
	key, err := ParseKey(data)
	if err != nil {
		return nil, err
	}
	return []Handed{{Shape: ShapeFile, Key: key, Notes: key.Notes()}}, nil
}

// parseJSON reads an object by the members that it has; of what is no object, nothing.
func (f *keyFile) parseJSON(data []byte) ([]Handed, error) {
	j := &jsonText{file: f}
	text, err := j.read(data)
	if err != nil || text == nil {
		return nil, err
	}
	m, err := j.object(text)
	if err != nil {
		return nil, err
	}
	has := func(names ...string) int {
		n := 0
		for _, name := range names {
			if _, ok := m[name]; ok {
				n++
			}
		}
		return n
	}
	var all []Handed
	switch fast, rcs, asc := has("key", "filepath"), has("private_key"), has("keys", "private_key_path"); {
	case fast+rcs > 1, fast+rcs > 0 && asc > 0:
		err = errJSONMixed
	case has("key_content") > 0:
		err = errKeyContent
	case has("key_filepath") > 0:
		err = errKeyFilepath
	case fast > 0:
		all, err = one(j.fastlane(m))
	case rcs > 0:
		all, err = one(j.rcodesign(m))
	case asc > 0:
		all, err = j.asc(m)
	default:
		err = errJSONUnknown
	}
	if err != nil {
		return nil, err
	}
	if j.lenient {
		all[0].Notes = append(all[0].Notes, noteLenient)
	}
	return all, nil
}

func one(h Handed, err error) ([]Handed, error) {
	if err != nil {
		h.Wipe()
		return nil, err
	}
	return []Handed{h}, nil
}

func (j *jsonText) fastlane(m map[string][]byte) (Handed, error) {
	h := Handed{Shape: ShapeFastlane, At: "key"}
	if err := j.ids(&h, m); err != nil {
		return h, err
	}
	inHouse, err := j.flag(m, "in_house")
	if err != nil {
		return h, err
	}
	h.Kind = fastlaneKind(inHouse, h.Issuer)
	seconds, err := j.seconds(m, "duration")
	if err != nil {
		return h, err
	}
	h.Duration = time.Duration(seconds) * time.Second
	isBase64, err := j.flag(m, "is_key_content_base64")
	if err != nil {
		return h, err
	}
	if _, ok := m["filepath"]; ok {
		h.At = "filepath"
		path, err := j.text(m, "filepath")
		if err != nil {
			return h, err
		}
		return h, h.lies(path)
	}
	key, err := j.secret(m, "key")
	if err != nil {
		return h, err
	}
	return h, h.take(key, isBase64)
}

// fastlaneKind is what fastlane makes of a key's facts.
func fastlaneKind(inHouse bool, issuer IssuerID) Kind {
	switch {
	case inHouse:
		return KindEnterprise
	case issuer == "":
		return KindAppStoreConnectIndividual
	default:
		return KindAppStoreConnect
	}
}

func (j *jsonText) rcodesign(m map[string][]byte) (Handed, error) {
	h := Handed{Shape: ShapeRcodesign, At: "private_key"}
	if err := j.ids(&h, m); err != nil {
		return h, err
	}
	h.Kind = teamKind(h.Issuer)
	key, err := j.secret(m, "private_key")
	if err != nil {
		return h, err
	}
	return h, h.take(key, false)
}

// teamKind is that of a tool which knows team keys by their issuer ID, and says nothing of others.
func teamKind(issuer IssuerID) Kind {
	if issuer == "" {
		return ""
	}
	return KindAppStoreConnect
}

// asc reads the keys of a configuration: those in its list, and the one at its top when it is not among them.
func (j *jsonText) asc(m map[string][]byte) ([]Handed, error) {
	var all []Handed
	if list := m["keys"]; list != nil && string(list) != "null" {
		if list[0] != '[' {
			return nil, errors.New("keys is not a list")
		}
		for i, element := range array(list) {
			if element[0] != '{' {
				return nil, fmt.Errorf("keys[%d] is not an object", i)
			}
			entry, err := j.object(element)
			if err != nil {
				return nil, err
			}
			h, err := j.ascKey(entry)
			if err != nil {
				return nil, fmt.Errorf("keys[%d]: %w", i, err)
			}
			all = append(all, h)
		}
	}
	if _, ok := m["private_key_path"]; ok {
		top, err := j.ascKey(m)
		if err != nil {
			return nil, err
		}
		for _, h := range all {
			if h.Path == top.Path && h.KeyID == top.KeyID {
				return all, nil
			}
		}
		all = append(all, top)
	}
	if len(all) == 0 {
		return nil, errNoKeys
	}
	return all, nil
}

func (j *jsonText) ascKey(m map[string][]byte) (Handed, error) {
	h := Handed{Shape: ShapeASC, At: "private_key_path"}
	err := j.ids(&h, m)
	if err == nil {
		h.Name, err = j.text(m, "name")
	}
	if err != nil {
		return h, err
	}
	if len(h.Name) > 128 {
		return h, errors.New("name is longer than 128 bytes")
	}
	h.Kind = teamKind(h.Issuer)
	path, err := j.text(m, "private_key_path")
	if err != nil {
		return h, err
	}
	return h, h.lies(path)
}

// ids reads key_id and issuer_id, which all shapes call the same.
func (j *jsonText) ids(h *Handed, m map[string][]byte) error {
	id, err := j.text(m, "key_id")
	if err != nil {
		return err
	}
	issuer, err := j.text(m, "issuer_id")
	if err != nil {
		return err
	}
	return h.setIDs("key_id", id, "issuer_id", issuer)
}

// setIDs checks the IDs that were said, which are called so there.
func (h *Handed) setIDs(keyAt, keyID, issuerAt, issuer string) error {
	var err error
	if keyID != "" {
		if h.KeyID, err = ParseKeyID(keyID); err != nil {
			return fmt.Errorf("%s: %w", keyAt, err)
		}
		if odd := (Facts{KeyID: h.KeyID}).Unusual(); odd != "" {
			h.Notes = append(h.Notes, odd)
		}
	}
	if issuer != "" {
		if h.Issuer, err = ParseIssuerID(issuer); err != nil {
			return fmt.Errorf("%s: %w", issuerAt, err)
		}
	}
	return nil
}

const noteNotBase64 = "the key is said to be base64 of the file, and is the file itself; it was taken as it is"

// take parses the key that stands in the text itself.
func (h *Handed) take(text []byte, isBase64 bool) error {
	if len(bytes.TrimSpace(text)) == 0 {
		return fmt.Errorf("%s is empty", h.At)
	}
	key, err := ParseKey(text)
	if err != nil {
		return fmt.Errorf("%s: %w", h.At, err)
	}
	h.Key = key
	h.Notes = append(h.Notes, key.Notes()...)
	if isBase64 && bytes.Contains(text, []byte(pemBegin)) {
		h.Notes = append(h.Notes, noteNotBase64)
	}
	return nil
}

// lies takes the path of the key. People put the key itself there too.
func (h *Handed) lies(path string) error {
	switch {
	case path == "":
		return fmt.Errorf("%s is missing", h.At)
	case len(path) > 1024, strings.ContainsAny(path, "\n\r\x00"), strings.Contains(path, "PRIVATE KEY"), len(path) > 80 && !strings.Contains(path, "."):
		return fmt.Errorf("%s is no path: it is for where the key file lies, and the key itself goes elsewhere", h.At)
	}
	h.Path = path
	return nil
}
