package apple

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of a scope. Apple documents none. (A token of many long entries may be more than an HTTP server takes in a header.)
const (
	MaxScopeEntries = 64   // entries of one scope
	MaxScopeLen     = 1024 // bytes of one entry
)

// Scope is one request that a token may be limited to, "GET /v1/path?query", in canonical form. Two equal Scopes are
// the same request to Apple; that is all that narrowing compares. Only ParseScope and ParseScopes make one.
//
// The grammar is narrower than what a URL may be, so that what we take for one request is one to Apple. (Where Apple sees
// one and we see two, a token only is narrower than it need be.)
//
//   - The method is GET; Apple's scope has no other. Entries are literal: no wildcards, no templates, and a path does
//     not cover what lies below it.
//   - The path is /v1/… (a version number), of letters, digits and - . _ ~ :, with no percent-escape, no empty segment, no
//     "." and no "..", no slash at the end, no fragment.
//   - The query is name=value&…; no name twice, none empty, no empty value. Brackets are written raw, as Apple writes
//     them; a letter, digit or - . _ ~ likewise. Any other character may be escaped and then stays so, in upper-case
//     hexadecimal: an escape is never decoded, so "," and "%2C" are two different requests. A space is %20, not "+".
//   - Parameters are sorted by name. The parameters limit, cursor and sort are dropped, for Apple leaves them out of the
//     comparison; limit[…] is another parameter and stays.
type Scope string

// ignored are the parameters that Apple leaves out when it compares a request with a scope.
var ignored = []string{"cursor", "limit", "sort"}

// ParseScope parses one entry of a scope into its canonical form. The error says which rule of the grammar the entry breaks.
func ParseScope(s string) (Scope, error) {
	if len(s) > MaxScopeLen {
		return "", fmt.Errorf("the entry is longer than %d bytes", MaxScopeLen)
	}
	target, ok := strings.CutPrefix(s, "GET ")
	if !ok {
		return "", errors.New(`the entry does not begin with "GET ": Apple can limit a token to reads only, and an entry is written "GET /v1/path?query"`)
	}
	path, query, hasQuery := strings.Cut(target, "?")
	if err := checkPath(path); err != nil {
		return "", err
	}
	if !hasQuery {
		return Scope(s), nil
	}
	query, err := canonicalQuery(query)
	if err != nil {
		return "", err
	}
	if query == "" {
		return Scope("GET " + path), nil
	}
	return Scope("GET " + path + "?" + query), nil
}

// ParseScopes parses the entries of one scope and returns them sorted, equal ones merged; nil for no entries. The error
// names the number of the entry, counted from 1.
func ParseScopes(entries []string) ([]Scope, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	if len(entries) > MaxScopeEntries {
		return nil, errTooManyEntries
	}
	scopes := make([]Scope, len(entries))
	for i, e := range entries {
		s, err := ParseScope(e)
		if err != nil {
			return nil, fmt.Errorf("scope entry %d: %w", i+1, err)
		}
		scopes[i] = s
	}
	return sorted(scopes), nil
}

var errTooManyEntries = fmt.Errorf("the scope has more than %d entries", MaxScopeEntries)

// checkPath wants /vN/segment/…
func checkPath(path string) error {
	for i := range len(path) {
		switch c := path[i]; {
		case isUnreserved(c), c == ':', c == '/':
		case c == '*', c == '{', c == '}':
			return errWildcard
		case c == '%':
			return errors.New("the path has a percent-escape: Apple's paths need none, so write the character itself")
		case c == '#':
			return errFragment
		default:
			return errors.New("the path has a character other than letters, digits, slashes and any of - . _ : ~")
		}
	}
	rest, ok := strings.CutPrefix(path, "/v")
	version, rest, below := strings.Cut(rest, "/")
	if !ok || !below || !isVersion(version) {
		return errors.New("the path does not begin with a version, as in /v1/apps")
	}
	for segment := range strings.SplitSeq(rest, "/") {
		switch segment {
		case "":
			return errors.New("the path has an empty segment: write one slash between segments and none at the end")
		case ".", "..":
			return errors.New(`the path has a segment "." or "..": write the path that is meant`)
		}
	}
	return nil
}

// isVersion accepts a number of up to three digits that does not begin with 0.
func isVersion(s string) bool {
	if len(s) < 1 || len(s) > 3 || s[0] == '0' {
		return false
	}
	return strings.Trim(s, "0123456789") == ""
}

// canonicalQuery sorts the parameters of a query by name and drops those that Apple ignores.
func canonicalQuery(query string) (string, error) {
	type param struct{ name, text string }
	var params []param
	for text := range strings.SplitSeq(query, "&") {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" || value == "" {
			return "", errors.New("the query has a parameter that is not name=value")
		}
		if err := checkName(name); err != nil {
			return "", err
		}
		value, err := canonicalValue(value)
		if err != nil {
			return "", err
		}
		params = append(params, param{name, name + "=" + value})
	}
	slices.SortFunc(params, func(a, b param) int { return strings.Compare(a.name, b.name) })
	for i := range params[1:] {
		if params[i].name == params[i+1].name {
			return "", errors.New("the query has a parameter twice: write its values once, separated by commas")
		}
	}
	var b strings.Builder
	for _, p := range params {
		if slices.Contains(ignored, p.name) {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.text)
	}
	return b.String(), nil
}

// checkName wants the raw name of a parameter, such as filter[platform].
func checkName(name string) error {
	for i := range len(name) {
		switch c := name[i]; {
		case isUnreserved(c), c == '[', c == ']':
		case c == '*', c == '{', c == '}':
			return errWildcard
		case c == '%':
			return errors.New("the name of a parameter has a percent-escape: write the character itself, brackets too")
		case c == '#':
			return errFragment
		default:
			return errors.New("the name of a parameter has a character other than letters, digits, brackets and any of - . _ ~")
		}
	}
	return nil
}

// canonicalValue checks the value of a parameter and turns the hexadecimal digits of its escapes into upper case.
func canonicalValue(value string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case isUnreserved(c), strings.IndexByte("[],:@/!$'()", c) >= 0:
			b.WriteByte(c)
		case c == '%':
			escaped, err := hex.DecodeString(value[i+1 : min(i+3, len(value))])
			if err != nil || len(escaped) != 1 {
				return "", errors.New("the query has a % that is not followed by two hexadecimal digits: write the character % as %25")
			}
			if err := checkEscape(escaped[0]); err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "%%%02X", escaped[0])
			i += 2
		case c == '*', c == '{', c == '}':
			return "", errWildcard
		case c == '#':
			return "", errFragment
		case c == '+':
			return "", errors.New("the query has a +, which some take for a space: write a space as %20, a plus as %2B")
		default:
			return "", errors.New("the query has a character that must be percent-escaped there")
		}
	}
	return b.String(), nil
}

// checkEscape refuses an escape that has another spelling, or that no request of Apple's has.
func checkEscape(c byte) error {
	switch {
	case isUnreserved(c), c == '[', c == ']':
		return errors.New("the query escapes a character that needs no escape: write letters, digits, brackets and any of - . _ ~ as they are")
	case c < ' ', c == 0x7f:
		return errors.New("the query has an escaped control character")
	}
	return nil
}

var (
	errWildcard = errors.New("the entry has a wildcard or a template: Apple knows none, so write out each request")
	errFragment = errors.New("the entry has a fragment (#): a request has none")
)

// isUnreserved is RFC 3986's: the characters that mean themselves everywhere in a URL, escaped or not.
func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// checkScopes checks the scope of a profile.
func checkScopes(scopes []Scope) error {
	if scopes == nil {
		return nil
	}
	if len(scopes) == 0 {
		return errors.New("the scope is an empty list: leave it out for tokens that may do whatever the key's role allows, or name the requests")
	}
	if len(scopes) > MaxScopeEntries {
		return errTooManyEntries
	}
	for i, s := range scopes {
		if canonical, err := ParseScope(string(s)); err != nil || canonical != s {
			return fmt.Errorf("scope entry %d is not in canonical form", i+1)
		}
	}
	return nil
}

// narrow returns the requests that were asked for, all of which must be granted; both may be empty for "all there is".
// The result is sorted without repetitions; it may be one of the arguments.
func narrow(granted, asked []Scope) ([]Scope, error) {
	granted = sorted(granted)
	if len(asked) == 0 {
		return granted, nil
	}
	if len(asked) > MaxScopeEntries {
		return nil, errTooManyEntries
	}
	asked = sorted(asked)
	if len(granted) == 0 {
		return asked, nil
	}
	for _, s := range asked {
		if _, ok := slices.BinarySearch(granted, s); !ok {
			return nil, ErrScopeNotGranted
		}
	}
	return asked, nil
}

// sorted returns the scopes in strictly ascending order: the slice itself if it is so already, else a copy.
func sorted(scopes []Scope) []Scope {
	for i := 1; i < len(scopes); i++ {
		if scopes[i-1] >= scopes[i] {
			scopes = slices.Clone(scopes)
			slices.Sort(scopes)
			return slices.Compact(scopes)
		}
	}
	return scopes
}
