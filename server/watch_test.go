package server_test

import (
	"context"
	"crypto/x509"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
)

const eve = "spiffe://signet.test/security/eve"

// watchedDoc is policyDoc and who may read the log.
const watchedDoc = policyDoc + `  - id: security
    to: [{mtls: "spiffe://signet.test/security/*"}]
    do: [audit.read]
`

// startWatch begins a watch, which has begun when it returns.
func startWatch(ctx context.Context, t *testing.T, conn *grpc.ClientConn, req *signetv1.WatchEntriesRequest) grpc.ServerStreamingClient[signetv1.WatchEntriesResponse] {
	t.Helper()
	stream, err := signetv1.NewAuditServiceClient(conn).WatchEntries(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	begun, err := stream.Recv()
	if err != nil || len(begun.GetEntries()) > 0 || begun.GetNext() == nil {
		t.Fatalf("a watch begins with %v, %v", begun, err)
	}
	return stream
}

func TestWatchEntries(t *testing.T) {
	s, _ := minting(t)
	s.ApplyPolicy(watchedDoc)
	stream := startWatch(t.Context(), t, s.Conn(eve), &signetv1.WatchEntriesRequest{Filter: &signetv1.EntryFilter{Profile: "read"}})
	for _, profile := range []string{"release", "read"} {
		if _, err := mint(t.Context(), s.Conn(ci), profile); err != nil {
			t.Fatal(err)
		}
	}
	found, err := stream.Recv()
	if err != nil || len(found.GetEntries()) != 1 || found.GetEntries()[0].GetIndex() >= found.GetNext().GetIndex() ||
		!containsAll(string(found.GetEntries()[0].GetLine()), `"profile":"read"`, `"outcome":"allowed"`) {
		t.Errorf("watched %v, %v", found, err)
	}
	s.Stop()
	for err == nil {
		_, err = stream.Recv()
	}
	expect(t, err, codes.Unavailable, "SHUTTING_DOWN")
}

// TestWatchExpires: a certificate that has run out meanwhile is sent nothing more.
func TestWatchExpires(t *testing.T) {
	s, ca, _ := trusting(t)
	conn := s.Dial(ca.caller(func(c *x509.Certificate) {
		c.URIs[0] = spiffe(t, servertest.OperatorID)
		c.NotAfter = s.Clock.Now().Add(time.Minute)
	}))
	stream := startWatch(t.Context(), t, conn, &signetv1.WatchEntriesRequest{})
	s.Clock.Advance(2 * time.Minute)
	if _, err := signetv1.NewSystemServiceClient(s.Dial(ca.caller(nil))).GetStatus(t.Context(), &signetv1.GetStatusRequest{}); err == nil {
		t.Error("a caller without a grant got the status")
	}
	found, err := stream.Recv()
	if err == nil {
		t.Errorf("sent %v", found)
	}
	expect(t, err, codes.Unauthenticated, "UNAUTHENTICATED")
}

// TestBadReads is bad input of what reads the log.
func TestBadReads(t *testing.T) {
	s := servertest.New(t)
	audit := signetv1.NewAuditServiceClient(s.Operator())
	now := timestamppb.New(s.Clock.Now())
	index := int64(0)
	noTime := &timestamppb.Timestamp{Nanos: -1}
	watch := func(req *signetv1.WatchEntriesRequest) func() error {
		return func() error {
			stream, err := audit.WatchEntries(t.Context(), req)
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}
	}
	trace := func(sum []byte) func() error {
		return func() error {
			_, err := audit.TraceToken(t.Context(), &signetv1.TraceTokenRequest{Sha256: sum})
			return err
		}
	}
	usage := func(req *signetv1.GetUsageRequest) func() error {
		return func() error {
			_, err := audit.GetUsage(t.Context(), req)
			return err
		}
	}
	for name, c := range map[string]struct {
		call   func() error
		code   codes.Code
		reason string
	}{
		"watch an index":           {watch(&signetv1.WatchEntriesRequest{Filter: &signetv1.EntryFilter{Index: &index}}), codes.InvalidArgument, "MALFORMED"},
		"watch one log":            {watch(&signetv1.WatchEntriesRequest{Filter: &signetv1.EntryFilter{Log: s.LogOrigin()}}), codes.InvalidArgument, "MALFORMED"},
		"watch until":              {watch(&signetv1.WatchEntriesRequest{Filter: &signetv1.EntryFilter{Until: now}}), codes.InvalidArgument, "MALFORMED"},
		"watch no action":          {watch(&signetv1.WatchEntriesRequest{Filter: &signetv1.EntryFilter{Action: "x"}}), codes.InvalidArgument, "MALFORMED"},
		"watch no time":            {watch(&signetv1.WatchEntriesRequest{Filter: &signetv1.EntryFilter{Since: noTime}}), codes.InvalidArgument, "MALFORMED"},
		"watch from before":        {watch(&signetv1.WatchEntriesRequest{From: &signetv1.EntryPlace{Index: -1}}), codes.InvalidArgument, "MALFORMED"},
		"watch from beyond":        {watch(&signetv1.WatchEntriesRequest{From: &signetv1.EntryPlace{Index: 1 << 40}}), codes.NotFound, "NOT_FOUND"},
		"watch from no log":        {watch(&signetv1.WatchEntriesRequest{From: &signetv1.EntryPlace{Log: "nothing"}}), codes.NotFound, "NOT_FOUND"},
		"trace nothing":            {trace(nil), codes.InvalidArgument, "MALFORMED"},
		"trace a short hash":       {trace(make([]byte, 31)), codes.InvalidArgument, "MALFORMED"},
		"trace a token":            {trace([]byte("eyJhbGciOiJFUzI1NiJ9.e30.AAAA")), codes.InvalidArgument, "MALFORMED"},
		"use since no time":        {usage(&signetv1.GetUsageRequest{Since: noTime}), codes.InvalidArgument, "MALFORMED"},
		"use until no time":        {usage(&signetv1.GetUsageRequest{Until: noTime}), codes.InvalidArgument, "MALFORMED"},
		"use in no time":           {usage(&signetv1.GetUsageRequest{Since: now, Until: now}), codes.InvalidArgument, "MALFORMED"},
		"use in the future":        {usage(&signetv1.GetUsageRequest{Since: timestamppb.New(s.Clock.Now().Add(time.Hour))}), codes.InvalidArgument, "MALFORMED"},
		"unused for less than 0":   {usage(&signetv1.GetUsageRequest{UnusedFor: durationpb.New(-1)}), codes.InvalidArgument, "MALFORMED"},
		"unused for no time":       {usage(&signetv1.GetUsageRequest{UnusedFor: &durationpb.Duration{Seconds: 1, Nanos: -1}}), codes.InvalidArgument, "MALFORMED"},
		"unused before the period": {usage(&signetv1.GetUsageRequest{Since: timestamppb.New(s.Clock.Now().Add(-time.Hour)), UnusedFor: durationpb.New(2 * time.Hour)}), codes.InvalidArgument, "MALFORMED"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, c.call(), c.code, c.reason) })
	}
}
