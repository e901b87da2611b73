package server

import (
	"context"
	"strconv"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/internal/authority"
)

// policyService translates; the core's Policies does the work.
type policyService struct {
	signetv1.UnimplementedPolicyServiceServer
	core *authority.Policies
}

func (p *policyService) GetPolicy(ctx context.Context, req *signetv1.GetPolicyRequest) (*signetv1.Policy, error) {
	who, request := caller(ctx)
	got, err := p.core.Get(ctx, who, authority.PolicyRequest{Request: request, Revision: int(req.GetRevision())})
	if err != nil {
		return nil, err
	}
	wire := wirePolicy(got)
	wire.Document = got.Document
	return wire, nil
}

func (p *policyService) ApplyPolicy(ctx context.Context, req *signetv1.ApplyPolicyRequest) (*signetv1.ApplyPolicyResponse, error) {
	who, request := caller(ctx)
	applied, err := p.core.Apply(ctx, who, authority.ApplyRequest{
		Request: request, Document: req.GetDocument(), ETag: req.GetEtag(), DryRun: req.GetDryRun(),
	})
	if err != nil {
		return nil, err
	}
	answer := &signetv1.ApplyPolicyResponse{
		Policy:   wirePolicy(applied.Policy),
		Changed:  applied.Changed,
		Warnings: make([]*signetv1.Problem, len(applied.Warnings)),
		TestsRun: number(applied.TestsRun),
	}
	for i, w := range applied.Warnings {
		answer.Warnings[i] = &signetv1.Problem{Line: number(w.Line), Column: number(w.Column), Message: w.Message}
	}
	return answer, nil
}

func (p *policyService) ListRevisions(ctx context.Context, req *signetv1.ListRevisionsRequest) (*signetv1.ListRevisionsResponse, error) {
	who, request := caller(ctx)
	ask := authority.RevisionsRequest{Request: request, Limit: pageSize(req.GetPageSize())}
	if token := req.GetPageToken(); token != "" {
		// The token is the last revision of the page before.
		before, err := strconv.Atoi(token)
		if err != nil || before < 1 {
			return nil, errPageToken
		}
		ask.Before = before
	}
	revisions, more, err := p.core.Revisions(ctx, who, ask)
	if err != nil {
		return nil, err
	}
	page := &signetv1.ListRevisionsResponse{Revisions: make([]*signetv1.Policy, len(revisions))}
	for i, r := range revisions {
		page.Revisions[i] = wirePolicy(r)
	}
	if more && len(revisions) > 0 {
		page.NextPageToken = strconv.Itoa(revisions[len(revisions)-1].Number)
	}
	return page, nil
}

// wirePolicy leaves the document out.
func wirePolicy(p authority.Policy) *signetv1.Policy {
	return &signetv1.Policy{
		Revision:   int64(p.Number),
		Digest:     p.Digest,
		Etag:       p.ETag,
		Author:     p.Author,
		CreateTime: when(p.Created),
	}
}
