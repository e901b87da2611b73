package storetest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"
	"sync"

	"github.com/p8signet/signet/store/audit"
)

// FaultFS is an audit.FS in memory that knows what a disk knows and what only the page cache does, so that tests can
// take the power away (PowerCut), kill the process (Restart), and let any operation fail (Inject).
//
//   - What is written is seen by reads at once, but lasts only when Sync of the file returned; a name lasts only when
//     SyncDir of its directory returned. A power cut keeps any subset of the rest, down to single sectors.
//   - A Sync that fails with effect Lost leaves its pages in the cache and calls them clean, as Linux does: a later
//     Sync that succeeds does not write them, reads go on seeing them, and the next power cut takes them.
//   - A process that is killed loses its open files and its lock; the page cache stays.
//
// Safe for concurrent use.
type FaultFS struct {
	mu       sync.Mutex
	names    map[string]*inode // what the running system sees; a directory is an inode too
	disk     map[string]*inode // the names that a power cut leaves for sure
	pending  []nameOp
	locked   bool
	dead     bool
	noSync   bool
	capacity int64
	ops      int
	inject   func(Op) Fault
}

// The units of a power cut.
const (
	pageSize   = 4096
	sectorSize = 512
)

// ErrDead is answered by every operation of a file system that PowerCut or Restart replaced, or a Fault killed.
var ErrDead = errors.New("storetest: the process is gone")

// OpKind is a kind of operation that can fail.
type OpKind string

// The kinds of operations, as in audit.FS and audit.File.
const (
	OpCreate  OpKind = "create"
	OpOpen    OpKind = "open"
	OpMkdir   OpKind = "mkdir"
	OpRename  OpKind = "rename"
	OpRemove  OpKind = "remove"
	OpReadDir OpKind = "readdir"
	OpSyncDir OpKind = "syncdir"
	OpFree    OpKind = "free"
	OpLock    OpKind = "lock"
	OpRead    OpKind = "read"
	OpWrite   OpKind = "write"
	OpSync    OpKind = "sync"
	OpStat    OpKind = "stat"
)

// Changes reports whether the operation is one that changes what is on the disk.
func (k OpKind) Changes() bool {
	switch k {
	case OpCreate, OpMkdir, OpRename, OpRemove, OpSyncDir, OpWrite, OpSync:
		return true
	default:
		return false
	}
}

// Op is one operation about to be done.
type Op struct {
	N    int // how many were before it
	Kind OpKind
	Name string // of the file or directory; of a rename: from
}

// Effect is what an operation that fails does all the same.
type Effect int

// The effects.
const (
	Lost      Effect = iota // nothing
	Persisted               // everything: it only says that it failed
	Torn                    // a write: its first half; a sync: every other page; anything else: nothing
)

// Fault is what is to happen to an operation. The zero Fault lets it be.
type Fault struct {
	Err    error // answered in place of success
	Effect Effect
	Kill   bool // after that every operation answers ErrDead
}

type inode struct {
	dir         bool
	cache, disk []byte
	dirty       map[int]bool // pages of cache that no Sync has written
}

// nameOp is a change of names that no SyncDir has made durable.
type nameOp struct {
	dir       string
	del, name string // names to take away and to set; empty: none
	ino       *inode
}

// NewFaultFS is an empty file system without faults, with a capacity of 1 TiB.
func NewFaultFS() *FaultFS {
	root := &inode{dir: true}
	return &FaultFS{
		names: map[string]*inode{".": root}, disk: map[string]*inode{".": root},
		capacity: 1 << 40,
	}
}

// Inject sets the function that is asked about every operation, concurrently; nil for no faults. It may block, which
// is a disk that does not answer.
func (f *FaultFS) Inject(fn func(Op) Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inject = fn
}

// FailNth lets the nth operation from now that changes the disk, counted from 0, fail.
func (f *FaultFS) FailNth(n int, fault Fault) {
	var mu sync.Mutex
	f.Inject(func(op Op) Fault {
		mu.Lock()
		defer mu.Unlock()
		if !op.Kind.Changes() {
			return Fault{}
		}
		n--
		if n == -1 {
			return fault
		}
		return Fault{}
	})
}

// SetCapacity sets how many bytes all files together may have.
func (f *FaultFS) SetCapacity(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = n
}

// SetNoSync takes Sync and SyncDir out: they answer nil and do nothing.
func (f *FaultFS) SetNoSync(off bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noSync = off
}

// Ops is how many operations there were.
func (f *FaultFS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// Used is how many bytes all files have.
func (f *FaultFS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used()
}

func (f *FaultFS) used() int64 {
	var n int64
	for _, ino := range f.names {
		n += int64(len(ino.cache))
	}
	return n
}

// do does one operation. f.mu is held while apply runs, or, when it is to fail without having happened, fail.
func (f *FaultFS) do(kind OpKind, name string, apply func() error, fail ...func(Effect)) error {
	f.mu.Lock()
	op := Op{N: f.ops, Kind: kind, Name: name}
	f.ops++
	inject := f.inject
	f.mu.Unlock()
	var fault Fault
	if inject != nil {
		fault = inject(op)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return ErrDead
	}
	if fault.Kill {
		defer func() { f.dead = true }()
		if fault.Err == nil {
			fault.Err = ErrDead
		}
	}
	if fault.Err == nil {
		return apply()
	}
	if fault.Effect == Persisted {
		if err := apply(); err != nil {
			return err
		}
	} else if len(fail) > 0 {
		fail[0](fault.Effect)
	}
	return fmt.Errorf("%s %s: %w", kind, name, fault.Err)
}

func valid(name string) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return nil
}

func (f *FaultFS) change(op nameOp) {
	if op.del != "" {
		delete(f.names, op.del)
	}
	if op.name != "" {
		f.names[op.name] = op.ino
	}
	f.pending = append(f.pending, op)
}

// add makes a new name; f.mu is held.
func (f *FaultFS) add(name string, ino *inode) error {
	if err := valid(name); err != nil {
		return err
	}
	if f.names[name] != nil {
		return &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	if d := f.names[path.Dir(name)]; d == nil || !d.dir {
		return &fs.PathError{Op: "create", Path: name, Err: fs.ErrNotExist}
	}
	f.change(nameOp{dir: path.Dir(name), name: name, ino: ino})
	return nil
}

// Create implements audit.FS.
func (f *FaultFS) Create(name string) (audit.File, error) {
	ino := &inode{dirty: map[int]bool{}}
	err := f.do(OpCreate, name, func() error { return f.add(name, ino) })
	if err != nil {
		return nil, err
	}
	return &faultFile{fs: f, name: name, ino: ino}, nil
}

// Open implements audit.FS.
func (f *FaultFS) Open(name string) (audit.File, error) {
	var ino *inode
	err := f.do(OpOpen, name, func() error {
		if ino = f.names[name]; ino == nil || ino.dir {
			return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &faultFile{fs: f, name: name, ino: ino}, nil
}

// Mkdir implements audit.FS.
func (f *FaultFS) Mkdir(name string) error {
	return f.do(OpMkdir, name, func() error { return f.add(name, &inode{dir: true}) })
}

// Rename implements audit.FS.
func (f *FaultFS) Rename(from, to string) error {
	return f.do(OpRename, from, func() error {
		ino := f.names[from]
		if ino == nil || path.Dir(from) != path.Dir(to) {
			return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
		}
		f.change(nameOp{dir: path.Dir(to), del: from, name: to, ino: ino})
		return nil
	})
}

// Remove implements audit.FS.
func (f *FaultFS) Remove(name string) error {
	return f.do(OpRemove, name, func() error {
		if ino := f.names[name]; ino == nil || ino.dir {
			return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
		}
		f.change(nameOp{dir: path.Dir(name), del: name})
		return nil
	})
}

// ReadDir implements audit.FS.
func (f *FaultFS) ReadDir(name string) ([]audit.FileInfo, error) {
	var list []audit.FileInfo
	err := f.do(OpReadDir, name, func() error {
		if d := f.names[name]; d == nil || !d.dir {
			return &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
		}
		for n, ino := range f.names {
			if n != "." && path.Dir(n) == name {
				list = append(list, audit.FileInfo{Name: path.Base(n), Dir: ino.dir, Size: int64(len(ino.cache))})
			}
		}
		return nil
	})
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, err
}

// SyncDir implements audit.FS.
func (f *FaultFS) SyncDir(name string) error {
	return f.do(OpSyncDir, name, func() error {
		if f.noSync {
			return nil
		}
		rest := f.pending[:0]
		for _, op := range f.pending {
			if op.dir == name {
				f.keep(op)
			} else {
				rest = append(rest, op)
			}
		}
		f.pending = rest
		return nil
	})
}

func (f *FaultFS) keep(op nameOp) {
	if op.del != "" {
		delete(f.disk, op.del)
	}
	if op.name != "" {
		f.disk[op.name] = op.ino
	}
}

// Free implements audit.FS.
func (f *FaultFS) Free() (int64, error) {
	var n int64
	err := f.do(OpFree, ".", func() error { n = max(0, f.capacity-f.used()); return nil })
	return n, err
}

// Lock implements audit.FS.
func (f *FaultFS) Lock() (io.Closer, error) {
	err := f.do(OpLock, ".", func() error {
		if f.locked {
			return audit.ErrLocked
		}
		f.locked = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return unlocker{f}, nil
}

type unlocker struct{ f *FaultFS }

func (u unlocker) Close() error {
	u.f.mu.Lock()
	defer u.f.mu.Unlock()
	u.f.locked = false
	return nil
}

// List is the names of all files below dir, sorted, without faults.
func (f *FaultFS) List(dir string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for n, ino := range f.names {
		if !ino.dir && (dir == "." || strings.HasPrefix(n, dir+"/")) {
			list = append(list, n)
		}
	}
	sort.Strings(list)
	return list
}
