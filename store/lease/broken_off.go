//go:build !signet_broken

package lease

// What the tests of the whole break on purpose, to see that they would notice; see broken_on.go. Nothing in what is built
// without that tag.
const (
	brokenLease   = false
	brokenFence   = false
	brokenMembers = false
)
