package auditlog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	otherlog "github.com/transparency-dev/formats/log"
	otherproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var (
	testOrigin               = Origin{Vault: "v1", Node: "node-a", Log: "log-1"}
	testSigner, testVerifier = newKey(testOrigin.KeyName())
)

func newKey(name string) (note.Signer, note.Verifier) {
	skey, vkey, err := GenerateKey(name)
	if err != nil {
		panic(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		panic(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		panic(err)
	}
	return s, v
}

// grow makes a tree of n leaves, with the hashes and the head at every size.
func grow(n int64) (leaves, stored []Hash, heads []Hash) {
	var t Tree
	heads = append(heads, t.Hash())
	for i := range n {
		leaf := LeafHash(fmt.Appendf(nil, "entry %d", i))
		leaves = append(leaves, leaf)
		stored = t.Append(leaf, stored)
		heads = append(heads, t.Hash())
	}
	return leaves, stored, heads
}

func reader(stored []Hash) tlog.HashReaderFunc {
	return func(indexes []int64) ([]Hash, error) {
		var list []Hash
		for _, i := range indexes {
			list = append(list, stored[i])
		}
		return list, nil
	}
}

func bytesOf(list []Hash) [][]byte {
	var out [][]byte
	for _, h := range list {
		out = append(out, h[:])
	}
	return out
}

// TestTreeInterop compares the tree with another implementation of RFC 6962, and lets that one verify our proofs.
func TestTreeInterop(t *testing.T) {
	const n = 70
	_, stored, heads := grow(n)
	rf := &compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}
	r := rf.NewEmptyRange(0)
	for size := range int64(n + 1) {
		want, err := r.GetRootHash(nil)
		if err != nil {
			t.Fatal(err)
		}
		if size == 0 {
			want = rfc6962.DefaultHasher.EmptyRoot()
		}
		if !bytes.Equal(want, heads[size][:]) {
			t.Fatalf("size %d: hash %v, the other has %x", size, heads[size], want)
		}
		if err := r.Append(rfc6962.DefaultHasher.HashLeaf(fmt.Appendf(nil, "entry %d", size)), nil); err != nil {
			t.Fatal(err)
		}
	}
	for size := int64(1); size <= n; size++ {
		for i := range size {
			p, err := tlog.ProveRecord(size, i, reader(stored))
			if err != nil {
				t.Fatal(err)
			}
			leaf := LeafHash(fmt.Appendf(nil, "entry %d", i))
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, uint64(i), uint64(size), leaf[:], bytesOf(p), heads[size][:]); err != nil {
				t.Fatalf("inclusion of %d in %d: %v", i, size, err)
			}
			old := i + 1
			c, err := tlog.ProveTree(size, old, reader(stored))
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.VerifyConsistency(rfc6962.DefaultHasher, uint64(old), uint64(size), bytesOf(c), heads[old][:], heads[size][:]); err != nil {
				t.Fatalf("consistency from %d to %d: %v", old, size, err)
			}
			before, after := Checkpoint{testOrigin, old, heads[old]}, Checkpoint{testOrigin, size, heads[size]}
			if err := VerifyConsistency(c, before, after); err != nil {
				t.Fatal(err)
			}
			if err := VerifyInclusion(p, after, i, leaf); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTreeFrontier(t *testing.T) {
	const n = 300
	_, stored, heads := grow(n)
	var tree Tree
	for size := range int64(n) {
		var nodes []Hash
		for i, h := range tree.Frontier {
			if stored[i] != h {
				t.Fatalf("size %d: another hash at %d", size, i)
			}
			nodes = append(nodes, h)
		}
		again, err := NewTree(size, nodes)
		if err != nil || !again.Equal(&tree) || again.Hash() != heads[size] {
			t.Fatalf("size %d: %v", size, err)
		}
		tree.Append(LeafHash(fmt.Appendf(nil, "entry %d", size)), nil)
	}
	if _, err := NewTree(3, []Hash{{}}); err == nil {
		t.Error("a frontier of the wrong length was taken")
	}
}

func TestVerifyRefuses(t *testing.T) {
	leaves, stored, heads := grow(20)
	cp := func(n int64) Checkpoint { return Checkpoint{testOrigin, n, heads[n]} }
	in, err := tlog.ProveRecord(20, 7, reader(stored))
	if err != nil {
		t.Fatal(err)
	}
	con, err := tlog.ProveTree(20, 7, reader(stored))
	if err != nil {
		t.Fatal(err)
	}
	other := cp(7)
	other.Origin.Log = "log-2"
	wrong := cp(7)
	wrong.Hash[0]++
	tests := []struct {
		name string
		err  error
		ok   bool
	}{
		{"inclusion", VerifyInclusion(in, cp(20), 7, leaves[7]), true},
		{"another leaf", VerifyInclusion(in, cp(20), 7, leaves[8]), false},
		{"another index", VerifyInclusion(in, cp(20), 6, leaves[7]), false},
		{"another size", VerifyInclusion(in, cp(19), 7, leaves[7]), false},
		{"beyond", VerifyInclusion(in, cp(20), 20, leaves[7]), false},
		{"negative", VerifyInclusion(in, cp(20), -1, leaves[7]), false},
		{"short", VerifyInclusion(in[1:], cp(20), 7, leaves[7]), false},
		{"long", VerifyInclusion(append(in[:len(in):len(in)], Hash{}), cp(20), 7, leaves[7]), false},
		{"endless", VerifyInclusion(make([]Hash, 64), cp(20), 7, leaves[7]), false},
		{"consistency", VerifyConsistency(con, cp(7), cp(20)), true},
		{"of the same", VerifyConsistency(nil, cp(20), cp(20)), true},
		{"of nothing", VerifyConsistency(nil, cp(0), cp(20)), true},
		{"of nothing with a proof", VerifyConsistency(con, cp(0), cp(20)), false},
		{"backwards", VerifyConsistency(con, cp(20), cp(7)), false},
		{"of another log", VerifyConsistency(con, other, cp(20)), false},
		{"of another past", VerifyConsistency(con, wrong, cp(20)), false},
		{"without proof", VerifyConsistency(nil, cp(7), cp(20)), false},
		{"endless consistency", VerifyConsistency(make([]Hash, 65), cp(7), cp(20)), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if (tt.err == nil) != tt.ok || tt.err != nil && !errors.Is(tt.err, ErrProof) {
				t.Errorf("error %v", tt.err)
			}
		})
	}
}

func TestCheckpointInterop(t *testing.T) {
	_, _, heads := grow(9)
	want := Checkpoint{testOrigin, 9, heads[9]}
	msg, err := SignCheckpoint(want, testSigner)
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenCheckpoint(msg, testVerifier)
	if err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	other, rest, _, err := otherlog.ParseCheckpoint(msg, testOrigin.String(), testVerifier)
	if err != nil || len(rest) != 0 {
		t.Fatalf("the other reader: rest %q, %v", rest, err)
	}
	if other.Size != 9 || !bytes.Equal(other.Hash, heads[9][:]) || string(other.Marshal()) != want.text() {
		t.Errorf("the other reads %+v", other)
	}
}

func TestOpenCheckpointRefuses(t *testing.T) {
	_, _, heads := grow(9)
	sign := func(text string, signers ...note.Signer) []byte {
		msg, err := note.Sign(&note.Note{Text: text}, signers...)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	stranger, _ := newKey(testOrigin.KeyName())
	witness, _ := newKey("witness.example/w")
	elsewhere, elsewhereV := newKey("v1/node-b")
	text := Checkpoint{testOrigin, 9, heads[9]}.text()
	tests := []struct {
		name string
		msg  []byte
		v    note.Verifier
		want string // "" : accepted
	}{
		{"good", sign(text, testSigner), testVerifier, ""},
		{"with a witness", sign(text, testSigner, witness), testVerifier, ""},
		{"another key of the name", sign(text, stranger), testVerifier, "not signed by the key"},
		{"only a witness", sign(text, witness), testVerifier, "not signed by the key"},
		{"another node's key", sign(text, elsewhere), elsewhereV, "which is not the log's"},
		{"edited", bytes.Replace(sign(text, testSigner), []byte("\n9\n"), []byte("\n8\n"), 1), testVerifier, "is not valid"},
		{"extension", sign(text+"more\n", testSigner), testVerifier, "exactly three lines"},
		{"short", sign("v1/node-a/log-1\n9\n", testSigner), testVerifier, "exactly three lines"},
		{"origin", sign("v1/node-a\n9\n"+heads[9].String()+"\n", testSigner), testVerifier, "origin"},
		{"size", sign("v1/node-a/log-1\n09\n"+heads[9].String()+"\n", testSigner), testVerifier, "size"},
		{"huge", sign("v1/node-a/log-1\n9223372036854775808\n"+heads[9].String()+"\n", testSigner), testVerifier, "size"},
		{"hash", sign("v1/node-a/log-1\n9\nAAAA\n", testSigner), testVerifier, "hash"},
		{"empty with a hash", sign("v1/node-a/log-1\n0\n"+heads[9].String()+"\n", testSigner), testVerifier, "empty log"},
		{"not a note", []byte("hello\n"), testVerifier, "not a signed note"},
		{"empty", nil, testVerifier, "not a signed note"},
		{"long", sign(text+strings.Repeat("x", MaxNoteLen)+"\n", testSigner), testVerifier, "longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := OpenCheckpoint(tt.msg, tt.v)
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrCheckpoint) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := SignCheckpoint(Checkpoint{testOrigin, 9, heads[9]}, elsewhere); err == nil {
		t.Error("signed by another node's key")
	}
	if _, err := SignCheckpoint(Checkpoint{Origin{"a", "b", "../c"}, 9, heads[9]}, testSigner); err == nil {
		t.Error("signed for a malformed origin")
	}
}

func TestOrigin(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		ok       bool
	}{
		{"good", "0197-a/node_1.x/log-1", true}, {"two parts", "a/b", false}, {"four parts", "a/b/c/d", false}, {"empty part", "a//c", false},
		{"dot", "a/b/..", false}, {"hidden", "a/.b/c", false}, {"space", "a/b c/d", false}, {"plus", "a/b+/c", false}, {"long", "a/b/" + strings.Repeat("x", 65), false},
		{"newline", "a/b/c\n", false}, {"accent", "a/b/é", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := ParseOrigin(tt.in)
			if (err == nil) != tt.ok {
				t.Fatalf("error %v", err)
			}
			if tt.ok && o.String() != tt.in {
				t.Errorf("%q becomes %q", tt.in, o)
			}
		})
	}
}

func TestProofInterop(t *testing.T) {
	leaves, stored, heads := grow(20)
	msg, err := SignCheckpoint(Checkpoint{testOrigin, 20, heads[20]}, testSigner)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(20) {
		p, err := tlog.ProveRecord(20, i, reader(stored))
		if err != nil {
			t.Fatal(err)
		}
		r := Receipt{Index: i, Leaf: leaves[i], Proof: p, Note: msg}
		text, err := r.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		got, err := VerifyReceipt(text, testVerifier)
		if err != nil {
			t.Fatal(err)
		}
		r.Checkpoint = Checkpoint{testOrigin, 20, heads[20]}
		if diff := cmp.Diff(&r, got); diff != "" {
			t.Errorf("receipt (-want +got):\n%s", diff)
		}
		var other otherproof.TLogProof
		if err := other.Unmarshal(text); err != nil {
			t.Fatal(err)
		}
		if other.Index != uint64(i) || !bytes.Equal(other.Checkpoint, msg) || !bytes.Equal(other.ExtraData, leaves[i][:]) || len(other.Hashes) != len(p) {
			t.Errorf("the other reads %+v", other)
		}
		if !bytes.Equal(other.Marshal(), text) {
			t.Errorf("the other writes\n%s\nwe\n%s", other.Marshal(), text)
		}
		if _, err := VerifyReceipt(bytes.Replace(text, fmt.Appendf(nil, "index %d\n", i), fmt.Appendf(nil, "index %d\n", (i+1)%20), 1), testVerifier); !errors.Is(err, ErrProof) {
			t.Errorf("moved to another index: %v", err)
		}
	}
}

func TestParseProofRefuses(t *testing.T) {
	_, stored, heads := grow(5)
	msg, err := SignCheckpoint(Checkpoint{testOrigin, 5, heads[5]}, testSigner)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tlog.ProveRecord(5, 2, reader(stored))
	if err != nil {
		t.Fatal(err)
	}
	good := string(FormatProof(Proof{Extra: []byte("hello"), Index: 2, Hashes: p, Checkpoint: msg}))
	tests := []struct{ name, text string }{
		{"empty", ""},
		{"mark", strings.Replace(good, "@v1", "@v2", 1)},
		{"no index", strings.Replace(good, "index 2\n", "", 1)},
		{"index", strings.Replace(good, "index 2", "index 02", 1)},
		{"negative", strings.Replace(good, "index 2", "index -2", 1)},
		{"huge", strings.Replace(good, "index 2", "index 9223372036854775808", 1)},
		{"extra", strings.Replace(good, "extra aGVsbG8=", "extra aGVsbG8", 1)},
		{"extra twice", strings.Replace(good, "extra aGVsbG8=\n", "extra aGVsbG8=\nextra aGVsbG8=\n", 1)},
		{"hash", strings.Replace(good, "index 2\n", "index 2\nAAAA\n", 1)},
		{"many hashes", strings.Replace(good, "index 2\n", "index 2\n"+strings.Repeat(p[0].String()+"\n", 63), 1)},
		{"no checkpoint", good[:strings.Index(good, "\n\n")+2]},
		{"CR", strings.ReplaceAll(good, "\n", "\r\n")},
		{"long", strings.Replace(good, "aGVsbG8=", strings.Repeat("aGVs", 1<<15), 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.text == good {
				t.Fatal("the test changes nothing")
			}
			if _, err := ParseProof([]byte(tt.text)); !errors.Is(err, ErrProof) {
				t.Errorf("error %v", err)
			}
		})
	}
	if got, err := ParseProof([]byte(good)); err != nil || string(got.Extra) != "hello" || got.Index != 2 || !bytes.Equal(got.Checkpoint, msg) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := VerifyReceipt([]byte(good), testVerifier); !errors.Is(err, ErrProof) {
		t.Errorf("a proof without a leaf hash was taken for a receipt: %v", err)
	}
}

func FuzzParseProof(f *testing.F) {
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra aGVsbG8=\nindex 2\nCQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\na/b/c\n1\nx\n\n— a/b x\n"))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra \nindex 0\n\nx"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParseProof(text)
		if err != nil {
			return
		}
		if again := FormatProof(p); !bytes.Equal(again, text) {
			t.Errorf("%q\nbecomes %q", text, again)
		}
	})
}

func FuzzOpenCheckpoint(f *testing.F) {
	msg, err := SignCheckpoint(Checkpoint{testOrigin, 0, emptyTree}, testSigner)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg, "v1/node-a/log-1\n7\nCQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n")
	f.Fuzz(func(t *testing.T, msg []byte, text string) {
		_, _ = OpenCheckpoint(msg, testVerifier)
		if c, err := parseCheckpoint(text); err == nil && c.text() != text {
			t.Errorf("%q becomes %q", text, c.text())
		}
	})
}

func TestSum(t *testing.T) {
	var s Sum
	for _, bad := range []string{"", "00", strings.Repeat("A", 64), strings.Repeat("g", 64)} {
		if err := s.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("took %q", bad)
		}
	}
	want := strings.Repeat("ab", 32)
	if err := s.UnmarshalText([]byte(want)); err != nil || s.String() != want {
		t.Errorf("%v, %v", s, err)
	}
	if b, err := s.MarshalText(); err != nil || string(b) != want || hex.EncodeToString(s[:]) != want {
		t.Errorf("%s, %v", b, err)
	}
}
