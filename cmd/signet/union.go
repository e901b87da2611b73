package main

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
)

// union is several file systems as one: a name is what the last of them that has it says it is, so that the log goes
// before its archive when both have it. Directories are joined.
type union []fs.FS

// Open implements fs.FS.
func (u union) Open(name string) (fs.File, error) {
	for _, f := range slices.Backward(u) {
		file, err := f.Open(name)
		if !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// ReadDir implements fs.ReadDirFS.
func (u union) ReadDir(name string) ([]fs.DirEntry, error) {
	all := map[string]fs.DirEntry{}
	found := false
	for _, f := range u {
		list, err := fs.ReadDir(f, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = true
		for _, d := range list {
			all[d.Name()] = d
		}
	}
	if !found {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	entries := make([]fs.DirEntry, 0, len(all))
	for _, d := range all {
		entries = append(entries, d)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries, nil
}
