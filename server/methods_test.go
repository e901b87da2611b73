package server

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/policy"
)

// described are the methods of every service of ours and of gRPC's health, by full name.
func described(t *testing.T) map[string]protoreflect.MethodDescriptor {
	t.Helper()
	found := map[string]protoreflect.MethodDescriptor{}
	add := func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			service := f.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				found["/"+string(service.FullName())+"/"+string(m.Name())] = m
			}
		}
		return true
	}
	protoregistry.GlobalFiles.RangeFilesByPackage(signetv1.File_signet_v1_token_proto.Package(), add)
	add(grpc_health_v1.File_grpc_health_v1_health_proto)
	if len(found) < 20 {
		t.Fatalf("only %d methods found", len(found))
	}
	return found
}

func TestMethodTable(t *testing.T) {
	found := described(t)
	for name := range found {
		if _, ok := methods[name]; !ok {
			t.Errorf("%s has no row in the method table", name)
		}
	}
	for name, r := range methods {
		if _, ok := found[name]; !ok {
			t.Errorf("%s is in the method table and in no service", name)
		}
		switch r.access {
		case permitted:
			if !slices.Contains(policy.Actions(), r.action) {
				t.Errorf("%s: %q is not an action", name, r.action)
			}
		case public:
			if !strings.HasPrefix(name, "/grpc.health.v1.Health/") {
				t.Errorf("%s is public", name)
			}
			fallthrough
		case authenticated:
			if r.action != "" {
				t.Errorf("%s has an action that nobody decides", name)
			}
		default:
			t.Errorf("%s says nothing of access", name)
		}
	}
}
