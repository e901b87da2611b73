package authority

import (
	"strings"

	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/store"
)

// The attributes of a stored key that are ours. Lists are separated by commas, which nothing in them has.
const (
	attrIssuer      = "issuer"
	attrTeam        = "team"
	attrClient      = "client"
	attrApp         = "app"
	attrServices    = "services"
	attrEnvironment = "environment"
	attrTopics      = "topics"
	attrRoles       = "roles"
)

// factsOf are the facts that a key's versions share.
func factsOf(key store.Key) apple.Facts {
	a := key.Attributes
	return apple.Facts{
		Kind:        apple.Kind(key.Kind),
		Issuer:      apple.IssuerID(a[attrIssuer]),
		Team:        apple.TeamID(a[attrTeam]),
		Client:      apple.ClientID(a[attrClient]),
		App:         apple.AppID(a[attrApp]),
		Services:    split[apple.Service](a[attrServices]),
		Environment: apple.Environment(a[attrEnvironment]),
		Topics:      split[apple.BundleID](a[attrTopics]),
		Roles:       split[apple.Role](a[attrRoles]),
	}
}

// attributes are what factsOf reads; nil for none.
func attributes(f apple.Facts) map[string]string {
	a := make(map[string]string)
	for name, value := range map[string]string{
		attrIssuer:      string(f.Issuer),
		attrTeam:        string(f.Team),
		attrClient:      string(f.Client),
		attrApp:         string(f.App),
		attrServices:    join(f.Services),
		attrEnvironment: string(f.Environment),
		attrTopics:      join(f.Topics),
		attrRoles:       join(f.Roles),
	} {
		if value != "" {
			a[name] = value
		}
	}
	if len(a) == 0 {
		return nil
	}
	return a
}

func join[T ~string](all []T) string { return strings.Join(texts(all), ",") }

func split[T ~string](list string) []T {
	if list == "" {
		return nil
	}
	var all []T
	for s := range strings.SplitSeq(list, ",") {
		all = append(all, T(s))
	}
	return all
}

// versionless are the facts but for those of one version.
func versionless(f apple.Facts) apple.Facts {
	f.KeyID = ""
	return f
}
