package policy

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// everyKey are keys of every kind, by the names of the kinds, and those of design.
var everyKey = func() keys {
	all := maps.Clone(allKeys)
	for kind, f := range keyOfKind {
		all[KeyName(kind)] = f
	}
	return all
}()

// FuzzCompile reads any text: no panic, no word of a key in what is said, the
// problems in order, and what compiles denies strangers.
func FuzzCompile(f *testing.F) {
	files, err := filepath.Glob("testdata/policies/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		doc, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(doc), 300)
	}
	f.Add(design, 0)
	f.Add("version: 1\n", 9)
	for i, e := range examples {
		for _, doc := range []string{e.doc(e.full), e.doc(e.least, "long_lived: true", "ttl: 1h", "reuse: never")} {
			doc = strings.Replace(doc, "key: k", "key: "+string(e.kinds[0]), 1)
			f.Add(doc, -1)
			f.Add(doc, 20+3*i)
		}
	}
	f.Add("version: 1\nprofiles:\n  p: {key: k, \"long\\x5flived\": true, ttl: 9d, app_store_connect: {scope: [GET /v1/ciProducts]}}\n", -1)
	f.Add("a: &a [x]\nb: *a\n? c\n: !!d |\n  e\n---\n%f\n", 4)
	f.Add("{a: {b: [c, 'd', \"e\\n\"]}}", 12)
	f.Fuzz(func(t *testing.T, doc string, at int) {
		if at >= 0 && at <= len(doc) && !strings.Contains(doc, "Canary") {
			doc = doc[:at] + canary + doc[at:]
		}
		p, err := Compile([]byte(doc), []string{operator}, everyKey)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || len(e.Problems) == 0 || p != nil {
				t.Fatalf("Compile = %v, %v", p, err)
			}
			if strings.Contains(err.Error(), "Canary") {
				t.Fatalf("a key is repeated: %v", err)
			}
			listed := e.Problems[:min(len(e.Problems), maxProblems)]
			if !slices.IsSortedFunc(listed, func(a, b Problem) int {
				if a.Line != b.Line {
					return a.Line - b.Line
				}
				return a.Column - b.Column
			}) {
				t.Fatalf("not in order: %v", err)
			}
			lines := strings.Count(doc, "\n") + 1
			for _, problem := range listed {
				if problem.Line < 0 || problem.Line > lines || (problem.Line == 0) != (problem.Column == 0) {
					t.Fatalf("a problem at %d:%d of %d lines", problem.Line, problem.Column, lines)
				}
			}
			return
		}
		for key := range p.maxTTL {
			if got := p.MaxTTL(key); got > Ceiling([]byte(doc)) {
				t.Fatalf("tokens live for %s, above the ceiling of %s", got, Ceiling([]byte(doc)))
			}
		}
		for _, r := range p.RunTests() {
			if strings.Contains(r.Message, "Canary") {
				t.Fatalf("a key is repeated: %s", r.Message)
			}
		}
		for _, w := range p.Lint() {
			if strings.Contains(w.Message, "Canary") {
				t.Fatalf("a key is repeated: %s", w.Message)
			}
		}
		if d := p.Decide(Request{Principal: by("not an id"), Action: AuditRead}, everyKey); d.Allowed() {
			t.Fatalf("nobody is allowed by %s", d.Grant())
		}
		again, err := Compile([]byte(doc), []string{operator}, everyKey)
		if err != nil || again.Digest() != p.Digest() {
			t.Fatalf("the same document, another policy: %v", err)
		}
		if _, err := Compile([]byte(doc), nil, nil); err != nil {
			t.Fatalf("it compiles with facts, and without them: %v", err)
		}
		for name, pr := range p.profiles {
			for _, call := range everyCall() {
				r := mintBy(call)
				r.Profile = name
				if d := p.Decide(r, everyKey); strings.Contains(d.Reason(), "Canary") || d.Spec().TTL() > p.MaxTTL(pr.key) || !d.Allowed() && d.Spec().Family() != "" {
					t.Fatalf("a mint of %s: %+v", name, outcomeOf(d))
				}
			}
		}
	})
}

// scalars counts the values in a tree.
type scalars struct{ n *int }

func (s scalars) Visit(n ast.Node) ast.Visitor {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		*s.n++
	}
	return s
}

// FuzzNothingIsLost holds that what the library parses has every value of the
// text in it: one that went missing could be a deny.
func FuzzNothingIsLost(f *testing.F) {
	f.Add(design)
	f.Add("- id: g\n  to: []\n- {id: h, mint: [a, b]}\n")
	f.Add("a: 'b'\n\"c\": |\n  d\n# e\n")
	f.Fuzz(func(t *testing.T, doc string) {
		var r reader
		body := r.parse([]byte(doc))
		if body == nil {
			return
		}
		var n int
		ast.Walk(scalars{&n}, body)
		for _, tk := range lexer.Tokenize(doc) {
			switch tk.Type {
			case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.BoolType,
				token.IntegerType, token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType,
				token.FloatType, token.InfinityType, token.NanType:
				n--
			default:
			}
		}
		if n < 0 {
			t.Fatalf("%d values are lost", -n)
		}
	})
}

// FuzzParseDuration reads any text as a duration.
func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"10m", "2d", "1d12h", "-5m", "9999d2562047h", "1.5d", "d", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseDuration(s)
		if err != nil && d != 0 || d < 0 {
			t.Fatalf("%q: %v, %v", s, d, err)
		}
		if again, err2 := parseDuration(d.String()); err == nil && (err2 != nil || again != d) {
			t.Fatalf("%q is %v, which is %v, %v", s, d, again, err2)
		}
	})
}

// FuzzPatterns reads any texts as a pattern and as a name.
func FuzzPatterns(f *testing.F) {
	for _, s := range [][2]string{{"a/*", "a/b"}, {"a/**", "a/b/c"}, {"**", "a"}, {"a*b*", "ab"}, {"a//b", "a"}, {"", ""}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if _, _, err := splitID("spiffe://td/"+pattern, true); err == nil {
			g := &grant{to: []selector{{domain: "td", path: "/" + pattern}}, deny: true}
			var ix index
			ix.add(g)
			if _, path, err := splitID("spiffe://td/"+name, false); err == nil {
				if got, want := len(ix.find("td", path, nil)) == 1, regexpOf(pattern).MatchString(name); got != want {
					t.Fatalf("id pattern %q on %q: %v, want %v", pattern, name, got, want)
				}
			}
		}
		if checkKeyPattern(pattern) != nil {
			return
		}
		if _, err := ParseKeyName(name); err == nil {
			if got, want := matchKey(pattern, name), regexpOf(pattern).MatchString(name); got != want {
				t.Fatalf("key pattern %q on %q: %v, want %v", pattern, name, got, want)
			}
		}
		if !matchKey(pattern, pattern) {
			t.Fatalf("%q does not cover itself", pattern)
		}
	})
}
