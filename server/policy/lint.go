package policy

import (
	"cmp"
	"slices"

	"github.com/p8signet/signet/server/apple"
)

// Expansion is what the bundles of a profile stand for.
type Expansion struct {
	Line, Column int // where read is in the document
	Profile      ProfileName
	Reads        []string      // the names of the bundles, as in the document
	Scope        []apple.Scope // the whole scope of the profile, ascending
}

// Expansions lists the profiles that name bundles of reads, in the order of the
// document, with the very requests to which their tokens are limited.
func (p *Policy) Expansions() []Expansion {
	if p == nil {
		return nil
	}
	var all []Expansion
	for _, pr := range p.profiles {
		if len(pr.reads) > 0 {
			all = append(all, Expansion{pr.readAt.line, pr.readAt.column, pr.name, slices.Clone(pr.reads), slices.Clone(pr.scope)})
		}
	}
	slices.SortFunc(all, func(a, b Expansion) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return all
}

// Lint warns of what the document says but hardly means, in its order: of profiles whose tokens can do or outlive more than
// need be, as far as the facts of their keys were known to Compile, and of what has no effect.
func (p *Policy) Lint() []Problem {
	if p == nil {
		return nil
	}
	var r reader
	p.lintProfiles(&r)
	for _, g := range p.grants {
		if message := p.unreachable(g); message != "" {
			r.add(g.at, "grant %s %s", g.id, message)
		}
	}
	return r.sorted()
}

// unreachable says why no decision will ever name the grant; empty when one can.
func (p *Policy) unreachable(g *grant) string {
	if len(g.to) == 0 {
		return "is for nobody: its to is empty"
	}
	denied, reached := true, false
	for _, s := range g.to {
		sets := p.index.covering(s)
		isDenied := slices.ContainsFunc(sets, func(s *grantSet) bool {
			return s.deny != nil && s.deny != g && (!g.deny || s.deny.order < g.order)
		})
		denied = denied && isDenied
		reached = reached || !isDenied && !g.shadowed(sets)
	}
	switch {
	case denied:
		return "does nothing: another grant denies everything to all whom it names"
	case !reached:
		return "does nothing: all that it gives is given to the same callers by grants before it, or they are denied everything"
	}
	return ""
}

// covering returns the sets that name everyone whom the selector names.
func (ix *index) covering(s selector) []*grantSet {
	if s.certificate != "" {
		return []*grantSet{ix.certificates[s.certificate]}
	}
	return ix.find(s.domain, s.path, nil)
}

// shadowed says whether grants before this one, in these sets, give all that it
// gives.
func (g *grant) shadowed(sets []*grantSet) bool {
	for _, pr := range g.mint {
		if !slices.ContainsFunc(sets, func(s *grantSet) bool { by := s.mint.get(pr); return by != nil && by.order < g.order }) {
			return false
		}
	}
	for _, a := range g.do {
		if !slices.ContainsFunc(sets, func(s *grantSet) bool {
			return slices.ContainsFunc(s.do[a], func(e *grant) bool {
				return e.order < g.order && (!a.onKey() || e.coversAll(g.on))
			})
		}) {
			return false
		}
	}
	return !g.deny
}

// coversAll says whether the grant's key actions reach all keys of the patterns.
func (g *grant) coversAll(patterns []string) bool {
	return g.on == nil || patterns != nil && !slices.ContainsFunc(patterns, func(p string) bool { return !matchesAny(g.on, KeyName(p)) })
}
