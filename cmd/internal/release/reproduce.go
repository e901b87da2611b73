package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// reproduce builds in two copies of the sources, whose paths differ in length, the second time without anything that was compiled
// before, and compares what came out. A release that differs is named by its files.
func reproduce(ctx context.Context, r release) (err error) {
	work, err := os.MkdirTemp("", "signet-release-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	var outs []string
	for i, name := range []string{"a", "another-place/for/the-same-sources"} {
		again := r
		again.source = filepath.Join(work, name, "src")
		again.out = filepath.Join(work, name, "dist")
		if i > 0 {
			again.env = []string{"GOCACHE=" + filepath.Join(work, "cache")}
		}
		if err := export(ctx, again.source); err != nil {
			return err
		}
		if err := again.build(ctx); err != nil {
			return err
		}
		outs = append(outs, again.out)
	}
	n, err := compare(outs[0], outs[1])
	if err == nil {
		fmt.Printf("%d files, built twice in two places: equal\n", n)
	}
	return err
}

// export copies the sources that git knows or would take, as they are now.
func export(ctx context.Context, to string) error {
	list, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("listing the sources: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		data, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // listed, and deleted since
		}
		if err != nil {
			return err
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// compare says which files of two directories differ, or how many there are.
func compare(a, b string) (int, error) {
	names, err := files(a)
	if err != nil {
		return 0, err
	}
	others, err := files(b)
	if err != nil {
		return 0, err
	}
	if len(names) == 0 || !slices.Equal(names, others) {
		return 0, fmt.Errorf("one build has %v, the other %v", names, others)
	}
	var differ []string
	for _, name := range names {
		one, err := os.ReadFile(filepath.Join(a, name))
		if err != nil {
			return 0, err
		}
		two, err := os.ReadFile(filepath.Join(b, name))
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(one, two) {
			differ = append(differ, name)
		}
	}
	if len(differ) > 0 {
		return 0, fmt.Errorf("built twice from the same sources, these differ: %s", strings.Join(differ, ", "))
	}
	return len(names), nil
}
