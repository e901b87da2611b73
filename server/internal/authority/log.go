package authority

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

// Log reads the audit log and proves things about it.
type Log struct {
	*changer
	verifier note.Verifier
	anchored atomic.Int64 // when an anchor was last shown that the log contains, Unix nanoseconds; 0: never
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
// in the log, so it is neither decided nor recorded.
func (l *Log) Checkpoint(_ context.Context, _ policy.Principal, req CheckpointRequest) ([]byte, error) {
	reader, err := l.reader(req.Log)
	if err != nil {
		return nil, err
	}
	return reader.Checkpoint(), nil
}

// ProveInclusion answers a c2sp.org/tlog-proof to any authenticated caller who names index and leaf hash: only who
// has the entry can. It is neither decided nor recorded.
func (l *Log) ProveInclusion(ctx context.Context, _ policy.Principal, req InclusionRequest) ([]byte, error) {
	reader, err := l.reader(req.Log)
	if err != nil {
		return nil, err
	}
	proof, err := reader.InclusionText(ctx, req.Index, req.Leaf)
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
	if err != nil {
		return Consistency{}, err
	}
	l.anchored.Store(l.now().UnixNano())
	return Consistency{Checkpoint: proof.Checkpoint, Hashes: proof.Proof}, nil
}

// lastAnchor is when a checkpoint was last shown from outside, since the start; zero if none was.
func (l *Log) lastAnchor() time.Time {
	if at := l.anchored.Load(); at != 0 {
		return time.Unix(0, at).UTC()
	}
	return time.Time{}
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
