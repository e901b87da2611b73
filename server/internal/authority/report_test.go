package authority

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

const securityID = "spiffe://signet.test/security/eve"

// placed is an entry and where it is.
type placed struct {
	origin string
	index  int64
	*auditlog.Entry
}

// placedEntries are all entries of all logs, oldest first.
func (v *vault) placedEntries() []placed {
	var all []placed
	log := v.changer.log
	for _, id := range log.Logs() {
		reader, err := log.Reader(id)
		check(v.t, err)
		for stored, err := range reader.Entries(v.t.Context(), 0, reader.Head().Size) {
			check(v.t, err)
			e, err := auditlog.ParseEntry(stored.Line)
			check(v.t, err)
			all = append(all, placed{reader.Origin().String(), stored.Index, e})
		}
	}
	return all
}

// gap ends the log at a gap, which is acknowledged.
func (v *vault) gap() {
	v.t.Helper()
	_, err := v.show(v.forge(v.changer.log.Head().Size + 1))
	wantReason(v.t, err, ErrPrecondition, ReasonGap)
	v.acknowledge(v.openGaps()[0].ID)
}

// scribble records what a vault could record, in a mixture that none would.
func (v *vault) scribble(t *rapid.T) {
	v.clock.Advance(time.Duration(rapid.Int64Range(0, int64(30*time.Hour)).Draw(t, "later")))
	one := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	e := auditlog.Entry{
		ID: v.request().ID, Principal: &auditlog.Principal{Kind: "mtls", ID: one("principal", callerID, operatorID, strangerID, "spiffe://signet.test/ci/2")},
		Action:  one("action", "token.mint", "token.mint", "token.mint", "key.disable", "policy.apply"),
		Profile: one("profile", "release", "builds", "gone", "asked-for"), Key: one("key", "asc", "other", "gone"), Version: 1,
		Grant: one("grant", "ci", "security", "gone", "(operator)", ""),
	}
	e.Outcome = auditlog.Outcome(one("outcome", "allowed", "allowed", "allowed", "denied", "failed", "summary", "intent", "done"))
	switch {
	case e.Outcome == auditlog.Summary:
		e.Count, e.Profile, e.Key, e.Grant = rapid.Int64Range(1, 1000).Draw(t, "count"), "", "", ""
	case e.Action == "token.mint" && e.Outcome == auditlog.Allowed:
		e.Token = &auditlog.Token{
			Family: "app-store-connect", IssuedAt: 1, Expires: 2, SHA256: auditlog.Sum{byte(rapid.IntRange(0, 5).Draw(t, "token"))}, Reused: rapid.Bool().Draw(t, "reused"),
		}
	case e.Action == "token.mint":
		e.Outcome = auditlog.Denied
	}
	v.append(e)
	if e.Token != nil && rapid.IntRange(0, 4).Draw(t, "withhold") == 0 {
		if rapid.IntRange(0, 9).Draw(t, "gap in between") == 0 {
			v.gap()
		}
		e.Outcome, e.Time = auditlog.Withheld, time.Time{}
		v.append(e)
	}
}

func (v *vault) append(e auditlog.Entry) {
	_, err := v.changer.record(v.t.Context(), &e, audit.AppendOptions{})
	check(v.t, err)
}

// naiveTrace is what a reader of the whole log would say.
func naiveTrace(all []placed, sum auditlog.Sum) ([]string, []string) {
	gone := map[string]bool{}
	for _, e := range all {
		if e.Outcome == auditlog.Withheld {
			gone[e.ID] = true
		}
	}
	var deliveries []string
	times := map[string][]time.Time{}
	for _, e := range all {
		if e.Token == nil || e.Token.SHA256 != sum || e.Outcome != auditlog.Allowed {
			continue
		}
		deliveries = append(deliveries, fmt.Sprint(e.origin, e.index, e.ID, e.Principal.ID, gone[e.ID]))
		if !gone[e.ID] {
			times[e.Principal.ID] = append(times[e.Principal.ID], e.Time)
		}
	}
	var holders []string
	for id, at := range times {
		holders = append(holders, fmt.Sprint(id, len(at), at[0], at[len(at)-1]))
	}
	slices.Reverse(deliveries)
	slices.Sort(holders)
	return deliveries, holders
}

// naiveUsage counts again what Usage has counted, one question at a time.
func naiveUsage(v *vault, all []placed, u Usage, req UsageRequest) Usage {
	within := slices.DeleteFunc(slices.Clone(all), func(e placed) bool {
		return e.Time.Before(u.Since) || !req.Until.IsZero() && !e.Time.Before(req.Until)
	})
	count := func(want func(placed) bool) (n int64, first, last time.Time) {
		for _, e := range within {
			if want(e) {
				if n++; n == 1 {
					first = e.Time
				}
				last = e.Time
			}
		}
		return n, first, last
	}
	tokens := func(of func(placed) bool) (c TokenCounts) {
		mint := func(outcomes ...auditlog.Outcome) func(placed) bool {
			return func(e placed) bool { return e.Action == "token.mint" && slices.Contains(outcomes, e.Outcome) && of(e) }
		}
		c.Given, c.First, c.Last = count(mint(auditlog.Allowed))
		c.Withheld, _, _ = count(mint(auditlog.Withheld))
		c.Refused, _, _ = count(mint(auditlog.Denied, auditlog.Failed))
		return c
	}
	names := func(of func(placed) string) (found []string) {
		for _, e := range within {
			if name := of(e); name != "" && !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
		return found
	}
	want := Usage{Since: u.Since, Until: u.Until, Now: u.Now, Logs: u.Logs}
	for _, name := range []string{"asc", "gone", "other"} {
		k := KeyUsage{Name: name, Tokens: tokens(func(e placed) bool { return e.Key == name })}
		if name == "gone" {
			if k.Tokens.Given > 0 {
				want.Keys = append(want.Keys, k)
			}
			continue
		}
		key := v.mustKey(name)
		k.Known, k.State, k.Versions, k.Active, k.KeyID = true, policy.KeyStateUsable, 1, 1, key.Versions[0].KeyID
		k.Created, k.Activated = key.Created, key.Versions[0].Activated
		k.Unused = k.Tokens.Given == 0
		if req.UnusedFor > 0 {
			old := u.Until.Add(-req.UnusedFor)
			k.Unused = key.Created.Before(old) && k.Tokens.Last.Before(old)
		}
		want.Keys = append(want.Keys, k)
	}
	ofPolicy := map[string]string{"release": "asc", "builds": "asc"}
	for _, name := range []string{"asked-for", "builds", "gone", "release"} {
		c := tokens(func(e placed) bool { return e.Profile == name })
		if ofPolicy[name] != "" || c.Given+c.Withheld > 0 {
			want.Profiles = append(want.Profiles, ProfileUsage{Name: name, Key: ofPolicy[name], Tokens: c})
		}
	}
	for _, id := range names(func(e placed) string {
		if e.Principal == nil {
			return ""
		}
		return e.Principal.ID
	}) {
		by := func(e placed) bool { return e.Principal != nil && e.Principal.ID == id }
		p := PrincipalUsage{ID: id}
		_, p.First, p.Last = count(func(e placed) bool { return by(e) && e.Outcome != auditlog.Summary })
		p.Other, _, _ = count(func(e placed) bool {
			return by(e) && e.Action != "token.mint" && (e.Outcome == auditlog.Allowed || e.Outcome == auditlog.Done)
		})
		for _, e := range within {
			switch {
			case !by(e):
			case e.Outcome == auditlog.Summary:
				p.Refused += e.Count
			case e.Outcome == auditlog.Denied, e.Outcome == auditlog.Failed:
				p.Refused++
			}
		}
		for _, name := range []string{"asked-for", "builds", "gone", "release"} {
			c := tokens(func(e placed) bool { return by(e) && e.Profile == name })
			if c.Refused = 0; c.Given+c.Withheld > 0 {
				p.Profiles = append(p.Profiles, ProfileUsage{Name: name, Tokens: c})
			}
		}
		want.Principals = append(want.Principals, p)
	}
	slices.SortFunc(want.Principals, func(a, b PrincipalUsage) int { return cmp.Compare(a.ID, b.ID) })
	for _, grant := range []GrantUsage{{ID: "ci"}, {ID: "security"}} {
		grant.Decisions, _, grant.Last = count(func(e placed) bool {
			return e.Grant == grant.ID && e.Outcome != auditlog.Done && e.Outcome != auditlog.Withheld && e.Outcome != auditlog.Recovered
		})
		for _, name := range []policy.ProfileName{"release", "builds"} {
			n, _, _ := count(func(e placed) bool {
				return e.Grant == "ci" && e.Action == "token.mint" && e.Outcome == auditlog.Allowed && e.Profile == string(name)
			})
			if grant.ID == "ci" && n == 0 {
				grant.Unused = append(grant.Unused, name)
			}
		}
		want.Grants = append(want.Grants, grant)
	}
	return want
}

// TestTraceAndUsage compares both with a naive reading of the same logs, over gaps, while these grow.
func TestTraceAndUsage(t *testing.T) {
	v := ready(t)
	v.importKey("other")
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(0, 12).Draw(rt, "entries") {
			v.scribble(rt)
		}
		if rapid.IntRange(0, 30).Draw(rt, "gap") == 0 {
			v.gap()
		}
		all := v.placedEntries()
		sum := auditlog.Sum{byte(rapid.IntRange(0, 6).Draw(rt, "traced"))}
		trace, err := v.Log.Trace(t.Context(), principal(securityID), TraceRequest{Request: v.request(), SHA256: sum})
		if err != nil {
			rt.Fatal(err)
		}
		wantDeliveries, wantHolders := naiveTrace(all, sum)
		var deliveries, holders []string
		for _, d := range trace.Deliveries {
			deliveries = append(deliveries, fmt.Sprint(d.Origin, d.Index, d.Entry.ID, d.Entry.Principal.ID, d.Withheld))
		}
		for _, h := range trace.Holders {
			holders = append(holders, fmt.Sprint(h.ID, h.Deliveries, h.First, h.Last))
		}
		slices.Sort(holders)
		if diff := gocmp.Diff(wantDeliveries, deliveries); diff != "" || trace.Total != int64(len(deliveries)) || (trace.Token == nil) != (len(deliveries) == 0) {
			rt.Fatalf("deliveries (-naive +trace), total %d:\n%s", trace.Total, diff)
		}
		if diff := gocmp.Diff(wantHolders, holders); diff != "" {
			rt.Fatalf("holders (-naive +trace):\n%s", diff)
		}

		all = v.placedEntries() // with that of the trace
		req := UsageRequest{Request: v.request()}
		span := v.clock.Now().Sub(all[0].Time)
		at := func(name string) time.Time {
			return all[0].Time.Add(time.Duration(rapid.Int64Range(0, int64(span)).Draw(rt, name)))
		}
		if rapid.Bool().Draw(rt, "since") {
			req.Since = at("from")
		}
		if rapid.Bool().Draw(rt, "until") {
			req.Until = at("to")
		}
		if rapid.Bool().Draw(rt, "unused for") {
			req.UnusedFor = time.Duration(rapid.Int64Range(1, max(1, int64(span))).Draw(rt, "how long"))
		}
		u, err := v.Log.Usage(t.Context(), principal(securityID), req)
		end := req.Until
		if end.IsZero() {
			end = v.clock.Now()
		}
		if wrong := !req.Since.IsZero() && !req.Since.Before(end) || req.UnusedFor > 0 && end.Add(-req.UnusedFor).Before(req.Since); wrong {
			wantReason(t, err, ErrMalformed, ReasonMalformed)
			return
		}
		if err != nil {
			rt.Fatal(err)
		}
		if req.Since.IsZero() && !u.Since.Equal(all[0].Time) {
			rt.Fatalf("the logs begin at %v, not %v", all[0].Time, u.Since)
		}
		for _, log := range u.Logs {
			if log.Unreachable != "" {
				rt.Fatalf("log %s: %s", log.Origin, log.Unreachable)
			}
		}
		if diff := gocmp.Diff(naiveUsage(v, all, u, req), u, cmpopts.EquateEmpty()); diff != "" {
			rt.Fatalf("usage %+v (-naive +counted):\n%s", req, diff)
		}
	})
}

// TestArchivedReads: what was archived cannot be asked, and the answers say so.
func TestArchivedReads(t *testing.T) {
	v := ready(t)
	v.mustMint("release")
	early := v.lastToken()
	log := v.changer.log.Origin().Log
	var old []string
	for _, name := range v.fs.List(log) {
		if _, ok := auditlog.ParseSegmentName(path.Base(name)); ok {
			old = append(old, name)
		}
	}
	v.reopen() // which begins a new segment
	v.mustMint("builds")
	late := v.lastToken()
	v.close()
	v.mustOpen()
	for _, name := range old {
		check(t, v.fs.Remove(name))
	}
	security := principal(securityID)
	trace, err := v.Log.Trace(t.Context(), security, TraceRequest{SHA256: early})
	check(t, err)
	if trace.Token != nil || !strings.Contains(trace.Logs[0].Unreachable, "were archived") {
		t.Errorf("a token whose entry was archived: %+v", trace)
	}
	trace, err = v.Log.Trace(t.Context(), security, TraceRequest{SHA256: late})
	check(t, err)
	if trace.Total != 1 {
		t.Errorf("a token whose entry is here: %+v", trace)
	}
	u, err := v.Log.Usage(t.Context(), security, UsageRequest{})
	check(t, err)
	if !strings.Contains(u.Logs[0].Unreachable, "were archived") || u.Profiles[0].Tokens.Given != 1 {
		t.Errorf("a report on a log of which some was archived: %+v", u)
	}
	w := v.watch(t, securityID, WatchRequest{From: &Place{}})
	w.take()
	wantReason(t, <-w.ended, ErrPrecondition, ReasonArchived)
}

// TestManyDeliveries: an answer has the newest, and counts them all.
func TestManyDeliveries(t *testing.T) {
	v := ready(t)
	e := auditlog.Entry{
		Action: "token.mint", Outcome: auditlog.Allowed, Principal: &auditlog.Principal{Kind: "mtls", ID: callerID}, Key: "asc", Version: 1,
		Token: &auditlog.Token{Family: "app-store-connect", IssuedAt: 1, Expires: 2, SHA256: auditlog.Sum{7}},
	}
	const more = 5
	for i := range maxDeliveries + more {
		e.ID = fmt.Sprint(i)
		v.append(e)
	}
	trace, err := v.Log.Trace(t.Context(), principal(securityID), TraceRequest{SHA256: auditlog.Sum{7}})
	check(t, err)
	if n := len(trace.Deliveries); n != maxDeliveries || trace.Total != maxDeliveries+more || trace.Holders[0].Deliveries != trace.Total || trace.Deliveries[n-1].Entry.ID != fmt.Sprint(more) {
		t.Errorf("%d of %d deliveries, holders %+v", n, trace.Total, trace.Holders)
	}
	if !strings.Contains(trace.Token.RemainingStep, "key ID") || trace.Token.State != "active" {
		t.Errorf("what to do: %+v", trace.Token)
	}
}
