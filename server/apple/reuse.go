package apple

import "slices"

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
