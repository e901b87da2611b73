package storetest

import (
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"testing/fstest"

	"github.com/p8signet/signet/store/audit"
)

type faultFile struct {
	fs   *FaultFS
	name string
	ino  *inode
}

func (h *faultFile) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	err := h.fs.do(OpRead, h.name, func() error {
		if off < int64(len(h.ino.cache)) {
			n = copy(p, h.ino.cache[off:])
		}
		if n < len(p) {
			return io.EOF
		}
		return nil
	})
	return n, err
}

func (h *faultFile) WriteAt(p []byte, off int64) (int, error) {
	n := 0
	err := h.fs.do(OpWrite, h.name, func() (err error) {
		n, err = h.write(p, off)
		return err
	}, func(e Effect) {
		if e == Torn {
			n, _ = h.write(p[:len(p)/2], off)
		}
	})
	return n, err
}

// write writes what there is room for; fs.mu is held.
func (h *faultFile) write(p []byte, off int64) (int, error) {
	var err error
	if grow := off + int64(len(p)) - int64(len(h.ino.cache)); grow > 0 {
		if over := h.fs.used() + grow - h.fs.capacity; over > 0 {
			err = audit.ErrNoSpace
			p = p[:max(0, int64(len(p))-over)]
		}
	}
	if len(p) == 0 {
		return 0, err
	}
	end := int(off) + len(p)
	if end > len(h.ino.cache) {
		h.ino.cache = append(h.ino.cache, make([]byte, end-len(h.ino.cache))...)
	}
	copy(h.ino.cache[off:], p)
	for pg := int(off) / pageSize; pg <= (end-1)/pageSize; pg++ {
		h.ino.dirty[pg] = true
	}
	return len(p), err
}

func (h *faultFile) Sync() error {
	return h.fs.do(OpSync, h.name, func() error {
		if !h.fs.noSync {
			h.ino.sync(func(int) bool { return true })
		}
		return nil
	}, func(e Effect) {
		h.ino.sync(func(page int) bool { return e == Torn && page%2 == 0 })
	})
}

func (h *faultFile) Stat() (audit.FileInfo, error) {
	var fi audit.FileInfo
	err := h.fs.do(OpStat, h.name, func() error {
		fi = audit.FileInfo{
			Name: path.Base(h.name), Size: int64(len(h.ino.cache)), Linked: h.fs.names[h.name] == h.ino,
		}
		return nil
	})
	return fi, err
}

func (h *faultFile) Close() error { return nil }

// sync writes the dirty pages that keep says to the disk and calls all of them clean.
func (i *inode) sync(keep func(page int) bool) {
	for pg := range i.dirty {
		if keep(pg) {
			i.keep(pg*pageSize, min((pg+1)*pageSize, len(i.cache)))
		}
	}
	clear(i.dirty)
}

// keep writes cache[from:to] to the disk.
func (i *inode) keep(from, to int) {
	if to > len(i.disk) {
		i.disk = append(i.disk, make([]byte, to-len(i.disk))...)
	}
	copy(i.disk[from:to], i.cache[from:to])
}

// PowerCut takes the power away and brings it back: what was synced stays, and of the rest any subset that r chooses.
// The old FaultFS is dead; the one returned has no faults set.
func (f *FaultFS) PowerCut(r *rand.Rand) *FaultFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	for _, op := range f.pending {
		if r.IntN(2) == 0 {
			f.keep(op)
		}
	}
	next := NewFaultFS()
	next.capacity, next.noSync = f.capacity, f.noSync
	moved := map[*inode]*inode{}
	for _, name := range slices.Sorted(maps.Keys(f.disk)) {
		ino := f.disk[name]
		if name == "." || f.disk[path.Dir(name)] == nil {
			continue // its directory was lost, and it with it
		}
		n := moved[ino]
		if n == nil {
			n = ino.powerCut(r)
			moved[ino] = n
		}
		next.names[name], next.disk[name] = n, n
	}
	return next
}

// powerCut is what of the inode is there after a power cut.
func (i *inode) powerCut(r *rand.Rand) *inode {
	if i.dir {
		return &inode{dir: true}
	}
	all := r.IntN(4) // often everything or nothing, which is likeliest in life too
	for _, pg := range slices.Sorted(maps.Keys(i.dirty)) {
		from, to := pg*pageSize, min((pg+1)*pageSize, len(i.cache))
		switch how := r.IntN(4); {
		case all == 0 || from >= to:
		case all == 1 || how == 0:
			i.keep(from, to)
		case how == 1:
			for s := from; s < to; s += sectorSize {
				if r.IntN(2) == 0 {
					i.keep(s, min(s+sectorSize, to))
				}
			}
		}
	}
	if grow := len(i.cache) - len(i.disk); grow > 0 && len(i.dirty) > 0 && r.IntN(3) == 0 {
		i.disk = append(i.disk, make([]byte, r.IntN(grow+1))...) // the size arrived before the content
	}
	return &inode{cache: append([]byte(nil), i.disk...), disk: i.disk, dirty: map[int]bool{}}
}

// Restart kills the process and starts it anew: the page cache stays, with all that it believes. The old FaultFS is
// dead; the one returned has no faults set.
func (f *FaultFS) Restart() *FaultFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
	return &FaultFS{
		names: f.names, disk: f.disk, pending: f.pending, capacity: f.capacity, noSync: f.noSync,
	}
}

// Tamper changes a file as someone with an editor would: at once and for good. A nil result removes it.
func (f *FaultFS) Tamper(name string, edit func([]byte) []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ino := f.names[name]
	if ino == nil {
		return &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	b := edit(append([]byte(nil), ino.cache...))
	if b == nil {
		delete(f.names, name)
		delete(f.disk, name)
		return nil
	}
	ino.cache, ino.disk = b, append([]byte(nil), b...)
	clear(ino.dirty)
	f.disk[name] = ino
	return nil
}

// Files is a copy of the files of a directory as reads see them, for auditlog.VerifySegments.
func (f *FaultFS) Files(dir string) fstest.MapFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := fstest.MapFS{}
	for name, ino := range f.names {
		if !ino.dir && path.Dir(name) == dir {
			m[path.Base(name)] = &fstest.MapFile{Data: append([]byte(nil), ino.cache...), Mode: 0o600}
		}
	}
	return m
}

var (
	_ audit.FS   = (*FaultFS)(nil)
	_ audit.File = (*faultFile)(nil)
)

// Fork is another file system in the same state, down to what is unsynced, without faults.
func (f *FaultFS) Fork() *FaultFS {
	f.mu.Lock()
	defer f.mu.Unlock()
	copies := map[*inode]*inode{}
	fork := func(ino *inode) *inode {
		if ino == nil {
			return nil
		}
		if copies[ino] == nil {
			copies[ino] = &inode{dir: ino.dir, cache: slices.Clone(ino.cache), disk: slices.Clone(ino.disk), dirty: maps.Clone(ino.dirty)}
		}
		return copies[ino]
	}
	next := NewFaultFS()
	next.capacity, next.noSync = f.capacity, f.noSync
	for name, ino := range f.names {
		next.names[name] = fork(ino)
	}
	for name, ino := range f.disk {
		next.disk[name] = fork(ino)
	}
	for _, op := range f.pending {
		op.ino = fork(op.ino)
		next.pending = append(next.pending, op)
	}
	return next
}
