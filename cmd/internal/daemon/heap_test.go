package daemon

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGCPercent(t *testing.T) {
	for _, tt := range []struct {
		live, roots uint64
		want        int
	}{
		{0, 1 << 20, gcLeast}, // no collection yet
		{1 << 20, 0, gcEmpty},
		{4 << 20, 0, gcEmpty},
		{4 << 20, 1 << 20, 500}, // 29 MiB
		{8 << 20, 0, 225},       // 26 MiB
		{12 << 20, 0, 91},       // 23 MiB
		{12 << 20, 4 << 20, 68},
		{18 << 20, 0, 36},
		{heapFloor, 1 << 20, 64},
		{64 << 20, 0, 128},
		{1 << 30, 0, gcMost},
	} {
		if got := gcPercentFor(tt.live, tt.roots); got != tt.want {
			t.Errorf("with %d bytes in use and roots of %d: %d, want %d", tt.live, tt.roots, got, tt.want)
		}
	}
}

// TestPaceCollections: the percentage follows the collections, and no longer once the context has ended.
func TestPaceCollections(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	percent := func() int {
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		return int(sample[0].Value.Uint64())
	}
	// becomes collects until the percentage is what is wanted; one collection is enough once its cleanups ran.
	becomes := func(ok func(int) bool) bool {
		for range 200 {
			runtime.GC()
			if ok(percent()) {
				return true
			}
			time.Sleep(10 * time.Millisecond)
		}
		return false
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	paceCollections(ctx)
	if !becomes(func(p int) bool { return p != gcLeast && p < gcMost*10 }) {
		t.Fatalf("%d after collections", percent())
	}
	much := make([]byte, 100<<20)
	if !becomes(func(p int) bool { return p == gcMost }) {
		t.Errorf("%d with 100 MiB in use", percent())
	}
	runtime.KeepAlive(much)
	if !becomes(func(p int) bool { return p > gcMost }) {
		t.Errorf("%d with nothing in use", percent())
	}
	cancel()
	debug.SetGCPercent(gcMost + 1)
	for range 5 { // the first one still has a cleanup, which finds that ctx has ended
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	if percent() != gcMost+1 {
		t.Errorf("%d after its context ended", percent())
	}
}
