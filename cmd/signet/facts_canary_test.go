package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/proto/sealed"
)

// TestNoFactRepeatsAKey pastes a key, whole and in parts, where each fact of a key belongs: every command that takes facts refuses
// it, without a server, and says nothing of it.
func TestNoFactRepeatsAKey(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	body := base64.StdEncoding.EncodeToString(der)
	secret := body[48:] // what comes before is the same in every key
	shows := func(output string) bool {
		output = strings.ReplaceAll(output, "\n", "")
		for i := 0; i+8 <= len(secret); i++ {
			if strings.Contains(output, secret[i:i+8]) {
				return true
			}
		}
		return false
	}
	values := map[string]string{
		"the file": text, "the file on one line": strings.ReplaceAll(text, "\n", `\n`), "the body": body, "a part of the body": secret[:70], "a shorter part": secret[:40] + "/+",
		"one of a list": "apns," + body, "quoted": `"` + body + `"`, "badly quoted": `"x"` + body, "after another ID": "SEARCHADS." + secret[:58] + "+/",
	}
	dir := t.TempDir()
	file, to := filepath.Join(dir, "key.p8"), filepath.Join(dir, "recipient.txt")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, strangersRecipient(t), 0o600); err != nil {
		t.Fatal(err)
	}
	ids := []string{"--key-id", "--team-id", "--client-id", "--app-id"}
	changeable := []string{"--services", "--environment", "--topics", "--roles"}
	known := append(append([]string{"--kind", "--issuer-id"}, ids...), changeable...)
	for _, command := range []struct {
		args  []string
		flags []string
	}{
		{[]string{"import", "x", file, "--dry-run"}, known},
		{[]string{"seal", file, "--to", to, "--out", filepath.Join(dir, "out.sealed")}, known},
		{[]string{"generate", "x"}, append([]string{"--kind"}, ids...)},
		{[]string{"update", "x"}, append(ids, changeable...)},
	} {
		for _, flag := range command.flags {
			for what, value := range values {
				var out bytes.Buffer
				getenv := func(name string) string { return map[string]string{"HOME": dir}[name] }
				args := append(append([]string{"key"}, command.args...), flag, value)
				code := run(context.Background(), args, getenv, strings.NewReader(""), &out, &out)
				refused := strings.Contains(out.String(), flag) || strings.Contains(out.String(), "an argument looks like a private key")
				if code != int(cli.Malformed) || !refused {
					t.Errorf("%s, %s of %s: exit code %d, and it says:\n%s", command.args[0], what, flag, code, hidden(&out, shows))
				}
				if shows(out.String()) {
					t.Errorf("%s, %s of %s: part of the key is in the output", command.args[0], what, flag)
				}
			}
		}
	}
}

// hidden is output that may be printed.
func hidden(out *bytes.Buffer, shows func(string) bool) string {
	if shows(out.String()) {
		return "(something of the key)"
	}
	return out.String()
}

// strangersRecipient is a recipient note of no vault.
func strangersRecipient(t *testing.T) []byte {
	t.Helper()
	skey, vkey, err := auditlog.GenerateKey("foreign/node-1")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	private, err := sealed.NewPrivate("foreign", time.Now().Add(24*time.Hour).Truncate(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	r := private.Recipient()
	r.Log = vkey
	msg, err := r.MarshalNote(signer)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}
