// Package daemon is the program signetd: it creates a vault, serves it, issues certificates from it and looks whether it is whole.
//
// Trust: whoever may read the vault's directory is the operator; the files in it that hold keys are 0600 and the directories 0700.
// The KEK lies beside the store unless the config names another place, and then a stolen disk is not defended: init says so.
//
// State: init, and dev for trying things out, are the only creators of a vault, and join is of a further node of one that lies in
// HashiCorp Vault. Each builds a directory beside the place where it will be and renames it, so a crash leaves a whole one or none;
// what it may leave in Vault is named. serve, cert, check and fsck never create one. One process has a node of a vault open at a
// time; the lock of the store in a file, or of the node's log, sees to it.
package daemon

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// Run is signetd: the exit code that the arguments lead to.
func Run(ctx context.Context, env cli.Env) int { return cli.Run(ctx, newRoot, env) }

func newRoot(env cli.Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "signetd",
		Short: "Keep Apple signing keys and serve the tokens made with them",
		Long: `signetd keeps Apple signing keys in a vault and serves the short-lived tokens that are made with them.

Try it out, with a vault of its own that is not for real keys:
  signetd dev

Make a vault, start it, and give a caller a certificate:
  signetd init --dir vault
  signetd serve --config vault/signetd.yaml
  signetd cert --dir vault --uri spiffe://signet.local/ci/1 --out ci`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	p := &program{env}
	root.AddCommand(p.init(), p.join(), p.dev(), p.serve(), p.cert(), p.check(), p.healthy(), p.fsck(), p.log(), cli.Version("signetd", env))
	return root
}

// program is what the commands share.
type program struct{ cli.Env }
