package authority

import (
	"context"
	"errors"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/envelope"
)

// A recipient lives for a month, and is handed out for the first half of it, so that whoever gets one has two weeks.
const (
	recipientLife  = 30 * 24 * time.Hour
	recipientFresh = 15 * 24 * time.Hour
)

// Recipient is the public half to which imports are sealed.
type Recipient struct {
	// Note is signed by the log key.
	Note []byte
	ID   string
	// Expires is when its private half is destroyed.
	Expires time.Time
}

// ImportRequest carries a sealed key.
type ImportRequest struct {
	Request
	Name policy.KeyName
	// Sealed is the file as proto/sealed makes it.
	Sealed []byte
	// Facts are the caller's; what is empty is taken from the sealed file, what differs from it is refused.
	Facts apple.Facts
	// Twin is a key that the caller knows to be this very key, and wants under a second name; empty for a new one.
	Twin policy.KeyName
}

// Imported is a key with its new version.
type Imported struct {
	Key     Key
	Version int
	// Warnings say what was odd about the key, and accepted.
	Warnings []string
}

// Recipient answers the current recipient, and makes a new one when there is none that lives long enough.
func (k *Keys) Recipient(ctx context.Context, p policy.Principal, req Request) (Recipient, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.KeyImport}}
	found, err := freshRecipient(k.state.Load().snap, k.now())
	if err == nil {
		_, err = k.answer(ctx, p, want, func(*call) error { return nil })
	} else {
		err = k.change(ctx, p, want, func(call *call, tx *store.Tx) error {
			if found, err = freshRecipient(call.state.snap, k.now()); err == nil {
				return errMade
			}
			private, err := sealed.NewPrivate(call.state.snap.Vault(), k.now().Add(recipientLife).UTC().Truncate(time.Second))
			if err != nil {
				return err
			}
			defer private.Wipe()
			found = private.Recipient()
			return storeMistake(tx.PutRecipient(private))
		})
	}
	if err != nil {
		return Recipient{}, err
	}
	found.Log = k.signer.vkey
	text, err := found.MarshalNote(k.signer)
	if err != nil {
		return Recipient{}, err
	}
	return Recipient{Note: text, ID: found.ID, Expires: found.Expires}, nil
}

// freshRecipient is the recipient of a snapshot that lives longest, if that is long enough to hand it out.
func freshRecipient(snap *store.Snapshot, now time.Time) (sealed.Recipient, error) {
	var longest sealed.Recipient
	for _, r := range snap.Recipients() {
		if r.Expires.After(longest.Expires) {
			longest = r
		}
	}
	if longest.Expires.Sub(now) < recipientLife-recipientFresh {
		return sealed.Recipient{}, store.ErrNotFound
	}
	return longest, nil
}

// expireRecipients destroys the private halves of recipients whose time is over.
func (c *changer) expireRecipients(ctx context.Context) error {
	tx := c.store.Begin()
	if c.state.Load().stop != nil || len(tx.DropExpiredRecipients(c.now())) == 0 {
		return nil
	}
	e := auditlog.Entry{Action: string(actionExpire), Justification: "import recipients past their expiry"}
	return c.commit(ctx, tx, e, audit.AppendOptions{})
}

// GenerateRequest names a key that is to be made.
type GenerateRequest struct {
	Request
	Name policy.KeyName
	// Facts are what is known of it already. Their kind must be one that the customer makes.
	Facts apple.Facts
}

// Generated is a key with its new version, which was made here.
type Generated struct {
	Key    Key
	Public PublicKey
}

// Import opens a sealed key and adds it as a version. The first version of a key becomes active, later ones wait for
// Activate. Nothing of the key is kept outside the store, and no error says anything of it.
func (k *Keys) Import(ctx context.Context, p policy.Principal, req ImportRequest) (Imported, error) {
	var done Imported
	want := ask{id: req.ID, want: policy.Request{Action: policy.KeyImport, Key: req.Name}}
	err := k.change(ctx, p, want, func(call *call, tx *store.Tx) (err error) {
		envelope.Secret(func() { done, err = k.accept(ctx, call, tx, req) })
		return err
	})
	if err != nil {
		return Imported{}, err
	}
	done.Key, _ = k.state.Load().viewFor(p, req.Name)
	return done, nil
}

// Generate makes a key and adds it as a version, as Import does. Only the public half of it ever leaves the store. A token of it is
// minted when all facts are known, which Update adds.
func (k *Keys) Generate(ctx context.Context, p policy.Principal, req GenerateRequest) (Generated, error) {
	var done Generated
	want := ask{id: req.ID, want: policy.Request{Action: policy.KeyImport, Key: req.Name}}
	err := k.change(ctx, p, want, func(call *call, tx *store.Tx) (err error) {
		envelope.Secret(func() { done.Public, err = k.generate(call, tx, req) })
		return err
	})
	if err != nil {
		return Generated{}, err
	}
	done.Key, _ = k.state.Load().viewFor(p, req.Name)
	return done, nil
}

// generate is Generate within its change.
func (k *Keys) generate(call *call, tx *store.Tx, req GenerateRequest) (PublicKey, error) {
	facts, err := inherit(call.state, req.Name, req.Facts)
	if err != nil {
		return PublicKey{}, err
	}
	if err := facts.ValidateKnown(); err != nil {
		return PublicKey{}, malformed(err.Error())
	}
	if !facts.Kind.Customer() {
		return PublicKey{}, malformed("keys of this kind are made by Apple and downloaded there; import the file. Made here are those of the kinds apple-ads and marketplace")
	}
	key, err := apple.GenerateKey()
	if err != nil {
		return PublicKey{}, err
	}
	defer key.Wipe()
	if err := key.SelfTest(); err != nil {
		return PublicKey{}, err
	}
	version, err := k.admit(call, tx, ImportRequest{Name: req.Name}, facts, key)
	if err != nil {
		return PublicKey{}, err
	}
	describeVersion(&call.entry, version, facts)
	call.entry.Justification = "made here"
	return PublicKey{Version: version.Number, Fingerprint: version.Fingerprint, Public: key.Public()}, nil
}

// inherit adds the facts that a key has to those of a version that is to be added.
func inherit(s *state, name policy.KeyName, facts apple.Facts) (apple.Facts, error) {
	here, ok := s.snap.Key(string(name))
	if !ok {
		return facts, nil
	}
	all, differs := facts.Complete(factsOf(here))
	if differs == "" { // what the key has not, it does not get by the way: that is an update, and another permission
		if more := changed(factsOf(here), all); len(more) > 0 {
			differs = string(more[0].name)
		}
	}
	if differs != "" {
		return apple.Facts{}, &Error{
			Kind: ErrPrecondition, Reason: ReasonSealMismatch,
			Public: "a version must have the facts of its key, and these differ: " + differs + "; add this one under another name, or, when it is so at Apple, say so with signet key update first",
		}
	}
	return all, nil
}

// accept is Import within its change. With generate it is the one place where a key is at hand outside the store.
func (k *Keys) accept(ctx context.Context, call *call, tx *store.Tx, req ImportRequest) (Imported, error) {
	pkcs8, facts, err := k.unseal(ctx, call.state, req)
	if err != nil {
		return Imported{}, err
	}
	defer clear(pkcs8)
	if facts, err = inherit(call.state, req.Name, facts); err != nil {
		return Imported{}, err
	}
	if err := facts.Validate(); err != nil {
		return Imported{}, malformed(err.Error())
	}
	key, err := apple.ParseKey(pkcs8)
	if err != nil {
		return Imported{}, malformed("the sealed file holds no key that can be used: " + err.Error())
	}
	defer key.Wipe()
	if err := key.SelfTest(); err != nil {
		return Imported{}, malformed("the sealed file holds no key that can be used: " + err.Error())
	}
	warnings, err := admissible(call, req, facts, key)
	if err != nil {
		return Imported{}, err
	}
	version, err := k.admit(call, tx, req, facts, key)
	if err != nil {
		return Imported{}, err
	}
	done := Imported{Version: version.Number, Warnings: append(key.Notes(), warnings...)}
	if odd := facts.Unusual(); odd != "" {
		done.Warnings = append(done.Warnings, odd)
	}
	describeVersion(&call.entry, version, facts)
	if req.Twin != "" {
		call.entry.Justification = "a duplicate of " + string(req.Twin) + ", which the caller allowed"
	}
	return done, nil
}

// unseal opens the sealed file and settles what is known of its key: the caller may add facts, not change them. The
// caller of unseal wipes the key.
func (k *Keys) unseal(ctx context.Context, s *state, req ImportRequest) ([]byte, apple.Facts, error) {
	header, err := sealed.ParseHeader(req.Sealed)
	if err != nil {
		return nil, apple.Facts{}, malformed("this is not a sealed key file; make one with signet key seal")
	}
	if header.Vault != s.snap.Vault() {
		return nil, apple.Facts{}, sealError(sealed.ErrOtherVault)
	}
	if !k.now().Before(header.Expires) {
		return nil, apple.Facts{}, sealError(sealed.ErrExpired)
	}
	var pkcs8 []byte
	var said sealed.Facts
	err = k.store.OpenImport(ctx, header.Recipient, func(private *sealed.Private) error {
		var err error
		pkcs8, said, err = sealed.Open(private, req.Sealed, k.now())
		return err
	})
	if err != nil {
		return nil, apple.Facts{}, sealError(err)
	}
	facts, err := agree(req, said)
	if err != nil {
		clear(pkcs8)
		return nil, apple.Facts{}, err
	}
	return pkcs8, facts, nil
}

// describeVersion adds to an entry which version was added, and with which facts.
func describeVersion(e *auditlog.Entry, v store.KeyVersion, f apple.Facts) {
	nameVersion(e, v)
	e.Requested = &auditlog.Requested{Values: factValues(changed(apple.Facts{}, f), f)}
}

// agree settles the facts of a key by what was sealed with it and what the caller says.
func agree(req ImportRequest, said sealed.Facts) (apple.Facts, error) {
	differs := func(what string) error {
		return &Error{Kind: ErrMalformed, Reason: ReasonSealMismatch, Public: "the " + what + " is not the one that was sealed with the key; leave it out, or seal the key again"}
	}
	if said.Name != "" && said.Name != string(req.Name) {
		return apple.Facts{}, differs("name")
	}
	sealed, err := apple.ParseFacts(apple.FactTexts{
		Kind: said.Kind, KeyID: said.KeyID, Issuer: said.Issuer, Team: said.Team, Client: said.Client, App: said.App,
		Environment: said.Environment, Services: split[string](said.Services), Topics: split[string](said.Topics), Roles: split[string](said.Roles),
	})
	if err != nil {
		return apple.Facts{}, malformed(err.Error())
	}
	facts, different := req.Facts.Complete(sealed)
	if different != "" {
		return apple.Facts{}, differs(different)
	}
	return facts, nil
}

// admit puts a key that has proved itself, and is admissible, into the change, as a new version of its name.
func (k *Keys) admit(call *call, tx *store.Tx, req ImportRequest, facts apple.Facts, key *apple.Key) (store.KeyVersion, error) {
	name, now := req.Name, k.stamp()
	_, ok := tx.Key(string(name))
	switch {
	case !ok && call.state.snap.Damaged(string(name)) != nil:
		return store.KeyVersion{}, absent(call.state, name)
	case !ok:
		fresh := store.Key{Name: string(name), Kind: string(facts.Kind), Created: now, Attributes: attributes(facts)}
		if err := tx.PutKey(fresh); err != nil {
			return store.KeyVersion{}, storeMistake(err)
		}
	}
	pkcs8 := key.PKCS8()
	defer clear(pkcs8)
	version := store.KeyVersion{KeyID: string(facts.KeyID), Fingerprint: string(key.Fingerprint()), Created: now}
	var added store.Key
	var err error
	if req.Twin == "" {
		added, err = tx.AddVersion(string(name), version, pkcs8)
	} else {
		added, err = tx.AddTwin(string(name), version, pkcs8, string(req.Twin))
	}
	if err != nil {
		return store.KeyVersion{}, storeMistake(err)
	}
	return added.Versions[len(added.Versions)-1], nil
}

// sealError says why a sealed file did not open.
func sealError(err error) error {
	switch {
	case errors.Is(err, sealed.ErrExpired):
		return &Error{Kind: ErrMalformed, Reason: ReasonSealExpired, Public: "the recipient that the key was sealed to has expired; get a new one and seal the key again", cause: err}
	case errors.Is(err, sealed.ErrOtherVault), errors.Is(err, store.ErrNotFound):
		return &Error{Kind: ErrMalformed, Reason: ReasonSealOtherVault, Public: "the key was sealed to another vault or to a recipient that this one does not know; get the recipient from this vault and seal it again", cause: err}
	case errors.Is(err, sealed.ErrMalformed), errors.Is(err, sealed.ErrNotOpened):
		return malformed("the sealed file does not open: it was cut off or altered; seal the key again")
	default:
		return storeError(err)
	}
}
