package auditlog

import (
	"fmt"
	"io"
	"io/fs"
	"slices"

	"golang.org/x/mod/sumdb/note"
)

// VerifyLogs verifies the logs of a node: the one in fsys itself, or, where that holds no segments, one in each of
// its directories, named by log id as the server does it. Anchors and receipts go to the log that they name. A log
// that was opened after a gap names the head at which the one before it was closed: that is an anchor of it.
func VerifyLogs(fsys fs.FS, v note.Verifier, o VerifyOptions) ([]*Report, error) {
	dirs, err := logDirs(fsys)
	if err != nil {
		return nil, fmt.Errorf("listing the logs: %w", err)
	}
	if len(dirs) == 0 {
		r, err := VerifySegments(fsys, v, o)
		if err != nil {
			return nil, err
		}
		return []*Report{r}, nil
	}
	for _, dir := range dirs {
		sub, err := fs.Sub(fsys, dir)
		if err != nil {
			return nil, err
		}
		if c, ok := predecessor(sub); ok {
			o.Anchors = append(slices.Clip(o.Anchors), c)
		}
	}
	var reports []*Report
	for _, dir := range dirs {
		sub, err := fs.Sub(fsys, dir)
		if err != nil {
			return nil, err
		}
		own := VerifyOptions{Archived: o.Archived}
		for _, a := range o.Anchors {
			if a.Origin.Log == dir {
				own.Anchors = append(own.Anchors, a)
			}
		}
		for _, r := range o.Receipts {
			if r.Checkpoint.Origin.Log == dir {
				own.Receipts = append(own.Receipts, r)
			}
		}
		r, err := VerifySegments(sub, v, own)
		if err != nil {
			return nil, fmt.Errorf("log %s: %w", dir, err)
		}
		reports = append(reports, r)
	}
	absent := func(c Checkpoint) {
		if slices.Contains(dirs, c.Origin.Log) {
			return
		}
		dirs = append(dirs, c.Origin.Log)
		what := fmt.Sprintf("the log is not here, of which %d entries are vouched for", c.Size)
		reports = append(reports, &Report{Origin: c.Origin, Hash: emptyTree, Damage: []Damage{{Index: 0, What: what}}})
	}
	for _, a := range o.Anchors {
		absent(a)
	}
	for _, r := range o.Receipts {
		absent(r.Checkpoint)
	}
	return reports, nil
}

// logDirs is the directories that hold logs; none if fsys itself is one.
func logDirs(fsys fs.FS) ([]string, error) {
	top, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, d := range top {
		if isLogFile(d) {
			return nil, nil
		}
		if !d.IsDir() || !validName(d.Name()) {
			continue
		}
		files, err := fs.ReadDir(fsys, d.Name())
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(files, isLogFile) {
			dirs = append(dirs, d.Name())
		}
	}
	return dirs, nil
}

func isLogFile(d fs.DirEntry) bool {
	_, ok := ParseSegmentName(d.Name())
	return ok || d.Name() == CheckpointFile
}

// predecessor is the head at which the log before was closed, as the first entry of a log's first segment names it.
func predecessor(fsys fs.FS) (Checkpoint, bool) {
	file, err := fsys.Open(SegmentName(1))
	if err != nil {
		return Checkpoint{}, false
	}
	defer file.Close() //nolint:errcheck // only read
	var c Checkpoint
	found := false
	_, err = ScanSegment(file, func(h *Header, b *Batch) error {
		for line := range b.Entries() {
			if e, err := ParseEntry(line); err == nil && e.Gap != nil && e.Gap.Log != "" {
				c = Checkpoint{Origin: Origin{Vault: h.Origin.Vault, Node: h.Origin.Node, Log: e.Gap.Log}, Size: e.Gap.Size, Hash: e.Gap.Hash}
				found = true
			}
			break
		}
		return io.EOF // one batch is enough
	})
	return c, found && err == io.EOF //nolint:errorlint // our own, handed back as it is
}
