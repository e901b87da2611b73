package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/sealed"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/apple"
)

// factFlags are the facts that a key file does not hold.
type factFlags struct{ texts apple.FactTexts }

// addIDs gives a command the flags of the IDs but for the issuer's, which is known when a key is imported, and stays.
func (f *factFlags) addIDs(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.texts.KeyID, "key-id", "", "Apple's key ID; that of a file is taken from what it says, or from its name, AuthKey_<key ID>.p8, when left out")
	flags.StringVar(&f.texts.Team, "team-id", "", "the team ID of a key of the developer portal, ten characters; of Apple Ads SEARCHADS.…")
	flags.StringVar(&f.texts.Client, "client-id", "", "the client ID of a key of Apple Ads (SEARCHADS.…) or of School and Business (BUSINESSAPI.…, SCHOOLAPI.…)")
	flags.StringVar(&f.texts.App, "app-id", "", "Apple's number of the marketplace app")
}

// addChangeable gives a command the flags of the facts that Apple lets people change.
func (f *factFlags) addChangeable(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.texts.Services, "services", nil, "the services for which a key of the developer portal is enabled: "+join(apple.Services()))
	flags.StringVar(&f.texts.Environment, "environment", "", "where a key of APNs works: sandbox, production, sandbox-and-production")
	flags.StringSliceVar(&f.texts.Topics, "topics", nil, "the topics of a key of APNs that is topic-specific")
	flags.StringSliceVar(&f.texts.Roles, "roles", nil, "the roles of a key of App Store Connect or of the Enterprise Program: "+strings.ToLower(strings.ReplaceAll(join(apple.Roles()), "_", "-")))
	complete := func(name string, words []string) {
		if err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flag is a few lines above
		}
	}
	complete("services", words(apple.Services()))
	complete("environment", words([]apple.Environment{apple.EnvironmentSandbox, apple.EnvironmentProduction, apple.EnvironmentBoth}))
	complete("roles", words(apple.Roles()))
}

// facts are what the flags say.
func (f *factFlags) facts() (apple.Facts, error) {
	facts, err := apple.ParseFacts(f.texts)
	return facts, byFact(err)
}

// wire are the same, unread: whoever opens a sealed file knows what they may be.
func (f *factFlags) wire() *signetv1.KeyFacts {
	t := f.texts
	return &signetv1.KeyFacts{
		Kind: t.Kind, KeyId: t.KeyID, IssuerId: t.Issuer, TeamId: t.Team, ClientId: t.Client, AppId: t.App,
		Services: t.Services, Environment: t.Environment, Topics: t.Topics, Roles: t.Roles,
	}
}

// keyFlags are the facts of a key that is imported or sealed.
type keyFlags struct {
	factFlags
	many bool // they are for many keys, so each takes only what nothing else says of it
}

func (f *keyFlags) add(cmd *cobra.Command) {
	addKind(cmd, &f.texts.Kind, apple.Kinds())
	cmd.Flags().StringVar(&f.texts.Issuer, "issuer-id", "", "the issuer ID, a UUID shown above Apple's list of keys; an individual key has none")
	f.addIDs(cmd)
	f.addChangeable(cmd)
}

func addKind(cmd *cobra.Command, to *string, kinds []apple.Kind) {
	cmd.Flags().StringVar(to, "kind", "", "what Apple calls the key: "+join(kinds))
	if err := cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(words(kinds), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is a line above
	}
}

func words[T ~string](all []T) []string {
	plain := make([]string, len(all))
	for i, s := range all {
		plain[i] = string(s)
	}
	return plain
}

func join[T ~string](all []T) string { return strings.Join(words(all), ", ") }

// flagOf is the flag of a fact: --issuer-id of issuer_id.
func flagOf(field string) string { return "--" + strings.ReplaceAll(field, "_", "-") }

// byFact names the flag of a fact that is malformed.
func byFact(err error) error {
	if f, ok := errors.AsType[*apple.FieldError](err); ok {
		return cli.Malformedf("", "%s: %w", flagOf(f.Field), f.Err)
	}
	return err
}

// sealedFacts are the facts as a sealed file has them.
func sealedFacts(f apple.Facts, name string) sealed.Facts {
	t := f.Texts()
	return sealed.Facts{
		Name: name, Kind: t.Kind, KeyID: t.KeyID, Issuer: t.Issuer, Team: t.Team, Client: t.Client, App: t.App,
		Services: strings.Join(t.Services, ","), Environment: t.Environment, Topics: strings.Join(t.Topics, ","), Roles: strings.Join(t.Roles, ","),
	}
}

// wireFacts are the facts of a key in the vault. Where the answer has none, or some that this program cannot read, it is the kind and
// the issuer alone, and all is false.
func wireFacts(k *signetv1.Key) (facts apple.Facts, all bool) {
	f := k.GetFacts()
	facts, err := apple.ParseFacts(apple.FactTexts{
		Kind: k.GetKind(), Issuer: k.GetIssuerId(), Team: f.GetTeamId(), Client: f.GetClientId(), App: f.GetAppId(),
		Services: f.GetServices(), Environment: f.GetEnvironment(), Topics: f.GetTopics(), Roles: f.GetRoles(),
	})
	if err != nil {
		return apple.Facts{Kind: apple.Kind(k.GetKind()), Issuer: apple.IssuerID(k.GetIssuerId())}, false
	}
	return facts, f != nil
}

// complete settles and checks the facts of a plain key: what the flags say, what stands beside the key, and what
// the name of its file says. A flag may complete, and correct a kind that was only inferred; the IDs it must not
// contradict. What the file's name says counts least: people rename files. Flags for many keys only complete.
func (s *source) complete(f keyFlags) error {
	named, hint, hinted := apple.KeyFileHint(filepath.Base(s.keyFile))
	flags, err := f.facts()
	if err != nil {
		return err
	}
	facts := apple.Facts{Kind: s.handed.Kind, KeyID: s.handed.KeyID, Issuer: s.handed.Issuer}
	if f.many {
		if facts.Kind != "" {
			flags.Kind = ""
		}
		if hint != "" && flags.Kind != "" && hint != flags.Kind {
			return cli.Malformedf("import it alone, with the kind that it has", "%s: the file's name is that of an %s key, and --kind says another", s.label, hint)
		}
	}
	if err := s.settleKind(&facts, flags, hint, hinted, f.many); err != nil {
		return err
	}
	flags.Kind = facts.Kind
	s.facts = facts // so far: the plan shows it of a bad one too
	if f.many {
		flags = flags.Fitting()
		if facts.Issuer != "" {
			flags.Issuer = ""
		}
	}
	if strings.EqualFold(string(facts.Issuer), string(flags.Issuer)) {
		flags.Issuer = facts.Issuer
	}
	settled, differs := facts.Complete(flags)
	switch differs {
	case "":
	case "key id":
		return s.contradicts("--key-id", "key ID")
	case "issuer id":
		return s.contradicts("--issuer-id", "issuer ID")
	default:
		return s.contradicts("a flag", differs)
	}
	s.settleKeyID(&settled, flags.KeyID, named)
	s.facts = settled
	if err := s.checkFacts(settled, f.many); err != nil {
		return err
	}
	if odd := settled.Unusual(); odd != "" && !slices.Contains(s.notes, odd) {
		s.note("%s", odd)
	}
	s.hintTTL(settled.Kind)
	return nil
}

// checkFacts checks facts that are settled. It says at once what all is missing, and where Apple shows it.
func (s *source) checkFacts(facts apple.Facts, many bool) error {
	if err := facts.ValidateKnown(); err != nil {
		return cli.Malformedf("", "%w", err)
	}
	missing := facts.Missing()
	if len(missing) == 0 {
		return nil
	}
	var names, flags, where []string
	for _, m := range missing {
		flag := flagOf(m.Field)
		if many && m.Field == "key_id" {
			flag = "the key ID in the name AuthKey_<key ID>.p8, or --key-id for one key alone"
		}
		names, flags = append(names, "the "+m.Name), append(flags, flag)
		where = append(where, "the "+m.Name+": "+m.Where)
	}
	is := "is"
	if len(names) > 1 {
		is = "are"
	}
	return cli.Malformedf(strings.Join(where, "; "), "%s %s missing: a key of kind %s needs %s", strings.Join(names, " and "), is, facts.Kind, strings.Join(flags, " and "))
}

func (s *source) settleKind(facts *apple.Facts, flags apple.Facts, hint apple.Kind, hinted, many bool) error {
	switch kind := s.kindOf(flags, hinted, many); {
	case flags.Kind != "" && hint != "" && hint != flags.Kind && facts.Kind == "":
		// A kind stays for good, and a key under the wrong one mints what Apple refuses.
		return cli.Malformedf("leave --kind out to take it for that; if the name is wrong, rename the file", "%s: the file's name is that of an %s key, and --kind says another", s.label, hint)
	case flags.Kind != "":
		if facts.Kind != "" && facts.Kind != flags.Kind {
			s.note("by what the file says it is an %s key, and --kind says %s, which counts", facts.Kind, flags.Kind)
		}
		facts.Kind = flags.Kind
	case facts.Kind != "":
	case hint != "":
		facts.Kind = hint
		s.note("by the name of its file it is taken for an %s key; --kind says otherwise", hint)
	case kind == apple.KindAppStoreConnect:
		facts.Kind = kind
		s.note("by its issuer ID it is taken for a team key of App Store Connect; --kind enterprise says otherwise")
	case kind != "":
		facts.Kind = kind
	default:
		return s.unknownKind(hinted)
	}
	if hint != "" && hint != facts.Kind {
		s.note("the file's name is that of an %s key, and it is taken for an %s key", hint, facts.Kind)
	}
	return nil
}

// kindOf is the kind of key that has these facts, by the one that tells most; empty when none tells. Of facts that are for many
// keys only what can be of this one tells, and nothing does when that may be of several kinds. hinted: the file has the name
// AuthKey_, which Apple gives to team keys and to those of the developer portal.
func (s *source) kindOf(f apple.Facts, hinted, many bool) apple.Kind {
	const ads = "SEARCHADS."
	adsTeam := strings.HasPrefix(string(f.Team), ads)
	ofAds := adsTeam || strings.HasPrefix(string(f.Client), ads)
	sec1 := s.key != nil && s.key.SEC1()
	apples := hinted && many
	var kinds []apple.Kind
	for _, k := range []struct {
		kind apple.Kind
		told bool
	}{
		{apple.KindMarketplace, f.App != "" && !apples},
		{apple.KindAppleAds, ofAds && !apples},
		{apple.KindSchoolBusiness, f.Client != "" && !ofAds && !apples},
		{apple.KindDeveloperPortal, (f.Team != "" && !adsTeam || f.Services != nil || f.Topics != nil || f.Environment != "") && !sec1},
		{apple.KindAppStoreConnect, f.Issuer != "" && hinted},
	} {
		if k.told {
			kinds = append(kinds, k.kind)
		}
	}
	if len(kinds) == 0 || many && len(kinds) > 1 {
		return ""
	}
	return kinds[0]
}

// unknownKind asks for the kind, and says which ones come in such a file.
func (s *source) unknownKind(hinted bool) error {
	todo := "Apple's page on which the key was made says what it is"
	switch {
	case hinted:
		todo = "AuthKey_ is the name of a team key of App Store Connect (app-store-connect, known by --issuer-id), of an enterprise key (enterprise), and of keys of the developer portal (developer-portal, known by --team-id and --services)"
	case s.key != nil && s.key.SEC1():
		todo = "a key in SEC1 form is nearly always one of Apple Ads (apple-ads) or of School and Business (school-business), known by --client-id"
	}
	return cli.Malformedf(todo, "--kind is needed: the file does not say what kind of key it is")
}

func (s *source) settleKeyID(facts *apple.Facts, flag, named apple.KeyID) {
	given := "the text beside the key"
	if flag != "" {
		given = "--key-id"
	}
	switch {
	case facts.Kind == apple.KindMarketplace: // it has none
	case facts.KeyID == "":
		facts.KeyID = named
	case named != "" && named != facts.KeyID:
		s.note("the file's name says another key ID than %s, which counts", given)
	}
}

func (s *source) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

func (s *source) contradicts(flag, what string) error {
	return cli.Malformedf("leave the flag out, or put right what is wrong", "%s: %s is not the %s that stands there", s.label, flag, what)
}

// hintTTL tells where the lifetime goes that a tool asked for.
func (s *source) hintTTL(kind apple.Kind) {
	if s.handed.Duration == 0 {
		return
	}
	longest := apple.FamilyAppStoreConnect.Limits(false).Max
	if kind == apple.KindEnterprise {
		longest = apple.FamilyEnterprise.Limits(false).Max
	}
	ttl, most := s.handed.Duration, ""
	if ttl > longest {
		ttl, most = longest, ", the most that is given"
	}
	s.note("%s asked for tokens of %d seconds; here the profile says that: ttl: %s%s", s.handed.Shape, int(s.handed.Duration.Seconds()), ttl, most)
}
