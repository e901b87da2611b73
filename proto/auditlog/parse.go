package auditlog

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseEntry parses a line without newline. It accepts exactly what AppendJSON writes, but for the check against
// private keys: fields in their order, no space, one spelling of every value. The error does not quote the line.
func ParseEntry(line []byte) (*Entry, error) {
	if len(line) > MaxEntryLen {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrEntry, MaxEntryLen)
	}
	p := parser{s: string(line)}
	e := p.entry()
	if p.err == nil && p.s != "" {
		p.fail("there is more after its end, or a field that this version does not know")
	}
	if p.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEntry, p.err)
	}
	return e, nil
}

func (p *parser) entry() *Entry {
	e := &Entry{}
	p.want(entryPrefix + `"time":`)
	e.Time = p.time()
	e.ID = p.optional(`,"id":`)
	e.Node = p.required(`,"node":`)
	e.Action = p.required(`,"action":`)
	e.Outcome = Outcome(p.required(`,"outcome":`))
	if p.opt(`,"principal":{`) {
		e.Principal = p.principal()
	}
	e.Peer = p.optional(`,"peer":`)
	e.Profile = p.optional(`,"profile":`)
	e.Key = p.optional(`,"key":`)
	e.Version = int(p.optionalInt(`,"version":`))
	e.KeyID = p.optional(`,"kid":`)
	e.Fingerprint = p.optional(`,"fingerprint":`)
	e.Grant = p.optional(`,"grant":`)
	e.Policy = p.optional(`,"policy":`)
	if p.opt(`,"requested":{`) {
		e.Requested = p.requested()
	}
	if p.opt(`,"token":{`) {
		t := &Token{Family: p.required(`"family":`)}
		t.Scope = p.list(`,"scope":[`)
		t.IssuedAt = p.int(`,"iat":`)
		t.Expires = p.int(`,"exp":`)
		t.SHA256 = p.sum(`,"sha256":`)
		t.Nonce = p.optional(`,"nonce":`)
		t.Reused = p.opt(`,"reused":true`)
		p.want("}")
		e.Token = t
	}
	e.Reason = p.optional(`,"reason":`)
	e.Justification = p.optional(`,"justification":`)
	if p.opt(`,"root":{`) {
		e.Root = p.root()
	}
	e.Count = p.optionalInt(`,"count":`)
	if p.opt(`,"gap":{`) {
		g := &Gap{ID: p.required(`"id":`), Kind: p.required(`,"kind":`)}
		if g.Log = p.optional(`,"log":`); g.Log != "" {
			g.Size = p.int(`,"size":`)
			g.Hash = p.hash(`,"hash":`)
		}
		p.want("}")
		e.Gap = g
	}
	if p.opt(`,"issued":{`) {
		i := &Issued{URI: p.required(`"uri":`), SHA256: p.sum(`,"sha256":`)}
		p.want(`,"expires":`)
		i.Expires = p.time()
		p.want("}")
		e.Issued = i
	}
	p.want("}")
	return e
}

func (p *parser) principal() *Principal {
	pr := &Principal{Kind: p.required(`"kind":`), ID: p.required(`,"id":`)}
	if p.opt(`,"claims":{`) {
		pr.Claims = p.pairs(MaxClaims)
	}
	pr.Certificate = p.optional(`,"certificate":`)
	p.want("}")
	return pr
}

// requested is what stands in the object; each of its members may be the first.
func (p *parser) requested() *Requested {
	var r Requested
	comma := ""
	if r.TTL = p.optionalInt(`"ttl":`); r.TTL != 0 {
		comma = ","
	}
	if r.Scope = p.list(comma + `"scope":[`); r.Scope != nil {
		comma = ","
	}
	if p.opt(comma + `"values":{`) {
		r.Values = p.pairs(MaxValues)
		comma = ","
	}
	if comma == "" {
		p.fail("an empty object")
	}
	p.want("}")
	return &r
}

// pairs are the members of an object of text, in the order of their names, and its end. There is one at least.
func (p *parser) pairs(most int) map[string]string {
	pairs := map[string]string{}
	last := ""
	for len(pairs) == 0 || p.opt(",") {
		k := p.text()
		if len(pairs) > 0 && k <= last || len(pairs) == most {
			p.fail("names out of order, or too many")
		}
		p.want(":")
		pairs[k], last = p.text(), k
		if p.err != nil {
			break
		}
	}
	p.want("}")
	return pairs
}

func (p *parser) root() *Root {
	r := &Root{Lineage: p.required(`"lineage":`)}
	p.want(`,"revision":`)
	r.Revision = p.uint(math.MaxUint64)
	r.Digest = p.required(`,"digest":`)
	p.want("}")
	return r
}

// parser eats a string from its front and remembers the first thing that did not fit. After that it eats nothing.
type parser struct {
	s   string
	err error
}

func (p *parser) fail(why string) {
	if p.err == nil {
		p.err = errors.New(why)
		p.s = ""
	}
}

// opt eats lit if it is there.
func (p *parser) opt(lit string) bool {
	rest, ok := strings.CutPrefix(p.s, lit)
	if ok {
		p.s = rest
	}
	return ok
}

func (p *parser) want(lit string) {
	if !p.opt(lit) {
		p.fail("expected " + lit)
	}
}

func (p *parser) required(lit string) string {
	p.want(lit)
	s := p.text()
	if s == "" {
		p.fail("an empty value after " + lit)
	}
	return s
}

func (p *parser) optional(lit string) string {
	if !strings.HasPrefix(p.s, lit) {
		return ""
	}
	return p.required(lit)
}

// text eats a JSON string as encoder.text writes it.
func (p *parser) text() string {
	if !p.opt(`"`) {
		p.fail("expected a string")
		return ""
	}
	i := 0
	escaped := false
	for {
		j := strings.IndexAny(p.s[i:], `"\`)
		if j < 0 {
			p.fail("a string without end")
			return ""
		}
		i += j
		if p.s[i] == '"' {
			break
		}
		if i+1 >= len(p.s) || p.s[i+1] != '"' && p.s[i+1] != '\\' {
			p.fail("an escape that is not used here")
			return ""
		}
		escaped = true
		i += 2
	}
	s := p.s[:i]
	p.s = p.s[i+1:]
	if escaped {
		s = unescape(s)
	}
	if err := checkText(s); err != nil {
		p.fail("a string " + err.Error())
		return ""
	}
	return s
}

// unescape takes the first of every two: each backslash stands before what it escapes.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// uint eats a decimal number without leading zeros.
func (p *parser) uint(maximum uint64) uint64 {
	i := 0
	for i < len(p.s) && p.s[i] >= '0' && p.s[i] <= '9' {
		i++
	}
	n, err := strconv.ParseUint(p.s[:i], 10, 64)
	if err != nil || n > maximum || i > 1 && p.s[0] == '0' {
		p.fail("expected a number without sign or leading zeros")
		return 0
	}
	p.s = p.s[i:]
	return n
}

func (p *parser) int(lit string) int64 {
	p.want(lit)
	return int64(p.uint(math.MaxInt64)) //nolint:gosec // bounded by the line itself
}

func (p *parser) optionalInt(lit string) int64 {
	if !strings.HasPrefix(p.s, lit) {
		return 0
	}
	n := p.int(lit)
	if n == 0 {
		p.fail("a zero after " + lit)
	}
	return n
}

// fixed eats a quoted string of n bytes.
func (p *parser) fixed(n int) string {
	if len(p.s) < n+2 || p.s[0] != '"' || p.s[n+1] != '"' {
		p.fail("a value of another length than expected")
		return ""
	}
	s := p.s[1 : n+1]
	p.s = p.s[n+2:]
	return s
}

func (p *parser) sum(lit string) Sum {
	p.want(lit)
	var sum Sum
	s := p.fixed(64)
	if p.err == nil && !isLowerHex(s) {
		p.fail("expected lower-case hexadecimal digits after " + lit)
	}
	if p.err == nil {
		if _, err := hex.Decode(sum[:], []byte(s)); err != nil {
			p.fail("expected hexadecimal digits after " + lit)
		}
	}
	return sum
}

func (p *parser) base64() Hash {
	var h Hash
	s := p.fixed(44)
	if p.err == nil {
		// Strict: the unused bits of the last digit must be zero.
		b, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil || len(b) != len(h) {
			p.fail("expected the base64 of 32 bytes")
			return h
		}
		copy(h[:], b)
	}
	return h
}

func (p *parser) hash(lit string) Hash {
	p.want(lit)
	return p.base64()
}

// time eats a quoted time in timeLayout.
func (p *parser) time() time.Time {
	s := p.fixed(len(timeLayout))
	if p.err != nil {
		return time.Time{}
	}
	num := func(from, to int) int {
		n := 0
		for i := from; i < to; i++ {
			if s[i] < '0' || s[i] > '9' {
				p.fail("a time that is not one")
				return 0
			}
			n = n*10 + int(s[i]-'0')
		}
		return n
	}
	year, month, day := num(0, 4), num(5, 7), num(8, 10)
	hour, minute, sec, micro := num(11, 13), num(14, 16), num(17, 19), num(20, 26)
	t := time.Date(year, time.Month(month), day, hour, minute, sec, micro*1000, time.UTC)
	if s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[19] != '.' || s[26] != 'Z' ||
		year < 1 || t.IsZero() || int(t.Month()) != month || t.Day() != day || t.Hour() != hour || t.Minute() != minute || sec > 59 {
		p.fail("a time that is not one")
		return time.Time{}
	}
	return t
}

// list eats a list of strings up to its bracket; nil if it is not there.
func (p *parser) list(lit string) []string {
	if !p.opt(lit) {
		return nil
	}
	var list []string
	for list == nil || p.opt(",") {
		if list = append(list, p.text()); p.err != nil || len(list) > MaxScopeLen {
			p.fail("too many in a list")
			return nil
		}
	}
	p.want("]")
	return list
}
