package store_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

func ed25519Key(t *testing.T) (ed25519.PublicKey, []byte) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return pub, der
}

func TestSystemSecrets(t *testing.T) {
	pub, der := ed25519Key(t)
	ca, _ := newKey(t)
	s, _, cfg := newVault(t, func(tx *store.Tx) error {
		return errors.Join(tx.PutSystem("log-key", der), tx.PutSystem("ca/key", ca), tx.PutDocument("ca/certificate", []byte("der")))
	})
	msg := []byte("a checkpoint")
	for _, s := range []*store.Store{s, openVault(t, cfg)} {
		c, err := s.SystemSigner(t.Context(), "log-key")
		if err != nil {
			t.Fatal(err)
		}
		sig, err := c.Sign(nil, msg, &ed25519.Options{})
		if err != nil || !ed25519.Verify(pub, msg, sig) {
			t.Errorf("the log key's signature is wrong: %v", err)
		}
		if again, err := s.SystemSigner(t.Context(), "log-key"); err != nil || again != c {
			t.Errorf("a second SystemSigner is another one: %v", err)
		}
		if _, err := s.SystemSigner(t.Context(), "ca/key"); err != nil {
			t.Error(err)
		}
		if doc, err := s.Document(t.Context(), "ca/certificate"); err != nil || string(doc) != "der" {
			t.Errorf("Document = %q, %v", doc, err)
		}
		_, err = s.SystemSigner(t.Context(), "nothing")
		wantError(t, err, store.ErrNotFound)
		_, err = s.Document(t.Context(), "log-key")
		wantError(t, err, store.ErrNotFound)
	}
	// A replaced secret is a new signer.
	pub2, der2 := ed25519Key(t)
	commit(t, s, func(tx *store.Tx) {
		if err := tx.PutSystem("log-key", der2); err != nil {
			t.Fatal(err)
		}
	})
	c, err := s.SystemSigner(t.Context(), "log-key")
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := c.Public().(ed25519.PublicKey); !ok || !got.Equal(pub2) {
		t.Error("after it was replaced, the old secret signs")
	}
	storetest.CheckInvariants(t, cfg)
}

func TestRecipients(t *testing.T) {
	now := start
	m := storetest.Memory()
	cfg := config(m, storetest.KEK())
	cfg.Now = func() time.Time { return now }
	s, err := store.Create(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	vault := s.Snapshot().Vault()
	p, err := sealed.NewPrivate(vault, now.Add(30*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	r := p.Recipient()
	commit(t, s, func(tx *store.Tx) {
		if err := tx.PutRecipient(p); err != nil {
			t.Fatal(err)
		}
		other, err := sealed.NewPrivate("other", now)
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, tx.PutRecipient(other), store.ErrInvalid)
	})
	file, err := sealed.Seal(r, []byte("a key"), sealed.Facts{Kind: "k"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*store.Store{s, openVault(t, cfg)} {
		if diff := cmp.Diff([]sealed.Recipient{r}, s.Snapshot().Recipients()); diff != "" {
			t.Errorf("Recipients (-want +got):\n%s", diff)
		}
		err := s.OpenImport(t.Context(), r.ID, func(p *sealed.Private) error {
			key, facts, err := sealed.Open(p, file, now)
			if string(key) != "a key" || facts.Kind != "k" {
				t.Errorf("Open = %q, %+v", key, facts)
			}
			return err
		})
		if err != nil {
			t.Errorf("OpenImport: %v", err)
		}
		mine := errors.New("mine")
		err = s.OpenImport(t.Context(), r.ID, func(*sealed.Private) error { return mine })
		if err != mine { //nolint:errorlint // it is returned as it is
			t.Errorf("OpenImport = %v, want the callback's own error", err)
		}
		wantError(t, s.OpenImport(t.Context(), "nobody", nil), store.ErrNotFound)
		wantError(t, s.OpenImport(t.Context(), "no/body", nil), store.ErrNotFound)
	}
	storetest.CheckInvariants(t, cfg)

	if ids := s.Begin().DropExpiredRecipients(now); len(ids) != 0 {
		t.Errorf("a recipient that lives is dropped: %v", ids)
	}
	now = now.Add(30 * 24 * time.Hour)
	wantError(t, s.OpenImport(t.Context(), r.ID, nil), sealed.ErrExpired)
	var before int
	for range m.List(t.Context()) {
		before++
	}
	commit(t, s, func(tx *store.Tx) {
		if diff := cmp.Diff([]string{r.ID}, tx.DropExpiredRecipients(now)); diff != "" {
			t.Errorf("DropExpiredRecipients (-want +got):\n%s", diff)
		}
		if again := tx.DropExpiredRecipients(now); len(again) != 0 {
			t.Errorf("dropped twice: %v", again)
		}
	})
	wantError(t, s.OpenImport(t.Context(), r.ID, nil), store.ErrNotFound)
	if got := s.Snapshot().Recipients(); len(got) != 0 {
		t.Errorf("Recipients = %+v after they were dropped", got)
	}
	var after int
	for range m.List(t.Context()) {
		after++
	}
	if after != before-2 {
		t.Errorf("%d blobs before and %d after: the record and its shard should be gone", before, after)
	}
	if snap := storetest.CheckInvariants(t, cfg); len(snap.Recipients()) != 0 {
		t.Error("the recipient is back after opening")
	}
}

func TestPolicy(t *testing.T) {
	s, _, cfg := newVault(t, nil)
	if s.Snapshot().Policy() != nil || s.Snapshot().PolicyNumber() != 0 || s.Snapshot().PolicyDamaged() != nil {
		t.Error("a new vault has a policy")
	}
	var want []store.PolicyRevision
	for i := range 5 {
		doc := bytes.Repeat([]byte{'a' + byte(i)}, 10)
		var r store.PolicyRevision
		commit(t, s, func(tx *store.Tx) {
			var err error
			r, err = tx.PutPolicy(store.PolicyRevision{Document: doc, Digest: "d", Author: "me", Created: start})
			if err != nil {
				t.Fatal(err)
			}
		})
		doc[0] = 'x' // it was copied
		if r.Number != i+1 {
			t.Errorf("revision %d has number %d", i+1, r.Number)
		}
		want = append([]store.PolicyRevision{r}, want...)
	}
	for _, s := range []*store.Store{s, openVault(t, cfg)} {
		if diff := cmp.Diff(&want[0], s.Snapshot().Policy()); diff != "" {
			t.Errorf("Policy (-want +got):\n%s", diff)
		}
		var got []store.PolicyRevision
		for r, err := range s.PolicyHistory(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("PolicyHistory (-want +got):\n%s", diff)
		}
		for range s.PolicyHistory(t.Context()) {
			break
		}
		if r, err := s.PolicyRevision(t.Context(), 2); err != nil || string(r.Document) != "bbbbbbbbbb" {
			t.Errorf("PolicyRevision(2) = %+v, %v", r, err)
		}
		for _, n := range []int{0, -1, 6} {
			_, err := s.PolicyRevision(t.Context(), n)
			wantError(t, err, store.ErrNotFound)
		}
	}
	storetest.CheckInvariants(t, cfg)
}

func TestGaps(t *testing.T) {
	s, _, cfg := newVault(t, func(tx *store.Tx) error { return tx.SetLogHead(head(5)) })
	old := s.Snapshot().RootID()
	tx := s.Begin()
	g, err := tx.OpenGap(store.Gap{
		Kind: store.GapStore, Node: "n1", Detail: "the log knows revision 40 \xff", Found: start.In(time.FixedZone("x", 3600)),
		Log: head(5), Root: store.RootID{Lineage: "l", Revision: 40, Digest: "sha256:x"},
	}, 40)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tx.OpenGap(store.Gap{Kind: store.GapLog, Node: "n1", Found: start, Log: head(9)}, 7)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.OpenGap(l, 0); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("the same gap twice: %v", err)
	}
	if err := tx.CloseLog(head(5)); err != nil {
		t.Fatal(err)
	}
	if err := tx.CloseLog(head(5)); err != nil {
		t.Errorf("CloseLog repeated: %v", err)
	}
	wantError(t, tx.CloseLog(store.LogHead{Log: "log1", Size: 6}), store.ErrInvalid)
	snap, err := s.Commit(t.Context(), tx, store.LogHead{Log: "log2"})
	if err != nil {
		t.Fatal(err)
	}
	if id := snap.RootID(); id.Lineage == old.Lineage || id.Revision != 41 {
		t.Errorf("after the gap the root is %+v, before it was %+v", id, old)
	}
	for _, snap := range []*store.Snapshot{snap, storetest.CheckInvariants(t, cfg)} {
		if diff := cmp.Diff([]store.Gap{g, l}, snap.Gaps()); diff != "" {
			t.Errorf("Gaps (-want +got):\n%s", diff)
		}
		if got := len(snap.Stops("n1")); got != 2 {
			t.Errorf("%d gaps stop n1, want 2", got)
		}
		if got := snap.Stops("n2"); len(got) != 1 || got[0].Kind != store.GapStore {
			t.Errorf("%+v stop n2, want the store's", got)
		}
		if diff := cmp.Diff([]store.LogHead{head(5)}, snap.ClosedLogs("n1")); diff != "" {
			t.Errorf("ClosedLogs (-want +got):\n%s", diff)
		}
		if h, _ := snap.LogHead("n1"); h.Log != "log2" {
			t.Errorf("LogHead = %+v", h)
		}
	}
	snap = commit(t, s, func(tx *store.Tx) {
		for range 2 {
			if err := tx.CloseGap(g.ID); err != nil {
				t.Fatal(err)
			}
		}
	})
	if got := snap.Stops("n1"); len(got) != 1 || got[0].ID != l.ID {
		t.Errorf("%+v stop n1, want the log's gap", got)
	}
	if got := snap.Gaps(); len(got) != 2 || got[0].Closed.IsZero() || !got[1].Closed.IsZero() {
		t.Errorf("Gaps = %+v", got)
	}
	if snap.RootID().Revision != 42 {
		t.Errorf("closing made revision %d", snap.RootID().Revision)
	}
	if strings.Contains(g.Detail, "\xff") {
		t.Error("the detail has bytes that would not read back")
	}
	storetest.CheckInvariants(t, cfg)
}

func TestIDs(t *testing.T) {
	a, b := store.NewID(), store.NewID()
	if a == b || len(a) != 16 || strings.Trim(a, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		t.Errorf("NewID = %q, %q", a, b)
	}
	r := store.NewRef()
	if got, err := store.ParseRef(r.String()); err != nil || got != r {
		t.Errorf("ParseRef = %v, %v", got, err)
	}
	for _, s := range []string{"", "00", strings.ToUpper("ab" + r.String()[2:]), r.String() + "0", strings.Repeat("g", 32)} {
		if _, err := store.ParseRef(s); err == nil {
			t.Errorf("ParseRef(%q) is accepted", s)
		}
	}
}
