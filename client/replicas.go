package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// Replica is one address of a client, by itself: every call of it goes there, and fails where that does. It has the client's own
// connection to the address and nothing to close.
type Replica struct {
	*Client
	// Address is that of the configuration; empty where the caller made the connection.
	Address string
}

// Replicas are the client's addresses, each by itself, in the order of the configuration. Every server of a vault has a log of its own
// (Origin), which no other one can read. Two addresses may be of one server. It asks nobody.
func (c *Client) Replicas() []Replica {
	if len(c.addresses) < 2 {
		address := ""
		if len(c.addresses) == 1 {
			address = c.addresses[0]
		}
		return []Replica{{over(c.cc, c.logs), address}}
	}
	var all []Replica
	for _, a := range c.addresses {
		all = append(all, Replica{over(mapped{ClientConnInterface: c.cc.ClientConnInterface, only: a}, c.logs), a})
	}
	return all
}

// Origin asks which log the server writes. Where a key is pinned for its node, the signature under it is verified. Where none is, the
// origin is what the server says, and comes with ErrNoLogKey.
func (c *Client) Origin(ctx context.Context) (auditlog.Origin, error) {
	resp, err := c.GetCheckpoint(ctx, &signetv1.GetCheckpointRequest{})
	if err != nil {
		return auditlog.Origin{}, err
	}
	cp, err := c.logs.open(resp.GetNote())
	if !errors.Is(err, ErrNoLogKey) {
		return cp.Origin, err
	}
	first, _, _ := bytes.Cut(resp.GetNote(), []byte("\n"))
	origin, parseErr := auditlog.ParseOrigin(string(first))
	if parseErr != nil {
		return auditlog.Origin{}, fmt.Errorf("%w: this is not a checkpoint of a log", ErrUnverified)
	}
	return origin, err
}
