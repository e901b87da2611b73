package audit

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Config is what Open needs.
type Config struct {
	FS     FS              // required
	Origin auditlog.Origin // required: the vault, the node and the current log's id
	Signer note.Signer     // required: named Origin.KeyName()
	Now    func() time.Time
	// MinFree is how many bytes must be free for ordinary entries; 64 MiB when 0.
	MinFree int64
	// SegmentSize is the length at which a segment is closed; 64 MiB when 0.
	SegmentSize int64
	Logger      *slog.Logger
	// Head is what the log must contain because the store's root says so. Its Log may be the current one or a
	// closed one; any other is a gap. The zero Head asks for nothing.
	Head Head
	// Anchors are more heads that the log must contain: checkpoints that were kept elsewhere.
	Anchors []auditlog.Checkpoint
	// Closed are the earlier logs of this node, each with the head at which it ended.
	Closed []ClosedLog
}

// Head is the head of a log: its id, how many entries, their tree hash.
type Head struct {
	Log  string
	Size int64
	Hash auditlog.Hash
}

// ClosedLog is an earlier log and where it ended.
type ClosedLog struct {
	Log  string
	Size int64
	Hash auditlog.Hash
}

// Errors of a Log.
var (
	// ErrFull is why ordinary entries are refused while less than Config.MinFree is free.
	ErrFull = errors.New("audit log: too little space is left on its disk")
	// ErrFailed is wrapped when a batch could not be made durable. Its entries may or may not be in the log.
	ErrFailed = errors.New("audit log: could not be written")
	// ErrBusy is why an entry is refused when too many wait for a disk that does not answer.
	ErrBusy = errors.New("audit log: too many entries wait for its disk")
	// ErrClosed is why everything is refused after Close.
	ErrClosed = errors.New("audit log: closed")
	// ErrUnknownLog is answered for a log id that is neither the current nor a closed one.
	ErrUnknownLog = errors.New("audit log: no log of this id")
	// ErrNoEntry is answered for an index beyond the head, or a leaf hash that is not the one there.
	ErrNoEntry = errors.New("audit log: no such entry")
	// ErrNotContained is answered by ProveConsistency for a head that the log does not contain. When the head was
	// signed by us the caller must open a gap.
	ErrNotContained = errors.New("audit log: does not contain that head")
	// ErrBeyondEnd is answered by ProveConsistency for a head beyond the end of a closed log: it belongs to the gap
	// at which that log was closed.
	ErrBeyondEnd = errors.New("audit log: that head is beyond the end of a closed log")
)

// GapError is why Open refuses a log that lacks what it must contain, or is damaged.
type GapError struct {
	Log     string // id
	What    string // what is lacking or damaged, and who says so
	Segment int64  // where, if known
	Line    int    // from 1; 0: unknown
	Index   int64  // of the first entry concerned; -1: unknown
	Want    Head   // what it should contain; zero for damage
	End     Head   // where what is whole ends: at this head the log is to be closed
}

func (e *GapError) Error() string { panic("not yet") }

// Log is an open audit log. All methods are safe for concurrent use. Those that read are of the current log; Reader
// reads closed ones too.
type Log struct{}

// Open opens the log, and takes its directory for this process. A log id whose directory does not exist is created
// if nothing says that it has entries. *GapError when the log lacks what it must contain: then nothing is open; the
// caller records the gap, chooses a new log id and opens that, naming the old one with GapError.End in Closed.
func Open(ctx context.Context, c Config) (*Log, error) { panic("not yet") }

// AppendOptions are for one entry.
type AppendOptions struct {
	// Privileged entries (of disable, revoke and what closes a gap) may use what Config.MinFree keeps free.
	Privileged bool
	// Receipt asks for one in Position.
	Receipt bool
}

// Position is where an entry is.
type Position struct {
	Index   int64
	Leaf    auditlog.Hash
	Head    Head   // of the log with the entry's batch
	Receipt []byte // c2sp.org/tlog-proof@v1 text, if it was asked for
}

// Append makes an entry durable and part of the tree, then returns. On an error it may or may not be in the log.
func (l *Log) Append(ctx context.Context, e *auditlog.Entry, o AppendOptions) (Position, error) {
	panic("not yet")
}

// Err is why the log cannot take ordinary entries now: ErrFull, ErrFailed (wrapped, with the reason), ErrClosed or nil.
func (l *Log) Err() error { panic("not yet") }

// LastTime is the time of the last entry of the current log; zero if there is none.
func (l *Log) LastTime() time.Time { panic("not yet") }

// LastRoot is the last root that an entry of the current log names; zero if none does.
func (l *Log) LastRoot() auditlog.Root { panic("not yet") }

// Reader reads the log of that id, the current (also "") or a closed one; ErrUnknownLog otherwise.
func (l *Log) Reader(id string) (*Reader, error) { panic("not yet") }

// Logs are the ids of this node's logs: the closed ones, oldest first, then the current one.
func (l *Log) Logs() []string { panic("not yet") }

// Origin is the current log's.
func (l *Log) Origin() auditlog.Origin { panic("not yet") }

// Head is the durable head of the current log.
func (l *Log) Head() Head { panic("not yet") }

// Checkpoint is Reader.Checkpoint of the current log.
func (l *Log) Checkpoint() []byte { panic("not yet") }

// Entries is Reader.Entries of the current log.
func (l *Log) Entries(ctx context.Context, from, to int64) iter.Seq2[Stored, error] { panic("not yet") }

// Reverse is Reader.Reverse of the current log.
func (l *Log) Reverse(ctx context.Context, from, to int64) iter.Seq2[Stored, error] { panic("not yet") }

// ProveInclusion is Reader.ProveInclusion of the current log.
func (l *Log) ProveInclusion(ctx context.Context, index, size int64) (Inclusion, error) {
	panic("not yet")
}

// Rotate closes the current log and opens that of the new id, whose first entry is first (which names the gap, the
// old id and its head). On an error the old log is still the current one. Rotate may be repeated.
func (l *Log) Rotate(ctx context.Context, newLogID string, first *auditlog.Entry) (Position, error) {
	panic("not yet")
}

// Changed is closed when the head is not the one that it was at the call.
func (l *Log) Changed() <-chan struct{} { panic("not yet") }

// Close writes a last checkpoint, ends all goroutines and gives the directory up. Entries that wait are written.
func (l *Log) Close() error { panic("not yet") }

// Reader reads one log, the current or a closed one. All methods are safe for concurrent use.
type Reader struct{}

// Origin is the log's.
func (r *Reader) Origin() auditlog.Origin { panic("not yet") }

// Head is the durable head of the log.
func (r *Reader) Head() Head { panic("not yet") }

// Checkpoint is a signed checkpoint over Head.
func (r *Reader) Checkpoint() []byte { panic("not yet") }

// Stored is an entry as it lies in the log.
type Stored struct {
	Index int64
	Line  []byte // without newline; valid until the iteration goes on
}

// Entries yields the entries from <= index < to, oldest first; to is at most the head's size. After an error it ends.
func (r *Reader) Entries(ctx context.Context, from, to int64) iter.Seq2[Stored, error] {
	panic("not yet")
}

// Reverse yields the same entries newest first.
func (r *Reader) Reverse(ctx context.Context, from, to int64) iter.Seq2[Stored, error] {
	panic("not yet")
}

// Inclusion proves that a leaf is at an index of a tree.
type Inclusion struct {
	Leaf  auditlog.Hash
	Head  Head // the tree
	Proof tlog.RecordProof
}

// ProveInclusion proves that the entry at index is in the tree of that size; ErrNoEntry beyond the head.
func (r *Reader) ProveInclusion(ctx context.Context, index, size int64) (Inclusion, error) {
	panic("not yet")
}

// InclusionText is the c2sp.org/tlog-proof@v1 text, over the latest checkpoint, for an entry that the caller can name
// by index and leaf hash; ErrNoEntry if that is not there.
func (r *Reader) InclusionText(ctx context.Context, index int64, leaf auditlog.Hash) ([]byte, error) {
	panic("not yet")
}

// Consistency proves that a log only grew.
type Consistency struct {
	Proof      tlog.TreeProof
	Head       Head   // to which the proof leads
	Checkpoint []byte // signed, over Head
}

// ProveConsistency proves that the log which old names, the current or a closed one, contains old. Whether old is
// signed by us is for the caller to check before. ErrNotContained, ErrBeyondEnd, ErrUnknownLog otherwise.
func (l *Log) ProveConsistency(ctx context.Context, old auditlog.Checkpoint) (Consistency, error) {
	panic("not yet")
}
