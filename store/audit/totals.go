package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"math"
	"time"
)

// Total is how many entries of one day are alike.
type Total struct {
	// Day is its midnight, UTC.
	Day                                             time.Time
	Key, Principal, Profile, Action, Outcome, Grant string
	// Entries is how many there are; Count, how many happenings they stand for, which is more where there are summaries.
	Entries, Count int64
	// First and Last are the times of the oldest and of the youngest.
	First, Last time.Time
}

// Totals yields totals of the entries since <= time < until; a zero time does not limit. Entries that are alike may come
// in several totals, in no order: whoever wants one adds Entries and Count up, and takes the smallest First and the
// largest Last. The sum is exact: what the index does not follow yet is read, and so are the ends of a time that does
// not begin or end with a day. Entries in segments that were archived are counted as long as the index knows them;
// when it had to be made anew after that, Totals ends with ErrAbsent, after what is known. Other errors as of Entries.
func (r *Reader) Totals(ctx context.Context, since, until time.Time) iter.Seq2[Total, error] {
	return func(yield func(Total, error) bool) {
		m := newMatcher(Match{Since: since, Until: until})
		v := r.index.view(true)
		head := r.Head()
		for _, p := range v.parts {
			groups, err := r.totalsOf(ctx, p, &m)
			if err != nil {
				yield(Total{}, err)
				return
			}
			for i := range groups {
				if !yield(groups[i].total(), nil) {
					return
				}
			}
		}
		_ = r.tallies(ctx, v.end, head.Size, &m, yield) && r.tallies(ctx, 0, v.first, &m, yield)
	}
}

// tallies yields what tally counts, of so many entries at a time that memory stays flat. The newest come first, because
// the oldest may be absent. False: that was all.
func (r *Reader) tallies(ctx context.Context, from, to int64, m *matcher, yield func(Total, error) bool) bool {
	for ; from < to; to = max(from, to-chunkLen) {
		mk, err := r.tally(ctx, max(from, to-chunkLen), to, m)
		for i := range mk.totals {
			if !yield(mk.totals[i].total(), nil) {
				return false
			}
		}
		if err != nil {
			yield(Total{}, err)
			return false
		}
	}
	return true
}

// totalsOf are the groups of a chunk, as far as they are within the time.
func (r *Reader) totalsOf(ctx context.Context, p part, m *matcher) ([]group, error) {
	if !p.times().meets(m) {
		return nil, nil
	}
	groups, err := p.groupsOf()
	if err != nil {
		if err = r.index.broken(p, err); err != nil {
			return nil, err
		}
		_, first, next := p.bounds()
		mk, err := r.tally(ctx, first, next, m)
		return mk.totals, err
	}
	var inside []group
	for _, g := range groups {
		if !g.times.meets(m) {
			continue
		}
		if !g.times.within(m) { // the time begins or ends within what this counts
			_, first, next := p.bounds()
			mk, err := r.tally(ctx, first, next, m)
			return mk.totals, err
		}
		inside = append(inside, g)
	}
	return inside, nil
}

// tally counts by reading. Absent entries at the beginning are passed over where they are too old.
func (r *Reader) tally(ctx context.Context, from, to int64, m *matcher) (*maker, error) {
	mk := newMaker(0, chunkLen)
	if from >= to {
		return mk, nil
	}
	first, before, err := r.oldest()
	if err != nil {
		return mk, err
	}
	if from < first && !before.IsZero() && m.since != math.MinInt64 && before.UnixMicro() < m.since-TimeSlack.Microseconds() {
		from = min(first, to)
	}
	count := func(seq iter.Seq2[Stored, error]) error {
		for s, err := range seq {
			if err != nil {
				return err
			}
			var f facts
			if !f.read(s.Line) {
				return errUnknown(s.Index)
			}
			if f.time >= m.since && f.time < m.until {
				mk.count(&f)
			}
		}
		return nil
	}
	if from < first { // what is here, and then the error
		if err := count(r.Entries(ctx, min(first, to), to)); err != nil {
			return mk, err
		}
		to = min(first, to)
	}
	return mk, count(r.Entries(ctx, from, to))
}

// group is a Total as it is kept.
type group struct {
	day            int64     // since 1970
	names          [6]string // key, principal, profile, action, outcome, grant
	entries, count int64
	times          times
}

const dayMicros = 24 * 60 * 60 * 1_000_000

func (g *group) total() Total {
	return Total{
		Day: time.Unix(g.day*24*60*60, 0).UTC(),
		Key: g.names[0], Principal: g.names[1], Profile: g.names[2], Action: g.names[3], Outcome: g.names[4], Grant: g.names[5],
		Entries: g.entries, Count: g.count, First: time.UnixMicro(g.times.min).UTC(), Last: time.UnixMicro(g.times.max).UTC(),
	}
}

// count adds an entry to the group that it is of.
func (m *maker) count(f *facts) {
	day := f.time / dayMicros
	if f.time < 0 && f.time%dayMicros != 0 {
		day--
	}
	m.key = binary.AppendVarint(m.key[:0], day)
	names := [6][]byte{f.key, f.principal, f.profile, f.action, f.outcome, f.grant}
	for _, n := range names {
		m.key = append(append(m.key, n...), 0)
	}
	i, ok := m.groups[string(m.key)]
	if !ok {
		i = len(m.totals)
		g := group{day: day, times: noTimes}
		for k, n := range names {
			g.names[k] = string(n)
		}
		m.totals = append(m.totals, g)
		m.groups[string(m.key)] = i
	}
	g := &m.totals[i]
	g.entries++
	g.count += max(1, f.count)
	g.times.add(f.time)
}

// appendGroups writes the strings, each once, and then the groups.
func appendGroups(dst []byte, groups []group) []byte {
	at := map[string]uint64{}
	var table []byte
	for i := range groups {
		for _, n := range groups[i].names {
			if _, ok := at[n]; !ok {
				at[n] = uint64(len(at))
				table = append(binary.AppendUvarint(table, uint64(len(n))), n...)
			}
		}
	}
	dst = append(binary.AppendUvarint(dst, uint64(len(at))), table...)
	for i := range groups {
		g := &groups[i]
		dst = binary.AppendVarint(dst, g.day)
		for _, n := range g.names {
			dst = binary.AppendUvarint(dst, at[n])
		}
		for _, v := range []int64{g.entries, g.count, g.times.min, g.times.max - g.times.min} {
			dst = binary.AppendVarint(dst, v)
		}
	}
	return dst
}

var errGroups = errors.New("the totals of a chunk do not parse")

func parseGroups(data []byte) ([]group, error) {
	bad := false
	uvarint := func() uint64 {
		v, n := binary.Uvarint(data)
		if n <= 0 {
			bad, data = true, nil
			return 0
		}
		data = data[n:]
		return v
	}
	varint := func() int64 {
		v, n := binary.Varint(data)
		if n <= 0 {
			bad, data = true, nil
			return 0
		}
		data = data[n:]
		return v
	}
	var table []string
	for n := uvarint(); n > 0 && !bad; n-- {
		l := uvarint()
		if l > uint64(len(data)) {
			return nil, errGroups
		}
		table = append(table, string(data[:l]))
		data = data[l:]
	}
	var groups []group
	for len(data) > 0 && !bad {
		g := group{day: varint()}
		for i := range g.names {
			k := uvarint()
			if k >= uint64(len(table)) {
				return nil, errGroups
			}
			g.names[i] = table[k]
		}
		g.entries, g.count, g.times.min = varint(), varint(), varint()
		g.times.max = g.times.min + varint()
		groups = append(groups, g)
	}
	if bad {
		return nil, errGroups
	}
	return groups, nil
}
