package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
	"pgregory.net/rapid"
)

// drawEntry is one of few values in every field that is searched by, so that filters meet.
func drawEntry(t *rapid.T, at time.Time) *auditlog.Entry {
	pick := func(name string, values ...string) string { return rapid.SampledFrom(values).Draw(t, name) }
	e := &auditlog.Entry{
		Time: at, Node: "node-a", ID: "r", Action: pick("action", "token.mint", "key.read", "audit.read"),
		Outcome: auditlog.Outcome(pick("outcome", "allowed", "denied", "summary")),
		Key:     pick("key", "", "asc", `odd "name\`), Profile: pick("profile", "", "ios", "asc"), Grant: pick("grant", "", "g1"),
	}
	if id := pick("principal", "", "spiffe://a/ci/1", "asc", `x"\`); id != "" {
		e.Principal = &auditlog.Principal{Kind: "mtls", ID: id}
		if rapid.Bool().Draw(t, "claims") {
			e.Principal.Claims = map[string]string{"ref": `"},"key":"asc"`, "a": `\`}
			e.Principal.Certificate = "sha256:" + strings.Repeat("ab", 32)
		}
	}
	if n := rapid.IntRange(0, 5).Draw(t, "token"); n > 0 {
		e.Token = &auditlog.Token{Family: "asc", Scope: []string{"GET /a", `"`}[:rapid.IntRange(0, 2).Draw(t, "scope")], IssuedAt: 1, Expires: 2, SHA256: auditlog.Sum{byte(n)}}
		e.Requested = &auditlog.Requested{TTL: int64(n / 2), Scope: e.Token.Scope}
	}
	if e.Outcome == auditlog.Summary {
		e.Count = int64(rapid.IntRange(1, 9).Draw(t, "count"))
		e.Reason, e.Root = "why", &auditlog.Root{Lineage: "l", Revision: 3, Digest: "d"}
	}
	return e
}

func drawMatch(t *rapid.T, span time.Duration) audit.Match {
	pick := func(name string, values ...string) string {
		return rapid.SampledFrom(append(values, "", "", "")).Draw(t, name)
	}
	m := audit.Match{
		Key: pick("m.key", "asc", `odd "name\`, "none"), Principal: pick("m.principal", "spiffe://a/ci/1", "asc", `x"\`), Profile: pick("m.profile", "ios", "asc"),
		Action: pick("m.action", "token.mint", "key.read"), Outcome: pick("m.outcome", "allowed", "summary"),
	}
	if rapid.IntRange(0, 3).Draw(t, "m.token") == 0 {
		m.Token = &auditlog.Sum{byte(rapid.IntRange(0, 7).Draw(t, "m.sum"))}
	}
	at := func(name string) time.Time {
		if rapid.Bool().Draw(t, name+"?") {
			return time.Time{}
		}
		return epoch.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(span+time.Hour)).Draw(t, name)))
	}
	m.Since, m.Until = at("since"), at("until")
	return m
}

// model is what was appended.
type model []*auditlog.Entry

func (m model) find(q audit.Match, reverse bool) []int64 {
	var found []int64
	for i, e := range m {
		if q.Entry(e) {
			found = append(found, int64(i))
		}
	}
	if reverse {
		slices.Reverse(found)
	}
	return found
}

func (m model) totals(q audit.Match) map[string]audit.Total {
	all := map[string]audit.Total{}
	for _, e := range m {
		if !q.Entry(e) {
			continue
		}
		t := audit.Total{
			Day: e.Time.Truncate(24 * time.Hour), Key: e.Key, Profile: e.Profile, Action: e.Action, Outcome: string(e.Outcome), Grant: e.Grant,
			Entries: 1, Count: max(1, e.Count), First: e.Time, Last: e.Time,
		}
		if e.Principal != nil {
			t.Principal = e.Principal.ID
		}
		addTotal(all, t)
	}
	return all
}

func addTotal(all map[string]audit.Total, t audit.Total) {
	key := fmt.Sprint(t.Day, "|", t.Key, "|", t.Principal, "|", t.Profile, "|", t.Action, "|", t.Outcome, "|", t.Grant)
	if have, ok := all[key]; ok {
		t.Entries += have.Entries
		t.Count += have.Count
		if have.First.Before(t.First) {
			t.First = have.First
		}
		if have.Last.After(t.Last) {
			t.Last = have.Last
		}
	}
	all[key] = t
}

// pages walks a query to its end.
func pages(t testing.TB, r *audit.Reader, q audit.Query) []audit.Stored {
	t.Helper()
	var found []audit.Stored
	for {
		p, err := r.Find(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Entries) > q.Limit {
			t.Fatalf("%d entries on a page of %d", len(p.Entries), q.Limit)
		}
		found = append(found, p.Entries...)
		if p.Next < 0 {
			return found
		}
		if q.Reverse {
			q.To = p.Next + 1
		} else {
			q.From = p.Next
		}
	}
}

// TestIndexIsNaive appends entries, and in between follows, restarts, cuts the power, and spoils the index's file in
// every way: queries and totals answer what a reading of all entries does, always.
func TestIndexIsNaive(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		fsys := storetest.NewFaultFS()
		c := config(fsys)
		c.SegmentSize = int64(rapid.SampledFrom([]int{1500, 6000, 1 << 20}).Draw(t, "segment"))
		c.IndexEvery(int64(rapid.SampledFrom([]int{1, 7, 300, 600}).Draw(t, "every")))
		l := mustOpen(outer, c)
		defer func() { mustClose(outer, l) }()
		var m model
		at := epoch
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"append", "append", "append", "follow", "follow", "restart", "power", "spoil"}).Draw(t, "step") {
			case "append":
				for range rapid.IntRange(1, 40).Draw(t, "n") {
					at = at.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 1000, 3_600_000, 40_000_000}).Draw(t, "later")) * time.Millisecond)
					e := drawEntry(t, at.Add(-time.Duration(rapid.IntRange(0, 20).Draw(t, "queued"))*time.Second))
					mustAppend(outer, l, e, audit.AppendOptions{})
					m = append(m, e)
				}
			case "follow":
				if err := l.Follow(outer.Context()); err != nil {
					t.Fatal(err)
				}
			case "restart":
				mustClose(outer, l)
				l = mustOpen(outer, c)
			case "power":
				after := fsys.PowerCut(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "cut"), 0)))
				_ = l.Close()
				fsys = after
				c.FS = fsys
				l = mustOpen(outer, c)
			case "spoil":
				mustClose(outer, l)
				_ = fsys.Tamper(origin.Log+"/index", func(b []byte) []byte { return spoil(t, b) })
				l = mustOpen(outer, c)
			}
		}
		r, err := l.Reader("")
		if err != nil {
			t.Fatal(err)
		}
		q := audit.Query{Match: drawMatch(t, at.Sub(epoch)), Reverse: rapid.Bool().Draw(t, "reverse"), Limit: rapid.SampledFrom([]int{1, 3, 1000}).Draw(t, "limit"), Bytes: 1 << 20}
		var got []int64
		for _, s := range pages(outer, r, q) {
			got = append(got, s.Index)
			if want, _ := m[s.Index].AppendJSON(nil); string(want) != string(s.Line) {
				t.Fatalf("another line at %d", s.Index)
			}
		}
		if diff := cmp.Diff(m.find(q.Match, q.Reverse), got); diff != "" {
			t.Fatalf("%+v (-naive +found):\n%s", q, diff)
		}
		totals := map[string]audit.Total{}
		for s, err := range r.Totals(outer.Context(), q.Since, q.Until) {
			if err != nil {
				t.Fatal(err)
			}
			addTotal(totals, s)
		}
		if diff := cmp.Diff(m.totals(audit.Match{Since: q.Since, Until: q.Until}), totals); diff != "" {
			t.Fatalf("totals (-naive +index):\n%s", diff)
		}
	})
}

// spoil damages the file as a disk, a torn write or an intruder would.
func spoil(t *rapid.T, b []byte) []byte {
	if len(b) == 0 {
		return []byte("x")
	}
	at := rapid.IntRange(0, len(b)-1).Draw(t, "at")
	switch rapid.SampledFrom([]string{"flip", "cut", "zero", "grow", "double"}).Draw(t, "spoil") {
	case "flip":
		b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	case "cut":
		b = b[:at]
	case "zero":
		clear(b[at:])
	case "grow":
		b = append(b, b[at:]...)
	case "double":
		b = append(b[:at:at], b...)
	}
	return b
}

// TestIndexFollows: the index is up to the log within a second, without anybody asking.
func TestIndexFollows(t *testing.T) {
	c := config(storetest.NewFaultFS())
	c.IndexEvery(100)
	l := mustOpen(t, c)
	defer mustClose(t, l)
	for i := range 250 {
		mustAppend(t, l, entry(i), audit.AppendOptions{})
	}
	r, err := l.Reader("")
	if err != nil {
		t.Fatal(err)
	}
	for wait := time.After(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if first, end, made := r.Followed(); first == 0 && end == 250 && made == 2 {
			return
		}
		select {
		case <-wait:
			t.Fatal("the index does not follow")
		default:
		}
	}
}

// TestIndexOfAnother: an index that is of another log, of another history or ahead of the log is not believed, and
// that is said.
func TestIndexOfAnother(t *testing.T) {
	buildEvery := func(n int, other bool, every int64) *storetest.FaultFS {
		fsys := storetest.NewFaultFS()
		c := config(fsys)
		c.IndexEvery(every)
		l := mustOpen(t, c)
		for i := range n {
			e := entry(i)
			if other {
				e.Key = "other"
			}
			mustAppend(t, l, e, audit.AppendOptions{})
		}
		if err := l.Follow(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
		return fsys
	}
	build := func(n int, other bool) *storetest.FaultFS { return buildEvery(n, other, 10) }
	index := func(f *storetest.FaultFS) []byte { return f.Files(origin.Log)["index"].Data }
	for _, tt := range []struct {
		name string
		data []byte
		why  string
		kept int64
	}{
		{"its own", index(build(35, false)), "", 30},
		{"ahead", index(build(99, false)), "ahead of the log", 30},
		{"another history", index(build(35, true)), "another history", 0},
		{"of a version with longer chunks", index(buildEvery(35, false, 20)), "damaged, or of another log", 0},
		{"nothing like it", []byte(strings.Repeat("no index at all ", 100)), "damaged, or of another log", 0},
		{"half a header", index(build(35, false))[:20], "half written", 0},
		{"half a chunk", index(build(35, false))[:len(index(build(35, false)))-3], "half written", 20},
		{"empty", nil, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fsys := build(35, false)
			if err := fsys.Tamper(origin.Log+"/index", func([]byte) []byte { return slices.Clone(tt.data) }); err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			c := config(fsys)
			c.IndexEvery(10)
			c.Logger = slog.New(slog.NewTextHandler(&said, nil))
			l := mustOpen(t, c)
			err := l.Follow(t.Context())
			r, _ := l.Reader("")
			found := pages(t, r, audit.Query{Match: audit.Match{Key: "asc-release"}, Limit: 10, Bytes: 1 << 20})
			_, end, made := r.Followed()
			mustClose(t, l)
			if err != nil || len(found) != 35 || end != 35 || made != 3 {
				t.Errorf("%d found, index to %d in %d chunks, %v", len(found), end, made, err)
			}
			if tt.why == "" && said.Len() > 0 || !strings.Contains(said.String(), tt.why) || tt.why != "" && !strings.Contains(said.String(), fmt.Sprintf("kept=%d", tt.kept/10)) {
				t.Errorf("said: %s", said.String())
			}
		})
	}
}

// TestIndexBeside appends, follows, spoils, asks and counts at once: every answer is that of a log that there was.
func TestIndexBeside(t *testing.T) {
	fsys := storetest.NewFaultFS()
	c := config(fsys)
	c.SegmentSize = 20_000
	c.IndexEvery(64)
	l := mustOpen(t, c)
	defer mustClose(t, l)
	r, err := l.Reader("")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil && i < 2000; i++ {
				mustAppend(t, l, entry(i), audit.AppendOptions{})
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := l.Follow(t.Context()); err != nil {
				t.Error(err)
			}
			_ = fsys.Tamper(origin.Log+"/index", func(b []byte) []byte {
				if len(b) > 0 {
					b[len(b)/2] ^= 1
				}
				return b
			})
		}
	})
	for range 40 {
		before := r.Head().Size
		entries := int64(0)
		for s, err := range r.Totals(t.Context(), time.Time{}, time.Time{}) {
			if err != nil {
				t.Fatal(err)
			}
			entries += s.Entries
		}
		found := int64(len(pages(t, r, audit.Query{Match: audit.Match{Key: "asc-release"}, Reverse: true, Limit: 100, Bytes: 1 << 20})))
		if after := r.Head().Size; entries < before || entries > after || found < before || found > after {
			t.Errorf("between %d and %d entries, %d were counted and %d found", before, after, entries, found)
		}
	}
	stop()
	wg.Wait()
}

// TestIndexUnreadable: a disk that does not give the index, or does not take it, costs time and no answer.
func TestIndexUnreadable(t *testing.T) {
	for _, kind := range []storetest.OpKind{storetest.OpOpen, storetest.OpCreate, storetest.OpRead, storetest.OpWrite, storetest.OpSync, storetest.OpStat} {
		t.Run(string(kind), func(t *testing.T) {
			fsys := storetest.NewFaultFS()
			c := config(fsys)
			c.IndexEvery(10)
			l := mustOpen(t, c)
			for i := range 35 {
				mustAppend(t, l, entry(i), audit.AppendOptions{})
			}
			if kind != storetest.OpCreate {
				if err := l.Follow(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			mustClose(t, l)
			fsys.Inject(func(op storetest.Op) storetest.Fault {
				if op.Kind == kind && op.Name == origin.Log+"/index" {
					return storetest.Fault{Err: errDisk}
				}
				return storetest.Fault{}
			})
			l = mustOpen(t, c)
			defer mustClose(t, l)
			for i := range 20 {
				mustAppend(t, l, entry(35+i), audit.AppendOptions{})
			}
			if err := l.Follow(t.Context()); !errors.Is(err, errDisk) && kind != storetest.OpRead {
				t.Errorf("following: %v", err)
			}
			r, _ := l.Reader("")
			if found := pages(t, r, audit.Query{Match: audit.Match{Key: "asc-release"}, Limit: 10, Bytes: 1 << 20}); len(found) != 55 {
				t.Errorf("%d found", len(found))
			}
			fsys.Inject(nil)
			if err := l.Follow(t.Context()); err != nil {
				t.Errorf("once the disk is well: %v", err)
			}
			if r.IndexLag() != 0 {
				t.Errorf("the index is %d behind", r.IndexLag())
			}
			if found := pages(t, r, audit.Query{Match: audit.Match{Key: "asc-release"}, Limit: 10, Bytes: 1 << 20}); len(found) != 55 {
				t.Errorf("%d found", len(found))
			}
		})
	}
}
