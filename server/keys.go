package server

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/internal/authority"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
)

// keyService translates; the core's Keys does the work.
type keyService struct {
	signetv1.UnimplementedKeyServiceServer
	core *authority.Keys
}

func (k *keyService) GetRecipient(ctx context.Context, _ *signetv1.GetRecipientRequest) (*signetv1.Recipient, error) {
	who, request := caller(ctx)
	r, err := k.core.Recipient(ctx, who, request)
	if err != nil {
		return nil, err
	}
	return &signetv1.Recipient{Note: r.Note, Id: r.ID, ExpireTime: when(r.Expires)}, nil
}

func (k *keyService) ImportKey(ctx context.Context, req *signetv1.ImportKeyRequest) (*signetv1.ImportKeyResponse, error) {
	who, request := caller(ctx)
	name, err := policy.ParseKeyName(req.GetName())
	if err != nil {
		return nil, malformed("name", "%v", err)
	}
	facts, err := parseFacts(req.GetFacts())
	if err != nil {
		return nil, err
	}
	ask := authority.ImportRequest{Request: request, Name: name, Sealed: req.GetSealed(), Facts: facts}
	if twin := req.GetAllowDuplicate(); twin != "" {
		if ask.Twin, err = policy.ParseKeyName(twin); err != nil {
			return nil, malformed("allow_duplicate", "%v", err)
		}
	}
	done, err := k.core.Import(ctx, who, ask)
	if err != nil {
		return nil, err
	}
	return &signetv1.ImportKeyResponse{Key: wireKey(done.Key), Version: number(done.Version), Warnings: done.Warnings}, nil
}

// parseFacts leaves out what is not given: the sealed file may say it. An odd id is warned of by the core, which sees the sealed one too.
func parseFacts(f *signetv1.KeyFacts) (apple.Facts, error) {
	facts, err := apple.ParseFacts(apple.FactTexts{
		Kind: f.GetKind(), KeyID: f.GetKeyId(), Issuer: f.GetIssuerId(), Team: f.GetTeamId(), Client: f.GetClientId(), App: f.GetAppId(),
		Environment: f.GetEnvironment(), Services: f.GetServices(), Topics: f.GetTopics(), Roles: f.GetRoles(),
	})
	return facts, malformedField("facts.", err)
}

// malformedField names the field that a part of the core did not like; nil of nil.
func malformedField(in string, err error) error {
	var field *apple.FieldError
	if errors.As(err, &field) {
		return malformed(in+field.Field, "%v", field.Err)
	}
	return err
}

func (k *keyService) ListKeys(ctx context.Context, req *signetv1.ListKeysRequest) (*signetv1.ListKeysResponse, error) {
	who, request := caller(ctx)
	ask := authority.ListKeysRequest{Request: request, Limit: pageSize(req.GetPageSize())}
	var err error
	if ask.After, err = nameAfter(req.GetPageToken(), policy.ParseKeyName); err != nil {
		return nil, err
	}
	keys, more, err := k.core.List(ctx, who, ask)
	if err != nil {
		return nil, err
	}
	page := &signetv1.ListKeysResponse{Keys: make([]*signetv1.Key, len(keys))}
	for i, key := range keys {
		page.Keys[i] = wireKey(key)
	}
	if more && len(keys) > 0 {
		page.NextPageToken = pageTokenOf(keys[len(keys)-1].Name)
	}
	return page, nil
}

func (k *keyService) GetKey(ctx context.Context, req *signetv1.GetKeyRequest) (*signetv1.Key, error) {
	return changeKey(ctx, k.core.Get, req.GetName(), 0, "")
}

func (k *keyService) ActivateVersion(ctx context.Context, req *signetv1.ActivateVersionRequest) (*signetv1.Key, error) {
	return changeKey(ctx, k.core.Activate, req.GetName(), req.GetVersion(), "")
}

func (k *keyService) DisableKey(ctx context.Context, req *signetv1.DisableKeyRequest) (*signetv1.Key, error) {
	return changeKey(ctx, k.core.Disable, req.GetName(), 0, req.GetReason())
}

func (k *keyService) EnableKey(ctx context.Context, req *signetv1.EnableKeyRequest) (*signetv1.Key, error) {
	return changeKey(ctx, k.core.Enable, req.GetName(), 0, req.GetReason())
}

func (k *keyService) UpdateKey(ctx context.Context, req *signetv1.UpdateKeyRequest) (*signetv1.Key, error) {
	ask, who, err := keyRequest(ctx, req.GetName(), req.GetVersion(), req.GetReason())
	if err != nil {
		return nil, err
	}
	facts, err := parseFacts(req.GetFacts())
	if err != nil {
		return nil, err
	}
	set, err := parseMask(req.GetUpdateMask())
	if err != nil {
		return nil, err
	}
	key, err := k.core.Update(ctx, who, authority.UpdateRequest{
		Request: ask.Request, Name: ask.Name, Set: set, Facts: facts, Version: ask.Version, Reason: ask.Reason,
	})
	if err != nil {
		return nil, err
	}
	return wireKey(key), nil
}

// parseMask is which facts are to be set.
func parseMask(mask *fieldmaskpb.FieldMask) ([]authority.FactName, error) {
	known := authority.FactNames()
	set := make([]authority.FactName, len(mask.GetPaths()))
	for i, path := range mask.GetPaths() {
		set[i] = authority.FactName(path)
		switch field := fmt.Sprintf("update_mask.paths[%d]", i); {
		case !slices.Contains(known, set[i]):
			return nil, malformed(field, "not a fact that can be set: those are %s", strings.Join(texts(known), ", "))
		case slices.Contains(set[:i], set[i]):
			return nil, malformed(field, "it is named twice")
		}
	}
	if len(set) == 0 {
		return nil, malformed("update_mask", "it is empty: name the facts to set")
	}
	return set, nil
}

func (k *keyService) GenerateKey(ctx context.Context, req *signetv1.GenerateKeyRequest) (*signetv1.GenerateKeyResponse, error) {
	ask, who, err := keyRequest(ctx, req.GetName(), 0, "")
	if err != nil {
		return nil, err
	}
	facts, err := parseFacts(req.GetFacts())
	if err != nil {
		return nil, err
	}
	done, err := k.core.Generate(ctx, who, authority.GenerateRequest{Request: ask.Request, Name: ask.Name, Facts: facts})
	if err != nil {
		return nil, err
	}
	public, err := wirePublicKey(done.Public)
	if err != nil {
		return nil, err
	}
	return &signetv1.GenerateKeyResponse{Key: wireKey(done.Key), Version: public.GetVersion(), PublicKey: public}, nil
}

func (k *keyService) GetPublicKey(ctx context.Context, req *signetv1.GetPublicKeyRequest) (*signetv1.PublicKey, error) {
	ask, who, err := keyRequest(ctx, req.GetName(), req.GetVersion(), "")
	if err != nil {
		return nil, err
	}
	public, err := k.core.Public(ctx, who, ask)
	if err != nil {
		return nil, err
	}
	return wirePublicKey(public)
}

// wirePublicKey writes a public key as Apple's forms want it.
func wirePublicKey(public authority.PublicKey) (*signetv1.PublicKey, error) {
	der, err := x509.MarshalPKIXPublicKey(public.Public)
	if err != nil {
		return nil, fmt.Errorf("encoding a public key: %w", err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return &signetv1.PublicKey{Version: number(public.Version), Pem: string(block), Fingerprint: public.Fingerprint}, nil
}

func (k *keyService) RevokeKey(ctx context.Context, req *signetv1.RevokeKeyRequest) (*signetv1.RevokeKeyResponse, error) {
	ask, who, err := keyRequest(ctx, req.GetName(), req.GetVersion(), req.GetReason())
	if err != nil {
		return nil, err
	}
	done, err := k.core.Revoke(ctx, who, ask)
	if err != nil {
		return nil, err
	}
	return &signetv1.RevokeKeyResponse{Key: wireKey(done.Key), Exposure: wireExposure(done.Exposure), Warnings: done.Warnings}, nil
}

// changeKey asks the core for something that is done to one key and answers it.
func changeKey(ctx context.Context, do func(context.Context, policy.Principal, authority.KeyRequest) (authority.Key, error),
	name string, version int32, reason string) (*signetv1.Key, error) {
	ask, who, err := keyRequest(ctx, name, version, reason)
	if err != nil {
		return nil, err
	}
	key, err := do(ctx, who, ask)
	if err != nil {
		return nil, err
	}
	return wireKey(key), nil
}

func keyRequest(ctx context.Context, name string, version int32, reason string) (authority.KeyRequest, policy.Principal, error) {
	who, request := caller(ctx)
	parsed, err := policy.ParseKeyName(name)
	if err != nil {
		return authority.KeyRequest{}, who, malformed("name", "%v", err)
	}
	return authority.KeyRequest{Request: request, Name: parsed, Version: int(version), Reason: reason}, who, nil
}

var versionStates = map[store.State]signetv1.VersionState{
	store.StatePending:          signetv1.VersionState_VERSION_STATE_PENDING,
	store.StateActive:           signetv1.VersionState_VERSION_STATE_ACTIVE,
	store.StateDisabled:         signetv1.VersionState_VERSION_STATE_DISABLED,
	store.StateRevoked:          signetv1.VersionState_VERSION_STATE_REVOKED,
	store.StateDestroyScheduled: signetv1.VersionState_VERSION_STATE_DESTROY_SCHEDULED,
	store.StateDestroyed:        signetv1.VersionState_VERSION_STATE_DESTROYED,
}

// wireFacts are the facts of all versions of a key.
func wireFacts(f apple.Facts) *signetv1.KeyFacts {
	t := f.Texts()
	return &signetv1.KeyFacts{
		Kind: t.Kind, KeyId: t.KeyID, IssuerId: t.Issuer, TeamId: t.Team, ClientId: t.Client, AppId: t.App,
		Environment: t.Environment, Services: t.Services, Topics: t.Topics, Roles: t.Roles,
	}
}

func wireKey(key authority.Key) *signetv1.Key {
	wire := &signetv1.Key{
		Name:          key.Name,
		Kind:          key.Kind,
		IssuerId:      string(key.Facts.Issuer),
		State:         signetv1.KeyState_KEY_STATE_ENABLED,
		ActiveVersion: number(key.Active),
		Versions:      make([]*signetv1.KeyVersion, len(key.Versions)),
		CreateTime:    when(key.Created),
		Problem:       key.Problem,
		Facts:         wireFacts(key.Facts),
		Incomplete:    key.Incomplete,
	}
	switch {
	case key.Problem != "":
		wire.State, wire.Facts = signetv1.KeyState_KEY_STATE_DAMAGED, nil
	case key.Disabled:
		wire.State = signetv1.KeyState_KEY_STATE_DISABLED
	}
	for i, v := range key.Versions {
		wire.Versions[i] = &signetv1.KeyVersion{
			Number:      number(v.Number),
			State:       versionStates[v.State],
			KeyId:       v.KeyID,
			Fingerprint: v.Fingerprint,
			CreateTime:  when(v.Created),
			RevokeTime:  when(v.Revoked),
			HiddenTwins: number(key.Twins[v.Number].Hidden),
		}
		for _, t := range key.Twins[v.Number].Named {
			wire.Versions[i].Twins = append(wire.Versions[i].Twins, &signetv1.Twin{Name: t.Name, Version: number(t.Version), State: versionStates[t.State]})
		}
	}
	return wire
}

func wireExposure(e authority.Exposure) *signetv1.Exposure {
	wire := &signetv1.Exposure{UpperBound: when(e.UpperBound), Unending: e.UpperBound.IsZero(), RemainingStep: e.RemainingStep}
	for _, l := range e.Logs {
		known := &signetv1.LogExposure{Origin: l.Origin, Unreachable: l.Unreachable, Tokens: l.Tokens, LastExpireTime: when(l.LastExpires)}
		for _, h := range l.Holders {
			known.Holders = append(known.Holders, &signetv1.Holder{Kind: h.Kind, Id: h.ID, Tokens: h.Tokens, LastExpireTime: when(h.LastExpires)})
		}
		wire.Logs = append(wire.Logs, known)
	}
	return wire
}
