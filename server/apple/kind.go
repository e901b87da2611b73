package apple

import (
	"errors"
	"slices"
	"strings"
)

// Kind is what Apple calls a key: it decides which families of token the key can sign and what must be known of it.
type Kind string

// The kinds of key that can be kept.
const (
	// KindAppStoreConnect is a team key of App Store Connect: it has an issuer ID and spans all apps.
	KindAppStoreConnect Kind = "app-store-connect"
	// KindAppStoreConnectIndividual is the key of one App Store Connect user: it has no issuer ID.
	KindAppStoreConnectIndividual Kind = "app-store-connect-individual"
	// KindEnterprise is a key of the Enterprise Program API.
	KindEnterprise Kind = "enterprise"
	// KindInAppPurchase is an In-App Purchase key of App Store Connect: it has an issuer ID and spans all apps.
	KindInAppPurchase Kind = "in-app-purchase"
	// KindDeveloperPortal is a key made under Certificates, Identifiers & Profiles, with one or several services.
	KindDeveloperPortal Kind = "developer-portal"
	// KindAppleAds is a key of an Apple Ads account, which the customer makes.
	KindAppleAds Kind = "apple-ads"
	// KindSchoolBusiness is a key of an API account of Apple School Manager or Apple Business.
	KindSchoolBusiness Kind = "school-business"
	// KindMarketplace is the key of an alternative app marketplace, which the customer makes. It has no key ID.
	KindMarketplace Kind = "marketplace"
)

// Kinds lists every kind that ParseKind accepts, in the order in which they are documented.
func Kinds() []Kind {
	return []Kind{
		KindAppStoreConnect, KindAppStoreConnectIndividual, KindEnterprise, KindInAppPurchase, KindDeveloperPortal,
		KindAppleAds, KindSchoolBusiness, KindMarketplace,
	}
}

// ParseKind accepts exactly the names that Kinds lists.
func ParseKind(s string) (Kind, error) {
	if k := Kind(s); slices.Contains(Kinds(), k) {
		return k, nil
	}
	return "", errors.New("unknown kind of key: it is one of " + list(Kinds()))
}

// Customer reports whether keys of this kind are made by the customer, who gives Apple the public half. All others are
// made by Apple, and downloaded once.
func (k Kind) Customer() bool { return k == KindAppleAds || k == KindMarketplace }

// Service is what a key of the developer portal can be enabled for.
type Service string

// The services of the developer portal's keys.
const (
	ServiceAPNs         Service = "apns"
	ServiceDeviceCheck  Service = "device-check" // App Attest's receipts too
	ServiceSignIn       Service = "sign-in-with-apple"
	ServiceDataSharing  Service = "account-data-sharing"
	ServiceMedia        Service = "media-services" // MusicKit, ShazamKit, Apple Music Feed
	ServiceMapKit       Service = "mapkit-js"
	ServiceWeatherKit   Service = "weatherkit"
	ServiceClassKit     Service = "classkit-catalog"
	ServiceIWorkExports Service = "iwork-export"
)

// Services lists every service that ParseService accepts.
func Services() []Service {
	return []Service{
		ServiceAPNs, ServiceDeviceCheck, ServiceSignIn, ServiceDataSharing, ServiceMedia, ServiceMapKit, ServiceWeatherKit,
		ServiceClassKit, ServiceIWorkExports,
	}
}

// ParseService accepts exactly the names that Services lists.
func ParseService(s string) (Service, error) {
	if v := Service(s); slices.Contains(Services(), v) {
		return v, nil
	}
	return "", errors.New("unknown service of a key: it is one of " + list(Services()))
}

// Environment is where an APNs key works.
type Environment string

// The environments of APNs keys. A key of older days has both.
const (
	EnvironmentSandbox    Environment = "sandbox"
	EnvironmentProduction Environment = "production"
	EnvironmentBoth       Environment = "sandbox-and-production"
)

// ParseEnvironmentName accepts the names of the environments.
func ParseEnvironmentName(s string) (Environment, error) {
	switch e := Environment(s); e {
	case EnvironmentSandbox, EnvironmentProduction, EnvironmentBoth:
		return e, nil
	}
	return "", errors.New("unknown environment of an APNs key: it is one of sandbox, production, sandbox-and-production")
}

// covers says whether a key of this environment works in that one. Of a key of which none is known, everything may be true.
func (e Environment) covers(o Environment) bool {
	return e == "" || o == "" || e == EnvironmentBoth || e == o
}

// Role is what a key of App Store Connect or of the Enterprise Program was given, as Apple's UserRole spells it.
type Role string

// The roles and the permissions that are added to some.
const (
	RoleAdmin           Role = "ADMIN"
	RoleAccountHolder   Role = "ACCOUNT_HOLDER"
	RoleAppManager      Role = "APP_MANAGER"
	RoleDeveloper       Role = "DEVELOPER"
	RoleMarketing       Role = "MARKETING"
	RoleSales           Role = "SALES"
	RoleFinance         Role = "FINANCE"
	RoleCustomerSupport Role = "CUSTOMER_SUPPORT"
	RoleReports         Role = "ACCESS_TO_REPORTS"
	RoleCreateApps      Role = "CREATE_APPS"
	RoleDeveloperID     Role = "CLOUD_MANAGED_DEVELOPER_ID"
	RoleDistribution    Role = "CLOUD_MANAGED_APP_DISTRIBUTION"
	RoleIndividualKeys  Role = "GENERATE_INDIVIDUAL_KEYS"
)

// Roles lists every role that ParseRole accepts.
func Roles() []Role {
	return []Role{
		RoleAdmin, RoleAccountHolder, RoleAppManager, RoleDeveloper, RoleMarketing, RoleSales, RoleFinance, RoleCustomerSupport,
		RoleReports, RoleCreateApps, RoleDeveloperID, RoleDistribution, RoleIndividualKeys,
	}
}

// ParseRole accepts the names that Roles lists, in lower case and with hyphens too.
func ParseRole(s string) (Role, error) {
	if r := Role(strings.ReplaceAll(strings.ToUpper(s), "-", "_")); slices.Contains(Roles(), r) {
		return r, nil
	}
	return "", errors.New("unknown role of a key: it is one of " + list(Roles()))
}

// list writes names for a message.
func list[T ~string](names []T) string {
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = string(n)
	}
	return strings.Join(texts, ", ")
}
