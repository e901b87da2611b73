package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/p8signet/signet/proto/auditlog"
	"golang.org/x/mod/sumdb/tlog"
)

// Inclusion proves that a leaf is at an index of a tree.
type Inclusion struct {
	Leaf  auditlog.Hash
	Head  Head // the tree
	Proof tlog.RecordProof
}

// Consistency proves that a log only grew.
type Consistency struct {
	Proof      tlog.TreeProof
	Head       Head   // to which the proof leads
	Checkpoint []byte // signed, over Head; nil for a closed log over whose end nothing was signed
}

// ProveInclusion proves that the entry at index is in the tree of that size; ErrNoEntry beyond the head.
func (r *Reader) ProveInclusion(ctx context.Context, index, size int64) (Inclusion, error) {
	head := r.Head()
	if index < 0 || index >= size || size > head.Size {
		return Inclusion{}, fmt.Errorf("%w: index %d of %d; the log has %d", ErrNoEntry, index, size, head.Size)
	}
	in := Inclusion{Head: Head{Log: head.Log, Size: size}}
	err := r.proven(ctx, func(hashes tlog.HashReader) error {
		var err error
		if in.Head.Hash, err = treeHash(size, head, hashes); err != nil {
			return err
		}
		leaf, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return err
		}
		if in.Proof, err = tlog.ProveRecord(size, index, hashes); err != nil {
			return err
		}
		in.Leaf = leaf[0]
		return tlog.CheckRecord(in.Proof, size, in.Head.Hash, index, in.Leaf)
	})
	if err != nil {
		return Inclusion{}, fmt.Errorf("proving inclusion of entry %d: %w", index, err)
	}
	return in, nil
}

// treeHash is the hash of the tree of that size, proved against a later head.
func treeHash(size int64, head Head, hashes tlog.HashReader) (auditlog.Hash, error) {
	if size == head.Size {
		return head.Hash, nil
	}
	h, err := tlog.TreeHash(size, hashes)
	if err != nil || size == 0 {
		return h, err
	}
	p, err := tlog.ProveTree(head.Size, size, hashes)
	if err != nil {
		return h, err
	}
	return h, tlog.CheckTree(p, head.Size, head.Hash, size, h)
}

// InclusionText is the c2sp.org/tlog-proof@v1 text, over the newest checkpoint, for an entry that the caller can name
// by index and leaf hash; ErrNoEntry if that is not there.
func (r *Reader) InclusionText(ctx context.Context, index int64, leaf auditlog.Hash) ([]byte, error) {
	note, noted := r.checkpoint()
	if note == nil {
		return nil, fmt.Errorf("%w: nothing was signed over the end of log %s", ErrNoEntry, r.origin.Log)
	}
	in, err := r.ProveInclusion(ctx, index, noted.Size)
	if err != nil {
		return nil, err
	}
	if in.Head.Hash != noted.Hash { // of a closed log, which lost what the checkpoint is over
		return nil, fmt.Errorf("%w: log %s does not contain its last checkpoint", ErrNotContained, r.origin.Log)
	}
	if in.Leaf != leaf {
		return nil, fmt.Errorf("%w: the leaf hash at index %d is another one", ErrNoEntry, index)
	}
	return auditlog.FormatProof(auditlog.Proof{Extra: leaf[:], Index: index, Hashes: in.Proof, Checkpoint: note}), nil
}

// consistency proves that the log contains the head of that size and hash.
func (r *Reader) consistency(ctx context.Context, size int64, hash auditlog.Hash) (Consistency, error) {
	note, head := r.checkpoint()
	end, closed := r.end()
	if closed && head != end {
		note, head = nil, end
	}
	if closed && size > end.Size {
		return Consistency{}, fmt.Errorf("%w: it has %d entries, log %s ended with %d", ErrBeyondEnd, size, end.Log, end.Size)
	}
	proof, err := r.prefix(ctx, head, size, hash)
	if err != nil {
		return Consistency{}, err
	}
	return Consistency{Proof: proof, Head: head, Checkpoint: note}, nil
}

// prefix proves that the log of head contains the one of that size and hash; ErrNotContained if not.
func (r *Reader) prefix(ctx context.Context, head Head, size int64, hash auditlog.Hash) (tlog.TreeProof, error) {
	other := fmt.Errorf("%w: the first %d entries of log %s have another hash", ErrNotContained, size, head.Log)
	switch {
	case size < 0 || size > head.Size:
		return nil, fmt.Errorf("%w: it has %d entries, log %s has %d", ErrNotContained, size, head.Log, head.Size)
	case size == 0 && hash != auditlog.EmptyHash(), size == head.Size && hash != head.Hash:
		return nil, other
	case size == 0, size == head.Size:
		return nil, nil
	}
	var proof tlog.TreeProof
	err := r.proven(ctx, func(hashes tlog.HashReader) error {
		var err error
		if proof, err = tlog.ProveTree(head.Size, size, hashes); err != nil {
			return err
		}
		if err = tlog.CheckTree(proof, head.Size, head.Hash, size, hash); err == nil {
			return nil
		}
		switch proved, err := treeHash(size, head, hashes); {
		case err != nil:
			return err // the hashes are wrong, and say nothing of the log
		case proved == hash:
			return errHashes // they were made anew just now: once more
		default:
			return other
		}
	})
	if err != nil {
		return nil, fmt.Errorf("proving consistency: %w", err)
	}
	return proof, nil
}

// proven does what needs the tree's hashes and verifies its own result. When that fails for another reason than
// ErrNotContained, which is verified too, the file of hashes is lost or wrong, and is made anew from the entries. When it fails even
// then the entries are wrong: ErrDamaged. So it is of a log that ended in a copy of the directory, under another process.
func (r *Reader) proven(ctx context.Context, prove func(tlog.HashReader) error) error {
	err := prove(r.hashes)
	if err == nil || errors.Is(err, ErrNotContained) {
		return err
	}
	select {
	case r.rebuilding <- struct{}{}:
		defer func() { <-r.rebuilding }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := prove(r.hashes); err == nil || errors.Is(err, ErrNotContained) {
		return err // somebody else has done it
	}
	if err := r.rebuild(ctx); err != nil {
		return fmt.Errorf("making the tree's hashes anew: %w", err)
	}
	err = prove(r.hashes)
	if err == nil || errors.Is(err, ErrNotContained) {
		return err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.links) > 0 && r.links[0].first > 0 {
		return fmt.Errorf("%w: the hashes of the entries before index %d are lost", ErrAbsent, r.links[0].first)
	}
	if errors.Is(err, ErrDamaged) || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: the entries of log %s are not those of which its head was made: %w", ErrDamaged, r.origin.Log, err)
}

// rebuild makes the file of hashes anew from the entries, up to the head at the call. Of entries whose segments were
// archived it knows what the header of the oldest one here does. r.rebuilding is full.
func (r *Reader) rebuild(ctx context.Context) error {
	if err := r.forget(); err != nil {
		return err
	}
	if err := r.reach(0); err != nil && !errors.Is(err, ErrAbsent) {
		return err
	}
	r.mu.RLock()
	head, links := r.head, r.links
	r.mu.RUnlock()
	if len(links) == 0 {
		return nil
	}
	var tree auditlog.Tree
	if oldest := links[0]; oldest.first > 0 {
		h, reason, err := readHeader(r.fs, r.origin, oldest.number)
		if err != nil {
			return err
		}
		if h == nil {
			return damage(oldest.number, auditlog.Place{Line: 1, Index: -1, What: reason})
		}
		tree = h.Tree.Clone()
		for at, hash := range tree.Frontier {
			if err := r.hashes.put(at, []auditlog.Hash{hash}); err != nil {
				return err
			}
		}
	}
	var stored []auditlog.Hash
	for b, err := range r.blocks(ctx, tree.Size(), head.Size, false) {
		if err != nil {
			return err
		}
		stored = stored[:0]
		for _, line := range b.lines {
			stored = tree.Append(auditlog.LeafHash(line), stored)
		}
		if err := r.hashes.put(tlog.StoredHashCount(b.first), stored); err != nil {
			return err
		}
	}
	return nil
}

// compareHashes compares the file of hashes with the head, and makes it anew if it does not agree. What is wrong with
// it elsewhere shows when something is to be proved with it.
func (r *Reader) compareHashes(ctx context.Context) error {
	head := r.Head()
	return r.proven(ctx, func(hashes tlog.HashReader) error {
		h, err := tlog.TreeHash(head.Size, hashes)
		if err == nil && h != head.Hash {
			err = errHashes
		}
		return err
	})
}
