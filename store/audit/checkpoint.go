package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/p8signet/signet/proto/auditlog"
	"golang.org/x/mod/sumdb/note"
)

// tempSuffix is what a file's name ends with until it is durable.
const tempSuffix = ".tmp"

// Checkpoint is a signed checkpoint over Head. Of a closed log it is the last one that was signed, which may be
// smaller, or nil: over the end of a log that lost something nothing is signed.
func (r *Reader) Checkpoint() []byte {
	msg, _ := r.checkpoint()
	return bytes.Clone(msg)
}

// checkpoint is the newest checkpoint and what it is over.
func (r *Reader) checkpoint() ([]byte, Head) {
	r.mu.RLock()
	head, msg, noted, sign := r.head, r.note, r.noted, r.sign
	r.mu.RUnlock()
	if noted == head || sign == nil {
		return msg, noted
	}
	fresh, err := sign(head)
	if err != nil { // the one before is as true as it was
		return msg, noted
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if head.Size > r.noted.Size {
		r.note, r.noted = fresh, head
	}
	return fresh, head
}

// writeCheckpoint replaces the checkpoint file, atomically and durably.
func writeCheckpoint(fsys FS, log string, msg []byte) error {
	if err := replaceFile(fsys, log, auditlog.CheckpointFile, msg); err != nil {
		return fmt.Errorf("writing the checkpoint file: %w", err)
	}
	return nil
}

// replaceFile puts a small file into a log's directory, atomically and durably.
func replaceFile(fsys FS, log, name string, data []byte) error {
	temp := path.Join(log, name+tempSuffix)
	if err := fsys.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // a crash left it
		return err
	}
	f, err := fsys.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(temp, path.Join(log, name)); err != nil {
		return err
	}
	return fsys.SyncDir(log)
}

// readCheckpoint reads and verifies the checkpoint file; fs.ErrNotExist if there is none, auditlog.ErrCheckpoint if it
// is not one of ours.
func readCheckpoint(fsys FS, origin auditlog.Origin, s note.Signer) ([]byte, Head, error) {
	f, err := fsys.Open(path.Join(origin.Log, auditlog.CheckpointFile))
	if err != nil {
		return nil, Head{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	buf := make([]byte, auditlog.MaxNoteLen+1)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, Head{}, fmt.Errorf("reading the checkpoint file: %w", err)
	}
	c, err := auditlog.OpenCheckpoint(buf[:n], resigner{s})
	if err != nil {
		return nil, Head{}, err
	}
	if c.Origin != origin {
		return nil, Head{}, fmt.Errorf("%w: it is of another log", auditlog.ErrCheckpoint)
	}
	return buf[:n], Head{Log: origin.Log, Size: c.Size, Hash: c.Hash}, nil
}

// resigner verifies what its signer signed by signing it again: Ed25519 signatures are deterministic.
type resigner struct{ note.Signer }

// Verify implements note.Verifier.
func (r resigner) Verify(msg, sig []byte) bool {
	again, err := r.Sign(msg)
	return err == nil && bytes.Equal(again, sig)
}
