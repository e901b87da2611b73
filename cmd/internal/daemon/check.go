package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server"
)

func (p *program) check() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Say whether a server would start with this config",
		Long: `Look at the config and all that it names, and say everything that would keep a server from starting, or from minting when
it has. The whole audit log is read. Nothing is written. While a server has the vault open, the vault itself is not looked into.`,
		Example: "  signetd check --config vault/signetd.yaml",
		Args:    cli.Args(),
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := loadConfig(file)
			if err != nil {
				return err
			}
			p.warnCertificate(conf)
			sc, err := p.read(c.Context(), conf)
			if errors.Is(err, errInUse) {
				cli.Printf(p.Stdout, "%s: ok; a running server has the vault open, so the vault was not looked into\n", file)
				return nil
			}
			if err != nil {
				return todo(err)
			}
			sc.Logger = discard()
			if err := server.Check(c.Context(), sc); err != nil {
				return todo(err)
			}
			p.warnListen(c.Context(), conf)
			cli.Printf(p.Stdout, "%s: ok\n", file)
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the vault's signetd.yaml")
	required(cmd, "config")
	return cmd
}

// warnListen says when the address cannot be had now; what has it may be gone when the server starts.
func (p *program) warnListen(ctx context.Context, conf *config) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", conf.Listen)
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		cli.Printf(p.Stderr, "signetd: warning: nobody could be served now: %v\n  end what has the address, or correct listen\n", err)
	}
}

// warnCertificate says when the server's certificate soon ends. What is wrong with it otherwise, Check says.
func (p *program) warnCertificate(conf *config) {
	pair, err := tls.LoadX509KeyPair(conf.TLS.Certificate, conf.TLS.Key)
	if err != nil {
		return
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return
	}
	if p.endsSoon(leaf) {
		cli.Printf(p.Stderr, "signetd: warning: the server's certificate ends %s, and then no caller connects\n"+
			"  if this vault's CA made it: signetd cert --dir %s --server; a running server takes the new one up by itself\n"+
			"  if another CA did, renew it there and replace %s\n",
			leaf.NotAfter.UTC().Format(time.RFC3339), quote(conf.dir), conf.TLS.Certificate)
	}
}

// endsSoon says whether a certificate is in its last thirty days, or beyond.
func (p *program) endsSoon(leaf *x509.Certificate) bool {
	return leaf.NotAfter.Sub(p.Now()) < 30*24*time.Hour
}

// warnDaily is warnCertificate once a day until ctx ends: who starts a server does not look at it for a year.
func (p *program) warnDaily(ctx context.Context, conf *config) {
	day := time.NewTicker(24 * time.Hour)
	defer day.Stop()
	for {
		select {
		case <-day.C:
			p.warnCertificate(conf)
		case <-ctx.Done():
			return
		}
	}
}

func (p *program) fsck() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:     "fsck --config FILE",
		Short:   "Read the whole vault and name every damage",
		Long:    "Open every record of the store and verify the whole audit log. Nothing is written. No server may have the vault open.",
		Example: "  signetd fsck --config vault/signetd.yaml\n  signetd fsck --config vault/signetd.yaml -o json",
		Args:    cli.Args(),
	}
	format := cli.Format(cmd, "text", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		conf, err := loadConfig(file)
		if err != nil {
			return err
		}
		sc, err := p.read(c.Context(), conf)
		if err != nil {
			return todo(err)
		}
		sc.Logger = discard()
		report, err := server.Fsck(c.Context(), sc)
		if err != nil {
			return todo(err)
		}
		if err := p.printReport(report, *format); err != nil {
			return err
		}
		if n := len(report.Damages); n > 0 {
			return &cli.Failure{Code: cli.Other, Err: fmt.Errorf("%s found", cli.Count(n, "damage")), Todo: "what is damaged is refused by name and the rest works on; restore the files to get it back"}
		}
		return nil
	}
	cmd.Flags().StringVar(&file, "config", "", "the vault's signetd.yaml")
	required(cmd, "config")
	return cmd
}

func (p *program) printReport(r server.Report, format string) error {
	if format == "json" {
		return cli.JSON(p.Stdout, struct {
			VaultID string   `json:"vaultId"`
			Keys    int      `json:"keys"`
			Entries int64    `json:"entries"`
			Damages []string `json:"damages"`
		}{r.VaultID, r.Keys, r.Entries, append([]string{}, r.Damages...)})
	}
	for _, d := range r.Damages {
		cli.Printf(p.Stdout, "damage: %s\n", d)
	}
	if len(r.Damages) == 0 {
		cli.Printf(p.Stdout, "vault %s: clean: %s, %d audit entries\n", r.VaultID, cli.Count(r.Keys, "key"), r.Entries)
	}
	return nil
}
