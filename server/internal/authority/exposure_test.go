package authority

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
)

// naiveExposure reads every entry of every log and keeps what is alive.
func (v *vault) naiveExposure(key string, version int) []Holder {
	now := v.clock.Now()
	alive := map[delivery][]*auditlog.Entry{}
	for _, e := range v.entries() {
		switch {
		case e.Token == nil || e.Key != key || version != 0 && e.Version != version:
		case e.Outcome == auditlog.Withheld:
			alive[deliveryOf(e)] = nil // every call has its own id
		case e.Outcome == auditlog.Allowed && time.Unix(e.Token.Expires, 0).After(now):
			alive[deliveryOf(e)] = append(alive[deliveryOf(e)], e)
		}
	}
	holders, seen := map[string]Holder{}, map[holding]bool{}
	for _, e := range slices.Concat(slices.Collect(maps.Values(alive))...) {
		h := holders[e.Principal.ID]
		h.Kind, h.ID = e.Principal.Kind, e.Principal.ID
		if held := (holding{h.ID, e.Token.SHA256}); !seen[held] {
			h.Tokens++
			seen[held] = true
		}
		if expires := time.Unix(e.Token.Expires, 0).UTC(); expires.After(h.LastExpires) {
			h.LastExpires = expires
		}
		holders[e.Principal.ID] = h
	}
	var all []Holder
	for _, h := range holders {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b Holder) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// TestExposure compares the exposure receipt with a naive reading of all logs, over random lives.
func TestExposure(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 3))
			v := newVault(t)
			v.importKey("asc")
			v.importKey("asc")
			v.importKey("other")
			doc := strings.Replace(basicPolicy, "grants:", "  elsewhere: {key: other, app_store_connect: {}, ttl: 19m}\ngrants:", 1)
			v.apply(strings.Replace(doc, "mint: [release, builds]", "mint: [release, builds, elsewhere]", 1))
			for range 400 {
				p := principal(fmt.Sprintf("spiffe://signet.test/ci/%d", r.IntN(5)))
				profile := []policy.ProfileName{"release", "builds", "elsewhere"}[r.IntN(3)]
				_, err := v.Tokens.Mint(t.Context(), p, MintRequest{Request: v.request(), Profile: profile, TTL: time.Duration(1+r.IntN(10)) * time.Minute, Fresh: r.IntN(3) == 0})
				check(t, err)
				switch r.IntN(40) {
				case 0:
					v.clock.Advance(time.Duration(r.IntN(240)) * time.Second)
				case 1:
					check(t, v.activate("asc", 1+r.IntN(2)))
				case 2:
					v.withheldMint()
				case 3:
					_, err := v.show(v.forge(v.changer.log.Head().Size + 1))
					wantReason(t, err, ErrPrecondition, ReasonGap)
					v.acknowledge(v.openGaps()[0].ID)
				}
			}
			version := r.IntN(3)
			now := v.clock.Now()
			exposure, err := v.revoke("asc", version)
			check(t, err)
			want := v.naiveExposure("asc", version)
			var got []Holder
			var tokens int64
			byID := map[string]Holder{}
			for _, log := range exposure.Logs {
				if log.Unreachable != "" {
					t.Errorf("log %s: %s", log.Origin, log.Unreachable)
				}
				tokens += log.Tokens
				for _, h := range log.Holders {
					sum := byID[h.ID]
					sum.ID, sum.Kind, sum.Tokens = h.ID, h.Kind, sum.Tokens+h.Tokens
					if h.LastExpires.After(sum.LastExpires) {
						sum.LastExpires = h.LastExpires
					}
					byID[h.ID] = sum
				}
				if log.LastExpires.After(exposure.UpperBound) {
					t.Errorf("a token lives until %v, beyond the bound %v", log.LastExpires, exposure.UpperBound)
				}
			}
			for _, h := range byID {
				got = append(got, h)
				tokens -= h.Tokens
			}
			slices.SortFunc(got, func(a, b Holder) int { return cmp.Compare(a.ID, b.ID) })
			if diff := gocmp.Diff(want, got); diff != "" || tokens != 0 {
				t.Errorf("holders (-naive +receipt), %d off:\n%s", tokens, diff)
			}
			if exposure.UpperBound != now.Add(15*time.Minute) {
				t.Errorf("the bound is %v after now", exposure.UpperBound.Sub(now))
			}
			for _, v := range v.mustKey("asc").Versions {
				if named := strings.Contains(exposure.RemainingStep, v.KeyID); named != (version == 0 || version == v.Number) {
					t.Errorf("the remaining step is %q", exposure.RemainingStep)
				}
			}
		})
	}
}

// TestExposureFamilies: of each family the receipt counts what is alive, whether it has an exp or not, and says what its key needs.
func TestExposureFamilies(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	lives := map[apple.Family]time.Duration{ // the bound, after now; 0: there is none
		apple.FamilyAppStoreConnect: 10 * time.Minute, apple.FamilyEnterprise: 10 * time.Minute, apple.FamilyNotary: 10 * time.Minute,
		apple.FamilyAppStoreServer: 5 * time.Minute, apple.FamilyPromotionalOffer: day, apple.FamilyIntroductoryOffer: day,
		apple.FamilyAdvancedCommerceRequest: day, apple.FamilyPromotionalOfferSignature: day,
		apple.FamilyAPNs: hour, apple.FamilyDeviceCheck: hour, apple.FamilyAppAttest: hour,
		apple.FamilySignInWithApple: 5 * time.Minute, apple.FamilyAppleMusic: 12 * hour, apple.FamilyMapsServer: 15 * time.Minute,
		apple.FamilyMapKit: 12 * hour, apple.FamilyMapsSnapshot: 0, apple.FamilyWeatherKit: 15 * time.Minute, apple.FamilyClassKit: 15 * time.Minute,
		apple.FamilyIWorkExport: 15 * time.Minute, apple.FamilyAppleAds: 5 * time.Minute, apple.FamilySchoolBusiness: 5 * time.Minute,
		apple.FamilyMarketplace: day,
	}
	v, cases := familyVault(t)
	minted := map[apple.Family]Minted{}
	for _, c := range cases {
		minted[c.family] = v.mintOf(callerID, c)
		v.mintOf("spiffe://signet.test/ci/2", c)
	}
	v.reopen() // what was given before is forgotten
	for _, c := range cases {
		v.mintOf(callerID, c)
	}
	for _, c := range cases {
		key := v.mustKey(string(c.family))
		exposure, err := v.revoke(string(c.family), 0)
		check(t, err)
		want := v.clock.Now().Add(lives[c.family])
		if lives[c.family] == 0 {
			want = time.Time{}
		}
		if !exposure.UpperBound.Equal(want) {
			t.Errorf("%s: the bound is %v, want %v", c.family, exposure.UpperBound, want)
		}
		each := int64(2)
		if c.family.Shared() {
			each = 1
		}
		log := exposure.Logs[0]
		if len(exposure.Logs) != 1 || log.Unreachable != "" || log.Tokens != each+1 || len(log.Holders) != 2 || log.Holders[0].Tokens != each ||
			!log.LastExpires.Equal(minted[c.family].Token.Expires) || !log.Holders[1].LastExpires.Equal(minted[c.family].Token.Expires) {
			t.Errorf("%s: the log knows %+v", c.family, log)
		}
		for part, wanted := range map[string]bool{
			key.Versions[0].KeyID:       key.Versions[0].KeyID != "",
			key.Versions[0].Fingerprint: key.Versions[0].KeyID == "",
			placesAtApple[c.kind]:       true,
			"Signed URLs":               c.family == apple.FamilyMapsSnapshot,
			"a day is assumed":          c.kind == apple.KindInAppPurchase,
			"connections to APNs":       c.kind == apple.KindDeveloperPortal,
		} {
			if part != "" && strings.Contains(exposure.RemainingStep, part) != wanted {
				t.Errorf("%s: the remaining step is %q", c.family, exposure.RemainingStep)
			}
		}
	}
	for _, kind := range apple.Kinds() {
		if placesAtApple[kind] == "" {
			t.Errorf("nobody says where a key of kind %s is revoked", kind)
		}
	}
}

// TestExposureUnreadable: a revision of the policy that cannot be read may have allowed whatever keys of the kind can sign.
func TestExposureUnreadable(t *testing.T) {
	v := newVault(t)
	v.importKey("asc")
	v.importKind("push", apple.KindDeveloperPortal)
	v.apply(basicPolicy)
	v.apply(pushPolicy)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	now := v.clock.Now()
	if life := longestLife(ctx, &v.changer.core, v.mustKey("asc"), now); life != 180*24*time.Hour {
		t.Errorf("a team key: %v", life)
	}
	if life := longestLife(ctx, &v.changer.core, v.mustKey("push"), now); life != apple.Unending {
		t.Errorf("a key of the portal: %v", life)
	}
}

func (v *vault) mustKey(name string) Key {
	v.t.Helper()
	key, err := v.Keys.Get(v.t.Context(), principal(operatorID), KeyRequest{Name: policy.KeyName(name)})
	check(v.t, err)
	return key
}

// withheldMint is a mint of "release" that is withheld because the key is off for a moment.
func (v *vault) withheldMint() {
	v.t.Helper()
	_, err := v.changer.answer(v.t.Context(), principal(callerID), ask{id: v.request().ID, want: policy.Request{Action: policy.TokenMint, Profile: "release"}}, func(call *call) error {
		token, err := v.Tokens.sign(v.t.Context(), call)
		check(v.t, err)
		describe(&call.entry, call.state, Minted{Token: token, Key: call.decision.Key(), Version: call.decision.Version()})
		return v.disable("asc")
	})
	wantReason(v.t, err, ErrUnavailable, ReasonWithheld)
	check(v.t, v.enable("asc"))
}

// TestExposureBound follows the longest lifetime through revisions of the policy: what was allowed lately counts, what
// was replaced longer ago than any token lives does not, and a key without a profile has no tokens.
func TestExposureBound(t *testing.T) {
	with := func(ttl string) string {
		return strings.ReplaceAll(strings.ReplaceAll(basicPolicy, "15m", ttl), "10m", ttl)
	}
	v := newVault(t)
	v.importKey("asc")
	v.importKey("unused")
	bound := func() time.Duration {
		t.Helper()
		exposure, err := v.revoke("asc", 0)
		check(t, err)
		return exposure.UpperBound.Sub(v.clock.Now())
	}
	v.apply(with("19m"))
	v.apply(with("5m"))
	if got := bound(); got != 19*time.Minute {
		t.Errorf("just after a change the bound is %v", got)
	}
	v.clock.Advance(10 * time.Minute)
	v.apply(with("2m"))
	if got := bound(); got != 19*time.Minute {
		t.Errorf("ten minutes later the bound is %v", got)
	}
	v.clock.Advance(15 * time.Minute)
	if got := bound(); got != 5*time.Minute {
		t.Errorf("when the longest is dead the bound is %v", got)
	}
	v.clock.Advance(15 * time.Minute)
	if got := bound(); got != 2*time.Minute {
		t.Errorf("at last the bound is %v", got)
	}
	exposure, err := v.revoke("unused", 0)
	check(t, err)
	if !exposure.UpperBound.Equal(v.clock.Now()) {
		t.Errorf("a key without a profile has the bound %v", exposure.UpperBound)
	}
}

// TestExposureBoundLongLived: what a profile of long-lived tokens allowed counts for as long as they live, and only
// while that policy was in force.
func TestExposureBoundLongLived(t *testing.T) {
	const day = 24 * time.Hour
	long := strings.Replace(basicPolicy, "grants:", "  ci: {key: asc, app_store_connect: {scope: [GET /v1/ciProducts]}, long_lived: true, ttl: 90d}\ngrants:", 1)
	v := newVault(t)
	v.importKey("asc")
	bound := func() time.Duration {
		t.Helper()
		exposure, err := v.revoke("asc", 0)
		check(t, err)
		return exposure.UpperBound.Sub(v.clock.Now())
	}
	v.apply(long)
	v.apply(basicPolicy)
	if got := bound(); got != 90*day {
		t.Errorf("just after a change the bound is %v", got)
	}
	v.clock.Advance(100 * day)
	v.apply(strings.Replace(basicPolicy, "10m", "11m", 1))
	if got := bound(); got != 90*day {
		t.Errorf("a hundred days later the bound is %v: a ceiling may be too high, and never too low", got)
	}
	v.clock.Advance(100 * day)
	if got := bound(); got != 15*time.Minute {
		t.Errorf("when the longest is dead the bound is %v", got)
	}
}
