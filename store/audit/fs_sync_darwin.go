package audit

import "os"

// syncData is F_FULLFSYNC, as package os has it.
func syncData(f *os.File) error { return f.Sync() }
