package main

import (
	"cmp"
	"context"
	"fmt"

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
		Long: `List the profiles that your own grants let you mint, by name. MINTS says whether a token would be given now, and if not, the reason
that signet mint would fail with.`,
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
			rows := [][]string{{"NAME", "FAMILY", "TTL", "LIMITED TO", "REUSE", "RATE", "MINTS"}}
			for _, p := range all.GetProfiles() {
				rows = append(rows, []string{
					p.GetName(), p.GetFamily(), apple.TTLText(p.GetDefaultTtl().AsDuration()), limitedTo(p), p.GetReuse(), profileRate(p),
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
		Long: `Show one of the profiles that you may mint: what to type, where its tokens go, how long they live and which requests they can make.

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
	to := "Authorization: Bearer TOKEN"
	if url := apple.Family(p.GetFamily()).URL(); url != "" {
		to += ", to " + url
	}
	now := "yes"
	if reason := p.GetUnavailableReason(); reason != "" {
		now = "no: " + reason
	}
	if err := cli.Facts(a.Stdout,
		[2]string{"profile", p.GetName()},
		[2]string{"family", p.GetFamily()},
		[2]string{"mints", now},
		[2]string{"key id", p.GetKeyId()},
		[2]string{"get one", "signet mint " + p.GetName()},
		[2]string{"send it", to},
		[2]string{"lives", lifetimes(p)},
		[2]string{"reuse", reuseText(p.GetReuse())},
		[2]string{"rate", profileRate(p)},
		[2]string{"limited to", limitedTo(p)},
	); err != nil {
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

// limitedTo says in a few words what a profile's tokens can do.
func limitedTo(p *signetv1.Profile) string {
	if len(p.GetScope()) == 0 {
		return "the key's role"
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
	text := fmt.Sprintf("%s; at most %s with --ttl", apple.TTLText(p.GetDefaultTtl().AsDuration()), apple.TTLText(p.GetMaxTtl().AsDuration()))
	if p.GetDefaultTtl().AsDuration() == p.GetMaxTtl().AsDuration() {
		text = apple.TTLText(p.GetMaxTtl().AsDuration()) + ", or less with --ttl"
	}
	if p.GetLongLived() {
		text += "; until then nobody but Apple can end it, by revoking its key"
	}
	return text
}

// reuseText says what a rule of reuse means to who mints.
func reuseText(rule string) string {
	switch rule {
	case apple.ReuseNever.String():
		return "every mint gives a new token"
	case apple.ReusePerPrincipal.String():
		return "you are given the same token until half of its life is gone"
	}
	return rule
}
