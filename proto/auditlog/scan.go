package auditlog

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"sync"
)

// Batch is a complete batch of a segment: its marker is there and agrees with the lines before it.
type Batch struct {
	Marker Marker
	Data   []byte // the lines of its entries, each with its newline; valid until the next batch
	Offset int64  // of Data in the segment
	End    int64  // offset behind the marker's newline
	Line   int    // number of its first line, from 1
}

// Entries yields the lines without their newlines.
func (b *Batch) Entries() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for rest := b.Data; len(rest) > 0; {
			i := bytes.IndexByte(rest, '\n')
			if !yield(rest[:i]) {
				return
			}
			rest = rest[i+1:]
		}
	}
}

// Place is where something is in a segment.
type Place struct {
	Offset int64
	Line   int   // from 1
	Index  int64 // of the first entry concerned; -1: unknown
	What   string
}

// Scan is what ScanSegment found in a segment.
type Scan struct {
	Header *Header // nil: the first line is not a whole header
	Length int64   // bytes of the header and of the batches that follow it without a break
	SHA256 Sum     // of these bytes
	Size   int64   // bytes that were read in all
	Broken *Place  // what is at Length, when that is not the end
	After  *Place  // a complete batch behind Broken: then Broken is not the end of what was written
}

// ScanBatches is ScanSegment for a part of a segment: r begins at a place where the entries of a batch do, whose first
// index is at.Index. There is no header, and SHA256 is of no use.
func ScanBatches(r io.Reader, at Place, fn func(b *Batch) error) (Scan, error) {
	s := newScanner(r, func(_ *Header, b *Batch) error { return fn(b) })
	s.begun, s.lines, s.next, s.total = true, at.Line-1, at.Index, nil
	s.Length, s.Size = at.Offset, at.Offset
	return s.scan()
}

// ScanSegment reads a segment to its end and calls fn with each complete batch, up to the first thing that does not
// belong there. From there on it only looks whether another complete batch follows. The error is the reader's or
// fn's; what is wrong with the segment is in the Scan.
func ScanSegment(r io.Reader, fn func(h *Header, b *Batch) error) (Scan, error) {
	return newScanner(r, fn).scan()
}

type scanner struct {
	Scan
	r     *bufio.Reader
	fn    func(h *Header, b *Batch) error
	total hash.Hash // over what counts; nil: nobody asks
	begun bool      // the header has been read
	lines int       // read so far
	next  int64     // index that the next batch must begin with
	data  []byte    // the entry lines since the last line of another kind
	count int64     // of them
	first int       // number of the first
}

func newScanner(r io.Reader, fn func(h *Header, b *Batch) error) *scanner {
	buf, ok := readers.Get().(*bufio.Reader)
	if !ok {
		buf = bufio.NewReaderSize(nil, MaxEntryLen+2)
	}
	buf.Reset(r)
	return &scanner{r: buf, fn: fn, total: sha256.New(), next: -1}
}

// readers holds buffers for the longest line.
var readers sync.Pool

func (s *scanner) scan() (Scan, error) {
	defer func() {
		s.r.Reset(nil)
		readers.Put(s.r)
	}()
	for {
		line, err := s.r.ReadSlice('\n')
		switch {
		case err == nil:
			err = s.line(line[:len(line)-1])
		case errors.Is(err, bufio.ErrBufferFull):
			err = s.tooLong(line)
		case errors.Is(err, io.EOF):
			s.end(line)
			if s.total != nil {
				s.total.Sum(s.SHA256[:0])
			}
			return s.Scan, nil
		}
		if err != nil {
			return s.Scan, err
		}
	}
}

// take counts bytes as part of the segment.
func (s *scanner) take(parts ...[]byte) {
	for _, p := range parts {
		if s.total != nil {
			s.total.Write(p)
		}
		s.Length += int64(len(p))
	}
}

var newline = []byte("\n")

// line takes a whole line, without its newline.
func (s *scanner) line(line []byte) error {
	s.lines++
	s.Size += int64(len(line)) + 1
	if !s.begun {
		s.begun = true
		h, err := ParseHeader(line)
		if err != nil {
			s.broken(1, err.Error())
			return nil
		}
		s.Header, s.next = h, h.Tree.Size()
		s.take(line, newline)
		return nil
	}
	switch KindOf(line) {
	case EntryLine:
		if s.count == 0 {
			s.first = s.lines
		}
		if len(s.data)+len(line) >= MaxBatchLen {
			s.broken(s.first, "a batch longer than there can be")
			s.drop()
			return nil
		}
		s.data = append(append(s.data, line...), '\n')
		s.count++
		return nil
	case MarkerLine:
		return s.marker(line)
	case HeaderLine, UnknownLine:
	}
	s.broken(s.lines, "a line of no known kind")
	s.drop()
	return nil
}

func (s *scanner) drop() { s.data, s.count = s.data[:0], 0 }

func (s *scanner) marker(line []byte) error {
	defer s.drop()
	m, err := ParseMarker(line)
	if err != nil {
		s.broken(s.lines, err.Error())
		return nil
	}
	if m.Count > s.count {
		s.broken(s.lines, fmt.Sprintf("a marker for %d entries after %d", m.Count, s.count))
		return nil
	}
	data := s.data
	for range s.count - m.Count { // lines of a broken batch before it
		data = data[bytes.IndexByte(data, '\n')+1:]
	}
	if Sum(sha256.Sum256(data)) != m.SHA256 {
		s.broken(s.first, fmt.Sprintf("the entries of lines %d to %d do not agree with their marker", s.lines-int(m.Count), s.lines-1))
		return nil
	}
	switch {
	case s.Broken != nil:
	case m.Count < s.count:
		s.broken(s.first, fmt.Sprintf("%d entries without a marker", s.count-m.Count))
	case m.First != s.next:
		s.broken(s.first, fmt.Sprintf("a batch that begins with index %d where %d was expected", m.First, s.next))
	}
	end := s.Size
	b := &Batch{
		Marker: m, Data: data, End: end, Offset: end - int64(len(line)) - 1 - int64(len(data)), Line: s.lines - int(m.Count),
	}
	if s.Broken != nil {
		if s.After == nil {
			s.After = &Place{Offset: b.Offset, Line: b.Line, Index: m.First, What: "a complete batch"}
		}
		return nil
	}
	if err := s.fn(s.Header, b); err != nil {
		return err
	}
	s.take(data, line, newline)
	s.next = m.Size
	return nil
}

// broken remembers the first thing that does not belong. What is at Length is what makes it so; line is where it shows.
func (s *scanner) broken(line int, what string) {
	if s.Broken == nil {
		s.Broken = &Place{Offset: s.Length, Line: line, Index: s.next, What: what}
	}
}

// tooLong skips a line that is longer than any can be.
func (s *scanner) tooLong(line []byte) error {
	s.begun = true
	s.lines++
	s.broken(s.lines, "a line longer than there can be")
	s.drop()
	s.Size += int64(len(line))
	for {
		line, err := s.r.ReadSlice('\n')
		s.Size += int64(len(line))
		if !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) {
				return nil // and again in the caller's loop
			}
			return err
		}
	}
}

// end takes what is behind the last newline.
func (s *scanner) end(rest []byte) {
	s.Size += int64(len(rest))
	switch {
	case s.Size == 0 && !s.begun:
		s.broken(1, "an empty file")
	case len(rest) > 0:
		s.broken(s.lines+1, "a line without end")
	case s.count > 0:
		s.broken(s.first, fmt.Sprintf("%d entries without a marker", s.count))
	}
}
