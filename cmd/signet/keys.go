package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

func (a *app) key() *cobra.Command {
	group := cli.Group("key", "Seal, import, make, rotate and revoke keys",
		a.keyRecipient(), a.keySeal(), a.keyImport(), a.keyGenerate(), a.keyPublic(), a.keyList(), a.keyShow(), a.keyUpdate(),
		a.keyActivate(), a.keyDisable(), a.keyEnable(), a.keyRevoke())
	group.Long = `Seal, import, make, rotate and revoke keys. What must be known of a key depends on its kind:

  app-store-connect             a team key, AuthKey_<key ID>.p8: --issuer-id; --roles where they are known
  app-store-connect-individual  a user's own, ApiKey_<key ID>.p8: nothing more; --roles where they are known
  enterprise                    of the Enterprise Program, AuthKey_<key ID>.p8: --issuer-id; --roles where they are known
  in-app-purchase               SubscriptionKey_<key ID>.p8: --issuer-id
  developer-portal              APNs, DeviceCheck, Sign in with Apple and others, AuthKey_<key ID>.p8: --team-id and --services;
                                for APNs --environment and --topics where they are known
  apple-ads                     a .pem that you made, or signet key generate: --key-id, --team-id and --client-id
  school-business               of Apple School Manager or Apple Business, a .pem: --key-id and --client-id
  marketplace                   that you made, or signet key generate: --app-id`
	return group
}

func (a *app) keyList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List keys",
		Long:    "List the keys that you may read, by name.",
		Example: "  signet key list\n  signet key list -o json",
		Args:    cli.Args(),
	}
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			all := &signetv1.ListKeysResponse{}
			for k, err := range cl.AllKeys(ctx) {
				if err != nil {
					return err
				}
				all.Keys = append(all.Keys, k)
			}
			if *format == "json" {
				return cli.JSON(a.Stdout, all)
			}
			rows := [][]string{{"NAME", "KIND", "STATE", "ACTIVE", "VERSIONS", "KEY ID"}}
			for _, k := range all.GetKeys() {
				kid := ""
				if v := activeVersion(k); v != nil {
					kid = v.GetKeyId()
				}
				rows = append(rows, []string{
					k.GetName(), k.GetKind(), keyState(k), number(k.GetActiveVersion()), strconv.Itoa(len(k.GetVersions())), kid,
				})
			}
			return cli.Table(a.Stdout, rows)
		})
	}
	return cmd
}

func (a *app) keyShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a key and its versions",
		Long:    "Show a key and its versions. The fingerprint is the one that seal and import print of the same key file.",
		Example: "  signet key show asc-release",
		Args:    cli.Args("NAME"),
	}
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			k, err := cl.GetKey(ctx, &signetv1.GetKeyRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return a.printKey(k, *format)
		})
	}
	return cmd
}

func (a *app) keyActivate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "activate NAME VERSION",
		Short: "Make a version the one that mints",
		Long: `Make a version the one that mints. Rotating a key is importing the new file under the old name, and activating that version;
the version before it stays, and can be activated again until it is revoked.`,
		Example: "  signet key activate asc-release 2",
		Args:    cli.Args("NAME", "VERSION"),
	}
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		version, err := strconv.ParseInt(args[1], 10, 32) // so that it fits
		if err != nil || version < 1 {
			return cli.Malformedf("signet key show "+args[0]+" lists them", "VERSION is a number from 1")
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			k, err := waiting(ctx, a, cl, func() (*signetv1.Key, error) {
				return cl.ActivateVersion(ctx, &signetv1.ActivateVersionRequest{Name: args[0], Version: int32(version)}) //nolint:gosec // parsed as 32 bits
			})
			if err != nil {
				return err
			}
			return a.printKey(k, *format)
		})
	}
	return cmd
}

func (a *app) keyDisable() *cobra.Command {
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use:   "disable NAME",
		Short: "Stop a key for everyone, until it is enabled",
		Long: `Stop a key for everyone, until it is enabled. No mint that begins after this has returned uses the key; tokens that are out
already live until they expire. On a terminal it asks first, in a script it does not.`,
		Example: `  signet key disable asc-release
  signet key disable asc-release --reason "suspicious calls, ticket 4711" --yes`,
		Args: cli.Args("NAME"),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if !yes && cli.Terminal(a.Stdin) {
			if err := cli.Confirm(c, fmt.Sprintf("Disable %s? Nobody will get tokens of it.", args[0])); err != nil {
				return err
			}
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			k, err := waiting(ctx, a, cl, func() (*signetv1.Key, error) {
				return cl.DisableKey(ctx, &signetv1.DisableKeyRequest{Name: args[0], Reason: reason})
			})
			if err != nil {
				return err
			}
			if v := activeVersion(k); mintsElsewhere(v) {
				a.warn("the same key as version %d is in the vault under other names, and is not disabled there by this: %s", v.GetNumber(), twinsText(v))
			}
			return a.printKey(k, *format)
		})
	}
	return cmd
}

func (a *app) keyEnable() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "enable NAME",
		Short:   "Let a disabled key mint again",
		Example: "  signet key enable asc-release",
		Args:    cli.Args("NAME"),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			k, err := waiting(ctx, a, cl, func() (*signetv1.Key, error) {
				return cl.EnableKey(ctx, &signetv1.EnableKeyRequest{Name: args[0], Reason: reason})
			})
			if err != nil {
				return err
			}
			return a.printKey(k, *format)
		})
	}
	return cmd
}

func (a *app) keyRevoke() *cobra.Command {
	var reason string
	var version int32
	var yes bool
	cmd := &cobra.Command{
		Use:   "revoke NAME --reason TEXT",
		Short: "End a key, or one version of it, for good",
		Long: `End a key, or one version of it, for good. No mint that begins after this has returned uses it, and no other version is activated
in its place. The answer is the exposure: which tokens Apple may still accept, who holds them, and until when. A token that is out
cannot be called back; revoking the key at Apple ends it sooner.

Where a vault has several servers, it returns when none of them uses the key any more, which can take five minutes when one is cut off.
The logs of all addresses of client.yaml are then asked who holds tokens; one that cannot be is named. Until when tokens live at the
latest does not depend on them.`,
		Example: `  signet key revoke asc-release --reason "laptop lost, ticket 4711"
  signet key revoke asc-release --version 1 --reason "rotated" --yes`,
		Args: cli.Args("NAME"),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	cmd.Flags().Int32Var(&version, "version", 0, "only this version; all of them when left out")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask; needed where standard input is not a terminal")
	cli.Required(cmd, "reason")
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if c.Flags().Changed("version") && version < 1 {
			return cli.Malformedf("", "--version is a number from 1")
		}
		what := "every version of " + args[0]
		if version > 0 {
			what = fmt.Sprintf("version %d of %s", version, args[0])
		}
		if !yes {
			if err := cli.Confirm(c, fmt.Sprintf("Revoke %s? This cannot be taken back.", what)); err != nil {
				return err
			}
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			req := &signetv1.RevokeKeyRequest{Name: args[0], Version: version, Reason: reason}
			resp, err := waiting(ctx, a, cl, func() (*signetv1.RevokeKeyResponse, error) { return cl.RevokeKey(ctx, req) })
			if err != nil {
				return err
			}
			several := a.exposure(ctx, cl, req, resp)
			for _, w := range resp.GetWarnings() {
				a.warn("%s", w)
			}
			if *format == "json" {
				return cli.JSON(a.Stdout, resp)
			}
			if _, err := fmt.Fprintf(a.Stdout, "Revoked %s.\n", what); err != nil {
				return err
			}
			return a.printExposure(resp.GetExposure(), several)
		})
	}
	return cmd
}

func (a *app) printKey(k *signetv1.Key, format string) error {
	if format == "json" {
		return cli.JSON(a.Stdout, k)
	}
	if err := cli.Facts(a.Stdout,
		[2]string{"name", k.GetName()},
		[2]string{"kind", k.GetKind()},
		[2]string{"issuer id", k.GetIssuerId()},
		[2]string{"team id", k.GetFacts().GetTeamId()},
		[2]string{"client id", k.GetFacts().GetClientId()},
		[2]string{"app id", k.GetFacts().GetAppId()},
		[2]string{"services", strings.Join(k.GetFacts().GetServices(), ", ")},
		[2]string{"environment", k.GetFacts().GetEnvironment()},
		[2]string{"topics", strings.Join(k.GetFacts().GetTopics(), ", ")},
		[2]string{"roles", strings.Join(k.GetFacts().GetRoles(), ", ")},
		[2]string{"incomplete", k.GetIncomplete()},
		[2]string{"state", keyState(k)},
		[2]string{"problem", k.GetProblem()},
		[2]string{"active version", number(k.GetActiveVersion())},
	); err != nil {
		return err
	}
	rows := [][]string{{"VERSION", "STATE", "KEY ID", "IMPORTED", "REVOKED", "FINGERPRINT"}}
	for _, v := range k.GetVersions() {
		rows = append(rows, []string{
			number(v.GetNumber()), word(v.GetState().String(), "VERSION_STATE_"), v.GetKeyId(), clock(v.GetCreateTime()), clock(v.GetRevokeTime()), v.GetFingerprint(),
		})
	}
	if err := cli.Table(a.Stdout, rows); err != nil {
		return err
	}
	var twins [][2]string
	for _, v := range k.GetVersions() {
		twins = append(twins, [2]string{fmt.Sprintf("version %d is the same key as", v.GetNumber()), twinsText(v)})
	}
	return cli.Facts(a.Stdout, twins...)
}

// twinsText names the other versions that are the same key; empty when there are none.
func twinsText(v *signetv1.KeyVersion) string {
	var all []string
	for _, t := range v.GetTwins() {
		all = append(all, fmt.Sprintf("version %d of %s (%s)", t.GetVersion(), t.GetName(), word(t.GetState().String(), "VERSION_STATE_")))
	}
	if n := v.GetHiddenTwins(); n > 0 {
		all = append(all, fmt.Sprintf("%d that you may not read", n))
	}
	return strings.Join(all, ", ")
}

// mintsElsewhere says whether a version's key is also under another name, and not revoked there.
func mintsElsewhere(v *signetv1.KeyVersion) bool {
	return v.GetHiddenTwins() > 0 || slices.ContainsFunc(v.GetTwins(), func(t *signetv1.Twin) bool {
		return t.GetState() < signetv1.VersionState_VERSION_STATE_REVOKED
	})
}

func activeVersion(k *signetv1.Key) *signetv1.KeyVersion {
	for _, v := range k.GetVersions() {
		if v.GetNumber() == k.GetActiveVersion() {
			return v
		}
	}
	return nil
}

// keyState is what a reader wants to know: whether it mints, and if not, why. An enabled key without a version that could is not
// called enabled; -o json has the state itself.
func keyState(k *signetv1.Key) string {
	switch {
	case k.GetState() == signetv1.KeyState_KEY_STATE_ENABLED && k.GetActiveVersion() != 0 && k.GetIncomplete() != "":
		return "incomplete"
	case k.GetState() != signetv1.KeyState_KEY_STATE_ENABLED, k.GetActiveVersion() != 0:
		return word(k.GetState().String(), "KEY_STATE_")
	}
	for _, v := range k.GetVersions() {
		if v.GetState() != signetv1.VersionState_VERSION_STATE_REVOKED {
			return "no active version"
		}
	}
	return "revoked"
}

// word makes "enabled" of "KEY_STATE_ENABLED".
func word(enum, prefix string) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(enum, prefix)), "_", "-")
}

// number is empty for 0: no version is not version 0.
func number(n int32) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(int(n))
}

// until is the end of a token's life as the tables print it.
func until(t *timestamppb.Timestamp) string {
	if t == nil {
		return "never"
	}
	return clock(t)
}

// clock is a time as the tables print it.
func clock(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}
