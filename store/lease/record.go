package lease

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/p8signet/signet/store"
)

// record is what a lease says, as JSON.
type record struct {
	Schema      int    `json:"v"`
	Node        string `json:"node"`
	Incarnation string `json:"incarnation"`
	// Sequence counts its renewals, from 1; a fence keeps that of the record that it overwrites.
	Sequence uint64 `json:"sequence"`
	// Lineage and Revision are of the root on which the member mints.
	Lineage  string `json:"lineage"`
	Revision uint64 `json:"revision"`
	// Renewed is the member's clock at its last renewal. Nothing depends on it.
	Renewed time.Time `json:"renewed"`
	// Fence says who has ended the lease.
	Fence *fence `json:"fence,omitempty"`
}

type fence struct {
	Node        string `json:"node"`
	Incarnation string `json:"incarnation,omitempty"` // of who is a member
}

const namePrefix = "lease."

func name(incarnation string) string { return namePrefix + incarnation }

func (r *record) marshal() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("writing a lease: %w", err)
	}
	return b, nil
}

// parse reads a lease of a member. It has been authenticated.
func parse(body []byte, m store.Member) (*record, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	r := &record{}
	if err := d.Decode(r); err != nil {
		return nil, errors.New("a lease is not one")
	}
	if r.Schema != 1 || r.Node != m.Node || r.Incarnation != m.Incarnation {
		return nil, errors.New("a lease is not that of its member, or of a later format")
	}
	return r, nil
}

// has says whether the member has adopted a root. One of another lineage says nothing of it.
func (r *record) has(root store.RootID) bool {
	return r.Fence == nil && r.Lineage == root.Lineage && r.Revision >= root.Revision
}
