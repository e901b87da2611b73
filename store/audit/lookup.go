package audit

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sort"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"golang.org/x/mod/sumdb/tlog"
)

// lookUp finds with the index, between two indexes that it follows.
func (f *finder) lookUp(ctx context.Context, v view, from, to int64) error {
	parts := v.parts
	for i := range parts {
		if f.q.Reverse {
			i = len(parts) - 1 - i
		}
		_, first, next := parts[i].bounds()
		lo, hi := max(first, from), min(next, to)
		if lo >= hi {
			continue
		}
		named, runs, err := f.named(parts[i], lo, hi)
		if err != nil {
			if err = f.r.index.broken(parts[i], err); err != nil {
				return err
			}
			if err = f.read(ctx, lo, hi); err != nil {
				return err
			}
			continue
		}
		if named == nil {
			continue
		}
		if err := f.look(ctx, parts[i], named, runs); err != nil {
			return err
		}
	}
	return nil
}

// named are the places of a chunk, with lo <= index < hi, that may match; nil: none.
func (f *finder) named(p part, lo, hi int64) (*set, []run, error) {
	if !p.times().meets(&f.m) {
		return nil, nil, nil
	}
	spans, err := p.spanTimes()
	if err != nil {
		return nil, nil, err
	}
	base, _, _ := p.bounds()
	var s set
	for i, t := range spans {
		if t.meets(&f.m) {
			s.addRange(max(int(lo-base), i*spanLen), min(int(hi-base), (i+1)*spanLen))
		}
	}
	for _, t := range f.m.terms {
		var o set
		if err := p.places(t, &o); err != nil {
			return nil, nil, err
		}
		if !s.and(&o) {
			return nil, nil, nil
		}
	}
	runs, err := p.runsOf()
	return &s, runs, err
}

// look looks at the entries that were named.
func (f *finder) look(ctx context.Context, p part, named *set, runs []run) error {
	base, _, _ := p.bounds()
	l := looker{r: f.r, part: p, runs: runs, block: -1}
	defer l.close()
	next := func(i int) int { return named.after(i + 1) }
	place := named.after(0)
	if f.q.Reverse {
		next = func(i int) int { return named.before(i - 1) }
		place = named.before(chunkLen - 1)
	}
	for ; place >= 0 && place < chunkLen; place = next(place) {
		f.at = base + int64(place)
		if f.full() {
			f.page.Next = f.at
			return errEnough
		}
		line, err := l.line(ctx, f.at)
		if err != nil {
			return err
		}
		if err := f.take(Stored{Index: f.at, Line: line}, true); err != nil {
			return err
		}
	}
	return nil
}

// looker reads entries where the index says that they lie.
type looker struct {
	r       *Reader
	part    part
	runs    []run
	offsets []uint32
	block   int // which offsets these are; -1: none
	buf     []byte
	file    File
	segment int64
}

// line is the entry's, valid until the next one. One that has the leaf hash that is in the tree needs no look at the rest
// of its batch. Otherwise what the index or the file of hashes says is wrong, or the log is: it is read as if there were
// neither.
func (l *looker) line(ctx context.Context, index int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	line, err := l.there(index)
	if errors.Is(err, ErrAbsent) {
		return nil, err
	}
	if err == nil {
		leaf, err := l.r.hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err == nil && leaf[0] == auditlog.LeafHash(line) {
			return line, nil
		}
	}
	for s, err := range l.r.Entries(ctx, index, index+1) {
		return slices.Clone(s.Line), err
	}
	return nil, errUnknown(index)
}

// there is the line that lies where the index says.
func (l *looker) there(index int64) ([]byte, error) {
	_, first, _ := l.part.bounds()
	i := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].first > index }) - 1
	if i < 0 {
		return nil, errTag
	}
	if block := int(index-first) / spanLen; block != l.block {
		offsets, err := l.part.offsetsOf(block)
		if err != nil {
			return nil, err
		}
		l.offsets, l.block = offsets, block
	}
	at := int(index-first) % spanLen
	if at >= len(l.offsets) {
		return nil, errTag
	}
	if err := l.open(l.runs[i].segment); err != nil {
		return nil, err
	}
	return l.read(l.runs[i].offset + int64(l.offsets[at]))
}

// read reads a line from its offset.
func (l *looker) read(offset int64) ([]byte, error) {
	for n := 2 << 10; ; n *= 4 {
		l.buf = slices.Grow(l.buf[:0], n)[:n]
		got, err := l.file.ReadAt(l.buf, offset)
		if i := bytes.IndexByte(l.buf[:got], '\n'); i >= 0 {
			return l.buf[:i], nil
		}
		if err != nil || n > auditlog.MaxEntryLen {
			return nil, errTag
		}
	}
}

func (l *looker) open(segment int64) error {
	if l.file != nil && l.segment == segment {
		return nil
	}
	l.close()
	f, err := openSegment(l.r.fs, l.r.origin.Log, segment)
	if err != nil {
		return err
	}
	l.file, l.segment = f, segment
	return nil
}

func (l *looker) close() {
	if l.file != nil {
		_ = l.file.Close() // only read
		l.file = nil
	}
}

// headAt is the hash of the log's first size entries, proved against its head.
func (r *Reader) headAt(ctx context.Context, size int64) (auditlog.Hash, error) {
	var h auditlog.Hash
	head := r.Head()
	err := r.proven(ctx, func(hashes tlog.HashReader) error {
		var err error
		h, err = treeHash(size, head, hashes)
		return err
	})
	return h, err
}

// First is the index of the oldest entry whose segment is here; the head's size if none is.
func (r *Reader) First() (int64, error) {
	first, _, err := r.oldest()
	return first, err
}

// AbsentUntil is the time of the last entry before First: the log is here from then on. Zero when nothing was archived, or
// no segment is here to say it.
func (r *Reader) AbsentUntil() (time.Time, error) {
	_, before, err := r.oldest()
	return before, err
}

// oldest is the index of the oldest entry whose segment is here, and the time of the last one before it; zero: none is.
func (r *Reader) oldest() (int64, time.Time, error) {
	if err := r.forget(); err != nil {
		return 0, time.Time{}, err
	}
	if err := r.reach(0); err != nil && !errors.Is(err, ErrAbsent) {
		return 0, time.Time{}, err
	}
	r.mu.RLock()
	links, head := r.links, r.head
	r.mu.RUnlock()
	if len(links) == 0 {
		return head.Size, time.Time{}, nil
	}
	if links[0].prev == nil {
		return links[0].first, time.Time{}, nil
	}
	h, _, err := readHeader(r.fs, r.origin, links[0].number)
	if err != nil || h == nil {
		return links[0].first, time.Time{}, err
	}
	return links[0].first, h.Time, nil
}

// forget forgets the oldest segments as far as they are not here any more.
func (r *Reader) forget() error {
	files, err := listSegments(r.fs, r.origin.Log)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.links) > 0 && !slices.ContainsFunc(files, func(f segmentFile) bool { return f.number == r.links[0].number }) {
		r.links = r.links[1:]
	}
	return nil
}
