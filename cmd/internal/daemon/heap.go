package daemon

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// How much garbage may gather beside what is in use, unless GOGC says it. A vault of few keys has next to nothing in use,
// and with Go's own rule it would collect dozens of times a second under load, which was an eighth of its mint rate; so
// the heap may always grow to heapFloor, less three quarters of what is in use. One of ten thousand keys is to stay small, and may
// gather gcLeast per cent. The more there is in use, the more a collection costs and the less memory is what is scarce: up to
// gcMost per cent.
const (
	heapFloor = 32 << 20 // bytes
	gcLeast   = 34
	gcMost    = 150
	gcEmpty   = 550 // with nothing in use: Go then lets the heap grow to 4 MiB for each 100 per cent (runtime, defaultHeapMinimum)
)

// gcPercentFor is the percentage for a heap with so many bytes in use: two for each MiB within its bounds, and whatever
// lets it grow as far as it always may. A percentage is one of what is in use and of the roots together.
func gcPercentFor(live, roots uint64) int {
	percent := max(gcLeast, int(min(2*live>>20, gcMost)))
	floor := heapFloor - min(live, heapFloor)*3/4
	if live == 0 || live >= floor {
		return percent
	}
	return max(percent, min(int((floor-live)*100/(live+roots)), gcEmpty))
}

// paceCollections follows what is in use with the garbage collector's percentage, after every collection until ctx ends: what a
// sudden load allocates must not be judged by what an idle server had in use.
func paceCollections(ctx context.Context) {
	samples := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/globals:bytes"}, {Name: "/gc/scan/stack:bytes"}}
	set := 0
	var pace func()
	pace = func() {
		if ctx.Err() != nil {
			return
		}
		metrics.Read(samples)
		if percent := gcPercentFor(samples[0].Value.Uint64(), samples[1].Value.Uint64()+samples[2].Value.Uint64()); percent != set {
			debug.SetGCPercent(percent)
			set = percent
		}
		afterCollection(pace)
	}
	pace()
}

// afterCollection calls f once, in a goroutine of the runtime's, when the next collection has ended.
func afterCollection(f func()) {
	// Of its own in memory: the runtime puts objects that are small and without pointers together.
	unreachable := new([64]byte)
	runtime.AddCleanup(unreachable, func(f func()) { f() }, f)
}
