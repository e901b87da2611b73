package vaultstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/lease"
	"github.com/p8signet/signet/store/storetest"
	"github.com/p8signet/signet/store/vaultstore"
)

func TestRegistersConformance(t *testing.T) {
	storetest.RunRegisters(t, func(t *testing.T) storetest.SharedBackend {
		b, err := vaultstore.Open(t.Context(), config(t), fresh())
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

func set(t testing.TB, b store.Registers, version uint64, value string) {
	t.Helper()
	if err := b.SetRegister(t.Context(), "r", version, []byte(value)); err != nil {
		t.Fatalf("SetRegister on version %d: %v", version, err)
	}
}

func wantRegister(t testing.TB, b store.Registers, value string, version uint64) {
	t.Helper()
	got, n, err := b.Register(t.Context(), "r")
	if err != nil || string(got) != value || n != version {
		t.Errorf("Register = %q, %d, %v, want %q, %d", got, n, err, value, version)
	}
}

// counted counts the requests that match picks.
func counted(match func(*http.Request) bool, n *int, plan func(*http.Request) fate) func(*http.Request) fate {
	return func(r *http.Request) fate {
		if match(r) {
			*n++
		}
		return plan(r)
	}
}

// What becomes of the one request that writes a register: the answer agrees with what happened, and there is no second request.
func TestSetRegisterFaults(t *testing.T) {
	tests := []struct {
		fate     fate
		want     error
		happened bool
	}{
		{fate: fine, happened: true},
		{fate: lost, want: store.ErrUnknown},
		{fate: replyLost, want: store.ErrUnknown, happened: true},
		{fate: twice, want: store.ErrConflict, happened: true},
		{fate: busy, want: errOther},
		{fate: unavailable, want: store.ErrUnknown},
		{fate: failedLate, want: store.ErrUnknown, happened: true},
		{fate: forbidden, want: errOther},
		{fate: hangs, want: store.ErrUnknown},
		{fate: hangsLate, want: store.ErrUnknown, happened: true},
		{fate: foreign, want: store.ErrUnknown, happened: true},
		{fate: impostor, want: store.ErrUnknown},
	}
	p := newProxy(t)
	for _, tc := range tests {
		for _, version := range []uint64{0, 1} {
			t.Run(fmt.Sprintf("%s, on version %d", tc.fate, version), func(t *testing.T) {
				p.set(nil)
				b := open(t, p.config(t), fresh())
				if version > 0 {
					set(t, b, 0, "old")
				}
				requests := 0
				p.set(counted(writesRegister, &requests, always(writesRegister, tc.fate)))
				err := b.SetRegister(t.Context(), "r", version, []byte("new"))
				p.set(nil)
				if requests != 1 {
					t.Errorf("%d requests were made, want 1", requests)
				}
				wantOutcome(t, "SetRegister", err, tc.want)
				value, at := "old", version
				if tc.happened {
					value, at = "new", version+1
				} else if version == 0 {
					value = ""
				}
				wantRegister(t, b, value, at)
				set(t, b, at, "next") // a token that was refused has been replaced
			})
		}
	}
}

// wantOutcome compares an error with nil, store.ErrUnknown, store.ErrConflict, or errOther for any other.
func wantOutcome(t testing.TB, what string, err, want error) {
	t.Helper()
	if (err == nil) != (want == nil) || errors.Is(err, store.ErrUnknown) != errors.Is(want, store.ErrUnknown) ||
		errors.Is(err, store.ErrConflict) != errors.Is(want, store.ErrConflict) {
		t.Errorf("%s = %v, want %v", what, err, want)
	}
}

// A request that is held up changes nothing once another write on top of its version has happened. Where it comes first, the
// other conflicts.
func TestSetRegisterLate(t *testing.T) {
	p := newProxy(t)
	release := func(b *vaultstore.Backend) {
		t.Helper()
		if err := b.SetRegister(t.Context(), "another", 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, version := range []uint64{0, 1} {
		t.Run(fmt.Sprintf("on version %d", version), func(t *testing.T) {
			for _, first := range []bool{true, false} {
				at := fresh()
				b, other := open(t, p.config(t), at), open(t, config(t), at) // other goes past the proxy
				if version > 0 {
					set(t, b, 0, "old")
				}
				p.set(once(writesRegister, late))
				wantOutcome(t, "SetRegister", b.SetRegister(t.Context(), "r", version, []byte("late")), store.ErrUnknown)
				if first {
					release(b)
					wantOutcome(t, "SetRegister", other.SetRegister(t.Context(), "r", version, []byte("other")), store.ErrConflict)
					wantRegister(t, b, "late", version+1)
					continue
				}
				set(t, other, version, "other")
				release(b)
				wantRegister(t, b, "other", version+1)
			}
		})
	}
}

// What is never sent has not happened: no place among the calls under way came free in time.
func TestSetRegisterUnsent(t *testing.T) {
	p := newProxy(t)
	cfg := p.config(t)
	cfg.Calls, cfg.Timeout = 1, 2*time.Second
	b := open(t, cfg, fresh())
	under := make(chan struct{}, 1) // the one call that may be under way is
	p.set(func(r *http.Request) fate {
		if !strings.HasSuffix(r.URL.Path, "/root") {
			return fine
		}
		select {
		case under <- struct{}{}:
		default:
		}
		return hangs
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = b.Root(ctx)
	}()
	defer func() { cancel(); <-done }()
	<-under
	brief, end := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer end()
	err := b.SetRegister(brief, "r", 0, nil)
	if wantOutcome(t, "SetRegister", err, errOther); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("SetRegister = %v, want DeadlineExceeded", err)
	}
}

// Removing is one request as well, and its answer agrees with what happened.
func TestRemoveRegisterFaults(t *testing.T) {
	tests := []struct {
		fate     fate
		want     error
		happened bool
	}{
		{fate: fine, happened: true},
		{fate: lost, want: store.ErrUnknown},
		{fate: replyLost, want: store.ErrUnknown, happened: true},
		{fate: twice, happened: true},
		{fate: busy, want: errOther},
		{fate: failedLate, want: store.ErrUnknown, happened: true},
		{fate: forbidden, want: errOther},
		{fate: hangsLate, want: store.ErrUnknown, happened: true},
	}
	removes := func(r *http.Request) bool { return r.Method == http.MethodDelete }
	p := newProxy(t)
	for _, tc := range tests {
		t.Run(string(tc.fate), func(t *testing.T) {
			p.set(nil)
			b := open(t, p.config(t), fresh())
			set(t, b, 0, "old")
			requests := 0
			p.set(counted(removes, &requests, always(removes, tc.fate)))
			err := b.RemoveRegister(t.Context(), "r")
			p.set(nil)
			if requests != 1 {
				t.Errorf("%d requests were made, want 1", requests)
			}
			wantOutcome(t, "RemoveRegister", err, tc.want)
			if tc.happened {
				wantRegister(t, b, "", 0)
			} else {
				wantRegister(t, b, "old", 1)
			}
		})
	}
}

// Reading and listing are tried again.
func TestReadRegisterFaults(t *testing.T) {
	p := newProxy(t)
	b := open(t, p.config(t), fresh())
	set(t, b, 0, "value")
	reads := func(r *http.Request) bool { return r.Method == http.MethodGet }
	for _, f := range []fate{lost, replyLost, busy, unavailable, forbidden} {
		p.set(once(reads, f))
		wantRegister(t, b, "value", 1)
		p.set(once(reads, f))
		if names, err := b.ListRegisters(t.Context()); err != nil || len(names) != 1 {
			t.Errorf("%s: ListRegisters = %q, %v", f, names, err)
		}
	}
}

// What is not ours in a register's place has no value, and can be written over: it is known by its version. What is not ours
// among the registers is named.
func TestRegisterForeign(t *testing.T) {
	at := fresh()
	b := open(t, config(t), at)
	set(t, b, 0, "one")
	logical := theVault(t).Root.Logical()
	if _, err := logical.Delete("signet/data/" + at.Path + "/registers/r"); err != nil {
		t.Fatal(err)
	}
	wantRegister(t, b, "", 1)
	wantOutcome(t, "SetRegister", b.SetRegister(t.Context(), "r", 0, nil), store.ErrConflict)
	set(t, b, 1, "two")
	wantRegister(t, b, "two", 2)
	for i, data := range []map[string]any{{"password": "hunter2"}, {"value": "not base64!"}, {"value": 7}} {
		version := 2 + 2*i
		if _, err := logical.Write("signet/data/"+at.Path+"/registers/r", map[string]any{"options": map[string]any{"cas": version}, "data": data}); err != nil {
			t.Fatal(err)
		}
		wantRegister(t, b, "", uint64(version)+1)
		set(t, b, uint64(version)+1, "ours")
	}
	if _, err := logical.Write("signet/data/"+at.Path+"/registers/r/below", map[string]any{"options": map[string]any{"cas": 0}, "data": map[string]any{"a": "b"}}); err != nil {
		t.Fatal(err)
	}
	if names, err := b.ListRegisters(t.Context()); err == nil || !strings.Contains(err.Error(), "not one of ours") {
		t.Errorf("ListRegisters = %q, %v, want it refused", names, err)
	}
}

// The leases that no root lists are collected with what Signet's policy allows, and a checkpoint stays.
func TestLeasesCollected(t *testing.T) {
	s, err := store.Create(t.Context(), store.Config{Backend: open(t, config(t), fresh()), KEKs: keks(), Node: "n1", Now: time.Now}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetRegister(t.Context(), "checkpoint.n1", 0, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := lease.Create(t.Context(), s, "n1", store.MinBound, s.Snapshot().RootID(), time.Now); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	peers := lease.NewPeers(s, "n1", func() string { return "" }, func() time.Time { return now }, slog.New(slog.DiscardHandler))
	for _, want := range []int{0, 3, 0} {
		if n, err := peers.Collect(t.Context()); n != want || err != nil {
			t.Errorf("Collect = %d, %v, want %d", n, err, want)
		}
		now = now.Add(store.MaxBound + time.Minute)
	}
	if names, err := s.ListRegisters(t.Context()); err != nil || !slices.Equal(names, []string{"checkpoint.n1"}) {
		t.Errorf("what is left is %q, %v", names, err)
	}
}
