package audit

import (
	"errors"
	"os"
	"syscall"
)

// syncData is fdatasync: content and size, without the times of the inode.
func syncData(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
