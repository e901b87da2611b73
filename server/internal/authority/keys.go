package authority

import (
	"context"
	"time"

	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
)

// Key is a key as its readers see it.
type Key struct {
	store.Key
	// Issuer is Apple's issuer id; empty for an individual key.
	Issuer apple.IssuerID
	// Problem says why a damaged key is refused; empty otherwise. Of a damaged key only the name is known.
	Problem string
}

// KeyRequest names a key and, for Activate and Revoke, a version of it.
type KeyRequest struct {
	Request
	Name policy.KeyName
	// Version is the one to activate or to revoke; revoking 0 revokes all. The other methods ignore it.
	Version int
	// Reason is for the log: Disable, Enable, Revoke.
	Reason string
}

// ListKeysRequest asks for a page of keys.
type ListKeysRequest struct {
	Request
	// After is the last name of the page before; empty for the first page.
	After policy.KeyName
	// Limit is the most that are answered; it must be above 0.
	Limit int
}

// ImportRequest carries a sealed key.
type ImportRequest struct {
	Request
	Name policy.KeyName
	// Sealed is the file as proto/sealed makes it.
	Sealed []byte
	// Facts are the caller's; what is empty is taken from the sealed file, what differs from it is refused.
	Facts apple.Facts
}

// Imported is a key with its new version.
type Imported struct {
	Key     Key
	Version int
	// Warnings say what was odd about the key, and accepted.
	Warnings []string
}

// Recipient is the public half to which imports are sealed.
type Recipient struct {
	// Note is signed by the log key.
	Note []byte
	ID   string
	// Expires is when its private half is destroyed.
	Expires time.Time
}

// Recipient answers the current recipient, and makes a new one when the last is too old.
func (k *Keys) Recipient(ctx context.Context, p policy.Principal, req Request) (Recipient, error) {
	panic("being written")
}

// Import opens a sealed key and adds it as a version. The first version of a key becomes active, later ones wait.
func (k *Keys) Import(ctx context.Context, p policy.Principal, req ImportRequest) (Imported, error) {
	panic("being written")
}

// List answers the keys that the caller may read, by name, and whether there are more.
func (k *Keys) List(ctx context.Context, p policy.Principal, req ListKeysRequest) ([]Key, bool, error) {
	panic("being written")
}

// Get answers one key.
func (k *Keys) Get(ctx context.Context, p policy.Principal, req KeyRequest) (Key, error) {
	panic("being written")
}

// Activate makes a version the one that mints.
func (k *Keys) Activate(ctx context.Context, p policy.Principal, req KeyRequest) (Key, error) {
	panic("being written")
}

// Disable stops a key until Enable. A mint that begins after it has returned nil does not use the key.
func (k *Keys) Disable(ctx context.Context, p policy.Principal, req KeyRequest) (Key, error) {
	panic("being written")
}

// Enable takes Disable back.
func (k *Keys) Enable(ctx context.Context, p policy.Principal, req KeyRequest) (Key, error) {
	panic("being written")
}

// Revoke ends a key, or one version of it, for good, and says what is still out there.
func (k *Keys) Revoke(ctx context.Context, p policy.Principal, req KeyRequest) (Key, Exposure, error) {
	panic("being written")
}
