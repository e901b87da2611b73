package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server"
)

// defaultDrain is how long calls under way may take to end after a signal, unless the config says it.
const defaultDrain = 20 * time.Second

// afterCut is how long calls that were cut off may take to notice it.
const afterCut = 5 * time.Second

func (p *program) serve() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Serve a vault",
		Long: `Serve a vault until SIGINT or SIGTERM. Then health says NOT_SERVING, no call is accepted any more, and calls under way have the
time that drain in the config says, 20s unless it does, before they are cut off. A second signal ends it at once, which loses nothing
that anybody was told.

When it is ready it prints one plain line on standard error: signetd: serving on ADDR. A service manager that set NOTIFY_SOCKET is
told, too, and one that set WATCHDOG_USEC hears from it while the server answers a call that it makes to itself. A vault with an open
gap is served, but mints nothing until the gap is acknowledged: see signet system status.

With metrics in the config, as init writes it, a line "metrics on" says before that where the server is watched, over plain HTTP:
/metrics, /livez (the process answers), /readyz (it takes calls), /mintz (it can mint, or why not) and, for callers on the machine
itself, /debug/pprof/. Traces are sent where traces in the config or OTEL_EXPORTER_OTLP_ENDPOINT says.`,
		Example: "  signetd serve --config vault/signetd.yaml",
		Args:    cli.Args(),
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := loadConfig(file)
			if err != nil {
				return err
			}
			return todo(p.run(c.Context(), conf, func(context.Context) error { return nil }))
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the vault's signetd.yaml")
	cli.Required(cmd, "config")
	return cmd
}

// run serves until a signal or an error; ready is called once it does.
func (p *program) run(ctx context.Context, conf *config, ready func(context.Context) error) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if p.Getenv("GOGC") == "" {
		paceCollections(ctx)
	}
	watched, err := p.watch(ctx, conf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, watched.close()) }()
	sc, err := p.open(ctx, conf)
	if err != nil {
		if ctx.Err() != nil {
			return cli.Exit(cli.Interrupted)
		}
		return err
	}
	p.warnCertificate(ctx, conf, sc.Logger)
	if conf.Node == server.DevNode {
		sc.Logger.WarnContext(ctx, "this is a dev vault, for trying things out: no real key belongs in it", slog.String("node", conf.Node))
	}
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
	debug.FreeOSMemory() // what opening took and serving does not need
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", conf.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listening: %w", err), s.Shutdown(context.WithoutCancel(ctx)))
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	go p.warnDaily(ctx, conf, sc.Logger)
	manager := newManager(sc.Logger)
	defer manager.watch(ctx, s.Alive)()
	cli.Printf(p.Stderr, "signetd: serving on %s\n", l.Addr())
	if err = ready(ctx); err == nil {
		manager.ready(l.Addr())
		select {
		case err = <-served:
			err = fmt.Errorf("serving has ended by itself: %w", err)
		case <-ctx.Done():
		}
	}
	stop() // a second signal ends the process
	sc.Logger.InfoContext(ctx, "stopping: calls under way may end", slog.Duration("within", conf.drain()))
	manager.stopping(conf.drain() + afterCut)
	return errors.Join(err, shutdown(context.WithoutCancel(ctx), s, conf.drain()))
}

// shutdown lets calls under way end, then cuts them off. One that does not end even so is left behind with the process, which
// loses nothing that anybody was told: the vault is then as after a crash.
func shutdown(ctx context.Context, s *server.Server, drain time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, drain, fmt.Errorf("they had not ended after %s", drain))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(ctx) }()
	hard := time.NewTimer(drain + afterCut)
	defer hard.Stop()
	select {
	case err := <-done:
		return err
	case <-hard.C:
		return fmt.Errorf("a call did not end %s after it was cut off; the process ends with it", afterCut)
	}
}
