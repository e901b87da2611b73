package vaultstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/vaultstore"
)

// What becomes of the one request that replaces the root: the answer agrees with what happened.
func TestSwapFaults(t *testing.T) {
	tests := []struct {
		fate     fate
		blind    bool // nor can the root be read
		want     error
		happened bool
	}{
		{fate: fine, happened: true},
		{fate: lost, want: store.ErrUnknown},
		{fate: replyLost, happened: true},
		{fate: replyLost, blind: true, want: store.ErrUnknown, happened: true},
		{fate: lost, blind: true, want: store.ErrUnknown},
		{fate: twice, happened: true},
		{fate: busy, want: errOther},
		{fate: unavailable, want: store.ErrUnknown},
		{fate: failedLate, happened: true},
		{fate: forbidden, happened: true}, // it is made again with a new token
		{fate: hangs, want: store.ErrUnknown},
		{fate: hangsLate, happened: true},
		{fate: foreign, happened: true},
		{fate: foreign, blind: true, want: store.ErrUnknown, happened: true},
	}
	p := newProxy(t)
	for _, tc := range tests {
		for _, old := range []string{"", "r1"} {
			t.Run(fmt.Sprintf("%s, blind %t, from %q", tc.fate, tc.blind, old), func(t *testing.T) {
				p.set(nil)
				b := open(t, p.config(t), fresh())
				if old != "" {
					swap(t, b, "", old, nil)
				}
				ref := store.NewRef()
				plan, blind := once(writesRoot, tc.fate), false
				p.set(func(r *http.Request) fate {
					if blind && r.Method == http.MethodGet {
						return lost
					}
					f := plan(r)
					blind = blind || tc.blind && f != fine
					return f
				})
				err := b.Swap(t.Context(), change(old, "r2", map[store.Ref][]byte{ref: []byte("blob")}))
				switch {
				case tc.want == nil && err != nil, tc.want != nil && err == nil,
					errors.Is(tc.want, store.ErrUnknown) != errors.Is(err, store.ErrUnknown), errors.Is(err, store.ErrConflict):
					t.Fatalf("Swap = %v, want %v", err, tc.want)
				}
				p.set(nil)
				got, err := b.Root(t.Context())
				if now := string(got) == "r2"; now != tc.happened || !now && string(got) != old {
					t.Fatalf("the root is %q, %v", got, err)
				}
				if _, err := b.Get(t.Context(), ref); tc.happened && err != nil {
					t.Errorf("a blob of the new root: %v", err)
				} else if errors.Is(tc.want, errOther) && !errors.Is(err, store.ErrNoBlob) {
					t.Errorf("a blob of a change that was refused: %v, want ErrNoBlob", err)
				}
				swap(t, b, string(got), "r3", nil)
				if got, err := b.Root(t.Context()); string(got) != "r3" || err != nil {
					t.Errorf("the root is %q, %v", got, err)
				}
			})
		}
	}
}

// errOther is an error that says that nothing has happened.
var errOther = errors.New("another error")

// A request that is held up comes after another Swap from the same root: it finds a later version and changes nothing. Where it
// comes first, the other conflicts.
func TestSwapLate(t *testing.T) {
	p := newProxy(t)
	at := fresh()
	b := open(t, p.config(t), at)
	swap(t, b, "", "r1", nil)
	p.set(once(writesRoot, late))
	if err := b.Swap(t.Context(), change("r1", "r2", nil)); !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("Swap = %v, want ErrUnknown", err)
	}
	// Past the proxy, so that the held one stays there.
	other := open(t, config(t), at)
	swap(t, other, "r1", "r2'", nil)
	p.set(nil)
	err := b.Swap(t.Context(), change("r1", "r4", nil)) // brings the held one with it
	if !errors.Is(err, store.ErrConflict) {
		t.Errorf("Swap = %v, want ErrConflict", err)
	}
	swap(t, b, "r2'", "r3", map[store.Ref][]byte{store.NewRef(): nil})
	if got, err := b.Root(t.Context()); string(got) != "r3" || err != nil {
		t.Errorf("the root is %q, %v", got, err)
	}
}

// Every request of a swap fails, or is the last before the process is gone: what is there is the old state or the new one, and
// whole, and agrees with the answer.
func TestEveryRequestFails(t *testing.T) {
	p := newProxy(t)
	for _, f := range []fate{lost, replyLost, twice, unavailable, failedLate} {
		for _, killed := range []bool{false, true} {
			if killed && f != lost && f != replyLost {
				continue
			}
			for n := 0; ; n++ {
				p.set(nil)
				b := open(t, p.config(t), fresh())
				one, two := store.NewRef(), store.NewRef()
				swap(t, b, "", "r1", map[store.Ref][]byte{one: []byte("one")})
				seen := 0
				p.set(func(*http.Request) fate {
					seen++
					switch {
					case seen == n+1:
						return f
					case seen > n+1 && killed:
						return lost
					}
					return fine
				})
				err := b.Swap(t.Context(), change("r1", "r2", map[store.Ref][]byte{two: []byte("two"), store.NewRef(): []byte("three")}))
				p.set(nil) // the plan is not called any more
				over := seen <= n
				what := fmt.Sprintf("%s at request %d, killed %t: Swap = %v", f, n, killed, err)
				got, rerr := b.Root(t.Context())
				switch root := string(got); {
				case rerr != nil, root != "r1" && root != "r2":
					t.Errorf("%s: the root is %q, %v", what, root, rerr)
				case err == nil && root != "r2", err != nil && !errors.Is(err, store.ErrUnknown) && root != "r1":
					t.Errorf("%s: the root is %q", what, root)
				case errors.Is(err, store.ErrConflict):
					t.Errorf("%s", what)
				}
				refs := []store.Ref{one}
				if string(got) == "r2" {
					refs = append(refs, two)
				}
				for _, ref := range refs {
					if _, err := b.Get(t.Context(), ref); err != nil {
						t.Errorf("%s: the root is %q, and %v", what, got, err)
					}
				}
				if over {
					break
				}
			}
		}
	}
}

// A process is killed between the first root and what is written down of it, or only the latter fails: whoever opens the place, or
// commits to it, makes up for that. A root that is then deleted with all that Vault knows of it is missed.
func TestKilledBeforeMark(t *testing.T) {
	p := newProxy(t)
	writesCreated := func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/created")
	}
	missed := func(b *vaultstore.Backend, at vaultstore.Place) {
		t.Helper()
		if _, err := theVault(t).Root.Logical().Delete("signet/metadata/" + at.Path + "/root"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Root(t.Context()); !errors.Is(err, vaultstore.ErrRootGone) {
			t.Errorf("Root = %v, want ErrRootGone", err)
		}
	}
	// killed makes a place with a root and nothing written down of it.
	killed := func(dies func(r *http.Request) bool) (*vaultstore.Backend, vaultstore.Place) {
		t.Helper()
		at := fresh()
		p.set(nil)
		b := open(t, p.config(t), at)
		gone := false
		p.set(func(r *http.Request) fate {
			if gone = gone || dies(r); gone {
				return lost
			}
			return fine
		})
		swap(t, b, "", "r1", nil)
		p.set(nil)
		if s, err := theVault(t).Root.Logical().Read("signet/data/" + at.Path + "/created"); err != nil || s != nil {
			t.Fatalf("it is written down: %v, %v", s, err)
		}
		return b, at
	}
	readsCreated := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/created")
	}
	seen := 0
	second := func(r *http.Request) bool { // the first is before the swap
		if readsCreated(r) {
			seen++
		}
		return seen == 2
	}
	_, at := killed(second)
	missed(open(t, config(t), at), at)
	_, at = killed(writesCreated)
	missed(open(t, config(t), at), at)
	b, at := killed(writesCreated)
	swap(t, b, "r1", "r2", nil)
	missed(b, at)

	// A path that was only configured has had no root.
	at = fresh()
	if _, err := theVault(t).Root.Logical().Write("signet/metadata/"+at.Path+"/root", map[string]any{"max_versions": 20}); err != nil {
		t.Fatal(err)
	}
	b = open(t, config(t), at)
	if _, err := b.Root(t.Context()); !errors.Is(err, store.ErrNoRoot) {
		t.Errorf("Root = %v, want ErrNoRoot", err)
	}
	swap(t, b, "", "r1", nil)

	// Where it is written down, nothing is written again.
	at = fresh()
	swap(t, open(t, config(t), at), "", "r1", nil)
	writes := 0
	p.set(counted(func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/data/")
	}, &writes,
		func(*http.Request) fate { return fine }))
	b = open(t, p.config(t), at)
	if writes != 0 {
		t.Errorf("opening a place made %d writes", writes)
	}
	missed(b, at)
}

// A whole store over a bad line: commits are settled by the store, and nothing is lost or made twice.
func TestStoreOverFaults(t *testing.T) {
	p := newProxy(t)
	b := open(t, p.config(t), fresh())
	cfg := store.Config{Backend: b, KEKs: keks(), Node: "n1", Now: time.Now}
	s, err := store.Create(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fates := []fate{lost, replyLost, twice, failedLate, late}
	for i := range 15 {
		p.set(once(writesRoot, fates[i%len(fates)]))
		name := fmt.Sprintf("key-%02d", i)
		for try := 0; ; try++ {
			tx := s.Begin()
			if _, ok := tx.Key(name); ok {
				t.Fatalf("%s is there although its commit failed", name)
			}
			if err := tx.PutKey(store.Key{Name: name, Kind: "apns", Created: time.Unix(1, 0).UTC()}); err != nil {
				t.Fatal(err)
			}
			_, err := s.Commit(t.Context(), tx, store.LogHead{})
			if err == nil {
				break
			}
			if errors.Is(err, store.ErrUnknown) || try > 3 {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	p.set(nil)
	if n, err := s.Collect(t.Context()); err != nil {
		t.Errorf("Collect = %d, %v", n, err)
	}
	r, err := s.Fsck(t.Context())
	if err != nil || len(r.Damaged) != 0 || s.Snapshot().Len() != 15 {
		t.Errorf("Fsck = %v, %v, with %d keys", r.Damaged, err, s.Snapshot().Len())
	}
	if len(r.Garbage) != 0 {
		t.Errorf("%d blobs of garbage after Collect", len(r.Garbage))
	}
}

// A Vault that takes requests and answers none: each call ends in its time, only so many are under way, and neither goroutines nor
// memory pile up.
func TestHanging(t *testing.T) {
	p := newProxy(t)
	cfg := p.config(t)
	cfg.Timeout, cfg.Calls = 700*time.Millisecond, 4 // time to sign in on a slow machine
	b := open(t, cfg, fresh())
	swap(t, b, "", "r1", nil)
	var mu sync.Mutex
	inside, most := 0, 0
	p.set(func(r *http.Request) fate {
		mu.Lock()
		inside++
		most = max(most, inside)
		mu.Unlock()
		context.AfterFunc(r.Context(), func() {
			mu.Lock()
			inside--
			mu.Unlock()
		})
		return hangs
	})
	round := func() {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond)
				defer cancel()
				began := time.Now()
				if _, err := b.Root(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Root = %v, want DeadlineExceeded", err)
				}
				if d := time.Since(began); d > 5*time.Second {
					t.Errorf("it took %v", d)
				}
			})
		}
		wg.Wait()
	}
	round()
	goroutines, heap := settled()
	for range 5 {
		round()
	}
	after, heapAfter := settled()
	// A leak would be of 250 calls; connections of the last ones may still be closing.
	if after > goroutines+40 {
		t.Errorf("%d goroutines became %d", goroutines, after)
	}
	if heapAfter > heap+4<<20 {
		t.Errorf("%d bytes became %d", heap, heapAfter)
	}
	// The proxy hears a little later than the client that a call is over.
	mu.Lock()
	if most > 3*cfg.Calls {
		t.Errorf("%d calls were under way, of %d that may be", most, cfg.Calls)
	}
	mu.Unlock()
	p.set(nil)
	if got, err := b.Root(t.Context()); string(got) != "r1" || err != nil {
		t.Errorf("after it, Root = %q, %v", got, err)
	}
}

func settled() (goroutines int, heap uint64) {
	time.Sleep(300 * time.Millisecond)
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtime.NumGoroutine(), m.HeapAlloc
}

// Close ends calls under way, and leaves nothing running.
func TestCloseWhileHanging(t *testing.T) {
	p := newProxy(t)
	cfg := p.config(t)
	cfg.Timeout = 20 * time.Second
	b, err := vaultstore.Open(t.Context(), cfg, fresh())
	if err != nil {
		t.Fatal(err)
	}
	p.set(always(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/data/") }, hangs))
	done := make(chan error)
	go func() {
		_, err := b.Root(t.Context())
		done <- err
	}()
	time.Sleep(100 * time.Millisecond)
	began := time.Now()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, store.ErrClosed) || time.Since(began) > 10*time.Second {
		t.Errorf("Root = %v after %v, want ErrClosed", err, time.Since(began))
	}
}
