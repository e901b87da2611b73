package client

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// TestReadsAreTriedAgain: a method that gets or lists is tried again when a server is away, and one that does not is not.
func TestReadsAreTriedAgain(t *testing.T) {
	var config struct {
		MethodConfig []struct {
			Name        []struct{ Service, Method string }
			RetryPolicy *struct{}
		}
	}
	if err := json.Unmarshal([]byte(serviceConfig), &config); err != nil {
		t.Fatal(err)
	}
	again := make(map[string]bool)
	for _, m := range config.MethodConfig {
		for _, name := range m.Name {
			if m.RetryPolicy != nil {
				again[name.Service+"/"+name.Method] = true
			}
		}
	}
	for _, file := range []protoreflect.FileDescriptor{
		signetv1.File_signet_v1_token_proto, signetv1.File_signet_v1_key_proto, signetv1.File_signet_v1_policy_proto, signetv1.File_signet_v1_system_proto,
	} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				method := string(service.Methods().Get(j).Name())
				name := string(service.FullName()) + "/" + method
				if reads := strings.HasPrefix(method, "Get") || strings.HasPrefix(method, "List"); reads != again[name] {
					t.Errorf("%s is tried again: %v", name, again[name])
				}
			}
		}
	}
}
