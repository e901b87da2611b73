package audit

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// chunkLen is how many entries a chunk of the index is about: those from k·chunkLen to the next multiple. A chunk is
// made once its last entry is in the log, and then never changes. The newest entries are in one that is being made.
const (
	chunkLen = 1 << 14
	spanLen  = 256 // entries whose times are kept together
)

// dim is what entries are searched by.
type dim byte

// The dimensions. Their numbers are in the file.
const (
	dimKey dim = iota + 1
	dimPrincipal
	dimProfile
	dimAction
	dimOutcome
	dimToken
)

// term is a value of a dimension, hashed. Several may have the same hash: what a term leads to is looked at again.
type term uint32

// termOf is FNV-1a over both, with the bits mixed.
func termOf(d dim, value []byte) term {
	h := uint64(14695981039346656037)
	h = (h ^ uint64(d)) * 1099511628211
	for _, c := range value {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return term(h >> 32)
}

// set is a set of places in a chunk: bit i is of the entry at the chunk's base + i.
type set [chunkLen / 64]uint64

func (s *set) add(i int) { s[i/64] |= 1 << (i % 64) }

// and keeps what is in both, and reports whether anything is.
func (s *set) and(o *set) bool {
	some := uint64(0)
	for i := range s {
		s[i] &= o[i]
		some |= s[i]
	}
	return some != 0
}

// addRange adds from <= i < to.
func (s *set) addRange(from, to int) {
	for i := from; i < to; i++ {
		s.add(i)
	}
}

// after is the first place not before i, or chunkLen; before is the last place not after i, or -1.
func (s *set) after(i int) int {
	for i < chunkLen {
		if w := s[i/64] >> (i % 64); w != 0 {
			return i + bits.TrailingZeros64(w)
		}
		i = (i/64 + 1) * 64
	}
	return chunkLen
}

func (s *set) before(i int) int {
	for i >= 0 {
		if w := s[i/64] << (63 - i%64); w != 0 {
			return i - bits.LeadingZeros64(w)
		}
		i = i/64*64 - 1
	}
	return -1
}

// times are the oldest and the youngest of some entries, Unix microseconds.
type times struct{ min, max int64 }

var noTimes = times{math.MaxInt64, math.MinInt64}

func (t *times) add(micros int64) {
	t.min, t.max = min(t.min, micros), max(t.max, micros)
}

// meets reports whether one of them may be since <= time < until.
func (t times) meets(m *matcher) bool { return t.max >= m.since && t.min < m.until }

// within reports whether all of them are.
func (t times) within(m *matcher) bool { return t.min >= m.since && t.max < m.until }

// run is where entries lie that stand behind each other in one segment.
type run struct {
	segment int64
	offset  int64 // what the offsets of their lines count from
	first   int64 // index of the first
}

// maker is a chunk that is being made. A copy of it stays as it is while the original is added to, for its slices are
// only added to: but for times and totals, which view copies.
type maker struct {
	base    int64    // a multiple of every: what places count from
	every   int64    // at most chunkLen
	first   int64    // of the first entry that is in it
	next    int64    // behind the last
	pairs   []uint64 // term<<16 | place, in the order of places
	spans   []times  // of spanLen places each, from base on
	all     times
	runs    []run
	offsets []uint32       // of the lines of entries from first on, in their runs
	groups  map[string]int // by the group's key: its index in totals
	totals  []group
	key     []byte // scratch
}

func newMaker(first, every int64) *maker {
	return &maker{base: first / every * every, every: every, first: first, next: first, all: noTimes, groups: map[string]int{}}
}

// end is the index behind the chunk's last entry when it is made.
func (m *maker) end() int64 { return m.base + m.every }

// see says that the entries added next are in a batch of that segment and offset.
func (m *maker) see(segment, offset int64) {
	if n := len(m.runs); n == 0 || m.runs[n-1].segment != segment || offset-m.runs[n-1].offset > math.MaxInt32 {
		m.runs = append(m.runs, run{segment, offset, m.next})
	}
}

// add adds the next entry, whose line is at that offset of the segment.
func (m *maker) add(f *facts, offset int64) {
	place := int(m.next - m.base)
	for len(m.spans) <= place/spanLen {
		m.spans = append(m.spans, noTimes)
	}
	m.spans[place/spanLen].add(f.time)
	m.all.add(f.time)
	m.offsets = append(m.offsets, uint32(offset-m.runs[len(m.runs)-1].offset)) //nolint:gosec // a batch is shorter than 2^31, too
	pair := func(d dim, v []byte) {
		if len(v) > 0 {
			m.pairs = append(m.pairs, uint64(termOf(d, v))<<16|uint64(place)) //nolint:gosec // below chunkLen
		}
	}
	pair(dimKey, f.key)
	pair(dimPrincipal, f.principal)
	pair(dimProfile, f.profile)
	pair(dimAction, f.action)
	pair(dimOutcome, f.outcome)
	pair(dimToken, f.token)
	m.count(f)
	m.next++
}

// view is a copy that stays as it is, with totals or without.
func (m *maker) view(totals bool) *maker {
	v := *m
	v.spans, v.totals, v.groups, v.key = slices.Clone(m.spans), nil, nil, nil
	if totals {
		v.totals = slices.Clone(m.totals)
	}
	return &v
}

// What follows is how a query reads a chunk, made or not.

func (m *maker) bounds() (base, first, next int64) { return m.base, m.first, m.next }

func (m *maker) times() times { return m.all }

func (m *maker) places(t term, s *set) error {
	for _, p := range m.pairs {
		if term(p>>16) == t { //nolint:gosec // 32 bits
			s.add(int(p & 0xffff))
		}
	}
	return nil
}

func (m *maker) spanTimes() ([]times, error) { return m.spans, nil }

func (m *maker) runsOf() ([]run, error) { return m.runs, nil }

func (m *maker) offsetsOf(block int) ([]uint32, error) {
	return m.offsets[block*spanLen : min((block+1)*spanLen, len(m.offsets))], nil
}

func (m *maker) groupsOf() ([]group, error) { return m.totals, nil }

// The parts of a made chunk, each sealed. The directory is blocks of entries of eight bytes, by term: the term, and
// either one place or where in the lists its places are.
const (
	blockTerms  = 511
	dirBlock    = blockTerms*8 + tagLen
	singlePlace = 1 << 31
	sparse      = chunkLen / 16 // places from which a bitmap is shorter than a list
)

// directory makes directory and lists of the pairs.
func (m *maker) directory(seal sealer) (dir, lists []byte, terms int) {
	pairs := slices.Clone(m.pairs)
	slices.Sort(pairs)
	pairs = slices.Compact(pairs) // of two terms with the same hash in one entry
	var block []byte
	flush := func() {
		block = append(block, make([]byte, blockTerms*8-len(block))...)
		dir = seal.append(dir, partDir, len(dir)/dirBlock, block)
		block = block[:0]
	}
	for i := 0; i < len(pairs); {
		n := i
		for n < len(pairs) && pairs[n]>>16 == pairs[i]>>16 {
			n++
		}
		where := uint32(len(lists)) //nolint:gosec // far below 2^31
		if n-i == 1 {
			where = singlePlace | uint32(pairs[i]&0xffff)
		} else {
			lists = seal.append(lists, partList, len(lists), listOf(pairs[i:n]))
		}
		if len(block) == blockTerms*8 {
			flush()
		}
		block = binary.BigEndian.AppendUint32(block, uint32(pairs[i]>>16)) //nolint:gosec // 32 bits
		block = binary.BigEndian.AppendUint32(block, where)
		terms++
		i = n
	}
	flush()
	return dir, lists, terms
}

// listOf is the places of one term: how many less one, then two bytes each, or a bitmap.
func listOf(pairs []uint64) []byte {
	list := binary.BigEndian.AppendUint16(nil, uint16(len(pairs)-1)) //nolint:gosec // at most chunkLen
	if len(pairs) <= sparse {
		for _, p := range pairs {
			list = binary.BigEndian.AppendUint16(list, uint16(p)) //nolint:gosec // the place
		}
		return list
	}
	var s set
	for _, p := range pairs {
		s.add(int(p & 0xffff))
	}
	for _, w := range s {
		list = binary.BigEndian.AppendUint64(list, w)
	}
	return list
}

// listLen is how long a list is, by its first two bytes.
func listLen(head []byte) int {
	n := int(binary.BigEndian.Uint16(head)) + 1
	if n <= sparse {
		return 2 + 2*n
	}
	return 2 + chunkLen/8
}

// addList adds the places of a list to a set.
func addList(list []byte, s *set) {
	if len(list) == 2+chunkLen/8 && int(binary.BigEndian.Uint16(list)) >= sparse {
		for i := range s {
			s[i] |= binary.BigEndian.Uint64(list[2+8*i:])
		}
		return
	}
	for p := list[2:]; len(p) > 0; p = p[2:] {
		s.add(int(binary.BigEndian.Uint16(p)) % chunkLen)
	}
}

func appendTimes(dst []byte, list []times) []byte {
	for _, t := range list {
		dst = binary.BigEndian.AppendUint64(dst, uint64(t.min)) //nolint:gosec // its bits
		dst = binary.BigEndian.AppendUint64(dst, uint64(t.max)) //nolint:gosec // its bits
	}
	return dst
}

func parseTimes(data []byte) []times {
	list := make([]times, 0, len(data)/16)
	for ; len(data) >= 16; data = data[16:] {
		list = append(list, times{int64(binary.BigEndian.Uint64(data)), int64(binary.BigEndian.Uint64(data[8:]))}) //nolint:gosec // its bits
	}
	return list
}

const runBytes = 3 * 8

func appendRuns(dst []byte, runs []run) []byte {
	for _, r := range runs {
		for _, v := range []int64{r.segment, r.offset, r.first} {
			dst = binary.BigEndian.AppendUint64(dst, uint64(v)) //nolint:gosec // its bits
		}
	}
	return dst
}

func parseRuns(data []byte) []run {
	list := make([]run, 0, len(data)/runBytes)
	for ; len(data) >= runBytes; data = data[runBytes:] {
		n := func(i int) int64 { return int64(binary.BigEndian.Uint64(data[8*i:])) } //nolint:gosec // its bits
		list = append(list, run{segment: n(0), offset: n(1), first: n(2)})
	}
	return list
}

// offsetBlock is the length of the offsets of spanLen entries, which are sealed together.
const offsetBlock = spanLen*4 + tagLen

func appendOffsets(dst []byte, seal sealer, offsets []uint32) []byte {
	n := 0
	for block := range slices.Chunk(offsets, spanLen) {
		var data []byte
		for _, o := range block {
			data = binary.BigEndian.AppendUint32(data, o)
		}
		dst = seal.append(dst, partOffsets, n, data)
		n++
	}
	return dst
}

func parseOffsets(data []byte) []uint32 {
	list := make([]uint32, 0, len(data)/4)
	for ; len(data) >= 4; data = data[4:] {
		list = append(list, binary.BigEndian.Uint32(data))
	}
	return list
}
