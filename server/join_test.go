package server_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/storetest"
)

// TestJoin: a further node is made known once, with certificates of the vault's CA, and a log of its own.
func TestJoin(t *testing.T) {
	backend, keks := storetest.Shared(), []envelope.KEK{storetest.KEK()}
	logs := t.TempDir()
	made, err := server.Init(t.Context(), server.InitConfig{
		Backend: backend, KEKs: keks, LogDir: filepath.Join(logs, "1"), Node: "node-1", TrustDomain: "signet.test",
		Now: time.Now, Operator: servertest.OperatorID, Hosts: []string{"localhost"},
	})
	if err != nil {
		t.Fatal(err)
	}
	join := func(node string, reqs ...server.CertificateRequest) (*server.Joined, error) {
		dir := filepath.Join(logs, node+"-"+time.Now().Format("150405.000000000"))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return server.Join(t.Context(), server.Config{
			Backend: keptOpen{backend}, KEKs: keks, LogDir: dir, Node: node, TrustDomain: "signet.test",
			Operators: []string{servertest.OperatorID}, Now: time.Now,
		}, servertest.OperatorID, reqs)
	}
	if _, err := join("node-1"); !errors.Is(err, server.ErrNodeKnown) {
		t.Errorf("Join of a node that is there = %v, want ErrNodeKnown", err)
	}
	joined, err := join("node-2", server.CertificateRequest{CSR: request(t), Hosts: []string{"node-2"}}, server.CertificateRequest{CSR: request(t), URI: ci})
	if err != nil {
		t.Fatal(err)
	}
	if joined.VaultID != made.VaultID || !strings.HasPrefix(joined.LogOrigin, made.VaultID+"/node-2/") || !strings.HasPrefix(joined.LogKey, made.VaultID+"/node-2+") || len(joined.Certificates) != 2 {
		t.Errorf("Join = %+v", joined)
	}
	if _, err := join("node-2"); !errors.Is(err, server.ErrNodeKnown) {
		t.Errorf("Join again = %v, want ErrNodeKnown", err)
	}
	if _, err := join("node-3", server.CertificateRequest{CSR: request(t), Hosts: []string{"*"}}); !errors.Is(err, server.ErrNodeLeft) {
		t.Errorf("Join for no host = %v, want ErrNodeLeft", err)
	}
}

// keptOpen is a Backend that whoever is given it does not close.
type keptOpen struct{ *storetest.SharedMemory }

func (keptOpen) Close() error { return nil }
