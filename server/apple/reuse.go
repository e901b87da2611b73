package apple

import (
	"slices"
	"strings"
	"time"
)

// Reuse says who may be given a token that was signed before, in place of a new one. The zero Reuse is ReuseNever.
type Reuse uint8

// The rules of reuse.
const (
	// ReuseNever: every delivery is a new token.
	ReuseNever Reuse = iota
	// ReusePerPrincipal: a principal may be given again what it was itself given before, so that a token that leaks names
	// one caller.
	ReusePerPrincipal
)

// reuseNames are the words for the rules in a policy.
var reuseNames = [...]string{ReuseNever: "never", ReusePerPrincipal: "per-principal"}

// String is the word for the rule in a policy.
func (r Reuse) String() string {
	if int(r) < len(reuseNames) {
		return reuseNames[r]
	}
	return "an unknown rule of reuse"
}

// scopedReuse are the rules of App Store Connect and Enterprise.
var scopedReuse = []Reuse{ReusePerPrincipal, ReuseNever}

// Reuses returns the rules that App Store Connect tokens may have: per principal, unless a profile says never.
func (AppStoreConnect) Reuses() []Reuse { return slices.Clone(scopedReuse) }

// Reuses returns the rules that Enterprise Program tokens may have: per principal, unless a profile says never.
func (Enterprise) Reuses() []Reuse { return slices.Clone(scopedReuse) }

// SpecKey is all that a Spec says, in a comparable form: two Specs have equal keys if and only if their tokens differ in
// nothing but their times and signatures.
type SpecKey struct {
	family   Family
	audience string
	keyID    KeyID
	issuer   IssuerID
	subject  string
	ttl      time.Duration
	scope    string
}

// Key is the Spec's.
func (s Spec) Key() SpecKey {
	k := SpecKey{family: s.family, audience: s.audience, keyID: s.keyID, issuer: s.issuer, subject: s.subject, ttl: s.ttl}
	switch len(s.scope) {
	case 0:
	case 1:
		k.scope = string(s.scope[0])
	default:
		var all strings.Builder
		for _, entry := range s.scope {
			all.WriteString(string(entry))
			all.WriteByte('\n') // which no entry has
		}
		k.scope = all.String()
	}
	return k
}
