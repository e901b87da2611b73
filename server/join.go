package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/p8signet/signet/server/internal/authority"
	"github.com/p8signet/signet/server/policy"
)

// Joined is what a further node of a vault needs beside it.
type Joined struct {
	// VaultID is the vault's id.
	VaultID string
	// LogOrigin is the origin of the node's audit log, LogKey the verifier key of its checkpoints (a C2SP vkey).
	LogOrigin string
	LogKey    string
	// Certificates are those that were asked for, in that order.
	Certificates []Certificate
}

// What Join answers, by errors.Is.
var (
	// ErrNodeKnown says that the vault has a node of that name, with a log of its own. Nothing was changed.
	ErrNodeKnown = authority.ErrEnrolled
	// ErrNodeLeft says that the node was made known to the vault, and that what came after that has failed.
	ErrNodeLeft = errors.New("the vault knows the node now")
)

// Join makes the node of cfg known to a vault that others share, and issues certificates for it in the name of the operator whose
// full id is by: whoever can open the vault's store could do so anyway. They are in the node's own log, which is begun in LogDir,
// before they are returned. cfg.TLS may be empty.
func Join(ctx context.Context, cfg Config, by string, reqs []CertificateRequest) (*Joined, error) {
	j, err := join(ctx, cfg, by, reqs)
	if err := errors.Join(err, cfg.closeBackend()); err != nil {
		return nil, err
	}
	return j, nil
}

func join(ctx context.Context, cfg Config, by string, reqs []CertificateRequest) (*Joined, error) {
	if err := cfg.validateVault(); err != nil {
		return nil, fmt.Errorf("server config: %w", err)
	}
	if !slices.Contains(cfg.Operators, by) {
		return nil, fmt.Errorf("%q is not an operator of this vault", by)
	}
	cfg.Enroll = true
	core, err := openCore(ctx, cfg, authority.Watcher{}, 0)
	if err != nil {
		return nil, err
	}
	j, err := admit(ctx, core, by, reqs)
	if err := errors.Join(err, core.Close()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNodeLeft, err)
	}
	return j, nil
}

// admit issues the certificates of a node that was made known.
func admit(ctx context.Context, core *authority.Authority, by string, reqs []CertificateRequest) (*Joined, error) {
	operator := policy.Principal{Kind: policy.PrincipalMTLS, ID: by, Peer: "local, no server running"}
	request := func() authority.Request { return authority.Request{ID: uuid.Must(uuid.NewV7()).String()} }
	status, err := core.System.Status(ctx, operator, request())
	if err != nil {
		return nil, err
	}
	j := &Joined{VaultID: status.VaultID, LogOrigin: status.Log.Origin, LogKey: status.Log.VerifierKey}
	for _, req := range reqs {
		issued, err := core.System.IssueCertificate(ctx, operator, authority.CertificateRequest{
			Request: request(), CSR: req.CSR, URI: req.URI, Hosts: req.Hosts, TTL: req.TTL,
		})
		if err != nil {
			return nil, err
		}
		j.Certificates = append(j.Certificates, Certificate(issued))
	}
	return j, nil
}
