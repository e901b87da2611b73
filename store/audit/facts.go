package audit

import (
	"bytes"
	"time"
)

// facts are what of a line is searched by and counted, read without making an Entry of it: an index follows a log at
// the speed at which it is written. The slices are parts of the line where its text has no escapes.
type facts struct {
	time                                            int64 // Unix microseconds
	key, principal, profile, action, outcome, grant []byte
	token                                           []byte // the SHA-256 in hexadecimal; nil: none
	count                                           int64  // of a summary; 0: none
}

// read takes a line apart that ParseEntry would take, and reports whether it could. Of other lines it may say anything.
func (f *facts) read(line []byte) bool {
	*f = facts{}
	p := eater{rest: line, ok: true}
	p.want(`{"v":1,"time":`)
	f.time = p.time()
	p.text(`,"id":`)
	p.text(`,"node":`)
	f.action = p.text(`,"action":`)
	f.outcome = p.text(`,"outcome":`)
	if p.opt(`,"principal":{`) {
		f.principal = p.principal()
	}
	p.text(`,"peer":`)
	f.profile = p.text(`,"profile":`)
	f.key = p.text(`,"key":`)
	p.int(`,"version":`)
	p.text(`,"kid":`)
	p.text(`,"fingerprint":`)
	f.grant = p.text(`,"grant":`)
	p.text(`,"policy":`)
	if p.opt(`,"requested":{`) {
		p.int(`"ttl":`)
		p.opt(",")
		p.list(`"scope":[`)
		p.opt(",")
		p.pairs(`"values":{`)
		p.want("}")
	}
	if p.opt(`,"token":{`) {
		p.text(`"family":`)
		p.list(`,"scope":[`)
		p.int(`,"iat":`)
		p.int(`,"exp":`)
		f.token = p.text(`,"sha256":`)
		p.text(`,"nonce":`)
		p.opt(`,"reused":true`)
		p.want("}")
	}
	p.text(`,"reason":`)
	p.text(`,"justification":`)
	if p.opt(`,"root":{`) {
		p.text(`"lineage":`)
		p.int(`,"revision":`)
		p.text(`,"digest":`)
		p.want("}")
	}
	f.count = p.int(`,"count":`)
	return p.ok && len(f.action) > 0 && len(f.outcome) > 0 && len(p.rest) > 0
}

// eater eats a line from its front.
type eater struct {
	rest []byte
	ok   bool
}

func (p *eater) opt(lit string) bool {
	if len(p.rest) < len(lit) || string(p.rest[:len(lit)]) != lit {
		return false
	}
	p.rest = p.rest[len(lit):]
	return true
}

func (p *eater) want(lit string) {
	p.ok = p.opt(lit) && p.ok
}

// text eats a field of text, if it is there.
func (p *eater) text(name string) []byte {
	if !p.opt(name) {
		return nil
	}
	return p.str()
}

// str eats a string.
func (p *eater) str() []byte {
	p.want(`"`)
	for i := 0; ; {
		j := bytes.IndexByte(p.rest[i:], '"')
		if j < 0 {
			p.ok, p.rest = false, nil
			return nil
		}
		i += j
		escapes := 0
		for i-1-escapes >= 0 && p.rest[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			s := p.rest[:i]
			p.rest = p.rest[i+1:]
			return unescaped(s)
		}
		i++
	}
}

func unescaped(s []byte) []byte {
	if bytes.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return b
}

// int eats a field of digits, if it is there.
func (p *eater) int(name string) int64 {
	if !p.opt(name) {
		return 0
	}
	n, i := int64(0), 0
	for ; i < len(p.rest) && p.rest[i] >= '0' && p.rest[i] <= '9'; i++ {
		n = n*10 + int64(p.rest[i]-'0')
	}
	p.rest = p.rest[i:]
	return n
}

// list eats a list of strings, if it is there.
func (p *eater) list(name string) {
	if !p.opt(name) {
		return
	}
	for p.ok && !p.opt("]") {
		p.opt(",")
		p.str()
	}
}

// pairs eats an object of strings, if it is there.
func (p *eater) pairs(name string) {
	if !p.opt(name) {
		return
	}
	for p.ok && !p.opt("}") {
		p.opt(",")
		p.str()
		p.want(":")
		p.str()
	}
}

// principal eats a principal from behind its brace, and answers its id.
func (p *eater) principal() []byte {
	p.text(`"kind":`)
	id := p.text(`,"id":`)
	p.pairs(`,"claims":{`)
	p.text(`,"certificate":`)
	p.want("}")
	return id
}

// time eats a time: "2006-01-02T15:04:05.000000Z".
func (p *eater) time() int64 {
	const quoted = 29
	if len(p.rest) < quoted {
		p.ok = false
		return 0
	}
	s := p.rest[1 : quoted-1]
	p.rest = p.rest[quoted:]
	num := func(from, to int) int {
		n := 0
		for _, c := range s[from:to] {
			n = n*10 + int(c-'0')
		}
		return n
	}
	return time.Date(num(0, 4), time.Month(num(5, 7)), num(8, 10), num(11, 13), num(14, 16), num(17, 19), num(20, 26)*1000, time.UTC).UnixMicro()
}
