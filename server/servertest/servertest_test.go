package servertest_test

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/p8signet/signet/client"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const policy = `version: 1
profiles:
  release: {key: asc, app_store_connect: {}}
grants:
  - {id: ci, to: [{mtls: "spiffe://signet.test/ci/*"}], mint: [release]}
`

// TestServer is a use of everything that the package offers.
func TestServer(t *testing.T) {
	s := servertest.New(t)
	s.ImportKey("asc", "app-store-connect-individual")
	s.ApplyPolicy(policy)
	ci := s.Client("spiffe://signet.test/ci/1")
	token, err := ci.Mint(t.Context(), "release", client.MintOptions{Receipt: true})
	if err != nil {
		t.Fatal(err)
	}
	if left := token.Expires.Sub(s.Clock.Now()); left <= 0 || left > 10*time.Minute {
		t.Errorf("the token has %s left", left)
	}
	if _, err := s.Client("spiffe://signet.test/other").Mint(t.Context(), "release", client.MintOptions{}); !errors.Is(err, client.ErrDenied) {
		t.Errorf("another caller: %v, want ErrDenied", err)
	}
	before, err := ci.Checkpoint(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}

	s.Clock.Advance(time.Hour)
	s.Restart()
	if err := s.Ready(); err != nil {
		t.Errorf("not ready after a restart: %v", err)
	}
	again, err := ci.Mint(t.Context(), "release", client.MintOptions{})
	if err != nil {
		t.Fatalf("after a restart: %v", err)
	}
	if token.SHA256 == again.SHA256 {
		t.Error("an hour later the token is the same")
	}
	if _, err := ci.Since(t.Context(), before); err != nil {
		t.Errorf("the log is not the one from before: %v", err)
	}
}

// TestTwo do not know of each other.
func TestTwo(t *testing.T) {
	a, b := servertest.New(t), servertest.New(t)
	if a.VaultID() == b.VaultID() || a.Addr() == b.Addr() || a.LogDir() == b.LogDir() {
		t.Error("two servers share something")
	}
	certificate := a.Certificate("spiffe://signet.test/ci/1")
	for who, s := range map[string]*servertest.Server{"its own": a, "another": b} {
		c, err := client.New(s.Dial(&certificate), client.LogKey{Origin: s.LogOrigin(), Key: s.LogKey()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Checkpoint(t.Context(), ""); (err == nil) != (s == a) || err != nil && !errors.Is(err, client.ErrUnauthenticated) {
			t.Errorf("a certificate at %s server: %v", who, err)
		}
	}
}

// TestMinting is the one line, and what a program needs on disk.
func TestMinting(t *testing.T) {
	s, c := servertest.NewMinting(t)
	token, err := c.Mint(t.Context(), servertest.Profile, client.MintOptions{Receipt: true})
	if err != nil || token.Receipt == nil {
		t.Fatalf("%v, %v", token, err)
	}
	other := s.DialClient("spiffe://signet.test/ci/2")
	if _, err := other.Mint(t.Context(), servertest.Profile, client.MintOptions{}); !errors.Is(err, client.ErrDenied) {
		t.Errorf("another caller: %v, want ErrDenied", err)
	}
	operator := s.DialClient(servertest.OperatorID)
	if _, err := operator.GetStatus(t.Context(), &signetv1.GetStatusRequest{}); err != nil {
		t.Errorf("the operator: %v", err)
	}
	dir := t.TempDir()
	first, err := os.ReadFile(s.WriteConfig(dir, servertest.CallerID))
	if err != nil {
		t.Fatal(err)
	}
	again, err := os.ReadFile(s.WriteConfig(dir, servertest.CallerID))
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("written again it is\n%s\nand was\n%s", again, first)
	}
}
