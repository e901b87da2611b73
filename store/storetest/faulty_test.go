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
