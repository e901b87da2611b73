package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/p8signet/signet/server/apple"
)

// The second evaluator: a policy as its author thinks of it, read from top to
// bottom with regular expressions. It shares nothing with the first but the
// document.

type plainProfile struct {
	name, key, family string
	scope             []string
	reads             []string // bundles, for app 1
	longLived         bool
	reuse             string // empty when the document has none
	ttl               int    // seconds; 0 when the document has none
}

// granted is the whole scope of a profile; nil for none.
func (pr plainProfile) granted() []string {
	all := slices.Clone(pr.scope)
	for _, name := range pr.reads {
		requests, _ := apple.ReadScope(name, "1")
		for _, r := range requests {
			all = append(all, string(r))
		}
	}
	return all
}

type plainGrant struct {
	id    string
	deny  bool
	to    [][2]string // {"mtls", pattern} or {"certificate", hash}
	mint  []string
	do    []string
	on    []string // nil for none
	rate  string
	hasOn bool
}

type plainPolicy struct {
	operators []string
	profiles  []plainProfile
	grants    []plainGrant
}

// yaml writes the policy as a document.
func (p plainPolicy) yaml() string {
	quoted := func(list []string) string {
		for i, s := range list {
			list[i] = fmt.Sprintf("%q", s)
		}
		return "[" + strings.Join(list, ", ") + "]"
	}
	var b strings.Builder
	b.WriteString("version: 1\nprofiles:\n")
	for _, pr := range p.profiles {
		fmt.Fprintf(&b, "  %s: {key: %s, %s: {", pr.name, pr.key, pr.family)
		if pr.scope != nil {
			fmt.Fprintf(&b, "scope: %s, ", quoted(slices.Clone(pr.scope)))
		}
		if pr.reads != nil {
			fmt.Fprintf(&b, "app: '1', read: %s", quoted(slices.Clone(pr.reads)))
		}
		b.WriteString("}")
		if pr.longLived {
			b.WriteString(", long_lived: true")
		}
		if pr.reuse != "" {
			b.WriteString(", reuse: " + pr.reuse)
		}
		if pr.ttl > 0 {
			fmt.Fprintf(&b, ", ttl: %ds", pr.ttl)
		}
		b.WriteString("}\n")
	}
	b.WriteString("grants:\n")
	if len(p.grants) == 0 {
		b.WriteString("  []\n")
	}
	for _, g := range p.grants {
		fmt.Fprintf(&b, "- id: %s\n  to:", g.id)
		if len(g.to) == 0 {
			b.WriteString(" []")
		}
		b.WriteString("\n")
		for _, s := range g.to {
			fmt.Fprintf(&b, "  - {%s: %q}\n", s[0], s[1])
		}
		if g.deny {
			b.WriteString("  deny: true\n")
			continue
		}
		if len(g.mint) > 0 {
			fmt.Fprintf(&b, "  mint: %s\n", quoted(slices.Clone(g.mint)))
		}
		if len(g.do) > 0 {
			fmt.Fprintf(&b, "  do: %s\n", quoted(slices.Clone(g.do)))
		}
		if g.hasOn {
			fmt.Fprintf(&b, "  on: %s\n", quoted(slices.Clone(g.on)))
		}
		if g.rate != "" {
			fmt.Fprintf(&b, "  rate: %s\n", g.rate)
		}
	}
	return b.String()
}

// regexpOf is a pattern as a regular expression.
func regexpOf(pattern string) *regexp.Regexp {
	s := regexp.QuoteMeta(pattern)
	s = strings.ReplaceAll(s, `\*\*`, `.+`)
	s = strings.ReplaceAll(s, `\*`, `[^/]*`)
	return regexp.MustCompile(`^(?:` + s + `)$`)
}

func (g plainGrant) names(who Principal) (byID, byCertificate bool) {
	for _, s := range g.to {
		if s[0] == "mtls" && regexpOf(s[1]).MatchString(who.ID) {
			byID = true
		}
		if s[0] == "certificate" && s[1] == who.Certificate {
			byCertificate = true
		}
	}
	return byID, byCertificate
}

func (g plainGrant) allows(r Request) bool {
	if r.Action == TokenMint {
		return slices.Contains(g.mint, string(r.Profile))
	}
	group, _, _ := strings.Cut(string(r.Action), ".")
	if !slices.Contains(g.do, string(r.Action)) && !slices.Contains(g.do, group+".*") {
		return false
	}
	if group != "key" || !g.hasOn || r.Key == "" {
		return true
	}
	return slices.ContainsFunc(g.on, func(p string) bool { return regexpOf(p).MatchString(string(r.Key)) })
}

var idShape = regexp.MustCompile(`^spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)*$`)

// decide is the naive evaluator: code and grant.
func (p plainPolicy) decide(r Request, facts keys) (Code, string) {
	if r.Principal.Kind != PrincipalMTLS || !idShape.MatchString(r.Principal.ID) {
		return Denied, ""
	}
	for _, part := range strings.Split(r.Principal.ID, "/") {
		if part == "." || part == ".." {
			return Denied, ""
		}
	}
	operator := slices.Contains(p.operators, r.Principal.ID)
	protected := r.Action == "policy.apply" || r.Action == "key.disable" || r.Action == "key.revoke" || strings.HasPrefix(string(r.Action), "system.")
	certificateDenied := false
	for _, g := range p.grants {
		_, byCertificate := g.names(r.Principal)
		certificateDenied = certificateDenied || g.deny && byCertificate
	}
	for _, g := range p.grants {
		if byID, byCertificate := g.names(r.Principal); g.deny && (byID || byCertificate) {
			if certificateDenied || !operator || !protected {
				return Denied, g.id
			}
		}
	}
	if r.Action != TokenMint && !slices.Contains(Actions(), r.Action) {
		return Denied, ""
	}
	if strings.HasPrefix(string(r.Action), "key.") && r.Key == "" && r.Action != "key.read" && r.Action != "key.import" {
		return Denied, ""
	}
	i := slices.IndexFunc(p.profiles, func(pr plainProfile) bool { return pr.name == string(r.Profile) })
	if r.Action == TokenMint && i < 0 {
		return UnknownProfile, ""
	}
	for _, g := range p.grants {
		byID, byCertificate := g.names(r.Principal)
		if g.deny || !byID && !byCertificate || !g.allows(r) {
			continue
		}
		if r.Action != TokenMint {
			return OK, g.id
		}
		return p.profiles[i].decide(r, facts), g.id
	}
	if operator && r.Action != TokenMint {
		return OK, "(operator)"
	}
	return Denied, ""
}

func (pr plainProfile) seconds() int {
	if pr.ttl == 0 {
		return 600
	}
	return pr.ttl
}

func (pr plainProfile) decide(r Request, facts keys) Code {
	switch s := r.TTL.Seconds(); {
	case s != 0 && (s <= 30 || s != float64(int(s))):
		return Denied
	case s > float64(pr.seconds()):
		return TTLTooLong
	}
	for _, s := range r.Scope {
		if granted := pr.granted(); granted != nil && !slices.Contains(granted, string(s)) {
			return ScopeNotGranted
		}
	}
	f, ok := facts[KeyName(pr.key)]
	switch {
	case !ok, f.State == KeyStateNoActive:
		return NoActiveVersion
	case f.State == KeyStateDisabled:
		return KeyDisabled
	case f.State == KeyStateRevoked:
		return KeyRevoked
	case f.State != KeyStateUsable:
		return KeyDamaged
	case (f.Kind == apple.KindEnterprise) != (pr.family == "enterprise"):
		return KeyUnfit
	}
	return OK
}

// Small sets, so that what is drawn meets.

var (
	anyCertificate = rapid.SampledFrom([]string{hashOfOne, hashOfTwo})
	anyProfileName = rapid.SampledFrom([]string{"p", "q", "r", "s"})
	anyKey         = rapid.SampledFrom([]string{"k", "l", "team/k", "team/a/k"})
	anyKeyPattern  = rapid.SampledFrom([]string{"k", "*", "team/*", "team/**", "team/a*/k", "t*m/**", "**", "l*"})
	anyScope       = rapid.SampledFrom([]string{"GET /v1/apps", "GET /v1/apps?filter[platform]=IOS", "GET /v1/builds", "GET /v1/users"})
	anyReadScope   = rapid.SampledFrom([]string{"GET /v1/apps/1", "GET /v1/apps/1/builds", "GET /v1/apps/2", "GET /v1/builds?filter[app]=1"})
	anyListed      = rapid.SampledFrom([]string{"GET /v1/ciProducts", "GET /v1/apps/1/ciProduct", "GET /v1/scmProviders?include=x"})
	anyAction      = rapid.SampledFrom(append(Actions(), "key.steal", ""))
	anyDo          = rapid.SampledFrom([]string{"key.*", "key.read", "key.disable", "system.*", "system.seal", "policy.*", "policy.apply", "audit.read", "audit.*"})
	anyID          = rapid.Custom(func(t *rapid.T) string {
		return "spiffe://" + rapid.SampledFrom([]string{"a", "b"}).Draw(t, "domain") +
			join(rapid.SliceOfN(rapid.SampledFrom([]string{"ci", "ios", "ios-1", "ios-17", "x-ios", "runner", "."}), 0, 3).Draw(t, "path"))
	})
	anyPattern = rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"ci", "ios", "ios-1", "*", "ios-*", "*ios*", "i*-*7", "x*", "*7"}), 0, 3).Draw(t, "pattern")
		if rapid.Bool().Draw(t, "below") {
			parts = append(parts, "**")
		}
		return "spiffe://" + rapid.SampledFrom([]string{"a", "b"}).Draw(t, "domain") + join(parts)
	})
)

func join(parts []string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("/" + p)
	}
	return b.String()
}

var anyPolicy = rapid.Custom(func(t *rapid.T) plainPolicy {
	p := plainPolicy{operators: rapid.SliceOfN(anyID.Filter(func(s string) bool { return !strings.Contains(s, "/.") }), 0, 2).Draw(t, "operators")}
	for _, name := range rapid.SliceOfNDistinct(anyProfileName, 1, 4, rapid.ID).Draw(t, "profiles") {
		p.profiles = append(p.profiles, plainProfile{
			name:   name,
			key:    anyKey.Draw(t, "key"),
			family: rapid.SampledFrom([]string{"app_store_connect", "enterprise"}).Draw(t, "family"),
			scope:  rapid.SliceOfNDistinct(anyScope, 0, 3, rapid.ID).Draw(t, "scope"),
			ttl:    rapid.SampledFrom([]int{0, 31, 60, 1170}).Draw(t, "ttl"),
		})
		p.profiles[len(p.profiles)-1].drawRest(t)
	}
	for i := range rapid.IntRange(0, 8).Draw(t, "grants") {
		p.grants = append(p.grants, p.drawGrant(t, fmt.Sprintf("g%d", i)))
	}
	return p
})

// drawRest makes some profiles read an app, and some long-lived.
func (pr *plainProfile) drawRest(t *rapid.T) {
	pr.reuse = rapid.SampledFrom([]string{"", "never", "per-principal"}).Draw(t, "reuse")
	if pr.family == "app_store_connect" {
		switch rapid.IntRange(0, 3).Draw(t, "more") {
		case 0:
			pr.reads = rapid.SliceOfNDistinct(rapid.SampledFrom(apple.Reads()), 1, 2, rapid.ID).Draw(t, "reads")
		case 1:
			pr.longLived = true
			pr.scope = rapid.SliceOfNDistinct(anyListed, 1, 3, rapid.ID).Draw(t, "listed")
			pr.ttl = rapid.SampledFrom([]int{60, 86400, 180 * 86400}).Draw(t, "long")
		}
	}
	if len(pr.scope) == 0 {
		pr.scope = nil
	}
}

func (p plainPolicy) drawGrant(t *rapid.T, id string) plainGrant {
	g := plainGrant{id: id, deny: rapid.IntRange(0, 5).Draw(t, "deny") == 0}
	for range rapid.IntRange(0, 3).Draw(t, "selectors") {
		if rapid.IntRange(0, 3).Draw(t, "by") == 0 {
			g.to = append(g.to, [2]string{"certificate", anyCertificate.Draw(t, "certificate")})
		} else {
			g.to = append(g.to, [2]string{"mtls", anyPattern.Draw(t, "mtls")})
		}
	}
	if g.deny {
		return g
	}
	for _, pr := range p.profiles {
		if rapid.Bool().Draw(t, "mint") {
			g.mint = append(g.mint, pr.name)
		}
	}
	if len(g.mint) == 0 || rapid.Bool().Draw(t, "do") {
		g.do = rapid.SliceOfN(anyDo, 1, 3).Draw(t, "actions")
	}
	if slices.ContainsFunc(g.do, func(s string) bool { return strings.HasPrefix(s, "key.") }) && rapid.Bool().Draw(t, "hasOn") {
		g.hasOn, g.on = true, rapid.SliceOfN(anyKeyPattern, 1, 3).Draw(t, "on")
	}
	if len(g.mint) > 0 {
		g.rate = rapid.SampledFrom([]string{"", "none", "60/h"}).Draw(t, "rate")
	}
	return g
}

var anyFacts = rapid.Custom(func(t *rapid.T) keys {
	facts := keys{}
	for _, name := range rapid.SliceOfNDistinct(anyKey, 2, 4, rapid.ID).Draw(t, "keys") {
		f := rapid.SampledFrom([]KeyFacts{teamKey, enterpriseKey}).Draw(t, "facts")
		f.State = rapid.SampledFrom([]KeyState{KeyStateUsable, KeyStateUsable, KeyStateUsable, KeyStateDisabled, KeyStateRevoked, KeyStateNoActive, KeyStateDamaged, "new"}).Draw(t, "state")
		facts[KeyName(name)] = f
	}
	return facts
})

// drawRequest draws one that often meets the policy.
func (p plainPolicy) drawRequest(t *rapid.T) Request {
	r := Request{
		Principal: Principal{Kind: PrincipalMTLS, ID: p.drawID(t)},
		Action:    anyAction.Draw(t, "action"),
		Key:       KeyName(rapid.OneOf(anyKey, anyKey, anyKey, rapid.Just("")).Draw(t, "key")),
		Profile:   ProfileName(anyProfileName.Draw(t, "profile")),
	}
	if rapid.IntRange(0, 3).Draw(t, "withCertificate") == 0 {
		r.Principal.Certificate = anyCertificate.Draw(t, "certificate")
	}
	if rapid.Bool().Draw(t, "mint") {
		r.Action = TokenMint
		r.Profile = ProfileName(rapid.SampledFrom(p.profiles).Draw(t, "known").name)
		r.TTL = rapid.SampledFrom([]time.Duration{0, 0, 0, 0, 31 * time.Second, 60 * time.Second, 600 * time.Second, 1171 * time.Second, 90 * 24 * time.Hour, time.Second, -time.Minute, 1500 * time.Millisecond}).Draw(t, "ttl")
		for _, s := range rapid.SliceOfN(rapid.OneOf(anyScope, anyReadScope, anyListed), 0, 2).Draw(t, "scope") {
			r.Scope = append(r.Scope, apple.Scope(s))
		}
	}
	return r
}

func (p plainPolicy) drawID(t *rapid.T) string {
	ids := []string{anyID.Draw(t, "id")}
	ids = append(ids, p.operators...)
	for _, g := range p.grants {
		for _, s := range g.to {
			if s[0] == "mtls" {
				below := rapid.SampledFrom([]string{"x", "ios/1", "ci"}).Draw(t, "below")
				within := rapid.SampledFrom([]string{"1", "ios-7"}).Draw(t, "within")
				ids = append(ids, strings.ReplaceAll(strings.ReplaceAll(s[1], "**", below), "*", within))
			}
		}
	}
	return rapid.SampledFrom(ids).Draw(t, "whom")
}

// TestDecideAgainstNaive draws policies and requests and wants the second
// evaluator's decision, and of what is allowed never more than was granted.
func TestDecideAgainstNaive(t *testing.T) {
	codes := make(map[Code]int)
	rapid.Check(t, func(t *rapid.T) {
		plain := anyPolicy.Draw(t, "policy")
		p, err := Compile([]byte(plain.yaml()), plain.operators, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, plain.yaml())
		}
		for range 100 {
			facts := anyFacts.Draw(t, "facts")
			r := plain.drawRequest(t)
			d := p.Decide(r, facts)
			code, grant := plain.decide(r, facts)
			if d.Code() != code || d.Grant() != grant {
				t.Fatalf("%+v\ndecided %s by %q (%s), naively %s by %q\n%s", r, d.Code(), d.Grant(), d.Reason(), code, grant, plain.yaml())
			}
			codes[code]++
			checkDecision(t, plain, p, r, d)
		}
	})
	t.Logf("decided: %v", codes)
	for _, c := range []Code{OK, Denied, UnknownProfile, KeyDisabled, KeyRevoked, NoActiveVersion, KeyDamaged, KeyUnfit, TTLTooLong, ScopeNotGranted} {
		if codes[c] == 0 {
			t.Errorf("%s was never decided: the test draws the wrong things", c)
		}
	}
}

// TestNarrowing mints one profile, of bundles or long-lived, with a key that can: whatever is asked for, no more than was
// granted comes out.
func TestNarrowing(t *testing.T) {
	bundles, long, refused := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		pr := plainProfile{name: "p", key: "k", family: "app_store_connect", scope: rapid.SliceOfNDistinct(anyScope, 0, 2, rapid.ID).Draw(t, "scope")}
		pr.drawRest(t)
		plain := plainPolicy{profiles: []plainProfile{pr}, grants: []plainGrant{{id: "g", to: [][2]string{{"mtls", "spiffe://a/b"}}, mint: []string{"p"}}}}
		p := mustCompileDrawn(t, plain)
		for range 20 {
			r := plain.drawRequest(t)
			r.Principal, r.Action, r.Profile = by("spiffe://a/b"), TokenMint, "p"
			d := p.Decide(r, keys{"k": teamKey})
			if code, _ := plain.decide(r, keys{"k": teamKey}); d.Code() != code {
				t.Fatalf("%+v decided %s, naively %s\n%s", r, d.Code(), code, plain.yaml())
			}
			checkDecision(t, plain, p, r, d)
			switch {
			case !d.Allowed():
				refused++
			case pr.reads != nil:
				bundles++
			case d.Spec().TTL() > 1170*time.Second:
				long++
			}
		}
	})
	if bundles == 0 || long == 0 || refused == 0 {
		t.Errorf("%d of bundles and %d long-lived were minted, %d refused: the test draws the wrong things", bundles, long, refused)
	}
}

// profile is the profile of that name, which there must be.
func (p plainPolicy) profile(name ProfileName) plainProfile {
	return p.profiles[slices.IndexFunc(p.profiles, func(pr plainProfile) bool { return pr.name == string(name) })]
}

// TestMintableIsWhatDecideAllows: a profile is listed if and only if its mint is not denied, whatever state its key is
// in, and what is said of it is what a mint gets.
func TestMintableIsWhatDecideAllows(t *testing.T) {
	listed, barred := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		plain := anyPolicy.Draw(t, "policy")
		facts := anyFacts.Draw(t, "facts")
		p := mustCompileDrawn(t, plain)
		for range 20 {
			who := plain.drawRequest(t).Principal
			names := p.Mintable(who)
			if !slices.IsSorted(names) {
				t.Fatalf("not by name: %v", names)
			}
			for _, name := range []ProfileName{"p", "q", "r", "s", "unknown"} {
				d := p.Decide(Request{Principal: who, Action: TokenMint, Profile: name}, facts)
				in := slices.Contains(names, name)
				if out := d.Code() == Denied || d.Code() == UnknownProfile; in == out {
					t.Fatalf("%s is listed: %v, and minted: %s\n%s", name, in, d.Code(), plain.yaml())
				}
				if !in {
					continue
				}
				listed++
				pr, ok := p.Profile(name)
				if !ok || pr.Name != name {
					t.Fatalf("%s is listed and is not there", name)
				}
				if !d.Allowed() {
					if barred++; !d.Tell() {
						t.Fatalf("%s is listed, and the caller is not told of %s", name, d.Code())
					}
					continue
				}
				spec := d.Spec()
				if spec.TTL() != pr.TTL || spec.Family() != pr.Family || !slices.Equal(spec.Scope(), pr.Scope) || d.Reuse() != pr.Reuse {
					t.Fatalf("listed as %+v, minted with %s, %v", pr, spec.TTL(), spec.Scope())
				}
			}
		}
	})
	if listed == 0 || barred == 0 {
		t.Errorf("%d were listed, %d of them with a key that is off: the test draws the wrong things", listed, barred)
	}
}

// checkDecision checks what holds for every decision.
func checkDecision(t *rapid.T, plain plainPolicy, p *Policy, r Request, d Decision) {
	if d.Allowed() != (d.Code() == OK) || d.Tell() != (d.Code() != OK && d.Code() != Denied && d.Code() != UnknownProfile) {
		t.Fatalf("allowed %v, tell %v with %s", d.Allowed(), d.Tell(), d.Code())
	}
	if (d.Reason() == "") != d.Allowed() {
		t.Fatalf("%s with the reason %q", d.Code(), d.Reason())
	}
	spec := d.Spec()
	if !d.Allowed() || r.Action != TokenMint {
		if spec.TTL() != 0 || spec.KeyID() != "" || d.Version() != 0 {
			t.Fatalf("%s of %s has something to sign", d.Code(), r.Action)
		}
	}
	if r.Action == KeyRead && r.Key != "" && p.Readable(r.Principal).Contains(r.Key) != d.Allowed() {
		t.Fatalf("%s may be read: %v, and in the list: %v", r.Key, d.Allowed(), !d.Allowed())
	}
	if !d.Allowed() || r.Action != TokenMint {
		return
	}
	pr := plain.profile(r.Profile)
	limit := time.Duration(pr.seconds()) * time.Second
	if r.TTL != 0 {
		limit = min(limit, r.TTL)
	}
	if spec.TTL() != limit || spec.TTL() > 1170*time.Second && !pr.longLived || spec.TTL() > p.MaxTTL(KeyName(pr.key)) || p.MaxTTL(KeyName(pr.key)) > apple.LongestTTL() {
		t.Fatalf("lives for %v, with a limit of %v", spec.TTL(), limit)
	}
	granted := pr.granted()
	if granted != nil && len(spec.Scope()) == 0 {
		t.Fatalf("the scope is lost")
	}
	for _, s := range spec.Scope() {
		if granted != nil && !slices.Contains(granted, string(s)) || len(r.Scope) > 0 && !slices.Contains(r.Scope, s) {
			t.Fatalf("%s is minted, granted were %v and asked for %v", s, granted, r.Scope)
		}
		if spec.TTL() > 1170*time.Second && s.CheckLongLived() != nil {
			t.Fatalf("%s lives for %v", s, spec.TTL())
		}
	}
	if want := cmp.Or(pr.reuse, "per-principal"); d.Reuse().String() != want {
		t.Fatalf("reuse %v, want %s", d.Reuse(), want)
	}
	if string(d.Key()) != pr.key || d.Version() < 1 || d.Rate() == (Rate{}) {
		t.Fatalf("key %q, version %d, rate %+v", d.Key(), d.Version(), d.Rate())
	}
}

// TestUnreachableGrants holds that what lint calls dead decides nothing, but for
// operators, from whom a deny does not take all.
func TestUnreachableGrants(t *testing.T) {
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		plain := anyPolicy.Draw(t, "policy")
		plain.operators = nil
		p := mustCompileDrawn(t, plain)
		var dead []string
		for _, w := range p.Lint() {
			if rest, ok := strings.CutPrefix(w.Message, "grant "); ok {
				id, _, _ := strings.Cut(rest, " ")
				dead = append(dead, id)
			}
		}
		found += len(dead)
		for range 20 {
			r := plain.drawRequest(t)
			d := p.Decide(r, nil)
			if slices.Contains(dead, d.Grant()) && !slices.ContainsFunc(plain.grants, func(g plainGrant) bool { return g.id == d.Grant() && g.deny }) {
				t.Fatalf("%+v is decided by %s, which lint calls dead\n%s", r, d.Grant(), plain.yaml())
			}
			without := plain
			without.grants = slices.DeleteFunc(slices.Clone(plain.grants), func(g plainGrant) bool { return slices.Contains(dead, g.id) })
			if d2 := mustCompileDrawn(t, without).Decide(r, nil); d2.Code() != d.Code() {
				t.Fatalf("%+v is %s, and %s without the dead\n%s", r, d.Code(), d2.Code(), plain.yaml())
			}
		}
	})
	if found == 0 {
		t.Error("no grant was dead: the test draws the wrong things")
	}
}

func mustCompileDrawn(t *rapid.T, plain plainPolicy) *Policy {
	p, err := Compile([]byte(plain.yaml()), plain.operators, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, plain.yaml())
	}
	return p
}

// TestMatchSegmentAsRegexp holds the matcher of parts against regular expressions.
func TestMatchSegmentAsRegexp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab*]{0,8}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab]{0,10}`).Draw(t, "s")
		want := regexp.MustCompile(`^` + strings.ReplaceAll(pattern, "*", ".*") + `$`).MatchString(s)
		if got := matchSegment(pattern, s); got != want {
			t.Fatalf("%q on %q: %v, want %v", pattern, s, got, want)
		}
	})
}
