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
	name    string
	profile string
	conns   []*grpc.ClientConn
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
	t := &target{name: name, profile: profile}
	for range callers {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		t.conns = append(t.conns, conn)
	}
	return t, nil
}

func (t *target) close() error {
	var errs []error
	for _, c := range t.conns {
		errs = append(errs, c.Close())
	}
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
	for _, conn := range t.conns[:callers] {
		wg.Go(func() {
			c := signetv1.NewTokenServiceClient(conn)
			took := make([]time.Duration, 0, 4096)
			for time.Since(start) < d {
				at := time.Now()
				if _, err := c.MintToken(ctx, &signetv1.MintTokenRequest{Profile: t.profile}); err != nil {
					mu.Lock()
					first = errors.Join(first, fmt.Errorf("minting from %s: %w", t.name, err))
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

// compare loads both targets in turn, round after round, so that what else the machine does falls on both, and answers the
// median of each measure.
func compare(ctx context.Context, a, b *target, callers int, r rounds) (result, result, error) {
	var as, bs []result
	for i := range r.n + 1 {
		ra, err := a.load(ctx, callers, r.d)
		if err != nil {
			return result{}, result{}, err
		}
		rb, err := b.load(ctx, callers, r.d)
		if err != nil {
			return result{}, result{}, err
		}
		if i == 0 {
			continue // connections, caches and the CPU warm up in it
		}
		as, bs = append(as, ra), append(bs, rb)
	}
	return medians(as), medians(bs), nil
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
