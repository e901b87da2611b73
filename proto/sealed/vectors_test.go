package sealed_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/proto/sealed"
)

var updateVectors = flag.Bool("update", false, "write testdata/vectors anew; for a new format, beside the old one")

// vector is a recipient, its note, and a file sealed to it, as another
// implementation would meet them.
type vector struct {
	Private     []byte       `json:"private"` // the recipient's seed
	Note        string       `json:"note"`
	Log         string       `json:"log"` // verifier key of the note
	Fingerprint string       `json:"fingerprint"`
	File        string       `json:"file"`
	Key         []byte       `json:"key"`
	Facts       sealed.Facts `json:"facts"`
}

// TestVector reads what an earlier Signet wrote, of the time when keys had few facts and of today.
func TestVector(t *testing.T) {
	for file, f := range map[string]sealed.Facts{"sealed-v1.json": facts, "sealed-v1-facts.json": allFacts} {
		t.Run(file, func(t *testing.T) { testVector(t, filepath.Join("testdata", "vectors", file), f) })
	}
}

func testVector(t *testing.T, path string, f sealed.Facts) {
	t.Helper()
	if *updateVectors {
		writeVector(t, path, f)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v vector
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	log, err := note.NewVerifier(v.Log)
	if err != nil {
		t.Fatal(err)
	}
	r, err := sealed.ParseRecipient([]byte(v.Note), log)
	if err != nil || r.Fingerprint() != v.Fingerprint {
		t.Fatalf("ParseRecipient = %+v, %v", r, err)
	}
	p, err := sealed.ParsePrivate(r, v.Private)
	if err != nil {
		t.Fatal(err)
	}
	got, said, err := sealed.Open(p, []byte(v.File), now)
	if err != nil || !bytes.Equal(got, v.Key) || said != v.Facts || said != f {
		t.Errorf("Open = %q, %+v, %v", got, said, err)
	}
}

func writeVector(t *testing.T, path string, f sealed.Facts) {
	t.Helper()
	signer, _, vkey := logKey(t, "vault1/n1")
	p := newPrivate(t)
	r := p.Recipient()
	r.Log = vkey
	msg, err := r.MarshalNote(signer)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := p.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	file, err := sealed.Seal(r, key, f)
	if err != nil {
		t.Fatal(err)
	}
	v := vector{Private: seed, Note: string(msg), Log: vkey, Fingerprint: r.Fingerprint(), File: string(file), Key: key, Facts: f}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, append(data, '\n'), 0o644)); err != nil {
		t.Fatal(err)
	}
}
