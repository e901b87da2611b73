package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/store/boltstore"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/kek"
)

// Where things lie in a vault's directory, and what a new one is called.
const (
	configFile    = "signetd.yaml"
	kekFile       = "kek"
	storeFile     = "store.db"
	logDir        = "log"
	tlsDir        = "tls"
	operatorDir   = "operator"
	clientFile    = "client.yaml"
	firstNode     = "node-1"
	trustDomain   = "signet.local"
	firstOperator = "spiffe://signet.local/operator"
)

func (p *program) init() *cobra.Command {
	var dir string
	var b blueprint
	cmd := &cobra.Command{
		Use:   "init --dir DIR",
		Short: "Create a vault",
		Long: `Create a vault in a directory that is new or empty: config, KEK, CA, the server's certificate, an empty store and audit log,
and the certificate of the first operator, ` + firstOperator + `, with a client.yaml in DIR/operator.

The directory appears whole or not at all. A vault that is there already is not touched.`,
		Example: `  signetd init --dir vault
  signetd init --dir /var/lib/signet/vault --listen 0.0.0.0:7443 --host signet.acme.internal
  signetd init --dir vault --listen 127.0.0.1:0    # any free port`,
		Args: cli.Args(),
		RunE: func(c *cobra.Command, _ []string) error {
			return p.create(c.Context(), dir, b)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the vault's directory")
	cmd.Flags().StringVar(&b.listen, "listen", "127.0.0.1:7443", `where to serve, "host:port"; port 0 picks a free one from 20000 to 32767`)
	cmd.Flags().StringVar(&b.node, "node", firstNode, "this server's name among the vault's nodes, for good: it is part of the log's origin")
	cmd.Flags().StringArrayVar(&b.hosts, "host", nil, "a name or address by which callers reach the server; may be repeated; that of --listen when left out")
	required(cmd, "dir")
	return cmd
}

// required marks flags without which a command cannot run.
func required(cmd *cobra.Command, flags ...string) {
	for _, f := range flags {
		if err := cmd.MarkFlagRequired(f); err != nil {
			panic(err) // no such flag: a mistake in this program
		}
	}
}

// blueprint is what differs between vaults.
type blueprint struct {
	node, listen string
	hosts        []string // further names of the server
}

// checkNode refuses a name that no log can have, and the one that says that a vault is none for real keys.
func checkNode(name string) error {
	if strings.EqualFold(name, server.DevNode) {
		return cli.Malformedf("name another node, or make a vault for trying things out: signetd dev --dir DIR", "--node %s is kept for dev vaults", server.DevNode)
	}
	if err := (auditlog.Origin{Vault: "v", Node: name, Log: "l"}).Validate(); err != nil {
		return cli.Malformedf("such as node-1", "--node is not a name: 1 to %d of A-Z a-z 0-9 . _ - that begin with a letter or digit", auditlog.MaxNameLen)
	}
	return nil
}

func (p *program) create(ctx context.Context, dir string, b blueprint) error {
	if err := checkNode(b.node); err != nil {
		return err
	}
	listen, err := pickPort(ctx, b.listen)
	if err != nil {
		return err
	}
	b.listen = listen
	var origin, key string
	err = newDir(dir, func(tmp string) error {
		origin, key, err = p.build(ctx, tmp, b)
		return err
	})
	if err != nil {
		return err
	}
	cli.Printf(p.Stdout, "Created a vault in %s. Start it with: signetd serve --config %s\n", dir, filepath.Join(dir, configFile))
	if err := cli.Facts(p.Stdout,
		[2]string{"listens on", listen},
		[2]string{"operator", firstOperator + ", SIGNET_CONFIG=" + filepath.Join(dir, operatorDir, clientFile)},
		[2]string{"log", origin},
		[2]string{"log key", key},
	); err != nil {
		return err
	}
	if len(b.hosts) == 0 && everywhere(listen) {
		cli.Printf(p.Stderr, "signetd: warning: the server's certificate holds only localhost, 127.0.0.1 and ::1, so no caller on another machine connects\n"+
			"  remove %s and make it anew, with the name by which callers reach it: signetd init --dir %s --listen %s --host signet.example.com\n", dir, dir, listen)
	}
	cli.Printf(p.Stderr, "signetd: %s opens everything in the vault and lies on the same disk: a stolen disk is not defended.\n"+
		"  Keep a copy of it apart from the backups of the vault: without it nobody opens the vault again.\n", filepath.Join(dir, kekFile))
	return nil
}

// Where port 0 looks: below the range from which systems take the ports of outgoing connections (32768 and up on Linux). The port
// is in the config for good, and in that range a stranger's connection could hold it when the server starts the next time.
const firstPort, lastPort = 20000, 32767

// pickPort puts a free port where the address has port 0.
func pickPort(ctx context.Context, listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", cli.Malformedf("", `--listen is not "host:port", such as 127.0.0.1:7443`)
	}
	if port == "0" {
		if listen, err = freePort(ctx, host); err != nil {
			return "", err
		}
	}
	if err := validListen(listen); err != nil {
		return "", cli.Malformedf("", "--listen: %w", err)
	}
	return listen, nil
}

func freePort(ctx context.Context, host string) (string, error) {
	var last error
	for range 100 {
		n := firstPort + rand.IntN(lastPort-firstPort+1)
		listen := net.JoinHostPort(host, strconv.Itoa(n))
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
		if err == nil {
			err = l.Close()
		}
		if err == nil {
			return listen, nil
		}
		last = err
	}
	return "", fmt.Errorf("looking for a free port: %w", last)
}

// newDir makes a directory that appears whole, synced, or not at all: fill builds it beside its place. A place that holds
// anything is refused and left as it is. What a crash leaves is a sibling named .DIR.new-…, which nobody looks at again.
func newDir(dir string, fill func(tmp string) error) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("finding the directory: %w", err)
	}
	if err := vacant(dir); err != nil {
		return err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return fmt.Errorf("creating the directory: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+".new-*")
	if err != nil {
		return fmt.Errorf("creating the directory: %w", err)
	}
	err = fill(tmp)
	if err == nil {
		err = syncTree(tmp)
	}
	if err == nil {
		// Over an empty directory rename succeeds (os.Rename would not try), over one that was filled in between it fails.
		if err = syscall.Rename(tmp, dir); err != nil {
			err = fmt.Errorf("putting the directory in place: %w (a mount point cannot be replaced: name a directory below it)", err)
		}
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return cli.SyncDir(parent)
}

// vacant says whether there is nothing at dir, or an empty directory.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &cli.Failure{Code: cli.Conflict, Err: fmt.Errorf("%s is there already, and is no empty directory: %w", dir, err), Todo: "name another directory"}
	case slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == configFile }):
		return &cli.Failure{Code: cli.Conflict, Err: fmt.Errorf("%s holds a vault already; it was not touched", dir), Todo: "start it with: signetd serve --config " + filepath.Join(dir, configFile)}
	case len(entries) > 0:
		return &cli.Failure{Code: cli.Conflict, Err: fmt.Errorf("%s is not empty; nothing was written", dir), Todo: "name a directory that is new or empty"}
	}
	return nil
}

// syncTree makes every file and directory below dir durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return cli.SyncDir(path) // which fsyncs whatever it is
	})
}

// build makes the vault in tmp, which is not yet where it will be: nothing in it names a path but relative to itself.
func (p *program) build(ctx context.Context, tmp string, b blueprint) (origin, key string, err error) {
	for _, d := range []string{logDir, tlsDir, operatorDir} {
		if err := os.Mkdir(filepath.Join(tmp, d), 0o700); err != nil {
			return "", "", fmt.Errorf("creating the vault: %w", err)
		}
	}
	c := &config{
		Listen: b.listen, Node: b.node, TrustDomain: trustDomain, Operators: []string{firstOperator},
		Store: storeFile, Log: logDir, KEKs: []string{"file:" + kekFile},
		Metrics: freeMetrics,
		TLS:     tlsFiles{Certificate: tlsDir + "/server.pem", Key: tlsDir + "/server.key", ClientCA: tlsDir + "/ca.pem"},
		dir:     tmp,
	}
	if err := kek.CreateFile(filepath.Join(tmp, kekFile)); err != nil {
		return "", "", fmt.Errorf("creating the KEK: %w", err)
	}
	keks, err := openKEKs(c)
	if err != nil {
		return "", "", err
	}
	names, address, err := reachable(b.listen, b.hosts)
	if err != nil {
		return "", "", err
	}
	vault, err := p.createStore(ctx, c, tmp, keks, names)
	if err != nil {
		return "", "", err
	}
	conf, err := yaml.Marshal(c)
	if err != nil {
		return "", "", fmt.Errorf("writing the config: %w", err)
	}
	const head = "# Signet server. Paths are relative to this file; keys other than these are refused.\n"
	for path, data := range map[string][]byte{
		configFile:                append([]byte(head), conf...),
		c.TLS.Certificate:         vault.ServerCertificate,
		c.TLS.Key:                 vault.ServerKey,
		c.TLS.ClientCA:            vault.CA,
		operatorDir + "/ca.pem":   vault.CA,
		operatorDir + "/cert.pem": vault.OperatorCertificate,
		operatorDir + "/key.pem":  vault.OperatorKey,
	} {
		if err := cli.WriteNew(filepath.Join(tmp, path), data, 0o600); err != nil {
			return "", "", err
		}
	}
	err = writeClientConfig(filepath.Join(tmp, operatorDir), client.Config{
		Addresses: []string{address},
		Logs:      []client.LogKey{{Origin: vault.LogOrigin, Key: vault.LogKey}},
	})
	return vault.LogOrigin, vault.LogKey, err
}

func (p *program) createStore(ctx context.Context, c *config, tmp string, keks []envelope.KEK, names []string) (_ *server.Initialized, err error) {
	backend, err := boltstore.Create(filepath.Join(tmp, storeFile), boltstore.Options{Logger: discard()})
	if err != nil {
		return nil, fmt.Errorf("creating the store: %w", err)
	}
	defer func() { err = errors.Join(err, backend.Close()) }()
	vault, err := server.Init(ctx, server.InitConfig{
		Backend: backend, KEKs: keks, LogDir: filepath.Join(tmp, logDir), Node: c.Node, TrustDomain: c.TrustDomain,
		Now: p.Now, Logger: discard(), Operator: firstOperator, Hosts: names,
	})
	if err != nil {
		return nil, fmt.Errorf("creating the vault: %w", err)
	}
	return vault, nil
}

// everywhere says whether a server that listens there does so on every address of the machine, none of which is a name for callers.
func everywhere(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || ip != nil && ip.IsUnspecified())
}

// reachable are the names of the server's certificate, this machine's own among them, and the address in its clients' configs: that
// of the first host, where one was named, or else where the server listens.
func reachable(listen string, hosts []string) (names []string, address string, err error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, "", fmt.Errorf("listen: %w", err)
	}
	if everywhere(listen) {
		host = "127.0.0.1"
	}
	names = append(slices.Clone(hosts), host, "localhost", "127.0.0.1", "::1")
	address = net.JoinHostPort(names[0], port)
	slices.Sort(names)
	return slices.Compact(names), address, nil
}

// writeClientConfig writes dir/client.yaml; the certificate, its key and the CA lie beside it.
func writeClientConfig(dir string, c client.Config) error {
	c.CA, c.Certificate, c.Key = "ca.pem", "cert.pem", "key.pem"
	text, err := yaml.MarshalWithOptions(c, yaml.OmitEmpty())
	if err != nil {
		return fmt.Errorf("writing the client's config: %w", err)
	}
	var out bytes.Buffer
	out.WriteString("# Signet client. Paths are relative to this file. logs pins the key that verifies the audit log: keep it as it came.\n")
	out.Write(text)
	return cli.WriteNew(filepath.Join(dir, clientFile), out.Bytes(), 0o600)
}
