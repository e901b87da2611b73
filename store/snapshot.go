package store

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/p8signet/signet/proto/sealed"
)

// Snapshot is the state of the store at one root: everything but the secrets.
// It is immutable, so that a decision is made on one state, and shares what did
// not change with its predecessor.
type Snapshot struct {
	id   RootID
	raw  []byte // the root, byte for byte
	root *rootBody
	keys keyring

	shards       [shards]*shard
	fingerprints fingerprints
	policy       *PolicyRevision
	policyErr    error
	sorted       func() []*Key   // all keys that open, by name; computed once
	damage       func() []Damage // what does not open; computed once
}

// shard is one shard, read.
type shard struct {
	at         shardRef
	err        error // why the shard itself does not open; then the rest is empty
	entries    []entry
	keys       map[string]keyState
	recipients map[string]recipientState
}

// keyState is what is known of a key: its metadata, or why they do not open.
type keyState struct {
	key *Key
	err error
}

type recipientState struct {
	recipient sealed.Recipient
	err       error
}

var emptyShard = &shard{}

// fingerprints finds the versions that have a fingerprint: nearly always one,
// more where a key was let in under several names. It is spread like the shards,
// so that a commit copies little.
type fingerprints [shards]map[place]versionRef

// place is the nth version, from 0, that has a fingerprint, in no order.
type place struct {
	fingerprint string
	nth         int
}

type versionRef struct {
	key    string
	number int
}

// add puts in the versions of k. Maps that are still those of shared are copied
// first.
func (f *fingerprints) add(k *Key, shared *fingerprints) {
	for _, v := range k.Versions {
		i := shardOf(v.Fingerprint)
		at, want := place{v.Fingerprint, 0}, versionRef{k.Name, v.Number}
		had, ok := f[i][at]
		for ok && had != want {
			at.nth++
			had, ok = f[i][at]
		}
		if ok {
			continue
		}
		switch {
		case f[i] == nil:
			f[i] = map[place]versionRef{}
		case shared != nil && len(f[i]) == len(shared[i]):
			// Entries are only ever added, so equal lengths are the same map.
			f[i] = maps.Clone(f[i])
		}
		f[i][at] = want
	}
}

// RootID names the root that this is the state at.
func (s *Snapshot) RootID() RootID { return s.id }

// Vault is the vault's id.
func (s *Snapshot) Vault() string { return s.root.Vault }

// Key returns a key. False: it is not there, or it does not open (see Damaged).
func (s *Snapshot) Key(name string) (Key, bool) {
	st := s.keyState(name)
	if st.key == nil {
		return Key{}, false
	}
	return *st.key, true
}

func (s *Snapshot) keyState(name string) keyState {
	return s.shards[shardOf(string(recordKey)+"/"+name)].keys[name]
}

// Keys yields all keys that open, by name.
func (s *Snapshot) Keys() iter.Seq[Key] {
	return func(yield func(Key) bool) {
		for _, k := range s.sorted() {
			if !yield(*k) {
				return
			}
		}
	}
}

// Len is the number of keys that open.
func (s *Snapshot) Len() int { return len(s.sorted()) }

func sortKeys(all *[shards]*shard) []*Key {
	var keys []*Key
	for _, sh := range all {
		for _, st := range sh.keys {
			if st.key != nil {
				keys = append(keys, st.key)
			}
		}
	}
	slices.SortFunc(keys, func(a, b *Key) int { return strings.Compare(a.Name, b.Name) })
	return keys
}

// Damaged says why the key of that name cannot be read (ErrDamaged); nil when it
// can, or is not there. In a shard that does not open any name may have been, so
// every name that would lie there is damaged.
func (s *Snapshot) Damaged(name string) error {
	sh := s.shards[shardOf(string(recordKey)+"/"+name)]
	if sh.err != nil {
		return fmt.Errorf("key %s: %w", name, sh.err)
	}
	return sh.keys[name].err
}

// Damage is one thing that does not open.
type Damage struct {
	Record string // record name, or "shard N"
	Err    error  // matches ErrDamaged
}

// Damage lists what did not open when the snapshot was read. Secrets are not
// among it: they are opened when they are used, or by Fsck.
func (s *Snapshot) Damage() []Damage { return slices.Clone(s.damage()) }

func (s *Snapshot) findDamage() []Damage {
	var d []Damage
	for i, sh := range s.shards {
		if sh.err != nil {
			d = append(d, Damage{fmt.Sprintf("shard %d", i), sh.err})
		}
		for name, st := range sh.keys {
			if st.err != nil {
				d = append(d, Damage{record{kind: recordKey, name: name}.String(), st.err})
			}
		}
		for name, st := range sh.recipients {
			if st.err != nil {
				d = append(d, Damage{record{kind: recordRecipient, name: name}.String(), st.err})
			}
		}
	}
	if s.policyErr != nil {
		d = append(d, Damage{record{kind: recordPolicy, number: s.root.Policy}.String(), s.policyErr})
	}
	slices.SortFunc(d, func(a, b Damage) int { return strings.Compare(a.Record, b.Record) })
	return d
}

// Policy returns the current revision; nil when there is none, or when it does
// not open (see PolicyDamaged). Its document is not to be written to.
func (s *Snapshot) Policy() *PolicyRevision { return s.policy }

// PolicyNumber is the number of the current revision, 0 for none.
func (s *Snapshot) PolicyNumber() int { return s.root.Policy }

// PolicyDamaged says why the current revision does not open, nil if it does or
// there is none.
func (s *Snapshot) PolicyDamaged() error { return s.policyErr }

// Gaps lists all gaps, closed ones too, oldest first.
func (s *Snapshot) Gaps() []Gap {
	var gaps []Gap
	for _, g := range s.root.Gaps {
		gaps = append(gaps, Gap{g.ID, g.Kind, g.Node, g.Detail, g.Found, g.Log.head(), g.Root, g.Closed})
	}
	return gaps
}

// Stops lists the open gaps that stop minting on a node: those of the store, and
// those of the node's log.
func (s *Snapshot) Stops(node string) []Gap {
	return slices.DeleteFunc(s.Gaps(), func(g Gap) bool {
		return !g.Closed.IsZero() || g.Kind == GapLog && g.Node != node
	})
}

// Nodes are the names of the nodes that have a log or have committed, sorted.
func (s *Snapshot) Nodes() []string { return slices.Sorted(maps.Keys(s.root.Nodes)) }

// LogHead is the head that the node's log had with the intent of the node's last
// commit in it; false for a node that never committed.
func (s *Snapshot) LogHead(node string) (LogHead, bool) {
	n, ok := s.root.Nodes[node]
	if !ok {
		return LogHead{}, false
	}
	return n.Log.head(), true
}

// ClosedLogs are the node's earlier logs and where they end, oldest first.
func (s *Snapshot) ClosedLogs(node string) []LogHead {
	var heads []LogHead
	for _, h := range s.root.Nodes[node].Closed {
		heads = append(heads, h.head())
	}
	return heads
}

// LastCommit is the id of the node's last commit: the Tx.ID of that change, "" if
// there was none.
func (s *Snapshot) LastCommit(node string) string { return s.root.Nodes[node].Commit }

// Found is a version and the name of its key.
type Found struct {
	Key string
	KeyVersion
}

// FindFingerprint finds the versions with that fingerprint, of whatever keys and
// in whatever state, by the key's name: none, one, or the several names under
// which AddTwin let one key in. What does not open is not found.
func (s *Snapshot) FindFingerprint(fp string) []Found {
	var all []Found
	index := s.fingerprints[shardOf(fp)]
	for n := 0; ; n++ {
		at, ok := index[place{fp, n}]
		if !ok {
			break
		}
		k, _ := s.Key(at.key)
		if v, ok := k.Version(at.number); ok {
			all = append(all, Found{at.key, v})
		}
	}
	slices.SortFunc(all, func(a, b Found) int { return strings.Compare(a.Key, b.Key) })
	return all
}

// Recipients lists the import recipients that open, those past their expiry too,
// by expiry. Log is empty in all of them.
func (s *Snapshot) Recipients() []sealed.Recipient {
	var rs []sealed.Recipient
	for _, sh := range s.shards {
		for _, st := range sh.recipients {
			if st.err == nil {
				rs = append(rs, st.recipient)
			}
		}
	}
	slices.SortFunc(rs, func(a, b sealed.Recipient) int {
		if c := a.Expires.Compare(b.Expires); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return rs
}

// entryOf returns where a record is.
func (s *Snapshot) entryOf(r record) (entry, error) {
	sh := s.shards[shardOf(r.subject())]
	if sh.err != nil {
		return entry{}, fmt.Errorf("%s: %w", r, sh.err)
	}
	e, ok := find(sh.entries, r.String())
	if !ok {
		return entry{}, fmt.Errorf("%s: %w", r, ErrNotFound)
	}
	return e, nil
}
