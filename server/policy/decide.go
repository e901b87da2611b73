package policy

import (
	"time"

	"github.com/p8signet/signet/server/apple"
)

// Request is one thing that a principal wants to do.
type Request struct {
	Principal Principal
	Action    Action
	Key       KeyName     // for key.*: which key; empty asks "any at all", for key.read and key.import only
	Profile   ProfileName // for token.mint: what is minted

	// For token.mint, both optional: less than the profile grants.
	TTL   time.Duration // exp − iat; 0 is the profile's
	Scope []apple.Scope // none is the profile's
}

// Code is why a request was allowed or not: the stable reason that the caller
// may be told when [Decision.Tell] says so.
type Code string

// The codes. The zero Code is Denied's: nothing but OK allows.
const (
	OK              Code = "OK"
	Denied          Code = "DENIED"
	UnknownProfile  Code = "UNKNOWN_PROFILE" // never told: it sounds like Denied outside
	KeyDisabled     Code = "KEY_DISABLED"
	KeyRevoked      Code = "KEY_REVOKED"
	NoActiveVersion Code = "NO_ACTIVE_VERSION"
	KeyDamaged      Code = "KEY_DAMAGED"
	KeyUnfit        Code = "KEY_UNFIT" // its active version cannot serve the profile
	TTLTooLong      Code = "TTL_TOO_LONG"
	ScopeNotGranted Code = "SCOPE_NOT_GRANTED"
)

// OperatorGrant is what [Decision.Grant] names when no grant but being an
// operator allowed an action. No grant can have this id.
const OperatorGrant = "(operator)"

// Rate is how often a principal may be given a token on one grant. The zero
// Rate lets nothing through.
type Rate struct {
	Events    int
	Per       time.Duration
	Unlimited bool
}

// Decision is the answer to a Request. Only this package makes one that allows;
// the zero Decision denies.
type Decision struct {
	code    Code
	grant   string
	reason  string
	tell    bool
	spec    apple.Spec
	key     KeyName
	version int
	rate    Rate
}

// Allowed says whether the request may be carried out.
func (d Decision) Allowed() bool { return d.code == OK }

// Code is the stable reason; never empty.
func (d Decision) Code() Code {
	if d.code == "" {
		return Denied
	}
	return d.code
}

// Grant is the id of the grant that decided: the first in file order that
// allows, or the first that denies; [OperatorGrant] for an operator's own
// standing; empty when no grant applied.
func (d Decision) Grant() string { return d.grant }

// Reason says in full why, for the log and never for the caller. It has no
// value from the request in it.
func (d Decision) Reason() string { return d.reason }

// Tell says whether the caller may be told Code: a grant of the caller's allows
// the profile, and something else stands in the way. Everyone else hears
// "denied", the same for what is unknown and what is forbidden.
func (d Decision) Tell() bool { return d.tell }

// Spec is what to sign; the zero Spec, which cannot be minted, unless a mint was
// allowed on known facts.
func (d Decision) Spec() apple.Spec { return d.spec }

// Key is the key that the request is about: that of the profile for a mint.
// Empty for a mint that no grant allows.
func (d Decision) Key() KeyName { return d.key }

// Version is the number of the key version that an allowed mint signs with; 0
// otherwise.
func (d Decision) Version() int { return d.version }

// Rate is how often the principal may be given tokens on this grant. Unlimited
// for actions other than token.mint, which no grant's rate counts.
func (d Decision) Rate() Rate { return d.rate }

// Decide answers a request. It is total, does not block, and calls facts at most
// once. Deny grants win; then the first allowing grant in file order is named;
// operators hold every action but minting of themselves, and only a deny grant
// that names their certificate takes policy.apply, key.disable, key.revoke and
// system.* from them.
func (p *Policy) Decide(r Request, facts Facts) Decision {
	panic("not yet")
}

// KeySet is the keys that one principal may read: for lists, so that the
// principal is looked up once. The zero KeySet has none.
type KeySet struct {
	all   bool
	globs []keyGlobs
}

// Readable returns the keys that the principal may read: those for which Decide
// allows key.read.
func (p *Policy) Readable(who Principal) KeySet {
	panic("not yet")
}

// Contains says whether the key is in the set.
func (s KeySet) Contains(key KeyName) bool {
	panic("not yet")
}
