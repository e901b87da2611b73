package authority

import (
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
)

// checkInvariants checks everything that must hold of an open vault between two calls: the store is whole, the log
// verifies offline, every intent is closed once and what its outcome says is what the store says, the log names the
// store's root, no token of a revoked version was let out after the revocation's entry, and every token that was let
// out has its entry. The vault is left open.
func (v *vault) checkInvariants(released ...Minted) {
	t := v.t
	t.Helper()
	storetest.CheckInvariants(t, store.Config{Backend: v.memory, KEKs: v.storeConfig().KEKs, Node: nodeName, Now: v.clock.Now})
	v.checkSegments()

	snap := v.changer.store.Snapshot()
	if last, root := v.changer.log.LastRoot(), *rootEntry(snap.RootID()); last != root {
		t.Errorf("the log's last root is %+v, the store's %+v", last, root)
	}
	entries := v.entries()
	checkTime(t, entries)
	checkIntents(t, entries)
	checkReplay(t, entries, snap)
	checkTokens(t, entries, released)
}

// checkSegments verifies every log of the node offline, as an auditor does.
func (v *vault) checkSegments() {
	v.t.Helper()
	verifier, err := note.NewVerifier(v.made.LogKey)
	if err != nil {
		v.t.Fatal(err)
	}
	for _, id := range v.changer.log.Logs() {
		report, err := auditlog.VerifySegments(v.fs.Files(id), verifier, auditlog.VerifyOptions{})
		if err != nil {
			v.t.Errorf("verifying log %s: %v", id, err)
			continue
		}
		for _, d := range report.Damage {
			v.t.Errorf("log %s is damaged: %+v", id, d)
		}
	}
}

func checkTime(t testing.TB, entries []*auditlog.Entry) {
	t.Helper()
	for i := 1; i < len(entries); i++ {
		if entries[i].Time.Add(audit.TimeSlack).Before(entries[i-1].Time) && entries[i].Gap == nil && entries[i].Action != string(policy.SystemAcknowledge) {
			t.Errorf("entry %d is of %v, the one before of %v", i, entries[i].Time, entries[i-1].Time)
		}
	}
}

// closes says whether an entry is the outcome of a change.
func closes(e *auditlog.Entry) bool {
	return e.Outcome == auditlog.Done || e.Outcome == auditlog.Recovered || e.Outcome == auditlog.Failed && e.Root != nil
}

// checkIntents checks that every intent is closed by the next outcome, and that one of its own request.
func checkIntents(t testing.TB, entries []*auditlog.Entry) {
	t.Helper()
	var open *auditlog.Entry
	for i, e := range entries {
		switch {
		case e.Outcome == auditlog.Intent && open != nil:
			t.Errorf("entry %d: %s begins while %s of %s is open", i, e.Action, open.Action, open.ID)
		case e.Outcome == auditlog.Intent:
			open = e
		case e.Action == string(actionAdopt) || e.Action == string(actionGap):
			if open != nil && e.Root != nil {
				t.Errorf("entry %d names a root while %s of %s is open", i, open.Action, open.ID)
			}
		case closes(e):
			if open == nil || open.ID != e.ID || open.Action != e.Action {
				t.Errorf("entry %d: %s of %s closes what is not open", i, e.Action, e.ID)
			}
			open = nil
		}
	}
	if open != nil {
		t.Errorf("%s of %s is still open", open.Action, open.ID)
	}
}

// made says whether a closing entry says that its change happened.
func made(e *auditlog.Entry) bool {
	return e.Outcome == auditlog.Done || e.Outcome == auditlog.Recovered && e.Reason == "the change was made"
}

// checkReplay plays what the log says was done, and compares it with what the store says is.
func checkReplay(t testing.TB, entries []*auditlog.Entry, snap *store.Snapshot) {
	t.Helper()
	type key struct {
		disabled bool
		versions []string
		revoked  map[int]bool
	}
	keys := map[string]*key{}
	policies := 0
	for _, e := range entries {
		if !closes(e) || !made(e) {
			continue
		}
		k := keys[e.Key]
		switch policy.Action(e.Action) {
		case policy.KeyImport:
			if e.Key == "" {
				continue // a recipient
			}
			if k == nil {
				k = &key{revoked: map[int]bool{}}
				keys[e.Key] = k
			}
			k.versions = append(k.versions, e.Fingerprint)
		case policy.KeyDisable:
			k.disabled = true
		case policy.KeyEnable:
			k.disabled = false
		case policy.KeyRevoke:
			for n := range k.versions {
				if e.Version == 0 || e.Version == n+1 {
					k.revoked[n+1] = true
				}
			}
		case policy.PolicyApply:
			policies++
		default:
		}
	}
	if got := snap.PolicyNumber(); got != policies {
		t.Errorf("the store has %d revisions of the policy, the log knows of %d", got, policies)
	}
	if snap.Len() != len(keys) {
		t.Errorf("the store has %d keys, the log knows of %d", snap.Len(), len(keys))
	}
	for name, want := range keys {
		got, ok := snap.Key(name)
		if !ok {
			t.Errorf("the log knows of key %s, the store does not", name)
			continue
		}
		var fingerprints []string
		for _, version := range got.Versions {
			fingerprints = append(fingerprints, version.Fingerprint)
			if version.State.Over() != want.revoked[version.Number] {
				t.Errorf("version %d of %s is %s, and by the log revoked = %v", version.Number, name, version.State, want.revoked[version.Number])
			}
		}
		if !slices.Equal(fingerprints, want.versions) || got.Disabled != want.disabled {
			t.Errorf("key %s: store has %v disabled=%v, log has %v disabled=%v", name, fingerprints, got.Disabled, want.versions, want.disabled)
		}
	}
}

// version is one of a key: another key may have the same fingerprint.
type version struct{ key, fingerprint string }

// checkTokens checks that every token that was let out is in the log, and none after its version was revoked.
func checkTokens(t testing.TB, entries []*auditlog.Entry, released []Minted) {
	t.Helper()
	out := map[auditlog.Sum]*auditlog.Entry{}
	withheld := map[delivery]bool{}
	for _, e := range entries {
		if e.Token != nil && e.Outcome == auditlog.Withheld {
			withheld[deliveryOf(e)] = true
		}
	}
	revoked := map[version]bool{}
	for i, e := range entries {
		if closes(e) && made(e) && e.Action == string(policy.KeyRevoke) {
			if e.Version == 0 {
				for _, before := range entries[:i] {
					if before.Action == string(policy.KeyImport) && before.Key == e.Key {
						revoked[version{e.Key, before.Fingerprint}] = true
					}
				}
			}
			revoked[version{e.Key, e.Fingerprint}] = true
		}
		if e.Token == nil || e.Outcome != auditlog.Allowed || withheld[deliveryOf(e)] {
			continue
		}
		if revoked[version{e.Key, e.Fingerprint}] {
			t.Errorf("entry %d: a token of %s was let out after its version was revoked", i, e.Key)
		}
		out[e.Token.SHA256] = e
	}
	for _, m := range released {
		if out[m.Token.SHA256] == nil {
			t.Errorf("a token was let out, and the log has no entry of it")
		}
	}
}
