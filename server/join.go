package server

import (
	"context"
	"errors"
	"fmt"

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
	known := false
	j := &Joined{}
	err := asOperator(ctx, cfg, by, authority.Config{Enroll: true}, func(core *authority.Authority, operator policy.Principal) error {
		known = true
		return j.fill(ctx, core, operator, reqs)
	})
	switch {
	case err != nil && known:
		return nil, fmt.Errorf("%w: %w", ErrNodeLeft, err)
	case err != nil:
		return nil, err
	}
	return j, nil
}

// fill has the certificates issued of a node that was made known, and says what else it needs.
func (j *Joined) fill(ctx context.Context, core *authority.Authority, operator policy.Principal, reqs []CertificateRequest) error {
	status, err := core.System.Status(ctx, operator, newRequest())
	if err != nil {
		return err
	}
	j.VaultID, j.LogOrigin, j.LogKey = status.VaultID, status.Log.Origin, status.Log.VerifierKey
	for _, req := range reqs {
		issued, err := issue(ctx, core, operator, req)
		if err != nil {
			return err
		}
		j.Certificates = append(j.Certificates, issued)
	}
	return nil
}
