package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/p8signet/signet/store"
)

// keyOf makes a key whose versions are in the states given.
func keyOf(states ...store.State) store.Key {
	k := store.Key{Name: "k", Kind: "kind", Created: start}
	for i, st := range states {
		v := store.KeyVersion{Number: i + 1, State: st, KeyID: "kid", Fingerprint: fmt.Sprint("fp", i), Created: start}
		if st.Over() {
			v.Revoked = start
		}
		if st == store.StateActive {
			k.Active = i + 1
		}
		k.Versions = append(k.Versions, v)
	}
	return k
}

func states(k store.Key) []store.State {
	var s []store.State
	for _, v := range k.Versions {
		s = append(s, v.State)
	}
	return s
}

func TestTransitions(t *testing.T) {
	const (
		P, A, D = store.StatePending, store.StateActive, store.StateDisabled
		R, S, X = store.StateRevoked, store.StateDestroyScheduled, store.StateDestroyed
	)
	later := start.Add(time.Hour)
	add := func(k store.Key) (store.Key, error) {
		return k.AddVersion(store.KeyVersion{Fingerprint: "new", Created: later}), nil
	}
	activate := func(n int) func(store.Key) (store.Key, error) {
		return func(k store.Key) (store.Key, error) { return k.Activate(n, later) }
	}
	revoke := func(n int) func(store.Key) (store.Key, error) {
		return func(k store.Key) (store.Key, error) { return k.Revoke(n, later) }
	}
	tests := []struct {
		name   string
		from   []store.State
		do     func(store.Key) (store.Key, error)
		want   []store.State
		active int
		err    error
	}{
		{name: "the first version is active", do: add, want: []store.State{A}, active: 1},
		{name: "a later one waits", from: []store.State{A}, do: add, want: []store.State{A, P}, active: 1},
		{name: "also where all others are revoked", from: []store.State{R, R}, do: add, want: []store.State{R, R, P}},
		{name: "activate disables the one before", from: []store.State{A, P}, do: activate(2), want: []store.State{D, A}, active: 2},
		{name: "activate goes back too", from: []store.State{D, A}, do: activate(1), want: []store.State{A, D}, active: 1},
		{name: "activate after a revocation", from: []store.State{R, P}, do: activate(2), want: []store.State{R, A}, active: 2},
		{name: "activate repeated", from: []store.State{A, P}, do: activate(1), want: []store.State{A, P}, active: 1},
		{name: "activate a revoked version", from: []store.State{A, R}, do: activate(2), want: []store.State{A, R}, active: 1, err: store.ErrVersionOver},
		{name: "activate one to be destroyed", from: []store.State{A, S}, do: activate(2), want: []store.State{A, S}, active: 1, err: store.ErrVersionOver},
		{name: "activate a destroyed version", from: []store.State{A, X}, do: activate(2), want: []store.State{A, X}, active: 1, err: store.ErrVersionOver},
		{name: "activate what is not there", from: []store.State{A}, do: activate(2), want: []store.State{A}, active: 1, err: store.ErrNoVersion},
		{name: "activate version 0", from: []store.State{A}, do: activate(0), want: []store.State{A}, active: 1, err: store.ErrNoVersion},
		{name: "revoke the active version activates none", from: []store.State{D, A, P}, do: revoke(2), want: []store.State{D, R, P}},
		{name: "revoke another version", from: []store.State{D, A, P}, do: revoke(3), want: []store.State{D, A, R}, active: 2},
		{name: "revoke all", from: []store.State{D, A, P, R, S, X}, do: revoke(0), want: []store.State{R, R, R, R, S, X}},
		{name: "revoke repeated", from: []store.State{R, A}, do: revoke(1), want: []store.State{R, A}, active: 2},
		{name: "revoke all repeated", from: []store.State{R, R}, do: revoke(0), want: []store.State{R, R}},
		{name: "revoke a key without versions", do: revoke(0)},
		{name: "revoke what is not there", from: []store.State{A}, do: revoke(2), want: []store.State{A}, active: 1, err: store.ErrNoVersion},
		{name: "revoke a negative version", from: []store.State{A}, do: revoke(-1), want: []store.State{A}, active: 1, err: store.ErrNoVersion},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			from := keyOf(tc.from...)
			got, err := tc.do(from)
			if !errors.Is(err, tc.err) {
				t.Fatalf("error = %v, want %v", err, tc.err)
			}
			if diff := cmp.Diff(tc.want, states(got)); diff != "" {
				t.Errorf("states (-want +got):\n%s", diff)
			}
			if got.Active != tc.active {
				t.Errorf("active = %d, want %d", got.Active, tc.active)
			}
			if diff := cmp.Diff(keyOf(tc.from...), from); diff != "" {
				t.Errorf("the key it was called on has changed:\n%s", diff)
			}
		})
	}
}

func TestDisableEnable(t *testing.T) {
	k := keyOf(store.StateActive)
	off := k.Disable()
	if !off.Disabled || k.Disabled || off.Active != 1 {
		t.Errorf("Disable: %+v", off)
	}
	if !off.Disable().Equal(off) {
		t.Error("Disable repeated is not the same")
	}
	if on := off.Enable(); !on.Equal(k) || !on.Enable().Equal(k) {
		t.Errorf("Enable: %+v", on)
	}
	// Enabling brings nothing back.
	gone, err := k.Disable().Revoke(0, start)
	if err != nil {
		t.Fatal(err)
	}
	if on := gone.Enable(); on.Active != 0 {
		t.Errorf("Enable after Revoke has version %d active", on.Active)
	}
}

// TestKeyProperties walks at random through the states and checks after each
// step what must hold of every step.
func TestKeyProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := store.Key{Name: "k", Created: start}
		now := start
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Second)
			n := rapid.IntRange(-1, len(k.Versions)+1).Draw(t, "version")
			op := rapid.SampledFrom([]string{"add", "activate", "disable", "enable", "revoke"}).Draw(t, "op")
			step := func(k store.Key) (store.Key, error) {
				switch op {
				case "add":
					return k.AddVersion(store.KeyVersion{Fingerprint: fmt.Sprint(len(k.Versions)), Created: now}), nil
				case "activate":
					return k.Activate(n, now)
				case "disable":
					return k.Disable(), nil
				case "enable":
					return k.Enable(), nil
				default:
					return k.Revoke(n, now)
				}
			}
			next, err := step(k)
			if err != nil {
				if !next.Equal(k) {
					t.Fatalf("%s %d was refused and changed something", op, n)
				}
				continue
			}
			checkStep(t, op, k, next)
			if op != "add" {
				again, err := step(next)
				if err != nil || !again.Equal(next) {
					t.Fatalf("%s %d repeated: %v, %+v, want %+v", op, n, err, again, next)
				}
			}
			k = next
		}
	})
}

func checkStep(t *rapid.T, op string, old, k store.Key) {
	var active []int
	for i, v := range k.Versions {
		if v.Number != i+1 {
			t.Fatalf("%s: version %d has number %d", op, i+1, v.Number)
		}
		if v.State == store.StateActive {
			active = append(active, v.Number)
		}
		if v.State.Over() == v.Revoked.IsZero() {
			t.Fatalf("%s: version %d is %s, revoked at %v", op, v.Number, v.State, v.Revoked)
		}
		if i >= len(old.Versions) {
			continue
		}
		if o := old.Versions[i]; o.State.Over() && !v.Equal(o) {
			t.Fatalf("%s: version %d was %s and has become %+v", op, v.Number, o.State, v)
		}
	}
	if len(active) > 1 || k.Active != 0 && !slices.Equal(active, []int{k.Active}) || k.Active == 0 && len(active) != 0 {
		t.Fatalf("%s: versions %v are active, and the key says %d", op, active, k.Active)
	}
	if op == "revoke" && k.Active != 0 && k.Active != old.Active {
		t.Fatalf("revoking has activated version %d", k.Active)
	}
	if op == "enable" || op == "disable" {
		if o := old; !k.Equal(o.Disable()) && !k.Equal(o.Enable()) {
			t.Fatalf("%s has changed more than the flag", op)
		}
	}
}
