package authority

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

// heard is what a Watcher heard: "+stage" where it began, "-stage" where it ended, and entries.
type heard struct {
	mu      sync.Mutex
	stages  []string
	entries int
}

func (h *heard) watcher() Watcher {
	note := func(text string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.stages = append(h.stages, text)
	}
	return Watcher{
		Batch: func(b audit.Batch) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.entries += b.Entries
		},
		Stage: func(_ context.Context, stage Stage) func() {
			note("+" + string(stage))
			return func() { note("-" + string(stage)) }
		},
	}
}

// turn is what was heard since the last turn.
func (h *heard) turn() (string, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	stages, entries := strings.Join(h.stages, " "), h.entries
	h.stages, h.entries = nil, 0
	return stages, entries
}

// TestWatcher hears the stages of what is done, in their order and each to its end, and every entry.
func TestWatcher(t *testing.T) {
	v, h := newVault(t), &heard{}
	v.close()
	v.watcher = h.watcher()
	v.mustOpen()
	v.importKey("asc")
	v.apply(basicPolicy)
	mint := func(who, profile string, fresh bool) {
		_, _ = v.Tokens.Mint(t.Context(), principal(who), MintRequest{Request: v.request(), Profile: policy.ProfileName(profile), Fresh: fresh})
	}
	for _, tt := range []struct {
		name, who, profile string
		fresh              bool
		want               string
	}{
		{"a mint", callerID, "release", false, "+decide -decide +sign -sign +append -append"},
		{"the same again", callerID, "release", false, "+decide -decide +append -append"},
		{"a fresh one", callerID, "release", true, "+decide -decide +sign -sign +append -append"},
		{"a denial", strangerID, "release", false, "+decide -decide +append -append"},
	} {
		h.turn()
		mint(tt.who, tt.profile, tt.fresh)
		if got, n := h.turn(); got != tt.want || n != 1 {
			t.Errorf("%s: heard %q and %d entries, want %q and one", tt.name, got, n, tt.want)
		}
	}
}

// TestVitals: what is looked at is what is there, and looking leaves no entry.
func TestVitals(t *testing.T) {
	v := newVault(t)
	imported := v.clock.Now()
	for _, name := range []string{"asc", "off", "over"} {
		v.importKey(name)
	}
	v.apply(basicPolicy)
	v.clock.Advance(time.Hour)
	ctx, operator := t.Context(), principal(operatorID)
	_, err := v.revoke("over", 0)
	if err := errors.Join(v.disable("off"), err); err != nil {
		t.Fatal(err)
	}
	before := v.System.Vitals()
	is := v.System.Vitals()
	if before.Log.Head != is.Log.Head {
		t.Error("looking at the vitals left an entry")
	}
	want := []WatchedKey{{"asc", policy.KeyStateUsable, imported}, {"off", policy.KeyStateDisabled, imported}, {Name: "over", State: policy.KeyStateRevoked}}
	if diff := cmp.Diff(want, slices.Collect(is.Keys)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	status, err := v.System.Status(ctx, operator, v.request())
	if err != nil {
		t.Fatal(err)
	}
	if is.Root != status.Root || is.PolicyRevision != status.PolicyRevision || is.Log.Free != status.Log.Free || is.Log.MinFree != status.Log.FreeMark || !is.Started.Equal(status.Started) {
		t.Errorf("vitals %+v, status %+v", is, status)
	}
	if len(is.Obstacles) > 0 || is.OpenGaps > 0 || is.OpenKeys != 0 || is.ClockBehind != 0 {
		t.Errorf("something is in the way: %+v", is)
	}
	v.clock.Advance(-time.Minute)
	if is := v.System.Vitals(); !slices.Equal(is.Obstacles, []Reason{ReasonClock}) || is.ClockBehind != time.Minute {
		t.Errorf("with a clock that went back: %v, %s behind", is.Obstacles, is.ClockBehind)
	}
}
