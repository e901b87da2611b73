package auditlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/mod/sumdb/note"
)

// CheckpointFile is the name of the file beside the segments that holds the newest signed checkpoint.
const CheckpointFile = "checkpoint"

// VerifyOptions are what VerifySegments checks against besides the segments and the checkpoint file beside them.
type VerifyOptions struct {
	Anchors  []Checkpoint // opened checkpoints that were kept elsewhere
	Receipts []*Receipt   // verified receipts
	Archived bool         // the oldest segments may be absent
	// Continued says that this is an archive: the log goes on elsewhere, where its newest segments and its checkpoint file
	// are. That such are missing is then no damage, and what vouches for them is not checked.
	Continued bool
}

// Report is what VerifySegments found.
type Report struct {
	Origin     Origin
	First      int64      // index of the first entry that is here; not 0: older segments are absent
	Size       int64      // entries of the log, up to the first damage
	Hash       Hash       // of the tree of that size
	Checkpoint Checkpoint // in the checkpoint file; zero when there is none that is valid
	Signed     int64      // entries below this index are bound by a signature that was checked
	Segments   []SegmentReport
	Damage     []Damage   // empty: the log is whole
	Evidence   []Evidence // bytes that recovery set aside: never acknowledged, no damage
	Unchecked  []string   // what was asked for but lies in segments that are not here, and why
}

// SegmentReport is one segment of the log.
type SegmentReport struct {
	Number  int64
	First   int64 // index of its first entry
	Entries int64
	Length  int64 // bytes that count
}

// Damage is one thing that is wrong.
type Damage struct {
	Segment int64 // number; 0: of no one segment
	Line    int   // from 1; 0: of no one line
	Index   int64 // of the first entry concerned; -1: unknown
	What    string
}

// String says where and what.
func (d Damage) String() string {
	s := ""
	if d.Segment != 0 {
		s = SegmentName(d.Segment)
		if d.Line != 0 {
			s += fmt.Sprintf(":%d", d.Line)
		}
		s += ": "
	}
	if d.Index >= 0 {
		s += fmt.Sprintf("from index %d: ", d.Index)
	}
	return s + d.What
}

// Evidence is a stretch of a segment that was set aside.
type Evidence struct {
	Segment  int64
	Offset   int64
	Length   int64 // bytes there now
	Recorded int64 // bytes there when the next segment was begun; -1: no segment says
}

// VerifySegments verifies one log: a directory of segments as the server writes it, with the key of its checkpoints.
// It needs no server, changes nothing, and may run beside a server that goes on writing (what is being written then
// shows as evidence). The error is for what kept it from reading; what is wrong with the log is in the report.
//
// Found and named is every change, loss, exchange and insertion of bytes below the largest signed size that the
// caller or the checkpoint file holds (Report.Signed), and every such change above it that does not also recompute
// markers, headers and tree. Not found is, above Report.Signed only: the loss of whole batches from the end, and a
// history rewritten consistently from some batch on.
func VerifySegments(fsys fs.FS, v note.Verifier, o VerifyOptions) (*Report, error) {
	c := &check{fsys: fsys, archived: o.Archived, continued: o.Continued, r: Report{Hash: emptyTree}}
	// The checkpoint first: what it vouches for is then in the files found, even while a server goes on writing. The
	// server puts it there before the first segment; twice, because it may have done so in between.
	found := false
	for range 2 {
		var err error
		if found, err = c.checkpoint(v); err != nil {
			return nil, err
		}
		if err := c.list(); err != nil {
			return nil, err
		}
		if found || len(c.files) == 0 {
			break
		}
	}
	if !found && len(c.files) == 0 {
		return nil, errors.New("there is neither a segment nor a checkpoint file here; is this the directory of one log?")
	}
	if !found && !c.continued {
		c.damage(Damage{Index: -1, What: "the checkpoint file is missing"})
	}
	c.chain()
	c.want(o)
	if err := c.wantSegments(v); err != nil {
		return nil, err
	}
	if err := c.scanAll(); err != nil {
		return nil, err
	}
	c.conclude()
	return &c.r, nil
}

// check is one run of VerifySegments.
type check struct {
	fsys      fs.FS
	archived  bool
	continued bool
	r         Report
	files     []*segmentFile // by number
	links     []*segmentFile // those of the log, oldest first
	wants     []want         // by size

	mu     sync.Mutex // guards r.Damage and r.Evidence while segments are scanned
	wantMu sync.Mutex // guards met and signed of wants while segments are scanned
}

// segmentFile is a segment's file and what it says of itself.
type segmentFile struct {
	number int64
	size   int64
	header *Header
	reason string       // why there is no header
	named  bool         // that it is damaged was said
	next   *segmentFile // that goes on from it; nil: it is the newest, or none does
	tree   Tree         // at its end
	whole  bool         // up to its end
	line   int          // of what is set aside behind its end; 0: nothing is
}

// want is a head that the log must contain, and perhaps a leaf.
type want struct {
	size   int64
	hash   Hash
	leaf   *Receipt
	who    string
	signed bool
	met    bool // reached: compared, whatever came out
}

func (c *check) damage(d Damage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.r.Damage = append(c.r.Damage, d)
}

// list finds the segments and reads their headers.
func (c *check) list() error {
	dir, err := fs.ReadDir(c.fsys, ".")
	if err != nil {
		return fmt.Errorf("listing the segments: %w", err)
	}
	c.files = nil
	for _, d := range dir {
		number, ok := ParseSegmentName(d.Name())
		if !ok {
			continue
		}
		f := &segmentFile{number: number}
		if err := f.readHeader(c.fsys); err != nil {
			return fmt.Errorf("reading segment %d: %w", number, err)
		}
		c.files = append(c.files, f)
	}
	slices.SortFunc(c.files, func(a, b *segmentFile) int { return cmp.Compare(a.number, b.number) })
	return nil
}

func (f *segmentFile) readHeader(fsys fs.FS) error {
	file, err := fsys.Open(SegmentName(f.number))
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	info, err := file.Stat()
	if err != nil {
		return err
	}
	f.size = info.Size()
	line, err := readLine(file, maxHeaderLen)
	if err != nil {
		return err
	}
	if line == nil {
		f.reason = "its first line has no end"
		return nil
	}
	h, err := ParseHeader(line)
	switch {
	case err != nil:
		f.reason = err.Error()
	case h.Segment != f.number:
		f.reason = fmt.Sprintf("its header is that of segment %d", h.Segment)
	default:
		f.header = h
	}
	return nil
}

// readLine reads the first line, without its newline; nil if there is none within limit bytes.
func readLine(r io.Reader, limit int) ([]byte, error) {
	buf := make([]byte, 0, 1024)
	for len(buf) <= limit {
		n, err := r.Read(buf[len(buf):cap(buf)])
		old := len(buf)
		buf = buf[:old+n]
		for i := old; i < len(buf); i++ {
			if buf[i] == '\n' {
				return buf[:i], nil
			}
		}
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		buf = slices.Grow(buf, 1024)
	}
	return nil, nil
}

// checkpoint reads the checkpoint file and reports whether there is one.
func (c *check) checkpoint(v note.Verifier) (bool, error) {
	msg, err := fs.ReadFile(c.fsys, CheckpointFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the checkpoint file: %w", err)
	}
	cp, err := OpenCheckpoint(msg, v)
	if err != nil {
		c.damage(Damage{Index: -1, What: "the checkpoint file: " + err.Error()})
		return true, nil
	}
	c.r.Checkpoint, c.r.Origin = cp, cp.Origin
	return true, nil
}

// chain finds which files are the log: the newest with a header, the one that it goes on from, and so on.
func (c *check) chain() {
	byNumber := map[int64]*segmentFile{}
	for _, f := range c.files {
		byNumber[f.number] = f
	}
	var after *segmentFile // the segment that goes on from the one looked for
	for i := len(c.files) - 1; i >= 0; {
		f := c.files[i]
		if after != nil && after.header.Previous != nil && f.number > after.header.Previous.Segment {
			i-- // set aside between two segments of the log
			continue
		}
		switch {
		case after == nil:
			if f.header == nil {
				i--
				continue
			}
		case after.header.Previous == nil: // set aside before the log's first
			i--
			continue
		case f.number < after.header.Previous.Segment:
			c.missing(after)
			after = nil // go on from here as from an end
			continue
		case f.header == nil:
			f.named = true
			c.damage(Damage{Segment: f.number, Line: 1, Index: -1, What: f.reason})
			after = nil
			i--
			continue
		default:
			f.next = after
		}
		c.links = append(c.links, f)
		after = f
		i--
	}
	slices.Reverse(c.links)
	if len(c.links) == 0 {
		return
	}
	if after != nil && after.header.Previous != nil && !c.archived {
		c.missing(after)
	}
	if c.r.Origin == (Origin{}) {
		c.r.Origin = c.links[len(c.links)-1].header.Origin
	}
	first := c.links[0].header
	c.r.First, c.r.Size, c.r.Hash = first.Tree.Size(), first.Tree.Size(), first.Tree.Hash()
}

func (c *check) missing(after *segmentFile) {
	p := after.header.Previous
	c.damage(Damage{Segment: p.Segment, Index: -1, What: fmt.Sprintf("the segment is missing: segment %d goes on from it, at index %d", after.number, after.header.Tree.Size())})
}

// want collects what the log must contain.
func (c *check) want(o VerifyOptions) {
	add := func(w want, origin Origin) {
		if origin != c.r.Origin {
			c.damage(Damage{Index: -1, What: fmt.Sprintf("%s is of the log %s; this one is %s", w.who, origin, c.r.Origin)})
			return
		}
		w.signed = true
		c.wants = append(c.wants, w)
	}
	if cp := c.r.Checkpoint; cp.Origin != (Origin{}) {
		add(want{size: cp.Size, hash: cp.Hash, who: "the checkpoint file"}, cp.Origin)
	}
	for _, a := range o.Anchors {
		add(want{size: a.Size, hash: a.Hash, who: fmt.Sprintf("the anchor of size %d", a.Size)}, a.Origin)
	}
	for _, r := range o.Receipts {
		who := fmt.Sprintf("the receipt for index %d", r.Index)
		add(want{size: r.Checkpoint.Size, hash: r.Checkpoint.Hash, who: who}, r.Checkpoint.Origin)
		if r.Checkpoint.Origin == c.r.Origin {
			c.wants = append(c.wants, want{size: r.Index + 1, leaf: r, who: who})
		}
	}
}

// wantSegments collects what is signed over the ends of closed segments.
func (c *check) wantSegments(v note.Verifier) error {
	for _, f := range c.files {
		msg, err := fs.ReadFile(c.fsys, SegmentCheckpointName(f.number))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading the checkpoint of segment %d: %w", f.number, err)
		}
		cp, err := OpenCheckpoint(msg, v)
		switch {
		case err != nil:
			c.damage(Damage{Segment: f.number, Index: -1, What: "its checkpoint: " + err.Error()})
		case cp.Origin != c.r.Origin:
			c.damage(Damage{Segment: f.number, Index: -1, What: fmt.Sprintf("its checkpoint is of the log %s; this one is %s", cp.Origin, c.r.Origin)})
		default:
			c.wants = append(c.wants, want{size: cp.Size, hash: cp.Hash, who: fmt.Sprintf("the checkpoint of segment %d", f.number), signed: true})
		}
	}
	slices.SortStableFunc(c.wants, func(a, b want) int { return cmp.Compare(a.size, b.size) })
	return nil
}

// scanAll scans all files, several at a time.
func (c *check) scanAll() error {
	jobs := make(chan *segmentFile)
	errs := make(chan error, 1)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for f := range jobs {
				if err := c.scan(f); err != nil {
					select {
					case errs <- fmt.Errorf("reading segment %d: %w", f.number, err):
					default:
					}
				}
			}
		})
	}
	for _, f := range c.files {
		jobs <- f
	}
	close(jobs)
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// conclude puts together what the segments gave.
func (c *check) conclude() {
	whole := true
	end := Damage{Index: c.r.Size}
	for i, f := range c.links {
		h := f.header
		c.r.Segments = append(c.r.Segments, SegmentReport{
			Number: f.number, First: h.Tree.Size(), Entries: f.tree.Size() - h.Tree.Size(), Length: f.length(),
		})
		whole = whole && (i == 0 || c.links[i-1].next == f)
		if whole {
			c.r.Size, c.r.Hash = f.tree.Size(), f.tree.Hash()
			end = Damage{Segment: f.number, Line: f.line, Index: c.r.Size}
		}
		whole = whole && f.whole
	}
	for i := range c.wants {
		w := &c.wants[i]
		switch {
		case w.met:
		case w.size == 0:
		case w.size <= c.r.First:
			c.r.Unchecked = append(c.r.Unchecked, fmt.Sprintf("%s: the entries up to index %d are not here", w.who, c.r.First))
			continue
		case c.continued && whole:
			c.r.Unchecked = append(c.r.Unchecked, fmt.Sprintf("%s: the entries from index %d on are not here", w.who, c.r.Size))
			continue
		default:
			d := end
			d.What = fmt.Sprintf("%s vouches for %d entries; what is whole ends at %d", w.who, w.size, c.r.Size)
			c.damage(d)
			continue
		}
		if w.signed && w.size <= c.r.Size {
			c.r.Signed = max(c.r.Signed, w.size)
		}
	}
	slices.SortStableFunc(c.r.Damage, func(a, b Damage) int {
		return cmp.Or(cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Index, b.Index), cmp.Compare(a.What, b.What))
	})
	slices.SortFunc(c.r.Evidence, func(a, b Evidence) int { return cmp.Compare(a.Segment, b.Segment) })
}
