package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/cmd/internal/daemon"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/proto/sealed"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// TestMain makes both programs commands of the stories, and probe, which is what signet exec runs there.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"signet": main,
		"probe":  probe,
		"signetd": func() {
			syscall.Umask(0o077)
			if err := cli.Harden(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(cli.Other)
			}
			os.Exit(daemon.Run(context.Background(), cli.Env{
				Args: os.Args[1:], Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now, Version: "story",
			}))
		},
	})
}

// TestStories runs testdata/*.txt: each is somebody's day with the real programs.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("ISSUER", "57246542-96fe-1a63-e053-0824d011072a")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": cmdCode, "p8": cmdP8, "jwt": cmdJWT, "ready": cmdReady, "recipient": cmdRecipient, "flip": cmdFlip, "cut": cmdCut, "field": cmdField, "modes": cmdModes, "der": cmdDER, "p8s": cmdP8s, "wrap": cmdWrap,
			"keyof": cmdKeyOf, "offer": cmdOffer, "snapshot": cmdSnapshot,
		},
	})
}

// cmdCode runs a program that must end with this exit code: code N PROGRAM ARGS…
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		if _, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &got); scanErr != nil {
			ts.Fatalf("%s: %v", args[1], err)
		}
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cmdP8 makes a key file, and the public half beside it: p8 FILE [SHAPE]
func cmdP8(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: p8 FILE [SHAPE]")
	}
	shape := "good"
	if len(args) == 2 {
		shape = args[1]
	}
	curve := elliptic.P256()
	if shape == "p384" {
		curve = elliptic.P384()
	}
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	ts.Check(err)
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	ts.Check(err)
	pubPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	switch shape {
	case "good", "p384":
	case "public":
		text = pubPEM
	case "two":
		text = append(text, text...)
	case "truncated":
		text = text[:len(text)/2]
	case "encrypted":
		text = pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})
	case "sec1":
		sec1, err := x509.MarshalECPrivateKey(key)
		ts.Check(err)
		text = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})
	case "rsa":
		rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
		ts.Check(err)
		der, err := x509.MarshalPKCS8PrivateKey(rsaKey)
		ts.Check(err)
		text = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	case "oneline":
		text = []byte(strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", `\n`))
	default:
		ts.Fatalf("no shape %s", shape)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pub"), pubPEM, 0o600))
}

// cmdP8s makes a folder of key files, AuthKey_KEY0000001.p8 and so on: p8s DIR N
func cmdP8s(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: p8s DIR N")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o700))
	for i := range n {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ts.Check(err)
		der, err := x509.MarshalPKCS8PrivateKey(key)
		ts.Check(err)
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), fmt.Sprintf("AuthKey_KEY%07d.p8", i+1)), text, 0o600))
	}
}

// cmdWrap puts a key file into a text, as JSON strings have it: the file for @KEY@, its base64 for @BASE64@, the DER's for @DER@;
// or, with a variable, into the environment. wrap TEXT-FILE KEY-FILE OUT-FILE, wrap -env VAR KEY-FILE
func cmdWrap(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: wrap TEXT-FILE KEY-FILE OUT-FILE, wrap -env VAR KEY-FILE")
	}
	if args[0] == "-env" {
		ts.Setenv(args[1], ts.ReadFile(args[2]))
		return
	}
	key := ts.ReadFile(args[1])
	block, _ := pem.Decode([]byte(key))
	if block == nil {
		ts.Fatalf("%s is no key file", args[1])
	}
	text := strings.NewReplacer(
		"@KEY@", strings.ReplaceAll(key, "\n", `\n`),
		"@BASE64@", base64.StdEncoding.EncodeToString([]byte(key)),
		"@DER@", base64.StdEncoding.EncodeToString(block.Bytes),
	).Replace(ts.ReadFile(args[0]))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(text), 0o600))
}

// cmdJWT verifies a token with golang-jwt's parser and the public key alone, and prints its lifetime, or that it has none, header and
// claims: jwt TOKEN-FILE PUB-FILE
func cmdJWT(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: jwt TOKEN-FILE PUB-FILE")
	}
	pub, err := jwt.ParseECPublicKeyFromPEM([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	text := strings.TrimSpace(ts.ReadFile(args[0]))
	for _, before := range []string{"Authorization: ", "Bearer ", "bearer "} {
		text = strings.TrimPrefix(text, before)
	}
	token, err := jwt.Parse(text, func(*jwt.Token) (any, error) { return pub, nil }, jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuedAt())
	if neg != (err != nil) {
		ts.Fatalf("the token verifies: %v", err)
	}
	if neg {
		return
	}
	claims, ok := token.Claims.(jwt.MapClaims)
	if !ok {
		ts.Fatalf("claims are %T", token.Claims)
	}
	exp, err := claims.GetExpirationTime()
	ts.Check(err)
	iat, err := claims.GetIssuedAt()
	ts.Check(err)
	if exp == nil {
		fmt.Fprintln(ts.Stdout(), "no exp")
	} else {
		fmt.Fprintf(ts.Stdout(), "ttl %d\n", int(exp.Sub(iat.Time).Seconds()))
	}
	for _, v := range []any{token.Header, claims} {
		out, err := json.Marshal(v)
		ts.Check(err)
		fmt.Fprintf(ts.Stdout(), "%s\n", out)
	}
}

// cmdKeyOf makes a key and imports it with the operator's client.yaml; its public half goes into NAME.pub: keyof CLIENT-YAML NAME
// FACT=VALUE…, where a fact is called what the sealed file calls it.
func cmdKeyOf(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: keyof CLIENT-YAML NAME FACT=VALUE…")
	}
	said := make(map[string]string)
	for _, fact := range args[2:] {
		name, value, _ := strings.Cut(fact, "=")
		said[name] = value
	}
	text, err := json.Marshal(said)
	ts.Check(err)
	var facts sealed.Facts
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	ts.Check(d.Decode(&facts))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]+".pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}), 0o600))

	config, err := client.LoadConfig(ts.MkAbs(args[0]))
	ts.Check(err)
	c, err := client.Dial(config)
	ts.Check(err)
	defer c.Close()
	verifier, err := note.NewVerifier(config.Logs[0].Key)
	ts.Check(err)
	answer, err := c.GetRecipient(context.Background(), &signetv1.GetRecipientRequest{})
	ts.Check(err)
	recipient, err := sealed.ParseRecipient(answer.GetNote(), verifier)
	ts.Check(err)
	file, err := sealed.Seal(recipient, der, facts)
	ts.Check(err)
	_, err = c.ImportKey(context.Background(), &signetv1.ImportKeyRequest{Name: args[1], Sealed: file})
	ts.Check(err)
}

// cmdOffer verifies what an app is handed for an offer of the original style, as Apple does, which knows the rest by itself:
// offer JSON-FILE PUB-FILE BUNDLE PRODUCT OFFER ACCOUNT
func cmdOffer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 6 {
		ts.Fatalf("usage: offer JSON-FILE PUB-FILE BUNDLE PRODUCT OFFER ACCOUNT")
	}
	var app struct {
		KeyIdentifier, Nonce string
		Timestamp            int64
		Signature            []byte // standard base64
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &app))
	pub, err := jwt.ParseECPublicKeyFromPEM([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	signed := strings.Join([]string{args[2], app.KeyIdentifier, args[3], args[4], args[5], app.Nonce, strconv.FormatInt(app.Timestamp, 10)}, "\u2063")
	sum := sha256.Sum256([]byte(signed))
	if !ecdsa.VerifyASN1(pub, sum[:], app.Signature) {
		ts.Fatalf("the signature does not verify")
	}
	if age := time.Since(time.UnixMilli(app.Timestamp)); age < 0 || age > time.Hour {
		ts.Fatalf("it was signed %s ago", age)
	}
}

// cmdSnapshot verifies the URL of a map snapshot: snapshot URL-FILE PUB-FILE
func cmdSnapshot(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: snapshot URL-FILE PUB-FILE")
	}
	pub, err := jwt.ParseECPublicKeyFromPEM([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	signed, signature, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(ts.ReadFile(args[0])), "https://snapshot.apple-mapkit.com"), "&signature=")
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	ts.Check(err)
	ts.Check(jwt.SigningMethodES256.Verify(signed, raw, pub))
}

// cmdDER takes a token apart for openssl: what was signed, and the signature as DER: der TOKEN-FILE SIGNED-FILE SIGNATURE-FILE
func cmdDER(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: der TOKEN-FILE SIGNED-FILE SIGNATURE-FILE")
	}
	text := strings.TrimSpace(ts.ReadFile(args[0]))
	at := strings.LastIndexByte(text, '.')
	raw, err := base64.RawURLEncoding.DecodeString(text[at+1:])
	ts.Check(err)
	if len(raw) != 64 {
		ts.Fatalf("the signature has %d bytes", len(raw))
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])})
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text[:at]), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), der, 0o600))
}

var listenLine = regexp.MustCompile(`(?m)^listen: "?([^"\n]+)"?$`)

// cmdReady waits until the server of a vault answers a handshake, with a certificate of this vault's CA: anything may listen on a
// port. The vault may be made meanwhile. ready VAULT
func cmdReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready VAULT")
	}
	vault := ts.MkAbs(args[0])
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := handshake(vault)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the vault's server does not answer: %v", err)
		}
	}
}

func handshake(vault string) error {
	config, err := os.ReadFile(filepath.Join(vault, "signetd.yaml"))
	if err != nil {
		return err
	}
	m := listenLine.FindSubmatch(config)
	if m == nil {
		return errors.New("no listen in the config")
	}
	ca, err := os.ReadFile(filepath.Join(vault, "tls", "ca.pem"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return errors.New("no CA in the vault")
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, NextProtos: []string{"h2"}}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Second}, "tcp", string(m[1]), conf)
	if err != nil {
		return err
	}
	return conn.Close()
}

// cmdRecipient makes a recipient of nobody's, signed by a log key of nobody's: recipient FILE DAYS
func cmdRecipient(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: recipient FILE DAYS")
	}
	days, err := strconv.Atoi(args[1])
	ts.Check(err)
	skey, vkey, err := auditlog.GenerateKey("foreign/node-1")
	ts.Check(err)
	signer, err := note.NewSigner(skey)
	ts.Check(err)
	priv, err := sealed.NewPrivate("foreign", time.Now().Add(time.Duration(days)*24*time.Hour).Truncate(time.Second))
	ts.Check(err)
	r := priv.Recipient()
	r.Log = vkey
	msg, err := r.MarshalNote(signer)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), msg, 0o600))
}

// cmdFlip flips one bit in the middle of where TEXT last stands in a file: flip FILE TEXT
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE TEXT")
	}
	data := []byte(ts.ReadFile(args[0]))
	at := bytes.LastIndex(data, []byte(args[1]))
	if at < 0 {
		ts.Fatalf("%s is not in %s", args[1], args[0])
	}
	data[at+len(args[1])/2] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

// cmdCut cuts a file off before the last line that contains TEXT: cut FILE TEXT
func cmdCut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut FILE TEXT")
	}
	data := ts.ReadFile(args[0])
	at := strings.LastIndex(data, args[1])
	if at < 0 {
		ts.Fatalf("%s is not in %s", args[1], args[0])
	}
	ts.Check(os.Truncate(ts.MkAbs(args[0]), int64(strings.LastIndexByte(data[:at], '\n')+1)))
}

// cmdField puts a field of a JSON file, such as .a.b.0, into a variable: field VAR FILE PATH
func cmdField(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: field VAR FILE PATH")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &v))
	for part := range strings.SplitSeq(strings.TrimPrefix(args[2], "."), ".") {
		if text, ok := v.(string); ok { // an entry in its stored bytes
			ts.Check(json.Unmarshal([]byte(text), &v))
		}
		switch at := v.(type) {
		case map[string]any:
			v = at[part]
		case []any:
			i, err := strconv.Atoi(part)
			ts.Check(err)
			if i >= len(at) {
				ts.Fatalf("%s has no %d", args[2], i)
			}
			v = at[i]
		}
	}
	if v == nil {
		ts.Fatalf("%s has no %s", args[1], args[2])
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

// cmdModes fails when anybody but the owner may touch anything below a directory: modes DIR
func cmdModes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: modes DIR")
	}
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		if st.Mode().Perm()&0o077 != 0 {
			return fmt.Errorf("%s has mode %v", path, st.Mode())
		}
		return nil
	}))
}
