// Package kek opens key encryption keys by URI.
//
//	file:PATH   32 random bytes in a file of mode 0600 that belongs to us
//
// vault-transit:MOUNT/KEY is opened by package vaultstore, which knows how to reach Vault.
//
// # Trust
//
// Whoever reads a KEK and the store reads every key. A file KEK on the disk of
// the store defends against nothing that takes the disk.
//
// # Concurrency and crashes
//
// A KEK is safe for concurrent use. Its bytes are read when they are needed and
// wiped after. CreateFile leaves nothing or a whole file.
package kek

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/p8signet/signet/store/envelope"
)

// Open returns the KEK that uri names, having checked that it is usable now. A
// relative path in uri is relative to dir.
func Open(uri, dir string) (envelope.KEK, error) {
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok {
		return nil, fmt.Errorf("a KEK is given as a URI, file:PATH; this one has no scheme")
	}
	switch scheme {
	case "file":
		return openFile(uri, rest, dir)
	default:
		return nil, fmt.Errorf("a KEK of an unknown scheme; this version knows file:PATH and vault-transit:MOUNT/KEY")
	}
}

func openFile(uri, path, dir string) (envelope.KEK, error) {
	if path == "" {
		return nil, fmt.Errorf("%s names no file", uri)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	f := &file{uri: uri, path: path}
	if err := f.lend(func([]byte) error { return nil }); err != nil {
		return nil, err
	}
	return f, nil
}
