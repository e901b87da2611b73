package apple

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CheckKnown is Check but for facts that are missing, which a key may come to have.
func (t Terms) CheckKnown(f Facts) error {
	r := t.Family().rules()
	err := cmp.Or(t.checkLong(r), f.ValidateKnown(), r.family.CheckKind(f.Kind))
	if err == nil && f.Services != nil {
		err = r.checkKey(f)
	}
	return cmp.Or(err, t.check(f))
}

// area is a part of the App Store Connect API, by the first part of its paths, with what some keys cannot do in it.
type area struct {
	name      string
	resources []string
	team      bool   // not for the key of a person
	lacking   []Role // those that give no request of it
	having    string // who has them
}

// areas are what Apple says clearly. Of what is not here, nothing is known against anybody.
// Source: Creating API Keys for App Store Connect API (individual keys); Role permissions, App Store Connect Help.
var areas = []area{
	{
		name:      "provisioning",
		resources: []string{"bundleIdCapabilities", "bundleIds", "certificates", "devices", "merchantIds", "passTypeIds", "profiles"},
		team:      true,
		lacking:   []Role{RoleMarketing, RoleSales, RoleFinance, RoleCustomerSupport, RoleReports},
		having:    "ACCOUNT_HOLDER, ADMIN, APP_MANAGER and DEVELOPER",
	},
	{
		name:      "reading reports of sales and finance",
		resources: []string{"financeReports", "salesReports"},
		team:      true,
		lacking:   []Role{RoleAppManager, RoleDeveloper, RoleMarketing, RoleCustomerSupport, RoleCreateApps, RoleDeveloperID, RoleDistribution, RoleIndividualKeys},
		having:    "ACCOUNT_HOLDER, ADMIN, SALES, FINANCE and ACCESS_TO_REPORTS",
	},
}

// enterpriseUsers are what the role DEVELOPER of the Enterprise Program, which is for provisioning, does not give.
// Source: Creating API Keys, Enterprise Program API.
var enterpriseUsers = area{
	name:      "managing users",
	resources: []string{"userInvitations", "users"},
	lacking:   []Role{RoleDeveloper},
	having:    "ADMIN",
}

// CheckRequest reports whether Apple refuses a key with these facts a request, of all that its documentation says clearly:
// to the key of a person, and to all of the roles where they are known. Nil says that nothing is known against it.
func (f Facts) CheckRequest(s Scope) error {
	all := areas
	switch f.Kind {
	case KindAppStoreConnect, KindAppStoreConnectIndividual:
	case KindEnterprise:
		all = []area{enterpriseUsers}
	default:
		return nil
	}
	resource := s.resource()
	i := slices.IndexFunc(all, func(a area) bool { return slices.Contains(a.resources, resource) })
	if i < 0 {
		return nil
	}
	a := all[i]
	switch {
	case a.team && f.Kind == KindAppStoreConnectIndividual:
		return fmt.Errorf("an individual key cannot do that: %s is for team keys alone; name one, or take the request out", a.name)
	case len(f.Roles) > 0 && !slices.ContainsFunc(f.Roles, func(r Role) bool { return !slices.Contains(a.lacking, r) }):
		return fmt.Errorf("the key's %s cannot do that: %s is for %s; name another key, or take the request out", roleText(f.Roles), a.name, a.having)
	}
	return nil
}

// resource is the first part of a request's path after the version.
func (s Scope) resource() string {
	path, _, _ := strings.Cut(string(s), "?")
	parts := strings.SplitN(path, "/", 4) // "GET ", "v1", resource, …
	if len(parts) < 3 {
		return ""
	}
	return parts[2]
}

// RoleText writes the roles for a message, such as "role ADMIN"; empty when they are not known.
func (f Facts) RoleText() string {
	if len(f.Roles) == 0 {
		return ""
	}
	return roleText(f.Roles)
}

func roleText(roles []Role) string {
	if len(roles) == 1 {
		return "role " + string(roles[0])
	}
	return "roles " + list(roles)
}

var errIndividualNotary = errors.New("an individual key cannot do that: notarisation is for team keys alone; name one, of kind app-store-connect")

// forms are the claims, but for an audience, of the tokens that a service of the portal's keys takes and that have none.
var forms = map[Service]string{
	ServiceAPNs:         "iss iat",
	ServiceDeviceCheck:  "iss iat",
	ServiceMedia:        "iss iat exp",
	ServiceClassKit:     "iss iat exp",
	ServiceMapKit:       "iss iat exp scope origin",
	ServiceWeatherKit:   "iss iat exp sub",
	ServiceIWorkExports: "iss iat exp encoded_filename export_format",
}

// Alike are the other services of a key whose tokens these could be taken for, because neither names an audience: those
// whose tokens have the very same claims, and those whose tokens have other claims besides. Both are nil of tokens that
// name an audience, as those of Sign in with Apple do.
func (t Terms) Alike(f Facts) (same, near []Service) {
	r := t.Family().rules()
	i := slices.IndexFunc(r.services, func(s Service) bool { return forms[s] != "" })
	if i < 0 || t.Family() == FamilyMapsSnapshot { // which is no JWT
		return nil, nil
	}
	form := forms[r.services[i]]
	if p, ok := t.Params.(AppleMusic); ok && len(p.Origins) > 0 {
		form += " origin"
	}
	for _, s := range f.Services {
		switch {
		case slices.Contains(r.services, s) || forms[s] == "":
		case forms[s] == form:
			same = append(same, s)
		default:
			near = append(near, s)
		}
	}
	return same, near
}
