package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
)

// recipient is the vault's current recipient, opened as a client does.
func (v *vault) recipient() sealed.Recipient {
	v.t.Helper()
	answer, err := v.Keys.Recipient(v.t.Context(), principal(operatorID), v.request())
	check(v.t, err)
	verifier, err := note.NewVerifier(v.made.LogKey)
	check(v.t, err)
	recipient, err := sealed.ParseRecipient(answer.Note, verifier)
	check(v.t, err)
	if recipient.ID != answer.ID || !recipient.Expires.Equal(answer.Expires) {
		v.t.Errorf("the note is of %s, the answer of %s", recipient.ID, answer.ID)
	}
	return recipient
}

func sealTo(t testing.TB, r sealed.Recipient, pkcs8 []byte, f sealed.Facts) []byte {
	t.Helper()
	file, err := sealed.Seal(r, pkcs8, f)
	check(t, err)
	return file
}

// TestImportRefuses gives every kind of file and facts that is refused: by its own reason, with nothing changed.
func TestImportRefuses(t *testing.T) {
	other := newVault(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	check(t, err)
	wrongCurve, err := x509.MarshalPKCS8PrivateKey(p384)
	check(t, err)

	tests := []struct {
		name   string
		key    string // the name; "new" when empty
		file   func(v *vault, key p8) []byte
		facts  apple.Facts
		kind   error
		reason Reason
	}{
		{name: "no sealed file", file: func(*vault, p8) []byte { return []byte("-----BEGIN PRIVATE KEY-----") }, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "empty", file: func(*vault, p8) []byte { return nil }, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "cut off", file: func(v *vault, key p8) []byte { f := v.seal(key); return f[:len(f)-9] }, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "altered", file: func(v *vault, key p8) []byte { f := v.seal(key); f[len(f)-9] ^= 1; return f }, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "another vault", file: func(_ *vault, key p8) []byte { return other.seal(key) }, kind: ErrMalformed, reason: ReasonSealOtherVault},
		{name: "an unknown recipient", file: func(v *vault, key p8) []byte {
			private, err := sealed.NewPrivate(v.made.VaultID, v.clock.Now().Add(time.Hour).Truncate(time.Second))
			check(v.t, err)
			return sealTo(v.t, private.Recipient(), key.pkcs8, key.facts)
		}, kind: ErrMalformed, reason: ReasonSealOtherVault},
		{name: "expired", file: func(v *vault, key p8) []byte { f := v.seal(key); v.clock.Advance(recipientLife); return f }, kind: ErrMalformed, reason: ReasonSealExpired},
		{name: "expired, and its recipient destroyed", file: func(v *vault, key p8) []byte {
			f := v.seal(key)
			v.clock.Advance(recipientLife)
			v.changer.housekeep(v.t.Context())
			return f
		}, kind: ErrMalformed, reason: ReasonSealExpired},
		{name: "not P-256", file: func(v *vault, key p8) []byte { return sealTo(v.t, v.recipient(), wrongCurve, key.facts) }, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "no key at all", file: func(v *vault, key p8) []byte {
			return sealTo(v.t, v.recipient(), []byte("not a key"), key.facts)
		}, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "other kind than sealed", file: (*vault).seal, facts: apple.Facts{Kind: apple.KindEnterprise}, kind: ErrMalformed, reason: ReasonSealMismatch},
		{name: "other key id than sealed", file: (*vault).seal, facts: apple.Facts{KeyID: "ANOTHERKEY"}, kind: ErrMalformed, reason: ReasonSealMismatch},
		{name: "other issuer than sealed", file: (*vault).seal, facts: apple.Facts{Issuer: "69a6de70-03db-47e3-e053-5b8c7c11a4d1"}, kind: ErrMalformed, reason: ReasonSealMismatch},
		{name: "other name than sealed", file: func(v *vault, key p8) []byte { key.facts.Name = "elsewhere"; return v.seal(key) }, kind: ErrMalformed, reason: ReasonSealMismatch},
		{name: "no kind", file: func(v *vault, key p8) []byte { key.facts.Kind = ""; return v.seal(key) }, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "no issuer for a team key", file: func(v *vault, key p8) []byte { key.facts.Issuer = ""; return v.seal(key) }, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "an issuer for an individual key", file: func(v *vault, key p8) []byte {
			key.facts.Kind = string(apple.KindAppStoreConnectIndividual)
			return v.seal(key)
		}, kind: ErrMalformed, reason: ReasonMalformed},
		{name: "another kind than the key has", key: "asc", file: func(v *vault, key p8) []byte {
			key.facts.Kind = string(apple.KindEnterprise)
			return v.seal(key)
		}, kind: ErrPrecondition, reason: ReasonSealMismatch},
		{name: "another issuer than the key has", key: "asc", file: func(v *vault, key p8) []byte {
			key.facts.Issuer = "69a6de70-03db-47e3-e053-5b8c7c11a4d1"
			return v.seal(key)
		}, kind: ErrPrecondition, reason: ReasonSealMismatch},
		{name: "here already", file: func(v *vault, key p8) []byte {
			_, err := v.tryImport("first", v.seal(key))
			check(v.t, err)
			return v.seal(key)
		}, kind: ErrExists, reason: ReasonKeyKnown},
		{name: "here already, under the same name", key: "first", file: func(v *vault, key p8) []byte {
			_, err := v.tryImport("first", v.seal(key))
			check(v.t, err)
			return v.seal(key)
		}, kind: ErrExists, reason: ReasonKeyKnown},
		{name: "revoked", file: func(v *vault, key p8) []byte {
			_, err := v.tryImport("first", v.seal(key))
			check(v.t, err)
			_, err = v.revoke("first", 0)
			check(v.t, err)
			return v.seal(key)
		}, kind: ErrExists, reason: ReasonKeyKnown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := ready(t)
			key := newP8(t)
			file := tt.file(v, key)
			before := v.changer.store.Snapshot().RootID()
			name := tt.key
			if name == "" {
				name = "new"
			}
			_, err := v.Keys.Import(t.Context(), principal(operatorID), ImportRequest{Request: Request{"the-import"}, Name: policy.KeyName(name), Sealed: file, Facts: tt.facts})
			wantReason(t, err, tt.kind, tt.reason)
			for _, canary := range append(canaries(t, key.pkcs8), "not a key", key.facts.KeyID, key.facts.Issuer) {
				if strings.Contains(err.Error(), canary) {
					t.Errorf("the error repeats what was given: %q", err)
				}
			}
			if after := v.changer.store.Snapshot().RootID(); after != before {
				t.Error("the store has changed")
			}
			if e := v.last(); e.ID != "the-import" || e.Outcome != auditlog.Failed || !strings.HasPrefix(e.Reason, string(tt.reason)) {
				t.Errorf("the entry is %+v", e)
			}
			v.checkInvariants()
		})
	}
}

// TestImportFacts takes facts from the caller where the file has none.
func TestImportFacts(t *testing.T) {
	v := newVault(t)
	key := newP8(t)
	bare := key.facts
	key.facts = sealed.Facts{Kind: bare.Kind, KeyID: bare.KeyID}
	done, err := v.Keys.Import(t.Context(), principal(operatorID), ImportRequest{Name: "asc", Sealed: v.seal(key), Facts: apple.Facts{Issuer: issuerID}})
	check(t, err)
	if done.Version != 1 || done.Key.Facts.Issuer != issuerID || done.Key.Versions[0].KeyID != bare.KeyID || done.Key.Active != 1 {
		t.Errorf("Import = %+v", done)
	}
	second := newP8(t)
	second.facts.KeyID = "SHORT"
	done, err = v.tryImport("asc", v.seal(second))
	check(t, err)
	if done.Version != 2 || done.Key.Active != 1 || len(done.Warnings) == 0 {
		t.Errorf("Import of a version = %+v", done)
	}
	v.checkInvariants()
}

// TestRecipients hands one recipient out for two weeks, then another, and destroys what has expired.
func TestRecipients(t *testing.T) {
	v := newVault(t)
	_, err := v.Keys.Recipient(t.Context(), principal(strangerID), Request{})
	wantReason(t, err, ErrDenied, ReasonDenied)
	first := v.recipient()
	v.clock.Advance(recipientFresh - time.Second)
	if again := v.recipient(); again.ID != first.ID {
		t.Error("another recipient, although the first is fresh")
	}
	v.clock.Advance(2 * time.Second)
	second := v.recipient()
	if second.ID == first.ID {
		t.Error("the same recipient, although it is too old")
	}
	file := sealTo(t, first, newP8(t).pkcs8, newP8(t).facts)
	_, err = v.tryImport("asc", file)
	check(t, err)
	v.clock.Advance(recipientFresh)
	v.changer.housekeep(t.Context())
	left := v.changer.store.Snapshot().Recipients()
	if len(left) != 1 || left[0].ID != second.ID {
		t.Errorf("the recipients are %+v", left)
	}
	v.changer.housekeep(t.Context())
	v.reopen()
	v.checkInvariants()
}
