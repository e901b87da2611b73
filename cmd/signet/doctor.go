package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
)

func (a *app) doctor() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong on this side",
		Long: `Look at what can be known on this side: the configuration; the caller's certificate, its end, its issuer and its SPIFFE id; for every
address whether it is reached, trusted, minting, and accepts the certificate; its clock beside this one; and whether its log still
contains the checkpoint that was pinned by signet audit verify. Each finding is one line, ok, warn or fail, with what to do about it.
Nothing is minted, nothing is changed, and no permission is needed.

The exit code is 0 when nothing failed, and 1 otherwise.`,
		Example: "  signet doctor\n  signet doctor -o json | jq '.findings[] | select(.level != \"ok\")'",
		Args:    cli.Args(),
	}
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		d := &doctor{app: a}
		d.examine(c.Context())
		if err := c.Context().Err(); err != nil {
			return err
		}
		return d.report(*format)
	}
	return cmd
}

// level is how bad a finding is.
type level string

// The levels.
const (
	levelOK   level = "ok"
	levelWarn level = "warn"
	levelFail level = "fail"
)

// finding is one thing that the doctor has looked at.
type finding struct {
	Level level  `json:"level"`
	Check string `json:"check"` // config, certificate, ca, key, address, server, clock, caller, log
	// Address is the server's where the finding is about one of several.
	Address string `json:"address"`
	Text    string `json:"text"`
	Todo    string `json:"todo"` // empty when there is nothing to do
}

// doctor gathers findings. It is for one goroutine.
type doctor struct {
	*app
	found   []finding
	address string // which server is being looked at; empty before
}

func (d *doctor) add(l level, check, todo, format string, args ...any) {
	d.found = append(d.found, finding{Level: l, Check: check, Address: d.address, Text: fmt.Sprintf(format, args...), Todo: todo})
}

// fail is a finding of an error, with the advice that every command gives for it unless todo has a better one.
func (d *doctor) fail(check, todo string, err error) {
	if todo == "" {
		todo = cli.Advice(err)
	}
	d.add(levelFail, check, todo, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
}

// examine looks at everything that what came before leaves to be looked at.
func (d *doctor) examine(ctx context.Context) {
	config, ok, err := d.loadConfig()
	if err == nil && !ok {
		err = d.noConfig()
	}
	if err != nil {
		d.fail("config", "", err)
		return
	}
	path, _, _ := d.configPath() // it was just read
	if len(config.Logs) == 0 {   // said once; each server's log is then passed over
		d.add(levelWarn, "config", "take logs from the client.yaml that signetd wrote", "%s pins no log key: nothing about the audit log can be verified", path)
	} else {
		d.add(levelOK, "config", "", "%s, for %s", path, strings.Join(config.Addresses, ", "))
	}
	roots := d.ca(config.CA)
	pair := d.certificate(config, roots)
	if roots == nil || pair == nil {
		return
	}
	for _, address := range config.Addresses {
		if ctx.Err() != nil {
			return
		}
		d.address = address
		d.server(ctx, config, address, &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{*pair}, ServerName: serverName(config, address), Time: d.Now,
			NextProtos: []string{"h2"},
		})
	}
}

// report prints what was found; a failure among it is the exit code.
func (d *doctor) report(format string) error {
	failed := false
	rows := [][]string{{"RESULT", "CHECK", "FINDING"}}
	for _, f := range d.found {
		failed = failed || f.Level == levelFail
		text := f.Text
		if f.Address != "" {
			text = f.Address + ": " + text
		}
		if f.Todo != "" {
			text += "; " + f.Todo
		}
		rows = append(rows, []string{string(f.Level), f.Check, text})
	}
	var err error
	if format == "json" {
		err = cli.JSON(d.Stdout, struct {
			OK       bool      `json:"ok"`
			Findings []finding `json:"findings"`
		}{!failed, d.found})
	} else {
		err = cli.Table(d.Stdout, rows)
	}
	if err == nil && failed {
		return cli.Exit(cli.Other)
	}
	return err
}

// pinAge is the age from which on a pinned checkpoint is old: what was rolled back behind it in between may have been used.
const pinAge = 30 * 24 * time.Hour

// log compares the server's log with what is pinned of it.
func (d *doctor) log(ctx context.Context, cl *client.Client, current client.Signed) {
	ps, err := d.pins()
	if err != nil {
		d.fail("log", "", err)
		return
	}
	origin := current.Origin.String()
	if others, err := ps.origins(); err == nil {
		for _, other := range others {
			if o, err := auditlog.ParseOrigin(other); err == nil && o.KeyName() == current.Origin.KeyName() && other != origin {
				d.add(levelWarn, "log", "signet audit verify says what became of it", "a checkpoint of %s is pinned, which is not this node's log any more", other)
			}
		}
	}
	latest, pinned, err := grown(ctx, cl, ps, current)
	switch {
	case err != nil:
		d.fail("log", "", unproved(err))
		return
	case pinned.Note == nil:
		d.add(levelWarn, "log", "signet audit verify pins one", "no checkpoint of %s is pinned: a log that was cut or replaced would not be found out", origin)
		return
	}
	what := fmt.Sprintf("%s, %d entries, has grown from the pinned %d", origin, latest.Size, pinned.Size)
	var age time.Duration
	if st, err := os.Stat(ps.path(origin)); err == nil {
		age = d.Now().Sub(st.ModTime())
	}
	if age > pinAge {
		d.add(levelWarn, "log", "signet audit verify pins a new one, and is best run regularly", "%s, pinned %s ago", what, days(age))
		return
	}
	d.add(levelOK, "log", "", "%s, pinned %s ago", what, days(age))
}

// days is a duration as people count it.
func days(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return cli.Count(int(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return cli.Count(int(d/time.Hour), "hour")
	default:
		return cli.Count(int(d/(24*time.Hour)), "day")
	}
}
