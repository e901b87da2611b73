package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/server/apple"
)

// problemsOf returns the problems of a document, one a line.
func problemsOf(t *testing.T, doc string, facts Facts) []string {
	t.Helper()
	p, err := Compile([]byte(doc), nil, facts)
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) || p != nil {
		t.Fatalf("Compile = %v, %v", p, err)
	}
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	if got := strings.Join(lines, "\n"); got != err.Error() {
		t.Errorf("Error() = %q, and the problems are %q", err, got)
	}
	return lines
}

func TestProblems(t *testing.T) {
	const (
		head     = "version: 1\n"
		syntax   = "not YAML that can be read here: look for wrong indentation or a missing quote, bracket or colon; text with any of [ ] { } , in a list must be in quotes"
		anchor   = "an anchor, alias or merge key, which a policy may not have: write the value out; text that begins with & or * must be in quotes"
		tag      = "a tag, directive or complex key, which a policy may not have; text that begins with !, % or ? must be in quotes"
		version  = "a version that is not 1: this version of the program reads version: 1"
		written  = "text that YAML does not read as it is written: write it plainly, without ! or a backslash"
		denyTrue = "deny is something other than true: write deny: true, or leave it out"
		grantID  = "not an id for a grant: want a-z 0-9 . _ - beginning with a letter or digit, at most 128 bytes"
		action   = "not an action: want such as key.read, key.* or policy.apply; minting is granted by mint"
	)
	scopeError := func(s string) string { _, err := apple.ParseScope(s); return err.Error() }
	ttlError := func(d time.Duration) string { _, err := apple.ParseTTL(d); return err.Error() }
	grant := func(rest string) string {
		return head + "profiles: {p: {key: k, enterprise: {}}}\ngrants:\n- id: g\n  to: []\n  " + rest + "\n"
	}
	profile := func(rest string) string { return head + "profiles:\n  p:\n    " + rest + "\n" }
	test := func(rest string) string {
		return head + "profiles: {p: {key: k, enterprise: {}}}\ntests:\n- " + rest + "\n"
	}
	tests := []struct {
		name string
		doc  string
		want []string
	}{
		{"empty", "", []string{"the document is empty: a policy begins with version: 1"}},
		{"only comments", "# nothing\n", []string{"the document is empty: a policy begins with version: 1"}},
		{"a marker and nothing else", "---\n", []string{"the document is empty: a policy begins with version: 1"}},
		{"two documents", "---\nversion: 1\n---\nversion: 1\n", []string{"4:1: a second document begins here: a policy is one, so take out the line with --- or ..."}},
		{"two documents by dots", "version: 1\n...\nversion: 1\n", []string{"3:1: a second document begins here: a policy is one, so take out the line with --- or ..."}},
		{"one document with markers", "---\nversion: 1\n...\n", nil},
		{"not UTF-8", "version: 1 # \xff\n", []string{"1:14: a byte that is not UTF-8: save the file as UTF-8 text"}},
		{"a control character", "version: 1\n#\x00\n", []string{"2:2: a character that cannot be seen, such as a control character or a byte order mark: take it out"}},
		{"a lone carriage return", "version: 1\rx: y\n", []string{"1:11: a character that cannot be seen, such as a control character or a byte order mark: take it out"}},
		{"lines that end in CRLF", "version: 1\r\nbogus: 2\r\n", []string{"2:1: an unknown key: a policy has version, profiles, grants, tests"}},
		{"a byte order mark", "\ufeffversion: 1\n", []string{"1:1: a character that cannot be seen, such as a control character or a byte order mark: take it out"}},
		{"letters that turn the line around", "version: 1 # \u202e\n", []string{"1:14: a character that cannot be seen, such as a control character or a byte order mark: take it out"}},
		{"a lone mark that the library drops", "version: 1\n!", []string{"2:1: " + written}},
		{"an escape that the library gives back in part", head + "grants: [{id: \"\\u0041\"}]\n", []string{"2:15: " + written}},
		{"an open bracket", head + "profiles: {p: [}\n", []string{"2:16: " + syntax}},
		{"brackets in an unquoted scope", head + "profiles: {p: {key: k, app_store_connect: {scope: [GET /v1/apps?filter[platform]=IOS]}}}\n", []string{"2:71: " + syntax}},
		{"a tab", head + "profiles:\n\tp: x\n", []string{"3:1: not YAML that can be read here: indent with spaces, close every quote, and put text with special characters in quotes"}},
		{"an anchor", head + "profiles: &a {}\n", []string{"2:11: " + anchor}},
		{"an unquoted star", head + "grants:\n- id: g\n  to: []\n  do: [key.read]\n  on: [*]\n", []string{"6:8: " + anchor}},
		{"an alias bomb", "a: &a [x,x]\nb: &b [*a,*a]\n", []string{
			"1:4: " + anchor,
			"2:4: " + anchor,
			"2:8: " + anchor,
			"2:11: " + anchor,
		}},
		{"a merge key", head + "profiles:\n  <<: {p: {key: k}}\n", []string{"3:3: " + anchor}},
		{"a tag", "version: !!int 1\n", []string{"1:10: " + tag}},
		{"a directive", "%YAML 1.2\n---\nversion: 1\n", []string{"1:1: " + tag}},
		{"a complex key", "? version\n: 1\n", []string{"1:1: " + tag}},
		{"deep brackets", head + "profiles: " + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "\n", []string{"2:27: brackets more than 16 deep: a policy is flatter"}},
		{"deep dashes", strings.Repeat("- ", 40) + "x\n", []string{"1:65: nested too deep: a key or dash beyond column 64"}},
		{"deep keys", func() string {
			var b strings.Builder
			for i := range 40 {
				fmt.Fprintf(&b, "%sa:\n", strings.Repeat("  ", i))
			}
			return b.String()
		}(), []string{"33:65: nested too deep: a key or dash beyond column 64"}},
		{"too many keys", strings.Repeat("a:\n", maxKeys+1), []string{"20001:1: a mapping with more than 20000 keys"}},
		{"keys of many mappings", strings.Repeat("- a: b\n", maxKeys+1), []string{"1:1: a policy is a list: want a mapping, {key: value}"}},
		{"deep brackets after closing ones", "a: " + strings.Repeat("]", 40) + strings.Repeat("[", 40), []string{"1:60: brackets more than 16 deep: a policy is flatter"}},
		{"too large", strings.Repeat("#", maxDocument+1), []string{"the document is larger than 1 MiB: take out what is not policy"}},
		{"too much structure", "[" + strings.Repeat("a,", maxStructure) + "]", []string{"the document has too many lists and mappings: take out what is not policy"}},
		{"a list at the top", "- version: 1\n", []string{"1:1: a policy is a list: want a mapping, {key: value}"}},
		{"text at the top", "version\n", []string{"1:1: a policy is text: want a mapping, {key: value}"}},
		{"no version", "profiles: {}\n", []string{"1:1: the policy has no version: begin it with version: 1"}},
		{"another version", "version: 2\n", []string{"1:10: " + version}},
		{"a version in quotes", "version: \"1\"\n", []string{"1:10: " + version}},
		{"an empty version", "version:\n", []string{"1:10: " + version}},
		{"unknown keys at the top", head + "profile: {}\nroles: {}\n", []string{
			"2:1: an unknown key: a policy has version, profiles, grants, tests",
			"3:1: an unknown key: a policy has version, profiles, grants, tests",
		}},
		{"a repeated key at the top", head + "grants: []\ngrants: []\n", []string{"3:1: this key of a policy is there already, on line 2: take one out"}},
		{"keys that are no text", head + "1: x\ntrue: y\n", []string{
			"2:1: a key of a policy is not text: put it in quotes",
			"3:1: a key of a policy is not text: put it in quotes",
		}},
		{"wrong kinds", head + "profiles: []\ngrants: {}\ntests: 1\n", []string{
			"2:11: profiles is a list: want a mapping, {key: value}",
			"3:9: grants is a mapping: want a list, [a, b]",
			"4:8: tests is a number: want a list, [a, b]",
		}},
		{"more wrong kinds", head + "profiles: yes\ngrants: true\ntests:\n", []string{
			"2:11: profiles is text: want a mapping, {key: value}",
			"3:9: grants is true or false: want a list, [a, b]",
			"4:8: tests is empty: want a list, [a, b]",
		}},
		{"and more wrong kinds", head + "profiles: |\n  x\ngrants: x\ntests: 1.5\n", []string{
			"2:11: profiles is a block of text: want a mapping, {key: value}",
			"4:9: grants is text: want a list, [a, b]",
			"5:8: tests is a number: want a list, [a, b]",
		}},
		{"names of profiles", head + "profiles:\n  Release: {key: k, enterprise: {}}\n  \"\": {key: k, enterprise: {}}\n  " + strings.Repeat("a", 129) + ": {key: k, enterprise: {}}\n", []string{
			"3:3: not a profile name: want a-z 0-9 . _ - beginning with a letter or digit",
			"4:3: the profile's name is empty",
			"5:3: the profile's name is longer than 128 bytes",
		}},
		{"a repeated profile", head + "profiles:\n  p: {key: k, enterprise: {}}\n  p: {key: k, enterprise: {}}\n", []string{"4:3: this key of profiles is there already, on line 3: take one out"}},
		{"an unknown key of a profile", profile("keys: k"), []string{
			"3:3: the profile has no key: name the key that signs, key: NAME",
			"4:5: an unknown key: a profile has key, ttl, reuse, long_lived, " + allFamilies,
		}},
		{"bundles without an app", profile("{key: k, app_store_connect: {read: [builds]}}"), []string{`4:34: read without app: say of which app, app: "1234567890"`}},
		{"an app without bundles", profile("{key: k, app_store_connect: {app: \"1234567890\"}}"), []string{"4:34: app without read: say what is read of the app, such as read: [builds], or take app out"}},
		{"an app that is a number", profile("{key: k, app_store_connect: {app: 1234567890, read: [builds]}}"), []string{`4:39: app is a number: want Apple's ID of the app in quotes, such as "1234567890"`}},
		{"an app by its bundle ID", profile("{key: k, app_store_connect: {app: com.example.app, read: [builds]}}"), []string{
			`4:39: not Apple's ID of an app: it is the number that App Store Connect shows as Apple ID under App Information, such as "1234567890"`,
		}},
		{"bundles that there are not", profile("{key: k, app_store_connect: {app: \"1\", read: [builds, testers, Beta]}}"), []string{
			"4:59: there is no bundle of reads of this name: want some of builds, beta, metadata",
			"4:68: there is no bundle of reads of this name: want some of builds, beta, metadata",
		}},
		{"a bundle twice", profile("{key: k, app_store_connect: {app: \"1\", read: [builds, beta, builds]}}"), []string{"4:65: this bundle is in the list already: take one out"}},
		{"no bundle", profile("{key: k, app_store_connect: {app: \"1\", read: []}}"), []string{"4:44: read is empty: name something or take it out"}},
		{"a bundle that is text alone", profile("{key: k, app_store_connect: {app: \"1\", read: builds}}"), []string{"4:50: read is text: want a list, [a, b]"}},
		{"a request that a bundle has", profile("{key: k, app_store_connect: {scope: [GET /v1/users, GET /v1/apps/1], app: \"1\", read: [builds, beta]}}"), []string{
			"4:57: this request is in a bundle that read names: take it out of scope",
		}},
		{"more requests than a scope holds, with a bundle", profile("{key: k, app_store_connect: {scope: [" + manyRequests(60) + "], app: \"1\", read: [builds]}}"), []string{"4:34: scope has more than 64 entries: make several profiles"}},
		{"bundles of another family", profile("{key: k, enterprise: {app: \"1\", read: [builds]}}"), []string{
			"4:27: an unknown key: enterprise has scope",
			"4:37: an unknown key: enterprise has scope",
		}},
		{"long-lived without scope and ttl", profile("{key: k, app_store_connect: {}, long_lived: true}"), []string{
			"3:3: a long-lived profile without a ttl: say how long its tokens live, at most 180d",
			"4:37: a long-lived profile without a scope: Apple takes long-lived tokens only for some GET requests, which the scope must name",
		}},
		{"long-lived beyond Apple's list", profile("\n      key: k\n      long_lived: true\n      ttl: 90d\n      app_store_connect:\n        scope:\n        - GET /v1/ciProducts\n        - GET /v1/apps/1\n        - GET /v1/ciArtifacts/1"), []string{
			"11:11: " + notLongLived, "12:11: " + notLongLived,
		}},
		{"long-lived bundles", profile("{key: k, app_store_connect: {app: \"1\", read: [builds]}, ttl: 1d, long_lived: true}"), []string{"4:51: " + notLongLived}},
		{"long-lived of another family", profile("{key: k, enterprise: {scope: [GET /v1/ciProducts]}, long_lived: true}"), []string{"4:57: long_lived with a family of which Apple takes no long-lived tokens: take it out"}},
		{"long-lived for too long", profile("{key: k, app_store_connect: {scope: [GET /v1/ciProducts]}, ttl: 180d1s, long_lived: true}"), []string{"4:69: a ttl above 180d, the most for such tokens: write that or less"}},
		{"long-lived or not", profile("{key: k, app_store_connect: {scope: [GET /v1/ciProducts]}, long_lived: false}"), []string{"4:76: long_lived is something other than true: write long_lived: true, or leave it out"}},
		{"long-lived of no family", profile("{key: k, long_lived: true}"), []string{"3:3: " + noFamily}},
		{"a rule of reuse that the family has not", profile("{key: k, app_store_connect: {}, reuse: shared}"), []string{"4:44: not a rule of reuse that this family of tokens has: want one of [per-principal never]"}},
		{"a reuse that is no text", profile("{key: k, enterprise: {}, reuse: true}"), []string{"4:37: reuse is true or false: want a rule of reuse such as never"}},
		{"a reuse without a family", profile("{key: k, reuse: never}"), []string{"3:3: " + noFamily}},
		{"an empty profile", profile("{}"), []string{
			"3:3: " + noFamily,
			"3:3: the profile has no key: name the key that signs, key: NAME",
		}},
		{"a profile that is text", profile("k"), []string{"4:5: a profile is text: want a mapping, {key: value}"}},
		{"no family", profile("key: k"), []string{"3:3: " + noFamily}},
		{"an unknown family", profile("{key: k, passkit: {}}"), []string{"4:14: an unknown key: a profile has key, ttl, reuse, long_lived, " + allFamilies}},
		{"two families", profile("{key: k, app_store_connect: {}, enterprise: {}}"), []string{"4:37: a second family of tokens: a profile has one, so make two profiles"}},
		{"no key", profile("enterprise: {}"), []string{"3:3: the profile has no key: name the key that signs, key: NAME"}},
		{"a key that is a number", profile("{key: 1, enterprise: {}}"), []string{"4:11: key is a number: want the name of a key, in quotes if it is a number"}},
		{"a key that is no name", profile("{key: a//b, enterprise: {}}"), []string{"4:11: not a key name: want parts such as ios/asc-release, each of a-z 0-9 . _ - and beginning with a letter or digit"}},
		{"a key without a name", profile("{key: \"\", enterprise: {}}"), []string{"4:11: the key's name is empty"}},
		{"a key with a long name", profile("{key: " + strings.Repeat("a", 129) + ", enterprise: {}}"), []string{"4:11: the key's name is longer than 128 bytes"}},
		{"a family that is empty", profile("{key: k, enterprise: }"), []string{"4:25: enterprise is empty: want a mapping, {key: value}"}},
		{"an unknown parameter", profile("{key: k, enterprise: {scopes: []}}"), []string{"4:27: an unknown key: enterprise has scope"}},
		{"a scope that is text", profile("{key: k, enterprise: {scope: GET /v1/x}}"), []string{"4:34: scope is text: want a list, [a, b]"}},
		{"an empty scope", profile("{key: k, enterprise: {scope: []}}"), []string{"4:27: scope is empty: name the GET requests to which tokens are limited, or leave scope out for all that the key's role allows"}},
		{"entries of a scope", profile("{key: k, enterprise: {scope: [POST /v1/x, 1, GET /v1/a, GET /v1/a, 'GET /v1/a?b=1&limit=3', 'GET /v1/a?b=1']}}"), []string{
			"4:35: " + scopeError("POST /v1/x"),
			"4:47: an entry of scope is a number: want a request such as \"GET /v1/apps\"",
			"4:61: this request is in the scope already: take one out",
			"4:97: this request is in the scope already: take one out",
		}},
		{"a long scope", profile("{key: k, enterprise: {scope: [" + func() string {
			var l []string
			for i := range 65 {
				l = append(l, fmt.Sprintf("GET /v1/a%d", i))
			}
			return strings.Join(l, ", ")
		}() + "]}}"), []string{"4:27: scope has more than 64 entries: make several profiles"}},
		{"a ttl without unit", profile("{key: k, enterprise: {}, ttl: 10}"), []string{"4:35: ttl is a number: want a duration such as 10m"}},
		{"a ttl that is a word", profile("{key: k, enterprise: {}, ttl: ten}"), []string{"4:35: " + errDuration.Error()}},
		{"a ttl of zero", profile("{key: k, enterprise: {}, ttl: 0s}"), []string{"4:35: " + ttlError(0)}},
		{"a negative ttl", profile("{key: k, enterprise: {}, ttl: -5m}"), []string{"4:35: " + errDuration.Error()}},
		{"a ttl that is used up at once", profile("{key: k, enterprise: {}, ttl: 30s}"), []string{"4:35: " + ttlError(30*time.Second)}},
		{"a ttl of half a second", profile("{key: k, enterprise: {}, ttl: 60500ms}"), []string{"4:35: " + ttlError(60500*time.Millisecond)}},
		{"a ttl above the family's", profile("{key: k, enterprise: {}, ttl: 20m}"), []string{"4:35: a ttl above 19m30s, the most for such tokens: write that or less"}},
		{"a ttl without a family", profile("{key: k, ttl: 2d}"), []string{"3:3: " + noFamily}},
		{"a grant that is text", head + "grants: [x]\n", []string{"2:10: a grant is text: want a mapping, {key: value}"}},
		{"an empty grant", head + "grants: [{}]\n", []string{
			"2:10: the grant has no id: give it one, by which the log names it",
			"2:10: the grant has no to: list whom it is for, or write to: [] for nobody",
			"2:10: the grant gives nothing: add mint: [PROFILE], do: [ACTION] or deny: true",
		}},
		{"ids of grants", head + "grants:\n- {id: 1, to: [], do: [key.read]}\n- {id: A, to: [], do: [key.read]}\n- {id: a, to: [], do: [key.read]}\n- {id: a, to: [], do: [key.read]}\n- {id: (operator), to: [], do: [key.read]}\n- {id: " + strings.Repeat("a", 129) + ", to: [], do: [key.read]}\n", []string{
			"3:8: id is a number: want a name, in quotes if it is a number",
			"4:8: " + grantID,
			"6:8: this id is taken by the grant on line 5: give each its own",
			"7:8: " + grantID,
			"8:8: " + grantID,
		}},
		{"a grant that gives nothing", head + "grants:\n- {id: g, to: []}\n", []string{"3:3: the grant gives nothing: add mint: [PROFILE], do: [ACTION] or deny: true"}},
		{"an unknown key of a grant", grant("mints: [p]"), []string{"6:3: an unknown key: a grant has id, to, mint, do, on, rate, deny"}},
		{"kinds in to", head + "grants:\n- {id: g, to: x, do: [key.read]}\n- {id: h, to: [x, {}, {mtls: spiffe://a, certificate: x}], do: [key.read]}\n", []string{
			"3:15: to is text: want a list, [a, b]",
			"4:16: an item of to is text: want a mapping, {key: value}",
			"4:19: an item that names nobody: give it mtls: spiffe://… or certificate: sha256:…",
			"4:42: a caller named in two ways: make two items, of which each names callers",
		}},
		{"what later versions have in to", head + "grants:\n- {id: g, to: [{oidc: github, claims: {a: b}}, {mtls: \"dns:a.b\"}, {dns: a}], do: [key.read]}\n", []string{
			"3:17: oidc is not supported by this version: take it out",
			"3:31: claims is not supported by this version: take it out",
			"3:55: DNS names are not supported by this version: want spiffe://trust-domain/path",
			"3:68: an unknown key: an item of to has mtls, certificate",
		}},
		{"SPIFFE ids", head + "grants:\n- id: g\n  do: [key.read]\n  to:\n" + func() string {
			var b strings.Builder
			for _, x := range []string{"1", "acme/x", "spiffe://", "spiffe:///x", "spiffe://A/x", "spiffe://*.a/x", "spiffe://a/", "spiffe://a//x", "spiffe://a/../x", "spiffe://a/x y", "spiffe://a/**/x", "spiffe://a/x**", "spiffe://a/***", "\"spiffe://a/" + strings.Repeat("x", 2048) + "\""} {
				fmt.Fprintf(&b, "  - mtls: %s\n", x)
			}
			return b.String()
		}(), []string{
			"6:11: mtls is a number: want spiffe://trust-domain/path",
			"7:11: not a SPIFFE id: want spiffe://trust-domain/path",
			"8:11: " + errIDTrustDomain.Error(),
			"9:11: " + errIDTrustDomain.Error(),
			"10:11: " + errIDTrustDomain.Error(),
			"11:11: " + errIDTrustDomain.Error(),
			"12:11: " + errIDEmptySegment.Error(),
			"13:11: " + errIDEmptySegment.Error(),
			"14:11: the path has a part . or .., which SPIFFE does not allow",
			"15:11: the path is of letters, digits, . _ - and slashes",
			"16:11: " + errBelow.Error(),
			"17:11: " + errBelow.Error(),
			"18:11: " + errBelow.Error(),
			"19:11: a SPIFFE id is at most 2048 bytes",
		}},
		{"certificates", head + "grants:\n- id: g\n  do: [key.read]\n  to:\n  - certificate: 1\n  - certificate: sha256:00\n  - certificate: " + strings.ToUpper(hashOfOne) + "\n  - certificate: sha256:" + strings.Repeat("A", 64) + "\n", []string{
			"6:18: certificate is a number: want sha256: and 64 hexadecimal digits",
			"7:18: " + errCertificate.Error(),
			"8:18: " + errCertificate.Error(),
			"9:18: " + errCertificate.Error(),
		}},
		{"profiles in mint", grant("mint: [p, p, q, 1]"), []string{
			"6:13: this profile is in the list already: take one out",
			"6:16: there is no profile of this name in the document",
			"6:19: an item of mint is a number: want a name, in quotes if it is a number",
		}},
		{"an empty mint", grant("mint: []"), []string{"6:3: mint is empty: name something or take it out"}},
		{"a mint that is text", grant("mint: p"), []string{"6:9: mint is text: want a list, [a, b]"}},
		{"actions in do", grant("do: [key.read, key.*, key, '*', token.mint, token.*, '*.read', key.re*, system.*, 1]"), []string{
			"6:25: " + action,
			"6:30: " + action,
			"6:35: " + action,
			"6:47: " + action,
			"6:56: " + action,
			"6:66: " + action,
			"6:85: an item of do is a number: want a name, in quotes if it is a number",
		}},
		{"an empty do", grant("do: []"), []string{"6:3: do is empty: name something or take it out"}},
		{"on without a key action", grant("do: [audit.read]\n  on: [x]"), []string{"7:3: on without a key action in do: it limits the keys of key.*, so add such an action or take it out"}},
		{"on without do", grant("mint: [p]\n  on: [x]"), []string{"7:3: on without a key action in do: it limits the keys of key.*, so add such an action or take it out"}},
		{"patterns in on", grant("do: [key.*]\n  on: [a, 'a//b', '**/a', A, '', 1, '-a', '" + strings.Repeat("a", 129) + "', 'a**']"), []string{
			"7:11: " + errKeyPattern.Error(),
			"7:19: " + errBelow.Error(),
			"7:27: " + errKeyPattern.Error(),
			"7:30: " + errKeyPattern.Error(),
			"7:34: an item of on is a number: want a name, in quotes if it is a number",
			"7:37: " + errKeyPattern.Error(),
			"7:43: a pattern for key names is at most 128 bytes",
			"7:176: " + errBelow.Error(),
		}},
		{"an empty on", grant("do: [key.*]\n  on: []"), []string{"7:3: on is empty: name something or take it out"}},
		{"a rate without unit", grant("mint: [p]\n  rate: 60"), []string{"7:9: rate is a number: want a rate such as 60/h, or none"}},
		{"a rate of nothing", grant("mint: [p]\n  rate: 0/h"), []string{"7:9: not a rate: want a count from 1 to 1000000, a slash and one of s, m, h, d, such as 60/h; or none"}},
		{"a rate without mint", grant("do: [audit.read]\n  rate: 6/h"), []string{"7:3: a rate without mint: it limits how often tokens are minted, so take it out"}},
		{"deny yes", grant("deny: yes"), []string{"6:9: " + denyTrue}},
		{"deny false", grant("deny: false"), []string{"6:9: " + denyTrue}},
		{"deny and more", grant("deny: true\n  mint: [p]\n  do: [key.read]\n  on: [x]\n  rate: 1/h"), []string{
			"7:3: a grant that denies has no mint: it denies everything, so take this out",
			"8:3: a grant that denies has no do: it denies everything, so take this out",
			"9:3: a grant that denies has no on: it denies everything, so take this out",
			"10:3: a grant that denies has no rate: it denies everything, so take this out",
		}},
		{"a test that is text", test("x"), []string{"4:3: a test is text: want a mapping, {key: value}"}},
		{"an empty test", test("{}"), []string{
			"4:3: the test has no as: say who calls, as: {mtls: spiffe://…}",
			"4:3: the test tries nothing: give it mint: PROFILE or do: ACTION",
			"4:3: the test expects nothing: give it expect: allow or expect: deny",
		}},
		{"a test of two things", test("{as: {mtls: spiffe://a}, mint: p, do: key.read, expect: allow}"), []string{"4:37: both mint and do: make two tests"}},
		{"an unknown key of a test", test("{as: {mtls: spiffe://a}, mnt: p, expect: allow}"), []string{"4:28: an unknown key: a test has as, mint, do, on, expect"}},
		{"as that is text", test("{as: x, mint: p, expect: allow}"), []string{"4:8: as is text: want a mapping, {key: value}"}},
		{"as nobody", test("{as: {}, mint: p, expect: allow}"), []string{"4:4: as names nobody: give it mtls: spiffe://…"}},
		{"as what later versions have", test("{as: {oidc: x}, mint: p, expect: allow}"), []string{"4:9: oidc is not supported by this version: take it out"}},
		{"as a pattern", test("{as: {mtls: spiffe://a/*, certificate: x}, mint: p, expect: allow}"), []string{
			"4:15: a wildcard where one full id is wanted: write the id out",
			"4:42: " + errCertificate.Error(),
		}},
		{"a test of an unknown profile", test("{as: {mtls: spiffe://a}, mint: q, expect: deny}"), []string{"4:34: there is no profile of this name in the document"}},
		{"a test of several profiles", test("{as: {mtls: spiffe://a}, mint: [p], expect: deny}"), []string{"4:34: mint is a list: want the name of one profile"}},
		{"a test of several actions", test("{as: {mtls: spiffe://a}, do: key.*, expect: deny}"), []string{"4:32: not an action: want one such as key.read or policy.apply; minting is tested by mint"}},
		{"a test of a list of actions", test("{as: {mtls: spiffe://a}, do: [key.read], expect: deny}"), []string{"4:32: do is a list: want one action"}},
		{"a test of token.mint", test("{as: {mtls: spiffe://a}, do: token.mint, expect: deny}"), []string{"4:32: not an action: want one such as key.read or policy.apply; minting is tested by mint"}},
		{"a test of a key action without a key", test("{as: {mtls: spiffe://a}, do: key.read, expect: deny}"), []string{"4:28: a key action without a key: say on: NAME"}},
		{"a test of an action with a key", test("{as: {mtls: spiffe://a}, do: audit.read, on: k, expect: deny}"), []string{"4:44: on without a key action: take it out"}},
		{"a test on a pattern", test("{as: {mtls: spiffe://a}, do: key.read, on: k*, expect: deny}"), []string{"4:46: not a key name: want parts such as ios/asc-release, each of a-z 0-9 . _ - and beginning with a letter or digit"}},
		{"a test on several keys", test("{as: {mtls: spiffe://a}, do: key.read, on: [k], expect: deny}"), []string{"4:46: on is a list: want the name of one key"}},
		{"a test that expects something else", test("{as: {mtls: spiffe://a}, mint: p, expect: yes}"), []string{"4:45: expect is neither allow nor deny: write one of the two"}},
		{"a test that expects true", test("{as: {mtls: spiffe://a}, mint: p, expect: true}"), []string{"4:45: expect is neither allow nor deny: write one of the two"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := problemsOf(t, tt.doc, nil)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestProblemsWithKeys(t *testing.T) {
	individual := KeyFacts{Facts: apple.Facts{Kind: apple.KindAppStoreConnectIndividual, KeyID: "4X9R4HXF34"}, State: KeyStateUsable, Version: 1}
	facts := keys{
		"team":       teamKey,
		"disabled":   teamKey.in(KeyStateDisabled),
		"revoked":    {Facts: apple.Facts{Kind: apple.KindAppStoreConnect}, State: KeyStateRevoked},
		"waiting":    {Facts: apple.Facts{Kind: apple.KindEnterprise}, State: KeyStateNoActive},
		"damaged":    {State: KeyStateDamaged},
		"individual": individual,
		"enterprise": enterpriseKey,
	}
	unfit := func(p apple.Params, f KeyFacts) string { return apple.Terms{Params: p}.Check(f.Facts).Error() }
	const missing = "there is no key of this name in the vault: import it first, or correct the name"
	tests := []struct {
		name    string
		profile string
		want    []string
	}{
		{"team key", "{key: team, app_store_connect: {}}", nil},
		{"individual key", "{key: individual, app_store_connect: {}}", nil},
		{"enterprise key", "{key: enterprise, enterprise: {}}", nil},
		{"a disabled key is no fault of the policy", "{key: disabled, app_store_connect: {}}", nil},
		{"nor a revoked one", "{key: revoked, app_store_connect: {}}", nil},
		{"nor a damaged one", "{key: damaged, app_store_connect: {}}", nil},
		{"nor one without an active version", "{key: waiting, enterprise: {}}", nil},
		{"missing", "{key: nothing, app_store_connect: {}}", []string{"3:12: " + missing}},
		{"missing, and no family", "{key: nothing}", []string{"3:3: " + noFamily}},
		{"enterprise tokens of a team key", "{key: team, enterprise: {}}", []string{"3:18: " + unfit(apple.Enterprise{}, teamKey)}},
		{"enterprise tokens of an individual key", "{key: individual, enterprise: {}}", []string{"3:24: " + unfit(apple.Enterprise{}, individual)}},
		{"team tokens of an enterprise key", "{key: enterprise, app_store_connect: {}}", []string{"3:24: " + unfit(apple.AppStoreConnect{}, enterpriseKey)}},
		{"what cannot live long is said once, with a key as without", "{key: team, app_store_connect: {scope: [GET /v1/apps]}, ttl: 90d, long_lived: true}", []string{"3:46: " + notLongLived}},
		{"the kind counts without an active version", "{key: waiting, app_store_connect: {}}", []string{"3:21: " + unfit(apple.AppStoreConnect{}, enterpriseKey)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := problemsOf(t, "version: 1\nprofiles:\n  p: "+tt.profile+"\n", facts)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestAllProblemsAtOnce has them in the order of the document, though what is
// read first is not what comes first.
func TestAllProblemsAtOnce(t *testing.T) {
	got := problemsOf(t, `tests:
  - {as: {mtls: spiffe://a/*}, mint: q, expect: maybe}
grants:
  - {id: G, mint: [p, q]}
profiles:
  p: {key: K, ttl: 1h, enterprise: {scope: [GET /x]}}
version: 3
owner: me
`, nil)
	_, badScope := apple.ParseScope("GET /x")
	_, badKey := ParseKeyName("K")
	want := []string{
		"2:17: a wildcard where one full id is wanted: write the id out",
		"2:38: there is no profile of this name in the document",
		"2:49: expect is neither allow nor deny: write one of the two",
		"4:5: the grant has no to: list whom it is for, or write to: [] for nobody",
		"4:10: not an id for a grant: want a-z 0-9 . _ - beginning with a letter or digit, at most 128 bytes",
		"4:23: there is no profile of this name in the document",
		"6:12: " + badKey.Error(),
		"6:20: a ttl above 19m30s, the most for such tokens: write that or less",
		"6:45: " + badScope.Error(),
		"7:10: a version that is not 1: this version of the program reads version: 1",
		"8:1: an unknown key: a policy has version, profiles, grants, tests",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	var doc strings.Builder
	doc.WriteString("version: 1\n")
	for i := range maxProblems + 5 {
		fmt.Fprintf(&doc, "unknown-%d: x\n", i)
	}
	got := problemsOf(t, doc.String(), nil)
	if len(got) != maxProblems+1 || got[maxProblems] != "and 5 more" {
		t.Errorf("%d problems, the last %q", len(got), got[len(got)-1])
	}
}

func TestBadOperator(t *testing.T) {
	_, err := Compile([]byte("version: 1\n"), []string{operator, "spiffe://acme.internal/*"}, nil)
	if want := "operator 2 of the server's config: a wildcard where one full id is wanted: write the id out"; err == nil || err.Error() != want {
		t.Errorf("Compile = %v, want %v", err, want)
	}
	if e := new(Error); errors.As(err, &e) {
		t.Error("the document is blamed for the config")
	}
}

// TestLibraryPanics holds the guard around the YAML library, which no document
// is known to need.
func TestLibraryPanics(t *testing.T) {
	var r reader
	r.guard(func() {})
	if len(r.problems) != 0 {
		t.Errorf("without a panic: %v", r.problems)
	}
	r.guard(func() { panic(canary) })
	if want := []Problem{{Message: "the document is not YAML that can be read here"}}; !cmp.Equal(r.problems, want) {
		t.Errorf("after a panic: %v", r.problems)
	}
	if at := positionOfToken(nil); at != (position{}) {
		t.Errorf("an error without a token is at %v", at)
	}
}

// canary is what a pasted key looks like: it is no valid name, and nothing that
// is said about a document may contain it.
const canary = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgCanaryCanary"

// TestNoEcho puts a key wherever a value can stand.
func TestNoEcho(t *testing.T) {
	docs := []string{design}
	for _, e := range examples {
		docs = append(docs, strings.Replace(e.doc(e.full), "key: k", "key: "+string(e.kinds[0]), 1))
	}
	forms := []string{canary, `"` + canary + `"`, "-----BEGIN PRIVATE KEY-----", "{" + canary + ": x}", "[" + canary + "]", "*" + canary, "&" + canary, "!" + canary, "|\n " + canary}
	for i, doc := range docs {
		if i == 1 {
			forms = []string{canary, `"` + canary + `"`, "{" + canary + ": x}"} // how YAML is read, the first document has shown
		}
		for _, field := range strings.FieldsFunc(doc, func(r rune) bool { return strings.ContainsRune(" \n[]{},\"'", r) }) {
			for _, form := range forms {
				bad := strings.Replace(doc, field, form, 1)
				p, err := Compile([]byte(bad), nil, everyKey)
				var said string
				if err != nil {
					said = err.Error()
				} else {
					said = fmt.Sprint(p.Lint(), p.RunTests())
				}
				if strings.Contains(said, "Canary") || strings.Contains(said, "PRIVATE KEY") {
					t.Errorf("with %q for %q: %s", form, field, said)
				}
			}
		}
	}
}

const notLongLived = "not a request of which a token may live long: Apple takes such tokens only for some reads of Xcode Cloud (/v1/ci… and /v1/scm…) and of performance metrics and diagnostic logs; take it out, or give it a profile of its own that is not long-lived"

// manyRequests are n entries of a scope, on one line.
func manyRequests(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("GET /v1/a/%d", i)
	}
	return strings.Join(all, ", ")
}

// allFamilies are the families of tokens, as a profile names them.
const allFamilies = "app_store_connect, enterprise, notary, app_store_server, promotional_offer, introductory_offer, advanced_commerce_request, " +
	"promotional_offer_signature, apns, device_check, app_attest, sign_in_with_apple, apple_music, maps_server, mapkit, maps_snapshot, weatherkit, " +
	"classkit, iwork_export, apple_ads, school_business, marketplace"

const noFamily = "the profile has no family of tokens: give it one of " + allFamilies
