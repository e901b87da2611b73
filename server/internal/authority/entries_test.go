package authority

import (
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

// naiveEntries are the ids of the entries that match, in order.
func (v *vault) naiveEntries(f Filter, oldest bool) []string {
	var all []string
	for i, e := range v.entries() {
		if e.Action != string(policy.AuditRead) && f.Entry(e) {
			all = append(all, fmt.Sprint(i, " ", e.ID, " ", e.Outcome))
		}
	}
	if !oldest {
		slices.Reverse(all)
	}
	return all
}

// TestEntries compares every filter and both orders, page by page, over two logs, with a naive reading.
func TestEntries(t *testing.T) {
	v := ready(t)
	v.importKey("other")
	start := v.clock.Now()
	for i := range 30 {
		v.mustMint([]string{"release", "builds"}[i%2])
		_, _ = v.mint("nothing")
		v.clock.Advance(time.Minute)
		if i == 15 {
			_, err := v.show(v.forge(v.changer.log.Head().Size + 1))
			wantReason(t, err, ErrPrecondition, ReasonGap)
			v.acknowledge(v.openGaps()[0].ID)
		}
	}
	minted := v.lastToken()
	filters := map[string]Filter{
		"all":                {},
		"key":                {Match: audit.Match{Key: "other"}},
		"principal":          {Match: audit.Match{Principal: callerID}},
		"unknown principal":  {Match: audit.Match{Principal: "spiffe://signet.test/\"x\""}},
		"profile":            {Match: audit.Match{Profile: "builds"}},
		"action":             {Match: audit.Match{Action: string(policy.TokenMint)}},
		"outcome":            {Match: audit.Match{Outcome: string(auditlog.Denied)}},
		"token":              {Match: audit.Match{Token: &minted}},
		"since":              {Match: audit.Match{Since: start.Add(10 * time.Minute)}},
		"since, second log":  {Match: audit.Match{Since: start.Add(20 * time.Minute)}},
		"since the future":   {Match: audit.Match{Since: start.Add(1000 * time.Hour)}},
		"until":              {Match: audit.Match{Until: start.Add(10 * time.Minute)}},
		"a while":            {Match: audit.Match{Since: start.Add(10 * time.Minute), Until: start.Add(20 * time.Minute)}},
		"everything at once": {Match: audit.Match{Key: "asc", Principal: callerID, Profile: "release", Action: string(policy.TokenMint), Outcome: string(auditlog.Allowed), Since: start.Add(3 * time.Minute), Until: start.Add(28 * time.Minute)}},
	}
	order := map[string]int{}
	for i, stored := range v.stored() {
		order[stored] = i
	}
	for name, filter := range filters {
		for _, oldest := range []bool{false, true} {
			for _, limit := range []int{5, 1000} {
				t.Run(fmt.Sprintf("%s/oldest first %v/%d", name, oldest, limit), func(t *testing.T) {
					want := v.naiveEntries(filter, oldest)
					var got []string
					token := ""
					for {
						page, err := v.Log.Entries(t.Context(), principal("spiffe://signet.test/security/eve"), EntriesRequest{Filter: filter, OldestFirst: oldest, Limit: limit, PageToken: token})
						check(t, err)
						if len(page.Entries) > limit {
							t.Fatalf("%d entries on a page of %d", len(page.Entries), limit)
						}
						for _, stored := range page.Entries {
							e, err := auditlog.ParseEntry(stored.Line)
							check(t, err)
							if e.Action == string(policy.AuditRead) {
								continue // of these queries themselves
							}
							got = append(got, fmt.Sprint(order[string(stored.Line)], " ", e.ID, " ", e.Outcome))
						}
						if token = page.NextPageToken; token == "" {
							break
						}
					}
					want = slices.DeleteFunc(want, func(s string) bool { var i int; fmt.Sscan(s, &i); return i >= len(order) })
					if diff := gocmp.Diff(want, got); diff != "" {
						t.Errorf("(-naive +pages):\n%s", diff)
					}
				})
			}
		}
	}
}

// lastToken is the SHA-256 of the token that was minted last.
func (v *vault) lastToken() auditlog.Sum {
	for _, e := range slices.Backward(v.entries()) {
		if e.Token != nil {
			return e.Token.SHA256
		}
	}
	v.t.Fatal("nothing was minted")
	return auditlog.Sum{}
}

// TestPageToken: a page token belongs to its query, and pages stay what they were while the log grows.
func TestPageToken(t *testing.T) {
	v := ready(t)
	for range 10 {
		v.mustMint("release")
	}
	security := principal("spiffe://signet.test/security/eve")
	ask := EntriesRequest{Filter: Filter{Match: audit.Match{Action: string(policy.TokenMint)}}, Limit: 3}
	first, err := v.Log.Entries(t.Context(), security, ask)
	check(t, err)
	seen := map[int64]bool{}
	for _, e := range first.Entries {
		seen[e.Index] = true
	}
	ask.PageToken = first.NextPageToken
	for name, edit := range map[string]func(*EntriesRequest){
		"another filter": func(r *EntriesRequest) { r.Filter.Key = "asc" },
		"another order":  func(r *EntriesRequest) { r.OldestFirst = true },
		"another time":   func(r *EntriesRequest) { r.Filter.Until = v.clock.Now() },
	} {
		t.Run(name, func(t *testing.T) {
			other := ask
			edit(&other)
			_, err := v.Log.Entries(t.Context(), security, other)
			wantReason(t, err, ErrMalformed, ReasonMalformed)
		})
	}
	for ask.PageToken != "" {
		v.mustMint("release")
		page, err := v.Log.Entries(t.Context(), security, ask)
		check(t, err)
		for _, e := range page.Entries {
			if seen[e.Index] {
				t.Errorf("entry %d is on two pages", e.Index)
			}
			seen[e.Index] = true
		}
		ask.PageToken = page.NextPageToken
	}
	if len(seen) != 10 {
		t.Errorf("%d entries on all pages", len(seen))
	}
}

// stored are all lines of all logs.
func (v *vault) stored() []string {
	var all []string
	for _, id := range v.changer.log.Logs() {
		reader, err := v.changer.log.Reader(id)
		check(v.t, err)
		for stored, err := range reader.Entries(v.t.Context(), 0, reader.Head().Size) {
			check(v.t, err)
			all = append(all, string(stored.Line))
		}
	}
	return all
}

func TestEntryByIndex(t *testing.T) {
	v := ready(t)
	m, err := v.Tokens.Mint(t.Context(), principal(callerID), MintRequest{Profile: "release", Receipt: true})
	check(t, err)
	_, err = v.show(v.forge(1000))
	wantReason(t, err, ErrPrecondition, ReasonGap)
	r := m.Receipt
	security := principal("spiffe://signet.test/security/eve")
	page, err := v.Log.Entries(t.Context(), security, EntriesRequest{Filter: Filter{Log: r.Origin, Index: &r.Index}, Limit: 10})
	check(t, err)
	if len(page.Entries) != 1 || string(page.Entries[0].Line) != string(r.Entry) || page.Entries[0].Origin != r.Origin || page.NextPageToken != "" {
		t.Errorf("the entry of the receipt is %+v", page)
	}
	beyond := int64(100000)
	page, err = v.Log.Entries(t.Context(), security, EntriesRequest{Filter: Filter{Index: &beyond}, Limit: 10})
	check(t, err)
	if len(page.Entries) != 0 || page.NextPageToken != "" {
		t.Errorf("an entry beyond the end: %+v", page)
	}
	_, err = v.Log.Entries(t.Context(), security, EntriesRequest{Filter: Filter{Log: "nosuchlog"}, Limit: 10})
	wantReason(t, err, ErrNotFound, ReasonNotFound)
	for _, token := range []string{"!", "Zm9v", cursor{"nosuchlog", 3, "nosuchlog", 9, EntriesRequest{Limit: 10}.digest()}.token()} {
		_, err = v.Log.Entries(t.Context(), security, EntriesRequest{PageToken: token, Limit: 10})
		wantReason(t, err, ErrMalformed, ReasonMalformed)
	}
	_, err = v.Log.Entries(t.Context(), principal(callerID), EntriesRequest{Request: Request{"no"}, Limit: 10})
	wantReason(t, err, ErrDenied, ReasonDenied)
	if e := v.last(); e.ID != "no" || e.Outcome != auditlog.Denied || e.Action != string(policy.AuditRead) {
		t.Errorf("a denied query has the entry %+v", e)
	}

	// Proofs are for whoever can name the entry.
	proof, err := v.Log.ProveInclusion(t.Context(), principal(strangerID), InclusionRequest{Log: r.Origin, Index: r.Index, Leaf: r.Leaf})
	check(t, err)
	if _, err := auditlog.ParseProof(proof); err != nil {
		t.Errorf("the proof: %v", err)
	}
	_, err = v.Log.ProveInclusion(t.Context(), principal(strangerID), InclusionRequest{Log: r.Origin, Index: r.Index, Leaf: auditlog.Hash{1}})
	wantReason(t, err, ErrNotFound, ReasonNotFound)
	_, err = v.Log.ProveInclusion(t.Context(), principal(strangerID), InclusionRequest{Log: "a/b/c", Index: r.Index, Leaf: r.Leaf})
	wantReason(t, err, ErrNotFound, ReasonNotFound)
	text, err := v.Log.Checkpoint(t.Context(), principal(strangerID), CheckpointRequest{})
	check(t, err)
	if _, err := auditlog.OpenCheckpoint(text, v.Keys.signer.verifier); err != nil {
		t.Errorf("the checkpoint: %v", err)
	}
	_, err = v.Log.Checkpoint(t.Context(), principal(strangerID), CheckpointRequest{Log: "nosuchlog"})
	wantReason(t, err, ErrNotFound, ReasonNotFound)
}
