package apple

import (
	"slices"
	"testing"
	"time"
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
		got := p.Family().Reuses()
		if !slices.Equal(got, []Reuse{ReusePerPrincipal, ReuseNever}) {
			t.Errorf("%s: Reuses = %v", p.Family(), got)
		}
		got[0] = ReuseNever
		if p.Family().Reuses()[0] != ReusePerPrincipal {
			t.Errorf("%s: a caller changed the family's rules", p.Family())
		}
	}
}

// TestSpecKey: equal where the tokens differ in nothing but times and signatures, and nowhere else.
func TestSpecKey(t *testing.T) {
	team := Facts{Kind: KindAppStoreConnect, KeyID: "2X9R4HXF34", Issuer: "57246542-96fe-1a63-e053-0824d011072a"}
	other := Facts{Kind: KindAppStoreConnect, KeyID: "2X9R4HXF35", Issuer: "57246542-96fe-1a63-e053-0824d011072a"}
	individual := Facts{Kind: KindAppStoreConnectIndividual, KeyID: "2X9R4HXF34"}
	enterprise := Facts{Kind: KindEnterprise, KeyID: "2X9R4HXF34", Issuer: team.Issuer}
	scope := []Scope{"GET /v1/apps", "GET /v1/builds", "GET /v1/users"}
	spec := func(p Params, f Facts, ttl time.Duration, ask ...Scope) Spec {
		s, err := Terms{Params: p}.Spec(f, Ask{TTL: ttl, Scope: ask})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	different := []Spec{
		{},
		spec(AppStoreConnect{}, team, time.Minute),
		spec(AppStoreConnect{}, team, 2*time.Minute),
		spec(AppStoreConnect{}, other, time.Minute),
		spec(AppStoreConnect{}, individual, time.Minute),
		spec(Enterprise{}, enterprise, time.Minute),
		spec(AppStoreConnect{Scope: scope}, team, time.Minute),
		spec(AppStoreConnect{Scope: scope}, team, time.Minute, scope[0]),
		spec(AppStoreConnect{Scope: scope}, team, time.Minute, scope[1]),
		spec(AppStoreConnect{Scope: scope}, team, time.Minute, scope[0], scope[1]),
	}
	for i, a := range different {
		for j, b := range different {
			if (a.Key() == b.Key()) != (i == j) {
				t.Errorf("keys %d and %d: equal %v", i, j, a.Key() == b.Key())
			}
		}
	}
	if spec(AppStoreConnect{}, team, time.Minute, scope[1], scope[0]).Key() != different[9].Key() {
		t.Error("the same requests in another order, asked of another profile, have another key")
	}
}
