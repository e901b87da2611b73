package auditlog

import (
	"io/fs"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// AppendJSON appends the entry's line, without newline, to dst. It refuses (ErrEntry) control characters, text that
// is not UTF-8 or too long, and (also ErrLooksLikeKey) text that looks like a private key; no refusal quotes the text.
func (e *Entry) AppendJSON(dst []byte) ([]byte, error) { panic("not yet") }

// ParseEntry parses a line without newline. It accepts exactly what AppendJSON writes.
func ParseEntry(line []byte) (*Entry, error) { panic("not yet") }

// LooksLikeKey reports whether s may hold a private key: PEM markers, or PKCS#8 or SEC 1 structures in base64 (either
// alphabet), hexadecimal, a JWK, or base64 of PEM, also when broken by whitespace or escaped newlines.
func LooksLikeKey(s string) bool { panic("not yet") }

// Checkpoint is the signed head of a log: a C2SP tlog-checkpoint.
type Checkpoint struct {
	Origin Origin
	Size   int64
	Hash   Hash
}

// SignCheckpoint returns the checkpoint as a signed note. The signer's name must be the origin's KeyName.
func SignCheckpoint(c Checkpoint, s note.Signer) ([]byte, error) { panic("not yet") }

// OpenCheckpoint verifies a signed note by v and parses the checkpoint in it. Signatures of others are ignored.
func OpenCheckpoint(msg []byte, v note.Verifier) (Checkpoint, error) { panic("not yet") }

// Receipt proves that an entry is in the log: its leaf hash at its index, in the tree of a signed checkpoint.
type Receipt struct {
	Index      int64
	Leaf       Hash
	Proof      tlog.RecordProof
	Checkpoint Checkpoint
	Note       []byte // the signed note of Checkpoint
}

// MarshalText is the receipt as c2sp.org/tlog-proof@v1 text, with the leaf hash as its extra data.
func (r *Receipt) MarshalText() ([]byte, error) { panic("not yet") }

// VerifyReceipt parses a receipt's text and verifies its signature and its proof. That the leaf is a certain
// entry's is for the caller to compare: LeafHash(line) == receipt.Leaf.
func VerifyReceipt(text []byte, v note.Verifier) (*Receipt, error) { panic("not yet") }

// VerifyInclusion verifies that the tree of checkpoint c holds leaf at index.
func VerifyInclusion(p tlog.RecordProof, c Checkpoint, index int64, leaf Hash) error {
	panic("not yet")
}

// VerifyConsistency verifies that the log of new only grew since old.
func VerifyConsistency(p tlog.TreeProof, old, new Checkpoint) error { panic("not yet") }

// Proof is the parsed form of a c2sp.org/tlog-proof@v1 text. Nothing in it is verified.
type Proof struct {
	Extra      []byte // opaque, unauthenticated; nil: none
	Index      int64
	Hashes     []Hash
	Checkpoint []byte // a signed note, verbatim
}

// FormatProof is the c2sp.org/tlog-proof@v1 text of p.
func FormatProof(p Proof) []byte { panic("not yet") }

// ParseProof parses a c2sp.org/tlog-proof@v1 text.
func ParseProof(text []byte) (Proof, error) { panic("not yet") }

// GenerateKey makes a new Ed25519 note key (algorithm 1) of that name: the signer's key, secret, and the verifier's.
func GenerateKey(name string) (skey, vkey string, err error) { panic("not yet") }

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
