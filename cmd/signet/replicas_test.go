package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
)

// fleet is two servers that take the same callers, each with its own log, and a client.yaml of both. They stand for two replicas: that
// these share no store is no matter to who reads their logs.
type fleet struct {
	t      *testing.T
	nodes  [2]*servertest.Server
	dir    string
	config client.Config
}

const fleetPolicy = `version: 1
profiles:
  ios-release: {key: asc-release, app_store_connect: {}, ttl: 10m}
grants:
  - {id: ci, to: [{mtls: spiffe://signet.test/ci/*}], mint: [ios-release], rate: none}
`

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir()}
	keys := map[string]string{"asc-release": "app-store-connect"}
	f.nodes[0] = servertest.New(t, servertest.Options{Keys: keys, Policy: fleetPolicy})
	callers := "" // who certifies the second one's callers, once it is set up
	f.nodes[1] = servertest.New(t, servertest.Options{Keys: keys, Policy: fleetPolicy, Configure: func(c *server.Config) {
		if callers != "" {
			c.TLS.ClientCAFile = callers
		}
	}})
	callers = f.nodes[0].Config().TLS.ClientCAFile
	f.nodes[1].Restart()
	both := filepath.Join(f.dir, "both.pem")
	if err := os.WriteFile(both, slices.Concat(f.nodes[0].CA(), f.nodes[1].CA()), 0o600); err != nil {
		t.Fatal(err)
	}
	f.config = f.nodes[0].ClientConfig(servertest.OperatorID)
	f.config.CA = both
	f.config.Addresses = nil
	f.config.Logs = nil
	for _, n := range f.nodes {
		f.config.Addresses = append(f.config.Addresses, n.Addr())
		f.config.Logs = append(f.config.Logs, client.LogKey{Origin: n.LogOrigin(), Key: n.LogKey()})
	}
	return f
}

// client is somebody's, of one node.
func (f *fleet) client(node int, id string) *client.Client {
	f.t.Helper()
	config := f.nodes[0].ClientConfig(id)
	config.CA, config.Addresses = f.config.CA, []string{f.nodes[node].Addr()}
	c, err := client.Dial(config)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	return c
}

// mint has a caller given tokens by a node; it answers the last one's text.
func (f *fleet) mint(node int, caller string, times int) string {
	f.t.Helper()
	text, c := "", f.client(node, "spiffe://signet.test/ci/"+caller)
	for range times {
		f.nodes[node].Clock.Advance(time.Second)
		tok, err := c.Mint(f.t.Context(), "ios-release", client.MintOptions{Fresh: true})
		if err != nil {
			f.t.Fatal(err)
		}
		text = tok.Text()
	}
	return text
}

// signet runs a command with the fleet's config as it is now.
func (f *fleet) signet(args ...string) (code int, out, errs string) {
	f.t.Helper()
	return f.run(f.t.Context(), &bytes.Buffer{}, args...)
}

func (f *fleet) run(ctx context.Context, out interface {
	Write([]byte) (int, error)
	String() string
}, args ...string) (code int, stdout, stderr string) {
	f.t.Helper()
	text, err := yaml.Marshal(f.config)
	if err != nil {
		f.t.Fatal(err)
	}
	path := filepath.Join(f.dir, "client.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		f.t.Fatal(err)
	}
	getenv := func(name string) string {
		return map[string]string{"SIGNET_CONFIG": path, "HOME": f.dir}[name]
	}
	var errs bytes.Buffer
	code = run(ctx, args, getenv, strings.NewReader(""), out, &errs)
	return code, out.String(), errs.String()
}

// logID is the id of a node's log.
func (f *fleet) logID(node int) string {
	origin := f.nodes[node].LogOrigin()
	return origin[strings.LastIndexByte(origin, '/')+1:]
}

// expect runs a command that ends with a code and prints, or does not print, these: "!" before what must not be there, "2:" before what
// stands on standard error.
func (f *fleet) expect(code int, args []string, texts ...string) string {
	f.t.Helper()
	got, out, errs := f.signet(args...)
	if got != code {
		f.t.Errorf("%q: exit code %d, want %d\n%s%s", args, got, code, out, errs)
	}
	for _, text := range texts {
		text, not := strings.CutPrefix(text, "!")
		text, second := strings.CutPrefix(text, "2:")
		where := out
		if second {
			where = errs
		}
		if strings.Contains(where, text) == not {
			f.t.Errorf("%q: %q: there is %t\n%s%s", args, text, !not, out, errs)
		}
	}
	return out
}

func TestAuditOfSeveralServers(t *testing.T) {
	f := newFleet(t)
	a, b := f.nodes[0], f.nodes[1]
	f.mint(0, "1", 2)
	leaked := f.mint(1, "2", 3)
	f.mint(1, "1", 1)

	// list: by time, each with its log, and the newest of all of them.
	list := f.expect(cli.OK, []string{"audit", "list", "--action", "token.mint"}, f.logID(0)+"/", f.logID(1)+"/")
	if n := strings.Count(list, "token.mint"); n != 6 {
		t.Errorf("%d mints are listed:\n%s", n, list)
	}
	inJSON := f.expect(cli.OK, []string{"audit", "list", "--limit", "0", "-o", "json"})
	var last time.Time
	count := 0
	for line := range strings.Lines(inJSON) {
		e, err := auditlog.ParseEntry([]byte(strings.TrimSpace(line)))
		if err != nil || e.Node == "" || e.Time.Before(last) {
			t.Fatalf("%s: %v", line, err)
		}
		last = e.Time
		count++
	}
	newest := f.expect(cli.OK, []string{"audit", "list", "--limit", "3", "-o", "json"})
	if got := strings.Count(newest, "\n"); got != 3 {
		t.Errorf("%d lines", got)
	}
	f.expect(cli.OK, []string{"audit", "list", "--log", b.LogOrigin()}, "!"+f.logID(0)+"/", f.logID(1)+"/")
	f.expect(cli.OK, []string{"audit", "list", "--log", f.logID(0)}, f.logID(0)+"/", "!"+f.logID(1)+"/")
	f.expect(cli.NotFound, []string{"audit", "list", "--log", "nothing"})

	// show: an entry of either, as it is listed.
	for i := range f.nodes {
		f.expect(cli.OK, []string{"audit", "show", f.logID(i) + "/3"}, f.nodes[i].LogOrigin(), "verified: in the log")
	}
	f.expect(cli.Malformed, []string{"audit", "show", "3"}, "2:LOG/INDEX")
	f.expect(cli.NotFound, []string{"audit", "show", f.logID(0) + "/1000000"})
	f.expect(cli.Malformed, []string{"audit", "checkpoint"}, "2:--log")
	f.expect(cli.OK, []string{"audit", "checkpoint", "--log", f.logID(1)}, b.LogOrigin())

	// verify: both, with the pins of each.
	f.expect(cli.OK, []string{"audit", "verify"}, "verified: "+a.LogOrigin()+", ", "verified: "+b.LogOrigin()+", ", "first seen now", "grown from the pinned")
	var verified struct{ Logs []verifiedJSON }
	if err := json.Unmarshal([]byte(f.expect(cli.OK, []string{"audit", "verify", "-o", "json"})), &verified); err != nil || len(verified.Logs) != 2 || verified.Logs[0].PinnedSize < 1 || verified.Logs[1].PinnedSize < 1 {
		t.Errorf("%v, %+v", err, verified)
	}

	// report: counted together.
	var usage struct {
		Keys []struct {
			Name   string
			Tokens struct{ Given int }
		}
		Principals []struct {
			ID       string
			Profiles []struct{ Given int }
		}
		Logs []struct{ Origin, Unreachable string }
	}
	if err := json.Unmarshal([]byte(f.expect(cli.OK, []string{"audit", "report", "-o", "json"})), &usage); err != nil {
		t.Fatal(err)
	}
	if len(usage.Keys) != 1 || usage.Keys[0].Tokens.Given != 6 || len(usage.Logs) != 2 {
		t.Errorf("usage is %+v", usage)
	}
	for _, p := range usage.Principals {
		if strings.HasSuffix(p.ID, "/ci/1") && (len(p.Profiles) != 1 || p.Profiles[0].Given != 3) {
			t.Errorf("usage is %+v", usage)
		}
	}

	// trace: whoever has it.
	f.expect(cli.OK, []string{"audit", "trace", leaked}, "spiffe://signet.test/ci/2", f.logID(1)+"/")
	f.expect(cli.NotFound, []string{"audit", "trace", strings.Repeat("a", 64)})

	// One address more for a server that is there already.
	_, port, _ := strings.Cut(a.Addr(), ":")
	f.config.Addresses = append(f.config.Addresses, "localhost:"+port)
	if list := f.expect(cli.OK, []string{"audit", "list", "--action", "token.mint"}); strings.Count(list, "token.mint") != 6 {
		t.Errorf("it is counted twice:\n%s", list)
	}

	// One server alone, under two addresses, is as under one.
	f.config.Addresses, f.config.Logs = []string{a.Addr(), "localhost:" + port}, f.config.Logs[:1]
	f.expect(cli.OK, []string{"audit", "list", "--action", "token.mint"}, "!"+f.logID(0)+"/")
	f.expect(cli.OK, []string{"audit", "show", "3"}, a.LogOrigin())
}

// TestAuditNamesWhatIsMissing: nothing is passed over in silence, and what is had is printed.
func TestAuditNamesWhatIsMissing(t *testing.T) {
	f := newFleet(t)
	a, b := f.nodes[0], f.nodes[1]
	f.mint(0, "1", 1)
	token := f.mint(0, "1", 1)
	f.mint(1, "2", 1)
	b.Stop()
	gone, lost := "2:"+b.Addr(), "2:log "+b.LogOrigin()+": no address has answered for it"
	f.expect(cli.Unavailable, []string{"audit", "list", "--action", "token.mint"}, f.logID(0)+"/", "/ci/1", gone, lost)
	f.expect(cli.Unavailable, []string{"audit", "list", "-o", "json"}, "token.mint", gone, lost)
	f.expect(cli.OK, []string{"audit", "list", "--log", a.LogOrigin()}, f.logID(0)+"/")
	f.expect(cli.Unavailable, []string{"audit", "list", "--log", b.LogOrigin()}, gone)
	f.expect(cli.Unavailable, []string{"audit", "verify"}, "verified: "+a.LogOrigin(), "!"+b.LogOrigin(), gone, lost)
	f.expect(cli.Unavailable, []string{"audit", "report"}, "asc-release", "NOT COUNTED: no address has answered for it", gone, lost)
	f.expect(cli.Unavailable, []string{"audit", "trace", token}, "/ci/1", "not asked", gone, lost)
	f.expect(cli.Unavailable, []string{"audit", "trace", strings.Repeat("a", 64)}, "2:not in any log that could be asked", gone, lost)
	f.expect(cli.Unavailable, []string{"audit", "show", f.logID(1) + "/3"}, gone, lost)
	f.expect(cli.OK, []string{"audit", "show", f.logID(0) + "/3"}, a.LogOrigin())

	// One address, and a log that nobody has.
	f.config.Addresses = f.config.Addresses[:1]
	f.expect(cli.Unavailable, []string{"audit", "list", "--action", "token.mint"}, "/ci/1", lost, "!"+gone)
	// Nobody at all.
	a.Stop()
	f.expect(cli.Unavailable, []string{"audit", "list"}, "!/ci/1", "2:"+a.Addr(), lost)
	f.expect(cli.Unavailable, []string{"audit", "verify"}, "2:"+a.Addr(), lost)
}

// TestAuditOfAForgery: a log whose checkpoint the pinned key has not signed is not read, and the other is.
func TestAuditOfAForgery(t *testing.T) {
	f := newFleet(t)
	f.mint(0, "1", 1)
	f.mint(1, "2", 1)
	origin, err := auditlog.ParseOrigin(f.nodes[1].LogOrigin())
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := auditlog.GenerateKey(origin.KeyName())
	if err != nil {
		t.Fatal(err)
	}
	good := f.config.Logs[1].Key
	f.config.Logs[1].Key = other
	f.expect(cli.Other, []string{"audit", "list", "--action", "token.mint"}, "/ci/1", "!/ci/2", "2:"+f.nodes[1].Addr(), "2:"+f.nodes[1].LogOrigin())
	f.expect(cli.Other, []string{"audit", "verify"}, "verified: "+f.nodes[0].LogOrigin(), "2:"+f.nodes[1].Addr())

	// A log for which none is pinned is listed, as that of one server is, and does not verify.
	f.config.Logs = f.config.Logs[:1]
	f.expect(cli.OK, []string{"audit", "list", "--action", "token.mint"}, "/ci/1", "/ci/2")
	f.expect(cli.Other, []string{"audit", "verify"}, "verified: "+f.nodes[0].LogOrigin(), "2:pins no key")

	// One that is cut: the other is verified, and the code is that of what is wrong.
	f.config.Logs = append(f.config.Logs, client.LogKey{Origin: f.nodes[1].LogOrigin(), Key: good})
	f.expect(cli.OK, []string{"audit", "verify"})
	f.nodes[1].Stop()
	if err := filepath.WalkDir(f.nodes[1].LogDir(), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".log") {
			return os.Truncate(path, 1500)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	f.nodes[1].Restart()
	f.expect(cli.Other, []string{"audit", "verify"}, "verified: "+f.nodes[0].LogOrigin(), "2:gap", "2:"+origin.KeyName())
}

// lines is a writer that others wait for.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestWatchOfSeveralServers(t *testing.T) {
	f := newFleet(t)
	watch := func(args ...string) (out *lines, end func() (int, string)) {
		t.Helper()
		out = &lines{}
		ctx, cancel := context.WithCancel(t.Context())
		var code int
		var errs string
		done := make(chan struct{})
		go func() {
			defer close(done)
			code, _, errs = f.run(ctx, out, append([]string{"audit", "watch", "--action", "token.mint"}, args...)...)
		}()
		return out, func() (int, string) {
			cancel()
			<-done
			return code, errs
		}
	}
	until := func(out *lines, texts ...string) {
		t.Helper()
		for began := time.Now(); slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(out.String(), s) }); time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				t.Fatalf("it has printed\n%s", out)
			}
		}
	}
	out, end := watch("--since", "1h")
	f.mint(0, "1", 1)
	f.mint(1, "2", 1)
	until(out, f.logID(0)+"/", f.logID(1)+"/", "/ci/1", "/ci/2")
	code, errs := end()
	_, flags, ok := strings.Cut(errs, "the same command with ")
	if code != cli.Interrupted || !ok || strings.Count(flags, "--from") != 2 {
		t.Fatalf("%d, %s", code, errs)
	}
	flags, _, _ = strings.Cut(flags, " goes on")

	// It goes on after that.
	f.mint(1, "3", 1)
	out, end = watch(strings.Fields(flags)...)
	f.mint(0, "4", 1)
	until(out, "/ci/3", "/ci/4")
	if code, errs := end(); code != cli.Interrupted || strings.Contains(out.String(), "/ci/1") || strings.Contains(out.String(), "/ci/2") {
		t.Errorf("%d, %s\n%s", code, errs, out)
	}
	f.expect(cli.Malformed, []string{"audit", "watch", "--from", "3"}, "2:LOG/INDEX")
	f.expect(cli.Malformed, []string{"audit", "watch", "--from", f.logID(0) + "/3", "--from", f.logID(0) + "/4"}, "2:two --from")

	f.nodes[1].Stop()
	out, end = watch("--since", "1h")
	until(out, "/ci/1", "/ci/4")
	if code, errs := end(); code != cli.Interrupted || !strings.Contains(errs, "not watched: "+f.nodes[1].Addr()) {
		t.Errorf("%d, %s", code, errs)
	}
}

// TestRevokeAsksEveryServer: the receipt has the holders of all logs, and names those that could not be asked.
func TestRevokeAsksEveryServer(t *testing.T) {
	f := newFleet(t)
	f.mint(0, "1", 2)
	f.mint(1, "1", 1)
	f.mint(1, "2", 1)
	revoke := []string{"key", "revoke", "asc-release", "--reason", "lost", "--yes"}
	out := f.expect(cli.OK, revoke, "log "+f.nodes[0].LogOrigin()+": 2 tokens alive", "log "+f.nodes[1].LogOrigin()+": 2 tokens alive", "exposure ends")
	for _, row := range []string{"spiffe://signet.test/ci/1  3 ", "spiffe://signet.test/ci/2  1 "} {
		if strings.Count(out, row) != 1 || strings.Count(out, "HOLDER") != 1 {
			t.Errorf("no %q once in\n%s", row, out)
		}
	}
	for i := range f.nodes { // whoever was first
		k, err := f.client(i, servertest.OperatorID).GetKey(t.Context(), &signetv1.GetKeyRequest{Name: "asc-release"})
		if err != nil || k.GetVersions()[0].GetState() != signetv1.VersionState_VERSION_STATE_REVOKED {
			t.Errorf("node %d was not asked: %v, %v", i, k, err)
		}
	}
	type exposed struct {
		Exposure struct {
			UpperBound string
			Logs       []struct {
				Origin, Unreachable string
				Tokens              int
			}
		}
	}
	read := func(text string) (x exposed) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &x); err != nil {
			t.Fatal(err)
		}
		return x
	}
	all := read(f.expect(cli.OK, append(revoke, "-o", "json")))
	if logs := all.Exposure.Logs; len(logs) != 2 || logs[0].Tokens != 2 || logs[1].Tokens != 2 || all.Exposure.UpperBound == "" {
		t.Errorf("exposure is %+v", all)
	}

	f.nodes[1].Stop()
	f.expect(cli.OK, revoke, "log "+f.nodes[0].LogOrigin()+": 2 tokens alive", "log "+f.nodes[1].LogOrigin()+" could not be asked: no address has answered for it", "2:"+f.nodes[1].Addr())
	one := read(f.expect(cli.OK, append(revoke, "-o", "json")))
	if logs := one.Exposure.Logs; len(logs) != 2 || logs[0].Unreachable != "" || logs[1].Unreachable == "" {
		t.Errorf("exposure is %+v", one)
	}
	bound := func(x exposed) time.Time {
		at, err := time.Parse(time.RFC3339, x.Exposure.UpperBound)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	if d := bound(all).Sub(bound(one)); d.Abs() > 5*time.Second { // by the clocks of the two servers
		t.Errorf("the upper bound depends on who was asked: %s", d)
	}
}

func TestAddExposure(t *testing.T) {
	at := func(s int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(s, 0)) }
	origin := func(node string) auditlog.Origin { return auditlog.Origin{Vault: "v", Node: node, Log: "l"} }
	log := func(name, why string, tokens int64) *signetv1.LogExposure {
		return &signetv1.LogExposure{Origin: name, Unreachable: why, Tokens: tokens}
	}
	x := &signetv1.Exposure{UpperBound: at(100), RemainingStep: "first", Logs: []*signetv1.LogExposure{log("v/a/l", "", 1), log("v/b", "not asked", 0), log("v/c/old", "not asked", 0)}}
	addExposure(x, &signetv1.Exposure{UpperBound: at(90), RemainingStep: "second", Logs: []*signetv1.LogExposure{
		log("v/b/l", "", 2), log("v/b/older", "its older entries were archived", 0), log("v/a/l", "not asked", 0), log("v/d/l", "not asked", 0),
	}}, origin("b"))
	addUnasked(x, log("v/c/l", "away", 0))
	addUnasked(x, log("v/e/l", "away", 0))
	addUnasked(x, log("v/a/l", "away", 0))
	want := &signetv1.Exposure{UpperBound: at(100), RemainingStep: "first", Logs: []*signetv1.LogExposure{
		log("v/a/l", "", 1), log("v/c/old", "not asked; away", 0), log("v/b/l", "", 2), log("v/b/older", "its older entries were archived", 0),
		log("v/d/l", "not asked", 0), log("v/e/l", "away", 0),
	}}
	if diff := cmp.Diff(want, x, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	addExposure(x, &signetv1.Exposure{Unending: true, RemainingStep: "third"}, origin("d"))
	if x.GetUpperBound() != nil || !x.GetUnending() || x.GetRemainingStep() != "third" {
		t.Errorf("exposure is %v", x)
	}
	addExposure(x, &signetv1.Exposure{UpperBound: at(200)}, origin("d"))
	if x.GetUpperBound() != nil || !x.GetUnending() {
		t.Errorf("exposure is %v", x)
	}
}

func TestHoldersOf(t *testing.T) {
	end := timestamppb.New(time.Unix(100, 0))
	logs := []*signetv1.LogExposure{
		{Holders: []*signetv1.Holder{{Kind: "mtls", Id: "a", Tokens: 1, LastExpireTime: end}, {Kind: "mtls", Id: "b", Tokens: 1}}},
		{Holders: []*signetv1.Holder{{Kind: "mtls", Id: "a", Tokens: 2, LastExpireTime: timestamppb.New(time.Unix(200, 0))}, {Kind: "mtls", Id: "b", Tokens: 1, LastExpireTime: end}}},
		{Holders: []*signetv1.Holder{{Kind: "oidc", Id: "a", Tokens: 5}}},
	}
	want := []*signetv1.Holder{
		{Kind: "mtls", Id: "a", Tokens: 3, LastExpireTime: timestamppb.New(time.Unix(200, 0))}, {Kind: "mtls", Id: "b", Tokens: 2}, {Kind: "oidc", Id: "a", Tokens: 5},
	}
	if diff := cmp.Diff(want, holdersOf(logs), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if logs[0].GetHolders()[0].GetTokens() != 1 {
		t.Error("the logs were changed")
	}
}

func TestByTime(t *testing.T) {
	entry := func(origin string, index int64, at int) *signetv1.StoredEntry {
		e := auditlog.Entry{ID: "r", Node: "n", Action: "token.mint", Outcome: auditlog.Denied, Time: time.Unix(int64(at), 0).UTC()}
		line, err := e.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		if at == 0 {
			line = []byte("{")
		}
		return &signetv1.StoredEntry{Origin: origin, Index: index, Line: line}
	}
	var got []string
	for _, e := range byTime([][]*signetv1.StoredEntry{
		{entry("v/b/l", 0, 10), entry("v/b/l", 1, 20), entry("v/b/l", 2, 0), entry("v/b/l", 3, 30)},
		{entry("v/a/l", 7, 20), entry("v/a/l", 8, 20), entry("v/a/l", 9, 25)},
	}) {
		got = append(got, fmt.Sprintf("%s %d", e.GetOrigin()[2:3], e.GetIndex()))
	}
	if diff := cmp.Diff([]string{"b 0", "a 7", "a 8", "b 1", "b 2", "a 9", "b 3"}, got); diff != "" {
		t.Error(diff)
	}
}

// answering is a connection on which every call ends so.
type answering struct{ err error }

func (a answering) Invoke(ctx context.Context, _ string, _, _ any, _ ...grpc.CallOption) error {
	if a.err == nil { // nobody answers
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	return a.err
}

func (a answering) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, a.err
}

// TestWaitsForAnAnswer: while nobody can tell for whom a change waits, that is said, but not to who may not ask.
func TestWaitsForAnAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		says bool
	}{
		"the store is away": {status.Error(codes.Unavailable, "away"), true},
		"nobody answers":    {nil, true},
		"denied":            {status.Error(codes.PermissionDenied, "denied"), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl, err := client.New(answering{tt.err})
				if err != nil {
					t.Fatal(err)
				}
				if text := waitsFor(t.Context(), cl); (text != "") != tt.says {
					t.Errorf("it says %q", text)
				}
			})
		})
	}
}
