//go:build signet_broken

package lease

import "os"

// A build with the tag signet_broken lacks one part of the protocol, the one that SIGNET_BROKEN names. It exists for the test
// of linearizability, which has to find that out.
var (
	// A member mints for ever.
	brokenLease = os.Getenv("SIGNET_BROKEN") == "lease"
	// A waiter waits a bound, but fences nobody.
	brokenFence = os.Getenv("SIGNET_BROKEN") == "fence"
	// A waiter waits for the members of the first root that it ever saw.
	brokenMembers = os.Getenv("SIGNET_BROKEN") == "members"
)
