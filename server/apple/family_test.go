package apple

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestParseTTL(t *testing.T) {
	const tooShort = "the ttl is too short: tokens are back-dated by 30s, which counts, so it must be more than that"
	tests := []struct {
		name string
		in   time.Duration
		err  string
	}{
		{"ten minutes", 10 * time.Minute, ""},
		{"shortest", 31 * time.Second, ""},
		{"above every ceiling", 100 * time.Hour, ""},
		{"zero", 0, "the ttl is zero: give a positive one, such as 5m, or leave it out for the profile's default"},
		{"negative", -time.Minute, "the ttl is negative: give a positive one, such as 5m, or leave it out for the profile's default"},
		{"a fraction", time.Minute + time.Millisecond, "the ttl is not in whole seconds: Apple's times are integers"},
		{"no longer than the back-dating", BackDate, tooShort},
		{"a second", time.Second, tooShort},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseTTL(tt.in)
			wantError(t, err, tt.err)
			if err == nil && got != tt.in {
				t.Errorf("ParseTTL = %s, want %s", got, tt.in)
			}
		})
	}
}

func TestParams(t *testing.T) {
	if got := Family("other").URL(); got != "" {
		t.Errorf("an unknown family's tokens go to %q", got)
	}
	tests := []struct {
		params Params
		family Family
	}{
		{AppStoreConnect{}, "app-store-connect"},
		{Enterprise{}, "enterprise"},
	}
	for _, tt := range tests {
		if got := tt.params.Family(); got != tt.family {
			t.Errorf("Family = %q, want %q", got, tt.family)
		}
		if got, want := tt.family.Limits(false), (Limits{Default: 10 * time.Minute, Max: 1170 * time.Second}); got != want {
			t.Errorf("%s: Limits = %v, want %v", tt.family, got, want)
		}
		if host := strings.TrimPrefix(tt.family.URL(), "https://api."); host == tt.family.URL() || !strings.HasSuffix(host, ".apple.com") {
			t.Errorf("%s: URL = %q", tt.family, tt.family.URL())
		}
	}
}

const (
	needsASC        = "app-store-connect needs a key of kind app-store-connect or app-store-connect-individual: name such a key in the profile, or give the profile the family of its key"
	needsEnterprise = "enterprise needs a key of kind enterprise: name such a key in the profile, or give the profile the family of its key"
	tooLong         = "the lifetime is longer than Apple accepts for this family of token: ask for 19m30s or less"
	noIssuer        = "the issuer ID is missing: it is shown above the list of keys under Users and Access, Integrations; only an individual key, kind app-store-connect-individual, has none"
)

func TestCheck(t *testing.T) {
	apps := []Scope{"GET /v1/apps"}
	tests := []struct {
		name   string
		params Params
		facts  Facts
		err    string
	}{
		{"team key", AppStoreConnect{}, teamFacts, ""},
		{"individual key", AppStoreConnect{}, individualFacts, ""},
		{"enterprise key", Enterprise{}, enterpriseFacts, ""},
		{"scoped", AppStoreConnect{Scope: apps}, teamFacts, ""},
		{"scoped enterprise", Enterprise{Scope: apps}, enterpriseFacts, ""},
		{"enterprise key for app store connect", AppStoreConnect{}, enterpriseFacts, needsASC},
		{"team key for enterprise", Enterprise{}, teamFacts, needsEnterprise},
		{"individual key for enterprise", Enterprise{}, individualFacts, needsEnterprise},
		{"facts incomplete", AppStoreConnect{}, Facts{Kind: KindAppStoreConnect, KeyID: "2X9R4HXF34"}, noIssuer},
		{"facts incomplete, enterprise", Enterprise{}, Facts{Kind: KindEnterprise, KeyID: "2X9R4HXF34"}, noIssuer},
		{"empty scope", AppStoreConnect{Scope: []Scope{}}, teamFacts, "the scope is an empty list: leave it out for tokens that may do whatever the key's role allows, or name the requests"},
		{"too many entries", Enterprise{Scope: make([]Scope, MaxScopeEntries+1)}, enterpriseFacts, "the scope has more than 64 entries"},
		{"not canonical", AppStoreConnect{Scope: []Scope{"GET /v1/apps", "GET /v1/apps?limit=1"}}, teamFacts, "scope entry 2 is not in canonical form"},
		{"malformed", Enterprise{Scope: []Scope{"POST /v1/apps"}}, enterpriseFacts, "scope entry 1 is not in canonical form"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantError(t, Terms{Params: tt.params}.Check(tt.facts), tt.err) })
	}
}

func TestSpec(t *testing.T) {
	const minute = time.Minute
	granted := []Scope{"GET /v1/users", "GET /v1/apps", "GET /v1/builds", "GET /v1/apps"}
	ascending := []Scope{"GET /v1/apps", "GET /v1/builds", "GET /v1/users"}
	tests := []struct {
		name   string
		params Params
		facts  Facts
		ask    Ask
		scope  []Scope
		err    string
	}{
		{"unscoped", AppStoreConnect{}, teamFacts, Ask{TTL: minute}, nil, ""},
		{"individual", AppStoreConnect{}, individualFacts, Ask{TTL: minute}, nil, ""},
		{"enterprise", Enterprise{}, enterpriseFacts, Ask{TTL: minute}, nil, ""},
		{"at the ceiling", AppStoreConnect{}, teamFacts, Ask{TTL: 1170 * time.Second}, nil, ""},
		{"all that is granted", AppStoreConnect{Scope: granted}, teamFacts, Ask{TTL: minute}, ascending, ""},
		{"asked for nothing in particular", AppStoreConnect{Scope: granted}, teamFacts, Ask{TTL: minute, Scope: []Scope{}}, ascending, ""},
		{"narrowed", AppStoreConnect{Scope: granted}, teamFacts, Ask{TTL: minute, Scope: []Scope{"GET /v1/users", "GET /v1/apps", "GET /v1/users"}}, []Scope{"GET /v1/apps", "GET /v1/users"}, ""},
		{"an unscoped profile narrowed", Enterprise{}, enterpriseFacts, Ask{TTL: minute, Scope: []Scope{"GET /v1/b", "GET /v1/a"}}, []Scope{"GET /v1/a", "GET /v1/b"}, ""},

		{"not granted", AppStoreConnect{Scope: granted}, teamFacts, Ask{TTL: minute, Scope: []Scope{"GET /v1/apps", "GET /v1/devices"}}, nil, ErrScopeNotGranted.Error()},
		{"below a granted path", AppStoreConnect{Scope: granted}, teamFacts, Ask{TTL: minute, Scope: []Scope{"GET /v1/apps/1"}}, nil, ErrScopeNotGranted.Error()},
		{"a filter of a granted path", Enterprise{Scope: granted}, enterpriseFacts, Ask{TTL: minute, Scope: []Scope{"GET /v1/apps?filter[name]=a"}}, nil, ErrScopeNotGranted.Error()},
		{"too many entries", AppStoreConnect{}, teamFacts, Ask{TTL: minute, Scope: make([]Scope, MaxScopeEntries+1)}, nil, "the scope has more than 64 entries"},
		{"above the ceiling", AppStoreConnect{}, teamFacts, Ask{TTL: 1171 * time.Second}, nil, tooLong},
		{"above the ceiling, enterprise", Enterprise{}, enterpriseFacts, Ask{TTL: time.Hour}, nil, tooLong},
		{"no ttl", AppStoreConnect{}, teamFacts, Ask{}, nil, "the ttl is zero: give a positive one, such as 5m, or leave it out for the profile's default"},
		{"wrong key", AppStoreConnect{}, enterpriseFacts, Ask{TTL: minute}, nil, needsASC},
		{"wrong key, enterprise", Enterprise{}, individualFacts, Ask{TTL: minute}, nil, needsEnterprise},
		{"no issuer", AppStoreConnect{}, Facts{Kind: KindAppStoreConnect, KeyID: "2X9R4HXF34"}, Ask{TTL: minute}, nil, noIssuer},
		{"no key ID", Enterprise{}, Facts{Kind: KindEnterprise, Issuer: testIssuer}, Ask{TTL: minute}, nil, "the key ID is missing: Apple shows it beside the key, and the name of a .p8 file carries it, AuthKey_<key ID>.p8"},
		{"individual with issuer", AppStoreConnect{}, Facts{Kind: KindAppStoreConnectIndividual, KeyID: "2X9R4HXF34", Issuer: testIssuer}, Ask{TTL: minute}, nil, "an individual key has no issuer ID (Apple answers 401 to a token that names one): leave it out, or say that this is a team key, kind app-store-connect"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec, err := Terms{Params: tt.params}.Spec(tt.facts, tt.ask)
			wantError(t, err, tt.err)
			if err != nil {
				if spec.Family() != "" {
					t.Error("a spec beside an error")
				}
				return
			}
			if spec.Family() != tt.params.Family() || spec.KeyID() != tt.facts.KeyID || spec.TTL() != tt.ask.TTL {
				t.Errorf("spec of %s, key %s, ttl %s", spec.Family(), spec.KeyID(), spec.TTL())
			}
			if diff := cmp.Diff(tt.scope, spec.Scope()); diff != "" {
				t.Errorf("Scope (-want +got):\n%s", diff)
			}
		})
	}
	if granted[0] != "GET /v1/users" {
		t.Error("the profile's scope was sorted in place")
	}
	if _, err := (Terms{Params: AppStoreConnect{}}).Spec(teamFacts, Ask{TTL: time.Hour}); !errors.Is(err, ErrTTLTooLong) {
		t.Errorf("error %v, want ErrTTLTooLong", err)
	}
}

// What is specified never exceeds what the profile grants, and is what was asked for.
func TestSpecNeverWidens(t *testing.T) {
	entries := rapid.SampledFrom([]Scope{"GET /v1/a", "GET /v1/a?x=1", "GET /v1/b", "GET /v1/c", "GET /v1/a/b"})
	rapid.Check(t, func(t *rapid.T) {
		granted := rapid.SliceOfN(entries, 0, 4).Draw(t, "granted")
		ask := Ask{
			TTL:   time.Duration(rapid.Int64Range(-10, 2000).Draw(t, "ttl")) * time.Second,
			Scope: rapid.SliceOfN(entries, 0, 4).Draw(t, "asked"),
		}
		spec, err := Terms{Params: AppStoreConnect{Scope: granted}}.Spec(teamFacts, ask)
		within := len(granted) == 0 || !slices.ContainsFunc(ask.Scope, func(s Scope) bool { return !slices.Contains(granted, s) })
		if fits := within && ask.TTL > 30*time.Second && ask.TTL <= 1170*time.Second; fits != (err == nil) {
			t.Fatalf("fits: %v, error: %v", fits, err)
		}
		if err != nil {
			return
		}
		want := ask.Scope
		if len(want) == 0 {
			want = granted
		}
		for _, s := range spec.Scope() {
			if !slices.Contains(want, s) {
				t.Fatalf("%q was neither asked for nor granted", s)
			}
		}
		for _, s := range want {
			if !slices.Contains(spec.Scope(), s) {
				t.Fatalf("%q is missing", s)
			}
		}
	})
}
