//go:build !linux

package boltstore

// Trim implements store.Trimmer, and leaves it to the system.
func (b *Backend) Trim() {}
