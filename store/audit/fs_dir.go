//go:build linux || darwin

package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// DirFS is the directory dir of the operating system, which must exist. Files are readable by the group, so that a
// log shipper needs no more than that.
func DirFS(dir string) FS { return dirFS(dir) }

type dirFS string

const (
	fileMode = 0o640
	dirMode  = 0o750
	lockName = "lock"
)

func (d dirFS) path(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return filepath.Join(string(d), filepath.FromSlash(name)), nil
}

// spaceError marks the errors that mean a full disk.
func spaceError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

func (d dirFS) open(name string, flag int) (File, error) {
	path, err := d.path(name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|flag, fileMode)
	if errors.Is(err, fs.ErrPermission) && flag == 0 { // an old segment that somebody has made read-only
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, spaceError(err)
	}
	return dirFile{f}, nil
}

func (d dirFS) Create(name string) (File, error) { return d.open(name, os.O_CREATE|os.O_EXCL) }

func (d dirFS) Open(name string) (File, error) { return d.open(name, 0) }

func (d dirFS) Mkdir(name string) error {
	path, err := d.path(name)
	if err != nil {
		return err
	}
	return spaceError(os.Mkdir(path, dirMode))
}

func (d dirFS) Rename(from, to string) error {
	f, err := d.path(from)
	if err != nil {
		return err
	}
	t, err := d.path(to)
	if err != nil {
		return err
	}
	return spaceError(os.Rename(f, t))
}

func (d dirFS) Remove(name string) error {
	path, err := d.path(name)
	if err != nil {
		return err
	}
	return os.Remove(path)
}

func (d dirFS) ReadDir(name string) ([]FileInfo, error) {
	path, err := d.path(name)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	list := make([]FileInfo, 0, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, FileInfo{Name: e.Name(), Dir: e.IsDir(), Size: info.Size()})
	}
	return list, nil
}

func (d dirFS) SyncDir(name string) error {
	path, err := d.path(name)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return spaceError(errors.Join(f.Sync(), f.Close()))
}

func (d dirFS) Free() (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(string(d), &st); err != nil {
		return 0, fmt.Errorf("asking for free space: %w", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:gosec,unconvert // sizes of a disk; the types differ between systems
}

func (d dirFS) Lock() (io.Closer, error) {
	f, err := os.OpenFile(filepath.Join(string(d), lockName), os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("locking the audit log: %w", err)
	}
	if err := d.take(f, syscall.LOCK_EX); err != nil {
		return nil, err
	}
	// For the message of take only, so that it may fail.
	_ = f.Truncate(0)
	_, _ = fmt.Fprintf(f, "%d\n", os.Getpid())
	return f, nil
}

// take locks f, or closes it.
func (d dirFS) take(f *os.File, how int) error {
	err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
	if err == nil {
		return nil
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("locking the audit log: %w", err)
	}
	pid, _ := io.ReadAll(io.LimitReader(f, 20))
	who := strings.TrimSpace(string(pid))
	if who == "" {
		who = "unknown"
	}
	return fmt.Errorf("%w (%s, process %s): stop that one first", ErrLocked, string(d), who)
}

// Look keeps the log's directory as it is until the closer is closed, for those who read the files in it, and writes nothing. Others
// may look, too. ErrLocked if a process has the log open. A directory that is not there, or in which no log was ever open, has nobody
// to keep off.
func Look(dir string) (io.Closer, error) {
	f, err := os.Open(filepath.Join(dir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(nil), nil
	}
	if err != nil {
		return nil, fmt.Errorf("locking the audit log: %w", err)
	}
	if err := dirFS(dir).take(f, syscall.LOCK_SH); err != nil {
		return nil, err
	}
	return f, nil
}

type dirFile struct{ *os.File }

func (f dirFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, spaceError(err)
}

func (f dirFile) Sync() error { return spaceError(syncData(f.File)) }

func (f dirFile) Stat() (FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil {
		return FileInfo{}, err
	}
	named, err := os.Lstat(f.Name())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return FileInfo{}, err
	}
	return FileInfo{Name: info.Name(), Size: info.Size(), Linked: err == nil && os.SameFile(info, named)}, nil
}
