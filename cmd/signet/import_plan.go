package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// item is a row of the plan: one key, and what is to become of it.
type item struct {
	File        string `json:"file"`
	Name        string `json:"name"`
	Kind        string `json:"kind"`
	KeyID       string `json:"keyId"`
	IssuerID    string `json:"issuerId"`
	Fingerprint string `json:"fingerprint"`
	// Plan is one of the plans, or "version N".
	Plan string `json:"plan"`
	// Problem says why a bad one cannot be imported.
	Problem string `json:"problem"`
	// Version is the one that was imported; 0 when none was.
	Version int32 `json:"version"`

	source *source // nil when the file could not even be read
	state  string  // of the version
}

// What the plan has for a key.
const (
	planNew    = "new key"
	planHere   = "is there"  // it was imported before, under this name
	planSealed = "as sealed" // what it is the vault will see
	planImport = "import"    // what there is in the vault is not known
	planBad    = "bad"
)

func (i *item) bad(err error) {
	i.Plan, i.Problem = planBad, strings.TrimPrefix(err.Error(), i.File+": ")
	if cli.ShowsKey(i.Problem) {
		i.Problem = "it has what looks like a private key where none belongs"
	}
	if f, ok := errors.AsType[*cli.Failure](err); ok && f.Todo != "" {
		i.Problem += " (" + f.Todo + ")"
	}
}

// endings are those of the files that a folder is looked through for.
var endings = []string{".p8", ".pem", ".key", ".json", ".sealed"}

func itemsOf(sources []*source, problems []error) []*item {
	items := make([]*item, len(sources))
	for n, s := range sources {
		items[n] = &item{File: s.label, source: s}
		if problems[n] != nil {
			items[n].bad(problems[n])
		}
	}
	return items
}

// folder reads the keys of a folder, by file name, and answers the files that it did not look at. A key file that a
// JSON beside it names is that JSON's key.
func (a *app) folder(dir string) ([]*item, []string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, &cli.Failure{Code: cli.Malformed, Err: fmt.Errorf("--dir: %w", err)}
	}
	var items []*item
	var ignored []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
			continue
		case e.IsDir(), !slices.Contains(endings, strings.ToLower(filepath.Ext(e.Name()))):
			ignored = append(ignored, e.Name())
			continue
		}
		sources, problems, err := a.readSources(path)
		if err != nil {
			broken := &item{File: path}
			broken.bad(err)
			items = append(items, broken)
			continue
		}
		items = append(items, itemsOf(sources, problems)...)
	}
	taken := map[*item]bool{}
	for _, by := range items {
		if by.source == nil || by.source.handed.Path == "" || by.source.keyFile == "" {
			continue
		}
		for _, i := range items {
			if i.source != nil && i.source.handed.Shape != "" && i.source.handed.Path == "" && cli.SameFile(i.source.file, by.source.keyFile) {
				taken[i] = true
				i.source.wipe()
			}
		}
	}
	items = slices.DeleteFunc(items, func(i *item) bool { return taken[i] })
	if len(items) == 0 {
		return nil, nil, cli.Malformedf("files that end in "+strings.Join(endings, ", ")+" are looked at", "%s holds no key file", dir)
	}
	return items, ignored, nil
}

// name gives every key its name. Two of one name are not told apart by a guess.
func name(items []*item, prefix string) {
	first := map[string]*item{}
	for _, i := range items {
		if i.source == nil {
			continue
		}
		n, err := i.source.batchName(prefix)
		switch {
		case i.Plan == planBad: // already; named all the same, for the plan
		case err != nil:
			i.bad(err)
		case first[n] != nil:
			i.bad(fmt.Errorf("%s has the name %s too: rename one of them", first[n].File, n))
		}
		i.Name = n
		if i.Plan != planBad {
			first[n] = i
		}
	}
}

// judge settles the facts of every plain key, and finds those that are there twice: of those one that is good is kept.
func judge(items []*item, f keyFlags) {
	kept := map[string]*item{}
	var plain []*item
	for _, i := range items {
		if i.source == nil || i.source.key == nil {
			continue
		}
		plain = append(plain, i)
		i.Fingerprint = string(i.source.key.Fingerprint())
		if i.Plan == planBad {
			continue
		}
		err := i.source.complete(f)
		facts := i.source.facts
		i.Kind, i.KeyID, i.IssuerID = string(facts.Kind), string(facts.KeyID), string(facts.Issuer)
		if err != nil {
			i.bad(err)
			continue
		}
		if kept[i.Fingerprint] == nil {
			kept[i.Fingerprint] = i
		}
	}
	for _, i := range plain {
		if other := kept[i.Fingerprint]; other != nil && other != i {
			i.bad(fmt.Errorf("it is the same key as %s: leave one of them out", other.File))
		}
	}
}

// compare asks what the vault has already. Who may not read keys gets a plan that does not know it.
func (a *app) compare(ctx context.Context, cl *client.Client, items []*item, f importFlags) error {
	var keys []*signetv1.Key
	for k, err := range cl.AllKeys(ctx) {
		if errors.Is(err, client.ErrDenied) {
			a.warn("you may not read keys, so the plan does not say what the vault has already")
			compareWith(items, nil, f.allowDuplicate)
			return nil
		}
		if err != nil {
			return err
		}
		keys = append(keys, k)
	}
	if keys == nil {
		keys = []*signetv1.Key{}
	}
	compareWith(items, keys, f.allowDuplicate)
	return nil
}

// compareWith plans by the keys that the caller may read; nil when they are not known. The server decides in the end.
func compareWith(items []*item, keys []*signetv1.Key, duplicate string) {
	byName, byPrint := map[string]*signetv1.Key{}, map[string][]named{}
	for _, k := range keys {
		byName[k.GetName()] = k
		for _, v := range k.GetVersions() {
			byPrint[v.GetFingerprint()] = append(byPrint[v.GetFingerprint()], named{k.GetName(), v.GetState()})
		}
	}
	for _, i := range items {
		switch here := byName[i.Name]; {
		case i.Plan == planBad:
		case i.source.sealed != nil:
			i.Plan = planSealed
		case keys == nil:
			i.Plan = planImport
		default:
			i.planBy(here, byPrint[i.Fingerprint], duplicate)
		}
	}
}

// named is a version of which only the key's name and the state matter.
type named struct {
	key   string
	state signetv1.VersionState
}

// planBy plans a plain key by the key of its name, if there is one, and by where this very key is already.
func (i *item) planBy(here *signetv1.Key, is []named, duplicate string) {
	under := func(name string) bool { return slices.ContainsFunc(is, func(n named) bool { return n.key == name }) }
	over := slices.IndexFunc(is, func(n named) bool { return n.state >= signetv1.VersionState_VERSION_STATE_REVOKED })
	i.Plan = planNew
	if here != nil {
		i.Plan = "version " + strconv.Itoa(len(here.GetVersions())+1)
	}
	switch {
	case over >= 0:
		i.bad(fmt.Errorf("the vault had it as %s, where it is %s, and it does not come back: make a new key at Apple", is[over].key, word(is[over].state.String(), "VERSION_STATE_")))
	case under(i.Name):
		i.Plan = planHere
	case len(is) > 0 && !under(duplicate):
		i.bad(fmt.Errorf("the vault has it already as %s: to have it under two names, import it alone with --allow-duplicate %s", is[0].key, is[0].key))
	case len(is) == 0 && duplicate != "":
		i.bad(fmt.Errorf("--allow-duplicate: the vault does not have this key"))
	case here != nil:
		facts := i.source.facts
		facts.KeyID = "" // a version's
		known, all := wireFacts(here)
		switch both, differs := known.Complete(facts); {
		case differs != "":
			i.bad(fmt.Errorf("the vault has a key of that name with another %s: it needs another name", differs))
		case all && !reflect.DeepEqual(both.Texts(), known.Texts()):
			i.bad(fmt.Errorf("more is said of it than the vault knows of the key of that name: leave that out, or add it with signet key update first"))
		}
	}
}
