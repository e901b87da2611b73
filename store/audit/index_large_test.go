package audit_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
)

// TestIndexLarge fills a chunk of the length that a server's have: with terms that many entries have, and with more
// terms than a block of its directory holds. What it names is read, and what it does not name is not there.
func TestIndexLarge(t *testing.T) {
	const n, callers = 36_000, 64
	c := config(storetest.NewFaultFS())
	l := mustOpen(t, c)
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for i := caller; i < n; i += callers {
				mustAppend(t, l, varied(i), audit.AppendOptions{})
			}
		})
	}
	wg.Wait()
	if err := l.Follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	l = mustOpen(t, c)
	defer mustClose(t, l)
	if err := l.Follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := l.Reader("")
	if err != nil {
		t.Fatal(err)
	}
	if _, end, made := r.Followed(); end != n || made != 2 {
		t.Fatalf("the index goes to %d in %d made chunks", end, made)
	}
	var m model
	for s, err := range r.Entries(t.Context(), 0, n) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := auditlog.ParseEntry(s.Line)
		if err != nil {
			t.Fatal(err)
		}
		m = append(m, e)
	}
	matches := map[string]audit.Match{
		"many":           {Action: "token.mint"},
		"a key":          {Key: "asc-7"},
		"denied":         {Outcome: "denied", Key: "asc-9"},
		"a rare caller":  {Principal: varied(10).Principal.ID},
		"nobody":         {Principal: "nobody"},
		"never together": {Key: "asc-7", Profile: "asc-8-release-0"},
		"an hour":        {Since: varied(9000).Time, Until: varied(9000).Time.Add(time.Hour), Action: "token.mint"},
	}
	for _, i := range []int{0, 1, 17, 4000, 20_000, 32_767, 32_768, n - 1} {
		if token := m[i].Token; token != nil {
			matches["token of "+m[i].ID] = audit.Match{Token: &token.SHA256}
		}
	}
	for name, match := range matches {
		for _, reverse := range []bool{false, true} {
			var got []int64
			for _, s := range pages(t, r, audit.Query{Match: match, Reverse: reverse, Limit: 5000, Bytes: 1 << 30}) {
				got = append(got, s.Index)
			}
			if want := m.find(match, reverse); !slices.Equal(want, got) {
				t.Errorf("%s, newest first %v (-naive +found):\n%s", name, reverse, cmp.Diff(want, got))
			}
		}
	}
	totals := map[string]audit.Total{}
	for s, err := range r.Totals(t.Context(), time.Time{}, time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		addTotal(totals, s)
	}
	if diff := cmp.Diff(m.totals(audit.Match{}), totals); diff != "" {
		t.Errorf("totals (-naive +index):\n%s", diff)
	}
}
