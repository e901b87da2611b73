//go:build !linux && !darwin

package audit

import (
	"errors"
	"io"
)

// DirFS answers an error to everything: what a sync promises is known of Linux and macOS only.
func DirFS(string) FS { return noFS{} }

// Look answers an error, too.
func Look(string) (io.Closer, error) { return nil, errSystem }

type noFS struct{}

var errSystem = errors.New("audit log: this operating system is not supported")

func (noFS) Create(string) (File, error)        { return nil, errSystem }
func (noFS) Open(string) (File, error)          { return nil, errSystem }
func (noFS) Mkdir(string) error                 { return errSystem }
func (noFS) Rename(string, string) error        { return errSystem }
func (noFS) Remove(string) error                { return errSystem }
func (noFS) ReadDir(string) ([]FileInfo, error) { return nil, errSystem }
func (noFS) SyncDir(string) error               { return errSystem }
func (noFS) Free() (int64, error)               { return 0, errSystem }
func (noFS) Lock() (io.Closer, error)           { return nil, errSystem }
