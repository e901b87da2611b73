package audit

import (
	"log/slog"
	"time"
)

// keepInterval is how often the checkpoint file is replaced at most, and the rest is looked after.
const keepInterval = time.Second

// keep is the goroutine that looks after what no caller waits for.
func (l *Log) keep() {
	t := time.NewTicker(keepInterval)
	defer t.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
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
}

func (l *Log) warn(what string, err error) {
	if err != nil {
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

// tryAgain tries to begin a segment, so that a log that failed takes entries again although nobody brings one.
func (l *Log) tryAgain() {
	if j := l.cur.Load(); j.seg == nil {
		l.judge(j.begin())
	}
}

// compareHashes makes the file of hashes anew at start if it does not agree with the log's frontier.
func (l *Log) compareHashes() {
	r := l.cur.Load().Reader
	if err := r.compareHashes(l.ctx); err != nil && l.ctx.Err() == nil {
		l.warn("making the tree's hashes anew", err)
	}
}
