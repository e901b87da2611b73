package auditlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func headers() map[string]*Header {
	var tree Tree
	for range 5 {
		tree.Append(Hash{1}, nil)
	}
	return map[string]*Header{
		"first": {Origin: testOrigin, Segment: 1, Created: noon},
		"later": {
			Origin: testOrigin, Segment: 7, Previous: &Previous{Segment: 5, Length: 1000, SHA256: Sum{7}, Evidence: 3}, Tree: tree,
			Root: Root{Lineage: "l", Revision: 9, Digest: "d"}, Time: noon, Created: noon.Add(time.Second),
		},
		"without entries": {Origin: testOrigin, Segment: 2, Previous: &Previous{Segment: 1}, Created: noon},
	}
}

var marker = Marker{First: 4, Count: 2, SHA256: Sum{1}, Size: 6, Hash: Hash{2}}

func TestHeaderRoundTrip(t *testing.T) {
	for name, h := range headers() {
		t.Run(name, func(t *testing.T) {
			line, err := h.AppendJSON([]byte("before"))
			if err != nil {
				t.Fatal(err)
			}
			line = line[len("before"):]
			got, err := ParseHeader(line)
			if err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if diff := cmp.Diff(h, got, cmp.AllowUnexported(Tree{})); diff != "" {
				t.Errorf("round trip (-want +got):\n%s", diff)
			}
			if !json.Valid(line) || KindOf(line) != HeaderLine {
				t.Errorf("not a header in JSON: %s", line)
			}
			for i := range line {
				for bit := range 8 {
					bad := slices.Clone(line)
					bad[i] ^= 1 << bit
					if _, err := ParseHeader(bad); !errors.Is(err, ErrSegment) {
						t.Fatalf("accepted with bit %d of byte %d flipped, or %v", bit, i, err)
					}
				}
			}
		})
	}
}

func TestHeaderRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(h *Header)
	}{
		{"number", func(h *Header) { h.Segment = 0 }},
		{"previous itself", func(h *Header) { h.Previous.Segment = 7 }},
		{"previous none", func(h *Header) { h.Previous.Segment = 0 }},
		{"entries before the first", func(h *Header) { h.Previous = nil }},
		{"entries without time", func(h *Header) { h.Time = time.Time{} }},
		{"time without entries", func(h *Header) { h.Tree = Tree{} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := headers()["later"]
			tt.edit(h)
			line, err := h.AppendJSON(nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ParseHeader(line); !errors.Is(err, ErrSegment) {
				t.Errorf("accepted, or %v", err)
			}
		})
	}
	h := headers()["later"]
	h.Origin.Log = "../x"
	if _, err := h.AppendJSON(nil); err == nil {
		t.Error("a malformed origin was written")
	}
	if _, err := ParseHeader(bytes.Repeat([]byte("x"), maxHeaderLen+1)); !errors.Is(err, ErrSegment) {
		t.Error("a long line was looked at")
	}
}

func TestMarkerRoundTrip(t *testing.T) {
	line := marker.AppendJSON(nil)
	got, err := ParseMarker(line)
	if err != nil || got != marker {
		t.Fatalf("%+v, %v", got, err)
	}
	if !json.Valid(line) || KindOf(line) != MarkerLine {
		t.Errorf("not a marker in JSON: %s", line)
	}
	for _, bad := range []Marker{
		{First: 4, Count: 0, Size: 4}, {First: 4, Count: 2, Size: 7}, {First: 1<<63 - 1, Count: 1, Size: -1 << 63},
	} {
		if _, err := ParseMarker(bad.AppendJSON(nil)); !errors.Is(err, ErrSegment) {
			t.Errorf("%+v: accepted, or %v", bad, err)
		}
	}
	for i := range line {
		if _, err := ParseMarker(line[:i]); err == nil {
			t.Errorf("accepted when cut to %d bytes", i)
		}
	}
}

func TestSegmentName(t *testing.T) {
	for _, n := range []int64{1, 42, 9999999999999999} {
		if got, ok := ParseSegmentName(SegmentName(n)); !ok || got != n {
			t.Errorf("%d becomes %d, %v", n, got, ok)
		}
	}
	for _, bad := range []string{"", "0000000000000000.log", "1.log", "000000000000000a.log", "0000000000000001.txt", "-000000000000001.log", "+000000000000001.log"} {
		if _, ok := ParseSegmentName(bad); ok {
			t.Errorf("%q is taken for a segment", bad)
		}
	}
}

// scan scans bytes and returns how many entries there were.
func scan(t testing.TB, data []byte) (Scan, int) {
	t.Helper()
	entries := 0
	s, err := ScanSegment(bytes.NewReader(data), func(_ *Header, b *Batch) error {
		n := 0
		for line := range b.Entries() {
			if KindOf(line) != EntryLine {
				t.Errorf("not an entry: %q", line)
			}
			n++
		}
		if int64(n) != b.Marker.Count || !bytes.Equal(data[b.Offset:b.Offset+int64(len(b.Data))], b.Data) || data[b.End-1] != '\n' {
			t.Errorf("batch %+v does not lie where it says", b.Marker)
		}
		entries += n
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, entries
}

func TestScanSegment(t *testing.T) {
	b := newBuilder(t)
	b.segment("")
	b.batch(2)
	one := len(b.buf)
	b.batch(3)
	good := string(b.buf)
	lines := strings.SplitAfter(good, "\n")
	tests := []struct {
		name    string
		data    string
		entries int
		broken  string // what; "": nothing
		line    int
		after   int // line of a complete batch behind; 0: none
	}{
		{"whole", good, 5, "", 0, 0},
		{"empty", "", 0, "an empty file", 1, 0},
		{"no header", strings.Join(lines[1:], ""), 0, "header: ", 1, 4},
		{"header alone", lines[0], 0, "", 0, 0},
		{"header cut", lines[0][:20], 0, "a line without end", 1, 0},
		{"cut in a line", good[:len(good)-1], 2, "a line without end", 8, 0},
		{"cut before the marker", strings.Join(lines[:7], ""), 2, "3 entries without a marker", 5, 0},
		{"zeros", good + "\x00\x00", 5, "a line without end", 9, 0},
		{"zeros and a newline", good + "\x00\x00\n", 5, "a line of no known kind", 9, 0},
		{"long line", good[:one] + strings.Repeat("x", 1<<18) + "\n" + good[one:], 2, "a line longer than there can be", 5, 6},
		{"long line at the end", good + strings.Repeat("x", 1<<18), 5, "a line longer than there can be", 9, 0},
		{"exactly a buffer", good + strings.Repeat("x", MaxEntryLen+2), 5, "a line longer than there can be", 9, 0},
		{"second header", good[:one] + lines[0] + good[one:], 2, "a line of no known kind", 5, 6},
		{"first marker gone", strings.Join(slices.Delete(slices.Clone(lines), 3, 4), ""), 0, "2 entries without a marker", 2, 4},
		{"second batch first", lines[0] + good[one:] + good[len(lines[0]):one], 0, "a batch that begins with index 2 where 0 was expected", 2, 2},
		{"twice", good + good[one:], 5, "a batch that begins with index 2 where 5 was expected", 9, 9},
		{"entry more", lines[0] + lines[1] + strings.Join(lines[1:], ""), 0, "1 entries without a marker", 2, 3},
		{"entry less", lines[0] + strings.Join(lines[2:], ""), 0, "a marker for 2 entries after 1", 3, 4},
		{"entry changed", strings.Replace(good, `"count":1`, `"count":9`, 1), 0, "the entries of lines 2 to 3 do not agree with their marker", 2, 5},
		{"marker changed", strings.Replace(good, `"count":2,`, `"count":02,`, 1), 0, "marker: ", 4, 5},
		{"marker alone", good + lines[3], 5, "a marker for 2 entries after 0", 9, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, n := scan(t, []byte(tt.data))
			if n != tt.entries || s.Size != int64(len(tt.data)) {
				t.Errorf("%d entries in %d bytes, want %d in %d", n, s.Size, tt.entries, len(tt.data))
			}
			if tt.broken == "" != (s.Broken == nil) || s.Broken != nil && (!strings.Contains(s.Broken.What, tt.broken) || s.Broken.Line != tt.line || s.Broken.Offset != s.Length) {
				t.Errorf("broken %+v, want %q at line %d", s.Broken, tt.broken, tt.line)
			}
			if (tt.after == 0) != (s.After == nil) || s.After != nil && s.After.Line != tt.after {
				t.Errorf("after %+v, want line %d", s.After, tt.after)
			}
			if s.Broken == nil && s.Length != s.Size {
				t.Errorf("length %d of %d", s.Length, s.Size)
			}
		})
	}
}

func TestScanErrors(t *testing.T) {
	b := newBuilder(t)
	b.segment("")
	b.batch(2)
	b.batch(3)
	boom := errors.New("boom")
	_, err := ScanSegment(bytes.NewReader(b.buf), func(*Header, *Batch) error { return boom })
	if !errors.Is(err, boom) {
		t.Errorf("the function's error: %v", err)
	}
	r := io.MultiReader(bytes.NewReader(b.buf[:len(b.buf)-10]), iotest.ErrReader(boom))
	if _, err := ScanSegment(r, func(*Header, *Batch) error { return nil }); !errors.Is(err, boom) {
		t.Errorf("the reader's error: %v", err)
	}
}

func TestScanLimit(t *testing.T) {
	b := newBuilder(t)
	b.segment("")
	e := &Entry{Time: noon, Node: "n", Action: "a", Outcome: Allowed, Requested: &Requested{}}
	for range 15 {
		e.Requested.Scope = append(e.Requested.Scope, strings.Repeat("a ", 2000))
	}
	line, err := e.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	for len(b.buf) < MaxBatchLen+2*len(line) {
		b.buf = append(append(b.buf, line...), '\n')
	}
	if s, n := scan(t, b.buf); n != 0 || s.Broken == nil || !strings.Contains(s.Broken.What, "longer than there can be") {
		t.Errorf("%d entries, broken %+v", n, s.Broken)
	}
}

func TestTail(t *testing.T) {
	b := small(t)
	tail := (&Header{}).Tail()
	if tail.Root() != (Root{}) || !tail.Time().IsZero() {
		t.Errorf("of nothing: %v %v", tail.Root(), tail.Time())
	}
	tail.Add([]byte(strings.Join(b.lines[:5], "\n") + "\n"))
	if want := (Root{Lineage: "l", Revision: 4, Digest: "d"}); tail.Root() != want || !tail.Time().Equal(noon.Add(4*time.Second)) {
		t.Errorf("root %v, time %v", tail.Root(), tail.Time())
	}
	e := &Entry{Time: noon.Add(time.Hour), Node: "n", Action: "a", Outcome: Allowed, Reason: `,"root":{"lineage":"x","revision":1,"digest":"y"}`}
	line, err := e.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	tail.Add(append(line, '\n'))
	if tail.Root().Revision != 4 || !tail.Time().Equal(noon.Add(time.Hour)) {
		t.Errorf("a root in a reason was taken for one: %v", tail.Root())
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, h := range headers() {
		line, err := h.AppendJSON(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Add(marker.AppendJSON(nil))
	f.Fuzz(func(t *testing.T, line []byte) {
		if h, err := ParseHeader(line); err == nil {
			if again, err := h.AppendJSON(nil); err != nil || !bytes.Equal(again, line) {
				t.Errorf("%q\nbecomes %q, %v", line, again, err)
			}
		}
		if m, err := ParseMarker(line); err == nil {
			if again := m.AppendJSON(nil); !bytes.Equal(again, line) {
				t.Errorf("%q\nbecomes %q", line, again)
			}
		}
	})
}

// FuzzScanSegment appends anything to a good segment, and puts anything in its place: what was whole stays.
func FuzzScanSegment(f *testing.F) {
	b := newBuilder(f)
	b.segment("")
	b.batch(2)
	b.batch(1)
	f.Add(0, []byte{})
	f.Add(1, []byte("\x00\n"))
	f.Add(len(b.buf), b.buf[100:])
	f.Fuzz(func(t *testing.T, keep int, more []byte) {
		keep = min(max(keep, 0), len(b.buf))
		good, _ := scan(t, b.buf[:keep])
		data := append(slices.Clone(b.buf[:keep]), more...)
		s, n := scan(t, data)
		if good.Broken == nil && s.Length < good.Length {
			t.Errorf("%d of %d good bytes are left", s.Length, good.Length)
		}
		if n > 3 && !bytes.Contains(more, []byte(markerPrefix)) {
			t.Errorf("%d entries", n)
		}
		m := fstest.MapFS{SegmentName(1): &fstest.MapFile{Data: data}}
		if _, err := VerifySegments(m, testVerifier, VerifyOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// FuzzVerifySegments gives the verifier directories of anything.
func FuzzVerifySegments(f *testing.F) {
	b := small(f)
	f.Add(b.fs[SegmentName(1)].Data, b.fs[SegmentName(2)].Data, b.fs[SegmentName(3)].Data, b.fs[SegmentName(4)].Data)
	f.Fuzz(func(t *testing.T, s1, s2, s3, s4 []byte) {
		m := fstest.MapFS{CheckpointFile: b.fs[CheckpointFile]}
		for i, s := range [][]byte{s1, s2, s3, s4} {
			if len(s) > 0 {
				m[SegmentName(int64(i)+1)] = &fstest.MapFile{Data: s}
			}
		}
		r, err := VerifySegments(m, testVerifier, VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Damage) == 0 && r.Hash != b.tree.Hash() {
			t.Errorf("%d entries of another log are taken for the signed ones", r.Size)
		}
	})
}
