package store_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

// The attacker of this file writes to the medium at will, knows every format,
// and has every earlier state of it; what he has not is a key.

// medium is a vault's medium in his hands.
type medium struct {
	*storetest.MemoryBackend
	t testing.TB
}

func (m medium) root() []byte {
	m.t.Helper()
	raw, err := m.Root(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return raw
}

func (m medium) blob(ref store.Ref) []byte {
	m.t.Helper()
	b, err := m.Get(m.t.Context(), ref)
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

// shard returns a shard's reference and entries.
func (m medium) shard(n int) (store.Ref, []store.Entry) {
	m.t.Helper()
	refs, err := store.ParseRoot(m.root())
	if err != nil {
		m.t.Fatal(err)
	}
	es, err := store.ParseShard(n, m.blob(refs[n]))
	if err != nil {
		m.t.Fatal(err)
	}
	return refs[n], es
}

// entry returns where a record is.
func (m medium) entry(name string) store.Entry {
	m.t.Helper()
	_, es := m.shard(store.RecordShard(name))
	for _, e := range es {
		if e.Name == name {
			return e
		}
	}
	m.t.Fatalf("%s is not in the store", name)
	return store.Entry{}
}

// relink writes a shard anew with one entry pointing to blob, its hash included,
// and the root's line for the shard with the new hash: all that can be made to
// agree without a key.
func (m medium) relink(name string, blob []byte) {
	m.t.Helper()
	n := store.RecordShard(name)
	ref, es := m.shard(n)
	for i := range es {
		if es[i].Name == name {
			es[i].Sum = sha256.Sum256(blob)
			m.SetBlob(es[i].Ref, blob)
		}
	}
	old := m.blob(ref)
	data := store.MarshalShard(es)
	m.SetBlob(ref, data)
	m.SetRoot(bytes.ReplaceAll(m.root(), fmt.Appendf(nil, "%x", sha256.Sum256(old)), fmt.Appendf(nil, "%x", sha256.Sum256(data))))
}

func TestLaw6Records(t *testing.T) {
	const victim, other, third = "victim", "other", "third"
	metadata, secret := "key/"+victim, "secret/"+victim+"/1"
	tests := []struct {
		name string
		// do is done to a vault in which victim has been revoked; yesterday is
		// the medium before that.
		do func(now, yesterday medium)
		// damaged are the records that Fsck must name.
		damaged []string
		// opens: version 1 of these must still sign.
		opens []string
	}{
		{
			name: "swap two records' blobs",
			do: func(now, _ medium) {
				a, b := now.entry("secret/"+other+"/1"), now.entry("secret/"+third+"/1")
				blob := now.blob(a.Ref)
				now.SetBlob(a.Ref, now.blob(b.Ref))
				now.SetBlob(b.Ref, blob)
			},
			damaged: []string{"secret/other/1", "secret/third/1"},
		},
		{
			name:    "copy one record over another",
			do:      func(now, _ medium) { now.SetBlob(now.entry("key/"+other).Ref, now.blob(now.entry("key/"+third).Ref)) },
			damaged: []string{"key/other"},
			opens:   []string{third},
		},
		{
			name: "bring back yesterday's metadata (revoked becomes active)",
			do: func(now, yesterday medium) {
				now.SetBlob(now.entry(metadata).Ref, yesterday.blob(yesterday.entry(metadata).Ref))
			},
			damaged: []string{metadata},
			opens:   []string{other, third},
		},
		{
			name: "bring back yesterday's shard",
			do: func(now, yesterday medium) {
				n := store.RecordShard(metadata)
				old, es := yesterday.shard(n)
				ref, _ := now.shard(n)
				now.SetBlob(ref, yesterday.blob(old))
				for _, e := range es {
					now.SetBlob(e.Ref, yesterday.blob(e.Ref))
				}
			},
			damaged: []string{fmt.Sprintf("shard %d", store.RecordShard(metadata))},
			opens:   []string{other, third},
		},
		{
			name: "put one shard in the place of another",
			do: func(now, _ medium) {
				a, _ := now.shard(store.RecordShard("key/" + other))
				b, _ := now.shard(store.RecordShard("key/" + third))
				now.SetBlob(a, now.blob(b))
			},
			damaged: []string{fmt.Sprintf("shard %d", store.RecordShard("key/"+other))},
			opens:   []string{third},
		},
		{
			name:    "lose a secret",
			do:      func(now, _ medium) { now.SetBlob(now.entry(secret).Ref, nil) },
			damaged: []string{secret},
			opens:   []string{other, third},
		},
		{
			name:    "lose a key's metadata",
			do:      func(now, _ medium) { now.SetBlob(now.entry("key/"+other).Ref, nil) },
			damaged: []string{"key/other"},
			opens:   []string{third},
		},
		{
			name: "lose a shard",
			do: func(now, _ medium) {
				ref, _ := now.shard(store.RecordShard("key/" + other))
				now.SetBlob(ref, nil)
			},
			damaged: []string{fmt.Sprintf("shard %d", store.RecordShard("key/"+other))},
			opens:   []string{third},
		},
		{
			name:    "lose the policy",
			do:      func(now, _ medium) { now.SetBlob(now.entry("policy/2").Ref, nil) },
			damaged: []string{"policy/2"},
			opens:   []string{other, third},
		},
		{
			name:    "bring back yesterday's policy",
			do:      func(now, y medium) { now.SetBlob(now.entry("policy/2").Ref, y.blob(y.entry("policy/1").Ref)) },
			damaged: []string{"policy/2"},
			opens:   []string{other, third},
		},
		{
			name: "edit a byte",
			do: func(now, _ medium) {
				e := now.entry(secret)
				b := now.blob(e.Ref)
				b[len(b)-1] ^= 1
				now.SetBlob(e.Ref, b)
			},
			damaged: []string{secret},
			opens:   []string{other, third},
		},
		{
			name: "leave garbage",
			do:   func(now, _ medium) { now.SetBlob(store.NewRef(), []byte("garbage")) },
			opens: []string{
				other, third,
			},
		},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s, b, cfg := newVault(t, func(tx *store.Tx) error {
				for _, name := range []string{victim, other, third} {
					addKey(t, tx, name)
				}
				_, err := tx.PutPolicy(store.PolicyRevision{Document: []byte("everyone may")})
				return err
			})
			yesterday := medium{b.Clone(), t}
			update(t, s, victim, revoke(0))
			commit(t, s, func(tx *store.Tx) {
				if _, err := tx.PutPolicy(store.PolicyRevision{Document: []byte("nobody may")}); err != nil {
					t.Fatal(err)
				}
			})
			now := medium{b, t}
			tc.do(now, yesterday)

			// Opened anew, as after a restart.
			s = openVault(t, cfg)
			r, err := s.Fsck(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, d := range r.Damaged {
				names = append(names, d.Record)
				if !errors.Is(d.Err, store.ErrDamaged) || !strings.Contains(d.Err.Error(), d.Record) {
					t.Errorf("damage of %s: %v", d.Record, d.Err)
				}
			}
			if !slices.Equal(names, tc.damaged) {
				t.Errorf("damaged = %q, want %q", names, tc.damaged)
			}
			if err := sign(t, s, victim, 1); err == nil {
				t.Error("the revoked key signs")
			}
			if k, ok := s.Snapshot().Key(victim); ok && k.Active != 0 {
				t.Error("the revoked key is active")
			}
			for _, name := range tc.opens {
				if err := sign(t, s, name, 1); err != nil {
					t.Errorf("%s, which is whole: %v", name, err)
				}
			}
			for _, name := range names {
				if key, ok := strings.CutPrefix(name, "key/"); ok {
					if _, ok := s.Snapshot().Key(key); ok {
						t.Errorf("%s opens", name)
					}
					wantError(t, s.Snapshot().Damaged(key), store.ErrDamaged)
					_, err := s.Signer(t.Context(), nil, key, 1)
					wantError(t, err, store.ErrDamaged)
					wantError(t, s.Begin().PutKey(store.Key{Name: key}), store.ErrDamaged)
				}
			}
			if p := s.Snapshot().Policy(); p != nil && string(p.Document) != "nobody may" {
				t.Errorf("the policy is %q", p.Document)
			}
			// What is whole can still be changed.
			for _, name := range tc.opens {
				update(t, s, name, revoke(0))
			}
		})
	}
}

// TestLaw6Relinked makes hashes agree where that needs no key; only the root's
// MAC, and the place that a record is sealed for, are in the way then.
func TestLaw6Relinked(t *testing.T) {
	s, b, cfg := newVault(t, func(tx *store.Tx) error {
		addKey(t, tx, "a")
		addKey(t, tx, "b")
		return nil
	})
	update(t, s, "a", revoke(0))
	m := medium{b, t}
	m.relink("key/a", m.blob(m.entry("key/b").Ref))
	_, err := store.Open(t.Context(), cfg)
	wantError(t, err, store.ErrDamaged)
	if err != nil && !strings.Contains(err.Error(), s.Snapshot().Vault()) {
		t.Errorf("%q does not name the vault", err)
	}
	// A running store keeps what it has.
	_, err = s.Reload(t.Context())
	wantError(t, err, store.ErrDamaged)
	if k, ok := s.Snapshot().Key("a"); !ok || k.Active != 0 {
		t.Error("the running store believes it")
	}
}

// TestLaw6Fork takes a record of the same name and the same revision from another
// history of the vault: what it is sealed for does not tell it apart, only its
// hash does.
func TestLaw6Fork(t *testing.T) {
	s, b, cfg := newVault(t, func(tx *store.Tx) error { addKey(t, tx, "k"); return nil })
	fork := b.Clone()
	forked := cfg
	forked.Backend = fork
	f := openVault(t, forked)
	update(t, f, "k", func(k store.Key) (store.Key, error) { return k.Disable().Enable(), nil })
	update(t, s, "k", revoke(0))
	mine, theirs := medium{b, t}, medium{fork, t}
	if mine.entry("key/k").Version != theirs.entry("key/k").Version {
		t.Fatal("the two are not of the same revision, so this tests nothing")
	}
	b.SetBlob(mine.entry("key/k").Ref, theirs.blob(theirs.entry("key/k").Ref))
	s = openVault(t, cfg)
	wantError(t, s.Snapshot().Damaged("k"), store.ErrDamaged)
	wantError(t, sign(t, s, "k", 1), store.ErrDamaged)
}

// TestLaw6Disagree has records that open and do not agree with each other, as
// only a mistake of ours could leave them: they are refused all the same.
func TestLaw6Disagree(t *testing.T) {
	other, _ := newKey(t)
	key := func(f func(*store.Key)) []byte {
		k := store.Key{Name: "k", Kind: "kind", Created: start}
		k = k.AddVersion(store.KeyVersion{KeyID: "kid", Fingerprint: "sha256:0", Created: start})
		f(&k)
		b, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tests := []struct {
		name, record string
		plain        []byte
		damaged      string
	}{
		{"a secret that is another key", "secret/k/1", other, "secret/k/1"},
		{"a secret that is no key", "secret/k/1", []byte("x"), "secret/k/1"},
		{"metadata of another key", "key/k", key(func(k *store.Key) { k.Name = "l" }), "key/k"},
		{"metadata that are no JSON", "key/k", []byte("{"), "key/k"},
		{"metadata with more than we know", "key/k", []byte(`{"name":"k","kind":"","created":"2026-09-01T12:00:00Z","more":1}`), "key/k"},
		{"metadata with something after them", "key/k", append(key(func(*store.Key) {}), "{}"...), "key/k"},
		{"metadata with two active versions", "key/k", key(func(k *store.Key) {
			k.Versions = append(k.Versions, k.Versions[0])
			k.Versions[1].Number, k.Versions[1].Fingerprint = 2, "sha256:1"
		}), "key/k"},
		{"a fingerprint that is not the secret's", "key/k", key(func(*store.Key) {}), "secret/k/1"},
		{"a policy that is another revision", "policy/1", []byte(`{"number":2,"document":"","digest":"","author":"","created":"2026-09-01T12:00:00Z"}`), "policy/1"},
		{"a system secret that is no key", "system/log-key", []byte("x"), "system/log-key"},
		{"a recipient that is none", "recipient/r", []byte("x"), "recipient/r"},
		{"a secret of a version that is not there", "secret/k/2", other, "secret/k/2"},
		{"a secret of a key that is not there", "secret/nobody/1", other, "secret/nobody/1"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s, _, cfg := newVault(t, func(tx *store.Tx) error {
				addKey(t, tx, "k")
				_, err := tx.PutPolicy(store.PolicyRevision{Document: []byte("doc")})
				return err
			})
			commit(t, s, func(tx *store.Tx) {
				if err := tx.PutRecord(tc.record, tc.plain); err != nil {
					t.Fatal(err)
				}
			})
			s = openVault(t, cfg)
			r, err := s.Fsck(t.Context())
			if err != nil || len(r.Damaged) != 1 || r.Damaged[0].Record != tc.damaged || !errors.Is(r.Damaged[0].Err, store.ErrDamaged) {
				t.Errorf("Fsck = %+v, %v, want %s damaged", r.Damaged, err, tc.damaged)
			}
			switch tc.damaged {
			case "secret/k/1", "key/k":
				wantError(t, sign(t, s, "k", 1), store.ErrDamaged)
			case "policy/1":
				if s.Snapshot().Policy() != nil {
					t.Error("the policy opens")
				}
				wantError(t, s.Snapshot().PolicyDamaged(), store.ErrDamaged)
			case "system/log-key":
				_, err := s.SystemSigner(t.Context(), "log-key")
				wantError(t, err, store.ErrDamaged)
			}
		})
	}
}
