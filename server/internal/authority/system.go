package authority

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
)

// System is status, certificates and gaps.
type System struct {
	*changer
	config      Config
	ca          *ca
	verifierKey string
	started     time.Time
}

// Status is what the node is and whether it can mint.
type Status struct {
	VaultID, Node string
	// Reasons are why it cannot mint; empty when it can.
	Reasons []string
	// Root is the head of the store.
	Root store.RootID
	// KEKs are the keys that wrap the root key, and those that are to.
	KEKs []KEK
	// Keys is how many there are that open; DamagedKeys names those that do not, and the damaged shards of the store,
	// in which others may be.
	Keys        int
	DamagedKeys []string
	// PolicyRevision is 0 when there is none.
	PolicyRevision int
	Log            LogStatus
	// Gaps, open ones first, each kind newest first.
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
	// Free is how many bytes are free where it lies, -1 when that is unknown; minting stops below FreeMark.
	Free, FreeMark int64
	// LastAnchor is when a checkpoint was last shown to us from outside since the start; zero when none was.
	LastAnchor time.Time
}

// ClockGap is what to acknowledge when the last entry of the log is from a future that was none, so that minting would
// wait for it. It is no gap in the record, and it is not kept: the acknowledgement is the entry with the true time.
const ClockGap = "clock"

// AcknowledgeRequest names a gap.
type AcknowledgeRequest struct {
	Request
	// GapID is the gap's id, or ClockGap.
	GapID string
	// Reason is why it is known to be harmless.
	Reason string
}

// Ready says why the node cannot mint now, or nil. It needs no principal and leaves no entry: it is what health says.
// That there is a policy is not asked.
func (s *System) Ready() error { return s.obstacle(s.state.Load()) }

// Status answers what the node is and whether it can mint.
func (s *System) Status(ctx context.Context, p policy.Principal, req Request) (Status, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.SystemRead}}
	return answered(ctx, &s.core, p, want, func(call *call) (Status, error) {
		snap := call.state.snap
		status := Status{
			VaultID: snap.Vault(), Node: s.node,
			Root: snap.RootID(), KEKs: s.keks(snap),
			Keys: snap.Len(), DamagedKeys: append(call.state.damaged(), call.state.damagedShards()...),
			PolicyRevision: snap.PolicyNumber(),
			Log: LogStatus{
				Origin: s.log.Origin().String(), Size: s.log.Head().Size, VerifierKey: s.verifierKey,
				FreeMark: s.config.MinFree, LastAnchor: s.lastAnchored(),
			},
			Gaps:    slices.Clone(snap.Gaps()),
			Started: s.started, Now: s.now(),
		}
		for _, err := range s.obstacles(call.state) {
			if errors.Is(err, errLapsed) {
				err = inFull(err) // why the store is not heard from is for operators to put right
			}
			status.Reasons = append(status.Reasons, err.Error())
		}
		var err error
		if status.Log.Free, err = s.config.LogFS.Free(); err != nil {
			status.Log.Free = -1
		}
		slices.SortStableFunc(status.Gaps, func(a, b store.Gap) int {
			if a.Closed.IsZero() != b.Closed.IsZero() {
				if a.Closed.IsZero() {
					return -1
				}
				return 1
			}
			return b.Found.Compare(a.Found)
		})
		return status, nil
	})
}

// Acknowledge closes one gap, by the commit that says so, and answers it and how many are still open. When none of
// this node's is, it mints again.
func (s *System) Acknowledge(ctx context.Context, p policy.Principal, req AcknowledgeRequest) (store.Gap, int, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.SystemAcknowledge}, options: audit.AppendOptions{Privileged: true}}
	if req.GapID == ClockGap {
		return s.acknowledgeClock(ctx, p, want, req.Reason)
	}
	err := s.change(ctx, p, want, func(call *call, tx *store.Tx) error {
		if err := justify(&call.entry, req.Reason); err != nil {
			return err
		}
		gap, ok := findGap(call.state.snap, req.GapID)
		if !ok {
			return &Error{Kind: ErrNotFound, Reason: ReasonNotFound, Public: "there is no gap of that id; the status lists them"}
		}
		call.entry.Gap = &auditlog.Gap{ID: gap.ID, Kind: gap.Kind}
		if !gap.Closed.IsZero() {
			return errMade
		}
		return storeMistake(tx.CloseGap(gap.ID))
	})
	if err != nil {
		return store.Gap{}, 0, err
	}
	snap := s.state.Load().snap
	gap, _ := findGap(snap, req.GapID)
	return gap, openGaps(snap), nil
}

// acknowledgeClock records, with the time that the clock says now, that an operator takes the clock to be right and
// the log's last time to be wrong. From that entry on the log's time is the clock's again.
func (s *System) acknowledgeClock(ctx context.Context, p policy.Principal, want ask, reason string) (store.Gap, int, error) {
	gap := store.Gap{ID: ClockGap, Node: s.node}
	_, err := s.answer(ctx, p, want, func(call *call) error {
		if err := justify(&call.entry, reason); err != nil {
			return err
		}
		if err := s.clock(); err == nil {
			return &Error{Kind: ErrNotFound, Reason: ReasonNotFound, Public: "the clock is not behind the log; there is nothing to acknowledge"}
		}
		gap.Found, gap.Closed = s.log.LastTime(), s.now().UTC()
		call.entry.Time = gap.Closed
		return nil
	})
	if err != nil {
		return store.Gap{}, 0, err
	}
	return gap, openGaps(s.state.Load().snap), nil
}

// openGaps is how many gaps of the whole vault nobody has acknowledged.
func openGaps(snap *store.Snapshot) int {
	open := 0
	for _, g := range snap.Gaps() {
		if g.Closed.IsZero() {
			open++
		}
	}
	return open
}

func findGap(snap *store.Snapshot, id string) (store.Gap, bool) {
	for _, g := range snap.Gaps() {
		if g.ID == id {
			return g, true
		}
	}
	return store.Gap{}, false
}
