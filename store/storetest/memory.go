package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/p8signet/signet/store"
)

// MemoryBackend is a store.Backend in memory, and by the letter of its contract:
// what it gives and takes is copied. It survives Store.Close, so that a restart
// is another store.Open on it.
type MemoryBackend struct {
	mu        sync.Mutex
	root      []byte
	blobs     map[store.Ref][]byte
	registers map[string]register
	closed    bool
}

// register is a register in memory.
type register struct {
	value   []byte
	version uint64
}

// Memory returns an empty one.
func Memory() *MemoryBackend {
	return &MemoryBackend{blobs: map[store.Ref][]byte{}, registers: map[string]register{}}
}

// Root implements store.Backend.
func (m *MemoryBackend) Root(ctx context.Context) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return nil, store.ErrClosed
	case ctx.Err() != nil:
		return nil, fmt.Errorf("reading the root: %w", ctx.Err())
	case m.root == nil:
		return nil, store.ErrNoRoot
	}
	return bytes.Clone(m.root), nil
}

// Get implements store.Backend.
func (m *MemoryBackend) Get(ctx context.Context, ref store.Ref) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch blob, ok := m.blobs[ref]; {
	case m.closed:
		return nil, store.ErrClosed
	case ctx.Err() != nil:
		return nil, fmt.Errorf("reading blob %s: %w", ref, ctx.Err())
	case !ok:
		return nil, fmt.Errorf("reading blob %s: %w", ref, store.ErrNoBlob)
	default:
		return append([]byte{}, blob...), nil
	}
}

// Swap implements store.Backend.
func (m *MemoryBackend) Swap(ctx context.Context, c store.Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return store.ErrClosed
	case ctx.Err() != nil:
		return fmt.Errorf("committing: %w", ctx.Err())
	case len(c.New) == 0:
		return errors.New("committing: there is no new root")
	case !bytes.Equal(m.root, c.Old):
		return fmt.Errorf("committing: %w", store.ErrConflict)
	}
	for ref, blob := range c.Put {
		m.blobs[ref] = bytes.Clone(blob)
	}
	for _, ref := range c.Drop {
		delete(m.blobs, ref)
	}
	m.root = bytes.Clone(c.New)
	return nil
}

// List implements store.Backend.
func (m *MemoryBackend) List(ctx context.Context) iter.Seq2[store.Ref, error] {
	return func(yield func(store.Ref, error) bool) {
		m.mu.Lock()
		refs, closed := slices.Collect(maps.Keys(m.blobs)), m.closed
		m.mu.Unlock()
		if closed {
			yield(store.Ref{}, store.ErrClosed)
			return
		}
		for _, ref := range refs {
			if err := ctx.Err(); err != nil {
				yield(store.Ref{}, fmt.Errorf("listing blobs: %w", err))
				return
			}
			if !yield(ref, nil) {
				return
			}
		}
	}
}

// Delete implements store.Backend.
func (m *MemoryBackend) Delete(ctx context.Context, refs ...store.Ref) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return store.ErrClosed
	case ctx.Err() != nil:
		return fmt.Errorf("deleting blobs: %w", ctx.Err())
	}
	for _, ref := range refs {
		delete(m.blobs, ref)
	}
	return nil
}

// SharedMemory is a MemoryBackend with registers: one that several stores may
// share. It implements store.Registers, by the letter of its contract too.
type SharedMemory struct{ *MemoryBackend }

// Shared returns an empty one.
func Shared() *SharedMemory { return &SharedMemory{Memory()} }

// Register implements store.Registers. It is never stale.
func (m *SharedMemory) Register(ctx context.Context, name string) ([]byte, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx, name); err != nil {
		return nil, 0, fmt.Errorf("reading a register: %w", err)
	}
	r := m.registers[name]
	return bytes.Clone(r.value), r.version, nil
}

// SetRegister implements store.Registers.
func (m *SharedMemory) SetRegister(ctx context.Context, name string, version uint64, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.ready(ctx, name)
	if err == nil && m.registers[name].version != version {
		err = store.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("writing a register: %w", err)
	}
	m.registers[name] = register{append([]byte{}, value...), version + 1}
	return nil
}

// RemoveRegister implements store.Registers.
func (m *SharedMemory) RemoveRegister(ctx context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx, name); err != nil {
		return fmt.Errorf("removing a register: %w", err)
	}
	delete(m.registers, name)
	return nil
}

// ListRegisters implements store.Registers.
func (m *SharedMemory) ListRegisters(ctx context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return nil, store.ErrClosed
	case ctx.Err() != nil:
		return nil, fmt.Errorf("listing registers: %w", ctx.Err())
	}
	return slices.Collect(maps.Keys(m.registers)), nil
}

// ready says why a call on a register is not made.
func (m *MemoryBackend) ready(ctx context.Context, name string) error {
	switch {
	case m.closed:
		return store.ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return store.CheckRegister(name)
}

// Close implements store.Backend.
func (m *MemoryBackend) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// Clone returns a copy of what is there now, open: a backup, or what an attacker
// keeps to bring back.
func (m *MemoryBackend) Clone() *MemoryBackend {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := Memory()
	c.root = bytes.Clone(m.root)
	for ref, blob := range m.blobs {
		c.blobs[ref] = bytes.Clone(blob)
	}
	for name, r := range m.registers {
		c.registers[name] = register{bytes.Clone(r.value), r.version}
	}
	return c
}

// SetRoot puts any bytes in the place of the root; nil removes it. What a
// Backend never does of itself.
func (m *MemoryBackend) SetRoot(root []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.root = bytes.Clone(root)
}

// SetBlob puts any bytes in the place of a blob; nil removes it. What a Backend
// never does of itself.
func (m *MemoryBackend) SetBlob(ref store.Ref, blob []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if blob == nil {
		delete(m.blobs, ref)
		return
	}
	m.blobs[ref] = bytes.Clone(blob)
}
