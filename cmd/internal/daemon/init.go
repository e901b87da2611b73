package daemon

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
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
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/boltstore"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/kek"
	"github.com/p8signet/signet/store/vaultstore"
)

// Where things lie in a vault's directory, and what a new one is called.
const (
	configFile  = "signetd.yaml"
	kekFile     = "kek"
	storeFile   = "store.db"
	logDir      = "log"
	tlsDir      = "tls"
	operatorDir = "operator"
	clientFile  = "client.yaml"
	firstNode   = "node-1"
	fileScheme  = "file:"
	// What deploy/vault/setup.sh calls the key in Vault that wraps the root key.
	defaultTransit = vaultstore.TransitScheme + "transit/signet"
	trustDomain    = "signet.local"
	firstOperator  = "spiffe://signet.local/operator"
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

// blueprint is what differs between vaults.
type blueprint struct {
	node, listen string
	hosts        []string   // further names of the server
	keks         []string   // file:kek when there is none
	hashicorp    *hashicorp // how Vault is reached; nil: it is not
	inVault      bool       // the store lies there
	lease        string     // for a store in Vault; empty for what is usual, or what the other node has
}

// choose says where store and KEKs are to be.
func (b *blueprint) choose(connection, place string) error {
	switch place {
	case "", "file", "vault":
	default:
		return cli.Malformedf("", "--store is file or vault")
	}
	if connection == "" {
		if place == "vault" {
			return cli.Malformedf("deploy/vault/setup.sh sets Vault up and prints that file", "--store vault wants --vault FILE, which says how Vault is reached")
		}
		return errors.Join(b.checkLease(), b.chooseKEKs())
	}
	var err error
	if b.hashicorp, err = loadHashicorp(connection); err != nil {
		return err
	}
	if b.inVault = place != "file"; b.inVault {
		at := b.hashicorp.place()
		b.hashicorp.Mount, b.hashicorp.Path = at.Mount, at.Path
	} else {
		b.hashicorp.Mount, b.hashicorp.Path = "", ""
	}
	return errors.Join(b.checkLease(), b.chooseKEKs())
}

// checkLease refuses a lease that the config could not have.
func (b *blueprint) checkLease() error {
	if b.lease == "" {
		return nil
	}
	if err := checkLease(b.lease, b.inVault); err != nil {
		return cli.Malformedf("", "--lease: %w", err)
	}
	return nil
}

func (b *blueprint) chooseKEKs() error {
	switch {
	case len(b.keks) > 0:
	case b.hashicorp != nil:
		b.keks = []string{defaultTransit}
	default:
		b.keks = []string{"file:" + kekFile}
	}
	transit := false
	for _, uri := range b.keks {
		if !strings.HasPrefix(uri, vaultstore.TransitScheme) {
			name, ok := strings.CutPrefix(uri, fileScheme)
			if !ok || name == "" {
				return cli.Malformedf("such as file:"+kekFile+" or "+defaultTransit, "--kek is file:PATH or vault-transit:MOUNT/KEY")
			}
			first, _, _ := strings.Cut(filepath.Clean(name), string(filepath.Separator))
			if slices.Contains([]string{".", configFile, storeFile, logDir, tlsDir, operatorDir}, first) {
				return cli.Malformedf("such as file:"+kekFile, "--kek names a file of the vault's own")
			}
			continue
		}
		transit = true
		if err := vaultstore.ValidTransit(uri); err != nil {
			return cli.Malformedf("such as "+defaultTransit, "--kek: %w", err)
		}
	}
	switch {
	case transit && b.hashicorp == nil:
		return cli.Malformedf("deploy/vault/setup.sh sets Vault up and prints that file", "--kek vault-transit: wants --vault FILE, which says how Vault is reached")
	case b.hashicorp != nil && !transit && !b.inVault:
		return cli.Malformedf("leave --vault out, or name a KEK in Vault", "--vault: neither the store nor a KEK is to be there")
	}
	return nil
}

// hostName is a DNS name without wildcards.
var hostName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// checkHosts refuses what no certificate can be for, before there is anything that a certificate is for.
func checkHosts(hosts []string) error {
	for _, h := range hosts {
		if net.ParseIP(h) == nil && (len(h) > 253 || !hostName.MatchString(h)) {
			return cli.Malformedf("such as signet.acme.internal or 10.0.0.7", "--host is neither a DNS name nor an IP address")
		}
	}
	return nil
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

// where names the place of a store in Vault.
func (b *blueprint) where() string {
	at := b.hashicorp.place()
	return fmt.Sprintf("mount %s, path %s of Vault at %s", at.Mount, at.Path, b.hashicorp.Address)
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

// interruptible runs what makes a directory with keys in it so that a signal leaves none of it behind. A second signal ends the
// process at once. What was left in Vault is told all the same.
func interruptible(ctx context.Context, run func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	err := run(ctx)
	if err != nil && ctx.Err() != nil && !errors.Is(err, errLeft) && !errors.Is(err, server.ErrNodeLeft) {
		return cli.Exit(cli.Interrupted)
	}
	return err
}

// rehearse puts an empty directory in place, as newDir will at its end, for those who could not go back then.
func rehearse(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("finding the directory: %w", err)
	}
	there := fileExists(dir)
	if err := newDir(dir, func(string) error { return nil }); err != nil {
		return err
	}
	if there {
		return nil
	}
	return os.Remove(dir)
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

// newConfig is the config of a new directory.
func newConfig(b blueprint, dir string) *config {
	c := &config{
		Listen: b.listen, Node: b.node, TrustDomain: trustDomain, Operators: []string{firstOperator},
		Store: storeFile, Log: logDir, KEKs: b.keks, Vault: b.hashicorp,
		Metrics: freeMetrics,
		TLS:     tlsFiles{Certificate: tlsDir + "/server.pem", Key: tlsDir + "/server.key", ClientCA: tlsDir + "/ca.pem"},
		dir:     dir,
	}
	if b.inVault {
		c.Store, c.Lease = storeInVault, cmp.Or(b.lease, server.DefaultLease.String())
	}
	return c
}

// createKEKs makes the KEKs that are files, but for those that are there.
func createKEKs(c *config) error {
	for _, uri := range c.KEKs {
		path, ok := strings.CutPrefix(uri, fileScheme)
		if !ok {
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(c.dir, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return fmt.Errorf("creating the KEK: %w", err)
			}
		}
		if err := kek.CreateFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("creating the KEK: %w", err)
		}
	}
	return nil
}

// nodeFiles are the PEM files of a node's directory.
type nodeFiles struct {
	ca, certificate, key  []byte
	operator, operatorKey []byte
}

// What stands above a config that is written. What goes beyond the keys in it is said there.
const (
	configHead = `# Signet server. Paths are relative to this file; keys other than these are refused.
`
	configHeadInVault = configHead + `#
# store: vault means that the store lies in HashiCorp Vault. The block vault says how Vault is reached, with approle, kubernetes or
# token_file below auth, and by mount and path where in it the store lies. vault_id is the vault that must be there. The KEKs in keks
# wrap the root key, each enough alone: vault-transit:MOUNT/KEY is a key of Vault's transit engine, file:PATH a file.
# lease, %s, is how long this node may mint without hearing from Vault, and how long a revocation waits for it then.
`
	configHeadTransit = configHead + `#
# The block vault says how HashiCorp Vault is reached, with approle, kubernetes or token_file below auth. It is asked for the KEK
# vault-transit:MOUNT/KEY when the server starts. The store is a file; store: vault would be one in Vault.
`
)

// writeVault writes the config, and the files of server and operator, into a new directory.
func writeVault(dir string, c *config, files nodeFiles) error {
	conf, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("writing the config: %w", err)
	}
	head := configHead
	switch {
	case c.inVault():
		head = fmt.Sprintf(configHeadInVault, leases)
	case c.Vault != nil:
		head = configHeadTransit
	}
	for path, data := range map[string][]byte{
		configFile:                append([]byte(head), conf...),
		c.TLS.Certificate:         files.certificate,
		c.TLS.Key:                 files.key,
		c.TLS.ClientCA:            files.ca,
		operatorDir + "/ca.pem":   files.ca,
		operatorDir + "/cert.pem": files.operator,
		operatorDir + "/key.pem":  files.operatorKey,
	} {
		if err := cli.WriteNew(filepath.Join(dir, path), data, 0o600); err != nil {
			return err
		}
	}
	return nil
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
