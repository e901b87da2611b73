package boltstore

import (
	"log/slog"

	"github.com/p8signet/signet/store"
)

// Options may be zero.
type Options struct {
	Logger *slog.Logger // nil discards
}

// Backend is a store.Backend in one bbolt file.
type Backend struct{ store.Backend }

// Open opens an existing file. It never creates one. Another process has it:
// store.ErrInUse, at once.
func Open(path string, o Options) (*Backend, error) { panic("not yet") }

// Create prepares a new file beside path. The first Swap puts it in place, so
// that a crash leaves nothing at path, or a store with a root. A file that is
// there is refused and left alone: store.ErrExists.
func Create(path string, o Options) (*Backend, error) { panic("not yet") }
