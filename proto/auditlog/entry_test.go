package auditlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 123456000, time.UTC)

// full is an entry with every field.
func full() *Entry {
	return &Entry{
		Time: noon, ID: "0197", Node: "node-a", Action: "token.mint", Outcome: Allowed,
		Principal: &Principal{
			Kind: "oidc", ID: "repo:acme/app", Claims: map[string]string{"ref": "refs/heads/main", "a\"b": `back\slash`},
			Certificate: "sha256:" + strings.Repeat("0", 64),
		},
		Peer: "10.0.0.1:443", Profile: "ios", Key: "asc", Version: 2, KeyID: "2X9R4HXF34", Fingerprint: "sha256:" + strings.Repeat("1", 64),
		Grant: "ci", Policy: "sha256:" + strings.Repeat("2", 64), Requested: &Requested{TTL: 600, Scope: []string{"GET /v1/apps"}, Values: map[string]string{"product_id": "a.b", "offer_id": `o"`, "topics": ""}},
		Token:  &Token{Family: "app-store-connect", Scope: []string{"GET /v1/apps", "GET /v1/builds"}, IssuedAt: 1, Expires: 2, SHA256: Sum{1}, Nonce: "n-1", Reused: true},
		Reason: "grüße, \"quoted\" \\ back", Justification: "incident 7", Root: &Root{Lineage: "l", Revision: math.MaxUint64, Digest: "d"},
		Count: 3, Gap: &Gap{ID: "g1", Kind: "log", Log: "log-0", Size: 0, Hash: Hash{9}}, Issued: &Issued{URI: "spiffe://a/b", SHA256: Sum{2}, Expires: noon},
	}
}

func TestEntryRoundTrip(t *testing.T) {
	least := func() *Entry { return &Entry{Time: noon, Node: "n", Action: "a", Outcome: Denied} }
	tests := []struct {
		name string
		e    *Entry
		want string // "" : only the round trip
	}{
		{"least", least(), `{"v":1,"time":"2026-03-04T12:00:00.123456Z","node":"n","action":"a","outcome":"denied"}`},
		{"full", full(), ""},
		{"requested ttl", func() *Entry { e := least(); e.Requested = &Requested{TTL: 5}; return e }(), ""},
		{"requested scope", func() *Entry { e := least(); e.Requested = &Requested{Scope: []string{"x"}}; return e }(), ""},
		{"requested values", func() *Entry {
			e := least()
			e.Requested = &Requested{Values: map[string]string{"": "x", "a": ""}}
			return e
		}(), ""},
		{"requested ttl and values", func() *Entry {
			e := least()
			e.Requested = &Requested{TTL: 5, Values: map[string]string{"a": "b"}}
			return e
		}(), ""},
		{"requested scope and values", func() *Entry {
			e := least()
			e.Requested = &Requested{Scope: []string{"x"}, Values: map[string]string{"a": "b"}}
			return e
		}(), ""},
		{"token without end, with a nonce", func() *Entry { e := least(); e.Token = &Token{Family: "f", IssuedAt: 1, Nonce: "n"}; return e }(), ""},
		{"gap without log", func() *Entry { e := least(); e.Gap = &Gap{ID: "g", Kind: "store"}; return e }(), ""},
		{"token not reused", func() *Entry { e := least(); e.Token = &Token{Family: "f"}; return e }(), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			line, err := tt.e.AppendJSON([]byte("before"))
			if err != nil {
				t.Fatal(err)
			}
			line = line[len("before"):]
			if tt.want != "" && string(line) != tt.want {
				t.Errorf("line %s\nwant %s", line, tt.want)
			}
			got, err := ParseEntry(line)
			if err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if diff := cmp.Diff(tt.e, got); diff != "" {
				t.Errorf("round trip (-want +got):\n%s", diff)
			}
			var other struct {
				V         int
				Time      time.Time
				Reason    string
				Principal *struct{ Claims map[string]string }
			}
			if err := json.Unmarshal(line, &other); err != nil {
				t.Fatalf("not JSON: %v: %s", err, line)
			}
			if other.V != 1 || !other.Time.Equal(tt.e.Time) || other.Reason != tt.e.Reason {
				t.Errorf("another parser reads %+v", other)
			}
			if tt.e.Principal != nil {
				if diff := cmp.Diff(tt.e.Principal.Claims, other.Principal.Claims); diff != "" {
					t.Errorf("claims (-want +got):\n%s", diff)
				}
			}
			if KindOf(line) != EntryLine {
				t.Error("not told to be an entry")
			}
		})
	}
}

// TestEntryVector pins the format: what is in logs must stay readable.
func TestEntryVector(t *testing.T) {
	const want = `{"v":1,"time":"2026-03-04T12:00:00.123456Z","id":"0197","node":"node-a","action":"token.mint","outcome":"allowed",` +
		`"principal":{"kind":"oidc","id":"repo:acme/app","claims":{"a\"b":"back\\slash","ref":"refs/heads/main"},` +
		`"certificate":"sha256:0000000000000000000000000000000000000000000000000000000000000000"},` +
		`"peer":"10.0.0.1:443","profile":"ios","key":"asc","version":2,"kid":"2X9R4HXF34",` +
		`"fingerprint":"sha256:1111111111111111111111111111111111111111111111111111111111111111","grant":"ci",` +
		`"policy":"sha256:2222222222222222222222222222222222222222222222222222222222222222",` +
		`"requested":{"ttl":600,"scope":["GET /v1/apps"],"values":{"offer_id":"o\"","product_id":"a.b","topics":""}},` +
		`"token":{"family":"app-store-connect","scope":["GET /v1/apps","GET /v1/builds"],"iat":1,"exp":2,` +
		`"sha256":"0100000000000000000000000000000000000000000000000000000000000000","nonce":"n-1","reused":true},` +
		`"reason":"grüße, \"quoted\" \\ back","justification":"incident 7",` +
		`"root":{"lineage":"l","revision":18446744073709551615,"digest":"d"},"count":3,` +
		`"gap":{"id":"g1","kind":"log","log":"log-0","size":0,"hash":"CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},` +
		`"issued":{"uri":"spiffe://a/b","sha256":"0200000000000000000000000000000000000000000000000000000000000000","expires":"2026-03-04T12:00:00.123456Z"}}`
	got, err := full().AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

// TestEarlierEntries: lines that were written before there were values and nonces read as they did.
func TestEarlierEntries(t *testing.T) {
	for _, line := range []string{
		`{"v":1,"time":"2026-03-04T12:00:00.123456Z","node":"n","action":"token.mint","outcome":"allowed","requested":{"ttl":600},` +
			`"token":{"family":"app-store-connect","iat":1,"exp":2,"sha256":"0100000000000000000000000000000000000000000000000000000000000000","reused":true}}`,
		`{"v":1,"time":"2026-03-04T12:00:00.123456Z","node":"n","action":"token.mint","outcome":"denied","requested":{"scope":["GET /v1/apps"]}}`,
		`{"v":1,"time":"2026-03-04T12:00:00.123456Z","node":"n","action":"token.mint","outcome":"denied","requested":{"ttl":600,"scope":["GET /v1/apps"]}}`,
	} {
		e, err := ParseEntry([]byte(line))
		if err != nil {
			t.Errorf("%v: %s", err, line)
			continue
		}
		if e.Requested.Values != nil || e.Token != nil && e.Token.Nonce != "" {
			t.Errorf("%+v has more than the line", e)
		}
		if again, err := e.AppendJSON(nil); err != nil || string(again) != line {
			t.Errorf("written again it is %s, %v", again, err)
		}
	}
}

func TestEntryRefused(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Entry)
		want string
	}{
		{"no time", func(e *Entry) { e.Time = time.Time{} }, "time: missing"},
		{"far time", func(e *Entry) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "time: missing or out of range"},
		{"no node", func(e *Entry) { e.Node = "" }, "node: missing"},
		{"no action", func(e *Entry) { e.Action = "" }, "action: missing"},
		{"no outcome", func(e *Entry) { e.Outcome = "" }, "outcome: missing"},
		{"newline", func(e *Entry) { e.Reason = "a\nb" }, "reason: holds a control character"},
		{"C1", func(e *Entry) { e.Peer = "a\u0085b" }, "peer: holds a control character"},
		{"not UTF-8", func(e *Entry) { e.Justification = "a\xffb" }, "justification: is not UTF-8"},
		{"long", func(e *Entry) { e.Profile = strings.Repeat("a ", MaxTextLen) }, "profile: longer than"},
		{"long claim", func(e *Entry) { e.Principal.Claims[strings.Repeat("a ", MaxTextLen)] = "" }, "claims: longer than"},
		{"many claims", func(e *Entry) {
			for i := range MaxClaims {
				e.Principal.Claims[strings.Repeat("a", i+1)] = ""
			}
		}, "claims: too many"},
		{"many values", func(e *Entry) {
			for i := range MaxValues {
				e.Requested.Values[strings.Repeat("a", i+1)] = ""
			}
		}, "values: too many"},
		{"long value", func(e *Entry) { e.Requested.Values["a"] = strings.Repeat("a ", MaxTextLen) }, "values: longer than"},
		{"value with a newline", func(e *Entry) { e.Requested.Values["a"] = "a\nb" }, "values: holds a control character"},
		{"key as a value", func(e *Entry) { e.Requested.Values["a"] = "-----BEGIN PRIVATE KEY-----" }, "values: text looks like a private key"},
		{"key as the name of a value", func(e *Entry) { e.Requested.Values["-----BEGIN PRIVATE KEY-----"] = "a" }, "values: text looks like a private key"},
		{"key as a nonce", func(e *Entry) { e.Token.Nonce = "-----BEGIN PRIVATE KEY-----" }, "nonce: text looks like a private key"},
		{"many scopes", func(e *Entry) { e.Token.Scope = make([]string, MaxScopeLen+1) }, "scope: too many"},
		{"negative", func(e *Entry) { e.Requested.TTL = -1 }, "ttl: negative"},
		{"negative version", func(e *Entry) { e.Version = -1 }, "version: negative"},
		{"token without family", func(e *Entry) { e.Token.Family = "" }, "family: missing"},
		{"all too long", func(e *Entry) {
			for range MaxScopeLen {
				e.Requested.Scope = append(e.Requested.Scope, strings.Repeat("a ", 1000))
			}
			e.Requested.Scope = e.Requested.Scope[:MaxScopeLen]
		}, "longer than 65536"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := full()
			tt.edit(e)
			dst := []byte("before")
			got, err := e.AppendJSON(dst)
			if !errors.Is(err, ErrEntry) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if !bytes.Equal(got, dst) {
				t.Errorf("refused, yet %d bytes were appended", len(got)-len(dst))
			}
			if err != nil && len(err.Error()) > 200 {
				t.Errorf("the error quotes the input")
			}
		})
	}
}

func TestParseEntryStrict(t *testing.T) {
	line, err := full().AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	good := string(line)
	tests := []struct{ name, old, new string }{
		{"version", `"v":1`, `"v":2`},
		{"space", `,"node"`, `, "node"`},
		{"unknown field", `,"count":3`, `,"count":3,"extra":1`},
		{"order", `"profile":"ios","key":"asc"`, `"key":"asc","profile":"ios"`},
		{"twice", `"key":"asc"`, `"key":"asc","key":"asc"`},
		{"empty", `"grant":"ci"`, `"grant":""`},
		{"zero", `"count":3`, `"count":0`},
		{"leading zero", `"count":3`, `"count":03`},
		{"negative", `"count":3`, `"count":-3`},
		{"overflow", `18446744073709551615`, `18446744073709551616`},
		{"overflow of an int", `"count":3`, `"count":9223372036854775808`},
		{"false", `"reused":true`, `"reused":false`},
		{"upper hex", `"sha256":"01`, `"sha256":"0A`},
		{"escape", `\"quoted\"`, `\u0022quoted\"`},
		{"unneeded escape", `GET /v1`, `GET \/v1`},
		{"day", `03-04T`, `02-30T`},
		{"zone", `123456Z`, `123456+`},
		{"leap second", `12:00:00.123456Z","id"`, `12:00:60.123456Z","id"`},
		{"claims order", `"a\"b":"back\\slash","ref"`, `"zzz":"back\\slash","ref"`},
		{"claims twice", `"a\"b":"back\\slash","ref"`, `"ref":"back\\slash","ref"`},
		{"values order", `"offer_id":"o\"","product_id"`, `"zzz":"o\"","product_id"`},
		{"values twice", `"offer_id":"o\"","product_id"`, `"product_id":"o\"","product_id"`},
		{"empty values", `"values":{"offer_id":"o\"","product_id":"a.b","topics":""}`, `"values":{}`},
		{"values before the scope", `"scope":["GET /v1/apps"],"values":{"offer_id":"o\"","product_id":"a.b","topics":""}`,
			`"values":{"offer_id":"o\"","product_id":"a.b","topics":""},"scope":["GET /v1/apps"]`},
		{"a value that is no text", `"product_id":"a.b"`, `"product_id":1`},
		{"empty nonce", `"nonce":"n-1"`, `"nonce":""`},
		{"nonce behind reused", `"nonce":"n-1","reused":true`, `"reused":true,"nonce":"n-1"`},
		{"base64", `CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=`, `CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=`},
		{"null", `"justification":"incident 7"`, `"justification":null`},
		{"empty requested", `"requested":{"ttl":600,"scope":["GET /v1/apps"],"values":{"offer_id":"o\"","product_id":"a.b","topics":""}}`, `"requested":{}`},
		{"empty scope", `"scope":["GET /v1/apps"],"values"`, `"scope":[],"values"`},
		{"end", `}}`, `}}}`},
		{"newline", `}}`, "}}\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bad := strings.Replace(good, tt.old, tt.new, 1)
			if tt.name == "end" || tt.name == "newline" {
				bad = strings.TrimSuffix(good, tt.old) + tt.new
			}
			if bad == good {
				t.Fatal("the test changes nothing")
			}
			if _, err := ParseEntry([]byte(bad)); !errors.Is(err, ErrEntry) {
				t.Errorf("accepted, or %v", err)
			}
		})
	}
	for i := range good {
		if _, err := ParseEntry([]byte(good[:i])); err == nil {
			t.Errorf("accepted when cut to %d bytes", i)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	for _, e := range []*Entry{full(), {Time: noon, Node: "n", Action: "a", Outcome: Failed, Requested: &Requested{Scope: []string{"", `"\`}}},
		{Time: noon, Node: "n", Action: "a", Outcome: Failed, Requested: &Requested{Values: map[string]string{"": "", `"`: `\`}}, Token: &Token{Family: "f", Nonce: "n"}}} {
		line, err := e.AppendJSON(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := ParseEntry(line)
		if err != nil {
			return
		}
		if !json.Valid(line) {
			t.Errorf("accepted what is not JSON: %q", line)
		}
		again, err := e.appendJSON(nil, nil)
		if err != nil || !bytes.Equal(again, line) {
			t.Errorf("%q\nbecomes %q, %v", line, again, err)
		}
	})
}

func BenchmarkAppendJSON(b *testing.B) {
	e := full()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		line, err := e.AppendJSON(buf[:0])
		if err != nil {
			b.Fatal(err)
		}
		buf = line
	}
}

func BenchmarkParseEntry(b *testing.B) {
	line, err := full().AppendJSON(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseEntry(line); err != nil {
			b.Fatal(err)
		}
	}
}
