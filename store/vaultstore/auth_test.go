package vaultstore_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"

	"github.com/p8signet/signet/store/vaultstore"
)

// A token that lives two seconds, and four at most, is renewed and then replaced, and nobody notices.
func TestTokenKept(t *testing.T) {
	cfg := config(t)
	role, secret, err := credentials(theVault(t), t.TempDir(), "brief")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Auth = vaultstore.Auth{AppRole: &vaultstore.AppRole{RoleID: role, SecretIDFile: secret}}
	b := open(t, cfg, fresh())
	swap(t, b, "", "r1", nil)
	for began := time.Now(); time.Since(began) < 7*time.Second; time.Sleep(100 * time.Millisecond) {
		if _, err := b.Root(t.Context()); err != nil {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
	}
}

// A token that is taken away is replaced by the call that finds out.
func TestTokenRevoked(t *testing.T) {
	v := theVault(t)
	b := open(t, config(t), fresh())
	swap(t, b, "", "r1", nil)
	list, err := v.Root.Logical().List("auth/token/accessors")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list.Data["keys"].([]any) {
		s, err := v.Root.Logical().Write("auth/token/lookup-accessor", map[string]any{"accessor": a})
		if err != nil || s.Data["path"] != "auth/approle/login" {
			continue
		}
		if err := v.Root.Auth().Token().RevokeAccessor(a.(string)); err != nil {
			t.Fatal(err)
		}
	}
	swap(t, b, "r1", "r2", nil)
}

// A token file is read anew when its token has ended.
func TestTokenFile(t *testing.T) {
	v := theVault(t)
	token := func() string {
		t.Helper()
		s, err := v.Root.Auth().Token().Create(&vault.TokenCreateRequest{Policies: []string{"signet"}, NoDefaultPolicy: true, TTL: "1h"})
		if err != nil {
			t.Fatal(err)
		}
		return s.Auth.ClientToken
	}
	first, second := token(), token()
	path := file(t, first+"\n")
	cfg := config(t)
	cfg.Auth = vaultstore.Auth{TokenFile: path}
	b := open(t, cfg, fresh())
	swap(t, b, "", "r1", nil)
	if err := os.WriteFile(path, []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := v.Root.Auth().Token().RevokeTree(first); err != nil {
		t.Fatal(err)
	}
	swap(t, b, "r1", "r2", nil)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	// The token is not ours to give back.
	if _, err := v.Root.Auth().Token().Lookup(second); err != nil {
		t.Errorf("the token of the file after Close: %v", err)
	}
}

// The policy is the least: what it does not have to allow, it does not.
func TestPolicyIsLeast(t *testing.T) {
	v := theVault(t)
	at := fresh()
	b := open(t, config(t), at)
	swap(t, b, "", "r1", nil)
	s, err := v.Root.Auth().Token().Create(&vault.TokenCreateRequest{Policies: []string{"signet"}, NoDefaultPolicy: true})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := v.Root.Clone()
	if err != nil {
		t.Fatal(err)
	}
	ours.SetToken(s.Auth.ClientToken)
	l := ours.Logical()
	tests := map[string]func() (*vault.Secret, error){
		"delete the root":          func() (*vault.Secret, error) { return l.Delete("signet/data/" + at.Path + "/root") },
		"delete the root's record": func() (*vault.Secret, error) { return l.Delete("signet/metadata/" + at.Path + "/root") },
		"delete the mark":          func() (*vault.Secret, error) { return l.Delete("signet/metadata/" + at.Path + "/created") },
		"read beside it":           func() (*vault.Secret, error) { return l.Read("signet/data/" + at.Path + "/other") },
		"configure the mount":      func() (*vault.Secret, error) { return l.Write("signet/config", map[string]any{"max_versions": 1}) },
		"export the transit key":   func() (*vault.Secret, error) { return l.Read("transit/export/encryption-key/signet") },
		"rotate the transit key":   func() (*vault.Secret, error) { return l.Write("transit/keys/signet/rotate", nil) },
		"make another transit key": func() (*vault.Secret, error) { return l.Write("transit/keys/another", nil) },
		"wrap by a key not there": func() (*vault.Secret, error) {
			return l.Write("transit/encrypt/another", map[string]any{"plaintext": ""})
		},
		"make a secret id":       func() (*vault.Secret, error) { return l.Write("auth/approle/role/signet/secret-id", nil) },
		"make a token":           func() (*vault.Secret, error) { return l.Write("auth/token/create", nil) },
		"delete the transit key": func() (*vault.Secret, error) { return l.Delete("transit/keys/signet") },
		"change the root's record": func() (*vault.Secret, error) {
			return l.Write("signet/metadata/"+at.Path+"/root", map[string]any{"max_versions": 1})
		},
		"destroy versions of root": func() (*vault.Secret, error) {
			return l.Write("signet/destroy/"+at.Path+"/root", map[string]any{"versions": []int{1}})
		},
		"overwrite the mark": func() (*vault.Secret, error) {
			return l.Write("signet/data/"+at.Path+"/created", map[string]any{"options": map[string]any{"cas": 1}, "data": map[string]any{}})
		},
		"write without check-and-set": func() (*vault.Secret, error) {
			return l.Write("signet/data/"+at.Path+"/root", map[string]any{"data": map[string]any{}})
		},
	}
	for name, f := range tests {
		_, err := f()
		r, ok := errors.AsType[*vault.ResponseError](err)
		want := http.StatusForbidden
		if name == "write without check-and-set" {
			want = http.StatusBadRequest // the mount's cas_required
		}
		if !ok || r.StatusCode != want {
			t.Errorf("%s: %v, want %d", name, err, want)
		}
	}
}

func TestSignInRefused(t *testing.T) {
	v := theVault(t)
	good := config(t)
	const canary = "canary-3f8a"
	tests := []struct {
		name   string
		change func(*vaultstore.Config)
		want   string
	}{
		{"a wrong secret id", func(c *vaultstore.Config) {
			c.Auth = vaultstore.Auth{AppRole: &vaultstore.AppRole{RoleID: shared.roleID, SecretIDFile: file(t, canary)}}
		}, "invalid role or secret ID"},
		{"an empty secret id", func(c *vaultstore.Config) {
			c.Auth = vaultstore.Auth{AppRole: &vaultstore.AppRole{RoleID: shared.roleID, SecretIDFile: file(t, "\n")}}
		}, "missing secret_id"},
		{"a wrong role id", func(c *vaultstore.Config) {
			c.Auth = vaultstore.Auth{AppRole: &vaultstore.AppRole{RoleID: canary, SecretIDFile: shared.secretID}}
		}, "invalid role or secret ID"},
		{"no secret id", func(c *vaultstore.Config) {
			c.Auth = vaultstore.Auth{AppRole: &vaultstore.AppRole{RoleID: "r", SecretIDFile: "/nowhere"}}
		}, "no such file"},
		{"a wrong token", func(c *vaultstore.Config) { c.Auth = vaultstore.Auth{TokenFile: file(t, canary)} }, "403"},
		{"two tokens", func(c *vaultstore.Config) { c.Auth = vaultstore.Auth{TokenFile: file(t, canary+"\n"+canary)} }, "nothing else"},
		{"an empty token", func(c *vaultstore.Config) { c.Auth = vaultstore.Auth{TokenFile: file(t, "\n")} }, "nothing else"},
		{"a method that is not there", func(c *vaultstore.Config) {
			c.Auth = vaultstore.Auth{Kubernetes: &vaultstore.Kubernetes{Role: "r", TokenFile: file(t, canary)}}
		}, "403"},
		{"no way", func(c *vaultstore.Config) { c.Auth = vaultstore.Auth{} }, "0 are given"},
		{"two ways", func(c *vaultstore.Config) { c.Auth.TokenFile = file(t, canary) }, "2 are given"},
		{"half an AppRole", func(c *vaultstore.Config) { c.Auth = vaultstore.Auth{AppRole: &vaultstore.AppRole{RoleID: "r"}} }, "secret id"},
		{"no Kubernetes role", func(c *vaultstore.Config) { c.Auth = vaultstore.Auth{Kubernetes: &vaultstore.Kubernetes{}} }, "role"},
		{"not TLS", func(c *vaultstore.Config) { c.Address = "http://" + v.Addr }, "only https"},
		{"no scheme", func(c *vaultstore.Config) { c.Address = v.Addr }, "https"},
		{"a path", func(c *vaultstore.Config) { c.Address += "/v1" }, "nothing after it"},
		{"a password in the address", func(c *vaultstore.Config) { c.Address = "https://u:" + canary + "@" + v.Addr }, "nothing after it"},
		{"the system's CAs", func(c *vaultstore.Config) { c.CA = "" }, "unknown authority"},
		{"another name", func(c *vaultstore.Config) { c.ServerName = "vault.example" }, "vault.example"},
		{"no CA", func(c *vaultstore.Config) { c.CA = "/nowhere" }, "no such file"},
		{"a CA that is none", func(c *vaultstore.Config) { c.CA = file(t, canary) }, "no certificate"},
		{"nobody there", func(c *vaultstore.Config) { c.Address = "https://127.0.0.1:1" }, "refused"},
		{"a negative timeout", func(c *vaultstore.Config) { c.Timeout = -1 }, "above zero"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			cfg := good
			tc.change(&cfg)
			b, err := vaultstore.Open(t.Context(), cfg, fresh())
			if err == nil {
				_ = b.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Open = %v, want %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("the error says what was given: %v", err)
			}
		})
	}
}

// door is no Vault: it answers signing in alone, where the real one of the tests has no plugin for it, and echoes what it is sent.
type door struct {
	mu    sync.Mutex
	seen  []string // path, namespace and body of each request
	fails bool
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = append(d.seen, r.URL.Path+" "+r.Header.Get("X-Vault-Namespace")+" "+string(body))
	switch {
	case d.fails:
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{"bad: " + string(body)}})
	case strings.HasPrefix(r.URL.Path, "/v1/auth/"):
		_ = json.NewEncoder(w).Encode(map[string]any{"auth": map[string]any{"client_token": "canary-token", "lease_duration": 3600, "renewable": true}})
	default:
		w.WriteHeader(http.StatusForbidden)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{"not for " + r.Header.Get("X-Vault-Token")}})
	}
}

func newDoor(t *testing.T) (*door, vaultstore.Config) {
	d := &door{}
	s := httptest.NewTLSServer(d)
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return d, vaultstore.Config{Address: s.URL, CA: ca}
}

func TestKubernetesAndNamespace(t *testing.T) {
	d, cfg := newDoor(t)
	cfg.Namespace = "team-a"
	cfg.Auth = vaultstore.Auth{Kubernetes: &vaultstore.Kubernetes{Mount: "k8s", Role: "signet", TokenFile: file(t, "a.service.token")}}
	t.Setenv("VAULT_TOKEN", "canary-environment")
	t.Setenv("VAULT_NAMESPACE", "another")
	if _, err := vaultstore.Open(t.Context(), cfg, fresh()); err == nil || strings.Contains(err.Error(), "canary-token") {
		t.Errorf("Open = %v, want it refused without a word of the token", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if want := `/v1/auth/k8s/login team-a {"jwt":"a.service.token","role":"signet"}`; len(d.seen) < 2 || strings.TrimSpace(d.seen[0]) != want {
		t.Fatalf("it was sent %q, want %q at first", d.seen, want)
	}
	for _, s := range d.seen {
		if !strings.Contains(s, " team-a ") {
			t.Errorf("a request goes to another namespace: %s", s)
		}
	}
}

// Whatever answers, what was sent to it is in no error.
func TestSignInEchoesNothing(t *testing.T) {
	for name, auth := range map[string]vaultstore.Auth{
		"approle":    {AppRole: &vaultstore.AppRole{RoleID: "canary-role", SecretIDFile: file(t, "canary-secret")}},
		"kubernetes": {Kubernetes: &vaultstore.Kubernetes{Role: "signet", TokenFile: file(t, "canary-jwt")}},
		"token":      {TokenFile: file(t, "canary-token")},
	} {
		d, cfg := newDoor(t)
		d.fails = true
		cfg.Auth = auth
		if _, err := vaultstore.Open(t.Context(), cfg, fresh()); err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), "400") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
