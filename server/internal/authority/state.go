package authority

import (
	"iter"
	"log/slog"
	"slices"
	"strings"

	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
)

// state is all that a decision is made on: one snapshot of the store, its policy compiled, and whether a gap forbids
// minting on it. It is immutable, and it is the policy.Facts of its own decisions.
type state struct {
	snap   *store.Snapshot
	policy *policy.Policy
	stop   *Error // why nothing is minted on it; nil: nothing forbids it
	found  bool   // stop is of a gap that is not in the root yet
}

// newState compiles the snapshot's policy, unless it is that of the state before. A policy that is damaged, or that
// this program no longer understands, denies everybody but the operators, who can apply another.
func newState(before *state, snap *store.Snapshot, node string, operators []string, logger *slog.Logger) *state {
	s := &state{snap: snap}
	if open := snap.Stops(node); len(open) > 0 {
		s.stop = stopped(open[0].ID)
	}
	revision := snap.Policy()
	if before != nil && before.snap.PolicyNumber() == snap.PolicyNumber() && samePolicy(before.snap.Policy(), revision) {
		s.policy = before.policy
		return s
	}
	s.policy = policy.Empty(operators)
	switch {
	case revision != nil:
		compiled, err := policy.Compile(revision.Document, operators, nil)
		if err != nil {
			logger.Error("the policy does not compile: everything is denied", slog.Int("revision", revision.Number), slog.Any("error", err))
			break
		}
		s.policy = compiled
	case snap.PolicyNumber() > 0:
		logger.Error("the policy is damaged: everything is denied", slog.Int("revision", snap.PolicyNumber()), slog.Any("error", snap.PolicyDamaged()))
	}
	return s
}

func samePolicy(a, b *store.PolicyRevision) bool {
	return a == b || a != nil && b != nil && a.Digest == b.Digest
}

func stopped(gapID string) *Error {
	return &Error{
		Kind: ErrUnavailable, Reason: ReasonGap,
		Public: "the vault's record has a gap, " + gapID + "; nothing is minted or changed before an operator acknowledges it",
	}
}

// Key is what a decision must know of a key.
func (s *state) Key(name policy.KeyName) (policy.KeyFacts, bool) {
	key, ok := s.snap.Key(string(name))
	if !ok {
		return policy.KeyFacts{State: policy.KeyStateDamaged}, s.snap.Damaged(string(name)) != nil
	}
	facts := policy.KeyFacts{Facts: factsOf(key), State: policy.KeyStateUsable}
	version, active := key.ActiveVersion()
	if active {
		facts.KeyID = apple.KeyID(version.KeyID)
		facts.Version = version.Number
		facts.Fingerprint = version.Fingerprint
	}
	switch {
	case !active && wasRevoked(key):
		facts.State = policy.KeyStateRevoked
	case key.Disabled:
		facts.State = policy.KeyStateDisabled
	case !active:
		facts.State = policy.KeyStateNoActive
	}
	return facts, true
}

// wasRevoked says whether a version that once minted was revoked.
func wasRevoked(key store.Key) bool {
	for _, v := range key.Versions {
		if v.State.Over() && !v.Activated.IsZero() {
			return true
		}
	}
	return false
}

// keyID is that of the version of a key that mints; empty where there is none.
func (s *state) keyID(name policy.KeyName) apple.KeyID {
	facts, _ := s.Key(name)
	return facts.KeyID
}

// viewFor is a key as a principal sees it.
func (s *state) viewFor(p policy.Principal, name policy.KeyName) (Key, bool) {
	return s.view(name, s.policy.Readable(p))
}

// view is a key for somebody who may read these keys; a damaged one has a problem and a name.
func (s *state) view(name policy.KeyName, readable policy.KeySet) (Key, bool) {
	if key, ok := s.snap.Key(string(name)); ok {
		return Key{Key: key, Facts: factsOf(key), Incomplete: incomplete(key), Twins: s.twinsOf(key, readable)}, true
	}
	if err := s.snap.Damaged(string(name)); err != nil {
		return Key{Key: store.Key{Name: string(name)}, Problem: err.Error()}, true
	}
	return Key{}, false
}

// names are those of all keys after one, in order, those of damaged keys too.
func (s *state) names(after string) iter.Seq[string] {
	damaged := s.damaged()
	return func(yield func(string) bool) {
		for key := range s.snap.Keys() {
			for len(damaged) > 0 && damaged[0] < key.Name {
				if damaged[0] > after && !yield(damaged[0]) {
					return
				}
				damaged = damaged[1:]
			}
			if key.Name > after && !yield(key.Name) {
				return
			}
		}
		for _, name := range damaged {
			if name > after && !yield(name) {
				return
			}
		}
	}
}

// damaged are the names of the keys that do not open, in order; those that a damaged shard hides are not among them.
func (s *state) damaged() []string {
	var names []string
	for _, d := range s.snap.Damage() {
		if name, ok := strings.CutPrefix(d.Record, "key/"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// damagedShards are the shards that do not open: any key may be hidden in one.
func (s *state) damagedShards() []string {
	var shards []string
	for _, d := range s.snap.Damage() {
		if strings.HasPrefix(d.Record, "shard ") {
			shards = append(shards, d.Record)
		}
	}
	return shards
}
