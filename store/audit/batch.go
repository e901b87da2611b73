package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"golang.org/x/mod/sumdb/tlog"
)

// Bounds of what waits for the disk.
const (
	maxBatch   = 1 << 20 // bytes of lines
	maxPending = 16      // batches
)

// batch is what callers gather while the one before is being written. Until the writer takes it, it is guarded by
// Log.mu; then it is the writer's; after done is closed nothing changes in it but what once guards.
type batch struct {
	lines      []byte // of its entries, each with its newline
	leaves     []auditlog.Hash
	time       time.Time     // of the last entry
	root       auditlog.Root // the last that an entry names; zero: none does
	privileged bool          // one of the entries is
	receipts   bool          // one of the entries wants one
	done       chan struct{}

	err   error
	first int64
	head  Head
	span  span                       // if receipts
	sign  func(Head) ([]byte, error) // a checkpoint of the log that it is in

	once    sync.Once
	note    []byte
	noteErr error
}

// buffers are what a batch gathers in. Two are kept: one batch gathers while another is being written.
type buffers struct {
	lines  []byte
	leaves []auditlog.Hash
}

// AppendOptions are for one entry.
type AppendOptions struct {
	// Privileged entries (of disable, revoke and what closes a gap) may use what Config.MinFree keeps free.
	Privileged bool
	// Receipt asks for one in Position.
	Receipt bool
}

// Position is where an entry is.
type Position struct {
	Index   int64
	Leaf    auditlog.Hash
	Head    Head   // of the log with the entry's batch
	Receipt []byte // c2sp.org/tlog-proof@v1 text, if it was asked for
}

// linePool holds buffers for one line each.
var linePool = sync.Pool{New: func() any { return new([]byte) }}

// Append makes an entry durable and part of the tree, then returns. It does not check the entry's time. An entry that
// cannot be written as it is (auditlog.ErrEntry) is refused alone; ErrFull, ErrBusy and ErrClosed are refusals too.
// On ErrFailed, or when ctx ends first, the entry may or may not be in the log.
func (l *Log) Append(ctx context.Context, e *auditlog.Entry, o AppendOptions) (Position, error) {
	if err := ctx.Err(); err != nil {
		return Position{}, fmt.Errorf("audit log: not recorded: %w", err)
	}
	if !o.Privileged && l.space.low() {
		return Position{}, ErrFull
	}
	p, ok := linePool.Get().(*[]byte)
	if !ok {
		return Position{}, errors.New("audit log: a pool of something else")
	}
	defer linePool.Put(p)
	// The byte before the line makes its hash that of a leaf.
	line, err := e.AppendJSON(append((*p)[:0], 0))
	if err != nil {
		return Position{}, err
	}
	leaf := auditlog.Hash(sha256.Sum256(line))
	*p = append(line, '\n')

	b, i, err := l.enqueue((*p)[1:], leaf, e, o)
	if err != nil {
		return Position{}, err
	}
	select {
	case <-b.done:
		return b.position(i, leaf, o)
	case <-ctx.Done():
		return Position{}, fmt.Errorf("audit log: gave up waiting, the entry may be recorded all the same: %w", ctx.Err())
	}
}

// enqueue adds a line, with its newline, to the batch that gathers, and returns the batch and the place in it.
func (l *Log) enqueue(line []byte, leaf auditlog.Hash, e *auditlog.Entry, o AppendOptions) (*batch, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, 0, ErrClosed
	}
	var b *batch
	if last := len(l.pending) - 1; last >= 0 && len(l.pending[last].lines)+len(line) <= maxBatch {
		b = l.pending[last]
	} else if len(l.pending) == maxPending {
		return nil, 0, ErrBusy
	} else {
		b = &batch{done: make(chan struct{})}
		if last := len(l.spare) - 1; last >= 0 {
			b.lines, b.leaves, l.spare = l.spare[last].lines, l.spare[last].leaves, l.spare[:last]
		}
		l.pending = append(l.pending, b)
	}
	b.add(line, leaf, e, o)
	select {
	case l.wake <- struct{}{}:
	default: // the writer has been told
	}
	return b, len(b.leaves) - 1, nil
}

func (b *batch) add(line []byte, leaf auditlog.Hash, e *auditlog.Entry, o AppendOptions) {
	b.lines = append(b.lines, line...)
	b.leaves = append(b.leaves, leaf)
	b.time = e.Time.UTC().Truncate(time.Microsecond) // as it will be read
	if e.Root != nil {
		b.root = *e.Root
	}
	b.privileged = b.privileged || o.Privileged
	b.receipts = b.receipts || o.Receipt
}

// take is the oldest batch that waits; nil if none does.
func (l *Log) take() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == 0 {
		return nil
	}
	b := l.pending[0]
	l.pending = append(l.pending[:0], l.pending[1:]...)
	return b
}

// release lets a batch's callers go, and keeps its buffers for a later one.
func (l *Log) release(b *batch, err error) {
	lines, leaves := b.lines[:0], b.leaves[:0]
	b.lines, b.leaves = nil, nil
	if err != nil {
		b.err = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	close(b.done)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.spare) < 2 {
		l.spare = append(l.spare, buffers{lines, leaves})
	}
}

// position is what the ith caller of a batch that is done gets.
func (b *batch) position(i int, leaf auditlog.Hash, o AppendOptions) (Position, error) {
	if b.err != nil {
		return Position{}, b.err
	}
	p := Position{Index: b.first + int64(i), Leaf: leaf, Head: b.head}
	if !o.Receipt {
		return p, nil
	}
	b.once.Do(func() { b.note, b.noteErr = b.sign(b.head) })
	if b.noteErr != nil {
		return p, fmt.Errorf("audit log: entry %d is recorded, but its receipt was not signed: %w", p.Index, b.noteErr)
	}
	proof, err := tlog.ProveRecord(b.head.Size, p.Index, &b.span)
	if err != nil {
		return p, fmt.Errorf("audit log: entry %d is recorded, but its receipt was not made: %w", p.Index, err)
	}
	r := auditlog.Receipt{Index: p.Index, Leaf: leaf, Proof: proof, Note: b.note}
	p.Receipt, err = r.MarshalText()
	return p, err
}
