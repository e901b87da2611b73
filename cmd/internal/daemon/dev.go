package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server"
)

// What lies beside a dev vault, to try it with. Key and issuer have the form of Apple's and cannot be real: who reads them in a
// token sees where it comes from.
const (
	exampleDir    = "example"
	exampleKey    = exampleDir + "/AuthKey_DEVELOPER0.p8"
	exampleIssuer = "00000000-0000-0000-0000-000000000000"
	examplePolicy = exampleDir + "/policy.yaml"
	exampleText   = `# What may be minted, and by whom. The operator of this dev vault may mint here; of themselves operators may not.
version: 1
profiles:
  dev-release: {key: dev-key, app_store_connect: {}, ttl: 10m}
  dev-read:
    key: dev-key
    app_store_connect: {scope: [GET /v1/apps]}
    ttl: 15m
grants:
  - id: developers
    to: [{mtls: "` + firstOperator + `"}, {mtls: "spiffe://` + trustDomain + `/dev/*"}]
    mint: [dev-release, dev-read]
    rate: none
tests:
  - {as: {mtls: spiffe://` + trustDomain + `/dev/1}, mint: dev-release, expect: allow}
  - {as: {mtls: spiffe://` + trustDomain + `/ci/1}, mint: dev-release, expect: deny}
`
)

func (p *program) dev() *cobra.Command {
	var dir, listen string
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Make a vault for trying things out, and serve it",
		Long: `Make a vault for trying things out, unless DIR holds one, and serve it until Ctrl-C. Everything is real: TLS, store, audit log;
what was done is there the next time. A key for trying out and an example policy lie in DIR/example, and the next commands, with which
they lead to a token, are printed.

The vault's node is called "` + server.DevNode + `", which no other vault's may be: the name is in every audit entry, in the log's origin and so in every
checkpoint and receipt, and signet system status says so. No key of Apple's belongs in it.`,
		Example: "  signetd dev\n  signetd dev --dir try --listen 127.0.0.1:7443",
		Args:    cli.Args(),
		RunE: func(c *cobra.Command, _ []string) error {
			if !c.Flags().Changed("dir") {
				var err error
				if dir, err = p.devDir(); err != nil {
					return err
				}
			}
			asked := ""
			if c.Flags().Changed("listen") {
				asked = listen
			}
			return p.develop(c.Context(), dir, asked, listen)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the vault's directory; signet/dev in the user's state directory when left out")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", `where a new vault serves, "host:port"; port 0 picks a free one, once`)
	return cmd
}

// devDir is in the user's state directory.
func (p *program) devDir() (string, error) {
	if dir := p.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "signet", "dev"), nil
	}
	if home := p.Getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "signet", "dev"), nil
	}
	return "", cli.Malformedf("say where: signetd dev --dir DIR", "neither XDG_STATE_HOME nor HOME says where the vault could lie")
}

// develop serves the dev vault in dir, which it makes where there is none. asked is what --listen said, if anything.
func (p *program) develop(ctx context.Context, dir, asked, listen string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("finding the directory: %w", err)
	}
	file := filepath.Join(dir, configFile)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if err := p.createDev(ctx, dir, listen); err != nil {
			return err
		}
		asked = ""
		cli.Printf(p.Stderr, "signetd: made a dev vault in %s; to begin anew, end this and remove the directory\n", dir)
	}
	conf, err := loadConfig(file)
	if err != nil {
		return err
	}
	switch {
	case conf.Node != server.DevNode:
		return &cli.Failure{Code: cli.Conflict, Err: fmt.Errorf("%s holds a vault that is not a dev vault; it was not touched", dir), Todo: "name another directory, or serve it: signetd serve --config " + cli.Quoted(file)}
	case asked != "" && asked != conf.Listen:
		return &cli.Failure{Code: cli.Conflict, Err: fmt.Errorf("the vault in %s listens on %s", dir, conf.Listen), Todo: "leave --listen out, or name another --dir for a new vault"}
	}
	if err := p.keepDev(ctx, conf); err != nil {
		return todo(err)
	}
	return todo(p.run(ctx, conf, func(ctx context.Context) error { return p.printNext(ctx, dir) }))
}

// keepDev renews the certificates that are about to end: nobody looks after a dev vault. The keys stay.
func (p *program) keepDev(ctx context.Context, conf *config) error {
	in := func(name string) string { return filepath.Join(conf.dir, operatorDir, name) }
	pair, err := tls.LoadX509KeyPair(in("cert.pem"), in("key.pem"))
	if err != nil {
		return cli.Malformedf("remove the dev vault and run this again", "the operator's certificate and key: %w", err)
	}
	if p.endsSoon(pair.Leaf) {
		operator, err := client.LoadConfig(in(clientFile))
		if err != nil {
			return err
		}
		csr, err := requestOf(pair.PrivateKey)
		if err != nil {
			return err
		}
		cert, err := p.issue(ctx, conf, operator, server.CertificateRequest{CSR: csr, URI: conf.Operators[0]})
		if err != nil {
			return err
		}
		if err := replaceCertificate(in("cert.pem"), cert); err != nil {
			return err
		}
	}
	own, err := ownPair(conf)
	if err != nil || !p.endsSoon(own.Leaf) {
		return err
	}
	return p.renew(ctx, conf.dir, nil)
}

// createDev makes a dev vault with what it can be tried with.
func (p *program) createDev(ctx context.Context, dir, listen string) error {
	listen, err := pickPort(ctx, listen)
	if err != nil {
		return err
	}
	return newDir(dir, func(tmp string) error {
		if _, err := p.build(ctx, tmp, blueprint{node: server.DevNode, listen: listen, keks: []string{fileScheme + kekFile}}); err != nil {
			return err
		}
		if err := os.Mkdir(filepath.Join(tmp, exampleDir), 0o700); err != nil {
			return fmt.Errorf("creating the examples: %w", err)
		}
		_, key, err := newKey() // of nobody's
		if err != nil {
			return err
		}
		return errors.Join(
			cli.WriteNew(filepath.Join(tmp, exampleKey), key, 0o600),
			cli.WriteNew(filepath.Join(tmp, examplePolicy), []byte(exampleText), 0o600),
		)
	})
}

// printNext asks the vault, as its operator, how far its user is, and prints the next three commands from there.
func (p *program) printNext(ctx context.Context, dir string) error {
	clientConfig := filepath.Join(dir, operatorDir, clientFile)
	s, err := status(ctx, clientConfig)
	if err != nil {
		return fmt.Errorf("asking the vault how it is: %w", err)
	}
	var steps []string
	if s.GetStore().GetKeys() == 0 {
		steps = append(steps, "key import dev-key "+cli.Quoted(filepath.Join(dir, exampleKey))+" --kind app-store-connect --issuer-id "+exampleIssuer)
	}
	if s.GetStore().GetPolicyRevision() == 0 {
		steps = append(steps, "policy apply "+cli.Quoted(filepath.Join(dir, examplePolicy)))
	}
	steps = append(steps, "mint dev-release", "audit list", "audit verify")
	cli.Printf(p.Stdout, "Dev vault, not for real keys. In another terminal:\n\n  export SIGNET_CONFIG=%s\n", cli.Quoted(clientConfig))
	for _, step := range steps[:3] {
		cli.Printf(p.Stdout, "  %s %s\n", p.signet(), step)
	}
	cli.Printf(p.Stdout, "\n")
	return nil
}

func status(ctx context.Context, clientConfig string) (_ *signetv1.Status, err error) {
	conf, err := client.LoadConfig(clientConfig)
	if err != nil {
		return nil, err
	}
	c, err := client.Dial(conf)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return c.GetStatus(ctx, &signetv1.GetStatusRequest{})
}

// signet is how the other program is called: by its name where that is found, or else as it lies beside this one.
func (p *program) signet() string {
	const name = "signet"
	if _, err := exec.LookPath(name); err == nil {
		return name
	}
	if self, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(self), name); fileExists(beside) {
			return cli.Quoted(beside)
		}
	}
	return name
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
