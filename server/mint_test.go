package server_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/servertest"
)

func TestMint(t *testing.T) {
	s, key := minting(t)
	tokens := signetv1.NewTokenServiceClient(s.Conn(ci))
	var header metadata.MD
	minted, err := tokens.MintToken(t.Context(), &signetv1.MintTokenRequest{
		Profile: "read", Ttl: durationpb.New(5 * time.Minute), Receipt: true,
		Parameters: &signetv1.MintTokenRequest_Scope{Scope: &signetv1.ScopeParameters{Entries: []string{"GET /v1/apps/1"}}},
	}, grpc.Header(&header))
	if err != nil {
		t.Fatal(err)
	}
	compact := minted.GetBearerToken().GetToken()
	if err := apple.Verify(compact, &key.Private.PublicKey); err != nil {
		t.Errorf("the token does not verify: %v", err)
	}
	now := s.Clock.Now()
	if got, want := minted.GetIssueTime().AsTime(), now.Add(-apple.BackDate); !got.Equal(want) {
		t.Errorf("issued %s, want %s", got, want)
	}
	if got, want := minted.GetExpireTime().AsTime(), now.Add(5*time.Minute-apple.BackDate); !got.Equal(want) {
		t.Errorf("expires %s, want %s", got, want)
	}
	if until := minted.GetUseUntil().AsTime(); until.Before(now) || until.After(minted.GetExpireTime().AsTime()) {
		t.Errorf("use until %s, which is not between now and the end", until)
	}
	if len(minted.GetScope()) != 1 || minted.GetScope()[0] != "GET /v1/apps/1" {
		t.Errorf("scope %q", minted.GetScope())
	}
	if minted.GetKeyId() != key.KeyID {
		t.Errorf("key id %q, want %q", minted.GetKeyId(), key.KeyID)
	}
	sum := sha256.Sum256([]byte(compact))
	if minted.GetSha256() != hex.EncodeToString(sum[:]) {
		t.Errorf("sha256 %q is not the token's", minted.GetSha256())
	}
	if r := minted.GetReceipt(); r.GetOrigin() != s.LogOrigin() || !containsAll(string(r.GetEntry()), minted.GetSha256(), ci) {
		t.Errorf("receipt %v", r)
	}

	if id := header.Get("signet-request-id"); len(id) != 0 {
		t.Errorf("a mint's answer names its request, %q, which costs a twentieth of the rate", id)
	}
	lines := entries(t, s, &signetv1.EntryFilter{Action: "token.mint"})
	if len(lines) != 1 || !containsAll(lines[0], `"id":"`, minted.GetSha256(), `"127.0.0.1:`, `"sha256:`, ci) {
		t.Errorf("entries %q, want one with a request id, the token's hash %s, peer, certificate and caller", lines, minted.GetSha256())
	}
}

// TestMintAgain: a caller is told when asking again gives a newer token, and is given the same one until then, unless it
// asks for a fresh one.
func TestMintAgain(t *testing.T) {
	s, _ := minting(t)
	tokens := signetv1.NewTokenServiceClient(s.Conn(ci))
	ask := func(fresh bool) *signetv1.MintTokenResponse {
		t.Helper()
		minted, err := tokens.MintToken(t.Context(), &signetv1.MintTokenRequest{Profile: "release", Fresh: fresh})
		if err != nil {
			t.Fatal(err)
		}
		return minted
	}
	first := ask(false)
	refresh := first.GetRefreshTime().AsTime()
	if now := s.Clock.Now(); first.GetReused() || !refresh.After(now) || !refresh.Before(first.GetUseUntil().AsTime()) {
		t.Errorf("a first token is reused %v, to be refreshed at %s, with %s now", first.GetReused(), refresh, now)
	}
	fresh := ask(true)
	if fresh.GetReused() || fresh.GetSha256() == first.GetSha256() {
		t.Error("a fresh token is the one from before")
	}
	if again := ask(false); !again.GetReused() || again.GetSha256() != fresh.GetSha256() || !again.GetRefreshTime().AsTime().Equal(refresh) {
		t.Error("asked again, the server gave another token, or says other things of it")
	}
	s.Clock.Advance(refresh.Sub(s.Clock.Now()))
	if later := ask(false); later.GetReused() || later.GetSha256() == fresh.GetSha256() {
		t.Error("at the refresh time the server gave the token from before")
	}
	lines := entries(t, s, &signetv1.EntryFilter{Action: "token.mint"})
	if reused := strings.Count(strings.Join(lines, "\n"), `"reused":true`); len(lines) != 4 || reused != 1 {
		t.Errorf("%d entries, %d of which say reused; want 4 and 1", len(lines), reused)
	}
}

func TestOffMeansOff(t *testing.T) {
	s, _ := minting(t)
	keys := signetv1.NewKeyServiceClient(s.Operator())
	caller := s.Conn(ci)
	if _, err := mint(t.Context(), caller, "release"); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.DisableKey(t.Context(), &signetv1.DisableKeyRequest{Name: "asc", Reason: "a drill"}); err != nil {
		t.Fatal(err)
	}
	_, err := mint(t.Context(), caller, "release")
	expect(t, err, codes.FailedPrecondition, "KEY_DISABLED")
	_, err = mint(t.Context(), s.Conn(stranger), "release")
	expect(t, err, codes.PermissionDenied, "DENIED")

	s.Restart()
	_, err = mint(t.Context(), caller, "release")
	expect(t, err, codes.FailedPrecondition, "KEY_DISABLED")
	if _, err := keys.EnableKey(t.Context(), &signetv1.EnableKeyRequest{Name: "asc"}); err != nil {
		t.Fatal(err)
	}
	if _, err := mint(t.Context(), caller, "release"); err != nil {
		t.Fatal(err)
	}
	revoked, err := keys.RevokeKey(t.Context(), &signetv1.RevokeKeyRequest{Name: "asc", Reason: "the drill is over"})
	if err != nil {
		t.Fatal(err)
	}
	if e := revoked.GetExposure(); e.GetUpperBound() == nil || len(e.GetLogs()) != 1 || e.GetLogs()[0].GetTokens() != 2 || e.GetRemainingStep() == "" {
		t.Errorf("exposure %v, want two living tokens", e)
	}
	_, err = mint(t.Context(), caller, "release")
	expect(t, err, codes.FailedPrecondition, "KEY_REVOKED")
}

// TestShutdownWhileMinting: what a caller received before or during Shutdown is in the log, and all else is an error.
func TestShutdownWhileMinting(t *testing.T) {
	s, _ := minting(t)
	var (
		mu       sync.Mutex
		received []string
		running  sync.WaitGroup
	)
	begun := make(chan error, 8) // how the first mint of each ended
	for range cap(begun) {
		certificate := s.Certificate(ci)
		conn := s.Dial(&certificate)
		running.Go(func() {
			for first := true; ; first = false {
				minted, err := mint(t.Context(), conn, "release")
				if first {
					begun <- err
				}
				if err != nil {
					return
				}
				mu.Lock()
				received = append(received, minted.GetSha256())
				mu.Unlock()
			}
		})
	}
	for range cap(begun) {
		if err := <-begun; err != nil {
			t.Error(err)
		}
	}
	time.Sleep(100 * time.Millisecond) // for many more
	s.Stop()
	running.Wait()
	s.Restart()
	recorded := map[string]bool{}
	client := s.Client(servertest.OperatorID)
	for e, err := range client.Entries(t.Context(), &signetv1.EntryFilter{Action: "token.mint"}, signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST, 5000) {
		if err != nil {
			t.Fatal(err)
		}
		recorded[hashIn(e.GetLine())] = true
	}
	for _, sum := range received {
		if !recorded[sum] {
			t.Errorf("token %s was received and is not in the log", sum)
		}
	}
	t.Logf("%d tokens received", len(received))
}

// TestLongEntries: a page ends before it is more than an ordinary client takes.
func TestLongEntries(t *testing.T) {
	s := servertest.New(t)
	s.ImportKey("asc", "app-store-connect")
	var scope strings.Builder
	for i := range 25 {
		fmt.Fprintf(&scope, "      - GET /v1/apps/%d?fields=%s\n", i, strings.Repeat("x", 950))
	}
	s.ApplyPolicy("version: 1\nprofiles:\n  wide:\n    key: asc\n    app_store_connect:\n     scope:\n" + scope.String() +
		"grants:\n  - {id: ci, to: [{mtls: \"" + ci + "\"}], mint: [wide], rate: none}\n")
	const mints = 150
	for range mints {
		if _, err := mint(t.Context(), s.Conn(ci), "wide"); err != nil {
			t.Fatal(err)
		}
	}
	audit, ask := signetv1.NewAuditServiceClient(s.Operator()), &signetv1.ListEntriesRequest{Filter: &signetv1.EntryFilter{Action: "token.mint"}, PageSize: 5000}
	found, pages := 0, 0
	for more := true; more; more = ask.GetPageToken() != "" {
		page, err := audit.ListEntries(t.Context(), ask)
		if err != nil {
			t.Fatal(err)
		}
		found, pages, ask.PageToken = found+len(page.GetEntries()), pages+1, page.GetNextPageToken()
	}
	if found != mints || pages < 2 {
		t.Errorf("%d entries on %d pages, want %d on more than one", found, pages, mints)
	}
}
