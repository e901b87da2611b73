// Package boltstore is a store.Backend in one bbolt file.
//
// # Trust
//
// The file is trusted for nothing but keeping bytes; package store authenticates
// all of them. A file so damaged that bbolt stumbles over it makes calls fail,
// not the process.
//
// # Concurrency
//
// A Backend is safe for concurrent use: readers do not wait for a commit under
// way. One process has the file: an exclusive lock on a file beside it, and on
// the file itself, is held from Open or Create to Close.
//
// # Crash behaviour
//
// One Swap is one bbolt transaction. After a sync that failed, nothing that the
// kernel has in its cache is believed: it may show what never reached the disk,
// and call it clean. So the outcome is unknown (store.ErrUnknown), and before
// anything else is said about the root, or committed, the file is copied byte by
// byte to a new one, that is synced, checked and renamed into place, and the
// directory synced: what the copy says is on the disk. The same is done at Open
// when the last process did not close the file in order, because its last sync
// may have been such a one; there, on a disk without room for a copy, the file is
// written over itself and synced.
//
// A store that is open for reading only is not healed: what it says may be what the
// kernel has in its cache. It writes nothing at all, so it may be asked about a
// store that was left by a crash without taking anything away from what is there.
package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/p8signet/signet/store"
)

// Options may be zero.
type Options struct {
	Logger *slog.Logger // nil discards
	// ReadOnly is for Open: no file is made, changed or removed, the lock's
	// neither, and Swap and Delete answer ErrReadOnly. It keeps those out who
	// would write, for as long as it is open, but not others who only read.
	ReadOnly bool
}

// ErrReadOnly is answered to a change of a store that is open for reading only:
// nothing has changed.
var ErrReadOnly = errors.New("the store is open for reading only")

var (
	bucketMeta  = []byte("signet")
	bucketBlobs = []byte("blobs")
	keyFormat   = []byte("format")
	keyRoot     = []byte("root")
	format      = []byte("signet-store 1")
)

// Backend is a store in one file.
type Backend struct {
	path string
	log  *slog.Logger
	lock *lock // nil when readOnly found no file to lock

	readOnly bool

	// writing is held by whatever changes the file, or must know what lasts:
	// Root, Swap, List, Delete, heal, Close. It guards the fields below it.
	writing  sync.Mutex
	dirty    error       // the sync that failed; nil while what we see is on the disk
	building string      // the file that Create is making; "" once it is in place
	identity os.FileInfo // of the file that is open
	reserved int64       // up to where the file has disk blocks, see reserve

	// opened guards db against being replaced or closed: held for reading while a
	// transaction runs. They are replaced with both locks held.
	opened   sync.RWMutex
	db       *bbolt.DB // nil once closed
	file     *os.File  // db's own
	stumbled bool      // a transaction that writes has panicked, see closeBolt
}

// Open opens an existing file. It never creates one, and refuses what is not a
// store of ours. If another process has it: store.ErrInUse, at once.
func Open(path string, o Options) (*Backend, error) {
	b, err := open(path, o)
	if err != nil {
		return nil, fmt.Errorf("opening the store %s: %w", path, err)
	}
	return b, nil
}

func open(path string, o Options) (*Backend, error) {
	// A file of two names has one lock, and is replaced where it is.
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	if o.ReadOnly {
		return openReadOnly(path, o)
	}
	l, err := acquire(path + ".lock")
	if err != nil {
		return nil, err
	}
	b := &Backend{path: path, log: logger(o), lock: l}
	// What an interrupted creation or copy left.
	if err := removeIfThere(b.temp()); err != nil {
		return nil, errors.Join(err, l.release(!l.left))
	}
	if l.left {
		b.dirty = errors.New("the process that had the store before did not close it")
	}
	db, file, err := openBolt(path, false)
	if err != nil {
		return nil, errors.Join(err, l.release(!l.left))
	}
	b.db, b.file = db, file
	err = b.check()
	if err == nil {
		if err = b.heal(); noSpace(err) {
			err = b.rewrite()
		}
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	b.reserve()
	return b, nil
}

// openReadOnly takes the lock as it finds it. Where there is no lock file, the lock
// on the store's own keeps out whoever would write, and is kept out by it.
func openReadOnly(path string, o Options) (*Backend, error) {
	l, err := share(path + ".lock")
	if err != nil {
		return nil, err
	}
	db, file, err := openBolt(path, true)
	if err != nil {
		return nil, errors.Join(err, l.unshare())
	}
	b := &Backend{path: path, log: logger(o), lock: l, readOnly: true, db: db, file: file}
	if err := b.check(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Create prepares a new file beside path. The first Swap puts it in place, so
// that a crash leaves nothing at path, or a store with a root. What is at path
// already is refused and left alone: store.ErrExists.
func Create(path string, o Options) (*Backend, error) {
	b, err := create(path, o)
	if err != nil {
		return nil, fmt.Errorf("creating the store %s: %w", path, err)
	}
	return b, nil
}

func create(path string, o Options) (*Backend, error) {
	if o.ReadOnly {
		return nil, ErrReadOnly
	}
	l, err := acquire(path + ".lock")
	if err != nil {
		return nil, err
	}
	b := &Backend{path: path, log: logger(o), lock: l}
	if _, err := os.Lstat(path); err == nil {
		return nil, errors.Join(store.ErrExists, l.release(!l.left))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, l.release(!l.left))
	}
	b.building = b.temp()
	if err := removeIfThere(b.building); err != nil {
		return nil, errors.Join(err, l.release(!l.left))
	}
	if err := initBolt(b.building); err != nil {
		return nil, errors.Join(err, removeIfThere(b.building), l.remove())
	}
	if b.db, b.file, err = openBolt(b.building, false); err != nil {
		return nil, errors.Join(err, removeIfThere(b.building), l.remove())
	}
	if err := b.check(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func logger(o Options) *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// temp is where a file is made before it takes its place. One name is enough:
// the lock is held.
func (b *Backend) temp() string { return b.path + ".new" }

// check looks at the file just opened: whether it is one of ours, and whole.
func (b *Backend) check() error {
	var err error
	if b.identity, err = b.file.Stat(); err != nil {
		return err
	}
	return b.view(func(tx *bbolt.Tx) error {
		if tx.Size() > b.identity.Size() {
			return fmt.Errorf("it has been cut: it has %d bytes, and %d are in use", b.identity.Size(), tx.Size())
		}
		meta := tx.Bucket(bucketMeta)
		if meta == nil || tx.Bucket(bucketBlobs) == nil {
			return errors.New("it is a bbolt file, but not a store of Signet")
		}
		if !bytes.Equal(meta.Get(keyFormat), format) {
			return errors.New("it is a store of a format that this version does not know")
		}
		return nil
	})
}

// view runs f in a transaction that reads.
func (b *Backend) view(f func(*bbolt.Tx) error) error {
	b.opened.RLock()
	defer b.opened.RUnlock()
	if b.db == nil {
		return store.ErrClosed
	}
	return guard(func() error { return b.db.View(f) })
}

// writable refuses what a store that is open for reading only does not do.
func (b *Backend) writable() error {
	if b.readOnly {
		return ErrReadOnly
	}
	return nil
}

// Root implements store.Backend.
func (b *Backend) Root(ctx context.Context) ([]byte, error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	if err := errors.Join(ctx.Err(), b.heal()); err != nil {
		return nil, fmt.Errorf("reading the root: %w", err)
	}
	var root []byte
	err := b.view(func(tx *bbolt.Tx) error {
		root = bytes.Clone(tx.Bucket(bucketMeta).Get(keyRoot))
		return nil
	})
	if err == nil && len(root) == 0 {
		err = store.ErrNoRoot
	}
	if err != nil {
		return nil, fmt.Errorf("reading the root: %w", err)
	}
	return root, nil
}

// Get implements store.Backend.
func (b *Backend) Get(ctx context.Context, ref store.Ref) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", ref, err)
	}
	var blob []byte
	err := b.view(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketBlobs).Get(ref[:])
		if v == nil {
			return store.ErrNoBlob
		}
		blob = append([]byte{}, v...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", ref, err)
	}
	return blob, nil
}

// Swap implements store.Backend. c.Drop goes in the same transaction. Once it has
// begun, the end of ctx no longer matters.
func (b *Backend) Swap(ctx context.Context, c store.Change) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	if err := errors.Join(ctx.Err(), b.writable(), b.heal()); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	if len(c.New) == 0 {
		return errors.New("committing: there is no new root")
	}
	err := b.update(func(tx *bbolt.Tx) error {
		meta, blobs := tx.Bucket(bucketMeta), tx.Bucket(bucketBlobs)
		if !bytes.Equal(meta.Get(keyRoot), c.Old) {
			return store.ErrConflict
		}
		for ref, blob := range c.Put {
			if err := blobs.Put(ref[:], blob); err != nil {
				return err
			}
		}
		for _, ref := range c.Drop {
			if err := blobs.Delete(ref[:]); err != nil {
				return err
			}
		}
		return meta.Put(keyRoot, c.New)
	})
	if err == nil && b.building != "" {
		err = b.place()
	}
	if err != nil && b.building != "" && !errors.Is(err, store.ErrConflict) {
		// A creation that failed is over; a new one starts from nothing.
		err = errors.Join(err, b.close())
	}
	if err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	b.reserve()
	return nil
}

// List implements store.Backend.
func (b *Backend) List(ctx context.Context) iter.Seq2[store.Ref, error] {
	return func(yield func(store.Ref, error) bool) {
		b.writing.Lock()
		err := b.heal()
		b.writing.Unlock()
		// In steps, so that no transaction stays open while the loop body runs:
		// it would keep the file from reusing pages.
		var after []byte
		for err == nil {
			var refs []store.Ref
			if err = ctx.Err(); err != nil {
				break
			}
			err = b.view(func(tx *bbolt.Tx) error {
				var err error
				refs, err = refsAfter(tx, after, 1000)
				return err
			})
			for _, ref := range refs {
				if !yield(ref, nil) {
					return
				}
			}
			if len(refs) == 0 {
				break
			}
			after = refs[len(refs)-1][:]
		}
		if err != nil {
			yield(store.Ref{}, fmt.Errorf("listing blobs: %w", err))
		}
	}
}

// refsAfter returns up to n references that follow after.
func refsAfter(tx *bbolt.Tx, after []byte, n int) ([]store.Ref, error) {
	c := tx.Bucket(bucketBlobs).Cursor()
	k, _ := c.Seek(after)
	if after != nil && bytes.Equal(k, after) {
		k, _ = c.Next()
	}
	var refs []store.Ref
	for ; k != nil && len(refs) < n; k, _ = c.Next() {
		var ref store.Ref
		if len(k) != len(ref) {
			return nil, errors.New("there is a blob whose name is not a reference")
		}
		copy(ref[:], k)
		refs = append(refs, ref)
	}
	return refs, nil
}

// Delete implements store.Backend.
func (b *Backend) Delete(ctx context.Context, refs ...store.Ref) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	if err := errors.Join(ctx.Err(), b.writable(), b.heal()); err != nil {
		return fmt.Errorf("deleting blobs: %w", err)
	}
	err := b.update(func(tx *bbolt.Tx) error {
		for _, ref := range refs {
			if err := tx.Bucket(bucketBlobs).Delete(ref[:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("deleting blobs: %w", err)
	}
	return nil
}

// Close implements store.Backend. A store whose last sync failed is left marked,
// so that the next Open heals it.
func (b *Backend) Close() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.close()
}

// close is Close with b.writing held.
func (b *Backend) close() error {
	b.opened.Lock()
	defer b.opened.Unlock()
	if b.db == nil {
		return nil
	}
	err := closeBolt(b.db, b.file, b.stumbled)
	b.db = nil
	if b.readOnly {
		return errors.Join(err, b.lock.unshare())
	}
	if b.building != "" {
		return errors.Join(err, removeIfThere(b.building), b.lock.remove())
	}
	return errors.Join(err, b.lock.release(b.dirty == nil && err == nil))
}
