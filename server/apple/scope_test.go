package apple

import (
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseScope(t *testing.T) {
	tests := []struct {
		name, in string
		want     Scope
	}{
		{"a path", "GET /v1/apps", "GET /v1/apps"},
		{"a long path", "GET /v1/apps/1234567890/relationships/builds", "GET /v1/apps/1234567890/relationships/builds"},
		{"all characters of a path", "GET /v12/a-Z0._~:x", "GET /v12/a-Z0._~:x"},
		{"dots in a segment", "GET /v1/a..b/...", "GET /v1/a..b/..."},
		{"Apple's example", "GET /v1/apps?filter[platform]=IOS", "GET /v1/apps?filter[platform]=IOS"},
		{"sorted", "GET /v1/apps?include=builds&filter[name]=A&fields[apps]=name,sku", "GET /v1/apps?fields[apps]=name,sku&filter[name]=A&include=builds"},
		{"sorted by name, not by text", "GET /v1/apps?a.b=1&a=2&a-b=3", "GET /v1/apps?a=2&a-b=3&a.b=1"},
		{"limit, cursor and sort dropped", "GET /v1/apps?sort=-name&filter[name]=A&cursor=x&limit=5", "GET /v1/apps?filter[name]=A"},
		{"nothing left", "GET /v1/apps?limit=5", "GET /v1/apps"},
		{"limit of a relationship stays", "GET /v1/apps?limit[builds]=5&limit=7", "GET /v1/apps?limit[builds]=5"},
		{"case matters", "GET /v1/apps?Limit=5", "GET /v1/apps?Limit=5"},
		{"escapes in upper case", "GET /v1/apps?filter[name]=%c3%a9t%C3%a9", "GET /v1/apps?filter[name]=%C3%A9t%C3%A9"},
		{"escapes stay", "GET /v1/apps?filter[name]=a%2Cb,c%26d%3D%23%20%2b%25", "GET /v1/apps?filter[name]=a%2Cb,c%26d%3D%23%20%2B%25"},
		{"punctuation", "GET /v1/users?filter[username]=a@b.example:/!$'()", "GET /v1/users?filter[username]=a@b.example:/!$'()"},
		{"longest", "GET /v1/" + strings.Repeat("a", MaxScopeLen-8), Scope("GET /v1/" + strings.Repeat("a", MaxScopeLen-8))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseScope(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("ParseScope(%q)\n got %q\nwant %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestParseScopeRefuses(t *testing.T) {
	const (
		method    = `the entry does not begin with "GET ": Apple can limit a token to reads only, and an entry is written "GET /v1/path?query"`
		version   = "the path does not begin with a version, as in /v1/apps"
		empty     = "the path has an empty segment: write one slash between segments and none at the end"
		dots      = `the path has a segment "." or "..": write the path that is meant`
		pathChar  = "the path has a character other than letters, digits, slashes and any of - . _ : ~"
		pathEsc   = "the path has a percent-escape: Apple's paths need none, so write the character itself"
		wildcard  = "the entry has a wildcard or a template: Apple knows none, so write out each request"
		fragment  = "the entry has a fragment (#): a request has none"
		parameter = "the query has a parameter that is not name=value"
		twice     = "the query has a parameter twice: write its values once, separated by commas"
		nameChar  = "the name of a parameter has a character other than letters, digits, brackets and any of - . _ ~"
		nameEsc   = "the name of a parameter has a percent-escape: write the character itself, brackets too"
		percent   = "the query has a % that is not followed by two hexadecimal digits: write the character % as %25"
		needless  = "the query escapes a character that needs no escape: write letters, digits, brackets and any of - . _ ~ as they are"
		control   = "the query has an escaped control character"
		plus      = "the query has a +, which some take for a space: write a space as %20, a plus as %2B"
		valueChar = "the query has a character that must be percent-escaped there"
	)
	tests := []struct{ in, want string }{
		{"", method},
		{"GET", method},
		{"get /v1/apps", method},
		{"/v1/apps", method},
		{"GET\t/v1/apps", method},
		{" GET /v1/apps", method},
		{"POST /v1/apps", method},
		{"GET  /v1/apps", pathChar},
		{"GET /v1/apps ", pathChar},
		{"GET /v1/apps\n", pathChar},
		{"GET https://api.appstoreconnect.apple.com/v1/apps", version},
		{"GET v1/apps", version},
		{"GET /apps", version},
		{"GET /notary/v2", version},
		{"GET /v1", version},
		{"GET /v/apps", version},
		{"GET /v0/apps", version},
		{"GET /v01/apps", version},
		{"GET /v1x/apps", version},
		{"GET /v1234/apps", version},
		{"GET ?a=b", version},
		{"GET ", version},
		{"GET /v1/", empty},
		{"GET /v1/apps/", empty},
		{"GET /v1//apps", empty},
		{"GET /v1/./apps", dots},
		{"GET /v1/apps/..", dots},
		{"GET /v1/apps/../users", dots},
		{"GET /v1/apps/%2e%2e/users", pathEsc},
		{"GET /v1/apps%2F1", pathEsc},
		{"GET /v1/apps/a%20b", pathEsc},
		{"GET /v1/apps/*", wildcard},
		{"GET /v1/apps/{id}", wildcard},
		{"GET /v1/apps?filter[name]=*", wildcard},
		{"GET /v1/apps?*=a", wildcard},
		{"GET /v1/apps?a={b}", wildcard},
		{"GET /v1/apps#top", fragment},
		{"GET /v1/apps?a=b#top", fragment},
		{"GET /v1/apps?a#=b", fragment},
		{"GET /v1/äpps", pathChar},
		{`GET /v1/a"b`, pathChar},
		{`GET /v1/a\b`, pathChar},
		{"GET /v1/apps;a=b", pathChar},
		{"GET /v1/apps?", parameter},
		{"GET /v1/apps?a", parameter},
		{"GET /v1/apps?a=", parameter},
		{"GET /v1/apps?=b", parameter},
		{"GET /v1/apps?a=b&", parameter},
		{"GET /v1/apps?&a=b", parameter},
		{"GET /v1/apps?a=b&&c=d", parameter},
		{"GET /v1/apps?a=b&a=c", twice},
		{"GET /v1/apps?a=b&c=d&a=b", twice},
		{"GET /v1/apps?limit=1&limit=2", twice},
		{"GET /v1/apps?filter%5Bname%5D=a", nameEsc},
		{"GET /v1/apps?li%6dit=5", nameEsc},
		{"GET /v1/apps?a b=c", nameChar},
		{"GET /v1/apps?a,b=c", nameChar},
		{"GET /v1/apps?a=%", percent},
		{"GET /v1/apps?a=%2", percent},
		{"GET /v1/apps?a=%2x", percent},
		{"GET /v1/apps?a=%2&b=c", percent},
		{"GET /v1/apps?a=%u0041", percent},
		{"GET /v1/apps?a=%41", needless},
		{"GET /v1/apps?a=%7e", needless},
		{"GET /v1/apps?a=%5b", needless},
		{"GET /v1/apps?a=%5D", needless},
		{"GET /v1/apps?a=%00", control},
		{"GET /v1/apps?a=%0a", control},
		{"GET /v1/apps?a=%7F", control},
		{"GET /v1/apps?a=b+c", plus},
		{"GET /v1/apps?a=b c", valueChar},
		{"GET /v1/apps?a=b=c", valueChar},
		{"GET /v1/apps?a=b?c", valueChar},
		{"GET /v1/apps?a=b;c=d", valueChar},
		{`GET /v1/apps?a="b"`, valueChar},
		{`GET /v1/apps?a=b\c`, valueChar},
		{"GET /v1/apps?a=é", valueChar},
		{"GET /v1/apps?a=b\x00", valueChar},
		{"GET /v1/" + strings.Repeat("a", MaxScopeLen-7), "the entry is longer than 1024 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			got, err := ParseScope(tt.in)
			wantError(t, err, tt.want)
			if got != "" {
				t.Errorf("ParseScope = %q beside an error", got)
			}
		})
	}
}

func TestParseScopes(t *testing.T) {
	many := func(n int) []string {
		var entries []string
		for i := range n {
			entries = append(entries, fmt.Sprintf("GET /v1/apps/%03d", i))
		}
		return entries
	}
	tests := []struct {
		name string
		in   []string
		want []Scope
		err  string
	}{
		{"nil", nil, nil, ""},
		{"none", []string{}, nil, ""},
		{"sorted and merged", []string{"GET /v1/users", "GET /v1/apps?limit=5", "GET /v1/apps"}, []Scope{"GET /v1/apps", "GET /v1/users"}, ""},
		{"the third is bad", []string{"GET /v1/users", "GET /v1/apps", "POST /v1/apps"}, nil, `scope entry 3: the entry does not begin with "GET ": Apple can limit a token to reads only, and an entry is written "GET /v1/path?query"`},
		{"too many", many(MaxScopeEntries + 1), nil, "the scope has more than 64 entries"},
		{"ten thousand", many(10_000), nil, "the scope has more than 64 entries"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseScopes(tt.in)
			wantError(t, err, tt.err)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ParseScopes (-want +got):\n%s", diff)
			}
		})
	}
	if got, err := ParseScopes(many(MaxScopeEntries)); err != nil || len(got) != MaxScopeEntries {
		t.Errorf("as many as are allowed: %d, %v", len(got), err)
	}
}

// request is a request in words of the tests' own, from which an entry is written.
type request struct {
	path   string
	params []string // "name=value", as written
}

func (r request) entry() string {
	if len(r.params) == 0 {
		return "GET " + r.path
	}
	return "GET " + r.path + "?" + strings.Join(r.params, "&")
}

var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// meaning is what Apple may at most tell apart: the path, and the set of parameters but for the ignored ones, with
// escapes kept apart from what they stand for, but for the case of their digits.
func (r request) meaning() string {
	var params []string
	for _, p := range r.params {
		name, _, _ := strings.Cut(p, "=")
		if name != "limit" && name != "cursor" && name != "sort" {
			params = append(params, escape.ReplaceAllStringFunc(p, strings.ToUpper))
		}
	}
	slices.Sort(params)
	return r.path + "\n" + strings.Join(params, "\n")
}

// requests draws requests from so small an alphabet that two of them often mean the same.
func requests() *rapid.Generator[request] {
	return rapid.Custom(func(t *rapid.T) request {
		names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "filter[a]", "a.b", "limit", "limit[a]", "cursor", "sort", "Sort"}), 0, 4, rapid.ID).Draw(t, "names")
		r := request{path: rapid.SampledFrom([]string{"/v1/a", "/v2/a", "/v1/a/b", "/v1/A", "/v1/a.b"}).Draw(t, "path")}
		for _, name := range names {
			r.params = append(r.params, name+"="+rapid.SampledFrom([]string{"1", "2", "1,2", "1%2C2", "1%2c2", "%c3%a9", "%C3%A9", "%2B", "%20"}).Draw(t, "value"))
		}
		return r
	})
}

// Two entries have one canonical form exactly if Apple cannot tell the requests apart.
func TestScopeNeverMerges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := requests().Draw(t, "a"), requests().Draw(t, "b")
		sa, err := ParseScope(a.entry())
		if err != nil {
			t.Fatal(err)
		}
		sb, err := ParseScope(b.entry())
		if err != nil {
			t.Fatal(err)
		}
		if (sa == sb) != (a.meaning() == b.meaning()) {
			t.Fatalf("%q and %q become %q and %q", a.entry(), b.entry(), sa, sb)
		}
	})
}

func TestScopeIsCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := requests().Draw(t, "request")
		s, err := ParseScope(r.entry())
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseScope(string(s)); err != nil || again != s {
			t.Fatalf("%q becomes %q (%v)", s, again, err)
		}
		r.params = rapid.Permutation(r.params).Draw(t, "in another order")
		if other, err := ParseScope(r.entry()); err != nil || other != s {
			t.Fatalf("in another order %q becomes %q (%v)", s, other, err)
		}
	})
}

// FuzzParseScope checks that what is accepted is the request that net/url sees, and that two entries with one canonical
// form are one request to it.
func FuzzParseScope(f *testing.F) {
	for _, s := range []string{
		"GET /v1/apps", "GET /v1/apps?filter[platform]=IOS", "GET /v1/apps?sort=-name&limit=5&a=b",
		"GET /v1/apps?filter[name]=%c3%a9", "GET /v1/../apps", "GET /v1/apps/*", "GET /v1/a?b=c+d", "GET /v1/a%2Fb", "POST /v1/apps",
	} {
		f.Add(s, "GET /v1/apps?a=b&limit=5&sort=-name")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		sa, err := ParseScope(a)
		if err != nil {
			return
		}
		if again, err := ParseScope(string(sa)); err != nil || again != sa {
			t.Fatalf("%q becomes %q (%v)", sa, again, err)
		}
		if len(sa) > MaxScopeLen {
			t.Fatalf("%q became longer", a)
		}
		if seen, want := seenByURL(t, string(sa)), seenByURL(t, a); !reflect.DeepEqual(seen, want) {
			t.Fatalf("%q and its canonical form %q are two requests", a, sa)
		}
		if sb, err := ParseScope(b); err == nil && sa == sb && !reflect.DeepEqual(seenByURL(t, a), seenByURL(t, b)) {
			t.Fatalf("%q and %q are merged into %q", a, b, sa)
		}
	})
}

// seenByURL is an entry as Go's HTTP server would see the request.
func seenByURL(t *testing.T, entry string) map[string][]string {
	t.Helper()
	u, err := url.ParseRequestURI(strings.TrimPrefix(entry, "GET "))
	if err != nil {
		t.Fatalf("net/url refuses %q: %v", entry, err)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		t.Fatalf("net/url refuses the query of %q: %v", entry, err)
	}
	if u.Fragment != "" || u.Host != "" || strings.Contains(u.Path, "//") || slices.Contains(strings.Split(u.Path, "/"), "..") {
		t.Fatalf("%q is more than a path and a query", entry)
	}
	for _, name := range []string{"limit", "cursor", "sort"} {
		delete(query, name)
	}
	query["the path"] = []string{u.Path}
	return query
}
