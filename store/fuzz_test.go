package store_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

// FuzzRoot opens a store with any root: only the one that was written opens.
func FuzzRoot(f *testing.F) {
	b := storetest.Memory()
	cfg := config(b, storetest.KEK())
	s, err := store.Create(f.Context(), cfg, func(tx *store.Tx) error {
		addKey(f, tx, "k")
		_, err := tx.OpenGap(store.Gap{ID: "g", Kind: store.GapLog, Node: "n1", Found: start}, 3)
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	closeStore(f, s)
	good := medium{b, f}.root()
	f.Add(good)
	f.Add([]byte("{}\nmac 00\n"))
	f.Add(bytes.Replace(good, []byte(`"v":1`), []byte(`"v":2`), 1))
	f.Add(bytes.Replace(good, []byte(`"members":[]`), []byte(`"members":[{}]`), 1))
	f.Add(bytes.Replace(good, []byte(`"policy":0`), []byte(`"policy":0,"policy":0`), 1))
	f.Fuzz(func(t *testing.T, raw []byte) {
		own := b.Clone()
		own.SetRoot(raw)
		cfg := cfg
		cfg.Backend = own
		s, err := store.Open(t.Context(), cfg)
		if err == nil {
			closeStore(t, s)
		}
		if (err == nil) != bytes.Equal(raw, good) {
			t.Errorf("Open = %v", err)
		}
	})
}

// FuzzShard parses anything as a shard: what is accepted is written the same way
// again, with names in order.
func FuzzShard(f *testing.F) {
	_, b, _ := newVault(f, func(tx *store.Tx) error {
		addKey(f, tx, "k")
		addVersion(f, tx, "k")
		return nil
	})
	n := store.RecordShard("key/k")
	ref, _ := medium{b, f}.shard(n)
	f.Add(medium{b, f}.blob(ref))
	f.Add([]byte("signet-shard v1\n"))
	f.Add([]byte("signet-shard v1\nkey/k 00000000000000000000000000000000 " + strings.Repeat("0", 64) + " 1\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		es, err := store.ParseShard(n, data)
		if err != nil {
			return
		}
		if again := store.MarshalShard(es); !bytes.Equal(again, data) {
			t.Errorf("%q is read, and written as %q", data, again)
		}
		if !slices.IsSortedFunc(es, func(a, b store.Entry) int { return strings.Compare(a.Name, b.Name) }) {
			t.Error("entries are out of order")
		}
	})
}

// FuzzRecord: a record name that is accepted is written the same way again.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{"key/a", "secret/a/1", "secret/1/2/3", "policy/1", "policy/01", "system/x", "recipient/x", "document/a/b", "key/", "secret/1", "policy/-1", "key/a b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if again, ok := store.ParseRecord(s); ok && again != s {
			t.Errorf("%q is read as %q", s, again)
		}
		if strings.ContainsAny(s, " \n") {
			if _, ok := store.ParseRecord(s); ok {
				t.Errorf("%q is accepted", s)
			}
		}
		store.RecordShard(s)
	})
}
