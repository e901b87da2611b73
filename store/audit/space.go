package audit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
)

const ballastFile = "ballast"

// space watches how much of the disk is free, and keeps the ballast: a file that is given up when a privileged entry
// meets a disk without a byte left, so that a key can still be turned off on it.
type space struct {
	fs      FS
	minFree int64
	size    int64 // of the ballast

	stale atomic.Bool // something was written since free space was asked for
	isLow atomic.Bool

	mu   sync.Mutex // held while the ballast is made or given up
	have bool
}

// low reports whether less than minFree is free. It asks the disk once for every batch, and at every call while it is.
func (s *space) low() bool {
	if s.stale.CompareAndSwap(true, false) || s.isLow.Load() {
		free, err := s.fs.Free()
		// A disk that does not say how much is free may still take the entry: its write will tell.
		s.isLow.Store(err == nil && free < s.minFree)
	}
	return s.isLow.Load()
}

// tend makes the ballast when there is room for it beside minFree.
func (s *space) tend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have {
		return nil
	}
	if free, err := s.fs.Free(); err != nil || free < s.minFree+s.size {
		return nil //nolint:nilerr // no room, or nobody knows: the next time
	}
	if err := s.fs.Remove(ballastFile); err != nil && !errors.Is(err, fs.ErrNotExist) { // of another size, or cut short by a crash
		return fmt.Errorf("making the ballast: %w", err)
	}
	if err := s.fill(); err != nil {
		return fmt.Errorf("making the ballast: %w", errors.Join(err, s.fs.Remove(ballastFile)))
	}
	s.have = true
	return nil
}

// fill writes the ballast: random bytes, because some file systems store no zeros.
func (s *space) fill() error {
	f, err := s.fs.Create(ballastFile)
	if err != nil {
		return err
	}
	chunk := make([]byte, min(s.size, 1<<20))
	for off := int64(0); off < s.size && err == nil; off += int64(len(chunk)) {
		chunk = chunk[:min(int64(len(chunk)), s.size-off)]
		_, _ = rand.Read(chunk) // never fails
		_, err = f.WriteAt(chunk, off)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return s.fs.SyncDir(".")
}

// find takes over the ballast that an earlier process left.
func (s *space) find() error {
	list, err := s.fs.ReadDir(".")
	if err != nil {
		return fmt.Errorf("listing the audit log's directory: %w", err)
	}
	for _, f := range list {
		if f.Name == ballastFile && f.Size == s.size {
			s.have = true
		}
	}
	return nil
}

// giveUp gives the ballast up, and reports whether there was one.
func (s *space) giveUp(log *slog.Logger) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.have {
		return false
	}
	s.have = false
	err := s.fs.Remove(ballastFile)
	if err != nil {
		log.LogAttrs(context.Background(), slog.LevelWarn, "audit log: its disk is full, and the ballast could not be given up for a privileged entry", slog.Any("error", err))
		return false
	}
	log.LogAttrs(context.Background(), slog.LevelWarn, "audit log: its disk is full; the ballast was given up for a privileged entry")
	return true
}
