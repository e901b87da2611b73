package server

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/p8signet/signet/proto/signet/v1"
)

// ourServices are those whose requests checkRequest knows.
var ourServices = map[string]grpc.ServiceInfo{
	"signet.v1.TokenService": {}, "signet.v1.KeyService": {}, "signet.v1.PolicyService": {}, "signet.v1.AuditService": {},
	"signet.v1.SystemService": {}, "grpc.health.v1.Health": {},
}

func checking(t testing.TB) *Server {
	t.Helper()
	v, err := newValidator(ourServices)
	if err != nil {
		t.Fatal(err)
	}
	return &Server{validator: v}
}

func TestCheckRequest(t *testing.T) {
	mint := func(profile string, fields ...byte) []byte {
		wire, err := proto.Marshal(&signetv1.MintTokenRequest{Profile: profile})
		if err != nil {
			t.Fatal(err)
		}
		return append(wire, fields...)
	}
	nested := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), []byte("\x98\x06\x01")) // ttl {99: 1}
	tests := []struct {
		name string
		wire []byte
		want string // in the error; none when empty
	}{
		{"good", mint("release"), ""},
		{"unknown field", mint("release", 0x98, 0x06, 0x01), "field that this server does not know"},
		{"unknown field within", mint("release", nested...), "google.protobuf.Duration has a field that this server does not know"},
		{"text that is not UTF-8", mint("", 0x0a, 0x01, 0xff), "not a signet.v1.MintTokenRequest on the wire"},
		{"cut off", mint("release")[:5], "not a signet.v1.MintTokenRequest on the wire"},
		{"no wire type", []byte{0x0f, 0x01}, "not a signet.v1.MintTokenRequest on the wire"},
		{"field of another type", []byte{0x08, 0x01}, "field that this server does not know"},
		{"the mark of what does not decode", mint("release", undecodable...), "not a signet.v1.MintTokenRequest on the wire"},
		{"rule broken", mint("Release"), "profile: "},
	}
	s := checking(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m signetv1.MintTokenRequest
			if err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(tt.wire)}, &m); err != nil {
				t.Fatalf("the codec refused: %v", err)
			}
			err := s.checkRequest(&m)
			if tt.want == "" && err == nil {
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestCheckRequestFindsKeys(t *testing.T) {
	const begin = "-----BEGIN PRIVATE KEY-----"
	s := checking(t)
	for _, m := range []proto.Message{
		&signetv1.RevokeKeyRequest{Name: "a", Reason: "it was " + begin},
		&signetv1.ApplyPolicyRequest{Document: []byte("# " + begin)},
		&signetv1.ListEntriesRequest{Filter: &signetv1.EntryFilter{Principal: begin}},
		&signetv1.MintTokenRequest{Profile: "p", Parameters: &signetv1.MintTokenRequest_Scope{Scope: &signetv1.ScopeParameters{Entries: []string{"GET /v1/a", begin}}}},
	} {
		err := s.checkRequest(m)
		if err == nil || !strings.Contains(err.Error(), "looks like a private key") || strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%T: %v", m, err)
		}
	}
}

func BenchmarkCheckRequest(b *testing.B) {
	s := checking(b)
	for name, m := range map[string]*signetv1.MintTokenRequest{
		"plain": {Profile: "ios-release"},
		"full": {Profile: "ios-release", Ttl: durationpb.New(5 * time.Minute), Receipt: true, Parameters: &signetv1.MintTokenRequest_Scope{
			Scope: &signetv1.ScopeParameters{Entries: []string{"GET /v1/apps/1234567890", "GET /v1/apps/1234567890/builds"}}}},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := s.checkRequest(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNewValidator(b *testing.B) {
	for b.Loop() {
		if _, err := newValidator(ourServices); err != nil {
			b.Fatal(err)
		}
	}
}
