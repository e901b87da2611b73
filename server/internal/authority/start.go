package authority

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
)

// start is what is done once, before anything is served: the log is opened, and what a crash left open is found. What
// is found is left to settle, which the live path calls too.
type start struct{ *changer }

// openLog opens this node's log. One that lacks what the root names, or is damaged, is a gap: it goes into the root,
// with a new log id if it is in the current log, before any log is open; so a crash at any point finds the same gap
// again, or finds it committed.
func (s start) openLog(ctx context.Context, fs audit.FS, signer note.Signer, minFree int64) error {
	config := audit.Config{FS: fs, Signer: signer, Now: s.now, MinFree: minFree, Logger: s.logger, Observe: s.watcher.Batch}
	head, err := s.place(&config)
	if err != nil {
		return err
	}
	if err := strangers(fs, config.Origin.Vault); err != nil {
		return err
	}
	s.log, err = audit.Open(ctx, config)
	var lacking *audit.GapError
	if !errors.As(err, &lacking) {
		return err
	}
	if s.vain(head, lacking) {
		return fmt.Errorf("opening the audit log: %w; %d new logs before it could not be opened either, so no gap is made of this one; set right the log's directory first", err, vainLogs)
	}
	if err := s.namesake(ctx); err != nil {
		return err
	}
	s.logger.ErrorContext(ctx, "the audit log has a gap", slog.Any("gap", lacking))
	end := store.LogHead(lacking.End)
	s.found = &finding{gap: store.Gap{ID: store.NewID(), Kind: store.GapLog, Detail: detail(lacking.What), Log: head}}
	if err := s.commitGap(ctx, &end); err != nil {
		return fmt.Errorf("making a gap in the audit log part of the root: %w", inFull(err))
	}
	if _, err := s.place(&config); err != nil {
		return err
	}
	if s.log, err = audit.Open(ctx, config); errors.As(err, &lacking) {
		return fmt.Errorf("opening the audit log that was begun because of a gap: %w", err)
	}
	return err
}

// vainLogs is how many logs in a row, begun because of a gap, may come to nothing before no more are begun: each
// leaves a gap in the root.
const vainLogs = 3

// vain says whether the current log and the last ones before it came to nothing, one after the other: that they hold no
// entry, and that the root asks for none of the current one, so that nothing is lost with it.
func (s start) vain(head store.LogHead, lacking *audit.GapError) bool {
	n := 0
	for _, closed := range slices.Backward(s.state.Load().snap.ClosedLogs(s.node)) {
		if closed.Size > 0 {
			break
		}
		n++
	}
	return head.Size == 0 && lacking.End.Size == 0 && n >= vainLogs
}

// place says what the root knows of this node's logs: which is the current one, where the others ended.
func (s start) place(config *audit.Config) (store.LogHead, error) {
	snap := s.state.Load().snap
	head, ok := snap.LogHead(s.node)
	if !ok {
		return head, unknownNode(snap)
	}
	config.Origin = auditlog.Origin{Vault: snap.Vault(), Node: s.node, Log: head.Log}
	config.Head = audit.Head(head)
	config.Closed = nil
	for _, closed := range snap.ClosedLogs(s.node) {
		config.Closed = append(config.Closed, audit.Head(closed))
	}
	return head, nil
}

// detail is text of a gap, no longer than the root takes.
func detail(text string) string { return text[:min(len(text), 1000)] }

// lookBack walks the node's logs back from their end to the last entry that names a root, and finds what a crash left
// open on the way. A root that is newer than the store's is a gap: the store is older than its log. The walk is
// bounded by markEvery; entries that neither name a root nor are an intent are not even parsed. A log that a gap has
// closed may end the walk by being damaged: what was there belongs to that gap. A current one that does is a new gap.
func (s start) lookBack(ctx context.Context) error {
	logs := s.log.Logs()
	for i := len(logs) - 1; i >= 0; i-- {
		found, err := s.lookBackIn(ctx, logs[i])
		switch current := i == len(logs)-1; {
		case found:
			return nil
		case err != nil && !current:
			s.logger.WarnContext(ctx, "an earlier log cannot be read to its end", slog.String("log", logs[i]), slog.Any("error", err))
			return nil
		case errors.Is(err, audit.ErrDamaged):
			head, _ := s.state.Load().snap.LogHead(s.node)
			s.found = &finding{gap: store.Gap{ID: store.NewID(), Kind: store.GapLog, Detail: detail(err.Error()), Log: head}}
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}

// lookBackIn looks through one log and says whether an entry of it names a root.
func (s start) lookBackIn(ctx context.Context, id string) (bool, error) {
	reader, err := s.log.Reader(id)
	if err != nil {
		return false, fmt.Errorf("looking back in the audit log: %w", err)
	}
	for stored, err := range reader.Reverse(ctx, 0, reader.Head().Size) {
		if errors.Is(err, audit.ErrAbsent) && id == s.log.Origin().Log {
			// Archived. The header of the oldest segment here names the last root of what was before it.
			if last := s.log.LastRoot(); last != (auditlog.Root{}) {
				s.compare(last, store.LogHead(reader.Head()))
			}
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("looking back in the audit log: %w", err)
		}
		if !bytes.Contains(stored.Line, []byte(`"root":{`)) && !bytes.Contains(stored.Line, []byte(`"outcome":"intent"`)) {
			continue
		}
		e, err := auditlog.ParseEntry(stored.Line)
		if err != nil {
			return false, fmt.Errorf("looking back in the audit log: %w: entry %d: %w", audit.ErrDamaged, stored.Index, err)
		}
		if e.Outcome == auditlog.Intent {
			s.open = &intent{log: id, index: stored.Index, entry: *e}
		}
		if e.Root != nil {
			if id == s.log.Origin().Log {
				s.marked = stored.Index
			}
			s.compare(*e.Root, store.LogHead(reader.Head()))
			return true, nil
		}
	}
	return false, nil
}

// compare finds out whether the store is older than the last root that its log names.
func (s start) compare(last auditlog.Root, head store.LogHead) {
	root := s.state.Load().snap.RootID()
	if !olderThan(root, last) {
		return
	}
	s.found = &finding{above: last.Revision, gap: store.Gap{
		ID: store.NewID(), Kind: store.GapStore, Log: head,
		Detail: fmt.Sprintf("the store is at revision %d, but its audit log has recorded revision %d: the store is older than its log", root.Revision, last.Revision),
		Root:   store.RootID{Lineage: last.Lineage, Revision: last.Revision, Digest: last.Digest},
	}}
}

// olderThan says whether a root is older than the last one that the log names, or of another history: revisions only
// grow, so two roots of one number that differ are of two.
func olderThan(root store.RootID, last auditlog.Root) bool {
	return last.Revision > root.Revision || last.Revision == root.Revision && last.Digest != root.Digest
}
