package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// turnedOff is how many keys are revoked, and how often one is disabled.
const turnedOff = 120

// benchReplicas turns keys off that three replicas of one vault mint with, and measures from the call until it has returned and
// each replica has refused. Each is a process of its own with a log of its own; all are well.
func benchReplicas(ctx context.Context, w *workshop, _ rounds) error {
	h, err := w.hashicorp(ctx)
	if err != nil {
		return err
	}
	first, err := w.vault(ctx, "replica-1", h, turnedOff+1, revocablePolicy())
	if err != nil {
		return err
	}
	nodes := []*vault{first}
	for n := 2; n <= 3; n++ {
		v, err := first.join(ctx, fmt.Sprintf("replica-%d", n), fmt.Sprintf("node-%d", n))
		if err != nil {
			return err
		}
		nodes = append(nodes, v)
	}
	f := fleet{}
	for _, v := range nodes {
		r, err := v.replica()
		if err != nil {
			return err
		}
		w.closes = append(w.closes, r.close)
		f = append(f, r)
	}
	disabled, err := f.disable(ctx)
	if err != nil {
		return err
	}
	revoked, err := f.revoke(ctx)
	if err != nil {
		return err
	}
	noteOff("disabled", disabled)
	noteOff("revoked", revoked)
	all := slices.Sorted(slices.Values(slices.Concat(disabled, revoked)))
	bar("revoke-p99", at(all, 99).Seconds(), "s", "<=", 1)
	return nil
}

func noteOff(what string, took []time.Duration) {
	slices.Sort(took)
	note("%d times a key was %s: refused by three replicas after p50 %v p99 %v max %v", len(took), what, at(took, 50), at(took, 99), at(took, 100))
}

// at is a percentile of what is sorted, rounded to what a clock on a busy machine can tell.
func at(sorted []time.Duration, percent int) time.Duration {
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)].Round(100 * time.Microsecond)
}

// revocablePolicy has a profile for every key that is to be revoked.
func revocablePolicy() []byte {
	names := []string{"release"}
	var profiles strings.Builder
	for i := range turnedOff {
		names = append(names, bulkKey(i))
		fmt.Fprintf(&profiles, "  %s: {key: %[1]s, app_store_connect: {}, reuse: never}\n", bulkKey(i))
	}
	return fmt.Appendf(nil, "version: 1\nprofiles:\n  release: {key: asc-release, app_store_connect: {}, reuse: never}\n%sgrants:\n"+
		"- {id: bench, to: [{mtls: spiffe://signet.local/bench/*}], mint: [%s], rate: none}\n", &profiles, strings.Join(names, ", "))
}

// join makes a further node of a vault, and starts it.
func (v *vault) join(ctx context.Context, dir, node string) (*vault, error) {
	next := &vault{w: v.w, dir: dir, caller: v.caller}
	if err := v.w.run(ctx, "signetd", "join", "--dir", dir, "--from", v.dir+"/signetd.yaml", "--node", node, "--listen", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if _, err := next.start(ctx); err != nil {
		return nil, err
	}
	v.w.closes = append(v.w.closes, next.stop)
	return next, nil
}

// replica is one of a fleet, as its operator and as a caller reach it.
type replica struct {
	name   string
	keys   signetv1.KeyServiceClient
	tokens signetv1.TokenServiceClient
	conns  []*grpc.ClientConn
}

// fleet are the replicas of one vault.
type fleet []*replica

func (v *vault) replica() (*replica, error) {
	r := &replica{name: v.dir}
	for _, dir := range []string{v.dir + "/operator", v.caller} {
		_, conf, err := v.w.identity(dir)
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		conn, err := grpc.NewClient(v.process.addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.conns = append(r.conns, conn)
	}
	r.keys, r.tokens = signetv1.NewKeyServiceClient(r.conns[0]), signetv1.NewTokenServiceClient(r.conns[1])
	return r, nil
}

func (r *replica) close() error {
	var errs []error
	for _, c := range r.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// disable turns one key off, and on again, in turn at each replica.
func (f fleet) disable(ctx context.Context) ([]time.Duration, error) {
	var all []time.Duration
	for i := range turnedOff {
		keys := f[i%len(f)].keys
		took, err := f.turnOff(ctx, "release", func(ctx context.Context) error {
			_, err := keys.DisableKey(ctx, &signetv1.DisableKeyRequest{Name: "asc-release"})
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, took)
		if _, err := keys.EnableKey(ctx, &signetv1.EnableKeyRequest{Name: "asc-release"}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// revoke revokes one key after another.
func (f fleet) revoke(ctx context.Context) ([]time.Duration, error) {
	var all []time.Duration
	for i := range turnedOff {
		took, err := f.turnOff(ctx, bulkKey(i), func(ctx context.Context) error {
			_, err := f[i%len(f)].keys.RevokeKey(ctx, &signetv1.RevokeKeyRequest{Name: bulkKey(i), Reason: "bench"})
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, took)
	}
	return all, nil
}

// turnOff sees that every replica mints, turns the key off, and sees that every replica refuses: the first time that it is asked,
// for that is what the return of the call means.
func (f fleet) turnOff(ctx context.Context, profile string, off func(context.Context) error) (time.Duration, error) {
	if err := f.each(func(r *replica) error { return r.mint(ctx, profile) }); err != nil {
		return 0, err
	}
	// The replicas look at the root four times a second. A change at once after the last would always find them where that one
	// left them, and not at any moment.
	time.Sleep(rand.N(250 * time.Millisecond))
	began := time.Now()
	if err := off(ctx); err != nil {
		return 0, err
	}
	err := f.each(func(r *replica) error {
		switch err := r.mint(ctx, profile); status.Code(err) {
		case codes.FailedPrecondition: // the key is off
			return nil
		case codes.OK:
			return fmt.Errorf("%s minted with a key that is off", r.name)
		default:
			return err
		}
	})
	return time.Since(began), err
}

// each asks all at once.
func (f fleet) each(ask func(*replica) error) error {
	errs := make([]error, len(f))
	var wg sync.WaitGroup
	for i, r := range f {
		wg.Go(func() { errs[i] = ask(r) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (r *replica) mint(ctx context.Context, profile string) error {
	_, err := r.tokens.MintToken(ctx, &signetv1.MintTokenRequest{Profile: profile})
	return err
}
