package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

func (a *app) auditWatch() *cobra.Command {
	var w client.Watch
	var f signetv1.EntryFilter
	var since, from, token string
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print entries as they are recorded",
		Long: `Print the entries that all filters leave, each once and in order, as soon as they are durable, until it is interrupted. When the
server stops or the connection ends, it waits and then goes on where it was. It begins with what comes now; --since begins earlier,
and --from at an entry, such as the one with which an interrupted watch says how to go on. With -o json each line is an entry's
stored bytes.`,
		Example: `  signet audit watch --outcome denied
  signet audit watch --since 1h --key asc-release
  signet audit watch --action token.mint -o json | jq --unbuffered -r .principal.id`,
		Args: cli.Args(),
	}
	filterFlags(cmd, &f, &token)
	cmd.Flags().StringVar(&since, "since", "", "begin with entries that are not older than this: 2h, 7d, 2026-01-31 or 2026-01-31T15:04:05Z")
	cmd.Flags().StringVar(&from, "from", "", "begin at this entry, [LOG/]INDEX")
	cmd.MarkFlagsMutuallyExclusive("since", "from")
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		if err := a.narrow(&f, since, "", token); err != nil {
			return err
		}
		w.Filter = &f
		if from != "" {
			log, index, err := entryPlace("", from)
			if err != nil {
				return err
			}
			w.From = &signetv1.EntryPlace{Log: log, Index: index}
		}
		w.Lost = func(err error, times int) {
			if times == 1 {
				cli.Printf(a.Stderr, "signet: the watch was interrupted, and goes on when the server is there again: %v\n", err)
			}
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error { return a.watch(ctx, cl, w, *format) })
	}
	return cmd
}

// watch prints what a watch yields. At its end it says on standard error how to go on after the last entry.
func (a *app) watch(ctx context.Context, cl *client.Client, w client.Watch, format string) error {
	var rows *cli.Rows
	var first, last *signetv1.StoredEntry
	defer func() {
		if last != nil {
			cli.Printf(a.Stderr, "the same command with --from %s goes on after the last entry\n", entryName(last.GetOrigin(), last.GetIndex()+1))
		}
	}()
	several := false
	for e, err := range cl.Watched(ctx, w) {
		if err != nil {
			return byFlag(err)
		}
		if first == nil {
			first = e
		}
		several = several || e.GetOrigin() != first.GetOrigin()
		switch {
		case format == "json":
			_, err = fmt.Fprintf(a.Stdout, "%s\n", e.GetLine())
		case rows == nil:
			if rows, err = cli.NewRows(a.Stdout, entryHead...); err != nil {
				return err
			}
			fallthrough
		default:
			err = rows.Print(entryRow(e, several)...)
		}
		if err != nil {
			return err
		}
		last = e
	}
	return nil
}
