package server

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/internal/authority"
)

func (a *auditService) WatchEntries(req *signetv1.WatchEntriesRequest, stream grpc.ServerStreamingServer[signetv1.WatchEntriesResponse]) error {
	who, request := caller(stream.Context())
	filter, err := filterOf(req.GetFilter())
	if err != nil {
		return err
	}
	ask := authority.WatchRequest{Request: request, Filter: filter}
	if from := req.GetFrom(); from != nil {
		ask.From = &authority.Place{Log: from.GetLog(), Index: from.GetIndex()}
	}
	return a.core.Watch(stream.Context(), who, ask, func(found authority.Watched) error {
		return stream.Send(&signetv1.WatchEntriesResponse{
			Entries: storedEntries(found.Entries),
			Next:    &signetv1.EntryPlace{Log: found.Next.Log, Index: found.Next.Index},
		})
	})
}

func (a *auditService) TraceToken(ctx context.Context, req *signetv1.TraceTokenRequest) (*signetv1.TraceTokenResponse, error) {
	who, request := caller(ctx)
	ask := authority.TraceRequest{Request: request}
	if copy(ask.SHA256[:], req.GetSha256()) != len(auditlog.Sum{}) {
		return nil, malformed("sha256", "not a SHA-256")
	}
	found, err := a.core.Trace(ctx, who, ask)
	if err != nil {
		return nil, err
	}
	answer := &signetv1.TraceTokenResponse{TotalDeliveries: found.Total, Logs: askedLogs(found.Logs), Now: when(found.Now)}
	if t := found.Token; t != nil {
		answer.Token = &signetv1.TracedToken{
			Family: t.Family, Scope: t.Scope, IssueTime: when(time.Unix(t.IssuedAt, 0)),
			Key: t.Key, Version: number(t.Version), KeyId: t.KeyID, Fingerprint: t.Fingerprint,
			VersionState: string(t.State), RemainingStep: t.RemainingStep,
		}
	}
	if t := found.Token; t != nil && t.Expires != 0 {
		answer.Token.ExpireTime = when(time.Unix(t.Expires, 0))
	}
	for _, h := range found.Holders {
		answer.Holders = append(answer.Holders, &signetv1.TokenHolder{
			Kind: h.Kind, Id: h.ID, Deliveries: h.Deliveries, FirstTime: when(h.First), LastTime: when(h.Last),
		})
	}
	for _, d := range found.Deliveries {
		e := d.Entry
		answer.Deliveries = append(answer.Deliveries, &signetv1.TokenDelivery{
			Origin: d.Origin, Index: d.Index, Node: e.Node, Time: when(e.Time), RequestId: e.ID, Withheld: d.Withheld, Reused: e.Token.Reused,
			PrincipalKind: e.Principal.Kind, Principal: e.Principal.ID, Certificate: e.Principal.Certificate, Peer: e.Peer,
			Profile: e.Profile, Grant: e.Grant, Policy: e.Policy,
		})
	}
	return answer, nil
}

func (a *auditService) GetUsage(ctx context.Context, req *signetv1.GetUsageRequest) (*signetv1.GetUsageResponse, error) {
	who, request := caller(ctx)
	ask := authority.UsageRequest{Request: request}
	var err error
	if ask.Since, err = timeOf("since", req.GetSince()); err != nil {
		return nil, err
	}
	if ask.Until, err = timeOf("until", req.GetUntil()); err != nil {
		return nil, err
	}
	if d := req.GetUnusedFor(); d != nil {
		if d.CheckValid() != nil {
			return nil, malformed("unused_for", "not a duration")
		}
		ask.UnusedFor = d.AsDuration()
	}
	found, err := a.core.Usage(ctx, who, ask)
	if err != nil {
		return nil, err
	}
	return usageOf(found), nil
}

func usageOf(u authority.Usage) *signetv1.GetUsageResponse {
	answer := &signetv1.GetUsageResponse{
		Since: when(u.Since), Until: when(u.Until), PrincipalsLeftOut: int64(u.LeftOut), Logs: askedLogs(u.Logs), Now: when(u.Now),
	}
	for _, k := range u.Keys {
		key := &signetv1.KeyUsage{
			Name: k.Name, State: string(k.State), Versions: number(k.Versions), ActiveVersion: number(k.Active), KeyId: k.KeyID,
			CreateTime: when(k.Created), ActivateTime: when(k.Activated), Tokens: countsOf(k.Tokens), Unused: k.Unused,
		}
		if !k.Activated.IsZero() {
			key.DaysSinceRotation = new(number(int(u.Now.Sub(k.Activated) / (24 * time.Hour))))
		}
		answer.Keys = append(answer.Keys, key)
	}
	for _, p := range u.Profiles {
		answer.Profiles = append(answer.Profiles, &signetv1.ProfileUsage{Name: p.Name, Key: p.Key, Tokens: countsOf(p.Tokens)})
	}
	for _, p := range u.Principals {
		principal := &signetv1.PrincipalUsage{Id: p.ID, FirstTime: when(p.First), LastTime: when(p.Last), OtherActions: p.Other, Refused: p.Refused}
		for _, c := range p.Profiles {
			principal.Profiles = append(principal.Profiles, &signetv1.ProfileCount{Profile: c.Name, Given: c.Tokens.Given, Withheld: c.Tokens.Withheld})
		}
		answer.Principals = append(answer.Principals, principal)
	}
	for _, g := range u.Grants {
		grant := &signetv1.GrantUsage{Id: g.ID, Deny: g.Deny, Decisions: g.Decisions, LastTime: when(g.Last)}
		for _, name := range g.Unused {
			grant.UnusedProfiles = append(grant.UnusedProfiles, string(name))
		}
		answer.Grants = append(answer.Grants, grant)
	}
	return answer
}

func countsOf(c authority.TokenCounts) *signetv1.TokenCounts {
	return &signetv1.TokenCounts{Given: c.Given, Withheld: c.Withheld, Refused: c.Refused, FirstTime: when(c.First), LastTime: when(c.Last)}
}

func askedLogs(logs []authority.AskedLog) []*signetv1.AskedLog {
	all := make([]*signetv1.AskedLog, len(logs))
	for i, l := range logs {
		all[i] = &signetv1.AskedLog{Origin: l.Origin, Size: l.Size, BeginTime: when(l.Begins), Unreachable: l.Unreachable}
	}
	return all
}
