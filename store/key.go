package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// State is where a key version stands.
type State string

// The states of a key version. Revoked and what follows it are never left
// backwards.
const (
	// StatePending is imported and not used yet.
	StatePending State = "pending"
	// StateActive is the one that mints. A key has at most one.
	StateActive State = "active"
	// StateDisabled was active once, and another took its place.
	StateDisabled State = "disabled"
	// StateRevoked never mints again.
	StateRevoked State = "revoked"
	// StateDestroyScheduled is revoked, and its key bytes will be destroyed.
	StateDestroyScheduled State = "destroy-scheduled"
	// StateDestroyed has no key bytes any more.
	StateDestroyed State = "destroyed"
)

// Over says that the state is revoked or beyond: it never signs again.
func (s State) Over() bool {
	return s == StateRevoked || s == StateDestroyScheduled || s == StateDestroyed
}

func (s State) valid() bool {
	switch s {
	case StatePending, StateActive, StateDisabled, StateRevoked, StateDestroyScheduled, StateDestroyed:
		return true
	}
	return false
}

// What a transition answers when it is not allowed.
var (
	// ErrNoVersion says that the key has no version of that number.
	ErrNoVersion = errors.New("the key has no such version")
	// ErrVersionOver says that the version is revoked, or beyond, and stays so.
	ErrVersionOver = errors.New("the version is revoked")
)

// Key is our named key: what is known of it, but not its bytes. Kind and
// Attributes are opaque here.
//
// A Key is a value, and its slices and maps are shared with the snapshot it
// came from: they are read, never written. The methods that change something
// return a new Key and leave the old one as it was.
type Key struct {
	Name       string            `json:"name"`
	Kind       string            `json:"kind"`
	Attributes map[string]string `json:"attributes,omitempty"`
	// Disabled turns the whole key off, and back on, without touching versions.
	Disabled bool `json:"disabled,omitempty"`
	// Active is the number of the active version, 0 when there is none.
	Active int `json:"active,omitempty"`
	// Versions are in order: Versions[i].Number is i+1.
	Versions []KeyVersion `json:"versions,omitempty"`
	Created  time.Time    `json:"created"`
}

// KeyVersion is one imported key, never renumbered.
type KeyVersion struct {
	Number int    `json:"number"`
	State  State  `json:"state"`
	KeyID  string `json:"key_id"`
	// Fingerprint is "sha256:" and the SHA-256 of the SPKI DER in hexadecimal.
	Fingerprint string            `json:"fingerprint"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	Created     time.Time         `json:"created"`
	// Activated is when it was last made active, zero if never.
	Activated time.Time `json:"activated,omitzero"`
	// Revoked is when it was revoked, zero while it is not.
	Revoked time.Time `json:"revoked,omitzero"`
}

// Version returns version n.
func (k Key) Version(n int) (KeyVersion, bool) {
	if n < 1 || n > len(k.Versions) {
		return KeyVersion{}, false
	}
	return k.Versions[n-1], true
}

// ActiveVersion returns the version that mints, whether or not the key is
// disabled.
func (k Key) ActiveVersion() (KeyVersion, bool) { return k.Version(k.Active) }

// Equal says whether both are the same in every field.
func (k Key) Equal(o Key) bool {
	return k.Name == o.Name && k.Kind == o.Kind && maps.Equal(k.Attributes, o.Attributes) &&
		k.Disabled == o.Disabled && k.Active == o.Active && k.Created.Equal(o.Created) &&
		slices.EqualFunc(k.Versions, o.Versions, KeyVersion.Equal)
}

// Equal says whether both are the same in every field.
func (v KeyVersion) Equal(o KeyVersion) bool {
	return v.Number == o.Number && v.State == o.State && v.KeyID == o.KeyID && v.Fingerprint == o.Fingerprint &&
		maps.Equal(v.Attributes, o.Attributes) && v.Created.Equal(o.Created) &&
		v.Activated.Equal(o.Activated) && v.Revoked.Equal(o.Revoked)
}

// clone copies everything that could be written through.
func (k Key) clone() Key {
	k.Attributes = maps.Clone(k.Attributes)
	k.Versions = slices.Clone(k.Versions)
	for i := range k.Versions {
		k.Versions[i].Attributes = maps.Clone(k.Versions[i].Attributes)
	}
	return k
}

// AddVersion returns the key with v as its next version. Number and state are
// given here: the first version of a key is active at once, later ones are
// pending until they are activated, whatever became of the others.
func (k Key) AddVersion(v KeyVersion) Key {
	n := k.clone()
	v.Attributes = maps.Clone(v.Attributes)
	v.Number, v.State, v.Activated, v.Revoked = len(n.Versions)+1, StatePending, time.Time{}, time.Time{}
	if v.Number == 1 {
		v.State, v.Activated = StateActive, v.Created
		n.Active = 1
	}
	n.Versions = append(n.Versions, v)
	return n
}

// Activate returns the key with version n active and the one that was active
// disabled. Activating the active version changes nothing. A version that is
// revoked, or beyond, is refused with ErrVersionOver.
func (k Key) Activate(n int, now time.Time) (Key, error) {
	v, ok := k.Version(n)
	switch {
	case !ok:
		return k, fmt.Errorf("activating version %d of %s: %w", n, k.Name, ErrNoVersion)
	case v.State.Over():
		return k, fmt.Errorf("activating version %d of %s, which is %s: %w", n, k.Name, v.State, ErrVersionOver)
	case v.State == StateActive:
		return k, nil
	}
	c := k.clone()
	if c.Active != 0 {
		c.Versions[c.Active-1].State = StateDisabled
	}
	c.Versions[n-1].State, c.Versions[n-1].Activated = StateActive, now
	c.Active = n
	return c, nil
}

// Disable returns the key turned off. It may be repeated.
func (k Key) Disable() Key {
	k.Disabled = true
	return k
}

// Enable returns the key turned on. It may be repeated, and it brings no
// version back.
func (k Key) Enable() Key {
	k.Disabled = false
	return k
}

// Revoke returns the key with version n revoked, or with every version revoked
// when n is 0. It never activates another. Versions that are revoked or beyond
// stay as they are, so that it may be repeated.
func (k Key) Revoke(n int, now time.Time) (Key, error) {
	if _, ok := k.Version(n); !ok && n != 0 {
		return k, fmt.Errorf("revoking version %d of %s: %w", n, k.Name, ErrNoVersion)
	}
	c := k.clone()
	for i := range c.Versions {
		v := &c.Versions[i]
		if n != 0 && v.Number != n || v.State.Over() {
			continue
		}
		v.State, v.Revoked = StateRevoked, now
		if c.Active == v.Number {
			c.Active = 0
		}
	}
	return c, nil
}
