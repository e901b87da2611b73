package server_test

import (
	"context"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
	"github.com/p8signet/signet/store"
)

// untouched is a backend that is closed and never looked into.
type untouched struct {
	t      *testing.T
	closed int
}

func (u *untouched) touched() {
	u.t.Helper()
	u.t.Error("the backend was used, with a config that is wrong")
}

func (u *untouched) Root(context.Context) ([]byte, error) { u.touched(); return nil, store.ErrNoRoot }
func (u *untouched) Get(context.Context, store.Ref) ([]byte, error) {
	u.touched()
	return nil, store.ErrNoBlob
}
func (u *untouched) Swap(context.Context, store.Change) error { u.touched(); return store.ErrConflict }
func (u *untouched) List(context.Context) iter.Seq2[store.Ref, error] {
	u.touched()
	return func(func(store.Ref, error) bool) {}
}
func (u *untouched) Delete(context.Context, ...store.Ref) error { u.touched(); return nil }
func (u *untouched) Close() error                               { u.closed++; return nil }

func TestBadConfig(t *testing.T) {
	s := servertest.New(t)
	tests := []struct {
		name  string
		spoil func(*server.Config)
		want  string
	}{
		{"no KEK", func(c *server.Config) { c.KEKs = nil }, "no KEK"},
		{"no log directory", func(c *server.Config) { c.LogDir = "" }, "log directory"},
		{"log directory that is not there", func(c *server.Config) { c.LogDir += "/nowhere/nowhere" }, "no such file"},
		{"log directory that is a file", func(c *server.Config) { c.LogDir = c.TLS.CertFile }, "is not a directory"},
		{"no node", func(c *server.Config) { c.Node = "" }, "node"},
		{"no clock", func(c *server.Config) { c.Now = nil }, "clock"},
		{"no trust domain", func(c *server.Config) { c.TrustDomain = "" }, "trust domain"},
		{"operator that is no id", func(c *server.Config) { c.Operators = []string{"operator"} }, `"operator"`},
		{"operator without a path", func(c *server.Config) { c.Operators = []string{"spiffe://signet.test"} }, "no path"},
		{"operator of another domain", func(c *server.Config) { c.Operators = []string{"spiffe://elsewhere.test/x"} }, "not of the trust domain"},
		{"negative free space", func(c *server.Config) { c.MinFree = -1 }, "free space"},
		{"long deadline", func(c *server.Config) { c.Limits.Deadline = time.Minute }, "deadline"},
		{"old connections", func(c *server.Config) { c.Limits.ConnectionAge = 2 * time.Hour }, "connection age"},
		{"negative request size", func(c *server.Config) { c.Limits.RequestSize = -1 }, "request size"},
		{"negative interval", func(c *server.Config) { c.Limits.ReloadInterval = -1 }, "reload interval"},
		{"no certificate", func(c *server.Config) { c.TLS.CertFile = "" }, "open"},
		{"CA for the certificate", func(c *server.Config) { c.TLS.CertFile = c.TLS.ClientCAFile }, "private key"},
		{"certificate for the CA", func(c *server.Config) { c.TLS.ClientCAFile = c.TLS.CertFile }, "not a CA's"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := s.Config()
			tt.spoil(&config)
			backend := &untouched{t: t}
			config.Backend = backend
			if _, err := server.New(t.Context(), config); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New: %v, want an error about %q", err, tt.want)
			}
			if err := server.Check(t.Context(), config); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check: %v, want an error about %q", err, tt.want)
			}
			if backend.closed != 2 {
				t.Errorf("the backend was closed %d times by two who took it", backend.closed)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	s := servertest.New(t)
	good := s.Config()
	if err := server.Check(t.Context(), good); err != nil {
		t.Errorf("a good config: %v", err)
	}
	alone := good
	alone.Backend, alone.KEKs = nil, nil
	if err := server.Check(t.Context(), alone); err != nil {
		t.Errorf("a good config without a store: %v", err)
	}
	// All that is wrong is said at once.
	bad := good
	bad.Node, bad.MinFree, bad.TLS.CertFile = "", -1, "nowhere"
	err := server.Check(t.Context(), bad)
	for _, want := range []string{"node", "free space", "nowhere"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check: %v, want an error about %q too", err, want)
		}
	}
	other := servertest.New(t).Config()
	other.Backend = good.Backend
	if err := server.Check(t.Context(), other); err == nil {
		t.Error("a KEK of another vault was taken")
	}
}

func TestFsck(t *testing.T) {
	segment := func(t *testing.T, s *servertest.Server) string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(s.LogDir(), "*", "*.log"))
		if err != nil || len(found) == 0 {
			t.Fatalf("segments %q, %v", found, err)
		}
		return found[0]
	}
	tests := []struct {
		name  string
		spoil func(*testing.T, *servertest.Server)
		want  string // in some damage; none at all when empty
	}{
		{"whole", func(*testing.T, *servertest.Server) {}, ""},
		{"a bit of an entry", func(t *testing.T, s *servertest.Server) {
			path := segment(t, s)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			write(t, path, data)
		}, "log "},
		{"the log's end", func(t *testing.T, s *servertest.Server) {
			path := segment(t, s)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, info.Size()/2); err != nil {
				t.Fatal(err)
			}
		}, "log "},
		{"the whole log", func(t *testing.T, s *servertest.Server) {
			if err := os.RemoveAll(filepath.Dir(segment(t, s))); err != nil {
				t.Fatal(err)
			}
		}, "the log is not here"},
		{"the log's directory", func(t *testing.T, s *servertest.Server) {
			if err := os.RemoveAll(s.LogDir()); err != nil {
				t.Fatal(err)
			}
		}, "is not there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := minting(t)
			for range 20 {
				if _, err := mint(t.Context(), s.Conn(ci), "release"); err != nil {
					t.Fatal(err)
				}
			}
			s.Stop()
			tt.spoil(t, s)
			report, err := server.Fsck(t.Context(), s.Config())
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(report.Damages, "\n")
			if tt.want == "" && (all != "" || report.Keys != 1 || report.Entries < 25 || report.VaultID != s.VaultID()) {
				t.Errorf("report %+v", report)
			}
			if !strings.Contains(all, tt.want) || tt.want != "" && all == "" {
				t.Errorf("damages %q, want one about %q", all, tt.want)
			}
		})
	}
}

// TestFsckOldStore: the store is as it was before a change that the log knows.
func TestFsckOldStore(t *testing.T) {
	dir := t.TempDir()
	backend := openBolt(t, filepath.Join(dir, "store.db"), true)
	s := servertest.New(t, servertest.Options{Backend: backend})
	s.Stop()
	old, err := os.ReadFile(filepath.Join(dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	s.Restart()
	s.ImportKey("asc", "enterprise")
	s.Stop()
	if err := backend.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "old.db"), old)
	config := s.Config()
	config.Backend = openBolt(t, filepath.Join(dir, "old.db"), false)
	report, err := server.Fsck(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(report.Damages, "\n"); !strings.Contains(all, "older than its log") {
		t.Errorf("damages %q, want one about an older store", all)
	}
}

// TestIssueCertificate is what signetd cert does where no server runs.
func TestIssueCertificate(t *testing.T) {
	s := servertest.New(t)
	s.Stop()
	issued, err := server.IssueCertificate(t.Context(), s.Config(), servertest.OperatorID, server.CertificateRequest{CSR: request(t), URI: ci})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.IssueCertificate(t.Context(), s.Config(), ci, server.CertificateRequest{CSR: request(t), URI: ci}); err == nil {
		t.Error("one who is no operator issued a certificate")
	}
	s.Restart()
	lines := entries(t, s, nil)
	if last := strings.Join(lines, "\n"); !containsAll(last, "system.issue", strings.TrimPrefix(issued.Fingerprint, "sha256:"), "no server running") {
		t.Errorf("the certificate %s is not in the log: %s", issued.Fingerprint, last)
	}
}
