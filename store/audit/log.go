package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
)

// Log is an open audit log. All methods are safe for concurrent use. Those that read are of the current log; Reader
// reads closed ones too.
type Log struct {
	cfg   Config
	lock  io.Closer
	space space
	cur   atomic.Pointer[journal]

	ctx     context.Context // ends with Close; for what goes on in the background
	cancel  context.CancelFunc
	keepers sync.WaitGroup
	writer  sync.WaitGroup

	wake  chan struct{} // something is pending
	tasks chan func()   // for the writer's goroutine, between batches
	stop  chan struct{} // the writer is to end once nothing is pending

	mu      sync.Mutex
	closed  bool
	pending []*batch  // oldest first; the last one gathers
	spare   []buffers // at most two

	strikes int // failures since the last success; the writer's
	failing atomic.Pointer[error]

	warnedMu sync.Mutex
	warned   map[string]string // what failed last, and with which words; "" since it has succeeded

	readersMu sync.Mutex
	ended     []Head             // oldest first
	readers   map[string]*Reader // of those of ended that were asked for
}

func (l *Log) start() {
	l.writer.Go(l.write)
	l.keepers.Go(l.keep)
	l.keepers.Go(l.compareHashes)
	l.keepers.Go(l.followIndexes)
}

// write is the writer's goroutine.
func (l *Log) write() {
	for {
		select {
		case <-l.wake:
		case task := <-l.tasks:
			task()
		case <-l.stop:
			l.drain()
			return
		}
		l.drain()
	}
}

// drain writes what is pending.
func (l *Log) drain() {
	for b := l.take(); b != nil; b = l.take() {
		err := l.commit(l.cur.Load(), b)
		l.space.stale.Store(true)
		l.release(b, err)
		select {
		case task := <-l.tasks:
			task()
		default:
		}
	}
}

// commit commits a batch, with the ballast's help if it must.
func (l *Log) commit(j *journal, b *batch) error {
	err := j.commit(b)
	if errors.Is(err, ErrNoSpace) && b.privileged && l.space.giveUp(l.cfg.Logger) {
		err = j.commit(b)
	}
	l.judge(err)
	l.observe(j, b, err)
	return err
}

// judge keeps count of failures. One that a new segment mends is the affair of its batch alone.
func (l *Log) judge(err error) {
	if err == nil {
		if l.strikes > 0 {
			l.cfg.Logger.LogAttrs(l.ctx, slog.LevelInfo, "audit log: written again", slog.Int("failures", l.strikes))
		}
		l.strikes = 0
		l.failing.Store(nil)
		return
	}
	l.strikes++
	if l.strikes == 1 {
		l.cfg.Logger.LogAttrs(l.ctx, slog.LevelError, "audit log: a batch could not be written; its callers were refused", slog.Any("error", err))
	}
	if l.strikes > 1 || errors.Is(err, errBegin) {
		if l.failing.Swap(&err) == nil {
			l.cfg.Logger.LogAttrs(l.ctx, slog.LevelError, "audit log: cannot be written; nothing is minted until it can", slog.Any("error", err))
		}
	}
}

// Err is why the log cannot take ordinary entries now: ErrClosed, ErrFull, ErrFailed (wrapped, with the reason), or nil.
func (l *Log) Err() error {
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if l.space.low() {
		return ErrFull
	}
	if err := l.failing.Load(); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, *err)
	}
	return nil
}

// LastTime is the time of the last entry of the current log; zero if there is none.
func (l *Log) LastTime() time.Time {
	r := l.cur.Load()
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.time
}

// LastRoot is the last root that an entry of the current log names; zero if none does.
func (l *Log) LastRoot() auditlog.Root {
	r := l.cur.Load()
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.root
}

// Changed is closed when the head of the current log is not the one that it was at the call, or the log is closed.
func (l *Log) Changed() <-chan struct{} {
	r := l.cur.Load()
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.changed
}

// Origin is the current log's.
func (l *Log) Origin() auditlog.Origin { return l.cur.Load().origin }

// Head is the durable head of the current log.
func (l *Log) Head() Head { return l.cur.Load().Head() }

// Checkpoint is Reader.Checkpoint of the current log.
func (l *Log) Checkpoint() []byte { return l.cur.Load().Checkpoint() }

// Entries is Reader.Entries of the current log.
func (l *Log) Entries(ctx context.Context, from, to int64) iter.Seq2[Stored, error] {
	return l.cur.Load().Entries(ctx, from, to)
}

// Reverse is Reader.Reverse of the current log.
func (l *Log) Reverse(ctx context.Context, from, to int64) iter.Seq2[Stored, error] {
	return l.cur.Load().Reverse(ctx, from, to)
}

// ProveInclusion is Reader.ProveInclusion of the current log.
func (l *Log) ProveInclusion(ctx context.Context, index, size int64) (Inclusion, error) {
	return l.cur.Load().ProveInclusion(ctx, index, size)
}

// ProveConsistency proves that the log which old names, the current or a closed one, contains old. Whether old is
// signed by us is for the caller to check before. ErrNotContained, ErrBeyondEnd, ErrUnknownLog otherwise.
func (l *Log) ProveConsistency(ctx context.Context, old auditlog.Checkpoint) (Consistency, error) {
	if old.Origin.KeyName() != l.cfg.Origin.KeyName() {
		return Consistency{}, fmt.Errorf("%w: it is of another vault or node", ErrUnknownLog)
	}
	r, err := l.Reader(old.Origin.Log)
	if err != nil {
		return Consistency{}, err
	}
	return r.consistency(ctx, old.Size, old.Hash)
}

// Reader reads the log of that id, the current (also "") or a closed one; ErrUnknownLog otherwise.
func (l *Log) Reader(id string) (*Reader, error) {
	l.readersMu.Lock()
	defer l.readersMu.Unlock()
	if cur := l.cur.Load(); id == "" || id == cur.origin.Log {
		return cur.Reader, nil
	}
	if r := l.readers[id]; r != nil {
		return r, nil
	}
	for _, c := range l.ended {
		if c.Log == id {
			if l.ctx.Err() != nil {
				return nil, ErrClosed
			}
			r, err := openClosed(l.cfg, c)
			if err != nil {
				return nil, err
			}
			l.readers[id] = r
			return r, nil
		}
	}
	return nil, ErrUnknownLog
}

// Logs are the ids of this node's logs: the closed ones, oldest first, then the current one.
func (l *Log) Logs() []string {
	l.readersMu.Lock()
	defer l.readersMu.Unlock()
	var ids []string
	for _, c := range l.ended {
		ids = append(ids, c.Log)
	}
	return append(ids, l.cur.Load().origin.Log)
}

// Rotate closes the current log and opens that of the new id, whose first entry is first (which names the gap, the
// old id and its head). Until it returns the old log is the current one; on an error it stays so, and Rotate may be
// repeated with the same id. After a crash in between, the id that the caller opens decides which of them is current.
func (l *Log) Rotate(ctx context.Context, newLogID string, first *auditlog.Entry) (Position, error) {
	line, err := first.AppendJSON([]byte{0})
	if err != nil {
		return Position{}, err
	}
	b := &batch{done: make(chan struct{})}
	b.add(append(line[1:], '\n'), auditlog.Hash(sha256.Sum256(line)), first, AppendOptions{Privileged: true})

	type result struct {
		p   Position
		err error
	}
	done := make(chan result, 1)
	task := func() {
		p, err := l.rotate(ctx, newLogID, b)
		done <- result{p, err}
	}
	select {
	case l.tasks <- task:
	case <-ctx.Done():
		return Position{}, ctx.Err()
	case <-l.ctx.Done():
		return Position{}, ErrClosed
	}
	select {
	case r := <-done:
		return r.p, r.err
	case <-ctx.Done():
		return Position{}, fmt.Errorf("audit log: gave up waiting, the log may be closed all the same: %w", ctx.Err())
	}
}

// rotate runs in the writer's goroutine. b holds the new log's first entry.
func (l *Log) rotate(ctx context.Context, id string, b *batch) (Position, error) {
	old := l.cur.Load()
	origin := old.origin
	origin.Log = id
	if err := origin.Validate(); err != nil {
		return Position{}, err
	}
	l.readersMu.Lock()
	used := id == old.origin.Log || l.isClosed(id)
	l.readersMu.Unlock()
	if used {
		return Position{}, fmt.Errorf("audit log: the id %s is in use", id)
	}
	j, err := l.openJournal(ctx, origin, nil)
	if err != nil {
		return Position{}, err
	}
	if j.head.Size == 0 { // else an earlier attempt came so far
		err = l.commit(j, b)
	}
	var in Inclusion
	if err == nil {
		in, err = j.ProveInclusion(ctx, 0, j.head.Size)
	}
	if err != nil {
		if j.seg != nil {
			j.end()
		}
		return Position{}, errors.Join(fmt.Errorf("%w: %w", ErrFailed, err), j.close())
	}
	if old.seg != nil {
		old.end()
	}
	l.settle(old)
	head := old.retire()
	l.readersMu.Lock()
	defer l.readersMu.Unlock()
	l.ended = append(l.ended, head)
	l.readers[old.origin.Log] = old.Reader
	l.cur.Store(j)
	return Position{Leaf: in.Leaf, Head: in.Head}, nil
}

// close gives up the files beside the segments.
func (r *Reader) close() error { return errors.Join(r.hashes.close(), r.index.close()) }

// retire makes the reader one of a closed log, and says where that ended.
func (r *Reader) retire() Head {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sign = nil
	close(r.changed)
	return r.head
}

// Close writes what waits, and a last checkpoint, ends all goroutines and gives the directory up. Repeats do nothing.
func (l *Log) Close() error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	l.cancel()
	l.keepers.Wait()
	close(l.stop)
	l.writer.Wait()
	j := l.cur.Load()
	if j.seg != nil {
		j.end()
	}
	l.settle(j)
	j.retire()
	errs := []error{j.close()}
	l.readersMu.Lock()
	defer l.readersMu.Unlock()
	for _, r := range l.readers {
		errs = append(errs, r.close())
	}
	return errors.Join(append(errs, l.lock.Close())...)
}
