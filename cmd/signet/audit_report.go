package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

func (a *app) auditReport() *cobra.Command {
	var since, until, unused string
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Say who used what, and what nobody uses",
		Long: `Say of each key and caller when it was first and last used and how often, what was refused, how long ago keys were rotated, and
which keys, grants and profiles nobody uses. Each time that a token was given counts, also when it was the same one again. It is
counted from the audit log, as far back as that reaches; --since and --until say over which period. Where a vault has several servers,
the logs of all addresses of client.yaml are counted together; what could not be is named, and the exit code is 6.`,
		Example: `  signet audit report
  signet audit report --since 2026-01-01 --until 2026-04-01
  signet audit report --unused-for 90d -o json | jq -r '.keys[] | select(.unused).name'`,
		Args: cli.Args(),
	}
	cmd.Flags().StringVar(&since, "since", "", "from when on: 2h, 7d, 2026-01-31 or 2026-01-31T15:04:05Z; from the beginning when left out")
	cmd.Flags().StringVar(&until, "until", "", "until before when: as --since; until now when left out")
	cmd.Flags().StringVar(&unused, "unused-for", "", "keys are unused that were not used for so long: 90d; when left out, not in the whole period")
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		req := &signetv1.GetUsageRequest{}
		var err error
		if req.Since, req.Until, err = a.period(since, until); err != nil {
			return err
		}
		if unused != "" {
			d, ok := cli.ParseSpan(unused)
			if !ok || d == 0 {
				return cli.Malformedf("", "--unused-for is a duration such as 12h or 90d")
			}
			req.UnusedFor = durationpb.New(d)
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			rs, err := a.replicas(ctx, cl)
			if err != nil {
				return err
			}
			u, err := rs.usage(ctx, req)
			if err != nil {
				return err
			}
			if *format == "json" {
				err = cli.JSON(a.Stdout, u)
			} else {
				err = a.printUsage(u)
			}
			return errors.Join(err, rs.missing())
		})
	}
	return cmd
}

func (a *app) printUsage(u *signetv1.GetUsageResponse) error {
	facts := [][2]string{{"period", clock(u.GetSince()) + " to " + clock(u.GetUntil())}}
	for _, l := range u.GetLogs() {
		what := fmt.Sprintf("%s, %d entries", l.GetOrigin(), l.GetSize())
		if l.GetBeginTime() != nil {
			what += ", begins " + clock(l.GetBeginTime())
		}
		switch {
		case l.GetUnreachable() != "" && l.GetSize() == 0:
			what = fmt.Sprintf("%s, NOT COUNTED: %s", l.GetOrigin(), l.GetUnreachable())
		case l.GetUnreachable() != "":
			what += "; NOT ALL COUNTED: " + l.GetUnreachable()
		}
		facts = append(facts, [2]string{"log", what})
	}
	if err := cli.Facts(a.Stdout, facts...); err != nil {
		return err
	}
	for _, rows := range [][][]string{keyRows(u), profileRows(u), principalRows(u), grantRows(u)} {
		if len(rows) == 1 {
			continue
		}
		cli.Printf(a.Stdout, "\n")
		if err := cli.Table(a.Stdout, rows); err != nil {
			return err
		}
	}
	if n := u.GetPrincipalsLeftOut(); n > 0 {
		cli.Printf(a.Stdout, "\nand %s that came last before those\n", cli.Count(n, "principal"))
	}
	return nil
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

func keyRows(u *signetv1.GetUsageResponse) [][]string {
	rows := [][]string{{"KEY", "STATE", "VERSION", "ROTATED", "TOKENS", "REFUSED", "FIRST", "LAST", "NOTE"}}
	for _, k := range u.GetKeys() {
		version, rotated, note := "", "", ""
		if k.GetActiveVersion() > 0 {
			version = fmt.Sprintf("%d of %d", k.GetActiveVersion(), k.GetVersions())
		}
		if k.DaysSinceRotation != nil {
			rotated = cli.Count(k.GetDaysSinceRotation(), "day") + " ago"
		}
		switch {
		case k.GetState() == "":
			note = "not in the vault any more"
		case k.GetUnused():
			note = "UNUSED"
		}
		t := k.GetTokens()
		rows = append(rows, []string{
			k.GetName(), k.GetState(), version, rotated, count(t.GetGiven() - t.GetWithheld()), count(t.GetRefused()), clock(t.GetFirstTime()), clock(t.GetLastTime()), note,
		})
	}
	return rows
}

func profileRows(u *signetv1.GetUsageResponse) [][]string {
	rows := [][]string{{"PROFILE", "KEY", "TOKENS", "REFUSED", "FIRST", "LAST", "NOTE"}}
	for _, p := range u.GetProfiles() {
		note := ""
		switch {
		case p.GetKey() == "":
			note = "not in the policy any more"
		case p.GetTokens().GetGiven() == 0:
			note = "never minted"
		}
		t := p.GetTokens()
		rows = append(rows, []string{
			p.GetName(), p.GetKey(), count(t.GetGiven() - t.GetWithheld()), count(t.GetRefused()), clock(t.GetFirstTime()), clock(t.GetLastTime()), note,
		})
	}
	return rows
}

func principalRows(u *signetv1.GetUsageResponse) [][]string {
	rows := [][]string{{"PRINCIPAL", "FIRST", "LAST", "TOKENS", "OTHER", "REFUSED"}}
	for _, p := range u.GetPrincipals() {
		var tokens []string
		for _, c := range p.GetProfiles() {
			tokens = append(tokens, fmt.Sprintf("%s %d", c.GetProfile(), c.GetGiven()-c.GetWithheld()))
		}
		rows = append(rows, []string{
			p.GetId(), clock(p.GetFirstTime()), clock(p.GetLastTime()), strings.Join(tokens, ", "), count(p.GetOtherActions()), count(p.GetRefused()),
		})
	}
	return rows
}

func grantRows(u *signetv1.GetUsageResponse) [][]string {
	rows := [][]string{{"GRANT", "DECISIONS", "LAST", "NOTE"}}
	for _, g := range u.GetGrants() {
		note := ""
		switch {
		case g.GetDecisions() == 0 && g.GetDeny():
			note = "denied nobody"
		case g.GetDecisions() == 0:
			note = "NEVER USED"
		case len(g.GetUnusedProfiles()) > 0:
			note = "never minted by it: " + strings.Join(g.GetUnusedProfiles(), ", ")
		}
		rows = append(rows, []string{g.GetId(), count(g.GetDecisions()), clock(g.GetLastTime()), note})
	}
	return rows
}
