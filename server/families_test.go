package server_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/servertest"
)

const bundle = "{bundle_id: com.example.app}"

// family is a profile of one family: with which kind of key, what the policy says of it, and what a call fills in.
type family struct {
	name, kind, params string
	ask                *signetv1.MintTokenRequest
	// The answer: the form of the credential without what is secret, how long after its iat it ends (0: never), and whether
	// there is an exp, which can be chosen.
	form proto.Message
	life time.Duration
	ttl  bool
}

func families() []family {
	const hour, day = time.Hour, 24 * time.Hour
	bearer := func(scheme *string, hosts ...string) proto.Message {
		return &signetv1.BearerToken{Scheme: scheme, Hosts: hosts}
	}
	secret := func(field, url string, form ...string) proto.Message {
		m := &signetv1.ClientSecret{Field: field, Url: url}
		for i := 0; i < len(form); i += 2 {
			m.Form = append(m.Form, &signetv1.FormField{Name: form[i], Value: form[i+1]})
		}
		return m
	}
	handed := &signetv1.HandedToken{}
	storeKit := []string{"api.storekit.apple.com", "api.storekit-sandbox.apple.com", "api.storekit.itunes.apple.com", "api.storekit-sandbox.itunes.apple.com"}
	offer := &signetv1.PromotionalOfferParameters{ProductId: "com.example.pro", OfferId: "spring"}
	return []family{
		{"app-store-connect", "app-store-connect", "{}", nil, bearer(nil), 10 * time.Minute, true},
		{"enterprise", "enterprise", "{}", nil, bearer(nil, "api.enterprise.developer.apple.com"), 10 * time.Minute, true},
		{"notary", "app-store-connect", "{}", nil, bearer(nil, "appstoreconnect.apple.com"), 10 * time.Minute, true},
		{"app-store-server", "in-app-purchase", bundle, nil, bearer(nil, storeKit...), 5 * time.Minute, true},
		{"promotional-offer", "in-app-purchase", bundle, &signetv1.MintTokenRequest{Parameters: &signetv1.MintTokenRequest_PromotionalOffer{PromotionalOffer: offer}}, handed, day, false},
		{"introductory-offer", "in-app-purchase", bundle, &signetv1.MintTokenRequest{Parameters: &signetv1.MintTokenRequest_IntroductoryOffer{
			IntroductoryOffer: &signetv1.IntroductoryOfferParameters{ProductId: "com.example.pro", TransactionId: "2000000123456789", AllowIntroductoryOffer: proto.Bool(false)}}}, handed, day, false},
		{"advanced-commerce-request", "in-app-purchase", bundle, &signetv1.MintTokenRequest{Parameters: &signetv1.MintTokenRequest_AdvancedCommerce{
			AdvancedCommerce: &signetv1.AdvancedCommerceParameters{Request: []byte(`{"operation": "CREATE_ONE_TIME_CHARGE", "version": "1"}`)}}}, handed, day, false},
		{"promotional-offer-signature", "in-app-purchase", bundle, &signetv1.MintTokenRequest{Parameters: &signetv1.MintTokenRequest_PromotionalOffer{PromotionalOffer: offer}},
			&signetv1.OfferSignature{}, day, false},
		{"apns", "developer-portal", "{}", nil, bearer(proto.String("bearer"), "api.push.apple.com", "api.sandbox.push.apple.com",
			"api-manage-broadcast.push.apple.com:2196", "api-manage-broadcast.sandbox.push.apple.com:2195"), hour, false},
		{"device-check", "developer-portal", "{}", nil, bearer(nil, "api.devicecheck.apple.com", "api.development.devicecheck.apple.com"), hour, false},
		{"app-attest", "developer-portal", "{}", nil, bearer(proto.String(""), "data.appattest.apple.com", "data-development.appattest.apple.com"), hour, false},
		{"sign-in-with-apple", "developer-portal", "{client_id: com.example.web}", nil,
			secret("client_secret", "https://appleid.apple.com/auth/token", "client_id", "com.example.web"), 5 * time.Minute, true},
		{"apple-music", "developer-portal", "{}", nil, bearer(nil, "api.music.apple.com", "api.ent.apple.com"), 12 * hour, true},
		{"maps-server", "developer-portal", "{}", nil, bearer(nil, "maps-api.apple.com"), 15 * time.Minute, true},
		{"mapkit", "developer-portal", "{scopes: [mapkit_js], origins: [example.com]}", nil, handed, 12 * hour, true},
		{"maps-snapshot", "developer-portal", "{}", &signetv1.MintTokenRequest{Parameters: &signetv1.MintTokenRequest_MapsSnapshot{
			MapsSnapshot: &signetv1.MapsSnapshotParameters{Query: "center=37.33,-122.0&z=12"}}}, &signetv1.SignedUrl{}, 0, false},
		{"weatherkit", "developer-portal", "{service_id: com.example.weather}", nil, bearer(nil, "weatherkit.apple.com"), 15 * time.Minute, true},
		{"classkit", "developer-portal", "{}", nil, bearer(proto.String("Bearer")), 15 * time.Minute, true}, // Apple names no host
		{"iwork-export", "developer-portal", "{}", &signetv1.MintTokenRequest{Parameters: &signetv1.MintTokenRequest_IworkExport{
			IworkExport: &signetv1.IworkExportParameters{FileName: "report.pages"}}}, bearer(proto.String("")), 15 * time.Minute, true},
		{"apple-ads", "apple-ads", "{}", nil, secret("client_secret", "https://appleid.apple.com/auth/oauth2/token",
			"grant_type", "client_credentials", "client_id", servertest.AdsID, "scope", "searchadsorg"), 5 * time.Minute, true},
		{"school-business", "school-business", "{}", nil, secret("client_assertion", "https://account.apple.com/auth/oauth2/token",
			"grant_type", "client_credentials", "client_id", servertest.BusinessID,
			"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "scope", "business.api"), 5 * time.Minute, true},
		{"marketplace", "marketplace", "{}", &signetv1.MintTokenRequest{Parameters: &signetv1.MintTokenRequest_Marketplace{
			Marketplace: &signetv1.MarketplaceParameters{DeveloperId: "dev-1"}}}, handed, day, true},
	}
}

// everyFamily is a server with a key of every kind, and a profile of every family that ci may mint.
func everyFamily(t *testing.T) (*servertest.Server, map[string]*servertest.Key) {
	t.Helper()
	s := servertest.New(t)
	keys := map[string]*servertest.Key{}
	var profiles strings.Builder
	var names []string
	for _, f := range families() {
		if keys[f.kind] == nil {
			keys[f.kind] = s.ImportKey(f.kind, f.kind)
		}
		fmt.Fprintf(&profiles, "  %s: {key: %s, %s: %s}\n", f.name, f.kind, strings.ReplaceAll(f.name, "-", "_"), f.params)
		names = append(names, f.name)
	}
	s.ApplyPolicy("version: 1\nprofiles:\n" + profiles.String() +
		"grants:\n  - {id: ci, to: [{mtls: \"spiffe://signet.test/ci/*\"}], mint: [" + strings.Join(names, ", ") + "], rate: none}\n")
	return s, keys
}

// secretOf takes what is secret, and what is drawn, out of a credential.
func secretOf(t *testing.T, m *signetv1.MintTokenResponse) (text, nonce string, bare proto.Message) {
	t.Helper()
	switch c := m.GetCredential().(type) {
	case *signetv1.MintTokenResponse_BearerToken:
		text, bare = c.BearerToken.GetToken(), proto.Clone(c.BearerToken)
	case *signetv1.MintTokenResponse_ClientSecret:
		text, bare = c.ClientSecret.GetToken(), proto.Clone(c.ClientSecret)
	case *signetv1.MintTokenResponse_HandedToken:
		text, nonce, bare = c.HandedToken.GetToken(), c.HandedToken.GetNonce(), proto.Clone(c.HandedToken)
	case *signetv1.MintTokenResponse_OfferSignature:
		text, nonce, bare = c.OfferSignature.GetSignature(), c.OfferSignature.GetNonce(), proto.Clone(c.OfferSignature)
		if c.OfferSignature.GetTimestamp() != m.GetIssueTime().AsTime().UnixMilli() {
			t.Errorf("an offer of %d, issued %v", c.OfferSignature.GetTimestamp(), m.GetIssueTime().AsTime())
		}
	case *signetv1.MintTokenResponse_SignedUrl:
		text, bare = c.SignedUrl.GetUrl(), proto.Clone(c.SignedUrl)
	}
	for _, name := range []string{"token", "nonce", "signature", "timestamp", "url"} {
		f := bare.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(name))
		if _, isSecret := bare.(*signetv1.ClientSecret); f != nil && (!isSecret || name != "url") {
			bare.ProtoReflect().Clear(f)
		}
	}
	return text, nonce, bare
}

// TestEveryFamily mints of every family over the wire: each comes in its own form, with its own times, under the name that the log
// has, signed by its key.
func TestEveryFamily(t *testing.T) {
	s, keys := everyFamily(t)
	tokens := signetv1.NewTokenServiceClient(s.Conn(ci))
	listed := profilesOf(t, s, ci, 0)
	if all := families(); len(all) != len(apple.Families()) || len(listed) != len(all) {
		t.Fatalf("%d families are tried, and %d listed", len(all), len(listed))
	}
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			ask := &signetv1.MintTokenRequest{}
			if f.ask != nil {
				ask = proto.CloneOf(f.ask)
			}
			ask.Profile, ask.Receipt = f.name, true
			m, err := tokens.MintToken(t.Context(), ask)
			if err != nil {
				t.Fatal(err)
			}
			text, nonce, bare := secretOf(t, m)
			if diff := cmp.Diff(f.form, bare, protocmp.Transform()); diff != "" {
				t.Errorf("the form (-want +got):\n%s", diff)
			}
			if sum := sha256.Sum256([]byte(text)); m.GetSha256() != hex.EncodeToString(sum[:]) || hashIn(m.GetReceipt().GetEntry()) != m.GetSha256() {
				t.Errorf("sha256 %s", m.GetSha256())
			}
			checkSignature(t, f, m, text, nonce, keys[f.kind])
			checkTimes(t, s, f, m)
			if m.GetShared() != apple.Family(f.name).Shared() {
				t.Errorf("shared %v", m.GetShared())
			}
			// What is asked of a caller is what a mint takes.
			p := find(t, listed, f.name)
			asks := slices.ContainsFunc(p.GetParameters(), func(f *signetv1.ProfileField) bool { return f.GetRequired() })
			if _, err := tokens.MintToken(t.Context(), &signetv1.MintTokenRequest{Profile: f.name}); (err != nil) != asks || asks && reason(err) != "UNFIT_REQUEST" {
				t.Errorf("without parameters, of which it lists %v: %v", p.GetParameters(), err)
			}
			if p.GetUnavailableReason() != "" || p.GetKeyId() != keys[f.kind].KeyID || (p.GetMaxTtl() != nil) != f.ttl || p.GetForm() != string(apple.Family(f.name).Use().Form) {
				t.Errorf("it is listed as %v", p)
			}
			// What it does not take is refused, and not left out.
			for what, bad := range map[string]*signetv1.MintTokenRequest{
				"scope": {Parameters: &signetv1.MintTokenRequest_Scope{Scope: &signetv1.ScopeParameters{Entries: []string{"GET /v1/apps"}}}},
				"file":  {Parameters: &signetv1.MintTokenRequest_IworkExport{IworkExport: &signetv1.IworkExportParameters{FileName: "a"}}},
			} {
				if what == "scope" && apple.Family(f.name).Scoped() || what == "file" && f.name == "iwork-export" {
					continue
				}
				bad.Profile = f.name
				_, err := tokens.MintToken(t.Context(), bad)
				expect(t, err, codes.InvalidArgument, "UNFIT_REQUEST")
			}
			if !f.ttl {
				bad := proto.CloneOf(ask)
				bad.Ttl = durationpb.New(5 * time.Minute)
				_, err := tokens.MintToken(t.Context(), bad)
				expect(t, err, codes.InvalidArgument, "UNFIT_REQUEST")
			}
		})
	}
}

func checkTimes(t *testing.T, s *servertest.Server, f family, m *signetv1.MintTokenResponse) {
	t.Helper()
	now, issued := s.Clock.Now(), m.GetIssueTime().AsTime()
	if issued.After(now.Add(-apple.BackDate)) || now.Sub(issued) > 31*time.Minute {
		t.Errorf("issued %v at %v", issued, now)
	}
	refresh := m.GetRefreshTime().AsTime()
	if f.life == 0 {
		if m.GetExpireTime() != nil || m.GetUseUntil() != nil {
			t.Errorf("what has no end expires %v, to be used until %v", m.GetExpireTime(), m.GetUseUntil())
		}
		return
	}
	expires, until := m.GetExpireTime().AsTime(), m.GetUseUntil().AsTime()
	if expires.Sub(issued) != f.life || !until.After(now) || !until.Before(expires) || refresh.Before(now) || !refresh.Before(until) {
		t.Errorf("issued %v, expires %v, use until %v, refresh %v, at %v", issued, expires, until, refresh, now)
	}
}

// checkSignature verifies what was signed with the key that was imported, and looks for the nonce in it.
func checkSignature(t *testing.T, f family, m *signetv1.MintTokenResponse, text, nonce string, key *servertest.Key) {
	t.Helper()
	public := &key.Private.PublicKey
	if m.GetKeyId() != key.KeyID {
		t.Errorf("key id %q", m.GetKeyId())
	}
	switch m.GetCredential().(type) {
	case *signetv1.MintTokenResponse_OfferSignature:
		signed := strings.Join([]string{"com.example.app", key.KeyID, "com.example.pro", "spring", "", nonce, fmt.Sprint(m.GetOfferSignature().GetTimestamp())}, "\u2063")
		sig, err := base64.StdEncoding.DecodeString(text)
		sum := sha256.Sum256([]byte(signed))
		if err != nil || !ecdsa.VerifyASN1(public, sum[:], sig) || nonce == "" {
			t.Errorf("the signature of the offer is not its own: %v", err)
		}
	case *signetv1.MintTokenResponse_SignedUrl:
		signed, signature, _ := strings.Cut(strings.TrimPrefix(text, "https://snapshot.apple-mapkit.com"), "&signature=")
		sig, err := base64.RawURLEncoding.DecodeString(signature)
		sum := sha256.Sum256([]byte(signed))
		if err != nil || len(sig) != 64 || !ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
			t.Errorf("the signature of the URL is not its own: %v", err)
		}
		if want := "/api/v1/snapshot?center=37.33,-122.0&z=12&teamId=" + servertest.TeamID + "&keyId=" + key.KeyID; signed != want {
			t.Errorf("signed is %s, want %s", signed, want)
		}
	default:
		if err := apple.Verify(text, public); err != nil {
			t.Error(err)
		}
		body, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var claims struct {
			Nonce string
			Exp   *int64
		}
		if err := json.Unmarshal(body, &claims); err != nil || claims.Nonce != nonce {
			t.Errorf("the nonce is %q, that of the claims %q, %v", nonce, claims.Nonce, err)
		}
		if (claims.Exp != nil) != f.ttl {
			t.Errorf("the claims are %s", body)
		}
	}
}

// TestGeneratedKey is the life of a key that is made in the vault, over the wire.
func TestGeneratedKey(t *testing.T) {
	s := servertest.New(t)
	keys := signetv1.NewKeyServiceClient(s.Operator())
	made, err := keys.GenerateKey(t.Context(), &signetv1.GenerateKeyRequest{Name: "ads", Facts: &signetv1.KeyFacts{Kind: "apple-ads"}})
	if err != nil {
		t.Fatal(err)
	}
	if k := made.GetKey(); made.GetVersion() != 1 || k.GetFacts().GetKind() != "apple-ads" || k.GetKind() != "apple-ads" || !strings.Contains(k.GetIncomplete(), "missing") || k.GetVersions()[0].GetKeyId() != "" {
		t.Errorf("GenerateKey = %v", made)
	}
	got, err := keys.GetPublicKey(t.Context(), &signetv1.GetPublicKeyRequest{Name: "ads"})
	if err != nil || !proto.Equal(got, made.GetPublicKey()) || got.GetFingerprint() != made.GetKey().GetVersions()[0].GetFingerprint() {
		t.Errorf("GetPublicKey = %v, %v, want %v", got, err, made.GetPublicKey())
	}
	block, rest := pem.Decode([]byte(got.GetPem()))
	if block == nil || block.Type != "PUBLIC KEY" || len(rest) != 0 {
		t.Fatalf("PEM %q", got.GetPem())
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	set := func(f *signetv1.KeyFacts, paths ...string) (*signetv1.Key, error) {
		return keys.UpdateKey(t.Context(), &signetv1.UpdateKeyRequest{Name: "ads", Facts: f, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}, Reason: "uploaded"})
	}
	key, err := set(&signetv1.KeyFacts{TeamId: servertest.AdsID, ClientId: servertest.AdsID}, "team_id", "client_id")
	if err != nil || !strings.Contains(key.GetIncomplete(), "key ID") || key.GetFacts().GetTeamId() != servertest.AdsID {
		t.Errorf("UpdateKey = %v, %v", key, err)
	}
	key, err = set(&signetv1.KeyFacts{KeyId: "a273d0d3-4d9e-458c-a173-0db8619ca7d7"}, "key_id")
	if err != nil || key.GetIncomplete() != "" || key.GetVersions()[0].GetKeyId() == "" || key.GetFacts().GetKeyId() != "" {
		t.Errorf("UpdateKey = %v, %v", key, err)
	}
	_, err = set(&signetv1.KeyFacts{KeyId: "b273d0d3-4d9e-458c-a173-0db8619ca7d7"}, "key_id")
	expect(t, err, codes.AlreadyExists, "ALREADY_EXISTS")
	s.ApplyPolicy("version: 1\nprofiles:\n  ads: {key: ads, apple_ads: {}}\ngrants:\n  - {id: ci, to: [{mtls: \"" + ci + "\"}], mint: [ads]}\n")
	m, err := mint(t.Context(), s.Conn(ci), "ads")
	if err != nil {
		t.Fatal(err)
	}
	ecdsaKey, ok := public.(*ecdsa.PublicKey)
	if !ok {
		t.Fatalf("a public key of type %T", public)
	}
	if err := apple.Verify(m.GetClientSecret().GetToken(), ecdsaKey); err != nil {
		t.Error(err)
	}
	all, err := keys.ListKeys(t.Context(), &signetv1.ListKeysRequest{})
	if err != nil || len(all.GetKeys()) != 1 || !proto.Equal(all.GetKeys()[0], key) {
		t.Errorf("ListKeys = %v, %v", all, err)
	}
	if lines := entries(t, s, &signetv1.EntryFilter{Action: "key.update", Outcome: "done"}); len(lines) != 2 || !containsAll(lines[1], `"values":{"key_id":"a273d0d3`, `"justification":"uploaded"`) {
		t.Errorf("the updates are recorded as %q", lines)
	}
}

// TestTraceUnending: what has no end has no time at which it ends.
func TestTraceUnending(t *testing.T) {
	s, _ := everyFamily(t)
	for _, f := range families() {
		if f.name != "maps-snapshot" {
			continue
		}
		ask := proto.CloneOf(f.ask)
		ask.Profile = f.name
		m, err := signetv1.NewTokenServiceClient(s.Conn(ci)).MintToken(t.Context(), ask)
		if err != nil {
			t.Fatal(err)
		}
		sum, _ := hex.DecodeString(m.GetSha256())
		found, err := signetv1.NewAuditServiceClient(s.Operator()).TraceToken(t.Context(), &signetv1.TraceTokenRequest{Sha256: sum})
		if err != nil || found.GetToken().GetFamily() != f.name || found.GetToken().GetExpireTime() != nil || !strings.Contains(found.GetToken().GetRemainingStep(), "no end") {
			t.Errorf("TraceToken = %v, %v", found, err)
		}
		gone, err := signetv1.NewKeyServiceClient(s.Operator()).RevokeKey(t.Context(), &signetv1.RevokeKeyRequest{Name: f.kind, Reason: "test"})
		if e := gone.GetExposure(); err != nil || e.GetUpperBound() != nil || e.GetLogs()[0].GetTokens() != 1 || e.GetLogs()[0].GetLastExpireTime() != nil ||
			e.GetLogs()[0].GetHolders()[0].GetLastExpireTime() != nil {
			t.Errorf("RevokeKey = %v, %v", gone, err)
		}
	}
}
