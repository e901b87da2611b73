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

// complete settles and checks the facts of a plain key: what the flags say, what stands beside the key, and what
// the name of its file says. A flag may complete, and correct a kind that was only inferred; the IDs it must not
// contradict. What the file's name says counts least: people rename files. Flags for many keys only complete.
func (s *source) complete(f keyFlags) error {
	named, hint, ok := apple.KeyFileHint(filepath.Base(s.keyFile))
	if _, err := apple.ParseKind(string(hint)); ok && hint != "" && err != nil {
		return cli.Malformedf("if the name is wrong, rename the file", "%s: the file's name is that of an %s key, a kind that this version does not know", s.label, hint)
	}
	facts := apple.Facts{Kind: s.handed.Kind, KeyID: s.handed.KeyID, Issuer: s.handed.Issuer}
	if f.many && facts.Kind != "" {
		f.kind = ""
	}
	if f.many && hint != "" && f.kind != "" && string(hint) != f.kind {
		return cli.Malformedf("import it alone, with the kind that it has", "%s: the file's name is that of an %s key, and --kind says another", s.label, hint)
	}
	if err := s.settleKind(&facts, f.kind, hint); err != nil {
		return err
	}
	if f.many && (facts.Issuer != "" || facts.Kind == apple.KindAppStoreConnectIndividual) {
		f.issuerID = ""
	}
	if err := s.settleKeyID(&facts, f.keyID, named); err != nil {
		return err
	}
	if f.issuerID != "" {
		issuer, err := apple.ParseIssuerID(f.issuerID)
		switch {
		case err != nil:
			return cli.Malformedf("", "--issuer-id: %w", err)
		case facts.Issuer != "" && !strings.EqualFold(string(facts.Issuer), string(issuer)):
			return s.contradicts("--issuer-id", "issuer ID")
		case facts.Issuer == "":
			facts.Issuer = issuer
		}
	}
	if err := facts.Validate(); err != nil {
		todo := "--key-id and --issuer-id say what the file does not"
		if f.many {
			todo = "--issuer-id says what the file does not; the key ID stands in the name AuthKey_<key ID>.p8, or is given to one key alone with --key-id"
		}
		return cli.Malformedf(todo, "%w", err)
	}
	s.facts = facts
	s.hintTTL(facts.Kind)
	return nil
}

func (s *source) settleKind(facts *apple.Facts, flag string, hint apple.Kind) error {
	if flag != "" {
		kind, err := apple.ParseKind(flag)
		if err != nil {
			return cli.Malformedf("", "--kind: %w", err)
		}
		if facts.Kind != "" && facts.Kind != kind {
			s.note("by what the file says it is an %s key, and --kind says %s, which counts", facts.Kind, kind)
		}
		facts.Kind = kind
	}
	if facts.Kind == "" {
		return cli.Malformedf("Apple's page says whether it is a team, an individual or an enterprise key", "--kind is needed: the file does not say what kind of key it is")
	}
	if hint != "" && hint != facts.Kind {
		s.note("the file's name is that of an %s key, and it is taken for an %s key", hint, facts.Kind)
	}
	return nil
}

func (s *source) settleKeyID(facts *apple.Facts, flag string, named apple.KeyID) error {
	if flag != "" {
		id, err := apple.ParseKeyID(flag)
		switch {
		case err != nil:
			return cli.Malformedf("", "--key-id: %w", err)
		case facts.KeyID != "" && facts.KeyID != id:
			return s.contradicts("--key-id", "key ID")
		}
		facts.KeyID = id
	}
	given := "the text beside the key"
	if flag != "" {
		given = "--key-id"
	}
	switch {
	case facts.KeyID == "":
		facts.KeyID = named
	case named != "" && named != facts.KeyID:
		s.note("the file's name says another key ID than %s, which counts", given)
	}
	return nil
}

func (s *source) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

func (s *source) contradicts(flag, what string) error {
	return cli.Malformedf("leave the flag out, or put right what is wrong", "%s: %s is not the %s that stands there", s.label, flag, what)
}

// hintTTL tells where the lifetime goes that a tool asked for.
func (s *source) hintTTL(kind apple.Kind) {
	if s.handed.Duration == 0 {
		return
	}
	longest := apple.FamilyAppStoreConnect.Limits(false).Max
	if kind == apple.KindEnterprise {
		longest = apple.FamilyEnterprise.Limits(false).Max
	}
	ttl, most := s.handed.Duration, ""
	if ttl > longest {
		ttl, most = longest, ", the most that is given"
	}
	s.note("%s asked for tokens of %d seconds; here the profile says that: ttl: %s%s", s.handed.Shape, int(s.handed.Duration.Seconds()), ttl, most)
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
