package authority

// generations is a table of what was used lately, bounded in size: when the young generation is full it becomes the
// old one, and what was in the old one and has not been used since is forgotten. Its owner guards it.
type generations[K comparable, V any] struct {
	size       int // of one generation
	young, old map[K]V
}

// get finds what was used lately, and remembers that it was used again.
func (g *generations[K, V]) get(key K) (V, bool) {
	if v, ok := g.young[key]; ok {
		return v, true
	}
	v, ok := g.old[key]
	if ok {
		g.put(key, v)
	}
	return v, ok
}

// put remembers a value, in place of the one that was there.
func (g *generations[K, V]) put(key K, v V) {
	if _, ok := g.young[key]; !ok && len(g.young) >= g.size {
		g.old, g.young = g.young, nil
	}
	if g.young == nil {
		g.young = make(map[K]V)
	}
	g.young[key] = v
}
