package apple

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// kindSamples has every kind of key once, with all that is known of it.
func kindSamples() map[Kind]Facts {
	portal := portalFacts(ServiceAPNs, ServiceMapKit)
	portal.Environment, portal.Topics = EnvironmentProduction, []BundleID{"com.example.app", "com.example.app.voip"}
	team := teamFacts
	team.Roles = []Role{RoleAppManager, RoleReports}
	slices.Sort(team.Roles)
	all := make(map[Kind]Facts)
	for _, f := range []Facts{team, individualFacts, enterpriseFacts, iapFacts, portal, adsFacts, businessFacts, marketplaceFacts} {
		all[f.Kind] = f
	}
	return all
}

// TestFactsOfEveryKind: each kind has its facts and no others, and keys that the customer makes begin without.
func TestFactsOfEveryKind(t *testing.T) {
	every := Facts{KeyID: "2X9R4HXF34", Issuer: testIssuer, Team: "DEF123GHIJ", Client: adsID, App: "1234567890", Services: []Service{ServiceMapKit}}
	set := map[string]func(*Facts){
		"key ID": func(f *Facts) { f.KeyID = every.KeyID }, "issuer ID": func(f *Facts) { f.Issuer = every.Issuer }, "team ID": func(f *Facts) { f.Team = every.Team },
		"client ID": func(f *Facts) { f.Client = every.Client }, "app ID": func(f *Facts) { f.App = every.App }, "list of services": func(f *Facts) { f.Services = every.Services },
	}
	samples := kindSamples()
	for _, k := range Kinds() {
		facts, ok := samples[k]
		if !ok {
			t.Fatalf("%s has no sample", k)
		}
		wantError(t, facts.Validate(), "")
		wantError(t, facts.ValidateKnown(), "")
		wantError(t, Facts{Kind: k}.ValidateKnown(), "")
		if (Facts{Kind: k}).Validate() == nil {
			t.Errorf("%s needs no facts", k)
		}
		for name, put := range set {
			if slices.ContainsFunc(kindFacts[k], func(f fact) bool { return f.name == name }) {
				continue
			}
			with := facts
			put(&with)
			want := "a key of kind " + string(k) + " has no " + name + ": leave it out, or correct the kind"
			if k == KindAppStoreConnectIndividual && name == "issuer ID" {
				want = errIndividualIssuer.Error()
			}
			wantError(t, with.Validate(), want)
			wantError(t, with.ValidateKnown(), want)
		}
	}
	if !KindAppleAds.Customer() || !KindMarketplace.Customer() || KindAppStoreConnect.Customer() || KindSchoolBusiness.Customer() {
		t.Error("who makes which keys")
	}
}

// TestMalformedFacts has every fact wrong: the error says which and repeats nothing.
func TestMalformedFacts(t *testing.T) {
	of := func(k Kind, change func(*Facts)) Facts {
		f := kindSamples()[k]
		change(&f)
		return f
	}
	topics := make([]BundleID, maxTopics+1)
	for _, tt := range []struct {
		name, want, input string
		facts             Facts
	}{
		{"kind", "unknown kind of key", "acme", Facts{Kind: "acme"}},
		{"key ID", "not a key ID", "a b c d", of(KindInAppPurchase, func(f *Facts) { f.KeyID = "a b c d" })},
		{"issuer", "not an issuer ID", "acme", of(KindInAppPurchase, func(f *Facts) { f.Issuer = "acme" })},
		{"team, too short", "not a team ID", "DEF123GHI", of(KindDeveloperPortal, func(f *Facts) { f.Team = "DEF123GHI" })},
		{"team, lower case", "not a team ID", "def123ghij", of(KindDeveloperPortal, func(f *Facts) { f.Team = "def123ghij" })},
		{"team of Apple Ads", "the team ID is that of another kind", "SEARCHADS.97", of(KindDeveloperPortal, func(f *Facts) { f.Team = adsID })},
		{"team of a developer account", "the team ID is that of another kind", "DEF123GHIJ", of(KindAppleAds, func(f *Facts) { f.Team = "DEF123GHIJ" })},
		{"client", "not a client ID", "acme", of(KindAppleAds, func(f *Facts) { f.Client = "SEARCHADS.acme" })},
		{"client of School", "the client ID is that of another kind", "9703f56c", of(KindAppleAds, func(f *Facts) { f.Client = ClientID("SCHOOLAPI." + adsID[10:]) })},
		{"client of Apple Ads", "the client ID is that of another kind", "9703f56c", of(KindSchoolBusiness, func(f *Facts) { f.Client = adsID })},
		{"app, not a number", "not Apple's ID of an app", "12a4", of(KindMarketplace, func(f *Facts) { f.App = "12a4" })},
		{"app, too long", "not Apple's ID of an app", "99999", of(KindMarketplace, func(f *Facts) { f.App = "99999999999999999999" })},
		{"app, zero before it", "not Apple's ID of an app", "0123", of(KindMarketplace, func(f *Facts) { f.App = "0123" })},
		{"service", "services, entry 2: unknown service", "push", of(KindDeveloperPortal, func(f *Facts) { f.Services = []Service{ServiceAPNs, "push"} })},
		{"service twice", "the services are not in order, or have one twice", "", of(KindDeveloperPortal, func(f *Facts) { f.Services = []Service{ServiceAPNs, ServiceAPNs} })},
		{"services out of order", "the services are not in order", "", of(KindDeveloperPortal, func(f *Facts) { f.Services = []Service{ServiceMapKit, ServiceAPNs} })},
		{"environment", "unknown environment", "test", of(KindDeveloperPortal, func(f *Facts) { f.Environment = "test" })},
		{"environment without APNs", "an environment is of APNs", "", of(KindDeveloperPortal, func(f *Facts) { f.Services = []Service{ServiceMapKit} })},
		{"environment of another kind", "an environment is of APNs", "", of(KindInAppPurchase, func(f *Facts) { f.Environment = EnvironmentBoth })},
		{"topics without APNs", "topics are of APNs", "", of(KindDeveloperPortal, func(f *Facts) { f.Services, f.Environment = []Service{ServiceMapKit}, "" })},
		{"topics, too many", "more than 400 topics", "", of(KindDeveloperPortal, func(f *Facts) { f.Topics = topics })},
		{"topic", "topics, entry 1: not an identifier", "acme", of(KindDeveloperPortal, func(f *Facts) { f.Topics = []BundleID{"acme"} })},
		{"topics out of order", "the topics are not in order", "", of(KindDeveloperPortal, func(f *Facts) { f.Topics = []BundleID{"b.c", "a.b"} })},
		{"roles of another kind", "a key of kind in-app-purchase has no roles", "", of(KindInAppPurchase, func(f *Facts) { f.Roles = []Role{RoleAdmin} })},
		{"role", "roles, entry 1: unknown role", "BOSS", of(KindEnterprise, func(f *Facts) { f.Roles = []Role{"BOSS"} })},
		{"role in lower case", "roles, entry 1: it is spelled in capitals", "", of(KindEnterprise, func(f *Facts) { f.Roles = []Role{"admin"} })},
		{"role twice", "the roles are not in order, or have one twice", "", of(KindAppStoreConnectIndividual, func(f *Facts) { f.Roles = []Role{RoleAdmin, RoleAdmin} })},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for what, err := range map[string]error{"Validate": tt.facts.Validate(), "ValidateKnown": tt.facts.ValidateKnown()} {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: error %v, want one that says %q", what, err, tt.want)
				} else if tt.input != "" && strings.Contains(err.Error(), tt.input) {
					t.Errorf("%s repeats the input: %v", what, err)
				}
			}
		})
	}
}

func TestUnusual(t *testing.T) {
	for _, tt := range []struct {
		kind Kind
		id   KeyID
		want string
	}{
		{KindDeveloperPortal, "ABC123DEFG", ""},
		{KindDeveloperPortal, "ABC123DEF", "not ten upper-case letters and digits"},
		{KindInAppPurchase, "a273d0d3-4d9e-458c-a173-0db8619ca7d7", "not ten upper-case letters and digits"},
		{KindAppleAds, "a273d0d3-4d9e-458c-a173-0db8619ca7d7", ""},
		{KindSchoolBusiness, "A273D0D3-4D9E-458C-A173-0DB8619CA7D7", ""},
		{KindAppleAds, "ABC123DEFG", "not a UUID"},
		{KindSchoolBusiness, "ABC123DEFG", "not a UUID"},
		{KindMarketplace, "", ""},
	} {
		got := Facts{Kind: tt.kind, KeyID: tt.id}.Unusual()
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || tt.id != "" && strings.Contains(got, string(tt.id)) {
			t.Errorf("%s, %s: %q, want %q", tt.kind, tt.id, got, tt.want)
		}
	}
}

// TestParseFacts: every fact that is malformed is named as flags and files name it, and not repeated.
func TestParseFacts(t *testing.T) {
	for kind, facts := range kindSamples() {
		again, err := ParseFacts(facts.Texts())
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if diff := cmp.Diff(facts, again); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
	sorted, err := ParseFacts(FactTexts{Services: []string{"mapkit-js", "apns", "apns"}, Topics: []string{"b.c", "a.b"}, Roles: []string{"app-manager", "ADMIN", "admin"}})
	if err != nil {
		t.Fatal(err)
	}
	want := Facts{Services: []Service{ServiceAPNs, ServiceMapKit}, Topics: []BundleID{"a.b", "b.c"}, Roles: []Role{RoleAdmin, RoleAppManager}}
	if diff := cmp.Diff(want, sorted); diff != "" {
		t.Errorf("lists (-want +got):\n%s", diff)
	}
	if none, err := ParseFacts(FactTexts{}); err != nil || cmp.Diff(Facts{}, none) != "" {
		t.Errorf("of nothing: %v, %v", none, err)
	}
	const bad = "quux!"
	for field, texts := range map[string]FactTexts{
		"kind": {Kind: bad}, "key_id": {KeyID: bad}, "issuer_id": {Issuer: bad}, "team_id": {Team: bad}, "client_id": {Client: bad}, "app_id": {App: bad},
		"environment": {Environment: bad}, "services": {Services: []string{"apns", bad}}, "topics": {Topics: []string{bad}}, "roles": {Roles: []string{bad}},
	} {
		facts, err := ParseFacts(texts)
		var f *FieldError
		if !errors.As(err, &f) || f.Field != field || f.Err == nil || !errors.Is(err, f.Err) || strings.Contains(err.Error(), bad) || cmp.Diff(Facts{}, facts) != "" {
			t.Errorf("%s: %v, %v", field, facts, err)
		}
	}
}

// TestMissingAndFitting: what is missing, in the order in which Validate says it, and what a change of kind leaves.
func TestMissingAndFitting(t *testing.T) {
	every := Facts{KeyID: "k", Issuer: "i", Team: "t", Client: "c", App: "1", Services: []Service{ServiceAPNs}, Environment: EnvironmentBoth, Topics: []BundleID{"a.b"}, Roles: []Role{RoleAdmin}}
	for kind, facts := range kindSamples() {
		if missing := facts.Missing(); len(missing) != 0 {
			t.Errorf("%s misses %v", kind, missing)
		}
		bare := Facts{Kind: kind}
		missing := bare.Missing()
		if len(missing) != len(kindFacts[kind]) {
			t.Fatalf("%s misses %v", kind, missing)
		}
		wantError(t, bare.Validate(), "the "+missing[0].Name+" is missing: "+missing[0].Where)
		every.Kind = kind
		fits := every.Fitting()
		if len(fits.Missing()) != 0 || cmp.Diff(facts.Fitting(), facts) != "" {
			t.Errorf("%s: %v fit", kind, fits)
		}
		for _, has := range allFacts {
			if needs := slices.ContainsFunc(kindFacts[kind], func(n fact) bool { return n.name == has.name }); needs != (has.get(fits) != "") {
				t.Errorf("%s: the %s fits %v", kind, has.name, !needs)
			}
		}
		if (fits.Roles != nil) != kind.hasRoles() || (fits.Topics != nil) != (kind == KindDeveloperPortal) || (fits.Environment != "") != (kind == KindDeveloperPortal) {
			t.Errorf("%s: %v fit", kind, fits)
		}
	}
}

// TestComplete: what one source lacks comes from the other, and what both say must be the same.
func TestComplete(t *testing.T) {
	portal := kindSamples()[KindDeveloperPortal]
	for kind, facts := range kindSamples() {
		for name, all := range map[string][2]Facts{"of nothing": {{}, facts}, "by nothing": {facts, {}}, "by itself": {facts, facts}} {
			got, differs := all[0].Complete(all[1])
			if diff := cmp.Diff(facts, got); diff != "" || differs != "" {
				t.Errorf("%s %s: %s differs (-want +got):\n%s", kind, name, differs, diff)
			}
		}
	}
	for want, other := range map[string]Facts{
		"kind": {Kind: KindEnterprise}, "key id": {KeyID: "X"}, "team id": {Team: "X"}, "environment": {Environment: EnvironmentSandbox},
		"list of services": {Services: []Service{ServiceAPNs}}, "list of topics": {Topics: []BundleID{}},
	} {
		if _, differs := portal.Complete(other); differs != want {
			t.Errorf("%s: %q differs", want, differs)
		}
	}
	for want, two := range map[string][2]Facts{
		"issuer id": {{Issuer: "X"}, {Issuer: "x"}}, "client id": {{Client: "X"}, {Client: "Y"}}, "app id": {{App: "1"}, {App: "2"}},
		"list of roles": {{Roles: []Role{RoleAdmin}}, {Roles: []Role{RoleSales}}},
	} {
		if _, differs := two[0].Complete(two[1]); differs != want {
			t.Errorf("%s: %q differs", want, differs)
		}
	}
}

// TestFactsThatFit: what the generator makes of any kind is valid, and comes back from its texts.
func TestFactsThatFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := world{}.facts(t, rapid.SampledFrom(Families()).Draw(t, "family").rules())
		if err := f.Validate(); err != nil {
			t.Fatal(err)
		}
		again, err := ParseFacts(f.Texts())
		if err != nil || cmp.Diff(f, again) != "" {
			t.Fatalf("%v, %v", again, err)
		}
	})
}

func TestNames(t *testing.T) {
	for _, s := range Services() {
		if got, err := ParseService(string(s)); got != s || err != nil {
			t.Errorf("ParseService(%q) = %q, %v", s, got, err)
		}
	}
	for _, r := range Roles() {
		for _, text := range []string{string(r), strings.ToLower(strings.ReplaceAll(string(r), "_", "-"))} {
			if got, err := ParseRole(text); got != r || err != nil {
				t.Errorf("ParseRole(%q) = %q, %v", text, got, err)
			}
		}
	}
	for _, s := range []string{"", "APNS", "push", "apns "} {
		if _, err := ParseService(s); err == nil || !strings.Contains(err.Error(), "unknown service of a key: it is one of apns, device-check") {
			t.Errorf("ParseService(%q): %v", s, err)
		}
		if _, err := ParseRole(s); err == nil || !strings.Contains(err.Error(), "unknown role of a key: it is one of ADMIN") {
			t.Errorf("ParseRole(%q): %v", s, err)
		}
		if _, err := ParseEnvironmentName(s); err == nil {
			t.Errorf("ParseEnvironmentName(%q)", s)
		}
	}
}

func FuzzParseFacts(f *testing.F) {
	for _, facts := range kindSamples() {
		t := facts.Texts()
		f.Add(t.Kind, t.KeyID, t.Issuer, t.Team, t.Client, t.App, t.Environment, strings.Join(t.Services, ","), strings.Join(t.Topics, ","), strings.Join(t.Roles, ","))
	}
	split := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, ",")
	}
	f.Fuzz(func(t *testing.T, kind, keyID, issuer, team, client, app, environment, services, topics, roles string) {
		facts, err := ParseFacts(FactTexts{kind, keyID, issuer, team, client, app, environment, split(services), split(topics), split(roles)})
		if err != nil {
			var field *FieldError
			if !errors.As(err, &field) || cmp.Diff(Facts{}, facts) != "" {
				t.Errorf("%v, %v", facts, err)
			}
			return
		}
		again, err := ParseFacts(facts.Texts())
		if err != nil || cmp.Diff(facts, again) != "" {
			t.Errorf("%v became %v, %v", facts, again, err)
		}
		_ = facts.Unusual()
		if facts.Validate() == nil && facts.ValidateKnown() != nil {
			t.Errorf("%v is valid, and what is known of it is not", facts)
		}
	})
}
