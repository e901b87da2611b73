package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/servertest"
)

// keep mints a token of a source that keeps receipts, and answers it and the kept file.
func keep(t *testing.T, s *servertest.Server, c *client.Client, dir string) (*client.Token, []byte) {
	t.Helper()
	source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{Keep: client.KeepReceipts(dir), Now: s.Clock.Now})
	defer source.Close()
	tok, err := source.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, tok.SHA256+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return tok, data
}

// TestKeptReceipt verifies one long after, with the pinned key and with proto/auditlog alone.
func TestKeptReceipt(t *testing.T) {
	s, c := servertest.NewMinting(t)
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	tok, data := keep(t, s, c, dir)
	s.Clock.Advance(time.Hour)
	_, _ = keep(t, s, c, dir)
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 { // one each, and nothing else
		t.Errorf("%v, %v", files, err)
	}
	pinned := s.ClientConfig(servertest.CallerID)
	s.Stop()

	e, err := pinned.VerifyReceipt(data)
	if err != nil {
		t.Fatal(err)
	}
	if e.Token == nil || e.Token.SHA256.String() != tok.SHA256 || e.Principal.ID != servertest.CallerID || e.Profile != servertest.Profile {
		t.Errorf("the entry is %+v", e)
	}
	if bytes.Contains(data, []byte(tok.Text())) {
		t.Error("the receipt holds the token")
	}

	var kept struct{ Proof, Entry string }
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(s.LogKey())
	if err != nil {
		t.Fatal(err)
	}
	proved, err := auditlog.VerifyReceipt([]byte(kept.Proof), verifier)
	if err != nil || proved.Leaf != auditlog.LeafHash([]byte(kept.Entry)) {
		t.Errorf("%+v, %v", proved, err)
	}
}

func TestKeptReceiptForged(t *testing.T) {
	s, c := servertest.NewMinting(t)
	_, data := keep(t, s, c, t.TempDir())
	s.Clock.Advance(time.Hour)
	_, other := keep(t, s, c, t.TempDir())
	var kept, another map[string]string
	if err := errors.Join(json.Unmarshal(data, &kept), json.Unmarshal(other, &another)); err != nil {
		t.Fatal(err)
	}
	pinned := s.ClientConfig(servertest.CallerID)
	with := func(proof, entry string) []byte {
		out, err := json.Marshal(map[string]string{"proof": proof, "entry": entry})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	flip := func(s string, at int) string { b := []byte(s); b[at] ^= 1; return string(b) }
	for name, file := range map[string][]byte{
		"empty":              nil,
		"not JSON":           []byte("c2sp.org/tlog-proof@v1\n"),
		"no proof":           with("", kept["entry"]),
		"no entry":           with(kept["proof"], ""),
		"another's proof":    with(another["proof"], kept["entry"]),
		"another's entry":    with(kept["proof"], another["entry"]),
		"entry changed":      with(kept["proof"], flip(kept["entry"], len(kept["entry"])/2)),
		"signature changed":  with(flip(kept["proof"], len(kept["proof"])-5), kept["entry"]),
		"cut":                data[:len(data)/2],
		"of the wrong types": []byte(`{"proof": 1, "entry": 2}`),
	} {
		if e, err := pinned.VerifyReceipt(file); e != nil || !errors.Is(err, client.ErrUnverified) {
			t.Errorf("%s: %v", name, err)
		}
	}
	foreign := servertest.New(t).ClientConfig(servertest.OperatorID)
	for name, cfg := range map[string]client.Config{"another vault's key": foreign, "no key": {}} {
		if e, err := cfg.VerifyReceipt(data); e != nil || !errors.Is(err, client.ErrNoLogKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestKeepFails: without its receipt on disk a token is not given out.
func TestKeepFails(t *testing.T) {
	_, c := servertest.NewMinting(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	source := c.TokenSource(servertest.Profile, client.TokenSourceOptions{Keep: client.KeepReceipts(file)})
	defer source.Close()
	if tok, err := source.Token(t.Context()); tok != nil || err == nil {
		t.Errorf("%v, %v", tok, err)
	}
	if err := client.KeepReceipts(t.TempDir())(&client.Token{}); err == nil {
		t.Error("a token without a receipt was kept")
	}
}

// FuzzVerifyReceipt: whatever the file, only what was signed verifies, and it is not read twice in two ways.
func FuzzVerifyReceipt(f *testing.F) {
	s, c := servertest.NewMinting(f)
	tok, err := c.Mint(f.Context(), servertest.Profile, client.MintOptions{Receipt: true})
	if err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir()
	if err := client.KeepReceipts(dir)(tok); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, tok.SHA256+".json"))
	if err != nil {
		f.Fatal(err)
	}
	pinned := s.ClientConfig(servertest.CallerID)
	f.Add(good)
	f.Add([]byte("{}"))
	f.Add(bytes.Replace(good, []byte("index"), []byte("extra"), 1))
	f.Fuzz(func(t *testing.T, file []byte) {
		e, err := pinned.VerifyReceipt(file)
		switch {
		case (e == nil) == (err == nil):
			t.Fatalf("%v and %v", e, err)
		case e != nil && e.Token.SHA256.String() != tok.SHA256:
			t.Fatal("what was never signed was verified")
		}
	})
}
