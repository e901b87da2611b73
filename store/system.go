package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/p8signet/signet/proto/sealed"
)

// PolicyRevision is one revision of the policy. The document is opaque here.
type PolicyRevision struct {
	Number   int       `json:"number"` // from 1, without holes
	Document []byte    `json:"document"`
	Digest   string    `json:"digest"`
	Author   string    `json:"author"`
	Created  time.Time `json:"created"`
}

// PolicyRevision returns revision n of the policy. ErrNotFound, ErrDamaged.
func (s *Store) PolicyRevision(ctx context.Context, n int) (PolicyRevision, error) {
	return s.policyRevision(ctx, s.Snapshot(), n)
}

func (s *Store) policyRevision(ctx context.Context, snap *Snapshot, n int) (PolicyRevision, error) {
	if n < 1 || n > snap.root.Policy {
		return PolicyRevision{}, fmt.Errorf("revision %d of the policy: %w", n, ErrNotFound)
	}
	var p *PolicyRevision
	err := s.lend(ctx, snap, record{kind: recordPolicy, number: n}, func(plain []byte) error {
		var err error
		p, err = unmarshalPolicy(n, plain)
		return err
	})
	if errors.Is(err, ErrNotFound) {
		err = damaged(fmt.Sprintf("policy/%d", n), err)
	}
	if err != nil {
		return PolicyRevision{}, err
	}
	return *p, nil
}

// PolicyHistory yields the revisions of the policy as of now, newest first. One
// that does not open is yielded with its number and an error (ErrDamaged), and
// the rest follows.
func (s *Store) PolicyHistory(ctx context.Context) iter.Seq2[PolicyRevision, error] {
	return func(yield func(PolicyRevision, error) bool) {
		snap := s.Snapshot()
		for n := snap.root.Policy; n > 0; n-- {
			p, err := s.policyRevision(ctx, snap, n)
			p.Number = n
			if !yield(p, err) {
				return
			}
		}
	}
}

// Document returns a document of the vault's own, that PutDocument wrote.
// ErrNotFound, ErrDamaged.
func (s *Store) Document(ctx context.Context, name string) ([]byte, error) {
	var doc []byte
	err := s.lend(ctx, s.Snapshot(), record{kind: recordDocument, name: name}, func(plain []byte) error {
		doc = bytes.Clone(plain)
		return nil
	})
	return doc, err
}

// OpenImport lends the private half of an import recipient to use, for
// sealed.Open and nothing else. It is wiped when use returns, whose error is
// returned as it is. ErrNotFound: there is no such recipient, or no longer.
// sealed.ErrExpired: it is past its expiry.
func (s *Store) OpenImport(ctx context.Context, recipient string, use func(*sealed.Private) error) error {
	if !validID(recipient) {
		return fmt.Errorf("a recipient of that id: %w", ErrNotFound)
	}
	var p *sealed.Private
	err := s.lend(ctx, s.Snapshot(), record{kind: recordRecipient, name: recipient}, func(plain []byte) error {
		r, key, err := unmarshalRecipient(recipient, plain)
		if err != nil {
			return err
		}
		p, err = sealed.ParsePrivate(r, key)
		return err
	})
	if err != nil {
		return err
	}
	defer p.Wipe()
	if r := p.Recipient(); !s.cfg.Now().Before(r.Expires) {
		return fmt.Errorf("recipient %s: %w", recipient, sealed.ErrExpired)
	}
	return use(p)
}
