// Package house keeps the plan of the house: which room may import which, and what may lie at the root.
// It has no code of its own; its test reads the sources, so that a wrong import fails the build of everyone.
package house

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/p8signet/signet"

// mayImport is the import table: room → rooms of ours that its non-test files may import; one ending in "/..." stands for
// everything below it. A package that no row names fails the test, so a new room is a decision and not an accident.
var mayImport = map[string][]string{
	"proto/signet/v1": {},
	"proto/auditlog":  {},
	"proto/sealed":    {},

	"server/apple":              {},
	"server/policy":             {"server/apple"},
	"server/authn":              {"server/policy"},
	"server/internal/authority": {"server/apple", "server/policy", "store", "store/envelope", "store/audit", "store/lease", "proto/auditlog", "proto/sealed"},
	"server": {
		"server/authn", "server/policy", "server/apple", "server/internal/authority",
		"store", "store/envelope", "store/audit", "proto/signet/v1", "proto/auditlog", "proto/sealed",
	},
	"server/servertest/fakeapple": {},
	"server/servertest":           {"server", "client", "store", "store/envelope", "store/storetest", "proto/signet/v1", "proto/sealed"},

	"store":                 {"store/envelope", "proto/sealed"},
	"store/envelope":        {},
	"store/kek":             {"store/envelope"},
	"store/boltstore":       {"store"},
	"store/audit":           {"proto/auditlog"},
	"store/lease":           {"store"},
	"store/lease/leasetest": {},
	"store/storetest":       {"store", "store/envelope", "store/audit"},

	"store/vaultstore":          {"store", "store/envelope"},
	"store/vaultstore/vaultrun": {},

	"client":              {"proto/signet/v1", "proto/auditlog", "proto/sealed"},
	"client/oauth2source": {"client"},

	"cmd/signet":       {"client", "server/policy", "server/apple", "proto/...", "cmd/internal/cli"},
	"cmd/signetd":      {"cmd/internal/daemon", "cmd/internal/cli"},
	"cmd/internal/cli": {"client", "proto/auditlog"},
	"cmd/internal/daemon": {
		"server", "client", "store", "store/envelope", "store/kek", "store/boltstore", "store/vaultstore", "store/audit", "proto/signet/v1",
		"proto/auditlog", "cmd/internal/cli",
	},
	"cmd/internal/bench": {
		"client", "store", "store/envelope", "store/kek", "store/boltstore", "store/vaultstore", "store/vaultstore/vaultrun", "store/audit",
		"proto/signet/v1", "proto/auditlog",
	},
	"cmd/internal/demo":    {"store/vaultstore/vaultrun"},
	"cmd/internal/release": {},
	"cmd/internal/house":   {},
}

// onlyTalkers are the rooms that may know the wire's types: nobody below the server does.
var onlyTalkers = []string{"server", "server/servertest", "client", "cmd/..."}

// atRoot is all that may lie at the root, beside dotfiles.
var atRoot = []string{
	"proto", "server", "store", "client", "cmd", "deploy",
	"go.mod", "go.sum", "buf.yaml", "buf.gen.yaml",
	"README.md", "SECURITY.md", "CONTRIBUTING.md", "LICENSE", "Makefile",
}

func within(room, row string) bool {
	if base, ok := strings.CutSuffix(row, "/..."); ok {
		return strings.HasPrefix(room, base+"/")
	}
	return room == row
}

func TestImports(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			nested := rel != "." && fileExists(filepath.Join(path, "go.mod"))
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || nested) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		room := filepath.ToSlash(filepath.Dir(rel))
		row, ok := mayImport[room]
		if !ok {
			t.Errorf("%s: package %s has no row in the import table; add one, or put the file in a room that has", rel, room)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			ours, ok := strings.CutPrefix(name, module+"/")
			if !ok {
				continue
			}
			if !slices.ContainsFunc(row, func(r string) bool { return within(ours, r) }) {
				t.Errorf("%s imports %s, which the import table does not allow %s", rel, ours, room)
			}
			if ours == "proto/signet/v1" && !slices.ContainsFunc(onlyTalkers, func(r string) bool { return within(room, r) }) {
				t.Errorf("%s: only server, client and cmd know the wire's types", rel)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRoot(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(atRoot, e.Name()) && !slices.Contains([]string{"bin", "dist"}, e.Name()) {
			t.Errorf("%s lies at the root, where only %s do", e.Name(), strings.Join(atRoot, ", "))
		}
	}
}

// TestPapers looks up every path that the papers name in backquotes.
func TestPapers(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	path := regexp.MustCompile("`((?:proto|server|store|client|cmd|deploy|\\.ci)/[A-Za-z0-9_./-]+)`")
	for _, paper := range []string{"README.md", "SECURITY.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(filepath.Join(root, paper))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range path.FindAllStringSubmatch(string(text), -1) {
			if !fileExists(filepath.Join(root, m[1])) {
				t.Errorf("%s names %s, which is not there", paper, m[1])
			}
		}
	}
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
