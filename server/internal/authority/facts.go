package authority

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/p8signet/signet/proto/auditlog"
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
	var a map[string]string
	for _, one := range facts {
		if text := one.text(f); one.attribute != "" && text != "" {
			if a == nil {
				a = make(map[string]string)
			}
			a[one.attribute] = text
		}
	}
	return a
}

func join[T ~string](all []T) string { return strings.Join(texts(all), ",") }

func split[T ~string](list string) []T {
	if list == "" {
		return nil
	}
	all := make([]T, 0, strings.Count(list, ",")+1)
	for s := range strings.SplitSeq(list, ",") {
		all = append(all, T(s))
	}
	return all
}

// FactName names a fact of a key that can be set, as policies, messages and the log do.
type FactName string

// The facts that can be set.
const (
	FactKeyID       FactName = "key_id"
	FactTeam        FactName = "team_id"
	FactClient      FactName = "client_id"
	FactApp         FactName = "app_id"
	FactServices    FactName = "services"
	FactEnvironment FactName = "environment"
	FactTopics      FactName = "topics"
	FactRoles       FactName = "roles"
)

// fact is how a fact of all versions of a key is read and set.
type fact struct {
	name      FactName
	attribute string                                  // of the stored key; empty for its kind, which is none
	text      func(apple.Facts) string                // as it is stored
	set       func(to *apple.Facts, from apple.Facts) // nil: it never is
	once      bool                                    // it is set where it is missing, and then stays
}

// facts are all of them but for the key ID, which is of one version.
var facts = []fact{
	{name: "kind", text: func(f apple.Facts) string { return string(f.Kind) }},
	{name: "issuer_id", attribute: attrIssuer, text: func(f apple.Facts) string { return string(f.Issuer) }},
	{FactTeam, attrTeam, func(f apple.Facts) string { return string(f.Team) }, func(to *apple.Facts, from apple.Facts) { to.Team = from.Team }, true},
	{FactClient, attrClient, func(f apple.Facts) string { return string(f.Client) }, func(to *apple.Facts, from apple.Facts) { to.Client = from.Client }, true},
	{FactApp, attrApp, func(f apple.Facts) string { return string(f.App) }, func(to *apple.Facts, from apple.Facts) { to.App = from.App }, true},
	{FactServices, attrServices, func(f apple.Facts) string { return join(f.Services) }, func(to *apple.Facts, from apple.Facts) { to.Services = from.Services }, false},
	{FactEnvironment, attrEnvironment, func(f apple.Facts) string { return string(f.Environment) }, func(to *apple.Facts, from apple.Facts) { to.Environment = from.Environment }, false},
	{FactTopics, attrTopics, func(f apple.Facts) string { return join(f.Topics) }, func(to *apple.Facts, from apple.Facts) { to.Topics = from.Topics }, false},
	{FactRoles, attrRoles, func(f apple.Facts) string { return join(f.Roles) }, func(to *apple.Facts, from apple.Facts) { to.Roles = from.Roles }, false},
}

// FactNames are the names of the facts that can be set.
func FactNames() []FactName {
	all := []FactName{FactKeyID}
	for _, f := range facts {
		if f.set != nil {
			all = append(all, f.name)
		}
	}
	return all
}

// changed are the facts, but for the key ID, in which two keys differ.
func changed(a, b apple.Facts) []fact {
	var all []fact
	for _, f := range facts {
		if f.text(a) != f.text(b) {
			all = append(all, f)
		}
	}
	return all
}

// factValues are what an entry says of some facts. A list that is too long for one is told by its hash.
func factValues(of []fact, f apple.Facts) map[string]string {
	values := make(map[string]string, len(of))
	for _, one := range of {
		text := one.text(f)
		if len(text) > auditlog.MaxTextLen {
			text = fmt.Sprintf("%d of them, sha256:%x", strings.Count(text, ",")+1, sha256.Sum256([]byte(text)))
		}
		values[string(one.name)] = text
	}
	return values
}

// incomplete says why nothing can be minted with a key before facts of it are added; empty when nothing is missing. It is
// the version that mints that counts, and where there is none the newest.
func incomplete(key store.Key) string {
	version, ok := key.ActiveVersion()
	if !ok {
		if version, ok = key.Version(len(key.Versions)); !ok {
			return ""
		}
	}
	if err := versionFacts(key, version).Validate(); err != nil {
		return err.Error()
	}
	return ""
}

// versionFacts are the facts of one version of a key.
func versionFacts(key store.Key, v store.KeyVersion) apple.Facts {
	f := factsOf(key)
	f.KeyID = apple.KeyID(v.KeyID)
	return f
}
