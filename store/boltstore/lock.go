package boltstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/p8signet/signet/store"
)

// lock is an exclusive lock on a file of its own: unlike one on the store's file
// it holds while that is replaced. In the file is who has it, or that it was
// released; one that names a process, and is not locked, was left by a process
// that did not end in order.
type lock struct {
	f    *os.File
	left bool // the process that had it before did not release it
}

// acquire locks path, which is made if need be. Another process has it:
// store.ErrInUse, at once.
func acquire(path string) (*lock, error) {
	for {
		l, err := tryAcquire(path)
		if l != nil || err != nil {
			return l, err
		}
	}
}

// tryAcquire returns neither lock nor error when the file that it has locked is
// no longer the one at path.
func tryAcquire(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	if err := flock(f, syscall.LOCK_EX); err != nil {
		return nil, errors.Join(inUse(f, err), f.Close())
	}
	mine, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(mine, there) {
		return nil, f.Close()
	}
	last, err := read(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the lock: %w", err), f.Close())
	}
	// Not synced: after a crash of the machine the cache is gone, and with it the
	// reason to doubt it.
	if err := write(f, strconv.Itoa(os.Getpid())); err != nil {
		return nil, errors.Join(fmt.Errorf("writing the lock: %w", err), f.Close())
	}
	return &lock{f: f, left: last != "" && last != released}, nil
}

// inUse says who has the lock, where that is why it cannot be had. Who only reads
// has written nothing into it.
func inUse(f *os.File, err error) error {
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return err
	}
	holder, _ := read(f) // for the message alone
	if holder == "" || holder == released {
		return fmt.Errorf("%w (a process that reads it holds %s)", store.ErrInUse, f.Name())
	}
	return fmt.Errorf("%w (process %s holds %s)", store.ErrInUse, holder, f.Name())
}

// share locks the file at path together with others who only read, and does not
// write to it. No file: nil. Another process has it for itself: store.ErrInUse.
func share(path string) (*lock, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	if err := flock(f, syscall.LOCK_SH); err != nil {
		return nil, errors.Join(inUse(f, err), f.Close())
	}
	return &lock{f: f}, nil
}

// unshare lets go of what share took, and leaves it as it was.
func (l *lock) unshare() error {
	if l == nil {
		return nil
	}
	return l.f.Close()
}

const (
	released = "released"
	lockSize = 24
)

func read(f *os.File) (string, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, lockSize))
	return strings.TrimSpace(string(b)), err
}

// write writes over what is there, in the same length, so that a full disk has
// room for it.
func write(f *os.File, s string) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%-*s\n", lockSize-1, s), 0)
	return err
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// release lets go. clean says that there is nothing for the next process to make
// sure of.
func (l *lock) release(clean bool) error {
	var err error
	if clean {
		err = write(l.f, released)
	}
	return errors.Join(err, l.f.Close())
}

// remove lets go and leaves no file.
func (l *lock) remove() error {
	return errors.Join(os.Remove(l.f.Name()), l.f.Close())
}
