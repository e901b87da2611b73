package authority

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
)

const importerID = "spiffe://signet.test/importers/a"

// twinsPolicy has an importer who may do anything to the keys of team a, and a profile of each key.
const twinsPolicy = `version: 1
profiles:
  a: {key: a/asc, app_store_connect: {}}
  b: {key: b/asc, app_store_connect: {}}
grants:
  - id: importers
    to: [{mtls: "spiffe://signet.test/importers/a"}]
    do: [key.*]
    on: ["a/**"]
  - id: ci
    to: [{mtls: "spiffe://signet.test/ci/*"}]
    mint: [a, b]
    rate: none
`

func (v *vault) tryDuplicate(name string, file []byte, of string) (Imported, error) {
	return v.duplicateBy(operatorID, name, file, of)
}

func (v *vault) duplicateBy(who, name string, file []byte, of string) (Imported, error) {
	return v.Keys.Import(v.t.Context(), principal(who), ImportRequest{Request: v.request(), Name: policy.KeyName(name), Sealed: file, Twin: policy.KeyName(of)})
}

// TestDuplicate is every case of a key that is here already: a second name is had by naming the first, and in no other
// way.
func TestDuplicate(t *testing.T) {
	tests := []struct {
		name    string
		who     string
		as, of  string
		before  func(v *vault, file []byte) // beside the import as b/asc
		reason  Reason                      // empty: it is let in
		says    string
		neither string // what the answer must not tell
	}{
		{name: "not allowed", as: "a/asc", reason: ReasonKeyKnown, says: "as b/asc"},
		{name: "allowed", as: "a/asc", of: "b/asc"},
		{name: "as a version of another key", as: "other", of: "b/asc"},
		{name: "a key that does not have it", as: "a/asc", of: "other", reason: ReasonKeyKnown, says: "as b/asc"},
		{name: "a key that is not there", as: "a/asc", of: "nosuch", reason: ReasonKeyKnown, says: "as b/asc"},
		{name: "itself", as: "b/asc", of: "b/asc", reason: ReasonKeyKnown, says: "this very name"},
		{name: "under the name that has it", as: "b/asc", reason: ReasonKeyKnown, says: "this very name"},
		{name: "one that may not be read", who: importerID, as: "a/asc", of: "b/asc", reason: ReasonKeyKnown, says: "may not read", neither: "b/asc"},
		{name: "not allowed, and not to be read", who: importerID, as: "a/asc", reason: ReasonKeyKnown, says: "may not read", neither: "b/asc"},
		{name: "disabled", as: "a/asc", of: "b/asc", before: func(v *vault, _ []byte) { check(v.t, v.disable("b/asc")) }},
		{name: "revoked", as: "a/asc", of: "b/asc", reason: ReasonKeyKnown, says: "is revoked", before: func(v *vault, _ []byte) {
			_, err := v.revoke("b/asc", 0)
			check(v.t, err)
		}},
		{name: "revoked under one of two names", as: "third", of: "a/asc", reason: ReasonKeyKnown, says: "is revoked", before: func(v *vault, file []byte) {
			_, err := v.tryDuplicate("a/asc", file, "b/asc")
			check(v.t, err)
			_, err = v.revoke("b/asc", 1)
			check(v.t, err)
		}},
		{name: "a third name", as: "third", of: "a/asc", before: func(v *vault, file []byte) {
			_, err := v.tryDuplicate("a/asc", file, "b/asc")
			check(v.t, err)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := newVault(t)
			key := v.importKey("b/asc")
			v.importKey("a/first")
			v.importKey("other")
			v.apply(strings.ReplaceAll(twinsPolicy, "a/asc", "a/first"))
			file := v.seal(key)
			if tt.before != nil {
				tt.before(v, file)
			}
			who := tt.who
			if who == "" {
				who = operatorID
			}
			before := v.changer.store.Snapshot().RootID()
			done, err := v.duplicateBy(who, tt.as, file, tt.of)
			if tt.reason == "" {
				check(t, err)
				version := done.Key.Versions[done.Version-1]
				if !slices.ContainsFunc(done.Key.Twins[done.Version].Named, func(o Twin) bool { return o.Name == tt.of }) {
					t.Errorf("its twins are %+v", done.Key.Twins)
				}
				if e := v.last(); e.Fingerprint != version.Fingerprint || !strings.Contains(e.Justification, tt.of) {
					t.Errorf("the entry is %+v", e)
				}
			} else {
				wantReason(t, err, ErrExists, tt.reason)
				if !strings.Contains(err.Error(), tt.says) || tt.neither != "" && strings.Contains(err.Error(), tt.neither) {
					t.Errorf("it says %q", err)
				}
				if after := v.changer.store.Snapshot().RootID(); after != before {
					t.Error("the store has changed")
				}
			}
			v.reopen()
			v.checkInvariants()
		})
	}
	t.Run("no duplicate at all", func(t *testing.T) {
		v := ready(t)
		_, err := v.tryDuplicate("new", v.seal(newP8(t)), "asc")
		wantReason(t, err, ErrPrecondition, ReasonNoDuplicate)
		v.checkInvariants()
	})
	t.Run("another key ID", func(t *testing.T) {
		v := ready(t)
		key := v.importKey("first")
		key.facts.KeyID = "ANOTHER123"
		done, err := v.tryDuplicate("second", v.seal(key), "first")
		check(t, err)
		if len(done.Warnings) != 1 || !strings.Contains(done.Warnings[0], "one of the two is wrong") {
			t.Errorf("the warnings are %q", done.Warnings)
		}
	})
}

// TestRevokeOneOfTwo revokes and disables one name of a key: that name is off for everyone, the other goes on, and who
// revoked is told so, by name where it may read that.
func TestRevokeOneOfTwo(t *testing.T) {
	v := newVault(t)
	key := v.importKey("b/asc")
	_, err := v.tryDuplicate("a/asc", v.seal(key), "b/asc")
	check(t, err)
	v.apply(twinsPolicy)
	tokens := []Minted{v.mustMint("a"), v.mustMint("b")}

	check(t, v.disable("a/asc"))
	_, err = v.mint("a")
	wantReason(t, err, ErrPrecondition, ReasonKeyDisabled)
	tokens = append(tokens, v.mustMint("b"))
	check(t, v.enable("a/asc"))

	seen, err := v.Keys.Get(t.Context(), principal(importerID), v.keyRequest("a/asc", ""))
	check(t, err)
	if diff := cmp.Diff(map[int]Twins{1: {Hidden: 1}}, seen.Twins); diff != "" {
		t.Errorf("the twins that the importer sees: %s", diff)
	}
	done, err := v.Keys.Revoke(t.Context(), principal(importerID), v.keyRequest("a/asc", "lost"))
	check(t, err)
	if len(done.Warnings) != 1 || !strings.Contains(done.Warnings[0], "1 that you may not read") || strings.Contains(done.Warnings[0], "b/asc") {
		t.Errorf("the importer is told %q", done.Warnings)
	}
	again, err := v.Keys.Revoke(t.Context(), principal(operatorID), v.keyRequest("a/asc", "lost"))
	check(t, err)
	if len(again.Warnings) != 1 || !strings.Contains(again.Warnings[0], "version 1 of b/asc (active)") {
		t.Errorf("the operator is told %q", again.Warnings)
	}
	if x := again.Exposure.Logs; len(x) != 1 || x[0].Tokens != 1 {
		t.Errorf("the exposure of a/asc counts %+v", x)
	}
	_, err = v.mint("a")
	wantReason(t, err, ErrPrecondition, ReasonKeyRevoked)
	tokens = append(tokens, v.mustMint("b"))
	v.reopen()
	tokens = append(tokens, v.mustMint("b"))
	v.checkInvariants(tokens...)

	last, err := v.Keys.Revoke(t.Context(), principal(operatorID), v.keyRequest("b/asc", "lost"))
	check(t, err)
	if len(last.Warnings) != 0 {
		t.Errorf("when every name is revoked it warns: %q", last.Warnings)
	}
	if diff := cmp.Diff(map[int]Twins{1: {Named: []Twin{{"a/asc", 1, store.StateRevoked}}}}, last.Key.Twins); diff != "" {
		t.Errorf("its twins: %s", diff)
	}
	v.checkInvariants(tokens...)
}

// TestTwinsAgainstAModel imports, allows and revokes at random, and compares with a table of who has which key. What
// the vault refuses the model refuses, and the other way round.
func TestTwinsAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := newVault(t)
		defer v.close()
		files := [][]byte{v.seal(newP8(t)), v.seal(newP8(t))}
		names := []string{"a", "b", "c"}
		type at struct {
			name string
			key  int
		}
		has, over := map[at]bool{}, map[int]bool{}
		for range rapid.IntRange(1, 14).Draw(rt, "steps") {
			name := rapid.SampledFrom(names).Draw(rt, "name")
			if rapid.IntRange(0, 3).Draw(rt, "revoke") == 0 {
				if _, err := v.revoke(name, 0); err == nil {
					for key := range files {
						over[key] = over[key] || has[at{name, key}]
					}
				}
				continue
			}
			key := rapid.IntRange(0, len(files)-1).Draw(rt, "key")
			of := rapid.SampledFrom(append(names, "")).Draw(rt, "of")
			anywhere := slices.ContainsFunc(names, func(n string) bool { return has[at{n, key}] })
			want := !anywhere && of == "" || anywhere && !over[key] && !has[at{name, key}] && of != "" && has[at{of, key}]
			_, err := v.tryDuplicate(name, files[key], of)
			if (err == nil) != want {
				rt.Fatalf("importing key %d as %s, allowed as %q: %v, want %v", key, name, of, err, want)
			}
			if err == nil {
				has[at{name, key}] = true
			}
		}
		for _, name := range names {
			got, _ := v.changer.store.Snapshot().Key(name)
			n := 0
			for key := range files {
				if has[at{name, key}] {
					n++
				}
			}
			if len(got.Versions) != n {
				rt.Fatalf("%s has %d versions, want %d", name, len(got.Versions), n)
			}
			for number, twins := range twinsAsOperator(v, name) {
				for _, twin := range twins.Named {
					if twin.Name == name {
						rt.Fatalf("version %d of %s is its own twin", number, name)
					}
				}
			}
		}
		v.checkInvariants()
	})
}

func twinsAsOperator(v *vault, name string) map[int]Twins {
	key, _ := v.changer.state.Load().viewFor(principal(operatorID), policy.KeyName(name))
	return key.Twins
}
