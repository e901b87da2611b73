package main

import (
	"cmp"
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// unread are the logs that are known to be absent, as answers name those that could not be asked.
func (rs *replicas) unread() []*signetv1.AskedLog {
	var all []*signetv1.AskedLog
	for _, n := range rs.absent {
		if n.origin != "" {
			all = append(all, &signetv1.AskedLog{Origin: n.origin, Unreachable: n.err.Error()})
		}
	}
	return all
}

// earlier and later are the one of two times that is; one that is absent is neither.
func earlier(a, b *timestamppb.Timestamp) *timestamppb.Timestamp {
	if a == nil || b != nil && b.AsTime().Before(a.AsTime()) {
		return b
	}
	return a
}

func later(a, b *timestamppb.Timestamp) *timestamppb.Timestamp {
	if a == nil || b != nil && b.AsTime().After(a.AsTime()) {
		return b
	}
	return a
}

// joined adds every item of more to what has the same name in all, or else to its end.
func joined[T any, K comparable](all, more []T, name func(T) K, add func(to, item T)) []T {
	at := make(map[K]int, len(all))
	for i, item := range all {
		at[name(item)] = i
	}
	for _, item := range more {
		if i, ok := at[name(item)]; ok {
			add(all[i], item)
			continue
		}
		at[name(item)] = len(all)
		all = append(all, item)
	}
	return all
}

// usage is the report over all logs. How the keys and the policy stand is the same for all servers, so that the first one's word is
// taken; what is unused must be so on each.
func (rs *replicas) usage(ctx context.Context, req *signetv1.GetUsageRequest) (*signetv1.GetUsageResponse, error) {
	answers := make([]*signetv1.GetUsageResponse, len(rs.all))
	if err := rs.each(func(i int, r replica) (err error) {
		answers[i], err = r.GetUsage(ctx, req)
		return err
	}); err != nil {
		return nil, err
	}
	var u *signetv1.GetUsageResponse
	for _, more := range answers {
		switch {
		case more == nil:
		case u == nil:
			u = more
		default:
			addUsage(u, more)
		}
	}
	if u == nil {
		return nil, rs.missing()
	}
	u.Logs = append(u.Logs, rs.unread()...)
	return u, nil
}

func addUsage(u, more *signetv1.GetUsageResponse) {
	u.Since, u.Until, u.Now = earlier(u.GetSince(), more.GetSince()), later(u.GetUntil(), more.GetUntil()), later(u.GetNow(), more.GetNow())
	u.Keys = joined(u.GetKeys(), more.GetKeys(), (*signetv1.KeyUsage).GetName, func(to, k *signetv1.KeyUsage) {
		to.Tokens, to.Unused = addCounts(to.GetTokens(), k.GetTokens()), to.GetUnused() && k.GetUnused()
	})
	slices.SortFunc(u.Keys, func(a, b *signetv1.KeyUsage) int { return cmp.Compare(a.GetName(), b.GetName()) })
	u.Profiles = joined(u.GetProfiles(), more.GetProfiles(), (*signetv1.ProfileUsage).GetName, func(to, p *signetv1.ProfileUsage) {
		to.Tokens = addCounts(to.GetTokens(), p.GetTokens())
	})
	slices.SortFunc(u.Profiles, func(a, b *signetv1.ProfileUsage) int { return cmp.Compare(a.GetName(), b.GetName()) })
	u.Principals = joined(u.GetPrincipals(), more.GetPrincipals(), (*signetv1.PrincipalUsage).GetId, addPrincipal)
	slices.SortFunc(u.Principals, func(a, b *signetv1.PrincipalUsage) int { return cmp.Compare(a.GetId(), b.GetId()) })
	u.PrincipalsLeftOut += more.GetPrincipalsLeftOut()
	u.Grants = joined(u.GetGrants(), more.GetGrants(), (*signetv1.GrantUsage).GetId, func(to, g *signetv1.GrantUsage) {
		to.Decisions += g.GetDecisions()
		to.LastTime = later(to.GetLastTime(), g.GetLastTime())
		to.UnusedProfiles = slices.DeleteFunc(to.GetUnusedProfiles(), func(p string) bool { return !slices.Contains(g.GetUnusedProfiles(), p) })
	})
	u.Logs = append(u.Logs, more.GetLogs()...)
}

func addCounts(a, b *signetv1.TokenCounts) *signetv1.TokenCounts {
	return &signetv1.TokenCounts{
		Given: a.GetGiven() + b.GetGiven(), Withheld: a.GetWithheld() + b.GetWithheld(), Refused: a.GetRefused() + b.GetRefused(),
		FirstTime: earlier(a.GetFirstTime(), b.GetFirstTime()), LastTime: later(a.GetLastTime(), b.GetLastTime()),
	}
}

func addPrincipal(to, p *signetv1.PrincipalUsage) {
	to.FirstTime, to.LastTime = earlier(to.GetFirstTime(), p.GetFirstTime()), later(to.GetLastTime(), p.GetLastTime())
	to.Profiles = joined(to.GetProfiles(), p.GetProfiles(), (*signetv1.ProfileCount).GetProfile, func(to, c *signetv1.ProfileCount) {
		to.Given += c.GetGiven()
		to.Withheld += c.GetWithheld()
	})
	slices.SortFunc(to.Profiles, func(a, b *signetv1.ProfileCount) int { return cmp.Compare(a.GetProfile(), b.GetProfile()) })
	to.OtherActions += p.GetOtherActions()
	to.Refused += p.GetRefused()
}

// maxDeliveries is how many deliveries of a token are shown, as every server's answer has it.
const maxDeliveries = 1000

// trace is what all logs know of a token, by the first of its names that is in any of them.
func (rs *replicas) trace(ctx context.Context, names []auditlog.Sum) (auditlog.Sum, *signetv1.TraceTokenResponse, error) {
	found, answers := make([]auditlog.Sum, len(rs.all)), make([]*signetv1.TraceTokenResponse, len(rs.all))
	if err := rs.each(func(i int, r replica) (err error) {
		found[i], answers[i], err = r.Trace(ctx, names)
		return err
	}); err != nil {
		return auditlog.Sum{}, nil, err
	}
	name, t := names[0], (*signetv1.TraceTokenResponse)(nil)
	for _, name = range names {
		for i, more := range answers {
			if more.GetToken() != nil && found[i] == name {
				t = addTrace(t, more)
			}
		}
		if t != nil {
			break
		}
	}
	for i, more := range answers { // of those who do not know it, only that they were asked
		switch {
		case more == nil || more.GetToken() != nil && found[i] == name:
		case t == nil:
			t = more
		default:
			t.Logs = append(t.Logs, more.GetLogs()...)
		}
	}
	if t == nil {
		return name, nil, rs.missing()
	}
	t.Logs = append(t.Logs, rs.unread()...)
	return name, t, nil
}

func addTrace(t, more *signetv1.TraceTokenResponse) *signetv1.TraceTokenResponse {
	if t == nil {
		return more
	}
	type person struct{ kind, id string }
	t.Holders = joined(t.GetHolders(), more.GetHolders(), func(h *signetv1.TokenHolder) person { return person{h.GetKind(), h.GetId()} }, func(to, h *signetv1.TokenHolder) {
		to.Deliveries += h.GetDeliveries()
		to.FirstTime, to.LastTime = earlier(to.GetFirstTime(), h.GetFirstTime()), later(to.GetLastTime(), h.GetLastTime())
	})
	slices.SortFunc(t.Holders, func(a, b *signetv1.TokenHolder) int {
		return cmp.Or(cmp.Compare(a.GetKind(), b.GetKind()), cmp.Compare(a.GetId(), b.GetId()))
	})
	t.Deliveries = append(t.Deliveries, more.GetDeliveries()...)
	slices.SortStableFunc(t.Deliveries, func(a, b *signetv1.TokenDelivery) int {
		return cmp.Or(b.GetTime().AsTime().Compare(a.GetTime().AsTime()), cmp.Compare(a.GetOrigin(), b.GetOrigin()), cmp.Compare(b.GetIndex(), a.GetIndex()))
	})
	t.Deliveries = t.Deliveries[:min(len(t.Deliveries), maxDeliveries)]
	t.TotalDeliveries += more.GetTotalDeliveries()
	t.Logs = append(t.Logs, more.GetLogs()...)
	t.Now = later(t.GetNow(), more.GetNow())
	return t
}
