package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/p8signet/signet/server/apple"
)

// profile is what may be minted under one name.
type profile struct {
	at     position
	name   ProfileName
	key    KeyName
	params apple.Params
	scope  []apple.Scope // ascending; none for whatever the key's role allows
	ttl    time.Duration // both the default and the most
	reuse  apple.Reuse
}

// grants says whether all the requests are in the profile's scope.
func (pr *profile) grants(asked []apple.Scope) bool {
	if len(pr.scope) == 0 {
		return true
	}
	for _, s := range asked {
		if _, ok := slices.BinarySearch(pr.scope, s); !ok {
			return false
		}
	}
	return true
}

// families are what a profile can mint, by the key under which it gives their
// parameters.
var families = []struct {
	field string
	with  func(scope []apple.Scope) apple.Params
}{
	{fieldOf(apple.FamilyAppStoreConnect), func(s []apple.Scope) apple.Params { return apple.AppStoreConnect{Scope: s} }},
	{fieldOf(apple.FamilyEnterprise), func(s []apple.Scope) apple.Params { return apple.Enterprise{Scope: s} }},
}

func fieldOf(f apple.Family) string { return strings.ReplaceAll(string(f), "-", "_") }

func (c *compiler) profile(e entry) {
	pr := &profile{at: e.key}
	name, err := ParseProfileName(e.name)
	if err != nil {
		c.add(e.key, "%v", err)
	}
	pr.name = name
	c.profiles[name] = pr // also a faulty one: grants that name it are not at fault
	known := []string{"key", "ttl", "reuse"}
	for _, family := range families {
		known = append(known, family.field)
	}
	f, ok := c.fields(e.value, "a profile", known...)
	if f == nil {
		return
	}
	var familyAt position
	for _, family := range families {
		e, ok := f[family.field]
		switch {
		case !ok:
		case pr.params != nil:
			c.add(e.key, "a second family of tokens: a profile has one, so make two profiles")
		default:
			familyAt = e.key
			pr.scope = c.scope(e)
			pr.params = family.with(pr.scope)
		}
	}
	if pr.params == nil && ok {
		c.add(e.key, "the profile has no family of tokens: give it %s", strings.Join(known[3:], ": {} or ")+": {}")
	}
	c.ttl(pr, f)
	c.reuse(pr, f)
	keyField, ok := f["key"]
	if !ok {
		c.add(e.key, "the profile has no key: name the key that signs, key: NAME")
		return
	}
	c.key(pr, keyField.value, familyAt)
}

// scope reads a family's parameters, of which there is but the scope.
func (c *compiler) scope(e entry) []apple.Scope {
	f, _ := c.fields(e.value, e.name, "scope")
	s, ok := f["scope"]
	if !ok {
		return nil
	}
	list, ok := c.list(s.value, "scope")
	if !ok {
		return nil
	}
	switch {
	case len(list) == 0:
		c.add(s.key, "scope is empty: name the GET requests to which tokens are limited, or leave scope out for all that the key's role allows")
	case len(list) > apple.MaxScopeEntries:
		c.add(s.key, "scope has more than %d entries: make several profiles", apple.MaxScopeEntries)
	}
	var scope []apple.Scope
	for _, n := range list {
		text, ok := c.text(n, "an entry of scope", `a request such as "GET /v1/apps"`)
		if !ok {
			continue
		}
		entry, err := apple.ParseScope(text)
		if err != nil {
			c.add(positionOf(n), "%v", err)
			continue
		}
		i, found := slices.BinarySearch(scope, entry)
		if found {
			c.add(positionOf(n), "this request is in the scope already: take one out")
			continue
		}
		scope = slices.Insert(scope, i, entry)
	}
	return scope
}

// ttl reads a profile's lifetime, which the family limits.
func (c *compiler) ttl(pr *profile, f map[string]entry) {
	var limits apple.Limits
	if pr.params != nil {
		limits = pr.params.Limits()
	}
	pr.ttl = limits.Default
	e, ok := f["ttl"]
	if !ok {
		return
	}
	text, ok := c.text(e.value, "ttl", "a duration such as 10m")
	if !ok {
		return
	}
	at := positionOf(e.value)
	d, err := parseDuration(text)
	if err == nil {
		d, err = apple.ParseTTL(d)
	}
	switch {
	case err != nil:
		c.add(at, "%v", err)
	case pr.params != nil && d > limits.Max:
		c.add(at, "a ttl above %s, the most for this family of tokens: write that or less", limits.Max)
	default:
		pr.ttl = d
	}
}

// reuse reads a profile's rule of reuse, of those that the family knows.
func (c *compiler) reuse(pr *profile, f map[string]entry) {
	if pr.params == nil {
		return
	}
	allowed := pr.params.Reuses()
	pr.reuse = allowed[0]
	e, ok := f["reuse"]
	if !ok {
		return
	}
	text, ok := c.text(e.value, "reuse", "a rule of reuse such as never")
	if !ok {
		return
	}
	i := slices.IndexFunc(allowed, func(r apple.Reuse) bool { return r.String() == text })
	if i < 0 {
		c.add(positionOf(e.value), "not a rule of reuse that this family of tokens has: want one of %v", allowed)
		return
	}
	pr.reuse = allowed[i]
}

// key reads the key that a profile names and checks that it can serve the
// profile, as far as facts are known.
func (c *compiler) key(pr *profile, n ast.Node, familyAt position) {
	text, ok := c.text(n, "key", "the name of a key, in quotes if it is a number")
	if !ok {
		return
	}
	name, err := ParseKeyName(text)
	if err != nil {
		c.add(positionOf(n), "%v", err)
		return
	}
	pr.key = name
	if c.facts == nil || pr.params == nil {
		return
	}
	f, ok := c.facts.Key(name)
	switch {
	case !ok:
		c.add(positionOf(n), "there is no key of this name in the vault: import it first, or correct the name")
		return
	case f.State == KeyStateDamaged: // nothing is known of it, and it mints nothing
		return
	case f.KeyID == "": // no version of it is active
		err = pr.params.CheckKind(f.Kind)
	default:
		err = pr.params.Check(f.Facts)
	}
	if err != nil {
		c.add(familyAt, "%v", err)
	}
}
