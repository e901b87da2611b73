package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"

	"github.com/p8signet/signet/proto/auditlog"
	"golang.org/x/mod/sumdb/tlog"
)

const hashesFile = "hashes"

// span is a stretch of the tree that needs no file: the hashes that its entries completed, and the frontier before.
// Everything about trees that end in it, and about leaves in it, can be proved from it alone.
type span struct {
	base   auditlog.Tree
	stored []auditlog.Hash // from tlog.StoredHashCount(base.Size()) on
}

// ReadHashes implements tlog.HashReader.
func (s *span) ReadHashes(indexes []int64) ([]auditlog.Hash, error) {
	start := tlog.StoredHashCount(s.base.Size())
	list := make([]auditlog.Hash, len(indexes))
	for i, x := range indexes {
		if x >= start {
			if x-start >= int64(len(s.stored)) {
				return nil, errors.New("a hash beyond the tree")
			}
			list[i] = s.stored[x-start]
			continue
		}
		found := false
		for at, h := range s.base.Frontier {
			if at == x {
				list[i], found = h, true
			}
		}
		if !found {
			return nil, errors.New("a hash before the frontier")
		}
	}
	return list, nil
}

// hashes keeps the hashes of a log's tree: the older ones in a file, the newer ones in memory until flush. The file is
// derived and nothing vouches for it; whoever proves something with it verifies the proof.
type hashes struct {
	fs   FS
	name string

	flushing sync.Mutex // held by flush and put, which write

	mu   sync.RWMutex
	file File            // nil: not opened yet
	shut bool            // it will not be opened again
	base int64           // those below are in the file, the others in tail
	tail []auditlog.Hash // from base on
}

// newHashes begins with base hashes in the file, whatever is there.
func newHashes(fsys FS, log string, base int64, tail []auditlog.Hash) *hashes {
	return &hashes{fs: fsys, name: path.Join(log, hashesFile), base: base, tail: tail}
}

// add adds hashes behind all others.
func (h *hashes) add(stored []auditlog.Hash) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tail = append(h.tail, stored...)
}

// open opens the file, making it if there is none. h.flushing is held.
func (h *hashes) open() (File, error) {
	h.mu.RLock()
	f, shut := h.file, h.shut
	h.mu.RUnlock()
	if shut {
		return nil, ErrClosed
	}
	if f != nil {
		return f, nil
	}
	f, err := h.fs.Open(h.name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = h.fs.Create(h.name)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the file of hashes: %w", err)
	}
	h.mu.Lock()
	h.file = f
	h.mu.Unlock()
	return f, nil
}

// flush writes what is in memory to the file. It is not synced: after a crash it is compared, and rebuilt.
func (h *hashes) flush() error {
	h.flushing.Lock()
	defer h.flushing.Unlock()
	h.mu.RLock()
	base, tail := h.base, h.tail
	h.mu.RUnlock()
	if len(tail) == 0 {
		return nil
	}
	f, err := h.open()
	if err != nil {
		return err
	}
	if err := writeHashes(f, base, tail); err != nil {
		return err
	}
	h.mu.Lock()
	h.base += int64(len(tail))
	h.tail = append([]auditlog.Hash(nil), h.tail[len(tail):]...)
	h.mu.Unlock()
	return nil
}

// put writes hashes of any place to the file, for a rebuild.
func (h *hashes) put(at int64, list []auditlog.Hash) error {
	h.flushing.Lock()
	defer h.flushing.Unlock()
	f, err := h.open()
	if err != nil {
		return err
	}
	return writeHashes(f, at, list)
}

func writeHashes(f File, at int64, list []auditlog.Hash) error {
	const chunk = 8192
	buf := make([]byte, 0, min(len(list), chunk)*tlog.HashSize)
	for len(list) > 0 {
		n := min(len(list), chunk)
		buf = buf[:0]
		for _, h := range list[:n] {
			buf = append(buf, h[:]...)
		}
		if _, err := f.WriteAt(buf, at*tlog.HashSize); err != nil {
			return fmt.Errorf("writing the file of hashes: %w", err)
		}
		list, at = list[n:], at+int64(n)
	}
	return nil
}

// ReadHashes implements tlog.HashReader. The file is read without a lock, for add must not wait for it: what lies
// below base does not change, but for a rebuild, which whoever asks notices by a proof that is wrong.
func (h *hashes) ReadHashes(indexes []int64) ([]auditlog.Hash, error) {
	list := make([]auditlog.Hash, len(indexes))
	h.mu.RLock()
	file, base := h.file, h.base
	for i, x := range indexes {
		if x >= base+int64(len(h.tail)) {
			h.mu.RUnlock()
			return nil, errors.New("a hash beyond the tree")
		}
		if x >= base {
			list[i] = h.tail[x-base]
		}
	}
	h.mu.RUnlock()
	for i, x := range indexes {
		if x >= base {
			continue
		}
		if file == nil {
			return nil, errHashes
		}
		if _, err := file.ReadAt(list[i][:], x*tlog.HashSize); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading the file of hashes: %w", err)
		}
	}
	return list, nil
}

var errHashes = errors.New("the file of hashes does not agree with the log")

// load opens the file for reading if it is there.
func (h *hashes) load() error {
	h.flushing.Lock()
	defer h.flushing.Unlock()
	if h.file != nil {
		return nil
	}
	f, err := h.fs.Open(h.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening the file of hashes: %w", err)
	}
	h.mu.Lock()
	h.file = f
	h.mu.Unlock()
	return nil
}

func (h *hashes) close() error {
	h.flushing.Lock()
	defer h.flushing.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.file
	h.file, h.shut = nil, true
	if f == nil {
		return nil
	}
	return f.Close()
}
