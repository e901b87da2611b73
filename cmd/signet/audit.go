package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

func (a *app) audit() *cobra.Command {
	return cli.Group("audit", "Read the audit log, and prove that it is whole",
		a.auditList(), a.auditShow(), a.auditWatch(), a.auditTrace(), a.auditReport(), a.auditVerify(), a.auditCheckpoint())
}

// maxPage is the largest page that a server gives.
const maxPage = 5000

func (a *app) auditList() *cobra.Command {
	var f signetv1.EntryFilter
	var since, until, token string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List entries",
		Long: `List the newest entries that all filters leave, oldest first. With -o json each line is an entry's stored bytes, whose hash is in
the tree.

Every server of a vault has a log of its own. All addresses of client.yaml are asked for theirs, and the entries are merged by time,
each with its log's id before its index (with -o json, node says whose it is). An address that cannot be reached and a log in
client.yaml that none has are named at the end, and the exit code is 6.`,
		Example: `  signet audit list --since 24h
  signet audit list --key asc-release --action token.mint --outcome denied
  signet audit list --profile ios-release --since 2026-01-01 --until 2026-02-01
  signet audit list --principal spiffe://signet.local/ci/1 --limit 0 -o json | jq -r .token.sha256`,
		Args: cli.Args(),
	}
	filterFlags(cmd, &f, &token)
	cmd.Flags().StringVar(&f.Log, "log", "", "of this log only, by origin or log id; all logs when left out")
	cmd.Flags().StringVar(&since, "since", "", "not older than this: 2h, 7d, 2026-01-31 or 2026-01-31T15:04:05Z")
	cmd.Flags().StringVar(&until, "until", "", "older than this: as --since")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most this many, the newest ones; 0 for all")
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		if limit < 0 {
			return cli.Malformedf("", "--limit is 0 or more")
		}
		if err := a.narrow(&f, since, until, token); err != nil {
			return err
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			rs, err := a.replicas(ctx, cl)
			if err != nil {
				return err
			}
			if rs, err = rs.having(ctx, f.Log); err != nil {
				return err
			}
			entries, err := rs.entries(ctx, &f, limit)
			if err != nil && !errors.Is(err, client.ErrArchived) {
				return byFlag(err)
			}
			// What is here is printed before it is said that there may be more in an archive, or on a server that is away.
			return errors.Join(a.listEntries(entries, rs.several, *format), rs.missing(), err)
		})
	}
	return cmd
}

// byFlag is an answer that refuses a field of the request, in the words of the flag that the field came from.
func byFlag(err error) error {
	e, ok := errors.AsType[*client.Error](err)
	if !ok || len(e.Problems()) == 0 {
		return err
	}
	p := e.Problems()[0]
	switch name := strings.TrimPrefix(p.Field, "filter."); name {
	case "action", "outcome", "key", "principal", "profile", "log", "scope":
		return cli.Malformedf("", "--%s: %s", name, p.Message)
	}
	if flag, ok := flagOfField(p.Field); ok {
		return cli.Malformedf("", "--%s: %s", flag.name, p.Message)
	}
	return err
}

// listEntries prints entries as a table, or their stored bytes. several says that there are several logs, whichever these are of.
func (a *app) listEntries(entries []*signetv1.StoredEntry, several bool, format string) error {
	if format != "json" {
		return a.printEntries(entries, several)
	}
	for _, e := range entries {
		if _, err := fmt.Fprintf(a.Stdout, "%s\n", e.GetLine()); err != nil {
			return err
		}
	}
	return nil
}

// filterFlags are the flags by which entries are chosen, wherever they come from.
func filterFlags(cmd *cobra.Command, f *signetv1.EntryFilter, token *string) {
	cmd.Flags().StringVar(&f.Key, "key", "", "of this key")
	cmd.Flags().StringVar(&f.Principal, "principal", "", "of this caller, a SPIFFE id")
	cmd.Flags().StringVar(&f.Profile, "profile", "", "of this profile")
	cmd.Flags().StringVar(token, "token", "", "of the token with this SHA-256, in hexadecimal; never the token itself")
	cmd.Flags().StringVar(&f.Action, "action", "", "with this action, such as token.mint")
	cmd.Flags().StringVar(&f.Outcome, "outcome", "", "with this outcome: allowed, denied, failed, intent, done, withheld, recovered, summary")
}

// newest are the newest entries, oldest first; all when limit is 0. What was found before an error comes with it.
func newest(ctx context.Context, cl *client.Client, f *signetv1.EntryFilter, limit int) ([]*signetv1.StoredEntry, error) {
	page := maxPage
	if limit > 0 {
		page = min(limit, maxPage)
	}
	var entries []*signetv1.StoredEntry
	for e, err := range cl.Entries(ctx, f, signetv1.EntryOrder_ENTRY_ORDER_UNSPECIFIED, int32(page)) {
		if err != nil {
			slices.Reverse(entries)
			return entries, err
		}
		if entries = append(entries, e); len(entries) == limit {
			break
		}
	}
	slices.Reverse(entries)
	return entries, nil
}

// period reads the values of --since and --until; what is empty is no limit.
func (a *app) period(since, until string) (from, to *timestamppb.Timestamp, _ error) {
	for _, limit := range []struct {
		flag, value string
		to          **timestamppb.Timestamp
	}{{"--since", since, &from}, {"--until", until, &to}} {
		if limit.value == "" {
			continue
		}
		t, err := parseWhen(limit.flag, limit.value, a.Now())
		if err != nil {
			return nil, nil, err
		}
		*limit.to = timestamppb.New(t)
	}
	return from, to, nil
}

// narrow adds to a filter what is not text.
func (a *app) narrow(f *signetv1.EntryFilter, since, until, token string) error {
	var err error
	if f.Since, f.Until, err = a.period(since, until); err != nil {
		return err
	}
	if f.Since != nil && f.Until != nil && !f.Since.AsTime().Before(f.Until.AsTime()) {
		return cli.Malformedf("", "--since is not before --until: no entry is in between")
	}
	if token == "" {
		return nil
	}
	var sum auditlog.Sum
	if err := sum.UnmarshalText([]byte(strings.ToLower(strings.TrimPrefix(token, "sha256:")))); err != nil {
		return cli.Malformedf("printf %s \"$TOKEN\" | sha256sum makes it", "--token is the SHA-256 of a token, 64 hexadecimal digits, and not the token")
	}
	f.TokenSha256 = sum[:]
	return nil
}

// parseWhen takes a point in time, or a duration before now.
func parseWhen(flag, s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if d, ok := cli.ParseSpan(s); ok {
		return now.Add(-d), nil
	}
	return time.Time{}, cli.Malformedf("", "%s is a duration such as 2h or 7d, or a time such as 2026-01-31 or 2026-01-31T15:04:05Z", flag)
}

func (a *app) printEntries(entries []*signetv1.StoredEntry, several bool) error {
	several = several || slices.ContainsFunc(entries, func(e *signetv1.StoredEntry) bool { return e.GetOrigin() != entries[0].GetOrigin() })
	rows := [][]string{entryHead}
	for _, s := range entries {
		rows = append(rows, entryRow(s, several))
	}
	return cli.Table(a.Stdout, rows)
}

// entryHead is the head of entryRow's rows.
var entryHead = []string{"INDEX", "TIME", "PRINCIPAL", "ACTION", "OUTCOME", "KEY", "PROFILE", "WHY"}

// entryRow is an entry in columns; its index has the log's id before it where there are several logs.
func entryRow(s *signetv1.StoredEntry, several bool) []string {
	index := strconv.FormatInt(s.GetIndex(), 10)
	if several {
		index = entryName(s.GetOrigin(), s.GetIndex())
	}
	e, err := auditlog.ParseEntry(s.GetLine())
	if err != nil {
		return []string{index, "", "", "", "", "", "", "not an entry that this program knows"}
	}
	who := ""
	if e.Principal != nil {
		who = e.Principal.ID
	}
	return []string{index, e.Time.UTC().Format(time.RFC3339), who, e.Action, string(e.Outcome), e.Key, e.Profile, why(e)}
}

// entryName names an entry as entryPlace takes it: by its log's id and its index.
func entryName(origin string, index int64) string {
	return origin[strings.LastIndexByte(origin, '/')+1:] + "/" + strconv.FormatInt(index, 10)
}

// why is what a reader wants to know of an entry beyond its columns.
func why(e *auditlog.Entry) string {
	switch {
	case e.Outcome == auditlog.Summary:
		return fmt.Sprintf("%d times: %s", e.Count, e.Reason)
	case e.Justification != "":
		return e.Justification
	case e.Reason != "":
		return e.Reason
	case e.Issued != nil:
		return "for " + e.Issued.URI
	case e.Grant != "" && e.Token != nil && e.Token.Reused:
		return "grant " + e.Grant + ", given again"
	case e.Grant != "":
		return "grant " + e.Grant
	}
	return ""
}

func (a *app) auditShow() *cobra.Command {
	var log string
	cmd := &cobra.Command{
		Use:   "show [LOG/]INDEX",
		Short: "Show an entry and the proof that it is in the log",
		Long: `Show an entry. The server proves that it is in the log, and the proof is verified here, with the log key that client.yaml pins.
The index is as signet audit list prints it, with the log's id before it where there are several logs. With -o json the proof is a c2sp.org/tlog-proof text, which anybody can verify again without a server.`,
		Example: "  signet audit show 5\n  signet audit show 5 -o json | jq -r .proof",
		Args:    cli.Args("[LOG/]INDEX"),
	}
	cmd.Flags().StringVar(&log, "log", "", "an earlier log, by origin or log id; the current one when left out")
	format := cli.Format(cmd, "text", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		log, index, err := entryPlace(log, args[0])
		if err != nil {
			return err
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			rs, err := a.replicas(ctx, cl)
			if err != nil {
				return err
			}
			if rs.several && log == "" {
				return cli.Malformedf("signet audit list prints them", "there are several logs, so that an entry is named by LOG/INDEX")
			}
			if rs, err = rs.having(ctx, log); err != nil {
				return err
			}
			cl = rs.all[0].Client
			e, err := entry(ctx, cl, log, index)
			if err != nil {
				return err
			}
			proof, text, err := cl.Prove(ctx, e)
			if err != nil {
				return unproved(err)
			}
			if *format == "json" {
				return cli.JSON(a.Stdout, struct {
					Origin   string `json:"origin"`
					Index    int64  `json:"index"`
					Entry    string `json:"entry"` // the stored bytes, which the leaf hash is of
					LeafHash string `json:"leafHash"`
					Proof    string `json:"proof"`
				}{e.GetOrigin(), e.GetIndex(), string(e.GetLine()), base64.StdEncoding.EncodeToString(proof.Leaf[:]), string(text)})
			}
			if err := cli.JSON(a.Stdout, json.RawMessage(e.GetLine())); err != nil {
				return err
			}
			return cli.Facts(a.Stdout,
				[2]string{"log", e.GetOrigin()},
				[2]string{"index", strconv.FormatInt(e.GetIndex(), 10)},
				[2]string{"leaf hash", proof.Leaf.String()},
				[2]string{"proof", fmt.Sprintf("verified: in the log under the signed checkpoint of %d entries", proof.Checkpoint.Size)},
			)
		})
	}
	return cmd
}

// entryPlace takes apart what names an entry: its index, and before it, perhaps, its log's id or origin.
func entryPlace(log, arg string) (string, int64, error) {
	if i := strings.LastIndexByte(arg, '/'); i >= 0 {
		if log != "" && log != arg[:i] {
			return "", 0, cli.Malformedf("leave --log out", "--log and the log before the index are not the same")
		}
		log, arg = arg[:i], arg[i+1:]
	}
	index, err := strconv.ParseInt(arg, 10, 64)
	if err != nil || index < 0 {
		return "", 0, cli.Malformedf("signet audit list prints them", "INDEX is a number from 0, with LOG/ before it or not")
	}
	return log, index, nil
}

// entry is the entry at an index.
func entry(ctx context.Context, cl *client.Client, log string, index int64) (*signetv1.StoredEntry, error) {
	f := &signetv1.EntryFilter{Log: log, Index: &index}
	for e, err := range cl.Entries(ctx, f, signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST, 1) {
		return e, err
	}
	return nil, &cli.Failure{Code: cli.NotFound, Err: errors.New("the log has no entry with this index"), Todo: "signet audit list --limit 1 prints the newest"}
}

// unproved says what a failed verification means; anything else stays as it is.
func unproved(err error) error {
	e, ok := errors.AsType[*client.Error](err)
	switch {
	case ok && e.Reason() == "GAP":
		return &cli.Failure{Code: cli.Other, Err: fmt.Errorf("the log is not what was signed before: %w", err),
			Todo: "keep the server's disk as it is: signet audit verify says which gap it is, and signet system status whether the server mints"}
	case errors.Is(err, client.ErrLogEnded):
		return &cli.Failure{Code: cli.Other, Err: err, Todo: "signet audit verify verifies what is left of it, and names the gap"}
	case errors.Is(err, client.ErrUnverified):
		return &cli.Failure{Code: cli.Other, Err: err, Todo: "somebody changed the log, or answers in its place: keep everything as it is, and find out who"}
	case errors.Is(err, client.ErrNoLogKey):
		return &cli.Failure{Code: cli.Other, Err: err, Todo: "logs in client.yaml pins the key: take it from the client.yaml that signetd wrote"}
	}
	return err
}
