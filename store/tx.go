package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/store/envelope"
)

// Tx is a change in the making, on one snapshot: any number of records, gaps and
// heads in one commit. It belongs to one goroutine. What it seals is sealed at
// once, so that a Tx that is dropped leaves no secret behind.
//
// After an error from one of its methods a Tx may still be used: the call that
// failed has changed nothing in it.
type Tx struct {
	id   string
	node string
	now  func() time.Time
	base *Snapshot
	next *rootBody // what the root will say, but for shards

	staged map[string]staged     // by record name
	keys   map[string]*Key       // as they will be
	added  map[string]versionRef // by fingerprint: the versions of AddVersion
	policy *PolicyRevision
	// recipients as they will be; nil for one that goes.
	recipients map[string]*sealed.Recipient
}

// staged is a record to be written, or to be removed when entry.ref is zero.
type staged struct {
	entry entry
	blob  []byte
}

func newTx(base *Snapshot, node string, now func() time.Time) *Tx {
	next := base.root.clone()
	next.Revision++
	t := &Tx{
		id: NewID(), node: node, now: now, base: base, next: next,
		staged: map[string]staged{}, keys: map[string]*Key{}, added: map[string]versionRef{}, recipients: map[string]*sealed.Recipient{},
	}
	n := next.Nodes[node]
	n.Commit = t.id
	if n.Closed == nil {
		n.Closed, n.Log = []rootHead{}, toRootHead(LogHead{})
	}
	next.Nodes[node] = n
	return t
}

// ID is the commit's id, drawn by Begin. The root keeps the id of every node's
// last commit (Snapshot.LastCommit), by which anyone can tell later whether this
// one happened.
func (t *Tx) ID() string { return t.id }

// Snapshot is what the change is made on.
func (t *Tx) Snapshot() *Snapshot { return t.base }

// put seals a record.
func (t *Tx) put(r record, plain []byte) error {
	blob, version, err := t.seal(r, plain)
	if err != nil {
		return err
	}
	t.staged[r.String()] = staged{entry{r.String(), NewRef(), sha256.Sum256(blob), version}, blob}
	return nil
}

func (t *Tx) seal(r record, plain []byte) ([]byte, uint64, error) {
	if sh := t.base.shards[shardOf(r.subject())]; sh.err != nil {
		return nil, 0, fmt.Errorf("writing %s: %w", r, sh.err)
	}
	key, ok := t.base.keys[t.base.root.MACKey]
	if !ok {
		return nil, 0, fmt.Errorf("writing %s: %w", r, ErrClosed)
	}
	version := t.base.root.Revision + 1
	blob, err := key.Seal(envelope.Place{Vault: t.base.root.Vault, Name: r.String(), Version: version}, plain)
	if errors.Is(err, envelope.ErrWiped) {
		err = ErrClosed
	}
	if err != nil {
		return nil, 0, fmt.Errorf("writing %s: %w", r, err)
	}
	return blob, version, nil
}

// Key returns a key as it will be after this change.
func (t *Tx) Key(name string) (Key, bool) {
	if k := t.keys[name]; k != nil {
		return *k, true
	}
	return t.base.Key(name)
}

// PutKey replaces what is known of a key by what a transition returned, or adds
// a key, without versions. Refused with ErrInvalid is what no transition could
// have made: a version that comes back from revoked, or becomes another.
// A key that does not open is refused with ErrDamaged.
func (t *Tx) PutKey(k Key) error {
	if err := k.check(); err != nil {
		return err
	}
	if err := t.base.Damaged(k.Name); err != nil {
		return fmt.Errorf("writing key %s: %w", k.Name, err)
	}
	if old, ok := t.Key(k.Name); ok {
		if err := k.checkSuccessor(old); err != nil {
			return err
		}
	} else if len(k.Versions) != 0 {
		return fmt.Errorf("key %s: a new key has no versions before AddVersion: %w", k.Name, ErrInvalid)
	}
	return t.putKey(k)
}

func (t *Tx) putKey(k Key) error {
	k = k.clone()
	k.Created = k.Created.UTC().Round(0)
	for i := range k.Versions {
		v := &k.Versions[i]
		v.Created, v.Activated, v.Revoked = v.Created.UTC().Round(0), v.Activated.UTC().Round(0), v.Revoked.UTC().Round(0)
	}
	plain, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encoding key %s: %w", k.Name, err)
	}
	if err := t.put(record{kind: recordKey, name: k.Name}, plain); err != nil {
		return err
	}
	t.keys[k.Name] = &k
	return nil
}

// AddVersion adds a version to a key that is there, or was put before, and
// returns the key. It seals pkcs8, a P-256 key whose fingerprint must be v's and
// be new in the vault; pkcs8 stays the caller's to wipe. Number and state of v
// are given here (see Key.AddVersion).
func (t *Tx) AddVersion(name string, v KeyVersion, pkcs8 []byte) (Key, error) {
	return t.addVersion(name, v, pkcs8, "")
}

// AddTwin is AddVersion for a key that the vault has under another name already:
// of, which must have it, as must no name in a state that is over. What was
// revoked under one name does not come back under another.
func (t *Tx) AddTwin(name string, v KeyVersion, pkcs8 []byte, of string) (Key, error) {
	return t.addVersion(name, v, pkcs8, of)
}

func (t *Tx) addVersion(name string, v KeyVersion, pkcs8 []byte, twin string) (Key, error) {
	if err := t.base.Damaged(name); err != nil {
		return Key{}, fmt.Errorf("adding a version: %w", err)
	}
	k, ok := t.Key(name)
	if !ok {
		return Key{}, fmt.Errorf("adding a version to key %s: %w", name, ErrNotFound)
	}
	s, err := parseSigner(pkcs8)
	if err == nil && !s.p256() {
		s.wipe()
		err = errors.New("it is not a P-256 key")
	}
	if err != nil {
		return Key{}, fmt.Errorf("adding a version to key %s: %w: %w", name, ErrInvalid, err)
	}
	defer s.wipe()
	if s.fingerprint != v.Fingerprint {
		return Key{}, fmt.Errorf("adding a version to key %s: the key does not have the fingerprint it is said to have: %w", name, ErrInvalid)
	}
	if err := t.checkNew(v.Fingerprint, twin); err != nil {
		return Key{}, fmt.Errorf("adding a version to key %s: %w", name, err)
	}
	k = k.AddVersion(v)
	if err := k.check(); err != nil {
		return Key{}, err
	}
	r := record{kind: recordSecret, name: name, number: len(k.Versions)}
	if err := t.put(r, pkcs8); err != nil {
		return Key{}, err
	}
	if err := t.putKey(k); err != nil {
		delete(t.staged, r.String())
		return Key{}, err
	}
	t.added[v.Fingerprint] = versionRef{name, len(k.Versions)}
	return *t.keys[name], nil
}

// checkNew refuses a fingerprint that the vault has, unless twin has it and
// nobody had it revoked; and a twin that does not have it.
func (t *Tx) checkNew(fingerprint, twin string) error {
	found := t.base.FindFingerprint(fingerprint)
	if at, ok := t.added[fingerprint]; ok {
		k := t.keys[at.key]
		found = append(found, Found{at.key, k.Versions[at.number-1]})
	}
	of := false
	for _, f := range found {
		if twin == "" || f.State.Over() {
			return fmt.Errorf("it is here already as version %d of %s: %w", f.Number, f.Key, ErrInvalid)
		}
		of = of || f.Key == twin
	}
	if twin != "" && !of {
		return fmt.Errorf("%s does not have that key: %w", twin, ErrInvalid)
	}
	return nil
}

// PutPolicy adds the next revision of the policy and returns it with its number.
// r.Number is 0, or the number that it must get.
func (t *Tx) PutPolicy(r PolicyRevision) (PolicyRevision, error) {
	n := t.base.root.Policy + 1
	if t.policy != nil {
		return PolicyRevision{}, fmt.Errorf("one change has at most one revision of the policy: %w", ErrInvalid)
	}
	if r.Number != 0 && r.Number != n {
		return PolicyRevision{}, fmt.Errorf("the next revision of the policy is %d, not %d: %w", n, r.Number, ErrInvalid)
	}
	r.Number, r.Created, r.Document = n, r.Created.UTC().Round(0), bytes.Clone(r.Document)
	plain, err := json.Marshal(r)
	if err != nil {
		return PolicyRevision{}, fmt.Errorf("encoding revision %d of the policy: %w", n, err)
	}
	if err := t.put(record{kind: recordPolicy, number: n}, plain); err != nil {
		return PolicyRevision{}, err
	}
	t.policy, t.next.Policy = &r, n
	return r, nil
}

// PutSystem adds or replaces a secret of the vault's own for SystemSigner: a
// P-256 or Ed25519 key as PKCS#8, which stays the caller's to wipe.
func (t *Tx) PutSystem(name string, pkcs8 []byte) error {
	if !validName(name) {
		return fmt.Errorf("a system secret of that name: %w", ErrInvalid)
	}
	s, err := parseSigner(pkcs8)
	if err != nil {
		return fmt.Errorf("writing system/%s: %w: %w", name, ErrInvalid, err)
	}
	s.wipe()
	return t.put(record{kind: recordSystem, name: name}, pkcs8)
}

// PutDocument adds or replaces bytes of the vault's own, for Document: sealed
// like everything, but not a secret.
func (t *Tx) PutDocument(name string, data []byte) error {
	if !validName(name) {
		return fmt.Errorf("a document of that name: %w", ErrInvalid)
	}
	return t.put(record{kind: recordDocument, name: name}, data)
}

// PutRecipient adds an import recipient of this vault with its private half.
func (t *Tx) PutRecipient(p *sealed.Private) error {
	r := p.Recipient()
	r.Log = ""
	if r.Vault != t.base.root.Vault || !validName(r.ID) {
		return fmt.Errorf("a recipient of another vault: %w", ErrInvalid)
	}
	plain, err := marshalRecipient(p)
	defer clear(plain)
	if err != nil {
		return err
	}
	if err := t.put(record{kind: recordRecipient, name: r.ID}, plain); err != nil {
		return err
	}
	t.recipients[r.ID] = &r
	return nil
}

// DropExpiredRecipients destroys the private halves of the recipients that are
// past their expiry, and returns their ids: nothing sealed to them can be opened
// any more.
func (t *Tx) DropExpiredRecipients(now time.Time) []string {
	var ids []string
	for _, r := range t.base.Recipients() {
		rec := record{kind: recordRecipient, name: r.ID}
		if _, ok := t.recipients[r.ID]; ok || now.Before(r.Expires) {
			continue
		}
		t.staged[rec.String()] = staged{entry: entry{name: rec.String()}}
		t.recipients[r.ID] = nil
		ids = append(ids, r.ID)
	}
	return ids
}

// SetLogHead sets this node's log head. Commit does that too; it is for Create,
// which has no Commit.
func (t *Tx) SetLogHead(h LogHead) error {
	if err := toRootHead(h).check(); err != nil {
		return fmt.Errorf("setting the log head: %w: %w", ErrInvalid, err)
	}
	n := t.next.Nodes[t.node]
	n.Log = toRootHead(h)
	t.next.Nodes[t.node] = n
	return nil
}

// CloseLog records where an earlier log of this node ends. Anchors of it beyond
// that belong to the gap that closed it. It may be repeated; another end for
// the same log is refused.
func (t *Tx) CloseLog(h LogHead) error {
	if err := toRootHead(h).check(); err != nil || h.Log == "" {
		return fmt.Errorf("closing a log: %w", ErrInvalid)
	}
	n := t.next.Nodes[t.node]
	for _, c := range n.Closed {
		if c.Log == h.Log {
			if c.head() != h {
				return fmt.Errorf("log %s is closed with another end: %w", h.Log, ErrInvalid)
			}
			return nil
		}
	}
	n.Closed = append(slices.Clip(n.Closed), toRootHead(h))
	t.next.Nodes[t.node] = n
	return nil
}

// OpenGap records a gap and returns it with its id, which is drawn when it is
// empty. The commit begins a new lineage, with a revision above its own and
// above, the highest that was ever seen.
func (t *Tx) OpenGap(g Gap, above uint64) (Gap, error) {
	if g.ID == "" {
		g.ID = NewID()
	}
	// Invalid UTF-8 would not read back as it was written.
	g.Detail = strings.ToValidUTF8(g.Detail, "?")
	g.Found, g.Closed = g.Found.UTC().Round(0), time.Time{}
	switch {
	case len(g.Detail) > 1<<10:
		return Gap{}, fmt.Errorf("opening a gap: its detail is longer than 1 KiB: %w", ErrInvalid)
	case slices.ContainsFunc(t.next.Gaps, func(o rootGap) bool { return o.ID == g.ID }):
		return Gap{}, fmt.Errorf("opening gap %s, which is there already: %w", g.ID, ErrInvalid)
	case above > 1<<62:
		return Gap{}, fmt.Errorf("opening a gap above revision %d: %w", above, ErrInvalid)
	}
	gaps := append(slices.Clip(t.next.Gaps), rootGap{g.ID, g.Kind, g.Node, g.Detail, g.Found, toRootHead(g.Log), g.Root, time.Time{}})
	check := rootBody{Gaps: gaps}
	if err := check.checkGaps(); err != nil {
		return Gap{}, fmt.Errorf("opening a gap: %w: %w", ErrInvalid, err)
	}
	t.next.Gaps = gaps
	if t.next.Lineage == t.base.root.Lineage {
		t.next.Lineage = NewID()
	}
	t.next.Revision = max(t.next.Revision, above+1)
	return g, nil
}

// CloseGap acknowledges a gap. A gap that is closed already stays as it is; one
// that is not there is ErrNotFound.
func (t *Tx) CloseGap(id string) error {
	i := slices.IndexFunc(t.next.Gaps, func(g rootGap) bool { return g.ID == id })
	if i < 0 {
		return fmt.Errorf("closing a gap of that id: %w", ErrNotFound)
	}
	if t.next.Gaps[i].Closed.IsZero() {
		t.next.Gaps[i].Closed = t.now().UTC().Round(0)
	}
	return nil
}
