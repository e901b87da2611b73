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
)

// Report is what Fsck found.
type Report struct {
	// VaultID is the vault's id.
	VaultID string
	// Keys and Entries are how many there are.
	Keys    int
	Entries int64
	// Damages names everything that is wrong, one sentence each; empty when nothing is.
	Damages []string
}

// Fsck reads the whole vault and writes nothing: it opens every record of the store, verifies every log of the node,
// and compares what store and log say of each other. No server may have the vault open. The error is for what kept it
// from looking; what is wrong is in the report. It wants LogDir and has no use for LogFS.
func Fsck(ctx context.Context, cfg Config) (Report, error) {
	report, err := fsck(ctx, cfg)
	if err := errors.Join(err, cfg.closeBackend()); err != nil {
		return Report{}, err
	}
	return report, nil
}

func fsck(ctx context.Context, cfg Config) (report Report, err error) {
	cfg.LogFS = nil
	if err := cfg.validateVault(); err != nil {
		return Report{}, fmt.Errorf("server config: %w", err)
	}
	st, err := openStore(ctx, cfg)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	found, err := st.Fsck(ctx)
	if err != nil {
		return Report{}, err
	}
	snap := st.Snapshot()
	report = Report{VaultID: snap.Vault(), Keys: snap.Len()}
	for _, d := range found.Damaged {
		report.add("store: %s: %v", d.Record, d.Err)
	}
	for _, gap := range snap.Gaps() {
		if gap.Closed.IsZero() {
			report.add("gap %s is not acknowledged: %s", gap.ID, gap.Detail)
		}
	}
	verifier, err := authority.LogVerifier(ctx, st, cfg.Node)
	if err != nil {
		report.add("log: it cannot be verified: %v", err)
		return report, nil
	}
	known := heads(snap, cfg.Node)
	logs, err := auditlog.VerifyLogs(os.DirFS(cfg.LogDir), verifier, auditlog.VerifyOptions{Anchors: known})
	if err != nil {
		report.add("log: it cannot be verified: %v", err)
		return report, nil
	}
	for _, l := range logs {
		report.Entries += l.Size
		for _, d := range l.Damage {
			report.add("log %s: %s", l.Origin, d)
		}
		ours := func(c auditlog.Checkpoint) bool { return c.Origin == l.Origin }
		if !slices.ContainsFunc(known, ours) {
			report.add("log %s: the store knows nothing of it; was the store restored from an older copy?", l.Origin)
		}
		if err := report.compareRoots(cfg.LogDir, l, snap.RootID()); err != nil {
			return Report{}, err
		}
	}
	return report, nil
}

func (r *Report) add(format string, args ...any) {
	r.Damages = append(r.Damages, fmt.Sprintf(format, args...))
}

// heads is what the store says that the node's logs contain.
func heads(snap *store.Snapshot, node string) []auditlog.Checkpoint {
	all := snap.ClosedLogs(node)
	if head, ok := snap.LogHead(node); ok {
		all = append(slices.Clip(all), head)
	}
	known := make([]auditlog.Checkpoint, len(all))
	for i, head := range all {
		origin := auditlog.Origin{Vault: snap.Vault(), Node: node, Log: head.Log}
		known[i] = auditlog.Checkpoint{Origin: origin, Size: head.Size, Hash: head.Hash}
	}
	return known
}

// compareRoots looks for a root in the log that is newer than the store's.
func (r *Report) compareRoots(dir string, l *auditlog.Report, root store.RootID) error {
	if len(l.Segments) == 0 {
		return nil
	}
	last, err := lastRoot(os.DirFS(dir), l)
	if err != nil {
		return fmt.Errorf("reading the last segment of log %s: %w", l.Origin, err)
	}
	switch {
	case last.Revision > root.Revision:
		r.add("store: it is older than its log: the log %s names revision %d, the store is at %d", l.Origin, last.Revision, root.Revision)
	case last.Revision == root.Revision && last != (auditlog.Root{}) && last.Digest != root.Digest:
		r.add("store: it is not the one that its log knows: the log %s names another root of revision %d", l.Origin, root.Revision)
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
