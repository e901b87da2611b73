package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"golang.org/x/mod/sumdb/note"
)

// Defaults of Config.
const (
	DefaultMinFree     = 64 << 20
	DefaultSegmentSize = 32 << 20
	DefaultSegmentAge  = 7 * 24 * time.Hour
	DefaultBallast     = 8 << 20
)

// Config is what Open needs.
type Config struct {
	FS     FS               // required
	Origin auditlog.Origin  // required: the vault, the node and the current log's id
	Signer note.Signer      // required: named Origin.KeyName()
	Now    func() time.Time // required: says when segments were begun
	// MinFree is how many bytes must be free for ordinary entries; DefaultMinFree when 0, 1 to do without.
	MinFree int64
	// SegmentSize is the length at which a segment is closed; DefaultSegmentSize when 0.
	SegmentSize int64
	// SegmentAge is the age at which a segment is closed, when the next entry comes; DefaultSegmentAge when 0.
	SegmentAge time.Duration
	// Ballast is how many bytes are put by for privileged entries on a disk that is quite full; DefaultBallast when 0.
	Ballast int64
	Logger  *slog.Logger // slog's default when nil
	// Observe is told of every batch, by the writer itself: it must not block, nor call the Log. nil: nobody is told.
	Observe func(Batch)
	// Head is what the log must contain because the store's root says so. Its Log is the current one or a closed one;
	// any other is a gap. The zero Head asks for nothing.
	Head Head
	// Anchors are more heads that the log must contain: checkpoints that were kept elsewhere. What they say of
	// closed logs belongs to the gaps at which these were closed.
	Anchors []auditlog.Checkpoint
	// Closed are the earlier logs of this node, oldest first, each with the head at which it ended.
	Closed []Head

	indexEvery int64 // entries of a chunk of the index; chunkLen when 0, less in tests
}

func (c Config) validate() (Config, error) {
	if c.FS == nil || c.Signer == nil || c.Now == nil {
		return c, errors.New("audit log: Config needs FS, Signer and Now")
	}
	if err := c.Origin.Validate(); err != nil {
		return c, fmt.Errorf("audit log: %w", err)
	}
	if c.Signer.Name() != c.Origin.KeyName() {
		return c, fmt.Errorf("audit log: the signing key is named %s; the log wants %s", c.Signer.Name(), c.Origin.KeyName())
	}
	for _, d := range []struct {
		v    *int64
		what string
		def  int64
	}{
		{&c.MinFree, "MinFree", DefaultMinFree},
		{&c.SegmentSize, "SegmentSize", DefaultSegmentSize},
		{&c.Ballast, "Ballast", DefaultBallast},
	} {
		if *d.v < 0 {
			return c, fmt.Errorf("audit log: %s is negative", d.what)
		}
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	for _, o := range c.Closed {
		if o.Log == c.Origin.Log {
			return c, fmt.Errorf("audit log: the current log %s is also named as a closed one", o.Log)
		}
	}
	if c.SegmentAge <= 0 {
		c.SegmentAge = DefaultSegmentAge
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c, nil
}

// Head is the head of a log: its id, how many entries, their tree hash.
type Head struct {
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
	// ErrAbsent is answered for what lies in segments that are not in the directory, because they were archived.
	ErrAbsent = errors.New("audit log: the segment is not in the directory")
	// ErrDamaged is wrapped when a segment does not hold what it must.
	ErrDamaged = errors.New("audit log: damaged")
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
	Segment int64  // where; 0: of no one segment
	Line    int    // from 1; 0: unknown
	Index   int64  // of the first entry concerned; -1: unknown
	Want    Head   // what it should contain; zero for damage
	End     Head   // where what is whole ends: at this head the log is to be closed
}

func (e *GapError) Error() string {
	d := auditlog.Damage{Segment: e.Segment, Line: e.Line, Index: e.Index, What: e.What}
	return fmt.Sprintf("audit log %s has a gap: %s", e.Log, d)
}
