package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/internal/authority"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
)

// finding is one thing that is wrong with the log, or between it and the store.
type finding struct {
	text string
	gap  bool // a server that starts makes a gap of it; any other is damage all the same, or keeps it from starting
}

// inspection is what was found in the node's logs.
type inspection struct {
	entries  int64
	archived int64 // entries before those
	findings []finding
}

func (i *inspection) add(gap bool, format string, args ...any) {
	i.findings = append(i.findings, finding{fmt.Sprintf(format, args...), gap})
}

// inspectLog looks at the log beside an open store, and changes nothing: Check and Fsck say the same of it. The error
// is for what kept it from looking.
func inspectLog(ctx context.Context, cfg Config, st *store.Store) (*inspection, error) {
	found, snap := &inspection{}, st.Snapshot()
	verifier, err := authority.LogVerifier(ctx, st, cfg.Node)
	if err != nil {
		found.add(false, "log: it cannot be verified: %v", err)
		return found, nil
	}
	dir := os.DirFS(cfg.LogDir)
	if err := authority.Strangers(dir, snap.Vault()); err != nil {
		found.add(false, "log: %v", err)
		return found, nil
	}
	head, _ := snap.LogHead(cfg.Node)
	known, anchors := heads(snap, cfg.Node)
	if none, err := empty(dir); err != nil {
		return nil, fmt.Errorf("listing the log directory: %w", err)
	} else if none {
		found.lost(cfg.LogDir, head, anchors)
		return found, nil
	}
	logs, err := auditlog.VerifyLogs(dir, verifier, auditlog.VerifyOptions{Anchors: anchors, Archived: true})
	if err != nil {
		found.add(true, "log: it cannot be verified: %v", err)
		return found, nil
	}
	for _, l := range logs {
		found.entries += l.Size - l.First
		found.absent(dir, l)
		current := l.Origin.Log == head.Log
		for _, d := range l.Damage {
			found.add(gapFor(l, d, current), "log %s: %s", l.Origin, d)
		}
		if !slices.Contains(known, l.Origin) {
			found.add(false, "log %s: the store knows nothing of it; was the store restored from an older copy?", l.Origin)
		}
		if err := found.compareRoots(dir, l, snap.RootID()); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// absent tells segments that were archived from such as were taken away.
func (i *inspection) absent(dir fs.FS, l *auditlog.Report) {
	switch {
	case l.First == 0:
	case l.Segments[0].Number <= audit.ArchivedBefore(dir, l.Origin.Log):
		i.archived += l.First
	default:
		i.add(false, "log %s: the segments before %s are missing, with the entries before index %d, and nothing says that they were archived",
			l.Origin, auditlog.SegmentName(l.Segments[0].Number), l.First)
	}
}

// gapFor says whether damage of a log is a gap to a server that starts: it looks at the end of the current log, and at
// what is vouched for in it. What a gap has closed belongs to that gap.
func gapFor(l *auditlog.Report, d auditlog.Damage, current bool) bool {
	n := len(l.Segments)
	return current && (d.Segment == 0 || n == 0 || d.Segment >= l.Segments[n-1].Number)
}

// empty says whether there is no log directory, or nothing in it that is of a log.
func empty(dir fs.FS) (bool, error) {
	top, err := fs.ReadDir(dir, ".")
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return !slices.ContainsFunc(top, fs.DirEntry.IsDir) && !slices.ContainsFunc(top, isLogFile), err
}

func isLogFile(d fs.DirEntry) bool {
	_, segment := auditlog.ParseSegmentName(d.Name())
	return segment || d.Name() == auditlog.CheckpointFile
}

// lost says of a log directory without any log what the store has vouched for in it.
func (i *inspection) lost(dir string, head store.LogHead, anchors []auditlog.Checkpoint) {
	where := "holds no log"
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		where = "is not there"
	}
	for _, a := range anchors {
		i.add(a.Origin.Log == head.Log, "log %s: the log is not here, of which %d entries are vouched for: the log directory %s", a.Origin, a.Size, where)
	}
}

// heads is which logs of the node the store knows, and what it says that they contain. A log of which nothing is
// vouched for may not have been opened yet.
func heads(snap *store.Snapshot, node string) (known []auditlog.Origin, anchors []auditlog.Checkpoint) {
	all := snap.ClosedLogs(node)
	if head, ok := snap.LogHead(node); ok {
		all = append(slices.Clip(all), head)
	}
	for _, head := range all {
		origin := auditlog.Origin{Vault: snap.Vault(), Node: node, Log: head.Log}
		known = append(known, origin)
		if head.Size > 0 {
			anchors = append(anchors, auditlog.Checkpoint{Origin: origin, Size: head.Size, Hash: head.Hash})
		}
	}
	return known, anchors
}

// compareRoots looks for a root in the log that is newer than the store's.
func (i *inspection) compareRoots(dir fs.FS, l *auditlog.Report, root store.RootID) error {
	if len(l.Segments) == 0 {
		return nil
	}
	last, err := lastRoot(dir, l)
	if err != nil {
		return fmt.Errorf("reading the last segment of log %s: %w", l.Origin, err)
	}
	switch {
	case last.Revision > root.Revision:
		i.add(true, "store: it is older than its log: the log %s names revision %d, the store is at %d", l.Origin, last.Revision, root.Revision)
	case last.Revision == root.Revision && last != (auditlog.Root{}) && last.Digest != root.Digest:
		i.add(true, "store: it is not the one that its log knows: the log %s names another root of revision %d", l.Origin, root.Revision)
	}
	return nil
}

// lastRoot is the last root that an entry of the log names: the last segment's header says that of the entries before it.
func lastRoot(fsys fs.FS, l *auditlog.Report) (_ auditlog.Root, err error) {
	name := auditlog.SegmentName(l.Segments[len(l.Segments)-1].Number)
	file, err := fsys.Open(l.Origin.Log + "/" + name)
	if err != nil {
		return auditlog.Root{}, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	var tail *auditlog.Tail
	_, err = auditlog.ScanSegment(io.Reader(file), func(h *auditlog.Header, b *auditlog.Batch) error {
		if tail == nil {
			t := h.Tail()
			tail = &t
		}
		tail.Add(b.Data)
		return nil
	})
	if err != nil || tail == nil {
		return auditlog.Root{}, err
	}
	return tail.Root(), nil
}
