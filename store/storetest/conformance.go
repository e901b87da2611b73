package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/p8signet/signet/store"
)

// Run runs the suite that every Backend must pass. open returns a fresh Backend
// without a root each time.
func Run(t *testing.T, open func(t *testing.T) store.Backend) {
	runAll(t, open, []test[store.Backend]{
		{"no root is an error", testNoRoot},
		{"first swap", testFirstSwap},
		{"swap replaces root and blobs as one", testSwap},
		{"a swap from another root changes nothing", testConflict},
		{"an empty root is refused", testEmptyRoot},
		{"an ended context changes nothing", testContext},
		{"list and delete", testListDelete},
		{"what is given and taken is the caller's", testCopies},
		{"of swaps at once one wins", testRace},
		{"readers do not wait for good", testReaders},
		{"large blobs", testLarge},
		{"closed", testClosed},
	})
}

// test is one of a suite for what is a Backend, and perhaps more.
type test[B store.Backend] struct {
	name string
	run  func(*testing.T, B)
}

func runAll[B store.Backend](t *testing.T, open func(t *testing.T) B, tests []test[B]) {
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b := open(t)
			t.Cleanup(func() {
				if err := b.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			tc.run(t, b)
		})
	}
}

func swap(t *testing.T, b store.Backend, c store.Change) {
	t.Helper()
	if err := b.Swap(t.Context(), c); err != nil {
		t.Fatalf("Swap: %v", err)
	}
}

func wantRoot(t *testing.T, b store.Backend, want string) {
	t.Helper()
	got, err := b.Root(t.Context())
	if err != nil || string(got) != want {
		t.Fatalf("Root = %q, %v, want %q", got, err, want)
	}
}

func wantBlob(t *testing.T, b store.Backend, ref store.Ref, want string) {
	t.Helper()
	got, err := b.Get(t.Context(), ref)
	if err != nil || string(got) != want {
		t.Fatalf("Get = %q, %v, want %q", got, err, want)
	}
}

func wantNoBlob(t *testing.T, b store.Backend, ref store.Ref) {
	t.Helper()
	if got, err := b.Get(t.Context(), ref); !errors.Is(err, store.ErrNoBlob) {
		t.Fatalf("Get = %q, %v, want ErrNoBlob", got, err)
	}
}

func list(t *testing.T, b store.Backend) map[store.Ref]bool {
	t.Helper()
	refs := map[store.Ref]bool{}
	for ref, err := range b.List(t.Context()) {
		if err != nil {
			t.Fatalf("List: %v", err)
		}
		if refs[ref] {
			t.Fatalf("List yields %s twice", ref)
		}
		refs[ref] = true
	}
	return refs
}

func testNoRoot(t *testing.T, b store.Backend) {
	if _, err := b.Root(t.Context()); !errors.Is(err, store.ErrNoRoot) {
		t.Errorf("Root = %v, want ErrNoRoot", err)
	}
	wantNoBlob(t, b, store.NewRef())
	if refs := list(t, b); len(refs) != 0 {
		t.Errorf("List yields %d blobs", len(refs))
	}
}

func testFirstSwap(t *testing.T, b store.Backend) {
	ref := store.NewRef()
	if err := b.Swap(t.Context(), store.Change{Old: []byte("other"), New: []byte("r0"), Put: map[store.Ref][]byte{ref: []byte("x")}}); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("Swap from a root where there is none = %v, want ErrConflict", err)
	}
	wantNoBlob(t, b, ref)
	swap(t, b, store.Change{New: []byte("r1"), Put: map[store.Ref][]byte{ref: []byte("one")}})
	wantRoot(t, b, "r1")
	wantBlob(t, b, ref, "one")
	if err := b.Swap(t.Context(), store.Change{New: []byte("r2")}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a second first Swap = %v, want ErrConflict", err)
	}
	wantRoot(t, b, "r1")
}

func testSwap(t *testing.T, b store.Backend) {
	one, two, three := store.NewRef(), store.NewRef(), store.NewRef()
	swap(t, b, store.Change{New: []byte("r1"), Put: map[store.Ref][]byte{one: []byte("one"), two: {}}})
	wantBlob(t, b, two, "")
	swap(t, b, store.Change{Old: []byte("r1"), New: []byte("r2"), Put: map[store.Ref][]byte{three: []byte("three")}, Drop: []store.Ref{one}})
	wantRoot(t, b, "r2")
	wantBlob(t, b, two, "")
	wantBlob(t, b, three, "three")
	swap(t, b, store.Change{Old: []byte("r2"), New: []byte("r2")})
	wantRoot(t, b, "r2")
}

func testConflict(t *testing.T, b store.Backend) {
	keep, ref := store.NewRef(), store.NewRef()
	swap(t, b, store.Change{New: []byte("r1"), Put: map[store.Ref][]byte{keep: []byte("keep")}})
	for _, old := range []string{"r0", "r", "r11", ""} {
		c := store.Change{Old: []byte(old), New: []byte("r2"), Put: map[store.Ref][]byte{ref: []byte("x")}, Drop: []store.Ref{keep}}
		if err := b.Swap(t.Context(), c); !errors.Is(err, store.ErrConflict) {
			t.Errorf("Swap from %q = %v, want ErrConflict", old, err)
		}
	}
	wantRoot(t, b, "r1")
	wantBlob(t, b, keep, "keep")
	wantNoBlob(t, b, ref)
}

func testEmptyRoot(t *testing.T, b store.Backend) {
	if err := b.Swap(t.Context(), store.Change{}); err == nil || errors.Is(err, store.ErrUnknown) {
		t.Errorf("Swap to an empty root = %v, want it refused", err)
	}
}

func testContext(t *testing.T, b store.Backend) {
	swap(t, b, store.Change{New: []byte("r1")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ref := store.NewRef()
	err := b.Swap(ctx, store.Change{Old: []byte("r1"), New: []byte("r2"), Put: map[store.Ref][]byte{ref: []byte("x")}})
	if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnknown) {
		t.Errorf("Swap = %v, want context.Canceled", err)
	}
	if _, err := b.Root(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Root = %v, want context.Canceled", err)
	}
	if _, err := b.Get(ctx, ref); !errors.Is(err, context.Canceled) {
		t.Errorf("Get = %v, want context.Canceled", err)
	}
	wantRoot(t, b, "r1")
	wantNoBlob(t, b, ref)
}

func testListDelete(t *testing.T, b store.Backend) {
	put := map[store.Ref][]byte{}
	for i := range 2500 {
		put[store.NewRef()] = fmt.Appendf(nil, "blob %d", i)
	}
	swap(t, b, store.Change{New: []byte("r1"), Put: put})
	refs := list(t, b)
	if len(refs) != len(put) {
		t.Fatalf("List yields %d blobs, want %d", len(refs), len(put))
	}
	gone := store.NewRef() // never was there
	del := []store.Ref{gone}
	for ref := range maps.Keys(put) {
		if len(del) < 100 {
			del = append(del, ref)
		}
	}
	if err := b.Delete(t.Context(), del...); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	refs = list(t, b)
	if len(refs) != len(put)-99 {
		t.Errorf("List yields %d blobs after Delete, want %d", len(refs), len(put)-99)
	}
	for _, ref := range del {
		wantNoBlob(t, b, ref)
	}
	for _, err := range b.List(t.Context()) {
		if err != nil {
			t.Errorf("List: %v", err)
		}
		break // a loop that ends early
	}
	wantRoot(t, b, "r1")
}

func testCopies(t *testing.T, b store.Backend) {
	ref := store.NewRef()
	root, blob := []byte("r1"), []byte("blob")
	swap(t, b, store.Change{New: root, Put: map[store.Ref][]byte{ref: blob}})
	clear(root)
	clear(blob)
	wantRoot(t, b, "r1")
	wantBlob(t, b, ref, "blob")
	got, err := b.Get(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	wantBlob(t, b, ref, "blob")
	if got, err = b.Root(t.Context()); err != nil {
		t.Fatal(err)
	}
	clear(got)
	wantRoot(t, b, "r1")
}

func testRace(t *testing.T, b store.Backend) {
	swap(t, b, store.Change{New: []byte("r0")})
	for round := range 5 {
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				c := store.Change{
					Old: fmt.Appendf(nil, "r%d", round), New: fmt.Appendf(nil, "r%d", round+1),
					Put: map[store.Ref][]byte{store.NewRef(): fmt.Appendf(nil, "%d by %d", round, i)},
				}
				switch err := b.Swap(t.Context(), c); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, store.ErrConflict):
					t.Errorf("Swap = %v, want nil or ErrConflict", err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("round %d: %d swaps of one root succeeded", round, won.Load())
		}
	}
	if refs := list(t, b); len(refs) != 5 {
		t.Errorf("%d blobs, want the 5 of those that won", len(refs))
	}
}

func testReaders(t *testing.T, b store.Backend) {
	ref := store.NewRef()
	swap(t, b, store.Change{New: []byte("r"), Put: map[store.Ref][]byte{ref: []byte("blob")}})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got, err := b.Get(t.Context(), ref); err != nil || string(got) != "blob" {
					t.Errorf("Get = %q, %v", got, err)
					return
				}
			}
		})
	}
	last := []byte("r")
	for i := range 20 {
		next := fmt.Appendf(nil, "r%d", i)
		swap(t, b, store.Change{Old: last, New: next, Put: map[store.Ref][]byte{store.NewRef(): bytes.Repeat([]byte{byte(i)}, 100_000)}})
		last = next
	}
	close(stop)
	wg.Wait()
}

func testLarge(t *testing.T, b store.Backend) {
	ref := store.NewRef()
	blob := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	root := bytes.Repeat([]byte("r"), 64<<10)
	swap(t, b, store.Change{New: root, Put: map[store.Ref][]byte{ref: blob}})
	wantRoot(t, b, string(root))
	wantBlob(t, b, ref, string(blob))
}

func testClosed(t *testing.T, b store.Backend) {
	swap(t, b, store.Change{New: []byte("r1")})
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	if _, err := b.Root(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Root = %v, want ErrClosed", err)
	}
	if _, err := b.Get(t.Context(), store.NewRef()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Get = %v, want ErrClosed", err)
	}
	if err := b.Swap(t.Context(), store.Change{Old: []byte("r1"), New: []byte("r2")}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Swap = %v, want ErrClosed", err)
	}
	if err := b.Delete(t.Context(), store.NewRef()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Delete = %v, want ErrClosed", err)
	}
	for _, err := range b.List(t.Context()) {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("List = %v, want ErrClosed", err)
		}
	}
}
