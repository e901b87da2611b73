package vaultrun

import "syscall"

// childOf ends the process with the one that started it: a test that is killed leaves none behind.
func childOf() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
