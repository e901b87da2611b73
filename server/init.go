package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/p8signet/signet/server/internal/authority"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/envelope"
)

// InitConfig says what vault to create.
type InitConfig struct {
	// Backend, KEKs, LogDir, LogFS, Node, TrustDomain, Now and Logger are as in Config. The backend must be empty.
	Backend     store.Backend
	KEKs        []envelope.KEK
	LogDir      string
	LogFS       audit.FS
	Node        string
	TrustDomain string
	Now         func() time.Time
	Logger      *slog.Logger
	// Operator is the full SPIFFE id of the first operator.
	Operator string
	// Hosts are the DNS names and IP addresses of the server's certificate.
	Hosts []string
}

// Initialized is what a new vault needs beside it. The private keys in it exist nowhere else.
type Initialized struct {
	// VaultID is the new vault's id.
	VaultID string
	// LogOrigin is the origin of the node's audit log, LogKey the verifier key of its checkpoints (a C2SP vkey).
	LogOrigin string
	LogKey    string
	// CA is the PEM of the built-in CA: clients verify the server by it, the server its callers.
	CA []byte
	// ServerCertificate and ServerKey are PEM, for TLSConfig.
	ServerCertificate, ServerKey []byte
	// OperatorCertificate and OperatorKey are PEM, for the operator's client.
	OperatorCertificate, OperatorKey []byte
}

// Init creates a vault: the store with its log key and CA, the log with its first entries. On an error the
// backend may hold a whole vault already, so callers create it in a directory that they rename when Init returned.
func Init(ctx context.Context, cfg InitConfig) (*Initialized, error) {
	// What Config says of these values holds here too.
	as := Config{
		Backend: cfg.Backend, KEKs: cfg.KEKs, LogDir: cfg.LogDir, LogFS: cfg.LogFS, Node: cfg.Node,
		TrustDomain: cfg.TrustDomain, Operators: []string{cfg.Operator}, Now: cfg.Now, Logger: cfg.Logger,
	}
	err := as.validateVault()
	if len(cfg.Hosts) == 0 {
		err = errors.Join(err, errors.New("no host for the server's certificate"))
	}
	if err != nil {
		return nil, fmt.Errorf("new vault: %w", err)
	}
	if err := as.makeLogDir(); err != nil {
		return nil, fmt.Errorf("new vault: %w", err)
	}
	made, err := authority.Init(ctx, authority.InitConfig{
		Backend: cfg.Backend, KEKs: cfg.KEKs, LogFS: as.logFS(), Node: cfg.Node,
		TrustDomain: cfg.TrustDomain, Operator: cfg.Operator, Hosts: cfg.Hosts, Now: cfg.Now, Logger: as.logger(),
	})
	if err != nil {
		return nil, err
	}
	v := Initialized(*made)
	return &v, nil
}

// CertificateRequest asks for a caller's certificate, or for the server's.
type CertificateRequest struct {
	// CSR is a PKCS#10 request, DER. Only its public key is used.
	CSR []byte
	// URI is the SPIFFE id to certify, for a caller.
	URI string
	// Hosts are the DNS names and IP addresses to certify, for the server. Then there is no URI.
	Hosts []string
	// TTL is how long it is valid; the CA's own limit when 0.
	TTL time.Duration
}

// Certificate is an issued certificate.
type Certificate struct {
	// DER is the certificate, CA the CA's certificate, both DER.
	DER, CA []byte
	// Fingerprint is "sha256:<hex>" of DER.
	Fingerprint string
	// NotAfter is when it ends.
	NotAfter time.Time
}

// IssueCertificate signs a certificate in a vault that no server has open (the backend's lock sees to that), in the
// name of the operator whose full id is by: whoever can open the vault's files could do so anyway. It is recorded
// before it is returned. cfg.TLS may be empty.
func IssueCertificate(ctx context.Context, cfg Config, by string, req CertificateRequest) (*Certificate, error) {
	c, err := issueCertificate(ctx, cfg, by, req)
	if err := errors.Join(err, cfg.closeBackend()); err != nil {
		return nil, err
	}
	return c, nil
}

func issueCertificate(ctx context.Context, cfg Config, by string, req CertificateRequest) (*Certificate, error) {
	var c Certificate
	err := asOperator(ctx, cfg, by, authority.Config{}, func(core *authority.Authority, operator policy.Principal) (err error) {
		c, err = issue(ctx, core, operator, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// asOperator opens the core of a vault that no server has open for this node, and does something in it in the name of the operator
// whose full id is by. as is what openCore wants to know beside cfg.
func asOperator(ctx context.Context, cfg Config, by string, as authority.Config, do func(*authority.Authority, policy.Principal) error) error {
	if err := cfg.validateVault(); err != nil {
		return fmt.Errorf("server config: %w", err)
	}
	if !slices.Contains(cfg.Operators, by) {
		return fmt.Errorf("%q is not an operator of this vault", by)
	}
	core, err := openCore(ctx, cfg, as)
	if err != nil {
		return err
	}
	err = do(core, policy.Principal{Kind: policy.PrincipalMTLS, ID: by, Peer: "local, no server running"})
	return errors.Join(err, core.Close())
}

func issue(ctx context.Context, core *authority.Authority, operator policy.Principal, req CertificateRequest) (Certificate, error) {
	issued, err := core.System.IssueCertificate(ctx, operator, authority.CertificateRequest{
		Request: newRequest(), CSR: req.CSR, URI: req.URI, Hosts: req.Hosts, TTL: req.TTL,
	})
	return Certificate(issued), err
}

// newRequest is a request that comes by no call.
func newRequest() authority.Request { return authority.Request{ID: uuid.Must(uuid.NewV7()).String()} }
