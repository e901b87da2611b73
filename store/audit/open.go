package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"

	"github.com/p8signet/signet/proto/auditlog"
	"golang.org/x/mod/sumdb/tlog"
)

// want is a head that the log must contain, and who says so.
type want struct {
	head Head
	who  string
}

// Open opens the log, and takes its directory for this process. A log id whose directory does not exist is created
// if nothing says that it has entries. *GapError when the log lacks what it must contain: then nothing is open; the
// caller records the gap, chooses a new log id and opens that, naming the old one with GapError.End in Closed.
func Open(ctx context.Context, c Config) (*Log, error) {
	c, err := c.validate()
	if err != nil {
		return nil, err
	}
	lock, err := c.FS.Lock()
	if err != nil {
		return nil, err
	}
	l, err := open(ctx, c)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	l.lock = lock
	l.start()
	return l, nil
}

// open does what Open does without lock and goroutines.
func open(ctx context.Context, c Config) (*Log, error) {
	l := &Log{
		cfg:   c,
		space: space{fs: c.FS, minFree: c.MinFree, size: c.Ballast},
		wake:  make(chan struct{}, 1), tasks: make(chan func()), stop: make(chan struct{}),
		readers: map[string]*Reader{}, warned: map[string]string{}, ended: slices.Clone(c.Closed),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.space.stale.Store(true)
	if err := l.space.find(); err != nil {
		return nil, err
	}
	if err := l.strangers(ctx); err != nil {
		return nil, err
	}
	var wants []want
	if h := c.Head; h != (Head{}) && !l.isClosed(h.Log) {
		wants = append(wants, want{h, "the store's root"})
	}
	for _, a := range c.Anchors {
		if a.Origin.KeyName() != c.Origin.KeyName() {
			return nil, fmt.Errorf("audit log: an anchor is of %s; this node's logs are of %s", a.Origin.KeyName(), c.Origin.KeyName())
		}
		if !l.isClosed(a.Origin.Log) {
			wants = append(wants, want{Head{Log: a.Origin.Log, Size: a.Size, Hash: a.Hash}, "an anchor"})
		}
	}
	j, err := l.openJournal(ctx, c.Origin, wants)
	if err != nil {
		return nil, err
	}
	l.cur.Store(j)
	return l, nil
}

func (l *Log) isClosed(id string) bool {
	return slices.ContainsFunc(l.ended, func(c Head) bool { return c.Log == id })
}

// strangers warns of logs that nobody has named: nothing reads them.
func (l *Log) strangers(ctx context.Context) error {
	list, err := l.cfg.FS.ReadDir(".")
	if err != nil {
		return fmt.Errorf("listing the audit log's directory: %w", err)
	}
	for _, f := range list {
		if f.Dir && f.Name != l.cfg.Origin.Log && !l.isClosed(f.Name) {
			l.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "audit log: a directory is of no log that is known", slog.String("name", f.Name))
		}
	}
	return nil
}

// openJournal brings a log to the state in which it can be written: recovered, compared with what must be in it,
// synced. It starts nothing.
func (l *Log) openJournal(ctx context.Context, origin auditlog.Origin, wants []want) (*journal, error) {
	fsys, log := l.cfg.FS, origin.Log
	rec, err := recoverLog(ctx, fsys, origin)
	if err != nil {
		return nil, err
	}
	if rec.absent != 0 {
		l.sayAbsent(ctx, log, rec)
	}
	end := rec.head(log)
	r := newReader(l.cfg, origin, end, newHashes(fsys, log, tlog.StoredHashCount(rec.span.base.Size()), rec.span.stored))
	r.links, r.time, r.root = rec.links, rec.tail.Time(), rec.tail.Root()
	r.sign = func(h Head) ([]byte, error) {
		return auditlog.SignCheckpoint(auditlog.Checkpoint{Origin: origin, Size: h.Size, Hash: h.Hash}, l.cfg.Signer)
	}
	j := &journal{
		Reader: r, now: l.cfg.Now, segmentSize: l.cfg.SegmentSize, segmentAge: l.cfg.SegmentAge, tree: rec.tree, number: rec.number, prev: rec.prev,
	}
	_, filed, err := readCheckpoint(fsys, origin, l.cfg.Signer)
	switch {
	case err == nil:
		j.filed = filed
		wants = append(wants, want{filed, "the checkpoint file"})
	case errors.Is(err, fs.ErrNotExist) && rec.number > 0: // it was there before the first segment
		return nil, &GapError{Log: log, Index: -1, What: "the checkpoint file is missing", End: end}
	case errors.Is(err, fs.ErrNotExist):
		if err := l.missing(wants, end); err != nil {
			return nil, err
		}
		if err := create(fsys, r); err != nil {
			return nil, err
		}
		j.filed = end
	case errors.Is(err, auditlog.ErrCheckpoint):
		return nil, &GapError{Log: log, Index: -1, What: "the checkpoint file: " + err.Error(), End: end}
	default:
		return nil, err
	}
	if err := r.hashes.load(); err != nil {
		return nil, err
	}
	for _, w := range wants {
		if err := r.contains(ctx, w, rec); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	if err := keepDurable(fsys, log, rec); err != nil {
		return nil, errors.Join(err, r.close())
	}
	if r.note, err = r.sign(end); err != nil {
		return nil, errors.Join(err, r.close())
	}
	r.noted = end
	j.covered.Store(&covered{j.filed.Size, j.now()})
	j.indexed.Store(j.now().UnixNano())
	return j, nil
}

// sayAbsent says that the oldest segments are not here, and whether Archive has taken note of that.
func (l *Log) sayAbsent(ctx context.Context, log string, rec *recovered) {
	level, what := slog.LevelWarn, "audit log: the segments up to this one are not in the directory, and nothing says that they were archived"
	if rec.links[0].number <= archivedBefore(l.cfg.FS, log) {
		level, what = slog.LevelInfo, "audit log: the segments up to this one were archived"
	}
	l.cfg.Logger.LogAttrs(ctx, level, what, slog.String("log", log), slog.Int64("segment", rec.absent))
}

// missing is the gap of a log that has nothing, of which something is wanted.
func (l *Log) missing(wants []want, end Head) error {
	for _, w := range wants {
		if w.head.Size > 0 || w.head.Log != end.Log {
			return &GapError{
				Log: end.Log, Index: 0, Want: w.head, End: end,
				What: fmt.Sprintf("the log is empty; %s names log %s with %d entries", w.who, w.head.Log, w.head.Size),
			}
		}
	}
	return nil
}

// create makes the directory of a new log, and its checkpoint file, so that one that is missing later was taken away.
func create(fsys FS, r *Reader) error {
	if err := fsys.Mkdir(r.origin.Log); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("creating the audit log: %w", err)
	}
	msg, err := r.sign(r.head)
	if err != nil {
		return err
	}
	return writeCheckpoint(fsys, r.origin.Log, msg)
}

// contains checks that the log contains a head.
func (r *Reader) contains(ctx context.Context, w want, rec *recovered) error {
	end := r.head
	gap := func(index int64, what string) error {
		return &GapError{Log: end.Log, Index: index, What: what, Want: w.head, End: end}
	}
	size := w.head.Size
	switch {
	case w.head.Log != end.Log:
		return gap(-1, fmt.Sprintf("%s names log %s, which is not known here", w.who, w.head.Log))
	case size > end.Size:
		return gap(end.Size, fmt.Sprintf("%s vouches for %d entries; the log ends with %d", w.who, size, end.Size))
	case size >= rec.span.base.Size():
		h, err := tlog.TreeHash(size, &rec.span)
		if err != nil {
			return fmt.Errorf("hashing the log's first %d entries: %w", size, err)
		}
		if h != w.head.Hash {
			return gap(-1, fmt.Sprintf("%s has another hash for the first %d entries", w.who, size))
		}
		return nil
	}
	_, err := r.prefix(ctx, end, size, w.head.Hash)
	switch {
	case errors.Is(err, ErrNotContained):
		return gap(-1, fmt.Sprintf("%s has another hash for the first %d entries", w.who, size))
	case errors.Is(err, ErrAbsent), errors.Is(err, ErrDamaged):
		return gap(-1, fmt.Sprintf("it cannot be shown that the log contains the %d entries that %s vouches for: %v", size, w.who, err))
	default:
		return err
	}
}

// keepDurable syncs what is kept. The end of the newest segment is written once more, the same bytes in the same
// place: if an earlier process was told that its sync failed, the page cache shows what the disk may not have, and a
// sync would not write it again.
func keepDurable(fsys FS, log string, rec *recovered) error {
	if p := rec.prev; p != nil {
		if err := writeAgain(fsys, log, p.Segment, rec.rest, p.Length); err != nil {
			return fmt.Errorf("syncing segment %d: %w", p.Segment, err)
		}
	}
	if err := fsys.SyncDir(log); err != nil {
		return fmt.Errorf("syncing the log's directory: %w", err)
	}
	if err := fsys.SyncDir("."); err != nil {
		return fmt.Errorf("syncing the log's directory: %w", err)
	}
	return nil
}

func writeAgain(fsys FS, log string, number, from, to int64) error {
	f, err := fsys.Open(path.Join(log, auditlog.SegmentName(number)))
	if err != nil {
		return err
	}
	buf := make([]byte, to-from)
	_, err = f.ReadAt(buf, from)
	if err == nil {
		_, err = f.WriteAt(buf, from)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// openClosed opens the reader of a closed log. That its files are not there shows when they are read.
func openClosed(c Config, end Head) (*Reader, error) {
	origin := auditlog.Origin{Vault: c.Origin.Vault, Node: c.Origin.Node, Log: end.Log}
	r := newReader(c, origin, end, newHashes(c.FS, end.Log, tlog.StoredHashCount(end.Size), nil))
	files, err := listSegments(c.FS, end.Log)
	if err != nil {
		return nil, err
	}
	for _, f := range slices.Backward(files) {
		h, _, err := readHeader(c.FS, origin, f.number)
		if err != nil {
			return nil, err
		}
		if h != nil && h.Tree.Size() < end.Size {
			r.links = []*link{{number: f.number, first: h.Tree.Size(), prev: h.Previous, length: f.size}}
			break
		}
	}
	msg, head, err := readCheckpoint(c.FS, origin, c.Signer)
	switch {
	case err == nil && head.Size <= end.Size:
		r.note, r.noted = msg, head
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, auditlog.ErrCheckpoint): // that is what its gap says
	default:
		return nil, err
	}
	return r, r.hashes.load()
}
