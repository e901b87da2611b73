package policy

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListed(t *testing.T) {
	p, err := Compile([]byte(`version: 1
profiles:
  release: {key: asc, app_store_connect: {}}
  builds: {key: team-a/asc, app_store_connect: {scope: [GET /v1/apps]}}
grants:
  - {id: z, to: [], mint: [release, builds]}
  - {id: a, to: [], deny: true}
  - {id: m, to: [], do: [audit.read]}
`), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []Grant{{ID: "z", Mint: []ProfileName{"release", "builds"}}, {ID: "a", Deny: true}, {ID: "m"}}
	if diff := cmp.Diff(want, slices.Collect(p.Grants())); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[ProfileName]KeyName{"builds": "team-a/asc", "release": "asc"}, maps.Collect(p.Profiles())); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
	for range p.Grants() {
		break
	}
	for name := range p.Profiles() {
		if name != "builds" {
			t.Errorf("%s comes first", name)
		}
		break
	}
	for _, none := range []*Policy{nil, {}, Empty(nil)} {
		if len(slices.Collect(none.Grants())) > 0 || len(maps.Collect(none.Profiles())) > 0 {
			t.Error("a policy of nothing lists something")
		}
	}
}
