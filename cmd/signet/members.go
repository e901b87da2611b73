package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

func (a *app) systemMembers() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "members",
		Short: "List the replicas that may mint",
		Long: `List the replicas that may mint, and which revision of the vault each of them mints on. A change returns when every one of them has
it, or has been fenced and its bound has passed. Where the vault's store is one server's own there are none.`,
		Example: "  signet system members\n  signet system members -o json | jq -r '.members[].node'",
		Args:    cli.Args(),
	}
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			resp, err := cl.ListMembers(ctx, &signetv1.ListMembersRequest{})
			if err != nil {
				return err
			}
			if *format == "json" {
				return cli.JSON(a.Stdout, resp)
			}
			rows := [][]string{{"NODE", "INCARNATION", "BOUND", "REVISION", "RENEWED", "STATE"}}
			for _, m := range resp.GetMembers() {
				rows = append(rows, []string{
					m.GetNode(), m.GetIncarnation(), m.GetBound().AsDuration().String(), strconv.FormatUint(m.GetRevision(), 10), clock(m.GetRenewTime()), memberState(m, resp.GetRevision()),
				})
			}
			return cli.Table(a.Stdout, rows)
		})
	}
	return cmd
}

// memberState says in a word or a few how a replica stands.
func memberState(m *signetv1.Member, revision uint64) string {
	switch {
	case m.GetFencedBy() != "" && m.GetEndTime() != nil:
		return "fenced by " + m.GetFencedBy() + ", ends " + clock(m.GetEndTime())
	case m.GetFencedBy() != "":
		return "fenced by " + m.GetFencedBy()
	case m.GetRevision() < revision:
		return "behind"
	case m.GetSelf():
		return "current, answers"
	default:
		return "current"
	}
}

func (a *app) systemForget() *cobra.Command {
	var reason string
	var yes bool
	cmd := &cobra.Command{
		Use:   "forget NODE --reason TEXT",
		Short: "End a replica that does not answer, so that no change waits for it",
		Long: `End a replica that does not come back: it is fenced, its bound is waited out, and it leaves the vault's root. After that no change
waits for it. One that lives after all notices within its bound, and joins anew. A replica that stops in order needs none of this.`,
		Example: `  signet system members
  signet system forget node-3 --reason "its machine is gone, ticket 4713"`,
		Args: cli.Args("NODE"),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why it does not come back, for the audit log")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask; needed where standard input is not a terminal")
	cli.Required(cmd, "reason")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if !yes {
			if err := cli.Confirm(c, fmt.Sprintf("Forget replica %s? It mints no more before it has joined anew.", args[0])); err != nil {
				return err
			}
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			_, err := waiting(ctx, a, cl, func() (*signetv1.ForgetMemberResponse, error) {
				return cl.ForgetMember(ctx, &signetv1.ForgetMemberRequest{Node: args[0], Reason: reason})
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Stdout, "Forgot %s: nothing of it mints any more.\n", args[0])
			return err
		})
	}
	return cmd
}

// sayAfter is how long a change is waited for in silence.
const sayAfter = 2 * time.Second

// waiting makes a change, and while it takes long says on standard error for whom it waits, if the server tells.
func waiting[R any](ctx context.Context, a *app, cl *client.Client, change func() (R, error)) (R, error) {
	ctx, cancel := context.WithCancel(ctx)
	said := make(chan struct{})
	go func() {
		defer close(said)
		a.sayWaiting(ctx, cl)
	}()
	r, err := change()
	cancel()
	<-said
	return r, err
}

func (a *app) sayWaiting(ctx context.Context, cl *client.Client) {
	last := ""
	for {
		select {
		case <-time.After(sayAfter):
		case <-ctx.Done():
			return
		}
		text := waitsFor(ctx, cl)
		if text != "" && text != last {
			last = text
			cli.Printf(a.Stderr, "signet: waiting for %s\n", text)
		}
	}
}

// waitsFor asks what a change may be waiting for.
func waitsFor(ctx context.Context, cl *client.Client) string {
	asked, cancel := context.WithTimeout(ctx, sayAfter)
	defer cancel()
	switch resp, err := cl.ListMembers(asked, &signetv1.ListMembersRequest{}); {
	case err == nil:
		return waitingFor(resp)
	case ctx.Err() == nil && (asked.Err() != nil || errors.Is(err, client.ErrUnavailable)):
		return "an answer: a server, or the store, is slow or away"
	default:
		return "" // the change has ended, or the caller may not ask
	}
}

// waitingFor names the replicas that a change may be waiting for.
func waitingFor(resp *signetv1.ListMembersResponse) string {
	var names []string
	for _, m := range resp.GetMembers() {
		switch {
		case m.GetFencedBy() != "" && m.GetEndTime() != nil:
			names = append(names, fmt.Sprintf("%s, which does not answer: it can mint until %s at the latest", m.GetNode(), clock(m.GetEndTime())))
		case m.GetRevision() < resp.GetRevision():
			names = append(names, m.GetNode())
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), "; ")
}
