package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/p8signet/signet/store/envelope"
)

// What opening a store or a record answers, by errors.Is.
var (
	// ErrDamaged says that something is not what the root says it is, or that
	// the root is not ours: it has been changed from outside, or lost.
	ErrDamaged = errors.New("damaged")
	// ErrWrongKEK says that no configured KEK opens this store.
	ErrWrongKEK = errors.New("no configured KEK opens this store")
	// ErrOtherVault says that the store belongs to another vault.
	ErrOtherVault = errors.New("the store belongs to another vault")
	// ErrNotFound says that there is no such thing in the snapshot.
	ErrNotFound = errors.New("not found")
	// ErrStale says that the root offered is older than the one already adopted,
	// or another of its revision.
	ErrStale = errors.New("the store has gone back in time")
	// ErrInvalid says that a change breaks a rule of the store. It is a mistake
	// of the caller.
	ErrInvalid = errors.New("the change is not allowed")
)

// Config is what Create and Open need.
type Config struct {
	// Backend stays its opener's: Close does not close it.
	Backend Backend
	// KEKs wrap the root key, each enough alone. Create wraps it under all of
	// them; Open takes the first that opens.
	KEKs []envelope.KEK
	// Node is the name of this node: a letter or digit, then those, '-', '_'
	// and '.', 64 at most.
	Node string
	// Vault is the vault's id, of the same form. Create: the id to give, "" draws
	// one. Open: the id it must have, "" takes what is there.
	Vault string
	// Now is the clock.
	Now func() time.Time
	// Logger gets damage and settled outcomes; nil discards.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Backend == nil:
		return errors.New("a store needs a Backend")
	case len(c.KEKs) == 0:
		return errors.New("a store needs a KEK")
	case !validID(c.Node):
		return errors.New("a node's name is 1 to 64 letters, digits, '-', '_' and '.', beginning with a letter or digit")
	case c.Vault != "" && !validID(c.Vault):
		return errors.New("a vault's id is 1 to 64 letters, digits, '-', '_' and '.', beginning with a letter or digit")
	case c.Now == nil:
		return errors.New("a store needs a clock")
	}
	for i, k := range c.KEKs {
		if slices.ContainsFunc(c.KEKs[:i], func(o envelope.KEK) bool { return o.URI() == k.URI() }) {
			return fmt.Errorf("the KEK %s is named twice", k.URI())
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Store is an open vault. See the package's documentation for who may call what.
type Store struct {
	cfg     Config
	src     source
	current atomic.Pointer[Snapshot]
	signers signers

	turn chan struct{} // one commit, settlement or reload at a time; of capacity 1, so that waiting ends with the context
	// The turn's holder's:
	closed    bool
	unsettled *unsettled // what the last commit left unknown
}

// Create makes a vault: a root key wrapped by every KEK, a first root, and what
// init puts (with Tx.SetLogHead for the node's first log), in one Swap, so that a
// crash leaves nothing or a whole vault. Where there is a root it does nothing:
// ErrExists. init may be nil.
func Create(ctx context.Context, cfg Config, init func(*Tx) error) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("creating a vault: %w", err)
	}
	switch _, err := cfg.Backend.Root(ctx); {
	case err == nil:
		return nil, fmt.Errorf("creating a vault: %w", ErrExists)
	case !errors.Is(err, ErrNoRoot):
		return nil, fmt.Errorf("creating a vault: %w", err)
	}
	base, err := emptySnapshot(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("creating a vault: %w", err)
	}
	s := newStore(cfg, base.root.Vault)
	s.current.Store(base)
	next, err := s.create(ctx, base, init)
	if err != nil {
		base.keys.wipe()
		return nil, fmt.Errorf("creating vault %s: %w", base.root.Vault, err)
	}
	s.current.Store(next)
	return s, nil
}

func (s *Store) create(ctx context.Context, base *Snapshot, init func(*Tx) error) (*Snapshot, error) {
	tx := newTx(base, s.cfg.Node, s.cfg.Now)
	if init != nil {
		if err := init(tx); err != nil {
			return nil, err
		}
	}
	next, change, err := tx.build()
	if err != nil {
		return nil, err
	}
	err = s.cfg.Backend.Swap(ctx, change)
	if errors.Is(err, ErrUnknown) {
		// There is nothing that an empty commit could be made on; but what is
		// there by now is there for good.
		raw, rerr := s.cfg.Backend.Root(ctx)
		if rerr != nil {
			return nil, fmt.Errorf("%w, and it cannot be read back: %w", err, rerr)
		}
		if digest(raw) != next.id.Digest {
			return nil, ErrExists
		}
		return next, nil
	}
	if errors.Is(err, ErrConflict) {
		return nil, ErrExists
	}
	return next, err
}

// emptySnapshot is what the first commit is made on: nothing, at revision 0.
func emptySnapshot(ctx context.Context, cfg Config) (*Snapshot, error) {
	key, err := envelope.NewRootKey()
	if err != nil {
		return nil, err
	}
	vault := cfg.Vault
	if vault == "" {
		vault = NewID()
	}
	rk := rootKey{ID: key.ID()}
	for _, kek := range cfg.KEKs {
		w, err := key.Wrap(ctx, kek, vault)
		if err != nil {
			key.Wipe()
			return nil, err
		}
		rk.Wraps = append(rk.Wraps, w)
	}
	s := &Snapshot{
		keys: keyring{key.ID(): key},
		root: &rootBody{
			Schema: 1, Vault: vault, Lineage: NewID(), MACKey: key.ID(), Keys: []rootKey{rk},
			Members: []rootMember{}, Nodes: map[string]rootNode{}, Gaps: []rootGap{}, Shards: make([]shardRef, shards),
		},
	}
	for i := range s.shards {
		s.shards[i] = emptyShard
	}
	s.seal()
	return s, nil
}

// Open opens a vault; it never creates one. No root: ErrNoRoot. It refuses a
// root that does not authenticate (ErrDamaged), that no KEK opens (ErrWrongKEK)
// or that is another vault's (ErrOtherVault). Shards and records that do not
// open are reported by Snapshot.Damage, and only they are refused.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s := newStore(cfg, cfg.Vault)
	raw, err := cfg.Backend.Root(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	snap, err := s.src.load(ctx, raw, nil)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s.src.vault = snap.root.Vault // from now on it stays that one
	s.current.Store(snap)
	if t, ok := cfg.Backend.(Trimmer); ok {
		t.Trim()
	}
	for _, d := range snap.Damage() {
		s.cfg.Logger.ErrorContext(ctx, "a part of the store does not open and is refused", slog.String("record", d.Record), slog.Any("error", d.Err))
	}
	return s, nil
}

func newStore(cfg Config, vault string) *Store {
	return &Store{cfg: cfg, turn: make(chan struct{}, 1), src: source{backend: cfg.Backend, keks: cfg.KEKs, vault: vault}}
}

// Snapshot is the state as of the last commit: one atomic load.
func (s *Store) Snapshot() *Snapshot { return s.current.Load() }

// lock waits for the turn, for as long as ctx lasts: who holds it may be waiting for a Backend that does not answer. ErrClosed: there
// are no more turns.
func (s *Store) lock(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.closed {
		s.unlock()
		return ErrClosed
	}
	return nil
}

func (s *Store) unlock() { <-s.turn }

// Begin starts a change on the current snapshot.
func (s *Store) Begin() *Tx { return newTx(s.Snapshot(), s.cfg.Node, s.cfg.Now) }

// Reload reads the root again and adopts it if it is newer. ErrStale: it is
// older than what was adopted before, which stays.
func (s *Store) Reload(ctx context.Context) (*Snapshot, error) {
	if err := s.lock(ctx); err != nil {
		return nil, fmt.Errorf("reloading the store: %w", err)
	}
	defer s.unlock()
	return s.reload(ctx)
}

func (s *Store) reload(ctx context.Context) (*Snapshot, error) {
	raw, err := s.cfg.Backend.Root(ctx)
	if err != nil {
		return nil, fmt.Errorf("reloading the store: %w", err)
	}
	cur := s.Snapshot()
	if digest(raw) == cur.id.Digest && len(cur.Damage()) == 0 {
		return cur, nil
	}
	next, err := s.src.load(ctx, raw, cur)
	if err != nil {
		return nil, fmt.Errorf("reloading the store: %w", err)
	}
	if next.id.Revision > cur.id.Revision && !next.follows(cur) {
		return nil, fmt.Errorf("reloading the store: %w: revision %d of lineage %s is in place, and revision %d that is offered does not come after it: it lacks what a node has committed, so the store was brought back from an older copy",
			ErrStale, cur.id.Revision, cur.id.Lineage, next.id.Revision)
	}
	if err := s.adopt(next); err != nil {
		return nil, fmt.Errorf("reloading the store: %w", err)
	}
	return s.Snapshot(), nil
}

// adopt makes next the current snapshot, unless it is older than that: within a
// lineage revisions only grow, and a new lineage begins above the highest.
func (s *Store) adopt(next *Snapshot) error {
	cur := s.Snapshot()
	switch {
	case next.id == cur.id && len(next.Damage()) >= len(cur.Damage()):
		return nil // who has the snapshot in place must not take it for a new one
	case next.id == cur.id:
	case next.id.Revision <= cur.id.Revision:
		return fmt.Errorf("%w: revision %d of lineage %s is in place, and revision %d of %s is offered",
			ErrStale, cur.id.Revision, cur.id.Lineage, next.id.Revision, next.id.Lineage)
	}
	s.current.Store(next)
	// After the store: whoever adds a signer from now on sees the new state.
	for i, sh := range next.shards {
		if sh == cur.shards[i] {
			continue
		}
		for name, st := range sh.keys {
			if st.key != nil && st.key != cur.shards[i].keys[name].key {
				s.signers.drop(st.key)
			}
		}
	}
	return nil
}

// follows says whether a snapshot of a higher revision can have come of another: within a lineage no node's log shrinks, unless
// a gap has closed it. Otherwise the store was brought back from an older copy, and went on from there.
func (s *Snapshot) follows(cur *Snapshot) bool {
	if s.id.Lineage != cur.id.Lineage {
		return true
	}
	for node, had := range cur.root.Nodes {
		has, ok := s.root.Nodes[node]
		same := ok && has.Log.Log == had.Log.Log
		if same && has.Log.Size < had.Log.Size {
			return false
		}
		if !same && had.Log.Log != "" && !slices.ContainsFunc(has.Closed, func(h rootHead) bool { return h.Log == had.Log.Log }) {
			return false
		}
	}
	return true
}

// Close wipes the root key and all signers; signing and opening end with
// ErrClosed. It does not close the Backend. It may be called twice.
func (s *Store) Close() error {
	s.turn <- struct{}{}
	defer s.unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.signers.close()
	s.Snapshot().keys.wipe()
	return nil
}

// lend opens a record of a snapshot and lends its plaintext to use. A blob that
// is gone was replaced, if the snapshot is not that of the current root, and is
// looked for under that one then. Only under the current root it is damage.
func (s *Store) lend(ctx context.Context, snap *Snapshot, r record, use func(plain []byte) error) error {
	for range loadTries {
		e, err := snap.entryOf(r)
		if err == nil {
			envelope.Secret(func() {
				err = reader{Backend: s.cfg.Backend, vault: snap.root.Vault, keys: snap.keys}.open(ctx, r, e, use)
			})
		}
		if !errors.Is(err, ErrNoBlob) {
			return err
		}
		next, done, nerr := s.newer(ctx, snap)
		switch {
		case nerr != nil:
			return fmt.Errorf("reading %s, whose blob is gone, and looking for a newer root: %w", r, nerr)
		case next == nil:
			return err
		}
		defer done()
		snap = next
	}
	return fmt.Errorf("reading %s: %w", r, errChanging)
}

// newer is the state at a later root than that of snap, until done is called; nil if snap's is the current one. It is not
// adopted: that is for those who poll the root.
func (s *Store) newer(ctx context.Context, snap *Snapshot) (next *Snapshot, done func(), err error) {
	if cur := s.Snapshot(); cur.id.Revision > snap.id.Revision {
		return cur, func() {}, nil
	}
	raw, err := s.cfg.Backend.Root(ctx)
	if err != nil || digest(raw) == snap.id.Digest {
		return nil, nil, err
	}
	if next, err = s.src.load(ctx, raw, snap); err != nil {
		return nil, nil, err
	}
	if next.id.Revision <= snap.id.Revision {
		next.discard(snap)
		return nil, nil, fmt.Errorf("%w: revision %d is known, and revision %d is answered", ErrStale, snap.id.Revision, next.id.Revision)
	}
	return next, func() { next.discard(snap) }, nil
}
