package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

const secret = "MIGTAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBHkwdwIBAQQgcanarycanarycanary"

func vkey(t *testing.T, name string) string {
	t.Helper()
	_, v, err := auditlog.GenerateKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestLoadConfig(t *testing.T) {
	key, other := vkey(t, "vault/node-1"), vkey(t, "vault/node-2")
	const files = "ca: ca.pem\ncertificate: /abs/cert.pem\nkey: key.pem\n"
	tests := []struct {
		name, text string
		want       string // of the error; empty: none
	}{
		{"good", "addresses: [localhost:7443]\nlogs: [{origin: vault/node-1/a, key: " + key + "}]\nserver_name: signet\n" + files, ""},
		{"two logs of one node", "addresses: [localhost:7443]\nlogs: [{origin: vault/node-1/a, key: " + key + "}, {origin: vault/node-1/b, key: " + key + "}]\n" + files, ""},
		{"no logs", "addresses: [localhost:7443]\n" + files, ""},
		{"typo", "addresses: [localhost:7443]\n" + files + "server_nam: x\n", ":5:1: unknown key server_nam; the keys are addresses, "},
		{"key twice", "addresses: [localhost:7443]\n" + files + "ca: b\n", ":5:1: a key that stands further up already"},
		{"tab", "addresses:\n\t- localhost:7443\n" + files, ":2:1: a tab; indent with spaces"},
		{"no list", "addresses: localhost:7443\n" + files, ":1:12: a list belongs here"},
		{"empty", "", "is empty"},
		{"only comments", "# nothing\n", "is empty"},
		{"a private key", "-----BEGIN PRIVATE KEY-----\n" + secret + "\n-----END PRIVATE KEY-----\n", ": "},
		{"a private key as a key", secret + ": x\n", ": "},
		{"no address", files, "addresses: "},
		{"address without port", "addresses: [localhost]\n" + files, "addresses[0]: "},
		{"no ca", "addresses: [localhost:7443]\ncertificate: a\nkey: b\n", "ca: "},
		{"origin", "addresses: [localhost:7443]\nlogs: [{origin: vault, key: " + key + "}]\n" + files, "logs[0].origin: "},
		{"key", "addresses: [localhost:7443]\nlogs: [{origin: vault/node-1/a, key: nonsense}]\n" + files, "logs[0].key: "},
		{"key of another node", "addresses: [localhost:7443]\nlogs: [{origin: vault/node-1/a, key: " + other + "}]\n" + files, "the key is that of vault/node-2"},
		{"two keys of one node", "addresses: [localhost:7443]\nlogs: [{origin: vault/node-1/a, key: " + key + "}, {origin: vault/node-1/b, key: " + vkey(t, "vault/node-1") + "}]\n" + files, "a second key"},
		{"wrong type", "addresses: {a: b}\n" + files, ":1:12: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "client.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := LoadConfig(path)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if c.CA != filepath.Join(filepath.Dir(path), "ca.pem") || c.Certificate != "/abs/cert.pem" {
					t.Errorf("paths are %s, %s", c.CA, c.Certificate)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), path) {
				t.Errorf("error is %v, want %s…%s", err, path, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), secret[:20]) {
				t.Error("the error repeats the file")
			}
		})
	}
}

func TestDialSaysWhichFile(t *testing.T) {
	c := Config{Addresses: []string{"localhost:1"}, CA: "/nowhere/ca.pem", Certificate: "/nowhere/cert.pem", Key: "/nowhere/key.pem"}
	if _, err := Dial(c); err == nil || !strings.Contains(err.Error(), "/nowhere/ca.pem") {
		t.Errorf("error is %v", err)
	}
	c.CA = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(c.CA, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(c); err == nil || !strings.Contains(err.Error(), "holds no certificate") {
		t.Errorf("error is %v", err)
	}
}

func refusal(t *testing.T, code codes.Code, reason string, more ...protoadapt.MessageV1) error {
	t.Helper()
	st := status.New(code, "public text")
	if reason != "" {
		more = append(more, &errdetails.ErrorInfo{Domain: "signet", Reason: reason})
	}
	if len(more) == 0 {
		return st.Err()
	}
	st, err := st.WithDetails(more...)
	if err != nil {
		t.Fatal(err)
	}
	return st.Err()
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		want   error
		reason string
	}{
		{"reason", refusal(t, codes.FailedPrecondition, "KEY_DISABLED"), ErrKeyDisabled, "KEY_DISABLED"},
		{"reason outranks code", refusal(t, codes.InvalidArgument, "SEAL_EXPIRED"), ErrMalformed, "SEAL_EXPIRED"},
		{"conflict", refusal(t, codes.Aborted, "ETAG_MISMATCH"), ErrConflict, "ETAG_MISMATCH"},
		{"gap", refusal(t, codes.Unavailable, "GAP"), ErrUnavailable, "GAP"},
		{"new reason goes by its code", refusal(t, codes.PermissionDenied, "NEWER_THAN_THIS"), ErrDenied, "NEWER_THAN_THIS"},
		{"no reason", refusal(t, codes.Unauthenticated, ""), ErrUnauthenticated, ""},
		{"another domain's reason", refusal(t, codes.NotFound, "", &errdetails.ErrorInfo{Domain: "proxy", Reason: "DENIED"}), ErrNotFound, ""},
		{"deadline", refusal(t, codes.DeadlineExceeded, ""), context.DeadlineExceeded, ""},
		{"deadline is unavailable, too", refusal(t, codes.DeadlineExceeded, ""), ErrUnavailable, ""},
		{"canceled", refusal(t, codes.Canceled, ""), context.Canceled, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := fmt.Errorf("wrapped: %w", fromGRPC(tt.err))
			if !errors.Is(err, tt.want) {
				t.Errorf("is not %v", tt.want)
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Reason() != tt.reason || e.Error() != "public text" || status.Code(e) != status.Code(tt.err) {
				t.Errorf("error is %#v", e)
			}
			for _, other := range []error{ErrExists, ErrRateLimited, ErrKeyRevoked} {
				if errors.Is(err, other) {
					t.Errorf("is %v, too", other)
				}
			}
		})
	}
	if err := fromGRPC(nil); err != nil {
		t.Errorf("nil became %v", err)
	}
}

func TestConnectionErrors(t *testing.T) {
	tests := []struct {
		name, text, want string
		is               error
	}{
		{"another CA", `connection error: desc = "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of \"x\")"`,
			`tls: failed to verify certificate: x509: certificate signed by unknown authority (possibly because of "x")`, ErrUntrusted},
		{"nobody there", `connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`,
			"dial tcp 127.0.0.1:1: connect: connection refused", ErrUnavailable},
		{"around it", `last one: connection error: desc = "gone"; no more`, "last one: gone; no more", ErrUnavailable},
		{"silent", `connection error: desc = "transport: authentication handshake failed: context deadline exceeded"`, "no answer in time", ErrUnavailable},
		{"not quoted", `connection error: desc = gone`, `connection error: desc = gone`, ErrUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := fromGRPC(status.Error(codes.Unavailable, tt.text))
			if err.Error() != tt.want || !errors.Is(err, tt.is) || errors.Is(err, ErrUnavailable) && errors.Is(err, ErrUntrusted) {
				t.Errorf("error is %q", err)
			}
		})
	}
	if err := fromGRPC(fmt.Errorf("max retries exhausted: %w", refusal(t, codes.Unavailable, "GAP"))); err.Error() != "public text" {
		t.Errorf("after retries it is %q", err)
	}
	// What the server itself says is not taken for the connection's.
	if err := fromGRPC(refusal(t, codes.Unavailable, "GAP")); errors.Is(err, ErrUntrusted) {
		t.Errorf("error is %v", err)
	}
}

func TestErrorDetails(t *testing.T) {
	err := fromGRPC(refusal(t, codes.ResourceExhausted, "RATE_LIMITED",
		&errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)},
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: "document", Description: "3:1: what"}}}))
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatal(err)
	}
	if e.RetryAfter() != 3*time.Second {
		t.Errorf("retry after %s", e.RetryAfter())
	}
	if diff := cmp.Diff([]FieldProblem{{"document", "3:1: what"}}, e.Problems()); diff != "" {
		t.Error(diff)
	}
}

// flaky fails every call a number of times with Unavailable.
type flaky struct {
	signetv1.UnimplementedKeyServiceServer
	signetv1.UnimplementedTokenServiceServer
	signetv1.UnimplementedAuditServiceServer
	calls, fail atomic.Int64
	left        atomic.Int64 // nanoseconds to the deadline; 0 without one
}

func (f *flaky) call(ctx context.Context) error {
	f.left.Store(0)
	if deadline, ok := ctx.Deadline(); ok {
		f.left.Store(int64(time.Until(deadline)))
	}
	if f.calls.Add(1) <= f.fail.Load() {
		return status.Error(codes.Unavailable, "not now")
	}
	return nil
}

func (f *flaky) ListKeys(ctx context.Context, _ *signetv1.ListKeysRequest) (*signetv1.ListKeysResponse, error) {
	return &signetv1.ListKeysResponse{}, f.call(ctx)
}

func (f *flaky) GetCheckpoint(ctx context.Context, _ *signetv1.GetCheckpointRequest) (*signetv1.Checkpoint, error) {
	return &signetv1.Checkpoint{}, f.call(ctx)
}

func (f *flaky) DisableKey(ctx context.Context, _ *signetv1.DisableKeyRequest) (*signetv1.Key, error) {
	return &signetv1.Key{}, f.call(ctx)
}

func (f *flaky) MintToken(ctx context.Context, _ *signetv1.MintTokenRequest) (*signetv1.MintTokenResponse, error) {
	return &signetv1.MintTokenResponse{}, f.call(ctx)
}

func TestOnlyReadsAreRetried(t *testing.T) {
	f := &flaky{}
	s := grpc.NewServer()
	signetv1.RegisterKeyServiceServer(s, f)
	signetv1.RegisterTokenServiceServer(s, f)
	signetv1.RegisterAuditServiceServer(s, f)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(serviceConfig))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c, err := New(conn)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		calls int64
		call  func(context.Context) error
	}{
		{"list", 3, func(ctx context.Context) error { _, err := c.ListKeys(ctx, &signetv1.ListKeysRequest{}); return err }},
		{"audit", 3, func(ctx context.Context) error {
			_, err := c.GetCheckpoint(ctx, &signetv1.GetCheckpointRequest{})
			return err
		}},
		{"mint", 1, func(ctx context.Context) error { _, err := c.Mint(ctx, "p", MintOptions{}); return err }},
		{"disable", 1, func(ctx context.Context) error {
			_, err := c.DisableKey(ctx, &signetv1.DisableKeyRequest{Name: "k"})
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.calls.Store(0)
			f.fail.Store(2)
			err := tt.call(t.Context())
			if got := f.calls.Load(); got != tt.calls {
				t.Errorf("%d calls reached the server, want %d", got, tt.calls)
			}
			if (tt.calls == 1) != errors.Is(err, ErrUnknown) || errors.Is(err, ErrUnavailable) {
				t.Errorf("error is %v", err)
			}
			// A change may wait until a replica that is cut off has lost its right to mint.
			least, most := 20*time.Second, 30*time.Second
			if tt.name == "disable" {
				least, most = 5*time.Minute+30*time.Second, 6*time.Minute
			}
			if left := time.Duration(f.left.Load()); left < least || left > most {
				t.Errorf("the call had %s", left)
			}
		})
	}
}

// asked keeps what it is asked, and answers nothing.
type asked struct {
	grpc.ClientConnInterface
	request any
}

func (a *asked) Invoke(_ context.Context, _ string, request, _ any, _ ...grpc.CallOption) error {
	a.request = request
	return nil
}

func TestMintAsks(t *testing.T) {
	a := &asked{}
	c, err := New(a, LogKey{Origin: "vault/node-1/a", Key: vkey(t, "vault/node-1")})
	if err != nil {
		t.Fatal(err)
	}
	scope := []string{"GET /v1/apps/1"}
	for _, tt := range []struct {
		o    MintOptions
		want *signetv1.MintTokenRequest
	}{
		{MintOptions{}, &signetv1.MintTokenRequest{Profile: "p"}},
		{MintOptions{TTL: time.Minute, Scope: scope, Receipt: true, Fresh: true}, &signetv1.MintTokenRequest{
			Profile: "p", Ttl: durationpb.New(time.Minute), Receipt: true, Fresh: true,
			Parameters: &signetv1.MintTokenRequest_Scope{Scope: &signetv1.ScopeParameters{Entries: scope}},
		}},
		{MintOptions{Call: PromotionalOffer{"product", "offer", "transaction", "account"}}, &signetv1.MintTokenRequest{
			Profile: "p", Parameters: &signetv1.MintTokenRequest_PromotionalOffer{PromotionalOffer: &signetv1.PromotionalOfferParameters{
				ProductId: "product", OfferId: "offer", TransactionId: "transaction", Account: "account",
			}},
		}},
		{MintOptions{Call: IntroductoryOffer{"product", "transaction", false}}, &signetv1.MintTokenRequest{
			Profile: "p", Parameters: &signetv1.MintTokenRequest_IntroductoryOffer{IntroductoryOffer: &signetv1.IntroductoryOfferParameters{
				ProductId: "product", TransactionId: "transaction", AllowIntroductoryOffer: proto.Bool(false),
			}},
		}},
		{MintOptions{Call: AdvancedCommerce{[]byte("{ }")}}, &signetv1.MintTokenRequest{
			Profile: "p", Parameters: &signetv1.MintTokenRequest_AdvancedCommerce{AdvancedCommerce: &signetv1.AdvancedCommerceParameters{Request: []byte("{ }")}},
		}},
		{MintOptions{Call: MapsSnapshot{"z=1"}}, &signetv1.MintTokenRequest{
			Profile: "p", Parameters: &signetv1.MintTokenRequest_MapsSnapshot{MapsSnapshot: &signetv1.MapsSnapshotParameters{Query: "z=1"}},
		}},
		{MintOptions{Call: IWorkExport{"a.pdf"}}, &signetv1.MintTokenRequest{
			Profile: "p", Parameters: &signetv1.MintTokenRequest_IworkExport{IworkExport: &signetv1.IworkExportParameters{FileName: "a.pdf"}},
		}},
		{MintOptions{Call: Marketplace{"dev"}}, &signetv1.MintTokenRequest{
			Profile: "p", Parameters: &signetv1.MintTokenRequest_Marketplace{Marketplace: &signetv1.MarketplaceParameters{DeveloperId: "dev"}},
		}},
		{MintOptions{Call: Marketplace{"dev"}, Scope: scope}, nil},
	} {
		a.request = (*signetv1.MintTokenRequest)(nil)
		_, _ = c.Mint(t.Context(), "p", tt.o)
		if diff := cmp.Diff(tt.want, a.request, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
	for keep, fresh := range map[bool]bool{true: false, false: true} {
		o := TokenSourceOptions{}
		if keep {
			o.Keep = func(*Token) error { return nil }
		}
		s := c.TokenSource("p", o)
		if fresh {
			_, _ = s.Fresh(t.Context(), nil)
		} else {
			_, _ = s.Token(t.Context())
		}
		s.Close()
		if diff := cmp.Diff(&signetv1.MintTokenRequest{Profile: "p", Receipt: keep, Fresh: fresh}, a.request, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestTokenHidesItself(t *testing.T) {
	const text = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJjYW5hcnkifQ.c2lnbmF0dXJl"
	c := &Client{}
	for _, resp := range []*signetv1.MintTokenResponse{
		{Credential: &signetv1.MintTokenResponse_BearerToken{BearerToken: &signetv1.BearerToken{Token: text}}},
		{Credential: &signetv1.MintTokenResponse_ClientSecret{ClientSecret: &signetv1.ClientSecret{Token: text, Field: "client_secret"}}},
		{Credential: &signetv1.MintTokenResponse_HandedToken{HandedToken: &signetv1.HandedToken{Token: text}}},
		{Credential: &signetv1.MintTokenResponse_OfferSignature{OfferSignature: &signetv1.OfferSignature{Signature: text}}},
		{Credential: &signetv1.MintTokenResponse_SignedUrl{SignedUrl: &signetv1.SignedUrl{Url: text}}},
	} {
		tok, err := c.token(resp, false)
		if err != nil {
			t.Fatal(err)
		}
		if all := tok.Header() + tok.PostForm().Encode() + string(tok.AppJSON()); tok.Text() != text || tok.Form != FormURL && !strings.Contains(all, text) {
			t.Errorf("%s: the token does not give its text", tok.Form)
		}
		hides(t, tok)
	}
}

// hides looks for a token's text in everything that prints it.
func hides(t *testing.T, tok *Token) {
	t.Helper()
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("minted", slog.Any("token", tok))
	inJSON, err := json.Marshal(struct{ T *Token }{tok})
	if err != nil {
		t.Fatal(err)
	}
	holder := struct {
		value   Token
		pointer *Token
		source  *TokenSource
	}{*tok, tok, &TokenSource{token: tok}}
	var unfit strings.Builder
	for _, verb := range []string{"%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&unfit, verb, holder)
	}
	for _, s := range []string{
		unfit.String(), fmt.Sprint(tok), fmt.Sprintf("%v %+v %#v %s %q %x %d", tok, tok, tok, tok, tok, tok, tok), fmt.Sprintf("%v %+v", *tok, *tok),
		fmt.Sprintf("%v %+v %#v", holder, holder, holder), log.String(), string(inJSON),
	} {
		if strings.Contains(s, "eyJ") || strings.Contains(s, "canary") || strings.Contains(s, fmt.Sprintf("%x", "canary")) {
			t.Errorf("the token's text is in %q", s)
		}
	}
}

func TestTokenMissing(t *testing.T) {
	c := &Client{}
	if _, err := c.token(&signetv1.MintTokenResponse{}, false); !errors.Is(err, ErrUnverified) {
		t.Errorf("error is %v", err)
	}
}

// hashStore is the stored hashes of a tree, for tlog's own functions.
type hashStore []tlog.Hash

func (s hashStore) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hs := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		hs[i] = s[x]
	}
	return hs, nil
}

func TestTreeIsRFC6962(t *testing.T) {
	var stored hashStore
	var tr tree
	for i := range int64(300) {
		want, err := tlog.TreeHash(i, stored)
		if err != nil {
			t.Fatal(err)
		}
		if got := tr.hash(); got != want {
			t.Fatalf("hash of %d leaves differs from tlog's", i)
		}
		leaf := fmt.Appendf(nil, "leaf %d", i)
		hs, err := tlog.StoredHashes(i, leaf, stored)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hs...)
		tr.add(auditlog.LeafHash(leaf))
	}
}
