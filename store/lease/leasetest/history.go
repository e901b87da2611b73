// Package leasetest takes down what callers of several replicas were answered, and says whether replicas that keep law 5 can
// have answered that: off means off, on every replica.
//
// # The model
//
// Every key is looked at alone. Its value is whether it is disabled, whether it is revoked, and whether the policy grants its
// profile; a change of the policy is a change of every key. Replicas see a change at different moments, so the model does not
// have one value but those that some replica may still decide on, in the order in which they came about: the window. All keys
// are in one root, so a change of another key comes about in the window as well, as one that leaves the value as it is.
//
//   - A change comes about once, somewhere between its call and its return: it is applied to the newest value, and the result
//     is the newest value from then on. No other value leaves the window, for other replicas may not have the change.
//   - When it returns success, what came about before it leaves the window. That is law 5, and the only step that takes values
//     away. It is placed at the return, the latest and most lenient place.
//   - A mint, or the refusal of one, happens at one moment between its call and its return, and some value of the window at that
//     moment must give that answer.
//   - A change that was answered with anything but success promises nothing: it may come about, or never. It may do so after
//     its return, for a write may be late, until the return of a change that was called after that and succeeded, of whichever
//     key: it has replaced the root on top of which a late write would be. Only where the answer says that nothing was
//     changed, nothing must have been.
//   - That a key cannot be enabled because it is revoked must be so.
//
// So a mint that begins after a change has returned must be explained without any value that was there before the change, by
// whichever replica and whatever else is under way; that a replica lags while a change is under way is permitted, and so is
// that it goes back and forth between values of the window: which replica a value belongs to is not looked at.
//
// # What says nothing
//
// A mint that is withheld, not answered, or refused because the lease has lapsed or something cannot be reached is
// permitted always: law 5 says when there must be no token, and never when there must be one. (That a replica that is well mints
// is for the tests to see to.) A caller whom the policy has ever denied may be denied at any time: one who is no longer
// denied must not be told more by a replica that cannot know it.
package leasetest

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Kind is what was called.
type Kind string

// The kinds.
const (
	Mint    Kind = "mint"
	Disable Kind = "disable"
	Enable  Kind = "enable"
	Revoke  Kind = "revoke"
	Apply   Kind = "apply"
)

// Answer is the reason that a call was refused with, or Done. What is not one of these says nothing.
type Answer string

// The answers that say something.
const (
	Done        Answer = ""
	Denied      Answer = "DENIED"
	KeyDisabled Answer = "KEY_DISABLED"
	KeyRevoked  Answer = "KEY_REVOKED"
	// Of a change: that nothing was changed.
	Unreachable Answer = "STORE_UNAVAILABLE"
	Conflict    Answer = "CONFLICT"
)

// Op is one call; a change that is repeated is as many.
type Op struct {
	Client int    `json:"client"`
	Node   string `json:"node"` // that was called
	Kind   Kind   `json:"kind"`
	Key    string `json:"key,omitempty"`
	// Grants are the keys whose profiles a policy grants.
	Grants []string `json:"grants,omitempty"`
	Answer Answer   `json:"answer,omitempty"`
	// Call and Return are moments of one clock, which all clients share.
	Call   int64 `json:"call"`
	Return int64 `json:"return"`
}

// History is what was called and answered. Everything may be called concurrently.
type History struct {
	clock atomic.Int64

	mu  sync.Mutex
	ops []Op
}

// Do makes a call and takes it down, with what it was answered.
func (h *History) Do(op Op, call func() Answer) Answer {
	op.Call = h.clock.Add(1)
	op.Answer = call()
	op.Return = h.clock.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	return op.Answer
}

// Ops are the calls so far that were answered.
func (h *History) Ops() []Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ops)
}

// Summary counts the calls by kind and answer.
func Summary(ops []Op) map[string]int {
	counts := map[string]int{}
	for _, op := range ops {
		text := string(op.Kind)
		if op.Answer != Done {
			text += " " + string(op.Answer)
		}
		counts[text]++
	}
	return counts
}
