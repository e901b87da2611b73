package authority

import (
	"context"
	"time"

	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
)

// Status is what the node is and whether it can mint.
type Status struct {
	VaultID, Node string
	// Reasons are why it cannot mint; empty when it can.
	Reasons []string
	// Root is the head of the store.
	Root store.RootID
	// KEKs are the URIs of the keys that wrap the root key.
	KEKs []string
	// Keys is how many there are; DamagedKeys names those whose records do not open.
	Keys        int
	DamagedKeys []string
	// PolicyRevision is 0 when there is none.
	PolicyRevision int
	Log            LogStatus
	// Gaps, open ones first.
	Gaps []store.Gap
	// Started is when Open returned; Now is the node's clock.
	Started, Now time.Time
}

// LogStatus is the audit log.
type LogStatus struct {
	Origin string
	// Size is how many entries it has.
	Size int64
	// VerifierKey verifies its checkpoints.
	VerifierKey string
	// Free is how many bytes are free where it lies; minting stops below FreeMark.
	Free, FreeMark int64
	// LastAnchor is when a checkpoint was last shown to us from outside since the start; zero when none was.
	LastAnchor time.Time
}

// AcknowledgeRequest names a gap.
type AcknowledgeRequest struct {
	Request
	// GapID is the gap's id.
	GapID string
	// Reason is why it is known to be harmless.
	Reason string
}

// Status answers what the node is and whether it can mint.
func (s *System) Status(ctx context.Context, p policy.Principal, req Request) (Status, error) {
	panic("being written")
}

// Acknowledge closes one gap and answers it and how many are still open.
func (s *System) Acknowledge(ctx context.Context, p policy.Principal, req AcknowledgeRequest) (store.Gap, int, error) {
	panic("being written")
}

// Ready says why the node cannot mint now, or nil. It needs no principal: it is what health says.
func (s *System) Ready() error { panic("being written") }
