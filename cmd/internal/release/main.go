// Command release builds what is given out: both programs for every platform and flavour, an SBOM of each, an image of the server,
// and checksums of all. The same sources and the same Go give the same bytes, wherever and whenever it runs; with --check it proves
// that, by building in two places.
//
// It runs in the root of a checkout, needs Go and git and nothing else, and writes only into its output directory, which it empties
// first.
package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

func main() {
	var r release
	flag.StringVar(&r.out, "out", "dist", "where to")
	flag.StringVar(&r.version, "version", "", "what the programs say of themselves")
	flag.TextVar(&r.time, "time", time.Time{}, "the time of every file, RFC 3339; that of the commit")
	flag.StringVar(&r.only, "only", "", "build only this target, such as linux-amd64-fips")
	check := flag.Bool("check", false, "build twice, in two places, and compare")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, r, *check); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, r release, check bool) error {
	if r.version == "" || r.time.IsZero() {
		return fmt.Errorf("--version and --time are needed: make release gives those of the commit")
	}
	if check {
		return reproduce(ctx, r)
	}
	return r.build(ctx)
}

// release is one build of everything.
type release struct {
	source  string // the root of the sources; "" for here
	out     string
	version string
	time    time.Time
	only    string
	env     []string // for go, beside what it needs
}

// targets are those to build.
func (r release) targets() ([]target, error) {
	all := targets()
	if r.only == "" {
		return all, nil
	}
	for _, t := range all {
		if t.name() == r.only {
			return []target{t}, nil
		}
	}
	return nil, fmt.Errorf("--only: there is no such target")
}

// build fills the output directory.
func (r release) build(ctx context.Context) error {
	if err := os.RemoveAll(r.out); err != nil {
		return err
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	chosen, err := r.targets()
	if err != nil {
		return err
	}
	var servers []platform
	for _, t := range chosen {
		for _, program := range programs {
			path := filepath.Join(r.out, program+"-"+t.name())
			if err := t.compile(ctx, r, program, path); err != nil {
				return err
			}
			if err := writeSBOM(path, program, r.version, r.time); err != nil {
				return err
			}
			if program == server && t.os == "linux" && t.flavour == "" {
				servers = append(servers, platform{t.arch, path})
			}
		}
	}
	if len(servers) > 0 {
		if err := writeImage(filepath.Join(r.out, server+"-image.tar"), servers, r.version, r.time); err != nil {
			return err
		}
	}
	return r.finish()
}

// finish writes SHA256SUMS and gives every file the commit's time.
func (r release) finish() error {
	names, err := files(r.out)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(r.out, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), name) // as sha256sum -c reads it
	}
	if err := os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), []byte(sums.String()), 0o644); err != nil {
		return err
	}
	for _, name := range append(names, "SHA256SUMS") {
		if err := os.Chtimes(filepath.Join(r.out, name), r.time, r.time); err != nil {
			return err
		}
	}
	return nil
}

// files are the names in a directory, in order.
func files(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	sort.Strings(names)
	return names, nil
}
