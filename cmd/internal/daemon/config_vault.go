package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/vaultstore"
)

// storeInVault is what store says when it lies in HashiCorp Vault. A file of that name is ./vault.
const storeInVault = "vault"

// leases is which leases there may be.
var leases = fmt.Sprintf("from %s to %s", store.MinBound, store.MaxBound)

// The bounds of a call to Vault.
const (
	shortestCall = 100 * time.Millisecond
	longestCall  = time.Minute
	mostCalls    = 1000
)

// hashicorp is the block vault of the config: how HashiCorp Vault (or OpenBao) is reached, and where in it the store lies. A file
// of its own with the same keys is what signetd init --vault takes.
type hashicorp struct {
	// Address is https://HOST:PORT.
	Address string `yaml:"address"`
	// CA is a file of PEM certificates; the system's when it is left out. ServerName is the name that the certificate is for, when
	// it is not that of the address.
	CA         string `yaml:"ca,omitempty"`
	ServerName string `yaml:"server_name,omitempty"`
	Namespace  string `yaml:"namespace,omitempty"`
	// Mount and Path are where a store in Vault lies: a KV v2 mount, and a path below it.
	Mount string        `yaml:"mount,omitempty"`
	Path  string        `yaml:"path,omitempty"`
	Auth  hashicorpAuth `yaml:"auth"`
	// Timeout is how long one call may take, Calls how many may be under way.
	Timeout string `yaml:"timeout,omitempty"`
	Calls   int    `yaml:"calls,omitempty"`
}

// hashicorpAuth is one of three ways to sign in. What is secret is in files.
type hashicorpAuth struct {
	AppRole    *hashicorpAppRole    `yaml:"approle,omitempty"`
	Kubernetes *hashicorpKubernetes `yaml:"kubernetes,omitempty"`
	TokenFile  string               `yaml:"token_file,omitempty"`
}

type hashicorpAppRole struct {
	Mount        string `yaml:"mount,omitempty"`
	RoleID       string `yaml:"role_id"`
	SecretIDFile string `yaml:"secret_id_file"`
}

type hashicorpKubernetes struct {
	Mount     string `yaml:"mount,omitempty"`
	Role      string `yaml:"role"`
	TokenFile string `yaml:"token_file,omitempty"`
}

// loadHashicorp reads a file with the keys of the block vault.
func loadHashicorp(path string) (*hashicorp, error) {
	h := &hashicorp{}
	const form = "deploy/vault/setup.sh prints such a file; its keys are address, ca, server_name, namespace, mount, path, auth, timeout, calls"
	dir, err := readYAML(path, h, form)
	if err != nil {
		return nil, err
	}
	if err := h.validate(); err != nil {
		return nil, cli.Malformedf(form, "%s: %w", path, err)
	}
	h.absolute(dir)
	return h, nil
}

// validate says everything that is wrong with the values, without looking at what they name.
func (h *hashicorp) validate() error {
	var errs []error
	for _, f := range h.files() {
		if secretLike.MatchString(*f.path) {
			errs = append(errs, fmt.Errorf("%s names a file, and what is there looks like the secret itself: put it into a file, of mode 0600, and name that", f.key))
		}
	}
	if errs != nil {
		return errors.Join(errs...)
	}
	if h.Timeout != "" {
		if d, ok := cli.ParseSpan(h.Timeout); !ok || d < shortestCall || d > longestCall {
			errs = append(errs, fmt.Errorf("timeout is a duration from %s to %s, such as 5s", shortestCall, longestCall))
		}
	}
	if h.Calls < 0 || h.Calls > mostCalls {
		errs = append(errs, fmt.Errorf("calls is how many calls to Vault may be under way, from 1 to %d", mostCalls))
	}
	if errs == nil {
		errs = append(errs, h.config().Validate())
	}
	return errors.Join(append(errs, h.place().Validate())...)
}

// secretLike is what Vault and Kubernetes give out, in the place of a file's name: a secret id, a token, a JWT.
var secretLike = regexp.MustCompile(`^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|(hv[sbr]|[sbr])\.[A-Za-z0-9_.-]{20,}|eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_.-]+)$`)

// A file that the block names, by the key that names it.
type namedFile struct {
	key  string
	path *string
}

func (h *hashicorp) files() []namedFile {
	files := []namedFile{{"ca", &h.CA}, {"auth.token_file", &h.Auth.TokenFile}}
	if a := h.Auth.AppRole; a != nil {
		files = append(files, namedFile{"auth.approle.secret_id_file", &a.SecretIDFile})
	}
	if k := h.Auth.Kubernetes; k != nil {
		files = append(files, namedFile{"auth.kubernetes.token_file", &k.TokenFile})
	}
	return files
}

// absolute makes the files that are named absolute; dir is the directory of the file that names them.
func (h *hashicorp) absolute(dir string) {
	for _, f := range h.files() {
		if *f.path != "" && !filepath.IsAbs(*f.path) {
			*f.path = filepath.Join(dir, *f.path)
		}
	}
}

// look says which of the files that are named cannot be read.
func (h *hashicorp) look() error {
	var errs []error
	for _, named := range h.files() {
		if *named.path == "" {
			continue
		}
		f, err := os.Open(*named.path)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("vault: %s: %w", named.key, err))
		}
	}
	return errors.Join(errs...)
}

// config is how Vault is reached. The block is valid.
func (h *hashicorp) config() vaultstore.Config {
	timeout, _ := cli.ParseSpan(h.Timeout) // left out: 0
	c := vaultstore.Config{
		Address: h.Address, Namespace: h.Namespace, CA: h.CA, ServerName: h.ServerName,
		Auth: vaultstore.Auth{TokenFile: h.Auth.TokenFile}, Timeout: timeout, Calls: h.Calls,
	}
	if a := h.Auth.AppRole; a != nil {
		c.Auth.AppRole = &vaultstore.AppRole{Mount: a.Mount, RoleID: a.RoleID, SecretIDFile: a.SecretIDFile}
	}
	if k := h.Auth.Kubernetes; k != nil {
		c.Auth.Kubernetes = &vaultstore.Kubernetes{Mount: k.Mount, Role: k.Role, TokenFile: k.TokenFile}
	}
	return c
}

// place is where a store in Vault lies.
func (h *hashicorp) place() vaultstore.Place {
	return vaultstore.Place{Mount: cmp.Or(h.Mount, vaultstore.DefaultMount), Path: cmp.Or(h.Path, vaultstore.DefaultPath)}
}

// inVault says whether the store lies in HashiCorp Vault, and not in a file.
func (c *config) inVault() bool { return c.Store == storeInVault }

// lease is how long this replica may mint without hearing from Vault; 0 when the config leaves it to the server.
func (c *config) lease() time.Duration {
	d, _ := cli.ParseSpan(c.Lease)
	return d
}

// validateVault says what is wrong with how store, vault, keks and lease go together.
func (c *config) validateVault() []error {
	var errs []error
	transit := false
	for i, uri := range c.KEKs {
		if !strings.HasPrefix(uri, vaultstore.TransitScheme) {
			continue
		}
		transit = true
		if err := vaultstore.ValidTransit(uri); err != nil {
			errs = append(errs, fmt.Errorf("keks[%d]: %w", i, err))
		}
	}
	switch h := c.Vault; {
	case h == nil && c.inVault():
		errs = append(errs, errors.New("store is vault, and the block vault, which says how Vault is reached, is missing (a file of that name is ./vault)"))
	case h == nil && transit:
		errs = append(errs, errors.New("a KEK is vault-transit:, and the block vault, which says how Vault is reached, is missing"))
	case h == nil:
	case !c.inVault() && !transit:
		errs = append(errs, errors.New("vault: nothing is kept there: store is a file, and no KEK is vault-transit: (to keep the store in Vault, say store: vault)"))
	case !c.inVault() && (h.Mount != "" || h.Path != ""):
		errs = append(errs, errors.New("vault: mount and path say where a store in Vault lies, and store is a file (to keep the store in Vault, say store: vault)"))
	}
	if c.Vault != nil {
		if err := c.Vault.validate(); err != nil {
			errs = append(errs, fmt.Errorf("vault: %w", err))
		}
	}
	if c.Lease != "" {
		if err := checkLease(c.Lease, c.inVault()); err != nil {
			errs = append(errs, fmt.Errorf("lease: %w", err))
		}
	}
	return errs
}

// checkLease refuses what is no lease, or for a store that has no use for one.
func checkLease(text string, inVault bool) error {
	if !inVault {
		return errors.New("it is for a store in Vault, which several replicas share")
	}
	if d, ok := cli.ParseSpan(text); !ok || store.CheckBound(d) != nil {
		return fmt.Errorf("how long a replica may mint without hearing from Vault is a duration %s, in whole milliseconds, such as 30s", leases)
	}
	return nil
}

// leaseFlag adds the flag of commands that write a config with a lease.
func leaseFlag(cmd *cobra.Command, to *string, otherwise string) {
	cmd.Flags().StringVar(to, "lease", "", "how long the node may mint without hearing from Vault, and how long a revocation waits for it then: a `duration` "+leases+"; "+otherwise)
}
