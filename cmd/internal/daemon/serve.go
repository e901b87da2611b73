package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server"
)

// drain is how long calls under way may take to end after a signal.
const drain = 30 * time.Second

func (p *program) serve() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Serve a vault",
		Long: `Serve a vault until SIGINT or SIGTERM; calls under way then have 30 seconds to end. A second signal ends it at once, which loses
nothing that anybody was told.

When it is ready it prints one plain line on standard error: signetd: serving on ADDR. A vault with an open gap is served, but mints
nothing until the gap is acknowledged: see signet system status.`,
		Example: "  signetd serve --config vault/signetd.yaml",
		Args:    cli.Args(),
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := loadConfig(file)
			if err != nil {
				return err
			}
			return todo(p.run(c.Context(), conf))
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the vault's signetd.yaml")
	required(cmd, "config")
	return cmd
}

func (p *program) run(ctx context.Context, conf *config) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if p.Getenv("GOGC") == "" {
		go paceCollections(ctx)
	}
	watched, err := p.watch(ctx, conf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, watched.close()) }()
	sc, err := p.open(ctx, conf)
	if err != nil {
		return err
	}
	p.warnCertificate(ctx, conf, sc.Logger)
	flush, err := p.trace(ctx, conf, &sc)
	if err != nil {
		return errors.Join(err, sc.Backend.Close())
	}
	defer func() { err = errors.Join(err, flush()) }()
	s, err := server.New(ctx, sc)
	if err != nil {
		return fmt.Errorf("opening the vault: %w", err)
	}
	watched.show(s)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", conf.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listening: %w", err), s.Shutdown(context.WithoutCancel(ctx)))
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	go p.warnDaily(ctx, conf, sc.Logger)
	cli.Printf(p.Stderr, "signetd: serving on %s\n", l.Addr())
	select {
	case err = <-served:
		err = errors.Join(errors.New("the listener ended by itself"), err)
	case <-ctx.Done():
		stop() // a second signal ends the process
		sc.Logger.InfoContext(ctx, "stopping: calls under way may end")
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	return errors.Join(err, s.Shutdown(end))
}
