package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

func (a *app) auditWatch() *cobra.Command {
	var f signetv1.EntryFilter
	var since, token string
	var from []string
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print entries as they are recorded",
		Long: `Print the entries that all filters leave, each once and in order, as soon as they are durable, until it is interrupted. When the
server stops or the connection ends, it waits and then goes on where it was. It begins with what comes now; --since begins earlier,
and --from at an entry, such as the one with which an interrupted watch says how to go on. With -o json each line is an entry's
stored bytes.

Where a vault has several servers, the logs of all addresses of client.yaml are watched, each in its own order. What is not watched is
named.`,
		Example: `  signet audit watch --outcome denied
  signet audit watch --since 1h --key asc-release
  signet audit watch --action token.mint -o json | jq --unbuffered -r .principal.id`,
		Args: cli.Args(),
	}
	filterFlags(cmd, &f, &token)
	cmd.Flags().StringVar(&since, "since", "", "begin with entries that are not older than this: 2h, 7d, 2026-01-31 or 2026-01-31T15:04:05Z")
	cmd.Flags().StringArrayVar(&from, "from", nil, "begin at this entry, [LOG/]INDEX; may be repeated where there are several logs, once for each")
	cmd.MarkFlagsMutuallyExclusive("since", "from")
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		if err := a.narrow(&f, since, "", token); err != nil {
			return err
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			rs, err := a.replicas(ctx, cl)
			if err != nil {
				return err
			}
			watches, err := a.watches(ctx, rs, &f, from)
			if err != nil {
				return err
			}
			return a.watch(ctx, rs, watches, *format)
		})
	}
	return cmd
}

// watched is the watch of one log.
type watched struct {
	replica
	client.Watch
	from string // how another watch goes on after this one; empty when that is not known
}

// watches are the watches of all logs, each from where it is to begin.
func (a *app) watches(ctx context.Context, rs *replicas, f *signetv1.EntryFilter, from []string) ([]*watched, error) {
	all := make([]*watched, len(rs.all))
	for i, r := range rs.all {
		of := ""
		if rs.several {
			of = " of log " + r.origin.String()
			// What comes until its first entry is from here on.
			if cp, err := r.Checkpoint(ctx, ""); err == nil {
				all[i] = &watched{from: entryName(cp.Origin.String(), cp.Size)}
			}
		}
		if all[i] == nil {
			all[i] = &watched{}
		}
		all[i].replica = r
		all[i].Filter, _ = proto.Clone(f).(*signetv1.EntryFilter) // a message of the same type
		all[i].Lost = func(err error, times int) {
			if times == 1 {
				cli.Printf(a.Stderr, "signet: the watch%s was interrupted, and goes on when the server is there again: %v\n", of, err)
			}
		}
	}
	for _, place := range from {
		log, index, err := entryPlace("", place)
		if err != nil {
			return nil, err
		}
		if log == "" && (rs.several || len(from) > 1) {
			return nil, cli.Malformedf("as the interrupted watch has printed it", "there are several logs, so that --from is LOG/INDEX, once for each")
		}
		has, err := rs.having(ctx, log)
		if err != nil {
			return nil, err
		}
		w := all[slices.IndexFunc(rs.all, func(r replica) bool { return r.Address == has.all[0].Address })]
		if w.From != nil {
			return nil, cli.Malformedf("", "two --from are of one server's log")
		}
		w.From, w.from = &signetv1.EntryPlace{Log: log, Index: index}, place
	}
	return all, nil
}

// seen is what comes of a watch: an entry, or why it has ended.
type seen struct {
	of    *watched
	entry *signetv1.StoredEntry
	err   error
}

// watch prints what watches yield, as it comes. At its end it says on standard error how to go on after the last entries. A log that
// is away when it begins is named; the others are watched.
func (a *app) watch(ctx context.Context, rs *replicas, watches []*watched, format string) error {
	for _, n := range rs.absent {
		a.warn("not watched: %s", n)
	}
	ctx, cancel := context.WithCancel(ctx)
	entries := make(chan seen)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, w := range watches {
		wg.Go(func() {
			for e, err := range w.Watched(ctx, w.Watch) {
				select {
				case entries <- seen{w, e, err}:
				case <-ctx.Done():
				}
			}
		})
	}
	p := printer{app: a, format: format, several: rs.several}
	defer func() {
		if p.last != nil {
			cli.Printf(a.Stderr, "the same command with %s goes on after the last %s\n", resumed(watches), entriesOf(watches))
		}
	}()
	for left := len(watches); left > 0; {
		var s seen
		select {
		case s = <-entries:
		case <-ctx.Done():
			return ctx.Err()
		}
		switch {
		case s.err == nil:
			s.of.from = entryName(s.entry.GetOrigin(), s.entry.GetIndex()+1)
			if err := p.print(s.entry); err != nil {
				return err
			}
		case rs.several && errors.Is(s.err, client.ErrUnavailable) && ctx.Err() == nil:
			gone := absence{s.of.Address, s.of.origin.String(), s.err}
			a.warn("not watched: %s", gone)
			rs.absent = append(rs.absent, gone)
			left--
		default:
			return byFlag(s.err)
		}
	}
	return rs.missing()
}

// resumed are the flags with which a watch goes on.
func resumed(watches []*watched) string {
	var all []string
	for _, w := range watches {
		if w.from != "" {
			all = append(all, "--from "+w.from)
		}
	}
	return strings.Join(all, " ")
}

func entriesOf(watches []*watched) string {
	if len(watches) > 1 {
		return "entries"
	}
	return "entry"
}

// printer prints entries one by one.
type printer struct {
	*app
	format  string
	several bool // the entries' logs are named

	rows        *cli.Rows
	first, last *signetv1.StoredEntry
}

func (p *printer) print(e *signetv1.StoredEntry) (err error) {
	if p.first == nil {
		p.first = e
	}
	p.several = p.several || e.GetOrigin() != p.first.GetOrigin()
	switch {
	case p.format == "json":
		_, err = fmt.Fprintf(p.Stdout, "%s\n", e.GetLine())
	case p.rows == nil:
		if p.rows, err = cli.NewRows(p.Stdout, entryHead...); err != nil {
			return err
		}
		fallthrough
	default:
		err = p.rows.Print(entryRow(e, p.several)...)
	}
	if err == nil {
		p.last = e
	}
	return err
}
