package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much garbage may gather beside what is in use, unless GOGC says it. A vault of few keys has next to nothing in use,
// and with Go's own rule it would collect dozens of times a second under load, which was an eighth of its mint rate; so
// the heap may always grow to heapFloor. One of ten thousand keys is to stay small, and may gather gcLeast per cent. The
// more there is in use, the more a collection costs and the less memory is what is scarce: up to gcMost per cent.
const (
	heapFloor  = 22 << 20 // bytes
	gcLeast    = 34
	gcMost     = 150
	gcInterval = time.Second // how soon a heap that has grown is seen
)

// gcPercentFor is the percentage for a heap with so many bytes in use: two for each MiB within its bounds, and whatever
// lets it grow to heapFloor.
func gcPercentFor(live uint64) int {
	percent := max(gcLeast, int(min(2*live>>20, gcMost)))
	if live == 0 || live >= heapFloor {
		return percent
	}
	return max(percent, int((heapFloor-live)*100/live))
}

// paceCollections follows what is in use with the garbage collector's percentage, until ctx ends.
func paceCollections(ctx context.Context) {
	tick := time.NewTicker(gcInterval)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	set := 0
	for {
		metrics.Read(sample)
		if percent := gcPercentFor(sample[0].Value.Uint64()); percent != set {
			debug.SetGCPercent(percent)
			set = percent
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
