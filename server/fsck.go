package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/p8signet/signet/store"
)

// Report is what Fsck found.
type Report struct {
	// VaultID is the vault's id.
	VaultID string
	// Keys and Entries are how many there are; Archived is how many entries before those are in an archive, which was not
	// looked at.
	Keys     int
	Entries  int64
	Archived int64
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
	snap, err := st.Reload(ctx)
	if err != nil {
		return Report{}, err
	}
	report = Report{VaultID: snap.Vault(), Keys: snap.Len()}
	for _, d := range found.Damaged {
		report.add("store: %s: %v", d.Record, d.Err)
	}
	for _, gap := range snap.Gaps() {
		if gap.Closed.IsZero() {
			report.add("%s", openGap(gap))
		}
	}
	log, err := inspectLog(ctx, cfg, st)
	if err != nil {
		return Report{}, err
	}
	report.Entries, report.Archived = log.entries, log.archived
	for _, f := range log.findings {
		report.add("%s", f.text)
	}
	return report, nil
}

func openGap(gap store.Gap) string {
	return fmt.Sprintf("gap %s is not acknowledged: %s", gap.ID, gap.Detail)
}

func (r *Report) add(format string, args ...any) {
	r.Damages = append(r.Damages, fmt.Sprintf(format, args...))
}
