package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/sealed"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// importFlags are those of signet key import.
type importFlags struct {
	keyFlags
	fromEnv, dryRun, skipBad    bool
	dir, prefix, allowDuplicate string
	format                      *string
}

func (a *app) keyImport() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import [NAME] FILE",
		Short: "Import a key file, plain or sealed, or a folder of them",
		Long: `Import a key file under a name: a new name makes a key, a known one adds a version to it. The first version of a key becomes
active, later ones wait for signet key activate.

A plain key is sealed to the vault in this process, so no plaintext key goes over the wire. FILE may be the .p8 file as Apple handed
it out; the JSON that fastlane or rcodesign keeps it in; asc's config.json, of which NAME picks one key; or - for standard input.
With --from-env it is what the variables of fastlane (APP_STORE_CONNECT_API_KEY_…, SPACESHIP_CONNECT_API_…) or asc (ASC_…) say. Paths
in a file are taken from the folder of that file. What a file says of its key is taken over, and a flag may complete it. What kind of
key it is, --kind says, or the name of Apple's file, or a flag that only one kind has; signet key --help lists the kinds.

A sealed file, which signet key seal made, goes as it is; facts given here complete what was sealed in it, and must not differ from it.

With --dir all keys of a folder are imported, and with FILE alone all that asc's config.json names. A key gets the name that the
config gives it, or that of its file without the ending, in lower case, with a hyphen for whatever a name cannot have. The plan is
printed first; if one key cannot be imported none is, unless --skip-bad leaves the bad ones out. Run again it goes on where it stopped.`,
		Example: `  signet key import asc-release AuthKey_2X9R4HXF34.p8 --kind app-store-connect --issuer-id 57246542-96fe-1a63-e053-0824d011072a
  signet key import push AuthKey_ABC123DEFG.p8 --team-id DEF123GHIJ --services apns --environment production
  signet key import asc-release fastlane/api_key.json
  signet key import asc-release --from-env
  signet key import asc-release release.sealed
  signet key import --dir keys/ --kind app-store-connect --issuer-id 57246542-96fe-1a63-e053-0824d011072a --dry-run`,
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault // a file
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.fromEnv, "from-env", false, "take the key from the environment, as fastlane and asc do; NAME alone is given")
	cmd.Flags().StringVar(&f.dir, "dir", "", "import all keys of this folder; no NAME and no FILE are given")
	cmd.Flags().StringVar(&f.prefix, "prefix", "", "with several keys: put before every name, such as team-a/")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print the plan, and import nothing")
	cmd.Flags().BoolVar(&f.skipBad, "skip-bad", false, "with several keys: leave out those that cannot be imported")
	cmd.Flags().StringVar(&f.allowDuplicate, "allow-duplicate", "", "the name under which the vault has this very key already, to have it under NAME too")
	f.format = cli.Format(cmd, "table", "json")
	cmd.Args = f.args
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if f.keyFlags.many = f.many(args); f.keyFlags.many {
			return a.importMany(c.Context(), f, args)
		}
		s, err := a.oneSource(args[1:], f.fromEnv, args[0])
		if err != nil {
			return err
		}
		defer s.wipe()
		if f.dryRun {
			return a.importItems(c.Context(), f, []*item{{Name: args[0], File: s.label, source: s}}, nil)
		}
		return a.importOne(c.Context(), f, args[0], s)
	}
	return cmd
}

// many says whether the command is for any number of keys, which get their names by rule.
func (f *importFlags) many(args []string) bool { return f.dir != "" || len(args) == 1 && !f.fromEnv }

// args says which arguments and flags go together.
func (f *importFlags) args(c *cobra.Command, args []string) error {
	switch {
	case f.dir != "" && f.fromEnv:
		return fmt.Errorf("--dir and --from-env do not go together")
	case f.dir != "" && len(args) > 0:
		return fmt.Errorf("with --dir there is no NAME and no FILE: names are made of the files' names; got %s", cli.Count(len(args), "argument"))
	case f.fromEnv && len(args) != 1:
		return fmt.Errorf("with --from-env there is NAME alone, and no FILE; got %s", cli.Count(len(args), "argument"))
	case f.dir == "" && !f.fromEnv && len(args) != 1 && len(args) != 2:
		return fmt.Errorf("%s wants NAME FILE, and got %s", c.CommandPath(), cli.Count(len(args), "argument"))
	}
	if f.many(args) {
		if f.texts.KeyID != "" || f.allowDuplicate != "" {
			return fmt.Errorf("--key-id and --allow-duplicate are for one key: import it alone, with NAME FILE")
		}
	} else if f.prefix != "" || f.skipBad {
		return fmt.Errorf("--prefix and --skip-bad are for several keys, with --dir or a config.json alone")
	}
	return nil
}

func (a *app) importOne(ctx context.Context, f importFlags, name string, s *source) error {
	return a.dial(ctx, func(ctx context.Context, cl *client.Client) error {
		var to sealed.Recipient
		if s.sealed == nil {
			// The facts come first: what is wrong with them nobody needs to ask a server.
			if err := s.complete(f.keyFlags); err != nil {
				return err
			}
			r, _, err := cl.Recipient(ctx)
			if err != nil {
				return unproved(err)
			}
			to = r
		}
		resp, err := a.send(ctx, cl, to, f, name, s)
		if err != nil {
			return err
		}
		for _, n := range s.notes {
			if !slices.Contains(resp.GetWarnings(), n) { // the server says it too
				a.warn("%s", n)
			}
		}
		if err := a.printImported(resp, *f.format); err != nil {
			return err
		}
		a.sayLeft([]*source{s}, "The vault has it now, and Apple does not give it out again.")
		return nil
	})
}

// send seals a plain key, and imports it.
func (a *app) send(ctx context.Context, cl *client.Client, to sealed.Recipient, f importFlags, name string, s *source) (*signetv1.ImportKeyResponse, error) {
	req := &signetv1.ImportKeyRequest{Name: name, AllowDuplicate: f.allowDuplicate}
	if s.sealed != nil {
		req.Sealed = s.sealed
		if !f.keyFlags.many { // what was sealed is complete, and need not be what the other files lack
			req.Facts = f.wire()
		}
	} else {
		file, _, err := a.seal(s.key, to, s.facts, name)
		if err != nil {
			return nil, err
		}
		req.Sealed = file
	}
	resp, err := cl.ImportKey(ctx, req)
	if err != nil {
		return nil, importProblem(err)
	}
	return resp, nil
}

func importProblem(err error) error {
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	switch e.Reason() {
	case "KEY_KNOWN":
		return &cli.Failure{Err: err, Todo: "signet key show NAME says what is known of it; a key that is here under another name is let in under a second one with --allow-duplicate, unless it is revoked"}
	case "NO_DUPLICATE":
		return &cli.Failure{Err: err, Todo: "leave --allow-duplicate out to import it as a new key"}
	case "SEAL_EXPIRED":
		return &cli.Failure{Err: err, Todo: "seal it again, to a new recipient: signet key recipient"}
	case "SEAL_OTHER_VAULT":
		return &cli.Failure{Err: err, Todo: "import it into the vault that it was sealed to, or seal it again to this one: signet key recipient"}
	case "SEAL_MISMATCH":
		return &cli.Failure{Err: err, Todo: "signet key show NAME says what is known of the key; of a sealed file, leave the flag out to take what was sealed, or seal it again with the right facts"}
	}
	return err
}

func (a *app) printImported(resp *signetv1.ImportKeyResponse, format string) error {
	for _, w := range resp.GetWarnings() {
		a.warn("%s", w)
	}
	if format == "json" {
		return cli.JSON(a.Stdout, resp)
	}
	k := resp.GetKey()
	v := importedVersion(resp)
	if err := cli.Facts(a.Stdout,
		[2]string{"imported", fmt.Sprintf("%s version %d, %s", k.GetName(), v.GetNumber(), word(v.GetState().String(), "VERSION_STATE_"))},
		[2]string{"key", v.GetFingerprint()},
		[2]string{"key id", v.GetKeyId()},
		[2]string{"same key as", twinsText(v)},
	); err != nil {
		return err
	}
	if v.GetState() == signetv1.VersionState_VERSION_STATE_PENDING {
		cli.Printf(a.Stderr, "Version %d waits: signet key activate %s %d\n", v.GetNumber(), k.GetName(), v.GetNumber())
	}
	return nil
}

// importedVersion is the version that an import, or the making of a key, added.
func importedVersion(resp interface {
	GetKey() *signetv1.Key
	GetVersion() int32
}) *signetv1.KeyVersion {
	for _, v := range resp.GetKey().GetVersions() {
		if v.GetNumber() == resp.GetVersion() {
			return v
		}
	}
	return nil
}
