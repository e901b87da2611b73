package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/p8signet/signet/store"
)

// SharedBackend is a Backend that several nodes may share.
type SharedBackend interface {
	store.Backend
	store.Registers
}

// RunRegisters runs the suite that every Backend with registers must pass beside
// Run's. open returns a fresh one each time.
func RunRegisters(t *testing.T, open func(t *testing.T) SharedBackend) {
	runAll(t, open, []test[SharedBackend]{
		{"names", testRegisterNames},
		{"versions grow by one", testRegisterVersions},
		{"a write on another version changes nothing", testRegisterConflict},
		{"of writes at once one wins", testRegisterRace},
		{"registers do not touch one another, the root or blobs", testRegisterApart},
		{"what is given and taken is the caller's", testRegisterCopies},
		{"removing", testRegisterRemove},
		{"listing", testRegisterList},
		{"an ended context changes nothing", testRegisterContext},
		{"closed", testRegisterClosed},
	})
}

func set(t *testing.T, b store.Registers, name string, version uint64, value string) {
	t.Helper()
	if err := b.SetRegister(t.Context(), name, version, []byte(value)); err != nil {
		t.Fatalf("SetRegister on version %d: %v", version, err)
	}
}

func wantRegister(t *testing.T, b store.Registers, name, value string, version uint64) {
	t.Helper()
	got, n, err := b.Register(t.Context(), name)
	if err != nil || string(got) != value || n != version {
		t.Fatalf("Register = %q, %d, %v, want %q, %d", got, n, err, value, version)
	}
}

func wantNoRegister(t *testing.T, b store.Registers, name string) {
	t.Helper()
	got, n, err := b.Register(t.Context(), name)
	if err != nil || got != nil || n != 0 {
		t.Fatalf("Register = %q, %d, %v, want nil and 0", got, n, err)
	}
}

func testRegisterNames(t *testing.T, b SharedBackend) {
	for _, name := range []string{"a", "Z", "lease-n1.x_2", strings.Repeat("n", 100), "a..b", "a-", "a."} {
		set(t, b, name, 0, name)
		wantRegister(t, b, name, name, 1)
	}
	// Upper and lower case are not the same.
	wantNoRegister(t, b, "A")
	for _, name := range []string{"", "1a", ".a", "..", "-a", "_a", "a/b", "a b", "a%2fb", "a?b", "é", "aé", "a\x00", strings.Repeat("n", 101)} {
		plain := func(what string, err error) {
			t.Helper()
			if err == nil || errors.Is(err, store.ErrUnknown) || errors.Is(err, store.ErrConflict) || len(name) > 2 && strings.Contains(err.Error(), name) {
				t.Errorf("%s of a bad name = %v, want it refused and not said", what, err)
			}
		}
		_, _, err := b.Register(t.Context(), name)
		plain("Register", err)
		plain("SetRegister", b.SetRegister(t.Context(), name, 0, []byte("x")))
		plain("RemoveRegister", b.RemoveRegister(t.Context(), name))
	}
}

func testRegisterVersions(t *testing.T, b SharedBackend) {
	wantNoRegister(t, b, "r")
	for n := range uint64(25) {
		set(t, b, "r", n, fmt.Sprint("value ", n))
		wantRegister(t, b, "r", fmt.Sprint("value ", n), n+1)
	}
	set(t, b, "r", 25, "")
	wantRegister(t, b, "r", "", 26)
	large := strings.Repeat("0123456789abcdef", 1<<12)
	set(t, b, "r", 26, large)
	wantRegister(t, b, "r", large, 27)
}

func testRegisterConflict(t *testing.T, b SharedBackend) {
	conflict := func(version uint64) {
		t.Helper()
		if err := b.SetRegister(t.Context(), "r", version, []byte("no")); !errors.Is(err, store.ErrConflict) {
			t.Errorf("SetRegister on version %d = %v, want ErrConflict", version, err)
		}
	}
	conflict(1)
	conflict(7)
	wantNoRegister(t, b, "r")
	set(t, b, "r", 0, "one")
	conflict(0)
	conflict(2)
	wantRegister(t, b, "r", "one", 1)
	set(t, b, "r", 1, "two")
	for _, version := range []uint64{0, 1, 3, 1 << 40} {
		conflict(version)
	}
	wantRegister(t, b, "r", "two", 2)
	// No more than that it is refused: there can be no such version.
	if err := b.SetRegister(t.Context(), "r", 1<<64-1, []byte("no")); err == nil || errors.Is(err, store.ErrUnknown) {
		t.Errorf("SetRegister on the last version = %v, want it refused", err)
	}
	wantRegister(t, b, "r", "two", 2)
}

func testRegisterRace(t *testing.T, b SharedBackend) {
	for round := range uint64(5) {
		var won atomic.Int32
		var value atomic.Value
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				mine := fmt.Sprintf("%d by %d", round, i)
				switch err := b.SetRegister(t.Context(), "r", round, []byte(mine)); {
				case err == nil:
					won.Add(1)
					value.Store(mine)
				case !errors.Is(err, store.ErrConflict):
					t.Errorf("SetRegister = %v, want nil or ErrConflict", err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("round %d: %d writes on one version succeeded", round, won.Load())
		}
		wantRegister(t, b, "r", fmt.Sprint(value.Load()), round+1)
	}
}

func testRegisterApart(t *testing.T, b SharedBackend) {
	ref := store.NewRef()
	set(t, b, "root", 0, "not the root")
	if _, err := b.Root(t.Context()); !errors.Is(err, store.ErrNoRoot) {
		t.Errorf("Root = %v, want ErrNoRoot", err)
	}
	swap(t, b, store.Change{New: []byte("r1"), Put: map[store.Ref][]byte{ref: []byte("blob")}})
	set(t, b, "blobs", 0, "not blobs")
	set(t, b, "roots", 0, "another")
	set(t, b, "root", 1, "still not")
	swap(t, b, store.Change{Old: []byte("r1"), New: []byte("r2")})
	wantRegister(t, b, "root", "still not", 2)
	wantRegister(t, b, "roots", "another", 1)
	if err := b.RemoveRegister(t.Context(), "root"); err != nil {
		t.Fatal(err)
	}
	wantRegister(t, b, "roots", "another", 1)
	wantRoot(t, b, "r2")
	wantBlob(t, b, ref, "blob")
	if refs := list(t, b); len(refs) != 1 {
		t.Errorf("List yields %d blobs, want 1", len(refs))
	}
}

func testRegisterCopies(t *testing.T, b SharedBackend) {
	value := []byte("value")
	if err := b.SetRegister(t.Context(), "r", 0, value); err != nil {
		t.Fatal(err)
	}
	clear(value)
	wantRegister(t, b, "r", "value", 1)
	got, _, err := b.Register(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	wantRegister(t, b, "r", "value", 1)
}

func testRegisterRemove(t *testing.T, b SharedBackend) {
	remove := func() {
		t.Helper()
		if err := b.RemoveRegister(t.Context(), "r"); err != nil {
			t.Fatalf("RemoveRegister: %v", err)
		}
		wantNoRegister(t, b, "r")
	}
	remove() // never was there
	set(t, b, "r", 0, "one")
	set(t, b, "r", 1, "two")
	remove()
	remove()
	if err := b.SetRegister(t.Context(), "r", 2, []byte("three")); !errors.Is(err, store.ErrConflict) {
		t.Errorf("SetRegister on a version that was removed = %v, want ErrConflict", err)
	}
	wantNoRegister(t, b, "r")
	set(t, b, "r", 0, "anew")
	got, n, err := b.Register(t.Context(), "r")
	if err != nil || string(got) != "anew" || n == 0 {
		t.Fatalf("Register = %q, %d, %v", got, n, err)
	}
	set(t, b, "r", n, "on top")
	wantRegister(t, b, "r", "on top", n+1)
}

func testRegisterList(t *testing.T, b SharedBackend) {
	want := func(names ...string) {
		t.Helper()
		got, err := b.ListRegisters(t.Context())
		slices.Sort(got)
		slices.Sort(names)
		if err != nil || !slices.Equal(got, names) {
			t.Fatalf("ListRegisters = %q, %v, want %q", got, err, names)
		}
	}
	want()
	var all []string
	for i := range 120 {
		all = append(all, fmt.Sprintf("r.%03d", i))
		set(t, b, all[i], 0, "value")
	}
	set(t, b, all[7], 1, "again")
	want(all...)
	for _, name := range all[:20] {
		if err := b.RemoveRegister(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	want(all[20:]...)
}

func testRegisterContext(t *testing.T, b SharedBackend) {
	set(t, b, "r", 0, "one")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ended := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnknown) {
			t.Errorf("%s = %v, want context.Canceled", what, err)
		}
	}
	_, _, err := b.Register(ctx, "r")
	ended("Register", err)
	ended("SetRegister", b.SetRegister(ctx, "r", 1, []byte("two")))
	ended("RemoveRegister", b.RemoveRegister(ctx, "r"))
	_, err = b.ListRegisters(ctx)
	ended("ListRegisters", err)
	wantRegister(t, b, "r", "one", 1)
}

func testRegisterClosed(t *testing.T, b SharedBackend) {
	set(t, b, "r", 0, "one")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	closed := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrUnknown) {
			t.Errorf("%s = %v, want ErrClosed", what, err)
		}
	}
	_, _, err := b.Register(t.Context(), "r")
	closed("Register", err)
	closed("SetRegister", b.SetRegister(t.Context(), "r", 1, []byte("two")))
	closed("RemoveRegister", b.RemoveRegister(t.Context(), "r"))
	_, err = b.ListRegisters(t.Context())
	closed("ListRegisters", err)
}
