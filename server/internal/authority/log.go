package authority

import (
	"context"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
)

// Filter says which entries; what is empty does not limit.
type Filter struct {
	Key, Principal, Action, Outcome string
	// Since is the oldest time.
	Since time.Time
	// Log is an origin or log id; every log of the node when empty, unless Index is given: then the current log.
	Log string
	// Index is one entry's.
	Index *int64
}

// EntriesRequest asks for a page of entries.
type EntriesRequest struct {
	Request
	Filter      Filter
	OldestFirst bool
	// Limit is the most that are answered; it must be above 0.
	Limit int
	// PageToken is from the page before; empty for the first.
	PageToken string
}

// StoredEntry is an entry as it lies in the log.
type StoredEntry struct {
	// Origin is the log's.
	Origin string
	Index  int64
	// Line is the stored bytes without the newline.
	Line []byte
}

// EntriesPage is a page of entries.
type EntriesPage struct {
	Entries []StoredEntry
	// NextPageToken is empty at the end.
	NextPageToken string
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

// Entries answers entries as stored bytes. The query is recorded before it is answered.
func (l *Log) Entries(ctx context.Context, p policy.Principal, req EntriesRequest) (EntriesPage, error) {
	panic("being written")
}

// Checkpoint answers the latest signed checkpoint of a log, to any authenticated caller.
func (l *Log) Checkpoint(ctx context.Context, p policy.Principal, req CheckpointRequest) ([]byte, error) {
	panic("being written")
}

// ProveInclusion answers a c2sp.org/tlog-proof to any authenticated caller who names index and leaf hash.
func (l *Log) ProveInclusion(ctx context.Context, p policy.Principal, req InclusionRequest) ([]byte, error) {
	panic("being written")
}

// ProveConsistency proves to any authenticated caller that the log contains their checkpoint. A valid checkpoint
// of ours that it does not contain is a gap: it is committed, minting stops, and the answer has ReasonGap.
func (l *Log) ProveConsistency(ctx context.Context, p policy.Principal, req ConsistencyRequest) (Consistency, error) {
	panic("being written")
}
