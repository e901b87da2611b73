package client_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/servertest"
)

// TestTrace: the hash that names a token, and what is known of one.
func TestTrace(t *testing.T) {
	s := servertest.New(t)
	s.ImportKey("asc", "app-store-connect")
	s.ApplyPolicy(watchPolicy)
	token, err := s.Client("spiffe://signet.test/ci/1").Mint(t.Context(), "release", client.MintOptions{})
	if err != nil {
		t.Fatal(err)
	}
	operator := s.Client(servertest.OperatorID)
	for name, text := range map[string]string{
		"token": token.Text(), "header": token.Header(), "value of the header": "bearer " + token.Text(), "newline": token.Text() + "\r\n",
		"hash": token.SHA256, "HASH": strings.ToUpper(token.SHA256), "hash with its name": "sha256:" + token.SHA256,
	} {
		names, err := client.TokenHashes(text)
		if err != nil || names[0].String() != token.SHA256 {
			t.Errorf("%s: %v, %v", name, names, err)
		}
	}
	names, err := client.TokenHashes(mirrored(t, token.Text()))
	if err != nil {
		t.Fatal(err)
	}
	sum, found, err := operator.Trace(t.Context(), names)
	if err != nil || sum.String() != token.SHA256 || names[0] == sum || len(found.GetHolders()) != 1 || found.GetTotalDeliveries() != 1 || found.GetToken().GetKey() != "asc" || !found.GetToken().GetExpireTime().AsTime().Equal(token.Expires) {
		t.Errorf("traced %v, %v", found, err)
	}
	if _, found, err = operator.Trace(t.Context(), []auditlog.Sum{{1}, {2}}); err != nil || found.GetToken() != nil || len(found.GetLogs()) != 1 {
		t.Errorf("a token that was never ours: %v, %v", found, err)
	}
}

// mirrored is a token that is as good as another, and not the same.
func mirrored(t *testing.T, text string) string {
	t.Helper()
	at := strings.LastIndexByte(text, '.') + 1
	signature, err := base64.RawURLEncoding.DecodeString(text[at:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return text[:at] + base64.RawURLEncoding.EncodeToString(signature)
}

// TestTraceURL: a URL is found by what goes with it as well.
func TestTraceURL(t *testing.T) {
	const signed = "https://snapshot.apple-mapkit.com/api/v1/snapshot?z=1&teamId=DEF123GHIJ&keyId=ABC123DEFG&signature="
	token := "e30.e30." + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{7}, 64))
	url, other := signed+token[len("e30.e30."):], signed+mirrored(t, token)[len("e30.e30."):]
	names, err := client.TokenHashes(other)
	if want := auditlog.Sum(sha256.Sum256([]byte(url))); err != nil || !slices.Contains(names, want) {
		t.Errorf("%v, %v: want %v", names, err, want)
	}
}

// TestNoToken: what is neither a token nor a hash, and is not repeated.
func TestNoToken(t *testing.T) {
	for _, text := range []string{
		"", "hunter2", "a.b.c", "e30.e30", "e30.e30.", "e30.e30.AA.AA", "Basic e30.e30.AAAA", "a Bearer b e30.e30.AAAA", "sha256:", "sha256:12",
		strings.Repeat("g", 64), strings.Repeat("a", 63), "e30.e30.!", "e30 e30 AAAA", "e30.AAAA.e30", "https://snapshot.apple-mapkit.com/a.b.c", "https://a?z=1&signature=", "https://a?z=1&signature=!",
	} {
		if _, err := client.TokenHashes(text); !errors.Is(err, client.ErrNoToken) || len(text) > 2 && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzTokenHashes(f *testing.F) {
	f.Add("e30.e30.AAAA")
	f.Add("Authorization: Bearer e30.e30.AAAA")
	f.Add("sha256:" + strings.Repeat("aB", 32))
	f.Fuzz(func(t *testing.T, text string) {
		names, err := client.TokenHashes(text)
		if err != nil {
			if !errors.Is(err, client.ErrNoToken) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		sum := names[0]
		// Either it is the hash itself, or it is that of a part of the text.
		if strings.Contains(strings.ToLower(text), sum.String()) {
			return
		}
		for _, field := range strings.Fields(text) {
			if sha256.Sum256([]byte(field)) == sum {
				return
			}
		}
		t.Errorf("%q has the hash %v", text, sum)
	})
}

// TestTokenHashes: a token is itself whatever stands around it.
func TestTokenHashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.StringMatching(`([A-Za-z0-9_-]{4}){1,20}`)
		text := rapid.SampledFrom([]string{"e30.e30.", "https://snapshot.apple-mapkit.com/api/v1/snapshot?z=1&teamId=DEF123GHIJ&keyId=ABC123DEFG&signature="}).Draw(t, "signed") +
			part.Draw(t, "signature")
		space := rapid.StringMatching(`[ \t\r\n]{0,3}`)
		around := space.Draw(t, "before") + rapid.SampledFrom([]string{"", "Bearer ", "Authorization: Bearer ", "authorization:  BEARER\t", "Authorization: "}).Draw(t, "header") + text + space.Draw(t, "after")
		names, err := client.TokenHashes(around)
		if want := sha256.Sum256([]byte(text)); err != nil || names[0].String() != hex.EncodeToString(want[:]) {
			t.Fatalf("%q: %v, %v", around, names, err)
		}
	})
}
