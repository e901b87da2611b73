package server

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/internal/authority"
	"github.com/p8signet/signet/store"
)

// systemService translates; the core's System does the work.
type systemService struct {
	signetv1.UnimplementedSystemServiceServer
	core    *authority.System
	version string
}

func (s *systemService) GetStatus(ctx context.Context, _ *signetv1.GetStatusRequest) (*signetv1.Status, error) {
	who, request := caller(ctx)
	st, err := s.core.Status(ctx, who, request)
	if err != nil {
		return nil, err
	}
	wire := &signetv1.Status{
		Version: s.version,
		VaultId: st.VaultID,
		Node:    st.Node,
		Dev:     st.Node == DevNode,
		CanMint: len(st.Reasons) == 0,
		Reasons: st.Reasons,
		Store: &signetv1.StoreStatus{
			Lineage:        st.Root.Lineage,
			Revision:       st.Root.Revision,
			Digest:         st.Root.Digest,
			Keys:           int64(st.Keys),
			DamagedKeys:    st.DamagedKeys,
			PolicyRevision: int64(st.PolicyRevision),
		},
		Log: &signetv1.LogStatus{
			Origin:         st.Log.Origin,
			Size:           st.Log.Size,
			VerifierKey:    st.Log.VerifierKey,
			FreeBytes:      st.Log.Free,
			FreeBytesMark:  st.Log.FreeMark,
			LastAnchorTime: when(st.Log.LastAnchor),
		},
		StartTime: when(st.Started),
		Now:       when(st.Now),
	}
	for _, k := range st.KEKs {
		wire.Store.Keks = append(wire.Store.Keks, &signetv1.KekStatus{Uri: k.URI, OnDisk: kekOnDisk(k.URI), Wraps: k.Wraps, Configured: k.Configured})
	}
	for _, g := range st.Gaps {
		wire.Gaps = append(wire.Gaps, wireGap(g))
	}
	return wire, nil
}

func (s *systemService) IssueCertificate(ctx context.Context, req *signetv1.IssueCertificateRequest) (*signetv1.IssueCertificateResponse, error) {
	who, request := caller(ctx)
	ask := authority.CertificateRequest{Request: request, CSR: req.GetCsr(), URI: req.GetUri(), Hosts: req.GetHosts()}
	if ttl := req.GetTtl(); ttl != nil {
		if ttl.CheckValid() != nil || ttl.AsDuration() < time.Second {
			return nil, malformed("ttl", "not a positive duration of a second or more")
		}
		ask.TTL = ttl.AsDuration()
	}
	c, err := s.core.IssueCertificate(ctx, who, ask)
	if err != nil {
		return nil, err
	}
	return &signetv1.IssueCertificateResponse{Certificate: c.DER, CaCertificate: c.CA, Fingerprint: c.Fingerprint, ExpireTime: when(c.NotAfter)}, nil
}

func (s *systemService) Acknowledge(ctx context.Context, req *signetv1.AcknowledgeRequest) (*signetv1.AcknowledgeResponse, error) {
	who, request := caller(ctx)
	gap, open, err := s.core.Acknowledge(ctx, who, authority.AcknowledgeRequest{Request: request, GapID: req.GetId(), Reason: req.GetReason()})
	if err != nil {
		return nil, err
	}
	return &signetv1.AcknowledgeResponse{Gap: wireGap(gap), Open: number(open)}, nil
}

func (s *systemService) ListMembers(ctx context.Context, _ *signetv1.ListMembersRequest) (*signetv1.ListMembersResponse, error) {
	who, request := caller(ctx)
	members, revision, err := s.core.Members(ctx, who, request)
	if err != nil {
		return nil, err
	}
	wire := &signetv1.ListMembersResponse{Revision: revision}
	for _, m := range members {
		wire.Members = append(wire.Members, &signetv1.Member{
			Node: m.Node, Incarnation: m.Incarnation, Bound: durationpb.New(m.Bound), Revision: m.Revision,
			RenewTime: when(m.Renewed), FencedBy: m.FencedBy, EndTime: when(m.Ends), Self: m.Self,
		})
	}
	return wire, nil
}

func (s *systemService) ForgetMember(ctx context.Context, req *signetv1.ForgetMemberRequest) (*signetv1.ForgetMemberResponse, error) {
	who, request := caller(ctx)
	err := s.core.Forget(ctx, who, authority.ForgetRequest{Request: request, Node: req.GetNode(), Reason: req.GetReason()})
	if err != nil {
		return nil, err
	}
	return &signetv1.ForgetMemberResponse{}, nil
}

func (s *systemService) Rewrap(ctx context.Context, req *signetv1.RewrapRequest) (*signetv1.RewrapResponse, error) {
	who, request := caller(ctx)
	changes, err := s.core.Rewrap(ctx, who, authority.RewrapRequest{Request: request, DryRun: req.GetDryRun()})
	if err != nil {
		return nil, err
	}
	wire := &signetv1.RewrapResponse{Changed: !req.GetDryRun()}
	for _, c := range changes {
		wire.Keks = append(wire.Keks, &signetv1.KekChange{Uri: c.URI, OnDisk: kekOnDisk(c.URI), Change: wireKEKChange[c.Change]})
	}
	return wire, nil
}

var wireKEKChange = map[string]signetv1.KekChange_Change{
	store.KEKAdded:   signetv1.KekChange_CHANGE_ADDED,
	store.KEKRenewed: signetv1.KekChange_CHANGE_RENEWED,
	store.KEKDropped: signetv1.KekChange_CHANGE_DROPPED,
}

func wireGap(g store.Gap) *signetv1.Gap {
	return &signetv1.Gap{Id: g.ID, Kind: g.Kind, Detail: g.Detail, FoundTime: when(g.Found), AcknowledgeTime: when(g.Closed)}
}
