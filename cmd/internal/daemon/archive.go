package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/store/audit"
)

func (p *program) log() *cobra.Command {
	return cli.Group("log", "Look after the files of the audit log", p.archive())
}

func (p *program) archive() *cobra.Command {
	var file, to, older string
	cmd := &cobra.Command{
		Use:   "archive --config FILE --to DIR",
		Short: "Move old segments of the audit log to another place",
		Long: `Move the segments of the audit log whose entries are all old enough to another directory, oldest first. A segment goes only once
its copy is on the disk there, agrees with what the next segment says of it, and was read back. The one that is being written stays.
A server may run meanwhile, and goes on from there. It can be repeated after a crash.

Entries that were archived are still counted and can be proved, but no longer listed: a query that comes upon them says so.
signet audit verify --dir DIR --dir LOG proves archive and log together, and --dir DIR --archive the archive alone.`,
		Example: "  signetd log archive --config vault/signetd.yaml --to /archive/signet --older-than 90d",
		Args:    cli.Args(),
	}
	cmd.Flags().StringVar(&file, "config", "", "the vault's signetd.yaml")
	cmd.Flags().StringVar(&to, "to", "", "the archive, a directory that exists and is not within the log's")
	cmd.Flags().StringVar(&older, "older-than", "90d", "how old the youngest entry of a segment is at least, such as 90d or 12h")
	format := cli.Format(cmd, "text", "json")
	cli.Required(cmd, "config", "to")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		conf, err := loadConfig(file)
		if err != nil {
			return err
		}
		age, ok := cli.ParseSpan(older)
		if !ok {
			return cli.Malformedf("", "--older-than is a duration such as 90d or 12h")
		}
		if err := archivePlace(conf.Log, to); err != nil {
			return err
		}
		moved, err := audit.Archive(c.Context(), audit.DirFS(conf.Log), audit.DirFS(to), p.Now().Add(-age))
		if printed := p.printArchived(moved, to, *format); printed != nil {
			return errors.Join(err, printed)
		}
		if err != nil {
			return &cli.Failure{Code: cli.Other, Err: err, Todo: "what was moved is in the archive and whole; correct what is wrong and repeat it"}
		}
		return nil
	}
	return cmd
}

// archivePlace refuses an archive that is not there, or that would be taken for a log, or that is the log under another spelling: a
// segment would be its own copy, and be removed.
func archivePlace(log, to string) error {
	if st, err := os.Stat(to); err != nil || !st.IsDir() {
		return cli.Malformedf("make it, or mount it", "--to: %s is not a directory", to)
	}
	l, err := filepath.EvalSymlinks(log)
	if err != nil {
		return fmt.Errorf("finding the log: %w", err)
	}
	abs, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return err
	}
	for dir := abs; ; dir = filepath.Dir(dir) {
		if cli.SameFile(dir, l) {
			return cli.Malformedf(otherPlace, "--to lies within the log that is to be archived")
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	logs, err := os.ReadDir(l)
	if err != nil {
		return fmt.Errorf("reading the log's directory: %w", err)
	}
	for _, d := range logs {
		if d.IsDir() && cli.SameFile(filepath.Join(abs, d.Name()), filepath.Join(l, d.Name())) {
			return cli.Malformedf(otherPlace, "%s in --to is the log that is to be archived", d.Name())
		}
	}
	return nil
}

const otherPlace = "choose another disk, or at least another directory"

func (p *program) printArchived(moved []audit.Archived, to, format string) error {
	total := int64(0)
	for _, m := range moved {
		total += m.Bytes
	}
	if format == "json" {
		type segment struct {
			Log     string `json:"log"`
			Segment int64  `json:"segment"`
			Bytes   int64  `json:"bytes"`
		}
		list := make([]segment, len(moved))
		for i, m := range moved {
			list[i] = segment(m)
		}
		return cli.JSON(p.Stdout, struct {
			Archived []segment `json:"archived"`
			Bytes    int64     `json:"bytes"`
		}{list, total})
	}
	for _, m := range moved {
		cli.Printf(p.Stdout, "archived: log %s segment %d, %d bytes\n", m.Log, m.Segment, m.Bytes)
	}
	cli.Printf(p.Stdout, "%s, %d bytes, now in %s\n", cli.Count(len(moved), "segment"), total, to)
	return nil
}
