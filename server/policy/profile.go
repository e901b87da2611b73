package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/p8signet/signet/server/apple"
)

// profile is what may be minted under one name.
type profile struct {
	at    position
	name  ProfileName
	key   KeyName
	terms apple.Terms
	scope []apple.Scope // ascending; none for whatever the key's role allows
	ttl   time.Duration // both the default and the most; 0 where there is none to choose
	reuse apple.Reuse

	familyAt position     // where the family is named
	granted  grantedScope // scope, with the places in the document
	faulty   bool         // something is wrong with the parameters where they are written
	reads    []string     // the bundles that are in the scope
	readAt   position     // where they are named
	facts    apple.Facts  // of the key; zero when they are not known
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

// life is how long Apple may take a token at most.
func (pr *profile) life() time.Duration { return max(pr.ttl, pr.terms.Limits().Life) }

// longLivedField is the key with which a profile lets its tokens live longer
// than others.
const longLivedField = "long_lived"

// familyFields are the keys under which a profile gives the parameters of a family, profileFields all that it has.
var familyFields, profileFields = func() (of, all []string) {
	for _, f := range families {
		of = append(of, f.field)
	}
	return of, append([]string{"key", "ttl", "reuse", longLivedField}, of...)
}()

func (c *compiler) profile(e entry) {
	pr := &profile{at: e.key}
	name, err := ParseProfileName(e.name)
	if err != nil {
		c.add(e.key, "%v", err)
	}
	pr.name = name
	c.profiles[name] = pr // also a faulty one: grants that name it are not at fault
	f, ok := c.fields(e.value, "a profile", profileFields...)
	if f == nil {
		return
	}
	var given []entry // families
	for name, e := range f {
		if byField[name] != nil {
			given = append(given, e)
		}
	}
	slices.SortFunc(given, func(a, b entry) int { return a.key.compare(b.key) })
	for i, e := range given {
		if i == 0 {
			c.parameters(pr, byField[e.name], e)
			continue
		}
		c.add(e.key, "a second family of tokens: a profile has one, so make two profiles")
	}
	if e, ok := f[longLivedField]; ok && len(given) > 0 {
		c.longLived(pr, e)
	}
	if len(given) == 0 && ok {
		c.add(e.key, "the profile has no family of tokens: give it one of %s", strings.Join(familyFields, ", "))
	}
	c.ttl(pr, f)
	c.reuse(pr, f)
	keyField, ok := f["key"]
	if !ok {
		c.add(e.key, "the profile has no key: name the key that signs, key: NAME")
		return
	}
	c.key(pr, keyField.value)
}

// ttl reads a profile's lifetime, which the family limits.
func (c *compiler) ttl(pr *profile, f map[string]entry) {
	var limits apple.Limits
	if pr.terms.Params != nil {
		limits = pr.terms.Limits()
	}
	pr.ttl = limits.Default
	e, ok := f["ttl"]
	if !ok {
		if pr.terms.LongLived {
			c.add(pr.at, "a long-lived profile without a ttl: say how long its tokens live, at most %s", apple.TTLText(limits.Max))
		}
		return
	}
	if pr.terms.Params != nil && limits.Max == 0 {
		c.add(e.key, "a ttl for tokens that have no lifetime to choose: take it out")
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
	case pr.terms.Params != nil && d > limits.Max:
		c.add(at, "a ttl above %s, the most for such tokens: write that or less", apple.TTLText(limits.Max))
	default:
		pr.ttl = d
	}
}

// reuse reads a profile's rule of reuse, of those that the family knows.
func (c *compiler) reuse(pr *profile, f map[string]entry) {
	if pr.terms.Params == nil {
		return
	}
	allowed := pr.terms.Family().Reuses()
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
func (c *compiler) key(pr *profile, n ast.Node) {
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
	if c.facts == nil || pr.terms.Params == nil {
		return
	}
	f, ok := c.facts.Key(name)
	switch {
	case !ok:
		c.add(positionOf(n), "there is no key of this name in the vault: import it first, or correct the name")
		return
	case f.State == KeyStateDamaged: // nothing is known of it, and it mints nothing
		return
	}
	pr.facts = f.Facts
	if err := pr.fits(f); err != nil {
		c.add(pr.familyAt, "%v", err)
	}
}

// fits reports whether the profile's key can serve it. Of a key with no active version, what is not known may still come. A
// version that is active and lacks a fact, as one that was generated here does until Apple has its public half, signs
// nothing: who applies a policy hears that then, and not whoever mints.
func (pr *profile) fits(f KeyFacts) error {
	if pr.faulty { // its parameters were refused at their place
		return pr.terms.Family().CheckKind(f.Kind)
	}
	if err := pr.terms.CheckKnown(f.Facts); err != nil || f.Version == 0 {
		return err
	}
	if err := f.Validate(); err != nil {
		return fmt.Errorf("the key cannot sign yet: %w; say it with signet key update KEY, then apply the policy", err)
	}
	return nil
}
