package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/storetest"
)

var updateVectors = flag.Bool("update", false, "write testdata/vectors anew; for a new format, beside the old one")

// vector is a whole vault as another implementation would meet it.
type vector struct {
	KEK   []byte            `json:"kek"` // the file KEK's 32 bytes
	Vault string            `json:"vault"`
	Root  string            `json:"root"`
	Blobs map[string][]byte `json:"blobs"`
	Keys  []store.Key       `json:"keys"`
}

// fixedKEK wraps as kek's file KEK does.
type fixedKEK []byte

func (fixedKEK) URI() string { return "file:kek" }

func (k fixedKEK) Wrap(_ context.Context, key, aad []byte) ([]byte, error) {
	return envelope.SealKey(k, key, aad)
}

func (k fixedKEK) Unwrap(_ context.Context, wrapped, aad []byte) ([]byte, error) {
	return envelope.OpenKey(k, wrapped, aad)
}

// TestVector opens a vault of format 1 that an earlier Signet wrote: what we
// change must go on reading it.
func TestVector(t *testing.T) {
	path := filepath.Join("testdata", "vectors", "vault-v1.json")
	if *updateVectors {
		writeVector(t, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v vector
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	m := storetest.Memory()
	m.SetRoot([]byte(v.Root))
	for name, blob := range v.Blobs {
		ref, err := store.ParseRef(name)
		if err != nil {
			t.Fatal(err)
		}
		m.SetBlob(ref, blob)
	}
	cfg := config(m, fixedKEK(v.KEK))
	cfg.Vault = v.Vault
	storetest.CheckInvariants(t, cfg)
	s := openVault(t, cfg)
	for _, want := range v.Keys {
		got, ok := s.Snapshot().Key(want.Name)
		if !ok || !got.Equal(want) {
			t.Errorf("key %s is %+v, want %+v", want.Name, got, want)
		}
		for _, v := range want.Versions {
			if err := sign(t, s, want.Name, v.Number); !v.State.Over() && err != nil {
				t.Errorf("version %d of %s: %v", v.Number, want.Name, err)
			}
		}
	}
	if p := s.Snapshot().Policy(); p == nil || string(p.Document) != "version: 1\n" {
		t.Errorf("the policy is %+v", p)
	}
	if doc, err := s.Document(t.Context(), "ca/certificate"); err != nil || string(doc) != "certificate" {
		t.Errorf("the document is %q, %v", doc, err)
	}
	if len(s.Snapshot().Gaps()) != 1 || len(s.Snapshot().ClosedLogs("n1")) != 1 {
		t.Error("gap or closed log are missing")
	}
	commit(t, s, func(tx *store.Tx) { addKey(t, tx, "new") })
	storetest.CheckInvariants(t, cfg)
}

func writeVector(t *testing.T, path string) {
	t.Helper()
	v := vector{KEK: bytes.Repeat([]byte{0x4b}, envelope.KeySize), Blobs: map[string][]byte{}}
	m := storetest.Memory()
	s, err := store.Create(t.Context(), config(m, fixedKEK(v.KEK)), func(tx *store.Tx) error {
		addKey(t, tx, "team/asc-release")
		addVersion(t, tx, "team/asc-release")
		addVersion(t, tx, "team/asc-release")
		_, perr := tx.PutPolicy(store.PolicyRevision{Document: []byte("version: 1\n"), Digest: "sha256:00", Author: "spiffe://signet.local/operator", Created: start})
		_, gerr := tx.OpenGap(store.Gap{ID: "gap1", Kind: store.GapLog, Node: "n1", Detail: "cut", Found: start, Log: head(9)}, 4)
		return errors.Join(perr, gerr, tx.CloseLog(head(3)), tx.SetLogHead(store.LogHead{Log: "log2"}), tx.PutDocument("ca/certificate", []byte("certificate")))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	update(t, s, "team/asc-release", revoke(2))
	v.Vault = s.Snapshot().Vault()
	for k := range s.Snapshot().Keys() {
		v.Keys = append(v.Keys, k)
	}
	v.Root = string(medium{m, t}.root())
	for ref, err := range m.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		v.Blobs[ref.String()] = medium{m, t}.blob(ref)
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, append(data, '\n'), 0o644)); err != nil {
		t.Fatal(err)
	}
}
