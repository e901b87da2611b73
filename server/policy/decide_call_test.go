package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/server/apple"
)

// everyCall are calls of every type, and what is none.
func everyCall() []apple.Call {
	all := []apple.Call{
		nil, apple.OfferCall{}, apple.IntroductoryOfferCall{}, apple.CommerceCall{}, apple.SnapshotCall{}, apple.ExportCall{}, apple.MarketplaceCall{},
	}
	for _, e := range examples {
		all = append(all, e.good...)
	}
	return all
}

// takes says whether a call is one of the family's, by its type and its style.
func (e example) takes(call apple.Call) bool {
	if slices.Contains(everyCall()[:7], call) {
		return call == nil && e.good == nil
	}
	switch call.(type) {
	case apple.OfferCall:
		return e.family == apple.FamilyPromotionalOffer && call != examples[offerSignature].good[0] ||
			e.family == apple.FamilyPromotionalOfferSignature && call != examples[promotionalOffer].good[0]
	case apple.IntroductoryOfferCall:
		return e.family == apple.FamilyIntroductoryOffer
	case apple.CommerceCall:
		return e.family == apple.FamilyAdvancedCommerceRequest
	case apple.SnapshotCall:
		return e.family == apple.FamilyMapsSnapshot
	case apple.ExportCall:
		return e.family == apple.FamilyIWorkExport
	case apple.MarketplaceCall:
		return e.family == apple.FamilyMarketplace
	}
	return false
}

// Where some families stand among the examples.
const (
	promotionalOffer = 4
	offerSignature   = 7
)

// TestDecideCalls has every family with every call: what a call fills in is taken where the family has it and the profile
// grants it, and what stands in the way is told to those who may mint the profile, without a value of the call.
func TestDecideCalls(t *testing.T) {
	if examples[promotionalOffer].family != apple.FamilyPromotionalOffer || examples[offerSignature].family != apple.FamilyPromotionalOfferSignature {
		t.Fatal("the examples are in another order")
	}
	for _, e := range examples {
		t.Run(string(e.family), func(t *testing.T) {
			facts := keys{"k": e.key()}
			full, least := mustCompile(t, e.doc(e.full)), mustCompile(t, e.doc(e.least))
			wants := func(name string, p *Policy, r Request, facts Facts, code Code) {
				t.Helper()
				d := p.Decide(r, facts)
				if d.Code() != code || d.Tell() != (code != OK) || d.Allowed() != (code == OK) || d.Grant() != "g" || d.Rate() != defaultRate {
					t.Errorf("%s: %+v, want %s", name, outcomeOf(d), code)
				}
				if code != OK && (d.Reason() == "" || strings.Contains(d.Reason(), "Canary") || d.Spec().Key() != apple.SpecKey{} || d.Version() != 0) {
					t.Errorf("%s: %+v", name, outcomeOf(d))
				}
			}
			for _, call := range everyCall() {
				code := UnfitRequest
				if e.takes(call) {
					code = OK
				}
				wants("a call", full, mintBy(call), facts, code)
				wants("a call, with all granted", least, mintBy(call), facts, code)
				// The policy's own tests fill nothing in.
				wants("a call, of a key that is not known", full, mintBy(call), nil, OK)
				wants("a call, of a key that is off", full, mintBy(call), keys{"k": e.key().in(KeyStateDisabled)}, KeyDisabled)
			}
			for _, call := range e.beyond {
				wants("beyond the profile", full, mintBy(call), facts, ValueNotGranted)
				wants("beyond nothing", least, mintBy(call), facts, OK)
			}
			r := mintBy(e.calls()[0])
			r.TTL = time.Minute
			wants("a lifetime", full, r, facts, map[bool]Code{true: OK, false: UnfitRequest}[e.most > 0])
			wants("a lifetime, of a key that is not known", full, r, nil, map[bool]Code{true: OK, false: UnfitRequest}[e.most > 0])
			if e.most > 0 {
				r.TTL = e.ttl + time.Second
				wants("too long a lifetime", full, r, facts, TTLTooLong)
			}
			r = mintBy(e.calls()[0])
			r.Scope = []apple.Scope{"GET /v1/devices"}
			wants("a scope", least, r, facts, map[bool]Code{true: OK, false: UnfitRequest}[e.family.Scoped()])
		})
	}
}

// TestCallsTellStrangersNothing: whoever is not granted the profile hears the same whatever is filled in, and whether there is
// such a profile or not.
func TestCallsTellStrangersNothing(t *testing.T) {
	type said struct {
		allowed, tell bool
		code          Code
		grant         string
	}
	for _, e := range examples {
		doc := e.doc(e.full) + "- {id: d, to: [{mtls: spiffe://a/denied}], deny: true}\n- {id: h, to: [{mtls: spiffe://a/denied}], mint: [p]}\n"
		p := mustCompile(t, doc, operator)
		for _, who := range []string{"spiffe://a/stranger", "spiffe://a/denied", operator, ""} {
			hears := make(map[said]bool)
			for _, call := range append(everyCall(), e.beyond...) {
				for _, ttl := range []time.Duration{0, time.Minute, 1000 * day, -1} {
					for _, facts := range []Facts{nil, keys{}, keys{"k": e.key()}, keys{"k": e.key().in(KeyStateRevoked)}, keys{"k": {}}} {
						d := p.Decide(Request{Principal: by(who), Action: TokenMint, Profile: "p", Call: call, TTL: ttl, Scope: []apple.Scope{"GET /v1/x"}}, facts)
						hears[said{d.Allowed(), d.Tell(), d.Code(), d.Grant()}] = true
					}
				}
			}
			want := said{code: Denied}
			if who == "spiffe://a/denied" {
				want.grant = "d"
			}
			if len(hears) != 1 || !hears[want] {
				t.Errorf("%s: %q hears %v, want %v", e.family, who, hears, want)
			}
			if got := p.Mintable(by(who)); got != nil {
				t.Errorf("%s: %q is shown %v", e.family, who, got)
			}
		}
	}
}

// TestRunTestsWithCalls: a document's tests say who may mint, and fill nothing in.
func TestRunTestsWithCalls(t *testing.T) {
	for _, e := range examples {
		doc := e.doc(e.full) + "tests:\n- {as: {mtls: spiffe://a/b}, mint: p, expect: allow}\n- {as: {mtls: spiffe://a/c}, mint: p, expect: deny}\n- {as: {mtls: spiffe://a/c}, mint: p, expect: allow}\n"
		p, err := Compile([]byte(doc), nil, keys{"k": e.key().in(KeyStateDisabled)})
		if err != nil {
			t.Fatal(err)
		}
		want := []TestResult{
			{Line: 7, Column: 3, Passed: true, Message: "expected allow, and it is allowed by grant g"},
			{Line: 8, Column: 3, Passed: true, Message: "expected deny, and it is denied: no grant of the caller's allows the profile"},
			{Line: 9, Column: 3, Message: "expected allow, and it is denied: no grant of the caller's allows the profile"},
		}
		if diff := cmp.Diff(want, p.RunTests()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", e.family, diff)
		}
	}
}
