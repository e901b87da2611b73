package server

import (
	"context"
	"encoding/hex"
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/internal/authority"
	"github.com/p8signet/signet/server/policy"
)

// tokenService translates; the core's Tokens does the work.
type tokenService struct {
	signetv1.UnimplementedTokenServiceServer
	core *authority.Tokens
}

func (t *tokenService) MintToken(ctx context.Context, req *signetv1.MintTokenRequest) (*signetv1.MintTokenResponse, error) {
	c := callOf(ctx)
	c.mints = true
	ask := authority.MintRequest{Request: authority.Request{ID: c.id}, Receipt: req.GetReceipt(), Fresh: req.GetFresh()}
	var err error
	if ask.Profile, err = policy.ParseProfileName(req.GetProfile()); err != nil {
		return nil, malformed("profile", "%v", err)
	}
	c.profile = ask.Profile
	if ttl := req.GetTtl(); ttl != nil {
		if ttl.CheckValid() != nil {
			return nil, malformed("ttl", "not a duration")
		}
		lifetime := ttl.AsDuration()
		if ttl.GetNanos() == 0 {
			// Whole seconds, whatever became of more of them than a Go duration holds.
			lifetime = lifetime.Truncate(time.Second)
		}
		if ask.TTL, err = apple.ParseTTL(lifetime); err != nil {
			return nil, malformed("ttl", "%v", err)
		}
	}
	if ask.Scope, err = apple.ParseScopes(req.GetScope().GetEntries()); err != nil {
		return nil, malformed("scope", "%v", err)
	}
	if ask.Call, err = parseCall(req); err != nil {
		return nil, err
	}
	minted, err := t.core.Mint(ctx, c.principal, ask)
	if err != nil {
		return nil, err
	}
	c.key, c.reused = minted.Key, minted.Reused
	token := minted.Token
	answer := &signetv1.MintTokenResponse{
		IssueTime:   timestamppb.New(token.IssuedAt),
		ExpireTime:  when(token.Expires),
		UseUntil:    when(token.UseUntil()),
		RefreshTime: timestamppb.New(token.Refresh()),
		Scope:       texts(token.Scope),
		KeyId:       string(minted.KeyID),
		Sha256:      hex.EncodeToString(token.SHA256[:]),
		Reused:      minted.Reused,
		Shared:      token.Family.Shared(),
	}
	if answer.GetReused() || answer.GetShared() { // a new token says when it was made
		answer.ServerTime = timestamppb.New(c.began)
	}
	setCredential(answer, &token)
	if r := minted.Receipt; r != nil {
		answer.Receipt = &signetv1.Receipt{Origin: r.Origin, Index: r.Index, LeafHash: r.Leaf[:], Proof: r.Proof, Entry: r.Entry}
	}
	return answer, nil
}

func (t *tokenService) ListProfiles(ctx context.Context, req *signetv1.ListProfilesRequest) (*signetv1.ListProfilesResponse, error) {
	who, _ := caller(ctx)
	ask := authority.ProfilesRequest{Limit: pageSize(req.GetPageSize())}
	var err error
	if ask.After, err = nameAfter(req.GetPageToken(), policy.ParseProfileName); err != nil {
		return nil, err
	}
	profiles, more := t.core.Profiles(who, ask)
	page := &signetv1.ListProfilesResponse{Profiles: make([]*signetv1.Profile, len(profiles))}
	for i, p := range profiles {
		page.Profiles[i] = wireProfile(p)
	}
	if more && len(profiles) > 0 {
		page.NextPageToken = pageTokenOf(profiles[len(profiles)-1].Name)
	}
	return page, nil
}

func wireProfile(p authority.Profile) *signetv1.Profile {
	wire := &signetv1.Profile{
		Name:              string(p.Name),
		Family:            string(p.Family),
		KeyId:             string(p.KeyID),
		Form:              string(p.Family.Use().Form),
		Fixed:             wireFields(p.Fixed),
		Parameters:        wireFields(p.Asked),
		Scope:             texts(p.Scope),
		Reads:             p.Reads,
		LongLived:         p.LongLived,
		Reuse:             p.Reuse.String(),
		UnavailableReason: string(p.Unavailable),
	}
	if p.TTL != 0 {
		wire.DefaultTtl, wire.MaxTtl = durationpb.New(p.TTL), durationpb.New(p.TTL)
	}
	if !p.Rate.Unlimited {
		wire.RateEvents, wire.RatePer = proto.Int32(number(p.Rate.Events)), durationpb.New(p.Rate.Per)
	}
	return wire
}

// number is a count of ours on the wire.
func number(n int) int32 {
	return int32(min(n, math.MaxInt32)) //nolint:gosec // none of them is negative
}

// texts makes plain strings of typed ones.
func texts[T ~string](typed []T) []string {
	if len(typed) == 0 {
		return nil
	}
	plain := make([]string, len(typed))
	for i, t := range typed {
		plain[i] = string(t)
	}
	return plain
}

// when is t on the wire; absent when it is zero.
func when(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
