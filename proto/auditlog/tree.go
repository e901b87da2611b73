package auditlog

import (
	"errors"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// Tree is the Merkle tree of a log, reduced to what is needed to go on: its size and its frontier, the hashes of the
// largest complete subtrees from left to right. The zero Tree is empty. Append changes it; otherwise it is a value
// that Clone copies.
type Tree struct {
	size  int64
	nodes []Hash
}

// NewTree is the tree of that size and frontier.
func NewTree(size int64, frontier []Hash) (Tree, error) {
	if size < 0 || len(frontier) != nodeCount(size) {
		return Tree{}, errors.New("tree: the frontier does not have the size's number of hashes")
	}
	return Tree{size: size, nodes: slices.Clone(frontier)}, nil
}

func nodeCount(size int64) int { return bits.OnesCount64(uint64(max(0, size))) }

// Size is the number of leaves.
func (t *Tree) Size() int64 { return t.size }

// Clone is a copy that shares nothing.
func (t *Tree) Clone() Tree { return Tree{size: t.size, nodes: slices.Clone(t.nodes)} }

// Equal reports whether both are the same tree.
func (t *Tree) Equal(o *Tree) bool { return t.size == o.size && slices.Equal(t.nodes, o.nodes) }

// Append appends a leaf hash, and to stored the hashes that it completes, in the order of tlog.StoredHashIndex.
func (t *Tree) Append(leaf Hash, stored []Hash) []Hash {
	stored = append(stored, leaf)
	h := leaf
	n := len(t.nodes)
	for s := t.size; s&1 == 1; s >>= 1 {
		n--
		h = tlog.NodeHash(t.nodes[n], h)
		stored = append(stored, h)
	}
	t.nodes = append(t.nodes[:n], h)
	t.size++
	return stored
}

// Hash is the root hash.
func (t *Tree) Hash() Hash {
	if t.size == 0 {
		return emptyTree
	}
	h := t.nodes[len(t.nodes)-1]
	for i := len(t.nodes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(t.nodes[i], h)
	}
	return h
}

// Frontier yields the frontier's hashes with their tlog.StoredHashIndex, from left to right.
func (t *Tree) Frontier(yield func(index int64, h Hash) bool) {
	start := int64(0)
	for _, h := range t.nodes {
		level := bits.Len64(uint64(t.size-start)) - 1 //nolint:gosec // start < size
		if !yield(tlog.StoredHashIndex(level, start>>level), h) {
			return
		}
		start += 1 << level
	}
}

var emptyTree = func() Hash {
	h, err := tlog.TreeHash(0, nil)
	if err != nil {
		panic(err) // of size 0 it is a constant
	}
	return h
}()

// EmptyHash is the hash of the tree without leaves.
func EmptyHash() Hash { return emptyTree }
