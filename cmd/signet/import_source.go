package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
)

// source is one key that somebody hands over: plain, with what is said of it, or sealed.
type source struct {
	label  string // what messages call it: the file, or the file and the key in it
	file   string // that was read; empty for the environment, - for standard input
	handed apple.Handed
	key    *apple.Key  // nil when sealed
	sealed []byte      // the sealed file; nil when plain
	facts  apple.Facts // settled by complete
	notes  []string    // what was odd, a sentence each

	keyFile  string // where the plaintext key lies; empty when it is in no file
	variable string // the variable that holds the plaintext key, if one does
}

// wipe overwrites the key. The source is of no more use, but for where its plaintext lies.
func (s *source) wipe() {
	if s.key != nil {
		s.key.Wipe()
	}
}

// readSources reads the keys of a file, of whatever shape. A key that the file names and that cannot be read has its
// error beside it, in the place of the key.
func (a *app) readSources(file string) ([]*source, []error, error) {
	data, err := a.readInput(file, maxSealedFile)
	if err != nil {
		return nil, nil, err
	}
	if bytes.HasPrefix(data, []byte(sealedMagic)) {
		if _, err := sealed.ParseHeader(data); err != nil {
			return nil, nil, cli.Malformedf("have it sent again, as a file", "%s: %w", file, err)
		}
		return []*source{{label: file, file: file, sealed: data}}, []error{nil}, nil
	}
	defer clear(data)
	all, err := apple.ParseHanded(data)
	if err != nil {
		return nil, nil, cli.Malformedf("", "%s: %w", file, err)
	}
	sources, problems := make([]*source, len(all)), make([]error, len(all))
	for i, h := range all {
		shows := cli.ShowsKey(h.Name)
		if shows {
			h.Name = ""
		}
		s := &source{label: file, file: file, handed: h, key: h.Key, notes: h.Notes}
		if len(all) > 1 {
			s.label = fmt.Sprintf("%s, key %d", file, i+1)
			if h.Name != "" {
				s.label = fmt.Sprintf("%s, key %q", file, h.Name)
			}
		}
		if h.Key != nil && file != "-" {
			s.keyFile = file
		}
		if h.Key == nil {
			problems[i] = a.follow(s, filepath.Dir(file))
		}
		if shows {
			problems[i] = cli.Malformedf("", "%s: its name looks like a private key", s.label)
		}
		sources[i] = s
	}
	return sources, problems, nil
}

// envSource is the key that the environment hands over.
func (a *app) envSource() (*source, error) {
	h, err := apple.ParseEnvironment(a.Getenv)
	if err != nil {
		return nil, cli.Malformedf("", "--from-env: %w", err)
	}
	s := &source{label: h.At, handed: h, key: h.Key, notes: h.Notes}
	if h.Key == nil {
		return s, a.follow(s, ".")
	}
	s.variable = h.At
	return s, nil
}

// follow reads the key file that a source names. A relative path is taken from dir, ~ is the home directory.
func (a *app) follow(s *source, dir string) error {
	path := s.handed.Path
	switch rest, home := strings.CutPrefix(path, "~/"); {
	case home:
		path = filepath.Join(a.Getenv("HOME"), rest)
	case !filepath.IsAbs(path):
		path = filepath.Join(dir, path)
	}
	data, err := a.readInput(path, apple.MaxKeyFileLen)
	if err != nil {
		return cli.Malformedf("a relative path is taken from the folder of the file that names it", "%s: %s: %w", s.label, s.handed.At, err)
	}
	defer clear(data)
	key, err := apple.ParseKey(data)
	if err != nil {
		return cli.Malformedf("", "%s: %s: %w", s.label, path, err)
	}
	s.key, s.keyFile = key, path
	s.notes = append(s.notes, key.Notes()...)
	return nil
}

// oneSource is the only key of a file or of the environment; of several, the one of that name.
func (a *app) oneSource(files []string, fromEnv bool, name string) (*source, error) {
	if fromEnv {
		return a.envSource()
	}
	all, problems, err := a.readSources(files[0])
	if err != nil {
		return nil, err
	}
	at := 0
	if len(all) > 1 {
		at = slices.IndexFunc(all, func(s *source) bool { return s.handed.Name != "" && keyNameOf(s.handed.Name) == name })
	}
	for i, s := range all {
		if i != at {
			s.wipe()
		}
	}
	if at < 0 {
		return nil, cli.Malformedf("signet key import FILE imports them all; NAME, or --name at sealing, picks the one that is called so",
			"%s names %d keys, and none of that name", files[0], len(all))
	}
	if problems[at] != nil {
		all[at].wipe()
		return nil, problems[at]
	}
	return all[at], nil
}

// keyNameOf makes a key's name of what a tool or a file calls it: in lower case, with a hyphen for whatever a name
// cannot have. The answer need not be a name: see policy.ParseKeyName.
func keyNameOf(s string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, strings.ToLower(strings.TrimSpace(s)))
	return strings.Trim(name, "-._")
}

// batchName is the name under which a key is imported that was given none.
func (s *source) batchName(prefix string) (string, error) {
	called := s.handed.Name
	if called == "" {
		base := filepath.Base(s.file)
		called = strings.TrimSuffix(base, filepath.Ext(base))
	}
	name := prefix + keyNameOf(called)
	if _, err := policy.ParseKeyName(name); err != nil {
		return "", cli.Malformedf("", "no name can be made of what it is called: %w", err)
	}
	return name, nil
}
