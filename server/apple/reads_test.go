package apple

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBundles pins what the bundles are. A line of testdata/reads.txt may be added under a new name and never changed: a
// policy that was applied would grant something else after an upgrade.
func TestBundles(t *testing.T) {
	var got strings.Builder
	for _, name := range Reads() {
		got.WriteString(name + "\n")
		scope, err := ReadScope(name, "1234567890")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range scope {
			got.WriteString("\t" + string(s) + "\n")
		}
	}
	want, err := os.ReadFile("testdata/reads.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("what a policy grants by a name has changed: give the new set a new name (-want +got)\n%s", diff)
	}
}

// TestBundlesAreScopes: all bundles of one app make one scope, each request is about that app, and none is of the kinds
// that show a person's data.
func TestBundlesAreScopes(t *testing.T) {
	var all []Scope
	for _, name := range Reads() {
		scope, err := ReadScope(name, "987")
		if err != nil {
			t.Fatal(err)
		}
		if err := checkScopes(scope); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.IsSorted(scope) || len(slices.Compact(slices.Clone(scope))) != len(scope) {
			t.Errorf("%s is not strictly ascending: %v", name, scope)
		}
		for _, s := range scope {
			if path, query, _ := strings.Cut(string(s), "?"); !strings.HasPrefix(path+"/", "GET /v1/apps/987/") && !strings.Contains(query, "filter[app]=987") {
				t.Errorf("%s: %s is not about the app alone", name, s)
			}
			for _, personal := range []string{"Tester", "eedback", "eviewDetail", "ustomerReview", "user"} {
				if strings.Contains(string(s), personal) {
					t.Errorf("%s: %s shows a person's data", name, s)
				}
			}
		}
		all = append(all, scope...)
	}
	if n := len(sorted(all)); n > MaxScopeEntries {
		t.Errorf("all bundles together have %d requests, more than a scope holds", n)
	}
}

func TestReadScopeRefuses(t *testing.T) {
	for _, name := range []string{"", "Builds", "all"} {
		scope, err := ReadScope(name, "1")
		wantError(t, err, "there is no bundle of reads of this name: want some of builds, beta, metadata")
		if scope != nil {
			t.Errorf("%q is %v", name, scope)
		}
	}
}

func TestParseAppID(t *testing.T) {
	for _, s := range []string{"1", "1234567890", "9999999999999999999"} {
		if got, err := ParseAppID(s); err != nil || got != AppID(s) {
			t.Errorf("ParseAppID(%q) = %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0", "0123", "12345678901234567890", "com.example.app", "1/../2", "1?x=1", "-1", "1e9", "١٢"} {
		got, err := ParseAppID(s)
		wantError(t, err, `not Apple's ID of an app: it is the number that App Store Connect shows as Apple ID under App Information, such as "1234567890"`)
		if got != "" {
			t.Errorf("ParseAppID(%q) = %q", s, got)
		}
	}
}

// FuzzReadScope: whatever is taken for an app's id makes scopes that the grammar takes, about nothing but that app.
func FuzzReadScope(f *testing.F) {
	for _, s := range []string{"1", "1234567890", "1/builds", "1&include=app", "%31"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		app, err := ParseAppID(s)
		if err != nil {
			return
		}
		for _, name := range Reads() {
			scope, err := ReadScope(name, app)
			if err != nil || checkScopes(scope) != nil {
				t.Fatalf("%q: %v, %v, %v", s, scope, err, checkScopes(scope))
			}
		}
	})
}
