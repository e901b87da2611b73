package authority

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/envelope"
)

// InitConfig says what vault to create.
type InitConfig struct {
	// Backend must be empty. It stays its opener's.
	Backend store.Backend
	KEKs    []envelope.KEK
	LogFS   audit.FS
	Node    string
	// TrustDomain is the CA's; Operator is the full SPIFFE id of the first operator, in it.
	TrustDomain, Operator string
	// Hosts are the DNS names and IP addresses of the server's certificate.
	Hosts  []string
	Now    func() time.Time
	Logger *slog.Logger
}

// Initialized is what a new vault needs beside it. The private keys in it exist nowhere else.
type Initialized struct {
	VaultID string
	// LogOrigin is the origin of the node's log, LogKey the verifier key of its checkpoints.
	LogOrigin, LogKey string
	// CA, and the certificates and keys of the server and of the operator, are PEM.
	CA                               []byte
	ServerCertificate, ServerKey     []byte
	OperatorCertificate, OperatorKey []byte
}

// Init creates a vault: the store with its log key and CA, and the log, whose first entries are of the certificates
// made here. After an error or a crash the backend may hold a whole vault already; callers create it in a directory
// that they rename when Init has returned.
func Init(ctx context.Context, cfg InitConfig) (*Initialized, error) {
	made, err := initialize(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("creating the vault: %w", inFull(err))
	}
	return made, nil
}

func initialize(ctx context.Context, cfg InitConfig) (*Initialized, error) {
	if cfg.Now == nil || len(cfg.Hosts) == 0 || cfg.TrustDomain == "" {
		return nil, errors.New("a clock, a trust domain and the server's hosts are needed")
	}
	if err := policy.ValidateID(cfg.Operator); err != nil {
		return nil, fmt.Errorf("the operator: %w", err)
	}
	s, err := store.Create(ctx, store.Config{
		Backend: cfg.Backend, KEKs: cfg.KEKs, Node: cfg.Node, Now: cfg.Now, Logger: cfg.Logger,
	}, func(tx *store.Tx) (err error) {
		envelope.Secret(func() { err = fill(tx, cfg) })
		return err
	})
	if err != nil {
		return nil, err
	}
	vault := s.Snapshot().Vault()
	a, err := Open(ctx, Config{
		Store: s, LogFS: cfg.LogFS, Node: cfg.Node, Operators: []string{cfg.Operator}, TrustDomain: cfg.TrustDomain,
		Now: cfg.Now, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	made := &Initialized{
		VaultID: vault, LogOrigin: a.changer.log.Origin().String(), LogKey: a.System.verifierKey,
		CA: certificatePEM(a.System.ca.certificate.Raw),
	}
	if err = a.firstCertificates(ctx, cfg, made); err == nil {
		err = a.initialized(ctx, cfg.Operator)
	}
	return made, errors.Join(err, a.Close())
}

// fill puts what every vault has into the first commit: the node's log key and log id, and the CA.
func fill(tx *store.Tx, cfg InitConfig) error {
	key, err := newLogKey()
	if err != nil {
		return err
	}
	defer clear(key)
	certificate, caKey, err := newCA(cfg.TrustDomain, cfg.Now())
	if err != nil {
		return err
	}
	defer clear(caKey)
	return errors.Join(
		tx.PutSystem(logKeyName(cfg.Node), key),
		tx.PutSystem(caName, caKey),
		tx.PutDocument(caName, certificate),
		tx.SetLogHead(newLog()),
	)
}

// initialized commits a root that names the log with all that Init has recorded in it, so that a log without that is a
// gap: neither an empty directory nor another vault's log passes for the new vault's own.
func (a *Authority) initialized(ctx context.Context, operator string) error {
	c := a.changer
	if err := c.lock(ctx); err != nil {
		return err
	}
	defer c.unlock()
	e := entryOf(policy.Principal{Kind: policy.PrincipalMTLS, ID: operator}, ask{want: policy.Request{Action: actionInit}})
	return c.commit(ctx, c.store.Begin(), e, audit.AppendOptions{})
}

// firstCertificates makes those of the server and of the first operator, in the operator's name.
func (a *Authority) firstCertificates(ctx context.Context, cfg InitConfig, made *Initialized) error {
	operator := policy.Principal{Kind: policy.PrincipalMTLS, ID: cfg.Operator}
	serverSigner, serverKey, err := newLeafKey()
	if err != nil {
		return err
	}
	server, err := a.System.issueServer(ctx, operator, cfg.Hosts, serverSigner.Public())
	if err != nil {
		return err
	}
	operatorSigner, operatorKey, err := newLeafKey()
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, operatorSigner)
	if err != nil {
		return fmt.Errorf("composing the operator's certificate request: %w", err)
	}
	own, err := a.System.IssueCertificate(ctx, operator, CertificateRequest{CSR: csr, URI: cfg.Operator})
	if err != nil {
		return err
	}
	made.ServerCertificate, made.ServerKey = certificatePEM(server.DER), serverKey
	made.OperatorCertificate, made.OperatorKey = certificatePEM(own.DER), operatorKey
	return nil
}
