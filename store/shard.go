package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// shards is how many shards a root has.
const shards = 256

// shardOf says in which shard a subject lies: all records of one key are in
// one, so that importing a version rewrites one shard.
//
// The hash is FNV-1a, folded to a byte: it spreads, and that is all it is for.
func shardOf(subject string) int {
	h := uint64(14695981039346656037)
	for i := range len(subject) {
		h = (h ^ uint64(subject[i])) * 1099511628211
	}
	h ^= h >> 32
	h ^= h >> 16
	return int((h ^ h>>8) & (shards - 1))
}

// entry is a line of a shard: where a record is and what it is.
type entry struct {
	name    string
	ref     Ref
	sum     [sha256.Size]byte
	version uint64 // the Place.Version that it was sealed for
}

// A shard is text, and there is one way to write it:
//
//	signet-shard v1
//	<record name> <reference> <SHA-256> <version>
//	…
//
// in strictly ascending order of names. It is authenticated by its hash in the
// root, so parsing strictly is a second line: nothing else can be meant by it.
const shardMagic = "signet-shard v1\n"

func marshalShard(entries []entry) []byte {
	b := make([]byte, 0, len(shardMagic)+len(entries)*160)
	b = append(b, shardMagic...)
	for _, e := range entries {
		b = append(b, e.name...)
		b = append(b, ' ')
		b = hex.AppendEncode(b, e.ref[:])
		b = append(b, ' ')
		b = hex.AppendEncode(b, e.sum[:])
		b = append(b, ' ')
		b = strconv.AppendUint(b, e.version, 10)
		b = append(b, '\n')
	}
	return b
}

// parseShard reads shard number n.
func parseShard(n int, data []byte) ([]entry, error) {
	text, ok := strings.CutPrefix(string(data), shardMagic)
	if !ok {
		return nil, errors.New("its first line is not that of a shard")
	}
	entries := make([]entry, 0, strings.Count(text, "\n"))
	last := ""
	for text != "" {
		line, rest, ok := strings.Cut(text, "\n")
		if !ok {
			return nil, errors.New("its last line does not end")
		}
		e, err := parseEntry(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("its entry %d: %w", len(entries), err)
		case e.name <= last:
			return nil, fmt.Errorf("its entry %d is out of order", len(entries))
		case recordShard(e.name) != n:
			return nil, fmt.Errorf("its entry %d belongs to another shard", len(entries))
		}
		entries, last, text = append(entries, e), e.name, rest
	}
	if len(entries) == 0 {
		return nil, errors.New("it is empty")
	}
	return entries, nil
}

func parseEntry(line string) (entry, error) {
	name, line, _ := strings.Cut(line, " ")
	ref, line, _ := strings.Cut(line, " ")
	sum, version, _ := strings.Cut(line, " ")
	e := entry{name: strings.Clone(name)} // or it would keep the whole shard's text
	var err error
	if _, ok := parseRecord(name); !ok {
		return entry{}, errors.New("not a record name")
	}
	if e.ref, err = ParseRef(ref); err != nil {
		return entry{}, err
	}
	if len(sum) != 2*len(e.sum) || strings.ToLower(sum) != sum {
		return entry{}, errors.New("not a SHA-256")
	}
	if _, err := hex.Decode(e.sum[:], []byte(sum)); err != nil {
		return entry{}, errors.New("not a SHA-256")
	}
	if e.version, err = strconv.ParseUint(version, 10, 64); err != nil || strconv.FormatUint(e.version, 10) != version {
		return entry{}, errors.New("not a version")
	}
	return e, nil
}

// find returns the entry of that name.
func find(entries []entry, name string) (entry, bool) {
	i, ok := slices.BinarySearchFunc(entries, name, func(e entry, n string) int { return strings.Compare(e.name, n) })
	if !ok {
		return entry{}, false
	}
	return entries[i], true
}

// merge returns entries with changes made: an entry with a zero reference
// removes the one of its name. It also returns the entries that are no longer
// there. entries is not modified.
func merge(entries []entry, changes map[string]entry) (after, gone []entry) {
	after = make([]entry, 0, len(entries)+len(changes))
	for _, e := range entries {
		if _, ok := changes[e.name]; ok {
			gone = append(gone, e)
			continue
		}
		after = append(after, e)
	}
	for _, e := range changes {
		if e.ref != (Ref{}) {
			after = append(after, e)
		}
	}
	slices.SortFunc(after, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return after, gone
}

// checkBlob says whether blob is what sum promises.
func checkBlob(blob []byte, sum [sha256.Size]byte) error {
	if got := sha256.Sum256(blob); !bytes.Equal(got[:], sum[:]) {
		return errors.New("its SHA-256 is another than the one recorded")
	}
	return nil
}
