package kek

import "github.com/p8signet/signet/store/envelope"

// Open returns the KEK that uri names. Relative paths in it are relative to
// dir.
func Open(uri, dir string) (envelope.KEK, error) { panic("not yet") }

// CreateFile makes a file KEK: 32 random bytes, mode 0600, synced. It never
// touches an existing file.
func CreateFile(path string) error { panic("not yet") }
