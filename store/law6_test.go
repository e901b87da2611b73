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

// TestLaw6Root edits everything in the root that there is.
func TestLaw6Root(t *testing.T) {
	s, b, cfg := newVault(t, func(tx *store.Tx) error {
		addKey(t, tx, "a")
		if _, err := tx.OpenGap(store.Gap{ID: "g1", Kind: store.GapLog, Node: "n1", Found: start, Log: head(3)}, 0); err != nil {
			return err
		}
		return tx.SetLogHead(head(7))
	})
	if _, err := s.Begin().PutPolicy(store.PolicyRevision{}); err != nil {
		t.Fatal(err)
	}
	good := medium{b, t}.root()
	body, mac, _ := bytes.Cut(good, []byte("\n"))
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	edits := 0
	editEach(doc, func(path string) {
		edits++
		edited, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		b.SetRoot(slices.Concat(edited, []byte("\n"), mac))
		if s, err := store.Open(t.Context(), cfg); err == nil {
			closeStore(t, s)
			t.Errorf("a root with %s edited opens", path)
		}
	})
	// And by text, in the order that we write it, which alone gets to the MAC.
	for _, r := range []struct{ old, new string }{
		{`"revision":1`, `"revision":2`},
		{`"size":7`, `"size":6`},
		{`"policy":0`, `"policy":1`},
		{`"found":"2026`, `"closed":"2026`},
		{`"kind":"log"`, `"kind":"store"`},
		{`"node":"n1"`, `"node":"n2"`},
		{`{"n1":`, `{"n2":`},
		{`"id":"g1"`, `"id":"g2"`},
		{`"closed":[]`, `"closed":null`},
	} {
		edits++
		edited := bytes.Replace(good, []byte(r.old), []byte(r.new), 1)
		if bytes.Equal(edited, good) {
			t.Fatalf("%s is not in the root", r.old)
		}
		b.SetRoot(edited)
		if s, err := store.Open(t.Context(), cfg); err == nil {
			closeStore(t, s)
			t.Errorf("a root with %s opens", r.new)
		}
	}
	if edits < 280 {
		t.Errorf("only %d edits were tried", edits)
	}
	b.SetRoot(good)
	storetest.CheckInvariants(t, cfg)

	// Yesterday's root authenticates: that it is yesterday's is seen by the log,
	// and by a store that is running (TestReloadNeverGoesBack).
	keep := b.Clone()
	update(t, s, "a", revoke(0))
	cfg.Backend = keep
	old := openVault(t, cfg)
	if old.Snapshot().RootID().Revision >= s.Snapshot().RootID().Revision {
		t.Error("yesterday's root does not say that it is older")
	}
}

// editEach changes every leaf of a JSON document in turn, calls f, and changes
// it back.
func editEach(v any, f func(path string)) {
	edit := func(path string, old any, set func(any)) {
		switch old := old.(type) {
		case string:
			set(old + "x")
		case float64:
			set(old + 1)
		case bool:
			set(!old)
		case nil:
			set("x")
		default:
			editEach(old, func(p string) { f(path + "." + p) })
			return
		}
		f(path)
		set(old)
	}
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			edit(k, v[k], func(n any) { v[k] = n })
		}
	case []any:
		for i := range v {
			edit(fmt.Sprint(i), v[i], func(n any) { v[i] = n })
		}
	}
}

// TestLaw6EveryByte flips every byte of a small store's root and blobs: nothing
// is accepted in silence, and nothing panics.
func TestLaw6EveryByte(t *testing.T) {
	s, b, cfg := newVault(t, func(tx *store.Tx) error {
		addKey(t, tx, "a")
		_, err := tx.PutPolicy(store.PolicyRevision{Document: []byte("doc")})
		return errors.Join(err, tx.PutDocument("d", []byte("x")))
	})
	closeStore(t, s)
	m := medium{b, t}
	good := m.root()
	// The shards' hashes are most of the root; one bit of each byte is enough.
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		b.SetRoot(bad)
		if s, err := store.Open(t.Context(), cfg); err == nil {
			closeStore(t, s)
			t.Fatalf("a root with byte %d flipped opens", i)
		}
	}
	for i := range 200 {
		b.SetRoot(good[:len(good)-1-i])
		if s, err := store.Open(t.Context(), cfg); err == nil {
			closeStore(t, s)
			t.Fatalf("a root cut by %d bytes opens", i+1)
		}
	}
	b.SetRoot(append(bytes.Clone(good), '\n'))
	if s, err := store.Open(t.Context(), cfg); err == nil {
		closeStore(t, s)
		t.Fatal("a root with a line more opens")
	}
	b.SetRoot(good)
	for ref, err := range b.Clone().List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		blob := m.blob(ref)
		for i := range blob {
			bad := bytes.Clone(blob)
			bad[i] ^= 1 << (i % 8)
			b.SetBlob(ref, bad)
			wantDamage(t, cfg)
		}
		for _, bad := range [][]byte{{}, blob[:len(blob)-1], append(bytes.Clone(blob), 0)} {
			b.SetBlob(ref, bad)
			wantDamage(t, cfg)
		}
		b.SetBlob(ref, blob)
	}
	storetest.CheckInvariants(t, cfg)
}

func wantDamage(t *testing.T, cfg store.Config) {
	t.Helper()
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("a damaged blob keeps the whole store from opening: %v", err)
	}
	defer closeStore(t, s)
	if r, err := s.Fsck(t.Context()); err != nil || len(r.Damaged) == 0 {
		t.Fatalf("Fsck = %+v, %v; want damage", r, err)
	}
}
