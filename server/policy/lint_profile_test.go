package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/server/apple"
)

// warningsOf are the warnings of a document, one a line.
func warningsOf(t *testing.T, doc string, facts Facts) []string {
	t.Helper()
	p, err := Compile([]byte(doc), nil, facts)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, w := range p.Lint() {
		all = append(all, w.String())
	}
	return all
}

// TestLintProfile has every warning of a profile, and what is like it and is none. The profile begins at 3:3.
func TestLintProfile(t *testing.T) {
	const (
		reach       = ", writes included, and, as it is a team key, reach all apps; name GET requests if it only reads, or take the individual key of a user who has fewer apps"
		individual  = "3:43: profile p: an individual key cannot do that: "
		teamAlone   = " is for team keys alone; name one, or take the request out"
		provisions  = " cannot do that: provisioning is for ACCOUNT_HOLDER, ADMIN, APP_MANAGER and DEVELOPER; name another key, or take the request out"
		reports     = " cannot do that: reading reports of sales and finance is for ACCOUNT_HOLDER, ADMIN, SALES, FINANCE and ACCESS_TO_REPORTS; name another key, or take the request out"
		several     = "3:3: profile p: its key has several services at Apple, and its tokens do not say which one they are for: they "
		ownKeys     = "; give each service a key of its own"
		scopeAtLong = ", once given, lives for up to "
	)
	roles := func(key KeyFacts, roles ...apple.Role) KeyFacts {
		return key.with(func(f *apple.Facts) { f.Roles = sorted(roles) })
	}
	services := func(services ...apple.Service) KeyFacts {
		return portalKey.with(func(f *apple.Facts) { f.Services = sorted(services) })
	}
	long := func(ttl string) string {
		return "3:3: profile p is long-lived: a token of it" + scopeAtLong + ttl + ", and nothing here can call it back; only revoking its key at Apple ends it"
	}
	no := func(lists string) string {
		return "3:3: profile p names no " + lists + ": whoever mints it may fill in any; list those that are meant"
	}
	asc := func(scope string) string { return "app_store_connect: {scope: [" + scope + "]}" }
	tests := []struct {
		name    string
		profile string
		key     KeyFacts
		want    []string
	}{
		{"a team key without a scope", "app_store_connect: {}", teamKey, []string{"3:3: profile p has no scope: its tokens carry the whole role of their key" + reach}},
		{"of a role", "app_store_connect: {}", roles(teamKey, apple.RoleAppManager), []string{"3:3: profile p has no scope: its tokens carry the role APP_MANAGER of their key" + reach}},
		{"of roles", "app_store_connect: {}", roles(teamKey, apple.RoleFinance, apple.RoleDeveloper), []string{"3:3: profile p has no scope: its tokens carry the roles DEVELOPER, FINANCE of their key" + reach}},
		{"an individual key without a scope", "app_store_connect: {}", individualKey, []string{"3:3: profile p has no scope: its tokens carry the whole role of their key, writes included; name GET requests if it only reads"}},
		{"an enterprise key without a scope", "enterprise: {}", roles(enterpriseKey, apple.RoleAdmin), []string{"3:3: profile p has no scope: its tokens carry the role ADMIN of their key, writes included; name GET requests if it only reads"}},
		{"a scope", asc("GET /v1/apps, GET /v1/devices, GET /v1/salesReports"), teamKey, nil},
		{"notary, which is limited", "notary: {}", teamKey, nil},

		{"provisioning by a person", asc("GET /v1/devices"), individualKey, []string{individual + "provisioning" + teamAlone}},
		{"provisioning by a person, of one thing", asc("'GET /v1/bundleIds/7/profiles?include=x'"), individualKey, []string{individual + "provisioning" + teamAlone}},
		{"provisioning of another version", asc("GET /v2/certificates"), individualKey, []string{individual + "provisioning" + teamAlone}},
		{"provisioning is said once", asc("GET /v1/devices, GET /v1/profiles, GET /v1/passTypeIds, GET /v1/merchantIds, GET /v1/bundleIdCapabilities"), individualKey,
			[]string{"3:43: profile p: an individual key cannot do that: provisioning" + teamAlone}},
		{"reports by a person", asc("'GET /v1/salesReports?filter[vendorNumber]=1'"), individualKey, []string{individual + "reading reports of sales and finance" + teamAlone}},
		{"both by a person", asc("GET /v1/financeReports, GET /v1/devices"), individualKey, []string{
			individual + "reading reports of sales and finance" + teamAlone,
			"3:67: profile p: an individual key cannot do that: provisioning" + teamAlone,
		}},
		{"a person of every role", asc("GET /v1/devices"), roles(individualKey, apple.RoleAccountHolder, apple.RoleAdmin), []string{individual + "provisioning" + teamAlone}},
		{"what a person can do", asc("GET /v1/apps, GET /v1/builds, GET /v1/apps/1/devices, GET /v1/devicesOf"), individualKey, nil},

		{"no role is known", asc("GET /v1/salesReports"), teamKey, nil},
		{"reports by an app manager", asc("GET /v1/salesReports"), roles(teamKey, apple.RoleAppManager), []string{"3:43: profile p: the key's role APP_MANAGER" + reports}},
		{"reports by two who cannot", asc("GET /v1/financeReports"), roles(teamKey, apple.RoleAppManager, apple.RoleDeveloper), []string{"3:43: profile p: the key's roles APP_MANAGER, DEVELOPER" + reports}},
		{"reports by permission", asc("GET /v1/salesReports"), roles(teamKey, apple.RoleAppManager, apple.RoleReports), nil},
		{"reports by finance", asc("GET /v1/salesReports, GET /v1/financeReports"), roles(teamKey, apple.RoleFinance), nil},
		{"provisioning by sales", asc("GET /v1/profiles"), roles(teamKey, apple.RoleSales, apple.RoleReports), []string{"3:43: profile p: the key's roles ACCESS_TO_REPORTS, SALES" + provisions}},
		{"provisioning by a developer", asc("GET /v1/profiles"), roles(teamKey, apple.RoleSales, apple.RoleDeveloper), nil},
		{"provisioning by the cloud", asc("GET /v1/profiles"), roles(teamKey, apple.RoleSales, apple.RoleDistribution), nil},
		{"nothing is known against it", asc("GET /v1/users, GET /v1/apps"), roles(teamKey, apple.RoleCustomerSupport), nil},
		{"an admin may all", asc("GET /v1/devices, GET /v1/salesReports, GET /v1/users"), roles(teamKey, apple.RoleAdmin), nil},
		{"an account holder may all", asc("GET /v1/devices, GET /v1/salesReports, GET /v1/users"), roles(teamKey, apple.RoleAccountHolder, apple.RoleMarketing), nil},
		{"users by an enterprise developer", "enterprise: {scope: [GET /v1/users, GET /v1/userInvitations]}", roles(enterpriseKey, apple.RoleDeveloper),
			[]string{"3:36: profile p: the key's role DEVELOPER cannot do that: managing users is for ADMIN; name another key, or take the request out"}},
		{"devices by an enterprise developer", "enterprise: {scope: [GET /v1/devices]}", roles(enterpriseKey, apple.RoleDeveloper), nil},
		{"users by an enterprise admin", "enterprise: {scope: [GET /v1/users]}", roles(enterpriseKey, apple.RoleAdmin), nil},
		{"users by an enterprise key", "enterprise: {scope: [GET /v1/users]}", enterpriseKey, nil},

		{"long-lived reads", asc("GET /v1/ciProducts") + ", long_lived: true, ttl: 90d12h", teamKey, []string{long("90d12h")}},
		{"a long-lived secret", "sign_in_with_apple: {client_id: a.b}, long_lived: true, ttl: 180d", services(apple.ServiceSignIn), []string{long("180d")}},
		{"a long-lived token of a page", "mapkit: {scopes: [mapkit_js], origins: [a.b]}, long_lived: true, ttl: 90d", services(apple.ServiceMapKit), []string{long("90d")}},
		{"a token of a page for weeks", "mapkit: {scopes: [mapkit_js], origins: [a.b]}, ttl: 30d", services(apple.ServiceMapKit), nil},
		{"a long-lived secret for ads", "apple_ads: {}, long_lived: true, ttl: 90d", adsKey, []string{long("90d")}},
		{"snapshots", "maps_snapshot: {}", services(apple.ServiceMapKit), []string{"3:3: profile p signs URLs that have no end: whoever has one can use it for ever, and nothing here can call it back; only revoking its key at Apple ends it"}},
		{"music from anywhere", "apple_music: {}", services(apple.ServiceMedia), []string{"3:3: profile p has no origins: its tokens, which a page shows to everybody, work from anywhere; name the pages' origins, such as https://example.com, unless no page uses them"}},
		{"music of a page", "apple_music: {origins: ['https://a.b']}", services(apple.ServiceMedia), nil},

		{"any offer", "promotional_offer: {bundle_id: a.b}", purchaseKey, []string{no("products and no offers")}},
		{"any offer of some products", "promotional_offer: {bundle_id: a.b, products: [x]}", purchaseKey, []string{no("offers")}},
		{"some offers of any product", "promotional_offer_signature: {bundle_id: a.b, offers: [x]}", purchaseKey, []string{no("products")}},
		{"some offers of some products", "promotional_offer_signature: {bundle_id: a.b, offers: [x], products: [y]}", purchaseKey, nil},
		{"any introductory offer", "introductory_offer: {bundle_id: a.b}", purchaseKey, []string{no("products")}},
		{"any operation", "advanced_commerce_request: {bundle_id: a.b}", purchaseKey, []string{no("operations")}},
		{"any developer", "marketplace: {}", marketKey, []string{no("developers")}},
		{"some developers", "marketplace: {developers: [a]}", marketKey, nil},

		{"one service", "apns: {}", services(apple.ServiceAPNs), nil},
		{"a service with an audience beside it", "apns: {}", services(apple.ServiceAPNs, apple.ServiceSignIn, apple.ServiceDataSharing), nil},
		{"tokens with an audience", "sign_in_with_apple: {client_id: a.b}", portalKey, nil},
		{"pushes that are DeviceCheck's", "apns: {}", services(apple.ServiceAPNs, apple.ServiceDeviceCheck), []string{several + "have the very claims of those for device-check" + ownKeys}},
		{"DeviceCheck's that are pushes", "device_check: {}", services(apple.ServiceAPNs, apple.ServiceDeviceCheck), []string{several + "have the very claims of those for apns" + ownKeys}},
		{"receipts that are pushes", "app_attest: {}", services(apple.ServiceAPNs, apple.ServiceDeviceCheck), []string{several + "have the very claims of those for apns" + ownKeys}},
		{"classes that are music", "classkit: {}", services(apple.ServiceClassKit, apple.ServiceMedia), []string{several + "have the very claims of those for media-services" + ownKeys}},
		{"music of a page beside classes", "apple_music: {origins: ['https://a.b']}", services(apple.ServiceClassKit, apple.ServiceMedia), []string{several + "differ from those for classkit-catalog only in claims that may not be looked at" + ownKeys}},
		{"weather beside others", "weatherkit: {service_id: a.b}", services(apple.ServiceWeatherKit, apple.ServiceMapKit, apple.ServiceAPNs), []string{several + "differ from those for apns or mapkit-js only in claims that may not be looked at" + ownKeys}},
		{"pushes by a key of everything", "apns: {}", portalKey, []string{several + "have the very claims of those for device-check, and differ from those for classkit-catalog, iwork-export, mapkit-js, media-services or weatherkit only in claims that may not be looked at" + ownKeys}},
		{"maps are one service", "maps_server: {}", services(apple.ServiceMapKit), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doc := "version: 1\nprofiles:\n  p: {key: k, " + tt.profile + "}\ngrants:\n- {id: g, to: [{mtls: spiffe://a/b}], mint: [p]}\n"
			if diff := cmp.Diff(tt.want, warningsOf(t, doc, keys{"k": tt.key})); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestLintIsNoWall: what is true of all profiles of a key and a family is said of the first of them.
func TestLintIsNoWall(t *testing.T) {
	var doc strings.Builder
	doc.WriteString("version: 1\nprofiles:\n")
	var names []string
	for i := range 20 {
		name := fmt.Sprintf("p%d", 30-i)
		names = append(names, name)
		fmt.Fprintf(&doc, "  %s: {key: %s, %s: {}}\n", name, []string{"k", "l"}[i%2], []string{"apns", "device_check"}[i/10])
	}
	fmt.Fprintf(&doc, "grants:\n- {id: g, to: [{mtls: spiffe://a/b}], mint: [%s]}\n", strings.Join(names, ", "))
	two := portalKey.with(func(f *apple.Facts) { f.Services = []apple.Service{apple.ServiceAPNs, apple.ServiceDeviceCheck} })
	got := warningsOf(t, doc.String(), keys{"k": two, "l": two})
	var places []string
	for _, w := range got {
		place, _, _ := strings.Cut(w, ": ")
		places = append(places, place)
	}
	if want := []string{"3:3", "4:3", "13:3", "14:3"}; !slices.Equal(places, want) {
		t.Errorf("warned at %v, want %v:\n%s", places, want, strings.Join(got, "\n"))
	}
}

// TestLintIsQuiet: of a profile that says all that its family has, of a key that is for it alone, there is nothing to say; but
// that URLs have no end.
func TestLintIsQuiet(t *testing.T) {
	for _, e := range examples {
		key := e.key()
		if e.services != nil {
			key = key.with(func(f *apple.Facts) { f.Services = e.services[:1] })
		}
		got := warningsOf(t, e.doc(e.full), keys{"k": key})
		if len(got) != 0 && e.family != apple.FamilyMapsSnapshot {
			t.Errorf("%s: %q", e.family, got)
		}
		// Without facts nothing is said of keys.
		for _, w := range warningsOf(t, e.doc(e.least), nil) {
			if strings.Contains(w, "its key has") || strings.Contains(w, "cannot do that") || strings.Contains(w, "team key") {
				t.Errorf("%s, of no key that is known: %s", e.family, w)
			}
		}
	}
}
