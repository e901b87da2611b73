//go:build !linux

package vaultrun

import "syscall"

func childOf() *syscall.SysProcAttr { return nil }
