// Package authority is the core of Signet: the one place where the store, the audit log and the policy meet.
//
// # Purpose
//
// It mints tokens, keeps keys and policy, answers from the log and issues certificates, each for an authenticated
// principal, each decided by the policy, each recorded before its result is let out. The five types are the subjects
// of the surface; behind them is one unexported core with two ways through it, for what changes the state and for
// what does not.
//
// # Trust
//
// Principals come from package authn and are believed. Requests are typed but otherwise hostile. Private keys are
// never here, but for the moments of an import between the seal and the store; what signs is a signer that the store
// lends. Texts of errors are for callers and repeat no input; causes are for the server's own log.
//
// # Concurrency
//
// Everything exported may be called concurrently. Decisions are made on one immutable state behind one pointer;
// changes are made one at a time. No lock is held across a write to disk but by a change, and by that only against
// other changes.
//
// # Crashes
//
// A mint that crashes leaves at most an entry of a token that nobody got. A change leaves an intent, and the store
// either as it was or as it was to be; start-up finds out which, records that, and never acts on it. A gap is part of
// the root before anything else is done about it.
package authority

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/p8signet/signet/server/policy"
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
	// KEKs are the URIs of the keys that the store is configured with, for the status.
	KEKs []string
	// Bound is how long this replica may mint without hearing from a store that it shares, see package lease. 0: it mints
	// nothing there, but changes what callers may change. On a store of its own it means nothing.
	Bound time.Duration
	// Enroll makes a node known that the vault does not know yet. Without it such a one is refused.
	Enroll bool
	// MinFree is how many bytes must be free for minting to go on; the log's default when 0.
	MinFree int64
	// Now is the wall clock. Required.
	Now func() time.Time
	// Logger takes what operators should see; it gets no request's content. slog's default when nil.
	Logger *slog.Logger
	// Watcher hears what goes on; the zero Watcher hears nothing.
	Watcher Watcher
}

func (c *Config) validate() error {
	switch {
	case c.LogFS == nil, c.Now == nil:
		return errors.New("the authority needs a place for its log and a clock")
	case c.Node == "", c.TrustDomain == "":
		return errors.New("the authority needs the names of its node and of its trust domain")
	}
	for i, id := range c.Operators {
		if err := policy.ValidateID(id); err != nil {
			return fmt.Errorf("operator %d: %w", i+1, err)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.MinFree == 0 {
		c.MinFree = audit.DefaultMinFree
	}
	return nil
}

// Authority is the core, divided by subject. All methods of all five may be called concurrently.
type Authority struct {
	Tokens   *Tokens
	Keys     *Keys
	Policies *Policies
	Log      *Log
	System   *System

	changer *changer
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// Request is what every request carries.
type Request struct {
	// ID is the request's id, for the log.
	ID string
}

// housekeeping is how often refusals are summarised and left-overs are looked after.
const housekeeping = time.Minute

// Open opens this node's log against the store's root, finds gaps both ways and commits them, closes what a crash
// left open, and starts the minute's work. A gap is no error: it stops minting until it is acknowledged. Neither is a
// log that cannot be written: that stops minting until it can.
func Open(ctx context.Context, cfg Config) (*Authority, error) {
	a, err := open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the authority: %w", inFull(err)), cfg.Store.Close())
	}
	return a, nil
}

func open(ctx context.Context, cfg Config) (*Authority, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &changer{turn: make(chan struct{}, 1)}
	c.ledger = ledger{node: cfg.Node, now: cfg.Now, tally: newTally(), logger: cfg.Logger, watcher: cfg.Watcher}
	c.summed = c.told("refused calls are counted but cannot be recorded yet", "refused calls are recorded again")
	c.settled = c.told("unfinished business is left for another minute", "nothing is left unfinished any more")
	c.store, c.operators, c.rates = cfg.Store, cfg.Operators, newRates(rateTable)
	c.replicas = newReplicas(cfg)
	c.publish()
	if cfg.Enroll {
		if err := c.enroll(ctx); err != nil {
			return nil, fmt.Errorf("making the node known to the vault: %w", inFull(err))
		}
	}
	signer, err := openLogSigner(ctx, cfg.Store, cfg.Node)
	if err != nil {
		return nil, err
	}
	issuer, err := openCA(ctx, cfg.Store)
	if err != nil {
		return nil, err
	}
	if err := (start{c}).openLog(ctx, cfg.LogFS, signer, cfg.MinFree); err != nil {
		return nil, err
	}
	if err := (start{c}).lookBack(ctx); err != nil {
		return nil, errors.Join(err, c.log.Close())
	}
	c.publish() // with a gap that the look back has found
	if err := c.settle(ctx); err != nil {
		c.logger.WarnContext(ctx, "the start is not recorded yet", slog.Any("error", inFull(err)))
	}
	c.anchors.verifier = signer.verifier
	if cfg.Enroll {
		if err := c.enrolled(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("making the node known to the vault: %w", inFull(err)), c.log.Close())
		}
	}
	if err := c.begin(ctx); err != nil {
		return nil, errors.Join(err, c.log.Close())
	}

	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	a := &Authority{
		Tokens:   &Tokens{&c.core, newGiven(givenTable)},
		Keys:     &Keys{changer: c, signer: signer},
		Policies: &Policies{c},
		Log:      &Log{changer: c, verifier: signer.verifier},
		System:   &System{changer: c, config: cfg, ca: issuer, verifierKey: signer.vkey, started: c.now()},
		changer:  c,
		stop:     stop,
	}
	a.done.Go(func() { a.housekeep(background) })
	if c.replicas.shared() {
		a.done.Go(func() { c.follow(background) })
	}
	if c.replicas.member() {
		a.done.Go(func() { c.keepLease(background) })
	}
	return a, nil
}

// housekeep does the minute's work until ctx ends.
func (a *Authority) housekeep(ctx context.Context) {
	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.changer.housekeep(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// Close records what was counted and not yet summarised, and closes the log and the store. Calls that are under way
// fail. A second Close does nothing.
func (a *Authority) Close() error {
	a.stop()
	a.done.Wait()
	a.changer.leave(context.Background())
	a.changer.leaveAnchor(context.Background())
	a.changer.summarise(context.Background())
	return errors.Join(a.changer.log.Close(), a.changer.store.Close())
}

// Unauthenticated counts a call from peer that proved no identity; the counts are recorded once a minute. The reason
// is a constant of ours, never text from outside.
func (a *Authority) Unauthenticated(peer, reason string) { a.changer.unauthenticated(peer, reason) }
