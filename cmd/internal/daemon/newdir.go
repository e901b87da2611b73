package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server"
)

// newDir makes a directory that appears whole, synced, or not at all: fill builds it beside its place. A place that holds
// anything is refused and left as it is. What a crash leaves is a sibling named .DIR.new-…, which nobody looks at again.
func newDir(dir string, fill func(tmp string) error) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("finding the directory: %w", err)
	}
	if err := vacant(dir); err != nil {
		return err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return fmt.Errorf("creating the directory: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+".new-*")
	if err != nil {
		return fmt.Errorf("creating the directory: %w", err)
	}
	err = fill(tmp)
	if err == nil {
		err = syncTree(tmp)
	}
	if err == nil {
		// Over an empty directory rename succeeds (os.Rename would not try), over one that was filled in between it fails.
		if err = syscall.Rename(tmp, dir); err != nil {
			err = fmt.Errorf("putting the directory in place: %w (a mount point cannot be replaced: name a directory below it)", err)
		}
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return cli.SyncDir(parent)
}

// interruptible runs what makes a directory with keys in it so that a signal leaves none of it behind. A second signal ends the
// process at once. What was left in Vault is told all the same.
func interruptible(ctx context.Context, run func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	err := run(ctx)
	if err != nil && ctx.Err() != nil && !errors.Is(err, errLeft) && !errors.Is(err, server.ErrNodeLeft) {
		return cli.Exit(cli.Interrupted)
	}
	return err
}

// rehearse puts an empty directory in place, as newDir will at its end, for those who could not go back then.
func rehearse(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("finding the directory: %w", err)
	}
	there := fileExists(dir)
	if err := newDir(dir, func(string) error { return nil }); err != nil {
		return err
	}
	if there {
		return nil
	}
	return os.Remove(dir)
}

// vacant says whether there is nothing at dir, or an empty directory.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &cli.Failure{Code: cli.Conflict, Err: fmt.Errorf("%s is there already, and is no empty directory: %w", dir, err), Todo: "name another directory"}
	case slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == configFile }):
		return &cli.Failure{Code: cli.Conflict, Err: fmt.Errorf("%s holds a vault already; it was not touched", dir), Todo: "start it with: signetd serve --config " + filepath.Join(dir, configFile)}
	case len(entries) > 0:
		return &cli.Failure{Code: cli.Conflict, Err: fmt.Errorf("%s is not empty; nothing was written", dir), Todo: "name a directory that is new or empty"}
	}
	return nil
}

// syncTree makes every file and directory below dir durable.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return cli.SyncDir(path) // which fsyncs whatever it is
	})
}
