package auditlog

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// timeLayout is how times are written: UTC and of one width, so that they sort as text.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// AppendJSON appends the entry's line, without newline, to dst. It refuses (ErrEntry) control characters, text that
// is not UTF-8 or too long, and (also ErrLooksLikeKey) text that looks like a private key; no refusal quotes the text.
func (e *Entry) AppendJSON(dst []byte) ([]byte, error) { return e.appendJSON(dst, LooksLikeKey) }

func (e *Entry) appendJSON(dst []byte, secret func(string) bool) ([]byte, error) {
	w := encoder{b: dst, secret: secret}
	w.lit(entryPrefix + `"time":`)
	w.time("time", e.Time)
	w.optional("id", e.ID)
	w.required("node", e.Node)
	w.required("action", e.Action)
	w.required("outcome", string(e.Outcome))
	if p := e.Principal; p != nil {
		w.principal(p)
	}
	w.optional("peer", e.Peer)
	w.optional("profile", e.Profile)
	w.optional("key", e.Key)
	w.optionalInt("version", int64(e.Version))
	w.optional("kid", e.KeyID)
	w.optional("fingerprint", e.Fingerprint)
	w.optional("grant", e.Grant)
	w.optional("policy", e.Policy)
	if r := e.Requested; r != nil && (r.TTL != 0 || len(r.Scope) != 0 || len(r.Values) != 0) {
		w.object("requested")
		w.optionalInt("ttl", r.TTL)
		w.list("scope", r.Scope)
		w.pairs("values", r.Values, MaxValues)
		w.lit("}")
	}
	if t := e.Token; t != nil {
		w.object("token")
		w.required("family", t.Family)
		w.list("scope", t.Scope)
		w.int("iat", t.IssuedAt)
		w.int("exp", t.Expires)
		w.sum("sha256", t.SHA256)
		w.optional("nonce", t.Nonce)
		if t.Reused {
			w.lit(`,"reused":true`)
		}
		w.lit("}")
	}
	w.optional("reason", e.Reason)
	w.optional("justification", e.Justification)
	if e.Root != nil {
		w.root(e.Root)
	}
	w.optionalInt("count", e.Count)
	if g := e.Gap; g != nil {
		w.object("gap")
		w.required("id", g.ID)
		w.required("kind", g.Kind)
		if g.Log != "" {
			w.required("log", g.Log)
			w.int("size", g.Size)
			w.hash("hash", g.Hash)
		}
		w.lit("}")
	}
	if i := e.Issued; i != nil {
		w.object("issued")
		w.required("uri", i.URI)
		w.sum("sha256", i.SHA256)
		w.name("expires")
		w.time("expires", i.Expires)
		w.lit("}")
	}
	w.lit("}")
	if w.err == nil && len(w.b)-len(dst) > MaxEntryLen {
		w.err = fmt.Errorf("%w: longer than %d bytes", ErrEntry, MaxEntryLen)
	}
	if w.err != nil {
		return dst, w.err
	}
	return w.b, nil
}

func (w *encoder) principal(p *Principal) {
	w.object("principal")
	w.required("kind", p.Kind)
	w.required("id", p.ID)
	w.pairs("claims", p.Claims, MaxClaims)
	w.optional("certificate", p.Certificate)
	w.lit("}")
}

// pairs writes an object of text, in the order of the names; nothing of an empty one.
func (w *encoder) pairs(name string, pairs map[string]string, most int) {
	if len(pairs) > most {
		w.refuse(name, "too many")
		return
	}
	if len(pairs) == 0 {
		return
	}
	w.object(name)
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		w.comma()
		w.text(name, k)
		w.lit(":")
		w.text(name, pairs[k])
	}
	w.lit("}")
}

func (w *encoder) root(r *Root) {
	w.object("root")
	w.required("lineage", r.Lineage)
	w.name("revision")
	w.b = strconv.AppendUint(w.b, r.Revision, 10)
	w.required("digest", r.Digest)
	w.lit("}")
}

// encoder appends JSON and remembers the first refusal.
type encoder struct {
	b      []byte
	err    error
	secret func(string) bool // nil: text is not looked at
}

func (w *encoder) lit(s string) { w.b = append(w.b, s...) }

// comma separates from what came before in the same object or list.
func (w *encoder) comma() {
	if c := w.b[len(w.b)-1]; c != '{' && c != '[' {
		w.b = append(w.b, ',')
	}
}

func (w *encoder) name(name string) {
	w.comma()
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

func (w *encoder) object(name string) {
	w.name(name)
	w.b = append(w.b, '{')
}

func (w *encoder) refuse(name, why string) {
	if w.err == nil {
		w.err = fmt.Errorf("%w: %s: %s", ErrEntry, name, why)
	}
}

func (w *encoder) required(name, s string) {
	if s == "" {
		w.refuse(name, "missing")
	}
	w.name(name)
	w.text(name, s)
}

func (w *encoder) optional(name, s string) {
	if s != "" {
		w.name(name)
		w.text(name, s)
	}
}

func (w *encoder) int(name string, n int64) {
	if n < 0 {
		w.refuse(name, "negative")
	}
	w.name(name)
	w.b = strconv.AppendInt(w.b, n, 10)
}

func (w *encoder) optionalInt(name string, n int64) {
	if n != 0 {
		w.int(name, n)
	}
}

func (w *encoder) sum(name string, s Sum) {
	w.name(name)
	w.b = append(w.b, '"')
	w.b = hex.AppendEncode(w.b, s[:])
	w.b = append(w.b, '"')
}

func (w *encoder) base64(h Hash) {
	w.b = append(w.b, '"')
	w.b = base64.StdEncoding.AppendEncode(w.b, h[:])
	w.b = append(w.b, '"')
}

func (w *encoder) hash(name string, h Hash) {
	w.name(name)
	w.base64(h)
}

func (w *encoder) time(name string, t time.Time) {
	t = t.UTC()
	if y := t.Year(); t.IsZero() || y < 1 || y > 9999 {
		w.refuse(name, "missing or out of range")
		return
	}
	w.b = append(w.b, '"')
	w.b = t.AppendFormat(w.b, timeLayout)
	w.b = append(w.b, '"')
}

func (w *encoder) list(name string, list []string) {
	if len(list) == 0 {
		return
	}
	if len(list) > MaxScopeLen {
		w.refuse(name, "too many")
		return
	}
	w.name(name)
	w.lit("[")
	for _, s := range list {
		w.comma()
		w.text(name, s)
	}
	w.lit("]")
}

// text appends a JSON string. Only the quote and the backslash are escaped; what would need another escape is refused.
func (w *encoder) text(name, s string) {
	if err := checkText(s); err != nil {
		w.refuse(name, err.Error())
		return
	}
	if w.secret != nil && w.err == nil && !isDigest(s) && w.secret(s) {
		w.err = fmt.Errorf("%w: %s: %w; nothing was recorded of it", ErrEntry, name, ErrLooksLikeKey)
		return
	}
	w.b = append(w.b, '"')
	start := 0
	for i := range len(s) {
		if c := s[i]; c == '"' || c == '\\' {
			w.b = append(w.b, s[start:i]...)
			w.b = append(w.b, '\\')
			start = i
		}
	}
	w.b = append(w.b, s[start:]...)
	w.b = append(w.b, '"')
}

var (
	errTooLong = fmt.Errorf("longer than %d bytes", MaxTextLen)
	errControl = errors.New("holds a control character; use plain text on one line")
	errUTF8    = errors.New("is not UTF-8")
)

// checkText is what text may be in an entry, both ways: at most MaxTextLen bytes of UTF-8 without control characters.
func checkText(s string) error {
	if len(s) > MaxTextLen {
		return errTooLong
	}
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < 0x20 || c == 0x7f {
				return errControl
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return errUTF8
		}
		if r < 0xa0 {
			return errControl
		}
		i += n
	}
	return nil
}

// isDigest reports whether s is "sha256:" and 64 lower-case hexadecimal digits, which cannot hold a key.
func isDigest(s string) bool {
	return len(s) == 7+64 && s[:7] == "sha256:" && isLowerHex(s[7:])
}
