//go:build !linux

package boltstore

import (
	"errors"
	"os"
)

// allocate cannot be had here: a full disk may then keep a key from being turned
// off in the store.
func allocate(*os.File, int64, int64) error { return errors.ErrUnsupported }
