package envelope_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/p8signet/signet/store/envelope"
)

func rootKey(t testing.TB) *envelope.RootKey {
	t.Helper()
	k, err := envelope.NewRootKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func open(k *envelope.RootKey, p envelope.Place, blob []byte) ([]byte, error) {
	var got []byte
	err := k.Open(p, blob, func(plain []byte) error {
		got = append([]byte{}, plain...)
		return nil
	})
	return got, err
}

var place = envelope.Place{Vault: "vault", Name: "secret/k/1", Version: 7}

func TestSealOpen(t *testing.T) {
	k := rootKey(t)
	for _, plain := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte("plain"), 1000)} {
		a, err := k.Seal(place, plain)
		if err != nil {
			t.Fatal(err)
		}
		b, err := k.Seal(place, plain)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(a, b) || len(a) != len(plain)+envelope.Overhead {
			t.Errorf("two seals of %d bytes have %d and %d bytes, and are equal: %v", len(plain), len(a), len(b), bytes.Equal(a, b))
		}
		if len(plain) > 4 && bytes.Contains(a, plain) {
			t.Error("the plaintext is in the blob")
		}
		got, err := open(k, place, a)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("Open = %q, %v", got, err)
		}
		if id, err := envelope.BlobKeyID(a); err != nil || id != k.ID() {
			t.Errorf("BlobKeyID = %q, %v, want %q", id, err, k.ID())
		}
	}
}

func TestOpenWipes(t *testing.T) {
	k := rootKey(t)
	blob, err := k.Seal(place, []byte("plaintext"))
	if err != nil {
		t.Fatal(err)
	}
	var kept []byte
	mine := errors.New("mine")
	err = k.Open(place, blob, func(plain []byte) error { kept = plain; return mine })
	if err != mine { //nolint:errorlint // it is returned as it is
		t.Errorf("Open = %v, want the callback's own error", err)
	}
	if len(kept) != 9 || !bytes.Equal(kept, make([]byte, 9)) {
		t.Errorf("what was lent is %q after Open", kept)
	}
}

func TestOpenRefuses(t *testing.T) {
	k, other := rootKey(t), rootKey(t)
	blob, err := k.Seal(place, []byte("plaintext"))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.Seal(place, []byte("plaintext"))
	if err != nil {
		t.Fatal(err)
	}
	spliced := bytes.Clone(foreign)
	copy(spliced[1:9], blob[1:9]) // says that it is under k
	body, err := k.Seal(place, []byte("another"))
	if err != nil {
		t.Fatal(err)
	}
	mixed := append(bytes.Clone(blob[:69]), body[69:]...)
	tests := []struct {
		name  string
		place envelope.Place
		blob  []byte
	}{
		{"another vault", envelope.Place{Vault: "vault2", Name: place.Name, Version: 7}, blob},
		{"another name", envelope.Place{Vault: "vault", Name: "secret/k/2", Version: 7}, blob},
		{"another version", envelope.Place{Vault: "vault", Name: place.Name, Version: 6}, blob},
		{"letters moved between fields", envelope.Place{Vault: "vaults", Name: "ecret/k/1", Version: 7}, blob},
		{"another root key", place, foreign},
		{"another root key that names ours", place, spliced},
		{"the data key of another record", place, mixed},
		{"nothing", place, nil},
		{"cut", place, blob[:len(blob)-1]},
		{"cut to the header", place, blob[:envelope.Overhead-1]},
		{"longer", place, append(bytes.Clone(blob), 0)},
	}
	for i := range blob {
		flipped := bytes.Clone(blob)
		flipped[i] ^= 0x40
		tests = append(tests, struct {
			name  string
			place envelope.Place
			blob  []byte
		}{"a byte flipped", place, flipped})
	}
	for _, tc := range tests {
		err := k.Open(tc.place, tc.blob, func([]byte) error {
			t.Errorf("%s: it opens", tc.name)
			return nil
		})
		if !errors.Is(err, envelope.ErrNotOpened) {
			t.Errorf("%s: %v, want ErrNotOpened", tc.name, err)
		}
	}
}

func TestMAC(t *testing.T) {
	k := rootKey(t)
	mac := k.MAC([]byte("body"))
	if !k.CheckMAC([]byte("body"), mac) {
		t.Error("its own MAC is refused")
	}
	for name, ok := range map[string]bool{
		"another body": k.CheckMAC([]byte("body2"), mac),
		"cut":          k.CheckMAC([]byte("body"), mac[:31]),
		"none":         k.CheckMAC([]byte("body"), nil),
		"another key":  rootKey(t).CheckMAC([]byte("body"), mac),
	} {
		if ok {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestWipe(t *testing.T) {
	k := rootKey(t)
	blob, err := k.Seal(place, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	mac := k.MAC([]byte("body"))
	k.Wipe()
	k.Wipe()
	if _, err := open(k, place, blob); !errors.Is(err, envelope.ErrWiped) {
		t.Errorf("Open = %v, want ErrWiped", err)
	}
	if _, err := k.Seal(place, nil); !errors.Is(err, envelope.ErrWiped) {
		t.Errorf("Seal = %v, want ErrWiped", err)
	}
	if _, err := k.Wrap(t.Context(), &fakeKEK{uri: "a:1"}, "vault"); !errors.Is(err, envelope.ErrWiped) {
		t.Errorf("Wrap = %v, want ErrWiped", err)
	}
	if k.CheckMAC([]byte("body"), mac) || k.CheckMAC([]byte("body"), nil) {
		t.Error("a wiped key accepts a MAC")
	}
}

// fakeKEK wraps with a key made of its URI, or fails.
type fakeKEK struct {
	uri   string
	key   byte
	down  error
	other bool // what it opens is not what it wrapped
	n     int
}

func (k *fakeKEK) URI() string { return k.uri }

func (k *fakeKEK) Wrap(_ context.Context, key, aad []byte) ([]byte, error) {
	return envelope.SealKey(bytes.Repeat([]byte{k.key}, envelope.KeySize), key, aad)
}

func (k *fakeKEK) Unwrap(_ context.Context, wrapped, aad []byte) ([]byte, error) {
	if k.n++; k.down != nil {
		return nil, k.down
	}
	if k.other {
		return make([]byte, envelope.KeySize), nil
	}
	return envelope.OpenKey(bytes.Repeat([]byte{k.key}, envelope.KeySize), wrapped, aad)
}

// What a KEK has wrapped and does not open is not a wrap.
func TestWrapOpens(t *testing.T) {
	k := rootKey(t)
	down := errors.New("down")
	for name, tc := range map[string]struct {
		kek  *fakeKEK
		want string
	}{
		"it may only wrap": {&fakeKEK{uri: "kms:a", key: 1, down: down}, "kms:a has just wrapped: down"},
		"another key":      {&fakeKEK{uri: "kms:a", key: 1, other: true}, "kms:a has just wrapped: it gives back another key"},
	} {
		if w, err := k.Wrap(t.Context(), tc.kek, "vault"); err == nil || !strings.Contains(err.Error(), tc.want) || w.Key != nil {
			t.Errorf("%s: Wrap = %v, %v, want %q", name, w, err, tc.want)
		}
	}
}

func TestUnwrap(t *testing.T) {
	k := rootKey(t)
	down := errors.New("down")
	a, b := &fakeKEK{uri: "file:a", key: 1}, &fakeKEK{uri: "kms:b", key: 2}
	var wraps []envelope.Wrapped
	for _, kek := range []*fakeKEK{a, b} {
		w, err := k.Wrap(t.Context(), kek, "vault")
		if err != nil {
			t.Fatal(err)
		}
		wraps = append(wraps, w)
	}
	tests := []struct {
		name  string
		keks  []envelope.KEK
		vault string
		id    string
		ok    bool
		wrong bool // every KEK was asked and none opens
	}{
		{name: "the first", keks: []envelope.KEK{a}, ok: true},
		{name: "the second", keks: []envelope.KEK{b}, ok: true},
		{name: "moved", keks: []envelope.KEK{&fakeKEK{uri: "file:elsewhere", key: 1}}, ok: true},
		{name: "a wrong one, then a right one", keks: []envelope.KEK{&fakeKEK{uri: "file:a", key: 9}, b}, ok: true},
		{name: "one that is down, then a right one", keks: []envelope.KEK{&fakeKEK{uri: "kms:b", down: down}, a}, ok: true},
		{name: "wrong", keks: []envelope.KEK{&fakeKEK{uri: "file:a", key: 9}}, wrong: true},
		{name: "of another kind", keks: []envelope.KEK{&fakeKEK{uri: "pkcs11:a", key: 1}}, wrong: true},
		{name: "down", keks: []envelope.KEK{&fakeKEK{uri: "kms:b", down: down}}},
		{name: "wrong and down", keks: []envelope.KEK{&fakeKEK{uri: "file:a", key: 9}, &fakeKEK{uri: "kms:b", down: down}}},
		{name: "another vault", keks: []envelope.KEK{a}, vault: "vault2", wrong: true},
		{name: "another id", keks: []envelope.KEK{a}, id: "0000000000000000", wrong: true},
		{name: "no id", keks: []envelope.KEK{a}, id: "xyz"},
		{name: "an id in capitals", keks: []envelope.KEK{a}, id: "ABCDEF0000000000"},
		{name: "none"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			vault, id := "vault", k.ID()
			if tc.vault != "" {
				vault = tc.vault
			}
			if tc.id != "" {
				id = tc.id
			}
			got, err := envelope.Unwrap(t.Context(), tc.keks, vault, id, wraps)
			if (err == nil) != tc.ok || errors.Is(err, envelope.ErrNotOpened) != tc.wrong {
				t.Fatalf("Unwrap = %v, want ok = %v, ErrNotOpened = %v", err, tc.ok, tc.wrong)
			}
			if tc.ok && (got.ID() != k.ID() || !got.CheckMAC([]byte("x"), k.MAC([]byte("x")))) {
				t.Error("another key")
			}
		})
	}
	if _, err := envelope.Unwrap(t.Context(), []envelope.KEK{&fakeKEK{uri: "kms:b", down: down}}, "vault", k.ID(), wraps); !errors.Is(err, down) {
		t.Errorf("Unwrap = %v, want what the KEK said", err)
	}
	// A remote KEK is not asked about the wraps of another kind.
	c := &fakeKEK{uri: "kms:b", key: 2}
	if _, err := envelope.Unwrap(t.Context(), []envelope.KEK{c}, "vault", k.ID(), wraps); err != nil || c.n != 1 {
		t.Errorf("Unwrap asked %d times, %v", c.n, err)
	}
}

func TestKeySizes(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := envelope.SealKey(make([]byte, n), []byte("k"), nil); err == nil {
			t.Errorf("a key of %d bytes seals", n)
		}
		if _, err := envelope.OpenKey(make([]byte, n), make([]byte, 60), nil); err == nil {
			t.Errorf("a key of %d bytes opens", n)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := rootKey(f)
	blob, err := k.Seal(place, []byte("plaintext"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob, place.Vault, place.Name, place.Version)
	f.Add(blob[:envelope.Overhead], "v", "n", uint64(0))
	f.Add([]byte{}, "", "", uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, vault, name string, version uint64) {
		p := envelope.Place{Vault: vault, Name: name, Version: version}
		got, err := open(k, p, b)
		if same := bytes.Equal(b, blob) && p == place; (err == nil) != same {
			t.Errorf("Open = %q, %v", got, err)
		}
		if id, err := envelope.BlobKeyID(b); err == nil && len(id) != 16 {
			t.Errorf("BlobKeyID = %q", id)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	k := rootKey(b)
	blob, err := k.Seal(place, make([]byte, 400))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := k.Open(place, blob, func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
