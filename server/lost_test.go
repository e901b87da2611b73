package server_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
)

// TestLostLogDirectory: a log directory that is gone is a gap, and no reason not to turn keys off.
func TestLostLogDirectory(t *testing.T) {
	s, _ := minting(t)
	s.ImportKey("other", "app-store-connect")
	s.Stop()
	if err := os.RemoveAll(s.LogDir()); err != nil {
		t.Fatal(err)
	}
	if err := server.Check(t.Context(), s.Config()); !errors.Is(err, server.ErrGapAhead) || !strings.Contains(err.Error(), "is not there") {
		t.Errorf("Check: %v, want that there will be a gap", err)
	}
	if _, err := os.Stat(s.LogDir()); err == nil {
		t.Error("Check has made the directory")
	}
	s.Restart()
	_, err := mint(t.Context(), s.Conn(ci), "release")
	expect(t, err, codes.Unavailable, "GAP")
	keys := signetv1.NewKeyServiceClient(s.Operator())
	if _, err := keys.DisableKey(t.Context(), &signetv1.DisableKeyRequest{Name: "other", Reason: "test"}); err != nil {
		t.Errorf("DisableKey: %v", err)
	}
	if _, err := keys.RevokeKey(t.Context(), &signetv1.RevokeKeyRequest{Name: "other", Reason: "test"}); err != nil {
		t.Errorf("RevokeKey: %v", err)
	}
	acknowledgeGap(t, s)
	if _, err := mint(t.Context(), s.Conn(ci), "release"); err != nil {
		t.Errorf("after the acknowledgement: %v", err)
	}
}

// TestCheckVault: what start-up makes of a vault, Check says before.
func TestCheckVault(t *testing.T) {
	segments := func(t *testing.T, s *servertest.Server) []string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(s.LogDir(), "*", "*.log"))
		if err != nil || len(found) == 0 {
			t.Fatalf("segments %q, %v", found, err)
		}
		return found
	}
	tests := []struct {
		name  string
		spoil func(*testing.T, *servertest.Server, *server.Config)
		gap   bool   // a server starts, and does not mint
		want  string // in the error; none at all when empty
	}{
		{"whole", func(*testing.T, *servertest.Server, *server.Config) {}, false, ""},
		{"another node's name", func(_ *testing.T, _ *servertest.Server, c *server.Config) { c.Node = "node-2" }, false, "its nodes are node-1: correct node"},
		{"an empty log directory", func(t *testing.T, s *servertest.Server, _ *server.Config) {
			if err := os.RemoveAll(filepath.Dir(segments(t, s)[0])); err != nil {
				t.Fatal(err)
			}
		}, true, "the log directory holds no log"},
		{"a log cut short", func(t *testing.T, s *servertest.Server, _ *server.Config) {
			all := segments(t, s)
			if err := os.Truncate(all[len(all)-1], 2000); err != nil {
				t.Fatal(err)
			}
		}, true, "what is whole ends at"},
		{"a bit of the last segment", func(t *testing.T, s *servertest.Server, _ *server.Config) {
			all := segments(t, s)
			data, err := os.ReadFile(all[len(all)-1])
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			write(t, all[len(all)-1], data)
		}, true, "log "},
		{"no checkpoint file", func(t *testing.T, s *servertest.Server, _ *server.Config) {
			if err := os.Remove(filepath.Join(filepath.Dir(segments(t, s)[0]), "checkpoint")); err != nil {
				t.Fatal(err)
			}
		}, true, "checkpoint file is missing"},
		{"another vault's log", func(t *testing.T, s *servertest.Server, c *server.Config) {
			other := servertest.New(t)
			other.Stop()
			c.LogDir = other.LogDir()
		}, false, "the log directory is that of vault"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := minting(t)
			for range 20 {
				if _, err := mint(t.Context(), s.Conn(ci), "release"); err != nil {
					t.Fatal(err)
				}
			}
			s.Stop()
			config := s.Config()
			tt.spoil(t, s, &config)
			err := server.Check(t.Context(), config)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Check: %v, want %q", err, tt.want)
			}
			if errors.Is(err, server.ErrGapAhead) != tt.gap {
				t.Errorf("Check: %v, want that it is a gap: %v", err, tt.gap)
			}
			// And so it is.
			running, err := server.New(t.Context(), config)
			if err != nil {
				if tt.want == "" || tt.gap || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("New: %v", err)
				}
				return
			}
			if ready := running.Ready(); tt.want != "" && !tt.gap || (ready != nil) != tt.gap {
				t.Errorf("the server started, and is ready: %v", ready)
			}
			if err := running.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
