package boltstore

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocate gives f disk blocks for n bytes at off, and the size for it. What is
// there already stays.
func allocate(f *os.File, off, n int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, off, n)
		if err != unix.EINTR {
			return err
		}
	}
}
