package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/store/envelope"
)

// source is what a snapshot is read from.
type source struct {
	backend Backend
	keks    []envelope.KEK
	vault   string // the vault it must be; "" for any
}

// loadTries is how often a load begins again because the root has been replaced.
const loadTries = 5

// errChanging says that a read did not come to an end between two commits.
var errChanging = errors.New("the store keeps changing while it is read; try again")

// load authenticates a root and reads the state at it, or at a later root that has
// taken its place in the meantime: what the earlier one reached may be deleted by
// then, and that is no damage. What prev has already, unchanged, is taken from
// there; prev may be nil.
//
// An error means that nothing of the root may be used. Shards and records that
// do not open are no error: they are damage, kept in the snapshot.
func (src source) load(ctx context.Context, raw []byte, prev *Snapshot) (*Snapshot, error) {
	s, err := src.loadOnce(ctx, raw, prev)
	for n := 1; err == nil && s.misses(); n++ {
		if n == loadTries {
			s.discard(prev)
			return nil, errChanging
		}
		if raw, err = src.backend.Root(ctx); err != nil {
			s.discard(prev)
			return nil, fmt.Errorf("looking whether the root has been replaced: %w", err)
		}
		if bytes.Equal(raw, s.raw) {
			break // it is the current one: this is damage
		}
		was := s
		if s, err = src.loadOnce(ctx, raw, was); err != nil || !sameKeys(s.root.Keys, was.root.Keys) {
			was.discard(prev)
		}
	}
	return s, err
}

// misses says whether something does not open because a blob is not there.
func (s *Snapshot) misses() bool {
	return slices.ContainsFunc(s.Damage(), func(d Damage) bool { return errors.Is(d.Err, ErrNoBlob) })
}

// discard wipes the root keys of a snapshot that is not used, unless they are those of prev, which may be nil.
func (s *Snapshot) discard(prev *Snapshot) {
	if prev == nil || !sameKeys(prev.root.Keys, s.root.Keys) {
		s.keys.wipe()
	}
}

// loadOnce is load at one root.
func (src source) loadOnce(ctx context.Context, raw []byte, prev *Snapshot) (*Snapshot, error) {
	t, err := parseRoot(raw)
	if err != nil {
		return nil, err
	}
	if src.vault != "" && t.Vault != src.vault {
		return nil, fmt.Errorf("%w: it is that of vault %s, and %s is expected", ErrOtherVault, t.Vault, src.vault)
	}
	if prev != nil && sameKeys(prev.root.Keys, t.Keys) {
		return src.read(ctx, t, prev.keys, prev)
	}
	ring, err := openKeys(ctx, t.rootBody, src.keks)
	if err != nil {
		return nil, err
	}
	s, err := src.read(ctx, t, ring, prev)
	if err != nil {
		ring.wipe()
	}
	return s, err
}

// read authenticates a root with the root keys that it names, and reads the state
// at it.
func (src source) read(ctx context.Context, t *rootText, keys keyring, prev *Snapshot) (*Snapshot, error) {
	if err := keys.authenticate(t); err != nil {
		return nil, err
	}
	s := &Snapshot{id: t.id(), raw: t.raw, root: t.rootBody, keys: keys}
	r := reader{Backend: src.backend, vault: t.Vault, keys: keys, sets: &attributeSets{known: map[string]map[string]string{}}}
	if err := s.readShards(ctx, r, prev); err != nil {
		return nil, err
	}
	s.indexFingerprints(prev)
	if err := s.readPolicy(ctx, r, prev); err != nil {
		return nil, err
	}
	s.seal()
	return s, nil
}

// seal finishes a snapshot whose shards are complete.
func (s *Snapshot) seal() {
	s.sorted = sync.OnceValue(func() []*Key { return sortKeys(&s.shards) })
	s.damage = sync.OnceValue(s.findDamage)
}

func sameKeys(a, b []rootKey) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].ID != b[i].ID {
			return false
		}
	}
	return true
}

// readers is how many shards are read at once: more than there are processors, for
// where reading is mostly waiting for another machine.
const readers = 16

// readShards fills s.shards, several at a time. It fails only when the Backend
// does not answer or ctx ends.
func (s *Snapshot) readShards(ctx context.Context, r reader, prev *Snapshot) error {
	var wg sync.WaitGroup
	next := make(chan int)
	var errs [shards]error
	for range readers {
		wg.Go(func() {
			for i := range next {
				var old *shard
				if prev != nil {
					old = prev.shards[i]
				}
				s.shards[i], errs[i] = r.shard(ctx, i, s.root.Shards[i], old)
			}
		})
	}
	for i := range s.shards {
		next <- i
	}
	close(next)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("reading the store: %w", err)
		}
	}
	return nil
}

// indexFingerprints fills s.fingerprints. A version is never removed, so the
// index of an earlier snapshot of the lineage is a part of it.
func (s *Snapshot) indexFingerprints(prev *Snapshot) {
	var shared *fingerprints
	if prev != nil && prev.id.Lineage == s.id.Lineage && prev.id.Revision <= s.id.Revision {
		s.fingerprints, shared = prev.fingerprints, &prev.fingerprints
	}
	for i, sh := range s.shards {
		if shared != nil && prev.shards[i] == sh {
			continue
		}
		for _, st := range sh.keys {
			if st.key != nil {
				s.fingerprints.add(st.key, shared)
			}
		}
	}
}

func (s *Snapshot) readPolicy(ctx context.Context, r reader, prev *Snapshot) error {
	n := s.root.Policy
	if n == 0 {
		return nil
	}
	if prev != nil && prev.policy != nil && prev.id.Lineage == s.id.Lineage && prev.root.Policy == n {
		s.policy = prev.policy
		return nil
	}
	p, err := r.policy(ctx, s, n)
	switch {
	case errors.Is(err, ErrNotFound):
		s.policyErr = fmt.Errorf("policy/%d is %w: the root counts on it, and it is not there", n, ErrDamaged)
	case errors.Is(err, ErrDamaged):
		s.policyErr = err
	case err != nil:
		return fmt.Errorf("reading the policy: %w", err)
	}
	s.policy = p
	return nil
}

// reader reads what a root reaches.
type reader struct {
	Backend
	vault string
	keys  keyring
	sets  *attributeSets // nil: nothing is kept that could be shared
}

// attributeSets makes one map of those that are equal. Keys of one team have the same attributes, and a map of one
// entry costs more memory than all else that is known of a key.
type attributeSets struct {
	mu    sync.Mutex
	known map[string]map[string]string // by their JSON, which is sorted
}

func (a *attributeSets) share(attributes map[string]string) map[string]string {
	id, err := json.Marshal(attributes)
	if err != nil {
		return attributes
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.known[string(id)]; ok {
		return known
	}
	a.known[string(id)] = attributes
	return attributes
}

// damaged says of what, and why, that it does not open.
func damaged(what string, err error) error {
	return fmt.Errorf("%s is %w: %w", what, ErrDamaged, err)
}

// shard reads a shard and opens what is kept open of it. An error is one of the
// Backend; damage is in the shard.
func (r reader) shard(ctx context.Context, n int, at shardRef, old *shard) (*shard, error) {
	if at.empty() {
		return emptyShard, nil
	}
	if old != nil && old.at == at && old.err == nil {
		return old, nil
	}
	sh := &shard{at: at}
	blob, err := r.Get(ctx, at.ref)
	if err == nil {
		if err = checkBlob(blob, at.sum); err == nil {
			sh.entries, err = parseShard(n, blob)
		}
	} else if !errors.Is(err, ErrNoBlob) {
		return nil, err
	}
	if err != nil {
		sh.err = damaged(fmt.Sprintf("shard %d of the store", n), err)
		return sh, nil
	}
	sh.keys, sh.recipients = map[string]keyState{}, map[string]recipientState{}
	for _, e := range sh.entries {
		if err := r.openEntry(ctx, sh, old, e); err != nil {
			return nil, err
		}
	}
	return sh, nil
}

// openEntry opens a record of a kind that is kept open and puts it into sh. What
// old has of the same record is not opened again.
func (r reader) openEntry(ctx context.Context, sh, old *shard, e entry) error {
	rec, _ := parseRecord(e.name)
	same := false
	if old != nil {
		was, ok := find(old.entries, e.name)
		same = ok && was == e
	}
	switch rec.kind {
	case recordKey:
		if same && old.keys[rec.name].err == nil {
			sh.keys[rec.name] = old.keys[rec.name]
			return nil
		}
		k, err := r.key(ctx, rec, e)
		if err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
		sh.keys[rec.name] = keyState{k, err}
	case recordRecipient:
		if same && old.recipients[rec.name].err == nil {
			sh.recipients[rec.name] = old.recipients[rec.name]
			return nil
		}
		rcpt, err := r.recipient(ctx, rec, e)
		if err != nil && !errors.Is(err, ErrDamaged) {
			return err
		}
		sh.recipients[rec.name] = recipientState{rcpt, err}
	case recordSecret, recordPolicy, recordSystem, recordDocument:
	}
	return nil
}

func (r reader) key(ctx context.Context, rec record, e entry) (*Key, error) {
	var k *Key
	err := r.open(ctx, rec, e, func(plain []byte) error {
		var err error
		k, err = unmarshalKey(rec.name, plain)
		return err
	})
	if err == nil && len(k.Attributes) > 0 && r.sets != nil {
		k.Attributes = r.sets.share(k.Attributes)
	}
	return k, err
}

func (r reader) recipient(ctx context.Context, rec record, e entry) (sealed.Recipient, error) {
	var rcpt sealed.Recipient
	err := r.open(ctx, rec, e, func(plain []byte) error {
		var err error
		rcpt, _, err = unmarshalRecipient(rec.name, plain)
		return err
	})
	return rcpt, err
}

func (r reader) policy(ctx context.Context, s *Snapshot, n int) (*PolicyRevision, error) {
	rec := record{kind: recordPolicy, number: n}
	e, err := s.entryOf(rec)
	if err != nil {
		return nil, err
	}
	var p *PolicyRevision
	err = r.open(ctx, rec, e, func(plain []byte) error {
		var err error
		p, err = unmarshalPolicy(n, plain)
		return err
	})
	return p, err
}

// open reads the record at e and lends its plaintext to use. Whatever is wrong
// with it, an error of use included, is damage (ErrDamaged), by the record's
// name; any other error is one of the Backend.
func (r reader) open(ctx context.Context, rec record, e entry, use func(plain []byte) error) error {
	blob, err := r.Get(ctx, e.ref)
	switch {
	case errors.Is(err, ErrNoBlob):
		return damaged(rec.String(), err)
	case err != nil:
		return fmt.Errorf("reading %s: %w", rec, err)
	}
	if err := checkBlob(blob, e.sum); err != nil {
		return damaged(rec.String(), err)
	}
	id, err := envelope.BlobKeyID(blob)
	if err != nil {
		return damaged(rec.String(), err)
	}
	key, ok := r.keys[id]
	if !ok {
		return damaged(rec.String(), fmt.Errorf("it is sealed under root key %s, which the root does not have", id))
	}
	switch err := key.Open(envelope.Place{Vault: r.vault, Name: rec.String(), Version: e.version}, blob, use); {
	case errors.Is(err, envelope.ErrWiped):
		return ErrClosed
	case err != nil:
		return damaged(rec.String(), err)
	}
	return nil
}
