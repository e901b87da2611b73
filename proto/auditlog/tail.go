package auditlog

import (
	"bytes"
	"time"
)

// Tail follows what the next segment's header says of the entries before it: the last root that one names, and the
// time of the last. The zero Tail is that of an empty log.
type Tail struct {
	root     Root
	time     time.Time
	rootLine []byte // the line that names a later root than root, not yet parsed
	lastLine []byte // the line that has a later time than time
}

// Tail is what the header says of the entries before it.
func (h *Header) Tail() Tail { return Tail{root: h.Root, time: h.Time} }

// rootField stands in a line only if the entry has a root: inside a string its quotes would be escaped.
var rootField = []byte(`,"root":{`)

// Add goes on over lines of entries, each with its newline.
func (t *Tail) Add(lines []byte) {
	// Most batches name none, and bytes.Contains says so ten times faster than bytes.LastIndex.
	if bytes.Contains(lines, rootField) {
		i := bytes.LastIndex(lines, rootField)
		t.rootLine = append(t.rootLine[:0], lineAt(lines, i)...)
	}
	t.lastLine = append(t.lastLine[:0], lineAt(lines, len(lines)-1)...)
}

// lineAt is the line that byte i of lines is in, without its newline.
func lineAt(lines []byte, i int) []byte {
	start := bytes.LastIndexByte(lines[:i], '\n') + 1
	return lines[start : i+bytes.IndexByte(lines[i:], '\n')]
}

// Root is the last root that an entry names; zero: none does.
func (t *Tail) Root() Root {
	t.settle()
	return t.root
}

// Time is the time of the last entry; zero: there is none.
func (t *Tail) Time() time.Time {
	t.settle()
	return t.time
}

// settle parses what Add has put by. A line that does not parse changes nothing.
func (t *Tail) settle() {
	if len(t.rootLine) > 0 {
		if e, err := ParseEntry(t.rootLine); err == nil && e.Root != nil {
			t.root = *e.Root
		}
	}
	if len(t.lastLine) > 0 {
		if e, err := ParseEntry(t.lastLine); err == nil {
			t.time = e.Time
		}
	}
	t.rootLine, t.lastLine = t.rootLine[:0], t.lastLine[:0]
}
