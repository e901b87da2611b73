package authority

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Who is who in all tests.
const (
	trustDomain = "signet.test"
	operatorID  = "spiffe://signet.test/operator"
	callerID    = "spiffe://signet.test/ci/1"
	strangerID  = "spiffe://signet.test/nobody"
	nodeName    = "node-1"
	issuerID    = "57246542-96fe-1a63-e053-0824d011072a"
)

// basicPolicy lets the caller mint with the key "asc", and security read.
const basicPolicy = `version: 1
profiles:
  release: {key: asc, app_store_connect: {}, ttl: 10m}
  builds: {key: asc, app_store_connect: {scope: [GET /v1/apps/1, GET /v1/apps/1/builds]}, ttl: 15m}
grants:
  - id: ci
    to: [{mtls: "spiffe://signet.test/ci/*"}]
    mint: [release, builds]
    rate: none
  - id: security
    to: [{mtls: "spiffe://signet.test/security/*"}]
    do: [audit.read, key.read, policy.read]
`

// clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// vault is a vault on a store and a disk that fail as they are told, and the authority that has it open.
type vault struct {
	*Authority
	t       testing.TB
	clock   *clock
	kek     envelope.KEK
	more    []envelope.KEK // configured beside kek, which alone wraps the root key at first
	memory  *storetest.MemoryBackend
	backend *storetest.Faulty
	fs      *storetest.FaultFS
	made    *Initialized
	logs    *log
	ids     atomic.Int64
	file    []byte // a sealed key that waits to be imported
	twin    []byte // one that is here already, as a version of "asc"
	watcher Watcher
}

// newVault creates a vault and opens it.
func newVault(t testing.TB) *vault {
	t.Helper()
	v := &vault{
		t: t, kek: storetest.KEK(), more: []envelope.KEK{&namedKEK{KEK: storetest.KEK(), uri: "memory:spare"}}, memory: storetest.Memory(), fs: storetest.NewFaultFS(), logs: new(log),
		clock: &clock{now: time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)},
	}
	made, err := Init(t.Context(), InitConfig{
		Backend: v.memory, KEKs: []envelope.KEK{v.kek}, LogFS: v.fs, Node: nodeName, TrustDomain: trustDomain,
		Operator: operatorID, Hosts: []string{"localhost", "127.0.0.1"}, Now: v.clock.Now, Logger: v.logger(),
	})
	if err != nil {
		t.Fatalf("Init: %v", err)
	}
	v.made = made
	v.mustOpen()
	t.Cleanup(func() {
		if v.Authority != nil {
			_ = v.Close()
		}
		if t.Failed() && testing.Verbose() {
			t.Logf("the server's own log:\n%s", v.logs)
		}
	})
	return v
}

func (v *vault) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(v.logs, nil))
}

// log is what the store and the authority of a vault write at once, and a test reads.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// open opens the authority as serve does.
func (v *vault) open() error {
	v.backend = storetest.NewFaulty(v.memory, nil)
	s, err := store.Open(v.t.Context(), v.storeConfig())
	if err != nil {
		return err
	}
	a, err := Open(v.t.Context(), Config{
		Store: s, LogFS: v.fs, Node: nodeName, Operators: []string{operatorID}, TrustDomain: trustDomain,
		KEKs: uris(v.storeConfig().KEKs), Now: v.clock.Now, Logger: v.logger(), Watcher: v.watcher,
	})
	v.Authority = a
	return err
}

func uris(keks []envelope.KEK) []string {
	var all []string
	for _, k := range keks {
		all = append(all, k.URI())
	}
	return all
}

func (v *vault) storeConfig() store.Config {
	return store.Config{Backend: v.backend, KEKs: append([]envelope.KEK{v.kek}, v.more...), Node: nodeName, Now: v.clock.Now, Logger: v.logger()}
}

func (v *vault) mustOpen() {
	v.t.Helper()
	if err := v.open(); err != nil {
		v.t.Fatalf("Open: %v", err)
	}
}

// close ends the authority in order.
func (v *vault) close() {
	v.t.Helper()
	if err := v.Close(); err != nil {
		v.t.Fatalf("Close: %v", err)
	}
	v.Authority = nil
}

// crash ends the authority as kill -9 does: nothing more reaches the disk or the store.
func (v *vault) crash() {
	v.backend.Plan(func(storetest.Call) storetest.Fate { return storetest.CrashBefore })
	v.fs = v.fs.Restart()
	_ = v.Close()
	v.Authority = nil
}

// reopen is crash and open.
func (v *vault) reopen() {
	v.t.Helper()
	v.crash()
	v.mustOpen()
}

func principal(id string) policy.Principal {
	return policy.Principal{Kind: policy.PrincipalMTLS, ID: id, Certificate: "sha256:" + strings.Repeat("0", 64), Peer: "192.0.2.1:1234"}
}

// request draws a request id.
func (v *vault) request() Request {
	return Request{ID: fmt.Sprintf("req-%d", v.ids.Add(1))}
}

// p8 is a key as the account holder has it.
type p8 struct {
	pkcs8 []byte
	facts sealed.Facts
}

func newP8(t testing.TB) p8 {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return p8{der, sealed.Facts{Kind: string(apple.KindAppStoreConnect), KeyID: strings.ToUpper(rand.Text()[:10]), Issuer: issuerID}}
}

// seal seals a key to the vault's current recipient.
func (v *vault) seal(key p8) []byte {
	v.t.Helper()
	answer, err := v.Keys.Recipient(v.t.Context(), principal(operatorID), v.request())
	if err != nil {
		v.t.Fatalf("Recipient: %v", err)
	}
	verifier, err := note.NewVerifier(v.made.LogKey)
	if err != nil {
		v.t.Fatal(err)
	}
	recipient, err := sealed.ParseRecipient(answer.Note, verifier)
	if err != nil {
		v.t.Fatalf("the recipient: %v", err)
	}
	file, err := sealed.Seal(recipient, key.pkcs8, key.facts)
	if err != nil {
		v.t.Fatal(err)
	}
	return file
}

// importKey imports a new key.
func (v *vault) importKey(name string) p8 {
	v.t.Helper()
	key := newP8(v.t)
	if _, err := v.tryImport(name, v.seal(key)); err != nil {
		v.t.Fatalf("Import: %v", err)
	}
	return key
}

func (v *vault) tryImport(name string, file []byte) (Imported, error) {
	return v.Keys.Import(v.t.Context(), principal(operatorID), ImportRequest{Request: v.request(), Name: policy.KeyName(name), Sealed: file})
}

func (v *vault) apply(doc string) {
	v.t.Helper()
	if err := v.tryApply(doc); err != nil {
		v.t.Fatalf("Apply: %v", err)
	}
}

func (v *vault) tryApply(doc string) error {
	_, err := v.Policies.Apply(v.t.Context(), principal(operatorID), ApplyRequest{Request: v.request(), Document: []byte(doc)})
	return err
}

func (v *vault) mint(profile string) (Minted, error) {
	return v.Tokens.Mint(v.t.Context(), principal(callerID), MintRequest{Request: v.request(), Profile: policy.ProfileName(profile)})
}

func (v *vault) mustMint(profile string) Minted {
	v.t.Helper()
	minted, err := v.mint(profile)
	if err != nil {
		v.t.Fatalf("Mint: %v (%v)", err, errors.Unwrap(err))
	}
	return minted
}

func (v *vault) keyRequest(name, reason string) KeyRequest {
	return KeyRequest{Request: v.request(), Name: policy.KeyName(name), Reason: reason}
}

func (v *vault) disable(name string) error {
	_, err := v.Keys.Disable(v.t.Context(), principal(operatorID), v.keyRequest(name, "test"))
	return err
}

func (v *vault) enable(name string) error {
	_, err := v.Keys.Enable(v.t.Context(), principal(operatorID), v.keyRequest(name, "test"))
	return err
}

func (v *vault) revoke(name string, version int) (Exposure, error) {
	req := v.keyRequest(name, "test")
	req.Version = version
	done, err := v.Keys.Revoke(v.t.Context(), principal(operatorID), req)
	return done.Exposure, err
}

func (v *vault) activate(name string, version int) error {
	req := v.keyRequest(name, "")
	req.Version = version
	_, err := v.Keys.Activate(v.t.Context(), principal(operatorID), req)
	return err
}

// ready is a vault with the key "asc" and the basic policy.
func ready(t testing.TB) *vault {
	t.Helper()
	v := newVault(t)
	v.importKey("asc")
	v.apply(basicPolicy)
	return v
}

// entries are all entries of all logs of the node, oldest first, read through the open authority.
func (v *vault) entries() []*auditlog.Entry {
	v.t.Helper()
	var all []*auditlog.Entry
	log := v.changer.log
	for _, id := range log.Logs() {
		reader, err := log.Reader(id)
		if err != nil {
			v.t.Fatalf("log %s: %v", id, err)
		}
		for stored, err := range reader.Entries(context.Background(), 0, reader.Head().Size) {
			if err != nil {
				v.t.Fatalf("reading log %s: %v", id, err)
			}
			e, err := auditlog.ParseEntry(stored.Line)
			if err != nil {
				v.t.Fatalf("entry %d of log %s: %v", stored.Index, id, err)
			}
			all = append(all, e)
		}
	}
	return all
}

// last is the last entry of the current log.
func (v *vault) last() *auditlog.Entry {
	v.t.Helper()
	all := v.entries()
	return all[len(all)-1]
}

// copyFS is the file system as a backup of its directory has it.
func copyFS(t testing.TB, from *storetest.FaultFS) *storetest.FaultFS {
	t.Helper()
	to := storetest.NewFaultFS()
	dirs := map[string]bool{".": true}
	for _, name := range from.List(".") {
		if dir := path.Dir(name); !dirs[dir] {
			dirs[dir] = true
			if err := to.Mkdir(dir); err != nil {
				t.Fatal(err)
			}
		}
		file, err := to.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		data := from.Files(path.Dir(name))[path.Base(name)].Data
		if _, err := file.WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(file.Sync(), file.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for dir := range dirs {
		if err := to.SyncDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// wantReason fails the test unless err is of a kind and has a reason.
func wantReason(t testing.TB, err error, kind error, reason Reason) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Reason != reason || !errors.Is(err, kind) {
		t.Fatalf("error = %v (%#v), want %v with reason %s", err, err, kind, reason)
	}
}

func toPEM(pkcs8 []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// canaries are the forms in which a key may show up where it must not.
func canaries(t testing.TB, pkcs8 []byte) []string {
	t.Helper()
	private, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := private.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	body := base64.StdEncoding.EncodeToString(pkcs8)
	return []string{
		string(scalar), string(pkcs8), body[:64], body[64:120],
		base64.StdEncoding.EncodeToString(scalar), base64.RawURLEncoding.EncodeToString(scalar), hex.EncodeToString(scalar),
	}
}
