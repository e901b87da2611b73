package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
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
}

// target is a server to be loaded, with one connection a caller: callers are separate programs in life.
type target struct {
	name   string
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

func dial(name, addr, profile string, conf *tls.Config, callers int) (*target, error) {
	t := &target{name: name}
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
	slices.Sort(all)
	return result{
		rate: float64(len(all)) / elapsed.Seconds(),
		p50:  all[len(all)/2],
		p99:  all[len(all)*99/100],
	}, nil
}

// compare loads the targets in turn, round after round, so that what else the machine does falls on all of them, and answers
// the median of each measure of each.
func compare(ctx context.Context, callers int, r rounds, targets ...*target) ([]result, error) {
	all := make([][]result, len(targets))
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
	mids := make([]result, len(targets))
	for k, rs := range all {
		mids[k] = medians(rs)
	}
	return mids, nil
}

func medians(rs []result) result {
	return result{
		rate: median(rs, func(r result) float64 { return r.rate }),
		p50:  time.Duration(median(rs, func(r result) float64 { return float64(r.p50) })),
		p99:  time.Duration(median(rs, func(r result) float64 { return float64(r.p99) })),
	}
}

func median(rs []result, f func(result) float64) float64 {
	vs := make([]float64, len(rs))
	for i, r := range rs {
		vs[i] = f(r)
	}
	slices.Sort(vs)
	return vs[len(vs)/2]
}
