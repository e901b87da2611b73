package authority

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

// Log reads the audit log and proves things about it.
type Log struct {
	*changer
	verifier note.Verifier
	watches  atomic.Int64 // under way
}

// CheckpointRequest names a log by origin or log id; the current one when empty.
type CheckpointRequest struct {
	Request
	Log string
}

// InclusionRequest names an entry.
type InclusionRequest struct {
	Request
	// Log is an origin or log id; the current one when empty.
	Log   string
	Index int64
	Leaf  auditlog.Hash
}

// ConsistencyRequest is what a client remembers.
type ConsistencyRequest struct {
	Request
	// Checkpoint is the whole signed note.
	Checkpoint []byte
}

// Consistency proves that the log only grew.
type Consistency struct {
	// Checkpoint is the latest of the same log, Hashes the RFC 6962 proof from the client's to it.
	Checkpoint []byte
	Hashes     []auditlog.Hash
}

// Checkpoint answers the latest signed checkpoint of a log, to any authenticated caller. It says nothing of what is
// in the log, so it is neither decided nor recorded. Of a log that a gap has ended, and that does not contain what was
// signed of it, there is none: ReasonLogEnded.
func (l *Log) Checkpoint(ctx context.Context, _ policy.Principal, req CheckpointRequest) ([]byte, error) {
	reader, err := l.reader(req.Log)
	if err != nil {
		return nil, err
	}
	note := reader.Checkpoint()
	if reader.Origin() == l.log.Origin() {
		return note, nil
	}
	if note == nil {
		return nil, ended()
	}
	signed, err := auditlog.OpenCheckpoint(note, l.verifier)
	if err != nil {
		return nil, err
	}
	if _, err := l.log.ProveConsistency(ctx, signed); missing(err) {
		return nil, ended()
	}
	return note, nil
}

// ended is the answer where something signed is asked for of a log over whose end nothing is.
func ended() *Error {
	return &Error{
		Kind: ErrPrecondition, Reason: ReasonLogEnded,
		Public: "a gap has ended this log, and nothing is signed over what is left of it; the first entry of the next log names the gap, and the head with which this one ended",
	}
}

// ProveInclusion answers a c2sp.org/tlog-proof to any authenticated caller who names index and leaf hash: only who
// has the entry can. It is neither decided nor recorded.
func (l *Log) ProveInclusion(ctx context.Context, _ policy.Principal, req InclusionRequest) ([]byte, error) {
	reader, err := l.reader(req.Log)
	if err != nil {
		return nil, err
	}
	proof, err := reader.InclusionText(ctx, req.Index, req.Leaf)
	if errors.Is(err, audit.ErrNotContained) || errors.Is(err, audit.ErrNoEntry) && reader.Checkpoint() == nil {
		return nil, ended()
	}
	if errors.Is(err, audit.ErrNoEntry) {
		return nil, &Error{Kind: ErrNotFound, Reason: ReasonNotFound, Public: "the log has no such entry at that index"}
	}
	return proof, err
}

// ProveConsistency proves to any authenticated caller that the log contains their checkpoint. A valid checkpoint of
// ours that it does not contain is a gap: minting stops, the gap goes into the root, and the answer has ReasonGap.
// Only such a one is recorded.
func (l *Log) ProveConsistency(ctx context.Context, p policy.Principal, req ConsistencyRequest) (Consistency, error) {
	anchor, err := auditlog.OpenCheckpoint(req.Checkpoint, l.verifier)
	current := l.log.Origin()
	if err != nil || anchor.Origin.KeyName() != current.KeyName() {
		return Consistency{}, malformed("this is not a checkpoint that this vault's log key has signed")
	}
	proof, err := l.log.ProveConsistency(ctx, anchor)
	if missing(err) {
		e := entryOf(p, ask{id: req.ID, want: policy.Request{Action: policy.AuditRead}})
		return Consistency{}, l.refuse(ctx, &e, l.discover(ctx, anchor))
	}
	if errors.Is(err, audit.ErrDamaged) && anchor.Origin != current {
		return Consistency{}, ended()
	}
	if err != nil {
		return Consistency{}, err
	}
	l.anchored.Store(l.now().UnixNano())
	return Consistency{Checkpoint: proof.Checkpoint, Hashes: proof.Proof}, nil
}

// reader finds a log by its id or its whole origin.
func (l *Log) reader(name string) (*audit.Reader, error) {
	unknown := &Error{Kind: ErrNotFound, Reason: ReasonNotFound, Public: "there is no log of that name here"}
	if origin, err := auditlog.ParseOrigin(name); err == nil {
		if origin.KeyName() != l.log.Origin().KeyName() {
			return nil, unknown
		}
		name = origin.Log
	}
	reader, err := l.log.Reader(name)
	if errors.Is(err, audit.ErrUnknownLog) {
		return nil, unknown
	}
	return reader, err
}
