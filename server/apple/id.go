package apple

import (
	"errors"
	"regexp"
	"strings"
)

// KeyID is Apple's identifier of a key, the kid of a token's header.
type KeyID string

// IssuerID is the identifier of an organisation at Apple, the iss of a team's token.
type IssuerID string

// TeamID is the identifier of a team: ten characters for a developer account, SEARCHADS.… for an account of Apple Ads.
type TeamID string

// ClientID is the identifier of an API account: SEARCHADS.…, BUSINESSAPI.… or SCHOOLAPI.….
type ClientID string

// BundleID is an identifier in reverse-DNS form: of an app (bundle ID), of a service (Services ID), or a topic of APNs.
type BundleID string

// AppID is Apple's numeric identifier of an app, as text: the id in /v1/apps/{id}.
type AppID string

var (
	keyIDShape    = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	tenShape      = regexp.MustCompile(`^[A-Z0-9]{10}$`)
	uuidShape     = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	adsShape      = regexp.MustCompile(`^SEARCHADS\.[0-9A-Za-z-]{30,40}$`)
	managerShape  = regexp.MustCompile(`^(BUSINESSAPI|SCHOOLAPI)\.[0-9A-Za-z-]{30,40}$`)
	bundleIDShape = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$`)
	keyFileShape  = regexp.MustCompile(`^(AuthKey|ApiKey|SubscriptionKey)_([A-Z0-9]{8,12})\.p8$`)
)

// ParseKeyID accepts 1 to 64 letters, digits, dots, underscores and hyphens, and keeps them as they are. Whether it looks
// like others of its kind, Facts.Unusual says.
func ParseKeyID(s string) (KeyID, error) {
	if !keyIDShape.MatchString(s) {
		return "", errors.New("not a key ID: it is the (nearly always ten) letters and digits that Apple shows beside the key and that its file name carries, AuthKey_<key ID>.p8; for Apple Ads and for School and Business a UUID")
	}
	return KeyID(s), nil
}

// ParseIssuerID accepts the text form of a UUID, any variant and version (Apple's often are none of RFC 9562's), and
// keeps it byte for byte.
func ParseIssuerID(s string) (IssuerID, error) {
	if !uuidShape.MatchString(s) {
		return "", errors.New("not an issuer ID: it is the UUID (8-4-4-4-12 hexadecimal digits) shown above the list of keys under Users and Access, Integrations")
	}
	return IssuerID(s), nil
}

// ParseTeamID accepts the ten upper-case letters and digits of a developer account's team, and the team of an Apple Ads
// account, SEARCHADS.….
func ParseTeamID(s string) (TeamID, error) {
	if !tenShape.MatchString(s) && !adsShape.MatchString(s) {
		return "", errors.New("not a team ID: it is ten upper-case letters and digits, shown in the developer account under Membership details; for Apple Ads SEARCHADS.…, shown under Account Settings, API")
	}
	return TeamID(s), nil
}

// ParseClientID accepts the client of an API account of Apple Ads, Apple Business or Apple School Manager.
func ParseClientID(s string) (ClientID, error) {
	if !adsShape.MatchString(s) && !managerShape.MatchString(s) {
		return "", errors.New("not a client ID: it begins with SEARCHADS. (Apple Ads), BUSINESSAPI. or SCHOOLAPI., and goes on with what Apple shows beside the key, like a UUID")
	}
	return ClientID(s), nil
}

// ParseBundleID accepts two or more parts of letters, digits, hyphens and underscores with dots between, 155 characters at
// most, and keeps them as they are: Apple minds upper and lower case.
func ParseBundleID(s string) (BundleID, error) {
	if len(s) > 155 || !bundleIDShape.MatchString(s) {
		return "", errors.New("not an identifier such as com.example.app: it is letters, digits and hyphens in parts with dots between, 155 characters at most")
	}
	return BundleID(s), nil
}

// ParseAppID accepts 1 to 19 digits that do not begin with 0.
func ParseAppID(s string) (AppID, error) {
	if s == "" || len(s) > 19 || s[0] == '0' || strings.Trim(s, "0123456789") != "" {
		return "", errors.New(`not Apple's ID of an app: it is the number that App Store Connect shows as Apple ID under App Information, such as "1234567890"`)
	}
	return AppID(s), nil
}

// KeyFileHint reads what the name of a downloaded key file says: AuthKey_<key ID>.p8 is a team key or a key of the
// developer portal (kind is empty: the name does not tell which), ApiKey_ an individual key, SubscriptionKey_ an
// In-App Purchase key. The name may come with its folders. People rename files: the kind is a hint and decides nothing.
func KeyFileHint(name string) (kid KeyID, kind Kind, ok bool) {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	m := keyFileShape.FindStringSubmatch(name)
	if m == nil {
		return "", "", false
	}
	switch m[1] {
	case "ApiKey":
		kind = KindAppStoreConnectIndividual
	case "SubscriptionKey":
		kind = KindInAppPurchase
	}
	return KeyID(m[2]), kind, true
}
