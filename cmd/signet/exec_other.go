//go:build unix && !linux

package main

import "syscall"

// diesWithParent: nothing but the guard kills the child of a process that ends.
const diesWithParent = false

func dieWithParent(*syscall.SysProcAttr) {}

// inMemory says whether a directory is on a file system that is never on a disk. There is no such one that everybody has here.
func inMemory(string) bool { return false }
