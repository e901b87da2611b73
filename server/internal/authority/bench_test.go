package authority

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/storetest"
)

// benchVault is a vault on a real disk, with the wall clock.
func benchVault(b *testing.B) *vault {
	b.Helper()
	v := &vault{t: b, kek: storetest.KEK(), memory: storetest.Memory(), clock: &clock{now: time.Now()}}
	v.backend = storetest.NewFaulty(v.memory, nil)
	fs := audit.DirFS(b.TempDir())
	quiet := slog.New(slog.DiscardHandler)
	made, err := Init(b.Context(), InitConfig{
		Backend: v.memory, KEKs: []envelope.KEK{v.kek}, LogFS: fs, Node: nodeName, TrustDomain: trustDomain,
		Operator: operatorID, Hosts: []string{"localhost"}, Now: time.Now, Logger: quiet,
	})
	check(b, err)
	v.made = made
	s, err := store.Open(b.Context(), store.Config{Backend: v.memory, KEKs: []envelope.KEK{v.kek}, Node: nodeName, Now: time.Now, Logger: quiet})
	check(b, err)
	v.Authority, err = Open(b.Context(), Config{
		Store: s, LogFS: fs, Node: nodeName, Operators: []string{operatorID}, TrustDomain: trustDomain, Now: time.Now, Logger: quiet,
	})
	check(b, err)
	b.Cleanup(func() { check(b, v.Close()) })
	v.importKey("asc")
	v.apply(basicPolicy)
	return v
}

// BenchmarkMint is a mint with its durable record, on a real disk.
func BenchmarkMint(b *testing.B) {
	b.Run("1", func(b *testing.B) {
		v := benchVault(b)
		p := principal(callerID)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Tokens.Mint(b.Context(), p, MintRequest{Request: Request{"0192f0c1-8a5e-7b3c-9d4e-5f6a7b8c9d0e"}, Profile: "release", Fresh: true}); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, watches := range []int{0, 1, 8} {
		b.Run(fmt.Sprintf("64, watched by %d", watches), func(b *testing.B) {
			v := benchVault(b)
			ctx, stop := context.WithCancel(b.Context())
			var watching sync.WaitGroup
			for range watches {
				watching.Go(func() {
					_ = v.Log.Watch(ctx, principal(securityID), WatchRequest{}, func(Watched) error { return nil })
				})
			}
			b.ReportAllocs()
			b.SetParallelism(32) // times GOMAXPROCS, which is 2 where this is measured
			b.RunParallel(func(pb *testing.PB) {
				p := principal(callerID)
				for pb.Next() {
					if _, err := v.Tokens.Mint(ctx, p, MintRequest{Request: Request{"0192f0c1-8a5e-7b3c-9d4e-5f6a7b8c9d0e"}, Profile: "release", Fresh: true}); err != nil {
						b.Error(err)
						return
					}
				}
			})
			stop()
			watching.Wait()
		})
	}
}

// BenchmarkDecide is what a decision costs the core, without signing or recording.
func BenchmarkDecide(b *testing.B) {
	v := benchVault(b)
	p := principal(callerID)
	want := ask{id: "id", want: policy.Request{Action: policy.TokenMint, Profile: "release"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.changer.decide(b.Context(), p, want); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRates is the table of buckets, with few and with many principals.
func BenchmarkRates(b *testing.B) {
	for _, principals := range []int{1, 100, 100_000} {
		b.Run(fmt.Sprint(principals), func(b *testing.B) {
			r := newRates(rateTable)
			ids := make([]string, principals)
			for i := range ids {
				ids[i] = fmt.Sprintf("spiffe://signet.test/ci/%d", i)
			}
			limit := policy.Rate{Events: 1 << 30, Per: time.Second}
			now, i := time.Now(), 0
			for b.Loop() {
				if _, ok := r.take("ci", ids[i%principals], limit, now); !ok {
					b.Fatal("refused")
				}
				i++
			}
		})
	}
}
