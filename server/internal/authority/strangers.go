package authority

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
)

// maxFirstLine bounds what is read of a file to learn whose it is: more than any segment's header.
const maxFirstLine = 32 << 10

// strangers refuses a directory that holds another vault's log: whoever has put a store into the place of another, or
// a log, would else go on beside it.
func strangers(fsys audit.FS, vault string) error {
	return foreign(vault,
		func(dir string) ([]string, error) {
			list, err := fsys.ReadDir(dir)
			var names []string
			for _, f := range list {
				names = append(names, f.Name)
			}
			return names, err
		},
		func(name string) ([]byte, error) {
			f, err := fsys.Open(name)
			if err != nil {
				return nil, err
			}
			data, err := io.ReadAll(io.NewSectionReader(f, 0, maxFirstLine))
			return data, errors.Join(err, f.Close())
		})
}

// Strangers is what start-up says of a log directory that holds another vault's log, for those who check a vault
// without opening its log.
func Strangers(fsys fs.FS, vault string) error {
	return foreign(vault,
		func(dir string) ([]string, error) {
			list, err := fs.ReadDir(fsys, dir)
			var names []string
			for _, f := range list {
				names = append(names, f.Name())
			}
			return names, err
		},
		func(name string) ([]byte, error) {
			f, err := fsys.Open(name)
			if err != nil {
				return nil, err
			}
			data, err := io.ReadAll(io.LimitReader(f, maxFirstLine))
			return data, errors.Join(err, f.Close())
		})
}

// foreign looks at the first lines of what lies in each directory, not at signatures: a vault has no other's keys. What
// cannot be read, or says nothing of a vault, is for those who open the logs to judge.
func foreign(vault string, list func(dir string) ([]string, error), start func(file string) ([]byte, error)) error {
	dirs, err := list(".")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing the audit log's directory: %w", err)
	}
	for _, dir := range dirs {
		files, err := list(dir)
		if err != nil {
			continue // no directory, or none that can be listed
		}
		for _, name := range files {
			_, segment := auditlog.ParseSegmentName(name)
			if !segment && name != auditlog.CheckpointFile {
				continue
			}
			data, err := start(path.Join(dir, name))
			if err != nil {
				continue
			}
			origin, ok := originOf(data, segment)
			if !ok {
				continue
			}
			if origin.Vault != vault {
				return fmt.Errorf("the log directory is that of vault %s, the store that of vault %s: put back the one that does not belong here, or correct store or log in the configuration", origin.Vault, vault)
			}
			break // one file of a directory is enough
		}
	}
	return nil
}

// originOf is the origin in the first line of a segment or of a checkpoint.
func originOf(data []byte, segment bool) (auditlog.Origin, bool) {
	line, _, ok := bytes.Cut(data, []byte("\n"))
	if !ok {
		return auditlog.Origin{}, false
	}
	if !segment {
		origin, err := auditlog.ParseOrigin(string(line))
		return origin, err == nil
	}
	header, err := auditlog.ParseHeader(line)
	if err != nil {
		return auditlog.Origin{}, false
	}
	return header.Origin, true
}
