package boltstore

// Fd is the descriptor that bbolt writes through.
func (b *Backend) Fd() int { return int(b.file.Fd()) }
