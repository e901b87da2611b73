package apple

import (
	"strings"
	"testing"
)

const testIssuer IssuerID = "57246542-96fe-1a63-e053-0824d011072a"

var (
	teamFacts       = Facts{Kind: KindAppStoreConnect, KeyID: "2X9R4HXF34", Issuer: testIssuer}
	individualFacts = Facts{Kind: KindAppStoreConnectIndividual, KeyID: "2X9R4HXF34"}
	enterpriseFacts = Facts{Kind: KindEnterprise, KeyID: "2X9R4HXF34", Issuer: testIssuer}
)

// wantError checks that an error is exactly so; want "" means none.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case err == nil && want != "":
		t.Errorf("no error, want %q", want)
	case err != nil && err.Error() != want:
		t.Errorf("error\n got %q\nwant %q", err, want)
	}
}

func TestParseKind(t *testing.T) {
	for _, k := range Kinds() {
		if got, err := ParseKind(string(k)); got != k || err != nil {
			t.Errorf("ParseKind(%q) = %q, %v", k, got, err)
		}
	}
	_, err := ParseKind("")
	for _, k := range Kinds() {
		if !strings.Contains(err.Error(), string(k)) {
			t.Errorf("the error does not name %s", k)
		}
	}
	for _, s := range []string{"", "App-Store-Connect", "app_store_connect", "subscription", "enterprise "} {
		_, err := ParseKind(s)
		wantError(t, err, "unknown kind of key: it is one of app-store-connect, app-store-connect-individual, enterprise, in-app-purchase, developer-portal, apple-ads, school-business, marketplace")
	}
}

func TestParseKeyID(t *testing.T) {
	const (
		unusual = "the key ID is not ten upper-case letters and digits, as nearly all are: compare it with the one that Apple shows"
		refused = "not a key ID: it is the (nearly always ten) letters and digits that Apple shows beside the key and that its file name carries, AuthKey_<key ID>.p8; for Apple Ads and for School and Business a UUID"
	)
	tests := []struct {
		name, in, warning, err string
	}{
		{"usual", "2X9R4HXF34", "", ""},
		{"eight, as in notarytool's manual", "7UD13000", unusual, ""},
		{"nine, as in fastlane's", "D383SF739", unusual, ""},
		{"lower case", "2x9r4hxf34", unusual, ""},
		{"a UUID", "d136aa66-0c3b-4bd4-9892-c20e8db024ab", unusual, ""},
		{"longest", strings.Repeat("A", 64), unusual, ""},
		{"too long", strings.Repeat("A", 65), "", refused},
		{"empty", "", "", refused},
		{"space", "2X9R4 HXF34", "", refused},
		{"newline", "2X9R4HXF34\n", "", refused},
		{"quote", `2X9R4HXF3"`, "", refused},
		{"not ASCII", "2X9R4HXF3É", "", refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := ParseKeyID(tt.in)
			wantError(t, err, tt.err)
			if err == nil && string(id) != tt.in {
				t.Errorf("id = %q, want it as it is", id)
			}
			if warning := (Facts{Kind: KindAppStoreConnect, KeyID: id}).Unusual(); warning != tt.warning {
				t.Errorf("warning = %q, want %q", warning, tt.warning)
			}
		})
	}
}

func TestParseIssuerID(t *testing.T) {
	const refused = "not an issuer ID: it is the UUID (8-4-4-4-12 hexadecimal digits) shown above the list of keys under Users and Access, Integrations"
	tests := []struct {
		name, in, err string
	}{
		{"no variant of RFC 9562", "57246542-96fe-1a63-e053-0824d011072a", ""},
		{"another", "69a6de70-03db-47e3-e053-5b8c7c11a4d1", ""},
		{"upper case stays", "69A6DE70-03DB-47E3-E053-5B8C7C11A4D1", ""},
		{"Apple's misprint", "57246542-96fe-1a63e053-0824d011072a", refused},
		{"empty", "", refused},
		{"braces", "{57246542-96fe-1a63-e053-0824d011072a}", refused},
		{"URN", "urn:uuid:57246542-96fe-1a63-e053-0824d011072a", refused},
		{"no hyphens", "5724654296fe1a63e0530824d011072a", refused},
		{"not hexadecimal", "57246542-96fe-1a63-e053-0824d011072g", refused},
		{"newline", "57246542-96fe-1a63-e053-0824d011072a\n", refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := ParseIssuerID(tt.in)
			wantError(t, err, tt.err)
			if err == nil && string(id) != tt.in {
				t.Errorf("id = %q, want it byte for byte", id)
			}
		})
	}
}

func TestFactsValidate(t *testing.T) {
	tests := []struct {
		name  string
		facts Facts
		err   string
	}{
		{"team", teamFacts, ""},
		{"individual", individualFacts, ""},
		{"enterprise", enterpriseFacts, ""},
		{"empty", Facts{}, "unknown kind of key: it is one of app-store-connect, app-store-connect-individual, enterprise, in-app-purchase, developer-portal, apple-ads, school-business, marketplace"},
		{"no key ID", Facts{Kind: KindEnterprise, Issuer: testIssuer}, "the key ID is missing: Apple shows it beside the key, and the name of a .p8 file carries it, AuthKey_<key ID>.p8"},
		{"bad key ID", Facts{Kind: KindEnterprise, KeyID: "a b", Issuer: testIssuer}, "not a key ID: it is the (nearly always ten) letters and digits that Apple shows beside the key and that its file name carries, AuthKey_<key ID>.p8; for Apple Ads and for School and Business a UUID"},
		{"team without issuer", Facts{Kind: KindAppStoreConnect, KeyID: "2X9R4HXF34"}, "the issuer ID is missing: it is shown above the list of keys under Users and Access, Integrations; only an individual key, kind app-store-connect-individual, has none"},
		{"enterprise without issuer", Facts{Kind: KindEnterprise, KeyID: "2X9R4HXF34"}, "the issuer ID is missing: it is shown above the list of keys under Users and Access, Integrations; only an individual key, kind app-store-connect-individual, has none"},
		{"bad issuer", Facts{Kind: KindEnterprise, KeyID: "2X9R4HXF34", Issuer: "x"}, "not an issuer ID: it is the UUID (8-4-4-4-12 hexadecimal digits) shown above the list of keys under Users and Access, Integrations"},
		{"individual with issuer", Facts{Kind: KindAppStoreConnectIndividual, KeyID: "2X9R4HXF34", Issuer: testIssuer}, "an individual key has no issuer ID (Apple answers 401 to a token that names one): leave it out, or say that this is a team key, kind app-store-connect"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantError(t, tt.facts.Validate(), tt.err) })
	}
}

func TestKeyFileHint(t *testing.T) {
	tests := []struct {
		name string
		kid  KeyID
		kind Kind
		ok   bool
	}{
		{"AuthKey_2X9R4HXF34.p8", "2X9R4HXF34", "", true},
		{"ApiKey_2X9R4HXF34.p8", "2X9R4HXF34", KindAppStoreConnectIndividual, true},
		{"SubscriptionKey_2X9R4HXF34.p8", "2X9R4HXF34", "in-app-purchase", true},
		{"AuthKey_7UD13000.p8", "7UD13000", "", true},
		{"/home/me/private_keys/AuthKey_2X9R4HXF34.p8", "2X9R4HXF34", "", true},
		{`C:\keys\AuthKey_2X9R4HXF34.p8`, "2X9R4HXF34", "", true},
		{"AuthKey_2X9R4HXF34.pem", "", "", false},
		{"AuthKey_2X9R4HXF34 (1).p8", "", "", false},
		{"AuthKey_2x9r4hxf34.p8", "", "", false},
		{"AuthKey_SHORT.p8", "", "", false},
		{"MyAuthKey_2X9R4HXF34.p8", "", "", false},
		{"AuthKey_2X9R4HXF34.p8/", "", "", false},
		{"key.p8", "", "", false},
		{"", "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			kid, kind, ok := KeyFileHint(tt.name)
			if kid != tt.kid || kind != tt.kind || ok != tt.ok {
				t.Errorf("KeyFileHint = %q, %q, %v, want %q, %q, %v", kid, kind, ok, tt.kid, tt.kind, tt.ok)
			}
		})
	}
}
