package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
)

func (a *app) auditCheckpoint() *cobra.Command {
	var log string
	cmd := &cobra.Command{
		Use:   "checkpoint",
		Short: "Print the log's latest signed checkpoint, and remember it",
		Long: `Print the log's latest signed checkpoint, verified with the log key that client.yaml pins. When one was seen before, the server must
prove that the log only grew since. It is remembered in the state directory ($XDG_STATE_HOME, or ~/.local/state); a copy kept elsewhere
is an anchor for signet audit verify --checkpoint.`,
		Example: "  signet audit checkpoint > checkpoint-$(date +%F).txt",
		Args:    cli.Args(),
	}
	cmd.Flags().StringVar(&log, "log", "", "of this log, by origin or log id; the current one when left out, where there is only one server")
	format := cli.Format(cmd, "note", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			ps, err := a.pins()
			if err != nil {
				return err
			}
			rs, err := a.replicas(ctx, cl)
			if err != nil {
				return err
			}
			if rs, err = rs.having(ctx, log); err != nil {
				return err
			}
			if rs.several && log == "" {
				return cli.Malformedf("signet audit verify remembers a checkpoint of each", "there are several logs; --log says of which the checkpoint is to be")
			}
			return a.checkpoint(ctx, rs.all[0].Client, ps, log, *format)
		})
	}
	return cmd
}

// checkpoint prints a log's latest checkpoint and pins it.
func (a *app) checkpoint(ctx context.Context, cl *client.Client, ps pins, log, format string) error {
	cp, err := cl.Checkpoint(ctx, log)
	if err != nil {
		return unproved(err)
	}
	if cp, _, err = grown(ctx, cl, ps, cp); err != nil {
		return unproved(err)
	}
	if err := ps.set(cp.Origin.String(), cp.Note); err != nil {
		return err
	}
	if format == "json" {
		return cli.JSON(a.Stdout, struct {
			Origin string `json:"origin"`
			Size   int64  `json:"size"`
			Hash   string `json:"hash"`
			Note   string `json:"note"`
		}{cp.Origin.String(), cp.Size, cp.Hash.String(), string(cp.Note)})
	}
	_, err = a.Stdout.Write(cp.Note)
	return err
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
	var key string
	var dirs, checkpoints []string
	var archived, archive bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that the whole log is what was signed",
		Long: `Prove that the whole log is what was signed: the server proves that it contains the checkpoint that was pinned the last time, every
entry is fetched, the tree is computed anew and compared with the latest signed checkpoint, which is then pinned. After a gap the logs
before it are verified, too, each against the head that the first entry of the next one names. While such a gap is open it fails. Once
the gap is acknowledged, a checkpoint that was pinned of what was lost is put aside, beside the pins, and it says so.

Every server of a vault has a log of its own: each address of client.yaml is asked for its, which is verified with the key that
client.yaml pins for its node. An address that cannot be reached, and a log in client.yaml that none has, are named, and the exit code
is 6; it is 1 when a log is not what was signed.

With --dir it is done without a server, on a directory of segments: D/log in the vault, or a copy. Every flipped bit, cut, reordered
or missing entry under a signature is named. Checkpoints that were kept elsewhere (--checkpoint, and those pinned) anchor it. With several
directories, an archive and the log, their segments are verified together as one log. With --archive the directory is an archive
alone: the log goes on elsewhere, and what is signed of it beyond the archive is not checked.`,
		Example: `  signet audit verify
  signet audit verify --dir /backup/log --key "$(cat log.key)" --checkpoint checkpoint-2026-01-31.txt
  signet audit verify --dir /archive/signet --dir vault/log
  signet audit verify --dir /archive/signet --archive`,
		Args: cli.Args(),
	}
	cmd.Flags().StringArrayVar(&dirs, "dir", nil, "a directory of segments; asks no server; may be repeated")
	cmd.Flags().StringVar(&key, "key", "", "with --dir: the log's verifier key, or a file with it; taken from client.yaml when left out")
	cmd.Flags().StringArrayVar(&checkpoints, "checkpoint", nil, "a file with a checkpoint that the log must contain; may be repeated")
	cmd.Flags().BoolVar(&archived, "archived", false, "with --dir: the oldest segments may be absent")
	cmd.Flags().BoolVar(&archive, "archive", false, "with --dir: it is an archive, and the log goes on elsewhere")
	format := cli.Format(cmd, "text", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		if len(dirs) > 0 {
			return a.verifyDirs(dirs, key, checkpoints, auditlog.VerifyOptions{Archived: archived, Continued: archive}, *format)
		}
		if key != "" || archived || archive {
			return cli.Malformedf("the server's log is verified with the key that client.yaml pins", "--key, --archived and --archive go with --dir")
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			return a.verifyServer(ctx, cl, checkpoints, *format)
		})
	}
	return cmd
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
			cli.Printf(a.Stderr, "\r%d of %d entries", done, total)
			next = now.Add(time.Second)
		}
		if done == total {
			cli.Printf(a.Stderr, "\n")
		}
	}
}
