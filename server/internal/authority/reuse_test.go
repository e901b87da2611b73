package authority

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/storetest"
)

// reusePolicy has two profiles of the same tokens, one of narrower ones, and one whose tokens are never given again.
const reusePolicy = `version: 1
profiles:
  release: {key: asc, app_store_connect: {}, ttl: 10m}
  again: {key: asc, app_store_connect: {}, ttl: 10m}
  builds: {key: asc, app_store_connect: {scope: [GET /v1/apps/1, GET /v1/apps/1/builds]}, ttl: 10m}
  never: {key: asc, app_store_connect: {}, ttl: 10m, reuse: never}
grants:
  - {id: ci, to: [{mtls: "spiffe://signet.test/ci/*"}], mint: [release, again, builds, never], rate: none}
`

// TestReuse is who is given a token again, and when. Each step says whether it is given the token of an earlier one.
func TestReuse(t *testing.T) {
	const one, two = "spiffe://signet.test/ci/1", "spiffe://signet.test/ci/2"
	scope := func(entries ...string) []apple.Scope {
		s, err := apple.ParseScopes(entries)
		check(t, err)
		return s
	}
	type step struct {
		name   string
		before func(*vault)
		who    string
		req    MintRequest
		same   string // the step whose token this is; empty: a new one
	}
	release := MintRequest{Profile: "release"}
	steps := []step{
		{name: "first", who: one, req: release},
		{name: "again", who: one, req: release, same: "first"},
		{name: "by another profile of the same tokens", who: one, req: MintRequest{Profile: "again"}, same: "first"},
		{name: "the same ttl, said", who: one, req: MintRequest{Profile: "release", TTL: 10 * time.Minute}, same: "first"},
		{name: "with a receipt", who: one, req: MintRequest{Profile: "release", Receipt: true}, same: "first"},
		{name: "another principal", who: two, req: release},
		{name: "shorter", who: one, req: MintRequest{Profile: "release", TTL: 5 * time.Minute}},
		{name: "scoped", who: one, req: MintRequest{Profile: "builds"}},
		{name: "scoped in other words", who: one, req: MintRequest{Profile: "release", Scope: scope("GET /v1/apps/1/builds", "GET /v1/apps/1")}, same: "scoped"},
		{name: "narrower", who: one, req: MintRequest{Profile: "builds", Scope: scope("GET /v1/apps/1")}},
		{name: "never", who: one, req: MintRequest{Profile: "never"}},
		{name: "never again", who: one, req: MintRequest{Profile: "never"}},
		{name: "fresh", who: one, req: MintRequest{Profile: "release", Fresh: true}},
		{name: "after a fresh one", who: one, req: release, same: "fresh"},
		{name: "before half of its life", before: func(v *vault) { v.clock.Advance(285*time.Second - time.Second) }, who: one, req: release, same: "fresh"},
		{name: "at half of its life", before: func(v *vault) { v.clock.Advance(time.Second) }, who: one, req: release},
		{name: "with the key off and on", before: func(v *vault) { check(t, v.disable("asc")); check(t, v.enable("asc")) }, who: one, req: release, same: "at half of its life"},
		{name: "with another version", before: func(v *vault) { check(t, v.activate("asc", 2)) }, who: one, req: release},
		{name: "with the first version", before: func(v *vault) { check(t, v.activate("asc", 1)) }, who: one, req: release, same: "at half of its life"},
		{name: "after a restart", before: func(v *vault) { v.reopen() }, who: one, req: release},
	}
	v := newVault(t)
	v.importKey("asc")
	v.importKey("asc")
	v.apply(reusePolicy)
	given := map[string]Minted{}
	for _, s := range steps {
		if s.before != nil {
			s.before(v)
		}
		s.req.Request = v.request()
		m, err := v.Tokens.Mint(t.Context(), principal(s.who), s.req)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if m.Reused != (s.same != "") || s.same != "" && m.Token.Text != given[s.same].Token.Text {
			t.Errorf("%s: reused %v, want the token of %q", s.name, m.Reused, s.same)
		}
		for other, earlier := range given {
			if s.same == "" && earlier.Token.Text == m.Token.Text {
				t.Errorf("%s: was given the token of %q", s.name, other)
			}
		}
		e := v.last()
		if e.ID != s.req.ID || e.Token == nil || e.Token.Reused != m.Reused || e.Token.SHA256 != m.Token.SHA256 || e.Profile != string(s.req.Profile) {
			t.Errorf("%s: the delivery's entry is %+v of token %+v", s.name, e, e.Token)
		}
		if s.req.Receipt != (m.Receipt != nil) {
			t.Errorf("%s: receipt %v", s.name, m.Receipt)
		}
		given[s.name] = m
	}
	v.checkInvariants()
}

// TestReuseDenied: a token that was given before is not given to whom the decision is against, whatever is remembered.
func TestReuseDenied(t *testing.T) {
	tests := []struct {
		name   string
		off    func(*vault)
		kind   error
		reason Reason
	}{
		{"the key is off", func(v *vault) { check(v.t, v.disable("asc")) }, ErrPrecondition, ReasonKeyDisabled},
		{"the key is revoked", func(v *vault) { _, err := v.revoke("asc", 0); check(v.t, err) }, ErrPrecondition, ReasonKeyRevoked},
		{"the grant is gone", func(v *vault) { v.apply("version: 1") }, ErrDenied, ReasonDenied},
		{"the certificate is denied", func(v *vault) {
			v.apply(reusePolicy + "  - {id: q, deny: true, to: [{certificate: \"sha256:" + strings.Repeat("0", 64) + "\"}]}\n")
		}, ErrDenied, ReasonDenied},
		{"the rate is used up", func(v *vault) {
			v.apply(strings.Replace(reusePolicy, "rate: none", "rate: 1/h", 1))
			v.mustMint("release")
		}, ErrRateLimited, ReasonRateLimited},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := newVault(t)
			v.importKey("asc")
			v.apply(reusePolicy)
			first := v.mustMint("release")
			if again := v.mustMint("release"); again.Token.Text != first.Token.Text {
				t.Fatal("nothing was given again, so nothing is tried")
			}
			tt.off(v)
			_, err := v.mint("release")
			wantReason(t, err, tt.kind, tt.reason)
		})
	}
}

// TestReuseUnrecorded: a token whose entry did not become durable was given to nobody, and is not given later.
func TestReuseUnrecorded(t *testing.T) {
	v := newVault(t)
	v.importKey("asc")
	v.apply(reusePolicy)
	failing := true
	v.fs.Inject(func(op storetest.Op) storetest.Fault {
		if failing && op.Kind == storetest.OpSync {
			failing = false
			return storetest.Fault{Err: errors.New("the disk says no"), Effect: storetest.Persisted}
		}
		return storetest.Fault{}
	})
	if _, err := v.mint("release"); err == nil {
		t.Fatal("a token was released, and its entry is not durable")
	}
	second := v.mustMint("release")
	if second.Reused {
		t.Error("the first token that is released is said to have been given before")
	}
	v.checkInvariants(second)
}

// TestReuseWithheld: a token is not released when, while its entry was written, its profile has come to give others.
func TestReuseWithheld(t *testing.T) {
	v := newVault(t)
	v.importKey("asc")
	v.apply(reusePolicy)
	want := ask{id: v.request().ID, want: policy.Request{Action: policy.TokenMint, Profile: "release"}}
	_, err := v.changer.answer(t.Context(), principal(callerID), want, func(call *call) error {
		token, err := v.Tokens.sign(t.Context(), call)
		check(t, err)
		describe(&call.entry, call.state, Minted{Token: token, Key: call.decision.Key(), Version: call.decision.Version()})
		return v.tryApply(strings.Replace(reusePolicy, "release: {key: asc, app_store_connect: {}", "release: {key: asc, app_store_connect: {scope: [GET /v1/apps]}", 1))
	})
	wantReason(t, err, ErrUnavailable, ReasonWithheld)
	if e := v.last(); e.Outcome != auditlog.Withheld || e.Reason != "the profile gives other tokens now" {
		t.Errorf("the last entry is %+v", e)
	}
}

// TestOfferWithheld: so it is with what is never given again, whose profile has come to be for another app.
func TestOfferWithheld(t *testing.T) {
	const before = "version: 1\nprofiles:\n  offer: {key: iap, promotional_offer: {bundle_id: com.example.a}}\n" +
		"grants:\n  - {id: ci, to: [{mtls: \"spiffe://signet.test/ci/*\"}], mint: [offer], rate: none}\n"
	v := newVault(t)
	v.importKind("iap", apple.KindInAppPurchase)
	v.apply(before)
	offer, err := apple.NewOfferCall("com.example.pro", "spring", "", "")
	check(t, err)
	for bundle, withheld := range map[string]bool{"com.example.a": false, "com.example.b": true} {
		want := ask{id: v.request().ID, want: policy.Request{Action: policy.TokenMint, Profile: "offer", Call: offer}}
		_, err := v.changer.answer(t.Context(), principal(callerID), want, func(call *call) error {
			token, err := v.Tokens.sign(t.Context(), call)
			check(t, err)
			describe(&call.entry, call.state, Minted{Token: token, Key: call.decision.Key(), Version: call.decision.Version()})
			return v.tryApply(strings.Replace(before, "com.example.a", bundle, 1))
		})
		if withheld {
			wantReason(t, err, ErrUnavailable, ReasonWithheld)
		} else {
			check(t, err)
		}
		v.apply(before)
	}
}

// claimsOf are those of a token, as Apple reads them.
func claimsOf(t testing.TB, compact string) (claims struct {
	Iat, Exp int64
	Scope    []string
}) {
	t.Helper()
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(compact, ".")[1])
	check(t, err)
	check(t, json.Unmarshal(body, &claims))
	return claims
}

// TestLaw3WithReuse: over random profiles, callers and asks, on one vault that remembers what it gave, each token is
// what its own profile and ask say and no more, one principal's token is never another's, and what is given again was
// given to the same principal and has half of its life before it.
func TestLaw3WithReuse(t *testing.T) {
	requests := []string{"GET /v1/apps/1", "GET /v1/apps/2", "GET /v1/apps/3"}
	v := newVault(t)
	v.importKey("asc")
	v.importKey("other")
	owner := map[string]string{} // of each token: whom it was given to
	rapid.Check(t, func(rt *rapid.T) {
		type profile struct {
			key   string
			scope []string
			ttl   int
			never bool
		}
		profiles := make([]profile, 4)
		doc := "version: 1\nprofiles:\n"
		for i := range profiles {
			p := profile{
				key:   rapid.SampledFrom([]string{"asc", "other"}).Draw(rt, "key"),
				scope: slices.Sorted(slices.Values(rapid.SliceOfDistinct(rapid.SampledFrom(requests), rapid.ID).Draw(rt, "scope"))),
				ttl:   rapid.SampledFrom([]int{60, 120, 600}).Draw(rt, "ttl"),
				never: rapid.Bool().Draw(rt, "never"),
			}
			profiles[i] = p
			params, reuse := "{}", ""
			if len(p.scope) > 0 {
				params = "{scope: [" + strings.Join(p.scope, ", ") + "]}"
			}
			if p.never {
				reuse = ", reuse: never"
			}
			doc += fmt.Sprintf("  p%d: {key: %s, app_store_connect: %s, ttl: %ds%s}\n", i, p.key, params, p.ttl, reuse)
		}
		v.apply(doc + "grants:\n  - {id: ci, to: [{mtls: \"spiffe://signet.test/ci/*\"}], mint: [p0, p1, p2, p3], rate: none}\n")
		for range 12 {
			v.clock.Advance(time.Duration(rapid.IntRange(0, 90).Draw(rt, "wait")) * time.Second)
			i := rapid.IntRange(0, len(profiles)-1).Draw(rt, "profile")
			p := profiles[i]
			who := fmt.Sprintf("spiffe://signet.test/ci/%d", rapid.IntRange(1, 3).Draw(rt, "who"))
			req := MintRequest{Request: v.request(), Profile: policy.ProfileName(fmt.Sprintf("p%d", i)), Fresh: rapid.IntRange(0, 4).Draw(rt, "fresh") == 0}
			wantScope, wantTTL := p.scope, p.ttl
			if len(p.scope) > 0 && rapid.Bool().Draw(rt, "narrow") {
				wantScope = p.scope[:1]
				req.Scope = []apple.Scope{apple.Scope(p.scope[0])}
			}
			if rapid.Bool().Draw(rt, "shorter") {
				wantTTL = 45
				req.TTL = 45 * time.Second
			}
			m, err := v.Tokens.Mint(t.Context(), principal(who), req)
			if err != nil {
				rt.Fatalf("Mint: %v", err)
			}
			compact, now := m.Token.Text, v.clock.Now()
			got := claimsOf(t, compact)
			if !slices.Equal(got.Scope, wantScope) || got.Exp-got.Iat != int64(wantTTL) || string(m.Key) != p.key {
				rt.Errorf("the token is of key %s, for %d s and %q; want %s, %d s and %q", m.Key, got.Exp-got.Iat, got.Scope, p.key, wantTTL, wantScope)
			}
			before, known := owner[compact]
			switch {
			case m.Reused != known:
				rt.Errorf("reused %v, and given before %v", m.Reused, known)
			case known && before != who:
				rt.Errorf("a token of %s was given to %s", before, who)
			case known && (p.never || req.Fresh):
				rt.Error("a token was given again that must not be")
			case known && 2*(got.Exp-now.Unix()) <= int64(wantTTL)-30:
				rt.Errorf("a token with %d s before it was given again", got.Exp-now.Unix())
			}
			owner[compact] = who
		}
	})
	v.checkInvariants()
}

func TestGenerations(t *testing.T) {
	g := generations[int, string]{size: 3}
	for i := range 100 {
		g.put(i, fmt.Sprint(i))
		if v, ok := g.get(0); !ok || v != "0" {
			t.Fatalf("what is used all the time is forgotten after %d others", i)
		}
		if n := len(g.young) + len(g.old); n > 6 {
			t.Fatalf("it holds %d", n)
		}
	}
	if _, ok := g.get(50); ok {
		t.Error("what was not used is still there")
	}
	g.put(0, "new")
	if v, _ := g.get(0); v != "new" {
		t.Errorf("replaced: %q", v)
	}
}
