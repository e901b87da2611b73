package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// anchor is a checkpoint that is remembered: pinned, or in a file that the caller named.
type anchor struct {
	client.Signed
	file    string // empty: it is pinned
	refused error  // the server's answer that its log does not contain it
}

// verification is what was found out about all logs of a node.
type verification struct {
	replica
	anchors []anchor
	logs    []client.VerifiedLog
	asked   bool // the server was asked about gaps, or nothing was to be asked
}

// verifyServer verifies all logs of every node with everything that is remembered of them. Each server sees every anchor of its node
// first: one that it does not contain, and that no gap accounts for, opens one there. What is true is then computed here. What is wrong
// with one log keeps no other from being verified.
func (a *app) verifyServer(ctx context.Context, cl *client.Client, files []string, format string) error {
	rs, err := a.replicas(ctx, cl)
	if err != nil {
		return err
	}
	ps, err := a.pins()
	if err != nil {
		return err
	}
	kept, err := a.kept(cl, files)
	if err != nil {
		return err
	}
	var all []verification
	var failures []error
	fail := func(r replica, err error) {
		if rs.several && err != nil {
			err = fmt.Errorf("%s: %w", r.origin.KeyName(), err)
		}
		failures = append(failures, err)
	}
	for _, r := range rs.all {
		v, err := a.verifyReplica(ctx, r, ps, kept, rs.several)
		switch {
		case err == nil:
			all = append(all, v)
		case !rs.several:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, client.ErrUnavailable) && reasonOf(err) != "GAP":
			rs.absent = append(rs.absent, absence{r.Address, r.origin.String(), err})
		default:
			fail(r, err)
		}
	}
	if err := a.printVerified(all, format); err != nil {
		return err
	}
	for _, v := range all {
		lost, failure := a.judge(v)
		if err := a.pin(ps, v.logs, v.anchors, lost); err != nil {
			return err
		}
		fail(v.replica, failure)
	}
	return errors.Join(append(failures, rs.missing())...)
}

// verifyReplica verifies all logs of one node. several says that there are other nodes, whose checkpoints are none of this one's.
func (a *app) verifyReplica(ctx context.Context, r replica, ps pins, kept []anchor, several bool) (verification, error) {
	v := verification{replica: r}
	for _, n := range kept {
		if !several || n.Origin.KeyName() == r.origin.KeyName() {
			v.anchors = append(v.anchors, n)
		}
	}
	pinned, err := a.pinsOf(ctx, r.Client, ps)
	if err != nil {
		return v, err
	}
	v.anchors = append(v.anchors, pinned...)
	signed := make([]client.Signed, len(v.anchors))
	for i := range v.anchors {
		if err := v.anchors[i].show(ctx, r.Client); err != nil {
			return v, err
		}
		signed[i] = v.anchors[i].Signed
	}
	if v.logs, err = r.VerifyLogs(ctx, signed, a.progress); err != nil {
		return v, unproved(err)
	}
	v.asked, err = a.askStatus(ctx, r.Client, v.logs)
	return v, err
}

// kept are the checkpoints in the files.
func (a *app) kept(cl *client.Client, files []string) ([]anchor, error) {
	var all []anchor
	for _, file := range files {
		msg, err := a.readInput(file, maxSealedFile)
		if err != nil {
			return nil, err
		}
		cp, err := cl.OpenCheckpoint(msg)
		if err != nil {
			return nil, unproved(fmt.Errorf("%s: %w", file, err))
		}
		all = append(all, anchor{Signed: cp, file: file})
	}
	return all, nil
}

// pinsOf are the pins of the current log's node.
func (a *app) pinsOf(ctx context.Context, cl *client.Client, ps pins) ([]anchor, error) {
	current, err := cl.Checkpoint(ctx, "")
	if err != nil {
		return nil, unproved(err)
	}
	origins, err := ps.origins()
	if err != nil {
		return nil, err
	}
	slices.Sort(origins)
	var all []anchor
	for _, s := range origins {
		if o, err := auditlog.ParseOrigin(s); err != nil || o.KeyName() != current.Origin.KeyName() {
			continue
		}
		note, err := ps.get(s)
		if err != nil {
			return nil, err
		}
		cp, err := cl.OpenCheckpoint(note)
		if err == nil && cp.Origin.String() != s {
			err = fmt.Errorf("%w: it is of another log", client.ErrUnverified)
		}
		if err != nil {
			return nil, fmt.Errorf("the pinned checkpoint in %s: %w", ps.path(s), err)
		}
		all = append(all, anchor{Signed: cp})
	}
	return all, nil
}

func (n *anchor) String() string {
	if n.file != "" {
		return fmt.Sprintf("the checkpoint of %d entries in %s", n.Size, n.file)
	}
	return fmt.Sprintf("your pinned checkpoint of %d entries", n.Size)
}

// missing says whether the anchor's log, which was verified, does not contain it.
func (n *anchor) missing(log *client.VerifiedLog) bool {
	return slices.ContainsFunc(log.Missing, func(m client.Signed) bool { return m.Checkpoint == n.Checkpoint })
}

// show has the server prove that the anchor's log contains it, and keeps its answer when that is a gap.
func (n *anchor) show(ctx context.Context, cl *client.Client) error {
	_, err := cl.Since(ctx, n.Signed)
	if e, ok := errors.AsType[*client.Error](err); ok && e.Reason() == "GAP" {
		n.refused = err
		return nil
	}
	if err == nil || errors.Is(err, client.ErrLogEnded) { // VerifyLogs finds out what is true of a log that has ended
		return nil
	}
	return unproved(fmt.Errorf("%s: %w", n, err))
}

// askStatus asks the server about gaps of which no entry says that they are acknowledged: such an entry may be in what a later gap
// has lost. Who may not ask does without: the answer is whether the server was asked, or nothing was to be asked.
func (a *app) askStatus(ctx context.Context, cl *client.Client, logs []client.VerifiedLog) (bool, error) {
	open := func(l client.VerifiedLog) bool { return l.Ended != nil && l.Ended.Acknowledged == nil }
	if !slices.ContainsFunc(logs, open) {
		return true, nil
	}
	status, err := cl.GetStatus(ctx, &signetv1.GetStatusRequest{})
	if errors.Is(err, client.ErrDenied) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, l := range logs {
		for _, g := range status.GetGaps() {
			if open(l) && g.GetId() == l.Ended.ID && g.GetAcknowledgeTime() != nil {
				l.Ended.Acknowledged = &client.Acknowledgement{Time: g.GetAcknowledgeTime().AsTime()}
				cli.Printf(a.Stderr, "gap %s: the server's status says that it is acknowledged; no entry that is left in the log says by whom\n", l.Ended.ID)
			}
		}
	}
	return true, nil
}

// lostAnchor is a pin that the logs do not contain, and the acknowledged gap that accounts for it.
type lostAnchor struct {
	anchor
	gap *client.Gap
}

// judge says whether what a node's logs do not contain is accounted for: every gap must be acknowledged, and nothing be missing but
// behind one. The answer is the pins that are.
func (a *app) judge(v verification) ([]lostAnchor, error) {
	logs := v.logs
	var lost []lostAnchor
	var failure error // less than an open gap
	for _, n := range v.anchors {
		log := logOf(logs, n.Origin)
		switch {
		case log != nil && !n.missing(log):
			continue
		case log != nil && log.Ended == nil && n.refused != nil:
			return nil, unproved(fmt.Errorf("%s: %w", &n, n.refused))
		case log != nil && log.Ended == nil:
			return nil, unproved(fmt.Errorf("%w: the log of %d entries does not contain %s", client.ErrUnverified, log.Size, &n))
		}
		gap, where := explain(logs, n.Checkpoint)
		if gap == nil {
			failure = unproved(fmt.Errorf("%w: %s is of log %s, of which the log knows nothing", client.ErrUnverified, &n, n.Origin.Log))
			continue
		}
		what := fmt.Sprintf("%s %s; gap %s, %s", &n, where, gap.ID, acknowledgedText(gap.Acknowledged))
		if n.file != "" {
			failure = &cli.Failure{Code: cli.Other, Err: errors.New(what), Todo: "no log can contain it any more; signet audit verify without it verifies what remains"}
			continue
		}
		cli.Printf(a.Stderr, "%s\n", what)
		lost = append(lost, lostAnchor{n, gap})
	}
	if err := openGap(logs, v.asked); err != nil {
		return nil, err
	}
	if failure != nil {
		return nil, failure
	}
	for _, o := range v.Origins() {
		if o.KeyName() != logs[0].Origin.KeyName() || logOf(logs, o) != nil {
			continue
		}
		if gap, _ := explain(logs, auditlog.Checkpoint{Origin: o}); gap == nil {
			return nil, &cli.Failure{Code: cli.Other, Err: fmt.Errorf("%w: client.yaml names log %s, of which the log knows nothing", client.ErrUnverified, o.Log),
				Todo: "if the server was restored to a time before that log, logs in client.yaml is to name " + logs[0].Origin.String()}
		}
	}
	return lost, nil
}

func logOf(logs []client.VerifiedLog, o auditlog.Origin) *client.VerifiedLog {
	for i := range logs {
		if logs[i].Origin == o {
			return &logs[i]
		}
	}
	return nil
}

// openGap is the failure that names the gaps that are not acknowledged; nil if there are none.
func openGap(logs []client.VerifiedLog, asked bool) error {
	var ids []string
	for _, l := range logs {
		if l.Ended != nil && l.Ended.Acknowledged == nil && !slices.Contains(ids, l.Ended.ID) {
			ids = append(ids, l.Ended.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	what := fmt.Errorf("gap %s in the log is open: nobody has acknowledged it, and the server mints nothing until somebody does", ids[0])
	if len(ids) > 1 {
		what = fmt.Errorf("gaps %s in the log are open: nobody has acknowledged them, and the server mints nothing until somebody does", strings.Join(ids, ", "))
	}
	if !asked {
		what = fmt.Errorf("no entry that is left in the log acknowledges gap %s, and this caller may not read the server's status, which may know more", strings.Join(ids, ", "))
	}
	return &cli.Failure{Code: cli.Other, Err: what,
		Todo: "keep the server's disk as it is, and find out what happened; then signet system acknowledge " + ids[0] + " --reason TEXT"}
}

// explain finds the gap that accounts for an anchor that the logs do not contain, and says where it lies; nil when there is none.
// Of a log that the others know nothing of, it is the one that was opened when an anchor of it was shown.
func explain(logs []client.VerifiedLog, n auditlog.Checkpoint) (*client.Gap, string) {
	if log := logOf(logs, n.Origin); log != nil {
		if n.Size > log.Size {
			return log.Ended, fmt.Sprintf("lies beyond the %d entries with which log %s was closed", log.Size, log.Origin.Log)
		}
		return log.Ended, fmt.Sprintf("is of another history of log %s, which was closed with %d entries", log.Origin.Log, log.Size)
	}
	for _, l := range logs {
		if l.Ended != nil && slices.Contains(strings.FieldsFunc(l.Ended.Detail, between), n.Origin.Log) {
			return l.Ended, fmt.Sprintf("is of log %s, of which nothing is left", n.Origin.Log)
		}
	}
	return nil, ""
}

// between says whether a character of a gap's text is between words: a log's id is one.
func between(r rune) bool { return strings.ContainsRune(" ,;:", r) }

func acknowledgedText(k *client.Acknowledgement) string {
	switch {
	case k == nil:
		return "not acknowledged"
	case k.By == "":
		return "acknowledged at " + k.Time.Format(time.RFC3339)
	default:
		return fmt.Sprintf("acknowledged by %s at %s, reason: %s", k.By, k.Time.Format(time.RFC3339), k.Reason)
	}
}

// pin pins what was verified, of each log the newest checkpoint of it that it contains, and puts the pins of what was lost aside.
func (a *app) pin(ps pins, logs []client.VerifiedLog, anchors []anchor, lost []lostAnchor) error {
	for _, n := range lost {
		where, err := ps.aside(n.Origin.String(), n.gap.ID)
		if err != nil {
			return err
		}
		cli.Printf(a.Stderr, "it is kept in %s\n", where)
	}
	for _, l := range logs {
		stays := func(n anchor) bool {
			gone := slices.ContainsFunc(lost, func(o lostAnchor) bool { return o.Origin == n.Origin })
			return n.file == "" && n.Origin == l.Origin && !gone && (n.missing(&l) || n.Size > l.NoteSize)
		}
		if l.Note == nil || slices.ContainsFunc(anchors, stays) {
			continue
		}
		if err := ps.set(l.Origin.String(), l.Note); err != nil {
			return err
		}
	}
	return nil
}

// verifiedJSON is a verified log as -o json prints it.
type verifiedJSON struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Hash   string `json:"hash"`
	// From is the index of the first entry that was looked at: those before it are archived.
	From int64 `json:"from"`
	// PinnedSize is the size of the checkpoint that was pinned before; -1 when this is the first time.
	PinnedSize int64 `json:"pinnedSize"`
	// PinMissing: the log does not contain that checkpoint.
	PinMissing bool `json:"pinMissing"`
	// ClosedBy is the gap that closed an earlier log; null for the current one.
	ClosedBy *gapJSON `json:"closedBy"`
}

// gapJSON is a gap as the log tells of it.
type gapJSON struct {
	ID           string            `json:"id"`
	Found        time.Time         `json:"found"`
	Detail       string            `json:"detail"`
	Acknowledged *acknowledgedJSON `json:"acknowledged"` // null while it is open
}

// acknowledgedJSON is who acknowledged a gap; by is empty when only the server's status says that somebody has.
type acknowledgedJSON struct {
	By     string    `json:"by"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
}

// verified are the logs of a node as they are printed, oldest first.
func (n *verification) verified() []verifiedJSON {
	var all []verifiedJSON
	for _, l := range slices.Backward(n.logs) {
		v := verifiedJSON{Origin: l.Origin.String(), Size: l.Size, Hash: l.Hash.String(), From: l.From, PinnedSize: -1}
		for _, n := range n.anchors {
			if n.file == "" && n.Origin == l.Origin {
				v.PinnedSize, v.PinMissing = n.Size, n.missing(&l)
			}
		}
		if g := l.Ended; g != nil {
			v.ClosedBy = &gapJSON{ID: g.ID, Found: g.Found, Detail: g.Detail}
			if k := g.Acknowledged; k != nil {
				v.ClosedBy.Acknowledged = &acknowledgedJSON{k.By, k.Time, k.Reason}
			}
		}
		all = append(all, v)
	}
	return all
}

// printVerified prints the logs, node by node.
func (a *app) printVerified(nodes []verification, format string) error {
	all := []verifiedJSON{}
	for _, n := range nodes {
		all = append(all, n.verified()...)
	}
	if format == "json" {
		return cli.JSON(a.Stdout, struct {
			Logs []verifiedJSON `json:"logs"`
		}{all})
	}
	for _, v := range all {
		var what string
		switch g := v.ClosedBy; {
		case g != nil:
			what = fmt.Sprintf("closed at %d entries by gap %s; what followed is lost", v.Size, g.ID)
			if g.Acknowledged == nil {
				what += "; the gap is open"
			}
		case v.PinMissing:
			what = fmt.Sprintf("%d entries, and the pinned %d are not among them", v.Size, v.PinnedSize)
		case v.PinnedSize >= 0:
			what = fmt.Sprintf("%d entries, grown from the pinned %d", v.Size, v.PinnedSize)
		default:
			what = fmt.Sprintf("%d entries, first seen now, and pinned", v.Size)
		}
		cli.Printf(a.Stdout, "verified: %s, %s\n", v.Origin, what)
		if v.From > 0 {
			cli.Printf(a.Stdout, "  its entries before index %d are archived and were not looked at: signet audit verify --dir ARCHIVE --dir LOG verifies them\n", v.From)
		}
	}
	return nil
}
