package boltstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/p8signet/signet/store"
)

// initBolt makes an empty store.
func initBolt(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return fmt.Errorf("making a bbolt file: %w", err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucket(bucketBlobs); err != nil {
			return err
		}
		return meta.Put(keyFormat, format)
	})
	return errors.Join(err, db.Close())
}

// openBolt opens an existing bbolt file, and returns the file that it uses too.
// For reading only, many may have it open, and none that writes.
func openBolt(path string, readOnly bool) (*bbolt.DB, *os.File, error) {
	var file *os.File
	var db *bbolt.DB
	err := guard(func() error {
		var err error
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			// The lock file keeps others out; this one keeps out a program that does
			// not know it. It must not wait.
			Timeout:      time.Nanosecond,
			ReadOnly:     readOnly,
			FreelistType: bbolt.FreelistMapType,
			NoStatistics: true,
			OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag&^os.O_CREATE, perm)
				if err != nil {
					return nil, err
				}
				// bbolt would make a new store of an empty file.
				if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() == 0 {
					return nil, errors.Join(errors.New("it is empty or not a regular file, and so not a store"), err, f.Close())
				}
				file = f
				return f, nil
			},
		})
		return err
	})
	if err != nil && file != nil {
		err = errors.Join(err, letGo(file))
	}
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, nil, store.ErrInUse
	}
	if err != nil {
		return nil, nil, err
	}
	db.AllocSize = reserveStep // what reserve did not foresee
	return db, file, nil
}

// closeBolt closes a bbolt file, and its descriptor even where bbolt stumbles.
// Where it has stumbled in a transaction that writes, it may hold its own lock
// for good, and closing would wait for that: then its mapping is given up.
func closeBolt(db *bbolt.DB, file *os.File, stumbled bool) error {
	if stumbled {
		return letGo(file)
	}
	return errors.Join(guard(db.Close), letGo(file))
}

// letGo closes a file that bbolt should have closed, and did not where it
// stumbled. Closing alone would not unlock it: bbolt's mapping keeps it open.
func letGo(file *os.File) error {
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_UN); errors.Is(err, syscall.EBADF) {
		return nil // it is closed
	}
	if err := file.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}

var errStumbled = errors.New("the file is damaged")

// guard runs f and turns a panic, which bbolt answers damage with, and a fault
// in the mapped file, which a truncated one causes, into an error.
func guard(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: bbolt says: %v", errStumbled, r)
		}
	}()
	return f()
}

// noSpace says whether err is a write that found no room. Writes come before the
// sync that could make them count, so that nothing has changed then.
func noSpace(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p) && p.Op == "write" &&
		(errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG))
}

// copyBytes copies by reading and writing. It must not be left to the kernel
// (copy_file_range): that may share the blocks of the disk, while what counts is
// what we can read.
func copyBytes(dst io.Writer, src io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, 1<<20))
	return err
}
