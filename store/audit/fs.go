package audit

import (
	"errors"
	"io"
)

// FS is the file boundary of the log: everything that it does to a disk goes through here, so that tests can take the
// disk away at any point. Names are slash-separated paths below the log's directory, as in io/fs. Errors answer
// errors.Is for fs.ErrExist, fs.ErrNotExist and ErrNoSpace where these are the cause.
//
// Implementations are safe for concurrent use. DirFS is the one for production.
type FS interface {
	// Create makes a new file for reading and writing and fails with fs.ErrExist if there is one. The name lasts
	// through a power cut only after SyncDir of its directory, and the content only after Sync.
	Create(name string) (File, error)
	// Open opens a file for reading and writing, or for reading if it may not be written.
	Open(name string) (File, error)
	// Mkdir makes a directory; fs.ErrExist if there is one.
	Mkdir(name string) error
	// Rename renames a file over another one of the same directory, if there is one. It is atomic.
	Rename(from, to string) error
	// Remove removes a file.
	Remove(name string) error
	// ReadDir lists a directory ("." is the log's own) in the order of names.
	ReadDir(name string) ([]FileInfo, error)
	// SyncDir makes the names of a directory durable.
	SyncDir(name string) error
	// Free is how many bytes the log may still write.
	Free() (int64, error)
	// Lock takes the directory for this process until the closer is closed. ErrLocked if another one has it.
	Lock() (io.Closer, error)
}

// File is an open file of an FS. ReadAt and WriteAt are as in io and may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when everything written is durable. After an error nothing of what was written since the last
	// successful Sync may be taken as durable, whatever a later Sync of the same file says.
	Sync() error
	// Stat is the file's size and whether its name still stands for it.
	Stat() (FileInfo, error)
	Close() error
}

// FileInfo describes a file.
type FileInfo struct {
	Name   string // base name
	Dir    bool
	Size   int64
	Linked bool // the name that it was opened by still stands for this file (only of File.Stat)
}

// Errors of an FS.
var (
	ErrNoSpace = errors.New("no space left on the audit log's disk")
	ErrLocked  = errors.New("the audit log's directory is in use by another process")
)
