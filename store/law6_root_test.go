package store_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

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

// TestParseRoot: what is not written as we write it is not read, before any MAC.
func TestParseRoot(t *testing.T) {
	_, b, _ := newVault(t, func(tx *store.Tx) error { addKey(t, tx, "a"); return tx.SetLogHead(head(7)) })
	good := string(medium{b, t}.root())
	if _, err := store.ParseRoot([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, old, new string }{
		{"a name twice", `"policy":0`, `"policy":0,"policy":0`},
		{"a name in capitals", `"policy"`, `"Policy"`},
		{"a name that is unknown", `"policy":0`, `"policy":0,"more":1`},
		{"a name that is missing", `"policy":0,`, ``},
		{"a space", `"policy":0`, `"policy": 0`},
		{"a negative policy", `"policy":0`, `"policy":-1`},
		{"a later format", `"v":1`, `"v":2`},
		{"members", `"members":[]`, `"members":[{}]`},
		{"no members", `"members":[]`, `"members":null`},
		{"a member with a bound of a day", `"members":[]`, `"members":[{"node":"a","incarnation":"b","bound_ms":86400000}]`},
		{"one member twice", `"members":[]`, `"members":[{"node":"a","incarnation":"b","bound_ms":2000},{"node":"a","incarnation":"b","bound_ms":2000}]`},
		{"revision 0", `"revision":1`, `"revision":0`},
		{"a revision that cannot grow", `"revision":1`, `"revision":18446744073709551615`},
		{"a shard more", `"shards":[`, `"shards":["",`},
		{"a shard that is none", `"shards":[`, `"shards":["x",`},
		{"a log of another name", `"log":"log1"`, `"log":"log 1"`},
		{"a log of negative size", `"size":7`, `"size":-7`},
		{"a MAC in capitals", "\nmac ", "\nmac A"},
		{"no MAC", "\nmac ", "\n"},
		{"another line", "\nmac ", "\n\nmac "},
	} {
		bad := strings.Replace(good, tc.old, tc.new, 1)
		if bad == good {
			t.Fatalf("%s: %q is not in the root", tc.name, tc.old)
		}
		if _, err := store.ParseRoot([]byte(bad)); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", tc.name, err)
		}
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
