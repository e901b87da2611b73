package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"sync"

	"github.com/p8signet/signet/proto/auditlog"
	"golang.org/x/mod/sumdb/note"
)

// indexFile is a log's index beside its segments: made chunks, one behind the other.
const indexFile = "index"

// index says where in a log the entries are that have a term, and how many are alike. It is derived: what it follows is
// looked up in it, the rest is read, and what it says of an entry is looked at in the entry's own bytes. Every part of its
// file carries a MAC under a key that only who has the log's signing key can make, so that a file that is torn, of another
// log or changed is noticed where it is read, and from there on made anew. Nothing of it but the chunks' headers and
// the chunk that is being made is kept in memory.
type index struct {
	fs     FS
	origin auditlog.Origin
	signer note.Signer
	logger *slog.Logger
	room   func() bool // whether there is room for the file
	every  int64       // entries of a chunk

	following sync.Mutex // held by who changes it
	loaded    bool
	key       []byte

	mu     sync.RWMutex
	file   File
	shut   bool
	chunks []*chunk // without a break
	open   *maker   // behind them; nil: nothing yet
	turn   int      // counts how often chunks were dropped
}

func newIndex(c Config, origin auditlog.Origin) *index {
	every := c.indexEvery
	if every == 0 {
		every = chunkLen
	}
	room := func() bool {
		free, err := c.FS.Free()
		return err != nil || free >= c.MinFree
	}
	return &index{fs: c.FS, origin: origin, signer: c.Signer, logger: c.Logger, room: room, every: every}
}

// part is a chunk, made or not.
type part interface {
	bounds() (base, first, next int64)
	times() times
	places(t term, s *set) error
	spanTimes() ([]times, error)
	runsOf() ([]run, error)
	offsetsOf(block int) ([]uint32, error)
	groupsOf() ([]group, error)
}

// view is what an index follows, first <= index < end.
type view struct {
	first, end int64
	parts      []part
}

// view is the index as it is now; of the chunk that is being made, with totals or without.
func (x *index) view(totals bool) view {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var v view
	for _, c := range x.chunks {
		v.parts = append(v.parts, c)
	}
	if x.open != nil && x.open.next > x.open.first {
		v.parts = append(v.parts, x.open.view(totals))
	}
	if n := len(v.parts); n > 0 {
		_, v.first, _ = v.parts[0].bounds()
		_, _, v.end = v.parts[n-1].bounds()
	}
	return v
}

// IndexLag is how many of the log's newest entries the index does not follow yet: those are read by queries.
func (r *Reader) IndexLag() int64 {
	head, x := r.Head(), r.index
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.open == nil {
		return head.Size
	}
	return max(0, head.Size-x.open.next)
}

// size is where the next chunk goes in the file. x.mu is held.
func (x *index) size() int64 {
	if len(x.chunks) == 0 {
		return 0
	}
	last := x.chunks[len(x.chunks)-1]
	return last.offset + last.length()
}

// drop forgets the chunks from the nth on, and what is being made. x.mu is held.
func (x *index) drop(n int) {
	next := int64(0)
	if n > 0 {
		next = x.chunks[n-1].next
	}
	x.chunks, x.open = slices.Clone(x.chunks[:n]), newMaker(next, x.every)
	x.turn++
}

// broken takes note that a chunk could not be read: it and those behind it are made anew. The error is what is left of
// err: nothing, if the caller can do without the chunk.
func (x *index) broken(p part, err error) error {
	c, ok := p.(*chunk)
	if !ok || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := slices.Index(x.chunks, c); n >= 0 && !x.shut {
		x.logger.LogAttrs(context.Background(), slog.LevelWarn, "audit log: the index cannot be read, and is made anew from here on; until then queries read the log",
			slog.String("log", x.origin.Log), slog.Int64("index", c.first), slog.Any("error", err))
		x.drop(n)
	}
	return nil
}

// follow brings the index up to the log's head. ErrFull when there is no room for its file: then it goes on when
// there is.
func (x *index) follow(ctx context.Context, r *Reader) error {
	x.following.Lock()
	defer x.following.Unlock()
	if !x.loaded {
		if err := x.load(ctx, r); err != nil {
			return err
		}
		x.loaded = true
	}
	for {
		x.mu.Lock()
		if x.open == nil {
			x.open = newMaker(0, x.every)
		}
		m, turn := x.open, x.turn
		x.mu.Unlock()
		if m.next == m.end() {
			if err := x.make(ctx, r, m, turn); err != nil {
				return err
			}
			continue
		}
		head := r.Head()
		if m.next >= head.Size {
			return nil
		}
		err := x.read(ctx, r, m, min(head.Size, m.end()))
		if errors.Is(err, ErrAbsent) {
			err = x.beginAnew(r, m, err)
		}
		if err != nil {
			return err
		}
	}
}

// read adds entries to a chunk that is being made.
func (x *index) read(ctx context.Context, r *Reader, m *maker, to int64) error {
	for b, err := range r.blocks(ctx, m.next, to, false) {
		if err != nil {
			return err
		}
		if err := x.add(m, &b, to); err != nil {
			return err
		}
	}
	return nil
}

func (x *index) add(m *maker, b *block, to int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	var f facts
	for _, batch := range b.batches {
		if batch.behind <= m.next || batch.first >= to {
			continue
		}
		m.see(batch.segment, batch.offset)
		offset := batch.offset
		for i := batch.first; i < min(batch.behind, to); i++ {
			line := b.lines[i-b.first]
			if i == m.next {
				if !f.read(line) {
					return errUnknown(i)
				}
				m.add(&f, offset)
			}
			offset += int64(len(line)) + 1
		}
	}
	return nil
}

func errUnknown(index int64) error {
	return fmt.Errorf("%w: entry %d is not one that this version knows", ErrDamaged, index)
}

// beginAnew begins an index at the oldest entry that is here, when what it would have to go on from was archived.
func (x *index) beginAnew(r *Reader, m *maker, absent error) error {
	first, _, err := r.oldest()
	if err != nil {
		return err
	}
	if first <= m.next {
		return absent // not at the beginning
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drop(0)
	x.open = newMaker(first, x.every)
	return nil
}

// make makes a chunk: it is in the file, and synced, when it returns nil.
func (x *index) make(ctx context.Context, r *Reader, m *maker, turn int) error {
	if !x.room() {
		return ErrFull
	}
	head, err := r.headAt(ctx, m.next)
	if err != nil {
		return err
	}
	f, err := x.openFile(true)
	if err != nil {
		return err
	}
	x.mu.RLock()
	offset := x.size()
	x.mu.RUnlock()
	c, data := x.encode(m, head, offset)
	if _, err := f.WriteAt(data, offset); err != nil {
		return fmt.Errorf("writing the index: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("syncing the index: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.turn == turn {
		x.chunks, x.open = append(slices.Clip(x.chunks), c), newMaker(m.next, x.every)
	}
	return nil
}

// openFile opens the file; nil if there is none, unless it is to be made.
func (x *index) openFile(create bool) (File, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.shut {
		return nil, ErrClosed
	}
	if x.file != nil {
		return x.file, nil
	}
	name := path.Join(x.origin.Log, indexFile)
	f, err := x.fs.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		if !create {
			return nil, nil
		}
		f, err = x.fs.Create(name)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the index: %w", err)
	}
	x.file = f
	return f, nil
}

// load finds what of the file is of this log and whole.
func (x *index) load(ctx context.Context, r *Reader) error {
	sig, err := x.signer.Sign([]byte("signet audit index, key 1\n" + x.origin.String()))
	if err != nil {
		return fmt.Errorf("making the index's key: %w", err)
	}
	key := sha256.Sum256(sig)
	x.key = key[:]
	f, err := x.openFile(false)
	if err != nil || f == nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("looking at the index: %w", err)
	}
	chunks, why := x.readHeaders(f, info.Size, r.Head().Size)
	for len(chunks) > 0 && why == "" { // only the newest can be half written: those before were synced
		if err := chunks[len(chunks)-1].check(); err == nil {
			break
		}
		chunks, why = chunks[:len(chunks)-1], "it is half written or damaged"
	}
	if n := len(chunks); n > 0 {
		head, err := r.headAt(ctx, chunks[n-1].next)
		switch {
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil:
			chunks, why = nil, "it cannot be shown to be of this log"
		case head != chunks[n-1].head:
			chunks, why = nil, "it is of another history of this log"
		}
	}
	if why != "" {
		x.logger.LogAttrs(ctx, slog.LevelWarn, "audit log: the index is made anew from the log; until then queries read the log",
			slog.String("log", x.origin.Log), slog.String("why", why), slog.Int("kept", len(chunks)))
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.chunks = chunks
	x.drop(len(chunks))
	return nil
}

// readHeaders reads the chunks' headers as far as they belong here, and says why no further.
func (x *index) readHeaders(f File, size, entries int64) (chunks []*chunk, why string) {
	for offset := int64(0); offset < size; {
		buf := make([]byte, headerLen)
		if _, err := f.ReadAt(buf, offset); err != nil {
			return chunks, "it is half written, or cannot be read"
		}
		c, ok := x.parseHeader(buf, offset)
		switch {
		case !ok && len(chunks) == 0:
			return chunks, "it is damaged, or of another log"
		case !ok, offset+c.length() > size:
			return chunks, "it is half written or damaged"
		case len(chunks) > 0 && c.first != chunks[len(chunks)-1].next:
			return chunks, "it has a hole"
		case c.next > entries:
			return chunks, "it is ahead of the log"
		}
		chunks = append(chunks, c)
		offset += c.length()
	}
	return chunks, ""
}

func (x *index) close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := x.file
	x.file, x.shut = nil, true
	if f == nil {
		return nil
	}
	return f.Close()
}
