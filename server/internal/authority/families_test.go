package authority

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
)

// What Apple's pages say of the keys of these tests.
const (
	teamID     = "DEF123GHIJ"
	adsID      = "SEARCHADS.27478e71-3bb0-4588-998c-182e2b405577"
	businessID = "BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152"
)

// newP8Of is a key of a kind, with all its facts.
func newP8Of(t testing.TB, kind apple.Kind) p8 {
	t.Helper()
	key := newP8(t)
	f := sealed.Facts{Kind: string(kind), KeyID: key.facts.KeyID}
	switch kind {
	case apple.KindAppStoreConnect, apple.KindEnterprise, apple.KindInAppPurchase:
		f.Issuer = issuerID
	case apple.KindDeveloperPortal:
		f.Team, f.Services = teamID, join(slices.Sorted(slices.Values(apple.Services())))
	case apple.KindAppleAds:
		f.Team, f.Client = adsID, adsID
	case apple.KindSchoolBusiness:
		f.Client = businessID
	case apple.KindMarketplace:
		f.KeyID, f.App = "", "1234567890"
	case apple.KindAppStoreConnectIndividual:
	}
	key.facts = f
	return key
}

func (v *vault) importKind(name string, kind apple.Kind) p8 {
	v.t.Helper()
	key := newP8Of(v.t, kind)
	_, err := v.tryImport(name, v.seal(key))
	check(v.t, err)
	return key
}

// familyCase is a profile of one family, and a call that it takes.
type familyCase struct {
	family apple.Family
	kind   apple.Kind
	params string
	call   apple.Call
	values map[string]string // what is recorded of the call
}

func familyCases(t testing.TB) []familyCase {
	t.Helper()
	offer, err := apple.NewOfferCall("com.example.pro", "spring", "2000000123456789", "")
	check(t, err)
	older, err := apple.NewOfferCall("com.example.pro", "spring", "", "A1B2")
	check(t, err)
	intro, err := apple.NewIntroductoryOfferCall("com.example.pro", "2000000123456789", true)
	check(t, err)
	commerce, err := apple.NewCommerceCall([]byte(`{"operation":"CREATE_ONE_TIME_CHARGE","version":"1"}`))
	check(t, err)
	snapshot, err := apple.NewSnapshotCall("center=37.33,-122.0&z=12")
	check(t, err)
	export, err := apple.NewExportCall("report.pages")
	check(t, err)
	developer, err := apple.NewMarketplaceCall("dev-1")
	check(t, err)
	offered := map[string]string{"product_id": "com.example.pro", "offer_id": "spring"}
	return []familyCase{
		{apple.FamilyAppStoreConnect, apple.KindAppStoreConnect, "{}", nil, nil},
		{apple.FamilyEnterprise, apple.KindEnterprise, "{}", nil, nil},
		{apple.FamilyNotary, apple.KindAppStoreConnect, "{}", nil, nil},
		{apple.FamilyAppStoreServer, apple.KindInAppPurchase, "{bundle_id: com.example.app}", nil, nil},
		{apple.FamilyPromotionalOffer, apple.KindInAppPurchase, "{bundle_id: com.example.app}", offer, offered},
		{apple.FamilyIntroductoryOffer, apple.KindInAppPurchase, "{bundle_id: com.example.app}", intro,
			map[string]string{"product_id": "com.example.pro", "allow_introductory_offer": "true"}},
		{apple.FamilyAdvancedCommerceRequest, apple.KindInAppPurchase, "{bundle_id: com.example.app}", commerce,
			map[string]string{"operation": "CREATE_ONE_TIME_CHARGE"}},
		{apple.FamilyPromotionalOfferSignature, apple.KindInAppPurchase, "{bundle_id: com.example.app}", older, offered},
		{apple.FamilyAPNs, apple.KindDeveloperPortal, "{}", nil, nil},
		{apple.FamilyDeviceCheck, apple.KindDeveloperPortal, "{}", nil, nil},
		{apple.FamilyAppAttest, apple.KindDeveloperPortal, "{}", nil, nil},
		{apple.FamilySignInWithApple, apple.KindDeveloperPortal, "{client_id: com.example.web}", nil, nil},
		{apple.FamilyAppleMusic, apple.KindDeveloperPortal, "{}", nil, nil},
		{apple.FamilyMapsServer, apple.KindDeveloperPortal, "{}", nil, nil},
		{apple.FamilyMapKit, apple.KindDeveloperPortal, "{scopes: [mapkit_js], origins: [example.com]}", nil, nil},
		{apple.FamilyMapsSnapshot, apple.KindDeveloperPortal, "{}", snapshot, nil},
		{apple.FamilyWeatherKit, apple.KindDeveloperPortal, "{service_id: com.example.weather}", nil, nil},
		{apple.FamilyClassKit, apple.KindDeveloperPortal, "{}", nil, nil},
		{apple.FamilyIWorkExport, apple.KindDeveloperPortal, "{}", export, nil},
		{apple.FamilyAppleAds, apple.KindAppleAds, "{}", nil, nil},
		{apple.FamilySchoolBusiness, apple.KindSchoolBusiness, "{}", nil, nil},
		{apple.FamilyMarketplace, apple.KindMarketplace, "{}", developer, map[string]string{"developer_id": "dev-1"}},
	}
}

// familyVault is a vault with a profile of every family, each with a key of its own, all by the family's name.
func familyVault(t testing.TB) (*vault, []familyCase) {
	t.Helper()
	v := newVault(t)
	cases := familyCases(t)
	var doc strings.Builder
	var names []string
	for _, c := range cases {
		v.importKind(string(c.family), c.kind)
		fmt.Fprintf(&doc, "  %s: {key: %[1]s, %s: %s}\n", c.family, strings.ReplaceAll(string(c.family), "-", "_"), c.params)
		names = append(names, string(c.family))
	}
	v.apply("version: 1\nprofiles:\n" + doc.String() + "grants:\n" +
		"  - {id: ci, to: [{mtls: \"spiffe://signet.test/ci/*\"}], mint: [" + strings.Join(names, ", ") + "], rate: none}\n")
	return v, cases
}

func (v *vault) mintOf(who string, c familyCase) Minted {
	v.t.Helper()
	m, err := v.Tokens.Mint(v.t.Context(), principal(who), MintRequest{Request: v.request(), Profile: policy.ProfileName(c.family), Call: c.call})
	if err != nil {
		v.t.Fatalf("%s: %v", c.family, err)
	}
	return m
}

// TestEveryFamily mints of every family, first with a key that has never signed: what is recorded is what was given, and what
// is given again, and to whom, is by the family's rule.
func TestEveryFamily(t *testing.T) {
	v, cases := familyVault(t)
	if len(cases) != len(apple.Families()) {
		t.Fatalf("%d cases of %d families", len(cases), len(apple.Families()))
	}
	const one, two = "spiffe://signet.test/ci/1", "spiffe://signet.test/ci/2"
	var released []Minted
	nonces := map[string]bool{}
	for _, c := range cases {
		first, again, other := v.mintOf(one, c), v.mintOf(one, c), v.mintOf(two, c)
		released = append(released, first, again, other)
		same, shared := again.Token.Text == first.Token.Text, other.Token.Text == first.Token.Text
		wantSame, wantShared := true, false
		switch c.family.Reuses()[0] {
		case apple.ReuseNever:
			wantSame = false
		case apple.ReuseShared:
			wantShared = true
		case apple.ReusePerPrincipal:
		}
		if same != wantSame || again.Reused != wantSame || shared != wantShared || other.Reused != wantShared || first.Reused {
			t.Errorf("%s: again %v (%v), shared %v (%v), first %v", c.family, same, again.Reused, shared, other.Reused, first.Reused)
		}
		for _, m := range []Minted{first, again, other} {
			if m.Token.Nonce != "" && nonces[m.Token.Nonce] {
				t.Errorf("%s: a nonce was given twice", c.family)
			}
			nonces[m.Token.Nonce] = true
			if (m.Token.Nonce != "") != (c.family.Reuses()[0] == apple.ReuseNever && c.family != apple.FamilyMapsSnapshot && c.family != apple.FamilyIWorkExport) {
				t.Errorf("%s: nonce %q", c.family, m.Token.Nonce)
			}
		}
		e := v.last()
		var expires int64
		if !other.Token.Expires.IsZero() {
			expires = other.Token.Expires.Unix()
		}
		if e.Token == nil || e.Token.SHA256 != other.Token.SHA256 || e.Token.Nonce != other.Token.Nonce || e.Token.Expires != expires ||
			e.Token.IssuedAt != other.Token.IssuedAt.Unix() || e.Token.Family != string(c.family) || e.Fingerprint == "" {
			t.Errorf("%s: the entry is %+v of %+v", c.family, e, e.Token)
		}
		var values map[string]string
		if e.Requested != nil {
			values = e.Requested.Values
		}
		if fmt.Sprint(values) != fmt.Sprint(c.values) {
			t.Errorf("%s: recorded are %v, want %v", c.family, values, c.values)
		}
	}
	usage, err := v.Log.Usage(t.Context(), principal(operatorID), UsageRequest{Request: v.request()})
	check(t, err)
	for _, key := range usage.Keys {
		if key.Tokens.Given != 3 || key.Unused {
			t.Errorf("the usage of %s is %+v", key.Name, key)
		}
	}
	for i, c := range cases {
		first := released[3*i]
		deliveries, holders := int64(1), 1
		switch c.family.Reuses()[0] {
		case apple.ReuseShared:
			deliveries, holders = 3, 2
		case apple.ReusePerPrincipal:
			deliveries = 2
		case apple.ReuseNever:
		}
		found, err := v.Log.Trace(t.Context(), principal(operatorID), TraceRequest{Request: v.request(), SHA256: first.Token.SHA256})
		check(t, err)
		if found.Total != deliveries || len(found.Holders) != holders || found.Token == nil || found.Token.Nonce != first.Token.Nonce ||
			!dated(endOf(&found.Token.Token)).Equal(first.Token.Expires) || !strings.Contains(found.Token.RemainingStep, placesAtApple[c.kind]) ||
			strings.Contains(found.Token.RemainingStep, "Signed URLs") != (c.family == apple.FamilyMapsSnapshot) {
			t.Errorf("%s: the trace is %+v of %+v", c.family, found, found.Token)
		}
	}
	v.checkInvariants(released...)
}

// replica is another server over a copy of the vault's store and log, at the same time.
func (v *vault) replica() *vault {
	v.t.Helper()
	r := &vault{t: v.t, clock: v.clock, kek: v.kek, memory: v.memory.Clone(), fs: copyFS(v.t, v.fs), made: v.made, logs: v.logs}
	r.ids.Store(1_000_000)
	r.mustOpen()
	v.t.Cleanup(func() {
		if r.Authority != nil {
			_ = r.Close()
		}
	})
	return r
}

// TestSharedReplicas: whoever asks, and whatever server, is given one string of a shared family between two edges, at the same
// time on many connections too, and the next string is everybody's.
func TestSharedReplicas(t *testing.T) {
	v, cases := familyVault(t)
	r := v.replica()
	for _, c := range cases {
		if !c.family.Shared() {
			continue
		}
		texts := map[string]bool{}
		for round := range 3 {
			var mu sync.Mutex
			var all sync.WaitGroup
			here := map[string]bool{}
			for i := range 32 {
				server := v
				if i%2 == 0 {
					server = r
				}
				all.Go(func() {
					m, err := server.Tokens.Mint(t.Context(), principal(fmt.Sprintf("spiffe://signet.test/ci/%d", i/4)),
						MintRequest{Request: server.request(), Profile: policy.ProfileName(c.family), Fresh: i%3 == 0})
					if err != nil {
						t.Errorf("%s: %v", c.family, err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					here[m.Token.Text] = true
				})
			}
			all.Wait()
			if len(here) != 1 {
				t.Fatalf("%s, round %d: %d strings", c.family, round, len(here))
			}
			for text := range here {
				if texts[text] {
					t.Errorf("%s, round %d: the string of an earlier round", c.family, round)
				}
				texts[text] = true
			}
			v.clock.Advance(30 * time.Minute)
		}
	}
	v.checkInvariants()
	r.checkInvariants()
}

// TestSharedEdge: the string changes at refresh, to the second, and not before.
func TestSharedEdge(t *testing.T) {
	v := newVault(t)
	v.importKind("push", apple.KindDeveloperPortal)
	v.apply(pushPolicy)
	first := v.mustMint("push")
	v.clock.Advance(first.Token.Refresh().Sub(v.clock.Now()) - time.Second)
	if m := v.mustMint("push"); m.Token.Text != first.Token.Text || !m.Reused {
		t.Error("a second before its edge another token is given")
	}
	v.clock.Advance(time.Second)
	second := v.mustMint("push")
	if second.Token.Text == first.Token.Text || second.Token.IssuedAt.Sub(first.Token.IssuedAt) != 30*time.Minute || second.Reused {
		t.Errorf("at its edge the token of %v is given, after that of %v", second.Token.IssuedAt, first.Token.IssuedAt)
	}
	if v.clock.Now().After(first.Token.UseUntil()) {
		t.Error("a client that has not asked yet has nothing to use")
	}
}

const pushPolicy = `version: 1
profiles:
  push: {key: push, apns: {}}
  check: {key: push, device_check: {}}
grants:
  - {id: ci, to: [{mtls: "spiffe://signet.test/ci/*"}], mint: [push, check], rate: none}
`

// TestSharedDecided: that everybody has a token lets nobody have it who may not.
func TestSharedDecided(t *testing.T) {
	v := newVault(t)
	v.importKind("push", apple.KindDeveloperPortal)
	v.importKind("push", apple.KindDeveloperPortal)
	v.apply(pushPolicy)
	first := v.mustMint("push")
	_, err := v.Tokens.Mint(t.Context(), principal(strangerID), MintRequest{Request: v.request(), Profile: "push"})
	wantReason(t, err, ErrDenied, ReasonDenied)
	check(t, v.disable("push"))
	_, err = v.mint("push")
	wantReason(t, err, ErrPrecondition, ReasonKeyDisabled)
	check(t, v.enable("push"))
	if m := v.mustMint("push"); m.Token.Text != first.Token.Text {
		t.Error("another token after disable and enable: Apple minds")
	}
	check(t, v.activate("push", 2))
	second := v.mustMint("push")
	if second.Token.Text == first.Token.Text || second.KeyID == first.KeyID {
		t.Error("the token of the version before")
	}
	_, err = v.revoke("push", 2)
	check(t, err)
	_, err = v.mint("push")
	wantReason(t, err, ErrPrecondition, ReasonKeyRevoked)
	check(t, v.activate("push", 1))
	v.apply(strings.Replace(pushPolicy, "rate: none", "rate: 2/h", 1))
	v.mustMint("push")
	v.mustMint("push")
	_, err = v.mint("push")
	wantReason(t, err, ErrRateLimited, ReasonRateLimited)
	if e := v.last(); e.Outcome != auditlog.Denied || e.Profile != "push" {
		t.Errorf("the last entry is %+v", e)
	}
	v.checkInvariants()
}

// TestLaw3EveryFamily: over random families, callers and waits, on two servers that remember what they gave, a token of a family
// that is shared follows from its time alone, one that is the principal's is nobody else's, and one that is used once is new.
func TestLaw3EveryFamily(t *testing.T) {
	v, cases := familyVault(t)
	servers := []*vault{v, v.replica()}
	type owner struct {
		who    string
		server int
	}
	owners := map[string]owner{}  // of each token that is not shared
	shared := map[string]string{} // the token, by family and time
	edge := map[string]bool{}     // the tokens that are shared
	rapid.Check(t, func(rt *rapid.T) {
		for range 8 {
			v.clock.Advance(time.Duration(rapid.IntRange(0, 900).Draw(rt, "wait")) * time.Second)
			c := rapid.SampledFrom(cases).Draw(rt, "family")
			at := owner{fmt.Sprintf("spiffe://signet.test/ci/%d", rapid.IntRange(1, 3).Draw(rt, "who")), rapid.IntRange(0, 1).Draw(rt, "server")}
			fresh := rapid.Bool().Draw(rt, "fresh")
			server := servers[at.server]
			m, err := server.Tokens.Mint(t.Context(), principal(at.who), MintRequest{Request: server.request(), Profile: policy.ProfileName(c.family), Call: c.call, Fresh: fresh})
			if err != nil {
				rt.Fatalf("%s: %v", c.family, err)
			}
			token, now := m.Token, v.clock.Now()
			if !now.After(token.IssuedAt) || !token.Expires.IsZero() && !token.Expires.After(now) {
				rt.Errorf("%s: a token of %v to %v at %v", c.family, token.IssuedAt, token.Expires, now)
			}
			before, known := owners[token.Text]
			switch c.family.Reuses()[0] {
			case apple.ReuseShared:
				name := fmt.Sprint(c.family, (now.Unix()-30)/1800)
				if other, ok := shared[name]; ok && other != token.Text || !ok && edge[token.Text] {
					rt.Errorf("%s: not the token of its time", c.family)
				}
				shared[name], edge[token.Text] = token.Text, true
			case apple.ReusePerPrincipal:
				if known != m.Reused || known && (before != at || fresh) {
					rt.Errorf("%s: reused %v, and before it was given to %v", c.family, m.Reused, before)
				}
				owners[token.Text] = at
			case apple.ReuseNever:
				if known || m.Reused {
					rt.Errorf("%s: given twice", c.family)
				}
				owners[token.Text] = at
			}
		}
	})
	for _, server := range servers {
		server.checkInvariants()
	}
}
