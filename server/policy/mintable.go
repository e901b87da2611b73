package policy

import (
	"maps"
	"slices"
	"time"

	"github.com/p8signet/signet/server/apple"
)

// Profile is what may be minted under one name, as far as those need to know who
// may mint it.
type Profile struct {
	Name      ProfileName
	Family    apple.Family
	TTL       time.Duration // of a token for which no lifetime is asked, and the most; 0 where there is none to choose
	Scope     []apple.Scope // ascending, of a family of which less may be asked for; nil for whatever the key's role allows
	Reads     []string      // the bundles that are in the scope; nil for none
	LongLived bool
	Reuse     apple.Reuse
	// Fixed are what the profile fixes of its tokens, but for Scope; Asked are what a call fills in.
	Fixed, Asked []apple.Field
}

// Profile returns the profile of that name. It decides nothing: whether somebody
// may mint it is [Policy.Decide]'s to say.
func (p *Policy) Profile(name ProfileName) (Profile, bool) {
	if p == nil {
		return Profile{}, false
	}
	pr, ok := p.profiles[name]
	if !ok {
		return Profile{}, false
	}
	fields, asked := pr.terms.Fields()
	var fixed []apple.Field
	for _, f := range fields {
		if f.Name != "scope" || !pr.terms.Family().Scoped() {
			fixed = append(fixed, f)
		}
	}
	return Profile{
		Name: pr.name, Family: pr.terms.Family(), TTL: pr.ttl, Scope: slices.Clone(pr.scope), Reads: slices.Clone(pr.reads),
		LongLived: pr.terms.LongLived, Reuse: pr.reuse,
		Fixed: fixed, Asked: asked,
	}, true
}

// Mintable returns the profiles that the principal's grants let it mint, by name:
// those to whose mint Decide answers something else than that it is denied or
// that there is no such profile. It is the same look-up as Decide's.
func (p *Policy) Mintable(who Principal) []ProfileName {
	c := p.caller(who, nil)
	if !c.known || c.denied(TokenMint) != nil {
		return nil
	}
	names := make(map[ProfileName]struct{})
	for _, set := range c.sets {
		for _, pr := range set.mint.profiles() {
			names[pr.name] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(names))
}
