package authority

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

// UsageRequest asks for a report over a period, Since <= time < Until; a zero time does not limit.
type UsageRequest struct {
	Request
	Since, Until time.Time
	// UnusedFor is how long a key must not have been used to be unused; the whole period when 0.
	UnusedFor time.Duration
}

// Usage says who used what in a period. It is counted from the entries of all logs of this node.
type Usage struct {
	// Since is as asked for or, without that, when the logs begin; Until likewise, or now.
	Since, Until time.Time
	Keys         []KeyUsage       // of the vault, and others of which tokens were given; by name
	Profiles     []ProfileUsage   // of the policy, and others of which tokens were given; by name
	Principals   []PrincipalUsage // those that came last; by id
	LeftOut      int              // principals
	Grants       []GrantUsage     // of the policy, in its order
	Logs         []AskedLog       // newest first
	Now          time.Time
}

// TokenCounts says how many tokens were given.
type TokenCounts struct {
	// Given counts every delivery, Withheld those of them that were not released after all, Refused what was denied or
	// failed and has an entry of its own.
	Given, Withheld, Refused int64
	// First and Last are when one was given.
	First, Last time.Time
}

func (c *TokenCounts) add(t audit.Total) {
	switch auditlog.Outcome(t.Outcome) {
	case auditlog.Allowed:
		c.Given += t.Entries
		c.First, c.Last = earliest(c.First, t.First), latest(c.Last, t.Last)
	case auditlog.Withheld:
		c.Withheld += t.Entries
	case auditlog.Denied, auditlog.Failed:
		c.Refused += t.Entries
	default: // no outcome of a mint
	}
}

// KeyUsage is what became of a key.
type KeyUsage struct {
	Name string
	// Known says that the vault has the key. Of one that it does not have, only Tokens are known, of a damaged one
	// State too.
	Known bool
	State policy.KeyState
	// Versions is how many there are, Active the number of the active one, KeyID Apple's id of that.
	Versions, Active   int
	KeyID              string
	Created, Activated time.Time
	Tokens             TokenCounts
	Unused             bool
}

// ProfileUsage is what became of a profile. Key is empty where the policy does not have it.
type ProfileUsage struct {
	Name, Key string
	Tokens    TokenCounts
}

// PrincipalUsage is what a principal did.
type PrincipalUsage struct {
	ID string
	// First and Last are the times of its entries, but not of summaries.
	First, Last time.Time
	Profiles    []ProfileUsage // by name; Key is empty
	// Other counts what it did beside minting, Refused whatever it was refused, summaries included.
	Other, Refused int64
}

// GrantUsage is what a grant was good for.
type GrantUsage struct {
	ID        string
	Deny      bool
	Decisions int64 // entries that name it, but for those that only say how a change, or a token, ended
	Last      time.Time
	Unused    []policy.ProfileName // that it lets mint, and nobody minted by it
}

// maxPrincipals is how many principals a report has.
const maxPrincipals = 5000

// Usage answers a report. Whoever may read the log may have all of it: beside what is in the log that is the names of
// the keys, profiles and grants that the vault and its policy have now, and how the keys stand.
func (l *Log) Usage(ctx context.Context, p policy.Principal, req UsageRequest) (Usage, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.AuditRead}}
	return answered(ctx, &l.core, p, want, func(call *call) (Usage, error) {
		now := l.now().UTC()
		u := Usage{Since: req.Since, Until: req.Until, Now: now}
		if u.Until.IsZero() {
			u.Until = now
		}
		var idle time.Time // a key that was last used before is unused
		if req.UnusedFor > 0 {
			idle = u.Until.Add(-req.UnusedFor)
		}
		switch {
		case !req.Since.IsZero() && !req.Since.Before(u.Until):
			return Usage{}, malformed("the period ends before it begins")
		case !idle.IsZero() && idle.Before(req.Since):
			return Usage{}, malformed("the period is shorter than the time for which a key is to be unused; begin it earlier")
		}
		sum := newSums()
		var err error
		u.Logs, err = l.askAll(ctx, func(ctx context.Context, r *audit.Reader) error {
			for t, err := range r.Totals(ctx, req.Since, req.Until) {
				if err != nil {
					return err
				}
				sum.add(t)
			}
			return nil
		})
		if err != nil {
			return Usage{}, err
		}
		if u.Since.IsZero() {
			u.Since = sum.first
			for _, log := range u.Logs {
				u.Since = earliest(u.Since, log.Begins)
			}
		}
		u.Keys = sum.keyUsage(call.state, idle)
		u.Profiles = sum.profileUsage(call.state.policy)
		u.Principals, u.LeftOut = sum.principalUsage()
		u.Grants = sum.grantUsage(call.state.policy)
		return u, nil
	})
}

// sums are totals added up by what they are of.
type sums struct {
	first      time.Time
	keys       map[string]*TokenCounts
	profiles   map[string]*TokenCounts
	principals map[string]*principalSum
	grants     map[string]*grantSum
}

type principalSum struct {
	PrincipalUsage
	profiles map[string]*TokenCounts
}

type grantSum struct {
	GrantUsage
	minted map[string]bool // profiles
}

func newSums() *sums {
	return &sums{
		keys: map[string]*TokenCounts{}, profiles: map[string]*TokenCounts{}, principals: map[string]*principalSum{}, grants: map[string]*grantSum{},
	}
}

// counted returns a map's value for a key, made if need be.
func counted[T any](m map[string]*T, name string) *T {
	v, ok := m[name]
	if !ok {
		v = new(T)
		m[name] = v
	}
	return v
}

func (s *sums) add(t audit.Total) {
	s.first = earliest(s.first, t.First)
	minting := t.Action == string(policy.TokenMint)
	if minting && t.Key != "" {
		counted(s.keys, t.Key).add(t)
	}
	if minting && t.Profile != "" {
		counted(s.profiles, t.Profile).add(t)
	}
	if t.Principal != "" {
		counted(s.principals, t.Principal).add(t, minting)
	}
	if t.Grant != "" {
		counted(s.grants, t.Grant).add(t, minting)
	}
}

func (p *principalSum) add(t audit.Total, minting bool) {
	outcome := auditlog.Outcome(t.Outcome)
	if outcome == auditlog.Summary {
		p.Refused += t.Count
		return
	}
	p.First, p.Last = earliest(p.First, t.First), latest(p.Last, t.Last)
	switch {
	case outcome == auditlog.Denied || outcome == auditlog.Failed:
		p.Refused += t.Entries
	case minting:
		if p.profiles == nil {
			p.profiles = make(map[string]*TokenCounts)
		}
		counted(p.profiles, t.Profile).add(t)
	case outcome == auditlog.Allowed || outcome == auditlog.Done:
		p.Other += t.Entries
	}
}

func (g *grantSum) add(t audit.Total, minting bool) {
	switch outcome := auditlog.Outcome(t.Outcome); outcome {
	case auditlog.Done, auditlog.Recovered, auditlog.Withheld, auditlog.Summary:
		return
	case auditlog.Allowed:
		if minting {
			if g.minted == nil {
				g.minted = make(map[string]bool)
			}
			g.minted[t.Profile] = true
		}
	default:
	}
	g.Decisions += t.Entries
	g.Last = latest(g.Last, t.Last)
}

// keyUsage is of the keys of the vault, and of others of which tokens were given. One is unused that is older than idle
// and of which no token was given since then; when idle is zero, of which no token was given at all.
func (s *sums) keyUsage(now *state, idle time.Time) []KeyUsage {
	var all []KeyUsage
	for name := range now.names("") {
		k := KeyUsage{Name: name, Known: true}
		facts, _ := now.Key(policy.KeyName(name))
		k.State = facts.State
		if key, ok := now.snap.Key(name); ok {
			k.Versions, k.Active, k.Created = len(key.Versions), key.Active, key.Created
			if active, ok := key.ActiveVersion(); ok {
				k.KeyID, k.Activated = active.KeyID, active.Activated
			}
		}
		if counts := s.keys[name]; counts != nil {
			k.Tokens = *counts
			delete(s.keys, name)
		}
		k.Unused = latest(k.Tokens.Last, k.Created).Before(idle) || idle.IsZero() && k.Tokens.Given == 0
		all = append(all, k)
	}
	for name, counts := range s.keys {
		if counts.Given > 0 {
			all = append(all, KeyUsage{Name: name, Tokens: *counts})
		}
	}
	slices.SortFunc(all, func(a, b KeyUsage) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// profileUsage is of the profiles of the policy, and of others of which tokens were given. What callers only asked for
// is whatever they liked.
func (s *sums) profileUsage(now *policy.Policy) []ProfileUsage {
	var all []ProfileUsage
	for name, key := range now.Profiles() {
		all = append(all, ProfileUsage{Name: string(name), Key: string(key), Tokens: *counted(s.profiles, string(name))})
		delete(s.profiles, string(name))
	}
	return byName(append(all, delivered(s.profiles)...))
}

// delivered are the profiles of which tokens were given.
func delivered(counts map[string]*TokenCounts) []ProfileUsage {
	var all []ProfileUsage
	for name, c := range counts {
		if c.Given > 0 || c.Withheld > 0 {
			all = append(all, ProfileUsage{Name: name, Tokens: *c})
		}
	}
	return all
}

func byName(all []ProfileUsage) []ProfileUsage {
	slices.SortFunc(all, func(a, b ProfileUsage) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// principalUsage is of those that came last, and how many are left out.
func (s *sums) principalUsage() ([]PrincipalUsage, int) {
	all := make([]PrincipalUsage, 0, len(s.principals))
	for id, p := range s.principals {
		p.ID, p.Profiles = id, byName(delivered(p.profiles))
		all = append(all, p.PrincipalUsage)
	}
	slices.SortFunc(all, func(a, b PrincipalUsage) int { return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.ID, b.ID)) })
	leftOut := max(0, len(all)-maxPrincipals)
	all = all[:len(all)-leftOut]
	slices.SortFunc(all, func(a, b PrincipalUsage) int { return cmp.Compare(a.ID, b.ID) })
	return all, leftOut
}

func (s *sums) grantUsage(now *policy.Policy) []GrantUsage {
	var all []GrantUsage
	for grant := range now.Grants() {
		g := counted(s.grants, grant.ID)
		g.ID, g.Deny = grant.ID, grant.Deny
		for _, profile := range grant.Mint {
			if !g.minted[string(profile)] {
				g.Unused = append(g.Unused, profile)
			}
		}
		all = append(all, g.GrantUsage)
	}
	return all
}
