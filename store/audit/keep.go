package audit

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
)

// keepInterval is how often the checkpoint file is replaced at most, and the rest is looked after.
const keepInterval = time.Second

// flushInterval is how often the tree's hashes leave the memory: under load they are a megabyte and more a second.
const flushInterval = keepInterval / 5

// keep is the goroutine that looks after what no caller waits for.
func (l *Log) keep() {
	t := time.NewTicker(keepInterval)
	defer t.Stop()
	flush := time.NewTicker(flushInterval)
	defer flush.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-flush.C:
			l.warn("writing the tree's hashes", l.cur.Load().hashes.flush())
			continue
		case <-t.C:
		}
		l.settle(l.cur.Load())
		l.warn("making the ballast", l.space.tend())
		if l.failing.Load() != nil {
			select {
			case l.tasks <- l.tryAgain:
			default: // the writer is at it
			}
		}
	}
}

// settle brings the files beside the segments up to the head.
func (l *Log) settle(j *journal) {
	l.warn("writing the checkpoint file", j.fileCheckpoint())
	l.warn("writing the tree's hashes", j.hashes.flush())
	l.warn("signing over the end of a segment", j.signSegments(l.ctx))
}

// warn says what failed, once: a disk that is full, or a directory that nobody may write to, fails every second, and may be where
// what is said goes.
func (l *Log) warn(what string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	l.warnedMu.Lock()
	was := l.warned[what]
	l.warned[what] = text
	l.warnedMu.Unlock()
	if err != nil && text != was {
		l.cfg.Logger.LogAttrs(l.ctx, slog.LevelWarn, "audit log: "+what, slog.Any("error", err))
	}
}

// fileCheckpoint replaces the checkpoint file if the head is beyond it.
func (j *journal) fileCheckpoint() error {
	j.filing.Lock()
	defer j.filing.Unlock()
	msg, head := j.checkpoint()
	if head != j.filed {
		if err := writeCheckpoint(j.fs, j.origin.Log, msg); err != nil {
			return err
		}
		j.filed = head
	}
	j.covered.Store(&covered{head.Size, j.now()})
	return nil
}

// signSegments puts a checkpoint beside every segment that was closed since the log was opened, over the log up to the
// segment's end, for the day that it is archived.
func (j *journal) signSegments(ctx context.Context) error {
	j.filing.Lock()
	defer j.filing.Unlock()
	j.mu.RLock()
	links, sign := j.links, j.sign
	j.mu.RUnlock()
	if sign == nil {
		return nil
	}
	for i, l := range links[:max(0, len(links)-1)] {
		size := links[i+1].first
		if l.number <= j.signed || size == l.first {
			continue
		}
		hash, err := j.headAt(ctx, size)
		if err != nil {
			return err
		}
		msg, err := sign(Head{Log: j.origin.Log, Size: size, Hash: hash})
		if err != nil {
			return err
		}
		if err := replaceFile(j.fs, j.origin.Log, auditlog.SegmentCheckpointName(l.number), msg); err != nil {
			return err
		}
		j.signed = l.number
	}
	return nil
}

// tryAgain tries to begin a segment, so that a log that failed takes entries again although nobody brings one.
func (l *Log) tryAgain() {
	if j := l.cur.Load(); j.seg == nil {
		l.judge(j.begin())
	}
}

// followInterval is how often the indexes are brought up to their logs.
const followInterval = 200 * time.Millisecond

// followIndexes is the goroutine that keeps the indexes of the current log, and of closed ones that somebody asks for.
func (l *Log) followIndexes() {
	t := time.NewTicker(followInterval)
	defer t.Stop()
	warned := map[*Reader]string{}
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-t.C:
		}
		for _, r := range l.inUse() {
			err := r.index.follow(l.ctx, r)
			if l.ctx.Err() != nil {
				return
			}
			if err == nil {
				l.followed(r)
			}
			if err == nil || errors.Is(err, ErrFull) {
				delete(warned, r)
			} else if warned[r] != err.Error() {
				warned[r] = err.Error()
				l.warn("following the log with its index; until it does, queries read the log", err)
			}
		}
	}
}

// inUse are the readers that are in use.
func (l *Log) inUse() []*Reader {
	l.readersMu.Lock()
	defer l.readersMu.Unlock()
	list := []*Reader{l.cur.Load().Reader}
	for _, r := range l.readers {
		list = append(list, r)
	}
	return list
}

// compareHashes makes the file of hashes anew at start if it does not agree with the log's frontier.
func (l *Log) compareHashes() {
	r := l.cur.Load().Reader
	if err := r.compareHashes(l.ctx); err != nil && l.ctx.Err() == nil {
		l.warn("making the tree's hashes anew", err)
	}
}
