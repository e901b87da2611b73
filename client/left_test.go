package client

import (
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/p8signet/signet/proto/auditlog"
)

// TestLeftOf: the tree before any entry, taken from the entry's proof in any tree, is the one that was there before it.
func TestLeftOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 300).Draw(t, "size")
		index := rapid.Int64Range(0, size-1).Draw(t, "index")
		var stored []tlog.Hash
		reader := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
			list := make([]tlog.Hash, len(at))
			for i, x := range at {
				list[i] = stored[x]
			}
			return list, nil
		})
		var before, all tree
		for i := range size {
			leaf := tlog.RecordHash([]byte{byte(i), byte(i >> 8)})
			if i == index {
				before = tree{all.size, slices.Clone(all.roots)}
			}
			all.add(leaf)
			more, err := tlog.StoredHashesForRecordHash(i, leaf, reader)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, more...)
		}
		proof, err := tlog.ProveRecord(size, index, reader)
		if err != nil {
			t.Fatal(err)
		}
		got, err := leftOf(&auditlog.Receipt{Index: index, Proof: proof, Checkpoint: auditlog.Checkpoint{Size: size}})
		if err != nil {
			t.Fatal(err)
		}
		if got.size != before.size || !slices.Equal(got.roots, before.roots) {
			t.Fatalf("before entry %d of %d: %d subtrees, want %d", index, size, len(got.roots), len(before.roots))
		}
	})
}
