package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// filled is a log of n entries in several segments, reopened so that only the newest is known.
func filled(t testing.TB, n int, edit func(c *audit.Config)) (*storetest.FaultFS, *audit.Log) {
	t.Helper()
	fsys := storetest.NewFaultFS()
	c := config(fsys)
	c.SegmentSize = 20_000
	if edit != nil {
		edit(&c)
	}
	l := mustOpen(t, c)
	var wg sync.WaitGroup
	next := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				mustAppend(t, l, entry(i), audit.AppendOptions{})
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	mustClose(t, l)
	l = mustOpen(t, c)
	t.Cleanup(func() { mustClose(t, l) })
	return fsys, l
}

func TestRanges(t *testing.T) {
	const n = 300
	_, l := filled(t, n, nil)
	whole := all(t, l)
	if len(whole) != n {
		t.Fatalf("%d entries", len(whole))
	}
	for _, tt := range []struct{ from, to, first, count int64 }{
		{0, 1 << 62, 0, n}, {0, 0, 0, 0}, {5, 5, 0, 0}, {7, 3, 0, 0}, {-5, 3, 0, 3}, {n, n + 5, 0, 0}, {n - 1, n + 5, n - 1, 1}, {100, 101, 100, 1}, {17, 250, 17, 233}, {n + 7, 1 << 62, 0, 0},
	} {
		t.Run(fmt.Sprintf("%d-%d", tt.from, tt.to), func(t *testing.T) {
			var want []string
			if tt.count > 0 {
				want = whole[tt.first : tt.first+tt.count]
			}
			for _, order := range []string{"forward", "reverse"} {
				var got []string
				seq := l.Entries(t.Context(), tt.from, tt.to)
				if order == "reverse" {
					seq = l.Reverse(t.Context(), tt.from, tt.to)
				}
				for s, err := range seq {
					if err != nil {
						t.Fatal(err)
					}
					if whole[s.Index] != string(s.Line) {
						t.Fatalf("%s: another entry at %d", order, s.Index)
					}
					got = append(got, string(s.Line))
				}
				if order == "reverse" {
					slices.Reverse(got)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", order, diff)
				}
			}
		})
	}
	for s, err := range l.Reverse(t.Context(), 0, 1<<62) { // stopping early
		if err != nil || s.Index != n-1 {
			t.Errorf("newest is %d, %v", s.Index, err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range l.Entries(ctx, 0, 10) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}
}

func TestProofs(t *testing.T) {
	const n = 200
	_, l := filled(t, n, nil)
	whole := all(t, l)
	hasher := rfc6962.DefaultHasher
	for size := int64(1); size <= n; size += 13 {
		for i := int64(0); i < size; i += 7 {
			in, err := l.ProveInclusion(t.Context(), i, size)
			if err != nil {
				t.Fatal(err)
			}
			var path [][]byte
			for _, h := range in.Proof {
				path = append(path, h[:])
			}
			if err := proof.VerifyInclusion(hasher, uint64(i), uint64(size), hasher.HashLeaf([]byte(whole[i])), path, in.Head.Hash[:]); err != nil {
				t.Fatalf("entry %d in %d: %v", i, size, err)
			}
			con, err := l.ProveConsistency(t.Context(), auditlog.Checkpoint{Origin: origin, Size: size, Hash: in.Head.Hash})
			if err != nil {
				t.Fatal(err)
			}
			path = nil
			for _, h := range con.Proof {
				path = append(path, h[:])
			}
			if err := proof.VerifyConsistency(hasher, uint64(size), n, path, in.Head.Hash[:], con.Head.Hash[:]); err != nil {
				t.Fatalf("from %d: %v", size, err)
			}
			if cp, err := auditlog.OpenCheckpoint(con.Checkpoint, verifier); err != nil || cp.Hash != con.Head.Hash {
				t.Fatalf("checkpoint %+v, %v", cp, err)
			}
		}
	}
	r, err := l.Reader("")
	if err != nil {
		t.Fatal(err)
	}
	leaf := auditlog.LeafHash([]byte(whole[42]))
	text, err := r.InclusionText(t.Context(), 42, leaf)
	if err != nil {
		t.Fatal(err)
	}
	p, err := auditlog.ParseProof(text)
	if err != nil {
		t.Fatal(err)
	}
	cp, err := auditlog.OpenCheckpoint(p.Checkpoint, verifier)
	if err != nil || auditlog.VerifyInclusion(p.Hashes, cp, 42, leaf) != nil {
		t.Errorf("%+v, %v", cp, err)
	}
	head := l.Head()
	for _, tt := range []struct {
		name string
		do   func() error
		want error
	}{
		{"beyond the head", func() error { _, err := l.ProveInclusion(t.Context(), 5, n+1); return err }, audit.ErrNoEntry},
		{"beyond the size", func() error { _, err := l.ProveInclusion(t.Context(), 5, 5); return err }, audit.ErrNoEntry},
		{"negative", func() error { _, err := l.ProveInclusion(t.Context(), -1, 5); return err }, audit.ErrNoEntry},
		{"another leaf", func() error { _, err := r.InclusionText(t.Context(), 41, leaf); return err }, audit.ErrNoEntry},
		{"text beyond", func() error { _, err := r.InclusionText(t.Context(), n, leaf); return err }, audit.ErrNoEntry},
		{"ahead", func() error {
			_, err := l.ProveConsistency(t.Context(), auditlog.Checkpoint{Origin: origin, Size: n + 1, Hash: head.Hash})
			return err
		}, audit.ErrNotContained},
		{"another past", func() error {
			_, err := l.ProveConsistency(t.Context(), auditlog.Checkpoint{Origin: origin, Size: 50, Hash: head.Hash})
			return err
		}, audit.ErrNotContained},
		{"another end", func() error {
			_, err := l.ProveConsistency(t.Context(), auditlog.Checkpoint{Origin: origin, Size: n})
			return err
		}, audit.ErrNotContained},
		{"another nothing", func() error {
			_, err := l.ProveConsistency(t.Context(), auditlog.Checkpoint{Origin: origin})
			return err
		}, audit.ErrNotContained},
		{"unknown log", func() error {
			_, err := l.ProveConsistency(t.Context(), auditlog.Checkpoint{Origin: auditlog.Origin{Vault: "v1", Node: "node-a", Log: "x"}})
			return err
		}, audit.ErrUnknownLog},
		{"another node", func() error {
			_, err := l.ProveConsistency(t.Context(), auditlog.Checkpoint{Origin: auditlog.Origin{Vault: "v1", Node: "node-b", Log: "log-1"}})
			return err
		}, audit.ErrUnknownLog},
		{"no such reader", func() error { _, err := l.Reader("x"); return err }, audit.ErrUnknownLog},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.do(); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// TestHashesFile: whatever becomes of the derived file, proofs are right.
func TestHashesFile(t *testing.T) {
	name := origin.Log + "/hashes"
	for _, tt := range []struct {
		name string
		edit func([]byte) []byte
	}{
		{"as it is", func(b []byte) []byte { return b }},
		{"gone", func([]byte) []byte { return nil }},
		{"empty", func([]byte) []byte { return []byte{} }},
		{"cut", func(b []byte) []byte { return b[:len(b)/2+5] }},
		{"zero", func(b []byte) []byte { return make([]byte, len(b)) }},
		{"a leaf changed", func(b []byte) []byte { b[2*32]++; return b }},
		{"all changed", func(b []byte) []byte {
			for i := range b {
				b[i] ^= 0x55
			}
			return b
		}},
		{"longer", func(b []byte) []byte { return append(b, make([]byte, 4096)...) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const n = 200
			fsys, first := filled(t, n, nil)
			head := first.Head()
			var heads []audit.Head
			for size := int64(1); size <= n; size++ {
				in, err := first.ProveInclusion(t.Context(), 0, size)
				if err != nil {
					t.Fatal(err)
				}
				heads = append(heads, in.Head)
			}
			copied := fsys.Fork()
			if err := copied.Tamper(name, tt.edit); err != nil {
				t.Fatal(err)
			}
			c := config(copied)
			c.Head = heads[9] // far back: needs the file, or a scan
			l := mustOpen(t, c)
			defer mustClose(t, l)
			for i, h := range heads {
				con, err := l.ProveConsistency(t.Context(), auditlog.Checkpoint{Origin: origin, Size: h.Size, Hash: h.Hash})
				if err != nil || con.Head != head {
					t.Fatalf("from %d: %+v, %v", h.Size, con.Head, err)
				}
				if _, err := l.ProveInclusion(t.Context(), int64(i), n); err != nil {
					t.Fatalf("entry %d: %v", i, err)
				}
			}
			c.Head = heads[9]
			c.Head.Hash[0]++
			if _, gap := reopened(t, copied.Fork(), func(o *audit.Config) { o.Head = c.Head }); gap == nil {
				t.Error("a head that the log does not contain: no gap")
			}
		})
	}
}

func TestArchived(t *testing.T) {
	const n = 200
	fsys, first := filled(t, n, nil)
	head := first.Head()
	in, err := first.ProveInclusion(t.Context(), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	old := in.Head
	copied := fsys.Fork()
	if err := copied.Tamper(segmentPath(1), func([]byte) []byte { return nil }); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, config(copied))
	defer mustClose(t, l)
	for _, err := range l.Entries(t.Context(), 0, n) {
		if !errors.Is(err, audit.ErrAbsent) {
			t.Fatalf("error %v", err)
		}
	}
	count, last := 0, error(nil)
	for s, err := range l.Reverse(t.Context(), 0, n) {
		if last = err; err == nil {
			count++
			if s.Index != int64(n-count) {
				t.Fatalf("index %d", s.Index)
			}
		}
	}
	if !errors.Is(last, audit.ErrAbsent) || count < 100 {
		t.Errorf("backwards %d entries, then %v", count, last)
	}
	// The file of hashes still proves what is in the archived segment; without it what is in the others.
	if _, err := l.ProveConsistency(t.Context(), auditlog.Checkpoint{Origin: origin, Size: old.Size, Hash: old.Hash}); err != nil {
		t.Error(err)
	}
	bare := copied.Fork()
	if err := bare.Tamper(origin.Log+"/hashes", func([]byte) []byte { return nil }); err != nil {
		t.Fatal(err)
	}
	l2 := mustOpen(t, config(bare))
	defer mustClose(t, l2)
	if in, err := l2.ProveInclusion(t.Context(), n-50, n); err != nil || in.Head.Hash != head.Hash {
		t.Errorf("%+v, %v", in, err)
	}
	if _, err := l2.ProveInclusion(t.Context(), 3, n); err == nil {
		t.Error("proved what nothing here can prove")
	}
	if _, gap := reopened(t, bare.Fork(), func(c *audit.Config) { c.Head = old }); gap == nil {
		t.Error("a head that cannot be shown: no gap")
	}
}

// TestDamagedOld: damage in an old segment is named when it is read.
func TestDamagedOld(t *testing.T) {
	const n = 200
	fsys, _ := filled(t, n, nil)
	for _, tt := range []struct {
		name string
		edit func([]byte) []byte
		want string
	}{
		{"flip", func(b []byte) []byte {
			// In an entry: the tree's hash in a marker, which the middle may be, is for who verifies the log.
			b[len(b)/2+bytes.Index(b[len(b)/2:], []byte(`"action"`))] ^= 1
			return b
		}, "0000000000000002.log:"},
		{"header", func(b []byte) []byte { b[20] ^= 1; return b }, "0000000000000002.log:1"},
		{"cut", func(b []byte) []byte { return b[:len(b)-100] }, "0000000000000002.log:"},
		{"gone", func([]byte) []byte { return nil }, "segment 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			copied := fsys.Fork()
			if err := copied.Tamper(segmentPath(2), tt.edit); err != nil {
				t.Fatal(err)
			}
			c := config(copied)
			l := mustOpen(t, c)
			defer mustClose(t, l)
			for _, seq := range []func(context.Context, int64, int64) func(func(audit.Stored, error) bool){
				func(ctx context.Context, a, b int64) func(func(audit.Stored, error) bool) {
					return l.Entries(ctx, a, b)
				},
				func(ctx context.Context, a, b int64) func(func(audit.Stored, error) bool) {
					return l.Reverse(ctx, a, b)
				},
			} {
				var last error
				seq(t.Context(), 0, n)(func(_ audit.Stored, err error) bool { last = err; return true })
				if last == nil || !strings.Contains(last.Error(), tt.want) || !errors.Is(last, audit.ErrDamaged) && !errors.Is(last, audit.ErrAbsent) {
					t.Errorf("error %v, want %q", last, tt.want)
				}
			}
		})
	}
}

// TestReadWhileWriting reads and proves beside appends; with -race it is also about the locks.
func TestReadWhileWriting(t *testing.T) {
	_, l := filled(t, 50, func(c *audit.Config) { c.SegmentSize = 5000 })
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for k := range 60 {
				changed := l.Changed()
				p := mustAppend(t, l, entry(i*1000+k), audit.AppendOptions{Receipt: k%3 == 0})
				<-changed
				if _, err := l.ProveInclusion(t.Context(), p.Index, p.Head.Size); err != nil {
					t.Errorf("entry %d: %v", p.Index, err)
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 20 {
				last := int64(-1)
				for s, err := range l.Entries(t.Context(), 0, 1<<62) {
					if err != nil || s.Index != last+1 {
						t.Errorf("entry %d after %d: %v", s.Index, last, err)
						return
					}
					last = s.Index
				}
				if _, err := auditlog.OpenCheckpoint(l.Checkpoint(), verifier); err != nil {
					t.Error(err)
				}
				_, _, _, _ = l.Err(), l.LastTime(), l.LastRoot(), l.Logs()
			}
		})
	}
	wg.Wait()
	if l.Head().Size != 50+180 {
		t.Errorf("%d entries", l.Head().Size)
	}
}
