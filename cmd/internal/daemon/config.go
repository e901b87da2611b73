package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// config is signetd.yaml. Paths in it are relative to the file; load has made them absolute.
type config struct {
	// Listen is "host:port".
	Listen string `yaml:"listen"`
	// Node is this server's name among the vault's nodes, and part of its log's origin.
	Node string `yaml:"node"`
	// TrustDomain is the SPIFFE trust domain of the callers.
	TrustDomain string `yaml:"trust_domain"`
	// Operators are full SPIFFE ids that hold every administrative action.
	Operators []string `yaml:"operators"`
	// Store is the file of keys and policy, or vault when they lie in HashiCorp Vault. Log is the directory of the audit log.
	Store string `yaml:"store"`
	Log   string `yaml:"log"`
	// KEKs are URIs of the keys that wrap the root key, such as file:kek or vault-transit:transit/signet; each alone opens the
	// vault.
	KEKs []string `yaml:"keks"`
	// Vault is how HashiCorp Vault is reached, for the store, for KEKs, or for both.
	Vault *hashicorp `yaml:"vault,omitempty"`
	// VaultID is the id of the one vault of Signet's that is served from this config; of any when it is left out.
	VaultID string `yaml:"vault_id,omitempty"`
	// Lease is how long this replica may mint without hearing from Vault, such as 30s.
	Lease string   `yaml:"lease,omitempty"`
	TLS   tlsFiles `yaml:"tls"`
	// LogMinFree is how much must be free where the log lies for minting to go on, such as 64MiB.
	LogMinFree string `yaml:"log_min_free,omitempty"`
	// Drain is how long calls under way may take to end when the server stops, such as 20s.
	Drain string `yaml:"drain,omitempty"`
	// MaxConnections is how many there may be at once; further ones wait.
	MaxConnections int `yaml:"max_connections,omitempty"`
	// Logging is what the program says of itself on standard error; the audit log is another thing and has no switch.
	Logging logging `yaml:"logging,omitempty"`
	// Metrics is where metrics, health and profiles are shown over plain HTTP to whoever asks, such as 127.0.0.1:9464; port 0
	// takes any free one. Nowhere when it is left out.
	Metrics string `yaml:"metrics,omitempty"`
	// Traces is where spans of the calls are sent.
	Traces traces `yaml:"traces,omitempty"`

	dir string // of the file
}

// drain is how long calls under way may take to end.
func (c *config) drain() time.Duration {
	if d, ok := cli.ParseSpan(c.Drain); ok {
		return d
	}
	return defaultDrain
}

// tlsFiles are PEM files; they are read again when they change.
type tlsFiles struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	// ClientCA certifies callers.
	ClientCA string `yaml:"client_ca"`
}

type logging struct {
	// Format is text or json, Level debug, info, warn or error.
	Format string `yaml:"format,omitempty"`
	Level  string `yaml:"level,omitempty"`
}

// maxDrain is longer than any call may take.
const maxDrain = 10 * time.Minute

// maxConfigSize bounds a signetd.yaml; real ones have a few hundred bytes.
const maxConfigSize = 1 << 20

// loadConfig reads and validates a signetd.yaml; nothing that it names is opened yet.
func loadConfig(path string) (*config, error) {
	if path == "" {
		return nil, cli.Malformedf("signetd init makes one: signetd init --dir D, then --config D/signetd.yaml", "--config is needed")
	}
	c := &config{}
	var err error
	c.dir, err = readYAML(path, c, "the keys are those that signetd init writes, and log_min_free, drain, max_connections, logging: {format, level}, traces: {endpoint, ratio}, and for HashiCorp Vault vault, vault_id and lease")
	if _, gone := errors.AsType[*fs.PathError](err); gone {
		return nil, &cli.Failure{Code: cli.Malformed, Err: err, Todo: "signetd init --dir D makes a vault with one, D/signetd.yaml"}
	}
	if err != nil {
		return nil, err
	}
	if err := c.validate(); err != nil {
		return nil, cli.Malformedf("", "%s: %w", path, err)
	}
	paths := []*string{&c.Log, &c.TLS.Certificate, &c.TLS.Key, &c.TLS.ClientCA}
	if !c.inVault() {
		paths = append(paths, &c.Store)
	}
	for _, p := range paths {
		if !filepath.IsAbs(*p) {
			*p = filepath.Join(c.dir, *p)
		}
	}
	if c.Vault != nil {
		c.Vault.absolute(c.dir)
	}
	return c, nil
}

// readYAML reads a file of ours, in which every key is known, into v, and says in which directory it lies. todo says which keys
// there are.
func readYAML(path string, v any, todo string) (dir string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", &cli.Failure{Code: cli.Malformed, Err: fmt.Errorf("reading the config: %w", err)}
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, maxConfigSize))
	if err != nil {
		return "", fmt.Errorf("reading the config: %w", err)
	}
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(v); err != nil {
		return "", cli.Malformedf(todo, "%s:%s", path, yamlProblem(err))
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("finding the config's directory: %w", err)
	}
	return filepath.Dir(abs), nil
}

// unknownKey is what may be repeated of a config: a word that could be a key of ours.
var unknownKey = regexp.MustCompile(`^unknown field "([a-z][a-z_]{0,31})"$`)

// yamlProblem says where and what, without the source that go-yaml would quote: somebody will point it at a .p8.
func yamlProblem(err error) string {
	if errors.Is(err, io.EOF) {
		return " is empty"
	}
	ye, ok := errors.AsType[yaml.Error](err)
	if !ok || ye.GetToken() == nil {
		return " is not valid YAML"
	}
	pos := ye.GetToken().Position
	what := "is not as a config should be here"
	switch m, message := unknownKey.FindStringSubmatch(ye.GetMessage()), ye.GetMessage(); {
	case m != nil:
		what = "unknown key " + m[1]
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

// validate says everything that is wrong with the values, without looking at what they name.
func (c *config) validate() error {
	var errs []error
	for _, f := range []struct{ key, value string }{
		{"node", c.Node}, {"trust_domain", c.TrustDomain}, {"store", c.Store}, {"log", c.Log},
		{"tls.certificate", c.TLS.Certificate}, {"tls.key", c.TLS.Key}, {"tls.client_ca", c.TLS.ClientCA},
	} {
		if f.value == "" {
			errs = append(errs, fmt.Errorf("%s is missing", f.key))
		}
	}
	if err := validListen(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen: %w", err))
	}
	if len(c.KEKs) == 0 {
		errs = append(errs, errors.New("keks: at least one is needed, such as file:kek"))
	}
	if len(c.Operators) == 0 {
		errs = append(errs, errors.New("operators: at least one SPIFFE id is needed, or nobody can administer the vault"))
	}
	errs = append(errs, c.validateVault()...)
	if _, err := c.Logging.handler(io.Discard); err != nil {
		errs = append(errs, fmt.Errorf("logging: %w", err))
	}
	if c.Metrics != "" {
		if err := validMetrics(c.Metrics); err != nil {
			errs = append(errs, fmt.Errorf("metrics: %w", err))
		}
	}
	if err := c.Traces.validate(); err != nil {
		errs = append(errs, fmt.Errorf("traces: %w", err))
	}
	if _, ok := parseSize(c.LogMinFree); !ok && c.LogMinFree != "" {
		errs = append(errs, errors.New("log_min_free: a size is a number of bytes, such as 64MiB"))
	}
	if d, ok := cli.ParseSpan(c.Drain); c.Drain != "" && (!ok || d > maxDrain) {
		errs = append(errs, fmt.Errorf("drain: how long calls under way may take to end is a duration from 0s to %s, such as 20s", maxDrain))
	}
	if c.MaxConnections < 0 {
		errs = append(errs, errors.New("max_connections is negative"))
	}
	return errors.Join(errs...)
}

func validListen(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New(`is not "host:port", such as 127.0.0.1:7443`)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return errors.New("the port is a number from 1 to 65535")
	}
	return nil
}

func (l logging) handler(w io.Writer) (slog.Handler, error) {
	o := &slog.HandlerOptions{}
	switch l.Level {
	case "debug":
		o.Level = slog.LevelDebug
	case "", "info":
		o.Level = slog.LevelInfo
	case "warn":
		o.Level = slog.LevelWarn
	case "error":
		o.Level = slog.LevelError
	default:
		return nil, errors.New("level is debug, info, warn or error")
	}
	switch l.Format {
	case "", "text":
		return slog.NewTextHandler(w, o), nil
	case "json":
		o.ReplaceAttr = spansAsText
		return slog.NewJSONHandler(w, o), nil
	default:
		return nil, errors.New("format is text or json")
	}
}

// spansAsText writes a span of time in JSON as the text format does: 20s, and not 20000000000.
func spansAsText(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// parseSize takes a number of bytes, written as 4096 or 64MiB.
func parseSize(text string) (int64, bool) {
	unit := int64(1)
	for suffix, n := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			text, unit = strings.TrimSpace(number), n
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n * unit, err == nil && n >= 0 && n <= (1<<62)/unit
}
