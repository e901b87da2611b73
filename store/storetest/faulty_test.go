package storetest_test

import (
	"errors"
	"testing"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

func TestFates(t *testing.T) {
	tests := []struct {
		fate      storetest.Fate
		want      error
		happened  bool
		later     bool // whether it has happened after another write
		crashed   bool
		readFails bool
	}{
		{fate: storetest.Fine, happened: true, later: true},
		{fate: storetest.Refused, want: storetest.ErrRefused, readFails: true},
		{fate: storetest.UnknownLost, want: store.ErrUnknown, readFails: true},
		{fate: storetest.UnknownPersisted, want: store.ErrUnknown, happened: true, later: true, readFails: true},
		{fate: storetest.UnknownLate, want: store.ErrUnknown, later: true, readFails: true},
		{fate: storetest.Twice, happened: true, later: true, readFails: true},
		{fate: storetest.Echo, happened: true, later: true, readFails: true},
		{fate: storetest.Stale, want: storetest.ErrRefused},
		{fate: storetest.CrashBefore, want: storetest.ErrCrashed, crashed: true, readFails: true},
		{fate: storetest.CrashAfter, want: storetest.ErrCrashed, happened: true, later: true, crashed: true, readFails: true},
	}
	for _, tc := range tests {
		t.Run(tc.fate.String(), func(t *testing.T) {
			m := storetest.Memory()
			m.SetRoot([]byte("r0"))
			f := storetest.NewFaulty(m, storetest.NthWrite(1, tc.fate))
			err := f.Swap(t.Context(), store.Change{Old: []byte("r0"), New: []byte("r1")})
			if !errors.Is(err, tc.want) {
				t.Errorf("Swap = %v, want %v", err, tc.want)
			}
			is := func(when string, want bool) {
				t.Helper()
				root, err := m.Root(t.Context())
				if err != nil || (string(root) == "r1") != want {
					t.Errorf("%s the root is %q, %v", when, root, err)
				}
			}
			is("after it", tc.happened)
			err = f.Delete(t.Context())
			if errors.Is(err, storetest.ErrCrashed) != tc.crashed {
				t.Errorf("Delete = %v", err)
			}
			is("after the next write", tc.later)

			f = storetest.NewFaulty(m, storetest.NthCall(1, tc.fate))
			if _, err := f.Root(t.Context()); (err != nil) != tc.readFails {
				t.Errorf("Root = %v", err)
			}
			if all, writes := f.Calls(); all != 1 || writes != 0 {
				t.Errorf("Calls = %d, %d", all, writes)
			}
		})
	}
}

func TestRegisterFates(t *testing.T) {
	tests := []struct {
		fate     storetest.Fate
		want     error
		happened bool
		later    bool // whether it has happened after another write
		crashed  bool
	}{
		{fate: storetest.Fine, happened: true, later: true},
		{fate: storetest.Refused, want: storetest.ErrRefused},
		{fate: storetest.UnknownLost, want: store.ErrUnknown},
		{fate: storetest.UnknownPersisted, want: store.ErrUnknown, happened: true, later: true},
		{fate: storetest.UnknownLate, want: store.ErrUnknown, later: true},
		{fate: storetest.Twice, want: store.ErrConflict, happened: true, later: true},
		{fate: storetest.Echo, happened: true, later: true},
		{fate: storetest.CrashBefore, want: storetest.ErrCrashed, crashed: true},
		{fate: storetest.CrashAfter, want: storetest.ErrCrashed, happened: true, later: true, crashed: true},
	}
	for _, tc := range tests {
		t.Run(tc.fate.String(), func(t *testing.T) {
			m := storetest.Shared()
			f := storetest.NewSharedFaulty(m, func(c storetest.Call) storetest.Fate {
				if c.Op == "set" && c.Register == "r" && c.Version == 0 && string(c.Value) == "value" {
					return tc.fate
				}
				return storetest.Fine
			})
			value := []byte("value")
			if err := f.SetRegister(t.Context(), "r", 0, value); !errors.Is(err, tc.want) {
				t.Errorf("SetRegister = %v, want %v", err, tc.want)
			}
			clear(value)
			is := func(when string, want bool) {
				t.Helper()
				got, n, err := m.Register(t.Context(), "r")
				if err != nil || (string(got) == "value") != want || (n == 1) != want {
					t.Errorf("%s the register is %q, %d, %v", when, got, n, err)
				}
			}
			is("after it", tc.happened)
			if err := f.RemoveRegister(t.Context(), "another"); errors.Is(err, storetest.ErrCrashed) != tc.crashed {
				t.Errorf("RemoveRegister = %v", err)
			}
			is("after the next write", tc.later)
		})
	}
}

// A copy of a write that comes after its register was removed makes it anew.
func TestEcho(t *testing.T) {
	m := storetest.Shared()
	f := storetest.NewSharedFaulty(m, storetest.NthWrite(1, storetest.Echo))
	if err := f.SetRegister(t.Context(), "r", 0, []byte("value")); err != nil {
		t.Fatal(err)
	}
	if err := m.RemoveRegister(t.Context(), "r"); err != nil {
		t.Fatal(err)
	}
	if err := f.SetRegister(t.Context(), "another", 0, nil); err != nil {
		t.Fatal(err)
	}
	if value, n, err := m.Register(t.Context(), "r"); string(value) != "value" || n != 1 || err != nil {
		t.Errorf("Register = %q, %d, %v", value, n, err)
	}
}

func TestStale(t *testing.T) {
	m := storetest.Shared()
	m.SetRoot([]byte("r0"))
	f := storetest.NewSharedFaulty(m, nil)
	look := func(root, value string, version uint64) {
		t.Helper()
		if got, err := f.Root(t.Context()); string(got) != root || err != nil {
			t.Errorf("Root = %q, %v, want %q", got, err, root)
		}
		if got, n, err := f.Register(t.Context(), "r"); string(got) != value || n != version || err != nil {
			t.Errorf("Register = %q, %d, %v, want %q, %d", got, n, err, value, version)
		}
	}
	set := func(root, value string, version uint64) {
		t.Helper()
		m.SetRoot([]byte(root))
		if err := f.SetRegister(t.Context(), "r", version, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	stale := func(c storetest.Call) storetest.Fate {
		if c.Write == 0 {
			return storetest.Stale
		}
		return storetest.Fine
	}
	set("r1", "one", 0)
	f.Plan(stale)
	look("r1", "", 0)
	f.Plan(nil)
	look("r1", "one", 1)
	set("r2", "two", 1)
	f.Plan(stale)
	set("r3", "three", 2)
	look("r1", "one", 1)
	f.Plan(nil)
	look("r3", "three", 3)
	f.Plan(stale)
	look("r3", "three", 3)
	if _, err := f.ListRegisters(t.Context()); !errors.Is(err, storetest.ErrRefused) {
		t.Errorf("ListRegisters = %v, want ErrRefused", err)
	}
}
