package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/apple"
)

// customerKinds are the kinds of key that the customer makes.
func customerKinds() []apple.Kind {
	var kinds []apple.Kind
	for _, k := range apple.Kinds() {
		if k.Customer() {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

func (a *app) keyGenerate() *cobra.Command {
	var f factFlags
	var out string
	cmd := &cobra.Command{
		Use:   "generate NAME --kind KIND",
		Short: "Make a key in the vault, of a kind that you make yourself",
		Long: `Make a key in the vault, of a kind that Apple lets you make yourself: for Apple Ads, or for an alternative marketplace. The private half
never leaves the vault; the public half goes to standard output, as Apple's form takes it.

Apple answers with the IDs of the key, which signet key update adds; before that nothing can be minted with it. A name that has a key
gets a new version of it, which waits for signet key activate.`,
		Example: `  signet key generate ads --kind apple-ads --out ads-public.pem
  signet key update ads --client-id SEARCHADS.… --team-id SEARCHADS.… --key-id a273d0d3-4d9e-458c-a173-0db8619ca7d7`,
		Args: cli.Args("NAME"),
	}
	addKind(cmd, &f.texts.Kind, customerKinds())
	f.addIDs(cmd)
	cmd.Flags().StringVar(&out, "out", "", "a new file for the public half; standard output when left out")
	format := cli.Format(cmd, "pem", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		facts, err := f.facts()
		switch {
		case err != nil:
			return err
		case facts.Kind == "":
			return cli.Malformedf("", "--kind is needed: it is one of %s", join(customerKinds()))
		case !facts.Kind.Customer():
			return cli.Malformedf("download it there, and signet key import", "a key of kind %s is made by Apple", facts.Kind)
		case out != "" && *format != "pem":
			return errOutJSON
		}
		if err := facts.ValidateKnown(); err != nil {
			return cli.Malformedf("", "%w", err)
		}
		if _, err := os.Lstat(out); out != "" && err == nil { // before a key is made
			return &cli.Failure{Code: cli.Conflict, Err: fmt.Errorf("%s exists already", out), Todo: "name another file, or move that one away"}
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			resp, err := cl.GenerateKey(ctx, &signetv1.GenerateKeyRequest{Name: args[0], Facts: f.wire()})
			if err != nil {
				return importProblem(err)
			}
			if *format == "json" {
				return cli.JSON(a.Stdout, resp)
			}
			if err := a.writePublic(resp.GetPublicKey(), out); err != nil {
				return &cli.Failure{Err: fmt.Errorf("the key was made, and its public half could not be written: %w", err), Todo: "signet key public " + cli.Quoted(args[0]) + " prints it again"}
			}
			k := resp.GetKey()
			v := importedVersion(resp)
			if err := cli.Facts(a.Stderr,
				[2]string{"made", fmt.Sprintf("%s version %d, %s", k.GetName(), v.GetNumber(), word(v.GetState().String(), "VERSION_STATE_"))},
				[2]string{"key", v.GetFingerprint()},
			); err != nil {
				return err
			}
			a.sayNext(k, v)
			return nil
		})
	}
	return cmd
}

// errOutJSON is for who would find no file, or other than what was asked for in it.
var errOutJSON = cli.Malformedf("leave one of the two out", "--out is for the public half as PEM, and -o json goes to standard output")

// sayNext says what remains to be done before a key that was made here can mint.
func (a *app) sayNext(k *signetv1.Key, v *signetv1.KeyVersion) {
	if apple.Kind(k.GetKind()) == apple.KindAppleAds {
		cli.Printf(a.Stderr, "Paste the public key in Apple Ads under Account Settings, API; it answers with three IDs: signet key update %s --client-id … --team-id … --key-id …\n", k.GetName())
	} else { // a marketplace
		cli.Printf(a.Stderr, "Give Apple the public key in App Store Connect, where the marketplace is set up.\n")
		if k.GetFacts().GetAppId() == "" {
			cli.Printf(a.Stderr, "The app's number is still missing: signet key update %s --app-id …\n", k.GetName())
		}
	}
	if v.GetState() == signetv1.VersionState_VERSION_STATE_PENDING {
		cli.Printf(a.Stderr, "Version %d waits: signet key activate %s %d\n", v.GetNumber(), k.GetName(), v.GetNumber())
	}
}

func (a *app) keyPublic() *cobra.Command {
	var version int32
	var out string
	cmd := &cobra.Command{
		Use:     "public NAME",
		Short:   "Print the public half of a key",
		Long:    "Print the public half of a key, as Apple's forms take it. Without --version it is that of the newest version that is not revoked.",
		Example: "  signet key public ads --out ads-public.pem",
		Args:    cli.Args("NAME"),
	}
	cmd.Flags().Int32Var(&version, "version", 0, "the version; the newest that is not revoked when left out")
	cmd.Flags().StringVar(&out, "out", "", "a new file for it; standard output when left out")
	format := cli.Format(cmd, "pem", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if c.Flags().Changed("version") && version < 1 {
			return cli.Malformedf("", "--version is a number from 1")
		}
		if out != "" && *format != "pem" {
			return errOutJSON
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			public, err := cl.GetPublicKey(ctx, &signetv1.GetPublicKeyRequest{Name: args[0], Version: version})
			if err != nil {
				return err
			}
			if *format == "json" {
				return cli.JSON(a.Stdout, public)
			}
			return a.writePublic(public, out)
		})
	}
	return cmd
}

func (a *app) writePublic(public *signetv1.PublicKey, out string) error {
	if out != "" {
		return cli.WriteNew(out, []byte(public.GetPem()), 0o644)
	}
	_, err := fmt.Fprint(a.Stdout, public.GetPem())
	return err
}

func (a *app) keyUpdate() *cobra.Command {
	var f factFlags
	var version int32
	var reason string
	cmd := &cobra.Command{
		Use:   "update NAME",
		Short: "Say what has changed of a key at Apple, or what was not known",
		Long: `Say what has changed of a key at Apple: its services, the environment and the topics of APNs, its roles. What is said replaces what
was known; an empty value, as in --topics "", clears it. Of a key that was made in the vault the IDs are added that Apple gave it; IDs
that are known do not change.

Nothing of this changes the key at Apple. A profile that the key cannot serve any more fails to mint, and says so.`,
		Example: `  signet key update portal --services apns,device-check
  signet key update push --environment production --topics com.example.app,com.example.app.voip
  signet key update ads --client-id SEARCHADS.… --team-id SEARCHADS.… --key-id a273d0d3-4d9e-458c-a173-0db8619ca7d7`,
		Args: cli.Args("NAME"),
	}
	f.addIDs(cmd)
	f.addChangeable(cmd)
	cmd.Flags().Int32Var(&version, "version", 0, "the version that --key-id is of; the newest when left out")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		mask := &fieldmaskpb.FieldMask{}
		for _, field := range []string{"key_id", "team_id", "client_id", "app_id", "services", "environment", "topics", "roles"} {
			if c.Flags().Changed(flagOf(field)[2:]) {
				mask.Paths = append(mask.Paths, field)
			}
		}
		switch {
		case len(mask.GetPaths()) == 0:
			return cli.Malformedf("", "nothing to change was said: give one flag at least")
		case c.Flags().Changed("version") && version < 1:
			return cli.Malformedf("", "--version is a number from 1")
		case c.Flags().Changed("version") && !c.Flags().Changed("key-id"):
			return cli.Malformedf("", "--version says of which version --key-id is; all else is of all versions: leave it out")
		}
		for _, list := range []*[]string{&f.texts.Services, &f.texts.Topics, &f.texts.Roles} {
			if len(*list) == 1 && (*list)[0] == "" { // to clear it
				*list = nil
			}
		}
		facts, err := f.facts()
		if err != nil {
			return err
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			k, err := waiting(ctx, a, cl, func() (*signetv1.Key, error) {
				return cl.UpdateKey(ctx, &signetv1.UpdateKeyRequest{Name: args[0], Facts: f.wire(), UpdateMask: mask, Version: version, Reason: reason})
			})
			if err != nil {
				return err
			}
			if odd := (apple.Facts{Kind: apple.Kind(k.GetKind()), KeyID: facts.KeyID}).Unusual(); odd != "" {
				a.warn("%s; where it is wrong, make a new version, for an ID that is set stays", odd)
			}
			return a.printKey(k, *format)
		})
	}
	return cmd
}
