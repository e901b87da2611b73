package authority

import (
	"fmt"
	"testing"
	"time"

	"github.com/p8signet/signet/server/policy"
)

func TestRateTable(t *testing.T) {
	now := time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC)
	perMinute := func(n int) policy.Rate { return policy.Rate{Events: n, Per: time.Minute} }
	t.Run("zero lets nothing through", func(t *testing.T) {
		if _, ok := newRates(2).take("g", "p", policy.Rate{}, now); ok {
			t.Error("taken")
		}
	})
	t.Run("unlimited", func(t *testing.T) {
		r := newRates(2)
		for range 1000 {
			if _, ok := r.take("g", "p", policy.Rate{Unlimited: true}, now); !ok {
				t.Fatal("refused")
			}
		}
		if len(r.buckets.young) != 0 {
			t.Error("it holds a bucket for what is unlimited")
		}
	})
	t.Run("counts, waits, refills", func(t *testing.T) {
		r := newRates(2)
		for range 3 {
			if _, ok := r.take("g", "p", perMinute(3), now); !ok {
				t.Fatal("refused")
			}
		}
		wait, ok := r.take("g", "p", perMinute(3), now)
		if ok || wait <= 0 || wait > 20*time.Second {
			t.Fatalf("the fourth: %v, wait %v", ok, wait)
		}
		if _, ok := r.take("g", "p", perMinute(3), now.Add(wait-time.Millisecond)); ok {
			t.Error("taken before its time; a refusal must not use the bucket up")
		}
		if _, ok := r.take("g", "p", perMinute(3), now.Add(wait)); !ok {
			t.Error("refused when its time has come")
		}
	})
	t.Run("apart by grant and principal", func(t *testing.T) {
		r := newRates(8)
		for _, key := range []rateKey{{"g", "p"}, {"g", "q"}, {"h", "p"}} {
			if _, ok := r.take(key.grant, key.principal, perMinute(1), now); !ok {
				t.Errorf("%v refused", key)
			}
		}
	})
	t.Run("bounded, and the busy are remembered", func(t *testing.T) {
		r := newRates(10)
		r.take("g", "busy", perMinute(1), now)
		for i := range 1000 {
			r.take("g", fmt.Sprint(i), perMinute(1), now)
			if _, ok := r.take("g", "busy", perMinute(1), now); ok {
				t.Fatalf("after %d others a busy one was forgotten", i)
			}
			if len(r.buckets.young)+len(r.buckets.old) > 20 {
				t.Fatalf("it holds %d buckets", len(r.buckets.young)+len(r.buckets.old))
			}
		}
	})
	t.Run("the clock goes back", func(t *testing.T) {
		r := newRates(2)
		r.take("g", "p", perMinute(1), now)
		if _, ok := r.take("g", "p", perMinute(1), now.Add(-time.Hour)); ok {
			t.Error("a token for turning the clock back")
		}
	})
}

func TestTally(t *testing.T) {
	ta := newTally()
	for i := range 10 * tallyPrincipal {
		who := fmt.Sprint(i)
		ta.admit(who)
		ta.count(refusal{principal: who, action: "a", reason: "r"}, 1)
	}
	if len(ta.own) > tallyPrincipal || len(ta.more) > tallyPrincipal+1 {
		t.Errorf("it holds %d and %d", len(ta.own), len(ta.more))
	}
	total := int64(0)
	for _, n := range ta.turn() {
		total += n
	}
	if total != 10*tallyPrincipal {
		t.Errorf("%d counted", total)
	}
	if !ta.admit("0") || len(ta.turn()) != 0 {
		t.Error("a new minute does not begin anew")
	}
}
