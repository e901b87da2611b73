package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
)

// Reader reads one log, the current or a closed one. All methods are safe for concurrent use, also beside Append; what
// is begun before Log.Close and ends after it may answer an error.
type Reader struct {
	fs     FS
	origin auditlog.Origin
	hashes *hashes
	index  *index

	rebuilding chan struct{} // of one; full while somebody makes the file of hashes anew

	mu      sync.RWMutex
	sign    func(Head) ([]byte, error) // a checkpoint over a head of this log; nil: it is closed
	head    Head
	links   []*link // oldest first, without a break up to the head; older ones are added when they are asked for
	note    []byte  // the newest checkpoint that was signed; nil: none
	noted   Head    // what it is over
	time    time.Time
	root    auditlog.Root
	changed chan struct{} // closed when the head changes
}

func newReader(c Config, origin auditlog.Origin, head Head, h *hashes) *Reader {
	return &Reader{
		fs: c.FS, origin: origin, hashes: h, index: newIndex(c, origin), rebuilding: make(chan struct{}, 1), head: head, changed: make(chan struct{}),
	}
}

// link is a segment of the log. number, first and prev do not change; the rest is guarded by the Reader's mu.
type link struct {
	number int64
	first  int64 // index of its first entry
	prev   *auditlog.Previous
	length int64  // bytes that count
	marks  []mark // where blocks begin; empty: no entries, or not scanned
	known  bool   // marks are complete
}

// mark is a place in a segment where a batch begins.
type mark struct {
	offset, index int64
	line          int
}

// blockLen is about how far marks are apart: what a query reads at once, and at least.
const blockLen = 256 << 10

// mark notes that a batch begins at offset, where it is time for a mark.
func (l *link) mark(offset, index int64, line int) {
	if n := len(l.marks); n == 0 || offset-l.marks[n-1].offset >= blockLen {
		l.marks = append(l.marks, mark{offset, index, line})
	}
	l.known = true
}

// Origin is the log's.
func (r *Reader) Origin() auditlog.Origin { return r.origin }

// Head is the durable head of the log.
func (r *Reader) Head() Head {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.head
}

// end is the head, and whether it is where a closed log ended.
func (r *Reader) end() (Head, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.head, r.sign == nil
}

// Stored is an entry as it lies in the log.
type Stored struct {
	Index int64
	Line  []byte // without newline; valid until the iteration goes on
}

// Entries yields the entries from <= index < to, oldest first; to is at most the head's size. What is read is checked
// against its markers. After an error (ErrDamaged, ErrAbsent, the context's, the disk's) it ends.
func (r *Reader) Entries(ctx context.Context, from, to int64) iter.Seq2[Stored, error] {
	return r.entries(ctx, from, to, false)
}

// Reverse yields the same entries newest first.
func (r *Reader) Reverse(ctx context.Context, from, to int64) iter.Seq2[Stored, error] {
	return r.entries(ctx, from, to, true)
}

func (r *Reader) entries(ctx context.Context, from, to int64, reverse bool) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		from = max(from, 0)
		for b, err := range r.blocks(ctx, from, to, reverse) {
			if err != nil {
				yield(Stored{}, err)
				return
			}
			for i := range b.lines {
				if reverse {
					i = len(b.lines) - 1 - i
				}
				if index := b.first + int64(i); index >= from && index < to && !yield(Stored{index, b.lines[i]}, nil) {
					return
				}
			}
		}
	}
}

// block is a run of whole batches.
type block struct {
	first   int64
	lines   [][]byte
	batches []place
}

// place is where a batch is: its segment, the offset of its first entry, and the indexes first <= index < behind.
type place struct{ segment, offset, first, behind int64 }

// stretch is a segment as it stood when a query began.
type stretch struct {
	link       *link
	first, end int64 // indexes
	length     int64
	marks      []mark
	known      bool
}

// blocks yields the blocks that hold entries from <= index < to, and little more.
func (r *Reader) blocks(ctx context.Context, from, to int64, reverse bool) iter.Seq2[block, error] {
	return func(yield func(block, error) bool) {
		stretches, absent := r.stretches(from, to)
		if absent != nil && !reverse {
			yield(block{}, absent)
			return
		}
		if reverse {
			slices.Reverse(stretches)
		}
		var buf []byte
		for _, s := range stretches {
			if err := r.scan(ctx, &s); err != nil {
				yield(block{}, err)
				return
			}
			file, err := openSegment(r.fs, r.origin.Log, s.link.number)
			if err != nil {
				yield(block{}, err)
				return
			}
			for k := range s.marks {
				if reverse {
					k = len(s.marks) - 1 - k
				}
				m, next := s.marks[k], mark{offset: s.length, index: s.end}
				if k+1 < len(s.marks) {
					next = s.marks[k+1]
				}
				if next.index <= from || m.index >= to {
					continue
				}
				var b block
				if err = ctx.Err(); err == nil {
					b, err = readBlock(file, s.link.number, m, next, &buf)
				}
				if !yield(b, err) || err != nil {
					_ = file.Close() // only read
					return
				}
			}
			_ = file.Close() // only read
		}
		if absent != nil {
			yield(block{}, absent)
		}
	}
}

// stretches is what of the segments holds entries from <= index < to, as far as it is there; the error is for the rest.
func (r *Reader) stretches(from, to int64) ([]stretch, error) {
	err := r.reach(from)
	r.mu.RLock()
	defer r.mu.RUnlock()
	to = min(to, r.head.Size)
	if len(r.links) == 0 && from < to {
		return nil, fmt.Errorf("%w: log %s has no segments here", ErrAbsent, r.origin.Log)
	}
	var list []stretch
	for i, l := range r.links {
		end := r.head.Size
		if i+1 < len(r.links) {
			end = r.links[i+1].first
		}
		if end > from && l.first < to && end > l.first {
			list = append(list, stretch{l, l.first, end, l.length, l.marks, l.known})
		}
	}
	return list, err
}

// reach reads headers backwards until the links hold the entry at index.
func (r *Reader) reach(index int64) error {
	for {
		r.mu.RLock()
		var oldest *link
		if len(r.links) > 0 {
			oldest = r.links[0]
		}
		r.mu.RUnlock()
		if oldest == nil || oldest.first <= index || oldest.prev == nil {
			return nil
		}
		h, reason, err := readHeader(r.fs, r.origin, oldest.prev.Segment)
		if err != nil {
			return err
		}
		if h == nil {
			return damage(oldest.prev.Segment, auditlog.Place{Line: 1, Index: -1, What: reason})
		}
		if h.Tree.Size() > oldest.first {
			what := fmt.Sprintf("it begins with index %d, the segment after it with %d", h.Tree.Size(), oldest.first)
			return damage(h.Segment, auditlog.Place{Line: 1, Index: oldest.first, What: what})
		}
		r.mu.Lock()
		if r.links[0] == oldest {
			r.links = slices.Insert(r.links, 0, &link{
				number: h.Segment, first: h.Tree.Size(), prev: h.Previous, length: oldest.prev.Length,
			})
		}
		r.mu.Unlock()
	}
}

// scan finds the marks of a segment that nobody has read yet.
func (r *Reader) scan(ctx context.Context, s *stretch) error {
	if s.known {
		return nil
	}
	file, err := openSegment(r.fs, r.origin.Log, s.link.number)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	found := link{}
	end, endOffset := s.first, int64(0)
	scan, err := auditlog.ScanSegment(ctxReader{ctx, io.NewSectionReader(file, 0, s.length)}, func(_ *auditlog.Header, b *auditlog.Batch) error {
		if end >= s.end { // behind the end at which a log was closed
			return io.EOF
		}
		found.mark(b.Offset, b.Marker.First, b.Line)
		end, endOffset = b.Marker.Size, b.End
		return nil
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading segment %d: %w", s.link.number, err)
	}
	if end < s.end {
		p := auditlog.Place{Index: end, What: "entries are missing at its end"}
		if scan.Broken != nil {
			p = *scan.Broken
		}
		return damage(s.link.number, p)
	}
	s.marks, s.length = found.marks, endOffset
	r.mu.Lock()
	defer r.mu.Unlock()
	s.link.marks, s.link.length, s.link.known = found.marks, endOffset, true
	return nil
}

// readBlock reads and checks the batches from one mark to the next.
func readBlock(f File, segment int64, from, to mark, buf *[]byte) (block, error) {
	n := int(to.offset - from.offset)
	*buf = slices.Grow((*buf)[:0], n)[:n]
	got, err := f.ReadAt(*buf, from.offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return block{}, fmt.Errorf("reading segment %d: %w", segment, err)
	}
	*buf = (*buf)[:got]
	b := block{first: from.index, lines: make([][]byte, 0, to.index-from.index)}
	scan, err := auditlog.ScanBatches(bytes.NewReader(*buf), auditlog.Place{Offset: from.offset, Line: from.line, Index: from.index}, func(batch *auditlog.Batch) error {
		b.batches = append(b.batches, place{segment, batch.Offset, batch.Marker.First, batch.Marker.Size})
		data := (*buf)[batch.Offset-from.offset:]
		for data = data[:len(batch.Data)]; len(data) > 0; {
			i := bytes.IndexByte(data, '\n')
			b.lines = append(b.lines, data[:i])
			data = data[i+1:]
		}
		return nil
	})
	switch {
	case err != nil:
		return block{}, err
	case scan.Broken != nil:
		return block{}, damage(segment, *scan.Broken)
	case int64(len(b.lines)) != to.index-from.index:
		what := fmt.Sprintf("%d entries where %d were", len(b.lines), to.index-from.index)
		return block{}, damage(segment, auditlog.Place{Line: from.line, Index: from.index, What: what})
	}
	return b, nil
}

// damage is the error for a place in a segment that does not hold what it must.
func damage(segment int64, p auditlog.Place) error {
	return fmt.Errorf("%w: %s", ErrDamaged, auditlog.Damage{Segment: segment, Line: p.Line, Index: p.Index, What: p.What})
}
