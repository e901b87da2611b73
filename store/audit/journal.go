package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
)

// journal is the current log as the writer sees it. Only the writer's goroutine uses it; what others may see of it, it
// publishes in its Reader.
type journal struct {
	*Reader
	now         func() time.Time
	segmentSize int64
	segmentAge  time.Duration

	tree   auditlog.Tree // of what is durable
	number int64         // the highest that a segment file has or had
	prev   *auditlog.Previous
	seg    *segment // nil: the next batch begins a new one, which goes on from prev
	stored []auditlog.Hash

	filing sync.Mutex // held while checkpoint files are written
	filed  Head       // what the checkpoint file is over
	signed int64      // the segments up to this one have checkpoints of their own

	synced  time.Duration           // how long the sync of the last batch took; 0: it did not come so far
	covered atomic.Pointer[covered] // what the checkpoint file was last seen to be over
	indexed atomic.Int64            // when the index was last up to the head, Unix nanoseconds
}

// segment is the one that is being written.
type segment struct {
	number int64
	file   File
	length int64     // what is durable
	tried  int64     // up to where it was ever written to
	lines  int       // in it
	begun  time.Time //
	sum    hash.Hash // over it
	link   *link
	now    func() time.Time
	synced time.Duration // how long the last sync took
}

// errBegin is wrapped when not even a new segment could be begun.
var errBegin = errors.New("beginning a new segment")

// commit makes a batch durable, puts it into the tree and publishes it. After an error the segment is over, and the
// batch may be on the disk or not.
func (j *journal) commit(b *batch) error {
	j.synced = 0
	if j.over() {
		j.end()
	}
	if j.seg == nil {
		if err := j.begin(); err != nil {
			return err
		}
	}
	tree := j.tree.Clone()
	j.stored = j.stored[:0]
	for _, leaf := range b.leaves {
		j.stored = tree.Append(leaf, j.stored)
	}
	m := auditlog.Marker{
		First: j.tree.Size(), Count: int64(len(b.leaves)), SHA256: sha256.Sum256(b.lines), Size: tree.Size(), Hash: tree.Hash(),
	}
	data := append(m.AppendJSON(b.lines), '\n')
	s := j.seg
	offset, line := s.length, s.lines+1
	err := s.write(data)
	j.synced = s.synced
	if err != nil {
		j.end()
		return err
	}
	s.lines += len(b.leaves) + 1
	b.first, b.head, b.sign = m.First, Head{Log: j.origin.Log, Size: m.Size, Hash: m.Hash}, j.sign
	if b.receipts {
		b.span = span{base: j.tree, stored: append([]auditlog.Hash(nil), j.stored...)}
	}
	j.tree = tree

	j.hashes.add(j.stored)
	j.mu.Lock()
	defer j.mu.Unlock()
	s.link.mark(offset, b.first, line)
	s.link.length = s.length
	j.head, j.time = b.head, b.time
	if b.root != (auditlog.Root{}) {
		j.root = b.root
	}
	close(j.changed)
	j.changed = make(chan struct{})
	return nil
}

// over reports whether the segment has become long or old enough to be closed.
func (j *journal) over() bool {
	s := j.seg
	return s != nil && (s.length >= j.segmentSize || s.lines > 1 && j.now().Sub(s.begun) >= j.segmentAge)
}

// write makes data durable at the segment's end. Before and after it looks whether somebody else has removed or changed
// the file: a write behind the end of one that was cut would leave a hole where acknowledged entries were.
func (s *segment) write(data []byte) error {
	if err := s.look(s.length); err != nil {
		return err
	}
	end := s.length + int64(len(data))
	s.tried, s.synced = end, 0
	if _, err := s.file.WriteAt(data, s.length); err != nil {
		return fmt.Errorf("writing segment %d: %w", s.number, err)
	}
	began := s.now()
	err := s.file.Sync()
	s.synced = s.now().Sub(began)
	if err != nil {
		return fmt.Errorf("syncing segment %d: %w", s.number, err)
	}
	if err := s.look(end); err != nil {
		return err
	}
	s.length = end
	s.sum.Write(data)
	return nil
}

// look looks whether the segment is there and has so many bytes.
func (s *segment) look(size int64) error {
	info, err := s.file.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("looking at segment %d: %w", s.number, err)
	case !info.Linked:
		return fmt.Errorf("segment %d was removed or renamed while it was written: acknowledged entries may be missing from the directory", s.number)
	case info.Size != size:
		return fmt.Errorf("segment %d was changed while it was written: it has %d bytes in place of %d", s.number, info.Size, size)
	default:
		return nil
	}
}

// begin begins a new segment: its header is durable, and its name, when it returns. A segment that could not be begun
// never held a batch; it is taken away again if that is possible, and passed over if not.
func (j *journal) begin() error {
	file, err := j.create()
	if err != nil {
		return fmt.Errorf("%w: %w", errBegin, err)
	}
	h := auditlog.Header{
		Origin: j.origin, Segment: j.number, Previous: j.prev, Tree: j.tree, Root: j.root, Time: j.time, Created: j.now(),
	}
	line, err := h.AppendJSON(nil)
	s := &segment{number: j.number, file: file, sum: sha256.New(), lines: 1, begun: h.Created, now: j.now}
	if err == nil {
		err = s.write(append(line, '\n'))
	}
	if err == nil {
		err = j.fs.SyncDir(j.origin.Log)
	}
	if err != nil {
		_ = file.Close()
		_ = j.fs.Remove(j.name())
		return fmt.Errorf("%w: %w", errBegin, err)
	}
	s.link = &link{number: s.number, first: j.tree.Size(), prev: j.prev, length: s.length, known: true}
	j.seg = s
	j.mu.Lock()
	defer j.mu.Unlock()
	j.links = append(j.links, s.link)
	return nil
}

// name is the path of the segment with the highest number.
func (j *journal) name() string { return path.Join(j.origin.Log, auditlog.SegmentName(j.number)) }

// create creates a segment's file under a number that no file has.
func (j *journal) create() (File, error) {
	for {
		j.number++
		f, err := j.fs.Create(j.name())
		if errors.Is(err, fs.ErrExist) { // of an attempt that failed and could not be taken away
			continue
		}
		if err != nil {
			j.number--
		}
		return f, err
	}
}

// end ends the segment where it is durable. What is beyond stays, as evidence.
func (j *journal) end() {
	s := j.seg
	j.prev = &auditlog.Previous{Segment: s.number, Length: s.length, Evidence: s.tried - s.length}
	s.sum.Sum(j.prev.SHA256[:0])
	if info, err := s.file.Stat(); err == nil {
		j.prev.Evidence = max(0, info.Size-s.length)
	}
	_ = s.file.Close() // what counts was synced
	j.seg = nil
}
