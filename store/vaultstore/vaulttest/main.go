// Command vaulttest is HashiCorp Vault with what the tests need of it and nothing else: the key-value, transit and AppRole
// plugins, a file for its storage, TLS, and the file audit device. It is a module of its own, for Vault is under a licence of its
// own and has hundreds of dependencies; Signet itself links none of it.
//
//	vaulttest -listen 127.0.0.1:0 -storage DIR -cert FILE -key FILE
//
// It prints the address on which it listens, and serves until it is killed. It is sealed at first, as every Vault is.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/vault"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "the address")
	storage := flag.String("storage", "", "the directory of the storage")
	cert := flag.String("cert", "", "the certificate, PEM")
	key := flag.String("key", "", "its key, PEM")
	flag.Parse()
	if err := serve(*listen, *storage, *cert, *key); err != nil {
		fmt.Fprintln(os.Stderr, "vaulttest:", err)
		os.Exit(1)
	}
}

func serve(listen, storage, cert, key string) error {
	logger := hclog.New(&hclog.LoggerOptions{Name: "vault", Level: hclog.Warn, Output: os.Stderr})
	disk, err := file.NewFileBackend(map[string]string{"path": storage}, logger)
	if err != nil {
		return err
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		BuiltinRegistry:    plugins{},
		LogicalBackends:    map[string]logical.Factory{"kv": kv.Factory, "transit": transit.Factory},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory},
		AuditBackends:      map[string]audit.Factory{"file": audit.NewFileBackend},
		Physical:           disk,
		DisableMlock:       true,
		Logger:             logger,
		LogLevel:           "warn",
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	s := &http.Server{
		Handler:           vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{}}),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          logger.StandardLogger(nil),
	}
	return s.ServeTLS(l, cert, key)
}

// plugins are those that are built in.
type plugins struct{}

var (
	secrets     = map[string]logical.Factory{"kv": kv.Factory, "transit": transit.Factory}
	credentials = map[string]logical.Factory{"approle": approle.Factory}
)

func (plugins) of(t consts.PluginType) map[string]logical.Factory {
	switch t {
	case consts.PluginTypeSecrets:
		return secrets
	case consts.PluginTypeCredential:
		return credentials
	}
	return nil
}

func (p plugins) Contains(name string, t consts.PluginType) bool { return p.of(t)[name] != nil }

func (p plugins) Get(name string, t consts.PluginType) (func() (any, error), bool) {
	f, ok := p.of(t)[name]
	return func() (any, error) { return f, nil }, ok
}

func (p plugins) Keys(t consts.PluginType) []string {
	var names []string
	for name := range p.of(t) {
		names = append(names, name)
	}
	return names
}

func (p plugins) DeprecationStatus(name string, t consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, p.Contains(name, t)
}

func (plugins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
