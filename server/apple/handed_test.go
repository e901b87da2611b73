package apple

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	handedID     = "D383SF7390"
	handedIssuer = "6053b7fe-68a8-4acb-89be-165aa6465141"
)

// testPEM is the file of testKey as Apple would have handed it out.
var testPEM = string(encode("PRIVATE KEY", shapeApple.der()))

// quoted is text as a JSON string, with its marks.
func quoted(text string) string { return string(must(json.Marshal(text))) }

// ids are the members that all shapes have.
var ids = fmt.Sprintf(`"key_id": %q, "issuer_id": %q`, handedID, handedIssuer)

type handedRow struct {
	name string
	text string
	want []Handed // Key is not compared: where Path is empty it must be testKey
	err  string
}

func fastlane(change func(*Handed)) []Handed {
	h := Handed{Shape: ShapeFastlane, At: "key", Kind: KindAppStoreConnect, KeyID: handedID, Issuer: handedIssuer}
	if change != nil {
		change(&h)
	}
	return []Handed{h}
}

func noted(notes ...string) []Handed { return fastlane(func(h *Handed) { h.Notes = notes }) }

func asc(change func(*Handed)) Handed {
	h := Handed{Shape: ShapeASC, At: "private_key_path", Path: "AuthKey.p8", Name: "release", Kind: KindAppStoreConnect, KeyID: handedID, Issuer: handedIssuer}
	if change != nil {
		change(&h)
	}
	return h
}

func handedRows() []handedRow {
	key := `"key": ` + quoted(testPEM)
	body := base64.StdEncoding.EncodeToString(shapeApple.der())
	rcs := Handed{Shape: ShapeRcodesign, At: "private_key", Kind: KindAppStoreConnect, KeyID: handedID, Issuer: handedIssuer}
	entry := `{"name": "release", ` + ids + `, "private_key_path": "AuthKey.p8"}`
	return []handedRow{
		{name: "a key file", text: testPEM, want: []Handed{{Shape: ShapeFile}}},
		{name: "a key file that begins with a comment", text: "# from Apple\n" + testPEM, want: []Handed{{Shape: ShapeFile}}},
		{name: "the body alone", text: body, want: []Handed{{Shape: ShapeFile}}},

		{name: "fastlane", text: `{` + ids + `, ` + key + `, "duration": 1200, "in_house": false}`, want: fastlane(func(h *Handed) { h.Duration = 20 * time.Minute })},
		{name: "fastlane, with a byte order mark", text: "\uFEFF{" + ids + "," + key + "}\r\n", want: fastlane(nil)},
		{name: "fastlane, members that nobody knows", text: `{` + ids + `, "extra": {"key": ["}", {}], "n": null}, "more": [1, "]"], ` + key + `}`, want: fastlane(nil)},
		{name: "fastlane, an individual key", text: `{"key_id": "` + handedID + `", ` + key + `}`, want: fastlane(func(h *Handed) { h.Kind, h.Issuer = KindAppStoreConnectIndividual, "" })},
		{name: "fastlane, spaces before commas", text: `{ "key_id" : "` + handedID + `" , "issuer_id" : "` + handedIssuer + `" ,` + key + ` }`, want: fastlane(nil)},
		{name: "fastlane, issuer null", text: `{"key_id": "` + handedID + `", "issuer_id": null, ` + key + `}`, want: fastlane(func(h *Handed) { h.Kind, h.Issuer = KindAppStoreConnectIndividual, "" })},
		{name: "fastlane, issuer empty", text: `{"key_id": "` + handedID + `", "issuer_id": " ", ` + key + `}`, err: "issuer_id is empty: fill it in, or take the line out"},
		{name: "fastlane, in house", text: `{` + ids + `, ` + key + `, "in_house": true}`, want: fastlane(func(h *Handed) { h.Kind = KindEnterprise })},
		{name: "fastlane, in house as text", text: `{` + ids + `, ` + key + `, "in_house": "Yes"}`, want: fastlane(func(h *Handed) { h.Kind = KindEnterprise })},
		{name: "fastlane, in house without an issuer", text: `{"key_id": "` + handedID + `", ` + key + `, "in_house": true}`, want: fastlane(func(h *Handed) { h.Kind, h.Issuer = KindEnterprise, "" })},
		{name: "fastlane, in house perhaps", text: `{` + ids + `, ` + key + `, "in_house": "perhaps"}`, err: "in_house is neither true nor false"},
		{name: "fastlane, in house a list", text: `{` + ids + `, ` + key + `, "in_house": []}`, err: "in_house is neither true nor false"},
		{name: "fastlane, no key ID", text: `{"issuer_id": "` + handedIssuer + `", ` + key + `}`, want: fastlane(func(h *Handed) { h.KeyID = "" })},
		{name: "fastlane, key ID a number", text: `{"key_id": 5, ` + key + `}`, err: "key_id is not a string"},
		{name: "fastlane, key ID odd", text: `{"key_id": "D383SF739", "issuer_id": "` + handedIssuer + `", ` + key + `}`, want: fastlane(func(h *Handed) {
			h.KeyID, h.Notes = "D383SF739", []string{"the key ID is not ten upper-case letters and digits, as nearly all are: compare it with the one that Apple shows"}
		})},
		{name: "fastlane, key ID that is none", text: `{"key_id": "a b", ` + key + `}`, err: "key_id: " + text(ParseKeyID("a b"))},
		{name: "fastlane, issuer that is none", text: `{"key_id": "` + handedID + `", "issuer_id": "x", ` + key + `}`, err: "issuer_id: " + text(ParseIssuerID("x"))},
		{name: "fastlane, duration as text", text: `{` + ids + `, ` + key + `, "duration": "500"}`, want: fastlane(func(h *Handed) { h.Duration = 500 * time.Second })},
		{name: "fastlane, duration in words", text: `{` + ids + `, ` + key + `, "duration": "long"}`, err: "duration is not a number of seconds"},
		{name: "fastlane, duration negative", text: `{` + ids + `, ` + key + `, "duration": -1}`, err: "duration is not a number of seconds"},
		{name: "fastlane, base64", text: `{` + ids + `, "is_key_content_base64": true, "key": ` + quoted(base64.StdEncoding.EncodeToString([]byte(testPEM))) + `}`, want: fastlane(nil)},
		{name: "fastlane, base64 and not said", text: `{` + ids + `, "key": ` + quoted(base64.StdEncoding.EncodeToString([]byte(testPEM))) + `}`, want: fastlane(nil)},
		{name: "fastlane, not base64 and said", text: `{` + ids + `, "is_key_content_base64": "true", ` + key + `}`, want: noted(noteNotBase64)},
		{name: "fastlane, base64 perhaps", text: `{` + ids + `, "is_key_content_base64": 7, ` + key + `}`, err: "is_key_content_base64 is neither true nor false"},
		{name: "fastlane, the body alone", text: `{` + ids + `, "key": ` + quoted(body) + `}`, want: fastlane(nil)},
		{name: "fastlane, line ends escaped twice", text: `{` + ids + `, "key": ` + quoted(strings.ReplaceAll(testPEM, "\n", `\n`)) + `}`, want: fastlane(nil)},
		{name: "fastlane, slashes escaped", text: `{` + ids + `, "key": ` + strings.ReplaceAll(quoted(testPEM), "/", `\/`) + `}`, want: fastlane(nil)},
		{name: "fastlane, escaped as some do", text: `{` + ids + `, "key": ` + strings.NewReplacer("+", `\u002B`, "/", `\u002f`, "=", `\u003d`, `\n`, `\r\n\t`).Replace(quoted(testPEM)) + `}`, want: fastlane(nil)},
		{name: "fastlane, line ends in the string", text: `{` + ids + `, "key": "` + testPEM + `"}`, want: noted(noteLenient)},
		{name: "fastlane, comments", text: "// ours\n{\n  # the ids\n  " + ids + ", /* and */ " + key + ",\n  \"duration\": 500, # optional\n  \"in_house\": false // optional\n}\n# end",
			want: fastlane(func(h *Handed) { h.Duration, h.Notes = 500*time.Second, []string{noteLenient} })},
		{name: "fastlane, a comma too many", text: `{` + ids + `, ` + key + ",\n # \"in_house\": false\n}", want: noted(noteLenient)},
		{name: "fastlane, what looks like a comment in a string", text: `{` + ids + `, "team": "a // b # c, }", ` + key + `}`, want: fastlane(nil)},
		{name: "fastlane, filepath", text: `{` + ids + `, "filepath": "./keys/AuthKey.p8"}`, want: fastlane(func(h *Handed) { h.At, h.Path = "filepath", "./keys/AuthKey.p8" })},
		{name: "fastlane, filepath empty", text: `{` + ids + `, "filepath": ""}`, err: "filepath is empty: fill it in, or take the line out"},
		{name: "fastlane, filepath null", text: `{` + ids + `, "filepath": null}`, err: "filepath is missing"},
		{name: "fastlane, the key as filepath", text: `{` + ids + `, "filepath": ` + quoted(testPEM) + `}`, err: "filepath is no path: it is for where the key file lies, and the key itself goes elsewhere"},
		{name: "fastlane, the body as filepath", text: `{` + ids + `, "filepath": ` + quoted(body) + `}`, err: "filepath is no path: it is for where the key file lies, and the key itself goes elsewhere"},
		{name: "fastlane, key and filepath", text: `{` + ids + `, "filepath": "x", ` + key + `}`, err: errJSONMixed.Error()},
		{name: "fastlane, key empty", text: `{` + ids + `, "key": ""}`, err: "key is empty"},
		{name: "fastlane, key null", text: `{` + ids + `, "key": null}`, err: "key is empty"},
		{name: "fastlane, key an object", text: `{` + ids + `, "key": {}}`, err: "key is not a string"},
		{name: "fastlane, key cut short", text: `{` + ids + `, "key": ` + quoted(testPEM[:120]) + `}`, err: "key: " + errEndLine.Error()},
		{name: "fastlane, key twice", text: `{` + ids + `, ` + key + `, ` + key + `}`, err: errJSONTwice.Error()},
		{name: "Ruby's names", text: `{` + ids + `, "key_content": ` + quoted(testPEM) + `}`, err: errKeyContent.Error()},
		{name: "Ruby's names, filepath", text: `{` + ids + `, "key_filepath": "AuthKey.p8"}`, err: errKeyFilepath.Error()},

		{name: "rcodesign", text: `{` + ids + `, "private_key": ` + quoted(body) + `}`, want: []Handed{rcs}},
		{name: "rcodesign, without an issuer", text: `{"key_id": "` + handedID + `", "private_key": ` + quoted(body) + `}`, want: []Handed{{Shape: ShapeRcodesign, At: "private_key", KeyID: handedID}}},
		{name: "rcodesign, damaged", text: `{` + ids + `, "private_key": ` + quoted(body[:100]) + `}`, err: "private_key: " + cutShort()},
		{name: "rcodesign, key ID that is none", text: `{"key_id": "a b", "private_key": ` + quoted(body) + `}`, err: "key_id: " + text(ParseKeyID("a b"))},
		{name: "rcodesign, a number", text: `{` + ids + `, "private_key": 12}`, err: "private_key is not a string"},
		{name: "rcodesign and fastlane", text: `{` + ids + `, "private_key": ` + quoted(body) + `, ` + key + `}`, err: errJSONMixed.Error()},

		{name: "asc", text: `{"default_key_name": "release", "keys": [` + entry + `, {"name": "Push Team", "key_id": "AAAAAAAAAA", "private_key_path": "~/b.p8"}]}`, want: []Handed{
			asc(nil), {Shape: ShapeASC, At: "private_key_path", Name: "Push Team", KeyID: "AAAAAAAAAA", Path: "~/b.p8"}}},
		{name: "asc, one at the top", text: `{` + ids + `, "private_key_path": "AuthKey.p8"}`, want: []Handed{asc(func(h *Handed) { h.Name = "" })}},
		{name: "asc, the same at the top", text: `{` + ids + `, "private_key_path": "AuthKey.p8", "keys": [` + entry + `]}`, want: []Handed{asc(nil)}},
		{name: "asc, another at the top", text: `{` + ids + `, "private_key_path": "other.p8", "keys": [` + entry + `]}`, want: []Handed{asc(nil), asc(func(h *Handed) { h.Name, h.Path = "", "other.p8" })}},
		{name: "asc, no keys", text: `{"keys": []}`, err: errNoKeys.Error()},
		{name: "asc, an issuer that is none", text: `{"keys": [{"issuer_id": 1, "private_key_path": "x"}]}`, err: "keys[0]: issuer_id is not a string"},
		{name: "asc, a name that is none", text: `{"keys": [{"name": [], "private_key_path": "x"}]}`, err: "keys[0]: name is not a string"},
		{name: "asc, a path that is none", text: `{"keys": [{"private_key_path": {}}]}`, err: "keys[0]: private_key_path is not a string"},
		{name: "asc, nothing good at the top", text: `{"keys": [` + entry + `], "private_key_path": null}`, err: "private_key_path is missing"},
		{name: "asc, keys null", text: `{"keys": null}`, err: errNoKeys.Error()},
		{name: "asc, keys no list", text: `{"keys": {}}`, err: "keys is not a list"},
		{name: "asc, a key that is none", text: `{"keys": [` + entry + `, 7]}`, err: "keys[1] is not an object"},
		{name: "asc, a key without a path", text: `{"keys": [{"name": "x"}]}`, err: "keys[0]: private_key_path is missing"},
		{name: "asc, a name that is too long", text: `{"keys": [{"name": "` + strings.Repeat("x", 129) + `", "private_key_path": "x"}]}`, err: "keys[0]: name is longer than 128 bytes"},
		{name: "asc, a member twice", text: `{"keys": [{"name": "x", "name": "y", "private_key_path": "x"}]}`, err: errJSONTwice.Error()},
		{name: "asc, names escaped", text: `{"k\u0065ys": [{"name": "\ud83d\ude00", "private_key_path": "\"\\\b"}]}`, want: []Handed{{Shape: ShapeASC, At: "private_key_path", Name: "??", Path: `"\`}}},
		{name: "asc and a key", text: `{"keys": [` + entry + `], ` + key + `}`, err: errJSONMixed.Error()},

		{name: "JSON of something else", text: `{"name": "left-pad", "version": "1.3.0"}`, err: errJSONUnknown.Error()},
		{name: "an empty object", text: `{}`, err: errJSONUnknown.Error()},
		{name: "JSON that is broken", text: "{\n  " + ids + "\n  " + key + "\n}", err: brokenAt(3)},
		{name: "JSON that is cut off", text: `{` + ids + `, ` + key[:80], err: brokenAt(1)},
		{name: "a string without an end", text: `{"a`, err: brokenAt(1)},
		{name: "a bracket alone", text: `{`, err: brokenAt(1)},
		{name: "two objects", text: "{}\n{}", err: brokenAt(2)},
		{name: "a comment without an end, so text before a key", text: `/* {` + key + `}`, want: []Handed{{Shape: ShapeFile}}},
		{name: "in UTF-16", text: "{\x00\"\x00", err: errUTF16.Error()},
		{name: "too large", text: strings.Repeat(" ", MaxHandedLen+1), err: errTooLong.Error()},
		{name: "empty", text: "", err: errEmptyFile.Error()},
	}
}

func text[A any](_ A, err error) string { return err.Error() }

// cutShort is what ParseKey says of a body of which the end is missing.
func cutShort() string {
	return text(ParseKey([]byte(base64.StdEncoding.EncodeToString(shapeApple.der())[:100])))
}

func brokenAt(line int) string {
	return fmt.Sprintf("the JSON is broken at line %d: a quotation mark, comma or bracket is missing there or just before, or the file was cut off", line)
}

var compareHanded = cmp.Options{cmpopts.IgnoreFields(Handed{}, "Key"), cmpopts.EquateEmpty()}

func checkHanded(t *testing.T, got, want []Handed) {
	t.Helper()
	if diff := cmp.Diff(want, got, compareHanded); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, h := range got {
		switch {
		case h.Path != "" && h.Key != nil:
			t.Error("both a path and a key")
		case h.Path == "" && !h.Key.Public().Equal(&testKey.PublicKey):
			t.Error("another key")
		}
	}
}

func TestParseHanded(t *testing.T) {
	for _, row := range handedRows() {
		t.Run(row.name, func(t *testing.T) {
			data := []byte(row.text)
			got, err := ParseHanded(data)
			if string(data) != row.text {
				t.Error("the input was changed")
			}
			if row.err != "" {
				if err == nil || err.Error() != row.err {
					t.Fatalf("error\n got %v\nwant %q", err, row.err)
				}
				return
			}
			if err != nil {
				t.Fatalf("refused: %v", err)
			}
			checkHanded(t, got, row.want)
			for _, h := range got {
				h.Wipe()
				if h.Key != nil && !bytes.Equal(h.Key.PKCS8(), make([]byte, pkcs8Len)) {
					t.Error("Wipe left the key")
				}
			}
		})
	}
}

// Whatever was allocated for key bytes is wiped, and the key was in what is.
func TestParseHandedWipes(t *testing.T) {
	for _, row := range handedRows() {
		if !strings.HasPrefix(row.text, "{") || len(row.text) > MaxHandedLen {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			var f keyFile
			_, err := f.parseJSON([]byte(row.text))
			found := false
			for _, b := range f.scratch {
				found = found || bytes.Contains(b[:cap(b)], []byte("PRIVATE KEY"))
			}
			if err == nil && strings.Contains(row.text, "PRIVATE KEY") && !found {
				t.Error("the key was read into some other buffer")
			}
			f.wipe()
			for i, b := range f.scratch {
				if len(bytes.Trim(b[:cap(b)], "\x00")) > 0 {
					t.Errorf("scratch buffer %d is not wiped", i)
				}
			}
		})
	}
}

var digits = regexp.MustCompile(`\d+`)

// handedWords are the texts of all errors, with numbers taken out.
func handedWords(tb testing.TB) map[string]bool {
	words := make(map[string]bool)
	add := func(s string) { words[digits.ReplaceAllString(s, "N")] = true }
	for _, row := range handedRows() {
		add(row.err)
	}
	inner := make([]string, 0, 64)
	for word := range keyWords(keyRows(tb)) {
		inner = append(inner, word)
	}
	for _, word := range inner {
		add(word)
		add("key: " + word)
		add("private_key: " + word)
	}
	for _, name := range []string{"key_id", "issuer_id", "name", "filepath", "private_key_path", "key", "private_key"} {
		for _, at := range []string{"", "keys[0]: "} {
			for _, problem := range []string{" is not a string", " is empty", " is empty: fill it in, or take the line out", " is missing",
				" is no path: it is for where the key file lies, and the key itself goes elsewhere", ": " + text(ParseKeyID("a b")), ": " + text(ParseIssuerID("x"))} {
				add(at + name + problem)
			}
		}
	}
	return words
}

// FuzzParseHanded checks that what is accepted is a key, or a path, with facts that parse; that nothing panics; and
// that an error says one of the things that the tables say and nothing of the input.
func FuzzParseHanded(f *testing.F) {
	words := handedWords(f)
	for _, row := range handedRows() {
		f.Add([]byte(row.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		all, err := ParseHanded(data)
		if !bytes.Equal(data, before) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if len(all) > 0 {
				t.Fatal("keys beside an error")
			}
			if !words[digits.ReplaceAllString(err.Error(), "N")] {
				t.Fatalf("an error that is not in the tables: %q", err)
			}
			return
		}
		if len(all) == 0 {
			t.Fatal("neither keys nor an error")
		}
		for _, h := range all {
			if (h.Key == nil) == (h.Path == "") {
				t.Fatalf("not one of a key and a path: %+v", h)
			}
			if h.KeyID != "" {
				if _, err := ParseKeyID(string(h.KeyID)); err != nil {
					t.Fatal(err)
				}
			}
			if h.Issuer != "" {
				if _, err := ParseIssuerID(string(h.Issuer)); err != nil {
					t.Fatal(err)
				}
			}
			if h.Kind != "" {
				if _, err := ParseKind(string(h.Kind)); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func TestParseEnvironment(t *testing.T) {
	const a, s, c = "APP_STORE_CONNECT_API_KEY_", "SPACESHIP_CONNECT_API_", "ASC_"
	body := base64.StdEncoding.EncodeToString([]byte(testPEM))
	tests := []struct {
		name string
		env  map[string]string
		want Handed
		err  string
	}{
		{name: "fastlane", env: map[string]string{a + "KEY_ID": handedID, a + "ISSUER_ID": handedIssuer, a + "KEY": testPEM, a + "DURATION": "1200", a + "IN_HOUSE": "false"},
			want: Handed{Shape: ShapeFastlane, At: a + "KEY", Kind: KindAppStoreConnect, KeyID: handedID, Issuer: handedIssuer, Duration: 20 * time.Minute}},
		{name: "fastlane, base64, in house, line ends written out", env: map[string]string{a + "KEY_ID": handedID, a + "ISSUER_ID": handedIssuer, a + "KEY": body, a + "IS_KEY_CONTENT_BASE64": "true", a + "IN_HOUSE": "1"},
			want: Handed{Shape: ShapeFastlane, At: a + "KEY", Kind: KindEnterprise, KeyID: handedID, Issuer: handedIssuer}},
		{name: "fastlane, a path, individual", env: map[string]string{a + "KEY_ID": handedID, a + "KEY_FILEPATH": " AuthKey.p8 "},
			want: Handed{Shape: ShapeFastlane, At: a + "KEY_FILEPATH", Path: "AuthKey.p8", Kind: KindAppStoreConnectIndividual, KeyID: handedID}},
		{name: "spaceship", env: map[string]string{s + "KEY_ID": handedID, s + "ISSUER_ID": handedIssuer, s + "KEY": strings.ReplaceAll(testPEM, "\n", `\n`), s + "TOKEN_DURATION": "500"},
			want: Handed{Shape: ShapeFastlane, At: s + "KEY", Kind: KindAppStoreConnect, KeyID: handedID, Issuer: handedIssuer, Duration: 500 * time.Second}},
		{name: "asc", env: map[string]string{c + "KEY_ID": handedID, c + "ISSUER_ID": handedIssuer, c + "PRIVATE_KEY": testPEM},
			want: Handed{Shape: ShapeASC, At: c + "PRIVATE_KEY", Kind: KindAppStoreConnect, KeyID: handedID, Issuer: handedIssuer}},
		{name: "asc, base64", env: map[string]string{c + "KEY_ID": handedID, c + "PRIVATE_KEY_B64": body}, want: Handed{Shape: ShapeASC, At: c + "PRIVATE_KEY_B64", KeyID: handedID}},
		{name: "asc, a path", env: map[string]string{c + "PRIVATE_KEY_PATH": "~/k.p8"}, want: Handed{Shape: ShapeASC, At: c + "PRIVATE_KEY_PATH", Path: "~/k.p8"}},
		{name: "nothing", err: errNoEnvironment.Error()},
		{name: "a key ID alone", env: map[string]string{c + "KEY_ID": handedID}, err: "ASC_KEY_ID is set, and neither ASC_PRIVATE_KEY nor ASC_PRIVATE_KEY_PATH holds its key"},
		{name: "a JSON file", env: map[string]string{a + "PATH": "fastlane.json"}, err: "APP_STORE_CONNECT_API_KEY_PATH names a JSON file: give that file instead"},
		{name: "two ways", env: map[string]string{a + "KEY": testPEM, a + "KEY_FILEPATH": "x"}, err: a + "KEY and " + a + "KEY_FILEPATH are both set: unset the one that does not count"},
		{name: "two tools", env: map[string]string{a + "KEY": testPEM, c + "PRIVATE_KEY": testPEM}, err: a + "KEY and ASC_PRIVATE_KEY are both set, for two tools: unset the one that does not count"},
		{name: "a damaged key", env: map[string]string{c + "PRIVATE_KEY": testPEM[:100]}, err: "ASC_PRIVATE_KEY: " + errEndLine.Error()},
		{name: "blanks", env: map[string]string{c + "PRIVATE_KEY": " "}, err: "ASC_PRIVATE_KEY is empty"},
		{name: "the key as a path", env: map[string]string{c + "PRIVATE_KEY_PATH": testPEM}, err: "ASC_PRIVATE_KEY_PATH is no path: it is for where the key file lies, and the key itself goes elsewhere"},
		{name: "no key ID", env: map[string]string{c + "PRIVATE_KEY": testPEM, c + "KEY_ID": "a b"}, err: "ASC_KEY_ID: " + text(ParseKeyID("a b"))},
		{name: "no issuer", env: map[string]string{c + "PRIVATE_KEY": testPEM, c + "ISSUER_ID": "a b"}, err: "ASC_ISSUER_ID: " + text(ParseIssuerID("x"))},
		{name: "in house perhaps", env: map[string]string{s + "KEY": testPEM, s + "IN_HOUSE": "maybe"}, err: s + "IN_HOUSE is neither true nor false"},
		{name: "base64 perhaps", env: map[string]string{a + "KEY": testPEM, a + "IS_KEY_CONTENT_BASE64": "maybe"}, err: a + "IS_KEY_CONTENT_BASE64 is neither true nor false"},
		{name: "no duration", env: map[string]string{s + "KEY": testPEM, s + "TOKEN_DURATION": "maybe"}, err: s + "TOKEN_DURATION is not a number of seconds"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseEnvironment(func(name string) string { return tt.env[name] })
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("error\n got %v\nwant %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkHanded(t, []Handed{got}, []Handed{tt.want})
		})
	}
}
