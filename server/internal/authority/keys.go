package authority

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
)

// Keys keeps keys and their versions.
type Keys struct {
	*changer
	signer *logSigner // of recipients
}

// Key is a key as its readers see it.
type Key struct {
	store.Key
	// Facts are those of all its versions; the key IDs are the versions'.
	Facts apple.Facts
	// Incomplete says why nothing can be minted before facts are added; empty when none is missing.
	Incomplete string
	// Problem says why a damaged key is refused; empty otherwise. Of a damaged key only the name is known.
	Problem string
	// Twins are the other names that a version's key has in the vault, by number of the version; nil when none has any.
	Twins map[int]Twins
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

// Revoked is a key that has been revoked, whole or in part, and what is still out there.
type Revoked struct {
	Key      Key
	Exposure Exposure
	// Warnings say under which other names the same key was not revoked.
	Warnings []string
}

// ListKeysRequest asks for a page of keys.
type ListKeysRequest struct {
	Request
	// After is the last name of the page before; empty for the first page.
	After policy.KeyName
	// Limit is the most that are answered; it must be above 0.
	Limit int
}

// List answers the keys that the caller may read, by name, and whether there are more. Damaged keys are among them.
func (k *Keys) List(ctx context.Context, p policy.Principal, req ListKeysRequest) ([]Key, bool, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.KeyRead}}
	found, err := answered(ctx, &k.core, p, want, func(call *call) (page[Key], error) {
		var found page[Key]
		readable := call.state.policy.Readable(p)
		for name := range call.state.names(string(req.After)) {
			if !readable.Contains(policy.KeyName(name)) {
				continue
			}
			if found.more = len(found.items) == req.Limit; found.more {
				break
			}
			key, _ := call.state.view(policy.KeyName(name), readable)
			found.items = append(found.items, key)
		}
		return found, nil
	})
	return found.items, found.more, err
}

// page is a page of what is listed, and whether there is more.
type page[T any] struct {
	items []T
	more  bool
}

// Get answers one key.
func (k *Keys) Get(ctx context.Context, p policy.Principal, req KeyRequest) (Key, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.KeyRead, Key: req.Name}}
	return answered(ctx, &k.core, p, want, func(call *call) (Key, error) {
		key, ok := call.state.viewFor(p, req.Name)
		if !ok {
			return Key{}, noSuchKey()
		}
		return key, nil
	})
}

// Activate makes a version the one that mints. One of which facts are missing is refused.
func (k *Keys) Activate(ctx context.Context, p policy.Principal, req KeyRequest) (Key, error) {
	return k.move(ctx, p, policy.KeyActivate, req, func(key store.Key, now time.Time) (store.Key, error) {
		after, err := key.Activate(req.Version, now)
		if why := incomplete(after); err == nil && why != "" {
			return key, &Error{
				Kind: ErrPrecondition, Reason: ReasonKeyUnfit,
				Public: "nothing could be minted with that version: " + why + "; add it with signet key update, then activate it",
			}
		}
		return after, err
	})
}

// Disable stops a key until Enable. A mint that begins after it has returned nil does not use the key.
func (k *Keys) Disable(ctx context.Context, p policy.Principal, req KeyRequest) (Key, error) {
	req.Version = 0
	return k.move(ctx, p, policy.KeyDisable, req, func(key store.Key, _ time.Time) (store.Key, error) {
		return key.Disable(), nil
	})
}

// Enable takes Disable back. A key that has nothing but revoked versions is not one that can be enabled.
func (k *Keys) Enable(ctx context.Context, p policy.Principal, req KeyRequest) (Key, error) {
	req.Version = 0
	return k.move(ctx, p, policy.KeyEnable, req, func(key store.Key, _ time.Time) (store.Key, error) {
		if !slices.ContainsFunc(key.Versions, func(v store.KeyVersion) bool { return !v.State.Over() }) {
			return key, store.ErrVersionOver
		}
		return key.Enable(), nil
	})
}

// Revoke ends a key, or one version of it, for good, and says what is still out there. A mint that begins after it
// has returned nil does not use what was revoked. It never activates another version. It ends this name's use of the
// key, not that of a twin, which may be another team's: that the key lives on there is in the warnings.
func (k *Keys) Revoke(ctx context.Context, p policy.Principal, req KeyRequest) (Revoked, error) {
	key, err := k.move(ctx, p, policy.KeyRevoke, req, func(key store.Key, now time.Time) (store.Key, error) {
		return key.Revoke(req.Version, now)
	})
	if err != nil {
		return Revoked{}, err
	}
	return Revoked{Key: key, Exposure: exposureOf(ctx, &k.core, key, req.Version), Warnings: liveOn(key, req.Version)}, nil
}

// move is the change of one key's states, by one of the store's pure transitions.
func (k *Keys) move(ctx context.Context, p policy.Principal, action policy.Action, req KeyRequest, to func(store.Key, time.Time) (store.Key, error)) (Key, error) {
	want := ask{
		id:      req.ID,
		want:    policy.Request{Action: action, Key: req.Name},
		options: audit.AppendOptions{Privileged: action == policy.KeyDisable || action == policy.KeyRevoke},
	}
	err := k.change(ctx, p, want, func(call *call, tx *store.Tx) error {
		if err := justify(&call.entry, req.Reason); err != nil {
			return err
		}
		before, ok := tx.Key(string(req.Name))
		if !ok {
			return absent(call.state, req.Name)
		}
		after, err := to(before, k.stamp())
		switch {
		case errors.Is(err, store.ErrNoVersion):
			return noSuchVersion(err)
		case errors.Is(err, store.ErrVersionOver):
			return &Error{Kind: ErrPrecondition, Reason: ReasonKeyRevoked, Public: "what was revoked stays so; import a new key of Apple's as a new version, and activate it", cause: err}
		case err != nil:
			return err
		}
		if version, ok := after.Version(req.Version); ok {
			nameVersion(&call.entry, version)
		}
		if after.Equal(before) {
			return errMade
		}
		return storeMistake(tx.PutKey(after))
	})
	if err != nil {
		return Key{}, err
	}
	key, _ := k.state.Load().viewFor(p, req.Name)
	return key, nil
}

// nameVersion says in an entry of which version of its key it is.
func nameVersion(e *auditlog.Entry, v store.KeyVersion) {
	e.Version, e.KeyID, e.Fingerprint = v.Number, v.KeyID, v.Fingerprint
}

// justify puts what the caller gives as a reason into the entry, unless it looks like a key: then it is not written
// anywhere.
func justify(e *auditlog.Entry, reason string) error {
	if auditlog.LooksLikeKey(reason) {
		return malformed("the reason looks like a private key; it was not recorded, but a key that was pasted must be taken for leaked")
	}
	e.Justification = reason
	return nil
}

func noSuchKey() *Error {
	return &Error{Kind: ErrNotFound, Reason: ReasonNotFound, Public: "there is no key of that name"}
}

func noSuchVersion(cause error) *Error {
	return &Error{Kind: ErrNotFound, Reason: ReasonNotFound, Public: "the key has no version of that number", cause: cause}
}

// absent says why a key that is not in the snapshot is not.
func absent(s *state, name policy.KeyName) error {
	if err := s.snap.Damaged(string(name)); err != nil {
		return storeError(err)
	}
	return noSuchKey()
}

// storeMistake marks an error of composing a change: a mistake of ours, never the caller's.
func storeMistake(err error) error {
	if err == nil || errors.Is(err, store.ErrClosed) {
		return storeError(err)
	}
	return err
}
