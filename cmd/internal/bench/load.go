package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// result is one round of load.
type result struct {
	rate     float64 // minted per second
	p50, p99 time.Duration
	server   time.Duration // processor time a token of the server's
	callers  time.Duration // and of its callers
}

// cost says what a token cost the processors. On a machine that does other work too it tells servers apart better than rates do.
func (r result) cost() string {
	if r.server == 0 {
		return fmt.Sprintf("nobody can tell here how much CPU, its callers %v", r.callers.Round(time.Microsecond))
	}
	return fmt.Sprintf("%v of CPU, its callers %v", r.server.Round(time.Microsecond), r.callers.Round(time.Microsecond))
}

// target is a server to be loaded, with one connection a caller: callers are separate programs in life.
type target struct {
	name   string
	pid    int                           // of the server
	calls  []func(context.Context) error // one a caller: asks for one token, and returns when it is there
	closes []func() error
}

func readPool(caFile string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", caFile)
	}
	return pool, nil
}

func dial(name string, p *process, addr, profile string, conf *tls.Config, callers int) (*target, error) {
	t := &target{name: name, pid: p.cmd.Process.Pid}
	for range callers {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		c := signetv1.NewTokenServiceClient(conn)
		t.calls = append(t.calls, func(ctx context.Context) error {
			_, err := c.MintToken(ctx, &signetv1.MintTokenRequest{Profile: profile})
			return err
		})
		t.closes = append(t.closes, conn.Close)
	}
	return t, nil
}

func (t *target) close() error {
	var errs []error
	for _, c := range t.closes {
		errs = append(errs, c())
	}
	t.closes = nil
	return errors.Join(errs...)
}

// load mints with the given number of callers, each as fast as it is answered, for about d.
func (t *target) load(ctx context.Context, callers int, d time.Duration) (result, error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		all   []time.Duration
		first error
	)
	before, err := t.busy()
	if err != nil {
		return result{}, err
	}
	start := time.Now()
	for _, call := range t.calls[:callers] {
		wg.Go(func() {
			took := make([]time.Duration, 0, 4096)
			for time.Since(start) < d {
				at := time.Now()
				if err := call(ctx); err != nil {
					mu.Lock()
					if first == nil {
						first = fmt.Errorf("minting from %s: %w", t.name, err)
					}
					mu.Unlock()
					return
				}
				took = append(took, time.Since(at))
			}
			mu.Lock()
			all = append(all, took...)
			mu.Unlock()
		})
	}
	wg.Wait()
	if first != nil {
		return result{}, first
	}
	elapsed := time.Since(start)
	after, err := t.busy()
	if err != nil {
		return result{}, err
	}
	slices.Sort(all)
	n := time.Duration(len(all))
	return result{
		rate: float64(len(all)) / elapsed.Seconds(),
		p50:  all[len(all)/2],
		p99:  all[len(all)*99/100],

		server:  (after.server - before.server) / n,
		callers: (after.callers - before.callers) / n,
	}, nil
}

// busy is how long the server, and this process, have kept processors busy; of the server only Linux tells.
func (t *target) busy() (result, error) {
	own, err := cpuTime()
	if err != nil {
		return result{}, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", t.pid))
	if errors.Is(err, fs.ErrNotExist) {
		return result{callers: own}, nil
	}
	if err != nil {
		return result{}, err
	}
	// Behind the name, which may hold anything, in clock ticks: see proc(5).
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return result{}, err
		}
		ticks += time.Duration(n)
	}
	return result{server: ticks * 10 * time.Millisecond, callers: own}, nil
}

// compare loads the targets in turn, round after round, so that what else the machine does falls on all of them, and answers
// what was measured of each, round by round.
func compare(ctx context.Context, callers int, r rounds, targets ...*target) ([]series, error) {
	all := make([]series, len(targets))
	for i := range r.n + 1 {
		for k, t := range targets {
			measured, err := t.load(ctx, callers, r.d)
			if err != nil {
				return nil, err
			}
			if i == 0 {
				continue // connections, caches and the CPU warm up in it
			}
			all[k] = append(all[k], measured)
		}
	}
	return all, nil
}

// series are the rounds of one target.
type series []result

func rate(r result) float64 { return r.rate }

func p50(r result) float64 { return float64(r.p50) }

// of is the median of the ratios of the rounds: a round and the one beside it had the same machine, or nearly.
func (s series) of(other series, measure func(result) float64) float64 {
	ratios := make([]float64, len(s))
	for i := range s {
		ratios[i] = measure(s[i]) / measure(other[i])
	}
	return median(ratios)
}

// median is that of each measure.
func (s series) median() result {
	of := func(measure func(result) float64) float64 {
		vs := make([]float64, len(s))
		for i, r := range s {
			vs[i] = measure(r)
		}
		return median(vs)
	}
	return result{
		rate:    of(rate),
		p50:     time.Duration(of(p50)),
		p99:     time.Duration(of(func(r result) float64 { return float64(r.p99) })),
		server:  time.Duration(of(func(r result) float64 { return float64(r.server) })),
		callers: time.Duration(of(func(r result) float64 { return float64(r.callers) })),
	}
}

func median(vs []float64) float64 {
	slices.Sort(vs)
	return vs[len(vs)/2]
}

// String is the rate and how long one takes.
func (r result) String() string { return fmt.Sprintf("%.0f/s p50 %v p99 %v", r.rate, r.p50, r.p99) }
