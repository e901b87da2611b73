package cli

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Harden keeps this process's memory out of core dumps and away from debuggers. For main, before anything secret is read.
func Harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turning core dumps off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keeping debuggers out: %w", err)
	}
	return nil
}
