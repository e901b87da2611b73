package apple

import (
	"slices"
	"strings"
	"testing"
)

// TestCheckRequest holds what is known against a request, by kind of key and roles; nothing is, where Apple does not say so.
func TestCheckRequest(t *testing.T) {
	const (
		provisioning = "provisioning is for "
		reports      = "reading reports of sales and finance is for "
		users        = "managing users is for "
	)
	team := func(roles ...Role) Facts { return Facts{Kind: KindAppStoreConnect, Roles: roles} }
	person := func(roles ...Role) Facts { return Facts{Kind: KindAppStoreConnectIndividual, Roles: roles} }
	enterprise := func(roles ...Role) Facts { return Facts{Kind: KindEnterprise, Roles: roles} }
	for _, tt := range []struct {
		name    string
		facts   Facts
		request Scope
		want    string // empty: nothing is known against it
	}{
		{"a person's provisioning", person(), "GET /v1/devices", "an individual key cannot do that: " + provisioning + "team keys alone"},
		{"below it", person(), "GET /v1/bundleIds/1/profiles", "an individual key cannot do that: " + provisioning + "team keys alone"},
		{"with a query", person(), "GET /v1/certificates?filter[displayName]=a/b", "an individual key cannot do that: " + provisioning + "team keys alone"},
		{"a person's reports", person(RoleAdmin), "GET /v1/financeReports?filter[regionCode]=ZZ", "an individual key cannot do that: " + reports + "team keys alone"},
		{"a person's apps", person(), "GET /v1/apps/1/builds", ""},
		{"a resource that is named alike", person(), "GET /v1/deviceses", ""},
		{"a resource below another", person(), "GET /v1/apps/devices", ""},
		{"no resource", person(), "GET /v1/", ""},
		{"no path", person(), "", ""},
		{"Notary's", person(), notaryScope, ""},

		{"roles that are not known", team(), "GET /v1/salesReports", ""},
		{"one that cannot", team(RoleAppManager), "GET /v1/salesReports", "the key's role APP_MANAGER cannot do that: " + reports},
		{"some that cannot", team(RoleCustomerSupport, RoleMarketing), "GET /v1/devices", "the key's roles CUSTOMER_SUPPORT, MARKETING cannot do that: " + provisioning},
		{"one of some that can", team(RoleAppManager, RoleReports), "GET /v1/salesReports", ""},
		{"of which Apple says nothing", team(RoleSales), "GET /v1/users", ""},

		{"enterprise users", enterprise(RoleDeveloper), "GET /v1/users/1", "the key's role DEVELOPER cannot do that: " + users},
		{"enterprise provisioning", enterprise(RoleDeveloper), "GET /v1/devices", ""},
		{"enterprise reports are none", enterprise(RoleDeveloper), "GET /v1/salesReports", ""},
		{"a key that makes no requests", Facts{Kind: KindDeveloperPortal, Roles: []Role{RoleDeveloper}}, "GET /v1/users", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.facts.CheckRequest(tt.request)
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("CheckRequest = %v, want %q", err, tt.want)
			}
		})
	}
	for _, a := range append(slices.Clone(areas), enterpriseUsers) {
		if slices.Contains(a.lacking, RoleAdmin) || slices.Contains(a.lacking, RoleAccountHolder) || !slices.IsSorted(a.resources) {
			t.Errorf("%s: an admin lacks it, or the resources are out of order", a.name)
		}
	}
}

func TestRoleText(t *testing.T) {
	for want, roles := range map[string][]Role{"": nil, "role ADMIN": {RoleAdmin}, "roles DEVELOPER, FINANCE": {RoleDeveloper, RoleFinance}} {
		if got := (Facts{Roles: roles}).RoleText(); got != want {
			t.Errorf("%v are %q, want %q", roles, got, want)
		}
	}
}

// TestCheckKnown: what is missing of a key is no fault before it is there, and everything else is.
func TestCheckKnown(t *testing.T) {
	push := Terms{Params: APNs{}}
	for _, tt := range []struct {
		name            string
		facts           Facts
		known, complete bool
	}{
		{"a kind alone", Facts{Kind: KindDeveloperPortal}, true, false},
		{"all of it", Facts{Kind: KindDeveloperPortal, KeyID: "ABC123DEFG", Team: "DEF123GHIJ", Services: []Service{ServiceAPNs}}, true, true},
		{"without its ID", Facts{Kind: KindDeveloperPortal, Team: "DEF123GHIJ", Services: []Service{ServiceAPNs}}, true, false},
		{"of another service", Facts{Kind: KindDeveloperPortal, Services: []Service{ServiceSignIn}}, false, false},
		{"of another kind", Facts{Kind: KindAppStoreConnect}, false, false},
		{"with what it cannot have", Facts{Kind: KindDeveloperPortal, Issuer: "57246542-96fe-1a63-e053-0824d011072a"}, false, false},
		{"of no kind", Facts{}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := push.CheckKnown(tt.facts); (err == nil) != tt.known {
				t.Errorf("CheckKnown = %v", err)
			}
			if err := push.Check(tt.facts); (err == nil) != tt.complete {
				t.Errorf("Check = %v", err)
			}
		})
	}
}

// TestAlike: of a key of all services, each family's tokens are like those of the others that name no audience, and not one
// is left out.
func TestAlike(t *testing.T) {
	all := Facts{Kind: KindDeveloperPortal, Services: Services()}
	withAudience := []Service{ServiceSignIn, ServiceDataSharing}
	for _, tt := range []struct {
		params Params
		same   []Service // nil with near 0: they name an audience, or are no JWT
		near   int
	}{
		{APNs{}, []Service{ServiceDeviceCheck}, 5},
		{DeviceCheck{}, []Service{ServiceAPNs}, 5},
		{AppAttest{}, []Service{ServiceAPNs}, 5},
		{AppleMusic{}, []Service{ServiceClassKit}, 5},
		{AppleMusic{Origins: []Origin{"https://example.com"}}, nil, 6},
		{ClassKit{}, []Service{ServiceMedia}, 5},
		{MapsServer{}, nil, 6},
		{MapKit{}, nil, 6},
		{WeatherKit{}, nil, 6},
		{IWorkExport{}, nil, 6},
		{MapsSnapshot{}, nil, 0},
		{SignInWithApple{}, nil, 0},
		{AppStoreConnect{}, nil, 0},
	} {
		same, near := Terms{Params: tt.params}.Alike(all)
		if !slices.Equal(same, tt.same) || len(near) != tt.near {
			t.Errorf("%s: the same as %v, and near to %v", tt.params.Family(), same, near)
		}
		for _, s := range append(same, near...) {
			if slices.Contains(withAudience, s) || slices.Contains(tt.params.Family().rules().services, s) {
				t.Errorf("%s is like %s", tt.params.Family(), s)
			}
		}
	}
}
