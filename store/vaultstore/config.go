package vaultstore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"
)

// Config says where a Vault is and how to sign in to it. Address and one way of Auth are required.
type Config struct {
	Address    string // https://HOST:PORT, without a path
	Namespace  string // of Vault Enterprise or OpenBao; "" for the root's
	CA         string // file of PEM certificates that may have signed the server's; "" for the system's
	ServerName string // that the server's certificate is for; "" for the one of Address
	Auth       Auth
	Timeout    time.Duration // of one call to Vault; 0 is 5 s
	Calls      int           // how many may be under way at once; 0 is 16
	Logger     *slog.Logger  // nil discards
}

// Auth is how to sign in: exactly one of the three. Files are read anew each time, so that whoever made them may replace them.
type Auth struct {
	AppRole    *AppRole
	Kubernetes *Kubernetes
	TokenFile  string // a file with a token alone, such as Vault Agent's sink
}

// AppRole is Vault's AppRole method.
type AppRole struct {
	Mount        string // "" is approle
	RoleID       string
	SecretIDFile string
}

// Kubernetes is Vault's Kubernetes method.
type Kubernetes struct {
	Mount     string // "" is kubernetes
	Role      string
	TokenFile string // "" is where Kubernetes puts the service account's
}

const (
	defaultTimeout = 5 * time.Second
	defaultCalls   = 16
	// What Vault answers is small; more than this is not Vault's.
	maxAnswer = 64 << 20
)

// Validate says what is wrong with the values, without opening what they name.
func (c Config) Validate() error { return c.validate() }

func (c *Config) validate() error {
	u, err := url.Parse(c.Address)
	switch {
	case err != nil || u.Host == "":
		return errors.New("the address of Vault is given as https://HOST:PORT")
	case u.Scheme != "https":
		return fmt.Errorf("the address of Vault has the scheme %q: tokens go to it, so only https is spoken", u.Scheme)
	case u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return errors.New("the address of Vault is https://HOST:PORT and nothing after it")
	case c.Timeout < 0 || c.Calls < 0:
		return errors.New("the timeout of a call to Vault, and how many are under way, are above zero")
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Calls == 0 {
		c.Calls = defaultCalls
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c.Auth.validate()
}

func (a Auth) validate() error {
	ways := 0
	if r := a.AppRole; r != nil {
		ways++
		if r.RoleID == "" || r.SecretIDFile == "" {
			return errors.New("signing in to Vault by AppRole needs a role id and the file of a secret id")
		}
	}
	if k := a.Kubernetes; k != nil {
		ways++
		if k.Role == "" {
			return errors.New("signing in to Vault by Kubernetes needs a role")
		}
	}
	if a.TokenFile != "" {
		ways++
	}
	if ways != 1 {
		return fmt.Errorf("one way to sign in to Vault is wanted: AppRole, Kubernetes or a token file; %d are given", ways)
	}
	return nil
}

func (c *Config) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("reading the CA of Vault: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the CA of Vault, %s, has no certificate in PEM", c.CA)
	}
	return t, nil
}

// mountPath cleans the name of a mount or a path below one.
func mountPath(what, s string) (string, error) {
	s = strings.Trim(s, "/")
	for seg := range strings.SplitSeq(s, "/") {
		if seg == "" || seg == "." || seg == ".." || strings.ContainsFunc(seg, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
		}) {
			return "", fmt.Errorf("%s is letters, digits, '-', '_' and '.', in segments with a '/' between them", what)
		}
	}
	return s, nil
}
