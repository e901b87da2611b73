package oracle

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/servertest/fakeapple"
)

//go:embed node/package.json node/package-lock.json node/driver.mjs
var nodeFiles embed.FS

// needNode is the variable that makes a missing Node.js a failure.
const needNode = "SIGNET_NEED_NODE"

// installed is where the packages are, or why there are none. They are kept for the next run, by their lock file.
var installed = sync.OnceValues(func() (string, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%s is not on the PATH", program)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := nodeFiles.ReadFile("node/" + name)
		if err != nil {
			return "", err
		}
		_, _ = sum.Write(text)
	}
	dir := filepath.Join(cache, "signet-apple-oracle", hex.EncodeToString(sum.Sum(nil))[:16])
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "install-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := nodeFiles.ReadFile("node/" + name)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(fresh, name), text, 0o600); err != nil {
			return "", err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev")
	npm.Dir = fresh
	if out, err := npm.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	if err := os.Rename(fresh, dir); err != nil {
		if _, there := os.Stat(dir); there != nil { // another run was not faster
			return "", err
		}
	}
	return dir, nil
})

// task is one of the driver's. Its name is do; what a task does not use is empty.
type task struct {
	Do          string `json:"do"`
	Key         string `json:"key,omitempty"`
	Public      string `json:"public,omitempty"`
	Kid         string `json:"kid,omitempty"`
	Issuer      string `json:"issuer,omitempty"`
	Bundle      string `json:"bundle,omitempty"`
	Product     string `json:"product,omitempty"`
	Offer       string `json:"offer,omitempty"`
	Transaction string `json:"transaction,omitempty"`
	Allow       bool   `json:"allow"`
	Request     string `json:"request,omitempty"`
	Account     string `json:"account"`
	Nonce       string `json:"nonce,omitempty"`
	Timestamp   int64  `json:"timestamp,omitempty"`
	Token       string `json:"token,omitempty"`
	Audience    string `json:"audience,omitempty"`
	Now         int64  `json:"now,omitempty"`
	URL         string `json:"url,omitempty"`
	Text        string `json:"text,omitempty"`
	Signature   string `json:"signature,omitempty"`
}

// answer is the driver's to one task: one of the two.
type answer struct{ Text, Error string }

// node runs tasks.
func node(t *testing.T, tasks []task) []answer {
	t.Helper()
	dir, err := installed()
	if err != nil {
		message := "nothing is compared with Apple's own library: " + err.Error()
		if os.Getenv(needNode) != "" {
			t.Fatal(message)
		}
		t.Skip(message + " (" + needNode + "=1 makes this a failure)")
	}
	driver, err := nodeFiles.ReadFile("node/driver.mjs")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "driver.mjs")
	if err := os.WriteFile(script, driver, 0o600); err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(tasks)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script, dir)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, stderr.String())
	}
	var answers []answer
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(tasks) {
		t.Fatalf("%d answers to %d tasks, %v: %s", len(answers), len(tasks), err, out)
	}
	return answers
}

// privatePEM and publicPEM are a key's, as files.
func privatePEM(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func publicPEM(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// TestNodeVerifies: jose and jsonwebtoken find in every family's token what is there to find.
func TestNodeVerifies(t *testing.T) {
	key := newKey(t)
	other := newKey(t)
	libraries := []string{"jose", "jsonwebtoken"}
	var tasks []task
	for _, f := range cases {
		audience, _ := f.claims["aud"].(string)
		token := f.mint(t, key, now)
		for _, library := range libraries {
			good := task{Do: library, Public: publicPEM(t, key), Token: token, Audience: audience, Now: now.Unix()}
			wrong := good
			wrong.Public = publicPEM(t, other)
			late := good
			late.Now += 31 * 86400
			tasks = append(tasks, good, wrong, late)
		}
	}
	answers := node(t, tasks)
	for _, f := range cases {
		for _, library := range libraries {
			good, wrong, late := answers[0], answers[1], answers[2]
			answers = answers[3:]
			t.Run(f.name+"/"+library, func(t *testing.T) {
				if good.Error != "" {
					t.Fatalf("refused: %s", good.Error)
				}
				var found struct {
					Header object
					Claims json.RawMessage
				}
				if err := json.Unmarshal([]byte(good.Text), &found); err != nil {
					t.Fatal(err)
				}
				f.compare(t, found.Header, found.Claims)
				if wrong.Error == "" {
					t.Error("another key's signature is accepted")
				}
				if _, expires := f.claims["exp"]; expires && late.Error == "" {
					t.Error("a month later it is accepted")
				}
			})
		}
	}
}

// storeKitCase is what Apple's library and we are both asked for.
type storeKitCase struct {
	name   string
	task   task
	params apple.Params
	call   apple.Call
	differ []string
}

var storeKitCases = []storeKitCase{
	{"App Store Server", task{Do: "bearer"}, apple.AppStoreServer{Bundle: bundle}, nil, []string{"iat", "exp"}},
	{"promotional offer", task{Do: "promotionalOffer", Product: "com.example.pro", Offer: "winback1", Transaction: "1000011859217"},
		apple.PromotionalOffer{Bundle: bundle}, call(apple.NewOfferCall("com.example.pro", "winback1", "1000011859217", "")), []string{"iat", "nonce"}},
	{"promotional offer without a transaction", task{Do: "promotionalOffer", Product: "com.example.pro", Offer: "winback1"},
		apple.PromotionalOffer{Bundle: bundle}, call(apple.NewOfferCall("com.example.pro", "winback1", "", "")), []string{"iat", "nonce"}},
	{"introductory offer", task{Do: "introductoryOffer", Product: "com.example.pro", Allow: true, Transaction: "1000011859217"},
		apple.IntroductoryOffer{Bundle: bundle}, call(apple.NewIntroductoryOfferCall("com.example.pro", "1000011859217", true)), []string{"iat", "nonce"}},
	{"no introductory offer", task{Do: "introductoryOffer", Product: "com.example.pro", Transaction: "1000011859217"},
		apple.IntroductoryOffer{Bundle: bundle}, call(apple.NewIntroductoryOfferCall("com.example.pro", "1000011859217", false)), []string{"iat", "nonce"}},
	{"Advanced Commerce", task{Do: "advancedCommerce", Request: order},
		apple.AdvancedCommerceRequest{Bundle: bundle}, call(apple.NewCommerceCall([]byte(order))), []string{"iat", "nonce"}},
}

// storeFake is an App Store that knows the key.
func storeFake(key *ecdsa.PrivateKey) *fakeapple.Apple {
	a := fakeapple.New(time.Now)
	a.Register(fakeapple.Key{Kind: fakeapple.InAppPurchase, ID: string(keyID), Issuer: string(issuer), Public: &key.PublicKey})
	return a
}

// of is the task, of the key and the app of these tests.
func (k task) of(t *testing.T, key *ecdsa.PrivateKey) task {
	t.Helper()
	k.Key, k.Kid, k.Issuer, k.Bundle = privatePEM(t, key), string(keyID), string(issuer), string(bundle)
	return k
}

// TestAppleStoreKit: what Apple's own library makes of the same values has our header and our claims, and the fake App Store takes both.
func TestAppleStoreKit(t *testing.T) {
	key := newKey(t)
	store := storeFake(key)
	var tasks []task
	for _, tt := range storeKitCases {
		tasks = append(tasks, tt.task.of(t, key))
	}
	answers := node(t, tasks)
	for i, tt := range storeKitCases {
		t.Run(tt.name, func(t *testing.T) {
			if answers[i].Error != "" {
				t.Fatal(answers[i].Error)
			}
			ours := sign(t, purchase, tt.params, tt.call, key, time.Now()).Text
			same(t, ours, answers[i].Text, tt.differ...)
			for whose, token := range map[string]string{"ours": ours, "theirs": answers[i].Text} {
				if tt.task.Do == "bearer" {
					continue // TestAppleClient
				}
				if err := store.StoreKit(token, string(bundle)); err != nil {
					t.Errorf("%s is refused: %v", whose, err)
				}
			}
		})
	}
}

// TestAppleClient: Apple's own client talks to the fake App Store Server API with its own token and with ours.
func TestAppleClient(t *testing.T) {
	key := newKey(t)
	store := storeFake(key)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = "api.storekit.apple.com"
		store.ServeHTTP(w, r)
	}))
	defer server.Close()
	ours := sign(t, purchase, apple.AppStoreServer{Bundle: bundle}, nil, key, time.Now()).Text
	var tasks []task
	for _, token := range []string{"", ours, ours[:len(ours)-4] + "AAAA"} {
		tasks = append(tasks, task{Do: "transaction", URL: server.URL, Token: token}.of(t, key))
	}
	answers := node(t, tasks)
	for i, want := range []string{"taken", "taken", "401"} {
		if answers[i].Text != want {
			t.Errorf("token %d: %s, want %s; %v", i, answers[i], want, store.Refusals())
		}
	}
}

// TestAppleOffer: the original style. The fake App Store takes Apple's signature and ours, and Node verifies ours.
func TestAppleOffer(t *testing.T) {
	const separator = "\u2063"
	for _, account := range []string{"", "7E3FB204-2DD2-4F5B-BE25-93C0A4DFBC1F", "user Ä"} {
		t.Run(account, func(t *testing.T) {
			key := newKey(t)
			store := storeFake(key)
			offer := apple.PromotionalOfferSignature{Bundle: bundle}
			ours := sign(t, purchase, offer, call(apple.NewOfferCall("com.example.pro", "winback1", "", account)), key, time.Now())
			given := fakeapple.Offer{
				Bundle: string(bundle), KeyID: string(ours.Offer.KeyID), Product: "com.example.pro", Offer: "winback1", Account: account,
				Nonce: ours.Nonce, Timestamp: ours.Offer.Timestamp, Signature: ours.Text,
			}
			text := strings.Join([]string{
				string(bundle), string(keyID), "com.example.pro", "winback1", strings.ToLower(account), ours.Nonce, strconv.FormatInt(ours.Offer.Timestamp, 10),
			}, separator)
			theirs := task{Do: "offerSignature", Product: "com.example.pro", Offer: "winback1", Account: account, Nonce: ours.Nonce, Timestamp: ours.Offer.Timestamp}.of(t, key)
			answers := node(t, []task{
				theirs,
				{Do: "der", Public: publicPEM(t, key), Text: text, Signature: ours.Text},
				{Do: "der", Public: publicPEM(t, newKey(t)), Text: text, Signature: ours.Text},
			})
			if answers[1].Error != "" || answers[2].Error == "" {
				t.Errorf("Node says of ours %q, and of it with another key %q", answers[1].Error, answers[2].Error)
			}
			if err := store.Redeem(given); err != nil {
				t.Errorf("ours is refused: %v", err)
			}
			given.Signature = answers[0].Text
			if err := storeFake(key).Redeem(given); err != nil {
				t.Errorf("theirs is refused: %v, %s", err, answers[0].Error)
			}
		})
	}
}

// TestNodeSnapshot: the signature of a snapshot's URL, which is of r and s and over what stands before it.
func TestNodeSnapshot(t *testing.T) {
	key := newKey(t)
	signed := sign(t, portal, apple.MapsSnapshot{}, call(apple.NewSnapshotCall("center=37.33%2C-122.0&z=12")), key, now).Text
	u, err := url.Parse(signed)
	if err != nil {
		t.Fatal(err)
	}
	text, signature, ok := strings.Cut(u.EscapedPath()+"?"+u.RawQuery, "&signature=")
	if !ok || u.Host != "snapshot.apple-mapkit.com" {
		t.Fatalf("the URL is %s", signed)
	}
	answers := node(t, []task{
		{Do: "raw", Public: publicPEM(t, key), Text: text, Signature: signature},
		{Do: "raw", Public: publicPEM(t, key), Text: text + "0", Signature: signature},
	})
	if answers[0].Error != "" || answers[1].Error == "" {
		t.Errorf("Node says %q, and of another URL %q", answers[0].Error, answers[1].Error)
	}
}
