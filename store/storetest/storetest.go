// Package storetest is for tests of and with package store: a Backend in memory,
// one that fails as it is told, the suite that every Backend must pass, and a
// check of everything that must hold of a store.
//
// Nothing in it is for production: a MemoryBackend lasts as long as its process.
package storetest

import (
	"context"
	"crypto/rand"
	"slices"
	"testing"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/envelope"
)

// KEK returns a KEK whose key is drawn now and lies in memory.
func KEK() envelope.KEK {
	k := memoryKEK{key: make([]byte, envelope.KeySize)}
	rand.Read(k.key) // never fails
	return k
}

type memoryKEK struct{ key []byte }

func (memoryKEK) URI() string { return "memory:test" }

func (k memoryKEK) Wrap(_ context.Context, key, aad []byte) ([]byte, error) {
	return envelope.SealKey(k.key, key, aad)
}

func (k memoryKEK) Unwrap(_ context.Context, wrapped, aad []byte) ([]byte, error) {
	return envelope.OpenKey(k.key, wrapped, aad)
}

// CheckInvariants opens the store of cfg as a new process would and fails the
// test unless all of it holds: the root authenticates, every record opens and
// agrees with the others, every version is found by its fingerprint, and there is no garbage. It
// returns the snapshot that it saw.
func CheckInvariants(t testing.TB, cfg store.Config) *store.Snapshot {
	t.Helper()
	s, err := store.Open(context.WithoutCancel(t.Context()), cfg)
	if err != nil {
		t.Fatalf("opening the store again: %v", err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	}()
	r, err := s.Fsck(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatalf("checking the store: %v", err)
	}
	for _, d := range r.Damaged {
		t.Errorf("damaged: %s: %v", d.Record, d.Err)
	}
	if len(r.Garbage) != 0 {
		t.Errorf("%d blobs are garbage", len(r.Garbage))
	}
	seen := map[string]int{}
	for k := range s.Snapshot().Keys() {
		active := 0
		for _, v := range k.Versions {
			seen[v.Fingerprint]++
			found := s.Snapshot().FindFingerprint(v.Fingerprint)
			if !slices.ContainsFunc(found, func(f store.Found) bool { return f.Key == k.Name && f.Number == v.Number }) {
				t.Errorf("version %d of %s is not found by its fingerprint", v.Number, k.Name)
			}
			if v.State == store.StateActive {
				active++
			}
		}
		if active > 1 {
			t.Errorf("%s has %d active versions", k.Name, active)
		}
	}
	for fingerprint, n := range seen {
		if found := len(s.Snapshot().FindFingerprint(fingerprint)); found != n {
			t.Errorf("%d versions have one fingerprint, and %d are found by it", n, found)
		}
	}
	return s.Snapshot()
}
