package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
)

// What a Backend answers. Implementations return errors that match one of
// these with errors.Is, or another error, which always means that nothing has
// changed.
var (
	// ErrNoRoot says that the Backend holds no root. It is never read as an
	// empty vault.
	ErrNoRoot = errors.New("the store has no root")
	// ErrNoBlob says that the Backend holds no blob of that reference.
	ErrNoBlob = errors.New("the blob is not in the store")
	// ErrConflict says that the root is not the expected one and that nothing
	// has changed. From Commit: decide again on the current snapshot.
	ErrConflict = errors.New("the store has changed in the meantime")
	// ErrUnknown says that a change may or may not have happened, or may still
	// happen. From Commit: it could not be settled; the next commit settles it
	// before it does anything else.
	ErrUnknown = errors.New("the outcome of the change is unknown")
	// ErrExists says that a vault is there already.
	ErrExists = errors.New("a vault exists here already")
	// ErrInUse says that another process has the store open.
	ErrInUse = errors.New("the store is in use by another process")
	// ErrClosed says that the store or the Backend has been closed.
	ErrClosed = errors.New("the store is closed")
)

// Ref names a blob. It is random, so that a blob is written once and a
// reference never comes to mean something else.
type Ref [16]byte

// NewRef draws a fresh reference.
func NewRef() Ref {
	var r Ref
	rand.Read(r[:]) // never fails: crypto/rand ends the process instead
	return r
}

// ParseRef reads what String wrote: 32 lower-case hexadecimal digits.
func ParseRef(s string) (Ref, error) {
	var r Ref
	if len(s) != hex.EncodedLen(len(r)) {
		return Ref{}, fmt.Errorf("a blob reference has %d characters, not %d", hex.EncodedLen(len(r)), len(s))
	}
	if _, err := hex.Decode(r[:], []byte(s)); err != nil || r.String() != s {
		return Ref{}, errors.New("a blob reference is lower-case hexadecimal")
	}
	return r, nil
}

func (r Ref) String() string { return hex.EncodeToString(r[:]) }

// Trimmer is what a Backend may be beside, if reading costs it memory that it can
// give back. Open calls Trim once it has read everything there is to read.
type Trimmer interface{ Trim() }

// Change is one commit: blobs to add and the root to replace.
type Change struct {
	// Old is the root that must be in place, byte for byte; nil when there must
	// be none. New takes its place and is never empty.
	Old, New []byte
	// Put are new blobs. Their references are fresh.
	Put map[Ref][]byte
	// Drop are blobs that New no longer reaches. A Backend may delete them with
	// the swap or leave them as garbage; it never deletes them when the swap
	// does not happen.
	Drop []Ref
}

// Backend is a dumb place for immutable blobs and one root. Nothing in it is
// secret and nothing from it is believed before it has been authenticated.
//
// All methods may be called concurrently. Byte slices given are not kept or
// modified, and slices returned belong to the caller.
//
// What Root and Get return is durable, or will be refused: an implementation
// whose medium failed a sync answers Root, Swap, List and Delete only after it has made
// sure what lasts. (Get may go on answering: blobs are checked by their hash,
// and only a root that Root returned makes them count.)
type Backend interface {
	// Root returns the current root. No root: ErrNoRoot.
	Root(ctx context.Context) ([]byte, error)
	// Get returns a blob. Not there: ErrNoBlob.
	Get(ctx context.Context, ref Ref) ([]byte, error)
	// Swap stores all of c.Put and replaces the root c.Old by c.New, as one:
	// a crash leaves all of it or nothing reachable.
	//
	// nil: it has happened and is durable. ErrConflict: the root was not c.Old
	// and nothing has changed. ErrUnknown: it has happened, or not, or it still
	// may; it can no longer happen once another Swap from c.Old has succeeded.
	// Any other error: it has not happened and never will.
	Swap(ctx context.Context, c Change) error
	// List yields the reference of every blob, in any order. Blobs added or
	// deleted while it runs may be missing or present. It ends after the first
	// error. The loop body must not call the Backend.
	List(ctx context.Context) iter.Seq2[Ref, error]
	// Delete removes blobs; those that are not there are passed over. An error
	// means that any of them may remain. Only garbage is deleted: nothing that
	// the current root reaches.
	Delete(ctx context.Context, refs ...Ref) error
	// Close lets go of the medium. Later calls return ErrClosed. A second Close
	// does nothing.
	Close() error
}

// Registers is what a Backend has beside when several nodes may share it: small records, each replaced by check-and-set. A
// Backend without it serves one node.
//
// Names are 1 to 100 letters, digits, '-', '_' and '.', beginning with a letter. Nothing in a register is believed before
// it has been authenticated.
type Registers interface {
	// Register reads a register and the number of its version, which grows by one with every write. One that never was or
	// has been removed: nil and 0. It may be stale.
	Register(ctx context.Context, name string) (value []byte, version uint64, err error)
	// SetRegister writes value on top of version; of 0: only where there is no such register.
	//
	// nil: it has happened and is durable. ErrConflict: another version is there. This very call may have made it, when the
	// request came through twice; who must know reads. ErrUnknown: it has happened, or not, or it still may; it can no
	// longer happen once another write on top of version has. Any other error: it has not happened and never will.
	SetRegister(ctx context.Context, name string, version uint64, value []byte) error
	// RemoveRegister removes a register, of whatever version; one that is not there is passed over. Its numbers may begin
	// anew after that.
	RemoveRegister(ctx context.Context, name string) error
	// ListRegisters lists the names of all registers, in any order.
	ListRegisters(ctx context.Context) ([]string, error)
}
