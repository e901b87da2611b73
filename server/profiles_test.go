package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
)

// profilesOf lists what a caller may mint, by pages of a size.
func profilesOf(t *testing.T, s *servertest.Server, who string, size int32) []*signetv1.Profile {
	t.Helper()
	tokens := signetv1.NewTokenServiceClient(s.Conn(who))
	var all []*signetv1.Profile
	ask := &signetv1.ListProfilesRequest{PageSize: size}
	for {
		page, err := tokens.ListProfiles(t.Context(), ask)
		if err != nil {
			t.Fatal(err)
		}
		if size > 0 && len(page.GetProfiles()) > int(size) {
			t.Fatalf("%d profiles on a page of %d", len(page.GetProfiles()), size)
		}
		all = append(all, page.GetProfiles()...)
		if ask.PageToken = page.GetNextPageToken(); ask.PageToken == "" {
			return all
		}
	}
}

func find(t *testing.T, profiles []*signetv1.Profile, name string) *signetv1.Profile {
	t.Helper()
	for _, p := range profiles {
		if p.GetName() == name {
			return p
		}
	}
	t.Fatalf("%s is not listed", name)
	return nil
}

// TestListProfiles: a caller sees what its own grants let it mint, and what a mint would say.
func TestListProfiles(t *testing.T) {
	s, key := minting(t)
	s.ApplyPolicy(`version: 1
profiles:
  release: {key: asc, app_store_connect: {}, ttl: 5m}
  app-read: {key: asc, app_store_connect: {app: "1", read: [beta]}, reuse: never}
  ci-read: {key: asc, app_store_connect: {scope: [GET /v1/ciProducts]}, long_lived: true, ttl: 90d}
  other: {key: asc, app_store_connect: {}}
grants:
  - id: ci
    to: [{mtls: "spiffe://signet.test/ci/*"}]
    mint: [release, app-read]
    rate: 60/h
  - id: ci-months
    to: [{mtls: "` + ci + `"}]
    mint: [ci-read, release]
    rate: none
  - id: others
    to: [{mtls: "spiffe://signet.test/other"}]
    mint: [other]
`)
	s.Conn(ci)
	s.Conn(stranger) // their certificates are recorded
	before := len(entries(t, s, &signetv1.EntryFilter{}))
	hourly := func(p *signetv1.Profile) *signetv1.Profile {
		p.RateEvents, p.RatePer = proto.Int32(60), durationpb.New(time.Hour)
		return p
	}
	ten, five, months := durationpb.New(10*time.Minute), durationpb.New(5*time.Minute), durationpb.New(90*24*time.Hour)
	want := []*signetv1.Profile{
		hourly(&signetv1.Profile{Name: "app-read", Family: "app-store-connect", Form: "header", KeyId: key.KeyID, DefaultTtl: ten, MaxTtl: ten, Reads: []string{"beta"}, Reuse: "never", Scope: []string{
			"GET /v1/apps/1", "GET /v1/apps/1/betaAppLocalizations", "GET /v1/apps/1/betaGroups", "GET /v1/apps/1/betaLicenseAgreement",
			"GET /v1/betaAppLocalizations?filter[app]=1", "GET /v1/betaGroups?filter[app]=1", "GET /v1/betaLicenseAgreements?filter[app]=1",
		}}),
		{Name: "ci-read", Family: "app-store-connect", Form: "header", KeyId: key.KeyID, DefaultTtl: months, MaxTtl: months, LongLived: true, Reuse: "per-principal", Scope: []string{"GET /v1/ciProducts"}},
		hourly(&signetv1.Profile{Name: "release", Family: "app-store-connect", Form: "header", KeyId: key.KeyID, DefaultTtl: five, MaxTtl: five, Reuse: "per-principal"}),
	}
	for _, size := range []int32{0, 1, 2, 3, 1000} {
		if diff := cmp.Diff(want, profilesOf(t, s, ci, size), protocmp.Transform()); diff != "" {
			t.Errorf("by pages of %d (-want +got)\n%s", size, diff)
		}
	}
	if got := profilesOf(t, s, stranger, 0); len(got) != 0 {
		t.Errorf("a stranger may mint %v", got)
	}
	if after := entries(t, s, &signetv1.EntryFilter{}); len(after) != before+1 { // that of the reading before
		t.Errorf("%d entries more, of lists that are not recorded", len(after)-before-1)
	}

	minted, err := signetv1.NewTokenServiceClient(s.Conn(ci)).MintToken(t.Context(), &signetv1.MintTokenRequest{Profile: "ci-read"})
	if err != nil {
		t.Fatal(err)
	}
	if got := minted.GetExpireTime().AsTime().Sub(minted.GetIssueTime().AsTime()); got != months.AsDuration() {
		t.Errorf("a long-lived token lives for %s", got)
	}
	keyID := func(p *signetv1.Profile) string { return p.GetUnavailableReason() + p.GetKeyId() }
	if _, err := signetv1.NewKeyServiceClient(s.Operator()).DisableKey(t.Context(), &signetv1.DisableKeyRequest{Name: "asc"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range want {
		p = find(t, profilesOf(t, s, ci, 0), p.GetName())
		_, err := signetv1.NewTokenServiceClient(s.Conn(ci)).MintToken(t.Context(), &signetv1.MintTokenRequest{Profile: p.GetName()})
		if keyID(p) != "KEY_DISABLED" || reason(err) != "KEY_DISABLED" {
			t.Errorf("%s is listed as %q, and minting it says %q", p.GetName(), keyID(p), reason(err))
		}
	}
}

// TestListProfilesStopped: where nothing is minted at all, every profile says so.
func TestListProfilesStopped(t *testing.T) {
	s, _ := minting(t)
	s.Conn(ci)
	entries(t, s, &signetv1.EntryFilter{})
	s.Clock.Advance(-time.Minute)
	listed := profilesOf(t, s, ci, 0)
	if len(listed) != 2 {
		t.Fatalf("%d profiles", len(listed))
	}
	for _, p := range listed {
		_, err := signetv1.NewTokenServiceClient(s.Conn(ci)).MintToken(t.Context(), &signetv1.MintTokenRequest{Profile: p.GetName()})
		if p.GetUnavailableReason() != "CLOCK" || p.GetKeyId() != "" || reason(err) != "CLOCK" {
			t.Errorf("%s is listed as %q, and minting it says %q", p.GetName(), p.GetUnavailableReason(), reason(err))
		}
	}
}

// TestListManyProfiles: pages are whole and in order, however many there are.
func TestListManyProfiles(t *testing.T) {
	s, _ := minting(t)
	var doc strings.Builder
	doc.WriteString("version: 1\nprofiles:\n")
	names := make([]string, 250)
	for i := range names {
		names[i] = fmt.Sprintf("p%03d", i)
		fmt.Fprintf(&doc, "  %s: {key: asc, app_store_connect: {}}\n", names[i])
	}
	fmt.Fprintf(&doc, "grants: [{id: g, to: [{mtls: %q}], mint: [%s]}]\n", ci, strings.Join(names, ", "))
	s.ApplyPolicy(doc.String())
	var got []string
	for _, p := range profilesOf(t, s, ci, 0) {
		got = append(got, p.GetName())
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
