package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// pins keeps the latest checkpoint seen of each log, as the signed note that it came in, one file a log. They are what finds out a
// log that was cut, rolled back or replaced behind everybody's back. A file that is gone costs only that.
type pins struct{ dir string }

// pins are in the user's state directory.
func (a *app) pins() (pins, error) {
	dir, err := a.userDir("XDG_STATE_HOME", filepath.Join(".local", "state"))
	if err != nil {
		return pins{}, fmt.Errorf("there is no place to remember checkpoints: %w", err)
	}
	return pins{filepath.Join(dir, "checkpoints")}, nil
}

// suffix tells a pin from anything else in the directory.
const suffix = ".checkpoint"

func (p pins) path(origin string) string {
	return filepath.Join(p.dir, url.PathEscape(origin)+suffix)
}

// get is the pinned note of a log; nil when none was pinned.
func (p pins) get(origin string) ([]byte, error) {
	data, err := os.ReadFile(p.path(origin))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the pinned checkpoint: %w", err)
	}
	return data, nil
}

// origins are the logs of which a checkpoint is pinned.
func (p pins) origins() ([]string, error) {
	entries, err := os.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the pinned checkpoints: %w", err)
	}
	var all []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok {
			if origin, err := url.PathUnescape(name); err == nil {
				all = append(all, origin)
			}
		}
	}
	return all, nil
}

// aside takes a log's pin away because a gap explains why the log does not contain it, and answers where it lies now: it is evidence
// of what was lost, and nothing overwrites it.
func (p pins) aside(origin, gap string) (string, error) {
	old := p.path(origin)
	name := old + ".gap-" + url.PathEscape(gap)
	for n := 2; ; n++ {
		err := os.Link(old, name)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("putting the pinned checkpoint aside: %w", err)
		}
		name = fmt.Sprintf("%s.gap-%s-%d", old, url.PathEscape(gap), n)
	}
	if err := os.Remove(old); err != nil {
		return "", fmt.Errorf("putting the pinned checkpoint aside: %w", err)
	}
	return name, nil
}

// set pins a note. A crash leaves the old one or the new one.
func (p pins) set(origin string, note []byte) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return fmt.Errorf("pinning the checkpoint: %w", err)
	}
	if err := cli.Replace(p.path(origin), note, 0o600); err != nil {
		return fmt.Errorf("pinning the checkpoint: %w", err)
	}
	return nil
}
