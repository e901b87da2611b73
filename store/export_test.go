package store

// What tests of the formats need of them.

// ParseRoot parses a root and returns the references of its shards.
func ParseRoot(raw []byte) ([]Ref, error) {
	b, err := parseRoot(raw)
	if err != nil {
		return nil, err
	}
	var refs []Ref
	for _, s := range b.Shards {
		refs = append(refs, s.ref)
	}
	return refs, nil
}

// Entry is a line of a shard.
type Entry struct {
	Name    string
	Ref     Ref
	Sum     [32]byte
	Version uint64
}

// ParseShard parses a shard.
func ParseShard(n int, data []byte) ([]Entry, error) {
	es, err := parseShard(n, data)
	var out []Entry
	for _, e := range es {
		out = append(out, Entry{e.name, e.ref, e.sum, e.version})
	}
	return out, err
}

// MarshalShard writes a shard.
func MarshalShard(entries []Entry) []byte {
	var es []entry
	for _, e := range entries {
		es = append(es, entry{e.Name, e.Ref, e.Sum, e.Version})
	}
	return marshalShard(es)
}

// RecordShard says in which shard a record lies.
func RecordShard(name string) int { return recordShard(name) }

// ParseRecord says whether s is the name of a record, and what it is written as.
func ParseRecord(s string) (string, bool) {
	r, ok := parseRecord(s)
	return r.String(), ok
}

// PutRecord puts any plaintext under any record name: what only a holder of the
// root key could do.
func (t *Tx) PutRecord(name string, plain []byte) error {
	r, _ := parseRecord(name)
	return t.put(r, plain)
}
