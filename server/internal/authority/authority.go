// Package authority is the core: the one place where store, audit log and policy meet.
package authority

import (
	"context"
	"log/slog"
	"time"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
)

// Config is what an Authority works with. The Authority closes Store when it is closed; Open closes it when it fails.
type Config struct {
	// Store is the open store of the vault.
	Store *store.Store
	// LogFS is where the segments of this node's audit log lie.
	LogFS audit.FS
	// Node is this node's name, as in the store.
	Node string
	// Operators are the full SPIFFE ids that hold every administrative action.
	Operators []string
	// TrustDomain is the SPIFFE trust domain in which the built-in CA certifies callers.
	TrustDomain string
	// MinFree is how many bytes must be free for minting to go on; the log's default when 0.
	MinFree int64
	// Now is the wall clock. Required.
	Now func() time.Time
	// Logger takes what operators should see; it gets no request's content. slog's default when nil.
	Logger *slog.Logger
}

// Authority is the core, divided by subject. All methods of all five may be called concurrently.
type Authority struct {
	Tokens   *Tokens
	Keys     *Keys
	Policies *Policies
	Log      *Log
	System   *System
}

// Tokens mints.
type Tokens struct{}

// Keys keeps keys and their versions.
type Keys struct{}

// Policies keeps the policy and its history.
type Policies struct{}

// Log reads the audit log and proves things about it.
type Log struct{}

// System is status, certificates and gaps.
type System struct{}

// Request is what every request carries.
type Request struct {
	// ID is the request's id, for the log.
	ID string
}

// Open opens this node's log against the store's root, finds gaps both ways and commits them, closes what a crash
// left open, and starts the minute's summaries. A gap is not an error: it stops minting until it is acknowledged.
func Open(ctx context.Context, cfg Config) (*Authority, error) { panic("being written") }

// Close writes what was counted and not yet summarised, and closes the log and the store. Calls that are under way fail.
func (a *Authority) Close() error { panic("being written") }

// Unauthenticated counts a call from peer that proved no identity; the counts are recorded once a minute. The
// reason is a constant of ours, never text from outside.
func (a *Authority) Unauthenticated(peer, reason string) { panic("being written") }
