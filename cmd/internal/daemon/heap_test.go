package daemon

import "testing"

func TestGCPercent(t *testing.T) {
	for _, tt := range []struct {
		live uint64
		want int
	}{
		{0, gcPercent}, // no collection yet
		{1 << 20, 2300},
		{4 << 20, 500},
		{12 << 20, 100},
		{heapFloor - 1, gcPercent},
		{heapFloor, gcPercent},
		{1 << 30, gcPercent},
	} {
		if got := gcPercentFor(tt.live); got != tt.want {
			t.Errorf("with %d bytes in use: %d, want %d", tt.live, got, tt.want)
		}
	}
}
