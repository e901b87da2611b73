package policy

import (
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// TestResult is the outcome of one test of the document.
type TestResult struct {
	Line, Column int // where the test is in the document
	Passed       bool
	Message      string // what was expected, what was decided, and by which grant
}

// test is one line of what must hold.
type test struct {
	at      position
	request Request
	allow   bool
}

// RunTests runs the tests of the document, in its order, against the policy
// alone: keys are taken to fit and to be usable, so that a disabled key does not
// stand in the way of a new policy.
func (p *Policy) RunTests() []TestResult {
	if p == nil {
		return nil
	}
	results := make([]TestResult, 0, len(p.tests))
	for _, t := range p.tests {
		d := p.Decide(t.request, nil)
		results = append(results, TestResult{
			Line:    t.at.line,
			Column:  t.at.column,
			Passed:  d.Allowed() == t.allow,
			Message: "expected " + verdict(t.allow) + ", and it is " + explain(d),
		})
	}
	return results
}

func verdict(allow bool) string {
	if allow {
		return "allow"
	}
	return "deny"
}

// explain puts a decision into words.
func explain(d Decision) string {
	switch {
	case d.Allowed():
		return "allowed by grant " + d.Grant()
	case d.Grant() != "":
		return "denied by grant " + d.Grant()
	}
	return "denied: " + d.Reason()
}

func (c *compiler) test(n ast.Node) {
	t := &test{at: positionOf(n)}
	c.tests = append(c.tests, t)
	f, ok := c.fields(n, "a test", "as", "mint", "do", "on", "expect")
	if f == nil {
		return
	}
	if e, ok := f["as"]; ok {
		c.testCaller(t, e)
	} else {
		c.add(t.at, "the test has no as: say who calls, as: {mtls: spiffe://…}")
	}
	mint, mints := f["mint"]
	do, does := f["do"]
	on, hasOn := f["on"]
	switch {
	case mints && does:
		c.add(do.key, "both mint and do: make two tests")
	case mints:
		c.testProfile(t, mint)
	case does:
		c.testAction(t, do, hasOn)
	case ok:
		c.add(t.at, "the test tries nothing: give it mint: PROFILE or do: ACTION")
	}
	if hasOn {
		c.testKey(t, on)
	}
	if e, ok := f["expect"]; ok {
		c.testVerdict(t, e)
	} else {
		c.add(t.at, "the test expects nothing: give it expect: allow or expect: deny")
	}
}

func (c *compiler) testCaller(t *test, e entry) {
	f, ok := c.fields(e.value, "as", "mtls", "certificate")
	t.request.Principal.Kind = PrincipalMTLS
	if mtls, named := f["mtls"]; named {
		if domain, path, ok := c.id(mtls.value, "mtls", false); ok {
			t.request.Principal.ID = idPrefix + domain + path
		}
	} else if ok {
		c.add(e.key, "as names nobody: give it mtls: spiffe://…")
	}
	if certificate, ok := f["certificate"]; ok {
		t.request.Principal.Certificate, _ = c.certificate(certificate.value)
	}
}

func (c *compiler) testProfile(t *test, e entry) {
	text, ok := c.text(e.value, "mint", "the name of one profile")
	if !ok {
		return
	}
	t.request.Action, t.request.Profile = TokenMint, ProfileName(text)
	if c.profiles[t.request.Profile] == nil {
		c.add(positionOf(e.value), "there is no profile of this name in the document")
	}
}

func (c *compiler) testAction(t *test, e entry, hasOn bool) {
	text, ok := c.text(e.value, "do", "one action")
	if !ok {
		return
	}
	a, err := ParseAction(text)
	switch {
	case err != nil || a == TokenMint:
		c.add(positionOf(e.value), "not an action: want one such as key.read or policy.apply; minting is tested by mint")
	case a.onKey() && !hasOn:
		c.add(e.key, "a key action without a key: say on: NAME")
	}
	t.request.Action = a
}

func (c *compiler) testKey(t *test, e entry) {
	if t.request.Action != "" && !t.request.Action.onKey() {
		c.add(e.key, "on without a key action: take it out")
	}
	text, ok := c.text(e.value, "on", "the name of one key")
	if !ok {
		return
	}
	name, err := ParseKeyName(text)
	if err != nil {
		c.add(positionOf(e.value), "%v", err)
	}
	t.request.Key = name
}

func (c *compiler) testVerdict(t *test, e entry) {
	n, _ := e.value.(*ast.StringNode)
	if n == nil || !slices.Contains([]string{"allow", "deny"}, n.Value) {
		c.add(positionOf(e.value), "expect is neither allow nor deny: write one of the two")
		return
	}
	t.allow = n.Value == "allow"
}
