package authority

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

// clockSlack is how far the clock may lie behind the last entry before minting stops.
const clockSlack = 30 * time.Second

// Actions of the node itself: in the log, but nothing that a caller does.
const (
	actionAuthenticate policy.Action = "authenticate"
	actionAdopt        policy.Action = "system.adopt"
	actionGap          policy.Action = "system.gap"
	actionExpire       policy.Action = "system.expire"
	actionInit         policy.Action = "system.init"
	actionEnroll       policy.Action = "system.enroll"
	actionEverywhere   policy.Action = "system.everywhere"
)

// Actions are all that an entry may have: those of callers, and those of the node itself.
func Actions() []policy.Action {
	return append(policy.Actions(), actionAuthenticate, actionAdopt, actionGap, actionExpire, actionInit, actionEnroll, actionEverywhere)
}

// ledger is the audit log as the core writes it. All methods but mark may be called concurrently.
type ledger struct {
	log     *audit.Log
	node    string
	now     func() time.Time
	tally   *tally
	logger  *slog.Logger
	watcher Watcher

	// gate is held for reading while an entry is appended, so that those never wait for each other, and for writing
	// only while a gap moves the log to a new id, so that the old one has an end.
	gate   sync.RWMutex
	moving bool // the root has, or may have, moved the log; guarded by gate

	summed *Told // that what was counted cannot be recorded; summarise's

	marked int64 // index of the last entry that names a root; the change lock's holder's
}

// errMoving is why nothing is recorded while a log has ended and the next is not open.
var errMoving = errors.New("the log has ended at a gap, and the next one cannot be opened")

// record makes an entry durable, with the time that it has or else the log's. When it returns nil the entry is on
// disk and in the tree.
func (l *ledger) record(ctx context.Context, e *auditlog.Entry, o audit.AppendOptions) (audit.Position, error) {
	e.Node = l.node
	if e.Time.IsZero() {
		e.Time = l.stamp()
	}
	l.gate.RLock()
	defer l.gate.RUnlock()
	if l.moving {
		return audit.Position{}, logError(errMoving)
	}
	defer l.watcher.begin(ctx, StageAppend)()
	pos, err := l.log.Append(ctx, e, o)
	return pos, logError(err)
}

// mark records an entry that names a root. Only a holder of the change lock calls it.
func (l *ledger) mark(ctx context.Context, e *auditlog.Entry) error {
	pos, err := l.record(ctx, e, audit.AppendOptions{Privileged: true})
	if err == nil {
		l.marked = pos.Index
	}
	return err
}

// stamp is the time of an entry: now, but never before the entry before it. So the log's own time does not run
// backwards, and a clock that was set back cannot make itself believed by being written down.
func (l *ledger) stamp() time.Time {
	now := l.now().UTC()
	if last := l.log.LastTime(); now.Before(last) {
		return last
	}
	return now
}

// clock says whether time has run backwards since the last entry.
func (l *ledger) clock() error {
	behind := l.log.LastTime().Sub(l.now())
	if behind <= clockSlack {
		return nil
	}
	return &Error{
		Kind: ErrUnavailable, Reason: ReasonClock, RetryAfter: behind - clockSlack,
		Public: "the server's clock is behind the last entry of its audit log; set it right, or acknowledge \"" + ClockGap + "\" if the log is what is wrong",
	}
}

// refuse records why a call comes to nothing, or counts it when its caller has had a minute's worth of such entries,
// and returns the error. A caller who hangs up does not undo the record.
func (l *ledger) refuse(ctx context.Context, e *auditlog.Entry, err error) error {
	e.Outcome, e.Reason = recorded(err)
	what := refusal{action: e.Action, reason: e.Reason}
	if e.Principal != nil {
		what.kind, what.principal = e.Principal.Kind, e.Principal.ID
	}
	if !l.tally.admit(what.principal) {
		l.tally.count(what, 1)
		return err
	}
	ctx = context.WithoutCancel(ctx)
	_, failed := l.record(ctx, e, audit.AppendOptions{})
	if errors.Is(failed, ErrMalformed) { // what the caller wrote must not be written down, but that it did must
		code, _, _ := strings.Cut(e.Reason, ":")
		bare := auditlog.Entry{ID: e.ID, Action: e.Action, Outcome: e.Outcome, Principal: e.Principal, Peer: e.Peer, Grant: e.Grant, Policy: e.Policy, Reason: code}
		_, failed = l.record(ctx, &bare, audit.AppendOptions{})
	}
	if failed != nil {
		l.tally.count(what, 1)
	}
	return err
}

// unauthenticated counts a call that proved no identity. Ports say nothing about who it was.
func (l *ledger) unauthenticated(peer, reason string) {
	if host, _, err := net.SplitHostPort(peer); err == nil {
		peer = host
	}
	l.tally.count(refusal{peer: peer, action: string(actionAuthenticate), reason: reason}, 1)
}

// summarise records what was counted in the last minute. What cannot be recorded is counted again.
func (l *ledger) summarise(ctx context.Context) {
	var failed error
	for what, n := range l.tally.turn() {
		if failed == nil {
			failed = l.sum(ctx, what, n)
		}
		if failed != nil {
			l.tally.count(what, n)
		}
	}
	l.summed.Look(ctx, failed)
}

// sum records one summary. An id that the log refuses is left out: what it looks like must not be written anywhere.
func (l *ledger) sum(ctx context.Context, what refusal, n int64) error {
	e := auditlog.Entry{Action: what.action, Outcome: auditlog.Summary, Peer: what.peer, Reason: what.reason, Count: n}
	if what.principal != "" {
		e.Principal = &auditlog.Principal{Kind: what.kind, ID: what.principal}
	}
	_, err := l.record(ctx, &e, audit.AppendOptions{})
	if errors.Is(err, ErrMalformed) {
		e.Principal, e.Peer, e.Reason = nil, "", ""
		_, err = l.record(ctx, &e, audit.AppendOptions{})
	}
	return err
}
