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
	w := logWalk{log: log, shown: -1, acknowledged: acknowledged, report: func(int64) {}}
	w.anchors = slices.DeleteFunc(slices.Clone(anchors), func(a Signed) bool { return a.Origin != log.Origin })
	who := "the checkpoint is"
	if log.Ended != nil {
		who = "the first entry of the next log vouches for a log"
		switch cp, err := c.Checkpoint(ctx, log.Origin.String()); {
		case err == nil:
			log.Note, log.NoteSize = cp.Note, cp.Size
			w.anchors, w.shown = append(w.anchors, cp), len(w.anchors)
		case !errors.Is(err, ErrLogEnded):
			return auditlog.Checkpoint{}, nil, err
		}
	}
	w.contained = make([]bool, len(w.anchors))
	if progress != nil {
		if f := progress(log.Size); f != nil {
			w.report = f
		}
	}
	w.grown(&tree{})
	err := c.walk(ctx, log.Checkpoint, who, w.see, w.grown)
	if errors.Is(err, ErrArchived) {
		if log.From, err = c.walkBack(ctx, log.Checkpoint, who, w.see, w.grown); err == nil {
			err = c.containedBefore(ctx, log, w.anchors, w.contained)
		}
	}
	if err != nil {
		return auditlog.Checkpoint{}, nil, err
	}
	if err := w.missing(); err != nil {
		return auditlog.Checkpoint{}, nil, err
	}
	return w.before()
}

// logWalk is what is found out about one log while its entries are walked through.
type logWalk struct {
	log          *VerifiedLog
	anchors      []Signed
	contained    []bool                      // of the anchors
	shown        int                         // which of the anchors the server has just shown; -1: none
	first        *auditlog.Entry             // of the log; nil while it was not seen
	acknowledged map[string]*Acknowledgement // by gap, of all logs
	report       func(done int64)
}

// see takes in an entry.
func (w *logWalk) see(e *auditlog.Entry, index int64) {
	if index == 0 {
		w.first = e
	}
	if e.Action == actionAcknowledge && e.Gap != nil && e.Principal != nil && acknowledges(e) {
		if a := w.acknowledged[e.Gap.ID]; a == nil || e.Time.Before(a.Time) {
			w.acknowledged[e.Gap.ID] = &Acknowledgement{By: e.Principal.ID, Time: e.Time.UTC(), Reason: e.Justification}
		}
	}
}

// grown compares the tree, as far as it has grown, with the anchors.
func (w *logWalk) grown(t *tree) {
	for i, a := range w.anchors {
		if a.Size == t.size {
			w.contained[i] = a.Hash == t.hash()
		}
	}
	w.report(t.size)
}

// missing notes the anchors that the log does not contain. What the server itself has just shown must not be among them.
func (w *logWalk) missing() error {
	for i, a := range w.anchors {
		switch {
		case w.contained[i]:
		case i == w.shown:
			return fmt.Errorf("%w: the log does not contain the checkpoint of %d entries that the server shows of it", ErrUnverified, a.Size)
		default:
			w.log.Missing = append(w.log.Missing, a)
		}
	}
	return nil
}

// before is the head of the log before this one, and the gap in between, as the first entry tells; nil where there is none.
func (w *logWalk) before() (auditlog.Checkpoint, *Gap, error) {
	if w.first == nil || w.first.Action != actionGap || w.first.Gap == nil || w.first.Gap.Log == "" {
		return auditlog.Checkpoint{}, nil, nil
	}
	g, origin := w.first.Gap, w.log.Origin
	origin.Log = g.Log
	if err := origin.Validate(); err != nil {
		return auditlog.Checkpoint{}, nil, fmt.Errorf("%w: the first entry names no log: %w", ErrUnverified, err)
	}
	return auditlog.Checkpoint{Origin: origin, Size: g.Size, Hash: g.Hash}, &Gap{ID: g.ID, Detail: w.first.Reason, Found: w.first.Time.UTC()}, nil
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
