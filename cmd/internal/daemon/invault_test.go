package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	hashivault "github.com/hashicorp/vault/api"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/store/vaultstore/vaultrun"
)

// onVault is a Vault that setup.sh has set up, and a place for vaults of ours.
type onVault struct {
	t          *testing.T
	dir        string
	v          *vaultrun.Vault
	connection string // the file that setup.sh printed
	now        func() time.Time
}

// newVault starts one. Its names are not the usual ones, so that none is taken for granted.
func newVault(t *testing.T) *onVault {
	t.Helper()
	o := &onVault{t: t, dir: t.TempDir(), now: time.Now}
	var err error
	if o.v, err = vaultrun.Start(t.Context(), filepath.Join(o.dir, "hashicorp")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.v.Kill(); err != nil {
			t.Error(err)
		}
	})
	o.connection = o.setUp("vault.yaml")
	return o
}

// setUp runs setup.sh and puts what it prints into a file. It wants curl, which is on every machine that has set a Vault up.
func (o *onVault) setUp(name string, env ...string) string {
	o.t.Helper()
	out, err := o.v.SetUp(o.t.Context(), filepath.Join(o.dir, "secret-id-"+name), env...)
	if err != nil {
		o.t.Fatal(err)
	}
	return o.write(name, string(out))
}

func (o *onVault) write(name, text string) string {
	o.t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return path
}

// run runs a command in this process.
func (o *onVault) run(args ...string) (code int, stdout, stderr string) {
	o.t.Helper()
	var out, said bytes.Buffer
	code = Run(o.t.Context(), cli.Env{
		Args: args, Getenv: func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &said, Now: o.now, Version: "test",
	})
	return code, out.String(), said.String()
}

// ok runs a command that must succeed.
func (o *onVault) ok(args ...string) string {
	o.t.Helper()
	code, out, said := o.run(args...)
	if code != cli.OK {
		o.t.Fatalf("signetd %s: %d\n%s%s", strings.Join(args, " "), code, out, said)
	}
	return out + said
}

// refused runs a command that must fail with this code, saying all of these.
func (o *onVault) refused(code int, args []string, says ...string) {
	o.t.Helper()
	got, out, said := o.run(args...)
	if got != code || out != "" {
		o.t.Errorf("signetd %s: %d, want %d\n%s%s", strings.Join(args, " "), got, code, out, said)
	}
	for _, part := range says {
		if !strings.Contains(said, part) {
			o.t.Errorf("signetd %s: %q is not in: %s", strings.Join(args, " "), part, said)
		}
	}
	for _, secret := range o.secrets() {
		if strings.Contains(said, secret) {
			o.t.Errorf("signetd %s: a secret is in what it says", args[0])
		}
	}
}

// secrets are the secret ids and the token of an administrator.
func (o *onVault) secrets() []string {
	files, err := filepath.Glob(filepath.Join(o.dir, "secret-id-*"))
	if err != nil || len(files) == 0 {
		o.t.Fatalf("the files of secret ids are %v, %v", files, err)
	}
	secrets := []string{o.v.Token}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			o.t.Fatal(err)
		}
		secrets = append(secrets, strings.TrimSpace(string(text)))
	}
	return secrets
}

func (o *onVault) path(names ...string) string {
	return filepath.Join(append([]string{o.dir}, names...)...)
}

// edited copies a config with something replaced, beside it.
func (o *onVault) edited(config string, pairs ...string) string {
	o.t.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		o.t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if !bytes.Contains(text, []byte(pairs[i])) {
			o.t.Fatalf("%q is not in %s", pairs[i], text)
		}
		text = bytes.Replace(text, []byte(pairs[i]), []byte(pairs[i+1]), 1)
	}
	path := filepath.Join(filepath.Dir(config), "edited.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		o.t.Fatal(err)
	}
	return path
}

func (o *onVault) admin(path string, data map[string]any) {
	o.t.Helper()
	if _, err := o.v.Root.Logical().Write(path, data); err != nil {
		o.t.Fatal(err)
	}
}

// members asks for the nodes that may mint.
func members(t *testing.T, clientConfig string) []string {
	t.Helper()
	conf, err := client.LoadConfig(clientConfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(conf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	resp, err := c.ListMembers(t.Context(), &signetv1.ListMembersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for _, m := range resp.GetMembers() {
		nodes = append(nodes, m.GetNode()+" "+m.GetBound().AsDuration().String())
	}
	slices.Sort(nodes)
	return nodes
}

// TestNodesOnVault is the life of a vault in Vault: made, served, looked at, joined by a second node.
func TestNodesOnVault(t *testing.T) {
	o := newVault(t)
	first, second := o.path("first"), o.path("second")
	config, config2 := filepath.Join(first, configFile), filepath.Join(second, configFile)

	// Set up once more, as with an upgrade, Vault knows the same secret id and the same is printed.
	secrets := o.secrets()
	o.setUp("vault.yaml")
	if !slices.Equal(o.secrets(), secrets) {
		t.Error("setup.sh has made another secret id")
	}

	// Bad input makes nothing, here or there.
	o.refused(cli.Malformed, []string{"init", "--dir", first, "--vault", o.path("none.yaml")}, "none.yaml")
	o.refused(cli.Malformed, []string{"init", "--dir", first, "--vault", o.connection, "--host", "*.acme"}, "neither a DNS name")
	o.refused(cli.Malformed, []string{"init", "--dir", first, "--vault", o.connection, "--kek", "file:log/kek"}, "of the vault's own")
	o.refused(cli.Malformed, []string{"init", "--dir", first, "--vault", o.connection, "--kek", "vault-transit:signet"}, "MOUNT/KEY")
	o.refused(cli.Malformed, []string{"init", "--dir", first, "--kek", "vault-transit:transit/signet"}, "--vault FILE")
	o.refused(cli.Malformed, []string{"init", "--dir", first, "--store", "vault"}, "--vault FILE")
	o.refused(cli.Malformed, []string{"init", "--dir", first, "--vault", o.connection, "--store", "file", "--kek", "file:kek"}, "neither the store nor a KEK")
	o.refused(cli.Malformed, []string{"init", "--dir", first, "--vault", o.write("typo.yaml", "host: x\n")}, "unknown key host", "setup.sh")
	if _, err := os.Stat(first); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the directory is there: %v", err)
	}

	for _, lease := range []string{"1999ms", "301s", "1d", "30", "-30s", "soon"} {
		o.refused(cli.Malformed, []string{"init", "--dir", first, "--vault", o.connection, "--lease", lease}, "--lease: ", "from 2s to 5m0s")
	}
	o.refused(cli.Malformed, []string{"init", "--dir", first, "--lease", "30s"}, "--lease: it is for a store in Vault")
	o.refused(cli.Malformed, []string{"init", "--dir", first, "--vault", o.connection, "--store", "file", "--lease", "30s"}, "--lease: it is for a store in Vault")
	if _, err := os.Stat(first); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the directory is there: %v", err)
	}

	said := o.ok("init", "--dir", first, "--vault", o.connection, "--listen", "127.0.0.1:0")
	for _, part := range []string{"store: ", "mount signet, path vault of Vault at https://", "the key vault-transit:transit/signet in Vault opens everything"} {
		if !strings.Contains(said, part) {
			t.Errorf("init does not say %q: %s", part, said)
		}
	}
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"# store: vault means", "\nstore: vault\n", "\n# lease, from 2s to 5m0s, is", "\nlease: 30s\n", "\nvault_id: ", "role_id: ", "secret_id_file: " + o.dir} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%q is not in the config:\n%s", part, text)
		}
	}
	if _, err := os.Stat(filepath.Join(first, storeFile)); err == nil {
		t.Error("there is a store in a file, too")
	}
	o.refused(cli.Conflict, []string{"init", "--dir", second, "--vault", o.connection}, "a vault exists here already", "signetd join")
	if _, err := os.Stat(second); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory without a vault is there: %v", err)
	}
	if said := o.ok("init", "--dir", first, "--vault", o.connection, "--unless-there"); !strings.Contains(said, first+" holds node-1 already") {
		t.Errorf("init of a vault that is there says %s", said)
	}
	o.ok("check", "--config", config)
	o.ok("fsck", "--config", config)
	o.ok("cert", "--dir", first, "--uri", "spiffe://signet.local/ci/1", "--out", o.path("ci-1"))

	one := serveDir(t, first, nil)
	if got := members(t, filepath.Join(first, operatorDir, clientFile)); !slices.Equal(got, []string{"node-1 30s"}) {
		t.Errorf("the members are %v", got)
	}
	if said := o.ok("check", "--config", config); !strings.Contains(said, "a running server has the vault open") {
		t.Errorf("check says %s", said)
	}
	o.refused(cli.Conflict, []string{"fsck", "--config", config}, "in use by another process", "stop the other signetd")
	o.refused(cli.Conflict, []string{"serve", "--config", o.edited(config, "metrics: 127.0.0.1:0\n", "")}, "in use by another process", "signetd join")
	o.ok("cert", "--dir", first, "--uri", "spiffe://signet.local/ci/2", "--out", o.path("ci-2"))
	o.ok("cert", "--dir", first, "--server", "--host", "signet.acme.internal")

	// A server that runs and does not answer where the operator's client looks for it.
	clientConfig := filepath.Join(first, operatorDir, clientFile)
	kept, err := os.ReadFile(clientConfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(clientConfig, regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAll(kept, []byte("127.0.0.1:1")), 0o600); err != nil {
		t.Fatal(err)
	}
	o.refused(cli.Unavailable, []string{"cert", "--dir", first, "--server"}, "a server has the vault open, and does not answer", "stop it and run this again")
	if err := os.WriteFile(clientConfig, kept, 0o600); err != nil {
		t.Fatal(err)
	}

	// A second node.
	o.refused(cli.Malformed, []string{"join", "--dir", second, "--from", config, "--node", "a b"}, "--node is not a name")
	o.refused(cli.Malformed, []string{"join", "--dir", second, "--from", config, "--node", "node-2", "--host", "a b"}, "--host")
	o.refused(cli.Malformed, []string{"join", "--dir", second, "--from", config, "--node", "node-2", "--lease", "1s"}, "--lease: ", "from 2s to 5m0s")
	o.refused(cli.Conflict, []string{"join", "--dir", second, "--from", config, "--node", "node-1"}, "a node of this name already", "another --node")
	o.refused(cli.Conflict, []string{"join", "--dir", first, "--from", config, "--node", "node-2"}, "holds a vault already")
	o.ok("init", "--dir", o.path("bolt"), "--listen", "127.0.0.1:0")
	o.refused(cli.Malformed, []string{"join", "--dir", second, "--from", o.path("bolt", configFile), "--node", "node-2"}, "is a file, which one node has to itself")
	if _, err := os.Stat(second); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a directory is there: %v", err)
	}
	said = o.ok("join", "--dir", second, "--from", config, "--node", "node-2", "--listen", "127.0.0.1:0", "--host", "node-2.acme.internal", "--host", "127.0.0.1", "--lease", "20s")
	for _, part := range []string{"Created node-2 of vault ", "  addresses:\n    - node-2.acme.internal:", "    - origin: ", "      key: "} {
		if !strings.Contains(said, part) {
			t.Errorf("join does not say %q: %s", part, said)
		}
	}
	o.ok("check", "--config", config2)
	o.refused(cli.Conflict, []string{"join", "--dir", second, "--from", config, "--node", "node-9"}, "holds a vault already")
	if said := o.ok("join", "--dir", second, "--from", config, "--node", "node-9", "--unless-there"); !strings.Contains(said, second+" holds node-2 already") {
		t.Errorf("join of a node that is there says %s", said)
	}
	o.refused(cli.Conflict, []string{"join", "--dir", o.path("bolt"), "--from", config, "--node", "node-9", "--unless-there"}, "a node of another vault")
	two := serveDir(t, second, nil)
	own := onlyAddress(t, filepath.Join(second, operatorDir, clientFile), config2)
	if got := members(t, own); !slices.Equal(got, []string{"node-1 30s", "node-2 20s"}) {
		t.Errorf("the members are %v", got)
	}
	conf, err := client.LoadConfig(filepath.Join(second, operatorDir, clientFile))
	if err != nil || len(conf.Addresses) != 2 || len(conf.Logs) != 2 {
		t.Errorf("the operator of the second node knows %v, %v, %v", conf.Addresses, conf.Logs, err)
	}
	o.ok("cert", "--dir", second, "--server")
	one.stop()
	for began := time.Now(); !slices.Equal(members(t, own), []string{"node-2 20s"}); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("the members are %v", members(t, own))
		}
	}
	o.ok("fsck", "--config", config) // while the other node runs
	two.stop()
	if said := o.ok("fsck", "--config", config2); !strings.Contains(said, "clean") {
		t.Errorf("fsck says %s", said)
	}
	o.ok("cert", "--dir", second, "--uri", "spiffe://signet.local/ci/3", "--out", o.path("ci-3"))
	o.refused(cli.Conflict, []string{"join", "--dir", o.path("third"), "--from", config, "--node", "node-2"}, "a node of this name already")
}

// onlyAddress writes a client.yaml with the address of one node.
func onlyAddress(t *testing.T, clientConfig, config string) string {
	t.Helper()
	c, err := loadConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(clientConfig)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(text, []byte("logs:"))
	text = append(fmt.Appendf(nil, "addresses: [%s]\n", c.Listen), text[at:]...)
	path := filepath.Join(filepath.Dir(clientConfig), "only.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestVaultRefused: what is wrong with a Vault, or with the way to it, is told by name, and what to do.
func TestVaultRefused(t *testing.T) {
	o := newVault(t)
	dir := o.path("vault")
	config := filepath.Join(dir, configFile)
	o.ok("init", "--dir", dir, "--vault", o.connection, "--listen", "127.0.0.1:0", "--kek", "vault-transit:transit/signet", "--kek", "file:kek")
	if err := o.v.Root.Sys().Mount("old", &hashivault.MountInput{Type: "kv", Options: map[string]string{"version": "1"}}); err != nil {
		t.Fatal(err)
	}
	admin := o.write("admin-token", o.v.Token)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	auth := regexp.MustCompile(`(?s)  auth:\n.*?\n([a-z])`).Find(text)
	asAdmin := []string{string(auth[:len(auth)-1]), "  auth: {token_file: " + admin + "}\n"}
	as := func(pairs ...string) []string { return append(slices.Clone(asAdmin), pairs...) }
	tests := []struct {
		name  string
		edit  []string
		code  int
		says  []string
		again bool // also for init and join
	}{
		{"nobody there", []string{o.v.Address, "https://127.0.0.1:1"}, cli.Unavailable, []string{"vault did not answer", "see that Vault runs"}, true},
		{"another CA", []string{"ca: " + o.v.CA, "ca: tls/ca.pem"}, cli.Unavailable, []string{"certificate", "see that ca, in the block vault"}, true},
		{"another name", []string{"  mount: signet", "  server_name: other\n  mount: signet"}, cli.Unavailable, []string{"see that ca, in the block vault"}, true},
		{"another role", []string{"role_id: ", "role_id: x"}, cli.Denied, []string{"see that auth"}, true},
		{"no secret id", []string{"secret-id-", "nothing-"}, cli.Malformed, []string{"vault: auth.approle.secret_id_file: ", "no such file", "bring the file"}, true},
		{"no CA", []string{"ca: ", "ca: /nowhere"}, cli.Malformed, []string{"vault: ca: ", "bring the file"}, true},
		{"a path that the policy does not have", []string{"path: vault", "path: other"}, cli.Denied, []string{"403", "deploy/vault/policy.hcl"}, true},
		{"a mount that is none", []string{"mount: signet", "mount: other"}, cli.Malformed, []string{"this mount of Vault cannot keep a vault", "deploy/vault/setup.sh"}, true},
		{"KV version 1", as("mount: signet", "mount: old"), cli.Malformed, []string{"KV version 1"}, true},
		{"no vault", as("path: vault", "path: empty"), cli.NotFound, []string{"the store has no root", "signetd init makes it"}, false},
		{"another vault", []string{"vault_id: ", "vault_id: x"}, cli.Conflict, []string{"another vault", "vault_id"}, false},
		{"a KEK that is none", as("transit/signet", "transit/plain"), cli.Malformed, []string{"keks[0]", "not a derived key"}, false},
	}
	o.admin("transit/keys/plain", map[string]any{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := *o
			o.t = t
			edited := o.edited(config, tt.edit...)
			for _, command := range []string{"serve", "check", "fsck"} {
				o.refused(tt.code, []string{command, "--config", edited}, tt.says...)
			}
			if tt.again {
				o.refused(tt.code, []string{"join", "--dir", o.path("none"), "--from", edited, "--node", "node-2"}, tt.says...)
			}
			if _, err := os.Stat(o.path("none")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a directory is there: %v", err)
			}
		})
	}

	// A KEK in Vault that is not there is passed over while another one opens the vault.
	r := serveConfig(t, o.edited(config, "transit/signet", "transit/gone"))
	r.line("a KEK does not answer")
	r.stop()
	// And not, where it is the only one.
	if err := os.Rename(filepath.Join(dir, kekFile), o.path("kek")); err != nil {
		t.Fatal(err)
	}
	o.refused(cli.Malformed, []string{"check", "--config", config}, "keks[1]", "may be left out of keks")
	o.ok("check", "--config", o.edited(config, "- file:kek\n", ""))

	edited := o.edited(config, "- file:kek\n", "")
	policy, err := o.v.Root.Sys().GetPolicy("signet")
	if err != nil {
		t.Fatal(err)
	}
	for path, commands := range map[string][]string{
		"signet/data/vault/registers/*":   {"check", "serve"},
		"signet/metadata/vault/registers": {"check"}, // a server lists them only when it looks for garbage
	} {
		if err := o.v.Root.Sys().PutPolicy("signet", strings.Replace(policy, `"`+path+`"`, `"nothing"`, 1)); err != nil {
			t.Fatal(err)
		}
		for _, command := range commands {
			o.refused(cli.Denied, []string{command, "--config", edited}, "403", "deploy/vault/policy.hcl")
		}
	}
	if err := o.v.Root.Sys().PutPolicy("signet", policy); err != nil {
		t.Fatal(err)
	}

	if err := o.v.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.refused(cli.Unavailable, []string{"check", "--config", edited}, "Vault is sealed", "unseal Vault")
	if err := o.v.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := o.v.Root.Logical().Delete("signet/data/vault/root"); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"check", "serve", "fsck"} {
		o.refused(cli.Other, []string{command, "--config", edited}, "the root is gone", "vault kv undelete")
	}
	o.refused(cli.Other, []string{"init", "--dir", o.path("anew"), "--vault", o.connection}, "the root is gone")
}

// serveConfig serves what a config says.
func serveConfig(t *testing.T, config string) *running {
	t.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(config), configFile)
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(path, kept, 0o600)
	return serveDir(t, filepath.Dir(config), nil)
}

// TestHalfMadeOnVault: where the directory cannot be put in place at last, what is in Vault is named, and how to start over.
func TestHalfMadeOnVault(t *testing.T) {
	o := newVault(t)
	dir := o.path("vault")
	// Somebody fills the directory while the vault is made.
	fill := func(dir string) func() time.Time {
		return func() time.Time {
			_ = os.MkdirAll(filepath.Join(dir, "theirs"), 0o700)
			return time.Now()
		}
	}
	o.now = fill(dir)
	o.refused(cli.Other, []string{"init", "--dir", dir, "--vault", o.connection}, "a vault was created in Vault, mount signet, path vault", "to start over", "SIGNET_PATH")
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("the directory holds %v, %v", list, err)
	}
	o.now = time.Now
	o.refused(cli.Conflict, []string{"init", "--dir", o.path("again"), "--vault", o.connection}, "a vault exists here already")

	// As it says.
	connection := o.setUp("vault-2.yaml", "SIGNET_PATH=vault-2")
	first := o.path("first")
	o.ok("init", "--dir", first, "--vault", connection, "--listen", "127.0.0.1:0", "--kek", "vault-transit:transit/signet", "--kek", "file:keys/kek")
	second := o.path("second")
	key := filepath.Join("keys", "kek")
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	move(filepath.Join(first, key), o.path("kek"))
	o.refused(cli.Malformed, []string{"join", "--dir", second, "--from", filepath.Join(first, configFile), "--node", "node-2"}, "keks[1]", "bring the KEK")
	move(o.path("kek"), filepath.Join(first, key))
	o.now = fill(second)
	o.refused(cli.Other, []string{"join", "--dir", second, "--from", filepath.Join(first, configFile), "--node", "node-2"}, "the vault knows node-2 now", "another --node")
	o.now = time.Now
	second = o.path("third")
	o.refused(cli.Conflict, []string{"join", "--dir", second, "--from", filepath.Join(first, configFile), "--node", "node-2"}, "a node of this name already")
	o.ok("join", "--dir", second, "--from", filepath.Join(first, configFile), "--node", "node-3", "--listen", "127.0.0.1:0")
	// Either KEK opens it there, too.
	o.ok("check", "--config", o.edited(filepath.Join(second, configFile), "- vault-transit:transit/signet\n", ""))
	o.ok("check", "--config", o.edited(filepath.Join(second, configFile), "- file:keys/kek\n", ""))
	if fi, err := os.Stat(filepath.Join(second, key)); err != nil || fi.Mode() != 0o600 {
		t.Errorf("the copy of the KEK is %v, %v", fi, err)
	}
	hidden, err := filepath.Glob(o.path(".*.new-*"))
	if err != nil || len(hidden) != 0 {
		t.Errorf("%v is left, %v", hidden, err)
	}
}

// TestFileWithKEKInVault: the store is a file, and what opens it is in Vault.
func TestFileWithKEKInVault(t *testing.T) {
	o := newVault(t)
	dir := o.path("vault")
	config := filepath.Join(dir, configFile)
	o.ok("init", "--dir", dir, "--vault", o.connection, "--store", "file", "--listen", "127.0.0.1:0")
	if _, err := os.Stat(filepath.Join(dir, kekFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a KEK lies on the disk: %v", err)
	}
	o.ok("check", "--config", config)
	r := serveDir(t, dir, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := status(ctx, filepath.Join(dir, operatorDir, clientFile))
	if keks := s.GetStore().GetKeks(); err != nil || len(keks) != 1 || keks[0].GetUri() != "vault-transit:transit/signet" {
		t.Errorf("the status is %v, %v", s, err)
	}
	if err := o.v.Kill(); err != nil { // it was needed at the start only
		t.Fatal(err)
	}
	o.ok("cert", "--dir", dir, "--server")
	r.stop()
	o.refused(cli.Unavailable, []string{"check", "--config", config}, "vault did not answer", "see that Vault runs")
	if err := o.v.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.ok("fsck", "--config", config)
}
