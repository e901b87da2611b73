package boltstore

import (
	"log/slog"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// Trim implements store.Trimmer: the pages of the mapped file leave the process.
// They are in the page cache still, and come back one by one as they are read.
func (b *Backend) Trim() {
	err := b.view(func(tx *bbolt.Tx) error {
		// What is in use, and not what the file has: that grows beyond the mapping,
		// and what lies there is not ours. The transaction keeps the mapping in place.
		_, _, errno := unix.Syscall(unix.SYS_MADVISE, b.db.Info().Data, uintptr(tx.Size()), unix.MADV_DONTNEED) //nolint:gosec // a size is not negative
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		b.log.Debug("the mapped pages of the store stay in memory", slog.Any("error", err))
	}
}
