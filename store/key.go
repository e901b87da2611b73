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
	Number int   `json:"number"`
	State  State `json:"state"`
	// KeyID is empty for a key that was made here until Apple has given it one; then it stays.
	KeyID string `json:"key_id"`
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

// check says whether the key is one that the transitions could have made.
func (k Key) check() error {
	if !validName(k.Name) {
		return fmt.Errorf("a key name is 1 to 128 characters, letters, digits, '-', '_' and '.' in parts joined by '/': %w", ErrInvalid)
	}
	if k.Active < 0 || k.Active > len(k.Versions) {
		return fmt.Errorf("key %s: the active version is not there: %w", k.Name, ErrInvalid)
	}
	seen := make(map[string]bool, len(k.Versions))
	for i, v := range k.Versions {
		switch {
		case v.Number != i+1:
			return fmt.Errorf("key %s: its versions are not in order: %w", k.Name, ErrInvalid)
		case !v.State.valid():
			return fmt.Errorf("key %s: version %d is in a state that does not exist: %w", k.Name, v.Number, ErrInvalid)
		case (v.State == StateActive) != (v.Number == k.Active):
			return fmt.Errorf("key %s: version %d is %s and %d is said to be active: %w", k.Name, v.Number, v.State, k.Active, ErrInvalid)
		case v.State.Over() == v.Revoked.IsZero():
			return fmt.Errorf("key %s: version %d is %s and its time of revocation says otherwise: %w", k.Name, v.Number, v.State, ErrInvalid)
		case v.Fingerprint == "" || seen[v.Fingerprint]:
			return fmt.Errorf("key %s: version %d has no fingerprint of its own: %w", k.Name, v.Number, ErrInvalid)
		}
		seen[v.Fingerprint] = true
	}
	return nil
}

// successors are the states that may follow one; every state may stay.
var successors = map[State][]State{
	StatePending:          {StateActive, StateRevoked},
	StateActive:           {StateDisabled, StateRevoked},
	StateDisabled:         {StateActive, StateRevoked},
	StateRevoked:          {StateDestroyScheduled, StateDestroyed},
	StateDestroyScheduled: {StateRevoked, StateDestroyed},
	StateDestroyed:        nil,
}

// checkSuccessor says whether k may take the place of old, which has as many
// versions: whatever the caller computed, the store lets no version go back
// from revoked, or become another key.
func (k Key) checkSuccessor(old Key) error {
	if k.Name != old.Name || k.Kind != old.Kind || !k.Created.Equal(old.Created) || len(k.Versions) != len(old.Versions) {
		return fmt.Errorf("key %s: name, kind, time of creation and number of versions stay: %w", old.Name, ErrInvalid)
	}
	for i, o := range old.Versions {
		v := k.Versions[i]
		if v.Fingerprint != o.Fingerprint || v.KeyID != o.KeyID && o.KeyID != "" || !v.Created.Equal(o.Created) {
			return fmt.Errorf("key %s: version %d would become another key: %w", k.Name, o.Number, ErrInvalid)
		}
		if v.State != o.State && !slices.Contains(successors[o.State], v.State) {
			return fmt.Errorf("key %s: version %d is %s and cannot become %s: %w", k.Name, o.Number, o.State, v.State, ErrInvalid)
		}
		if o.State.Over() && !v.Revoked.Equal(o.Revoked) {
			return fmt.Errorf("key %s: version %d was revoked at another time: %w", k.Name, o.Number, ErrInvalid)
		}
	}
	return nil
}
