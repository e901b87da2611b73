package authority

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"slices"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
)

// UpdateRequest says what is known of a key.
type UpdateRequest struct {
	Request
	Name policy.KeyName
	// Set are the facts to set, to what they are in Facts; the others stay. What is empty in Facts is cleared.
	Set   []FactName
	Facts apple.Facts
	// Version is the one that the key ID is of; the newest when 0.
	Version int
	// Reason is for the log.
	Reason string
}

// Update sets facts of a key: those that Apple lets people change, and those that a key lacks which was made here. A profile that
// the key does not fit any more mints nothing from then on. Setting what is so already changes nothing.
func (k *Keys) Update(ctx context.Context, p policy.Principal, req UpdateRequest) (Key, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.KeyUpdate, Key: req.Name}}
	err := k.change(ctx, p, want, func(call *call, tx *store.Tx) error {
		if err := justify(&call.entry, req.Reason); err != nil {
			return err
		}
		before, ok := tx.Key(string(req.Name))
		if !ok {
			return absent(call.state, req.Name)
		}
		number, err := req.version(before)
		if err != nil {
			return err
		}
		after, values, err := req.apply(before, number)
		if err != nil {
			return err
		}
		call.entry.Requested = &auditlog.Requested{Values: values}
		if version, ok := after.Version(number); ok && slices.Contains(req.Set, FactKeyID) {
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

// version is the number of the version that the request is of: the newest, or, of those to which a key ID can be added, the only one.
// With several it is not guessed: an ID on the wrong one would stay.
func (r UpdateRequest) version(key store.Key) (int, error) {
	if r.Version != 0 || !slices.Contains(r.Set, FactKeyID) {
		return cmp.Or(r.Version, len(key.Versions)), nil
	}
	number := 0
	for _, v := range key.Versions {
		switch {
		case v.KeyID != "" || v.State.Over():
		case number != 0:
			return 0, malformed("version: several versions of the key have no key ID: say which one it is of")
		default:
			number = v.Number
		}
	}
	return cmp.Or(number, len(key.Versions)), nil
}

// apply is the key with the facts set, the key ID in one version, and what an entry says of them.
func (r UpdateRequest) apply(key store.Key, number int) (store.Key, map[string]string, error) {
	version, ok := key.Version(number)
	if !ok {
		return key, nil, noSuchVersion(nil)
	}
	before := versionFacts(key, version)
	after, set := before, []fact(nil)
	for _, one := range facts {
		if !slices.Contains(r.Set, one.name) {
			continue
		}
		if one.once {
			if err := setOnce(one.name, one.text(before), one.text(r.Facts)); err != nil {
				return key, nil, err
			}
		}
		one.set(&after, r.Facts)
		set = append(set, one)
	}
	values := factValues(set, after)
	if slices.Contains(r.Set, FactKeyID) {
		if err := setOnce(FactKeyID, string(before.KeyID), string(r.Facts.KeyID)); err != nil {
			return key, nil, err
		}
		if slices.ContainsFunc(key.Versions, func(v store.KeyVersion) bool { return v.Number != number && v.KeyID == string(r.Facts.KeyID) }) {
			return key, nil, &Error{
				Kind: ErrExists, Reason: ReasonExists,
				Public: "key_id: another version of the key has this one: every key has its own at Apple; say of which version it is",
			}
		}
		after.KeyID = r.Facts.KeyID
		values[string(FactKeyID)] = string(after.KeyID)
	}
	if len(after.Services) == 0 && len(before.Services) > 0 {
		return key, nil, malformed("services: a key of the developer portal is enabled for one at least; disable the key here when it is to mint nothing")
	}
	if err := after.ValidateKnown(); err != nil {
		return key, nil, malformed(err.Error())
	}
	key.Attributes = attributes(after)
	key.Versions = slices.Clone(key.Versions)
	key.Versions[number-1].KeyID = string(after.KeyID)
	return key, values, nil
}

// setOnce refuses to clear or to change a fact that stays.
func setOnce(name FactName, before, after string) error {
	switch {
	case after == "":
		return malformed(string(name) + ": it can be added where it is missing, and not be cleared")
	case before != "" && before != after:
		return &Error{
			Kind: ErrExists, Reason: ReasonExists,
			Public: string(name) + ": the key has another one, which stays: another one is another key of Apple's; add that one under another name, or as a new version",
		}
	}
	return nil
}

// PublicKey is the public half of a version.
type PublicKey struct {
	Version     int
	Fingerprint string
	Public      *ecdsa.PublicKey
}

// Public answers the public half of a version: of the newest that is not revoked when the request names none.
func (k *Keys) Public(ctx context.Context, p policy.Principal, req KeyRequest) (PublicKey, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.KeyRead, Key: req.Name}}
	return answered(ctx, &k.core, p, want, func(call *call) (PublicKey, error) {
		key, ok := call.state.snap.Key(string(req.Name))
		if !ok {
			return PublicKey{}, absent(call.state, req.Name)
		}
		version, ok := key.Version(req.Version)
		if req.Version == 0 {
			version, ok = newest(key)
		}
		if !ok {
			return PublicKey{}, noSuchVersion(nil)
		}
		nameVersion(&call.entry, version)
		public, err := k.store.PublicKey(ctx, call.state.snap, key.Name, version.Number)
		if err != nil {
			return PublicKey{}, storeError(err)
		}
		return PublicKey{Version: version.Number, Fingerprint: version.Fingerprint, Public: public}, nil
	})
}

// newest is the newest version of a key that is not over.
func newest(key store.Key) (store.KeyVersion, bool) {
	for _, v := range slices.Backward(key.Versions) {
		if !v.State.Over() {
			return v, true
		}
	}
	return store.KeyVersion{}, false
}
