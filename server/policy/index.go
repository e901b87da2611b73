package policy

import (
	"slices"
	"strings"
)

// index finds the grants that name a principal, by the principal and not by
// going through the grants: a tree over the parts of SPIFFE paths for each trust
// domain, and a map of certificates. Grants are added in file order, and each
// place keeps what came first.
type index struct {
	domains      map[string]*node
	certificates map[string]*grantSet
}

// node is a place in the tree: what has one path, or one pattern for a path.
type node struct {
	here  *grantSet // granted to this path
	below *grantSet // granted to everything below it
	exact map[string]*node
	globs globs
}

// globs are the children of a node whose part has a wildcard, by the text before
// their first *: very many patterns such as team-17-* cost one look-up for each
// length that this text has, not one for each pattern.
type globs struct {
	byPrefix map[string][]glob
	lengths  []int // of the prefixes, ascending
}

type glob struct {
	segment string
	node    *node
}

// grantSet is what the grants with one and the same selector give.
type grantSet struct {
	deny *grant              // the first that denies
	mint mints               // the first that mints the profile
	do   map[Action][]*grant // all that allow the action, for their on differs
}

func (ix *index) add(g *grant) {
	for _, s := range g.to {
		ix.place(s).add(g)
	}
}

// place returns the set for a selector, made if need be.
func (ix *index) place(s selector) *grantSet {
	if s.certificate != "" {
		if ix.certificates == nil {
			ix.certificates = make(map[string]*grantSet)
		}
		return child(ix.certificates, s.certificate)
	}
	if ix.domains == nil {
		ix.domains = make(map[string]*node)
	}
	n := child(ix.domains, s.domain)
	for rest := s.path; rest != ""; {
		var segment string
		segment, rest = cutSegment(rest)
		if segment == below {
			return made(&n.below)
		}
		n = n.child(segment)
	}
	return made(&n.here)
}

func (n *node) child(segment string) *node {
	prefix, _, wildcard := strings.Cut(segment, "*")
	if !wildcard {
		if n.exact == nil {
			n.exact = make(map[string]*node)
		}
		return child(n.exact, segment)
	}
	if n.globs.byPrefix == nil {
		n.globs.byPrefix = make(map[string][]glob)
	}
	for _, g := range n.globs.byPrefix[prefix] {
		if g.segment == segment {
			return g.node
		}
	}
	g := glob{segment: segment, node: new(node)}
	n.globs.byPrefix[prefix] = append(n.globs.byPrefix[prefix], g)
	if i, found := slices.BinarySearch(n.globs.lengths, len(prefix)); !found {
		n.globs.lengths = slices.Insert(n.globs.lengths, i, len(prefix))
	}
	return g.node
}

func (s *grantSet) add(g *grant) {
	if g.deny {
		if s.deny == nil {
			s.deny = g
		}
		return
	}
	for _, p := range g.mint {
		s.mint.add(p, g)
	}
	for _, a := range g.do {
		if s.do == nil {
			s.do = make(map[Action][]*grant)
		}
		s.do[a] = append(s.do[a], g)
	}
}

// find appends the sets of every selector that names the id, or covers the
// pattern, of this trust domain and path.
func (ix *index) find(domain, path string, sets []*grantSet) []*grantSet {
	if n := ix.domains[domain]; n != nil {
		return n.find(path, sets)
	}
	return sets
}

func (n *node) find(path string, sets []*grantSet) []*grantSet {
	if path == "" {
		if n.here != nil {
			sets = append(sets, n.here)
		}
		return sets
	}
	if n.below != nil {
		sets = append(sets, n.below)
	}
	segment, rest := cutSegment(path)
	if segment == below {
		return sets // a pattern, of which no child covers more than a part
	}
	if c := n.exact[segment]; c != nil {
		sets = c.find(rest, sets)
	}
	for _, l := range n.globs.lengths {
		if l > len(segment) {
			break
		}
		for _, g := range n.globs.byPrefix[segment[:l]] {
			if matchSegment(g.segment[l:], segment[l:]) {
				sets = g.node.find(rest, sets)
			}
		}
	}
	return sets
}

// child returns the entry of a map, made if need be.
func child[T any](m map[string]*T, key string) *T {
	if m[key] == nil {
		m[key] = new(T)
	}
	return m[key]
}

// made returns what a pointer points to, made if need be.
func made[T any](p **T) *T {
	if *p == nil {
		*p = new(T)
	}
	return *p
}
