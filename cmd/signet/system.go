package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

func (a *app) system() *cobra.Command {
	return cli.Group("system", "Look after the server", a.systemStatus(), a.systemMembers(), a.systemAcknowledge(), a.systemForget(), a.systemRewrap())
}

func (a *app) systemStatus() *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Say whether the server can mint, and why not",
		Example: "  signet system status\n  signet system status --address signet-2.acme.internal:7443\n  signet system status -o json | jq .canMint",
		Args:    cli.Args(),
	}
	cmd.Flags().StringVar(&address, "address", "", "ask this one of the addresses in client.yaml, and no other")
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			if address != "" {
				replicas := cl.Replicas()
				i := slices.IndexFunc(replicas, func(r client.Replica) bool { return r.Address == address })
				if i < 0 {
					return cli.Malformedf("signet doctor lists them", "--address is none of the addresses in client.yaml")
				}
				cl = replicas[i].Client
			}
			s, err := cl.GetStatus(ctx, &signetv1.GetStatusRequest{})
			if err != nil {
				return err
			}
			if *format == "json" {
				return cli.JSON(a.Stdout, s)
			}
			return a.printStatus(s)
		})
	}
	return cmd
}

func (a *app) printStatus(s *signetv1.Status) error {
	mints := "yes"
	if !s.GetCanMint() {
		mints = "NO"
	}
	facts := [][2]string{{"mints", mints}}
	if s.GetDev() {
		facts = append(facts, [2]string{"DEV VAULT", "made by signetd dev for trying things out; nothing real belongs in it"})
	}
	for _, r := range s.GetReasons() {
		facts = append(facts, [2]string{"because", r})
	}
	st, log := s.GetStore(), s.GetLog()
	facts = append(facts,
		[2]string{"version", s.GetVersion()},
		[2]string{"vault", s.GetVaultId()},
		[2]string{"node", s.GetNode()},
		[2]string{"started", clock(s.GetStartTime())},
		[2]string{"store", fmt.Sprintf("revision %d of lineage %s", st.GetRevision(), st.GetLineage())},
		[2]string{"policy", fmt.Sprintf("revision %d", st.GetPolicyRevision())},
		[2]string{"keys", strconv.FormatInt(st.GetKeys(), 10)},
	)
	for _, k := range st.GetDamagedKeys() {
		facts = append(facts, [2]string{"damaged key", k})
	}
	for _, k := range st.GetKeks() {
		facts = append(facts, [2]string{"kek", kekStatus(k)})
	}
	anchor := "none since the start: a rollback of the whole machine would pass unnoticed; signet audit verify shows one"
	if log.GetLastAnchorTime() != nil {
		anchor = clock(log.GetLastAnchorTime())
	}
	free := "unknown"
	if n := log.GetFreeBytes(); n >= 0 {
		free = strconv.FormatInt(n>>20, 10) + " MiB"
	}
	facts = append(facts,
		[2]string{"log", fmt.Sprintf("%s, %d entries", log.GetOrigin(), log.GetSize())},
		[2]string{"log key", log.GetVerifierKey()},
		[2]string{"log space", fmt.Sprintf("%s free, minting stops below %d MiB", free, log.GetFreeBytesMark()>>20)},
		[2]string{"last anchor", anchor},
	)
	if err := cli.Facts(a.Stdout, facts...); err != nil {
		return err
	}
	if len(s.GetGaps()) == 0 {
		return nil
	}
	rows := [][]string{{"GAP", "KIND", "FOUND", "ACKNOWLEDGED", "DETAIL"}}
	for _, g := range s.GetGaps() {
		rows = append(rows, gapRow(g))
	}
	return cli.Table(a.Stdout, rows)
}

// kekStatus is a KEK, and what should be known of it.
func kekStatus(k *signetv1.KekStatus) string {
	where := k.GetUri()
	if k.GetOnDisk() {
		where += " (on this disk: a stolen disk is not defended)"
	}
	switch {
	case k.GetConfigured() && !k.GetWraps():
		where += " (does not open the vault yet: signet system rewrap adds it)"
	case k.GetWraps() && !k.GetConfigured():
		where += " (no longer in the server's config: signet system rewrap drops it)"
	}
	return where
}

func gapRow(g *signetv1.Gap) []string {
	return []string{g.GetId(), g.GetKind(), clock(g.GetFoundTime()), clock(g.GetAcknowledgeTime()), g.GetDetail()}
}

func (a *app) systemAcknowledge() *cobra.Command {
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use:   "acknowledge ID --reason TEXT",
		Short: "Close a gap, so that minting goes on",
		Long: `Close one gap in the record, by its id. A gap means that the store or the log is not what it was: a restored backup, a lost tail,
or somebody at work. Know which before you close it. What was minted in between, and is on no record, stays unknown.`,
		Example: `  signet system status
  signet system acknowledge 01998a2e --reason "restored last night's backup after the disk failed, ticket 4712"`,
		Args: cli.Args("ID"),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why it is known to be harmless, for the audit log")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask; needed where standard input is not a terminal")
	cli.Required(cmd, "reason")
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if !yes {
			if err := cli.Confirm(c, fmt.Sprintf("Acknowledge gap %s? Minting then goes on.", args[0])); err != nil {
				return err
			}
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			resp, err := cl.Acknowledge(ctx, &signetv1.AcknowledgeRequest{Id: args[0], Reason: reason})
			if err != nil {
				return err
			}
			if *format == "json" {
				return cli.JSON(a.Stdout, resp)
			}
			_, err = fmt.Fprintf(a.Stdout, "Acknowledged gap %s; %d are still open.\n", resp.GetGap().GetId(), resp.GetOpen())
			return err
		})
	}
	return cmd
}

func (a *app) systemRewrap() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "rewrap",
		Short: "Wrap the root key anew under the configured KEKs",
		Long: `Wrap the root key anew under every KEK in the config (keks) of the server that answers, each enough alone: after a KEK was rotated,
or when one was added to the config or taken out of it. Every KEK must open what it wrapped before anything changes; if one does not
answer, nothing does. Other servers of the vault need the new KEKs in their configs when they start next.

The root key stays. A KEK that is dropped, or an old version of one, still opens copies of the store from before; keep it as long as
you may have to restore one.`,
		Example: `  signet system rewrap --dry-run
  vault write -f transit/keys/signet/rotate && signet system rewrap`,
		Args: cli.Args(),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "do everything but the change")
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			resp, err := cl.Rewrap(ctx, &signetv1.RewrapRequest{DryRun: dryRun})
			if err != nil {
				return err
			}
			if *format == "json" {
				return cli.JSON(a.Stdout, resp)
			}
			return a.printRewrap(resp)
		})
	}
	return cmd
}

// kekChanges are the words for what becomes of a KEK.
var kekChanges = map[signetv1.KekChange_Change]string{
	signetv1.KekChange_CHANGE_ADDED:   "added",
	signetv1.KekChange_CHANGE_RENEWED: "renewed",
	signetv1.KekChange_CHANGE_DROPPED: "dropped",
}

func (a *app) printRewrap(resp *signetv1.RewrapResponse) error {
	rows := [][]string{{"KEK", "CHANGE"}}
	wrap := 0
	for _, k := range resp.GetKeks() {
		if k.GetChange() != signetv1.KekChange_CHANGE_DROPPED {
			wrap++
		}
		rows = append(rows, []string{k.GetUri(), kekChanges[k.GetChange()]})
	}
	what, end := "The root key is now wrapped by", "."
	if !resp.GetChanged() {
		what = "Nothing was changed. The root key would be wrapped by"
	}
	if wrap > 1 {
		end = ", each enough alone."
	}
	if _, err := fmt.Fprintf(a.Stdout, "%s %s%s\n", what, cli.Count(wrap, "KEK"), end); err != nil {
		return err
	}
	return cli.Table(a.Stdout, rows)
}
