package policy

import (
	"errors"
	"strings"
)

// Patterns name many SPIFFE ids or many keys at once, part by part between the
// slashes: * stands for any run of bytes within one part, also none; a last part
// ** stands for one or more parts of any kind, so that a/** is everything below
// a and not a itself. Ids and names never contain a *, which is why a pattern
// can itself be matched as if it were one: what matches it covers all of it.

const (
	idPrefix = "spiffe://"
	maxIDLen = 2048 // by the SPIFFE standard

	below = "**" // the last part of a pattern for everything below
)

var (
	errIDTooLong      = errors.New("a SPIFFE id is at most 2048 bytes")
	errIDScheme       = errors.New("not a SPIFFE id: want spiffe://trust-domain/path")
	errIDTrustDomain  = errors.New("a trust domain is of a-z 0-9 . _ - and takes no wildcard")
	errIDEmptySegment = errors.New("the path has an empty part: take out the doubled or last slash")
	errIDDotSegment   = errors.New("the path has a part . or .., which SPIFFE does not allow")
	errIDSegment      = errors.New("the path is of letters, digits, . _ - and slashes")
	errIDWildcard     = errors.New("a wildcard where one full id is wanted: write the id out")
	errBelow          = errors.New("** stands for everything below and only as the whole last part: write a/**, or * for anything within one part")
	errKeyPattern     = errors.New("not a pattern for key names: want parts such as ios/asc-* of a-z 0-9 . _ - and *, or a last part **")
	errKeyPatternLong = errors.New("a pattern for key names is at most 128 bytes")
)

// ValidateID checks that s is the full SPIFFE id of one workload or person, by
// the rules of the standard and without wildcards. The error does not repeat it.
func ValidateID(s string) error {
	_, _, err := splitID(s, false)
	return err
}

// splitID takes an id, or a pattern for ids, apart into its trust domain and its
// path, which is empty or begins with a slash.
func splitID(s string, wildcards bool) (domain, path string, err error) {
	if len(s) > maxIDLen {
		return "", "", errIDTooLong
	}
	rest, ok := strings.CutPrefix(s, idPrefix)
	if !ok {
		return "", "", errIDScheme
	}
	domain = rest
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		domain, path = rest[:i], rest[i:]
	}
	if domain == "" {
		return "", "", errIDTrustDomain
	}
	for i := range len(domain) {
		if !isNameByte(domain[i]) {
			return "", "", errIDTrustDomain
		}
	}
	for rest := path; rest != ""; {
		var segment string
		segment, rest = cutSegment(rest)
		if err := checkIDSegment(segment, rest == "", wildcards); err != nil {
			return "", "", err
		}
	}
	return domain, path, nil
}

func checkIDSegment(segment string, last, wildcards bool) error {
	switch segment {
	case "":
		return errIDEmptySegment
	case ".", "..":
		return errIDDotSegment
	}
	for i := range len(segment) {
		c := segment[i]
		switch {
		case isNameByte(c) || 'A' <= c && c <= 'Z':
		case c != '*':
			return errIDSegment
		case !wildcards:
			return errIDWildcard
		}
	}
	return checkBelow(segment, last)
}

// checkKeyPattern checks a pattern for key names.
func checkKeyPattern(s string) error {
	if len(s) > maxNameLen {
		return errKeyPatternLong
	}
	for rest := "/" + s; rest != ""; {
		var segment string
		segment, rest = cutSegment(rest)
		if !isName(strings.ReplaceAll(segment, "*", "0")) { // where a * may stand, a letter or digit may
			return errKeyPattern
		}
		if err := checkBelow(segment, rest == ""); err != nil {
			return err
		}
	}
	return nil
}

func checkBelow(segment string, last bool) error {
	if strings.Contains(segment, below) && (segment != below || !last) {
		return errBelow
	}
	return nil
}

// cutSegment takes the first part off a path that begins with a slash.
func cutSegment(path string) (segment, rest string) {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// matchKey says whether a key's name, or all that another pattern stands for,
// is among what the pattern stands for.
func matchKey(pattern, name string) bool {
	pattern, name = "/"+pattern, "/"+name
	for pattern != "" && name != "" {
		var want, got string
		want, pattern = cutSegment(pattern)
		if want == below {
			return true
		}
		got, name = cutSegment(name)
		if got == below || !matchSegment(want, got) {
			return false
		}
	}
	return pattern == "" && name == ""
}

// matchSegment says whether one part matches one part of a pattern other than **.
func matchSegment(pattern, s string) bool {
	// On a mismatch the last * takes one byte more; earlier ones need not change.
	star, resume := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, resume = i, j
			i++
		case i < len(pattern) && pattern[i] == s[j]:
			i++
			j++
		case star >= 0:
			resume++
			i, j = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[i:], "*") == ""
}
