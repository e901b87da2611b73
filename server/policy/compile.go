package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Compile reads a policy document. Operators are the full SPIFFE ids of the
// server's config. With facts, every profile is checked against the key that it
// names; nil facts skip that. The error is an [*Error] with all problems, but
// for an operator that is no id, which is no fault of the document. Compile does
// not run the document's tests: see [Policy.RunTests].
func Compile(doc []byte, operators []string, facts Facts) (*Policy, error) {
	for i, id := range operators {
		if err := ValidateID(id); err != nil {
			return nil, fmt.Errorf("operator %d of the server's config: %w", i+1, err)
		}
	}
	c := compiler{
		facts:    facts,
		profiles: make(map[ProfileName]*profile),
		ids:      make(map[string]int),
	}
	if body := c.parse(doc); body != nil {
		c.document(body)
	}
	if len(c.problems) > 0 {
		return nil, &Error{Problems: c.sorted()}
	}
	p := Empty(operators)
	digest := sha256.Sum256(doc)
	p.digest = "sha256:" + hex.EncodeToString(digest[:])
	p.profiles = c.profiles
	p.maxTTL = make(map[KeyName]time.Duration)
	for _, pr := range c.profiles {
		p.maxTTL[pr.key] = max(p.maxTTL[pr.key], pr.life())
	}
	p.grants = c.grants
	for _, g := range c.grants {
		p.index.add(g)
	}
	p.tests = c.tests
	return p, nil
}

// compiler turns the tree of a document into profiles, grants and tests. After
// a problem it goes on with what is left, so that all are found at once.
type compiler struct {
	reader
	facts    Facts
	profiles map[ProfileName]*profile
	grants   []*grant
	ids      map[string]int // of grants: the line
	tests    []*test
}

func (c *compiler) document(body ast.Node) {
	f, _ := c.fields(body, "a policy", "version", "profiles", "grants", "tests")
	if f == nil {
		return
	}
	if e, ok := f["version"]; !ok {
		c.add(positionOf(body), "the policy has no version: begin it with version: 1")
	} else if n, ok := e.value.(*ast.IntegerNode); !ok || n.GetToken().Value != "1" {
		c.add(positionOf(e.value), "a version that is not 1: this version of the program reads version: 1")
	}
	if e, ok := f["profiles"]; ok {
		list, _ := c.entries(e.value, "profiles")
		for _, e := range list {
			c.profile(e)
		}
	}
	if e, ok := f["grants"]; ok {
		list, _ := c.list(e.value, "grants")
		for _, n := range list {
			c.grant(n)
		}
	}
	if e, ok := f["tests"]; ok {
		list, _ := c.list(e.value, "tests")
		for _, n := range list {
			c.test(n)
		}
	}
}
