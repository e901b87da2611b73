package auditlog

import (
	"errors"
	"fmt"
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
		own := VerifyOptions{Archived: o.Archived, Continued: o.Continued}
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
		if slices.Contains(dirs, c.Origin.Log) || o.Continued {
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

// predecessor is the head at which the log before was closed, as the first entry of a log names it.
func predecessor(fsys fs.FS) (Checkpoint, bool) {
	dir, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return Checkpoint{}, false
	}
	for _, d := range dir {
		if _, ok := ParseSegmentName(d.Name()); !ok {
			continue
		}
		if h, e := firstEntry(fsys, d.Name()); e != nil { // the first segment that has one: others may be set aside
			if h.Tree.Size() != 0 || e.Gap == nil || e.Gap.Log == "" {
				return Checkpoint{}, false
			}
			o := Origin{Vault: h.Origin.Vault, Node: h.Origin.Node, Log: e.Gap.Log}
			return Checkpoint{Origin: o, Size: e.Gap.Size, Hash: e.Gap.Hash}, o.Validate() == nil
		}
	}
	return Checkpoint{}, false
}

// errEnough ends a scan of which no more is wanted.
var errEnough = errors.New("enough")

// firstEntry is the first entry of a segment, with its header; nil if it has none that can be read.
func firstEntry(fsys fs.FS, name string) (*Header, *Entry) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, nil
	}
	defer file.Close() //nolint:errcheck // only read
	var header *Header
	var entry *Entry
	_, err = ScanSegment(file, func(h *Header, b *Batch) error {
		for line := range b.Entries() {
			if e, err := ParseEntry(line); err == nil {
				header, entry = h, e
			}
			break
		}
		return errEnough
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, nil
	}
	return header, entry
}
