package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/sealed"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/apple"
)

// Sizes of what is read here. A .p8 has 260 bytes, a sealed one or a recipient some 2,000.
const (
	maxKeyFile    = 16 << 10
	maxSealedFile = 64 << 10

	// sealedMagic is how a sealed file begins.
	sealedMagic = "signet-sealed-key "
)

func (a *app) keyRecipient() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "recipient",
		Short: "Get the public key to which key files are sealed",
		Long: `Get the public key to which key files are sealed: a note that the vault's log key signed, good for 30 days. Give it to whoever
downloads the key from Apple; signet key seal needs nothing else, and no server. It is no secret, but it must be the right one:
compare the fingerprint over another channel when the other side has no client.yaml to verify it with.`,
		Example: "  signet key recipient --out recipient.txt",
		Args:    cli.Args(),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
				r, note, err := cl.Recipient(ctx)
				if err != nil {
					return unproved(err)
				}
				if out == "" {
					_, err = a.Stdout.Write(note)
				} else {
					err = cli.WriteNew(out, note, 0o644)
				}
				if err != nil {
					return err
				}
				return cli.Facts(a.Stderr,
					[2]string{"recipient", r.Fingerprint()},
					[2]string{"vault", r.Vault},
					[2]string{"expires", r.Expires.UTC().Format(time.RFC3339)},
				)
			})
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "a new file for it; standard output when left out")
	return cmd
}

// keyFlags are the facts that a key file does not hold.
type keyFlags struct{ kind, keyID, issuerID string }

func (f *keyFlags) add(cmd *cobra.Command) {
	kinds := make([]string, 0, len(apple.Kinds()))
	for _, k := range apple.Kinds() {
		kinds = append(kinds, string(k))
	}
	cmd.Flags().StringVar(&f.kind, "kind", "", "what Apple calls the key: "+strings.Join(kinds, ", "))
	cmd.Flags().StringVar(&f.keyID, "key-id", "", "Apple's key ID; taken from the file's name, AuthKey_<key ID>.p8, when left out")
	cmd.Flags().StringVar(&f.issuerID, "issuer-id", "", "the issuer ID, a UUID shown above Apple's list of keys; an individual key has none")
	if err := cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is four lines above
	}
}

// facts are complete and checked, for a plain key file. What its name says against the flags is warned of: people rename files.
func (a *app) facts(f keyFlags, file string) (apple.Facts, error) {
	if f.kind == "" {
		return apple.Facts{}, cli.Malformedf("Apple's page says whether it is a team, an individual or an enterprise key", "--kind is needed: the file does not say what kind of key it is")
	}
	kind, err := apple.ParseKind(f.kind)
	if err != nil {
		return apple.Facts{}, cli.Malformedf("", "--kind: %w", err)
	}
	named, hint, ok := apple.KeyFileHint(filepath.Base(file))
	if ok && hint != "" && hint != kind {
		a.warn("the file's name is that of an %s key, and --kind says %s", hint, kind)
	}
	facts := apple.Facts{Kind: kind, KeyID: named}
	if f.keyID != "" {
		id, odd, err := apple.ParseKeyID(f.keyID)
		if err != nil {
			return apple.Facts{}, cli.Malformedf("", "--key-id: %w", err)
		}
		if odd != "" {
			a.warn("%s", odd)
		}
		if ok && id != named {
			a.warn("the file's name says another key ID than --key-id, which counts")
		}
		facts.KeyID = id
	}
	if f.issuerID != "" {
		if facts.Issuer, err = apple.ParseIssuerID(f.issuerID); err != nil {
			return apple.Facts{}, cli.Malformedf("", "--issuer-id: %w", err)
		}
	}
	if err := facts.Validate(); err != nil {
		return apple.Facts{}, cli.Malformedf("--key-id and --issuer-id say what the file does not", "%w", err)
	}
	return facts, nil
}

func (a *app) warn(format string, args ...any) {
	cli.Printf(a.Stderr, "signet: warning: "+format+"\n", args...)
}

// parseKey parses a plain key file, before anything else is asked about it. The caller wipes the key.
func parseKey(data []byte) (*apple.Key, error) {
	key, err := apple.ParseKey(data)
	if err != nil {
		return nil, cli.Malformedf("", "the key file: %w", err)
	}
	return key, nil
}

// seal seals a plain key to the recipient, all in this process.
func (a *app) seal(key *apple.Key, r sealed.Recipient, facts apple.Facts, name string) ([]byte, apple.Fingerprint, error) {
	for _, n := range key.Notes() {
		a.warn("%s", n)
	}
	if !a.Now().Before(r.Expires) {
		return nil, "", cli.Malformedf("get a new one: signet key recipient", "the recipient expired %s", r.Expires.UTC().Format(time.RFC3339))
	}
	der := key.PKCS8()
	defer clear(der)
	file, err := sealed.Seal(r, der, sealed.Facts{Kind: string(facts.Kind), KeyID: string(facts.KeyID), Issuer: string(facts.Issuer), Name: name})
	if err != nil {
		return nil, "", fmt.Errorf("sealing: %w", err)
	}
	return file, key.Fingerprint(), nil
}

func (a *app) keySeal() *cobra.Command {
	var f keyFlags
	var to, out, name string
	cmd := &cobra.Command{
		Use:   "seal FILE --to RECIPIENT --kind KIND --out OUT",
		Short: "Seal a key file to the vault, without a server",
		Long: `Seal a freshly downloaded key file to the vault. Nobody in between can open the result, which may go by mail or chat; only the
vault opens it, at signet key import. No server is needed.

The recipient is verified with the log key that your client.yaml pins. Without a client.yaml it cannot be: compare the fingerprint
that this prints with the one that signet key recipient printed for the operator.`,
		Example: `  signet key seal AuthKey_2X9R4HXF34.p8 --to recipient.txt --kind app-store-connect --issuer-id 57246542-96fe-1a63-e053-0824d011072a --out release.sealed
  signet key seal ApiKey_7UD1300098.p8 --to recipient.txt --kind app-store-connect-individual --out mine.sealed`,
		Args: cli.Args("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			note, err := a.readInput(to, maxSealedFile)
			if err != nil {
				return err
			}
			r, verified, err := a.recipient(note)
			if err != nil {
				return err
			}
			data, err := a.readInput(args[0], maxKeyFile)
			if err != nil {
				return err
			}
			defer clear(data)
			key, err := parseKey(data)
			if err != nil {
				return err
			}
			defer key.Wipe()
			facts, err := a.facts(f, args[0])
			if err != nil {
				return err
			}
			file, fingerprint, err := a.seal(key, r, facts, name)
			if err != nil {
				return err
			}
			if err := cli.WriteNew(out, file, 0o644); err != nil {
				return err
			}
			if err := cli.Facts(a.Stdout,
				[2]string{"sealed", out},
				[2]string{"key", string(fingerprint)},
				[2]string{"key id", string(facts.KeyID)},
				[2]string{"recipient", r.Fingerprint()},
				[2]string{"vault", r.Vault},
				[2]string{"import before", r.Expires.UTC().Format(time.RFC3339)},
			); err != nil {
				return err
			}
			if !verified {
				a.warn("without a client.yaml the recipient was not verified: compare its fingerprint with the operator's")
			}
			a.sayPlaintext(args[0])
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&to, "to", "", "the recipient, as signet key recipient wrote it")
	cmd.Flags().StringVar(&out, "out", "", "a new file for the sealed key")
	cmd.Flags().StringVar(&name, "name", "", "let it be imported under this name only")
	for _, flag := range []string{"to", "out", "kind"} {
		if err := cmd.MarkFlagRequired(flag); err != nil {
			panic(err) // the flags are right above
		}
	}
	return cmd
}

// recipient reads a recipient note and verifies it with the config's log keys, where there is a config.
func (a *app) recipient(note []byte) (r sealed.Recipient, verified bool, err error) {
	conf, ok, err := a.loadConfig()
	if err != nil {
		return sealed.Recipient{}, false, err
	}
	if !ok || len(conf.Logs) == 0 {
		r, err = sealed.ParseRecipient(note, nil)
	} else {
		r, err = conf.VerifyRecipient(note)
		verified = true
	}
	switch {
	case errors.Is(err, client.ErrUnverified):
		return sealed.Recipient{}, false, cli.Malformedf("get the recipient anew from the vault's operator, and do not seal to this one", "%w", err)
	case err != nil:
		return sealed.Recipient{}, false, cli.Malformedf("signet key recipient writes one", "--to is not a recipient: %w", err)
	}
	return r, verified, nil
}

// sayPlaintext reminds of the file that is now the weakest place.
func (a *app) sayPlaintext(file string) {
	if file == "-" {
		return
	}
	cli.Printf(a.Stderr, "The plaintext key still lies in %s. Apple gives it out only once, so first see the import succeed; then delete it\n"+
		"and every copy (downloads, mail, backups, the trash): rm %s\n", file, file)
}

func (a *app) keyImport() *cobra.Command {
	var f keyFlags
	cmd := &cobra.Command{
		Use:   "import NAME FILE",
		Short: "Import a key file, plain or sealed",
		Long: `Import a key file under a name: a new name makes a key, a known one adds a version to it. The first version of a key becomes
active, later ones wait for signet key activate.

A plain .p8 file is sealed to the vault in this process, so no plaintext key goes over the wire. A sealed file, which signet key seal
made, goes as it is; facts given here complete what was sealed in it, and must not differ from it. FILE may be - for standard input.`,
		Example: `  signet key import asc-release AuthKey_2X9R4HXF34.p8 --kind app-store-connect --issuer-id 57246542-96fe-1a63-e053-0824d011072a
  signet key import asc-release release.sealed`,
		Args: cli.Args("NAME", "FILE"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault // a file
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
	f.add(cmd)
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		name, file := args[0], args[1]
		data, err := a.readInput(file, maxSealedFile)
		if err != nil {
			return err
		}
		defer clear(data)
		plain := !bytes.HasPrefix(data, []byte(sealedMagic))
		var key *apple.Key
		if plain {
			if key, err = parseKey(data); err != nil {
				return err
			}
			defer key.Wipe()
		} else if _, err := sealed.ParseHeader(data); err != nil {
			return cli.Malformedf("have it sent again, as a file", "%s: %w", file, err)
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			req := &signetv1.ImportKeyRequest{Name: name}
			if plain {
				if req.Sealed, err = a.sealHere(ctx, cl, key, f, name, file); err != nil {
					return err
				}
			} else {
				req.Sealed = data
				req.Facts = &signetv1.KeyFacts{Kind: f.kind, KeyId: f.keyID, IssuerId: f.issuerID}
			}
			resp, err := cl.ImportKey(ctx, req)
			if err != nil {
				return importProblem(err)
			}
			if err := a.printImported(resp, *format); err != nil {
				return err
			}
			if plain {
				a.sayPlaintext(file)
			}
			return nil
		})
	}
	return cmd
}

func (a *app) sealHere(ctx context.Context, cl *client.Client, key *apple.Key, f keyFlags, name, file string) ([]byte, error) {
	facts, err := a.facts(f, file)
	if err != nil {
		return nil, err
	}
	r, _, err := cl.Recipient(ctx)
	if err != nil {
		return nil, unproved(err)
	}
	out, _, err := a.seal(key, r, facts, name)
	return out, err
}

func importProblem(err error) error {
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	switch e.Reason() {
	case "SEAL_EXPIRED":
		return &cli.Failure{Err: err, Todo: "seal it again, to a new recipient: signet key recipient"}
	case "SEAL_OTHER_VAULT":
		return &cli.Failure{Err: err, Todo: "import it into the vault that it was sealed to, or seal it again to this one: signet key recipient"}
	case "SEAL_MISMATCH":
		return &cli.Failure{Err: err, Todo: "leave the flag out to take what was sealed, or seal the file again with the right facts"}
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
	for _, v := range k.GetVersions() {
		if v.GetNumber() != resp.GetVersion() {
			continue
		}
		if err := cli.Facts(a.Stdout,
			[2]string{"imported", fmt.Sprintf("%s version %d, %s", k.GetName(), v.GetNumber(), word(v.GetState().String(), "VERSION_STATE_"))},
			[2]string{"key", v.GetFingerprint()},
			[2]string{"key id", v.GetKeyId()},
		); err != nil {
			return err
		}
		if v.GetState() == signetv1.VersionState_VERSION_STATE_PENDING {
			cli.Printf(a.Stderr, "Version %d waits: signet key activate %s %d\n", v.GetNumber(), k.GetName(), v.GetNumber())
		}
	}
	return nil
}
