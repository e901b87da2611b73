package vaultstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/vaultstore"
	"github.com/p8signet/signet/store/vaultstore/vaultrun"
)

// The script sets a Vault up from nothing, under other names than the usual; what it made suffices for all that we do, and running
// it again changes nothing. Then that Vault is sealed, paused and killed: every call ends with the reason, and all is there after.
func TestSetUpAndOutages(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl on this machine, which setup.sh needs")
	}
	dir := t.TempDir()
	v, err := vaultrun.Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := v.Kill(); err != nil {
			t.Error(err)
		}
	}()
	setup := func(file string) (string, error) {
		out, err := v.SetUp(t.Context(), file,
			"SIGNET_MOUNT=team/keys", "SIGNET_PATH=prod/eu", "SIGNET_TRANSIT=team/transit", "SIGNET_KEY=root", "SIGNET_ROLE=minter", "SIGNET_POLICY=minting")
		return string(out), err
	}
	secret := filepath.Join(dir, "secret-id")
	out, err := setup(secret)
	if err != nil {
		t.Fatalf("setup.sh: %v\n%s", err, out)
	}
	fi, err := os.Stat(secret)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the secret id's file is %v, %v", fi.Mode(), err)
	}
	text, err := os.ReadFile(secret)
	if err != nil || strings.Contains(out, strings.TrimSpace(string(text))) || len(text) < 10 {
		t.Errorf("the secret id is %d bytes, %v; the script says %q", len(text), err, out)
	}
	if out, err := setup(secret); err != nil {
		t.Errorf("setup.sh again, with the same file: %v\n%s", err, out)
	}
	if again, err := os.ReadFile(secret); err != nil || !bytes.Equal(again, text) {
		t.Errorf("the secret id that was there is overwritten, %v", err)
	}
	if out, err := setup(filepath.Join(dir, "another")); err != nil {
		t.Errorf("setup.sh again, with another file: %v\n%s", err, out)
	}
	_, role, ok := strings.Cut(strings.TrimSpace(out), "role_id: ")
	if !ok {
		t.Fatalf("the script says %q", out)
	}
	cfg := vaultstore.Config{
		Address: v.Address, CA: v.CA, Timeout: time.Second,
		Auth: vaultstore.Auth{AppRole: &vaultstore.AppRole{RoleID: role, SecretIDFile: secret}},
	}
	at := vaultstore.Place{Mount: "team/keys", Path: "prod/eu"}
	b := open(t, cfg, at)
	k, err := openTransit(t.Context(), cfg, "vault-transit:team/transit/root")
	if err != nil {
		t.Fatal(err)
	}
	w, err := k.Wrap(t.Context(), []byte("key"), []byte("aad"))
	if err != nil {
		t.Fatal(err)
	}
	if key, err := k.Unwrap(t.Context(), w, []byte("aad")); err != nil || string(key) != "key" {
		t.Fatalf("Unwrap = %q, %v", key, err)
	}
	ref := store.NewRef()
	swap(t, b, "", "r1", map[store.Ref][]byte{ref: []byte("blob"), store.NewRef(): nil})
	swap(t, b, "r1", "r2", nil)
	n := 0
	for _, err := range b.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("List yields %d blobs, want 2", n)
	}
	if err := b.SetRegister(t.Context(), "r", 0, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := b.SetRegister(t.Context(), "r", 1, []byte("two")); err != nil {
		t.Fatal(err)
	}
	if names, err := b.ListRegisters(t.Context()); err != nil || !slices.Equal(names, []string{"r"}) {
		t.Errorf("ListRegisters = %q, %v", names, err)
	}

	back := func() {
		t.Helper()
		deadline := time.Now().Add(20 * time.Second)
		for {
			got, err := b.Root(t.Context())
			if err == nil && string(got) == "r2" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("Root = %q, %v", got, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		if blob, err := b.Get(t.Context(), ref); err != nil || string(blob) != "blob" {
			t.Errorf("Get = %q, %v", blob, err)
		}
		if value, n, err := b.Register(t.Context(), "r"); err != nil || string(value) != "two" || n != 2 {
			t.Errorf("Register = %q, %d, %v", value, n, err)
		}
	}
	gone := func(want string) {
		t.Helper()
		began := time.Now()
		_, err := b.Root(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || time.Since(began) > 10*time.Second {
			t.Errorf("Root = %v after %v, want %q", err, time.Since(began), want)
		}
		if err := b.Swap(t.Context(), change("r2", "r3", nil)); err == nil {
			t.Error("a swap succeeds")
		}
	}
	if err := v.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone("503")
	if err := v.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	back()
	if err := v.Pause(); err != nil {
		t.Fatal(err)
	}
	gone("longer than 1s")
	if err := b.SetRegister(t.Context(), "r", 7, nil); !errors.Is(err, store.ErrUnknown) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("SetRegister of a Vault that is paused = %v", err)
	}
	if err := v.Resume(); err != nil {
		t.Fatal(err)
	}
	back()
	if err := v.Kill(); err != nil {
		t.Fatal(err)
	}
	gone("refused")
	// There was no connection to send it on.
	if err := b.SetRegister(t.Context(), "r", 2, []byte("three")); err == nil || errors.Is(err, store.ErrUnknown) {
		t.Errorf("SetRegister of a Vault that is gone = %v, want it known not to have happened", err)
	}
	if err := v.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	back()
	if err := b.Delete(t.Context(), ref); err != nil {
		t.Error(err)
	}
	if err := b.RemoveRegister(t.Context(), "r"); err != nil {
		t.Error(err)
	}
}

// BenchmarkFiveThousandKeys says what 5,000 keys with a history cost in Vault: to commit them all twice, to commit one, to collect
// what that left behind, and to open them.
func BenchmarkFiveThousandKeys(b *testing.B) {
	const keys, ones = 5000, 51
	for b.Loop() {
		at := fresh()
		cfg := store.Config{Backend: open(b, config(b), at), KEKs: keks(), Node: "n1", Now: time.Now}
		s, err := store.Create(b.Context(), cfg, nil)
		if err != nil {
			b.Fatal(err)
		}
		put := func(round, keys int) time.Duration {
			began := time.Now()
			tx := s.Begin()
			for i := range keys {
				k := store.Key{Name: fmt.Sprintf("team-%d/key-%d", i%100, i), Kind: "apns", Created: time.Unix(1, 0).UTC(), Attributes: map[string]string{"round": fmt.Sprint(round)}}
				if err := tx.PutKey(k); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := s.Commit(b.Context(), tx, store.LogHead{}); err != nil {
				b.Fatal(err)
			}
			return time.Since(began)
		}
		put(0, keys)
		b.ReportMetric(put(1, keys).Seconds(), "s/5000-keys")
		var took []time.Duration
		for i := range ones {
			took = append(took, put(2+i, 1))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[ones/2].Microseconds())/1000, "ms/commit")
		began := time.Now()
		n, err := s.Collect(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/collect")
		b.ReportMetric(float64(n), "garbage")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		cfg.Backend = open(b, config(b), at)
		began = time.Now()
		if s, err = store.Open(b.Context(), cfg); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/open")
		if n := s.Snapshot().Len(); n != keys || len(s.Snapshot().Damage()) > 0 {
			b.Fatalf("%d keys are there, of %d", n, keys)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
