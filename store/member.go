package store

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Member is a replica that may mint, as the root lists it: one start of one node. What a member may do until when is the
// subject of package lease.
type Member struct {
	// Node is the name of its node, Incarnation the id that it drew when it began; nobody else ever has it.
	Node, Incarnation string
	// Bound is how long it may mint after it last renewed its lease, in whole milliseconds: how long a change waits for
	// it when it does not answer.
	Bound time.Duration
}

// The least and the greatest bound that a member may have. One with less would lapse whenever Vault takes a moment longer, one with
// more could keep a revocation waiting for as long.
const (
	MinBound = 2 * time.Second
	MaxBound = 5 * time.Minute
)

// maxMembers is how many a root lists.
const maxMembers = 256

type rootMember struct {
	Node        string `json:"node"`
	Incarnation string `json:"incarnation"`
	Bound       int64  `json:"bound_ms"`
}

func (m rootMember) member() Member {
	return Member{m.Node, m.Incarnation, time.Duration(m.Bound) * time.Millisecond}
}

// CheckBound refuses a bound that a member may not have.
func CheckBound(bound time.Duration) error {
	if bound < MinBound || bound > MaxBound || bound%time.Millisecond != 0 {
		return fmt.Errorf("a replica's bound is from %s to %s, in whole milliseconds: %w", MinBound, MaxBound, ErrInvalid)
	}
	return nil
}

func (b *rootBody) checkMembers() error {
	if len(b.Members) > maxMembers {
		return fmt.Errorf("it has %d members, and at most %d are read", len(b.Members), maxMembers)
	}
	known := map[string]bool{}
	for _, m := range b.Members {
		if !validID(m.Node) || !validID(m.Incarnation) || known[m.Incarnation] {
			return errors.New("a member is not one, or is there twice")
		}
		known[m.Incarnation] = true
		if m.Bound < 0 || m.Bound > int64(MaxBound/time.Millisecond) || CheckBound(m.member().Bound) != nil {
			return fmt.Errorf("member %s of node %s has a bound that is not from %s to %s: a change would wait as long for it", m.Incarnation, m.Node, MinBound, MaxBound)
		}
	}
	return nil
}

// Members lists the replicas that may mint, in the order in which they joined.
func (s *Snapshot) Members() []Member {
	members := make([]Member, len(s.root.Members))
	for i, m := range s.root.Members {
		members[i] = m.member()
	}
	return members
}

// Lists says whether the root lists an incarnation.
func (s *Snapshot) Lists(incarnation string) bool {
	for i := range s.root.Members {
		if s.root.Members[i].Incarnation == incarnation {
			return true
		}
	}
	return false
}

// Join adds a member, beside what the root has of the same node. One that is there already is refused.
func (t *Tx) Join(m Member) error {
	if err := CheckBound(m.Bound); err != nil {
		return fmt.Errorf("joining: %w", err)
	}
	next := rootBody{Members: append(slices.Clip(t.next.Members), rootMember{m.Node, m.Incarnation, m.Bound.Milliseconds()})}
	if err := next.checkMembers(); err != nil {
		return fmt.Errorf("joining: %w: %w", ErrInvalid, err)
	}
	t.next.Members = next.Members
	return nil
}

// Leave removes an incarnation and says whether it was there. The caller knows that it mints no more: that it is the caller's
// own and has stopped, or that it has been fenced and waited out.
func (t *Tx) Leave(incarnation string) bool {
	n := len(t.next.Members)
	t.next.Members = slices.DeleteFunc(slices.Clone(t.next.Members), func(m rootMember) bool { return m.Incarnation == incarnation })
	return len(t.next.Members) < n
}
