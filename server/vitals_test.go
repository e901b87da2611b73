package server

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"

	"github.com/p8signet/signet/server/internal/authority"
	"github.com/p8signet/signet/server/policy"
)

// TestKeySeriesAreBounded: of many keys those that were rotated longest ago have series, and how many have none is told.
func TestKeySeriesAreBounded(t *testing.T) {
	epoch := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	v := &vitals{
		keys: 3, now: func() time.Time { return epoch }, started: epoch,
		expiry:  func() (time.Time, time.Time) { return epoch, epoch },
		lastUse: func(policy.KeyName) time.Time { return time.Time{} },
		of: func() authority.Vitals {
			return authority.Vitals{Keys: func(yield func(authority.WatchedKey) bool) {
				for i := range 10 {
					// The older its number, the younger the key; every fourth is off.
					key := authority.WatchedKey{Name: policy.KeyName(fmt.Sprintf("key-%d", i)), State: policy.KeyStateUsable, Rotated: epoch.Add(-time.Duration(i) * time.Hour)}
					if i%4 == 3 {
						key.State = policy.KeyStateDisabled
					}
					if !yield(key) {
						return
					}
				}
			}}
		},
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(v)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			switch f.GetName() {
			case "signet_key_rotated_timestamp_seconds":
				listed = append(listed, m.GetLabel()[0].GetValue())
			case "signet_keys_unlisted":
				if got := m.GetGauge().GetValue(); got != 5 {
					t.Errorf("%v keys have no series, want 5 of 8 that are usable", got)
				}
			}
		}
	}
	if want := []string{"key-6", "key-8", "key-9"}; !slices.Equal(listed, want) {
		t.Errorf("%v have series, want the oldest, %v", listed, want)
	}
}

// TestProfileSeriesAreBounded: whoever applies policies cannot make series without end, nor can who asks for profiles.
func TestProfileSeriesAreBounded(t *testing.T) {
	m := newMetrics("test")
	m.known = func(name policy.ProfileName) bool { return name[0] == 'p' }
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 2 * profileSeries {
				m.ended(&call{mints: true, profile: policy.ProfileName(fmt.Sprint("p", i))}, nil, codes.OK, time.Time{})
				m.ended(&call{mints: true, profile: policy.ProfileName(fmt.Sprint("x", i))}, &authority.Error{Kind: authority.ErrDenied, Reason: authority.ReasonDenied}, codes.PermissionDenied, time.Time{})
			}
		})
	}
	all.Wait()
	if n := testutil.CollectAndCount(m.mints); n != 4*(profileSeries+1) {
		t.Errorf("%d series, want four outcomes of %d profiles and of the others", n, profileSeries)
	}
	if got := testutil.ToFloat64(m.mints.WithLabelValues("p0", "allowed")); got != 4 {
		t.Errorf("p0 was minted %v times, want 4", got)
	}
	if got := testutil.ToFloat64(m.other.allowed); got != 4*profileSeries {
		t.Errorf("other profiles were minted %v times, want %d", got, 4*profileSeries)
	}
	if got := testutil.ToFloat64(m.mints.WithLabelValues(otherProfile, "denied")); got != 8*profileSeries {
		t.Errorf("%v denials of no profile, want %d", got, 8*profileSeries)
	}
}

// TestDrift takes apart the two clocks of one reading.
func TestDrift(t *testing.T) {
	from := time.Now()
	set := from.Add(time.Hour)
	// What time.Time keeps of the monotonic clock is its second word: the wall clock was put five seconds ahead.
	(*[3]uint64)(unsafe.Pointer(&set))[1] -= uint64(5 * time.Second)
	for _, tt := range []struct {
		name string
		to   time.Time
		want time.Duration
	}{
		{"together", from.Add(time.Hour), 0},
		{"the wall clock was set", set, 5 * time.Second},
		{"without a monotonic reading", from.Round(0).Add(time.Hour), 0},
	} {
		if got := drift(from, tt.to); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// BenchmarkEnded is what counting adds to a mint.
func BenchmarkEnded(b *testing.B) {
	m := newMetrics("test")
	m.known = func(policy.ProfileName) bool { return true }
	c := &call{method: "/signet.v1.TokenService/MintToken", access: permitted, mints: true, profile: "release", key: "asc", began: time.Now()}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.ended(c, nil, codes.OK, time.Now())
		}
	})
}
