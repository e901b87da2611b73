package policy

import (
	"errors"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// grant is who may do what.
type grant struct {
	at    position
	order int // in the file
	id    string
	deny  bool // everything, and nothing of what follows
	to    []selector
	mint  []*profile
	do    []Action
	on    []string // patterns of the keys that key.* is limited to; nil for no limit
	rate  Rate     // of mint
}

// covers says whether the grant's key actions reach the key.
func (g *grant) covers(key KeyName) bool {
	return g.on == nil || matchesAny(g.on, key)
}

func matchesAny(patterns []string, key KeyName) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matchKey(p, string(key)) })
}

// selector names callers: by a pattern for SPIFFE ids or by a certificate's hash.
type selector struct {
	domain, path string
	certificate  string
}

func (c *compiler) grant(n ast.Node) {
	g := &grant{at: positionOf(n), order: len(c.grants), rate: defaultRate}
	c.grants = append(c.grants, g)
	f, ok := c.fields(n, "a grant", "id", "to", "mint", "do", "on", "rate", "deny")
	if f == nil {
		return
	}
	c.grantID(g, f)
	if e, ok := f["to"]; !ok {
		c.add(g.at, "the grant has no to: list whom it is for, or write to: [] for nobody")
	} else {
		list, _ := c.list(e.value, "to")
		for _, n := range list {
			c.selector(g, n)
		}
	}
	if e, ok := f["deny"]; ok {
		c.deny(g, e, f)
		return
	}
	if e, ok := f["mint"]; ok {
		c.mint(g, e)
	}
	if e, ok := f["do"]; ok {
		c.do(g, e)
	}
	if e, ok := f["on"]; ok {
		c.on(g, e)
	}
	if e, ok := f["rate"]; ok {
		c.rate(g, e, f)
	}
	_, mints := f["mint"]
	_, does := f["do"]
	if !mints && !does && ok {
		c.add(g.at, "the grant gives nothing: add mint: [PROFILE], do: [ACTION] or deny: true")
	}
}

func (c *compiler) grantID(g *grant, f map[string]entry) {
	e, ok := f["id"]
	if !ok {
		c.add(g.at, "the grant has no id: give it one, by which the log names it")
		return
	}
	id, ok := c.text(e.value, "id", "a name, in quotes if it is a number")
	if !ok {
		return
	}
	at := positionOf(e.value)
	if !isName(id) || len(id) > maxNameLen {
		c.add(at, "not an id for a grant: want a-z 0-9 . _ - beginning with a letter or digit, at most %d bytes", maxNameLen)
		return
	}
	if line, taken := c.ids[id]; taken {
		c.add(at, "this id is taken by the grant on line %d: give each its own", line)
		return
	}
	c.ids[id] = at.line
	g.id = id
}

func (c *compiler) deny(g *grant, e entry, f map[string]entry) {
	if n, ok := e.value.(*ast.BoolNode); !ok || !n.Value {
		c.add(positionOf(e.value), "deny is something other than true: write deny: true, or leave it out")
	}
	g.deny = true
	for _, name := range []string{"mint", "do", "on", "rate"} {
		if e, ok := f[name]; ok {
			c.add(e.key, "a grant that denies has no %s: it denies everything, so take this out", name)
		}
	}
}

// selector reads one item of to.
func (c *compiler) selector(g *grant, n ast.Node) {
	f, ok := c.fields(n, "an item of to", "mtls", "certificate")
	mtls, byID := f["mtls"]
	certificate, byCertificate := f["certificate"]
	switch {
	case byID && byCertificate:
		c.add(certificate.key, "a caller named in two ways: make two items, of which each names callers")
	case byID:
		if domain, path, ok := c.id(mtls.value, "mtls", true); ok {
			g.to = append(g.to, selector{domain: domain, path: path})
		}
	case byCertificate:
		if hash, ok := c.certificate(certificate.value); ok {
			g.to = append(g.to, selector{certificate: hash})
		}
	case ok:
		c.add(positionOf(n), "an item that names nobody: give it mtls: spiffe://… or certificate: sha256:…")
	}
}

// id reads a SPIFFE id, or a pattern for such.
func (c *compiler) id(n ast.Node, what string, wildcards bool) (domain, path string, ok bool) {
	text, ok := c.text(n, what, "spiffe://trust-domain/path")
	if !ok {
		return "", "", false
	}
	domain, path, err := splitID(text, wildcards)
	if strings.HasPrefix(text, "dns:") {
		err = errors.New("DNS names are not supported by this version: want spiffe://trust-domain/path")
	}
	if err != nil {
		c.add(positionOf(n), "%v", err)
		return "", "", false
	}
	return domain, path, true
}

func (c *compiler) certificate(n ast.Node) (hash string, ok bool) {
	hash, ok = c.text(n, "certificate", "sha256: and 64 hexadecimal digits")
	if !ok {
		return "", false
	}
	if err := checkCertificate(hash); err != nil {
		c.add(positionOf(n), "%v", err)
		return "", false
	}
	return hash, true
}

// names reads a list that is not empty of texts.
func (c *compiler) names(e entry, each func(at position, text string)) {
	list, ok := c.list(e.value, e.name)
	if ok && len(list) == 0 {
		c.add(e.key, "%s is empty: name something or take it out", e.name)
	}
	for _, n := range list {
		if text, ok := c.text(n, "an item of "+e.name, "a name, in quotes if it is a number"); ok {
			each(positionOf(n), text)
		}
	}
}

func (c *compiler) mint(g *grant, e entry) {
	c.names(e, func(at position, text string) {
		pr := c.profiles[ProfileName(text)]
		switch {
		case pr == nil:
			c.add(at, "there is no profile of this name in the document")
		case slices.Contains(g.mint, pr):
			c.add(at, "this profile is in the list already: take one out")
		default:
			g.mint = append(g.mint, pr)
		}
	})
}

func (c *compiler) do(g *grant, e entry) {
	c.names(e, func(at position, text string) {
		found := matchActions(text)
		if len(found) == 0 {
			c.add(at, "not an action: want such as key.read, key.* or policy.apply; minting is granted by mint")
		}
		g.do = append(g.do, found...)
	})
	slices.Sort(g.do)
	g.do = slices.Compact(g.do)
}

// matchActions returns the actions for an item of do: one, or a group as key.*.
func matchActions(text string) []Action {
	group, isGroup := strings.CutSuffix(text, "*")
	isGroup = isGroup && strings.HasSuffix(group, ".")
	var found []Action
	for _, a := range actions {
		if a != TokenMint && (string(a) == text || isGroup && strings.HasPrefix(string(a), group)) {
			found = append(found, a)
		}
	}
	return found
}

func (c *compiler) on(g *grant, e entry) {
	if !slices.ContainsFunc(g.do, Action.onKey) {
		c.add(e.key, "on without a key action in do: it limits the keys of key.*, so add such an action or take it out")
	}
	c.names(e, func(at position, text string) {
		if err := checkKeyPattern(text); err != nil {
			c.add(at, "%v", err)
		}
		g.on = append(g.on, text)
	})
}

func (c *compiler) rate(g *grant, e entry, f map[string]entry) {
	if _, ok := f["mint"]; !ok {
		c.add(e.key, "a rate without mint: it limits how often tokens are minted, so take it out")
	}
	text, ok := c.text(e.value, "rate", "a rate such as 60/h, or none")
	if !ok {
		return
	}
	rate, err := parseRate(text)
	if err != nil {
		c.add(positionOf(e.value), "%v", err)
	}
	g.rate = rate
}
