package store

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/p8signet/signet/store/envelope"
)

// Signer is a private key that does not show its bytes: a crypto.Signer. It says
// nothing about whether it may be used. It has no String method.
type Signer struct {
	fingerprint string
	public      crypto.PublicKey
	proven      atomic.Bool

	mu  sync.RWMutex  // held for reading while key signs, for writing to wipe it
	key crypto.Signer // nil once wiped
}

// parseSigner reads a P-256 or Ed25519 key. pkcs8 is not kept.
func parseSigner(pkcs8 []byte) (*Signer, error) {
	k, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, errors.New("it is not a PKCS#8 private key") // the cause could quote it
	}
	var key crypto.Signer
	switch k := k.(type) {
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() {
			return nil, errors.New("it is not on the curve P-256")
		}
		key = k
	case ed25519.PrivateKey:
		key = k
	default:
		return nil, errors.New("it is neither a P-256 nor an Ed25519 key")
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding its public half: %w", err)
	}
	return &Signer{fingerprint: digest(spki), public: key.Public(), key: key}, nil
}

func (s *Signer) p256() bool {
	_, ok := s.public.(*ecdsa.PublicKey)
	return ok
}

// Public returns an *ecdsa.PublicKey or an ed25519.PublicKey.
func (s *Signer) Public() crypto.PublicKey { return s.public }

// Fingerprint is "sha256:" and the SHA-256 of the public key's SPKI DER in
// hexadecimal.
func (s *Signer) Fingerprint() string { return s.fingerprint }

// Sign signs as crypto.Signer says. For P-256 opts must name the hash, and random
// chooses: nil gives RFC 6979, anything else a randomized signature from the
// system's source. After Store.Close, or once its version has been revoked, a
// Signer returns ErrClosed.
func (s *Signer) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.key == nil {
		return nil, ErrClosed
	}
	sig := make([]byte, 0, maxSignature)
	var err error
	envelope.Secret(func() {
		var own []byte
		own, err = s.key.Sign(random, digest, opts)
		sig = append(sig, own...)
	})
	if err != nil {
		return nil, err
	}
	return sig, nil
}

// maxSignature is the length in bytes of the longest signature: two numbers of
// 33 bytes in DER.
const maxSignature = 72

// Proven says whether SetProven was called: whether a signature of this Signer
// has been verified since it was loaded.
func (s *Signer) Proven() bool { return s.proven.Load() }

// SetProven is called after a signature has been verified.
func (s *Signer) SetProven() { s.proven.Store(true) }

// wipe waits for signatures under way and clears the key. (Copies inside the
// standard library's own cache are not in our reach.)
func (s *Signer) wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch k := s.key.(type) {
	case *ecdsa.PrivateKey:
		clear(k.D.Bits()) //nolint:staticcheck // deprecated for those who go on using the key
	case ed25519.PrivateKey:
		clear(k)
	}
	s.key = nil
}

// signerKey names a signer: a version, and which key that was.
type signerKey struct {
	name        string
	version     int
	fingerprint string
}

// signers is the cache of opened signers.
type signers struct {
	mu     sync.RWMutex
	open   map[signerKey]*Signer
	closed bool
}

func (c *signers) get(k signerKey) *Signer {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.open[k]
}

// add puts s in, unless over says that it must not be there, and returns the one
// that is there now: of two that were opened at once, the first.
func (c *signers) add(k signerKey, s *Signer, over func() bool) (*Signer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first, ok := c.open[k]; ok {
		s.wipe()
		return first, nil
	}
	switch {
	case c.closed:
		s.wipe()
		return nil, ErrClosed
	case over():
		s.wipe()
		return nil, ErrVersionOver
	}
	if c.open == nil {
		c.open = map[signerKey]*Signer{}
	}
	c.open[k] = s
	return s, nil
}

// drop wipes the signers of the versions of k that are over.
func (c *signers) drop(k *Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range k.Versions {
		at := signerKey{k.Name, v.Number, v.Fingerprint}
		if s, ok := c.open[at]; ok && v.State.Over() {
			s.wipe()
			delete(c.open, at)
		}
	}
}

// keys is how many versions of keys are open; system secrets are none.
func (c *signers) keys() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n := 0
	for at := range c.open {
		if at.version > 0 {
			n++
		}
	}
	return n
}

func (c *signers) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.open {
		s.wipe()
	}
	c.open, c.closed = nil, true
}

// OpenKeys is how many key versions are open in memory: what somebody who reads it
// would get.
func (s *Store) OpenKeys() int { return s.signers.keys() }

// Signer returns the signer of one version of a key in snap (nil: the current
// snapshot): opened on first use, then cached until the version is revoked. It
// checks that the record opens and is the key whose fingerprint the metadata
// name (ErrDamaged), and nothing about policy: whether the key may be used now
// is the caller's to decide. ErrNotFound, ErrNoVersion; ErrVersionOver for a
// version that is revoked by now.
//
// It may be called concurrently.
func (s *Store) Signer(ctx context.Context, snap *Snapshot, name string, version int) (*Signer, error) {
	if snap == nil {
		snap = s.Snapshot()
	}
	v, err := snap.version(name, version)
	if err != nil {
		return nil, err
	}
	at := signerKey{name, version, v.Fingerprint}
	if c := s.signers.get(at); c != nil {
		return c, nil
	}
	over := func() bool {
		// By the state as it is now, whatever snapshot the caller decides on:
		// a revoked version must not come back into the cache.
		now := s.Snapshot().keyState(name).key
		if now == nil {
			return false
		}
		v, ok := now.Version(version)
		return ok && v.State.Over()
	}
	if v.State.Over() || over() {
		return nil, fmt.Errorf("key %s, version %d: %w", name, version, ErrVersionOver)
	}
	c, err := s.openSigner(ctx, snap, record{kind: recordSecret, name: name, number: version}, v.Fingerprint)
	if err != nil {
		return nil, err
	}
	c, err = s.signers.add(at, c, over)
	if err != nil {
		return nil, fmt.Errorf("key %s, version %d: %w", name, version, err)
	}
	return c, nil
}

// PublicKey returns the public half of one version of a key in snap (nil: the
// current snapshot), whatever the state of the version. Where no signer is open
// the private half is opened for that, and wiped again. ErrNotFound,
// ErrNoVersion, ErrDamaged.
//
// It may be called concurrently.
func (s *Store) PublicKey(ctx context.Context, snap *Snapshot, name string, version int) (*ecdsa.PublicKey, error) {
	if snap == nil {
		snap = s.Snapshot()
	}
	v, err := snap.version(name, version)
	if err != nil {
		return nil, err
	}
	c := s.signers.get(signerKey{name, version, v.Fingerprint})
	if c == nil {
		c, err = s.openSigner(ctx, snap, record{kind: recordSecret, name: name, number: version}, v.Fingerprint)
		if err != nil {
			return nil, err
		}
		defer c.wipe()
	}
	public, ok := c.public.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("key %s, version %d is not a P-256 key: %w", name, version, ErrDamaged)
	}
	alone := *public // so as not to keep the private half alive
	return &alone, nil
}

// version is one version of a key that opens. ErrNotFound, ErrNoVersion, ErrDamaged.
func (s *Snapshot) version(name string, n int) (KeyVersion, error) {
	key, ok := s.Key(name)
	if !ok {
		if err := s.Damaged(name); err != nil {
			return KeyVersion{}, err
		}
		return KeyVersion{}, fmt.Errorf("key %s: %w", name, ErrNotFound)
	}
	v, ok := key.Version(n)
	if !ok {
		return KeyVersion{}, fmt.Errorf("key %s, version %d: %w", name, n, ErrNoVersion)
	}
	return v, nil
}

// openSigner opens a PKCS#8 record. fingerprint is whose key it must be, "" for
// any.
func (s *Store) openSigner(ctx context.Context, snap *Snapshot, r record, fingerprint string) (*Signer, error) {
	var c *Signer
	err := s.lend(ctx, snap, r, func(plain []byte) error {
		k, err := parseSigner(plain)
		if err != nil {
			return err
		}
		if fingerprint != "" && k.fingerprint != fingerprint {
			k.wipe()
			return errors.New("it is another key than the one whose fingerprint is on record")
		}
		c = k
		return nil
	})
	return c, err
}

// SystemSigner returns the signer of a system secret that PutSystem wrote:
// opened on first use, then cached. ErrNotFound, ErrDamaged.
func (s *Store) SystemSigner(ctx context.Context, name string) (*Signer, error) {
	snap, r := s.Snapshot(), record{kind: recordSystem, name: name}
	e, err := snap.entryOf(r)
	if err != nil {
		return nil, err
	}
	// The entry's hash stands for the key, so that a replaced one is opened anew.
	at := signerKey{r.String(), 0, string(e.sum[:])}
	if c := s.signers.get(at); c != nil {
		return c, nil
	}
	c, err := s.openSigner(ctx, snap, r, "")
	if err != nil {
		return nil, err
	}
	return s.signers.add(at, c, func() bool { return false })
}
