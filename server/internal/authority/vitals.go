package authority

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
)

// Watcher hears what goes on in the core. Either may be nil; neither is told what is in a request or an entry.
type Watcher struct {
	// Batch hears of every batch of entries, as audit.Config.Observe does.
	Batch func(audit.Batch)
	// Stage hears that a stage of a request begins, and answers what is to be called when it ends. It is called
	// concurrently.
	Stage func(ctx context.Context, stage Stage) (end func())
}

// Stage is a part of the work on a request that takes time.
type Stage string

// The stages.
const (
	StageDecide Stage = "decide" // by the policy
	StageSign   Stage = "sign"   // the token
	StageAppend Stage = "append" // an entry, until it is durable
)

// begin begins a stage; what it answers ends it.
func (w *Watcher) begin(ctx context.Context, stage Stage) func() {
	if w.Stage == nil {
		return func() {}
	}
	return w.Stage(ctx, stage)
}

// Vitals is the node as those see it who watch it: nothing in it is secret, or names a caller.
type Vitals struct {
	// Obstacles are why it mints nothing; empty when it can.
	Obstacles []Reason
	// OpenGaps are those of the whole vault that nobody has acknowledged.
	OpenGaps int
	// Root is the head of the store.
	Root store.RootID
	// PolicyRevision is 0 when there is none.
	PolicyRevision int
	// Keys yields all keys, by name, those that do not open too.
	Keys iter.Seq[WatchedKey]
	// DamagedShards is how many shards of the store do not open: any key may be hidden in one.
	DamagedShards int
	// OpenKeys is how many key versions are open in memory.
	OpenKeys int
	// KEKs are the URIs of the keys that wrap the root key.
	KEKs []string
	// Log is the current audit log.
	Log audit.Stats
	// LastAnchor is when a checkpoint was last shown to us from outside since the start; zero when none was.
	LastAnchor time.Time
	// ClockBehind is how far the clock lies behind the last entry; 0 when it does not.
	ClockBehind time.Duration
	// Started is when Open returned.
	Started time.Time
}

// WatchedKey is a key as those see it who watch the node.
type WatchedKey struct {
	Name  policy.KeyName
	State policy.KeyState
	// Rotated is when the active version was made active; zero when there is none.
	Rotated time.Time
}

// Vitals needs no principal and leaves no entry. It asks the disk how much is free, and nothing else.
func (s *System) Vitals() Vitals {
	current := s.state.Load()
	snap := current.snap
	v := Vitals{
		OpenGaps: openGaps(snap), Root: snap.RootID(), PolicyRevision: snap.PolicyNumber(), Keys: current.watched(), DamagedShards: len(current.damagedShards()),
		OpenKeys: s.store.OpenKeys(), KEKs: snap.KEKs(), Log: s.log.Stats(), LastAnchor: s.lastAnchored(), Started: s.started,
	}
	for _, err := range s.obstacles(current) {
		var refused *Error
		if errors.As(err, &refused) {
			v.Obstacles = append(v.Obstacles, refused.Reason)
		}
	}
	v.ClockBehind = max(0, v.Log.LastTime.Sub(s.now()))
	return v
}

// LastUses are when keys last minted, by what the logs say, as far as they are here. It reads what the index does not
// follow, so it is not for the beginning of a start.
func (s *System) LastUses(ctx context.Context) (map[policy.KeyName]time.Time, error) {
	uses := make(map[policy.KeyName]time.Time)
	for _, id := range s.log.Logs() {
		reader, err := s.log.Reader(id)
		if err != nil {
			return uses, fmt.Errorf("looking up last uses: %w", err)
		}
		for total, err := range reader.Totals(ctx, time.Time{}, time.Time{}) {
			if errors.Is(err, audit.ErrAbsent) {
				break // they were archived before the index knew them
			}
			if err != nil {
				return uses, fmt.Errorf("looking up last uses: %w", err)
			}
			key := policy.KeyName(total.Key)
			if total.Action == string(policy.TokenMint) && total.Outcome == string(auditlog.Allowed) && total.Last.After(uses[key]) {
				uses[key] = total.Last
			}
		}
	}
	return uses, nil
}

// watched are all keys, by name.
func (s *state) watched() iter.Seq[WatchedKey] {
	return func(yield func(WatchedKey) bool) {
		for name := range s.names("") {
			key := WatchedKey{Name: policy.KeyName(name)}
			facts, _ := s.Key(key.Name)
			key.State = facts.State
			if stored, ok := s.snap.Key(name); ok {
				version, _ := stored.ActiveVersion()
				key.Rotated = version.Activated
			}
			if !yield(key) {
				return
			}
		}
	}
}

// HasProfile says whether the policy in force has a profile of that name. It is for counting, never for a caller.
func (t *Tokens) HasProfile(name policy.ProfileName) bool {
	return t.state.Load().policy.HasProfile(name)
}
