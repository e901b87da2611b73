package authority

import (
	"context"
	"log/slog"
	"time"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/envelope"
)

// InitConfig says what vault to create.
type InitConfig struct {
	// Backend must be empty. Init does not close it... unless it fails half-way; either way open it anew.
	Backend store.Backend
	KEKs    []envelope.KEK
	LogFS   audit.FS
	Node    string
	// TrustDomain is the CA's; Operator is the full SPIFFE id of the first operator.
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

// Init creates a vault: the store with log key and CA, the log with its first entries. After an error or a crash
// the backend may hold a whole vault already; callers create it in a directory that they rename when Init returned.
func Init(ctx context.Context, cfg InitConfig) (*Initialized, error) { panic("being written") }
