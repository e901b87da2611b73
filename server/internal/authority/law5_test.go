package authority

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
)

// span is when something happened, by a counter that all goroutines share: after begin, before end.
type span struct{ begin, end int64 }

// timeline is what was true one after the other: the next value became true at some moment of its span.
type timeline[T any] struct {
	mu     sync.Mutex
	values []T
	spans  []span // of values[i+1]
}

// during yields the values that may have been true at a moment of s: from the last one that was surely there before s
// began to the last one that had begun before s ended.
func (l *timeline[T]) during(s span) []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, last := 0, 0
	for i, change := range l.spans {
		if change.end < s.begin {
			first = i + 1
		}
		if change.begin < s.end {
			last = i + 1
		}
	}
	return l.values[first : last+1]
}

// begin and finish are two calls, so that a mint that is judged meanwhile finds the value that may already be true.
func (l *timeline[T]) begin(at int64, value T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.values = append(l.values, value)
	l.spans = append(l.spans, span{at, 1 << 62})
}

func (l *timeline[T]) finish(at int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spans[len(l.spans)-1].end = at
}

// keyModel is a key as far as minting goes.
type keyModel struct {
	disabled bool
	active   int
}

// attempt of a mint: when, and what came of it.
type mintRecord struct {
	span
	key     int
	version int // 0: refused
	reason  Reason
}

// TestLaw5 mints from many goroutines while keys are disabled, enabled, activated and revoked, and the policy takes
// the callers' grant away and gives it back. Every mint must be explained by a state that was current at a moment
// between its begin and its end; above all, one that begins after a change has answered is decided on the new state.
func TestLaw5(t *testing.T) {
	for _, reuse := range []string{"never", "per-principal", "shared"} {
		t.Run(reuse, func(t *testing.T) { law5(t, reuse) })
	}
}

func law5(t *testing.T, reuse string) {
	const keys, versions, changes, minters = 2, 30, 60, 6
	v := newVault(t)
	var profiles strings.Builder
	for k := range keys {
		for range versions {
			kind := apple.KindAppStoreConnect
			if reuse == "shared" {
				kind = apple.KindDeveloperPortal
			}
			v.importKind(fmt.Sprintf("k%d", k), kind)
		}
		family := "app_store_connect"
		if reuse == "shared" {
			family = "apns"
		}
		fmt.Fprintf(&profiles, "  p%d: {key: k%d, %s: {}, reuse: %s}\n", k, k, family, reuse)
	}
	document := func(granted bool) string {
		doc := "version: 1\nprofiles:\n" + profiles.String() + "grants:\n"
		if granted {
			doc += "  - {id: ci, to: [{mtls: \"spiffe://signet.test/ci/*\"}], mint: [p0, p1], rate: none}\n"
		}
		return doc + "  - {id: other, to: [{mtls: \"spiffe://signet.test/other\"}], mint: [p0], rate: none}\n"
	}
	v.apply(document(true))

	var now atomic.Int64
	grants := &timeline[bool]{values: []bool{true}}
	var models [keys]*timeline[keyModel]
	for k := range models {
		models[k] = &timeline[keyModel]{values: []keyModel{{active: 1}}}
	}
	mint := func(who, k int) mintRecord {
		r := mintRecord{key: k}
		r.begin = now.Add(1)
		m, err := v.Tokens.Mint(t.Context(), principal(fmt.Sprintf("spiffe://signet.test/ci/%d", who)), MintRequest{Profile: policy.ProfileName(fmt.Sprintf("p%d", k))})
		r.end = now.Add(1)
		var e *Error
		switch {
		case err == nil:
			r.version = m.Version
		case errors.As(err, &e):
			r.reason = e.Reason
		default:
			t.Errorf("Mint: %v", err)
		}
		return r
	}
	judge := func(r mintRecord) {
		granted, states := grants.during(r.span), models[r.key].during(r.span)
		explained := false
		for _, g := range granted {
			for _, s := range states {
				switch {
				case r.version != 0:
					explained = explained || g && !s.disabled && s.active == r.version
				case r.reason == ReasonDenied:
					explained = explained || !g
				case r.reason == ReasonKeyDisabled:
					explained = explained || g && s.disabled && s.active != 0
				case r.reason == ReasonKeyRevoked:
					explained = explained || g && s.active == 0
				case r.reason == ReasonWithheld:
					explained = explained || len(granted) > 1 || len(states) > 1
				}
			}
		}
		if !explained {
			t.Errorf("a mint of version %d, reason %q, is explained by no state of its time: granted %v, key %+v", r.version, r.reason, granted, states)
		}
	}

	var done atomic.Bool
	var minting, changing sync.WaitGroup
	for who := range minters {
		minting.Go(func() {
			for i := 0; !done.Load() && !t.Failed(); i++ {
				judge(mint(who, i%keys))
			}
		})
	}
	for k := range keys {
		changing.Go(func() {
			r := rand.New(rand.NewPCG(uint64(k), 5))
			name, model, next := fmt.Sprintf("k%d", k), keyModel{active: 1}, 2
			for range changes {
				after := model
				var do func() error
				switch r.IntN(4) {
				case 0:
					after.disabled = true
					do = func() error { return v.disable(name) }
				case 1, 2:
					after.disabled = false
					do = func() error { return v.enable(name) }
				default:
					if revoked := model.active; revoked != 0 {
						after.active = 0
						do = func() error { _, err := v.revoke(name, revoked); return err }
					} else if next <= versions {
						after.active = next
						do = func() error { return v.activate(name, after.active) }
						next++
					} else {
						continue
					}
				}
				models[k].begin(now.Add(1), after)
				if err := do(); err != nil {
					t.Errorf("a change: %v", err)
					return
				}
				models[k].finish(now.Add(1))
				model = after
				judge(mint(100+k, k))
			}
		})
	}
	changing.Go(func() {
		for i := range changes {
			granted := i%2 == 1
			grants.begin(now.Add(1), granted)
			if err := v.tryApply(document(granted)); err != nil {
				t.Errorf("Apply: %v", err)
				return
			}
			grants.finish(now.Add(1))
			judge(mint(200, i%keys))
		}
	})
	changing.Wait()
	done.Store(true)
	minting.Wait()
	v.checkInvariants()
	withheld := 0
	for _, e := range v.entries() {
		if e.Outcome == "withheld" {
			withheld++
		}
	}
	t.Logf("%d entries, %d tokens withheld", v.changer.log.Head().Size, withheld)
}

// TestWithheld holds a mint between its record and its last look, by a disk that does not answer, while the key is
// revoked, disabled, replaced, or the grant taken away: the token is withheld, and the log says so.
func TestWithheld(t *testing.T) {
	tests := []struct {
		name   string
		change func(v *vault) error
	}{
		{"disable", func(v *vault) error { return v.disable("asc") }},
		{"revoke", func(v *vault) error { _, err := v.revoke("asc", 1); return err }},
		{"activate another", func(v *vault) error { return v.activate("asc", 2) }},
		{"apply", func(v *vault) error { return v.tryApply(strings.ReplaceAll(basicPolicy, "ci/*", "cd/*")) }},
		{"apply, of another key", func(v *vault) error {
			v.importKey("other")
			return v.tryApply(strings.ReplaceAll(basicPolicy, "key: asc", "key: other"))
		}},
		{"gap", func(v *vault) error { _, err := v.show(v.forge(3)); return err }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := ready(t)
			v.importKey("asc")
			// The mint is stopped where its decision is made and its entry is being written.
			c := v.changer
			_, err := c.answer(t.Context(), principal(callerID), ask{id: "the-mint", want: policy.Request{Action: policy.TokenMint, Profile: "release"}}, func(call *call) error {
				token, err := v.Tokens.sign(t.Context(), call)
				check(t, err)
				describe(&call.entry, call.state, Minted{Token: token, Key: call.decision.Key(), Version: call.decision.Version()})
				if err := tt.change(v); err != nil && tt.name != "gap" {
					t.Errorf("the change: %v", err)
				}
				return nil
			})
			wantReason(t, err, ErrUnavailable, ReasonWithheld)
			var outcomes []string
			for _, e := range v.entries() {
				if e.ID == "the-mint" {
					outcomes = append(outcomes, string(e.Outcome))
					if e.Token == nil || e.Key != "asc" {
						t.Errorf("an entry of %s does not name the token, or names the key %s", e.Outcome, e.Key)
					}
				}
			}
			if fmt.Sprint(outcomes) != "[allowed withheld]" {
				t.Errorf("its entries are %v", outcomes)
			}
			v.checkInvariants()
		})
	}
}
