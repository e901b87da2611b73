package apple

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMalformedParams has every parameter of every family wrong: the error names it and the rule, and repeats nothing of it.
func TestMalformedParams(t *testing.T) {
	const (
		bundle    = "com.example.app"
		notID     = "not an identifier such as com.example.app"
		notOrigin = "not an origin"
		twice     = "entry 2: it stands in the list before"
	)
	long := strings.Repeat("com.", 38) + "abcd"
	products := func(p ...ProductID) Params { return PromotionalOffer{Bundle: bundle, Products: p} }
	offers := func(o ...OfferID) Params { return PromotionalOffer{Bundle: bundle, Offers: o} }
	origins := func(o ...Origin) Params { return AppleMusic{o} }
	domains := func(d ...Domain) Params { return MapKit{MapScopes(), d} }
	scopes := func(s ...MapScope) Params { return MapKit{s, []Domain{"example.com"}} }
	for _, tt := range []struct {
		name   string
		params Params
		want   []string // parts of the message
		input  string
	}{
		{"scope: empty", AppStoreConnect{[]Scope{}}, []string{"scope is an empty list"}, ""},
		{"scope: not canonical", AppStoreConnect{[]Scope{"GET /v1/apps?limit=12345"}}, []string{"scope entry 1", "canonical"}, "12345"},
		{"scope: a write", Enterprise{[]Scope{"GET /v1/apps", "POST /v1/apps"}}, []string{"scope entry 2"}, "POST"},
		{"scope: too many", Enterprise{make([]Scope, MaxScopeEntries+1)}, []string{"scope has more than 64 entries"}, ""},

		{"bundle: missing", AppStoreServer{}, []string{"bundle_id is missing"}, ""},
		{"bundle: one part", AppStoreServer{"example"}, []string{"bundle_id", notID}, "example "},
		{"bundle: a pattern", PromotionalOffer{Bundle: "com.example.*"}, []string{"bundle_id", notID}, "com.example.*"},
		{"bundle: a separator", PromotionalOfferSignature{Bundle: "com.example\u2063.app"}, []string{"bundle_id", notID}, "\u2063"},
		{"bundle: a space", IntroductoryOffer{Bundle: "com.exa mple"}, []string{"bundle_id", notID}, "exa mple"},
		{"bundle: too long", AdvancedCommerceRequest{Bundle: BundleID(long)}, []string{"bundle_id", "155 characters"}, long},
		{"bundle: a part that is empty", AppStoreServer{"com..acme"}, []string{"bundle_id", notID}, "com..acme"},
		{"bundle: a line after", AppStoreServer{"com.acme.app\n"}, []string{"bundle_id", notID}, "acme"},

		{"products: an empty list", PromotionalOffer{Bundle: bundle, Products: []ProductID{}}, []string{"list of products is empty"}, ""},
		{"products: an empty one", products("com.example.a", ""), []string{"products, entry 2", "not a product ID"}, ""},
		{"products: a space", IntroductoryOffer{bundle, []ProductID{"acme pro"}}, []string{"products, entry 1", "not a product ID"}, "acme"},
		{"products: a separator", PromotionalOfferSignature{Bundle: bundle, Products: []ProductID{"acme\u2063"}}, []string{"products, entry 1", "not a product ID"}, "acme"},
		{"products: too long", products(ProductID(strings.Repeat("a", 256))), []string{"products, entry 1", "not a product ID"}, "aaaa"},
		{"products: one twice", products("a", "a"), []string{"products, " + twice}, ""},
		{"offers: an empty list", PromotionalOfferSignature{Bundle: bundle, Offers: []OfferID{}}, []string{"list of offers is empty"}, ""},
		{"offers: not ASCII", offers("wïnback"), []string{"offers, entry 1", "not the identifier of an offer"}, "wïnback"},
		{"offers: one twice", offers("a", "a"), []string{"offers, " + twice}, ""},
		{"operations: an empty list", AdvancedCommerceRequest{bundle, []string{}}, []string{"list of operations is empty"}, ""},
		{"operations: lower case", AdvancedCommerceRequest{bundle, []string{"modify_it"}}, []string{"operations, entry 1", "not an operation"}, "modify_it"},
		{"operations: one twice", AdvancedCommerceRequest{bundle, []string{"A", "A"}}, []string{"operations, " + twice}, ""},

		{"environment: none that there is", APNs{Environment: "staging"}, []string{"environment", "one of sandbox, production"}, "staging"},
		{"topics: an empty list", APNs{Topics: []BundleID{}}, []string{"list of topics is empty"}, ""},
		{"topics: none that there is", APNs{Topics: []BundleID{"com.example.app", "acme"}}, []string{"topics, entry 2", notID}, "acme"},
		{"topics: one twice", APNs{Topics: []BundleID{bundle, bundle}}, []string{"topics, " + twice}, ""},

		{"client: missing", SignInWithApple{}, []string{"client_id is missing"}, ""},
		{"client: with the team", SignInWithApple{"DEF123GHIJ.com.example.web"}, []string{"client_id begins with the team ID"}, "DEF123GHIJ"},
		{"client: a URL", SignInWithApple{"https://acme.example"}, []string{"client_id", notID}, "acme"},
		{"service: missing", WeatherKit{}, []string{"service_id is missing"}, ""},
		{"service: with the team", WeatherKit{"DEF123GHIJ.com.example.web"}, []string{"service_id begins with the team ID"}, "DEF123GHIJ"},
		{"service: one part", WeatherKit{"weather"}, []string{"service_id", notID}, "weather"},

		{"origins: an empty list", AppleMusic{[]Origin{}}, []string{"list of origins is empty"}, ""},
		{"origins: no scheme", origins("acme.example"), []string{"origins, entry 1", notOrigin}, "acme"},
		{"origins: a slash at the end", origins("https://acme.example/"), []string{"origins, entry 1", notOrigin}, "acme"},
		{"origins: upper case", origins("https://Acme.example"), []string{"origins, entry 1", notOrigin}, "Acme"},
		{"origins: a pattern", origins("https://*.acme.example"), []string{"origins, entry 1", notOrigin}, "acme"},
		{"origins: another scheme", origins("ftp://acme.example"), []string{"origins, entry 1", notOrigin}, "acme"},
		{"origins: the scheme's own port", origins("https://acme.example:443"), []string{"origins, entry 1", "leave it out"}, "acme"},
		{"origins: the other scheme's own port", origins("http://acme.example:80"), []string{"origins, entry 1", "leave it out"}, "acme"},
		{"origins: a port above", origins("https://acme.example:65536"), []string{"origins, entry 1", "from 1 to 65535"}, "acme"},
		{"origins: a port with a zero before it", origins("https://acme.example:0443"), []string{"origins, entry 1", "from 1 to 65535"}, "acme"},
		{"origins: port 0", origins("https://acme.example:0"), []string{"origins, entry 1", "from 1 to 65535"}, "acme"},
		{"origins: too long", origins(Origin("https://" + strings.Repeat("a", 256))), []string{"origins, entry 1", notOrigin}, "aaaa"},
		{"origins: too many", origins(make([]Origin, MaxOrigins+1)...), []string{"more than 64 origins"}, ""},
		{"origins: one twice", origins("https://a.example", "https://a.example"), []string{"origins, " + twice}, ""},

		{"scopes: missing", MapKit{Origins: []Domain{"example.com"}}, []string{"scopes are missing", "mapkit_js"}, ""},
		{"scopes: the server's", scopes("server_api"), []string{"scopes, entry 1", "unknown scope", "maps_server"}, ""},
		{"scopes: two in one", scopes("mapkit_js embed_api"), []string{"scopes, entry 1", "unknown scope"}, "mapkit_js embed_api"},
		{"scopes: one twice", scopes("mapkit_js", "mapkit_js"), []string{"scopes, " + twice}, ""},
		{"domains: missing", MapKit{Scopes: MapScopes()}, []string{"origins are missing"}, ""},
		{"domains: a path", domains("acme.example/maps"), []string{"origins, entry 1", "not a domain"}, "acme"},
		{"domains: two in one", domains("acme.example,acme.test"), []string{"origins, entry 1", "several are a list"}, "acme"},
		{"domains: a pattern within", domains("maps.*.acme"), []string{"origins, entry 1", "not a domain"}, "acme"},
		{"domains: a port above all", domains("example.com:65536"), []string{"entry 1", "from 1 to 65535"}, "65536"},
		{"domains: a port that begins with 0", domains("example.com:0443"), []string{"does not begin with 0"}, "0443"},
		{"domains: too many", domains(make([]Domain, MaxOrigins+1)...), []string{"more than 64 origins"}, ""},

		{"developers: an empty list", Marketplace{[]string{}}, []string{"list of developers is empty"}, ""},
		{"developers: a slash", Marketplace{[]string{"acme/1"}}, []string{"developers, entry 1", "not a Developer ID"}, "acme"},
		{"developers: too long", Marketplace{[]string{strings.Repeat("a", 65)}}, []string{"developers, entry 1", "up to 64"}, "aaaa"},
		{"developers: one twice", Marketplace{[]string{"X", "X"}}, []string{"developers, " + twice}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Terms{Params: tt.params}.Check(samples()[tt.params.Family()].facts)
			for _, part := range tt.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("error %v, want one that says %q", err, part)
				}
			}
			if err != nil && tt.input != "" && strings.Contains(err.Error(), tt.input) {
				t.Errorf("the error repeats the input: %v", err)
			}
		})
	}
}

// TestWellFormedParams are the other side of that table.
func TestWellFormedParams(t *testing.T) {
	for _, p := range []Params{
		AppStoreServer{"com.Example.App-2_x"}, APNs{EnvironmentBoth, []BundleID{"com.example.app.voip"}}, SignInWithApple{"com.example.web"},
		AppleMusic{[]Origin{"http://localhost:8080", "https://xn--bcher-kva.example", "https://a.example:80", "http://a.example:443"}},
		MapKit{[]MapScope{"embed_api"}, []Domain{"localhost", "*.example.com", "https://example.com", "https://*.example.com:8443"}},
		Marketplace{[]string{"69a6de70-03db-47e3-e053-5b8c7c11a4d1"}},
	} {
		if err := (Terms{Params: p}).Check(samples()[p.Family()].facts); err != nil {
			t.Errorf("%v: %v", p, err)
		}
	}
}

// TestKeysAPNs: the environment and the topics that a profile counts on, with keys of every sort. A mint asks again: both may change.
func TestKeysAPNs(t *testing.T) {
	key := func(e Environment, topics ...BundleID) Facts {
		f := portalFacts(ServiceAPNs)
		f.Environment, f.Topics = e, topics
		return f
	}
	const app, other = BundleID("com.example.app"), BundleID("com.example.other")
	for _, tt := range []struct {
		name   string
		params APNs
		facts  Facts
		err    string
	}{
		{"nothing said, nothing known", APNs{}, key(""), ""},
		{"nothing said", APNs{}, key(EnvironmentSandbox, app), ""},
		{"nothing known", APNs{EnvironmentSandbox, []BundleID{app}}, key(""), ""},
		{"as said", APNs{EnvironmentSandbox, []BundleID{app}}, key(EnvironmentSandbox, app, other), ""},
		{"an old key", APNs{EnvironmentSandbox, nil}, key(EnvironmentBoth), ""},
		{"another environment", APNs{EnvironmentProduction, nil}, key(EnvironmentSandbox), "the key works in sandbox alone, and the profile wants production: name another key, or take the environment out"},
		{"both from one", APNs{EnvironmentBoth, nil}, key(EnvironmentSandbox), "the key works in sandbox alone, and the profile wants sandbox-and-production: name another key, or take the environment out"},
		{"another topic", APNs{Topics: []BundleID{app, other}}, key("", app), "topics, entry 2: the key is for other topics alone, as far as is known here: name another key, or, when it is for this one too, say so with signet key update KEY --topics"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			terms := Terms{Params: tt.params}
			wantError(t, terms.Check(tt.facts), tt.err)
			_, err := terms.Spec(tt.facts, Ask{})
			wantError(t, err, tt.err)
		})
	}
}

// TestMissingFacts: without any one fact that its key must have, no token of a family is minted, and the error names the fact.
func TestMissingFacts(t *testing.T) {
	names := map[string]func(*Facts){
		"key ID": func(f *Facts) { f.KeyID = "" }, "issuer ID": func(f *Facts) { f.Issuer = "" }, "team ID": func(f *Facts) { f.Team = "" },
		"client ID": func(f *Facts) { f.Client = "" }, "app ID": func(f *Facts) { f.App = "" }, "list of services": func(f *Facts) { f.Services = nil },
	}
	for family, s := range samples() {
		for _, needed := range kindFacts[s.facts.Kind] {
			facts := s.facts
			names[needed.name](&facts)
			_, err := s.terms.Spec(facts, s.ask())
			for what, err := range map[string]error{"Check": s.terms.Check(facts), "Spec": err, "Validate": facts.Validate()} {
				named := err != nil && strings.Contains(err.Error(), "the "+needed.name+" is missing: "+needed.where)
				if what == "Spec" && needed.name == "list of services" { // which says the same of a service that is missing
					named = err != nil && strings.Contains(err.Error(), "enabled for")
				}
				if !named {
					t.Errorf("%s without the %s: %s says %v", family, needed.name, what, err)
				}
			}
			if err := facts.ValidateKnown(); err != nil {
				t.Errorf("%s without the %s: ValidateKnown says %v", family, needed.name, err)
			}
		}
	}
}

// TestNotLongLived: every family of which Apple takes no long-lived tokens says so.
func TestNotLongLived(t *testing.T) {
	for family, s := range samples() {
		s.terms.LongLived = true
		err := s.terms.Check(s.facts)
		switch family {
		case FamilyAppStoreConnect: // its own test
		case FamilySignInWithApple, FamilyAppleMusic, FamilyMapKit, FamilyAppleAds, FamilySchoolBusiness:
			if l := s.terms.Limits(); err != nil || l.Default != 0 || l.Max < 179*day || l.Max > 180*day || family.LongestTTL() != l.Max {
				t.Errorf("%s: %v, %v", family, l, err)
			}
		default:
			wantError(t, err, errNotLasting.Error())
			if _, err := s.terms.Spec(s.facts, s.ask()); err == nil {
				t.Errorf("%s: a long-lived token", family)
			}
		}
	}
}

// TestRules pins every family's lifetimes and rule of reuse.
func TestRules(t *testing.T) {
	const minute = time.Minute
	for family, want := range map[Family]struct {
		limits Limits
		reuse  []Reuse
		url    string
	}{
		FamilyAppStoreConnect:           {Limits{10 * minute, 1170 * time.Second, 0}, byPrincipal, "https://api.appstoreconnect.apple.com"},
		FamilyEnterprise:                {Limits{10 * minute, 1170 * time.Second, 0}, byPrincipal, "https://api.enterprise.developer.apple.com"},
		FamilyNotary:                    {Limits{10 * minute, 1170 * time.Second, 0}, byPrincipal, "https://appstoreconnect.apple.com"},
		FamilyAppStoreServer:            {Limits{5 * minute, 3570 * time.Second, 0}, byPrincipal, "https://api.storekit.apple.com"},
		FamilyPromotionalOffer:          {Limits{0, 0, day}, once, ""},
		FamilyIntroductoryOffer:         {Limits{0, 0, day}, once, ""},
		FamilyAdvancedCommerceRequest:   {Limits{0, 0, day}, once, ""},
		FamilyPromotionalOfferSignature: {Limits{0, 0, day}, once, ""},
		FamilyAPNs:                      {Limits{0, 0, time.Hour}, byAll, "https://api.push.apple.com"},
		FamilyDeviceCheck:               {Limits{0, 0, time.Hour}, byAll, "https://api.devicecheck.apple.com"},
		FamilyAppAttest:                 {Limits{0, 0, time.Hour}, byAll, "https://data.appattest.apple.com"},
		FamilySignInWithApple:           {Limits{5 * minute, time.Hour, 0}, byPrincipal, "https://appleid.apple.com/auth/token"},
		FamilyAppleMusic:                {Limits{12 * time.Hour, 30 * day, 0}, byPrincipal, "https://api.music.apple.com"},
		FamilyMapsServer:                {Limits{15 * minute, time.Hour, 0}, byPrincipal, "https://maps-api.apple.com"},
		FamilyMapKit:                    {Limits{12 * time.Hour, 30 * day, 0}, byPrincipal, ""},
		FamilyMapsSnapshot:              {Limits{0, 0, Unending}, once, "https://snapshot.apple-mapkit.com"},
		FamilyWeatherKit:                {Limits{15 * minute, time.Hour, 0}, byPrincipal, "https://weatherkit.apple.com"},
		FamilyClassKit:                  {Limits{15 * minute, time.Hour, 0}, byPrincipal, ""},
		FamilyIWorkExport:               {Limits{15 * minute, 4*time.Hour - 30*time.Second, 0}, once, ""},
		FamilyAppleAds:                  {Limits{5 * minute, time.Hour, 0}, byPrincipal, "https://appleid.apple.com/auth/oauth2/token"},
		FamilySchoolBusiness:            {Limits{5 * minute, time.Hour, 0}, once, "https://account.apple.com/auth/oauth2/token"},
		FamilyMarketplace:               {Limits{day, 7*day - minute, 0}, byPrincipal, ""},
	} {
		if got := family.Limits(false); got != want.limits {
			t.Errorf("%s: limits %v, want %v", family, got, want.limits)
		}
		if got := family.Reuses(); !slices.Equal(got, want.reuse) {
			t.Errorf("%s: reuses %v, want %v", family, got, want.reuse)
		}
		if got := family.URL(); got != want.url {
			t.Errorf("%s: URL %q, want %q", family, got, want.url)
		}
		if got, want := family.OrdinaryTTL(), max(want.limits.Max, want.limits.Life); got != want {
			t.Errorf("%s: OrdinaryTTL %s, want %s", family, got, want)
		}
		scoped := family == FamilyAppStoreConnect || family == FamilyEnterprise
		if family.Scoped() != scoped {
			t.Errorf("%s: scoped %v", family, family.Scoped())
		}
	}
	if n := len(Families()); n != 22 {
		t.Errorf("%d families", n)
	}
}

// TestFields: what a profile fixes and what a call fills in, by the names of policies and calls; * for what must be filled in.
func TestFields(t *testing.T) {
	const bundle = "com.example.app"
	for _, tt := range []struct {
		params Params
		want   string
	}{
		{AppStoreConnect{}, " / "},
		{AppStoreConnect{[]Scope{"GET /v1/apps", "GET /v1/users"}}, "scope=GET /v1/apps,GET /v1/users / "},
		{Enterprise{[]Scope{"GET /v1/users"}}, "scope=GET /v1/users / "},
		{Notary{}, "scope=/notary/v2 / "},
		{AppStoreServer{bundle}, "bundle_id=com.example.app / "},
		{PromotionalOffer{Bundle: bundle, Products: []ProductID{"a", "b"}}, "bundle_id=com.example.app / product_id*=a,b offer_id* transaction_id"},
		{IntroductoryOffer{Bundle: bundle}, "bundle_id=com.example.app / product_id* transaction_id* allow_introductory_offer*=true,false"},
		{AdvancedCommerceRequest{Bundle: bundle}, "bundle_id=com.example.app / request*"},
		{AdvancedCommerceRequest{bundle, []string{"MODIFY"}}, "bundle_id=com.example.app operations=MODIFY / request*"},
		{PromotionalOfferSignature{Bundle: bundle, Offers: []OfferID{"o"}}, "bundle_id=com.example.app / product_id* offer_id*=o account"},
		{APNs{}, " / "},
		{APNs{EnvironmentSandbox, []BundleID{"a.b"}}, "environment=sandbox topics=a.b / "},
		{DeviceCheck{}, " / "},
		{AppAttest{}, " / "},
		{SignInWithApple{"com.example.web"}, "client_id=com.example.web / "},
		{AppleMusic{}, " / "},
		{AppleMusic{[]Origin{"https://a.example"}}, "origins=https://a.example / "},
		{MapsServer{}, " / "},
		{MapKit{[]MapScope{"mapkit_js"}, []Domain{"a.example"}}, "scopes=mapkit_js origins=a.example / "},
		{MapsSnapshot{}, " / query*"},
		{WeatherKit{"com.example.web"}, "service_id=com.example.web / "},
		{ClassKit{}, " / "},
		{IWorkExport{}, " / file_name*"},
		{AppleAds{}, " / "},
		{SchoolBusiness{}, " / "},
		{Marketplace{[]string{"X"}}, " / developer_id*=X"},
	} {
		fixed, asked := tt.params.Fields()
		if got := fieldText(fixed) + " / " + fieldText(asked); got != tt.want {
			t.Errorf("%s: fields %q, want %q", tt.params.Family(), got, tt.want)
		}
		if _, takes := samples()[tt.params.Family()]; !takes || (len(asked) > 0) != (samples()[tt.params.Family()].call != nil) {
			t.Errorf("%s: the fields and the call do not agree", tt.params.Family())
		}
	}
}

func fieldText(fields []Field) string {
	var all []string
	for _, f := range fields {
		text := f.Name
		if f.Required {
			text += "*"
		}
		if f.Values != nil {
			text += "=" + strings.Join(f.Values, ",")
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// TestCallValues: what of a call is worth a record, and that nothing of it says who a customer is.
func TestCallValues(t *testing.T) {
	for family, want := range map[Family][]FormField{
		FamilyPromotionalOffer:          {{"product_id", "com.example.pro"}, {"offer_id", "winback1"}},
		FamilyPromotionalOfferSignature: {{"product_id", "com.example.pro"}, {"offer_id", "winback1"}},
		FamilyIntroductoryOffer:         {{"product_id", "com.example.pro"}, {"allow_introductory_offer", "true"}},
		FamilyAdvancedCommerceRequest:   {{"operation", "MODIFY"}},
		FamilyMapsSnapshot:              nil,
		FamilyIWorkExport:               nil,
		FamilyMarketplace:               {{"developer_id", "DEV-1"}},
	} {
		call := samples()[family].call
		if _, ok := call.(OfferCall); ok {
			call = OfferCall{"com.example.pro", "winback1", "1000011859217", "jo@example.com"}
		}
		if diff := cmp.Diff(want, call.Values()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", family, diff)
		}
	}
}

// TestLeadingZeros finds tokens of each form whose r or s begins with a zero byte: all are of the right length, and verify.
func TestLeadingZeros(t *testing.T) {
	for _, family := range []Family{FamilyAppStoreConnect, FamilyAPNs, FamilyMapsSnapshot, FamilyPromotionalOfferSignature} {
		t.Run(string(family), func(t *testing.T) {
			s := samples()[family]
			shortR, shortS := 0, 0
			for i := 0; (shortR == 0 || shortS == 0) && i < 20_000; i++ {
				spec := must(s.terms.Spec(s.facts, s.ask()))
				token := must(Mint(spec, testKey, testNow.Add(time.Duration(i)*edge)))
				signed, sig := signatureOf(t, spec, token)
				if sig[0] != 0 && sig[32] != 0 {
					continue
				}
				if sig[0] == 0 {
					shortR++
				}
				if sig[32] == 0 {
					shortS++
				}
				if err := (es256{}).Verify(signed, sig, &testKey.PublicKey); err != nil {
					t.Fatalf("%s: %v", token.Text, err)
				}
			}
			if shortR == 0 || shortS == 0 {
				t.Error("no such signature: try more")
			}
		})
	}
}

// signatureOf is what was signed, and r‖s of 64 bytes.
func signatureOf(t *testing.T, spec Spec, token Token) (string, []byte) {
	t.Helper()
	switch d := spec.draft.(type) {
	case offerSignature:
		der := must(base64.StdEncoding.Strict().DecodeString(token.Text))
		signed := d.text(token.Nonce, token.Offer.Timestamp)
		digest := sha256.Sum256([]byte(signed))
		if !ecdsa.VerifyASN1(&testKey.PublicKey, digest[:], der) {
			t.Fatalf("%x is no signature of %q", der, signed)
		}
		return signed, must(rawSignature(der))
	case snapshotURL:
		_, text, _ := strings.Cut(token.Text, "&signature=")
		if len(text) != 86 {
			t.Fatalf("a signature of %d characters", len(text))
		}
		return d.path(), must(base64.RawURLEncoding.Strict().DecodeString(text))
	}
	dot := strings.LastIndexByte(token.Text, '.')
	if text := token.Text[dot+1:]; len(text) != 86 {
		t.Fatalf("a signature of %d characters", len(text))
	}
	return token.Text[:dot], must(base64.RawURLEncoding.Strict().DecodeString(token.Text[dot+1:]))
}
