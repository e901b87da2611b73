package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/proto/auditlog"
)

// Config says where Signet is and who the caller is. It is what client.yaml holds.
type Config struct {
	// Addresses are "host:port" of the vault's servers. All are connected to; mints go in turn to those that can mint, everything else to
	// the first that answered, for as long as it does.
	Addresses []string `yaml:"addresses"`
	// Logs pin the keys that verify checkpoints and receipts. Without one, nothing about the log can be verified.
	Logs []LogKey `yaml:"logs"`
	// CA is a PEM file: who certifies the server.
	CA string `yaml:"ca"`
	// Certificate and Key are PEM files: who the caller is. Both are read again at every handshake.
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	// ServerName is the name that the server's certificate must hold, when it is not the host of the address.
	ServerName string `yaml:"server_name"`
}

// LogKey pins the key of one log.
type LogKey struct {
	// Origin is the log, "<vault id>/<node>/<log id>". The key is the node's: it verifies later logs of the same node too,
	// which a node opens only after a gap.
	Origin string `yaml:"origin"`
	// Key is the C2SP verifier key, "<vault id>/<node>+<hash>+<base64>".
	Key string `yaml:"key"`
}

// maxConfigSize bounds a client.yaml; real ones have a few hundred bytes.
const maxConfigSize = 1 << 20

// LoadConfig reads a client.yaml. Relative paths in it are relative to the file. An unknown key, a missing one and a key that does
// not parse are errors that name the line; the values are never repeated.
func LoadConfig(path string) (Config, error) {
	data, err := readConfig(path)
	if err != nil {
		return Config{}, err
	}
	var c Config
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&c); err != nil {
		if errors.Is(err, io.EOF) {
			return Config{}, fmt.Errorf("%s: is empty; signetd init and signetd cert write one", path)
		}
		return Config{}, fmt.Errorf("%s:%s", path, yamlProblem(err))
	}
	dir := filepath.Dir(path)
	for _, p := range []*string{&c.CA, &c.Certificate, &c.Key} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	if err := c.validate(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the client's config: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, maxConfigSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the client's config: %w", err)
	}
	if len(data) > maxConfigSize {
		return nil, fmt.Errorf("%s: is larger than any client.yaml", path)
	}
	return data, nil
}

// keyName is what may be repeated of a config file in an error: a word that could be a key of ours, and never file content.
var keyName = regexp.MustCompile(`^unknown field "([a-z][a-z_]{0,31})"$`)

// yamlProblem says where and what, without the source that go-yaml would quote: somebody will point it at a .p8.
func yamlProblem(err error) string {
	var ye yaml.Error
	if !errors.As(err, &ye) || ye.GetToken() == nil {
		return " is not valid YAML"
	}
	pos := ye.GetToken().Position
	what := "is not as a config should be here"
	switch m, message := keyName.FindStringSubmatch(ye.GetMessage()), ye.GetMessage(); {
	case m != nil:
		what = "unknown key " + m[1] + "; the keys are addresses, logs, ca, certificate, key and server_name, and of a log origin and key"
	case strings.HasPrefix(message, "mapping key "):
		what = "a key that stands further up already; keep one of the two"
	case strings.Contains(message, "\t"), strings.Contains(message, "tab character"):
		what = "a tab; indent with spaces"
	case strings.HasSuffix(message, "where sequence is expected"):
		what = "a list belongs here, such as [a, b]"
	case strings.HasSuffix(message, "where mapping is expected"):
		what = "keys with their values belong here"
	}
	return fmt.Sprintf("%d:%d: %s", pos.Line, pos.Column, what)
}

func (c Config) validate() error {
	if len(c.Addresses) == 0 {
		return errors.New(`addresses: at least one "host:port" is needed`)
	}
	for i, a := range c.Addresses {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" {
			return fmt.Errorf(`addresses[%d]: is not "host:port"`, i)
		}
	}
	for _, f := range []struct{ name, path string }{{"ca", c.CA}, {"certificate", c.Certificate}, {"key", c.Key}} {
		if f.path == "" {
			return fmt.Errorf("%s: the path of a PEM file is needed", f.name)
		}
	}
	_, err := parseLogs(c.Logs)
	return err
}

// logKeys are verifiers by key name, "<vault id>/<node>", and the origins that were configured, in order.
type logKeys struct {
	verifiers map[string]note.Verifier
	origins   []auditlog.Origin
}

func parseLogs(logs []LogKey) (logKeys, error) {
	ks := logKeys{verifiers: make(map[string]note.Verifier)}
	for i, l := range logs {
		origin, err := auditlog.ParseOrigin(l.Origin)
		if err != nil {
			return logKeys{}, fmt.Errorf(`logs[%d].origin: is not "vault/node/log"`, i)
		}
		v, err := note.NewVerifier(strings.TrimSpace(l.Key))
		if err != nil {
			return logKeys{}, fmt.Errorf("logs[%d].key: is not a verifier key", i)
		}
		if v.Name() != origin.KeyName() {
			return logKeys{}, fmt.Errorf("logs[%d]: the key is that of %s, not of this log's node", i, v.Name())
		}
		if known, ok := ks.verifiers[v.Name()]; ok && known.KeyHash() != v.KeyHash() {
			return logKeys{}, fmt.Errorf("logs[%d]: a second key for %s", i, v.Name())
		}
		ks.verifiers[v.Name()] = v
		ks.origins = append(ks.origins, origin)
	}
	return ks, nil
}
