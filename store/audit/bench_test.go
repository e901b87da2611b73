package audit_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
)

// BenchmarkAppend appends 64 entries from each of so many callers a round, on a real disk and on one that costs
// nothing, and says how many a second that is and how long a caller waits. BenchmarkSync is what the disk can do.
func BenchmarkAppend(b *testing.B) {
	for _, disk := range []string{"real", "none"} {
		for _, callers := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("disk=%s/callers=%d", disk, callers), func(b *testing.B) {
				var fsys audit.FS = noDisk{storetest.NewFaultFS()}
				if disk == "real" {
					fsys = audit.DirFS(b.TempDir())
				}
				l := mustOpen(b, config(fsys))
				defer mustClose(b, l)
				const each = 64
				waits := make([][]time.Duration, callers)
				b.ReportAllocs()
				for b.Loop() {
					var wg sync.WaitGroup
					for i := range callers {
						wg.Go(func() {
							e := entry(i)
							for range each {
								start := time.Now()
								if _, err := l.Append(b.Context(), e, audit.AppendOptions{}); err != nil {
									b.Error(err)
								}
								waits[i] = append(waits[i], time.Since(start))
							}
						})
					}
					wg.Wait()
				}
				all := slices.Concat(waits...)
				slices.Sort(all)
				b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "appends/s")
				b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
				b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
			})
		}
	}
}

// noDisk takes writes and syncs without doing them.
type noDisk struct{ *storetest.FaultFS }

func (d noDisk) Create(name string) (audit.File, error) {
	f, err := d.FaultFS.Create(name)
	return &noFile{File: f}, err
}

type noFile struct {
	audit.File
	size int64
}

func (f *noFile) WriteAt(p []byte, off int64) (int, error) {
	f.size = off + int64(len(p))
	return len(p), nil
}
func (f *noFile) Sync() error { return nil }
func (f *noFile) Stat() (audit.FileInfo, error) {
	return audit.FileInfo{Size: f.size, Linked: true}, nil
}

func BenchmarkSync(b *testing.B) {
	for _, size := range []int{500, 64 * 500} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "f"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			buf := make([]byte, size)
			var waits []time.Duration
			for b.Loop() {
				start := time.Now()
				if _, err := f.Write(buf); err != nil {
					b.Fatal(err)
				}
				if err := f.Sync(); err != nil {
					b.Fatal(err)
				}
				waits = append(waits, time.Since(start))
			}
			slices.Sort(waits)
			b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkOpen opens a log whose newest segment is as long as it can be, the worst there is for a start.
func BenchmarkOpen(b *testing.B) {
	c := config(audit.DirFS(b.TempDir()))
	l := mustOpen(b, c)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			e := entry(1)
			for range audit.DefaultSegmentSize / 64 / 900 {
				mustAppend(b, l, e, audit.AppendOptions{})
			}
		})
	}
	wg.Wait()
	mustClose(b, l)
	entries := l.Head().Size
	b.ReportAllocs()
	for b.Loop() {
		mustClose(b, mustOpen(b, c))
	}
	b.ReportMetric(float64(entries), "entries")
}

// BenchmarkEntries reads a log, checked against its markers.
func BenchmarkEntries(b *testing.B) {
	_, l := filled(b, 20000, func(c *audit.Config) { c.SegmentSize = 1 << 20 })
	for b.Loop() {
		n := 0
		for _, err := range l.Entries(b.Context(), 0, 1<<62) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 20000 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.N)*20000/b.Elapsed().Seconds(), "entries/s")
}

// noSync writes to a real disk and waits for none of it: to make a large log quickly.
type noSync struct{ audit.FS }

func (d noSync) Create(name string) (audit.File, error) {
	f, err := d.FS.Create(name)
	return noSyncFile{f}, err
}

func (noSync) SyncDir(string) error { return nil }

type noSyncFile struct{ audit.File }

func (noSyncFile) Sync() error { return nil }

// varied is the ith entry of a log as a large team's is: 200 keys, 100,000 principals, of which 500 do most, one in fifty
// denied, ten days.
func varied(i int) *auditlog.Entry {
	e := entry(i)
	n := uint64(i) * 0x9e3779b97f4a7c15
	e.Time = epoch.Add(time.Duration(i) * 432 * time.Millisecond)
	who := n >> 20 % 500
	if n>>10%10 == 0 {
		who = n >> 20 % 100_000
	}
	e.Principal.ID = fmt.Sprintf("spiffe://acme.internal/ci/ios/runner-%d", who)
	e.Key = fmt.Sprintf("asc-%d", who%200)
	e.Profile = fmt.Sprintf("%s-release-%d", e.Key, who%2)
	binary.BigEndian.PutUint64(e.Token.SHA256[:], n)
	e.Root = nil
	if n>>33%50 == 0 {
		e.Outcome, e.Token, e.Reason = auditlog.Denied, nil, "DENIED: no grant of the caller's allows the profile"
	}
	return e
}

// big is a log of n varied entries, with its index.
func big(b *testing.B, n int) (audit.Config, *audit.Log) {
	b.Helper()
	c := config(noSync{audit.DirFS(b.TempDir())})
	l := mustOpen(b, c)
	b.Cleanup(func() { mustClose(b, l) })
	fill(b, l, n)
	if err := l.Follow(b.Context()); err != nil {
		b.Fatal(err)
	}
	return c, l
}

// fill appends n varied entries.
func fill(b *testing.B, l *audit.Log, n int) {
	b.Helper()
	const callers = 512
	turn := make(chan int, callers)
	go func() {
		defer close(turn)
		for i := range n {
			turn <- i
		}
	}()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := range turn {
				mustAppend(b, l, varied(i), audit.AppendOptions{})
			}
		})
	}
	wg.Wait()
}

// bigLen is how many entries the bars are about; less with -short.
func bigLen() int {
	if testing.Short() {
		return 200_000
	}
	return 2_000_000
}

// BenchmarkQuery asks for first pages of a large log. The bar is 50 ms.
func BenchmarkQuery(b *testing.B) {
	n := bigLen()
	_, l := big(b, n)
	r, err := l.Reader("")
	if err != nil {
		b.Fatal(err)
	}
	middle := varied(n / 2)
	for _, q := range []struct {
		name  string
		match audit.Match
	}{
		{"key", audit.Match{Key: "asc-7"}},
		{"key-denied", audit.Match{Key: "asc-7", Outcome: "denied"}},
		{"principal", audit.Match{Principal: middle.Principal.ID}},
		{"nobody", audit.Match{Principal: "spiffe://acme.internal/none", Action: "token.mint"}},
		{"never-together", audit.Match{Key: "asc-7", Profile: "asc-8-release-1"}},
		{"token", audit.Match{Token: &auditlog.Sum{0x9e, 0x37, 0x79, 0xb9, 0x7f, 0x4a, 0x7c, 0x15, 0, 0, 0, 0}}},
		{"a-day-denied", audit.Match{Outcome: "denied", Since: middle.Time, Until: middle.Time.Add(24 * time.Hour)}},
	} {
		for _, reverse := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/reverse=%v", q.name, reverse), func(b *testing.B) {
				found := 0
				for b.Loop() {
					p, err := r.Find(b.Context(), audit.Query{Match: q.match, Reverse: reverse, Limit: 100, Bytes: 1 << 20})
					if err != nil {
						b.Fatal(err)
					}
					found = len(p.Entries)
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/page")
				b.ReportMetric(float64(found), "entries")
			})
		}
	}
	b.Run("totals", func(b *testing.B) {
		for b.Loop() {
			for _, err := range r.Totals(b.Context(), time.Time{}, time.Time{}) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// BenchmarkFollow makes the index of a large log anew.
func BenchmarkFollow(b *testing.B) {
	c, l := big(b, bigLen()/2)
	mustClose(b, l)
	index := path.Join(origin.Log, "index")
	for b.Loop() {
		if err := c.FS.Remove(index); err != nil {
			b.Fatal(err)
		}
		again := mustOpen(b, c)
		if err := again.Follow(b.Context()); err != nil {
			b.Fatal(err)
		}
		mustClose(b, again)
	}
	b.ReportMetric(float64(l.Head().Size)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkVerify verifies a large log as signet audit verify --dir does. The bar is 300,000 a second.
func BenchmarkVerify(b *testing.B) {
	dir := b.TempDir()
	c := config(noSync{audit.DirFS(dir)})
	l := mustOpen(b, c)
	fill(b, l, bigLen()/4)
	mustClose(b, l)
	for b.Loop() {
		r, err := auditlog.VerifySegments(os.DirFS(filepath.Join(dir, origin.Log)), verifier, auditlog.VerifyOptions{})
		if err != nil || len(r.Damage) > 0 || r.Size != l.Head().Size {
			b.Fatal(r, err)
		}
	}
	b.ReportMetric(float64(l.Head().Size)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
