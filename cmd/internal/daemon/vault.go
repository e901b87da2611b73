package daemon

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/boltstore"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/kek"
	"github.com/p8signet/signet/store/vaultstore"
)

// errInUse is a vault that another process has open.
var errInUse = errors.New("another process has the vault open")

// assemble reads what a vault is opened with, and asks Vault about the KEKs that it has. Nothing of the vault is open after it.
func (p *program) assemble(ctx context.Context, c *config) (server.Config, error) {
	handler, err := c.Logging.handler(p.Stderr)
	if err != nil {
		return server.Config{}, err
	}
	logger := slog.New(handler)
	minFree, _ := parseSize(c.LogMinFree) // left out: 0
	if err := lookForFiles(c); err != nil {
		return server.Config{}, err
	}
	keks, err := openKEKs(ctx, c, logger)
	if err != nil {
		return server.Config{}, err
	}
	return server.Config{
		KEKs:        keks,
		VaultID:     c.VaultID,
		LogDir:      c.Log,
		Node:        c.Node,
		Operators:   c.Operators,
		TrustDomain: c.TrustDomain,
		TLS:         server.TLSConfig{CertFile: c.TLS.Certificate, KeyFile: c.TLS.Key, ClientCAFile: c.TLS.ClientCA},
		Limits:      server.Limits{Connections: c.MaxConnections},
		Lease:       c.lease(),
		MinFree:     minFree,
		Version:     p.Version,
		Now:         p.Now,
		Logger:      logger,
	}, nil
}

// lookForFiles looks for what the block vault names, before it is needed to reach Vault.
func lookForFiles(c *config) error {
	if c.Vault == nil {
		return nil
	}
	if err := c.Vault.look(); err != nil {
		return &cli.Failure{Code: cli.Malformed, Err: err, Todo: "bring the file to where it is named, readable for this user, or correct the block vault; paths are relative to the config"}
	}
	return nil
}

// bringFile is what to do about a file that the config names and that cannot be read; empty for any other error.
func bringFile(err error, keys string) string {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	return "bring the file to where it is named, readable for this user, or correct " + keys + " in the config; paths are relative to it"
}

// open opens the store, which the server then closes. It creates none.
func (p *program) open(ctx context.Context, c *config) (server.Config, error) {
	return p.openStore(ctx, c, false)
}

// read is open for those who only look: nothing of the vault is written, whatever state a crash has left it in.
func (p *program) read(ctx context.Context, c *config) (server.Config, error) {
	return p.openStore(ctx, c, true)
}

// openUnserved is open for those who serve nobody: the server's certificate may have ended.
func (p *program) openUnserved(ctx context.Context, c *config) (server.Config, error) {
	sc, err := p.assemble(ctx, c)
	if err != nil {
		return server.Config{}, err
	}
	return withStore(ctx, c, sc, false)
}

// openStore says everything that is wrong with what the config names beside the store, before it opens that.
func (p *program) openStore(ctx context.Context, c *config, readOnly bool) (server.Config, error) {
	sc, err := p.assemble(ctx, c)
	if err != nil {
		return server.Config{}, err
	}
	if err := server.Check(ctx, sc); err != nil {
		return server.Config{}, &cli.Failure{Code: cli.Malformed, Err: err, Todo: bringFile(err, "tls")}
	}
	return withStore(ctx, c, sc, readOnly)
}

func withStore(ctx context.Context, c *config, sc server.Config, readOnly bool) (_ server.Config, err error) {
	if c.inVault() {
		sc.Backend, err = openInVault(ctx, c, sc.Logger, readOnly)
	} else {
		sc.Backend, err = boltstore.Open(c.Store, boltstore.Options{ReadOnly: readOnly, Logger: sc.Logger})
	}
	switch {
	case errors.Is(err, store.ErrInUse):
		return server.Config{}, fmt.Errorf("%w: %w", errInUse, err)
	case errors.Is(err, fs.ErrNotExist) && !c.inVault():
		return server.Config{}, fmt.Errorf("%w (signetd never creates one but by init: bring the file back, or restore a backup)", err)
	case err != nil:
		return server.Config{}, err
	}
	return sc, nil
}

// openInVault opens a store in HashiCorp Vault, which many processes may have open. Whoever only looks takes the directory of the
// node's log meanwhile, so that no server of this node writes to it: store.ErrInUse where one runs.
func openInVault(ctx context.Context, c *config, logger *slog.Logger, readOnly bool) (store.Backend, error) {
	var lock io.Closer
	if readOnly {
		var err error
		if lock, err = audit.Look(c.Log); errors.Is(err, audit.ErrLocked) {
			return nil, fmt.Errorf("%w: %w", store.ErrInUse, err)
		} else if err != nil {
			return nil, err
		}
	}
	conf := c.Vault.config()
	conf.Logger = logger
	backend, err := vaultstore.Open(ctx, conf, c.Vault.place())
	if err != nil && lock != nil {
		err = errors.Join(err, lock.Close())
	}
	if err != nil {
		return nil, err
	}
	if lock == nil {
		return backend, nil
	}
	return &looked{backend, lock}, nil
}

// looked is a store in Vault that is only looked at, and with it the lock of the node's log.
type looked struct {
	*vaultstore.Backend
	lock io.Closer
}

// Close lets go of both.
func (l *looked) Close() error { return errors.Join(l.Backend.Close(), l.lock.Close()) }

// openKEKs opens the KEKs of the config. One in Vault that does not answer is passed over for now where another one is there: each
// is enough alone, and it is asked again when something is to be wrapped by it.
func openKEKs(ctx context.Context, c *config, logger *slog.Logger) ([]envelope.KEK, error) {
	var keks []envelope.KEK
	var missing []error
	for i, uri := range c.KEKs {
		k, err := openKEK(ctx, c, uri)
		if k == nil {
			return nil, &cli.Failure{Code: cli.Malformed, Err: fmt.Errorf("keks[%d]: %w", i, err), Todo: cmp.Or(otherKEK(c), bringFile(err, "keks"))}
		}
		keks = append(keks, k)
		if err != nil {
			missing = append(missing, fmt.Errorf("keks[%d]: %w", i, err))
		}
	}
	if len(missing) == len(keks) {
		return nil, errors.Join(missing...)
	}
	for _, err := range missing {
		logger.WarnContext(ctx, "a KEK does not answer; another one is there, and each opens the vault alone", slog.Any("error", err))
	}
	return keks, nil
}

func otherKEK(c *config) string {
	if len(c.KEKs) < 2 {
		return ""
	}
	return "correct it; one that is lost may be left out of keks while another one opens the vault"
}

// openKEK opens one. A KEK beside an error is one that could not be looked at now.
func openKEK(ctx context.Context, c *config, uri string) (envelope.KEK, error) {
	if !strings.HasPrefix(uri, vaultstore.TransitScheme) {
		return kek.Open(uri, c.dir)
	}
	k, err := vaultstore.NewTransit(c.Vault.config(), uri)
	if err != nil {
		return nil, err
	}
	if err = k.Look(ctx); errors.Is(err, vaultstore.ErrUnfitKey) {
		return nil, err
	}
	return k, err
}

// advice is what to do about what may go wrong when a vault is opened, and the exit code, 0 where it follows from the error. The
// first that fits counts.
var advice = []struct {
	err  error
	code int
	todo string
}{
	{audit.ErrLocked, cli.Conflict, "one process has a node's log open at a time: stop the other signetd, or leave it (a further replica is a node of its own: signetd join)"},
	{server.ErrNamesake, cli.Conflict, "two processes have this node's directory, or a copy of it: end one of them for good, then start the other; signet system status says whether the record has a gap"},
	{errInUse, cli.Conflict, "one process has a vault open at a time: stop the other signetd, or leave it"},
	{server.ErrNodeKnown, cli.Conflict, "choose another --node; a name is for good, also that of a node that is no more"},
	{store.ErrWrongKEK, 0, "bring back the KEK with which this store was made; keks in the config names where it is looked for"},
	{server.ErrGapAhead, 0, "restore the newest files if they are to be had, or start the server: signet system status names the gap, signet system acknowledge lets minting go on"},
	{vaultstore.ErrRootGone, 0, "nothing makes a new one in its place: bring it back in Vault (vault kv undelete), or restore Vault from a snapshot of its own"},
	{vaultstore.ErrMount, cli.Malformed, "mount, in the block vault, is a KV v2 mount of Signet's; deploy/vault/setup.sh makes one"},
	{store.ErrNoRoot, cli.NotFound, "if a vault is to be here, signetd init makes it; otherwise see that store, or mount and path in the block vault, name the right place"},
	{store.ErrOtherVault, cli.Conflict, "see that store, or mount and path in the block vault, name the right place; vault_id in the config says which vault belongs to it"},
	{store.ErrExists, cli.Conflict, "it was not touched: signetd join makes a further node of it; for another vault name another path in the block vault"},
	{vaultstore.ErrSealed, cli.Unavailable, "unseal Vault: vault operator unseal"},
	{vaultstore.ErrSignIn, cli.Denied, "see that auth, in the block vault, has the role's id and the file of a secret id that is still valid; deploy/vault/setup.sh makes another"},
	{vaultstore.ErrForbidden, cli.Denied, "give Signet's role in Vault the policy deploy/vault/policy.hcl, as deploy/vault/setup.sh does, and see that auth in the block vault names that role; mount, path and keks must be those of the policy"},
	{vaultstore.ErrUnready, cli.Unavailable, "see how Vault is: vault status"},
	{vaultstore.ErrUnanswered, cli.Unavailable, "see that Vault runs and that address, in the block vault, is where it listens"},
	{audit.ErrFull, cli.Unavailable, fmt.Sprintf("free at least %d MiB where the audit log is to lie", audit.DefaultMinFree>>20)},
	{store.ErrDamaged, 0, "something changed the files from outside: restore them, and see what signetd fsck says"},
}

// todo adds what to do to what may go wrong when a vault is opened.
func todo(err error) error {
	if err == nil {
		return nil
	}
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted && errors.Is(err, vaultstore.ErrUnanswered) {
		return &cli.Failure{Code: cli.Unavailable, Err: err, Todo: "see that ca, in the block vault, is the CA of Vault's certificate, and server_name the name in it when that is not the host of address"}
	}
	for _, a := range advice {
		if errors.Is(err, a.err) {
			return &cli.Failure{Code: a.code, Err: err, Todo: a.todo}
		}
	}
	return err
}

// discard is a logger for commands whose own output is all there is to say.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
