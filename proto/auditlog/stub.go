package auditlog

import (
	"io/fs"

	"golang.org/x/mod/sumdb/note"
)

// VerifyOptions are what VerifySegments checks against besides the segments and the checkpoint file beside them.
type VerifyOptions struct {
	Anchors  []Checkpoint // opened checkpoints that were kept elsewhere
	Receipts []*Receipt   // verified receipts
	Archived bool         // the oldest segments may be absent
}

// Report is what VerifySegments found.
type Report struct {
	Origin     Origin
	First      int64      // index of the first entry that is here; not 0: older segments are absent
	Size       int64      // entries of the log, up to the first damage
	Hash       Hash       // of the tree of that size
	Checkpoint Checkpoint // in the checkpoint file; Size 0 when there is none
	Signed     int64      // entries below this index are bound by a signature that was checked
	Segments   []SegmentReport
	Damage     []Damage   // empty: the log is whole
	Evidence   []Evidence // bytes that recovery set aside: never acknowledged, no damage
}

// SegmentReport is one segment.
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

// Evidence is a stretch of a segment that was set aside.
type Evidence struct {
	Segment  int64
	Offset   int64
	Length   int64 // bytes there now
	Recorded int64 // bytes there when the next segment was begun; -1: no segment says
}

// VerifySegments verifies a directory of segments, as the server writes them, with the key of its checkpoints.
// It needs no server and changes nothing. The error is for what kept it from reading; what is wrong with the log is
// in the report.
func VerifySegments(fsys fs.FS, v note.Verifier, o VerifyOptions) (*Report, error) { panic("not yet") }
