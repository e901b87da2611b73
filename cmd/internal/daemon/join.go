package daemon

import (
	"cmp"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/store/kek"
)

func (p *program) join() *cobra.Command {
	var dir, from string
	var b blueprint
	var unless bool
	cmd := &cobra.Command{
		Use:   "join --dir DIR --from FILE --node NODE",
		Short: "Make a further node of a vault that lies in HashiCorp Vault",
		Long: `Make the directory of a further node of a vault that lies in HashiCorp Vault. Every node mints, from memory, and keeps an audit log
of its own; what one revokes, none mints any more.

FILE is the signetd.yaml of a node that is there, or a copy of it on the machine of the new one, beside which the files lie that it
names for Vault and for KEKs. The config is taken over, but for what is the node's own: its name, where it listens, its log, its
server's certificate, which the vault's CA makes here, and a certificate of the operator's; --lease gives it another lease. KEKs in files beside FILE are copied.

The vault then knows the node, and both its certificates are in its log. The directory appears whole or not at all. The lines that
clients add to client.yaml, to reach the node and to verify its log, are printed. A node that is in the directory already is not
touched. It is an error, but with --unless-there, which is for whatever starts a server by itself.`,
		Example: `  signetd join --dir vault-2 --from vault/signetd.yaml --node node-2 --listen 127.0.0.1:7444
  signetd join --dir /var/lib/signet/vault --from signetd.yaml --node node-2 --listen 0.0.0.0:7443 --host node-2.signet.acme.internal`,
		Args: cli.Args(),
		RunE: func(c *cobra.Command, _ []string) error {
			first, err := loadConfig(from)
			if err != nil {
				return err
			}
			if unless && there(dir) {
				return p.sayThere(dir, first.VaultID)
			}
			return interruptible(c.Context(), func(ctx context.Context) error { return p.admit(ctx, dir, from, first, b) })
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the new node's directory")
	cmd.Flags().StringVar(&from, "from", "", "the signetd.yaml of another node of the vault")
	cmd.Flags().StringVar(&b.node, "node", "", "the new node's name, for good: it is part of the log's origin")
	cmd.Flags().StringVar(&b.listen, "listen", "127.0.0.1:7443", `where it is to serve, "host:port"; port 0 picks a free one from 20000 to 32767`)
	cmd.Flags().StringArrayVar(&b.hosts, "host", nil, "a name or address by which callers reach it; may be repeated; that of --listen when left out")
	leaseFlag(cmd, &b.lease, "that of FILE when left out")
	unlessThere(cmd, &unless)
	cli.Required(cmd, "dir", "from", "node")
	return cmd
}

// admit makes the directory of a further node. first is the config that lies at from.
func (p *program) admit(ctx context.Context, dir, from string, first *config, b blueprint) (err error) {
	if !first.inVault() {
		return cli.Malformedf("a vault has several nodes when it is made with: signetd init --vault FILE", "the store of %s is a file, which one node has to itself", from)
	}
	b.inVault = true
	if err := errors.Join(checkNode(b.node), checkHosts(b.hosts), b.checkLease()); err != nil {
		return err
	}
	if b.listen, err = pickPort(ctx, b.listen); err != nil {
		return err
	}
	if err := rehearse(dir); err != nil {
		return err
	}
	names, address, err := reachable(b.listen, b.hosts)
	if err != nil {
		return err
	}
	var joined *server.Joined
	err = newDir(dir, func(tmp string) (err error) {
		joined, err = p.buildNode(ctx, tmp, first, b, names, address)
		return err
	})
	if err != nil && (joined != nil || errors.Is(err, server.ErrNodeLeft)) {
		return &cli.Failure{
			Code: cli.Other, Err: fmt.Errorf("%w\n  the vault knows %s now, whose log is gone with its directory, so that nothing can run under that name", err, b.node),
			Todo: "set right what failed, and run this again with another --node",
		}
	}
	if err != nil {
		return todo(err)
	}
	return p.sayJoined(dir, first, b, joined, address)
}

func (p *program) sayJoined(dir string, first *config, b blueprint, joined *server.Joined, address string) error {
	cli.Printf(p.Stdout, "Created %s of vault %s in %s. Start it with: signetd serve --config %s\n", b.node, joined.VaultID, dir, filepath.Join(dir, configFile))
	if err := cli.Facts(p.Stdout,
		[2]string{"listens on", b.listen},
		[2]string{"operator", first.Operators[0] + ", SIGNET_CONFIG=" + filepath.Join(dir, operatorDir, clientFile)},
		[2]string{"log", joined.LogOrigin},
		[2]string{"log key", joined.LogKey},
	); err != nil {
		return err
	}
	cli.Printf(p.Stdout, "\nClients reach it, and verify its log, with these lines in their client.yaml:\n\n  addresses:\n    - %s\n  logs:\n    - origin: %s\n      key: %s\n",
		address, joined.LogOrigin, joined.LogKey)
	p.warnHosts(b.listen, b.hosts, moreHosts(dir))
	return nil
}

// buildNode makes the directory in tmp, and the node known to the vault when everything but its certificates is there. With an error
// it returns what was made if the vault knows the node.
func (p *program) buildNode(ctx context.Context, tmp string, first *config, b blueprint, names []string, address string) (*server.Joined, error) {
	for _, d := range []string{logDir, tlsDir, operatorDir} {
		if err := os.Mkdir(filepath.Join(tmp, d), 0o700); err != nil {
			return nil, fmt.Errorf("creating the node: %w", err)
		}
	}
	c, err := nodeConfig(first, b, tmp)
	if err != nil {
		return nil, err
	}
	others, err := otherClients(first)
	if err != nil {
		return nil, err
	}
	key, csr, err := newRequest()
	if err != nil {
		return nil, err
	}
	operatorKey, operatorCSR, err := newRequest()
	if err != nil {
		return nil, err
	}
	opened := *c
	opened.Log = filepath.Join(tmp, logDir)
	sc, err := p.openUnserved(ctx, &opened)
	if err != nil {
		return nil, err
	}
	sc.Logger = discard()
	joined, err := server.Join(ctx, sc, c.Operators[0], []server.CertificateRequest{{CSR: csr, Hosts: names}, {CSR: operatorCSR, URI: c.Operators[0]}})
	if err != nil {
		return nil, err
	}
	c.VaultID = joined.VaultID
	own, operator := joined.Certificates[0], joined.Certificates[1]
	if err := writeVault(tmp, c, nodeFiles{
		ca: certificatePEM(own.CA), certificate: certificatePEM(own.DER), key: key, operator: certificatePEM(operator.DER), operatorKey: operatorKey,
	}); err != nil {
		return joined, err
	}
	return joined, writeClientConfig(filepath.Join(tmp, operatorDir), client.Config{
		Addresses: append(others.Addresses, address),
		Logs:      append(others.Logs, client.LogKey{Origin: joined.LogOrigin, Key: joined.LogKey}),
	})
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// nodeConfig is the config of a further node, with the KEKs that are files of its directory.
func nodeConfig(first *config, b blueprint, dir string) (*config, error) {
	c := *first
	own := newConfig(b, dir)
	c.Listen, c.Node, c.Log, c.TLS, c.dir = own.Listen, own.Node, own.Log, own.TLS, dir
	c.Lease = cmp.Or(b.lease, c.Lease)
	c.KEKs = slices.Clone(first.KEKs)
	for i, uri := range c.KEKs {
		path, ok := strings.CutPrefix(uri, fileScheme)
		switch {
		case !ok || filepath.IsAbs(path):
		case !filepath.IsLocal(path):
			c.KEKs[i] = fileScheme + filepath.Join(first.dir, path)
		default:
			if err := copyKEK(first, uri, path, dir); err != nil {
				return nil, fmt.Errorf("keks[%d]: %w", i, err)
			}
		}
	}
	return &c, nil
}

// copyKEK copies a KEK that lies in a node's directory into another's.
func copyKEK(first *config, uri, path, dir string) error {
	if _, err := kek.Open(uri, first.dir); err != nil { // as it must be, nobody else can have it
		return &cli.Failure{Code: cli.Malformed, Err: err, Todo: "bring the KEK to where --from lies, in the directory that it has there"}
	}
	key, err := os.ReadFile(filepath.Join(first.dir, path))
	if err != nil {
		return fmt.Errorf("copying the KEK: %w", err)
	}
	defer clear(key)
	to := filepath.Join(dir, path)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return fmt.Errorf("copying the KEK: %w", err)
	}
	return cli.WriteNew(to, key, 0o600)
}

// otherClients is what the operator of the other node knows of the nodes that there are; nothing where only its config is at hand.
func otherClients(first *config) (client.Config, error) {
	path := filepath.Join(first.dir, operatorDir, clientFile)
	if !fileExists(path) {
		return client.Config{}, nil
	}
	others, err := client.LoadConfig(path)
	if err != nil {
		return client.Config{}, &cli.Failure{Err: err, Todo: "the new client.yaml takes addresses and log keys from it"}
	}
	return others, nil
}
