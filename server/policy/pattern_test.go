package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"
)

func TestMatchKey(t *testing.T) {
	tests := []struct {
		name    string
		pattern string
		yes, no []string
	}{
		{"exact", "asc", []string{"asc"}, []string{"asc-1", "as", "asc/x", "x/asc"}},
		{"parts", "a/b", []string{"a/b"}, []string{"a", "b", "a/b/c", "a/bb"}},
		{"a star at the end", "asc-*", []string{"asc-", "asc-1", "asc-prod.2"}, []string{"asc", "asc-1/x", "xasc-1"}},
		{"a star at the start", "*-prod", []string{"asc-prod", "-prod"}, []string{"prod", "asc-prod-2"}},
		{"a star alone", "*", []string{"a", "asc-1"}, []string{"a/b"}},
		{"stars", "a*b*c", []string{"abc", "aXbYc", "abbcc", "abcbc"}, []string{"ac", "acb", "abcx"}},
		{"a star in the middle part", "a/*/c", []string{"a/b/c", "a/bb/c"}, []string{"a/c", "a/b/b/c", "a/b/d"}},
		{"below", "a/**", []string{"a/b", "a/b/c"}, []string{"a", "ab", "ab/c"}},
		{"below a star", "a-*/**", []string{"a-1/b", "a-/b/c"}, []string{"a-1", "a/b"}},
		{"everything", "**", []string{"a", "a/b/c"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := checkKeyPattern(tt.pattern); err != nil {
				t.Fatal(err)
			}
			for _, name := range tt.yes {
				if !matchKey(tt.pattern, name) {
					t.Errorf("%s does not match %s", tt.pattern, name)
				}
			}
			for _, name := range tt.no {
				if matchKey(tt.pattern, name) {
					t.Errorf("%s matches %s", tt.pattern, name)
				}
			}
		})
	}
}

// TestMatchSegmentBacktracks holds that a hostile pattern costs no more than the
// product of the lengths.
func TestMatchSegmentBacktracks(t *testing.T) {
	if matchSegment(strings.Repeat("a*", 500)+"b", strings.Repeat("a", 2000)) {
		t.Error("matches")
	}
}

func TestValidateID(t *testing.T) {
	tests := []struct {
		name string
		id   string
		want error
	}{
		{"a path", "spiffe://acme.internal/ci/ios/runner-1", nil},
		{"a trust domain alone", "spiffe://acme_1.internal", nil},
		{"capitals in the path", "spiffe://a/Ci_1.x", nil},
		{"three dots", "spiffe://a/...", nil},
		{"nothing", "", errIDScheme},
		{"another scheme", "https://a/b", errIDScheme},
		{"capitals in the scheme", "SPIFFE://a/b", errIDScheme},
		{"no trust domain", "spiffe://", errIDTrustDomain},
		{"no trust domain but a path", "spiffe:///a", errIDTrustDomain},
		{"capitals in the trust domain", "spiffe://A/b", errIDTrustDomain},
		{"a port", "spiffe://a:1/b", errIDTrustDomain},
		{"a user", "spiffe://u@a/b", errIDTrustDomain},
		{"a star in the trust domain", "spiffe://*/b", errIDTrustDomain},
		{"a slash at the end", "spiffe://a/", errIDEmptySegment},
		{"two slashes", "spiffe://a//b", errIDEmptySegment},
		{"a dot", "spiffe://a/./b", errIDDotSegment},
		{"two dots", "spiffe://a/b/..", errIDDotSegment},
		{"percent", "spiffe://a/%61", errIDSegment},
		{"a query", "spiffe://a/b?c", errIDSegment},
		{"not ASCII", "spiffe://a/é", errIDSegment},
		{"a star", "spiffe://a/*", errIDWildcard},
		{"two stars", "spiffe://a/**", errIDWildcard},
		{"too long", "spiffe://a/" + strings.Repeat("a", 2048), errIDTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ValidateID(tt.id); got != tt.want { //nolint:errorlint // the very sentinel is meant
				t.Errorf("ValidateID = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestIDsAsGoSPIFFE holds our small parser against the one with which callers
// are authenticated.
func TestIDsAsGoSPIFFE(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := "spiffe://" + rapid.StringMatching(`[a-zA-B0-9._:/%*?é -]{0,12}`).Draw(t, "rest")
		_, theirs := spiffeid.FromString(s)
		if ours := ValidateID(s); (ours == nil) != (theirs == nil) {
			t.Fatalf("%q: ours %v, theirs %v", s, ours, theirs)
		}
	})
}

func TestParseNames(t *testing.T) {
	long := strings.Repeat("a", 128)
	tests := []struct {
		name, text   string
		key, profile bool // accepted as such a name
	}{
		{"a word", "asc", true, true},
		{"all characters", "0a.b_c-d", true, true},
		{"parts", "a/b/c", true, false},
		{"as long as may be", long, true, true},
		{"longer", long + "a", false, false},
		{"empty", "", false, false},
		{"a slash at the end", "a/", false, false},
		{"a slash at the start", "/a", false, false},
		{"an empty part", "a//b", false, false},
		{"a part that begins with a dot", "a/.b", false, false},
		{"up", "../a", false, false},
		{"capitals", "A", false, false},
		{"space", "a b", false, false},
		{"a star", "a*", false, false},
		{"a line end", "a\n", false, false},
		{"not ASCII", "é", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key, err := ParseKeyName(tt.text)
			if (err == nil) != tt.key || err == nil && string(key) != tt.text {
				t.Errorf("ParseKeyName = %q, %v", key, err)
			}
			profile, err := ParseProfileName(tt.text)
			if (err == nil) != tt.profile || err == nil && string(profile) != tt.text {
				t.Errorf("ParseProfileName = %q, %v", profile, err)
			}
		})
	}
}

func TestActions(t *testing.T) {
	var got []Action
	for _, a := range Actions() {
		parsed, err := ParseAction(string(a))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, parsed)
	}
	if diff := cmp.Diff(actions, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, s := range []string{"", "key", "key.*", "KEY.READ"} {
		if _, err := ParseAction(s); err == nil {
			t.Errorf("ParseAction(%q) has no error", s)
		}
	}
}

func TestMatchActions(t *testing.T) {
	tests := []struct {
		text string
		want []Action
	}{
		{"audit.read", []Action{AuditRead}},
		{"audit.*", []Action{AuditRead}},
		{"policy.*", []Action{PolicyRead, PolicyApply, PolicyExplain}},
		{"key.*", []Action{KeyRead, KeyImport, KeyActivate, KeyDisable, KeyEnable, KeyRevoke, KeyDestroy, KeyUpdate}},
		{"system.*", []Action{SystemRead, SystemIssue, SystemSeal, SystemBackup, SystemRewrap, SystemAcknowledge, SystemMembers}},
		{"token.mint", nil},
		{"token.*", nil},
		{"*", nil},
		{".*", nil},
		{"", nil},
		{"key.r*", nil},
		{"key", nil},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, matchActions(tt.text)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestIndex has the cases of the tree that small policies do not reach.
func TestIndex(t *testing.T) {
	p := mustCompile(t, `version: 1
profiles: {p: {key: k, enterprise: {}}}
grants:
- {id: long, to: [{mtls: spiffe://a/runner-of-ios-*}], mint: [p]}
- {id: short, to: [{mtls: spiffe://a/r*}], mint: [p]}
- {id: other, to: [{mtls: spiffe://a/r*-x}, {mtls: spiffe://a/r*-x/y}, {mtls: spiffe://a}], mint: [p]}
`)
	for id, want := range map[string]string{
		"spiffe://a/runner-of-ios-1": "long",
		"spiffe://a/runner":          "short",
		"spiffe://a/r-x":             "short",
		"spiffe://a/r-x/y":           "other",
		"spiffe://a":                 "other",
		"spiffe://a/x":               "",
		"spiffe://a/r-x/z":           "",
		"spiffe://b":                 "",
	} {
		if d := p.Decide(Request{Principal: by(id), Action: TokenMint, Profile: "p"}, nil); d.Grant() != want {
			t.Errorf("%s: by %q, want %q", id, d.Grant(), want)
		}
	}
}
