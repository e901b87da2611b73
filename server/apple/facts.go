package apple

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Facts is what must be known about a key to mint with it. Which of them a kind of key has, Needs says.
type Facts struct {
	Kind   Kind
	KeyID  KeyID    // of one version of the key; the others are of all its versions
	Issuer IssuerID // the organisation
	Team   TeamID
	Client ClientID // the API account
	App    AppID    // the marketplace app

	// What Apple lets people change of a key that is there, sorted and without duplicates.
	Services    []Service   // that are enabled
	Environment Environment // of APNs; empty when it is not known, and then nothing is refused for it
	Topics      []BundleID  // of APNs; nil for a key that is team-scoped
	Roles       []Role      // nil when they are not known
}

// fact is one of the facts.
type fact struct {
	field string // as FieldError names it
	name  string // in words
	where string // Apple shows it
	get   func(Facts) string
}

var (
	factKeyID    = fact{"key_id", "key ID", "Apple shows it beside the key, and the name of a .p8 file carries it, AuthKey_<key ID>.p8", func(f Facts) string { return string(f.KeyID) }}
	factIssuer   = fact{"issuer_id", "issuer ID", "it is shown above the list of keys under Users and Access, Integrations; only an individual key, kind app-store-connect-individual, has none", func(f Facts) string { return string(f.Issuer) }}
	factTeam     = fact{"team_id", "team ID", "it is shown in the developer account under Membership details", func(f Facts) string { return string(f.Team) }}
	factAdsTeam  = fact{"team_id", "team ID", "Apple Ads shows it under Account Settings, API, once it has the public key", func(f Facts) string { return string(f.Team) }}
	factClient   = fact{"client_id", "client ID", "Apple shows it beside the key", func(f Facts) string { return string(f.Client) }}
	factApp      = fact{"app_id", "app ID", "it is Apple's number of the marketplace app", func(f Facts) string { return string(f.App) }}
	factServices = fact{"services", "list of services", "they are those that are enabled for the key under Certificates, Identifiers & Profiles, Keys: " + list(Services()), func(f Facts) string { return first(f.Services) }}

	allFacts = []fact{factKeyID, factIssuer, factTeam, factClient, factApp, factServices}
)

// first is the first element, if there is one.
func first[T ~string](all []T) string {
	if len(all) == 0 {
		return ""
	}
	return string(all[0])
}

// kindFacts are the facts that the keys of a kind must have.
var kindFacts = map[Kind][]fact{
	KindAppStoreConnect:           {factKeyID, factIssuer},
	KindAppStoreConnectIndividual: {factKeyID},
	KindEnterprise:                {factKeyID, factIssuer},
	KindInAppPurchase:             {factKeyID, factIssuer},
	KindDeveloperPortal:           {factKeyID, factTeam, factServices},
	KindAppleAds:                  {factKeyID, factAdsTeam, factClient},
	KindSchoolBusiness:            {factKeyID, factClient},
	KindMarketplace:               {factApp},
}

var errIndividualIssuer = errors.New("an individual key has no issuer ID (Apple answers 401 to a token that names one): leave it out, or say that this is a team key, kind app-store-connect")

// Validate reports the first thing that is missing from the facts, malformed, or of no use to the kind.
func (f Facts) Validate() error {
	if err := f.ValidateKnown(); err != nil {
		return err
	}
	return f.missing()
}

// missing reports the first fact that the kind must have and that is not there.
func (f Facts) missing() error {
	for _, needed := range kindFacts[f.Kind] {
		if needed.get(f) == "" {
			return fmt.Errorf("the %s is missing: %s", needed.name, needed.where)
		}
	}
	return nil
}

// ValidateKnown is Validate but for facts that are missing: those of a key that was made here come only when Apple has its
// public half.
func (f Facts) ValidateKnown() error {
	if _, err := ParseKind(string(f.Kind)); err != nil {
		return err
	}
	for _, has := range allFacts {
		if has.get(f) == "" || slices.ContainsFunc(kindFacts[f.Kind], func(n fact) bool { return n.name == has.name }) {
			continue
		}
		if f.Kind == KindAppStoreConnectIndividual && has.name == factIssuer.name {
			return errIndividualIssuer
		}
		return fmt.Errorf("a key of kind %s has no %s: leave it out, or correct the kind", f.Kind, has.name)
	}
	return cmp.Or(f.checkIDs(), f.checkChangeable())
}

// checkIDs checks the form of what is there.
func (f Facts) checkIDs() error {
	return cmp.Or(
		form(f.KeyID, ParseKeyID), form(f.Issuer, ParseIssuerID), form(f.Team, ParseTeamID), form(f.Client, ParseClientID), form(f.App, ParseAppID),
		f.checkTeam(), f.checkClient())
}

func (f Facts) checkTeam() error {
	if f.Team != "" && tenShape.MatchString(string(f.Team)) != (f.Kind == KindDeveloperPortal) {
		return errors.New("the team ID is that of another kind of key: ten characters are a developer account's, SEARCHADS.… is an Apple Ads account's")
	}
	return nil
}

func (f Facts) checkClient() error {
	if f.Client != "" && adsShape.MatchString(string(f.Client)) != (f.Kind == KindAppleAds) {
		return errors.New("the client ID is that of another kind of key: SEARCHADS.… is Apple Ads', BUSINESSAPI.… and SCHOOLAPI.… are those of school-business")
	}
	return nil
}

// checkChangeable checks the facts that Apple lets people change.
func (f Facts) checkChangeable() error {
	pushes := slices.Contains(f.Services, ServiceAPNs)
	switch {
	case f.Environment != "" && !pushes:
		return errors.New("an environment is of APNs, which is not among the key's services: leave it out, or add apns to the services")
	case len(f.Topics) > 0 && !pushes:
		return errors.New("topics are of APNs, which is not among the key's services: leave them out, or add apns to the services")
	case len(f.Topics) > maxTopics:
		return fmt.Errorf("more than %d topics: Apple takes that many for one key", maxTopics)
	case len(f.Roles) > 0 && !f.Kind.hasRoles():
		return fmt.Errorf("a key of kind %s has no roles: leave them out", f.Kind)
	}
	return cmp.Or(form(f.Environment, ParseEnvironmentName), set("services", f.Services, ParseService), set("topics", f.Topics, ParseBundleID), set("roles", f.Roles, ParseRole), f.checkEnterprise())
}

// checkEnterprise refuses a role that Apple's Enterprise Program does not have.
func (f Facts) checkEnterprise() error {
	if f.Kind == KindEnterprise && slices.ContainsFunc(f.Roles, func(r Role) bool { return r != RoleAdmin && r != RoleDeveloper }) {
		return errors.New("roles: a key of the Enterprise Program is ADMIN or DEVELOPER, there is no other role")
	}
	return nil
}

// hasRoles says whether keys of the kind are given roles.
func (k Kind) hasRoles() bool {
	return k == KindAppStoreConnect || k == KindAppStoreConnectIndividual || k == KindEnterprise
}

// maxTopics is how many topics Apple lets one topic-specific key of APNs have.
const maxTopics = 400

// form checks an identifier that may be left out.
func form[T ~string](s T, parse func(string) (T, error)) error {
	if s == "" {
		return nil
	}
	_, err := parse(string(s))
	return err
}

// set checks a list of which each element has a form, in order and once.
func set[T ~string](name string, all []T, parse func(string) (T, error)) error {
	for i, s := range all {
		switch p, err := parse(string(s)); {
		case err != nil:
			return fmt.Errorf("%s, entry %d: %w", name, i+1, err)
		case p != s:
			return fmt.Errorf("%s, entry %d: it is spelled in capitals here, as Apple spells it", name, i+1)
		}
		if i > 0 && all[i-1] >= s {
			return fmt.Errorf("the %s are not in order, or have one twice", name)
		}
	}
	return nil
}

// Unusual says what of the facts is not as it nearly always is; empty when nothing is. Apple's own examples have key IDs
// that are unusual, so they are accepted.
func (f Facts) Unusual() string {
	uuid := f.Kind == KindAppleAds || f.Kind == KindSchoolBusiness
	switch {
	case f.KeyID == "":
	case uuid && !uuidShape.MatchString(string(f.KeyID)):
		return "the key ID is not a UUID, as nearly all of such keys are: compare it with the one that Apple shows"
	case !uuid && !tenShape.MatchString(string(f.KeyID)):
		return "the key ID is not ten upper-case letters and digits, as nearly all are: compare it with the one that Apple shows"
	}
	return ""
}

// FactTexts are facts as people and messages write them; what is empty is not said.
type FactTexts struct {
	Kind, KeyID, Issuer, Team, Client, App, Environment string
	Services, Topics, Roles                             []string
}

// ParseFacts checks the form of every fact that is said, and sorts the lists. Whether they fit the kind, Validate says. An
// error is a *FieldError.
func ParseFacts(t FactTexts) (Facts, error) {
	var f Facts
	err := cmp.Or(
		said(&f.Kind, "kind", t.Kind, ParseKind),
		said(&f.KeyID, "key_id", t.KeyID, ParseKeyID),
		said(&f.Issuer, "issuer_id", t.Issuer, ParseIssuerID),
		said(&f.Team, "team_id", t.Team, ParseTeamID),
		said(&f.Client, "client_id", t.Client, ParseClientID),
		said(&f.App, "app_id", t.App, ParseAppID),
		said(&f.Environment, "environment", t.Environment, ParseEnvironmentName),
		saidAll(&f.Services, "services", t.Services, ParseService),
		saidAll(&f.Topics, "topics", t.Topics, ParseBundleID),
		saidAll(&f.Roles, "roles", t.Roles, ParseRole),
	)
	if err != nil {
		return Facts{}, err
	}
	return f, nil
}

func said[T ~string](to *T, name, text string, parse func(string) (T, error)) error {
	if text == "" {
		return nil
	}
	value, err := parse(text)
	if err != nil {
		return &FieldError{name, err}
	}
	*to = value
	return nil
}

func saidAll[T ~string](to *[]T, name string, all []string, parse func(string) (T, error)) error {
	for _, text := range all {
		value, err := parse(text)
		if err != nil {
			return &FieldError{name, err}
		}
		*to = append(*to, value)
	}
	slices.Sort(*to)
	*to = slices.Compact(*to)
	return nil
}

// Texts are the facts as ParseFacts reads them.
func (f Facts) Texts() FactTexts {
	return FactTexts{
		Kind: string(f.Kind), KeyID: string(f.KeyID), Issuer: string(f.Issuer), Team: string(f.Team), Client: string(f.Client), App: string(f.App),
		Environment: string(f.Environment), Services: texts(f.Services), Topics: texts(f.Topics), Roles: texts(f.Roles),
	}
}

// Complete adds to the facts those of another source that they lack. When both say a fact and differ, differs is its name, and
// nothing is to be done with either.
func (f Facts) Complete(by Facts) (all Facts, differs string) {
	differs = cmp.Or(
		complete(&f.Kind, by.Kind, "kind"), complete(&f.KeyID, by.KeyID, "key id"), complete(&f.Issuer, by.Issuer, "issuer id"),
		complete(&f.Team, by.Team, "team id"), complete(&f.Client, by.Client, "client id"), complete(&f.App, by.App, "app id"),
		complete(&f.Environment, by.Environment, "environment"),
		completeAll(&f.Services, by.Services, "list of services"), completeAll(&f.Topics, by.Topics, "list of topics"),
		completeAll(&f.Roles, by.Roles, "list of roles"),
	)
	return f, differs
}

func complete[T ~string](to *T, by T, name string) string {
	switch {
	case *to == "":
		*to = by
	case by != "" && by != *to:
		return name
	}
	return ""
}

func completeAll[T ~string](to *[]T, by []T, name string) string {
	switch {
	case *to == nil:
		*to = by
	case by != nil && !slices.Equal(*to, by):
		return name
	}
	return ""
}

// MissingFact is a fact that a kind of key must have and that is not known.
type MissingFact struct {
	Field string // as FieldError names it
	Name  string // in words
	Where string // Apple shows it
}

// Missing lists what is missing, in the order in which Validate would report it.
func (f Facts) Missing() []MissingFact {
	var all []MissingFact
	for _, needed := range kindFacts[f.Kind] {
		if needed.get(f) == "" {
			all = append(all, MissingFact{needed.field, needed.name, needed.where})
		}
	}
	return all
}

// Fitting are the facts without those that keys of their kind do not have.
func (f Facts) Fitting() Facts {
	fits := Facts{Kind: f.Kind}
	for _, has := range kindFacts[f.Kind] {
		switch has.field {
		case factKeyID.field:
			fits.KeyID = f.KeyID
		case factIssuer.field:
			fits.Issuer = f.Issuer
		case factTeam.field:
			fits.Team = f.Team
		case factClient.field:
			fits.Client = f.Client
		case factApp.field:
			fits.App = f.App
		case factServices.field:
			fits.Services, fits.Environment, fits.Topics = f.Services, f.Environment, f.Topics
		}
	}
	if f.Kind.hasRoles() {
		fits.Roles = f.Roles
	}
	return fits
}
