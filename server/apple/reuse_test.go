package apple

import (
	"slices"
	"testing"
)

func TestReuse(t *testing.T) {
	for r, want := range map[Reuse]string{ReuseNever: "never", ReusePerPrincipal: "per-principal", 200: "an unknown rule of reuse"} {
		if got := r.String(); got != want {
			t.Errorf("String = %q, want %q", got, want)
		}
	}
	var zero Reuse
	if zero != ReuseNever {
		t.Error("the zero Reuse gives tokens again")
	}
}

func TestReuses(t *testing.T) {
	for _, p := range []Params{AppStoreConnect{}, Enterprise{}} {
		got := p.Reuses()
		if !slices.Equal(got, []Reuse{ReusePerPrincipal, ReuseNever}) {
			t.Errorf("%s: Reuses = %v", p.Family(), got)
		}
		got[0] = ReuseNever
		if p.Reuses()[0] != ReusePerPrincipal {
			t.Errorf("%s: a caller changed the family's rules", p.Family())
		}
	}
}
