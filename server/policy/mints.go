package policy

import (
	"maps"
	"slices"
)

// mints are profiles, each with the first grant that mints it. Nearly all have a few, and there may be very many mints:
// only what is more than a few is kept in a map.
type mints struct {
	few  []mintedBy
	many map[*profile]*grant
}

type mintedBy struct {
	profile *profile
	grant   *grant
}

// fewMints is how many are looked through one by one.
const fewMints = 4

// get is the grant that mints a profile; nil when none does.
func (m *mints) get(p *profile) *grant {
	for _, by := range m.few {
		if by.profile == p {
			return by.grant
		}
	}
	return m.many[p]
}

// add adds a profile, unless a grant before mints it.
func (m *mints) add(p *profile, g *grant) {
	switch {
	case m.get(p) != nil:
	case len(m.few) < fewMints:
		m.few = append(m.few, mintedBy{p, g})
	default:
		if m.many == nil {
			m.many = make(map[*profile]*grant)
		}
		m.many[p] = g
	}
}

// profiles are all of them, in no order.
func (m *mints) profiles() []*profile {
	var all []*profile
	for _, by := range m.few {
		all = append(all, by.profile)
	}
	return slices.AppendSeq(all, maps.Keys(m.many))
}
