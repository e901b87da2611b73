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
	chunkLen = 1 << 15
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

// run is some whole batches that stand together in a segment: what must be read, and agrees with its markers, to see
// one of their entries.
type run struct {
	segment       int64
	offset, end   int64
	line          int
	first, behind int64 // indexes
}

// runLen is the length from which a run is not added to.
const runLen = 32 << 10

// maker is a chunk that is being made. A copy of it stays as it is while the original is added to, for its slices are
// only added to: but for the last of times and runs, which view copies.
type maker struct {
	base   int64    // a multiple of every: what places count from
	every  int64    // at most chunkLen
	first  int64    // of the first entry that is in it
	next   int64    // behind the last
	pairs  []uint64 // term<<16 | place, in the order of places
	spans  []times  // of spanLen places each, from base on
	all    times
	runs   []run
	groups map[string]int // by the group's key: its index in totals
	totals []group
	key    []byte // scratch
}

func newMaker(first, every int64) *maker {
	return &maker{base: first / every * every, every: every, first: first, next: first, all: noTimes, groups: map[string]int{}}
}

// end is the index behind the chunk's last entry when it is made.
func (m *maker) end() int64 { return m.base + m.every }

// see adds the batch that the entries added next are in.
func (m *maker) see(b run) {
	if last := len(m.runs) - 1; last >= 0 {
		l := &m.runs[last]
		if l.behind >= b.behind {
			return
		}
		if l.segment == b.segment && l.end == b.offset && l.end-l.offset < runLen {
			l.end, l.behind = b.end, b.behind
			return
		}
	}
	m.runs = append(m.runs, b)
}

// add adds the next entry.
func (m *maker) add(f *facts) {
	place := int(m.next - m.base)
	for len(m.spans) <= place/spanLen {
		m.spans = append(m.spans, noTimes)
	}
	m.spans[place/spanLen].add(f.time)
	m.all.add(f.time)
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

// view is a copy that stays as it is.
func (m *maker) view() *maker {
	v := *m
	v.spans, v.runs, v.totals = slices.Clone(m.spans), slices.Clone(m.runs), slices.Clone(m.totals)
	v.groups, v.key = nil, nil
	return &v
}

// The four that follow are how a query reads a chunk, made or not.

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

const runBytes = 6 * 8

func appendRuns(dst []byte, runs []run) []byte {
	for _, r := range runs {
		for _, v := range []int64{r.segment, r.offset, r.end, int64(r.line), r.first, r.behind} {
			dst = binary.BigEndian.AppendUint64(dst, uint64(v)) //nolint:gosec // its bits
		}
	}
	return dst
}

func parseRuns(data []byte) []run {
	list := make([]run, 0, len(data)/runBytes)
	for ; len(data) >= runBytes; data = data[runBytes:] {
		n := func(i int) int64 { return int64(binary.BigEndian.Uint64(data[8*i:])) } //nolint:gosec // its bits
		list = append(list, run{segment: n(0), offset: n(1), end: n(2), line: int(n(3)), first: n(4), behind: n(5)})
	}
	return list
}
