package server_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
)

// TestActions: what the method table says is what is decided and recorded, and without a grant it is denied.
func TestActions(t *testing.T) {
	s, _ := minting(t)
	good := map[protoreflect.FullName]proto.Message{}
	for _, in := range goodRequests(t, s, s.Seal(s.NewKey("enterprise"))) {
		good[in.ProtoReflect().Descriptor().FullName()] = in
	}
	decided := map[string]string{} // action by request id
	for _, m := range ours() {
		var trailer metadata.MD
		_, err := call(t.Context(), s.Conn(stranger), m, good[m.Input().FullName()], grpc.Trailer(&trailer))
		action := server.ActionOf(path(m))
		if action == "" {
			if err != nil {
				t.Errorf("%s, which needs no grant: %v", path(m), err)
			}
			continue
		}
		if m.Name() == "ListKeys" && err == nil {
			continue // answers those that the caller may read: none
		}
		if reason(err) != "DENIED" {
			t.Errorf("%s answered %v to a stranger", path(m), err)
		}
		decided[trailer.Get("signet-request-id")[0]] = string(action)
	}
	if len(decided) < 14 {
		t.Errorf("only %d methods are decided", len(decided))
	}
	for _, line := range entries(t, s, &signetv1.EntryFilter{Principal: stranger, Outcome: "denied"}) {
		e, err := auditlog.ParseEntry([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		if want, ok := decided[e.ID]; !ok || e.Action != want {
			t.Errorf("the log has %s where the method table has %s", e.Action, want)
		}
		delete(decided, e.ID)
	}
	for id, action := range decided {
		t.Errorf("the denial of %s (%s) is not in the log", action, id)
	}
}

// TestUnknownMethod is answered by gRPC itself, and to nobody's harm.
func TestUnknownMethod(t *testing.T) {
	s := servertest.New(t)
	for _, name := range []string{"/signet.v1.TokenService/SignBytes", "/signet.v1.Nothing/At", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"} {
		err := s.Operator().Invoke(t.Context(), name, &signetv1.GetStatusRequest{}, &signetv1.Status{})
		expect(t, err, codes.Unimplemented, "")
	}
}

// TestConnectionAge: a connection ends, and its caller goes on with another.
func TestConnectionAge(t *testing.T) {
	var age time.Duration // short only when all is set up, where no call may outlive its connection
	s, _ := minting(t, servertest.Options{Configure: func(c *server.Config) { c.Limits.ConnectionAge = age }})
	tokens := signetv1.NewTokenServiceClient(s.Conn(ci))
	age = 200 * time.Millisecond
	s.Restart()
	ports := map[string]bool{}
	for began := time.Now(); time.Since(began) < 20*time.Second && len(ports) < 3; {
		var p peer.Peer
		if _, err := tokens.MintToken(t.Context(), &signetv1.MintTokenRequest{Profile: "release"}, grpc.Peer(&p)); err != nil {
			if status.Code(err) != codes.Unavailable { // a call that outlives the grace, a twelfth of the age
				t.Fatal(err)
			}
			continue
		}
		ports[p.LocalAddr.String()] = true
	}
	if len(ports) < 3 {
		t.Errorf("connections live on: %v", slices.Collect(maps.Keys(ports)))
	}
}
