package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
)

// archivedFile, beside the segments, names the oldest segment that Archive has left there. It is no proof: whoever can
// take segments away can write it. The header of that segment binds what was before it.
const archivedFile = "archived"

// Archived is a segment that was moved.
type Archived struct {
	Log     string
	Segment int64
	Bytes   int64
}

// Archive moves closed segments whose entries are all older than before from one log directory to another, oldest first,
// each with the checkpoint over its end. A segment is removed here only once a copy of it is durable there, agrees with
// what the next segment's header says of it, and was read back. The newest segment of a log always stays. A crash leaves
// each segment in one of the two places, or the same in both; repeating it goes on. A server may run meanwhile.
//
// It takes no lock of either directory: two that run at once find each other's files, and one of them fails.
func Archive(ctx context.Context, from, to FS, before time.Time) ([]Archived, error) {
	list, err := from.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("listing the audit log's directory: %w", err)
	}
	var all []Archived
	for _, d := range list {
		if !d.Dir {
			continue
		}
		moved, err := archiveLog(ctx, from, to, d.Name, before)
		all = append(all, moved...)
		if err != nil {
			return all, fmt.Errorf("archiving log %s: %w", d.Name, err)
		}
	}
	return all, nil
}

// archiveLog archives the oldest segments of one log.
func archiveLog(ctx context.Context, from, to FS, log string, before time.Time) ([]Archived, error) {
	files, err := listSegments(from, log)
	if err != nil {
		return nil, err
	}
	chain, err := closedSegments(from, log, files)
	if err != nil {
		return nil, err
	}
	var moved []Archived
	for _, f := range files {
		for len(chain) > 0 && chain[0].Previous.Segment < f.number {
			chain = chain[1:]
		}
		if len(chain) == 0 || !chain[0].Time.Before(before) {
			break
		}
		next := chain[0]
		a := archiver{from: from, to: to, log: log, next: next}
		if err := a.move(ctx, f, next.Previous.Segment == f.number); err != nil {
			return moved, fmt.Errorf("segment %d: %w", f.number, err)
		}
		moved = append(moved, Archived{log, f.number, f.size})
	}
	return moved, nil
}

// closedSegments are the headers of the segments that go on from one that is here, oldest first.
func closedSegments(fsys FS, log string, files []segmentFile) ([]*auditlog.Header, error) {
	var chain []*auditlog.Header
	last := int64(0)
	for _, f := range files {
		h, _, err := anyHeader(fsys, log, f.number)
		if err != nil {
			return nil, err
		}
		if h != nil && h.Origin.Log == log && h.Previous != nil && h.Previous.Segment >= files[0].number && h.Previous.Segment > last {
			chain, last = append(chain, h), h.Previous.Segment
		}
	}
	return chain, nil
}

// archiver moves segments of a log from before next.
type archiver struct {
	from, to FS
	log      string
	next     *auditlog.Header
}

// move moves one segment. One that is not part of the log was set aside by recovery; it goes along as evidence.
func (a *archiver) move(ctx context.Context, f segmentFile, part bool) error {
	name := auditlog.SegmentName(f.number)
	var counts int64
	if part {
		counts = a.next.Previous.Length
	}
	total, counted, err := digest(ctx, a.from, path.Join(a.log, name), counts)
	if err != nil {
		return err
	}
	if part && counted != a.next.Previous.SHA256 {
		return fmt.Errorf("%w: its SHA-256 is not the one in the header of segment %d; it stays here: see signetd fsck", ErrDamaged, a.next.Segment)
	}
	if err := a.copy(ctx, name, total); err != nil {
		return err
	}
	signed := auditlog.SegmentCheckpointName(f.number)
	sum, _, err := digest(ctx, a.from, path.Join(a.log, signed), 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		signed = ""
	case err != nil:
		return err
	default:
		if err := a.copy(ctx, signed, sum); err != nil {
			return err
		}
	}
	if err := replaceFile(a.from, a.log, archivedFile, []byte(auditlog.SegmentName(a.next.Segment)+"\n")); err != nil {
		return fmt.Errorf("taking note of it: %w", err)
	}
	for _, n := range []string{name, signed} {
		if n == "" {
			continue
		}
		if err := a.from.Remove(path.Join(a.log, n)); err != nil {
			return fmt.Errorf("removing what was copied: %w", err)
		}
	}
	return a.from.SyncDir(a.log)
}

// copy copies a file, unless the same is there already: then whoever put it there need not have synced it.
func (a *archiver) copy(ctx context.Context, name string, sum auditlog.Sum) error {
	there := path.Join(a.log, name)
	have, _, err := digest(ctx, a.to, there, 0)
	switch {
	case err == nil && have == sum:
		return a.settle(there)
	case err == nil:
		return fmt.Errorf("the archive has another %s already; it is left as it is", there)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := a.to.Mkdir(a.log); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making the archive's directory: %w", err)
	}
	if err := a.write(ctx, there); err != nil {
		return fmt.Errorf("writing to the archive: %w", err)
	}
	have, _, err = digest(ctx, a.to, there, 0)
	if err == nil && have != sum {
		err = errors.New("the archive does not hold what was written to it")
	}
	return err
}

func (a *archiver) write(ctx context.Context, name string) error {
	temp := name + tempSuffix
	if err := a.to.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // a crash left it
		return err
	}
	src, err := a.from.Open(name)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // only read
	dst, err := a.to.Create(temp)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.NewOffsetWriter(dst, 0), ctxReader{ctx, io.NewSectionReader(src, 0, 1<<62)})
	if err == nil {
		err = dst.Sync()
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return err
	}
	if err := a.to.Rename(temp, name); err != nil {
		return err
	}
	return errors.Join(a.to.SyncDir(a.log), a.to.SyncDir("."))
}

// settle syncs a file that is in the archive already, and its name.
func (a *archiver) settle(name string) error {
	f, err := a.to.Open(name)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing what is in the archive already: %w", err)
	}
	return errors.Join(a.to.SyncDir(a.log), a.to.SyncDir("."))
}

// digest is the SHA-256 of a file, and of its first n bytes.
func digest(ctx context.Context, fsys FS, name string, n int64) (total, first auditlog.Sum, err error) {
	f, err := fsys.Open(name)
	if err != nil {
		return total, first, err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	r := ctxReader{ctx, io.NewSectionReader(f, 0, 1<<62)}
	if _, err := io.CopyN(h, r, n); err != nil && !errors.Is(err, io.EOF) {
		return total, first, err
	}
	h.Sum(first[:0])
	if _, err := io.Copy(h, r); err != nil {
		return total, first, err
	}
	h.Sum(total[:0])
	return total, first, nil
}

// ArchivedBefore is the oldest segment that Archive has left of a log; 0 when it has taken none away.
func ArchivedBefore(fsys fs.FS, log string) int64 {
	data, err := fs.ReadFile(fsys, path.Join(log, archivedFile))
	if err != nil {
		return 0
	}
	return parseArchived(data)
}

func archivedBefore(fsys FS, log string) int64 {
	f, err := fsys.Open(path.Join(log, archivedFile))
	if err != nil {
		return 0
	}
	defer f.Close() //nolint:errcheck // only read
	buf := make([]byte, 64)
	n, _ := f.ReadAt(buf, 0) // what could not be read does not parse
	return parseArchived(buf[:n])
}

func parseArchived(data []byte) int64 {
	n, ok := auditlog.ParseSegmentName(strings.TrimSuffix(string(data), "\n"))
	if !ok {
		return 0
	}
	return n
}
