package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/boltstore"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/kek"
)

// errInUse is a vault that another process has open.
var errInUse = errors.New("another process has the vault open")

// assemble reads what a vault is opened with. Nothing of the vault is open after it.
func (p *program) assemble(c *config) (server.Config, error) {
	handler, err := c.Logging.handler(p.Stderr)
	if err != nil {
		return server.Config{}, err
	}
	keks, err := openKEKs(c)
	if err != nil {
		return server.Config{}, &cli.Failure{Code: cli.Malformed, Err: err}
	}
	return server.Config{
		KEKs:        keks,
		LogDir:      c.Log,
		Node:        c.Node,
		Operators:   c.Operators,
		TrustDomain: c.TrustDomain,
		TLS:         server.TLSConfig{CertFile: c.TLS.Certificate, KeyFile: c.TLS.Key, ClientCAFile: c.TLS.ClientCA},
		Limits:      server.Limits{Connections: c.MaxConnections},
		MinFree:     int64(c.LogMinFree),
		Version:     p.Version,
		Now:         p.Now,
		Logger:      slog.New(handler),
	}, nil
}

// open opens the store, which the server then closes. It creates none.
func (p *program) open(ctx context.Context, c *config) (server.Config, error) {
	return p.openStore(ctx, c, boltstore.Options{})
}

// read is open for those who only look: nothing of the vault is written, whatever state a crash has left it in.
func (p *program) read(ctx context.Context, c *config) (server.Config, error) {
	return p.openStore(ctx, c, boltstore.Options{ReadOnly: true})
}

// openUnserved is open for those who serve nobody: the server's certificate may have ended.
func (p *program) openUnserved(c *config) (server.Config, error) {
	sc, err := p.assemble(c)
	if err != nil {
		return server.Config{}, err
	}
	return withStore(c, sc, boltstore.Options{})
}

// openStore says everything that is wrong with what the config names beside the store, before it opens that.
func (p *program) openStore(ctx context.Context, c *config, o boltstore.Options) (server.Config, error) {
	sc, err := p.assemble(c)
	if err != nil {
		return server.Config{}, err
	}
	if err := server.Check(ctx, sc); err != nil {
		return server.Config{}, &cli.Failure{Code: cli.Malformed, Err: err}
	}
	return withStore(c, sc, o)
}

func withStore(c *config, sc server.Config, o boltstore.Options) (_ server.Config, err error) {
	o.Logger = sc.Logger
	sc.Backend, err = boltstore.Open(c.Store, o)
	switch {
	case errors.Is(err, store.ErrInUse):
		return server.Config{}, fmt.Errorf("%w: %w", errInUse, err)
	case errors.Is(err, fs.ErrNotExist):
		return server.Config{}, fmt.Errorf("%w (signetd never creates one but by init: bring the file back, or restore a backup)", err)
	case err != nil:
		return server.Config{}, err
	}
	return sc, nil
}

func openKEKs(c *config) ([]envelope.KEK, error) {
	var keks []envelope.KEK
	for i, uri := range c.KEKs {
		k, err := kek.Open(uri, c.dir)
		if err != nil {
			return nil, fmt.Errorf("keks[%d]: %w", i, err)
		}
		keks = append(keks, k)
	}
	return keks, nil
}

// todo adds what to do to what may go wrong when a vault is opened.
func todo(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errInUse):
		return &cli.Failure{Code: cli.Conflict, Err: err, Todo: "one process has a vault open at a time: stop the other signetd, or leave it"}
	case errors.Is(err, store.ErrWrongKEK):
		return &cli.Failure{Err: err, Todo: "bring back the KEK with which this store was made; keks in the config names where it is looked for"}
	case errors.Is(err, server.ErrGapAhead):
		return &cli.Failure{Err: err, Todo: "restore the newest files if they are to be had, or start the server: signet system status names the gap, signet system acknowledge lets minting go on"}
	case errors.Is(err, store.ErrDamaged):
		return &cli.Failure{Err: err, Todo: "something changed the files from outside: restore them, and see what signetd fsck says"}
	}
	return err
}

// discard is a logger for commands whose own output is all there is to say.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
