package server

import (
	"log/slog"
	"time"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/envelope"
)

// Config says what a Server serves and how. New, Check, Fsck and IssueCertificate take it; nothing in it is
// changed after that, and nothing is opened before all of it has been looked at.
type Config struct {
	// Backend is where the store lies. The server closes it on Shutdown, and also when New fails.
	Backend store.Backend
	// KEKs wrap the root key; each alone opens the store.
	KEKs []envelope.KEK
	// LogDir is the directory of the audit log's segments. It must exist.
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
	// MinFree is how many bytes must be free where the log lies for minting to go on; 64 MiB when 0.
	MinFree int64
	// Version is what GetStatus says the program is.
	Version string
	// Now is the clock for everything that lasts or expires. Required.
	Now func() time.Time
	// Logger takes what operators should see; slog's default when nil. It never gets a request's content.
	Logger *slog.Logger
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
	// ConnectionAge is how long a connection lives; an hour when 0, and never more.
	ConnectionAge time.Duration
	// ReloadInterval is how often the TLS files are looked at; 5 s when 0.
	ReloadInterval time.Duration
}
