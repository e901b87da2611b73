package boltstore

import (
	"errors"
	"log/slog"

	"go.etcd.io/bbolt"
)

// The file keeps disk blocks beyond what it uses, so that on a full disk a key
// can still be turned off: a commit writes to pages that are free, and bbolt
// frees as many as it takes.
const (
	reserveMin  = 1 << 20 // at least this much, or it is made
	reserveStep = 2 << 20 // this much
)

// reserve asks for the blocks. That there is no room for them is no error: what
// is needed can still be written, or not, and says so then. b.writing is held.
func (b *Backend) reserve() {
	var used int64
	if err := b.view(func(tx *bbolt.Tx) error { used = tx.Size(); return nil }); err != nil {
		return
	}
	if used+reserveMin <= b.reserved {
		return
	}
	switch err := allocate(b.file, used, reserveStep); {
	case errors.Is(err, errors.ErrUnsupported):
		b.reserved = 1 << 62 // there is nothing to be had
		return
	case err != nil:
		b.log.Warn("there is no room for the store's reserve", slog.String("file", b.path), slog.Any("error", err))
		return
	}
	if err := b.file.Sync(); err != nil {
		b.dirty = err
		b.log.Error("syncing the store failed; it will be copied to a new file before it is used again", slog.String("file", b.path), slog.Any("error", err))
		return
	}
	b.reserved = used + reserveStep
}
