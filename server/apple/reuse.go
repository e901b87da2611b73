package apple

// Reuse says who may be given a token that was signed before, in place of a new one. The zero Reuse is ReuseNever.
type Reuse uint8

// The rules of reuse.
const (
	// ReuseNever: every delivery is a new token.
	ReuseNever Reuse = iota
	// ReusePerPrincipal: a principal may be given again what it was itself given before, so that a token that leaks names
	// one caller.
	ReusePerPrincipal
	// ReuseShared: everybody is given the same token, whatever server they ask: it follows from the key and the time.
	ReuseShared
)

// reuseNames are the words for the rules in a policy.
var reuseNames = [...]string{ReuseNever: "never", ReusePerPrincipal: "per-principal", ReuseShared: "shared"}

// String is the word for the rule in a policy.
func (r Reuse) String() string {
	if int(r) < len(reuseNames) {
		return reuseNames[r]
	}
	return "an unknown rule of reuse"
}
