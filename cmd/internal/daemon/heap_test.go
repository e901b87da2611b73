package daemon

import "testing"

func TestGCPercent(t *testing.T) {
	for _, tt := range []struct {
		live uint64
		want int
	}{
		{0, gcLeast}, // no collection yet
		{1 << 20, 2100},
		{4 << 20, 450},
		{11 << 20, 100},
		{18 << 20, 36},
		{heapFloor, 44},
		{32 << 20, 64},
		{64 << 20, 128},
		{1 << 30, gcMost},
	} {
		if got := gcPercentFor(tt.live); got != tt.want {
			t.Errorf("with %d bytes in use: %d, want %d", tt.live, got, tt.want)
		}
	}
}
