package auditlog

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ErrSegment is wrapped by every refusal of a line of a segment.
var ErrSegment = errors.New("segment line refused")

// Bounds of a segment. A reader need not keep more than one batch in memory.
const (
	MaxBatchLen      = 2 << 20  // bytes of the entries of a batch
	maxHeaderLen     = 16 << 10 // bytes of a header or marker line
	segmentDigits    = 16
	segmentSuffix    = ".log"
	checkpointSuffix = ".checkpoint"
	headerPrefix     = `{"header":{`
	entryPrefix      = `{"v":1,`
	markerPrefix     = `{"batch":{`
)

// LineKind is a kind of line of a segment.
type LineKind int

// The kinds of lines.
const (
	UnknownLine LineKind = iota
	HeaderLine
	EntryLine
	MarkerLine
)

// KindOf tells the kind of a line by how it begins.
func KindOf(line []byte) LineKind {
	switch {
	case bytes.HasPrefix(line, []byte(entryPrefix)):
		return EntryLine
	case bytes.HasPrefix(line, []byte(markerPrefix)):
		return MarkerLine
	case bytes.HasPrefix(line, []byte(headerPrefix)):
		return HeaderLine
	default:
		return UnknownLine
	}
}

// SegmentName is the file name of a segment: its number, from 1, in sixteen digits, and ".log".
func SegmentName(number int64) string {
	return fmt.Sprintf("%0*d%s", segmentDigits, number, segmentSuffix)
}

// SegmentCheckpointName is the file name of a signed checkpoint over the log up to the end of a closed segment. It goes
// where the segment goes, so that what was archived is bound by a signature without the rest of the log.
func SegmentCheckpointName(number int64) string {
	return fmt.Sprintf("%0*d%s", segmentDigits, number, checkpointSuffix)
}

// ParseSegmentName is the inverse of SegmentName.
func ParseSegmentName(name string) (number int64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != segmentDigits {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	return int64(n), err == nil && n > 0
}

// Header is the first line of a segment. It says where the log stood when the segment was begun, so that the segment
// can be read and verified without the ones before it.
type Header struct {
	Origin   Origin
	Segment  int64     // its number
	Previous *Previous // the segment that this one goes on from; nil for a log's first
	Tree     Tree      // of the entries before it
	Root     Root      // the last root that an entry before it names; zero: none does
	Time     time.Time // of the last entry before it; zero: there is none
	Created  time.Time
}

// Previous names the segment before, and how much of it counts.
type Previous struct {
	Segment  int64
	Length   int64 // bytes that count
	SHA256   Sum   // of these
	Evidence int64 // bytes beyond, which were never acknowledged
}

// AppendJSON appends the header's line, without newline. It ends with the SHA-256 of all before it.
func (h *Header) AppendJSON(dst []byte) ([]byte, error) {
	if err := h.Origin.Validate(); err != nil {
		return dst, err
	}
	w := encoder{b: dst}
	w.lit(headerPrefix + `"v":1`)
	w.required("origin", h.Origin.String())
	w.int("segment", h.Segment)
	if p := h.Previous; p != nil {
		w.object("previous")
		w.int("segment", p.Segment)
		w.int("length", p.Length)
		w.sum("sha256", p.SHA256)
		w.int("evidence", p.Evidence)
		w.lit("}")
	}
	w.int("size", h.Tree.Size())
	w.name("frontier")
	w.lit("[")
	for _, n := range h.Tree.nodes {
		w.comma()
		w.base64(n)
	}
	w.lit("]")
	if h.Root != (Root{}) {
		w.root(&h.Root)
	}
	if !h.Time.IsZero() {
		w.name("time")
		w.time("time", h.Time)
	}
	w.name("created")
	w.time("created", h.Created)
	w.lit("}")
	if w.err != nil {
		return dst, w.err
	}
	sum := Sum(sha256.Sum256(w.b[len(dst):]))
	w.sum("sha256", sum)
	w.lit("}")
	return w.b, nil
}

// ParseHeader parses a header's line, without newline: exactly what AppendJSON writes.
func ParseHeader(line []byte) (*Header, error) {
	if len(line) > maxHeaderLen {
		return nil, fmt.Errorf("%w: header: too long", ErrSegment)
	}
	p := parser{s: string(line)}
	p.want(headerPrefix + `"v":1`)
	h := &Header{}
	origin, err := ParseOrigin(p.required(`,"origin":`))
	if err != nil {
		p.fail(err.Error())
	}
	h.Origin = origin
	h.Segment = p.int(`,"segment":`)
	if p.opt(`,"previous":{`) {
		h.Previous = &Previous{
			Segment: p.int(`"segment":`), Length: p.int(`,"length":`), SHA256: p.sum(`,"sha256":`), Evidence: p.int(`,"evidence":`),
		}
		p.want("}")
	}
	h.Tree.size = p.int(`,"size":`)
	p.want(`,"frontier":[`)
	for range nodeCount(h.Tree.size) {
		if len(h.Tree.nodes) > 0 {
			p.want(",")
		}
		h.Tree.nodes = append(h.Tree.nodes, p.base64())
	}
	p.want("]")
	if p.opt(`,"root":{`) {
		h.Root = *p.root()
	}
	if p.opt(`,"time":`) {
		h.Time = p.time()
	}
	p.want(`,"created":`)
	h.Created = p.time()
	p.want("}")
	sum := Sum(sha256.Sum256(line[:max(0, len(line)-len(p.s))]))
	if stated := p.sum(`,"sha256":`); stated != sum {
		p.fail("the SHA-256 at its end is not that of the line")
	}
	p.want("}")
	if p.s != "" {
		p.fail("there is more after its end")
	}
	if h.Segment < 1 || h.Previous != nil && (h.Previous.Segment < 1 || h.Previous.Segment >= h.Segment) {
		p.fail("segment numbers out of order")
	}
	if (h.Previous == nil && h.Tree.size != 0) || (h.Tree.size == 0) != h.Time.IsZero() {
		p.fail("a size that does not fit the rest")
	}
	if p.err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrSegment, p.err)
	}
	return h, nil
}

// Marker is the line after the entries of a batch. The batch is part of the log once its marker is there and agrees.
type Marker struct {
	First  int64 // index of the batch's first entry
	Count  int64 // of its entries
	SHA256 Sum   // of its lines, each with its newline
	Size   int64 // of the log with the batch: First + Count
	Hash   Hash  // of the tree of that size
}

// AppendJSON appends the marker's line, without newline.
func (m *Marker) AppendJSON(dst []byte) []byte {
	w := encoder{b: dst}
	w.lit(markerPrefix)
	w.int("first", m.First)
	w.int("count", m.Count)
	w.sum("sha256", m.SHA256)
	w.int("size", m.Size)
	w.hash("hash", m.Hash)
	w.lit("}}")
	return w.b
}

// ParseMarker parses a marker's line, without newline: exactly what AppendJSON writes.
func ParseMarker(line []byte) (Marker, error) {
	if len(line) > maxHeaderLen {
		return Marker{}, fmt.Errorf("%w: marker: too long", ErrSegment)
	}
	p := parser{s: string(line)}
	p.want(markerPrefix)
	m := Marker{
		First: p.int(`"first":`), Count: p.int(`,"count":`), SHA256: p.sum(`,"sha256":`),
		Size: p.int(`,"size":`), Hash: p.hash(`,"hash":`),
	}
	p.want("}}")
	if p.s != "" {
		p.fail("there is more after its end")
	}
	if p.err == nil && (m.Count < 1 || m.First > math.MaxInt64-m.Count || m.Size != m.First+m.Count) {
		p.fail("counts that do not fit each other")
	}
	if p.err != nil {
		return Marker{}, fmt.Errorf("%w: marker: %w", ErrSegment, p.err)
	}
	return m, nil
}
