package authority

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
)

func (v *vault) update(name string, f apple.Facts, set ...FactName) (Key, error) {
	v.t.Helper()
	return v.Keys.Update(v.t.Context(), principal(operatorID), UpdateRequest{Request: v.request(), Name: policy.KeyName(name), Set: set, Facts: f, Reason: "as Apple shows it"})
}

func (v *vault) generate(name string, f apple.Facts) (Generated, error) {
	v.t.Helper()
	return v.Keys.Generate(v.t.Context(), principal(operatorID), GenerateRequest{Request: v.request(), Name: policy.KeyName(name), Facts: f})
}

// TestUpdate sets every fact that can be set, clears what can be cleared, and refuses the rest: nothing is changed then.
func TestUpdate(t *testing.T) {
	services := []apple.Service{apple.ServiceAPNs, apple.ServiceDeviceCheck}
	tests := []struct {
		name   string
		key    string
		facts  apple.Facts
		set    []FactName
		values map[string]string // recorded; nil: refused
		kind   error
		reason Reason
	}{
		{name: "services", key: "push", facts: apple.Facts{Services: services}, set: []FactName{FactServices}, values: map[string]string{"services": "apns,device-check"}},
		{name: "environment", key: "push", facts: apple.Facts{Environment: apple.EnvironmentSandbox}, set: []FactName{FactEnvironment}, values: map[string]string{"environment": "sandbox"}},
		{name: "topics", key: "push", facts: apple.Facts{Topics: []apple.BundleID{"com.a.b", "com.a.c"}}, set: []FactName{FactTopics}, values: map[string]string{"topics": "com.a.b,com.a.c"}},
		{name: "clearing", key: "push", set: []FactName{FactTopics, FactEnvironment}, values: map[string]string{"topics": "", "environment": ""}},
		{name: "roles", key: "asc", facts: apple.Facts{Roles: []apple.Role{apple.RoleAdmin, apple.RoleSales}}, set: []FactName{FactRoles}, values: map[string]string{"roles": "ADMIN,SALES"}},
		{name: "what is not named stays", key: "push", facts: apple.Facts{Services: services, Environment: apple.EnvironmentProduction}, set: []FactName{FactEnvironment},
			values: map[string]string{"environment": "production"}},
		{name: "ids that a key lacks", key: "made", facts: apple.Facts{Team: adsID, Client: adsID, KeyID: "a273d0d3-4d9e-458c-a173-0db8619ca7d7"},
			set: []FactName{FactTeam, FactClient, FactKeyID}, values: map[string]string{"team_id": adsID, "client_id": adsID, "key_id": "a273d0d3-4d9e-458c-a173-0db8619ca7d7"}},

		{name: "no service", key: "push", set: []FactName{FactServices}, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "an environment without APNs", key: "push", facts: apple.Facts{Services: services[1:], Environment: apple.EnvironmentSandbox},
			set: []FactName{FactServices, FactEnvironment}, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "roles of a portal key", key: "push", facts: apple.Facts{Roles: []apple.Role{apple.RoleAdmin}}, set: []FactName{FactRoles}, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "services of a team key", key: "asc", facts: apple.Facts{Services: services}, set: []FactName{FactServices}, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "another team", key: "push", facts: apple.Facts{Team: "ZZZ123GHIJ"}, set: []FactName{FactTeam}, kind: ErrExists, reason: ReasonExists},
		{name: "another key id", key: "push", facts: apple.Facts{KeyID: "ZZZ123GHIJ"}, set: []FactName{FactKeyID}, kind: ErrExists, reason: ReasonExists},
		{name: "no team", key: "push", set: []FactName{FactTeam}, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "no key id", key: "push", set: []FactName{FactKeyID}, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "a team of another kind", key: "made", facts: apple.Facts{Team: teamID}, set: []FactName{FactTeam}, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "an app of a key that has none", key: "made", facts: apple.Facts{App: "1234567890"}, set: []FactName{FactApp}, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "a key that is not there", key: "nothing", facts: apple.Facts{Roles: []apple.Role{apple.RoleAdmin}}, set: []FactName{FactRoles}, kind: ErrNotFound, reason: ReasonNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := newVault(t)
			v.importKey("asc")
			v.importKind("push", apple.KindDeveloperPortal)
			_, err := v.update("push", apple.Facts{Topics: []apple.BundleID{"com.a.a"}, Environment: apple.EnvironmentBoth}, FactTopics, FactEnvironment)
			check(t, err)
			_, err = v.generate("made", apple.Facts{Kind: apple.KindAppleAds})
			check(t, err)
			before := v.changer.store.Snapshot().RootID()
			old, known := v.changer.state.Load().viewFor(principal(operatorID), policy.KeyName(tt.key))
			key, err := v.update(tt.key, tt.facts, tt.set...)
			if tt.values == nil {
				wantReason(t, err, tt.kind, tt.reason)
				if after := v.changer.store.Snapshot().RootID(); after != before {
					t.Error("it is refused, and the store has changed")
				}
				return
			}
			check(t, err)
			done := v.last()
			if done.Outcome != auditlog.Done || done.Action != "key.update" || done.Key != tt.key || !maps.Equal(done.Requested.Values, tt.values) || done.Justification != "as Apple shows it" {
				t.Errorf("the last entry is %+v of %+v", done, done.Requested)
			}
			for _, one := range facts {
				want, set := tt.values[string(one.name)]
				if !set {
					want = one.text(old.Facts)
				}
				if got := one.text(key.Facts); !known || got != want {
					t.Errorf("%s is %q, want %q", one.name, got, want)
				}
			}
			// A repeat finds it made.
			again, err := v.update(tt.key, tt.facts, tt.set...)
			check(t, err)
			if e := v.last(); e.Outcome != auditlog.Allowed || e.Reason != errMade.Error() || !again.Equal(key.Key) {
				t.Errorf("a repeat: %+v", e)
			}
			v.reopen()
			v.checkInvariants()
			if after := v.mustKey(tt.key); !after.Equal(key.Key) {
				t.Errorf("after a restart the key is %+v", after)
			}
		})
	}
}

// TestUpdateDenied: who may import may not update.
func TestUpdateDenied(t *testing.T) {
	v := newVault(t)
	v.importKind("push", apple.KindDeveloperPortal)
	v.apply("version: 1\ngrants:\n  - {id: x, to: [{mtls: \"" + strangerID + "\"}], do: [key.import, key.read, key.activate]}\n")
	_, err := v.Keys.Update(t.Context(), principal(strangerID), UpdateRequest{Request: v.request(), Name: "push", Set: []FactName{FactTopics}})
	wantReason(t, err, ErrDenied, ReasonDenied)
	_, err = v.Keys.Update(t.Context(), principal(operatorID), UpdateRequest{Request: v.request(), Name: "push", Set: []FactName{FactTopics}, Reason: toPEM(newP8(t).pkcs8)})
	wantReason(t, err, ErrMalformed, ReasonMalformed)
}

// TestLongTopics: as many topics as Apple takes for a key are recorded by their hash.
func TestLongTopics(t *testing.T) {
	v := newVault(t)
	v.importKind("push", apple.KindDeveloperPortal)
	var texts []string
	for i := range 400 {
		texts = append(texts, fmt.Sprintf("com.%s.t%d", strings.Repeat("a", 140), i))
	}
	f, err := apple.ParseFacts(apple.FactTexts{Topics: texts})
	check(t, err)
	key, err := v.update("push", f, FactTopics)
	check(t, err)
	if len(key.Facts.Topics) != 400 || !strings.HasPrefix(v.last().Requested.Values["topics"], "400 of them, sha256:") {
		t.Errorf("%d topics, recorded as %q", len(key.Facts.Topics), v.last().Requested.Values["topics"])
	}
	v.checkInvariants()
}

// TestUpdateUnfit: what is said of a key is what the next mint is decided on.
func TestUpdateUnfit(t *testing.T) {
	v := newVault(t)
	v.importKind("push", apple.KindDeveloperPortal)
	v.apply(strings.Replace(pushPolicy, "apns: {}", "apns: {environment: production, topics: [com.a.b]}", 1))
	first := v.mustMint("push")
	for name, f := range map[string]apple.Facts{
		"the service": {Services: []apple.Service{apple.ServiceDeviceCheck}},
		"environment": {Services: []apple.Service{apple.ServiceAPNs}, Environment: apple.EnvironmentSandbox},
		"topics":      {Services: []apple.Service{apple.ServiceAPNs}, Topics: []apple.BundleID{"com.a.c"}},
	} {
		_, err := v.update("push", f, FactServices, FactEnvironment, FactTopics)
		check(t, err)
		_, err = v.mint("push")
		wantReason(t, err, ErrPrecondition, ReasonKeyUnfit)
		if !strings.Contains(err.Error(), "signet key update") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := v.update("push", apple.Facts{Services: []apple.Service{apple.ServiceAPNs}, Environment: apple.EnvironmentBoth, Topics: []apple.BundleID{"com.a.b", "com.a.c"}},
		FactServices, FactEnvironment, FactTopics)
	check(t, err)
	if m := v.mustMint("push"); m.Token.Text != first.Token.Text {
		t.Error("the key can again what it could, and another token is given")
	}
	v.checkInvariants()
}

const adsPolicy = `version: 1
profiles:
  ads: {key: ads, apple_ads: {}}
grants:
  - {id: ci, to: [{mtls: "spiffe://signet.test/ci/*"}], mint: [ads], rate: none}
`

// TestGenerate is the life of a key that is made here: it mints when Apple's ids are added, its tokens verify with the public
// half that was given out, and a second version waits for its own id.
func TestGenerate(t *testing.T) {
	v := newVault(t)
	made, err := v.generate("ads", apple.Facts{Kind: apple.KindAppleAds})
	check(t, err)
	if made.Public.Version != 1 || made.Key.Active != 1 || made.Key.Versions[0].KeyID != "" || !strings.Contains(made.Key.Incomplete, "key ID is missing") {
		t.Errorf("Generate = %+v", made)
	}
	if print, err := apple.FingerprintOf(made.Public.Public); err != nil || string(print) != made.Public.Fingerprint || made.Key.Versions[0].Fingerprint != made.Public.Fingerprint {
		t.Errorf("the public half is of %s, %v; the version is %+v", print, err, made.Key.Versions[0])
	}
	e := v.last()
	if e.Action != "key.import" || e.Outcome != auditlog.Done || e.Justification != "made here" || e.Fingerprint != made.Public.Fingerprint || e.Requested.Values["kind"] != "apple-ads" {
		t.Errorf("the last entry is %+v of %+v", e, e.Requested)
	}
	wantReason(t, v.tryApply(adsPolicy), ErrMalformed, ReasonPolicyInvalid)
	key, err := v.update("ads", apple.Facts{KeyID: "a273d0d3-4d9e-458c-a173-0db8619ca7d7", Team: adsID, Client: adsID}, FactKeyID, FactTeam, FactClient)
	check(t, err)
	if key.Incomplete != "" {
		t.Errorf("incomplete: %s", key.Incomplete)
	}
	v.apply(adsPolicy)
	m := v.mustMint("ads")
	if err := apple.Verify(m.Token.Text, made.Public.Public); err != nil {
		t.Error(err)
	}

	second, err := v.generate("ads", apple.Facts{})
	check(t, err)
	if second.Public.Version != 2 || second.Key.Active != 1 || second.Key.Facts.Team != adsID || second.Key.Incomplete != "" || second.Public.Fingerprint == made.Public.Fingerprint {
		t.Errorf("a second version: %+v", second)
	}
	err = v.activate("ads", 2)
	wantReason(t, err, ErrPrecondition, ReasonKeyUnfit)
	if again := v.mustMint("ads"); again.Version != 1 {
		t.Errorf("version %d mints", again.Version)
	}
	_, err = v.update("ads", apple.Facts{KeyID: "b273d0d3-4d9e-458c-a173-0db8619ca7d7"}, FactKeyID)
	check(t, err)
	check(t, v.activate("ads", 2))
	m = v.mustMint("ads")
	if err := apple.Verify(m.Token.Text, second.Public.Public); err != nil || m.KeyID != "b273d0d3-4d9e-458c-a173-0db8619ca7d7" {
		t.Errorf("%s: %v", m.KeyID, err)
	}
	v.reopen()
	v.checkInvariants()
}

// TestGenerateRefuses changes nothing.
func TestGenerateRefuses(t *testing.T) {
	tests := []struct {
		name   string
		key    string
		facts  apple.Facts
		kind   error
		reason Reason
	}{
		{"a kind that Apple makes", "new", apple.Facts{Kind: apple.KindAppStoreConnect}, ErrMalformed, ReasonMalformed},
		{"no kind", "new", apple.Facts{}, ErrMalformed, ReasonMalformed},
		{"a fact of another kind", "new", apple.Facts{Kind: apple.KindMarketplace, Team: adsID}, ErrMalformed, ReasonMalformed},
		{"a version of a key that Apple makes", "asc", apple.Facts{}, ErrMalformed, ReasonMalformed},
		{"another kind than the key has", "asc", apple.Facts{Kind: apple.KindAppleAds}, ErrPrecondition, ReasonSealMismatch},
		{"a fact that the key has not", "ads", apple.Facts{Team: adsID}, ErrPrecondition, ReasonSealMismatch},
	}
	v := newVault(t)
	v.importKey("asc")
	_, err := v.generate("ads", apple.Facts{Kind: apple.KindAppleAds})
	check(t, err)
	_, err = v.Keys.Generate(t.Context(), principal(strangerID), GenerateRequest{Request: v.request(), Name: "x", Facts: apple.Facts{Kind: apple.KindMarketplace}})
	wantReason(t, err, ErrDenied, ReasonDenied)
	before := v.changer.store.Snapshot().RootID()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := v.generate(tt.key, tt.facts)
			wantReason(t, err, tt.kind, tt.reason)
		})
	}
	if after := v.changer.store.Snapshot().RootID(); after != before {
		t.Error("the store has changed")
	}
	v.checkInvariants()
}

// TestImportInherits: a version has its key's facts where it says none, and none that its key has not.
func TestImportInherits(t *testing.T) {
	v := newVault(t)
	v.importKind("push", apple.KindDeveloperPortal)
	_, err := v.update("push", apple.Facts{Services: []apple.Service{apple.ServiceAPNs}, Environment: apple.EnvironmentSandbox}, FactServices, FactEnvironment)
	check(t, err)
	bare := newP8(t)
	bare.facts.Kind, bare.facts.Issuer = "", ""
	done, err := v.tryImport("push", v.seal(bare))
	check(t, err)
	if f := done.Key.Facts; done.Version != 2 || f.Team != teamID || join(f.Services) != "apns" || f.Environment != apple.EnvironmentSandbox {
		t.Errorf("Import = %+v", done)
	}
	if values := v.last().Requested.Values; values["services"] != "apns" || values["team_id"] != teamID || values["environment"] != "sandbox" {
		t.Errorf("recorded are %v", values)
	}
	more := newP8(t)
	more.facts.Kind, more.facts.Issuer, more.facts.Topics = "", "", "com.a.b"
	_, err = v.tryImport("push", v.seal(more))
	wantReason(t, err, ErrPrecondition, ReasonSealMismatch)
	if !strings.Contains(err.Error(), "topics") {
		t.Errorf("the caller hears %q", err)
	}
	v.checkInvariants()
}

// TestPublic answers the public half of any version, to those who may read the key, and leaves no signer behind.
func TestPublic(t *testing.T) {
	v := newVault(t)
	for range 3 {
		v.importKey("asc")
	}
	v.importKey("other")
	open := v.changer.store.OpenKeys()
	public := func(version int) (PublicKey, error) {
		req := v.keyRequest("asc", "")
		req.Version = version
		return v.Keys.Public(t.Context(), principal(operatorID), req)
	}
	want := func(version, is int) {
		t.Helper()
		got, err := public(version)
		check(t, err)
		print, err := apple.FingerprintOf(got.Public)
		check(t, err)
		if got.Version != is || got.Fingerprint != v.mustKey("asc").Versions[is-1].Fingerprint || string(print) != got.Fingerprint {
			t.Errorf("Public(%d) = %+v", version, got)
		}
	}
	want(0, 3)
	want(1, 1)
	if e := v.last(); e.Action != "key.read" || e.Outcome != auditlog.Allowed {
		t.Errorf("the last entry is %+v", e)
	}
	_, err := v.revoke("asc", 3)
	check(t, err)
	want(0, 2)
	want(3, 3)
	_, err = public(4)
	wantReason(t, err, ErrNotFound, ReasonNotFound)
	_, err = v.revoke("asc", 0)
	check(t, err)
	_, err = public(0)
	wantReason(t, err, ErrNotFound, ReasonNotFound)
	_, err = v.Keys.Public(t.Context(), principal(operatorID), v.keyRequest("nothing", ""))
	wantReason(t, err, ErrNotFound, ReasonNotFound)
	_, err = v.Keys.Public(t.Context(), principal(strangerID), v.keyRequest("asc", ""))
	wantReason(t, err, ErrDenied, ReasonDenied)
	if now := v.changer.store.OpenKeys(); now != open {
		t.Errorf("%d keys are open, before it were %d", now, open)
	}
	v.checkInvariants()
}

// TestKeyIDOfWhichVersion: with several versions that have no key ID, the one is not guessed, and no two have the same.
func TestKeyIDOfWhichVersion(t *testing.T) {
	v := newVault(t)
	for range 2 {
		_, err := v.generate("ads", apple.Facts{Kind: apple.KindAppleAds})
		check(t, err)
	}
	id := apple.Facts{KeyID: "a273d0d3-4d9e-458c-a173-0db8619ca7d7"}
	_, err := v.update("ads", id, FactKeyID)
	wantReason(t, err, ErrMalformed, ReasonMalformed)
	ask := UpdateRequest{Request: v.request(), Name: "ads", Set: []FactName{FactKeyID}, Facts: id, Version: 1}
	if key, err := v.Keys.Update(t.Context(), principal(operatorID), ask); err != nil || key.Versions[0].KeyID != string(id.KeyID) || key.Versions[1].KeyID != "" {
		t.Fatalf("Update = %+v, %v", key.Versions, err)
	}
	_, err = v.update("ads", id, FactKeyID) // of the second now, which is the only one that has none
	wantReason(t, err, ErrExists, ReasonExists)
	key, err := v.update("ads", apple.Facts{KeyID: "b273d0d3-4d9e-458c-a173-0db8619ca7d7"}, FactKeyID)
	check(t, err)
	if key.Versions[1].KeyID != "b273d0d3-4d9e-458c-a173-0db8619ca7d7" {
		t.Errorf("versions %+v", key.Versions)
	}
}
