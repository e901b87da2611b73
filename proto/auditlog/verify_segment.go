package auditlog

import (
	"fmt"
	"io"
	"slices"
	"sort"
)

// length is how many bytes of the segment count: what the next segment says, or all of them.
func (f *segmentFile) length() int64 {
	if f.next != nil {
		return f.next.header.Previous.Length
	}
	return f.size
}

// scan verifies one file, which is part of the log or was set aside.
func (c *check) scan(f *segmentFile) error {
	file, err := c.fsys.Open(SegmentName(f.number))
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	if !slices.Contains(c.links, f) {
		return c.scanAside(f, file)
	}
	f.tree = f.header.Tree.Clone()
	if c.links[0] == f {
		c.compare(f, 0, nil)
	}
	last := f.header.Tail()
	scan, err := ScanSegment(io.LimitReader(file, f.length()), func(_ *Header, b *Batch) error {
		last.Add(b.Data)
		return c.batch(f, b)
	})
	if err != nil {
		if damaged := (*treeDamage)(nil); asTreeDamage(err, &damaged) {
			return nil // already named
		}
		return err
	}
	if origin := f.header.Origin; origin != c.r.Origin {
		c.damage(Damage{Segment: f.number, Line: 1, Index: -1, What: fmt.Sprintf("its header is of the log %s; this one is %s", origin, c.r.Origin)})
	}
	if f.next == nil {
		c.scannedNewest(f, scan)
		return nil
	}
	c.scannedClosed(f, scan, last)
	return nil
}

// scanAside verifies that a file which no segment goes on from holds nothing that was ever acknowledged.
func (c *check) scanAside(f *segmentFile, file io.Reader) error {
	complete := int64(-1)
	scan, err := ScanSegment(file, func(_ *Header, b *Batch) error {
		if complete < 0 {
			complete = b.Marker.First
		}
		return nil
	})
	if err != nil {
		return err
	}
	if complete < 0 && scan.After != nil {
		complete = scan.After.Index
	}
	if complete >= 0 && f.named {
		return nil
	}
	if complete >= 0 {
		what := "complete batches in a segment that no other goes on from"
		if f.header == nil {
			what += ": " + f.reason
		}
		c.damage(Damage{Segment: f.number, Line: 1, Index: complete, What: what})
		return nil
	}
	c.evidence(Evidence{Segment: f.number, Length: f.size, Recorded: -1})
	return nil
}

func (c *check) evidence(e Evidence) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.r.Evidence = append(c.r.Evidence, e)
}

// treeDamage ends the scan of a segment whose entries are whole but do not make the tree.
type treeDamage struct{}

func (*treeDamage) Error() string { return "damage" }

func asTreeDamage(err error, to **treeDamage) bool {
	d, ok := err.(*treeDamage) //nolint:errorlint // returned by scan's own function, never wrapped
	*to = d
	return ok
}

// batch adds a batch to the segment's tree.
func (c *check) batch(f *segmentFile, b *Batch) error {
	var stored [64]Hash
	line := b.Line
	before := f.tree.Clone()
	i := sort.Search(len(c.wants), func(i int) bool { return c.wants[i].size > f.tree.Size() })
	for entry := range b.Entries() {
		leaf := LeafHash(entry)
		f.tree.Append(leaf, stored[:0])
		if i < len(c.wants) && c.wants[i].size == f.tree.Size() {
			i = c.compare(f, line, &leaf)
		}
		line++
	}
	if f.tree.Hash() != b.Marker.Hash {
		c.damage(Damage{Segment: f.number, Line: b.Line + int(b.Marker.Count), Index: b.Marker.First, What: "the tree hash of the marker is not that of the entries"})
		f.tree = before
		return &treeDamage{}
	}
	return nil
}

// compare compares what is wanted at the size that the tree has now, and returns the index of the first want beyond.
func (c *check) compare(f *segmentFile, line int, leaf *Hash) int {
	c.wantMu.Lock()
	defer c.wantMu.Unlock()
	size := f.tree.Size()
	hash := f.tree.Hash()
	i := sort.Search(len(c.wants), func(i int) bool { return c.wants[i].size >= size })
	for ; i < len(c.wants) && c.wants[i].size == size; i++ {
		w := &c.wants[i]
		switch {
		case w.leaf != nil && leaf == nil: // the entry is in a segment that is not here
			continue
		case w.leaf != nil && w.leaf.Leaf != *leaf:
			c.damage(Damage{Segment: f.number, Line: line, Index: size - 1, What: "the entry is not the one of its receipt"})
			w.signed = false
		case w.leaf == nil && w.hash != hash:
			c.damage(Damage{Segment: f.number, Line: line, Index: -1, What: fmt.Sprintf("%s has another hash: the %d entries up to here are not those that were signed", w.who, size)})
			w.signed = false
		}
		w.met = true
	}
	return i
}

// scannedNewest judges the segment at the end of the log, or before a break in it.
func (c *check) scannedNewest(f *segmentFile, s Scan) {
	f.whole = true
	if s.Broken == nil {
		return
	}
	f.line = s.Broken.Line
	if s.After != nil {
		f.whole = false
		c.damage(Damage{Segment: f.number, Line: s.Broken.Line, Index: s.Broken.Index, What: fmt.Sprintf("%s; a complete batch follows at line %d", s.Broken.What, s.After.Line)})
		return
	}
	c.evidence(Evidence{Segment: f.number, Offset: s.Length, Length: s.Size - s.Length, Recorded: -1})
}

// scannedClosed judges a segment that another one goes on from.
func (c *check) scannedClosed(f *segmentFile, s Scan, last Tail) {
	next := f.next.header
	p := next.Previous
	add := func(line int, index int64, what string) {
		c.damage(Damage{Segment: f.number, Line: line, Index: index, What: what})
	}
	switch {
	case f.size < p.Length:
		add(0, f.tree.Size(), fmt.Sprintf("cut: %d of %d bytes are there", f.size, p.Length))
		return
	case s.Broken != nil:
		add(s.Broken.Line, s.Broken.Index, s.Broken.What)
		return
	case s.SHA256 != p.SHA256:
		add(0, f.header.Tree.Size(), fmt.Sprintf("its SHA-256 is not the one in the header of segment %d", f.next.number))
		return
	case !f.tree.Equal(&next.Tree):
		c.damage(Damage{Segment: f.next.number, Line: 1, Index: f.tree.Size(), What: fmt.Sprintf("its header does not go on from the tree of segment %d", f.number)})
		return
	case last.Root() != next.Root || !last.Time().Equal(next.Time):
		c.damage(Damage{Segment: f.next.number, Line: 1, Index: f.tree.Size(), What: fmt.Sprintf("its header names another last root or time than the entries of segment %d", f.number)})
		return
	}
	f.whole = true
	if beyond := f.size - p.Length; beyond > 0 {
		c.evidence(Evidence{Segment: f.number, Offset: p.Length, Length: beyond, Recorded: p.Evidence})
		if beyond > p.Evidence {
			add(0, -1, fmt.Sprintf("%d bytes were added after segment %d was begun", beyond-p.Evidence, f.next.number))
		}
	}
}
