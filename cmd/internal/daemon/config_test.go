package daemon

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/p8signet/signet/cmd/internal/cli"
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
		{"drain without a unit", goodConfig + "drain: 20\n", []string{""}},
		{"negative drain", goodConfig + "drain: -1s\n", []string{"drain: "}},
		{"endless drain", goodConfig + "drain: 1000h\n", []string{"drain: "}},
		{"negative connections", goodConfig + "max_connections: -1\n", []string{"max_connections is negative"}},
		{"typo", goodConfig + "lissten: x\n", []string{":9:1: unknown key lissten"}},
		{"typo below", swap("client_ca", "clientca"), []string{":8:", "unknown key clientca"}},
		{"twice", goodConfig + "node: b\n", []string{":9:1: "}},
		{"empty", "", []string{"is empty"}},
		{"a private key", "-----BEGIN PRIVATE KEY-----\nMIGTAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n", []string{": "}},
		{"everything missing", "{}", []string{"node is missing", "trust_domain is missing", "store is missing", "log is missing", "tls.certificate is missing", "tls.key is missing", "tls.client_ca is missing", "listen: ", "keks: ", "operators: "}},
		{"no port", swap("127.0.0.1:7443", "127.0.0.1"), []string{"listen: "}},
		{"port 0", swap("7443", "0"), []string{"listen: the port"}},
		{"log level", goodConfig + "logging: {level: loud}\n", []string{"logging: level"}},
		{"log format", goodConfig + "logging: {format: xml}\n", []string{"logging: format"}},
		{"size", goodConfig + "log_min_free: much\n", []string{""}},
		{"negative size", goodConfig + "log_min_free: -1\n", []string{""}},
		{"huge size", goodConfig + "log_min_free: 9999999999GiB\n", []string{""}},
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

func TestSize(t *testing.T) {
	for text, want := range map[string]size{"0": 0, "4096": 4096, "1KiB": 1 << 10, "64MiB": 64 << 20, `"2 GiB"`: 2 << 30} {
		var s size
		if err := s.UnmarshalYAML([]byte(text)); err != nil || s != want {
			t.Errorf("%s is %d, %v", text, s, err)
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
