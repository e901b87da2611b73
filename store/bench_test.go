package store_test

import (
	"crypto"
	"crypto/sha256"
	"fmt"
	"runtime"
	"testing"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/boltstore"
	"github.com/p8signet/signet/store/storetest"
)

// fill puts n keys of one version each into a vault, in commits of 10,000.
func fill(tb testing.TB, s *store.Store, n int) {
	tb.Helper()
	for i := 0; i < n; {
		tx := s.Begin()
		for range min(n-i, 10_000) {
			name := fmt.Sprintf("team-%d/key-%d", i%100, i)
			k := store.Key{Name: name, Kind: "app-store-connect", Created: start, Attributes: map[string]string{"issuer": "57246542-96fe-1a63-e053-0824d011072a"}}
			if err := tx.PutKey(k); err != nil {
				tb.Fatal(err)
			}
			addVersion(tb, tx, name)
			i++
		}
		if _, err := s.Commit(tb.Context(), tx, head(int64(i))); err != nil {
			tb.Fatal(err)
		}
	}
}

// disk is a vault on disk.
func disk(tb testing.TB, keys int) (*store.Store, *boltstore.Backend, store.Config) {
	tb.Helper()
	b, err := boltstore.Create(tb.TempDir()+"/store.db", boltstore.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	cfg := config(b, storetest.KEK())
	s, err := store.Create(tb.Context(), cfg, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closeStore(tb, s) })
	fill(tb, s, keys)
	return s, b, cfg
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{10, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			_, _, cfg := disk(b, n)
			before := heap()
			var s *store.Store
			for b.Loop() {
				var err error
				if s, err = store.Open(b.Context(), cfg); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(heap()-before)/1e6, "heap-MB")
			closeStore(b, s)
		})
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{10, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, _, _ := disk(b, n)
			i := 0
			for b.Loop() {
				i++
				tx := s.Begin()
				k, _ := tx.Key(fmt.Sprintf("team-%d/key-%d", i%n%100, i%n))
				if k.Disabled {
					k = k.Enable()
				} else {
					k = k.Disable()
				}
				if err := tx.PutKey(k); err != nil {
					b.Fatal(err)
				}
				if _, err := s.Commit(b.Context(), tx, head(int64(i))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkCommitMemory is BenchmarkCommit without the disk.
func BenchmarkCommitMemory(b *testing.B) {
	for _, n := range []int{10, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, _, _ := newVault(b, nil)
			fill(b, s, n)
			i := 0
			for b.Loop() {
				i++
				tx := s.Begin()
				addVersion(b, tx, fmt.Sprintf("team-%d/key-%d", i%n%100, i%n))
				if _, err := s.Commit(b.Context(), tx, head(int64(i))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSigner(b *testing.B) {
	s, _, _ := newVault(b, nil)
	fill(b, s, 1000)
	digest := sha256.Sum256(nil)
	b.Run("lookup", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			snap := s.Snapshot()
			if _, ok := snap.Key("team-7/key-7"); !ok {
				b.Fatal("not there")
			}
			if _, err := s.Signer(b.Context(), snap, "team-7/key-7", 1); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sign", func(b *testing.B) {
		b.ReportAllocs()
		c, err := s.Signer(b.Context(), nil, "team-7/key-7", 1)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := c.Sign(nil, digest[:], crypto.SHA256); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		before, n := heap(), 0
		var held []*store.Signer
		for b.Loop() {
			name := fmt.Sprintf("team-%d/key-%d", n%100, n%1000)
			if n%1000 == 0 {
				// A new key for every opening would take longer to make than to open.
				closeStore(b, s)
				s, _, _ = newVault(b, nil)
				fill(b, s, 1000)
				before = heap()
				held = nil
			}
			c, err := s.Signer(b.Context(), nil, name, 1)
			if err != nil {
				b.Fatal(err)
			}
			held = append(held, c)
			n++
		}
		b.ReportMetric(float64(heap()-before)/float64(len(held)), "heap-B/signer")
	})
}

// TestOpenReadsOnce: opening costs one read for the root, for every shard and for
// every key, and opens no secret; a commit reads nothing.
func TestOpenReadsOnce(t *testing.T) {
	const keys = 2000
	s, m, cfg := newVault(t, nil)
	fill(t, s, keys)
	f := storetest.NewFaulty(m, nil)
	cfg.Backend = f
	s = openVault(t, cfg)
	all, _ := f.Calls()
	if want := 1 + 256 + keys; all > want {
		t.Errorf("opening %d keys took %d calls of the Backend, want at most %d", keys, all, want)
	}
	f.Plan(nil)
	update(t, s, "team-7/key-7", revoke(0))
	if all, writes := f.Calls(); all != 1 || writes != 1 {
		t.Errorf("a commit took %d calls, %d of them writes", all, writes)
	}
	if s.Snapshot().Len() != keys {
		t.Errorf("%d keys", s.Snapshot().Len())
	}
}
