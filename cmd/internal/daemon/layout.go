package daemon

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/store/kek"
	"github.com/p8signet/signet/store/vaultstore"
)

// Where things lie in a vault's directory, and what a new one is called.
const (
	configFile  = "signetd.yaml"
	kekFile     = "kek"
	storeFile   = "store.db"
	logDir      = "log"
	tlsDir      = "tls"
	operatorDir = "operator"
	clientFile  = "client.yaml"
	firstNode   = "node-1"
	fileScheme  = "file:"
	// What deploy/vault/setup.sh calls the key in Vault that wraps the root key.
	defaultTransit = vaultstore.TransitScheme + "transit/signet"
	trustDomain    = "signet.local"
	firstOperator  = "spiffe://signet.local/operator"
)

// newConfig is the config of a new directory.
func newConfig(b blueprint, dir string) *config {
	c := &config{
		Listen: b.listen, Node: b.node, TrustDomain: trustDomain, Operators: []string{firstOperator},
		Store: storeFile, Log: logDir, KEKs: b.keks, Vault: b.hashicorp,
		Metrics: freeMetrics,
		TLS:     tlsFiles{Certificate: tlsDir + "/server.pem", Key: tlsDir + "/server.key", ClientCA: tlsDir + "/ca.pem"},
		dir:     dir,
	}
	if b.inVault {
		c.Store, c.Lease = storeInVault, cmp.Or(b.lease, server.DefaultLease.String())
	}
	return c
}

// createKEKs makes the KEKs that are files, but for those that are there.
func createKEKs(c *config) error {
	for _, uri := range c.KEKs {
		path, ok := strings.CutPrefix(uri, fileScheme)
		if !ok {
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(c.dir, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return fmt.Errorf("creating the KEK: %w", err)
			}
		}
		if err := kek.CreateFile(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("creating the KEK: %w", err)
		}
	}
	return nil
}

// nodeFiles are the PEM files of a node's directory.
type nodeFiles struct {
	ca, certificate, key  []byte
	operator, operatorKey []byte
}

// What stands above a config that is written. What goes beyond the keys in it is said there.
const (
	configHead = `# Signet server. Paths are relative to this file; keys other than these are refused.
`
	configHeadInVault = configHead + `#
# store: vault means that the store lies in HashiCorp Vault. The block vault says how Vault is reached, with approle, kubernetes or
# token_file below auth, and by mount and path where in it the store lies. vault_id is the vault that must be there. The KEKs in keks
# wrap the root key, each enough alone: vault-transit:MOUNT/KEY is a key of Vault's transit engine, file:PATH a file.
# lease, %s, is how long this node may mint without hearing from Vault, and how long a revocation waits for it then.
`
	configHeadTransit = configHead + `#
# The block vault says how HashiCorp Vault is reached, with approle, kubernetes or token_file below auth. It is asked for the KEK
# vault-transit:MOUNT/KEY when the server starts. The store is a file; store: vault would be one in Vault.
`
)

// writeVault writes the config, and the files of server and operator, into a new directory.
func writeVault(dir string, c *config, files nodeFiles) error {
	conf, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("writing the config: %w", err)
	}
	head := configHead
	switch {
	case c.inVault():
		head = fmt.Sprintf(configHeadInVault, leases)
	case c.Vault != nil:
		head = configHeadTransit
	}
	for path, data := range map[string][]byte{
		configFile:                append([]byte(head), conf...),
		c.TLS.Certificate:         files.certificate,
		c.TLS.Key:                 files.key,
		c.TLS.ClientCA:            files.ca,
		operatorDir + "/ca.pem":   files.ca,
		operatorDir + "/cert.pem": files.operator,
		operatorDir + "/key.pem":  files.operatorKey,
	} {
		if err := cli.WriteNew(filepath.Join(dir, path), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// writeClientConfig writes dir/client.yaml; the certificate, its key and the CA lie beside it.
func writeClientConfig(dir string, c client.Config) error {
	c.CA, c.Certificate, c.Key = "ca.pem", "cert.pem", "key.pem"
	text, err := yaml.MarshalWithOptions(c, yaml.OmitEmpty())
	if err != nil {
		return fmt.Errorf("writing the client's config: %w", err)
	}
	var out bytes.Buffer
	out.WriteString("# Signet client. Paths are relative to this file. logs pins the key that verifies the audit log: keep it as it came.\n")
	out.Write(text)
	return cli.WriteNew(filepath.Join(dir, clientFile), out.Bytes(), 0o600)
}
