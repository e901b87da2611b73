package client_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
)

const policy = `version: 1
profiles:
  release: {key: asc-release, app_store_connect: {}}
grants:
  - {id: op, to: [{mtls: spiffe://signet.test/operator}], mint: [release], rate: none}
`

// liar is a connection to the real server that changes what it answers.
type liar struct {
	grpc.ClientConnInterface
	lie func(reply any)
}

func (l *liar) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	err := l.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	if err == nil && l.lie != nil {
		l.lie(reply)
	}
	return err
}

// start is a server with a few entries in its log, and a client of it through a liar that does not lie yet.
func start(t *testing.T) (*servertest.Server, *liar, *client.Client) {
	t.Helper()
	s := servertest.New(t)
	s.ImportKey("asc-release", "app-store-connect")
	s.ApplyPolicy(policy)
	l := &liar{ClientConnInterface: s.Operator()}
	c, err := client.New(l, client.LogKey{Origin: s.LogOrigin(), Key: s.LogKey()})
	if err != nil {
		t.Fatal(err)
	}
	return s, l, c
}

// lie makes a lie about one kind of answer.
func lie[T any](f func(T)) func(any) {
	return func(reply any) {
		if r, ok := reply.(T); ok {
			f(r)
		}
	}
}

func TestReceiptOfALiar(t *testing.T) {
	_, l, c := start(t)
	o := client.MintOptions{Receipt: true}
	honest, err := c.Mint(t.Context(), "release", o)
	if err != nil {
		t.Fatal(err)
	}
	if honest.Receipt == nil {
		t.Fatal("no receipt")
	}
	r := func(f func(*signetv1.Receipt)) func(any) {
		return lie(func(m *signetv1.MintTokenResponse) { f(m.GetReceipt()) })
	}
	tests := []struct {
		name string
		lie  func(any)
	}{
		{"none", lie(func(m *signetv1.MintTokenResponse) { m.Receipt = nil })},
		{"another token's", lie(func(m *signetv1.MintTokenResponse) { m.Receipt = honest.Receipt })},
		{"another token under it", lie(func(m *signetv1.MintTokenResponse) {
			m.Credential = &signetv1.MintTokenResponse_BearerToken{BearerToken: &signetv1.BearerToken{Token: "ey.another.token"}}
		})},
		{"entry changed", r(func(r *signetv1.Receipt) {
			r.Entry = bytes.Replace(r.GetEntry(), []byte("release"), []byte("RELEASE"), 1)
		})},
		{"entry of another", r(func(r *signetv1.Receipt) { r.Entry = honest.Receipt.GetEntry() })},
		{"entry missing", r(func(r *signetv1.Receipt) { r.Entry = nil })},
		{"index", r(func(r *signetv1.Receipt) { r.Index-- })},
		{"origin", r(func(r *signetv1.Receipt) { r.Origin += "x" })},
		{"leaf hash", r(func(r *signetv1.Receipt) { r.LeafHash[0] ^= 1 })},
		{"proof empty", r(func(r *signetv1.Receipt) { r.Proof = nil })},
		{"proof flipped", r(func(r *signetv1.Receipt) { r.Proof[len(r.GetProof())/2] ^= 1 })},
		{"proof of another", r(func(r *signetv1.Receipt) { r.Proof = honest.Receipt.GetProof() })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l.lie = tt.lie
			defer func() { l.lie = nil }()
			tok, err := c.Mint(t.Context(), "release", client.MintOptions{Receipt: true, TTL: 5 * time.Minute})
			if !errors.Is(err, client.ErrUnverified) && !errors.Is(err, client.ErrNoLogKey) {
				t.Errorf("error is %v", err)
			}
			if tok != nil && tok.Receipt != nil {
				t.Error("the receipt was handed on")
			}
		})
	}
}

func TestReceiptUnderAnotherKey(t *testing.T) {
	s, l, _ := start(t)
	o, err := auditlog.ParseOrigin(s.LogOrigin())
	if err != nil {
		t.Fatal(err)
	}
	_, forged, err := auditlog.GenerateKey(o.KeyName())
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		logs []client.LogKey
		want error
	}{
		"another key of the same name": {[]client.LogKey{{Origin: s.LogOrigin(), Key: forged}}, client.ErrUnverified},
		"no key":                       {nil, client.ErrNoLogKey},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := client.New(l, tt.logs...)
			if err != nil {
				t.Fatal(err)
			}
			tok, err := c.Mint(t.Context(), "release", client.MintOptions{Receipt: true})
			if !errors.Is(err, tt.want) {
				t.Errorf("mint: %v", err)
			}
			if minted := tok != nil; minted != (len(tt.logs) > 0) {
				t.Errorf("minted is %t", minted) // without any key it is not even asked for
			}
			if _, err := c.Checkpoint(t.Context(), ""); !errors.Is(err, tt.want) {
				t.Errorf("checkpoint: %v", err)
			}
			if _, _, err := c.Recipient(t.Context()); !errors.Is(err, tt.want) {
				t.Errorf("recipient: %v", err)
			}
		})
	}
}

func TestLogOfALiar(t *testing.T) {
	_, l, c := start(t)
	old, err := c.Checkpoint(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := c.Mint(t.Context(), "release", client.MintOptions{Receipt: true}); err != nil {
			t.Fatal(err)
		}
	}
	cp := eventually(t, c, old.Size+5)
	if err := c.VerifyEntries(t.Context(), cp, nil); err != nil {
		t.Fatalf("an honest log: %v", err)
	}
	if _, err := c.Since(t.Context(), old); err != nil {
		t.Fatalf("an honest proof: %v", err)
	}

	list := func(f func(*signetv1.ListEntriesResponse)) func(any) { return lie(f) }
	for name, tell := range map[string]func(any){
		"an entry dropped":  list(func(r *signetv1.ListEntriesResponse) { r.Entries = slices.Delete(r.GetEntries(), 2, 3) }),
		"the first dropped": list(func(r *signetv1.ListEntriesResponse) { r.Entries = r.GetEntries()[1:] }),
		"the tail dropped":  list(func(r *signetv1.ListEntriesResponse) { r.Entries = r.GetEntries()[:3]; r.NextPageToken = "" }),
		"nothing listed":    list(func(r *signetv1.ListEntriesResponse) { r.Entries = nil; r.NextPageToken = "" }),
		"two swapped":       list(func(r *signetv1.ListEntriesResponse) { e := r.GetEntries(); e[1], e[2] = e[2], e[1] }),
		"two swapped and renumbered": list(func(r *signetv1.ListEntriesResponse) {
			e := r.GetEntries()
			e[1].Line, e[2].Line = e[2].GetLine(), e[1].GetLine()
		}),
		"one twice": list(func(r *signetv1.ListEntriesResponse) { e := r.GetEntries(); e[2].Line = e[1].GetLine() }),
		"a word changed": list(func(r *signetv1.ListEntriesResponse) {
			e := r.GetEntries()[3]
			e.Line = bytes.Replace(e.GetLine(), []byte("operator"), []byte("operatox"), 1)
		}),
		"no entry at all": list(func(r *signetv1.ListEntriesResponse) { r.GetEntries()[3].Line = []byte("{}") }),
		"another log":     list(func(r *signetv1.ListEntriesResponse) { r.GetEntries()[3].Origin += "x" }),
	} {
		t.Run(name, func(t *testing.T) {
			l.lie = tell
			defer func() { l.lie = nil }()
			if err := c.VerifyEntries(t.Context(), cp, nil); !errors.Is(err, client.ErrUnverified) {
				t.Errorf("error is %v", err)
			}
		})
	}

	for name, tell := range map[string]func(any){
		"checkpoint flipped": lie(func(r *signetv1.ProveConsistencyResponse) { r.Checkpoint[len(r.GetCheckpoint())/2] ^= 1 }),
		"checkpoint older":   lie(func(r *signetv1.ProveConsistencyResponse) { r.Checkpoint = first(t, l, c) }),
		"hash flipped":       lie(func(r *signetv1.ProveConsistencyResponse) { r.Hashes[0][0] ^= 1 }),
		"hash cut":           lie(func(r *signetv1.ProveConsistencyResponse) { r.Hashes[0] = r.GetHashes()[0][:31] }),
		"hashes missing":     lie(func(r *signetv1.ProveConsistencyResponse) { r.Hashes = nil }),
	} {
		t.Run(name, func(t *testing.T) {
			l.lie = tell
			defer func() { l.lie = nil }()
			if _, err := c.Since(t.Context(), old); !errors.Is(err, client.ErrUnverified) {
				t.Errorf("error is %v", err)
			}
		})
	}

	var e *signetv1.StoredEntry
	for stored, err := range c.Entries(t.Context(), &signetv1.EntryFilter{Action: "token.mint"}, signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST, 1) {
		if err != nil {
			t.Fatal(err)
		}
		e = stored
		break
	}
	if _, _, err := c.Prove(t.Context(), e); err != nil {
		t.Fatalf("an honest proof: %v", err)
	}
	for name, tell := range map[string]func(any){
		"inclusion flipped": lie(func(r *signetv1.ProveInclusionResponse) { r.Proof[len(r.GetProof())/2] ^= 1 }),
		"inclusion missing": lie(func(r *signetv1.ProveInclusionResponse) { r.Proof = nil }),
	} {
		t.Run(name, func(t *testing.T) {
			l.lie = tell
			defer func() { l.lie = nil }()
			if _, _, err := c.Prove(t.Context(), e); !errors.Is(err, client.ErrUnverified) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestRecipientOfALiar(t *testing.T) {
	s, l, c := start(t)
	if _, _, err := c.Recipient(t.Context()); err != nil {
		t.Fatalf("an honest recipient: %v", err)
	}
	other := servertest.New(t)
	oc, err := client.New(other.Operator(), client.LogKey{Origin: other.LogOrigin(), Key: other.LogKey()})
	if err != nil {
		t.Fatal(err)
	}
	_, foreign, err := oc.Recipient(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, tell := range map[string]func(any){
		"flipped":         lie(func(r *signetv1.Recipient) { r.Note[len(r.GetNote())/2] ^= 1 }),
		"another vault's": lie(func(r *signetv1.Recipient) { r.Note = foreign }),
		"empty":           lie(func(r *signetv1.Recipient) { r.Note = nil }),
	} {
		t.Run(name, func(t *testing.T) {
			l.lie = tell
			defer func() { l.lie = nil }()
			if _, _, err := c.Recipient(t.Context()); err == nil {
				t.Error("it was taken")
			}
		})
	}
	pinned := client.Config{Logs: []client.LogKey{{Origin: s.LogOrigin(), Key: s.LogKey()}}}
	if _, err := pinned.VerifyRecipient(foreign); !errors.Is(err, client.ErrUnverified) {
		t.Errorf("offline: %v", err)
	}
}

// eventually is a checkpoint over at least this many entries; one follows within a second.
func eventually(t *testing.T, c *client.Client, size int64) client.Signed {
	t.Helper()
	for range 100 {
		cp, err := c.Checkpoint(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if cp.Size >= size {
			return cp
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("no checkpoint over %d entries", size)
	return client.Signed{}
}

// first is a signed checkpoint that is not the latest: a receipt's, from before.
func first(t *testing.T, l *liar, c *client.Client) []byte {
	t.Helper()
	l.lie = nil
	tok, err := c.Mint(t.Context(), "release", client.MintOptions{Receipt: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := auditlog.ParseProof(tok.Receipt.GetProof())
	if err != nil {
		t.Fatal(err)
	}
	return p.Checkpoint
}
