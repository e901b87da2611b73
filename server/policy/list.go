package policy

import (
	"iter"
	"maps"
	"slices"
)

// Grant is who may do what, as far as a report needs it.
type Grant struct {
	ID   string
	Deny bool
	Mint []ProfileName // in the order of the document
}

// Grants yields the grants in the order of the document.
func (p *Policy) Grants() iter.Seq[Grant] {
	return func(yield func(Grant) bool) {
		if p == nil {
			return
		}
		for _, g := range p.grants {
			listed := Grant{ID: g.id, Deny: g.deny}
			for _, pr := range g.mint {
				listed.Mint = append(listed.Mint, pr.name)
			}
			if !yield(listed) {
				return
			}
		}
	}
}

// Profiles yields the profiles by name, each with its key.
func (p *Policy) Profiles() iter.Seq2[ProfileName, KeyName] {
	return func(yield func(ProfileName, KeyName) bool) {
		if p == nil {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(p.profiles)) {
			if !yield(name, p.profiles[name].key) {
				return
			}
		}
	}
}
