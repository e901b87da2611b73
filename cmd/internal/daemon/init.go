package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/boltstore"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/vaultstore"
)

func (p *program) init() *cobra.Command {
	var dir, connection, place string
	var b blueprint
	var unless bool
	cmd := &cobra.Command{
		Use:   "init --dir DIR",
		Short: "Create a vault",
		Long: `Create a vault in a directory that is new or empty: config, KEK, CA, the server's certificate, an empty store and audit log,
and the certificate of the first operator, ` + firstOperator + `, with a client.yaml in DIR/operator.

With --vault the store lies in HashiCorp Vault, where further nodes may share it (signetd join), and a key of Vault's transit engine
is the KEK. FILE says how Vault is reached: it is YAML, has the keys of the block vault of signetd.yaml, and deploy/vault/setup.sh,
which sets Vault up, prints it. With --store file only the KEK is in Vault.

The directory appears whole or not at all. A vault that is there already, in the directory or in Vault, is not touched. It is an error,
but for one in the directory with --unless-there, which is for whatever starts a server by itself.`,
		Example: `  signetd init --dir vault
  signetd init --dir /var/lib/signet/vault --listen 0.0.0.0:7443 --host signet.acme.internal
  signetd init --dir vault --listen 127.0.0.1:0    # any free port
  signetd init --dir /var/lib/signet/vault --vault vault.yaml --host node-1.signet.acme.internal --lease 10s`,
		Args: cli.Args(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := b.choose(connection, place); err != nil {
				return err
			}
			if unless && there(dir) {
				return p.sayThere(dir, "")
			}
			return interruptible(c.Context(), func(ctx context.Context) error { return p.create(ctx, dir, b) })
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the vault's directory")
	cmd.Flags().StringVar(&b.listen, "listen", "127.0.0.1:7443", `where to serve, "host:port"; port 0 picks a free one from 20000 to 32767`)
	cmd.Flags().StringVar(&b.node, "node", firstNode, "this server's name among the vault's nodes, for good: it is part of the log's origin")
	cmd.Flags().StringArrayVar(&b.hosts, "host", nil, "a name or address by which callers reach the server; may be repeated; that of --listen when left out")
	cmd.Flags().StringVar(&connection, "vault", "", "a file that says how HashiCorp Vault is reached")
	cmd.Flags().StringVar(&place, "store", "", "where the store lies, file or vault; vault when --vault is given")
	cmd.Flags().StringArrayVar(&b.keks, "kek", nil, "a KEK, file:PATH or vault-transit:MOUNT/KEY; may be repeated, and each opens the vault alone; "+
		defaultTransit+" with --vault, file:"+kekFile+" without, when left out")
	leaseFlag(cmd, &b.lease, server.DefaultLease.String()+" when left out")
	unlessThere(cmd, &unless)
	cli.Required(cmd, "dir")
	return cmd
}

// unlessThere adds the flag of commands that may be repeated.
func unlessThere(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "unless-there", false, "do nothing, and succeed, where the directory holds a node of a vault already, whatever its name")
}

// there says whether a directory holds a node of a vault.
func there(dir string) bool { return fileExists(filepath.Join(dir, configFile)) }

// sayThere says which node a directory holds. With vaultID it must be of that vault.
func (p *program) sayThere(dir, vaultID string) error {
	c, err := loadConfig(filepath.Join(dir, configFile))
	if err != nil {
		return err
	}
	if vaultID != "" && c.VaultID != vaultID {
		return &cli.Failure{Code: cli.Conflict, Err: fmt.Errorf("%s holds a node of another vault; it was not touched", dir), Todo: "name another directory"}
	}
	cli.Printf(p.Stdout, "%s holds %s already; it was not touched.\n", dir, c.Node)
	return nil
}

func (p *program) create(ctx context.Context, dir string, b blueprint) error {
	if err := errors.Join(checkNode(b.node), checkHosts(b.hosts)); err != nil {
		return err
	}
	listen, err := pickPort(ctx, b.listen)
	if err != nil {
		return err
	}
	b.listen = listen
	if b.inVault {
		if err := rehearse(dir); err != nil {
			return err
		}
	}
	var made *server.Initialized
	err = newDir(dir, func(tmp string) (err error) {
		made, err = p.build(ctx, tmp, b)
		return err
	})
	if err != nil && b.inVault && (made != nil || errors.Is(err, errLeft)) {
		return startOver(err, b.hashicorp.place())
	}
	if err != nil {
		return todo(err)
	}
	cli.Printf(p.Stdout, "Created a vault in %s. Start it with: signetd serve --config %s\n", dir, filepath.Join(dir, configFile))
	facts := [][2]string{{"listens on", listen}, {"operator", firstOperator + ", SIGNET_CONFIG=" + filepath.Join(dir, operatorDir, clientFile)}}
	if b.inVault {
		facts = append(facts, [2]string{"store", b.where()})
	}
	facts = append(facts, [2]string{"log", made.LogOrigin}, [2]string{"log key", made.LogKey})
	if err := cli.Facts(p.Stdout, facts...); err != nil {
		return err
	}
	remedy := fmt.Sprintf("remove %s and make it anew, with the name by which callers reach it: signetd init --dir %s --listen %s --host signet.example.com", dir, dir, listen)
	if b.inVault {
		remedy = moreHosts(dir)
	}
	p.warnHosts(listen, b.hosts, remedy)
	p.warnKEKs(dir, b.keks)
	return nil
}

// warnHosts says when no caller on another machine could connect.
func (p *program) warnHosts(listen string, hosts []string, remedy string) {
	if len(hosts) == 0 && everywhere(listen) {
		cli.Printf(p.Stderr, "signetd: warning: the server's certificate holds only localhost, 127.0.0.1 and ::1, so no caller on another machine connects\n  %s\n", remedy)
	}
}

// moreHosts is how a server's certificate comes to hold another name.
func moreHosts(dir string) string {
	return "put the name by which callers reach it into the certificate: signetd cert --dir " + cli.Quoted(dir) + " --server --host signet.example.com"
}

// warnKEKs says what the KEKs defend against, and what must be kept.
func (p *program) warnKEKs(dir string, keks []string) {
	for _, uri := range keks {
		path, file := strings.CutPrefix(uri, fileScheme)
		switch {
		case file && filepath.IsLocal(path):
			cli.Printf(p.Stderr, "signetd: %s opens everything in the vault and lies on the same disk: a stolen disk is not defended.\n"+
				"  Keep a copy of it apart from the backups of the vault: without it nobody opens the vault again.\n", filepath.Join(dir, path))
		case file:
			cli.Printf(p.Stderr, "signetd: %s opens everything in the vault: keep it, and a copy, apart from the vault and its backups.\n", path)
		default:
			cli.Printf(p.Stderr, "signetd: the key %s in Vault opens everything in the vault, and without it, or another KEK, nobody does: keep Vault's own snapshots.\n", uri)
		}
	}
}

// errLeft says that a vault may have been created in Vault by what has failed after that.
var errLeft = errors.New("a vault was created in Vault")

// startOver says what is there, and how to be rid of it. Deleting is an administrator's of Vault: our own policy cannot.
func startOver(err error, at vaultstore.Place) error {
	return &cli.Failure{
		Code: cli.Other,
		Err:  fmt.Errorf("%w\n  a vault was created in Vault, mount %s, path %s, but no directory for it: it cannot be used, and holds no key", err, at.Mount, at.Path),
		Todo: fmt.Sprintf("to start over, have all of %s/ below the mount %s deleted in Vault, or set up another path (SIGNET_PATH=… deploy/vault/setup.sh); then run this again", at.Path, at.Mount),
	}
}

// build makes the vault in tmp, which is not yet where it will be: nothing in it names a path in it but relative to itself. With an
// error it returns what was made if a vault was.
func (p *program) build(ctx context.Context, tmp string, b blueprint) (*server.Initialized, error) {
	for _, d := range []string{logDir, tlsDir, operatorDir} {
		if err := os.Mkdir(filepath.Join(tmp, d), 0o700); err != nil {
			return nil, fmt.Errorf("creating the vault: %w", err)
		}
	}
	c := newConfig(b, tmp)
	if err := errors.Join(lookForFiles(c), createKEKs(c)); err != nil {
		return nil, err
	}
	keks, err := openKEKs(ctx, c, discard())
	if err != nil {
		return nil, err
	}
	names, address, err := reachable(b.listen, b.hosts)
	if err != nil {
		return nil, err
	}
	vault, err := p.createStore(ctx, c, tmp, keks, names)
	if err != nil {
		return nil, err
	}
	if b.inVault {
		c.VaultID = vault.VaultID
	}
	if err := writeVault(tmp, c, nodeFiles{
		ca: vault.CA, certificate: vault.ServerCertificate, key: vault.ServerKey, operator: vault.OperatorCertificate, operatorKey: vault.OperatorKey,
	}); err != nil {
		return vault, err
	}
	return vault, writeClientConfig(filepath.Join(tmp, operatorDir), client.Config{
		Addresses: []string{address},
		Logs:      []client.LogKey{{Origin: vault.LogOrigin, Key: vault.LogKey}},
	})
}

// createStore makes the store, with the vault in it. An error matches errLeft when a vault may be in Vault after it.
func (p *program) createStore(ctx context.Context, c *config, tmp string, keks []envelope.KEK, names []string) (_ *server.Initialized, err error) {
	var backend store.Backend
	if c.inVault() {
		backend, err = openInVault(ctx, c, discard(), false)
	} else {
		backend, err = boltstore.Create(filepath.Join(tmp, storeFile), boltstore.Options{Logger: discard()})
	}
	if err != nil {
		return nil, fmt.Errorf("creating the store: %w", err)
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	vault, err := server.Init(ctx, server.InitConfig{
		Backend: backend, KEKs: keks, LogDir: filepath.Join(tmp, logDir), Node: c.Node, TrustDomain: c.TrustDomain,
		Now: p.Now, Logger: discard(), Operator: firstOperator, Hosts: names,
	})
	if err == nil {
		return vault, nil
	}
	if c.inVault() && !errors.Is(err, store.ErrExists) {
		if _, rerr := backend.Root(context.WithoutCancel(ctx)); !errors.Is(rerr, store.ErrNoRoot) {
			err = fmt.Errorf("%w: %w", errLeft, err)
		}
	}
	return nil, err
}
