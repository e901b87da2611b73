package daemon

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/store/vaultstore"
)

const goodConfig = `listen: 127.0.0.1:7443
node: node-1
trust_domain: signet.local
operators: [spiffe://signet.local/operator]
store: store.db
log: /var/log/signet
keks: ["file:kek"]
tls: {certificate: tls/server.pem, key: tls/server.key, client_ca: tls/ca.pem}
`

func TestLoadConfig(t *testing.T) {
	swap := func(old, new string) string {
		if !strings.Contains(goodConfig, old) {
			t.Fatalf("%q is not in the config", old)
		}
		return strings.Replace(goodConfig, old, new, 1)
	}
	tests := []struct {
		name, text string
		want       []string // parts of the error; none: no error
	}{
		{"good", goodConfig, nil},
		{"options", goodConfig + "log_min_free: 16MiB\nlogging: {format: json, level: warn}\n", nil},
		{"drain", goodConfig + "drain: 1m30s\nmax_connections: 100\n", nil},
		{"no drain", goodConfig + "drain: 0s\n", nil},
		{"drain without a unit", goodConfig + "drain: 20\n", []string{"drain: ", "such as 20s"}},
		{"drain that is none", goodConfig + "drain: soon\n", []string{"drain: ", "such as 20s"}},
		{"negative drain", goodConfig + "drain: -1s\n", []string{"drain: "}},
		{"endless drain", goodConfig + "drain: 1000h\n", []string{"drain: "}},
		{"negative connections", goodConfig + "max_connections: -1\n", []string{"max_connections is negative"}},
		{"typo", goodConfig + "lissten: x\n", []string{":9:1: unknown key lissten"}},
		{"typo below", swap("client_ca", "clientca"), []string{":8:", "unknown key clientca"}},
		{"twice", goodConfig + "node: b\n", []string{":9:1: a key that stands further up already"}},
		{"tab", goodConfig + "logging:\n\tlevel: warn\n", []string{":10:1: a tab; indent with spaces"}},
		{"tab first", "\t" + goodConfig, []string{"a tab; indent with spaces"}},
		{"no list", swap("[spiffe://signet.local/operator]", "spiffe://signet.local/operator"), []string{":4:12: a list belongs here"}},
		{"no keys", swap("{certificate: tls/server.pem, key: tls/server.key, client_ca: tls/ca.pem}", "tls/server.pem"), []string{":8:6: keys with their values belong here"}},
		{"empty", "", []string{"is empty"}},
		{"a private key", "-----BEGIN PRIVATE KEY-----\nMIGTAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n", []string{": "}},
		{"everything missing", "{}", []string{"node is missing", "trust_domain is missing", "store is missing", "log is missing", "tls.certificate is missing", "tls.key is missing", "tls.client_ca is missing", "listen: ", "keks: ", "operators: "}},
		{"no port", swap("127.0.0.1:7443", "127.0.0.1"), []string{"listen: "}},
		{"port 0", swap("7443", "0"), []string{"listen: the port"}},
		{"log level", goodConfig + "logging: {level: loud}\n", []string{"logging: level"}},
		{"log format", goodConfig + "logging: {format: xml}\n", []string{"logging: format"}},
		{"size", goodConfig + "log_min_free: much\n", []string{"log_min_free: "}},
		{"negative size", goodConfig + "log_min_free: -1\n", []string{"log_min_free: "}},
		{"huge size", goodConfig + "log_min_free: 9999999999GiB\n", []string{"log_min_free: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "signetd.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := loadConfig(path)
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				if c.Store != filepath.Join(filepath.Dir(path), "store.db") || c.Log != "/var/log/signet" {
					t.Errorf("paths are %s, %s", c.Store, c.Log)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			if cli.Code(err) != cli.Malformed {
				t.Errorf("exit code %d", cli.Code(err))
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
			if strings.Contains(err.Error(), "MIGT") {
				t.Error("the error repeats the file")
			}
		})
	}
}

const vaultConfig = `listen: 127.0.0.1:7443
node: node-1
trust_domain: signet.local
operators: [spiffe://signet.local/operator]
store: vault
log: log
keks: ["vault-transit:transit/signet"]
vault:
  address: https://vault.acme.internal:8200
  ca: vault-ca.pem
  mount: team/signet
  path: prod/eu
  auth:
    approle: {role_id: role, secret_id_file: /run/secret-id}
  timeout: 3s
lease: 30s
tls: {certificate: tls/server.pem, key: tls/server.key, client_ca: tls/ca.pem}
`

func TestLoadConfigOnVault(t *testing.T) {
	const approle = "approle: {role_id: role, secret_id_file: /run/secret-id}"
	swap := func(pairs ...string) string {
		text := vaultConfig
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(text, pairs[i]) {
				t.Fatalf("%q is not in the config", pairs[i])
			}
			text = strings.Replace(text, pairs[i], pairs[i+1], 1)
		}
		return text
	}
	block := vaultConfig[strings.Index(vaultConfig, "vault:\n"):strings.Index(vaultConfig, "lease:")]
	place := "  mount: team/signet\n  path: prod/eu\n"
	const secret = "7f9c24e8-3b12-4ae0-9c1d-0123456789ab"
	tests := []struct {
		name, text string
		want       []string // parts of the error; none: no error
	}{
		{"good", vaultConfig, nil},
		{"no lease, no place", swap("lease: 30s\n", "", place, ""), nil},
		{"shortest lease", swap("30s", "2s"), nil},
		{"longest lease", swap("30s", "5m"), nil},
		{"Kubernetes", swap(approle, "kubernetes: {role: signet}"), nil},
		{"a token's file", swap(approle, "token_file: sink"), nil},
		{"a file KEK beside", swap(`["vault-transit:transit/signet"]`, `["vault-transit:transit/signet", "file:kek"]`), nil},
		{"a file for the store", swap("store: vault", "store: store.db", place, "", "lease: 30s\n", ""), nil},
		{"a lease of a day", swap("30s", "24h"), []string{"lease: ", "from 2s to 5m0s"}},
		{"a lease of a day in days", swap("30s", "1d"), []string{"lease: ", "from 2s to 5m0s"}},
		{"a lease in words", swap("30s", "a day"), []string{"lease: "}},
		{"a lease of nothing", swap("30s", "0s"), []string{"lease: "}},
		{"a lease too short", swap("30s", "1999ms"), []string{"lease: "}},
		{"a lease between milliseconds", swap("30s", "2000500us"), []string{"lease: ", "whole milliseconds"}},
		{"a negative lease", swap("30s", "-30s"), []string{"lease: "}},
		{"a lease without a unit", swap("30s", "30"), []string{"lease: "}},
		{"a lease for a file", swap("store: vault", "store: store.db", place, ""), []string{"lease: it is for a store in Vault"}},
		{"no block", swap(block, ""), []string{"the block vault", "is missing"}},
		{"no block for a KEK", swap(block, "", "store: vault", "store: store.db", "lease: 30s\n", ""), []string{"a KEK is vault-transit:"}},
		{"an idle block", swap("store: vault", "store: store.db", place, "", "lease: 30s\n", "", "vault-transit:transit/signet", "file:kek"), []string{"vault: nothing is kept there"}},
		{"a place for a file", swap("store: vault", "store: store.db", "lease: 30s\n", ""), []string{"vault: mount and path"}},
		{"no store", swap("store: vault\n", ""), []string{"store is missing"}},
		{"no address", swap("address: https://vault.acme.internal:8200\n  ", ""), []string{"vault: the address"}},
		{"plain HTTP", swap("https://", "http://"), []string{"only https"}},
		{"a path in the address", swap(":8200", ":8200/v1"), []string{"nothing after it"}},
		{"a mount with a space", swap("team/signet", "'team signet'"), []string{"vault: the mount"}},
		{"a path upwards", swap("prod/eu", "../eu"), []string{"vault: the path"}},
		{"no way to sign in", swap(approle, "{}"), []string{"0 are given"}},
		{"two ways", swap(approle, approle+"\n    token_file: sink"), []string{"2 are given"}},
		{"no role id", swap("role_id: role, ", ""), []string{"needs a role id"}},
		{"a secret id inline", swap("secret_id_file: /run/secret-id", "secret_id: "+secret), []string{":14:", "unknown key secret_id"}},
		{"a secret id for its file", swap("/run/secret-id", secret), []string{"auth.approle.secret_id_file names a file", "looks like the secret itself"}},
		{"a token for its file", swap(approle, "token_file: hvs.CAESIMIGT0123456789abcdef"), []string{"auth.token_file names a file"}},
		{"a JWT for its file", swap(approle, "kubernetes: {role: signet, token_file: eyJhbGciOiJSUzI1NiJ9.eyJ7f9c24e8.x}"), []string{"auth.kubernetes.token_file names a file"}},
		{"a timeout of an hour", swap("timeout: 3s", "timeout: 1h"), []string{"vault: timeout"}},
		{"calls without end", swap("timeout: 3s", "calls: 100000"), []string{"vault: calls"}},
		{"a KEK without a key", swap("transit/signet", "transit"), []string{"keks[0]: ", "MOUNT/KEY"}},
		{"a typo", swap("  ca:", "  ca_file:"), []string{":10:", "unknown key ca_file"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "signetd.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := loadConfig(path)
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range c.Vault.files() {
					if *f.path != "" && !filepath.IsAbs(*f.path) {
						t.Errorf("%s is %s", f.key, *f.path)
					}
				}
				return
			}
			if cli.Code(err) != cli.Malformed {
				t.Errorf("exit code %d: %v", cli.Code(err), err)
			}
			for _, part := range tt.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
			if err != nil && (strings.Contains(err.Error(), "7f9c24e8") || strings.Contains(err.Error(), "MIGT")) {
				t.Error("the error repeats the secret")
			}
		})
	}
}

func TestVaultOfConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "signetd.yaml")
	if err := os.WriteFile(path, []byte(vaultConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	want := vaultstore.Config{
		Address: "https://vault.acme.internal:8200", CA: filepath.Join(filepath.Dir(path), "vault-ca.pem"), Timeout: 3 * time.Second,
		Auth: vaultstore.Auth{AppRole: &vaultstore.AppRole{RoleID: "role", SecretIDFile: "/run/secret-id"}},
	}
	if diff := cmp.Diff(want, c.Vault.config()); diff != "" {
		t.Errorf("the connection: %s", diff)
	}
	if at := c.Vault.place(); at != (vaultstore.Place{Mount: "team/signet", Path: "prod/eu"}) || !c.inVault() || c.lease() != 30*time.Second {
		t.Errorf("the place is %v, in Vault %t, the lease %s", at, c.inVault(), c.lease())
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "4096": 4096, "1KiB": 1 << 10, "64MiB": 64 << 20, "2 GiB": 2 << 30} {
		if n, ok := parseSize(text); !ok || n != want {
			t.Errorf("%s is %d, %t", text, n, ok)
		}
	}
}

func TestReachable(t *testing.T) {
	tests := []struct {
		listen  string
		hosts   []string
		names   string
		address string
	}{
		{"127.0.0.1:1", nil, "127.0.0.1 ::1 localhost", "127.0.0.1:1"},
		{"0.0.0.0:1", nil, "127.0.0.1 ::1 localhost", "127.0.0.1:1"},
		{":1", nil, "127.0.0.1 ::1 localhost", "127.0.0.1:1"},
		{"[::]:1", nil, "127.0.0.1 ::1 localhost", "127.0.0.1:1"},
		{"[::1]:1", nil, "127.0.0.1 ::1 localhost", "[::1]:1"},
		{"10.0.0.7:1", nil, "10.0.0.7 127.0.0.1 ::1 localhost", "10.0.0.7:1"},
		{"0.0.0.0:1", []string{"signet.acme", "localhost"}, "127.0.0.1 ::1 localhost signet.acme", "signet.acme:1"},
	}
	for _, tt := range tests {
		names, address, err := reachable(tt.listen, tt.hosts)
		if err != nil || strings.Join(names, " ") != tt.names || address != tt.address {
			t.Errorf("reachable(%s, %v) = %v, %s, %v", tt.listen, tt.hosts, names, address, err)
		}
	}
}

// A port that outgoing connections may use, too, could be taken when the server starts again.
func TestPortZeroStaysOutOfTheEphemeralRange(t *testing.T) {
	for range 50 {
		listen, err := pickPort(t.Context(), "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, err := net.SplitHostPort(listen)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := strconv.Atoi(port); err != nil || n < firstPort || n > lastPort {
			t.Errorf("port %s, %v", port, err)
		}
	}
	if listen, err := pickPort(t.Context(), "127.0.0.1:7443"); err != nil || listen != "127.0.0.1:7443" {
		t.Errorf("a port that was named became %s, %v", listen, err)
	}
}

func TestNewDir(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "a", "vault")
	fill := func(tmp string) error { return os.WriteFile(filepath.Join(tmp, configFile), nil, 0o600) }
	if err := newDir(dir, func(string) error { return os.ErrInvalid }); err == nil {
		t.Error("a failure was not told")
	}
	if entries, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(entries) != 0 {
		t.Errorf("a failure left %v, %v", entries, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := newDir(dir, fill); err != nil {
		t.Fatalf("over an empty directory: %v", err)
	}
	if err := newDir(dir, fill); cli.Code(err) != cli.Conflict || !strings.Contains(err.Error(), "holds a vault already") {
		t.Errorf("over a vault: %v", err)
	}
	full := filepath.Join(parent, "full")
	if err := os.Mkdir(full, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := fill(full); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(full, configFile), filepath.Join(full, "other")); err != nil {
		t.Fatal(err)
	}
	if err := newDir(full, fill); cli.Code(err) != cli.Conflict || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("over a full directory: %v", err)
	}
	if err := newDir(filepath.Join(full, "other"), fill); cli.Code(err) != cli.Conflict {
		t.Errorf("over a file: %v", err)
	}
}
