package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
)

// nothing is a source of chance by which a power cut keeps nothing that was not synced.
func nothing() *rand.Rand { return rand.New(zeroSource{}) }

type zeroSource struct{}

func (zeroSource) Uint64() uint64 { return 1 << 63 } // even halves away from zero, first of four: nothing is kept

// tiny is a log of three segments with three batches, closed; the heads are those of sizes 0 to 3.
func tiny(t testing.TB) (*storetest.FaultFS, []audit.Head) {
	t.Helper()
	fsys := storetest.NewFaultFS()
	c := config(fsys)
	heads := []audit.Head{{Log: origin.Log, Hash: auditlog.EmptyHash()}}
	for i := range 3 {
		l := mustOpen(t, c)
		e := &auditlog.Entry{Time: epoch, Node: "n", Action: "a", Outcome: auditlog.Allowed, Count: int64(i + 1)}
		heads = append(heads, mustAppend(t, l, e, audit.AppendOptions{}).Head)
		mustClose(t, l)
	}
	return fsys, heads
}

// reopened opens what is left and says which head it has, or which gap there is.
func reopened(t testing.TB, fsys *storetest.FaultFS, edit func(c *audit.Config)) (audit.Head, *audit.GapError) {
	t.Helper()
	c := config(fsys)
	if edit != nil {
		edit(&c)
	}
	l, err := audit.Open(t.Context(), c)
	var gap *audit.GapError
	if errors.As(err, &gap) {
		return audit.Head{}, gap
	}
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, l)
	return l.Head(), nil
}

func segmentPath(n int64) string { return path.Join(origin.Log, auditlog.SegmentName(n)) }

func TestGaps(t *testing.T) {
	remove := func([]byte) []byte { return nil }
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	tests := []struct {
		name    string
		tamper  map[string]func([]byte) []byte
		config  func(c *audit.Config, heads []audit.Head)
		what    string // "": no gap
		end     int64
		segment int64
	}{
		{name: "whole"},
		{name: "whole, every head", config: func(c *audit.Config, h []audit.Head) {
			c.Head = h[1]
			for _, x := range h {
				c.Anchors = append(c.Anchors, auditlog.Checkpoint{Origin: origin, Size: x.Size, Hash: x.Hash})
			}
		}},
		{name: "last line cut", tamper: map[string]func([]byte) []byte{segmentPath(3): cut(1)}, what: "the checkpoint file vouches for 3 entries; the log ends with 2", end: 2},
		{name: "last segment gone", tamper: map[string]func([]byte) []byte{segmentPath(3): remove}, what: "the checkpoint file vouches for 3", end: 2},
		{name: "all segments gone", tamper: map[string]func([]byte) []byte{segmentPath(1): remove, segmentPath(2): remove, segmentPath(3): remove}, what: "the checkpoint file vouches for 3", end: 0},
		{name: "middle segment gone", tamper: map[string]func([]byte) []byte{segmentPath(2): remove}, what: "the segment is missing; segment 3 goes on from it", end: 1, segment: 2},
		{name: "middle segment cut", tamper: map[string]func([]byte) []byte{segmentPath(2): cut(1)}, what: "cut: ", end: 1, segment: 2},
		{name: "last header damaged", tamper: map[string]func([]byte) []byte{segmentPath(3): func(b []byte) []byte { b[40] ^= 1; return b }}, what: "a complete batch follows at line 2", end: 2, segment: 3},
		{name: "last batch damaged", tamper: map[string]func([]byte) []byte{segmentPath(3): func(b []byte) []byte { b[len(b)-20] ^= 1; return b }}, what: "the tree hash of the marker is not that of the entries", end: 2, segment: 3},
		{name: "last entry damaged", tamper: map[string]func([]byte) []byte{segmentPath(3): func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"count":3`), []byte(`"count":4`), 1)
		}}, what: "the checkpoint file vouches for 3", end: 2},
		{name: "checkpoint gone", tamper: map[string]func([]byte) []byte{"log-1/checkpoint": remove}, what: "the checkpoint file is missing", end: 3},
		{name: "checkpoint damaged", tamper: map[string]func([]byte) []byte{"log-1/checkpoint": flip}, what: "the checkpoint file: checkpoint refused", end: 3},
		{name: "another log's segment", tamper: map[string]func([]byte) []byte{segmentPath(3): func(b []byte) []byte {
			return bytes.Replace(b, []byte("log-1"), []byte("log-2"), 1)
		}}, what: "a complete batch follows", end: 2, segment: 3},
		{name: "the root is ahead", config: func(c *audit.Config, h []audit.Head) { c.Head = audit.Head{Log: "log-1", Size: 4} }, what: "the store's root vouches for 4 entries; the log ends with 3", end: 3},
		{name: "the root has another past", config: func(c *audit.Config, h []audit.Head) { c.Head = audit.Head{Log: "log-1", Size: 2} }, what: "the store's root has another hash for the first 2 entries", end: 3},
		{name: "the root has another end", config: func(c *audit.Config, h []audit.Head) { c.Head = audit.Head{Log: "log-1", Size: 3} }, what: "another hash for the first 3", end: 3},
		{name: "the root names another log", config: func(c *audit.Config, h []audit.Head) { c.Head = audit.Head{Log: "log-7", Size: 2} }, what: "the store's root names log log-7, which is not known", end: 3},
		{name: "the root names a closed log", config: func(c *audit.Config, h []audit.Head) {
			c.Head = audit.Head{Log: "log-0", Size: 99}
			c.Closed = []audit.Head{{Log: "log-0", Size: 5}}
		}},
		{name: "an anchor is ahead", config: func(c *audit.Config, h []audit.Head) { c.Anchors = []auditlog.Checkpoint{{Origin: origin, Size: 9}} }, what: "an anchor vouches for 9", end: 3},
		{name: "an anchor of an unknown log", config: func(c *audit.Config, h []audit.Head) {
			c.Anchors = []auditlog.Checkpoint{{Origin: auditlog.Origin{Vault: "v1", Node: "node-a", Log: "log-9"}, Size: 1}}
		}, what: "an anchor names log log-9", end: 3},
		{name: "a new id that has entries elsewhere", config: func(c *audit.Config, h []audit.Head) {
			c.Origin.Log = "log-5"
			c.Head = audit.Head{Log: "log-5", Size: 1}
		}, what: "the log is empty; the store's root names log log-5 with 1 entries", end: 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fsys, heads := tiny(t)
			for name, edit := range tt.tamper {
				if err := fsys.Tamper(name, edit); err != nil {
					t.Fatal(err)
				}
			}
			head, gap := reopened(t, fsys, func(c *audit.Config) {
				if tt.config != nil {
					tt.config(c, heads)
				}
			})
			if tt.what == "" {
				if gap != nil || head != heads[3] {
					t.Errorf("head %+v, gap %v", head, gap)
				}
				return
			}
			if gap == nil {
				t.Fatalf("no gap; head %+v", head)
			}
			want := heads[tt.end]
			if strings.HasPrefix(tt.name, "a new id") {
				want.Log = "log-5"
			}
			if !strings.Contains(gap.Error(), tt.what) || gap.End != want || gap.Segment != tt.segment {
				t.Errorf("gap %v\nat segment %d, end %+v\nwant %q at %d, end %+v", gap, gap.Segment, gap.End, tt.what, tt.segment, want)
			}
			if _, again := reopened(t, fsys, func(c *audit.Config) {
				if tt.config != nil {
					tt.config(c, heads)
				}
			}); again == nil {
				t.Error("the gap is gone at the next start")
			}
		})
	}
}

// TestClosedElsewhere: a log that was closed in a copy of the directory ended with other entries than those that are here.
func TestClosedElsewhere(t *testing.T) {
	fsys, heads := tiny(t)
	c := config(fsys)
	c.Origin.Log = "log-2"
	c.Closed = []audit.Head{{Log: "log-1", Size: 3, Hash: auditlog.Hash{1}}}
	l := mustOpen(t, c)
	defer mustClose(t, l)
	_, err := l.ProveConsistency(t.Context(), auditlog.Checkpoint{Origin: origin, Size: heads[1].Size, Hash: heads[1].Hash})
	if !errors.Is(err, audit.ErrDamaged) || errors.Is(err, audit.ErrNotContained) {
		t.Errorf("proved with %v", err)
	}
}

// TestOpenAfterEveryChange changes the newest segment in every way. All its entries are signed, so every change is a
// gap, and the end that it names is of the true log. (Of older segments only the header chain is looked at when the
// log is opened; VerifySegments looks at all.)
func TestOpenAfterEveryChange(t *testing.T) {
	pristine, heads := tiny(t)
	files := pristine.Files(origin.Log)
	data := files[auditlog.SegmentName(3)].Data
	check := func(what string, edit func([]byte) []byte) {
		t.Helper()
		fsys := pristine.Fork()
		if err := fsys.Tamper(segmentPath(3), edit); err != nil {
			t.Fatal(err)
		}
		head, gap := reopened(t, fsys, nil)
		if gap == nil {
			t.Fatalf("%s: no gap, head %+v", what, head)
		}
		if gap.End != heads[gap.End.Size] {
			t.Fatalf("%s: the end %+v is of no head that there was", what, gap.End)
		}
	}
	for i := range data {
		for bit := range 8 {
			check(fmt.Sprintf("bit %d of byte %d", bit, i), func(b []byte) []byte { b[i] ^= 1 << bit; return b })
		}
		check(fmt.Sprintf("cut to %d", i), func(b []byte) []byte { return b[:i] })
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	for i := range lines[:3] {
		check(fmt.Sprintf("line %d deleted", i+1), func([]byte) []byte { return bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil) })
		for j := range i {
			check(fmt.Sprintf("lines %d and %d exchanged", i+1, j+1), func([]byte) []byte {
				l := slices.Clone(lines)
				l[i], l[j] = l[j], l[i]
				return bytes.Join(l, nil)
			})
		}
	}
}

// TestUnanchoredTail says what cannot be found: with an older checkpoint file put back, batches behind it can be cut
// off. The store's root, an anchor or a receipt finds it.
func TestUnanchoredTail(t *testing.T) {
	fsys, heads := tiny(t)
	if err := fsys.Tamper(segmentPath(3), func([]byte) []byte { return nil }); err != nil {
		t.Fatal(err)
	}
	msg, err := auditlog.SignCheckpoint(auditlog.Checkpoint{Origin: origin, Size: 2, Hash: heads[2].Hash}, signer)
	if err != nil {
		t.Fatal(err)
	}
	if err := fsys.Tamper("log-1/checkpoint", func([]byte) []byte { return msg }); err != nil {
		t.Fatal(err)
	}
	if head, gap := reopened(t, fsys, nil); gap != nil || head != heads[2] {
		t.Errorf("head %+v, gap %v", head, gap)
	}
	if _, gap := reopened(t, fsys, func(c *audit.Config) { c.Head = heads[3] }); gap == nil || gap.Want != heads[3] {
		t.Errorf("the root's head: gap %v", gap)
	}
	if _, gap := reopened(t, fsys, func(c *audit.Config) {
		c.Anchors = []auditlog.Checkpoint{{Origin: origin, Size: 3, Hash: heads[3].Hash}}
	}); gap == nil {
		t.Error("an anchor: no gap")
	}
}

// TestHeaderAgainstEntries: a header without entries behind it is not believed; the segment before must agree.
func TestHeaderAgainstEntries(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(h *auditlog.Header)
		old  func([]byte) []byte // of the segment before
		what string
	}{
		{name: "as it is"},
		{name: "root", edit: func(h *auditlog.Header) { h.Root = auditlog.Root{Lineage: "l1", Revision: 3, Digest: "old"} }, what: "another last root or time"},
		{name: "time", edit: func(h *auditlog.Header) { h.Time = epoch }, what: "another last root or time"},
		{name: "tree", edit: func(h *auditlog.Header) { h.Tree.Append(auditlog.Hash{}, nil) }, what: "do not make the tree"},
		{name: "hash", edit: func(h *auditlog.Header) { h.Previous.SHA256[0]++ }, what: "its SHA-256 is not the one in the header of segment 2"},
		{name: "header before", old: func(b []byte) []byte { b[30] ^= 1; return b }, what: "0000000000000001.log:1: segment line refused: header: "},
		{name: "entry before", old: func(b []byte) []byte { b[len(b)-300] ^= 1; return b }, what: "its SHA-256 is not the one"},
		{name: "marker before", old: func(b []byte) []byte { b[len(b)-20] ^= 1; return b }, what: "the tree hash of the marker"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fsys := storetest.NewFaultFS()
			l := mustOpen(t, config(fsys))
			mustAppend(t, l, entry(7), audit.AppendOptions{})
			head := l.Head()
			mustClose(t, l)
			h := auditlog.Header{Origin: origin, Segment: 2, Root: *entry(7).Root, Time: entry(7).Time, Created: epoch}
			data := fsys.Files(origin.Log)[auditlog.SegmentName(1)].Data
			scan, err := auditlog.ScanSegment(bytes.NewReader(data), func(_ *auditlog.Header, b *auditlog.Batch) error {
				for line := range b.Entries() {
					h.Tree.Append(auditlog.LeafHash(line), nil)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			h.Previous = &auditlog.Previous{Segment: 1, Length: scan.Length, SHA256: scan.SHA256}
			if tt.edit != nil {
				tt.edit(&h)
			}
			line, err := h.AppendJSON(nil)
			if err != nil {
				t.Fatal(err)
			}
			f, err := fsys.Create(segmentPath(2))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(append(line, '\n'), 0); err != nil {
				t.Fatal(err)
			}
			if tt.old != nil {
				if err := fsys.Tamper(segmentPath(1), tt.old); err != nil {
					t.Fatal(err)
				}
			}
			got, gap := reopened(t, fsys, nil)
			if tt.what == "" {
				if gap != nil || got != head {
					t.Errorf("head %+v, gap %v", got, gap)
				}
				return
			}
			if gap == nil || !strings.Contains(gap.Error(), tt.what) {
				t.Errorf("gap %v, want %q", gap, tt.what)
			}
		})
	}
}
