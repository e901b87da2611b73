package auditlog

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"
)

// builder writes a log as the server does, but as the test wants it.
type builder struct {
	t      testing.TB
	origin Origin
	fs     fstest.MapFS
	tree   Tree
	tail   Tail
	stored []Hash
	heads  []Checkpoint // at every batch
	lines  []string
	number int64
	buf    []byte // the segment so far
	prev   *Previous
}

func newBuilder(t testing.TB) *builder {
	return &builder{t: t, origin: testOrigin, fs: fstest.MapFS{}}
}

// segment begins the next one, after evidence at the end of the one before.
func (b *builder) segment(evidence string) {
	b.end(evidence)
	b.number++
	h := Header{Origin: b.origin, Segment: b.number, Previous: b.prev, Tree: b.tree.Clone(), Root: b.tail.Root(), Time: b.tail.Time(), Created: noon}
	line, err := h.AppendJSON(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.buf = append(line, '\n')
}

func (b *builder) end(evidence string) {
	if b.number == 0 {
		return
	}
	b.prev = &Previous{Segment: b.number, Length: int64(len(b.buf)), SHA256: sha256.Sum256(b.buf), Evidence: int64(len(evidence))}
	b.fs[SegmentName(b.number)] = &fstest.MapFile{Data: append(slices.Clone(b.buf), evidence...)}
}

// batch adds n entries with their marker.
func (b *builder) batch(n int) {
	var lines []byte
	first := b.tree.Size()
	for range n {
		e := &Entry{Time: noon.Add(time.Duration(len(b.lines)) * time.Second), Node: "n", Action: "token.mint", Outcome: Allowed, Count: int64(len(b.lines)) + 1}
		if len(b.lines)%3 == 1 {
			e.Root = &Root{Lineage: "l", Revision: uint64(len(b.lines)), Digest: "d"}
		}
		line, err := e.AppendJSON(nil)
		if err != nil {
			b.t.Fatal(err)
		}
		b.stored = b.tree.Append(LeafHash(line), b.stored)
		b.lines = append(b.lines, string(line))
		lines = append(append(lines, line...), '\n')
	}
	b.tail.Add(lines)
	m := Marker{First: first, Count: int64(n), SHA256: sha256.Sum256(lines), Size: b.tree.Size(), Hash: b.tree.Hash()}
	b.buf = append(m.AppendJSON(append(b.buf, lines...)), '\n')
	b.heads = append(b.heads, b.head())
}

func (b *builder) head() Checkpoint {
	return Checkpoint{Origin: b.origin, Size: b.tree.Size(), Hash: b.tree.Hash()}
}

func (b *builder) sign() {
	msg, err := SignCheckpoint(b.head(), testSigner)
	if err != nil {
		b.t.Fatal(err)
	}
	b.fs[CheckpointFile] = &fstest.MapFile{Data: msg}
}

// small is a log of four segments with evidence, a segment set aside, and a checkpoint over its nine entries.
func small(t testing.TB) *builder {
	b := newBuilder(t)
	b.segment("")
	b.batch(1)
	b.batch(2)
	b.segment("torn{\"v\":1,")
	b.batch(3)
	b.segment("")
	b.segment("\x00\x00\x00\n")
	b.number++ // set aside
	b.fs[SegmentName(5)] = &fstest.MapFile{Data: []byte(`{"header":{"v":1,`)}
	b.number--
	b.batch(1)
	b.batch(2)
	b.end("")
	b.sign()
	return b
}

func clone(m fstest.MapFS) fstest.MapFS {
	c := fstest.MapFS{}
	for name, f := range m {
		c[name] = &fstest.MapFile{Data: slices.Clone(f.Data)}
	}
	return c
}

func verify(t testing.TB, m fstest.MapFS, o VerifyOptions) *Report {
	t.Helper()
	r, err := VerifySegments(m, testVerifier, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVerifyWhole(t *testing.T) {
	b := small(t)
	r := verify(t, b.fs, VerifyOptions{Anchors: b.heads})
	want := &Report{
		Origin: testOrigin, Size: 9, Hash: b.tree.Hash(), Checkpoint: b.head(), Signed: 9,
		Segments: []SegmentReport{{1, 0, 3, 0}, {2, 3, 3, 0}, {3, 6, 0, 0}, {4, 6, 3, 0}},
		Evidence: []Evidence{{Segment: 1, Length: 11, Recorded: 11}, {Segment: 3, Length: 4, Recorded: 4}, {Segment: 5, Length: 17, Recorded: -1}},
	}
	for i := range r.Segments {
		want.Segments[i].Length = r.Segments[i].Length
	}
	want.Evidence[0].Offset, want.Evidence[1].Offset = r.Segments[0].Length, r.Segments[2].Length
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

// TestVerifyEveryChange changes a log in every way there is, one at a time. All of it is signed, so all is found, and
// the segment is named.
func TestVerifyEveryChange(t *testing.T) {
	b := small(t)
	whole := verify(t, b.fs, VerifyOptions{})
	counts := func(name string, at int) bool { // the byte is part of the log
		n, _ := ParseSegmentName(name)
		for _, s := range whole.Segments {
			if s.Number == n {
				return int64(at) < s.Length
			}
		}
		return name == CheckpointFile
	}
	tried := 0
	expect := func(what, name string, m fstest.MapFS, found bool) {
		t.Helper()
		tried++
		r := verify(t, m, VerifyOptions{})
		if found != (len(r.Damage) > 0) {
			t.Fatalf("%s of %s: damage %v, evidence %v", what, name, r.Damage, r.Evidence)
		}
		if !found || name == CheckpointFile {
			return
		}
		n, _ := ParseSegmentName(name)
		if !slices.ContainsFunc(r.Damage, func(d Damage) bool {
			return d.Segment == n || d.Segment == n+1 || strings.Contains(d.What, fmt.Sprintf("segment %d", n)) || n > 3 && d.Segment >= 3
		}) {
			t.Fatalf("%s of %s is not named: %v", what, name, r.Damage)
		}
	}
	for name, f := range b.fs {
		for i := range f.Data {
			for bit := range 8 {
				m := clone(b.fs)
				m[name].Data[i] ^= 1 << bit
				expect(fmt.Sprintf("flip of bit %d of byte %d", bit, i), name, m, counts(name, i))
			}
			m := clone(b.fs)
			m[name].Data = m[name].Data[:i]
			expect(fmt.Sprintf("cut to %d", i), name, m, counts(name, i))
		}
		m := clone(b.fs)
		delete(m, name)
		expect("deletion", name, m, counts(name, 0))
		if name == CheckpointFile {
			continue
		}
		lines := bytes.SplitAfter(f.Data, []byte("\n"))
		offset := 0
		for i := range lines {
			m := clone(b.fs)
			m[name].Data = bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil)
			expect(fmt.Sprintf("deletion of line %d", i+1), name, m, counts(name, offset) && len(lines[i]) > 0)
			m = clone(b.fs)
			m[name].Data = bytes.Join(slices.Insert(slices.Clone(lines), i, lines[i]), nil)
			// Behind the end of the newest segment a line is evidence, and so is all of the one that was set aside.
			if len(lines[i]) > 0 {
				expect(fmt.Sprintf("line %d twice", i+1), name, m, name != SegmentName(5) && (name != SegmentName(4) || i != len(lines)-2))
			}
			for j := range i {
				if bytes.Equal(lines[i], lines[j]) || len(lines[i]) == 0 {
					continue
				}
				swapped := slices.Clone(lines)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				m := clone(b.fs)
				m[name].Data = bytes.Join(swapped, nil)
				expect(fmt.Sprintf("exchange of lines %d and %d", i+1, j+1), name, m, true)
			}
			offset += len(lines[i])
		}
		for other := range b.fs {
			if other < name && other != CheckpointFile {
				m := clone(b.fs)
				m[name], m[other] = m[other], m[name]
				expect("exchange with "+other, name, m, true)
			}
		}
		m = clone(b.fs)
		m[name].Data = append(m[name].Data, "more"...)
		expect("bytes behind it", name, m, name != SegmentName(4) && name != SegmentName(5))
	}
	t.Logf("%d changes", tried)
}

// TestVerifyAnchors is the same for what only anchors and receipts vouch for: they name what is below them, and what
// is above can be cut off unnoticed, which is said in Report.Signed.
func TestVerifyAnchors(t *testing.T) {
	b := small(t)
	old := newBuilder(t) // a checkpoint of size 0 is all that the directory itself has
	old.sign()
	b.fs[CheckpointFile] = old.fs[CheckpointFile]
	anchor := b.heads[2] // 6 entries
	receipt := func(i int64) *Receipt {
		proof, err := tlog.ProveRecord(9, i, reader(b.stored))
		if err != nil {
			t.Fatal(err)
		}
		return &Receipt{Index: i, Leaf: LeafHash([]byte(b.lines[i])), Proof: proof, Checkpoint: b.head()}
	}
	cut := clone(b.fs) // the last batch
	last := cut[SegmentName(4)]
	at := bytes.LastIndex(last.Data[:bytes.LastIndex(last.Data, []byte(`{"batch"`))], []byte(`{"batch"`))
	last.Data = last.Data[:at+bytes.IndexByte(last.Data[at:], '\n')+1]

	forged := func(edit func(b *builder)) fstest.MapFS { // another history, consistent in itself
		f := newBuilder(t)
		edit(f)
		f.end("")
		f.fs[CheckpointFile] = old.fs[CheckpointFile]
		return f.fs
	}
	tests := []struct {
		name   string
		fs     fstest.MapFS
		o      VerifyOptions
		signed int64
		want   string // of a damage; "": none
	}{
		{"whole", b.fs, VerifyOptions{}, 0, ""},
		{"whole with an anchor", b.fs, VerifyOptions{Anchors: []Checkpoint{anchor}}, 6, ""},
		{"whole with a receipt", b.fs, VerifyOptions{Receipts: []*Receipt{receipt(7)}}, 9, ""},
		{"a tail cut that nothing vouches for", cut, VerifyOptions{Anchors: []Checkpoint{anchor}}, 6, ""},
		{"a tail cut below an anchor", cut, VerifyOptions{Anchors: []Checkpoint{b.head()}}, 0, "the anchor of size 9 vouches for 9 entries; what is whole ends at 7"},
		{"a tail cut below a receipt", cut, VerifyOptions{Receipts: []*Receipt{receipt(8)}}, 0, "the receipt for index 8 vouches for 9 entries"},
		{"another history", forged(func(f *builder) { f.segment(""); f.batch(2); f.lines[0] = ""; f.batch(7) }), VerifyOptions{Anchors: []Checkpoint{anchor}}, 6, ""},
		{"a forged history", forged(func(f *builder) { f.segment(""); f.lines = []string{"", ""}; f.batch(9) }), VerifyOptions{Anchors: []Checkpoint{anchor}}, 0, "the 6 entries up to here are not those that were signed"},
		{"a forged history and a receipt", forged(func(f *builder) { f.segment(""); f.lines = []string{"", ""}; f.batch(9) }), VerifyOptions{Receipts: []*Receipt{receipt(7)}}, 0, "the entry is not the one of its receipt"},
		{"an anchor of another log", b.fs, VerifyOptions{Anchors: []Checkpoint{{Origin: Origin{"v1", "node-a", "log-9"}, Size: 1}}}, 0, "is of the log v1/node-a/log-9"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := verify(t, tt.fs, tt.o)
			var all []string
			for _, d := range r.Damage {
				all = append(all, d.String())
			}
			if got := strings.Join(all, "\n"); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("damage %q, want %q", got, tt.want)
			}
			if r.Signed != tt.signed {
				t.Errorf("signed up to %d, want %d", r.Signed, tt.signed)
			}
		})
	}
}

// TestVerifyForgedHeader forges a header that is whole in itself but does not go on from the segment before.
func TestVerifyForgedHeader(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(h *Header)
		want string
	}{
		{"hash", func(h *Header) { h.Previous.SHA256[0]++ }, "0000000000000001.log: from index 0: its SHA-256 is not the one in the header of segment 2"},
		{"tree", func(h *Header) { h.Tree.nodes[0][0]++ }, "0000000000000002.log:1: from index 3: its header does not go on from the tree of segment 1"},
		{"size", func(h *Header) { h.Tree = Tree{size: 1, nodes: h.Tree.nodes[:1]} }, "its header does not go on from the tree of segment 1"},
		{"root", func(h *Header) { h.Root.Revision++ }, "its header names another last root or time than the entries of segment 1"},
		{"time", func(h *Header) { h.Time = noon }, "its header names another last root or time"},
		{"origin", func(h *Header) { h.Origin.Log = "log-2" }, "its header is of the log v1/node-a/log-2; this one is v1/node-a/log-1"},
		{"number", func(h *Header) { h.Segment = 9 }, "its header is that of segment 9"},
		{"length", func(h *Header) { h.Previous.Length-- }, "0000000000000001.log:6: from index 1: a line without end"},
		{"longer", func(h *Header) { h.Previous.Length += 5 }, "0000000000000001.log: from index 3: cut: "},
		{"from nothing", func(h *Header) { h.Previous, h.Tree, h.Root, h.Time = nil, Tree{}, Root{}, time.Time{} }, "complete batches in a segment that no other goes on from"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBuilder(t)
			b.segment("")
			b.batch(1)
			b.batch(2)
			b.end("")
			h := Header{Origin: b.origin, Segment: 2, Previous: b.prev, Tree: b.tree.Clone(), Root: b.tail.Root(), Time: b.tail.Time(), Created: noon}
			tt.edit(&h)
			line, err := h.AppendJSON(nil)
			if err != nil {
				t.Fatal(err)
			}
			b.number, b.buf = 2, append(line, '\n')
			b.batch(1)
			b.end("")
			b.sign()
			var all []string
			for _, d := range verify(t, b.fs, VerifyOptions{}).Damage {
				all = append(all, d.String())
			}
			if got := strings.Join(all, "\n"); !strings.Contains(got, tt.want) {
				t.Errorf("damage %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestVerifyTornFirst: a crash while the very first segment was begun leaves it behind, without harm.
func TestVerifyTornFirst(t *testing.T) {
	b := newBuilder(t)
	b.number = 1
	b.fs[SegmentName(1)] = &fstest.MapFile{Data: []byte(`{"header":{"v`)}
	h := Header{Origin: b.origin, Segment: 2, Created: noon}
	line, err := h.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	b.number, b.buf = 2, append(line, '\n')
	b.batch(2)
	b.end("")
	b.sign()
	if r := verify(t, b.fs, VerifyOptions{}); len(r.Damage) != 0 || r.Size != 2 || len(r.Evidence) != 1 {
		t.Errorf("report %+v", r)
	}
}

func TestVerifyArchived(t *testing.T) {
	b := small(t)
	delete(b.fs, SegmentName(1))
	r := verify(t, b.fs, VerifyOptions{Anchors: b.heads})
	if len(r.Damage) != 1 || !strings.Contains(r.Damage[0].What, "the segment is missing") || r.Damage[0].Segment != 1 {
		t.Errorf("damage %v", r.Damage)
	}
	r = verify(t, b.fs, VerifyOptions{Anchors: b.heads, Archived: true})
	if len(r.Damage) != 0 || r.First != 3 || r.Size != 9 || r.Signed != 9 || len(r.Unchecked) != 1 {
		t.Errorf("report %+v", r)
	}
}

func TestVerifyNothing(t *testing.T) {
	if _, err := VerifySegments(fstest.MapFS{}, testVerifier, VerifyOptions{}); err == nil {
		t.Error("an empty directory was taken for a log")
	}
	b := newBuilder(t)
	b.sign()
	if r := verify(t, b.fs, VerifyOptions{}); len(r.Damage) != 0 || r.Size != 0 || r.Hash != EmptyHash() {
		t.Errorf("report of an empty log: %+v", r)
	}
	full := small(t)
	full.fs = fstest.MapFS{CheckpointFile: full.fs[CheckpointFile]}
	if r := verify(t, full.fs, VerifyOptions{}); len(r.Damage) != 1 || !strings.Contains(r.Damage[0].What, "vouches for 9 entries") {
		t.Errorf("all segments gone: %+v", r.Damage)
	}
	_, stranger := newKey(testOrigin.KeyName())
	if r, err := VerifySegments(small(t).fs, stranger, VerifyOptions{}); err != nil || len(r.Damage) == 0 {
		t.Errorf("another key: %v, %v", r, err)
	}
}

func TestVerifyLogs(t *testing.T) {
	first := small(t)
	second := newBuilder(t)
	second.origin.Log = "log-2"
	second.segment("")
	gap := func(h Checkpoint) {
		e := &Entry{Time: noon, Node: "n", Action: "gap", Outcome: Done, Gap: &Gap{ID: "g", Kind: "log", Log: "log-1", Size: h.Size, Hash: h.Hash}}
		line, err := e.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		second.tree.Append(LeafHash(line), nil)
		lines := append(line, '\n')
		m := Marker{First: 0, Count: 1, SHA256: sha256.Sum256(lines), Size: 1, Hash: second.tree.Hash()}
		second.buf = append(m.AppendJSON(append(second.buf, lines...)), '\n')
	}
	gap(first.heads[2])
	second.end("")
	second.sign()
	join := func() fstest.MapFS {
		m := fstest.MapFS{"lock": {}, "ballast": {}}
		for name, f := range first.fs {
			m["log-1/"+name] = f
		}
		for name, f := range second.fs {
			m["log-2/"+name] = f
		}
		return m
	}
	rs, err := VerifyLogs(join(), testVerifier, VerifyOptions{Anchors: []Checkpoint{first.head(), second.head()}})
	if err != nil || len(rs) != 2 || len(rs[0].Damage)+len(rs[1].Damage) != 0 || rs[1].Origin.Log != "log-2" {
		t.Fatalf("%+v, %v", rs, err)
	}
	wrong := first.head()
	wrong.Origin.Log = "log-3"
	rs, err = VerifyLogs(join(), testVerifier, VerifyOptions{Anchors: []Checkpoint{wrong}})
	if err != nil || len(rs) != 3 || len(rs[2].Damage) != 1 {
		t.Fatalf("an anchor of a log that is not here: %+v, %v", rs, err)
	}
	m := join() // the old log, rolled back behind the head that the new one names
	for _, n := range []int64{2, 3, 4, 5} {
		delete(m, "log-1/"+SegmentName(n))
	}
	b := newBuilder(t)
	b.sign()
	m["log-1/"+CheckpointFile] = b.fs[CheckpointFile]
	rs, err = VerifyLogs(m, testVerifier, VerifyOptions{})
	if err != nil || len(rs[0].Damage) != 1 || !strings.Contains(rs[0].Damage[0].What, "vouches for 6 entries") {
		t.Fatalf("a closed log rolled back: %+v, %v", rs[0].Damage, err)
	}
	rs, err = VerifyLogs(first.fs, testVerifier, VerifyOptions{})
	if err != nil || len(rs) != 1 || len(rs[0].Damage) != 0 {
		t.Fatalf("the directory of one log: %+v, %v", rs, err)
	}
}

func BenchmarkVerifySegments(b *testing.B) {
	log := newBuilder(b)
	const segments, batches, each = 8, 100, 64
	pad := strings.Repeat("x", 250)
	for range segments {
		log.segment("")
		for range batches {
			var lines []byte
			first := log.tree.Size()
			for i := range each {
				e := &Entry{Time: noon, Node: "n", Action: "token.mint", Outcome: Allowed, Reason: pad, Count: int64(i + 1), Root: &Root{Lineage: "l", Digest: "d"}}
				line, err := e.appendJSON(nil, nil)
				if err != nil {
					b.Fatal(err)
				}
				log.tree.Append(LeafHash(line), nil)
				lines = append(append(lines, line...), '\n')
			}
			log.tail.Add(lines)
			m := Marker{First: first, Count: each, SHA256: sha256.Sum256(lines), Size: log.tree.Size(), Hash: log.tree.Hash()}
			log.buf = append(m.AppendJSON(append(log.buf, lines...)), '\n')
		}
	}
	log.end("")
	log.sign()
	b.SetBytes(int64(len(log.buf)) * segments)
	for b.Loop() {
		if r := verify(b, log.fs, VerifyOptions{}); len(r.Damage) > 0 {
			b.Fatal(r.Damage)
		}
	}
	b.ReportMetric(float64(b.N)*segments*batches*each/b.Elapsed().Seconds(), "entries/s")
}
