package policy

import (
	"errors"
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

	Call apple.Call // what the caller fills in, of a family that has something to fill in
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
	ValueNotGranted Code = "VALUE_NOT_GRANTED"
	UnfitRequest    Code = "UNFIT_REQUEST" // what is filled in is not what the family takes, or is missing
)

// OperatorGrant is what [Decision.Grant] names when no grant but being an
// operator allowed an action. No grant can have this id.
const OperatorGrant = "(operator)"

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
	reuse   apple.Reuse
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

// Reason says in full why, for the log; the caller is told it only with
// [ValueNotGranted] and [UnfitRequest]. It has no value from the request in it.
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

// Reuse says whether what the principal was given before on the same Spec may be
// given again. Never, unless a mint was allowed.
func (d Decision) Reuse() apple.Reuse { return d.reuse }

// Decide answers a request. It is total, does not block, and calls facts at most
// once. Deny grants win; then the first allowing grant in file order is named;
// operators hold every action but minting of themselves, and only a deny grant
// that names their certificate takes policy.apply, key.disable, key.revoke and
// system.* from them.
func (p *Policy) Decide(r Request, facts Facts) Decision {
	var room [16]*grantSet // more than a principal is nearly ever named by
	c := p.caller(r.Principal, room[:0])
	d := Decision{code: Denied, key: r.Key}
	if !c.known {
		d.reason = "the caller has no identity that a policy can name"
	} else if g := c.denied(r.Action); g != nil {
		d.grant, d.reason = g.id, "the grant denies the caller everything"
	} else if r.Action == TokenMint {
		d.key = ""
		p.decideMint(&d, &c, &r, facts)
	} else {
		decideAction(&d, &c, r.Action, r.Key)
	}
	return d
}

// caller is what the policy says of a principal before it is asked for anything.
type caller struct {
	known    bool // the principal has an identity
	operator bool
	sets     []*grantSet // of every selector that names the principal

	deny              *grant // the first that denies the principal
	deniedCertificate bool   // one of those that deny names the certificate
}

// caller looks a principal up; room is where its sets go.
func (p *Policy) caller(who Principal, room []*grantSet) caller {
	if p == nil || who.Kind != PrincipalMTLS {
		return caller{}
	}
	domain, path, err := splitID(who.ID, false)
	if err != nil {
		return caller{}
	}
	_, operator := p.operators[who.ID]
	c := caller{known: true, operator: operator, sets: p.index.find(domain, path, room)}
	if set := p.index.certificates[who.Certificate]; set != nil {
		c.sets = append(c.sets, set)
		c.deniedCertificate = set.deny != nil
	}
	for _, set := range c.sets {
		c.deny = earlier(c.deny, set.deny)
	}
	return c
}

// denied returns the grant that denies the caller an action, if one does.
func (c *caller) denied(a Action) *grant {
	if c.operator && a.keptByOperators() && !c.deniedCertificate {
		return nil
	}
	return c.deny
}

// decideAction decides every action but token.mint.
func decideAction(d *Decision, c *caller, a Action, key KeyName) {
	if _, err := ParseAction(string(a)); err != nil {
		d.reason = "there is no such action"
		return
	}
	if key == "" && a.onKey() && a != KeyRead && a != KeyImport {
		d.reason = "no key was named"
		return
	}
	var first *grant
	for _, set := range c.sets {
		for _, g := range set.do[a] {
			if !a.onKey() || key == "" || g.covers(key) {
				first = earlier(first, g)
				break
			}
		}
	}
	switch {
	case first != nil:
		d.grant = first.id
	case c.operator:
		d.grant = OperatorGrant
	default:
		d.reason = "no grant of the caller's allows the action"
		if a.onKey() {
			d.reason = "no grant of the caller's allows the action on this key"
		}
		return
	}
	d.code, d.rate = OK, Rate{Unlimited: true}
}

// decideMint decides token.mint: first whether a grant allows the profile, then
// whether the key and what is asked for allow it now, which the caller may be told.
func (p *Policy) decideMint(d *Decision, c *caller, r *Request, facts Facts) {
	pr := p.profiles[r.Profile]
	if pr == nil {
		d.code, d.reason = UnknownProfile, "the policy has no such profile"
		return
	}
	var first *grant
	for _, set := range c.sets {
		first = earlier(first, set.mint.get(pr))
	}
	if first == nil {
		d.reason = "no grant of the caller's allows the profile"
		return
	}
	d.grant, d.key, d.rate = first.id, pr.key, first.rate
	d.code, d.reason = pr.prepare(d, r, facts)
	d.tell = d.code != OK && d.code != Denied
	if d.code == OK {
		d.reuse = pr.reuse
	}
}

// prepare makes the Spec of an allowed mint, or says what stands in its way.
func (pr *profile) prepare(d *Decision, r *Request, facts Facts) (Code, string) {
	ask := apple.Ask{TTL: pr.ttl, Scope: r.Scope, Call: r.Call}
	if r.TTL != 0 {
		ttl, err := apple.ParseTTL(r.TTL)
		switch {
		case err != nil:
			return Denied, err.Error()
		case pr.ttl == 0:
			return UnfitRequest, "the profile's tokens have no lifetime to choose"
		case ttl > pr.ttl:
			return TTLTooLong, "the lifetime asked for is above the profile's ttl"
		}
		ask.TTL = ttl
	}
	if !pr.grants(r.Scope) {
		return ScopeNotGranted, "a request in the scope asked for is not in the profile's scope"
	}
	if facts == nil {
		return OK, ""
	}
	f, known := facts.Key(pr.key)
	if code, reason := usable(f, known); code != OK {
		return code, reason
	}
	spec, err := pr.terms.Spec(f.Facts, ask)
	switch {
	case err == nil:
		d.spec, d.version = spec, f.Version
		return OK, ""
	case errors.Is(err, apple.ErrUnfitAsk):
		return UnfitRequest, err.Error()
	case errors.Is(err, apple.ErrValueNotGranted):
		return ValueNotGranted, err.Error()
	}
	if unfit := pr.terms.Check(f.Facts); unfit != nil {
		return KeyUnfit, unfit.Error()
	}
	return ScopeNotGranted, err.Error()
}

// usable says whether the facts of a key let it mint.
func usable(f KeyFacts, known bool) (Code, string) {
	switch {
	case !known:
		return NoActiveVersion, "the profile's key is not in the vault"
	case f.State == KeyStateDisabled:
		return KeyDisabled, "the key is disabled"
	case f.State == KeyStateRevoked:
		return KeyRevoked, "the key is revoked"
	case f.State == KeyStateNoActive:
		return NoActiveVersion, "the key has no active version"
	case f.State == KeyStateUsable && f.Version > 0:
		return OK, ""
	}
	return KeyDamaged, "the key's record does not open"
}

// earlier is the one that comes first in the file, of two that may be nil.
func earlier(a, b *grant) *grant {
	if a == nil || b != nil && b.order < a.order {
		return b
	}
	return a
}

// KeySet is the keys that one principal may read: for lists, so that the
// principal is looked up once. The zero KeySet has none.
type KeySet struct {
	all      bool
	patterns []string
}

// Readable returns the keys that the principal may read: those for which Decide
// allows key.read.
func (p *Policy) Readable(who Principal) KeySet {
	c := p.caller(who, nil)
	if !c.known || c.denied(KeyRead) != nil {
		return KeySet{}
	}
	s := KeySet{all: c.operator}
	for _, set := range c.sets {
		for _, g := range set.do[KeyRead] {
			s.all = s.all || g.on == nil
			s.patterns = append(s.patterns, g.on...)
		}
	}
	return s
}

// Contains says whether the key is in the set.
func (s KeySet) Contains(key KeyName) bool {
	return s.all || matchesAny(s.patterns, key)
}
