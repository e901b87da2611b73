// Package policy decides who may do what: it compiles the one YAML document
// that says so, and answers requests against it.
//
// Purpose. [Compile] turns a document into a [Policy]; [Policy.Decide] turns a
// [Request] into a [Decision]. A Decision can be made by this package alone, and
// it alone yields the [apple.Spec] from which a token is built, so that nothing
// is signed that no grant allows.
//
// Trust. The document comes from an operator but is read as hostile text: its
// size, depth and features are bounded, and no message repeats a value from it.
// Requests come from callers whose identity was proved by package authn.
// Whatever is unknown, malformed or left out is denied: a nil *Policy, the zero
// Policy, the zero Request and the zero Decision all deny.
//
// Concurrency. A Policy is immutable; all its methods may be called by any
// number of goroutines. Requests and Decisions are values.
//
// Crashes. The package does no I/O, reads no clock and keeps no state, so a
// crash leaves nothing behind.
package policy

import (
	"bytes"
	"time"

	"github.com/p8signet/signet/server/apple"
)

// Policy is a compiled policy document and the operators of the server's
// config. It is immutable and safe for concurrent use. The zero Policy and a
// nil *Policy deny everything.
type Policy struct {
	digest    string
	operators map[string]struct{}
	profiles  map[ProfileName]*profile
	maxTTL    map[KeyName]time.Duration
	index     index
	grants    []*grant // in file order
	tests     []*test
}

// Empty is the policy of a vault to which none was ever applied: operators hold
// every action but minting, and everybody else is denied. Ids that are not full
// SPIFFE ids belong to nobody; [ValidateID] finds them beforehand.
func Empty(operators []string) *Policy {
	return &Policy{operators: operatorSet(operators)}
}

// Digest is "sha256:<hex>" of the document's bytes; empty when there was no
// document.
func (p *Policy) Digest() string {
	if p == nil {
		return ""
	}
	return p.digest
}

// HasProfile says whether the policy has a profile of that name. Only who may know that is to be told.
func (p *Policy) HasProfile(name ProfileName) bool {
	if p == nil {
		return false
	}
	_, ok := p.profiles[name]
	return ok
}

// MaxTTL is the longest lifetime (exp − iat) of a token that a profile of this
// key allows; 0 when no profile uses the key. It bounds for how long tokens can
// outlive the key's revocation, as far as this policy goes.
func (p *Policy) MaxTTL(key KeyName) time.Duration {
	if p == nil {
		return 0
	}
	return p.maxTTL[key]
}

// Ceiling bounds [Policy.MaxTTL] of a document without compiling it, for every
// key: whoever looks far back through revisions reads the whole of few of them.
func Ceiling(doc []byte) time.Duration {
	// A key of YAML is other bytes than it says only where there is an escape.
	if bytes.IndexByte(doc, '\\') >= 0 {
		return apple.LongestTTL()
	}
	longLived := bytes.Contains(doc, []byte(longLivedField))
	var longest time.Duration
	for _, f := range families {
		switch {
		case !bytes.Contains(doc, []byte(f.field)):
		case longLived:
			longest = max(longest, f.of.LongestTTL())
		default:
			longest = max(longest, f.of.OrdinaryTTL())
		}
	}
	return longest
}

func operatorSet(ids []string) map[string]struct{} {
	set := make(map[string]struct{}, len(ids))
	for _, id := range ids {
		set[id] = struct{}{}
	}
	return set
}
