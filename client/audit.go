package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// Signed is a checkpoint whose signature was verified with a pinned key, and the note in which it came.
type Signed struct {
	auditlog.Checkpoint
	// Note is what to keep: the server is asked with it whether the log still contains this checkpoint.
	Note []byte
}

// verifier finds the pinned key for a note by the origin in its first line.
func (ks logKeys) verifier(msg []byte) (note.Verifier, error) {
	first, _, _ := bytes.Cut(msg, []byte("\n"))
	origin, err := auditlog.ParseOrigin(string(first))
	if err != nil {
		return nil, fmt.Errorf("%w: this is not a checkpoint of a log", ErrUnverified)
	}
	v, ok := ks.verifiers[origin.KeyName()]
	if !ok {
		return nil, fmt.Errorf("%w: the log is %s, for which logs in the config pins no key", ErrNoLogKey, origin)
	}
	return v, nil
}

func (ks logKeys) open(msg []byte) (Signed, error) {
	v, err := ks.verifier(msg)
	if err != nil {
		return Signed{}, err
	}
	cp, err := auditlog.OpenCheckpoint(msg, v)
	if err != nil {
		return Signed{}, fmt.Errorf("%w: the checkpoint: %w", ErrUnverified, err)
	}
	return Signed{Checkpoint: cp, Note: msg}, nil
}

// OpenCheckpoint verifies a signed checkpoint with the pinned keys. It asks nobody.
func (c *Client) OpenCheckpoint(msg []byte) (Signed, error) { return c.logs.open(msg) }

// Origins are the logs that the configuration names.
func (c *Client) Origins() []auditlog.Origin {
	return append([]auditlog.Origin(nil), c.logs.origins...)
}

// Checkpoint gets the latest checkpoint of a log, named by origin or log id, and verifies it; of the current log when log is empty.
// ErrLogEnded when a gap has ended the log and nothing is signed over what is left of it.
func (c *Client) Checkpoint(ctx context.Context, log string) (Signed, error) {
	resp, err := c.GetCheckpoint(ctx, &signetv1.GetCheckpointRequest{Log: log})
	if err != nil {
		return Signed{}, err
	}
	cp, err := c.logs.open(resp.GetNote())
	if err != nil {
		return Signed{}, err
	}
	if log != "" && log != cp.Origin.Log && log != cp.Origin.String() {
		return Signed{}, fmt.Errorf("%w: the server answered with another log's checkpoint", ErrUnverified)
	}
	return cp, nil
}

// Since gets the latest checkpoint of old's log and the proof that the log only grew since old, and verifies both. A log that does
// not contain old any more is an error: the server's, with reason GAP, or ErrUnverified. ErrLogEnded when the server says that it
// does, but a gap has ended it and nothing is signed over its end.
func (c *Client) Since(ctx context.Context, old Signed) (Signed, error) {
	resp, err := c.ProveConsistency(ctx, &signetv1.ProveConsistencyRequest{Checkpoint: old.Note})
	if err != nil {
		return Signed{}, err
	}
	if len(resp.GetCheckpoint()) == 0 {
		return Signed{}, fmt.Errorf("%w: nothing is signed over the end of log %s, so what the server proves of it proves nothing", ErrLogEnded, old.Origin.Log)
	}
	cp, err := c.logs.open(resp.GetCheckpoint())
	if err != nil {
		return Signed{}, err
	}
	proof, err := hashes(resp.GetHashes())
	if err != nil {
		return Signed{}, err
	}
	if err := auditlog.VerifyConsistency(proof, old.Checkpoint, cp.Checkpoint); err != nil {
		return Signed{}, fmt.Errorf("%w: the log does not contain the checkpoint of %d entries: %w", ErrUnverified, old.Size, err)
	}
	return cp, nil
}

func hashes(raw [][]byte) ([]tlog.Hash, error) {
	hs := make([]tlog.Hash, len(raw))
	for i, h := range raw {
		if len(h) != tlog.HashSize {
			return nil, fmt.Errorf("%w: a hash of %d bytes in a proof", ErrUnverified, len(h))
		}
		hs[i] = tlog.Hash(h)
	}
	return hs, nil
}

// Prove gets the proof that an entry is in its log, and verifies it down to the entry's bytes.
func (c *Client) Prove(ctx context.Context, e *signetv1.StoredEntry) (*auditlog.Receipt, []byte, error) {
	leaf := auditlog.LeafHash(e.GetLine())
	resp, err := c.ProveInclusion(ctx, &signetv1.ProveInclusionRequest{Log: e.GetOrigin(), Index: e.GetIndex(), LeafHash: leaf[:]})
	if err != nil {
		return nil, nil, err
	}
	r, err := c.logs.receipt(resp.GetProof(), e.GetOrigin(), e.GetIndex(), e.GetLine())
	return r, resp.GetProof(), err
}

// receipt verifies a proof and that it is about this entry, at this place.
func (ks logKeys) receipt(proof []byte, origin string, index int64, line []byte) (*auditlog.Receipt, error) {
	r, err := ks.proved(proof, line)
	if err != nil {
		return nil, err
	}
	if r.Checkpoint.Origin.String() != origin || r.Index != index {
		return nil, fmt.Errorf("%w: the proof is of another place in the log", ErrUnverified)
	}
	return r, nil
}

// proved verifies a proof and that it is about these bytes.
func (ks logKeys) proved(proof, line []byte) (*auditlog.Receipt, error) {
	p, err := auditlog.ParseProof(proof)
	if err != nil {
		return nil, fmt.Errorf("%w: the proof: %w", ErrUnverified, err)
	}
	v, err := ks.verifier(p.Checkpoint)
	if err != nil {
		return nil, err
	}
	r, err := auditlog.VerifyReceipt(proof, v)
	if err != nil {
		return nil, fmt.Errorf("%w: the proof: %w", ErrUnverified, err)
	}
	if r.Leaf != auditlog.LeafHash(line) {
		return nil, fmt.Errorf("%w: the proof is of another entry", ErrUnverified)
	}
	return r, nil
}

// verifyReceipt verifies a mint's receipt: the entry is in the log, and it is the entry of the token with this SHA-256.
func (c *Client) verifyReceipt(r *signetv1.Receipt, sha256hex string) error {
	if r == nil {
		return fmt.Errorf("%w: the server sent none", ErrUnverified)
	}
	proved, err := c.logs.receipt(r.GetProof(), r.GetOrigin(), r.GetIndex(), r.GetEntry())
	if err != nil {
		return err
	}
	if !bytes.Equal(r.GetLeafHash(), proved.Leaf[:]) {
		return fmt.Errorf("%w: the leaf hash is another entry's", ErrUnverified)
	}
	e, err := auditlog.ParseEntry(r.GetEntry())
	if err != nil {
		return fmt.Errorf("%w: the entry: %w", ErrUnverified, err)
	}
	if e.Token == nil || hex.EncodeToString(e.Token.SHA256[:]) != sha256hex {
		return fmt.Errorf("%w: the entry is not of this token", ErrUnverified)
	}
	return nil
}

// Entries are the entries that a filter leaves, page by page. After an error there are no more.
func (c *Client) Entries(ctx context.Context, f *signetv1.EntryFilter, order signetv1.EntryOrder, pageSize int32) iter.Seq2[*signetv1.StoredEntry, error] {
	return paged(func(token string) ([]*signetv1.StoredEntry, string, error) {
		resp, err := c.ListEntries(ctx, &signetv1.ListEntriesRequest{Filter: f, Order: order, PageSize: pageSize, PageToken: token})
		return resp.GetEntries(), resp.GetNextPageToken(), err
	})
}

// VerifyEntries fetches every entry under a checkpoint and computes the tree anew from their bytes: what the server lists is then
// what was signed, no entry missing, added, changed or moved. progress, which may be nil, is told how many are done. ErrArchived when
// the oldest entries are not there any more; VerifyLogs verifies the others.
func (c *Client) VerifyEntries(ctx context.Context, cp Signed, progress func(done int64)) error {
	return c.walk(ctx, cp.Checkpoint, "the checkpoint is", func(*auditlog.Entry, int64) {}, func(t *tree) {
		if progress != nil {
			progress(t.size)
		}
	})
}

// walk fetches the entries under a head, oldest first, hands each with its index to see, and the tree that ends with it to grown, and
// verifies the head. Until it has returned nil nothing that either saw is verified, and after ErrArchived neither has seen anything.
// who vouches for the head, and is for the error's text.
func (c *Client) walk(ctx context.Context, head auditlog.Checkpoint, who string, see func(*auditlog.Entry, int64), grown func(*tree)) error {
	var t tree
	for e, err := range c.Entries(ctx, &signetv1.EntryFilter{Log: head.Origin.String()}, signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST, 5000) {
		if t.size == head.Size {
			break // younger than the head
		}
		if errors.Is(err, ErrArchived) && t.size > 0 {
			// What was seen of it is not verified, so nobody may go on from there as if it had not been listed.
			return fmt.Errorf("the first %d entries of the log were listed, and then said to be archived: if it was archived just now, verify it again", t.size)
		}
		if err != nil {
			return err
		}
		entry, err := listed(e, head, t.size)
		if err != nil {
			return err
		}
		t.add(auditlog.LeafHash(e.GetLine()))
		see(entry, e.GetIndex())
		grown(&t)
	}
	return t.isHead(head, who)
}

// walkBack is walk for a log whose oldest entries are archived: it fetches those that are there newest first, which is the order in
// which see gets them, and answers the index of the first. The tree of what is archived needs no trust: it is the left side of the
// first entry's inclusion proof, and with another one the entries would not give the head that was signed. Where nothing is left
// under the head there is nothing to verify, and grown is not called.
func (c *Client) walkBack(ctx context.Context, head auditlog.Checkpoint, who string, see func(*auditlog.Entry, int64), grown func(*tree)) (int64, error) {
	var oldest *signetv1.StoredEntry
	var leaves []tlog.Hash // newest first
	first := head.Size
	for e, err := range c.Entries(ctx, &signetv1.EntryFilter{Log: head.Origin.String()}, signetv1.EntryOrder_ENTRY_ORDER_UNSPECIFIED, 5000) {
		if errors.Is(err, ErrArchived) {
			break
		}
		if err != nil {
			return 0, err
		}
		if e.GetIndex() >= head.Size {
			continue // younger than the head
		}
		entry, err := listed(e, head, first-1)
		if err != nil {
			return 0, err
		}
		first--
		leaves, oldest = append(leaves, auditlog.LeafHash(e.GetLine())), e
		see(entry, first)
	}
	if oldest == nil {
		return first, nil
	}
	proof, _, err := c.Prove(ctx, oldest)
	if err != nil {
		return 0, err
	}
	t, err := leftOf(proof)
	if err != nil {
		return 0, err
	}
	grown(t)
	for i := len(leaves) - 1; i >= 0; i-- {
		t.add(leaves[i])
		grown(t)
	}
	return first, t.isHead(head, who)
}

// listed is an entry that the server listed, if it is the one at this index of the head's log.
func listed(e *signetv1.StoredEntry, head auditlog.Checkpoint, index int64) (*auditlog.Entry, error) {
	if e.GetIndex() != index || e.GetOrigin() != head.Origin.String() {
		return nil, fmt.Errorf("%w: entry %d is missing or out of place in what the server lists", ErrUnverified, index)
	}
	entry, err := auditlog.ParseEntry(e.GetLine())
	if err != nil {
		return nil, fmt.Errorf("%w: entry %d is not an entry: %w", ErrUnverified, index, err)
	}
	return entry, nil
}

// leftOf is the tree of the entries before one, as its inclusion proof has it: the path's left siblings are the complete subtrees of
// that tree, the smallest first (RFC 6962, section 2.1.1).
func leftOf(r *auditlog.Receipt) (*tree, error) {
	t := &tree{size: r.Index}
	node, last := r.Index, r.Checkpoint.Size-1
	for _, h := range r.Proof {
		for node&1 == 0 && node == last { // a level at which the path has no sibling
			node, last = node>>1, last>>1
		}
		if node&1 == 1 {
			t.roots = append(t.roots, h)
		}
		node, last = node>>1, last>>1
	}
	slices.Reverse(t.roots)
	if len(t.roots) != bits.OnesCount64(uint64(r.Index)) { //nolint:gosec // not negative
		return nil, fmt.Errorf("%w: the proof is not of entry %d", ErrUnverified, r.Index)
	}
	return t, nil
}

// tree computes an RFC 6962 tree hash leaf by leaf, keeping the roots of the complete subtrees, largest first.
type tree struct {
	size  int64
	roots []tlog.Hash
}

func (t *tree) add(leaf tlog.Hash) {
	t.roots = append(t.roots, leaf)
	t.size++
	for range bits.TrailingZeros64(uint64(t.size)) { //nolint:gosec // a count
		n := len(t.roots)
		t.roots = append(t.roots[:n-2], tlog.NodeHash(t.roots[n-2], t.roots[n-1]))
	}
}

// isHead is nil if the tree is the one that a head is over.
func (t *tree) isHead(head auditlog.Checkpoint, who string) error {
	if t.size != head.Size {
		return fmt.Errorf("%w: %s over %d entries, and the server lists only %d", ErrUnverified, who, head.Size, t.size)
	}
	if t.hash() != head.Hash {
		return fmt.Errorf("%w: the entries that the server lists are not those that were signed", ErrUnverified)
	}
	return nil
}

func (t *tree) hash() tlog.Hash {
	if t.size == 0 {
		h, err := tlog.TreeHash(0, nil)
		if err != nil {
			panic(err) // the empty tree has a hash
		}
		return h
	}
	h := t.roots[len(t.roots)-1]
	for i := len(t.roots) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.roots[i], h)
	}
	return h
}
