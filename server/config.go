package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.opentelemetry.io/otel/trace"

	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/envelope"
)

// DevNode is the name of the node of a vault for trying things out. It is in every entry, in the log's origin, and so in
// every checkpoint and receipt: nothing of such a vault passes for the record of a real one. No other vault gives it.
const DevNode = "dev"

// Config says what a Server serves and how. New, Check, Fsck and IssueCertificate take it; nothing in it is
// changed after that, and nothing is opened before all of it has been looked at.
type Config struct {
	// Backend is where the store lies. Whoever takes a Config closes it: Shutdown, or New when it fails; Check, Fsck and
	// IssueCertificate when they return.
	Backend store.Backend
	// KEKs wrap the root key; each alone opens the store.
	KEKs []envelope.KEK
	// VaultID is the id that the vault must have; "" takes the one that is there.
	VaultID string
	// LogDir is the directory of the audit log's segments. One that is missing is made, in a directory that must exist;
	// for a vault that has a log that is as if the log had been emptied: a gap.
	LogDir string
	// LogFS replaces LogDir; for tests that break files.
	LogFS audit.FS
	// Node is this server's name among the vault's nodes, such as "node-1". It is part of the log's origin.
	Node string
	// Operators are full SPIFFE ids that hold every administrative action.
	Operators []string
	// TrustDomain is the SPIFFE trust domain that the client CA may speak for, such as "signet.local".
	TrustDomain string
	// TLS names the files of the listener. They are read again when they change.
	TLS TLSConfig
	// Limits bound what callers may cost. Zero values mean the defaults.
	Limits Limits
	// Lease is how long this replica may mint without hearing from a store that it shares with others, and so how long a change
	// may have to wait for it: from store.MinBound to store.MaxBound, DefaultLease when 0. A store of its own has no use for it.
	Lease time.Duration
	// MinFree is how many bytes must be free where the log lies for minting to go on; 64 MiB when 0.
	MinFree int64
	// Version is what GetStatus says the program is.
	Version string
	// Now is the clock for everything that lasts or expires. Required.
	Now func() time.Time
	// Logger takes what operators should see; slog's default when nil. It never gets a request's content.
	Logger *slog.Logger
	// Traces, if there is one, gets a span of every call and of its stages: method, request id, times and code, never
	// content. Flushing and ending it is its owner's, after Shutdown.
	Traces trace.TracerProvider
}

// TLSConfig names PEM files. CertFile may hold a chain; ClientCAFile holds the one CA that certifies callers.
type TLSConfig struct {
	CertFile     string
	KeyFile      string
	ClientCAFile string
}

// Limits bound what callers may cost.
type Limits struct {
	// Deadline is the longest that a call may take, and what a call without a deadline gets; 30 s when 0.
	Deadline time.Duration
	// RequestSize is the largest request in bytes; 1.5 MiB when 0.
	RequestSize int
	// Streams is how many calls one connection may have under way; 256 when 0.
	Streams uint32
	// Connections is how many there may be at once; 4096 when 0. Further ones wait.
	Connections int
	// ConnectionAge is how long a connection lives; an hour when 0, and never more.
	ConnectionAge time.Duration
	// ReloadInterval is how often the TLS files are looked at; 5 s when 0.
	ReloadInterval time.Duration
}

// DefaultLease is long enough for Vault to fail over.
const DefaultLease = 30 * time.Second

// defaultLimits are the limits of a config that says none.
var defaultLimits = Limits{
	Deadline:       30 * time.Second,
	RequestSize:    3 << 19, // 1.5 MiB: a policy of 1 MiB and its frame
	Streams:        256,
	Connections:    4096,
	ConnectionAge:  time.Hour,
	ReloadInterval: 5 * time.Second,
}

func (l Limits) withDefaults() Limits {
	d := defaultLimits
	if l.Deadline == 0 {
		l.Deadline = d.Deadline
	}
	if l.RequestSize == 0 {
		l.RequestSize = d.RequestSize
	}
	if l.Streams == 0 {
		l.Streams = d.Streams
	}
	if l.Connections == 0 {
		l.Connections = d.Connections
	}
	if l.ConnectionAge == 0 {
		l.ConnectionAge = d.ConnectionAge
	}
	if l.ReloadInterval == 0 {
		l.ReloadInterval = d.ReloadInterval
	}
	return l
}

func (l Limits) validate() error {
	var errs []error
	if l.Deadline < 0 || l.Deadline > defaultLimits.Deadline {
		errs = append(errs, fmt.Errorf("deadline %s: want more than 0 and at most %s", l.Deadline, defaultLimits.Deadline))
	}
	if l.RequestSize < 0 {
		errs = append(errs, fmt.Errorf("request size %d: want more than 0", l.RequestSize))
	}
	if l.Connections < 0 {
		errs = append(errs, fmt.Errorf("connections %d: want more than 0", l.Connections))
	}
	if l.ConnectionAge < 0 || l.ConnectionAge > defaultLimits.ConnectionAge {
		errs = append(errs, fmt.Errorf("connection age %s: want more than 0 and at most %s", l.ConnectionAge, defaultLimits.ConnectionAge))
	}
	if l.ReloadInterval < 0 {
		errs = append(errs, fmt.Errorf("reload interval %s: want more than 0", l.ReloadInterval))
	}
	return errors.Join(errs...)
}

var errNoKEK = errors.New("no KEK: nothing could open the store")

// validateVault says everything that is wrong with what opens the vault.
func (c *Config) validateVault() error {
	var errs []error
	if c.Backend == nil {
		errs = append(errs, errors.New("no store backend"))
	}
	if len(c.KEKs) == 0 {
		errs = append(errs, errNoKEK)
	}
	return errors.Join(append(errs, c.validateValues())...)
}

// validateValues looks at what can be looked at without opening anything.
func (c *Config) validateValues() error {
	var errs []error
	if c.LogFS == nil {
		if err := checkDirectory(c.LogDir); err != nil {
			errs = append(errs, fmt.Errorf("log directory: %w", err))
		}
	}
	if c.Node == "" {
		errs = append(errs, errors.New("no node name"))
	}
	if c.Now == nil {
		errs = append(errs, errors.New("no clock"))
	}
	if c.Lease != 0 {
		if err := store.CheckBound(c.Lease); err != nil {
			errs = append(errs, fmt.Errorf("lease %s: %w", c.Lease, err))
		}
	}
	if c.MinFree < 0 {
		errs = append(errs, fmt.Errorf("free space to keep is %d: want 0 or more", c.MinFree))
	}
	if err := sealed.Usable(); err != nil {
		errs = append(errs, fmt.Errorf("no key could be imported in this process: %w (say fips140=on in GODEBUG, or take a build with a newer module)", err))
	}
	domain, err := spiffeid.TrustDomainFromString(c.TrustDomain)
	if err != nil {
		errs = append(errs, fmt.Errorf("trust domain %q: %w", c.TrustDomain, err))
	}
	for _, o := range c.Operators {
		id, err := spiffeid.FromString(o)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("operator %q: %w", o, err))
		case id.Path() == "":
			errs = append(errs, fmt.Errorf("operator %q: the SPIFFE id has no path, so no certificate can have it", o))
		case !domain.IsZero() && !id.MemberOf(domain):
			errs = append(errs, fmt.Errorf("operator %q is not of the trust domain %q, so no certificate can have that id", o, c.TrustDomain))
		}
	}
	return errors.Join(append(errs, c.Limits.validate())...)
}

func checkDirectory(path string) error {
	if path == "" {
		return errors.New("none is named")
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		// Not without the directory that it lies in: that is a wrong path, or a disk that is not mounted.
		if info, err = os.Stat(filepath.Dir(path)); err != nil {
			return fmt.Errorf("neither it nor the directory that it lies in is there: %w", err)
		}
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", path)
	}
	return nil
}

// makeLogDir makes the log directory where it is missing. The log that is opened in it finds out what that means.
func (c *Config) makeLogDir() error {
	if c.LogFS != nil {
		return nil
	}
	err := os.Mkdir(c.LogDir, 0o700)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return fmt.Errorf("making the log directory: %w", err)
	}
	c.logger().Warn("the log directory was missing and has been made", slog.String("directory", c.LogDir))
	parent, err := os.Open(filepath.Dir(c.LogDir))
	if err != nil {
		return fmt.Errorf("making the log directory: %w", err)
	}
	if err := errors.Join(parent.Sync(), parent.Close()); err != nil {
		return fmt.Errorf("making the log directory: %w", err)
	}
	return nil
}

// closeBackend closes what the config brought; there may be none.
func (c *Config) closeBackend() error {
	if c.Backend == nil {
		return nil
	}
	return c.Backend.Close()
}

// logFS is where the segments lie.
func (c *Config) logFS() audit.FS {
	if c.LogFS != nil {
		return c.LogFS
	}
	return audit.DirFS(c.LogDir)
}

// logger is never nil.
func (c *Config) logger() *slog.Logger {
	if c.Logger != nil {
		return c.Logger
	}
	return slog.Default()
}
