package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/p8signet/signet/proto/auditlog"
)

// recovered is what the segments of a log say at start-up. The newest one is read whole; older ones only as far as
// newer ones have no entries yet.
type recovered struct {
	links  []*link            // the newest segments of the log, oldest first, without a break; empty: there are none
	number int64              // the highest number of any segment file
	prev   *auditlog.Previous // what the next segment goes on from
	tree   auditlog.Tree
	tail   auditlog.Tail
	span   span  // the tree from the oldest entry read on
	rest   int64 // offset, in the newest segment, from which it is written once more
	absent int64 // the segment that the oldest one read goes on from, and none like it or older is there; 0: none
}

// head is where the log ends.
func (r *recovered) head(log string) Head {
	return Head{Log: log, Size: r.tree.Size(), Hash: r.tree.Hash()}
}

// segmentFile is a segment's file as the directory lists it.
type segmentFile struct {
	number, size int64
}

// listSegments lists a log's segments by number; none if it has no directory.
func listSegments(fsys FS, log string) ([]segmentFile, error) {
	list, err := fsys.ReadDir(log)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the segments: %w", err)
	}
	var files []segmentFile
	for _, f := range list {
		if n, ok := auditlog.ParseSegmentName(f.Name); ok && !f.Dir {
			files = append(files, segmentFile{n, f.Size})
		}
	}
	return files, nil
}

// recoverLog finds the end of a log from its segments alone: *GapError if what is there contradicts itself.
func recoverLog(ctx context.Context, fsys FS, origin auditlog.Origin) (*recovered, error) {
	files, err := listSegments(fsys, origin.Log)
	if err != nil {
		return nil, err
	}
	r := recovery{ctx: ctx, fs: fsys, origin: origin}
	return r.run(files)
}

type recovery struct {
	ctx    context.Context
	fs     FS
	origin auditlog.Origin
}

// gap is the error for a log of which only the given files can be whole.
func (r *recovery) gap(below []segmentFile, e GapError) error {
	e.Log = r.origin.Log
	e.End = Head{Log: r.origin.Log, Hash: auditlog.EmptyHash()}
	rec, err := r.run(below)
	var more *GapError
	switch {
	case errors.As(err, &more):
		e.End = more.End
	case err != nil:
		return err
	default:
		e.End = rec.head(r.origin.Log)
	}
	return &e
}

// run recovers from the given files.
func (r *recovery) run(files []segmentFile) (*recovered, error) {
	rec := &recovered{}
	i := len(files) - 1
	if i >= 0 {
		rec.number = files[i].number
	}
	newest, i, err := r.newest(files)
	if err != nil {
		return nil, err
	}
	if i < 0 {
		return rec, nil
	}
	s, err := r.scan(newest, files[i].size)
	if err != nil {
		return nil, r.damaged(err)
	}
	rec.prev = &auditlog.Previous{
		Segment: newest.Segment, Length: s.Length, SHA256: s.SHA256, Evidence: s.Size - s.Length,
	}
	rec.tree, rec.tail, rec.rest = s.tree, s.tail, s.rest
	for {
		rec.links = append([]*link{s.link}, rec.links...)
		rec.span = s.span
		h := s.Header
		if h.Previous == nil {
			return rec, nil
		}
		p := h.Previous
		for i--; i >= 0 && files[i].number > p.Segment; i-- { // set aside, between two segments of the log
		}
		if i < 0 { // archived, or so it seems
			rec.absent = p.Segment
			return rec, nil
		}
		if files[i].number < p.Segment {
			return nil, r.gap(files[:i+1], GapError{
				Segment: p.Segment, Index: -1, What: fmt.Sprintf("the segment is missing; segment %d goes on from it", h.Segment),
			})
		}
		if files[i].size < p.Length {
			return nil, r.gap(files[:i+1], GapError{
				Segment: p.Segment, Index: -1, What: fmt.Sprintf("cut: %d of %d bytes are there", files[i].size, p.Length),
			})
		}
		if s.tree.Size() > h.Tree.Size() {
			return rec, nil // entries enough
		}
		// The header alone says what the tree and the last root are: see whether the segment before agrees.
		prev, reason, err := readHeader(r.fs, r.origin, p.Segment)
		if err != nil {
			return nil, err
		}
		if prev == nil {
			return nil, r.gap(files[:i], GapError{Segment: p.Segment, Line: 1, Index: -1, What: reason})
		}
		if s, err = r.scan(prev, p.Length); err != nil {
			return nil, r.damaged(err)
		}
		if what := disagrees(s, h); what != "" {
			return nil, r.gap(files[:i+1], GapError{Segment: p.Segment, Index: prev.Tree.Size(), What: what})
		}
	}
}

// disagrees says what of a segment is not as the header of the next one has it.
func disagrees(s *scanned, next *auditlog.Header) string {
	switch {
	case s.SHA256 != next.Previous.SHA256:
		return fmt.Sprintf("its SHA-256 is not the one in the header of segment %d", next.Segment)
	case !s.tree.Equal(&next.Tree):
		return fmt.Sprintf("its entries do not make the tree in the header of segment %d", next.Segment)
	case s.tail.Root() != next.Root || !s.tail.Time().Equal(next.Time):
		return fmt.Sprintf("its entries name another last root or time than the header of segment %d", next.Segment)
	default:
		return ""
	}
}

// newest finds the newest segment with a header. Those above it must hold nothing that was acknowledged.
func (r *recovery) newest(files []segmentFile) (*auditlog.Header, int, error) {
	for i := len(files) - 1; i >= 0; i-- {
		h, reason, err := readHeader(r.fs, r.origin, files[i].number)
		if err != nil {
			return nil, 0, err
		}
		if h != nil {
			return h, i, nil
		}
		file, err := openSegment(r.fs, r.origin.Log, files[i].number)
		if err != nil {
			return nil, 0, err
		}
		s, err := auditlog.ScanSegment(r.reader(file, files[i].size), func(*auditlog.Header, *auditlog.Batch) error { return nil })
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, 0, fmt.Errorf("reading segment %d: %w", files[i].number, err)
		}
		if s.After != nil {
			return nil, 0, r.gap(files[:i], GapError{
				Segment: files[i].number, Line: 1, Index: s.After.Index, What: fmt.Sprintf("%s; a complete batch follows at line %d", reason, s.After.Line),
			})
		}
	}
	return nil, -1, nil
}

// scanned is a segment that was read whole.
type scanned struct {
	auditlog.Scan
	link *link
	tree auditlog.Tree
	tail auditlog.Tail
	span span
	rest int64 // offset of its last batch, or 0
}

// errPlace is damage within a segment, with the tree up to there.
type errPlace struct {
	segment int64
	place   auditlog.Place
	tree    auditlog.Tree
}

func (e *errPlace) Error() string { return e.place.What }

// scan reads a segment up to limit bytes. *errPlace if it is damaged: if something complete follows what does not
// belong, or if a whole batch does not make the tree.
func (r *recovery) scan(h *auditlog.Header, limit int64) (*scanned, error) {
	file, err := openSegment(r.fs, r.origin.Log, h.Segment)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	s := &scanned{tree: h.Tree.Clone(), tail: h.Tail(), link: &link{number: h.Segment, first: h.Tree.Size(), prev: h.Previous}}
	s.span.base = h.Tree.Clone()
	s.Scan, err = auditlog.ScanSegment(r.reader(file, limit), func(_ *auditlog.Header, b *auditlog.Batch) error {
		before := s.tree.Clone()
		for line := range b.Entries() {
			s.span.stored = s.tree.Append(auditlog.LeafHash(line), s.span.stored)
		}
		if s.tree.Hash() != b.Marker.Hash {
			return &errPlace{h.Segment, auditlog.Place{
				Line: b.Line + int(b.Marker.Count), Index: b.Marker.First, What: "the tree hash of the marker is not that of the entries",
			}, before}
		}
		s.tail.Add(b.Data)
		s.link.mark(b.Offset, b.Marker.First, b.Line)
		s.rest = b.Offset
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading segment %d: %w", h.Segment, err)
	}
	if s.After != nil {
		p := *s.Broken
		p.What = fmt.Sprintf("%s; a complete batch follows at line %d", p.What, s.After.Line)
		return nil, &errPlace{h.Segment, p, s.tree}
	}
	s.link.length, s.link.known = s.Length, true
	return s, nil
}

// damaged makes a gap of an errPlace; other errors stay.
func (r *recovery) damaged(err error) error {
	var e *errPlace
	if !errors.As(err, &e) {
		return err
	}
	g := GapError{Log: r.origin.Log, Segment: e.segment, Line: e.place.Line, Index: e.place.Index, What: e.place.What}
	g.End = Head{Log: r.origin.Log, Size: e.tree.Size(), Hash: e.tree.Hash()}
	return &g
}

// reader reads the first limit bytes of a file, until the context ends.
func (r *recovery) reader(f File, limit int64) io.Reader {
	return ctxReader{r.ctx, io.NewSectionReader(f, 0, limit)}
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func openSegment(fsys FS, log string, number int64) (File, error) {
	f, err := fsys.Open(path.Join(log, auditlog.SegmentName(number)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: segment %d", ErrAbsent, number)
	}
	if err != nil {
		return nil, fmt.Errorf("opening segment %d: %w", number, err)
	}
	return f, nil
}

// readHeader reads a segment's header; nil and the reason if it has none that belongs there.
func readHeader(fsys FS, origin auditlog.Origin, number int64) (*auditlog.Header, string, error) {
	h, reason, err := anyHeader(fsys, origin.Log, number)
	if h != nil && h.Origin != origin {
		return nil, "its header is of another log", nil
	}
	return h, reason, err
}

// anyHeader is readHeader for who does not know of which vault the log is: the header may be of another log.
func anyHeader(fsys FS, log string, number int64) (*auditlog.Header, string, error) {
	f, err := openSegment(fsys, log, number)
	if err != nil {
		return nil, "", err
	}
	defer f.Close() //nolint:errcheck // only read
	buf := make([]byte, 32<<10)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", fmt.Errorf("reading segment %d: %w", number, err)
	}
	line, _, ok := bytes.Cut(buf[:n], []byte("\n"))
	if !ok {
		return nil, "its first line has no end", nil
	}
	h, err := auditlog.ParseHeader(line)
	switch {
	case err != nil:
		return nil, err.Error(), nil
	case h.Segment != number:
		return nil, fmt.Sprintf("its header is that of segment %d", h.Segment), nil
	default:
		return h, "", nil
	}
}
