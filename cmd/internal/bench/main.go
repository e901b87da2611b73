// Command bench measures Signet against its bars: one line a bar, beside a bare server and a real HashiCorp Vault in the same run.
//
// Every figure is of the programs that make build makes, over mTLS and with real fsyncs. The machine is shared with the load
// generator and with whoever else runs on it, so rounds of the servers alternate and only their ratios are judged.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const callers = 64

func main() {
	if len(os.Args) == 6 && os.Args[1] == "serve-bare" {
		fmt.Fprintln(os.Stderr, "bare:", serveBare(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Stderr))
		os.Exit(1)
	}
	round := flag.Duration("round", time.Second, "how long one round of load takes")
	n := flag.Int("rounds", 15, "rounds of each server in each comparison")
	only := flag.String("only", "", "one part: "+partNames())
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: bench [flags] DIR-OF-THE-PROGRAMS")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, flag.Arg(0), *only, rounds{*n, *round}); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bar prints one line. A value that misses its bar is reported and is not an error: bars are goals, and machines differ.
func bar(name string, value float64, unit, op string, want float64) {
	verdict := "short"
	if op == ">=" && value >= want || op == "<=" && value <= want {
		verdict = "ok"
	}
	fmt.Printf("BAR %s %.3g %s %s %g %s\n", name, value, unit, op, want, verdict)
}

func note(format string, args ...any) { fmt.Printf("    "+format+"\n", args...) }

// part is some of the bars, which need the same servers.
type part struct {
	name string
	run  func(context.Context, *workshop, rounds) error
}

// rounds are how long, and how often, a comparison loads each server.
type rounds struct {
	n int
	d time.Duration
}

var parts = []part{
	{"mint", benchMint},
	{"vault", benchVault},
	{"transit", benchTransit},
	{"replicas", benchReplicas},
	{"growth", benchGrowth},
	{"many-keys", benchManyKeys},
	{"audit", benchAudit},
}

func partNames() string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

func run(ctx context.Context, bin, only string, r rounds) (err error) {
	w, err := newWorkshop(bin)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(w.dir)) }()
	ran := false
	for _, p := range parts {
		if only != "" && only != p.name {
			continue
		}
		ran = true
		if err := errors.Join(p.run(ctx, w, r), w.stop()); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if !ran {
		return fmt.Errorf("there is no part of that name: use %s", partNames())
	}
	return nil
}

// benchMint sets Signet beside the bare server.
func benchMint(ctx context.Context, w *workshop, r rounds) error {
	signet, err := w.vault(ctx, "mint", onDisk{}, 10, policyDocument(10))
	if err != nil {
		return err
	}
	yardstick, err := w.bare(ctx)
	if err != nil {
		return err
	}
	rs, err := compare(ctx, callers, r, signet.target, yardstick)
	if err != nil {
		return err
	}
	noteBoth(callers, "signet", rs[0], "bare", rs[1])
	bar("mint-rate", rs[0].of(rs[1], rate), "of-bare", ">=", 0.90)

	if rs, err = compare(ctx, 1, r, signet.target, yardstick); err != nil {
		return err
	}
	noteBoth(1, "signet", rs[0], "bare", rs[1])
	bar("mint-p50", rs[0].of(rs[1], p50), "of-bare", "<=", 1.20)
	return nil
}

func noteBoth(callers int, a string, as series, b string, bs series) {
	am, bm := as.median(), bs.median()
	note("callers %d: %s %v, %s %v", callers, a, am, b, bm)
	note("    a token costs %s %s; %s %s", a, am.cost(), b, bm.cost())
}

// benchGrowth sets a vault with much in it beside one with little.
func benchGrowth(ctx context.Context, w *workshop, r rounds) error {
	small, err := w.vault(ctx, "small", onDisk{}, 10, policyDocument(10))
	if err != nil {
		return err
	}
	for _, g := range []struct {
		name         string
		keys, grants int
	}{{"growth-keys", 100_000, 10}, {"growth-grants", 10, 10_000}} {
		large, err := w.vault(ctx, g.name, onDisk{}, g.keys, policyDocument(g.grants))
		if err != nil {
			return err
		}
		rs, err := compare(ctx, callers, r, large.target, small.target)
		if err != nil {
			return err
		}
		note("%d keys, %d grants: %v; 10 keys, 10 grants: %v", g.keys, g.grants, rs[0].median(), rs[1].median())
		bar(g.name, rs[0].of(rs[1], rate), "of-10", ">=", 0.90)
		if err := large.stop(); err != nil {
			return err
		}
	}
	return nil
}

// settled is how long a load lasts after which a server's memory is what it stays.
const settled = 2 * time.Second

// benchManyKeys looks at what ten thousand keys cost a server that has just been under load, and one that starts.
func benchManyKeys(ctx context.Context, w *workshop, r rounds) error {
	v, err := w.vault(ctx, "many-keys", onDisk{}, 10_000, policyDocument(10))
	if err != nil {
		return err
	}
	idle, err := v.resident()
	if err != nil {
		return err
	}
	if _, err := v.target.load(ctx, callers, max(r.d, settled)); err != nil {
		return err
	}
	loaded, err := v.resident()
	if err != nil {
		return err
	}
	note("resident with 10,000 keys: %.0f MB before the load, %.0f MB after it", float64(idle)/1e6, float64(loaded)/1e6)
	bar("memory-10k-keys", float64(loaded)/1e6, "MB", "<=", 60)

	var started series
	for range 5 {
		if err := v.stop(); err != nil {
			return err
		}
		took, err := v.start(ctx)
		if err != nil {
			return err
		}
		started = append(started, result{p50: took})
	}
	bar("start-10k-keys", float64(started.median().p50.Milliseconds()), "ms", "<=", 300)
	return nil
}
