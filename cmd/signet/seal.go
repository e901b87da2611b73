package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/server/apple"
)

const (
	// maxSealedFile is the most that is read here of any file. A .p8 has 260 bytes, a sealed one or a recipient some 2,000.
	maxSealedFile = apple.MaxHandedLen

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

func (a *app) warn(format string, args ...any) {
	cli.Printf(a.Stderr, "signet: warning: %s\n", cli.Printable(fmt.Sprintf(format, args...)))
}

// seal seals a plain key to the recipient, all in this process.
func (a *app) seal(key *apple.Key, r sealed.Recipient, facts apple.Facts, name string) ([]byte, apple.Fingerprint, error) {
	if !a.Now().Before(r.Expires) {
		return nil, "", cli.Malformedf("get a new one: signet key recipient", "the recipient expired %s", r.Expires.UTC().Format(time.RFC3339))
	}
	der := key.PKCS8()
	defer clear(der)
	file, err := sealed.Seal(r, der, sealedFacts(facts, name))
	if err != nil {
		return nil, "", fmt.Errorf("sealing: %w", err)
	}
	return file, key.Fingerprint(), nil
}

func (a *app) keySeal() *cobra.Command {
	var f keyFlags
	var to, out, name string
	var fromEnv bool
	cmd := &cobra.Command{
		Use:   "seal FILE --to RECIPIENT --out OUT",
		Short: "Seal a key file to the vault, without a server",
		Long: `Seal a freshly downloaded key file to the vault. Nobody in between can open the result, which may go by mail or chat; only the
vault opens it, at signet key import. No server is needed. FILE may be whatever signet key import takes, or - for standard input.

The recipient is verified with the log key that your client.yaml pins. Without a client.yaml it cannot be: compare the fingerprint
that this prints with the one that signet key recipient printed for the operator.`,
		Example: `  signet key seal AuthKey_2X9R4HXF34.p8 --to recipient.txt --kind app-store-connect --issuer-id 57246542-96fe-1a63-e053-0824d011072a --out release.sealed
  signet key seal AuthKey_ABC123DEFG.p8 --to recipient.txt --team-id DEF123GHIJ --services apns,device-check --out portal.sealed
  signet key seal ApiKey_7UD1300098.p8 --to recipient.txt --kind app-store-connect-individual --out mine.sealed`,
		Args: func(c *cobra.Command, args []string) error {
			if fromEnv {
				return cli.Args()(c, args)
			}
			return cli.Args("FILE")(c, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			note, err := a.readInput(to, maxSealedFile)
			if err != nil {
				return err
			}
			r, verified, err := a.recipient(note)
			if err != nil {
				return err
			}
			s, err := a.oneSource(args, fromEnv, name)
			if err != nil {
				return err
			}
			defer s.wipe()
			if s.sealed != nil {
				return cli.Malformedf("send it as it is", "%s is sealed already", s.label)
			}
			if err := s.complete(f); err != nil {
				return err
			}
			for _, note := range s.notes {
				a.warn("%s", note)
			}
			file, fingerprint, err := a.seal(s.key, r, s.facts, name)
			if err != nil {
				return err
			}
			if err := cli.WriteNew(out, file, 0o644); err != nil {
				return err
			}
			if err := cli.Facts(a.Stdout,
				[2]string{"sealed", out},
				[2]string{"key", string(fingerprint)},
				[2]string{"key id", string(s.facts.KeyID)},
				[2]string{"recipient", r.Fingerprint()},
				[2]string{"vault", r.Vault},
				[2]string{"import before", r.Expires.UTC().Format(time.RFC3339)},
			); err != nil {
				return err
			}
			if !verified {
				a.warn("without a client.yaml the recipient was not verified: compare its fingerprint with the operator's")
			}
			a.sayLeft([]*source{s}, "Apple gives it out only once, so see the import succeed before anything else.")
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&to, "to", "", "the recipient, as signet key recipient wrote it")
	cmd.Flags().StringVar(&out, "out", "", "a new file for the sealed key")
	cmd.Flags().StringVar(&name, "name", "", "let it be imported under this name only")
	cmd.Flags().BoolVar(&fromEnv, "from-env", false, "take the key from the environment, as fastlane and asc do")
	cli.Required(cmd, "to", "out")
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
