package authority

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/storetest"
)

var errDisk = errors.New("broken disk")

// fault is one way for a write to fail. arm lets the nth write from now fail so, and answers how to find out whether
// it came to that.
type fault struct {
	name  string
	crash bool // the process is gone after it
	arm   func(v *vault, n int) func() bool
}

// arm makes store and log fail as they are told, and both for good once the process is dead.
func (v *vault) arm(dead *atomic.Bool, plan func(storetest.Call) storetest.Fate, inject func(storetest.Op) storetest.Fault) {
	v.backend.Plan(func(c storetest.Call) storetest.Fate {
		if dead.Load() {
			return storetest.CrashBefore
		}
		fate := plan(c)
		if fate == storetest.CrashBefore || fate == storetest.CrashAfter {
			dead.Store(true)
		}
		return fate
	})
	v.fs.Inject(func(op storetest.Op) storetest.Fault {
		if dead.Load() {
			return storetest.Fault{Err: storetest.ErrCrashed, Kill: true}
		}
		f := inject(op)
		if f.Kill {
			dead.Store(true)
		}
		return f
	})
}

func fine(storetest.Call) storetest.Fate    { return storetest.Fine }
func harmless(storetest.Op) storetest.Fault { return storetest.Fault{} }

func storeFault(fate storetest.Fate) fault {
	return fault{"store: " + fate.String(), fate == storetest.CrashBefore || fate == storetest.CrashAfter, func(v *vault, n int) func() bool {
		v.arm(new(atomic.Bool), storetest.NthWrite(n, fate), harmless)
		return func() bool { _, writes := v.backend.Calls(); return writes >= n }
	}}
}

func diskFault(effect storetest.Effect, kill bool) fault {
	how := map[storetest.Effect]string{storetest.Lost: "lost", storetest.Persisted: "persisted", storetest.Torn: "torn"}[effect]
	if kill {
		how += ", crash"
	}
	return fault{"log: " + how, kill, func(v *vault, n int) func() bool {
		var changes atomic.Int64
		v.arm(new(atomic.Bool), fine, func(op storetest.Op) storetest.Fault {
			if !op.Kind.Changes() || changes.Add(1) != int64(n) {
				return storetest.Fault{}
			}
			return storetest.Fault{Err: errDisk, Effect: effect, Kill: kill}
		})
		return func() bool { return changes.Load() >= int64(n) }
	}}
}

var faults = []fault{
	storeFault(storetest.Refused), storeFault(storetest.UnknownLost), storeFault(storetest.UnknownPersisted), storeFault(storetest.UnknownLate),
	storeFault(storetest.CrashBefore), storeFault(storetest.CrashAfter),
	diskFault(storetest.Lost, false), diskFault(storetest.Persisted, false), diskFault(storetest.Torn, false),
	diskFault(storetest.Lost, true), diskFault(storetest.Persisted, true), diskFault(storetest.Torn, true),
}

// TestFaults lets every write of every change fail in every way. Whatever the change answered, afterwards all
// invariants hold: on the spot once what was left open is settled, after a crash, and after a power cut. What answered
// success is in force; what did not is so after a repeat.
func TestFaults(t *testing.T) {
	changes := []struct {
		name string
		do   func(v *vault) error
		made func(v *vault) bool
	}{
		{"import", func(v *vault) error { _, err := v.tryImport("new", v.file); return known(err) }, func(v *vault) bool { return v.versions("new") == 1 }},
		{"import a duplicate", func(v *vault) error { _, err := v.tryDuplicate("new", v.twin, "asc"); return known(err) }, func(v *vault) bool { return v.versions("new") == 1 }},
		{"import a version", func(v *vault) error { _, err := v.tryImport("asc", v.file); return known(err) }, func(v *vault) bool { return v.versions("asc") == 3 }},
		{"generate", func(v *vault) error { _, err := v.generate("made", apple.Facts{Kind: apple.KindAppleAds}); return err }, func(v *vault) bool { return v.versions("made") >= 1 }},
		{"update", func(v *vault) error {
			_, err := v.update("asc", apple.Facts{Roles: []apple.Role{apple.RoleSales}}, FactRoles)
			return err
		}, func(v *vault) bool {
			key, _ := v.changer.store.Snapshot().Key("asc")
			return slices.Equal(factsOf(key).Roles, []apple.Role{apple.RoleSales})
		}},
		{"activate", func(v *vault) error { return v.activate("asc", 2) }, func(v *vault) bool { return v.active("asc") == 2 }},
		{"disable", func(v *vault) error { return v.disable("asc") }, func(v *vault) bool { _, err := v.mint("release"); return err != nil }},
		{"revoke", func(v *vault) error { _, err := v.revoke("asc", 0); return err }, func(v *vault) bool { _, err := v.mint("release"); return err != nil }},
		{"apply", func(v *vault) error { return v.tryApply(basicPolicy + "# new\n") }, func(v *vault) bool { return v.changer.store.Snapshot().PolicyNumber() == 2 }},
		{"rewrap", func(v *vault) error { _, err := v.rewrap(false); return err }, func(v *vault) bool {
			return slices.Contains(v.changer.store.Snapshot().KEKs(), "memory:spare")
		}},
	}
	for _, change := range changes {
		for _, f := range faults {
			t.Run(change.name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					hit := false
					for _, end := range []string{"settled", "restarted", "power cut"} {
						if f.crash && end == "settled" {
							continue
						}
						t.Logf("write %d, then %s", n, end)
						hit = faultOnce(t, f, n, end, change.do, change.made) || hit
						if t.Failed() {
							return
						}
					}
					if !hit {
						return
					}
				}
			})
		}
	}
}

// known takes the refusal of a repeated import for the success that it is.
func known(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Reason == ReasonKeyKnown {
		return nil
	}
	return err
}

func (v *vault) versions(name string) int {
	key, _ := v.changer.store.Snapshot().Key(name)
	return len(key.Versions)
}

func (v *vault) active(name string) int {
	key, _ := v.changer.store.Snapshot().Key(name)
	return key.Active
}

func faultOnce(t *testing.T, f fault, n int, end string, do func(*vault) error, made func(*vault) bool) bool {
	t.Helper()
	v := ready(t)
	v.twin = v.seal(v.importKey("asc"))
	v.file = v.seal(newP8(t))
	tokens := []Minted{v.mustMint("release")}

	hit := f.arm(v, n)
	err := do(v)
	wasHit := hit()
	if err == nil && !f.crash && !made(v) {
		t.Errorf("it answered success, and is not made")
	}
	if !f.crash {
		v.backend.Plan(nil)
		v.fs.Inject(nil)
	}
	switch end {
	case "settled":
		waitFor(t, func() bool { v.changer.housekeep(t.Context()); return v.System.Ready() == nil })
	case "restarted":
		v.reopen()
	case "power cut":
		v.backend.Plan(func(storetest.Call) storetest.Fate { return storetest.CrashBefore })
		v.fs = v.fs.PowerCut(rand.New(rand.NewPCG(uint64(n), 7)))
		_ = v.Close()
		v.mustOpen()
	}
	if err == nil && !made(v) {
		t.Errorf("it answered success, and is not made any more")
	}
	if gaps := v.openGaps(); len(gaps) != 0 {
		t.Errorf("a gap: %+v", gaps)
	}
	v.checkInvariants(tokens...)
	check(t, do(v))
	if !made(v) {
		t.Error("after a repeat it is not made")
	}
	v.checkInvariants(tokens...)
	v.close()
	return wasHit
}

// TestIntentsRecovered crashes between the intent, the commit and the outcome, and looks at what the next start makes
// of it.
func TestIntentsRecovered(t *testing.T) {
	tests := []struct {
		name   string
		fault  fault
		reason string
	}{
		{"before the commit", storeFault(storetest.CrashBefore), "the change was not made"},
		{"after the commit", storeFault(storetest.CrashAfter), "the change was made"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := ready(t)
			tt.fault.arm(v, 1)
			req := v.keyRequest("asc", "because")
			if _, err := v.Keys.Disable(t.Context(), principal(operatorID), req); err == nil {
				t.Fatal("Disable answered success")
			}
			v.reopen()
			e := v.last()
			if e.ID != req.ID || e.Action != string(policy.KeyDisable) || string(e.Outcome) != "recovered" || e.Reason != tt.reason || e.Justification != "because" || e.Root == nil {
				t.Errorf("the last entry is %+v", e)
			}
			size := v.changer.log.Head().Size
			v.reopen()
			if again := v.changer.log.Head().Size; again != size {
				t.Errorf("another restart wrote %d entries", again-size)
			}
			v.checkInvariants()
		})
	}
}

// TestUnknownOutcome leaves a commit unknown for a while: the caller hears that, and nothing else changes before it is
// settled.
func TestUnknownOutcome(t *testing.T) {
	for _, fate := range []storetest.Fate{storetest.UnknownLost, storetest.UnknownPersisted} {
		t.Run(fate.String(), func(t *testing.T) {
			v := ready(t)
			v.importKey("spare")
			v.backend.Plan(func(c storetest.Call) storetest.Fate {
				if c.Write == 1 {
					return fate
				}
				return storetest.Refused
			})
			wantReason(t, v.disable("asc"), ErrUnavailable, ReasonOutcomeUnknown)
			wantReason(t, v.disable("spare"), ErrUnavailable, ReasonOutcomeUnknown)
			v.backend.Plan(nil)
			check(t, v.disable("spare"))
			_, err := v.mint("release")
			if off := fate == storetest.UnknownPersisted; off != (err != nil) {
				t.Errorf("once it is settled a mint answers %v", err)
			}
			check(t, v.disable("asc"))
			_, err = v.mint("release")
			wantReason(t, err, ErrPrecondition, ReasonKeyDisabled)
			v.checkInvariants()
		})
	}
}

// TestPowerCuts cuts the power at random moments of a busy life, again and again.
func TestPowerCuts(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 1))
			v := ready(t)
			var tokens []Minted
			for round := range 12 {
				diskFault(storetest.Effect(r.IntN(3)), true).arm(v, 1+r.IntN(60))
				for step := range 20 {
					if m, err := v.mint("release"); err == nil {
						tokens = append(tokens, m)
					}
					switch r.IntN(4) {
					case 0:
						_ = v.disable("asc")
					case 1:
						_ = v.enable("asc")
					case 2:
						_ = v.tryApply(fmt.Sprintf("%s# %d %d\n", basicPolicy, round, step))
					}
				}
				v.backend.Plan(func(storetest.Call) storetest.Fate { return storetest.CrashBefore })
				v.fs = v.fs.PowerCut(r)
				_ = v.Close()
				v.mustOpen()
				if gaps := v.openGaps(); len(gaps) != 0 {
					t.Fatalf("round %d: a gap: %+v", round, gaps)
				}
				v.checkInvariants(tokens...)
				check(t, v.enable("asc"))
			}
		})
	}
}
