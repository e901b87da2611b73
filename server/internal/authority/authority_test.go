package authority

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"

	"golang.org/x/mod/sumdb/note"
)

func TestMint(t *testing.T) {
	v := newVault(t)
	key := v.importKey("asc")
	v.apply(basicPolicy)

	minted, err := v.Tokens.Mint(t.Context(), principal(callerID), MintRequest{Request: Request{"mint-1"}, Profile: "release", TTL: 5 * time.Minute, Receipt: true})
	if err != nil {
		t.Fatalf("Mint: %v", err)
	}
	private, err := x509.ParsePKCS8PrivateKey(key.pkcs8)
	if err != nil {
		t.Fatal(err)
	}
	if err := apple.Verify(minted.Token.Text, &private.(*ecdsa.PrivateKey).PublicKey); err != nil {
		t.Errorf("the token does not verify: %v", err)
	}
	if got := minted.Token.Expires.Sub(minted.Token.IssuedAt); got != 5*time.Minute {
		t.Errorf("it lives %v", got)
	}
	e := v.last()
	if e.ID != "mint-1" || e.Outcome != auditlog.Allowed || e.Action != string(policy.TokenMint) || e.Profile != "release" || e.Key != "asc" ||
		e.Version != 1 || e.KeyID != key.facts.KeyID || e.Grant != "ci" || e.Policy == "" || e.Fingerprint == "" ||
		e.Principal == nil || e.Principal.ID != callerID || e.Principal.Certificate == "" || e.Peer == "" ||
		e.Requested == nil || e.Requested.TTL != 300 || e.Token == nil || e.Token.SHA256 != auditlog.Sum(minted.Token.SHA256) {
		t.Errorf("the entry is %+v", e)
	}

	verifier, err := note.NewVerifier(v.made.LogKey)
	if err != nil {
		t.Fatal(err)
	}
	r := minted.Receipt
	receipt, err := auditlog.VerifyReceipt(r.Proof, verifier)
	if err != nil {
		t.Fatalf("the receipt: %v", err)
	}
	if auditlog.LeafHash(r.Entry) != r.Leaf || receipt.Leaf != r.Leaf || receipt.Index != r.Index || receipt.Checkpoint.Origin.String() != r.Origin {
		t.Errorf("the receipt is of another entry: %+v", r)
	}
	if got, err := auditlog.ParseEntry(r.Entry); err != nil || got.ID != "mint-1" {
		t.Errorf("the receipt's entry: %v, %v", got, err)
	}
	v.checkInvariants(minted)
}

// TestDecisions is what callers hear, and what the log says of it.
func TestDecisions(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(v *vault)
		who     string
		profile policy.ProfileName
		ttl     time.Duration
		scope   []apple.Scope
		kind    error
		reason  Reason
		outcome auditlog.Outcome
		logged  string
	}{
		{name: "nobody", who: "", profile: "release", kind: ErrDenied, reason: ReasonDenied, outcome: auditlog.Denied},
		{name: "stranger", who: strangerID, profile: "release", kind: ErrDenied, reason: ReasonDenied, outcome: auditlog.Denied},
		{name: "stranger and unknown profile", who: strangerID, profile: "nothing", kind: ErrDenied, reason: ReasonDenied, outcome: auditlog.Denied},
		{name: "unknown profile", who: callerID, profile: "nothing", kind: ErrDenied, reason: ReasonDenied, outcome: auditlog.Denied},
		{name: "operator has no mint", who: operatorID, profile: "release", kind: ErrDenied, reason: ReasonDenied, outcome: auditlog.Denied},
		{name: "ttl above the profile's", who: callerID, profile: "release", ttl: 11 * time.Minute, kind: ErrDenied, reason: ReasonTTLTooLong, outcome: auditlog.Denied},
		{name: "scope not granted", who: callerID, profile: "builds", scope: []apple.Scope{"GET /v1/users"}, kind: ErrDenied, reason: ReasonScopeNotGranted, outcome: auditlog.Denied},
		{name: "disabled", prepare: func(v *vault) { check(v.t, v.disable("asc")) }, who: callerID, profile: "release", kind: ErrPrecondition, reason: ReasonKeyDisabled, outcome: auditlog.Failed},
		{name: "disabled, to a stranger", prepare: func(v *vault) { check(v.t, v.disable("asc")) }, who: strangerID, profile: "release", kind: ErrDenied, reason: ReasonDenied, outcome: auditlog.Denied},
		{name: "revoked", prepare: func(v *vault) { _, err := v.revoke("asc", 0); check(v.t, err) }, who: callerID, profile: "release", kind: ErrPrecondition, reason: ReasonKeyRevoked, outcome: auditlog.Failed},
		{name: "revoked and disabled", prepare: func(v *vault) { check(v.t, v.disable("asc")); _, err := v.revoke("asc", 1); check(v.t, err) }, who: callerID, profile: "release", kind: ErrPrecondition, reason: ReasonKeyRevoked, outcome: auditlog.Failed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := ready(t)
			if tt.prepare != nil {
				tt.prepare(v)
			}
			_, err := v.Tokens.Mint(t.Context(), principal(tt.who), MintRequest{Request: Request{"the-call"}, Profile: tt.profile, TTL: tt.ttl, Scope: tt.scope})
			wantReason(t, err, tt.kind, tt.reason)
			if tt.reason == ReasonDenied && err.Error() != "denied" {
				t.Errorf("the caller hears %q", err)
			}
			e := v.last()
			if e.ID != "the-call" || e.Outcome != tt.outcome || !strings.HasPrefix(e.Reason, string(tt.reason)) || e.Token != nil {
				t.Errorf("the entry is %+v", e)
			}
			if tt.outcome == auditlog.Denied && len(e.Reason) <= len(tt.reason)+2 {
				t.Errorf("the entry does not say what was missing: %q", e.Reason)
			}
			v.checkInvariants()
		})
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (%v)", err, errors.Unwrap(err))
	}
}

// TestLives walks through the life of a key.
func TestLives(t *testing.T) {
	v := ready(t)
	first := v.mustMint("release")
	if err := v.disable("asc"); err != nil {
		t.Fatal(err)
	}
	_, err := v.mint("release")
	wantReason(t, err, ErrPrecondition, ReasonKeyDisabled)
	check(t, v.enable("asc"))
	second := v.mustMint("release")

	v.importKey("asc")
	if m := v.mustMint("release"); m.Version != 1 {
		t.Errorf("version %d mints before it is activated", m.Version)
	}
	check(t, v.activate("asc", 2))
	third := v.mustMint("release")
	if third.Version != 2 {
		t.Errorf("version %d mints", third.Version)
	}
	_, err = v.revoke("asc", 2)
	check(t, err)
	_, err = v.mint("release")
	wantReason(t, err, ErrPrecondition, ReasonKeyRevoked)
	wantReason(t, v.activate("asc", 2), ErrPrecondition, ReasonKeyRevoked)
	wantReason(t, v.activate("asc", 3), ErrNotFound, ReasonNotFound)
	check(t, v.activate("asc", 1))
	fourth := v.mustMint("release")
	check(t, v.enable("asc"))
	_, err = v.revoke("asc", 0)
	check(t, err)
	wantReason(t, v.enable("asc"), ErrPrecondition, ReasonKeyRevoked)
	v.importKey("asc")
	check(t, v.activate("asc", 3))
	v.checkInvariants(first, second, third, fourth)
	v.reopen()
	v.checkInvariants(first, second, third, fourth, v.mustMint("release"))
}

// TestRepeats makes every change twice: the second finds it made, answers success, and is recorded.
func TestRepeats(t *testing.T) {
	v := ready(t)
	v.importKey("asc")
	tests := []struct {
		name string
		do   func() error
	}{
		{"apply", func() error { return v.tryApply(basicPolicy) }},
		{"activate", func() error { return v.activate("asc", 2) }},
		{"disable", func() error { return v.disable("asc") }},
		{"enable", func() error { return v.enable("asc") }},
		{"revoke one", func() error { _, err := v.revoke("asc", 1); return err }},
		{"revoke all", func() error { _, err := v.revoke("asc", 0); return err }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check(t, tt.do())
			before := v.changer.store.Snapshot().RootID()
			check(t, tt.do())
			if after := v.changer.store.Snapshot().RootID(); after != before {
				t.Errorf("the repeat went from revision %d to %d", before.Revision, after.Revision)
			}
			if e := v.last(); e.Outcome != auditlog.Allowed || e.Reason == "" {
				t.Errorf("the repeat's entry is %+v", e)
			}
		})
	}
	v.checkInvariants()
}

func TestReads(t *testing.T) {
	v := ready(t)
	v.importKey("b/c")
	ctx, security, stranger := t.Context(), principal("spiffe://signet.test/security/eve"), principal(strangerID)

	key, err := v.Keys.Get(ctx, security, KeyRequest{Request: Request{"get"}, Name: "asc"})
	check(t, err)
	if key.Name != "asc" || key.Facts.Issuer != issuerID || key.Active != 1 {
		t.Errorf("Get = %+v", key)
	}
	if e := v.last(); e.ID != "get" || e.Outcome != auditlog.Allowed || e.Action != string(policy.KeyRead) || e.Key != "asc" {
		t.Errorf("its entry is %+v", e)
	}
	_, err = v.Keys.Get(ctx, security, KeyRequest{Name: "absent"})
	wantReason(t, err, ErrNotFound, ReasonNotFound)
	_, err = v.Keys.Get(ctx, stranger, KeyRequest{Request: Request{"denied get"}, Name: "asc"})
	wantReason(t, err, ErrDenied, ReasonDenied)
	if e := v.last(); e.ID != "denied get" || e.Outcome != auditlog.Denied {
		t.Errorf("a denied read has the entry %+v", e)
	}

	page, more, err := v.Keys.List(ctx, security, ListKeysRequest{Limit: 1})
	check(t, err)
	if len(page) != 1 || page[0].Name != "asc" || !more {
		t.Errorf("List = %v, %v", page, more)
	}
	page, more, err = v.Keys.List(ctx, security, ListKeysRequest{Limit: 1, After: "asc"})
	check(t, err)
	if len(page) != 1 || page[0].Name != "b/c" || more {
		t.Errorf("List after asc = %v, %v", page, more)
	}
	_, _, err = v.Keys.List(ctx, stranger, ListKeysRequest{Limit: 1})
	wantReason(t, err, ErrDenied, ReasonDenied)

	status, err := v.System.Status(ctx, principal(operatorID), Request{"status"})
	check(t, err)
	if len(status.Reasons) != 0 || status.Keys != 2 || status.PolicyRevision != 1 || status.Log.Size == 0 || status.VaultID != v.made.VaultID || status.Log.VerifierKey != v.made.LogKey {
		t.Errorf("Status = %+v", status)
	}
	if e := v.last(); e.ID != "status" {
		t.Errorf("its entry is %+v", e)
	}
	_, err = v.System.Status(ctx, stranger, Request{})
	wantReason(t, err, ErrDenied, ReasonDenied)
}

func TestPolicies(t *testing.T) {
	v := newVault(t)
	ctx, operator := t.Context(), principal(operatorID)
	got, err := v.Policies.Get(ctx, operator, PolicyRequest{})
	check(t, err)
	if got.Number != 0 || got.ETag == "" {
		t.Errorf("before the first: %+v", got)
	}
	apply := func(doc, etag string, dry bool) (Applied, error) {
		return v.Policies.Apply(ctx, operator, ApplyRequest{Request: v.request(), Document: []byte(doc), ETag: etag, DryRun: dry})
	}
	// A profile that names a key that is not there.
	_, err = apply(basicPolicy, "", false)
	wantReason(t, err, ErrMalformed, ReasonPolicyInvalid)
	var problems *policy.Error
	if !errors.As(err, &problems) || len(problems.Problems) == 0 {
		t.Errorf("an invalid policy answers no problems: %v", err)
	}
	v.importKey("asc")

	dry, err := apply(basicPolicy, got.ETag, true)
	check(t, err)
	if dry.Changed || v.changer.store.Snapshot().PolicyNumber() != 0 {
		t.Errorf("a dry run changed something: %+v", dry)
	}
	first, err := apply(basicPolicy, got.ETag, false)
	check(t, err)
	if !first.Changed || first.Policy.Number != 1 || first.Policy.ETag == got.ETag || first.Policy.Author != operatorID {
		t.Errorf("Apply = %+v", first)
	}
	_, err = apply(basicPolicy+"# more\n", got.ETag, false)
	wantReason(t, err, ErrConflict, ReasonETagMismatch)

	failing := basicPolicy + "tests:\n  - {as: {mtls: \"spiffe://signet.test/other\"}, mint: release, expect: allow}\n"
	_, err = apply(failing, "", false)
	wantReason(t, err, ErrPrecondition, ReasonPolicyTestFailed)
	if !errors.As(err, &problems) || len(problems.Problems) != 1 || problems.Problems[0].Line == 0 {
		t.Errorf("a failing test answers %v", err)
	}
	passing := basicPolicy + "tests:\n  - {as: {mtls: \"spiffe://signet.test/other\"}, mint: release, expect: deny}\n"
	second, err := apply(passing, first.Policy.ETag, false)
	check(t, err)
	if second.TestsRun != 1 || second.Policy.Number != 2 {
		t.Errorf("Apply = %+v", second)
	}
	_, err = v.Policies.Apply(ctx, principal(strangerID), ApplyRequest{Document: []byte(basicPolicy)})
	wantReason(t, err, ErrDenied, ReasonDenied)

	old, err := v.Policies.Get(ctx, operator, PolicyRequest{Revision: 1})
	check(t, err)
	if string(old.Document) != basicPolicy || old.ETag != first.Policy.ETag {
		t.Errorf("revision 1 is %+v", old)
	}
	_, err = v.Policies.Get(ctx, operator, PolicyRequest{Revision: 3})
	wantReason(t, err, ErrNotFound, ReasonNotFound)
	page, more, err := v.Policies.Revisions(ctx, operator, RevisionsRequest{Limit: 1})
	check(t, err)
	if len(page) != 1 || page[0].Number != 2 || page[0].Document != nil || !more {
		t.Errorf("Revisions = %+v, %v", page, more)
	}
	page, more, err = v.Policies.Revisions(ctx, operator, RevisionsRequest{Limit: 1, Before: 2})
	check(t, err)
	if len(page) != 1 || page[0].Number != 1 || more {
		t.Errorf("Revisions before 2 = %+v, %v", page, more)
	}
	v.checkInvariants()
}

// TestPastedKeys gives a private key where a reason, a name or a document is wanted: it is refused, and it is nowhere.
func TestPastedKeys(t *testing.T) {
	v := ready(t)
	key := newP8(t)
	text := strings.ReplaceAll(toPEM(key.pkcs8), "\n", " ")
	ctx, operator := t.Context(), principal(operatorID)

	req := v.keyRequest("asc", text)
	_, err := v.Keys.Disable(ctx, operator, req)
	wantReason(t, err, ErrMalformed, ReasonMalformed)
	_, err = v.Keys.Revoke(ctx, operator, req)
	wantReason(t, err, ErrMalformed, ReasonMalformed)
	_, _, err = v.System.Acknowledge(ctx, operator, AcknowledgeRequest{GapID: "x", Reason: text})
	wantReason(t, err, ErrMalformed, ReasonMalformed)
	_, err = v.Policies.Apply(ctx, operator, ApplyRequest{Document: []byte(basicPolicy + "# " + text + "\n")})
	wantReason(t, err, ErrMalformed, ReasonMalformed)
	_, err = v.Log.Entries(ctx, operator, EntriesRequest{Limit: 1, Filter: Filter{Match: audit.Match{Key: text}}})
	wantReason(t, err, ErrMalformed, ReasonMalformed)
	_, err = v.Log.Entries(ctx, operator, EntriesRequest{Limit: 1, Filter: Filter{Match: audit.Match{Principal: text}}})
	check(t, err)
	v.changer.summarise(ctx)

	v.mustMint("release")
	for _, name := range v.fs.List(".") {
		data := string(v.fs.Files(name[:max(0, strings.LastIndex(name, "/"))])[name[strings.LastIndex(name, "/")+1:]].Data)
		for _, form := range canaries(t, key.pkcs8) {
			if strings.Contains(data, form) {
				t.Errorf("%s has the key", name)
			}
		}
	}
	for _, form := range canaries(t, key.pkcs8) {
		if strings.Contains(v.logs.String(), form) {
			t.Errorf("the server's own log has the key")
		}
	}
	v.checkInvariants()
}

// TestRates brakes one principal and not another, and recovers with time.
func TestRates(t *testing.T) {
	v := newVault(t)
	v.importKey("asc")
	v.apply(strings.Replace(basicPolicy, "rate: none", "rate: 2/m", 1))
	v.mustMint("release")
	v.mustMint("builds")
	_, err := v.mint("release")
	wantReason(t, err, ErrRateLimited, ReasonRateLimited)
	var e *Error
	if errors.As(err, &e); e.RetryAfter <= 0 || e.RetryAfter > 31*time.Second {
		t.Errorf("retry after %v", e.RetryAfter)
	}
	if last := v.last(); last.Outcome != auditlog.Denied || last.Reason != string(ReasonRateLimited) {
		t.Errorf("the entry is %+v", last)
	}
	if _, err := v.Tokens.Mint(t.Context(), principal("spiffe://signet.test/ci/2"), MintRequest{Profile: "release"}); err != nil {
		t.Errorf("another principal: %v", err)
	}
	v.clock.Advance(e.RetryAfter)
	v.mustMint("release")
	v.clock.Advance(30 * time.Second)
	// A policy that grants more is in force at once.
	v.apply(strings.Replace(basicPolicy, "rate: none", "rate: 100/s", 1))
	v.mustMint("release") // the bucket learns of its new size
	v.clock.Advance(time.Second)
	for range 100 {
		v.mustMint("release")
	}
}

// TestFirstSignature says that the first signature of a version was verified when its token is out.
func TestFirstSignature(t *testing.T) {
	v := ready(t)
	signer, err := v.changer.store.Signer(t.Context(), v.changer.store.Snapshot(), "asc", 1)
	check(t, err)
	if signer.Proven() {
		t.Error("proven before it has signed")
	}
	v.mustMint("release")
	if !signer.Proven() {
		t.Error("not proven by a mint")
	}
}
