package server

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/internal/authority"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

// auditService translates; the core's Log does the work.
type auditService struct {
	signetv1.UnimplementedAuditServiceServer
	core *authority.Log
}

func (a *auditService) ListEntries(ctx context.Context, req *signetv1.ListEntriesRequest) (*signetv1.ListEntriesResponse, error) {
	who, request := caller(ctx)
	filter, err := filterOf(req.GetFilter())
	if err != nil {
		return nil, err
	}
	ask := authority.EntriesRequest{
		Request:     request,
		Filter:      filter,
		OldestFirst: req.GetOrder() == signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST,
		Limit:       pageSize(req.GetPageSize()),
		PageToken:   req.GetPageToken(),
	}
	found, err := a.core.Entries(ctx, who, ask)
	if err != nil {
		return nil, err
	}
	return &signetv1.ListEntriesResponse{Entries: storedEntries(found.Entries), NextPageToken: found.NextPageToken}, nil
}

func storedEntries(found []authority.StoredEntry) []*signetv1.StoredEntry {
	all := make([]*signetv1.StoredEntry, len(found))
	for i, e := range found {
		all[i] = &signetv1.StoredEntry{Origin: e.Origin, Index: e.Index, Line: e.Line}
	}
	return all
}

// filterOf is a filter that was checked; one that is absent limits nothing.
func filterOf(f *signetv1.EntryFilter) (authority.Filter, error) {
	if f == nil {
		return authority.Filter{}, nil
	}
	filter := authority.Filter{Log: f.GetLog(), Index: f.Index}
	filter.Match = audit.Match{
		Key: f.GetKey(), Principal: f.GetPrincipal(), Profile: f.GetProfile(), Action: f.GetAction(), Outcome: f.GetOutcome(),
	}
	if hash := f.GetTokenSha256(); len(hash) > 0 {
		filter.Token = new(auditlog.Sum(hash))
	}
	if o := f.GetOutcome(); o != "" && !slices.Contains(auditlog.Outcomes(), auditlog.Outcome(o)) {
		return filter, malformed("filter.outcome", "not an outcome; one of %v", auditlog.Outcomes())
	}
	if a := f.GetAction(); a != "" && !slices.Contains(authority.Actions(), policy.Action(a)) {
		return filter, malformed("filter.action", "not an action; one of %v", authority.Actions())
	}
	var err error
	if filter.Since, err = timeOf("filter.since", f.GetSince()); err != nil {
		return filter, err
	}
	filter.Until, err = timeOf("filter.until", f.GetUntil())
	return filter, err
}

// timeOf is a time that was checked; zero when absent.
func timeOf(field string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if t.CheckValid() != nil {
		return time.Time{}, malformed(field, "not a time")
	}
	return t.AsTime(), nil
}

func (a *auditService) GetCheckpoint(ctx context.Context, req *signetv1.GetCheckpointRequest) (*signetv1.Checkpoint, error) {
	who, request := caller(ctx)
	note, err := a.core.Checkpoint(ctx, who, authority.CheckpointRequest{Request: request, Log: req.GetLog()})
	if err != nil {
		return nil, err
	}
	return &signetv1.Checkpoint{Note: note}, nil
}

func (a *auditService) ProveInclusion(ctx context.Context, req *signetv1.ProveInclusionRequest) (*signetv1.ProveInclusionResponse, error) {
	who, request := caller(ctx)
	ask := authority.InclusionRequest{Request: request, Log: req.GetLog(), Index: req.GetIndex()}
	if copy(ask.Leaf[:], req.GetLeafHash()) != len(auditlog.Hash{}) {
		return nil, malformed("leaf_hash", "not a SHA-256")
	}
	proof, err := a.core.ProveInclusion(ctx, who, ask)
	if err != nil {
		return nil, err
	}
	return &signetv1.ProveInclusionResponse{Proof: proof}, nil
}

func (a *auditService) ProveConsistency(ctx context.Context, req *signetv1.ProveConsistencyRequest) (*signetv1.ProveConsistencyResponse, error) {
	who, request := caller(ctx)
	proof, err := a.core.ProveConsistency(ctx, who, authority.ConsistencyRequest{Request: request, Checkpoint: req.GetCheckpoint()})
	if err != nil {
		return nil, err
	}
	answer := &signetv1.ProveConsistencyResponse{Checkpoint: proof.Checkpoint, Hashes: make([][]byte, len(proof.Hashes))}
	for i := range proof.Hashes {
		answer.Hashes[i] = proof.Hashes[i][:]
	}
	return answer, nil
}
