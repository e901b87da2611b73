package boltstore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/p8signet/signet/store"
)

// update runs f in a transaction that writes. b.writing is held.
//
// nil: it has been committed and is durable. An error of f, or a write that
// found no room: nothing has changed. Any other error comes from the writing
// itself, a sync very likely: the outcome is unknown, and b is dirty.
func (b *Backend) update(f func(*bbolt.Tx) error) error {
	b.opened.RLock()
	defer b.opened.RUnlock()
	if b.db == nil {
		return store.ErrClosed
	}
	refused := true // until f has agreed, nothing is written
	err := guard(func() error {
		return b.db.Update(func(tx *bbolt.Tx) error {
			err := f(tx)
			refused = err != nil
			return err
		})
	})
	b.stumbled = errors.Is(err, errStumbled)
	switch {
	case err == nil:
		return nil
	case refused && !b.stumbled, noSpace(err):
		return err
	}
	if b.building != "" {
		return err // whatever has become of it, it is not in place
	}
	b.dirty = err
	b.log.Error("writing the store failed; it will be copied to a new file before it is used again", slog.String("file", b.path), slog.Any("error", err))
	return fmt.Errorf("%w: %w", store.ErrUnknown, err)
}

// place puts the file that Create made where it belongs. It never replaces one.
// Unless the error is store.ErrUnknown, the file is not in place. b.writing is
// held.
func (b *Backend) place() error {
	if err := b.file.Sync(); err != nil {
		return fmt.Errorf("syncing the new store: %w", err)
	}
	if err := os.Link(b.building, b.path); err != nil {
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("%w: %s has appeared", store.ErrExists, b.path)
		}
		return fmt.Errorf("putting the new store in place: %w", err)
	}
	if err := os.Remove(b.building); err != nil {
		b.log.Warn("a second name of the new store remains until it is opened again", slog.Any("error", err))
	}
	b.building = ""
	if err := syncDir(b.path); err != nil {
		b.dirty = err
		return fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	return nil
}

// heal makes sure that what we see is on the disk, after a sync that failed.
// b.writing is held. While it fails nothing is said about the root and nothing
// is committed; what was open stays readable.
func (b *Backend) heal() error {
	if b.dirty == nil {
		return nil
	}
	if err := b.copyOver(); err != nil {
		return fmt.Errorf("making sure what the store holds, after this: %w: %w", b.dirty, err)
	}
	b.log.Warn("the store was copied to a new file", slog.String("file", b.path), slog.Any("after", b.dirty))
	b.dirty = nil
	return nil
}

// rewrite is heal for Open on a disk that has no room for a copy: only a vault that
// opens lets a key be turned off. Everything in use is written over itself, which
// takes no room, makes the kernel call it unwritten again, and so a sync worth
// something: first the pages, then the two that say which of them count.
// b.writing is held.
func (b *Backend) rewrite() error {
	err := b.view(func(tx *bbolt.Tx) error {
		metas := 2 * int64(tx.DB().Info().PageSize)
		for _, part := range []struct{ from, to int64 }{{metas, tx.Size()}, {0, metas}} {
			src := io.NewSectionReader(b.file, part.from, part.to-part.from)
			if err := errors.Join(copyBytes(io.NewOffsetWriter(b.file, part.from), src), b.file.Sync()); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, syncDir(b.path)); err != nil {
		return fmt.Errorf("making sure what the store holds: %w", err)
	}
	b.log.Warn("the disk has no room for a copy of the store, which was not closed; it was written over itself", slog.String("file", b.path))
	b.dirty = nil
	return nil
}

func (b *Backend) copyOver() error {
	b.opened.RLock()
	closed := b.db == nil
	b.opened.RUnlock()
	if closed {
		return store.ErrClosed
	}
	temp := b.temp()
	if err := b.copyTo(temp); err != nil {
		return errors.Join(err, removeIfThere(temp))
	}
	db, file, err := openBolt(temp, false)
	if err != nil {
		return errors.Join(fmt.Errorf("opening the copy: %w", err), removeIfThere(temp))
	}
	if err := checkPages(db); err != nil {
		return errors.Join(fmt.Errorf("checking the copy: %w", err), closeBolt(db, file, false), removeIfThere(temp))
	}
	identity, err := file.Stat()
	if err != nil {
		return errors.Join(err, closeBolt(db, file, false), removeIfThere(temp))
	}
	if err := os.Rename(temp, b.path); err != nil {
		return errors.Join(fmt.Errorf("putting the copy in place: %w", err), closeBolt(db, file, false), removeIfThere(temp))
	}
	// From here on the copy is the store, whether or not its name lasts yet.
	b.opened.Lock()
	old, oldFile, stumbled := b.db, b.file, b.stumbled
	b.db, b.file, b.stumbled = db, file, false
	b.opened.Unlock()
	b.identity, b.reserved = identity, 0
	if err := closeBolt(old, oldFile, stumbled); err != nil {
		b.log.Warn("closing the file that was copied", slog.Any("error", err))
	}
	return syncDir(b.path)
}

// copyTo copies the file to temp and syncs it. The file is opened anew: what
// became of the descriptor that failed is not known.
func (b *Backend) copyTo(temp string) (err error) {
	src, err := os.Open(b.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if err := b.checkSame(src); err != nil {
		return err
	}
	if err := removeIfThere(temp); err != nil {
		return err
	}
	dst, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(copyBytes(dst, src), dst.Sync(), dst.Close()); err != nil {
		return fmt.Errorf("copying the store: %w", err)
	}
	return nil
}

// checkSame refuses a file that someone has put in the place of ours.
func (b *Backend) checkSame(src *os.File) error {
	fi, err := src.Stat()
	if err != nil {
		return err
	}
	if os.SameFile(fi, b.identity) {
		return nil
	}
	return fmt.Errorf("%s is no longer the file that was opened: something has replaced it", b.path)
}

// checkPages goes through the whole file: that everything can be read, and that
// every page is where it belongs.
func checkPages(db *bbolt.DB) error {
	return guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			// First here, where a fault is caught: Check has a goroutine of its own.
			for _, name := range [][]byte{bucketMeta, bucketBlobs} {
				if err := tx.Bucket(name).ForEach(func(_, v []byte) error { sha256.Sum256(v); return nil }); err != nil {
					return err
				}
			}
			var first error
			for err := range tx.Check() {
				if first == nil {
					first = err
				}
			}
			return first
		})
	})
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("syncing the directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing the directory: %w", err)
	}
	return nil
}
