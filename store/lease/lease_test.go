package lease_test

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/lease"
	"github.com/p8signet/signet/store/storetest"
)

const bound = 8 * time.Second

var kek = storetest.KEK()

// open is a store of a node on what it shares with others, through a way that fails as it is told.
func open(t *testing.T, shared *storetest.SharedMemory, node string, now func() time.Time) (*store.Store, *storetest.SharedFaulty) {
	t.Helper()
	way := storetest.NewSharedFaulty(shared, nil)
	cfg := store.Config{Backend: way, KEKs: []envelope.KEK{kek}, Node: node, Now: now}
	s, err := store.Open(t.Context(), cfg)
	if errors.Is(err, store.ErrNoRoot) {
		s, err = store.Create(t.Context(), cfg, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, way
}

func create(t *testing.T, s *store.Store, node string, now func() time.Time) *lease.Lease {
	t.Helper()
	l, err := lease.Create(t.Context(), s, node, bound, s.Snapshot().RootID(), now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestValid: a lease ends by the monotonic clock and by the wall clock, whichever is first, and when the wall clock was set back.
func TestValid(t *testing.T) {
	base := time.Now() // with both readings
	now := base
	s, way := open(t, storetest.Shared(), "a", func() time.Time { return now })
	l := create(t, s, "a", func() time.Time { return now })
	wallOnly := base.Round(0)
	for _, tc := range []struct {
		what string
		now  time.Time
		want bool
	}{
		{"at once", base, true},
		{"within the bound", base.Add(bound - time.Millisecond), true},
		{"when the bound has passed", base.Add(bound), false},
		{"after a sleep in which the monotonic clock stood still", wallOnly.Add(bound), false},
		{"with the wall clock set back a little", wallOnly.Add(-time.Second / 2), true},
		{"with the wall clock set back", wallOnly.Add(-time.Minute), false},
	} {
		now = tc.now
		if got := l.Valid(); got != tc.want {
			t.Errorf("%s: valid %v", tc.what, got)
		}
	}
	// What counts is when the renewal began, not when the answer came.
	way.Plan(func(storetest.Call) storetest.Fate { now = now.Add(bound - time.Second); return storetest.Fine })
	now = base.Add(time.Hour)
	if err := l.Renew(t.Context(), s.Snapshot().RootID()); err != nil {
		t.Fatal(err)
	}
	if !l.Valid() {
		t.Error("not valid a second before the bound has passed")
	}
	if now = now.Add(time.Second); l.Valid() {
		t.Error("valid a bound after the renewal began")
	}
	l.Stop()
	if now = base.Add(time.Hour); l.Valid() {
		t.Error("valid after Stop")
	}
}

// TestRenewSettled: a renewal whose answer is lost, late or of a copy is settled by what is there, and the next one goes on from it.
func TestRenewSettled(t *testing.T) {
	for _, tc := range []struct {
		fate  storetest.Fate
		fails bool // the renewal is not known to have landed
	}{
		{storetest.UnknownPersisted, false},
		{storetest.UnknownLost, true},
		{storetest.UnknownLate, true},
		{storetest.Twice, false},
		{storetest.Echo, false},
		{storetest.Refused, true},
	} {
		t.Run(tc.fate.String(), func(t *testing.T) {
			s, way := open(t, storetest.Shared(), "a", time.Now)
			l := create(t, s, "a", time.Now)
			n := 0
			way.Plan(func(c storetest.Call) storetest.Fate {
				if c.Op == "set" {
					if n++; n == 1 {
						return tc.fate
					}
				}
				return storetest.Fine
			})
			if err := l.Renew(t.Context(), s.Snapshot().RootID()); (err != nil) != tc.fails || errors.Is(err, lease.ErrOver) {
				t.Errorf("the renewal: %v", err)
			}
			for range 3 {
				err := l.Renew(t.Context(), s.Snapshot().RootID())
				if errors.Is(err, lease.ErrOver) {
					t.Fatalf("a write of its own was taken for another's: %v", err)
				}
				if err == nil {
					return
				}
			}
			t.Error("it does not renew any more")
		})
	}
}

// TestFence: a lease that somebody has ended is never renewed again, and says by whom.
func TestFence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := storetest.Shared()
		a, _ := open(t, shared, "a", time.Now)
		b, _ := open(t, shared, "b", time.Now)
		for node, want := range map[string]error{"b": lease.ErrNamesake, "a": lease.ErrOver} {
			l := create(t, a, "b", time.Now)
			peers := lease.NewPeers(b, node, func() string { return "" }, time.Now, slog.New(slog.DiscardHandler))
			if alive, err := peers.Alive(t.Context(), l.Member()); alive || err != nil {
				t.Errorf("a lease that nobody renews is alive: %v, %v", alive, err)
			}
			began := time.Now()
			if err := peers.WaitOut(t.Context(), []store.Member{l.Member()}); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(began); d < bound+time.Second {
				t.Errorf("waited out for %s", d)
			}
			if err := l.Renew(t.Context(), a.Snapshot().RootID()); !errors.Is(err, want) {
				t.Errorf("renewed after a fence of %s: %v", node, err)
			}
			if l.Valid() {
				t.Error("valid after a fence was seen")
			}
			if err := l.Renew(t.Context(), a.Snapshot().RootID()); !errors.Is(err, want) {
				t.Errorf("renewed again: %v", err)
			}
		}
	})
}

// TestForeignLease: a lease that was edited or removed by hand is over.
func TestForeignLease(t *testing.T) {
	shared := storetest.Shared()
	s, _ := open(t, shared, "a", time.Now)
	for what, meddle := range map[string]func(name string, version uint64) error{
		"edited": func(name string, v uint64) error {
			return shared.SetRegister(t.Context(), name, v, []byte("{}\nmac x 00"))
		},
		"removed": func(name string, _ uint64) error { return shared.RemoveRegister(t.Context(), name) },
	} {
		l := create(t, s, "a", time.Now)
		name := "lease." + l.Member().Incarnation
		_, version, err := shared.Register(t.Context(), name)
		if err != nil || version == 0 {
			t.Fatalf("version %d, %v", version, err)
		}
		if err := meddle(name, version); err != nil {
			t.Fatal(err)
		}
		if err := l.Renew(t.Context(), s.Snapshot().RootID()); !errors.Is(err, lease.ErrOver) || l.Valid() {
			t.Errorf("%s: %v, valid %v", what, err, l.Valid())
		}
	}
}

// TestOlderLease: a lease of a store that was restored is over: no renewal would ever land on the version that is there.
func TestOlderLease(t *testing.T) {
	shared := storetest.Shared()
	s, _ := open(t, shared, "a", time.Now)
	l := create(t, s, "a", time.Now)
	name := "lease." + l.Member().Incarnation
	old, version, err := shared.Register(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Renew(t.Context(), s.Snapshot().RootID()); err != nil {
			t.Fatal(err)
		}
	}
	if err := shared.SetRegister(t.Context(), name, version+2, old); err != nil {
		t.Fatal(err)
	}
	if err := l.Renew(t.Context(), s.Snapshot().RootID()); !errors.Is(err, lease.ErrOver) || l.Valid() {
		t.Errorf("%v, valid %v", err, l.Valid())
	}
}

// TestBounds: what a bound may not be.
func TestBounds(t *testing.T) {
	s, _ := open(t, storetest.Shared(), "a", time.Now)
	for _, b := range []time.Duration{0, time.Millisecond, 24 * time.Hour, store.MaxBound + time.Second, time.Second + time.Nanosecond} {
		if _, err := lease.Create(t.Context(), s, "a", b, s.Snapshot().RootID(), time.Now); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("a bound of %s: %v", b, err)
		}
		tx := s.Begin()
		if err := tx.Join(store.Member{Node: "a", Incarnation: "x", Bound: b}); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("joining with a bound of %s: %v", b, err)
		}
	}
}

// leases are the names of the registers that are leases.
func leases(t *testing.T, shared *storetest.SharedMemory) []string {
	t.Helper()
	names, err := shared.ListRegisters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "lease.") })
}

// join makes a lease's member one.
func join(t *testing.T, s *store.Store, tx *store.Tx, l *lease.Lease) error {
	t.Helper()
	if err := tx.Join(l.Member()); err != nil {
		t.Fatal(err)
	}
	_, err := s.Commit(t.Context(), tx, store.LogHead{Log: "log"})
	return err
}

// TestCollect: leases that no root lists are collected when no root can come to list them, whatever fails meanwhile; those of members
// stay, and so does what is no lease.
func TestCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := storetest.Shared()
		a, _ := open(t, shared, "a", time.Now)
		c, way := open(t, shared, "c", time.Now)
		peers := lease.NewPeers(c, "c", func() string { return "" }, time.Now, slog.New(slog.DiscardHandler))
		collect := func(want int, wantErr error) {
			t.Helper()
			if n, err := peers.Collect(t.Context()); n != want || !errors.Is(err, wantErr) {
				t.Errorf("Collect = %d, %v, want %d, %v", n, err, want, wantErr)
			}
		}
		if err := a.SetRegister(t.Context(), "checkpoint.a", 0, []byte("x")); err != nil {
			t.Fatal(err)
		}
		member := create(t, a, "a", time.Now)
		if err := join(t, a, a.Begin(), member); err != nil {
			t.Fatal(err)
		}
		create(t, a, "dead", time.Now)
		create(t, a, "dead", time.Now)
		// Two that are about to join: one is in the root before it would be collected, one has yet to commit.
		slow, late := create(t, a, "slow", time.Now), create(t, a, "late", time.Now)
		collect(0, nil)
		time.Sleep(store.MaxBound)
		younger := create(t, a, "younger", time.Now)
		if err := join(t, a, a.Begin(), slow); err != nil {
			t.Fatal(err)
		}
		before := a.Begin()
		collect(0, nil)
		if slow.Fresh() || !younger.Fresh() {
			t.Errorf("one of %s is fresh: %v, one of now: %v", store.MaxBound, slow.Fresh(), younger.Fresh())
		}
		time.Sleep(2 * time.Second)

		for _, tc := range []struct {
			op   string
			fate storetest.Fate
			want error
		}{
			{"root", storetest.Stale, store.ErrConflict},
			{"registers", storetest.Refused, storetest.ErrRefused},
			{"swap", storetest.UnknownLost, store.ErrUnknown},
			{"remove", storetest.Refused, storetest.ErrRefused},
		} {
			way.Plan(func(c storetest.Call) storetest.Fate {
				if c.Op == tc.op {
					return tc.fate
				}
				return storetest.Fine
			})
			collect(0, tc.want)
			way.Plan(nil)
			if n := len(leases(t, shared)); n != 6 {
				t.Fatalf("%s of %s: there are %d leases", tc.fate, tc.op, n)
			}
		}
		collect(3, nil)
		left := leases(t, shared)
		for _, l := range []*lease.Lease{member, slow, younger} {
			if !slices.Contains(left, "lease."+l.Member().Incarnation) {
				t.Errorf("the lease of %s is gone", l.Member().Node)
			}
		}
		if _, version, err := a.Register(t.Context(), "checkpoint.a"); err != nil || version != 1 {
			t.Errorf("the checkpoint is at version %d, %v", version, err)
		}
		// A join that was under way does not happen any more, and one that begins now knows that it must not.
		if err := join(t, a, before, late); !errors.Is(err, store.ErrConflict) {
			t.Errorf("joining with a lease that was collected: %v", err)
		}
		if late.Fresh() {
			t.Error("a lease that was collected is fresh")
		}

		if _, err := c.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		revision := c.Snapshot().RootID().Revision
		collect(0, nil)
		if now := c.Snapshot().RootID().Revision; now != revision {
			t.Errorf("collecting nothing made a commit: revision %d after %d", now, revision)
		}
	})
}
