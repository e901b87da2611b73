package daemon

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much garbage may gather beside what is in use, unless GOGC says it. A vault of few keys has next to nothing in use,
// and with Go's own rule it would collect dozens of times a second under load, which was an eighth of its mint rate; so
// the heap may always grow to heapFloor. A vault of many keys holds far more than that, and less than Go's own 100 is some
// megabytes less for a few more collections.
const (
	heapFloor  = 24 << 20 // bytes
	gcPercent  = 75
	gcInterval = time.Second // how soon a heap that has grown is seen
)

// gcPercentFor is the percentage that lets a heap with so many bytes in use grow to heapFloor, and at least gcPercent.
func gcPercentFor(live uint64) int {
	if live == 0 || live >= heapFloor {
		return gcPercent
	}
	return max(gcPercent, int((heapFloor-live)*100/live))
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
