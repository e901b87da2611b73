package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// diesWithParent: the system kills the child of a process that ends.
const diesWithParent = true

func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

// inMemory says whether a directory is on a file system that is never on a disk, but for swap.
func inMemory(dir string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false
	}
	return st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC
}
