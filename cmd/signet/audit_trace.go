package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/apple"
)

// maxTokenFile bounds what is read for a token; real ones have a few hundred bytes.
const maxTokenFile = 64 << 10

func (a *app) auditTrace() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "trace [TOKEN | SHA256]",
		Short: "Say who was given a token",
		Long: `Say who was given a token, when, and through which grant, who else holds it, and until when it lives. It is hashed here: the token
itself is not sent, and neither is it in the log. A header line with the token in it will do, and so will the token's SHA-256, or a URL
that was signed.

What stands on a command line can be read by others on the machine and is kept by shells: a token that is still alive is better
given in a file, or on standard input with "-".

Where a vault has several servers, the logs of all addresses of client.yaml are asked. Exit code 4 means that the token is not in any
log that could be asked, and 6 that one could not be, whatever the others have said.`,
		Example: `  signet audit trace --file leaked.txt
  pbpaste | signet audit trace -
  signet audit trace sha256:5d41402abc4b2a76b9719d911017c592ae3f1e0f1c2d3b4a59687766554433ff -o json`,
		Args: cobra.MaximumNArgs(1),
	}
	cmd.Flags().StringVar(&file, "file", "", "read the token from this file, or from standard input when it is -")
	format := cli.Format(cmd, "text", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		names, err := a.tokenNames(args, file)
		if err != nil {
			return err
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			rs, err := a.replicas(ctx, cl)
			if err != nil {
				return err
			}
			name, t, err := rs.trace(ctx, names)
			if err != nil {
				return err
			}
			if *format == "json" {
				if err := cli.JSON(a.Stdout, t); err != nil {
					return err
				}
			} else if t.GetToken() != nil {
				if err := a.printTrace(name, t); err != nil {
					return err
				}
			}
			if t.GetToken() != nil && name != names[0] {
				cli.Printf(a.Stderr, "signet: the token was changed after it was minted, so that its SHA-256 is another one; it is as good as the one that is shown here\n")
			}
			return errors.Join(rs.missing(), traced(t))
		})
	}
	return cmd
}

// tokenNames are the names in the log of the token that is given as argument, in a file or on standard input. No error repeats what
// was read.
func (a *app) tokenNames(args []string, file string) ([]auditlog.Sum, error) {
	var text string
	switch {
	case len(args) == 1 && file != "":
		return nil, cli.Malformedf("leave one of them out", "a token is given twice: as an argument, and with --file")
	case len(args) == 1 && args[0] != "-":
		text = args[0]
	case len(args) == 1:
		file = "-"
	case file == "":
		return nil, cli.Malformedf("signet audit trace --file FILE reads it from a file, - from standard input", "no token and no SHA-256 of one is given")
	}
	if file != "" {
		data, err := a.readInput(file, maxTokenFile)
		if err != nil {
			return nil, err
		}
		text = string(data)
		clear(data)
	}
	names, err := client.TokenHashes(text)
	if err != nil {
		return nil, cli.Malformedf("a token has three parts with dots between them, a URL ends with its signature, and a SHA-256 has 64 hexadecimal digits", "what was given is %w", err)
	}
	return names, nil
}

// traced is the failure of a trace that has found nothing, and nil otherwise.
func traced(t *signetv1.TraceTokenResponse) error {
	if t.GetToken() != nil {
		return nil
	}
	todo := "it is another vault's, was changed after it was minted, or was never minted: whose key signed it stands in its header, kid"
	var silent []string
	for _, l := range t.GetLogs() {
		if l.GetUnreachable() != "" {
			silent = append(silent, fmt.Sprintf("%s: %s", l.GetOrigin(), l.GetUnreachable()))
		}
	}
	if len(silent) > 0 {
		todo = "not all could be asked: " + strings.Join(silent, "; ")
	}
	return &cli.Failure{Code: cli.NotFound, Err: errors.New("the token is not in any log that could be asked"), Todo: todo}
}

func (a *app) printTrace(name auditlog.Sum, t *signetv1.TraceTokenResponse) error {
	token := t.GetToken()
	life, alive := lifeOf(token, t.GetNow().AsTime())
	scope := strings.Join(token.GetScope(), ", ")
	if scope == "" && apple.Family(token.GetFamily()).Scoped() {
		scope = "none: whatever the key's role allows"
	}
	facts := [][2]string{
		{"token", "sha256:" + name.String()},
		{"family", token.GetFamily()},
		{"scope", scope},
		{"signed by", fmt.Sprintf("key %s, version %d (%s), key ID %s", token.GetKey(), token.GetVersion(), stateOf(token), token.GetKeyId())},
		{"issued", clock(token.GetIssueTime())},
		{"expires", life},
	}
	for _, l := range t.GetLogs() {
		if l.GetUnreachable() != "" {
			facts = append(facts, [2]string{"not asked", l.GetOrigin() + ": " + l.GetUnreachable()})
		}
	}
	if err := cli.Facts(a.Stdout, facts...); err != nil {
		return err
	}
	if err := a.printHolders(t); err != nil {
		return err
	}
	cli.Printf(a.Stdout, "\n")
	return cli.Facts(a.Stdout, [2]string{"to do", advice(token, alive, len(t.GetHolders()) > 0)})
}

// lifeOf says until when Apple takes a token, and whether it does so now. What has no end is alive.
func lifeOf(token *signetv1.TracedToken, now time.Time) (text string, alive bool) {
	if token.GetExpireTime() == nil {
		return "it has no end, and is ALIVE until its key is revoked at Apple", true
	}
	expires := token.GetExpireTime().AsTime()
	if expires.After(now) {
		return fmt.Sprintf("%s, ALIVE for another %s", clock(token.GetExpireTime()), expires.Sub(now).Round(time.Second)), true
	}
	return fmt.Sprintf("%s, dead for %s", clock(token.GetExpireTime()), now.Sub(expires).Round(time.Second)), false
}

func stateOf(token *signetv1.TracedToken) string {
	if token.GetVersionState() == "" {
		return "not in the vault any more"
	}
	return token.GetVersionState()
}

func (a *app) printHolders(t *signetv1.TraceTokenResponse) error {
	rows := [][]string{{"HOLDER", "TIMES", "FIRST", "LAST"}}
	for _, h := range t.GetHolders() {
		rows = append(rows, []string{h.GetId(), strconv.FormatInt(h.GetDeliveries(), 10), clock(h.GetFirstTime()), clock(h.GetLastTime())})
	}
	if len(rows) == 1 {
		rows = append(rows, []string{"nobody: it was withheld"})
	}
	cli.Printf(a.Stdout, "\n")
	if err := cli.Table(a.Stdout, rows); err != nil {
		return err
	}
	rows = [][]string{{"ENTRY", "TIME", "PRINCIPAL", "OUTCOME", "PROFILE", "GRANT", "PEER", "CERTIFICATE"}}
	for _, d := range t.GetDeliveries() {
		outcome := "given"
		switch {
		case d.GetWithheld():
			outcome = "withheld"
		case d.GetReused():
			outcome = "given again"
		}
		rows = append(rows, []string{
			entryName(d.GetOrigin(), d.GetIndex()), clock(d.GetTime()), d.GetPrincipal(), outcome, d.GetProfile(), d.GetGrant(), d.GetPeer(), d.GetCertificate(),
		})
	}
	cli.Printf(a.Stdout, "\n")
	if err := cli.Table(a.Stdout, rows); err != nil {
		return err
	}
	if more := t.GetTotalDeliveries() - int64(len(t.GetDeliveries())); more > 0 {
		cli.Printf(a.Stdout, "and %d before these\n", more)
	}
	return nil
}

// advice is what to do about a token that should be in nobody's hands.
func advice(token *signetv1.TracedToken, alive, held bool) string {
	switch {
	case !alive:
		return "nothing about the token: Apple does not take it any more. How it got out is another question; a caller whose certificate got out too is denied by a grant with deny: true"
	case !held:
		return "nothing: nobody was given it"
	case token.GetVersionState() == "active" || token.GetVersionState() == "disabled":
		return fmt.Sprintf("signet key revoke %s --version %d --reason TEXT, if it cannot wait: no other token is minted with the version then. %s", token.GetKey(), token.GetVersion(), token.GetRemainingStep())
	case token.GetVersionState() == "":
		return fmt.Sprintf("revoke key ID %s at Apple, if it cannot wait", token.GetKeyId())
	default:
		return "the version is revoked here. " + token.GetRemainingStep()
	}
}
