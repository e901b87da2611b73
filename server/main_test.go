package server_test

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/boltstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ci       = "spiffe://signet.test/ci/1"
	stranger = "spiffe://signet.test/nobody/1"
)

// policyDoc lets ci mint with the key asc.
const policyDoc = `version: 1
profiles:
  release: {key: asc, app_store_connect: {}, ttl: 10m}
  read:
    key: asc
    app_store_connect: {scope: [GET /v1/apps/1, GET /v1/apps/1/builds]}
grants:
  - id: ci
    to: [{mtls: "spiffe://signet.test/ci/*"}]
    mint: [release, read]
    rate: none
`

// minting is a server with a key and a policy that lets ci mint.
func minting(t testing.TB, options ...servertest.Options) (*servertest.Server, *servertest.Key) {
	t.Helper()
	s := servertest.New(t, options...)
	key := s.ImportKey("asc", "app-store-connect")
	s.ApplyPolicy(policyDoc)
	return s, key
}

// ours are all methods of signet.v1.
func ours() []protoreflect.MethodDescriptor {
	var all []protoreflect.MethodDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage("signet.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				all = append(all, methods.Get(j))
			}
		}
		return true
	})
	return all
}

// path is a method as gRPC names it.
func path(m protoreflect.MethodDescriptor) string {
	return "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
}

// call calls a method; the answer is of its own type, the first one of a stream.
func call(ctx context.Context, conn *grpc.ClientConn, m protoreflect.MethodDescriptor, request proto.Message, options ...grpc.CallOption) (proto.Message, error) {
	answer := dynamicpb.NewMessage(m.Output())
	if m.IsStreamingServer() {
		return answer, first(ctx, conn, m, request, answer, options...)
	}
	return answer, conn.Invoke(ctx, path(m), request, answer, options...)
}

// first is the first answer of a stream, which is then ended.
func first(ctx context.Context, conn *grpc.ClientConn, m protoreflect.MethodDescriptor, request, answer any, options ...grpc.CallOption) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path(m), options...)
	if err != nil {
		return err
	}
	// An error of sending is io.EOF; what it is says RecvMsg.
	if err := stream.SendMsg(request); err == nil {
		_ = stream.CloseSend()
	}
	if err := stream.RecvMsg(answer); err != nil {
		return err
	}
	// Only at the end of a stream are all options served.
	for cancel(); stream.RecvMsg(&emptypb.Empty{}) == nil; {
	}
	return nil
}

// reason is the ErrorInfo reason of an error; empty when it has none.
func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == "signet" {
			return info.GetReason()
		}
	}
	return ""
}

// expect fails the test unless err has the code and reason.
func expect(t *testing.T, err error, code codes.Code, why string) {
	t.Helper()
	if status.Code(err) != code || reason(err) != why {
		t.Errorf("answered %v with reason %q, want %v with %q", err, reason(err), code, why)
	}
}

func mint(ctx context.Context, conn *grpc.ClientConn, profile string) (*signetv1.MintTokenResponse, error) {
	return signetv1.NewTokenServiceClient(conn).MintToken(ctx, &signetv1.MintTokenRequest{Profile: profile})
}

// entries are the entries that a filter finds, oldest first, as the operator sees them.
func entries(t *testing.T, s *servertest.Server, filter *signetv1.EntryFilter) []string {
	t.Helper()
	page, err := signetv1.NewAuditServiceClient(s.Operator()).ListEntries(t.Context(), &signetv1.ListEntriesRequest{
		Filter: filter, PageSize: 5000, Order: signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST,
	})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range page.GetEntries() {
		lines = append(lines, string(e.GetLine()))
	}
	return lines
}

func containsAll(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// hashIn is the hash of the token of an entry.
func hashIn(line []byte) string {
	e, err := auditlog.ParseEntry(line)
	if err != nil || e.Token == nil {
		return ""
	}
	return e.Token.SHA256.String()
}

func openBolt(t *testing.T, path string, create bool) store.Backend {
	t.Helper()
	open := boltstore.Open
	if create {
		open = boltstore.Create
	}
	backend, err := open(path, boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := backend.Close(); err != nil {
			t.Error(err)
		}
	})
	return backend
}

// acknowledgeGap closes the one gap that is open.
func acknowledgeGap(t *testing.T, s *servertest.Server) {
	t.Helper()
	system := signetv1.NewSystemServiceClient(s.Operator())
	status, err := system.GetStatus(t.Context(), &signetv1.GetStatusRequest{})
	if err != nil || len(status.GetGaps()) != 1 {
		t.Fatalf("GetStatus: %v, %v, want one gap", status, err)
	}
	if _, err := system.Acknowledge(t.Context(), &signetv1.AcknowledgeRequest{Id: status.GetGaps()[0].GetId(), Reason: "test"}); err != nil {
		t.Fatal(err)
	}
}
