package apple

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const notLong = "not a request of which a token may live long: Apple takes such tokens only for some reads of Xcode Cloud (/v1/ci… and /v1/scm…) and of performance metrics and diagnostic logs; take it out, or give it a profile of its own that is not long-lived"

// TestCheckLongLived goes through Apple's list with ids in it, and through what looks like it.
func TestCheckLongLived(t *testing.T) {
	resources, paths := len(longLivedReads), 0
	for _, r := range longLivedReads {
		for _, p := range r.paths {
			paths++
			path := "GET " + strings.ReplaceAll(p, "{id}", "74e2b1d0-0000-4000-8000-000000000001")
			for _, s := range []string{path, path + "?fields[x]=y&include=z"} {
				scope, err := ParseScope(s)
				if err != nil {
					t.Fatal(err)
				}
				wantError(t, scope.CheckLongLived(), "")
			}
		}
	}
	if resources != 13 || paths != 40 {
		t.Errorf("%d resources with %d paths", resources, paths)
	}
	for _, s := range []Scope{
		"", "GET", "GET /v1/apps", "GET /v1/apps/1", "GET /v1/apps/1/builds", "GET /v1/apps?filter[x]=/v1/ciProducts",
		"GET /v1/ciArtifacts/1", "GET /v1/ciBuildActions", "GET /v1/ciBuildActions/1/artifacts/2", "GET /v2/ciProducts",
		"GET /v1/ciproducts", "GET /v1/ciProducts/1/x", "GET /v1/ciProducts/1/relationships/app", "GET /v1/x/ciProducts",
		"GET /v1/diagnosticSignatures/1", "GET /v1/builds/1", "GET /v1/scmPullRequests", "POST /v1/ciProducts",
	} {
		wantError(t, s.CheckLongLived(), notLong)
	}
}

func TestLongLived(t *testing.T) {
	listed := []Scope{"GET /v1/ciBuildRuns/7", "GET /v1/ciProducts"}
	const day = 24 * time.Hour
	long := Terms{AppStoreConnect{Scope: listed}, true}
	if got, want := long.Limits(), (Limits{Max: 180 * day}); got != want {
		t.Errorf("Limits = %v, want %v", got, want)
	}
	if got := FamilyAppStoreConnect.LongestTTL(); got != 180*day {
		t.Errorf("LongestTTL = %s", got)
	}
	if LongestTTL() != Unending {
		t.Errorf("LongestTTL of all = %s, and a map snapshot does not end", LongestTTL())
	}
	needsScope := "a long-lived token needs a scope: Apple takes tokens that live longer than 19m30s only for some reads, which the scope must name"
	for _, tt := range []struct {
		name   string
		params Terms
		ask    Ask
		err    string
		check  string
	}{
		{"at the ceiling", long, Ask{TTL: 180 * day}, "", ""},
		{"short", long, Ask{TTL: time.Minute}, "", ""},
		{"narrowed", long, Ask{TTL: 90 * day, Scope: listed[:1]}, "", ""},
		{"above the ceiling", long, Ask{TTL: 180*day + time.Second}, "the lifetime is longer than Apple accepts for this family of token: ask for 180d or less", ""},
		{"wider", long, Ask{TTL: day, Scope: []Scope{"GET /v1/ciProducts/1"}}, ErrScopeNotGranted.Error(), ""},
		{"not said", Terms{Params: AppStoreConnect{Scope: listed}}, Ask{TTL: day}, tooLong, ""},
		{"without a scope", Terms{AppStoreConnect{}, true}, Ask{TTL: day, Scope: listed}, needsScope, needsScope},
		{"without a scope, and short", Terms{AppStoreConnect{}, true}, Ask{TTL: time.Minute}, needsScope, needsScope},
		{"terms in terms", Terms{Params: long}, Ask{TTL: time.Minute}, "the parameters are no family's: give the terms those of one", ""},
		{"beyond the list", Terms{AppStoreConnect{Scope: []Scope{"GET /v1/apps", "GET /v1/ciProducts"}}, true}, Ask{TTL: day, Scope: listed[1:]},
			"scope entry 1: " + notLong, "scope entry 1: " + notLong},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec, err := tt.params.Spec(teamFacts, tt.ask)
			wantError(t, err, tt.err)
			if err == nil && spec.TTL() != tt.ask.TTL {
				t.Errorf("ttl %s", spec.TTL())
			}
			wantError(t, tt.params.Check(teamFacts), tt.check)
		})
	}
}

// No token lives longer than others unless all that it may do is on Apple's list.
func TestLongLivedIsListed(t *testing.T) {
	entries := rapid.SampledFrom([]Scope{"GET /v1/ciProducts", "GET /v1/ciProducts/1", "GET /v1/apps/1/ciProduct", "GET /v1/apps/1", "GET /v1/ciArtifacts/1"})
	long := 0
	rapid.Check(t, func(t *rapid.T) {
		params := Terms{AppStoreConnect{Scope: rapid.SliceOfN(entries, 0, 3).Draw(t, "granted")}, rapid.Bool().Draw(t, "longLived")}
		if rapid.Bool().Draw(t, "listed") { // so that something does live long
			params = Terms{AppStoreConnect{Scope: []Scope{"GET /v1/apps/1/ciProduct", "GET /v1/ciProducts"}}, true}
		}
		ask := Ask{
			TTL:   time.Duration(rapid.Int64Range(31, 200*24*3600).Draw(t, "ttl")) * time.Second,
			Scope: rapid.SliceOfN(entries, 0, 2).Draw(t, "asked"),
		}
		spec, err := params.Spec(teamFacts, ask)
		if err != nil || spec.TTL() <= 1170*time.Second {
			return
		}
		long++
		if spec.TTL() > 180*24*time.Hour || !params.LongLived || len(spec.Scope()) == 0 {
			t.Fatalf("lives for %s with %v", spec.TTL(), spec.Scope())
		}
		for _, s := range spec.Scope() {
			if s.CheckLongLived() != nil {
				t.Fatalf("%s lives for %s", s, spec.TTL())
			}
		}
	})
	if long == 0 {
		t.Error("nothing lived long: the test draws the wrong things")
	}
}

func TestTTLText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 1170 * time.Second: "19m30s", time.Hour: "1h", 24 * time.Hour: "1d", 36 * time.Hour: "1d12h",
		180 * 24 * time.Hour: "180d", 90*24*time.Hour + time.Minute + 5*time.Second: "90d1m5s",
	} {
		if got := TTLText(d); got != want {
			t.Errorf("TTLText(%d) = %q, want %q", d, got, want)
		}
	}
}

// What a caller is told of when to stop and when to ask again holds for months as for minutes.
func TestLongLivedTimes(t *testing.T) {
	long := Terms{AppStoreConnect{Scope: []Scope{"GET /v1/ciProducts"}}, true}
	token := mustMintTerms(t, long, teamFacts, Ask{TTL: 180 * 24 * time.Hour})
	if got, want := token.UseUntil(), token.Expires.Add(-30*time.Second); !got.Equal(want) {
		t.Errorf("use until %s, want %s", got, want)
	}
	if got := token.Refresh(); got.Before(testNow.Add(89*24*time.Hour)) || got.After(testNow.Add(91*24*time.Hour)) {
		t.Errorf("ask again at %s, which is not halfway", got)
	}
}
