package policy

import (
	"bytes"
	"cmp"
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// What a document may be. The bounds are far above what people write and below
// what makes the YAML library slow or deep: it recurses for each level, and for
// each key of a mapping outside { }.
const (
	maxDocument  = 1 << 20 // bytes
	maxStructure = 400_000 // characters of which structure is made
	maxFlowDepth = 16      // [ and { inside one another
	maxColumn    = 64      // of keys and dashes outside [ and {
	maxKeys      = 20_000  // of one mapping outside { }
)

// parse returns the body of the one document in the text, or adds problems and
// returns nil.
func (r *reader) parse(doc []byte) ast.Node {
	if !r.checkBytes(doc) {
		return nil
	}
	var body ast.Node
	r.guard(func() { body = r.parseText(string(doc)) })
	return body
}

// guard runs f and makes a problem of a panic. The YAML library indexes freely
// into what it was given; a document that it trips over must not stop the server.
func (r *reader) guard(f func()) {
	defer func() {
		if recover() != nil {
			r.add(position{}, "the document is not YAML that can be read here")
		}
	}()
	f()
}

// checkBytes refuses what is too long, too rich or not text.
func (r *reader) checkBytes(doc []byte) bool {
	if len(doc) > maxDocument {
		r.add(position{}, "the document is larger than 1 MiB: take out what is not policy")
		return false
	}
	at := position{1, 1}
	structure := 0
	for rest := doc; len(rest) > 0; {
		c, size := utf8.DecodeRune(rest)
		switch {
		case c == utf8.RuneError && size == 1:
			r.add(at, "a byte that is not UTF-8: save the file as UTF-8 text")
			return false
		case c == '\r' && bytes.HasPrefix(rest, []byte("\r\n")) || c == '\t':
		case c == '\n':
			at = position{at.line + 1, 0}
			structure++
		case !unicode.IsPrint(c): // also what makes a reviewer see another order than there is
			r.add(at, "a character that cannot be seen, such as a control character or a byte order mark: take it out")
			return false
		case strings.ContainsRune(",:[]{}&*!?", c):
			structure++
		}
		at.column++
		rest = rest[size:]
	}
	if structure > maxStructure {
		r.add(position{}, "the document has too many lists and mappings: take out what is not policy")
		return false
	}
	return true
}

// parseText calls the YAML library. The messages of its errors repeat the text;
// only their places are used.
func (r *reader) parseText(text string) ast.Node {
	tokens := lexer.Tokenize(text)
	r.checkComplete(text, tokens)
	r.checkTokens(tokens)
	if len(r.problems) > 0 {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // entries finds them, all of them
	if err != nil {
		var at position
		var placed interface{ GetToken() *token.Token }
		if errors.As(err, &placed) {
			at = positionOfToken(placed.GetToken())
		}
		r.add(at, "not YAML that can be read here: look for wrong indentation or a missing quote, bracket or colon; text with any of [ ] { } , in a list must be in quotes")
		return nil
	}
	docs := slices.DeleteFunc(file.Docs, func(d *ast.DocumentNode) bool { return d.Body == nil })
	switch len(docs) {
	case 0:
		r.add(position{}, "the document is empty: a policy begins with version: 1")
		return nil
	case 1:
		return docs[0].Body
	}
	r.add(positionOf(docs[1].Body), "a second document begins here: a policy is one, so take out the line with --- or ...")
	return nil
}

// checkComplete refuses a text of which the tokens lack something: what decides
// who may do what is read as written or not at all. The library is known to drop
// a lone ! and to give escapes in quotes back in part.
func (r *reader) checkComplete(text string, tokens token.Tokens) {
	rest := strings.TrimLeft(text, blanks)
	for _, t := range tokens {
		for _, word := range strings.FieldsFunc(t.Origin, func(c rune) bool { return strings.ContainsRune(blanks, c) }) {
			after, found := strings.CutPrefix(rest, word)
			if !found {
				break
			}
			rest = strings.TrimLeft(after, blanks)
		}
	}
	if rest != "" {
		read := text[:len(text)-len(rest)]
		lineStart := strings.LastIndexByte(read, '\n') + 1
		at := position{strings.Count(read, "\n") + 1, utf8.RuneCountInString(read[lineStart:]) + 1}
		r.add(at, "text that YAML does not read as it is written: write it plainly, without ! or a backslash")
	}
}

// blanks are what a token may lack.
const blanks = " \t\r\n"

// checkTokens refuses what a policy has no use for, anchors above all, and what
// would go too deep.
func (r *reader) checkTokens(tokens token.Tokens) {
	brackets := 0               // open ones
	var keys [maxColumn + 1]int // so far, of the open mapping that has them at this column
	for _, t := range tokens {
		at := positionOfToken(t)
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			r.add(at, "an anchor, alias or merge key, which a policy may not have: write the value out; text that begins with & or * must be in quotes")
		case token.TagType, token.DirectiveType, token.MappingKeyType:
			r.add(at, "a tag, directive or complex key, which a policy may not have; text that begins with !, %% or ? must be in quotes")
		case token.InvalidType:
			r.add(at, "not YAML that can be read here: indent with spaces, close every quote, and put text with special characters in quotes")
		case token.MappingStartType, token.SequenceStartType:
			if brackets++; brackets > maxFlowDepth {
				r.add(at, "brackets more than %d deep: a policy is flatter", maxFlowDepth)
				return
			}
		case token.MappingEndType, token.SequenceEndType:
			brackets = max(brackets-1, 0)
		case token.MappingValueType, token.SequenceEntryType:
			if brackets > 0 {
				continue
			}
			if t.Type == token.MappingValueType && t.Prev != nil {
				at = positionOfToken(t.Prev)
			}
			if at.column > maxColumn {
				r.add(at, "nested too deep: a key or dash beyond column %d", maxColumn)
				return
			}
			clear(keys[at.column+1:])
			if t.Type == token.MappingValueType {
				keys[at.column]++
			}
			if keys[at.column] > maxKeys {
				r.add(at, "a mapping with more than %d keys", maxKeys)
				return
			}
		default: // text and what separates it
		}
	}
}

// positionOf is where a node begins.
func positionOf(n ast.Node) position {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key // the library says: at the first colon
	}
	return positionOfToken(n.GetToken())
}

func positionOfToken(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{}
	}
	return position{line: t.Position.Line, column: max(t.Position.Column, 1)}
}

// entry is a key and its value in a mapping.
type entry struct {
	name  string
	key   position
	value ast.Node
}

// entries reads a mapping whose keys are text and different.
func (r *reader) entries(n ast.Node, what string) ([]entry, bool) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		r.add(positionOf(n), "%s is %s: want a mapping, {key: value}", what, describe(n))
		return nil, false
	}
	list := make([]entry, 0, len(m.Values))
	lines := make(map[string]int, len(m.Values))
	for _, v := range m.Values {
		at := positionOf(v.Key)
		key, ok := v.Key.(*ast.StringNode)
		if !ok {
			r.add(at, "a key of %s is not text: put it in quotes", what)
			continue
		}
		if line, ok := lines[key.Value]; ok {
			r.add(at, "this key of %s is there already, on line %d: take one out", what, line)
			continue
		}
		lines[key.Value] = at.line
		list = append(list, entry{name: key.Value, key: at, value: v.Value})
	}
	return list, true
}

// later are keys that the design has and this version does not.
var later = []string{"oidc", "claims"}

// fields reads a mapping that has no keys but the known ones; nil when it is no
// mapping. It is clean when nothing was wrong with any key.
func (r *reader) fields(n ast.Node, what string, known ...string) (fields map[string]entry, clean bool) {
	list, ok := r.entries(n, what)
	if !ok {
		return nil, false
	}
	fields, clean = make(map[string]entry, len(list)), true
	for _, e := range list {
		switch {
		case slices.Contains(known, e.name):
			fields[e.name] = e
			continue
		case slices.Contains(later, e.name):
			r.add(e.key, "%s is not supported by this version: take it out", e.name)
		default:
			r.add(e.key, "an unknown key: %s has %s", what, cmp.Or(strings.Join(known, ", "), "none"))
		}
		clean = false
	}
	return fields, clean
}

// text reads a string; want says what one is expected.
func (r *reader) text(n ast.Node, what, want string) (string, bool) {
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value, true
	}
	r.add(positionOf(n), "%s is %s: want %s", what, describe(n), want)
	return "", false
}

// list reads a list.
func (r *reader) list(n ast.Node, what string) ([]ast.Node, bool) {
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		r.add(positionOf(n), "%s is %s: want a list, [a, b]", what, describe(n))
		return nil, false
	}
	return s.Values, true
}

// describe says what kind of thing a node is, and nothing of its content.
func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode:
		return "text"
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "empty"
	}
	return "a number"
}
