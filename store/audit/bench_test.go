package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

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
