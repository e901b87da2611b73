package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
)

// Gap is a gap that ended a log, as the log after it tells in its first entry.
type Gap struct {
	ID     string
	Detail string    // what was found
	Found  time.Time // UTC
	// Acknowledged is nil when no entry of the logs that were verified says that anybody has.
	Acknowledged *Acknowledgement
}

// Acknowledgement is who has said that a gap is known, as the log tells.
type Acknowledgement struct {
	By     string // SPIFFE id
	Time   time.Time
	Reason string
}

// VerifiedLog is a log whose entries were verified down to the last byte: the current one under its latest signed checkpoint, an
// earlier one under the head that the first entry of the log after it names.
type VerifiedLog struct {
	auditlog.Checkpoint
	// Note is the latest signed checkpoint that the log contains. An earlier log may have none: what was signed of it is lost.
	Note []byte
	// NoteSize is how many entries Note is over.
	NoteSize int64
	// From is the index of the first entry that was looked at: those before it are archived, and were not. What the log before it was
	// is then not known either.
	From int64
	// Ended is the gap that ended it; nil for the current log.
	Ended *Gap
	// Missing are the anchors of this log that it does not contain.
	Missing []Signed
}

// actionGap is the action of the first entry of a log that a gap has begun, actionAcknowledge of one that acknowledges a gap.
const (
	actionGap         = "system.gap"
	actionAcknowledge = "system.acknowledge"
)

// VerifyLogs verifies the current log, and from its first entry back each log before it; the current one comes first. anchors are
// checkpoints that are remembered: each one that its log does not contain is in that log's Missing. Those of logs that are not among
// the results are of logs that the current one knows nothing of. Whether every gap is acknowledged is the caller's to judge.
// progress, which may be nil, is called for each log with its size, and answers what is told how many entries are done, or nil.
func (c *Client) VerifyLogs(ctx context.Context, anchors []Signed, progress func(total int64) func(done int64)) ([]VerifiedLog, error) {
	cp, err := c.Checkpoint(ctx, "")
	if err != nil {
		return nil, err
	}
	acknowledged := map[string]*Acknowledgement{}
	log := VerifiedLog{Checkpoint: cp.Checkpoint, Note: cp.Note, NoteSize: cp.Size}
	var all []VerifiedLog
	for {
		before, gap, err := c.verifyLog(ctx, &log, anchors, acknowledged, progress)
		if err != nil {
			return nil, fmt.Errorf("log %s: %w", log.Origin.Log, err)
		}
		all = append(all, log)
		if gap == nil {
			break
		}
		if slices.ContainsFunc(all, func(l VerifiedLog) bool { return l.Origin == before.Origin }) {
			return nil, fmt.Errorf("%w: log %s comes before itself", ErrUnverified, before.Origin.Log)
		}
		log = VerifiedLog{Checkpoint: before, Ended: gap}
	}
	for i := range all {
		if gap := all[i].Ended; gap != nil {
			gap.Acknowledged = acknowledged[gap.ID]
		}
	}
	return all, nil
}

// verifyLog verifies one log, and answers the head of the log before it and the gap in between, if there is one. Of an earlier log
// the latest signed checkpoint is one more anchor.
func (c *Client) verifyLog(ctx context.Context, log *VerifiedLog, anchors []Signed, acknowledged map[string]*Acknowledgement, progress func(int64) func(int64)) (auditlog.Checkpoint, *Gap, error) {
	anchors = slices.DeleteFunc(slices.Clone(anchors), func(a Signed) bool { return a.Origin != log.Origin })
	who := "the checkpoint is"
	if log.Ended != nil {
		who = "the first entry of the next log vouches for a log"
		switch cp, err := c.Checkpoint(ctx, log.Origin.String()); {
		case err == nil:
			log.Note, log.NoteSize = cp.Note, cp.Size
			anchors = append(anchors, cp)
		case !errors.Is(err, ErrLogEnded):
			return auditlog.Checkpoint{}, nil, err
		}
	}
	report := func(int64) {}
	if progress != nil {
		if f := progress(log.Size); f != nil {
			report = f
		}
	}
	contained := make([]bool, len(anchors))
	compare := func(t *tree) {
		for i, a := range anchors {
			if a.Size == t.size {
				contained[i] = a.Hash == t.hash()
			}
		}
	}
	var first *auditlog.Entry
	see := func(e *auditlog.Entry, index int64) {
		if index == 0 {
			first = e
		}
		if e.Action == actionAcknowledge && e.Gap != nil && e.Principal != nil && acknowledges(e) {
			if a := acknowledged[e.Gap.ID]; a == nil || e.Time.Before(a.Time) {
				acknowledged[e.Gap.ID] = &Acknowledgement{By: e.Principal.ID, Time: e.Time.UTC(), Reason: e.Justification}
			}
		}
	}
	grown := func(t *tree) {
		compare(t)
		report(t.size)
	}
	grown(&tree{})
	err := c.walk(ctx, log.Checkpoint, who, see, grown)
	if errors.Is(err, ErrArchived) {
		if log.From, err = c.walkBack(ctx, log.Checkpoint, who, see, grown); err == nil {
			err = c.containedBefore(ctx, log, anchors, contained)
		}
	}
	if err != nil {
		return auditlog.Checkpoint{}, nil, err
	}
	for i, a := range anchors {
		if contained[i] {
			continue
		}
		if log.Ended != nil && i == len(anchors)-1 && log.Note != nil {
			return auditlog.Checkpoint{}, nil, fmt.Errorf("%w: the log does not contain the checkpoint of %d entries that the server shows of it", ErrUnverified, a.Size)
		}
		log.Missing = append(log.Missing, a)
	}
	if first == nil || first.Action != actionGap || first.Gap == nil || first.Gap.Log == "" {
		return auditlog.Checkpoint{}, nil, nil
	}
	g := first.Gap
	before := auditlog.Checkpoint{Origin: auditlog.Origin{Vault: log.Origin.Vault, Node: log.Origin.Node, Log: g.Log}, Size: g.Size, Hash: g.Hash}
	if err := before.Origin.Validate(); err != nil {
		return auditlog.Checkpoint{}, nil, fmt.Errorf("%w: the first entry names no log: %w", ErrUnverified, err)
	}
	return before, &Gap{ID: g.ID, Detail: first.Reason, Found: first.Time.UTC()}, nil
}

// containedBefore has the anchors proved that end before the first entry of a log that is there: by consistency with a checkpoint
// that the verified head is consistent with, too.
func (c *Client) containedBefore(ctx context.Context, log *VerifiedLog, anchors []Signed, contained []bool) error {
	for i, a := range anchors {
		if contained[i] || a.Size > log.From {
			continue
		}
		proved, err := c.precedes(ctx, a, log)
		if e, ok := errors.AsType[*Error](err); errors.Is(err, ErrUnverified) || ok && e.Reason() == "GAP" {
			continue // it is missing
		}
		if err != nil {
			return err
		}
		contained[i] = proved
	}
	return nil
}

// precedes says whether a log grew from a checkpoint to the newest signed one that was verified. The server proves either against its
// latest, which moves about once a second.
func (c *Client) precedes(ctx context.Context, a Signed, log *VerifiedLog) (bool, error) {
	if log.Note == nil {
		return false, nil
	}
	verified, err := c.logs.open(log.Note)
	if err != nil {
		return false, err
	}
	for range 5 {
		after, err := c.Since(ctx, a)
		if err != nil {
			return false, err
		}
		if after.Checkpoint == verified.Checkpoint {
			return true, nil
		}
		latest, err := c.Since(ctx, verified)
		if err != nil {
			return false, err
		}
		if latest.Checkpoint == after.Checkpoint {
			return true, nil
		}
	}
	return false, fmt.Errorf("log %s grew faster than it could be proved that it contains the checkpoint of %d entries; try again", log.Origin.Log, a.Size)
}

// acknowledges says whether an entry of an acknowledgement is of one that was made, now or before.
func acknowledges(e *auditlog.Entry) bool {
	switch e.Outcome { // the others are of one that was not made, or not yet
	case auditlog.Done, auditlog.Allowed: // allowed: it was made before, and somebody made it again
		return true
	case auditlog.Recovered:
		return e.Reason == "the change was made"
	default:
		return false
	}
}
