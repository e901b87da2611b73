package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
)

func scoped(entries ...string) *signetv1.MintTokenRequest {
	return &signetv1.MintTokenRequest{Profile: "read", Parameters: &signetv1.MintTokenRequest_Scope{Scope: &signetv1.ScopeParameters{Entries: entries}}}
}

func lasting(ttl *durationpb.Duration) *signetv1.MintTokenRequest {
	return &signetv1.MintTokenRequest{Profile: "release", Ttl: ttl}
}

// unknown adds a field that nobody knows to a message.
func unknown[M proto.Message](m M) M {
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 4711, protowire.VarintType), 1))
	return m
}

// TestBadInput: each is answered with its code and reason, and changes nothing.
func TestBadInput(t *testing.T) {
	s, key := minting(t)
	elsewhere := servertest.New(t)
	caller, operator, outsider := s.Conn(ci), s.Operator(), s.Conn(stranger)
	csr := request(t)

	known := s.Seal(key)
	foreign := elsewhere.Seal(elsewhere.NewKey("app-store-connect"))
	fresh := s.NewKey("app-store-connect")
	contradicted := s.Seal(fresh)
	broken := slices.Clone(contradicted)
	broken[len(broken)-10] ^= 1

	const (
		mint     = "/signet.v1.TokenService/MintToken"
		imports  = "/signet.v1.KeyService/ImportKey"
		list     = "/signet.v1.KeyService/ListKeys"
		profiles = "/signet.v1.TokenService/ListProfiles"
		get      = "/signet.v1.KeyService/GetKey"
		activate = "/signet.v1.KeyService/ActivateVersion"
		disable  = "/signet.v1.KeyService/DisableKey"
		revoke   = "/signet.v1.KeyService/RevokeKey"
		policy   = "/signet.v1.PolicyService/GetPolicy"
		apply    = "/signet.v1.PolicyService/ApplyPolicy"
		history  = "/signet.v1.PolicyService/ListRevisions"
		entries  = "/signet.v1.AuditService/ListEntries"
		include  = "/signet.v1.AuditService/ProveInclusion"
		consist  = "/signet.v1.AuditService/ProveConsistency"
		issue    = "/signet.v1.SystemService/IssueCertificate"
		ack      = "/signet.v1.SystemService/Acknowledge"
	)
	tests := []struct {
		name   string
		conn   *grpc.ClientConn // the caller where nil
		method string
		in     proto.Message
		code   codes.Code
		reason string
		field  string // of the violation; none is asked for when empty
	}{
		{"ttl zero", nil, mint, lasting(durationpb.New(0)), codes.InvalidArgument, "MALFORMED", "ttl"},
		{"ttl negative", nil, mint, lasting(durationpb.New(-time.Minute)), codes.InvalidArgument, "MALFORMED", "ttl"},
		{"ttl with a fraction", nil, mint, lasting(durationpb.New(90*time.Second + time.Millisecond)), codes.InvalidArgument, "MALFORMED", "ttl"},
		{"ttl within the back-dating", nil, mint, lasting(durationpb.New(30 * time.Second)), codes.InvalidArgument, "MALFORMED", "ttl"},
		{"ttl that is no duration", nil, mint, lasting(&durationpb.Duration{Seconds: 60, Nanos: -1}), codes.InvalidArgument, "MALFORMED", "ttl"},
		{"ttl above the profile's ceiling", nil, mint, lasting(durationpb.New(11 * time.Minute)), codes.PermissionDenied, "TTL_TOO_LONG", ""},
		{"ttl above the family's ceiling", nil, mint, lasting(durationpb.New(24 * time.Hour)), codes.PermissionDenied, "TTL_TOO_LONG", ""},
		{"ttl beyond everything", nil, mint, lasting(&durationpb.Duration{Seconds: 315576000000}), codes.PermissionDenied, "TTL_TOO_LONG", ""},
		{"scope not granted", nil, mint, scoped("GET /v1/apps/2"), codes.PermissionDenied, "SCOPE_NOT_GRANTED", ""},
		{"scope that writes", nil, mint, scoped("POST /v1/apps/1"), codes.InvalidArgument, "MALFORMED", "scope"},
		{"scope that climbs", nil, mint, scoped("GET /v1/apps/../users"), codes.InvalidArgument, "MALFORMED", "scope"},
		{"scope of nothing", nil, mint, scoped(), codes.InvalidArgument, "MALFORMED", "scope.entries"},
		{"scope of an empty entry", nil, mint, scoped(""), codes.InvalidArgument, "MALFORMED", "scope.entries[0]"},
		{"scope of 10,000 entries", nil, mint, scoped(slices.Repeat([]string{"GET /v1/apps/1"}, 10_000)...), codes.InvalidArgument, "MALFORMED", "scope.entries"},
		{"no profile", nil, mint, &signetv1.MintTokenRequest{}, codes.InvalidArgument, "MALFORMED", "profile"},
		{"profile in capitals", nil, mint, &signetv1.MintTokenRequest{Profile: "Release"}, codes.InvalidArgument, "MALFORMED", "profile"},
		{"profile with a line break", nil, mint, &signetv1.MintTokenRequest{Profile: "release\n"}, codes.InvalidArgument, "MALFORMED", "profile"},
		{"profile nobody has", nil, mint, &signetv1.MintTokenRequest{Profile: "nothing"}, codes.PermissionDenied, "DENIED", ""},
		{"unknown field", nil, mint, unknown(&signetv1.MintTokenRequest{Profile: "release"}), codes.InvalidArgument, "MALFORMED", ""},
		{"unknown field within", nil, mint, &signetv1.MintTokenRequest{Profile: "release", Ttl: unknown(durationpb.New(time.Minute))}, codes.InvalidArgument, "MALFORMED", ""},
		{"unknown field within a oneof", nil, mint, &signetv1.MintTokenRequest{Profile: "read", Parameters: &signetv1.MintTokenRequest_Scope{
			Scope: unknown(&signetv1.ScopeParameters{Entries: []string{"GET /v1/apps/1"}})}}, codes.InvalidArgument, "MALFORMED", ""},
		{"4 MB", operator, apply, &signetv1.ApplyPolicyRequest{Document: make([]byte, 4<<20)}, codes.ResourceExhausted, "", ""},
		{"more than a document", operator, apply, &signetv1.ApplyPolicyRequest{Document: make([]byte, 1<<20+1)}, codes.InvalidArgument, "MALFORMED", "document"},

		{"operator has no mint", operator, mint, &signetv1.MintTokenRequest{Profile: "release"}, codes.PermissionDenied, "DENIED", ""},
		{"outsider and a real profile", outsider, mint, &signetv1.MintTokenRequest{Profile: "release"}, codes.PermissionDenied, "DENIED", ""},
		{"outsider and a real key", outsider, get, &signetv1.GetKeyRequest{Name: "asc"}, codes.PermissionDenied, "DENIED", ""},
		{"outsider and no key", outsider, get, &signetv1.GetKeyRequest{Name: "nothing"}, codes.PermissionDenied, "DENIED", ""},

		{"key name with a slash at the end", operator, imports, &signetv1.ImportKeyRequest{Name: "a/", Sealed: contradicted}, codes.InvalidArgument, "MALFORMED", "name"},
		{"key name that climbs", operator, get, &signetv1.GetKeyRequest{Name: "../asc"}, codes.InvalidArgument, "MALFORMED", "name"},
		{"key name with a zero byte", operator, disable, &signetv1.DisableKeyRequest{Name: "asc\x00"}, codes.InvalidArgument, "MALFORMED", "name"},
		{"key name too long", operator, get, &signetv1.GetKeyRequest{Name: strings.Repeat("a", 129)}, codes.InvalidArgument, "MALFORMED", "name"},
		{"key that is not there", operator, get, &signetv1.GetKeyRequest{Name: "nothing"}, codes.NotFound, "NOT_FOUND", ""},
		{"version that is not there", operator, activate, &signetv1.ActivateVersionRequest{Name: "asc", Version: 9}, codes.NotFound, "NOT_FOUND", ""},
		{"version zero", operator, activate, &signetv1.ActivateVersionRequest{Name: "asc"}, codes.InvalidArgument, "MALFORMED", "version"},
		{"revoked without a reason", operator, revoke, &signetv1.RevokeKeyRequest{Name: "asc"}, codes.InvalidArgument, "MALFORMED", "reason"},
		{"reason too long", operator, revoke, &signetv1.RevokeKeyRequest{Name: "asc", Reason: strings.Repeat("a", 1025)}, codes.InvalidArgument, "MALFORMED", "reason"},
		{"key pasted as reason", operator, revoke, &signetv1.RevokeKeyRequest{Name: "asc", Reason: string(key.P8)}, codes.InvalidArgument, "MALFORMED", "reason"},
		{"key file that is not sealed", operator, imports, &signetv1.ImportKeyRequest{Name: "plain", Sealed: fresh.P8}, codes.InvalidArgument, "MALFORMED", "sealed"},
		{"sealed rubbish", operator, imports, &signetv1.ImportKeyRequest{Name: "rubbish", Sealed: []byte("rubbish")}, codes.InvalidArgument, "MALFORMED", ""},
		{"seal that was altered", operator, imports, &signetv1.ImportKeyRequest{Name: "altered", Sealed: broken}, codes.InvalidArgument, "MALFORMED", ""},
		{"sealed for another vault", operator, imports, &signetv1.ImportKeyRequest{Name: "foreign", Sealed: foreign}, codes.InvalidArgument, "SEAL_OTHER_VAULT", ""},
		{"key that is here", operator, imports, &signetv1.ImportKeyRequest{Name: "again", Sealed: known}, codes.AlreadyExists, "KEY_KNOWN", ""},
		{"duplicate of another key", operator, imports, &signetv1.ImportKeyRequest{Name: "again", Sealed: known, AllowDuplicate: "nothing"}, codes.AlreadyExists, "KEY_KNOWN", ""},
		{"duplicate of nothing", operator, imports, &signetv1.ImportKeyRequest{Name: "again", Sealed: contradicted, AllowDuplicate: "asc"}, codes.FailedPrecondition, "NO_DUPLICATE", ""},
		{"duplicate of no name", operator, imports, &signetv1.ImportKeyRequest{Name: "again", Sealed: known, AllowDuplicate: "../asc"}, codes.InvalidArgument, "MALFORMED", "allow_duplicate"},
		{"other facts than sealed", operator, imports, &signetv1.ImportKeyRequest{Name: "other", Sealed: contradicted, Facts: &signetv1.KeyFacts{KeyId: "AAAAAAAAAA"}}, codes.InvalidArgument, "SEAL_MISMATCH", ""},
		{"kind nobody knows", operator, imports, &signetv1.ImportKeyRequest{Name: "kind", Sealed: contradicted, Facts: &signetv1.KeyFacts{Kind: "gold"}}, codes.InvalidArgument, "MALFORMED", "facts.kind"},
		{"issuer that is none", operator, imports, &signetv1.ImportKeyRequest{Name: "iss", Sealed: contradicted, Facts: &signetv1.KeyFacts{IssuerId: "me"}}, codes.InvalidArgument, "MALFORMED", "facts.issuer_id"},
		{"key id that is none", operator, imports, &signetv1.ImportKeyRequest{Name: "kid", Sealed: contradicted, Facts: &signetv1.KeyFacts{KeyId: "a b"}}, codes.InvalidArgument, "MALFORMED", "facts.key_id"},
		{"page token that is none", operator, list, &signetv1.ListKeysRequest{PageToken: "!"}, codes.InvalidArgument, "MALFORMED", "page_token"},
		{"page token of no name", operator, list, &signetv1.ListKeysRequest{PageToken: "Ly8"}, codes.InvalidArgument, "MALFORMED", "page_token"},
		{"page size negative", operator, list, &signetv1.ListKeysRequest{PageSize: -1}, codes.InvalidArgument, "MALFORMED", "page_size"},
		{"page size too big", operator, list, &signetv1.ListKeysRequest{PageSize: 1001}, codes.InvalidArgument, "MALFORMED", "page_size"},

		{"revision that is not there", operator, policy, &signetv1.GetPolicyRequest{Revision: 99}, codes.NotFound, "NOT_FOUND", ""},
		{"revision beyond every number", operator, policy, &signetv1.GetPolicyRequest{Revision: 1 << 62}, codes.NotFound, "NOT_FOUND", ""},
		{"profiles page that is none", caller, profiles, &signetv1.ListProfilesRequest{PageToken: "!"}, codes.InvalidArgument, "MALFORMED", "page_token"},
		{"profiles page of no name", caller, profiles, &signetv1.ListProfilesRequest{PageToken: "Ly8"}, codes.InvalidArgument, "MALFORMED", "page_token"},
		{"profiles page size negative", caller, profiles, &signetv1.ListProfilesRequest{PageSize: -1}, codes.InvalidArgument, "MALFORMED", "page_size"},
		{"profiles page size too big", caller, profiles, &signetv1.ListProfilesRequest{PageSize: 1001}, codes.InvalidArgument, "MALFORMED", "page_size"},
		{"history page that is none", operator, history, &signetv1.ListRevisionsRequest{PageToken: "-1"}, codes.InvalidArgument, "MALFORMED", "page_token"},
		{"empty policy", operator, apply, &signetv1.ApplyPolicyRequest{}, codes.InvalidArgument, "MALFORMED", "document"},
		{"policy with a typo", operator, apply, &signetv1.ApplyPolicyRequest{Document: []byte("version: 1\nprofile: {}\n")}, codes.InvalidArgument, "POLICY_INVALID", "2:1"},
		{"policy with a missing key", operator, apply, &signetv1.ApplyPolicyRequest{Document: []byte("version: 1\nprofiles:\n  p: {key: nothing, app_store_connect: {}}\n")}, codes.InvalidArgument, "POLICY_INVALID", "3:12"},
		{"policy whose test fails", operator, apply, &signetv1.ApplyPolicyRequest{Document: []byte(policyDoc + "tests:\n  - {as: {mtls: \"spiffe://signet.test/x\"}, mint: release, expect: allow}\n")}, codes.FailedPrecondition, "POLICY_TEST_FAILED", "?"},
		{"policy with a key in it", operator, apply, &signetv1.ApplyPolicyRequest{Document: append([]byte("version: 1\n# "), []byte(strings.ReplaceAll(string(key.P8), "\n", "\n# "))...)}, codes.InvalidArgument, "MALFORMED", "document"},
		{"etag of another policy", operator, apply, &signetv1.ApplyPolicyRequest{Document: []byte("version: 1\n"), Etag: "other"}, codes.Aborted, "ETAG_MISMATCH", ""},

		{"order nobody knows", operator, entries, &signetv1.ListEntriesRequest{Order: 7}, codes.InvalidArgument, "MALFORMED", "order"},
		{"time that is none", operator, entries, &signetv1.ListEntriesRequest{Filter: &signetv1.EntryFilter{Since: &timestamppb.Timestamp{Nanos: -1}}}, codes.InvalidArgument, "MALFORMED", "filter.since"},
		{"until that is none", operator, entries, &signetv1.ListEntriesRequest{Filter: &signetv1.EntryFilter{Until: &timestamppb.Timestamp{Nanos: -1}}}, codes.InvalidArgument, "MALFORMED", "filter.until"},
		{"token that is no hash", operator, entries, &signetv1.ListEntriesRequest{Filter: &signetv1.EntryFilter{TokenSha256: []byte("eyJ")}}, codes.InvalidArgument, "MALFORMED", "filter.token_sha256"},
		{"outcome that is none", operator, entries, &signetv1.ListEntriesRequest{Filter: &signetv1.EntryFilter{Outcome: "Allowed"}}, codes.InvalidArgument, "MALFORMED", "filter.outcome"},
		{"action that is none", operator, entries, &signetv1.ListEntriesRequest{Filter: &signetv1.EntryFilter{Action: "mint"}}, codes.InvalidArgument, "MALFORMED", "filter.action"},
		{"unknown field in a filter", operator, entries, &signetv1.ListEntriesRequest{Filter: unknown(&signetv1.EntryFilter{})}, codes.InvalidArgument, "MALFORMED", ""},
		{"entries page that is none", operator, entries, &signetv1.ListEntriesRequest{PageToken: "x"}, codes.InvalidArgument, "MALFORMED", ""},
		{"log that is not there", operator, entries, &signetv1.ListEntriesRequest{Filter: &signetv1.EntryFilter{Log: "nothing"}}, codes.NotFound, "NOT_FOUND", ""},
		{"short hash", nil, include, &signetv1.ProveInclusionRequest{LeafHash: make([]byte, 31)}, codes.InvalidArgument, "MALFORMED", "leaf_hash"},
		{"hash of no entry", nil, include, &signetv1.ProveInclusionRequest{LeafHash: make([]byte, 32)}, codes.NotFound, "NOT_FOUND", ""},
		{"index beyond the log", nil, include, &signetv1.ProveInclusionRequest{Index: 1 << 40, LeafHash: make([]byte, 32)}, codes.NotFound, "NOT_FOUND", ""},
		{"checkpoint that is none", nil, consist, &signetv1.ProveConsistencyRequest{Checkpoint: []byte("x")}, codes.InvalidArgument, "MALFORMED", ""},

		{"request for a certificate that is none", operator, issue, &signetv1.IssueCertificateRequest{Csr: []byte("x"), Uri: ci}, codes.InvalidArgument, "MALFORMED", ""},
		{"certificate for another trust domain", operator, issue, &signetv1.IssueCertificateRequest{Csr: csr, Uri: "spiffe://elsewhere.test/x"}, codes.InvalidArgument, "MALFORMED", ""},
		{"certificate for no id", operator, issue, &signetv1.IssueCertificateRequest{Csr: csr, Uri: "https://signet.test/x"}, codes.InvalidArgument, "MALFORMED", ""},
		{"certificate for nobody", operator, issue, &signetv1.IssueCertificateRequest{Csr: csr}, codes.InvalidArgument, "MALFORMED", ""},
		{"certificate for caller and server", operator, issue, &signetv1.IssueCertificateRequest{Csr: csr, Uri: ci, Hosts: []string{"a.test"}}, codes.InvalidArgument, "MALFORMED", ""},
		{"certificate for any host", operator, issue, &signetv1.IssueCertificateRequest{Csr: csr, Hosts: []string{"*"}}, codes.InvalidArgument, "MALFORMED", ""},
		{"certificate for a moment", operator, issue, &signetv1.IssueCertificateRequest{Csr: csr, Uri: ci, Ttl: durationpb.New(1)}, codes.InvalidArgument, "MALFORMED", "ttl"},
		{"certificate for a year", operator, issue, &signetv1.IssueCertificateRequest{Csr: csr, Uri: ci, Ttl: durationpb.New(365 * 24 * time.Hour)}, codes.InvalidArgument, "MALFORMED", ""},
		{"gap that is not there", operator, ack, &signetv1.AcknowledgeRequest{Id: "nothing", Reason: "r"}, codes.NotFound, "NOT_FOUND", ""},
		{"key pasted as the reason of a gap", operator, ack, &signetv1.AcknowledgeRequest{Id: "nothing", Reason: "-----BEGIN PRIVATE KEY-----"}, codes.InvalidArgument, "MALFORMED", "reason"},
	}
	before := visible(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn := caller
			if tt.conn != nil {
				conn = tt.conn
			}
			err := conn.Invoke(t.Context(), tt.method, tt.in, &signetv1.Key{})
			expect(t, err, tt.code, tt.reason)
			if tt.field != "" {
				if fields := violations(err); !slices.Contains(fields, tt.field) && (tt.field != "?" || len(fields) == 0) {
					t.Errorf("violations of %q, want %q: %v", fields, tt.field, err)
				}
			}
		})
	}
	if diff := cmp.Diff(before, visible(t, s), protocmp.Transform()); diff != "" {
		t.Errorf("bad input has changed something: %s", diff)
	}
}

// violations are the fields that an error complains of.
func violations(err error) []string {
	var fields []string
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				fields = append(fields, v.GetField())
			}
		}
	}
	return fields
}

// visible is everything that an operator can see and a bad request could have changed.
func visible(t *testing.T, s *servertest.Server) []proto.Message {
	t.Helper()
	keys, err := signetv1.NewKeyServiceClient(s.Operator()).ListKeys(t.Context(), &signetv1.ListKeysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := signetv1.NewPolicyServiceClient(s.Operator()).GetPolicy(t.Context(), &signetv1.GetPolicyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	st, err := signetv1.NewSystemServiceClient(s.Operator()).GetStatus(t.Context(), &signetv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return []proto.Message{keys, policy, st.GetStore()}
}

// request is a certificate request.
func request(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// TestSealExpires needs the clock to move.
func TestSealExpires(t *testing.T) {
	s := servertest.New(t)
	sealed := s.Seal(s.NewKey("enterprise"))
	s.Clock.Advance(31 * 24 * time.Hour)
	_, err := signetv1.NewKeyServiceClient(s.Operator()).ImportKey(t.Context(), &signetv1.ImportKeyRequest{Name: "late", Sealed: sealed})
	expect(t, err, codes.InvalidArgument, "SEAL_EXPIRED")
}
