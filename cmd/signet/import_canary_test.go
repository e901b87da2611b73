package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNothingOfAKeyIsPrinted gives the import keys in every shape, whole, cut off anywhere and with a character
// changed anywhere, alone and in a folder: whatever it makes of them, nothing that it prints has eight characters of the
// key in a row.
func TestNothingOfAKeyIsPrinted(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	body := base64.StdEncoding.EncodeToString(der)
	wrapped := base64.StdEncoding.EncodeToString([]byte(text))
	const ids = `"key_id": "D383SF7390", "issuer_id": "6053b7fe-68a8-4acb-89be-165aa6465141"`
	shapes := map[string]string{
		"AuthKey_ABCDEFGHIJ.p8": text,
		"fastlane.json":         fmt.Sprintf("{%s, # ours\n \"key\": %s, \"in_house\": false}", ids, quoted),
		"base64.json":           fmt.Sprintf(`{%s, "key": %q, "is_key_content_base64": true}`, ids, wrapped),
		"filepath.json":         fmt.Sprintf(`{%s, "filepath": %s}`, ids, quoted),
		"ruby.json":             fmt.Sprintf(`{%s, "key_content": %s}`, ids, quoted),
		"rcodesign.json":        fmt.Sprintf(`{%s, "private_key": %q}`, ids, body),
		"ascname.json":          fmt.Sprintf(`{"keys": [{"name": %q, %s, "private_key_path": "AuthKey_ABCDEFGHIJ.p8"}]}`, body, ids),
		"ascnames.json":         fmt.Sprintf(`{"keys": [{"name": %q, %s, "private_key_path": "AuthKey_ABCDEFGHIJ.p8"}, {"name": "b", "private_key_path": "b.p8"}]}`, body[:120], ids),
		"ascpath.json":          fmt.Sprintf(`{"keys": [{"name": "release", %s, "private_key_path": %q}]}`, ids, body),
		"ascpem.json":           fmt.Sprintf(`{"keys": [{"name": "release", %s, "private_key_path": %s}]}`, ids, quoted),
		"misplaced.json":        fmt.Sprintf(`{"key_id": %q, "issuer_id": %q, "key": %q, "duration": %q, "in_house": %q}`, body, body, body, body, body),
	}
	// The head is the same in every key; what comes after it is nobody's but this one's.
	secret := body[len(base64.StdEncoding.EncodeToString(der[:36])):]
	forms := []string{secret, base64.RawURLEncoding.EncodeToString(der)[48:], hex.EncodeToString(der[36:]), wrapped[100:]}
	shows := func(output string) bool {
		output = strings.ReplaceAll(output, "\n", "")
		for _, form := range forms {
			for i := 0; i+8 <= len(form); i++ {
				if strings.Contains(output, form[i:i+8]) {
					return true
				}
			}
		}
		return false
	}
	for what, whole := range shapes {
		if !shows(whole) {
			t.Fatalf("the key is not found in %s, where it is", what)
		}
	}
	dir := t.TempDir()
	getenv := func(name string) string { return map[string]string{"HOME": dir}[name] }
	signet := func(what string, getenv func(string) string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		run(context.Background(), append([]string{"key", "import"}, args...), getenv, strings.NewReader(""), &out, &out)
		if out.Len() == 0 {
			t.Fatalf("%s: nothing was printed, so nothing was looked at", what)
		}
		if shows(out.String()) {
			t.Fatalf("%s: part of the key is in the output:\n%s", what, &out)
		}
	}
	for name, whole := range shapes {
		path := filepath.Join(dir, name)
		try := func(what, content string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			signet(name+", "+what, getenv, "x", path, "--dry-run")
			signet(name+", "+what, getenv, path, "--dry-run", "-o", "json")
		}
		for at := 0; at < len(whole); at += 37 {
			try(fmt.Sprintf("cut off at %d", at), whole[:at])
			try(fmt.Sprintf("begun at %d", at), whole[at:])
			for _, c := range []string{`"`, "\x00", "!", "\n"} {
				try(fmt.Sprintf("%q at %d", c, at), whole[:at]+c+whole[at+1:])
			}
		}
		try("whole", whole)
	}
	for _, format := range []string{"table", "json"} {
		signet("the folder as "+format, getenv, "--dir", dir, "--dry-run", "--kind", "app-store-connect", "-o", format)
	}
	for _, variable := range []string{"ASC_PRIVATE_KEY", "ASC_PRIVATE_KEY_PATH", "ASC_KEY_ID", "APP_STORE_CONNECT_API_KEY_KEY", "APP_STORE_CONNECT_API_KEY_DURATION", "SPACESHIP_CONNECT_API_KEY_FILEPATH"} {
		for _, value := range []string{text, body, text[:100], wrapped} {
			env := map[string]string{"HOME": dir, "SPACESHIP_CONNECT_API_KEY": text, variable: value}
			if variable != "APP_STORE_CONNECT_API_KEY_DURATION" {
				delete(env, "SPACESHIP_CONNECT_API_KEY")
			}
			signet("the environment, "+variable, func(name string) string { return env[name] }, "x", "--from-env", "--dry-run")
		}
	}
}
