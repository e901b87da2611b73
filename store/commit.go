package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"
)

// build makes the root, the blobs and the snapshot of the change.
func (t *Tx) build() (*Snapshot, Change, error) {
	body := t.next.clone()
	next := &Snapshot{root: body, keys: t.base.keys, shards: t.base.shards, fingerprints: t.base.fingerprints}
	change := Change{Old: t.base.raw, Put: map[Ref][]byte{}}

	byShard := map[int]map[string]entry{}
	for name, st := range t.staged {
		i := recordShard(name)
		if byShard[i] == nil {
			byShard[i] = map[string]entry{}
		}
		byShard[i][name] = st.entry
		if st.blob != nil {
			change.Put[st.entry.ref] = st.blob
		}
	}
	for i, changes := range byShard {
		old := t.base.shards[i]
		entries, gone := merge(old.entries, changes)
		for _, e := range gone {
			change.Drop = append(change.Drop, e.ref)
		}
		if !old.at.empty() {
			change.Drop = append(change.Drop, old.at.ref)
		}
		next.shards[i] = emptyShard
		if len(entries) > 0 {
			blob := marshalShard(entries)
			at := shardRef{NewRef(), sha256.Sum256(blob)}
			change.Put[at.ref] = blob
			next.shards[i] = &shard{at: at, entries: entries, keys: old.keys, recipients: old.recipients}
		}
		body.Shards[i] = next.shards[i].at
	}
	t.index(next)

	text, err := marshalRoot(body, t.base.keys)
	if err != nil {
		return nil, Change{}, err
	}
	next.raw, next.id, change.New = text.raw, text.id(), text.raw
	next.seal()
	return next, change, nil
}

// index puts what the change says of keys, recipients and policy into next,
// whose changed shards are its own but for their maps.
func (t *Tx) index(next *Snapshot) {
	cloned := map[int]bool{}
	for name, k := range t.keys {
		i := shardOf(string(recordKey) + "/" + name)
		sh := next.shards[i]
		if !cloned[i] {
			sh.keys = cloneOrNew(sh.keys)
			cloned[i] = true
		}
		sh.keys[name] = keyState{key: k}
		next.fingerprints.add(k, &t.base.fingerprints)
	}
	clear(cloned)
	for id, r := range t.recipients {
		i := shardOf(string(recordRecipient) + "/" + id)
		sh := next.shards[i]
		if sh == emptyShard {
			continue // it held nothing but recipients that go
		}
		if !cloned[i] {
			sh.recipients = cloneOrNew(sh.recipients)
			cloned[i] = true
		}
		delete(sh.recipients, id)
		if r != nil {
			sh.recipients[id] = recipientState{recipient: *r}
		}
	}
	next.policy, next.policyErr = t.base.policy, t.base.policyErr
	if t.policy != nil {
		next.policy, next.policyErr = t.policy, nil
	}
}

func cloneOrNew[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return maps.Clone(m)
}

// Commit makes tx durable, with head as this node's log head (the log up to
// there has the commit's intent in it), and returns the new snapshot, which is
// the current one from then on.
//
// ErrConflict: the store has changed since Begin and this change has not
// happened; the current snapshot is the new state, to decide on again.
// ErrUnknown: whether it has happened could not be found out; see Settle. Any
// other error: it has not happened and never will.
//
// Commits run one at a time. A crash in the middle leaves the change whole or
// not at all; Snapshot.LastCommit tells which after the restart.
func (s *Store) Commit(ctx context.Context, tx *Tx, head LogHead) (*Snapshot, error) {
	if err := s.lock(ctx); err != nil {
		return nil, fmt.Errorf("committing: %w", err)
	}
	defer s.unlock()
	next, err := s.commit(ctx, tx, head)
	if err != nil {
		return nil, fmt.Errorf("committing: %w", err)
	}
	return next, nil
}

func (s *Store) commit(ctx context.Context, tx *Tx, head LogHead) (*Snapshot, error) {
	if err := s.settle(ctx); err != nil {
		return nil, fmt.Errorf("an earlier change is not settled, and nothing is changed before it is: %w", err)
	}
	if tx.base.id != s.Snapshot().id {
		return nil, ErrConflict
	}
	if err := tx.SetLogHead(head); err != nil {
		return nil, err
	}
	next, change, err := tx.build()
	if err != nil {
		return nil, err
	}
	switch err := s.cfg.Backend.Swap(ctx, change); {
	case err == nil:
		return next, s.adopt(next)
	case errors.Is(err, ErrConflict):
		if _, err := s.reload(ctx); err != nil {
			// Not ErrConflict: there is no new state to decide on.
			return nil, fmt.Errorf("the store has changed in the meantime: %w", err)
		}
		return nil, ErrConflict
	case errors.Is(err, ErrUnknown):
		u := &unsettled{tx: tx.id, next: next}
		s.unsettled = u
		s.cfg.Logger.WarnContext(ctx, "the outcome of a commit is unknown and is being settled", slog.String("commit", tx.id), slog.Any("error", err))
		if serr := s.settle(ctx); serr != nil {
			return nil, fmt.Errorf("%w; %w", err, serr)
		}
		if u.happened {
			return s.Snapshot(), nil
		}
		return nil, fmt.Errorf("it failed and has not happened: %w", unUnknown{err})
	default:
		return nil, err
	}
}

// unUnknown keeps the text of an error that said ErrUnknown, once that is no
// longer true.
type unUnknown struct{ err error }

func (u unUnknown) Error() string { return u.err.Error() }

// unsettled is a change whose outcome is unknown.
type unsettled struct {
	tx       string    // its commit id
	next     *Snapshot // what it would have led to
	happened bool      // what was found out
}

// How often a settlement tries before it gives up for now, and how long it may
// take: a caller who gives up must not leave a change unsettled that could be.
const (
	settleTries = 4
	settleTime  = 10 * time.Second
)

// Settle finds out what became of a commit that ended in ErrUnknown, if there is
// one, and adopts it when it happened. nil: nothing is unknown any more.
// Otherwise ErrUnknown, and nothing is committed until it is settled.
func (s *Store) Settle(ctx context.Context) error {
	if err := s.lock(ctx); err != nil {
		return fmt.Errorf("settling: %w", err)
	}
	defer s.unlock()
	return s.settle(ctx)
}

// settle looks for the commit's id in the root. Where it is absent it makes an
// empty commit: once that is in, the unknown one, if it is still on its way,
// finds another root than it expects and cannot happen any more.
func (s *Store) settle(ctx context.Context) error {
	if s.unsettled == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	var last error
	for range settleTries {
		done, err := s.trySettle(ctx)
		if done {
			s.cfg.Logger.WarnContext(ctx, "the outcome of a commit has been settled", slog.String("commit", s.unsettled.tx), slog.Bool("happened", s.unsettled.happened))
			s.unsettled = nil
			return nil
		}
		last = err
	}
	if last == nil || errors.Is(last, ErrConflict) { // what is unknown must not pass for what has not happened
		last = errors.New("the store keeps changing, or what is read of it is old")
	}
	return fmt.Errorf("%w: settling commit %s: %w", ErrUnknown, s.unsettled.tx, last)
}

func (s *Store) trySettle(ctx context.Context) (bool, error) {
	u := s.unsettled
	raw, err := s.cfg.Backend.Root(ctx)
	if err != nil {
		return false, err
	}
	found := u.next // in the common case there is nothing to read
	if digest(raw) != found.id.Digest {
		if found, err = s.src.load(ctx, raw, s.Snapshot()); err != nil {
			return false, err
		}
	}
	if err := s.adopt(found); err != nil {
		return false, err
	}
	if found.LastCommit(s.cfg.Node) == u.tx {
		u.happened = true
		return true, nil
	}
	// The log head stays the root's: the one that the unknown commit came with has
	// the intent in it of a change that is not going to happen.
	empty := newTx(found, s.cfg.Node, s.cfg.Now)
	next, change, err := empty.build()
	if err != nil {
		return false, err
	}
	if err := s.cfg.Backend.Swap(ctx, change); err != nil {
		return false, err // look again: perhaps the other one has happened
	}
	return true, s.adopt(next)
}
