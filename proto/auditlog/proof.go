package auditlog

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrProof is wrapped by every refusal of a proof.
var ErrProof = errors.New("proof refused")

// Bounds of a proof's text.
const (
	maxExtra  = 64 << 10
	maxHashes = 63 // a path in a tree of 2⁶³ leaves
	proofMark = "c2sp.org/tlog-proof@v1"
)

// VerifyInclusion verifies that the tree of checkpoint c holds leaf at index.
func VerifyInclusion(p tlog.RecordProof, c Checkpoint, index int64, leaf Hash) error {
	if len(p) > maxHashes {
		return fmt.Errorf("%w: inclusion: more hashes than a path can have", ErrProof)
	}
	if index < 0 || index >= c.Size {
		return fmt.Errorf("%w: inclusion: index %d is not below the checkpoint's size %d", ErrProof, index, c.Size)
	}
	if err := tlog.CheckRecord(p, c.Size, c.Hash, index, leaf); err != nil {
		return fmt.Errorf("%w: inclusion: the entry is not at index %d of the checkpoint's tree", ErrProof, index)
	}
	return nil
}

// VerifyConsistency verifies that the log only grew from the checkpoint before to the one after.
func VerifyConsistency(p tlog.TreeProof, before, after Checkpoint) error {
	if before.Origin != after.Origin {
		return fmt.Errorf("%w: consistency: the checkpoints are of different logs", ErrProof)
	}
	if before.Size > after.Size {
		return fmt.Errorf("%w: consistency: the log shrank from %d entries to %d", ErrProof, before.Size, after.Size)
	}
	if before.Size == 0 {
		if len(p) != 0 || before.Hash != emptyTree {
			return fmt.Errorf("%w: consistency: not a proof from the empty log", ErrProof)
		}
		return nil
	}
	if len(p) > maxHashes+1 {
		return fmt.Errorf("%w: consistency: more hashes than there can be", ErrProof)
	}
	if err := tlog.CheckTree(p, after.Size, after.Hash, before.Size, before.Hash); err != nil {
		return fmt.Errorf("%w: consistency: the log of %d entries does not contain the one of %d", ErrProof, after.Size, before.Size)
	}
	return nil
}

// Proof is the parsed form of a c2sp.org/tlog-proof@v1 text. Nothing in it is verified.
type Proof struct {
	Extra      []byte // opaque, unauthenticated; nil: none
	Index      int64
	Hashes     []Hash
	Checkpoint []byte // a signed note, verbatim
}

// FormatProof is the c2sp.org/tlog-proof@v1 text of p.
func FormatProof(p Proof) []byte {
	b := make([]byte, 0, 64+len(p.Extra)*4/3+45*len(p.Hashes)+len(p.Checkpoint))
	b = append(b, proofMark+"\n"...)
	if p.Extra != nil {
		b = append(b, "extra "...)
		b = base64.StdEncoding.AppendEncode(b, p.Extra)
		b = append(b, '\n')
	}
	b = append(b, "index "...)
	b = strconv.AppendInt(b, p.Index, 10)
	b = append(b, '\n')
	for _, h := range p.Hashes {
		b = base64.StdEncoding.AppendEncode(b, h[:])
		b = append(b, '\n')
	}
	b = append(b, '\n')
	return append(b, p.Checkpoint...)
}

// ParseProof parses a c2sp.org/tlog-proof@v1 text.
func ParseProof(text []byte) (Proof, error) {
	head, checkpoint, ok := bytes.Cut(text, []byte("\n\n"))
	if !ok || len(checkpoint) == 0 {
		return Proof{}, fmt.Errorf("%w: it has no checkpoint after an empty line", ErrProof)
	}
	if len(checkpoint) > MaxNoteLen || len(head) > maxExtra {
		return Proof{}, fmt.Errorf("%w: longer than there can be", ErrProof)
	}
	lines := bytes.Split(head, []byte("\n"))
	if string(lines[0]) != proofMark {
		return Proof{}, fmt.Errorf("%w: the first line must be %s", ErrProof, proofMark)
	}
	lines = lines[1:]
	p := Proof{Checkpoint: bytes.Clone(checkpoint)}
	if len(lines) > 0 {
		if extra, ok := bytes.CutPrefix(lines[0], []byte("extra ")); ok {
			b, err := base64.StdEncoding.Strict().DecodeString(string(extra))
			if err != nil || bytes.IndexByte(extra, '\r') >= 0 { // which the decoder passes over
				return Proof{}, fmt.Errorf("%w: its extra data is not base64", ErrProof)
			}
			p.Extra, lines = append([]byte{}, b...), lines[1:]
		}
	}
	if len(lines) == 0 {
		return Proof{}, fmt.Errorf("%w: it has no index", ErrProof)
	}
	index, ok := bytes.CutPrefix(lines[0], []byte("index "))
	num := parser{s: string(index)}
	p.Index = int64(num.uint(math.MaxInt64)) //nolint:gosec // bounded by its argument
	if !ok || num.err != nil || num.s != "" {
		return Proof{}, fmt.Errorf("%w: its index is not a number", ErrProof)
	}
	if lines = lines[1:]; len(lines) > maxHashes {
		return Proof{}, fmt.Errorf("%w: more hashes than a path can have", ErrProof)
	}
	for _, l := range lines {
		q := parser{s: `"` + string(l) + `"`}
		h := q.base64()
		if q.err != nil || q.s != "" {
			return Proof{}, fmt.Errorf("%w: a hash is not the base64 of 32 bytes", ErrProof)
		}
		p.Hashes = append(p.Hashes, h)
	}
	return p, nil
}

// Receipt proves that an entry is in the log: its leaf hash at its index, in the tree of a signed checkpoint.
type Receipt struct {
	Index      int64
	Leaf       Hash
	Proof      tlog.RecordProof
	Checkpoint Checkpoint
	Note       []byte // the signed note of Checkpoint
}

// MarshalText is the receipt as c2sp.org/tlog-proof@v1 text, with the leaf hash as its extra data.
func (r *Receipt) MarshalText() ([]byte, error) {
	return FormatProof(Proof{Extra: r.Leaf[:], Index: r.Index, Hashes: r.Proof, Checkpoint: r.Note}), nil
}

// VerifyReceipt parses a receipt's text and verifies its signature and its proof. That the leaf is a certain
// entry's is for the caller to compare: LeafHash(line) == receipt.Leaf.
func VerifyReceipt(text []byte, v note.Verifier) (*Receipt, error) {
	p, err := ParseProof(text)
	if err != nil {
		return nil, err
	}
	r := &Receipt{Index: p.Index, Proof: p.Hashes, Note: p.Checkpoint}
	if len(p.Extra) != len(r.Leaf) {
		return nil, fmt.Errorf("%w: its extra data is not a leaf hash; is it a receipt?", ErrProof)
	}
	copy(r.Leaf[:], p.Extra)
	if r.Checkpoint, err = OpenCheckpoint(p.Checkpoint, v); err != nil {
		return nil, err
	}
	if err := VerifyInclusion(r.Proof, r.Checkpoint, r.Index, r.Leaf); err != nil {
		return nil, err
	}
	return r, nil
}
