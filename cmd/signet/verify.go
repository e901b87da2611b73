package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
)

func (a *app) auditCheckpoint() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Print the log's latest signed checkpoint, and remember it",
		Long: `Print the log's latest signed checkpoint, verified with the log key that client.yaml pins. When one was seen before, the server must
prove that the log only grew since. It is remembered in the state directory ($XDG_STATE_HOME, or ~/.local/state); a copy kept elsewhere
is an anchor for signet audit verify --checkpoint.`,
		Example: "  signet audit checkpoint > checkpoint-$(date +%F).txt",
		Args:    cli.Args(),
	}
	format := cli.Format(cmd, "note", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			ps, err := a.pins()
			if err != nil {
				return err
			}
			cp, err := cl.Checkpoint(ctx, "")
			if err != nil {
				return unproved(err)
			}
			if cp, _, err = grown(ctx, cl, ps, cp); err != nil {
				return unproved(err)
			}
			if err := ps.set(cp.Origin.String(), cp.Note); err != nil {
				return err
			}
			if *format == "json" {
				return cli.JSON(a.Stdout, struct {
					Origin string `json:"origin"`
					Size   int64  `json:"size"`
					Hash   string `json:"hash"`
					Note   string `json:"note"`
				}{cp.Origin.String(), cp.Size, cp.Hash.String(), string(cp.Note)})
			}
			_, err = a.Stdout.Write(cp.Note)
			return err
		})
	}
	return cmd
}

// grown has the server prove that the log of cp contains what is pinned of it, and answers the newer checkpoint of the two and the
// pinned one, which has no note when nothing was pinned.
func grown(ctx context.Context, cl *client.Client, ps pins, cp client.Signed) (latest, pinned client.Signed, err error) {
	note, err := ps.get(cp.Origin.String())
	if err != nil || note == nil {
		return cp, client.Signed{}, err
	}
	if pinned, err = cl.OpenCheckpoint(note); err != nil {
		return client.Signed{}, client.Signed{}, fmt.Errorf("the pinned checkpoint in %s: %w", ps.path(cp.Origin.String()), err)
	}
	latest, err = cl.Since(ctx, pinned)
	return latest, pinned, err
}

func (a *app) auditVerify() *cobra.Command {
	var dir, key string
	var checkpoints []string
	var archived bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that the whole log is what was signed",
		Long: `Prove that the whole log is what was signed: the server proves that it contains the checkpoint that was pinned the last time, every
entry is fetched, the tree is computed anew and compared with the latest signed checkpoint, which is then pinned. After a gap the logs
before it are verified, too.

With --dir it is done without a server, on a directory of segments: D/log in the vault, or a copy. Every flipped bit, cut, reordered
or missing entry under a signature is named. Checkpoints that were kept elsewhere (--checkpoint, and those pinned) anchor it.`,
		Example: `  signet audit verify
  signet audit verify --dir /backup/log --key "$(cat log.key)" --checkpoint checkpoint-2026-01-31.txt`,
		Args: cli.Args(),
	}
	cmd.Flags().StringVar(&dir, "dir", "", "a directory of segments; asks no server")
	cmd.Flags().StringVar(&key, "key", "", "with --dir: the log's verifier key, or a file with it; taken from client.yaml when left out")
	cmd.Flags().StringArrayVar(&checkpoints, "checkpoint", nil, "a file with a checkpoint that the log must contain; may be repeated")
	cmd.Flags().BoolVar(&archived, "archived", false, "with --dir: the oldest segments may be absent")
	format := cli.Format(cmd, "text", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		if dir != "" {
			return a.verifyDir(dir, key, checkpoints, archived, *format)
		}
		if key != "" || archived {
			return cli.Malformedf("the server's log is verified with the key that client.yaml pins", "--key and --archived go with --dir")
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			return a.verifyServer(ctx, cl, checkpoints, *format)
		})
	}
	return cmd
}

// verifiedJSON is a verified log as -o json prints it.
type verifiedJSON struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Hash   string `json:"hash"`
	// PinnedSize is the size of the checkpoint that was pinned before; -1 when this is the first time.
	PinnedSize int64 `json:"pinnedSize"`
}

func (a *app) verifyServer(ctx context.Context, cl *client.Client, files []string, format string) error {
	ps, err := a.pins()
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := a.contains(ctx, cl, file); err != nil {
			return err
		}
	}
	current, err := cl.Checkpoint(ctx, "")
	if err != nil {
		return unproved(err)
	}
	earlier, err := a.earlierLogs(cl, ps, current.Origin)
	if err != nil {
		return err
	}
	var done []verifiedJSON
	for _, log := range earlier {
		cp, err := cl.Checkpoint(ctx, log)
		if err != nil {
			return unproved(fmt.Errorf("log %s: %w", log, err))
		}
		v, err := a.verifyLog(ctx, cl, ps, cp)
		if err != nil {
			return err
		}
		done = append(done, v)
	}
	v, err := a.verifyLog(ctx, cl, ps, current)
	if err != nil {
		return err
	}
	done = append(done, v)
	if format == "json" {
		return cli.JSON(a.Stdout, struct {
			Logs []verifiedJSON `json:"logs"`
		}{done})
	}
	for _, v := range done {
		since := "first seen now, and pinned"
		if v.PinnedSize >= 0 {
			since = fmt.Sprintf("grown from the pinned %d", v.PinnedSize)
		}
		fmt.Fprintf(a.Stdout, "verified: %s, %d entries, %s\n", v.Origin, v.Size, since)
	}
	if len(done) > 1 {
		fmt.Fprintln(a.Stdout, "There was a gap between these logs: signet system status says what was found, and who acknowledged it is in the log.")
	}
	return nil
}

// contains has the server prove that its log contains the checkpoint in a file.
func (a *app) contains(ctx context.Context, cl *client.Client, file string) error {
	msg, err := a.readInput(file, maxSealedFile)
	if err != nil {
		return err
	}
	cp, err := cl.OpenCheckpoint(msg)
	if err != nil {
		return unproved(fmt.Errorf("%s: %w", file, err))
	}
	if _, err := cl.Since(ctx, cp); err != nil {
		return unproved(fmt.Errorf("%s: %w", file, err))
	}
	return nil
}

// earlierLogs are logs of the current log's node that the config or a pin names, and that are not the current one: a node opens a
// new log only after a gap, and the one before must still be what it was.
func (a *app) earlierLogs(cl *client.Client, ps pins, current auditlog.Origin) ([]string, error) {
	known, err := ps.origins()
	if err != nil {
		return nil, err
	}
	for _, o := range cl.Origins() {
		known = append(known, o.String())
	}
	known = slices.DeleteFunc(known, func(s string) bool {
		o, err := auditlog.ParseOrigin(s)
		return err != nil || o.KeyName() != current.KeyName() || o == current
	})
	slices.Sort(known)
	return slices.Compact(known), nil
}

// verifyLog verifies one log against its pin and down to its entries, and pins what was verified.
func (a *app) verifyLog(ctx context.Context, cl *client.Client, ps pins, cp client.Signed) (verifiedJSON, error) {
	latest, pinned, err := grown(ctx, cl, ps, cp)
	if err != nil {
		return verifiedJSON{}, unproved(err)
	}
	if err := cl.VerifyEntries(ctx, latest, a.progress(latest.Size)); err != nil {
		return verifiedJSON{}, unproved(err)
	}
	if err := ps.set(latest.Origin.String(), latest.Note); err != nil {
		return verifiedJSON{}, err
	}
	v := verifiedJSON{Origin: latest.Origin.String(), Size: latest.Size, Hash: latest.Hash.String(), PinnedSize: -1}
	if pinned.Note != nil {
		v.PinnedSize = pinned.Size
	}
	return v, nil
}

// progress shows on a terminal how far a long verification is; elsewhere it is silent.
func (a *app) progress(total int64) func(int64) {
	if !cli.Terminal(a.Stderr) {
		return nil
	}
	next := a.Now().Add(time.Second)
	return func(done int64) {
		if done%1000 != 0 && done != total {
			return
		}
		if now := a.Now(); now.After(next) || done == total {
			fmt.Fprintf(a.Stderr, "\r%d of %d entries", done, total)
			next = now.Add(time.Second)
		}
		if done == total {
			fmt.Fprintln(a.Stderr)
		}
	}
}

// verifyDir verifies segments without a server.
func (a *app) verifyDir(dir, key string, files []string, archived bool, format string) error {
	v, err := a.logKey(key)
	if err != nil {
		return err
	}
	o := auditlog.VerifyOptions{Archived: archived}
	for _, file := range files {
		msg, err := a.readInput(file, maxSealedFile)
		if err != nil {
			return err
		}
		cp, err := auditlog.OpenCheckpoint(msg, v)
		if err != nil {
			return cli.Malformedf("signet audit checkpoint prints one", "%s is no checkpoint signed by this log's key: %w", file, err)
		}
		o.Anchors = append(o.Anchors, cp)
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		return cli.Malformedf("it is the directory log of the vault, or a copy of it", "%s is not a directory", dir)
	}
	pinned, err := a.pinned(v)
	if err != nil {
		return err
	}
	o.Anchors = append(o.Anchors, pinned...)
	reports, err := auditlog.VerifyLogs(os.DirFS(dir), v, o)
	if err != nil {
		return fmt.Errorf("reading the segments: %w", err)
	}
	return a.printReports(reports, format)
}

// logKey is the verifier that --key gives, as text or as a file, or the only one that client.yaml pins.
func (a *app) logKey(key string) (note.Verifier, error) {
	if key == "" {
		conf, ok, err := a.loadConfig()
		if err != nil {
			return nil, err
		}
		if !ok || len(conf.Logs) != 1 {
			return nil, cli.Malformedf("it stands in logs of client.yaml, and in signet system status", "--key is needed: client.yaml does not pin exactly one log key")
		}
		key = conf.Logs[0].Key
	}
	if !strings.Contains(key, "+") || filepath.IsAbs(key) {
		data, err := a.readInput(key, 1<<10)
		if err != nil {
			return nil, err
		}
		key = string(data)
	}
	v, err := note.NewVerifier(strings.TrimSpace(key))
	if err != nil {
		return nil, cli.Malformedf("it looks like VAULT/NODE+HASH+BASE64, and stands in logs of client.yaml", "--key is not a verifier key, nor a file with one")
	}
	return v, nil
}

// pinned are the checkpoints that were pinned of logs of this key.
func (a *app) pinned(v note.Verifier) ([]auditlog.Checkpoint, error) {
	ps, err := a.pins()
	if err != nil {
		return nil, nil //nolint:nilerr // no home, so nothing was pinned
	}
	origins, err := ps.origins()
	if err != nil {
		return nil, err
	}
	var all []auditlog.Checkpoint
	for _, s := range origins {
		if o, err := auditlog.ParseOrigin(s); err != nil || o.KeyName() != v.Name() {
			continue
		}
		msg, err := ps.get(s)
		if err != nil {
			return nil, err
		}
		cp, err := auditlog.OpenCheckpoint(msg, v)
		if err != nil {
			return nil, fmt.Errorf("the pinned checkpoint in %s: %w", ps.path(s), err)
		}
		all = append(all, cp)
	}
	return all, nil
}

func (a *app) printReports(reports []*auditlog.Report, format string) error {
	damages := 0
	all := make([]any, 0, len(reports))
	for _, r := range reports {
		damages += len(r.Damage)
		all = append(all, reportJSON(r))
		if format == "json" {
			continue
		}
		for _, d := range r.Damage {
			fmt.Fprintf(a.Stdout, "damage: %s: %s\n", r.Origin, d)
		}
		for _, e := range r.Evidence {
			fmt.Fprintf(a.Stdout, "set aside: %s: %d bytes of segment %d from byte %d on, which were never acknowledged\n", r.Origin, e.Length, e.Segment, e.Offset)
		}
		if len(r.Damage) == 0 {
			fmt.Fprintf(a.Stdout, "verified: %s, %d entries, %d of them under a signature\n", r.Origin, r.Size-r.First, r.Signed-r.First)
		}
	}
	if format == "json" {
		if err := cli.JSON(a.Stdout, struct {
			Logs []any `json:"logs"`
		}{all}); err != nil {
			return err
		}
	}
	if damages > 0 {
		return &cli.Failure{Code: cli.Other, Err: fmt.Errorf("the log is damaged in %d places", damages), Todo: "keep the directory as it is: what stands in it is evidence"}
	}
	return nil
}

func reportJSON(r *auditlog.Report) any {
	type damage struct {
		Segment int64  `json:"segment"`
		Line    int    `json:"line"`
		Index   int64  `json:"index"`
		What    string `json:"what"`
	}
	type aside struct {
		Segment  int64 `json:"segment"`
		Offset   int64 `json:"offset"`
		Length   int64 `json:"length"`
		Recorded int64 `json:"recorded"`
	}
	out := struct {
		Origin   string   `json:"origin"`
		First    int64    `json:"first"`
		Size     int64    `json:"size"`
		Hash     string   `json:"hash"`
		Signed   int64    `json:"signed"`
		Damage   []damage `json:"damage"`
		SetAside []aside  `json:"setAside"`
	}{Origin: r.Origin.String(), First: r.First, Size: r.Size, Hash: r.Hash.String(), Signed: r.Signed, Damage: []damage{}, SetAside: []aside{}}
	for _, d := range r.Damage {
		out.Damage = append(out.Damage, damage(d))
	}
	for _, e := range r.Evidence {
		out.SetAside = append(out.SetAside, aside(e))
	}
	return out
}
