package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/server/apple"
)

func TestLint(t *testing.T) {
	const (
		profiles = `version: 1
profiles:
  p: {key: k, enterprise: {scope: [GET /v1/devices]}}
  q: {key: k, enterprise: {scope: [GET /v1/devices]}}
grants:
- {id: use-both, to: [{mtls: spiffe://used/x}], mint: [p, q]}
`
		shadowed = "does nothing: all that it gives is given to the same callers by grants before it, or they are denied everything"
		denied   = "does nothing: another grant denies everything to all whom it names"
	)
	tests := []struct {
		name   string
		grants string
		want   []string
	}{
		{"nothing to say", "- {id: g, to: [{mtls: spiffe://a/b}], mint: [p], do: [key.*], on: [x]}", nil},
		{"nobody", "- {id: g, to: [], mint: [p]}", []string{"7:3: grant g is for nobody: its to is empty"}},
		{"denies nobody", "- {id: g, to: [], deny: true}", []string{"7:3: grant g is for nobody: its to is empty"}},
		{"the same again", "- {id: g, to: [{mtls: spiffe://a/b}], mint: [p]}\n- {id: h, to: [{mtls: spiffe://a/b}], mint: [p]}", []string{"8:3: grant h " + shadowed}},
		{"the same certificate again", "- {id: g, to: [{certificate: \"" + hashOfOne + "\"}], mint: [p]}\n- {id: h, to: [{certificate: \"" + hashOfOne + "\"}], mint: [p]}", []string{"8:3: grant h " + shadowed}},
		{"a certificate is not an id", "- {id: g, to: [{mtls: spiffe://a/**}], mint: [p]}\n- {id: h, to: [{certificate: \"" + hashOfOne + "\"}], mint: [p]}", nil},
		{"more is not the same", "- {id: g, to: [{mtls: spiffe://a/b}], mint: [p]}\n- {id: h, to: [{mtls: spiffe://a/b}], mint: [p, q]}", nil},
		{"less, under a pattern", "- {id: g, to: [{mtls: spiffe://a/**}], mint: [p, q]}\n- {id: h, to: [{mtls: spiffe://a/b/*}], mint: [p]}", []string{"8:3: grant h " + shadowed}},
		{"a narrow one before a wide one", "- {id: g, to: [{mtls: spiffe://a/b}], mint: [p]}\n- {id: h, to: [{mtls: spiffe://a/**}], mint: [p]}", nil},
		{"one part is not everything below", "- {id: g, to: [{mtls: spiffe://a/*}], mint: [p]}\n- {id: h, to: [{mtls: spiffe://a/**}], mint: [p]}", nil},
		{"below covers below", "- {id: g, to: [{mtls: spiffe://a/**}], mint: [p]}\n- {id: h, to: [{mtls: spiffe://a/b/**}], mint: [p]}", []string{"8:3: grant h " + shadowed}},
		{"below a star covers below", "- {id: g, to: [{mtls: spiffe://a/*/**}], mint: [p]}\n- {id: h, to: [{mtls: spiffe://a/b/**}], mint: [p]}", []string{"8:3: grant h " + shadowed}},
		{"by two grants together", "- {id: g, to: [{mtls: spiffe://a/b}], mint: [p]}\n- {id: h, to: [{mtls: spiffe://a/*}], mint: [q]}\n- {id: i, to: [{mtls: spiffe://a/b}], mint: [p, q]}", []string{"9:3: grant i " + shadowed}},
		{"one of its callers is free", "- {id: g, to: [{mtls: spiffe://a/b}], mint: [p]}\n- {id: h, to: [{mtls: spiffe://a/b}, {mtls: spiffe://a/c}], mint: [p]}", nil},
		{"the same actions", "- {id: g, to: [{mtls: spiffe://a/b}], do: [audit.read, key.*]}\n- {id: h, to: [{mtls: spiffe://a/b}], do: [key.read], on: [x]}", []string{"8:3: grant h " + shadowed}},
		{"actions on other keys", "- {id: g, to: [{mtls: spiffe://a/b}], do: [key.*], on: [x]}\n- {id: h, to: [{mtls: spiffe://a/b}], do: [key.*], on: [x, y]}", nil},
		{"actions on fewer keys", "- {id: g, to: [{mtls: spiffe://a/b}], do: [key.*], on: [x/**, y-*]}\n- {id: h, to: [{mtls: spiffe://a/b}], do: [key.read], on: [x/a-*, y-1]}", []string{"8:3: grant h " + shadowed}},
		{"actions on keys below", "- {id: g, to: [{mtls: spiffe://a/b}], do: [key.*], on: [x/*]}\n- {id: h, to: [{mtls: spiffe://a/b}], do: [key.*], on: [x/**]}", nil},
		{"actions on every key", "- {id: g, to: [{mtls: spiffe://a/b}], do: [key.*], on: [x]}\n- {id: h, to: [{mtls: spiffe://a/b}], do: [key.*]}", nil},
		{"other actions do not look at on", "- {id: g, to: [{mtls: spiffe://a/b}], do: [audit.read, key.read], on: [x]}\n- {id: h, to: [{mtls: spiffe://a/b}], do: [audit.read]}", []string{"8:3: grant h " + shadowed}},
		{"denied", "- {id: g, to: [{mtls: spiffe://a/b}], mint: [p]}\n- {id: h, to: [{mtls: spiffe://a/**}], deny: true}", []string{"7:3: grant g " + denied}},
		{"denied in part", "- {id: g, to: [{mtls: spiffe://a/b}, {mtls: spiffe://b/b}], mint: [p]}\n- {id: h, to: [{mtls: spiffe://a/**}], deny: true}", nil},
		{"denied twice", "- {id: g, to: [{mtls: spiffe://a/**}], deny: true}\n- {id: h, to: [{mtls: spiffe://a/b}], deny: true}", []string{"8:3: grant h " + denied}},
		{"denied first in part", "- {id: g, to: [{mtls: spiffe://a/b}], deny: true}\n- {id: h, to: [{mtls: spiffe://a/**}], deny: true}", nil},
		{"denied or given before", "- {id: g, to: [{mtls: spiffe://a/b}], deny: true}\n- {id: h, to: [{mtls: spiffe://a/c}], mint: [p]}\n- {id: i, to: [{mtls: spiffe://a/b}, {mtls: spiffe://a/c}], mint: [p]}", []string{"9:3: grant i " + shadowed}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, w := range mustCompile(t, profiles+tt.grants+"\n").Lint() {
				got = append(got, w.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestLintProfiles(t *testing.T) {
	p := mustCompile(t, `version: 1
profiles:
  b: {key: k, app_store_connect: {}}
  a: {key: k, enterprise: {scope: [GET /v1/devices]}}
grants:
- {id: g, to: [{mtls: spiffe://a/b}], mint: [b]}
`)
	want := []Problem{
		{Line: 3, Column: 3, Message: "profile b has no scope: its tokens carry the whole role of their key, writes included; name GET requests if it only reads"},
		{Line: 4, Column: 3, Message: "profile a is minted by no grant"},
	}
	if diff := cmp.Diff(want, p.Lint()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestLintLongLivedAndTeamKeys(t *testing.T) {
	const doc = `version: 1
profiles:
  ci: {key: asc-release, app_store_connect: {scope: [GET /v1/ciProducts]}, long_lived: true, ttl: 90d12h}
  all: {key: asc-release, app_store_connect: {}}
grants:
- {id: g, to: [{mtls: spiffe://a/b}], mint: [ci, all]}
`
	p, err := Compile([]byte(doc), nil, allKeys)
	if err != nil {
		t.Fatal(err)
	}
	want := []Problem{
		{Line: 3, Column: 3, Message: "profile ci is long-lived: a token of it, once given, lives for up to 90d12h, and nothing here can call it back; only revoking its key at Apple ends it"},
		{Line: 4, Column: 3, Message: "profile all has no scope: its tokens carry the whole role of their key, writes included, and, as it is a team key, reach all apps; name GET requests if it only reads, or take the individual key of a user who has fewer apps"},
	}
	if diff := cmp.Diff(want, p.Lint()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestExpansions(t *testing.T) {
	p := mustCompile(t, `version: 1
profiles:
  z:
    key: k
    app_store_connect: {app: "42", read: [metadata, builds], scope: [GET /v1/users]}
  y: {key: k, app_store_connect: {scope: [GET /v1/apps/42]}}
  a: {key: k, app_store_connect: {app: "7", read: [beta]}}
`)
	want := []Expansion{
		{Line: 5, Column: 36, Profile: "z", Reads: []string{"metadata", "builds"}, Scope: []apple.Scope{
			"GET /v1/apps/42",
			"GET /v1/apps/42/appInfos",
			"GET /v1/apps/42/appInfos?include=appInfoLocalizations",
			"GET /v1/apps/42/appStoreVersions",
			"GET /v1/apps/42/appStoreVersions?include=appStoreVersionLocalizations",
			"GET /v1/apps/42/builds",
			"GET /v1/apps/42/endUserLicenseAgreement",
			"GET /v1/apps/42/preReleaseVersions",
			"GET /v1/builds?filter[app]=42",
			"GET /v1/builds?filter[app]=42&include=preReleaseVersion",
			"GET /v1/preReleaseVersions?filter[app]=42",
			"GET /v1/users",
		}},
		{Line: 7, Column: 45, Profile: "a", Reads: []string{"beta"}, Scope: []apple.Scope{
			"GET /v1/apps/7",
			"GET /v1/apps/7/betaAppLocalizations",
			"GET /v1/apps/7/betaGroups",
			"GET /v1/apps/7/betaLicenseAgreement",
			"GET /v1/betaAppLocalizations?filter[app]=7",
			"GET /v1/betaGroups?filter[app]=7",
			"GET /v1/betaLicenseAgreements?filter[app]=7",
		}},
	}
	if diff := cmp.Diff(want, p.Expansions()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
