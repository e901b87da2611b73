package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
)

func (a *app) profile() *cobra.Command {
	return cli.Group("profile", "See what you may mint, and how", a.profileList(), a.profileShow())
}

func (a *app) profileList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what you may mint",
		Long: `List the profiles that your own grants let you mint, by name. FORM is how Apple takes what is minted (header, secret, app, signature,
url, upload), YOU SAY which flags signet mint must be given. MINTS says whether a token would be given now, and if not, the reason that
signet mint would fail with.`,
		Example: "  signet profile list\n  signet profile list -o json",
		Args:    cli.Args(),
	}
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			all := &signetv1.ListProfilesResponse{}
			for p, err := range cl.AllProfiles(ctx) {
				if err != nil {
					return err
				}
				all.Profiles = append(all.Profiles, p)
			}
			if *format == "json" {
				return cli.JSON(a.Stdout, all)
			}
			rows := [][]string{{"NAME", "FAMILY", "FORM", "TTL", "LIMITED TO", "YOU SAY", "REUSE", "RATE", "MINTS"}}
			for _, p := range all.GetProfiles() {
				ttl := ""
				if p.GetDefaultTtl() != nil {
					ttl = apple.TTLText(p.GetDefaultTtl().AsDuration())
				}
				rows = append(rows, []string{
					p.GetName(), p.GetFamily(), p.GetForm(), ttl, limitedTo(p), strings.Join(mustSay(p), " "), p.GetReuse(), profileRate(p),
					cmp.Or(p.GetUnavailableReason(), "yes"),
				})
			}
			return cli.Table(a.Stdout, rows)
		})
	}
	return cmd
}

func (a *app) profileShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show how to mint a profile, and what its tokens can do",
		Long: `Show one of the profiles that you may mint: what to type, what to fill in, where its tokens go, how long they live and which requests
they can make.

A profile that there is not and one that you may not mint are both denied: nobody learns which names there are.`,
		Example: "  signet profile show ios-builds-read",
		Args:    cli.Args("NAME"),
	}
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		name, err := policy.ParseProfileName(args[0])
		if err != nil {
			return cli.Malformedf("signet profile list shows what you may mint", "NAME: %w", err)
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			for p, err := range cl.AllProfiles(ctx) {
				if err != nil {
					return err
				}
				if p.GetName() != string(name) {
					continue
				}
				if *format == "json" {
					return cli.JSON(a.Stdout, p)
				}
				return a.printProfile(p)
			}
			return &cli.Failure{Err: client.ErrDenied, Todo: "signet profile list shows what you may mint"}
		})
	}
	return cmd
}

func (a *app) printProfile(p *signetv1.Profile) error {
	now := "yes"
	if reason := p.GetUnavailableReason(); reason != "" {
		now = "no: " + reason
	}
	facts := [][2]string{
		{"profile", p.GetName()},
		{"family", p.GetFamily()},
		{"mints", now},
		{"key id", p.GetKeyId()},
		{"get one", mintLine(p)},
		{"form", p.GetForm()},
		{"send it", sendIt(p)},
		{"lives", lifetimes(p)},
		{"reuse", reuseText(p.GetReuse())},
		{"rate", profileRate(p)},
		{"limited to", limitedTo(p)},
	}
	for _, f := range p.GetFixed() {
		facts = append(facts, [2]string{f.GetName(), strings.Join(f.GetValues(), ", ")})
	}
	for _, f := range p.GetParameters() {
		facts = append(facts, [2]string{sayIt(f), whatToSay(f)})
	}
	if err := cli.Facts(a.Stdout, facts...); err != nil {
		return err
	}
	if len(p.GetScope()) == 0 {
		return nil
	}
	rows := make([][]string, len(p.GetScope()))
	for i, s := range p.GetScope() {
		rows[i] = []string{"  " + s}
	}
	if err := cli.Table(a.Stdout, rows); err != nil {
		return err
	}
	cli.Printf(a.Stderr, "Apple takes these requests as they are written, whatever the order of the query and whatever limit, cursor and sort it has. What "+
		"lies below a path, or has an id of its own, is another request.\n")
	return nil
}

// mintLine is what to type: flags that must be said, and in brackets those that may, with what stands for a value that is not known.
func mintLine(p *signetv1.Profile) string {
	line := "signet mint " + p.GetName()
	for _, f := range p.GetParameters() {
		flag, ok := flagOfField(f.GetName())
		if !ok {
			continue // of a server that knows more
		}
		say := "--" + flag.name + "=" + flag.stands
		if len(f.GetValues()) == 1 {
			say = "--" + flag.name + "=" + cli.Quoted(f.GetValues()[0])
		}
		if !f.GetRequired() {
			say = "[" + say + "]"
		}
		line += " " + say
	}
	switch use := apple.Family(p.GetFamily()).Use(); {
	case use.Form == apple.FormSecret:
		line += " -o form"
	case use.Form == apple.FormSignature, use.Form == apple.FormApp && len(p.GetParameters()) > 0:
		line += " -o app"
	}
	return line
}

// mustSay are the flags that a mint must be given.
func mustSay(p *signetv1.Profile) []string {
	var all []string
	for _, f := range p.GetParameters() {
		if f.GetRequired() {
			all = append(all, sayIt(f))
		}
	}
	return all
}

// sayIt is the flag by which a value is filled in, or its name where this program has none.
func sayIt(f *signetv1.ProfileField) string {
	if flag, ok := flagOfField(f.GetName()); ok {
		return "--" + flag.name
	}
	return f.GetName()
}

func whatToSay(f *signetv1.ProfileField) string {
	text := "you must say it"
	if !f.GetRequired() {
		text = "you may say it"
	}
	if len(f.GetValues()) > 0 {
		text += ": " + strings.Join(f.GetValues(), ", ")
	}
	return text
}

// sendIt says what is done with a profile's tokens.
func sendIt(p *signetv1.Profile) string {
	family := apple.Family(p.GetFamily())
	use := family.Use()
	switch use.Form {
	case apple.FormHeader:
		to := "Authorization: TOKEN"
		if use.Scheme != "" {
			to = "Authorization: " + use.Scheme + " TOKEN"
		}
		url := family.URL()
		for _, f := range p.GetFixed() {
			if family == apple.FamilyAPNs && f.GetName() == "environment" && len(f.GetValues()) == 1 {
				url = "https://" + apple.APNs{Environment: apple.Environment(f.GetValues()[0])}.Hosts()[0]
			}
		}
		if url != "" {
			to += ", to " + url
		}
		return to
	case apple.FormSecret:
		return "as the field " + use.Field + " of a form that is posted to " + family.URL()
	case apple.FormApp:
		if len(p.GetParameters()) == 0 {
			return "to the page that uses it"
		}
		return "to your app, which gives it to StoreKit; Apple takes it once"
	case apple.FormSignature:
		return "to your app, with key ID, nonce and timestamp, for StoreKit; Apple takes it once"
	case apple.FormURL:
		return "it is the URL of a picture, and works for whoever has it"
	case apple.FormUpload:
		return "to the developer, who uploads it to App Store Connect"
	}
	return ""
}

// limitedTo says in a few words what a profile's tokens can do.
func limitedTo(p *signetv1.Profile) string {
	switch {
	case len(p.GetScope()) > 0:
	case apple.Family(p.GetFamily()).Scoped():
		return "the key's role"
	default:
		return ""
	}
	return cli.Count(int64(len(p.GetScope())), "request")
}

func profileRate(p *signetv1.Profile) string {
	if p.RateEvents == nil {
		return "none"
	}
	return fmt.Sprintf("%d in %s", p.GetRateEvents(), apple.TTLText(p.GetRatePer().AsDuration()))
}

func lifetimes(p *signetv1.Profile) string {
	if p.GetDefaultTtl() == nil {
		return lifeText(apple.Family(p.GetFamily()))
	}
	text := fmt.Sprintf("%s; at most %s with --ttl", apple.TTLText(p.GetDefaultTtl().AsDuration()), apple.TTLText(p.GetMaxTtl().AsDuration()))
	if p.GetDefaultTtl().AsDuration() == p.GetMaxTtl().AsDuration() {
		text = apple.TTLText(p.GetMaxTtl().AsDuration()) + ", or less with --ttl"
	}
	if p.GetLongLived() {
		text += "; until then nobody but Apple can end it, by revoking its key"
	}
	return text
}

// lifeText says how long Apple takes what has no lifetime to choose.
func lifeText(f apple.Family) string {
	switch life := f.Limits(false).Life; {
	case life == 0:
		return ""
	case life == apple.Unending:
		return "without end: nobody but Apple can end it, by revoking its key"
	case f.Shared():
		return apple.TTLText(life) + ", with a new one every half hour"
	case f.Use().Form == apple.FormApp:
		return "for one use, soon: Apple does not say for how long it takes it"
	default:
		return apple.TTLText(life) + ", for one use"
	}
}

// reuseText says what a rule of reuse means to who mints.
func reuseText(rule string) string {
	switch rule {
	case apple.ReuseNever.String():
		return "every mint gives a new token"
	case apple.ReusePerPrincipal.String():
		return "you are given the same token until half of its life is gone"
	case apple.ReuseShared.String():
		return "everybody is given the same token, and changes to the next one at the same time"
	}
	return rule
}
