package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/server/apple"
)

const (
	operator  = "spiffe://acme.internal/operator"
	hashOfOne = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	hashOfTwo = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

// design is the document of the design's chapter on who may, without what later
// versions bring.
const design = `version: 1
profiles:
  ios-release:     {key: asc-release, app_store_connect: {}, ttl: 10m}
  ios-builds-read:
    key: asc-release
    app_store_connect: {scope: [GET /v1/apps/1234567890, GET /v1/apps/1234567890/builds]}
    ttl: 15m
  devices:         {key: team-a/ent, enterprise: {}}
grants:                                        # a grant may have mint, do, or both
  - id: ios-ci
    to:
      - mtls: spiffe://acme.internal/ci/ios/*
    mint: [ios-release, ios-builds-read]
    rate: 60/h
  - id: ios-all
    to: [{mtls: spiffe://acme.internal/ci/**}]
    mint: [ios-release, devices]
    rate: none
  - id: security
    to: [{mtls: spiffe://acme.internal/people/security/*}]
    do: [audit.read, key.read, policy.read]
  - id: ops
    to: [{mtls: spiffe://acme.internal/people/ops/*}]
    do: [key.*, system.*]
    on: [asc-*, team-a/**]                     # keys that key.* is limited to
  - id: by-certificate
    to: [{certificate: "` + hashOfTwo + `"}]
    mint: [devices]
  - id: quarantine
    deny: true                                 # denies everything, and wins
    to: [{mtls: spiffe://acme.internal/ci/ios/runner-7}, {certificate: "` + hashOfOne + `"}]
  - id: no-operator
    deny: true
    to: [{mtls: spiffe://acme.internal/operator}]
tests:
  - {as: {mtls: spiffe://acme.internal/ci/ios/runner-1}, mint: ios-release, expect: allow}
  - {as: {mtls: spiffe://acme.internal/android/1},       mint: ios-release, expect: deny}
`

// keys is Facts in a map.
type keys map[KeyName]KeyFacts

func (k keys) Key(name KeyName) (KeyFacts, bool) {
	f, ok := k[name]
	return f, ok
}

var (
	teamKey = KeyFacts{
		Facts:       apple.Facts{Kind: apple.KindAppStoreConnect, KeyID: "2X9R4HXF34", Issuer: "57246542-96fe-1a63-e053-0824d011072a"},
		State:       KeyStateUsable,
		Version:     3,
		Fingerprint: "sha256:00",
	}
	enterpriseKey = KeyFacts{
		Facts:   apple.Facts{Kind: apple.KindEnterprise, KeyID: "3X9R4HXF34", Issuer: "67246542-96fe-1a63-e053-0824d011072a"},
		State:   KeyStateUsable,
		Version: 1,
	}
	allKeys = keys{"asc-release": teamKey, "team-a/ent": enterpriseKey}
)

func (k KeyFacts) in(s KeyState) KeyFacts {
	k.State = s
	return k
}

func mustCompile(t testing.TB, doc string, operators ...string) *Policy {
	t.Helper()
	p, err := Compile([]byte(doc), operators, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func by(id string) Principal { return Principal{Kind: PrincipalMTLS, ID: id} }

// outcome is a Decision in a form that tests can write down.
type outcome struct {
	Allowed bool
	Code    Code
	Grant   string
	Reason  string
	Tell    bool
	Key     KeyName
	Version int
	Rate    Rate
	TTL     time.Duration
	Scope   []apple.Scope
}

func outcomeOf(d Decision) outcome {
	return outcome{
		Allowed: d.Allowed(), Code: d.Code(), Grant: d.Grant(), Reason: d.Reason(), Tell: d.Tell(), Key: d.Key(),
		Version: d.Version(), Rate: d.Rate(), TTL: d.Spec().TTL(), Scope: d.Spec().Scope(),
	}
}

func TestDecideMint(t *testing.T) {
	p, err := Compile([]byte(design), []string{operator}, allKeys)
	if err != nil {
		t.Fatal(err)
	}
	const (
		apps   = apple.Scope("GET /v1/apps/1234567890")
		builds = apple.Scope("GET /v1/apps/1234567890/builds")
	)
	ci := by("spiffe://acme.internal/ci/ios/runner-1")
	hourly := Rate{Events: 60, Per: time.Hour}
	many := make([]apple.Scope, apple.MaxScopeEntries+1)
	for i := range many {
		many[i] = apps
	}
	_, tooMany := apple.Terms{Params: apple.AppStoreConnect{}}.Spec(teamKey.Facts, apple.Ask{TTL: time.Minute, Scope: many})
	_, negative := apple.ParseTTL(-time.Second)
	stranger := outcome{Code: Denied, Reason: "no grant of the caller's allows the profile"}
	tests := []struct {
		name    string
		request Request
		facts   Facts
		want    outcome
	}{
		{"the whole profile", Request{Principal: ci, Profile: "ios-release"}, allKeys,
			outcome{Allowed: true, Code: OK, Grant: "ios-ci", Key: "asc-release", Version: 3, Rate: hourly, TTL: 10 * time.Minute}},
		{"scoped", Request{Principal: ci, Profile: "ios-builds-read"}, allKeys,
			outcome{Allowed: true, Code: OK, Grant: "ios-ci", Key: "asc-release", Version: 3, Rate: hourly, TTL: 15 * time.Minute, Scope: []apple.Scope{apps, builds}}},
		{"shorter", Request{Principal: ci, Profile: "ios-release", TTL: time.Minute}, allKeys,
			outcome{Allowed: true, Code: OK, Grant: "ios-ci", Key: "asc-release", Version: 3, Rate: hourly, TTL: time.Minute}},
		{"as long as the profile allows", Request{Principal: ci, Profile: "ios-release", TTL: 10 * time.Minute}, allKeys,
			outcome{Allowed: true, Code: OK, Grant: "ios-ci", Key: "asc-release", Version: 3, Rate: hourly, TTL: 10 * time.Minute}},
		{"narrower", Request{Principal: ci, Profile: "ios-builds-read", Scope: []apple.Scope{builds}}, allKeys,
			outcome{Allowed: true, Code: OK, Grant: "ios-ci", Key: "asc-release", Version: 3, Rate: hourly, TTL: 15 * time.Minute, Scope: []apple.Scope{builds}}},
		{"an empty scope is no scope", Request{Principal: ci, Profile: "ios-builds-read", Scope: []apple.Scope{}}, allKeys,
			outcome{Allowed: true, Code: OK, Grant: "ios-ci", Key: "asc-release", Version: 3, Rate: hourly, TTL: 15 * time.Minute, Scope: []apple.Scope{apps, builds}}},
		{"narrower than unscoped", Request{Principal: ci, Profile: "ios-release", Scope: []apple.Scope{builds}}, allKeys,
			outcome{Allowed: true, Code: OK, Grant: "ios-ci", Key: "asc-release", Version: 3, Rate: hourly, TTL: 10 * time.Minute, Scope: []apple.Scope{builds}}},
		{"by the wider grant", Request{Principal: by("spiffe://acme.internal/ci/android"), Profile: "ios-release"}, allKeys,
			outcome{Allowed: true, Code: OK, Grant: "ios-all", Key: "asc-release", Version: 3, Rate: Rate{Unlimited: true}, TTL: 10 * time.Minute}},
		{"the family's default ttl", Request{Principal: ci, Profile: "devices"}, allKeys,
			outcome{Allowed: true, Code: OK, Grant: "ios-all", Key: "team-a/ent", Version: 1, Rate: Rate{Unlimited: true}, TTL: 10 * time.Minute}},
		{"by certificate, the default rate", Request{Principal: Principal{Kind: PrincipalMTLS, ID: "spiffe://other/x", Certificate: hashOfTwo}, Profile: "devices"}, allKeys,
			outcome{Allowed: true, Code: OK, Grant: "by-certificate", Key: "team-a/ent", Version: 1, Rate: Rate{Events: 600, Per: time.Hour}, TTL: 10 * time.Minute}},
		{"without facts there is nothing to sign", Request{Principal: ci, Profile: "ios-release"}, nil,
			outcome{Allowed: true, Code: OK, Grant: "ios-ci", Key: "asc-release", Rate: hourly}},

		{"longer", Request{Principal: ci, Profile: "ios-release", TTL: 10*time.Minute + time.Second}, allKeys,
			outcome{Code: TTLTooLong, Grant: "ios-ci", Tell: true, Key: "asc-release", Rate: hourly, Reason: "the lifetime asked for is above the profile's ttl"}},
		{"malformed lifetime", Request{Principal: ci, Profile: "ios-release", TTL: -time.Second}, allKeys,
			outcome{Code: Denied, Grant: "ios-ci", Key: "asc-release", Rate: hourly, Reason: negative.Error()}},
		{"wider", Request{Principal: ci, Profile: "ios-builds-read", Scope: []apple.Scope{apps, "GET /v1/users"}}, allKeys,
			outcome{Code: ScopeNotGranted, Grant: "ios-ci", Tell: true, Key: "asc-release", Rate: hourly, Reason: "a request in the scope asked for is not in the profile's scope"}},
		{"too many entries", Request{Principal: ci, Profile: "ios-release", Scope: many}, allKeys,
			outcome{Code: ScopeNotGranted, Grant: "ios-ci", Tell: true, Key: "asc-release", Rate: hourly, Reason: tooMany.Error()}},
		{"disabled", Request{Principal: ci, Profile: "ios-release"}, keys{"asc-release": teamKey.in(KeyStateDisabled)},
			outcome{Code: KeyDisabled, Grant: "ios-ci", Tell: true, Key: "asc-release", Rate: hourly, Reason: "the key is disabled"}},
		{"revoked", Request{Principal: ci, Profile: "ios-release"}, keys{"asc-release": teamKey.in(KeyStateRevoked)},
			outcome{Code: KeyRevoked, Grant: "ios-ci", Tell: true, Key: "asc-release", Rate: hourly, Reason: "the key is revoked"}},
		{"no active version", Request{Principal: ci, Profile: "ios-release"}, keys{"asc-release": teamKey.in(KeyStateNoActive)},
			outcome{Code: NoActiveVersion, Grant: "ios-ci", Tell: true, Key: "asc-release", Rate: hourly, Reason: "the key has no active version"}},
		{"no such key", Request{Principal: ci, Profile: "ios-release"}, keys{},
			outcome{Code: NoActiveVersion, Grant: "ios-ci", Tell: true, Key: "asc-release", Rate: hourly, Reason: "the profile's key is not in the vault"}},
		{"damaged", Request{Principal: ci, Profile: "ios-release"}, keys{"asc-release": teamKey.in(KeyStateDamaged)},
			outcome{Code: KeyDamaged, Grant: "ios-ci", Tell: true, Key: "asc-release", Rate: hourly, Reason: "the key's record does not open"}},
		{"a state nobody knows", Request{Principal: ci, Profile: "ios-release"}, keys{"asc-release": teamKey.in("")},
			outcome{Code: KeyDamaged, Grant: "ios-ci", Tell: true, Key: "asc-release", Rate: hourly, Reason: "the key's record does not open"}},
		{"usable without a version", Request{Principal: ci, Profile: "ios-release"}, keys{"asc-release": {Facts: teamKey.Facts, State: KeyStateUsable}},
			outcome{Code: KeyDamaged, Grant: "ios-ci", Tell: true, Key: "asc-release", Rate: hourly, Reason: "the key's record does not open"}},

		{"unknown profile", Request{Principal: ci, Profile: "nothing"}, allKeys, outcome{Code: UnknownProfile, Reason: "the policy has no such profile"}},
		{"forbidden profile", Request{Principal: by("spiffe://acme.internal/people/ops/bob"), Profile: "ios-release"}, allKeys, stranger},
		{"a key that is named is not looked at", Request{Principal: by("spiffe://acme.internal/people/ops/bob"), Profile: "ios-release", Key: "asc-release"}, allKeys, stranger},
		{"an operator of itself", Request{Principal: by(operator), Profile: "ios-release"}, allKeys,
			outcome{Code: Denied, Grant: "no-operator", Reason: "the grant denies the caller everything"}},
		{"the thing itself is not below itself", Request{Principal: by("spiffe://acme.internal/ci"), Profile: "ios-release"}, allKeys, stranger},
		{"a star is one part", Request{Principal: by("spiffe://acme.internal/ci/ios/a/b"), Profile: "ios-builds-read"}, allKeys, stranger},
		{"another trust domain", Request{Principal: by("spiffe://acme.external/ci/ios/runner-1"), Profile: "ios-release"}, allKeys, stranger},
		{"letter case", Request{Principal: by("spiffe://acme.internal/CI/ios/runner-1"), Profile: "ios-release"}, allKeys, stranger},
		{"denied by id", Request{Principal: by("spiffe://acme.internal/ci/ios/runner-7"), Profile: "ios-release"}, allKeys,
			outcome{Code: Denied, Grant: "quarantine", Reason: "the grant denies the caller everything"}},
		{"denied by certificate", Request{Principal: Principal{Kind: PrincipalMTLS, ID: ci.ID, Certificate: hashOfOne}, Profile: "ios-release"}, allKeys,
			outcome{Code: Denied, Grant: "quarantine", Reason: "the grant denies the caller everything"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.request.Action = TokenMint
			d := p.Decide(tt.request, tt.facts)
			if diff := cmp.Diff(tt.want, outcomeOf(d)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestDecideUnfitKey has a key whose kind changed under a policy that was applied.
func TestDecideUnfitKey(t *testing.T) {
	p := mustCompile(t, design)
	d := p.Decide(Request{Principal: by("spiffe://acme.internal/ci/ios/1"), Action: TokenMint, Profile: "ios-release"}, keys{"asc-release": enterpriseKey})
	if d.Allowed() || d.Code() != KeyUnfit || !d.Tell() || !strings.Contains(d.Reason(), "needs a key of kind app-store-connect") {
		t.Errorf("got %+v", outcomeOf(d))
	}
}

func TestDecideAction(t *testing.T) {
	// The operator is denied by id in the document, two is an operator that is not.
	const two = "spiffe://acme.internal/operators/two"
	p := mustCompile(t, design, operator, two)
	const (
		security = "spiffe://acme.internal/people/security/ada"
		ops      = "spiffe://acme.internal/people/ops/bob"
	)
	tests := []struct {
		name      string
		id        string
		action    Action
		key       KeyName
		wantGrant string // of what allows
		deniedBy  string
		reason    string // of what is denied
	}{
		{name: "allowed", id: security, action: AuditRead, wantGrant: "security"},
		{name: "allowed on every key", id: security, action: KeyRead, key: "other", wantGrant: "security"},
		{name: "allowed on one key", id: ops, action: KeyRevoke, key: "asc-1", wantGrant: "ops"},
		{name: "allowed on a key below", id: ops, action: KeyRevoke, key: "team-a/x/y", wantGrant: "ops"},
		{name: "lists", id: ops, action: KeyRead, wantGrant: "ops"},
		{name: "recipients", id: ops, action: KeyImport, wantGrant: "ops"},
		{name: "on does not limit other actions", id: ops, action: SystemSeal, key: "other", wantGrant: "ops"},
		{name: "an operator by standing", id: two, action: KeyRevoke, key: "x", wantGrant: OperatorGrant},
		{name: "an operator, protected", id: operator, action: PolicyApply, wantGrant: OperatorGrant},
		{name: "an operator, protected on a key", id: operator, action: KeyDisable, key: "x", wantGrant: OperatorGrant},
		{name: "an operator, protected on the system", id: operator, action: SystemAcknowledge, wantGrant: OperatorGrant},

		{name: "another action", id: security, action: PolicyApply, reason: "no grant of the caller's allows the action"},
		{name: "another key", id: ops, action: KeyRevoke, key: "other", reason: "no grant of the caller's allows the action on this key"},
		{name: "not below itself", id: ops, action: KeyRevoke, key: "team-a", reason: "no grant of the caller's allows the action on this key"},
		{name: "no key", id: ops, action: KeyDisable, reason: "no key was named"},
		{name: "no action", id: two, action: "", reason: "there is no such action"},
		{name: "an unknown action", id: two, action: "key.steal", key: "x", reason: "there is no such action"},
		{name: "an operator, denied the rest", id: operator, action: AuditRead, deniedBy: "no-operator", reason: "the grant denies the caller everything"},
		{name: "nobody", id: "", action: AuditRead, reason: "the caller has no identity that a policy can name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := p.Decide(Request{Principal: by(tt.id), Action: tt.action, Key: tt.key}, allKeys)
			want := outcome{Code: Denied, Grant: tt.deniedBy, Reason: tt.reason, Key: tt.key}
			if tt.wantGrant != "" {
				want = outcome{Allowed: true, Code: OK, Grant: tt.wantGrant, Key: tt.key, Rate: Rate{Unlimited: true}}
			}
			if diff := cmp.Diff(want, outcomeOf(d)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestOperatorsCertificate takes everything from an operator by its certificate,
// and nothing that matters by its id.
func TestOperatorsCertificate(t *testing.T) {
	p := mustCompile(t, design, operator)
	who := by(operator)
	who.Certificate = hashOfOne
	for _, a := range Actions() {
		if d := p.Decide(Request{Principal: who, Action: a, Key: "k", Profile: "ios-release"}, allKeys); d.Allowed() || d.Grant() != "quarantine" {
			t.Errorf("%s: allowed %v by %q to a denied certificate", a, d.Allowed(), d.Grant())
		}
		protected := a == PolicyApply || a == KeyDisable || a == KeyRevoke || strings.HasPrefix(string(a), "system.")
		if d := p.Decide(Request{Principal: by(operator), Action: a, Key: "k", Profile: "ios-release"}, allKeys); d.Allowed() != protected {
			t.Errorf("%s: allowed %v to an operator whose id is denied", a, d.Allowed())
		}
	}
}

// TestGrantGivesOperatorMint holds that a grant may give an operator what being
// one does not.
func TestGrantGivesOperatorMint(t *testing.T) {
	p := mustCompile(t, "version: 1\nprofiles: {p: {key: k, enterprise: {}}, q: {key: k, enterprise: {}}}\n"+
		"grants: [{id: g, to: [{mtls: "+operator+"}], mint: [p]}]\n", operator)
	for profile, want := range map[ProfileName]bool{"p": true, "q": false} {
		if d := p.Decide(Request{Principal: by(operator), Action: TokenMint, Profile: profile}, nil); d.Allowed() != want {
			t.Errorf("%s: allowed %v, want %v", profile, d.Allowed(), want)
		}
	}
}

func TestNothingIsAllowedByNothing(t *testing.T) {
	var zero Decision
	if got := outcomeOf(zero); got.Allowed || got.Code != Denied || got.Tell {
		t.Errorf("the zero Decision: %+v", got)
	}
	requests := []Request{{}}
	for _, a := range Actions() {
		requests = append(requests,
			Request{Action: a, Key: "k", Profile: "ios-release"},
			Request{Principal: Principal{ID: operator}, Action: a, Key: "k", Profile: "ios-release"},
			Request{Principal: by("not an id"), Action: a, Key: "k", Profile: "ios-release"},
			Request{Principal: Principal{Kind: "other", ID: operator}, Action: a, Key: "k", Profile: "ios-release"},
			Request{Principal: by("spiffe://acme.internal/x"), Action: a, Key: "k", Profile: "ios-release"},
		)
	}
	full := mustCompile(t, design, operator)
	for name, p := range map[string]*Policy{"nil": nil, "zero": new(Policy), "empty": Empty([]string{operator}), "full": full} {
		for _, r := range requests {
			if d := p.Decide(r, allKeys); d.Allowed() {
				t.Errorf("%s policy: %+v is allowed by %q", name, r, d.Grant())
			}
			if p.Readable(r.Principal).Contains("k") {
				t.Errorf("%s policy: %+v may read", name, r.Principal)
			}
		}
	}
	for name, p := range map[string]*Policy{"nil": nil, "zero": new(Policy)} {
		if d := p.Decide(Request{Principal: by(operator), Action: SystemRead}, nil); d.Allowed() {
			t.Errorf("%s policy: allowed by %q", name, d.Grant())
		}
		if _, ok := p.Profile("p"); ok || p.Digest() != "" || p.MaxTTL("k") != 0 || len(p.Lint()) != 0 || len(p.Expansions()) != 0 || len(p.RunTests()) != 0 || len(p.Mintable(by(operator))) != 0 {
			t.Errorf("the %s policy says something", name)
		}
	}
	if d := Empty([]string{operator}).Decide(Request{Principal: by(operator), Action: SystemRead}, nil); !d.Allowed() || d.Grant() != OperatorGrant {
		t.Errorf("an operator without a policy: %+v", outcomeOf(d))
	}
}

func TestReadable(t *testing.T) {
	p := mustCompile(t, design, operator, "spiffe://acme.internal/op2")
	tests := []struct {
		name string
		who  Principal
		want []KeyName
	}{
		{"an operator", by("spiffe://acme.internal/op2"), []KeyName{"asc-1", "team-a/x", "other"}},
		{"an operator who is denied", by(operator), nil},
		{"every key", by("spiffe://acme.internal/people/security/ada"), []KeyName{"asc-1", "team-a/x", "other"}},
		{"some keys", by("spiffe://acme.internal/people/ops/bob"), []KeyName{"asc-1", "team-a/x"}},
		{"a caller that only mints", by("spiffe://acme.internal/ci/ios/1"), nil},
		{"nobody", Principal{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := p.Readable(tt.who)
			var got []KeyName
			for _, k := range []KeyName{"asc-1", "team-a/x", "other"} {
				if set.Contains(k) {
					got = append(got, k)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestMaxTTLAndDigest(t *testing.T) {
	p := mustCompile(t, design)
	for key, want := range map[KeyName]time.Duration{"asc-release": 15 * time.Minute, "team-a/ent": 10 * time.Minute, "other": 0} {
		if got := p.MaxTTL(key); got != want {
			t.Errorf("MaxTTL(%s) = %v, want %v", key, got, want)
		}
	}
	if got, want := mustCompile(t, "version: 1\n").Digest(), "sha256:09bfcc6a14b83e2192b8673677725c84883ee9cd0c70e45c9ec09daa8f2b2847"; got != want {
		t.Errorf("Digest() = %s, want %s", got, want)
	}
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("testdata/policies/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	portal := func(s apple.Service) KeyFacts {
		return portalKey.with(func(f *apple.Facts) { f.Services = []apple.Service{s} })
	}
	facts := keys{
		"asc-release": teamKey, "team-a/asc": teamKey, "team-b/enterprise": enterpriseKey,
		"asc": teamKey, "enterprise": enterpriseKey, "iap": purchaseKey, "ads": adsKey, "business": schoolKey, "marketplace": marketKey,
		"portal/push": portal(apple.ServiceAPNs), "portal/check": portal(apple.ServiceDeviceCheck), "portal/sign-in": portal(apple.ServiceSignIn),
		"portal/media": portal(apple.ServiceMedia), "portal/maps": portal(apple.ServiceMapKit), "portal/weather": portal(apple.ServiceWeatherKit),
		"portal/class": portal(apple.ServiceClassKit), "portal/iwork": portal(apple.ServiceIWorkExports),
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			doc, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p, err := Compile(doc, nil, facts)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range p.RunTests() {
				if !r.Passed {
					t.Errorf("%d: %s", r.Line, r.Message)
				}
			}
			for _, w := range p.Lint() {
				t.Logf("warning: %v", w)
			}
		})
	}
}

// TestReuse holds that the family says which rule there is when a profile says none, and that nothing but an allowed
// mint has one.
func TestReuse(t *testing.T) {
	p := mustCompile(t, "version: 1\nprofiles:\n  silent: {key: k, app_store_connect: {}}\n  ent: {key: k, enterprise: {}}\n"+
		"  never: {key: k, enterprise: {}, reuse: never}\n  said: {key: k, app_store_connect: {}, reuse: per-principal}\n"+
		"  foreign: {key: k, enterprise: {}}\n"+
		"grants: [{id: g, to: [{mtls: spiffe://a/b}], mint: [silent, ent, never, said], do: [key.read]}]\n")
	for profile, want := range map[ProfileName]apple.Reuse{
		"silent": apple.ReusePerPrincipal, "ent": apple.ReusePerPrincipal, "said": apple.ReusePerPrincipal,
		"never": apple.ReuseNever, "foreign": apple.ReuseNever, "unknown": apple.ReuseNever,
	} {
		if got := p.Decide(Request{Principal: by("spiffe://a/b"), Action: TokenMint, Profile: profile}, nil).Reuse(); got != want {
			t.Errorf("%s: %v, want %v", profile, got, want)
		}
	}
	for name, d := range map[string]Decision{
		"the zero decision": {},
		"another action":    p.Decide(Request{Principal: by("spiffe://a/b"), Action: KeyRead, Key: "k"}, nil),
		"a key that is off": p.Decide(Request{Principal: by("spiffe://a/b"), Action: TokenMint, Profile: "silent"}, keys{"k": teamKey.in(KeyStateDisabled)}),
	} {
		if d.Reuse() != apple.ReuseNever {
			t.Errorf("%s: %v", name, d.Reuse())
		}
	}
}

func TestMintable(t *testing.T) {
	p := mustCompile(t, design, operator)
	for _, tt := range []struct {
		name string
		who  Principal
		want []ProfileName
	}{
		{"by two grants", by("spiffe://acme.internal/ci/ios/1"), []ProfileName{"devices", "ios-builds-read", "ios-release"}},
		{"by the wider one", by("spiffe://acme.internal/ci/android"), []ProfileName{"devices", "ios-release"}},
		{"by certificate", Principal{Kind: PrincipalMTLS, ID: "spiffe://other/x", Certificate: hashOfTwo}, []ProfileName{"devices"}},
		{"denied", by("spiffe://acme.internal/ci/ios/runner-7"), nil},
		{"denied by certificate", Principal{Kind: PrincipalMTLS, ID: "spiffe://acme.internal/ci/ios/1", Certificate: hashOfOne}, nil},
		{"who only administers", by("spiffe://acme.internal/people/ops/bob"), nil},
		{"an operator", by(operator), nil},
		{"nobody", Principal{}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, p.Mintable(tt.who)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if _, ok := p.Profile("nothing"); ok {
		t.Error("there is a profile that there is not")
	}
}

// TestReadsAndLongLived: a bundle is minted as its requests, and a token that lives long can be asked for shorter.
func TestReadsAndLongLived(t *testing.T) {
	const doc = `version: 1
profiles:
  reads:
    key: asc-release
    app_store_connect: {app: "42", read: [builds, beta], scope: [GET /v1/users]}
  long: {key: asc-release, app_store_connect: {scope: [GET /v1/ciProducts, GET /v1/ciBuildRuns/7]}, long_lived: true, ttl: 180d, reuse: never}
grants:
- {id: g, to: [{mtls: spiffe://a/b}], mint: [reads, long]}
`
	p, err := Compile([]byte(doc), nil, allKeys)
	if err != nil {
		t.Fatal(err)
	}
	reads, _ := p.Profile("reads")
	d := p.Decide(Request{Principal: by("spiffe://a/b"), Action: TokenMint, Profile: "reads"}, allKeys)
	if diff := cmp.Diff(reads.Scope, d.Spec().Scope()); diff != "" || len(reads.Scope) != 13 || d.Spec().TTL() != 10*time.Minute {
		t.Errorf("%d requests for %s (-listed +minted)\n%s", len(reads.Scope), d.Spec().TTL(), diff)
	}
	long, _ := p.Profile("long")
	want := Profile{Name: "long", Family: apple.FamilyAppStoreConnect, TTL: 180 * day, Scope: []apple.Scope{"GET /v1/ciBuildRuns/7", "GET /v1/ciProducts"}, LongLived: true, Reuse: apple.ReuseNever}
	if diff := cmp.Diff(want, long); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if p.MaxTTL("asc-release") != 180*day {
		t.Errorf("MaxTTL = %s", p.MaxTTL("asc-release"))
	}
	for _, ttl := range []time.Duration{0, time.Minute, 90 * day, 180 * day} {
		d := p.Decide(Request{Principal: by("spiffe://a/b"), Action: TokenMint, Profile: "long", TTL: ttl, Scope: long.Scope[:1]}, allKeys)
		want := ttl
		if ttl == 0 {
			want = 180 * day
		}
		if d.Spec().TTL() != want || len(d.Spec().Scope()) != 1 {
			t.Errorf("asked for %s: %s of %v (%s)", ttl, d.Spec().TTL(), d.Spec().Scope(), d.Reason())
		}
	}
	if d := p.Decide(Request{Principal: by("spiffe://a/b"), Action: TokenMint, Profile: "long", TTL: 180*day + time.Second}, allKeys); d.Code() != TTLTooLong {
		t.Errorf("above the ceiling: %s", d.Code())
	}
}

// TestLongestTTL holds that no family lets a profile say more than what apple calls the longest: how long the exposure
// of a key is looked back rests on it.
func TestLongestTTL(t *testing.T) {
	if len(families) != len(apple.Families()) {
		t.Errorf("%d families can be profiles, of %d", len(families), len(apple.Families()))
	}
	for _, f := range families {
		for _, longLived := range []bool{false, true} {
			limits := f.of.Limits(longLived)
			got := max(limits.Max, limits.Life)
			if got > apple.LongestTTL() || got > f.of.LongestTTL() || !longLived && got > f.of.OrdinaryTTL() || !longLived && got == 0 {
				t.Errorf("%s, long-lived %v: %s", f.of, longLived, got)
			}
		}
	}
}
