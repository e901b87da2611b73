package sealed_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/proto/sealed"
)

var (
	now   = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	facts = sealed.Facts{Kind: "app-store-connect", KeyID: "ABC1234567", Issuer: "57246542-96fe-1a63-e053-0824d011072a", Name: "asc-release"}
	key   = bytes.Repeat([]byte("key bytes "), 14)

	// allFacts has every fact, which no key has.
	allFacts = sealed.Facts{
		Kind: "developer-portal", KeyID: "ABC1234567", Issuer: "57246542-96fe-1a63-e053-0824d011072a", Name: "apns-prod", Team: "DEF123GHIJ",
		Client: "SEARCHADS.27478e71-3bb0-4588-998c-182e2b405577", App: "1234567890", Services: "apns,device-check", Environment: "production",
		Topics: "com.example.app,com.example.app.voip", Roles: "ADMIN",
	}
)

func newPrivate(t testing.TB) *sealed.Private {
	t.Helper()
	p, err := sealed.NewPrivate("vault1", now.Add(30*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func seal(t testing.TB, r sealed.Recipient) []byte {
	t.Helper()
	file, err := sealed.Seal(r, key, facts)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSealOpen(t *testing.T) {
	p := newPrivate(t)
	r := p.Recipient()
	file := seal(t, r)
	for _, hidden := range []string{"key bytes", facts.KeyID, facts.Issuer, facts.Name} {
		if bytes.Contains(file, []byte(hidden)) {
			t.Errorf("%q is in the file", hidden)
		}
	}
	if bytes.Contains(file, []byte("PRIVATE KEY")) {
		t.Error("the file looks like a private key")
	}
	h, err := sealed.ParseHeader(file)
	if diff := cmp.Diff(sealed.Header{Vault: "vault1", Recipient: r.ID, Expires: r.Expires}, h); err != nil || diff != "" {
		t.Errorf("ParseHeader: %v (-want +got):\n%s", err, diff)
	}
	got, f, err := sealed.Open(p, file, now)
	if err != nil || !bytes.Equal(got, key) || f != facts {
		t.Errorf("Open = %q, %+v, %v", got, f, err)
	}
	// A file that a mail program has been at.
	if _, _, err := sealed.Open(p, bytes.ReplaceAll(file, []byte("\n"), []byte("\r\n")), now); err != nil {
		t.Errorf("with CRLF: %v", err)
	}
	if bytes.Equal(file, seal(t, r)) {
		t.Error("two seals of one key are the same")
	}
	all, err := sealed.Seal(r, key, allFacts)
	if err != nil {
		t.Fatal(err)
	}
	if _, f, err := sealed.Open(p, all, now); err != nil || f != allFacts {
		t.Errorf("Open = %+v, %v", f, err)
	}
	// As many topics as Apple takes for a key, of ordinary length.
	long := sealed.Facts{Topics: strings.Repeat("com.example.some.app-12345678901234567890,", 400)[:16<<10]}
	if file, err = sealed.Seal(r, key, long); err != nil {
		t.Fatal(err)
	}
	if _, f, err := sealed.Open(p, file, now); err != nil || f != long {
		t.Errorf("Open = %+v, %v", f, err)
	}
	// Facts may be missing.
	bare, err := sealed.Seal(r, key, sealed.Facts{})
	if err != nil {
		t.Fatal(err)
	}
	if _, f, err := sealed.Open(p, bare, now); err != nil || f != (sealed.Facts{}) {
		t.Errorf("Open = %+v, %v", f, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	p, other := newPrivate(t), newPrivate(t)
	elsewhere, err := sealed.NewPrivate("vault2", now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	r := p.Recipient()
	file := seal(t, r)
	impostor := other.Recipient()
	impostor.ID, impostor.Vault, impostor.Expires = r.ID, r.Vault, r.Expires
	longer := r
	longer.Expires = r.Expires.Add(time.Hour)
	replace := func(old, new string) []byte { return bytes.Replace(file, []byte(old), []byte(new), 1) }
	tests := []struct {
		name string
		file []byte
		now  time.Time
		want error
	}{
		{"another vault", seal(t, elsewhere.Recipient()), now, sealed.ErrOtherVault},
		{"another recipient", seal(t, other.Recipient()), now, sealed.ErrOtherVault},
		{"expired just now", file, r.Expires, sealed.ErrExpired},
		{"expired", file, r.Expires.Add(time.Hour), sealed.ErrExpired},
		{"the public key of someone else", seal(t, impostor), now, sealed.ErrNotOpened},
		{"a longer life", seal(t, longer), r.Expires.Add(time.Minute), sealed.ErrNotOpened},
		{"a header edited", replace("vault1", "vault2"), now, sealed.ErrOtherVault},
		{"an expiry edited", replace("2026-10-01", "2027-10-01"), now, sealed.ErrNotOpened},
		{"empty", nil, now, sealed.ErrMalformed},
		{"a key file", []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), now, sealed.ErrMalformed},
		{"a later format", replace(" v1\n", " v2\n"), now, sealed.ErrMalformed},
		{"a line more in the header", replace("\n\n", "\nmore x\n\n"), now, sealed.ErrMalformed},
		{"a line fewer", replace("recipient "+r.ID+"\n", ""), now, sealed.ErrMalformed},
		{"an expiry with a fraction", replace("T12:00:00Z", "T12:00:00.5Z"), now, sealed.ErrMalformed},
		{"an expiry in another zone", replace("T12:00:00Z", "T12:00:00+00:00"), now, sealed.ErrMalformed},
		{"no body", file[:bytes.Index(file, []byte("\n\n"))+2], now, sealed.ErrMalformed},
		{"something after it", append(bytes.Clone(file), "x\n"...), now, sealed.ErrMalformed},
		{"a line after it", append(bytes.Clone(file), '\n'), now, sealed.ErrMalformed},
		{"no end of line", bytes.TrimSuffix(file, []byte("\n")), now, sealed.ErrMalformed},
		{"spaces before it", append([]byte(" "), file...), now, sealed.ErrMalformed},
		{"too long", append(bytes.Clone(file), make([]byte, sealed.MaxFile)...), now, sealed.ErrMalformed},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, f, err := sealed.Open(p, tc.file, tc.now)
			if !errors.Is(err, tc.want) || got != nil || f != (sealed.Facts{}) {
				t.Errorf("Open = %q, %+v, %v, want %v", got, f, err, tc.want)
			}
			if err != nil && (strings.Contains(err.Error(), "BEGIN") || strings.Contains(err.Error(), "AAAA")) {
				t.Errorf("%q echoes the file", err)
			}
		})
	}
	body := bytes.Index(file, []byte("\n\n")) + 2
	for i := body; i < len(file); i++ {
		bad := bytes.Clone(file)
		bad[i] ^= 1
		if _, _, err := sealed.Open(p, bad, now); !errors.Is(err, sealed.ErrNotOpened) && !errors.Is(err, sealed.ErrMalformed) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if _, _, err := sealed.Open(p, file[:i], now); err == nil {
			t.Fatalf("cut to %d bytes, it opens", i)
		}
	}
}

func TestSealRefuses(t *testing.T) {
	r := newPrivate(t).Recipient()
	with := func(f func(*sealed.Recipient)) sealed.Recipient { c := r; f(&c); return c }
	tests := []struct {
		name  string
		r     sealed.Recipient
		key   []byte
		facts sealed.Facts
	}{
		{"no public key", with(func(r *sealed.Recipient) { r.Public = nil }), key, facts},
		{"a public key that is cut", with(func(r *sealed.Recipient) { r.Public = r.Public[1:] }), key, facts},
		{"no vault", with(func(r *sealed.Recipient) { r.Vault = "" }), key, facts},
		{"a vault that is no id", with(func(r *sealed.Recipient) { r.Vault = "a\nb" }), key, facts},
		{"a recipient that is no id", with(func(r *sealed.Recipient) { r.ID = "a/b" }), key, facts},
		{"no expiry", with(func(r *sealed.Recipient) { r.Expires = time.Time{} }), key, facts},
		{"an expiry with a fraction", with(func(r *sealed.Recipient) { r.Expires = now.Add(time.Millisecond) }), key, facts},
		{"no key", r, nil, facts},
		{"a key that is too long", r, make([]byte, 40<<10), facts},
		{"a fact that is too long", r, key, sealed.Facts{Name: strings.Repeat("x", 300)}},
		{"a team that is too long", r, key, sealed.Facts{Team: strings.Repeat("x", 257)}},
		{"a client that is too long", r, key, sealed.Facts{Client: strings.Repeat("x", 257)}},
		{"an app that is too long", r, key, sealed.Facts{App: strings.Repeat("x", 257)}},
		{"an environment that is too long", r, key, sealed.Facts{Environment: strings.Repeat("x", 257)}},
		{"services that are too long", r, key, sealed.Facts{Services: strings.Repeat("x", 16<<10+1)}},
		{"topics that are too long", r, key, sealed.Facts{Topics: strings.Repeat("x", 16<<10+1)}},
		{"roles that are too long", r, key, sealed.Facts{Roles: strings.Repeat("x", 16<<10+1)}},
		{"topics with a line break", r, key, sealed.Facts{Topics: "com.a.b\ncom.a.c"}},
		{"a fact with a line break", r, key, sealed.Facts{Kind: "a\nb"}},
		{"a fact that is no text", r, key, sealed.Facts{Issuer: "\xff"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := sealed.Seal(tc.r, tc.key, tc.facts); !errors.Is(err, sealed.ErrMalformed) {
				t.Errorf("Seal = %v, want ErrMalformed", err)
			}
		})
	}
	// The largest that is allowed stays within what is read.
	file, err := sealed.Seal(r, make([]byte, 32<<10-200), facts)
	if err != nil || len(file) > sealed.MaxFile {
		t.Errorf("the largest file has %d bytes, %v", len(file), err)
	}
}

func TestPrivateBytes(t *testing.T) {
	p := newPrivate(t)
	b, err := p.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	again, err := sealed.ParsePrivate(p.Recipient(), b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b) // it is the caller's
	file := seal(t, p.Recipient())
	for _, p := range []*sealed.Private{p, again} {
		if _, _, err := sealed.Open(p, file, now); err != nil {
			t.Errorf("Open: %v", err)
		}
	}
	c, err := again.Bytes()
	if err != nil || bytes.Equal(c, b) {
		t.Errorf("Bytes after the caller has wiped his: %v", err)
	}
	for name, k := range map[string][]byte{"nothing": nil, "cut": c[1:], "another": slices.Repeat([]byte{1}, len(c))} {
		if _, err := sealed.ParsePrivate(p.Recipient(), k); !errors.Is(err, sealed.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	again.Wipe()
	if b, err := again.Bytes(); err == nil && !bytes.Equal(b, make([]byte, len(b))) {
		t.Error("Wipe leaves the seed")
	}
	if _, err := sealed.NewPrivate("no vault", now); err == nil {
		t.Error("a vault that is no id is accepted")
	}
}

func logKey(t testing.TB, name string) (note.Signer, note.Verifier, string) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return s, v, vkey
}

func TestRecipientNote(t *testing.T) {
	signer, verifier, vkey := logKey(t, "vault1/n1")
	otherSigner, otherVerifier, _ := logKey(t, "vault1/n1")
	r := newPrivate(t).Recipient()
	r.Log = vkey
	msg, err := r.MarshalNote(signer)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]note.Verifier{"with the log's key": verifier, "without": nil} {
		got, err := sealed.ParseRecipient(msg, v)
		if diff := cmp.Diff(r, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		if got.Fingerprint() != r.Fingerprint() || !strings.HasPrefix(r.Fingerprint(), "sha256:") {
			t.Errorf("%s: the fingerprint is %s, and was %s", name, got.Fingerprint(), r.Fingerprint())
		}
	}
	if _, err := sealed.ParseRecipient(bytes.ReplaceAll(msg, []byte("\n"), []byte("\r\n")), verifier); err != nil {
		t.Errorf("with CRLF: %v", err)
	}
	if _, err := r.MarshalNote(otherSigner); err == nil {
		t.Error("a note is signed by another key than the one it names")
	}
	if _, err := (sealed.Recipient{}).MarshalNote(signer); !errors.Is(err, sealed.ErrMalformed) {
		t.Errorf("an empty recipient: %v", err)
	}
	replace := func(old, new string) []byte { return bytes.Replace(msg, []byte(old), []byte(new), 1) }
	resigned := func(f func(*sealed.Recipient)) []byte {
		c := r
		f(&c)
		m, err := c.MarshalNote(signer)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	text, _, _ := bytes.Cut(msg, []byte("\n\n"))
	more, err := note.Sign(&note.Note{Text: string(text) + "\n\nand more\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		msg  []byte
		v    note.Verifier
		want error
	}{
		{"more text than we write", more, verifier, sealed.ErrMalformed},
		{"another log's key", msg, otherVerifier, sealed.ErrSignature},
		{"an expiry edited", replace("2026-10-01", "2027-10-01"), verifier, sealed.ErrSignature},
		{"an expiry edited, and nobody's key known", replace("2026-10-01", "2027-10-01"), nil, sealed.ErrSignature},
		{"a vault edited", replace("vault vault1", "vault vault2"), nil, sealed.ErrSignature},
		{"no signature", msg[:bytes.Index(msg, []byte("\n\n"))+1], nil, sealed.ErrMalformed},
		{"an empty signature", msg[:bytes.Index(msg, []byte("\n\n"))+2], nil, sealed.ErrSignature},
		{"another KEM", replace("kem mlkem768-x25519", "kem x25519"), nil, sealed.ErrMalformed},
		{"a later format", replace(" v1\n", " v2\n"), nil, sealed.ErrMalformed},
		{"empty", nil, nil, sealed.ErrMalformed},
		{"too long", make([]byte, sealed.MaxFile+1), nil, sealed.ErrMalformed},
		{"a sealed file", seal(t, r), nil, sealed.ErrMalformed},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := sealed.ParseRecipient(tc.msg, tc.v); !errors.Is(err, tc.want) || got.Vault != "" {
				t.Errorf("ParseRecipient = %+v, %v, want %v", got, err, tc.want)
			}
		})
	}
	// Everything that the fingerprint is over changes it.
	for name, m := range map[string][]byte{
		"vault":   resigned(func(r *sealed.Recipient) { r.Vault = "vault2" }),
		"id":      resigned(func(r *sealed.Recipient) { r.ID = "other" }),
		"expires": resigned(func(r *sealed.Recipient) { r.Expires = r.Expires.Add(time.Second) }),
		"public":  resigned(func(r *sealed.Recipient) { r.Public = newPrivate(t).Recipient().Public }),
	} {
		got, err := sealed.ParseRecipient(m, verifier)
		if err != nil || got.Fingerprint() == r.Fingerprint() {
			t.Errorf("another %s has the same fingerprint, %v", name, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	p := newPrivate(f)
	file, err := sealed.Seal(p.Recipient(), key, allFacts)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte("signet-sealed-key v1\nvault v\nrecipient r\nexpires 2026-10-01T12:00:00Z\n\nAAAA\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := sealed.ParseHeader(data)
		if err == nil && (h.Vault == "" || h.Recipient == "" || h.Expires.IsZero()) {
			t.Errorf("ParseHeader = %+v", h)
		}
		_, _, err = sealed.Open(p, data, now)
		if same := bytes.Equal(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), file); (err == nil) != same {
			t.Errorf("Open = %v", err)
		}
	})
}

func FuzzRecipient(f *testing.F) {
	signer, verifier, vkey := logKey(f, "vault1/n1")
	r := newPrivate(f).Recipient()
	r.Log = vkey
	msg, err := r.MarshalNote(signer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg)
	f.Add([]byte("signet-import-recipient v1\nvault v\nrecipient r\nexpires 2026-10-01T12:00:00Z\nkem mlkem768-x25519\npublic AAAA\nlog x\n\n— x AAAA\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := sealed.ParseRecipient(data, verifier)
		if err == nil && !cmp.Equal(got, r) {
			t.Errorf("ParseRecipient = %+v", got)
		}
		if _, err := sealed.ParseRecipient(data, nil); err != nil && !errors.Is(err, sealed.ErrMalformed) && !errors.Is(err, sealed.ErrSignature) {
			t.Errorf("ParseRecipient = %v", err)
		}
	})
}
