package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

// TestClock sets the clock back: minting stops, the rest goes on, and nothing that is written meanwhile makes the
// wrong time believed.
func TestClock(t *testing.T) {
	v := ready(t)
	v.mustMint("release")
	v.clock.Advance(-29 * time.Second)
	v.mustMint("release")
	v.clock.Advance(-time.Hour)
	for range 2 {
		_, err := v.mint("release")
		wantReason(t, err, ErrUnavailable, ReasonClock)
		wantReason(t, v.System.Ready(), ErrUnavailable, ReasonClock)
		v.reopen()
	}
	check(t, v.disable("asc"))
	check(t, v.enable("asc"))
	v.clock.Advance(time.Hour)
	v.mustMint("release")
	v.checkInvariants()
}

// TestClockFromTheFuture writes an entry while the clock is years ahead. Minting waits for that time, until an
// operator says that the clock is right now.
func TestClockFromTheFuture(t *testing.T) {
	v := ready(t)
	years := 4 * 365 * 24 * time.Hour
	v.clock.Advance(years)
	v.mustMint("release")
	v.clock.Advance(-years)
	_, err := v.mint("release")
	wantReason(t, err, ErrUnavailable, ReasonClock)
	_, _, err = v.System.Acknowledge(t.Context(), principal(strangerID), AcknowledgeRequest{GapID: ClockGap, Reason: "no"})
	wantReason(t, err, ErrDenied, ReasonDenied)
	_, err = v.mint("release")
	wantReason(t, err, ErrUnavailable, ReasonClock)
	_, _, err = v.System.Acknowledge(t.Context(), principal(operatorID), AcknowledgeRequest{GapID: ClockGap, Reason: "the NTP server was wrong"})
	check(t, err)
	v.mustMint("release")
	v.reopen()
	v.mustMint("release")
	_, _, err = v.System.Acknowledge(t.Context(), principal(operatorID), AcknowledgeRequest{GapID: ClockGap, Reason: "again"})
	wantReason(t, err, ErrNotFound, ReasonNotFound)
	v.checkInvariants()
}

// TestFullLog stops minting when the disk is nearly full; what takes something away goes on and is recorded.
func TestFullLog(t *testing.T) {
	v := ready(t)
	v.fs.SetCapacity(v.fs.Used() + 32<<20)
	waitFor(t, func() bool { _, err := v.mint("release"); return err != nil })
	_, err := v.mint("release")
	wantReason(t, err, ErrUnavailable, ReasonLogFull)
	wantReason(t, v.System.Ready(), ErrUnavailable, ReasonLogFull)
	_, err = v.tryImport("other", []byte("x"))
	if err == nil {
		t.Error("an import went through")
	}
	check(t, v.disable("asc"))
	if e := v.last(); e.Action != string(policy.KeyDisable) || e.Outcome != auditlog.Done {
		t.Errorf("the disable's entry is %+v", e)
	}
	wantReason(t, v.enable("asc"), ErrUnavailable, ReasonLogFull)
	_, err = v.revoke("asc", 0)
	check(t, err)
	v.reopen()
	wantReason(t, v.System.Ready(), ErrUnavailable, ReasonLogFull)
	v.fs.SetCapacity(1 << 40)
	waitFor(t, func() bool { return v.System.Ready() == nil })
	v.importKey("fresh")
	v.checkInvariants()
}

// waitFor polls for what happens in the background within a second or two.
func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	for range 500 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it did not happen in five seconds")
}

// TestFailedLog lets every sync fail: nothing is minted or changed, and readiness says why. One that fails alone
// fails its own call.
func TestFailedLog(t *testing.T) {
	v := ready(t)
	broken := errors.New("broken disk")
	v.fs.FailNth(0, storetest.Fault{Err: broken})
	_, err := v.mint("release")
	wantReason(t, err, ErrUnavailable, ReasonLogUnavailable)
	v.fs.Inject(nil)
	waitFor(t, func() bool { return v.System.Ready() == nil })
	minted := v.mustMint("release")

	v.fs.Inject(func(op storetest.Op) storetest.Fault {
		if op.Kind == storetest.OpSync || op.Kind == storetest.OpSyncDir {
			return storetest.Fault{Err: broken}
		}
		return storetest.Fault{}
	})
	before := v.changer.store.Snapshot().RootID()
	for range 3 {
		_, err := v.mint("release")
		wantReason(t, err, ErrUnavailable, ReasonLogUnavailable)
		wantReason(t, v.disable("asc"), ErrUnavailable, ReasonLogUnavailable)
	}
	wantReason(t, v.System.Ready(), ErrUnavailable, ReasonLogUnavailable)
	if after := v.changer.store.Snapshot().RootID(); after != before {
		t.Error("something was changed that could not be recorded")
	}
	v.fs.Inject(nil)
	waitFor(t, func() bool { return v.System.Ready() == nil })
	v.checkInvariants(minted, v.mustMint("release"))
}

// TestDamaged damages every blob of the store in turn. Whatever it is, the store says so and mints nothing that is
// touched by it; where it is the record of one key, that key is refused by name and the others go on.
func TestDamaged(t *testing.T) {
	v := ready(t)
	v.importKey("other")
	v.crash()
	whole, disk := v.memory, v.fs
	seen := map[string]bool{}
	for ref := range whole.List(t.Context()) {
		v.memory, v.fs = whole.Clone(), copyFS(t, disk)
		blob, err := v.memory.Get(t.Context(), ref)
		check(t, err)
		blob[len(blob)-1] ^= 1
		v.memory.SetBlob(ref, blob)
		if err := v.open(); err != nil {
			v.Authority = nil
			continue // the log key or the CA: it does not start
		}
		what := ""
		if damage := v.changer.store.Snapshot().Damage(); len(damage) > 0 {
			what = damage[0].Record
		}
		seen[strings.TrimRight(what, " 0123456789")] = true
		status, err := v.System.Status(t.Context(), principal(operatorID), Request{})
		check(t, err)
		_, minted := v.mint("release")
		switch what {
		case "key/other":
			check(t, minted)
			key, err := v.Keys.Get(t.Context(), principal(operatorID), KeyRequest{Name: "other"})
			check(t, err)
			if key.Problem == "" || !slices.Contains(status.DamagedKeys, "other") {
				t.Errorf("the damaged key is %+v; the status says %v", key, status.DamagedKeys)
			}
			page, _, err := v.Keys.List(t.Context(), principal(operatorID), ListKeysRequest{Limit: 9})
			check(t, err)
			if len(page) != 2 || page[1].Problem == "" {
				t.Errorf("the list is %+v", page)
			}
			wantReason(t, v.disable("other"), ErrPrecondition, ReasonKeyDamaged)
			_, err = v.tryImport("other", v.seal(newP8(t)))
			wantReason(t, err, ErrPrecondition, ReasonKeyDamaged)
		case "key/asc":
			wantReason(t, minted, ErrPrecondition, ReasonKeyDamaged)
		case "policy/1":
			wantReason(t, minted, ErrDenied, ReasonDenied)
			check(t, v.tryApply(basicPolicy))
			v.mustMint("release")
		}
		if strings.HasPrefix(what, "shard") && !slices.Contains(status.DamagedKeys, what) {
			t.Errorf("%s is damaged, and the status says %v", what, status.DamagedKeys)
		}
		v.crash()
	}
	for _, what := range []string{"key/other", "key/asc", "policy/", "shard"} {
		if !seen[what] {
			t.Errorf("nothing was %s", what)
		}
	}
}

func TestUnauthenticated(t *testing.T) {
	v := ready(t)
	for range 3 {
		v.Unauthenticated("192.0.2.7:4711", "no certificate")
		v.Unauthenticated("192.0.2.7:4712", "no certificate")
	}
	v.Unauthenticated("192.0.2.8:1", "an expired certificate")
	v.changer.summarise(t.Context())
	counts := map[string]int64{}
	for _, e := range v.entries() {
		if e.Outcome == auditlog.Summary {
			counts[e.Peer+" "+e.Reason] = e.Count
		}
	}
	if counts["192.0.2.7 no certificate"] != 6 || counts["192.0.2.8 an expired certificate"] != 1 || len(counts) != 2 {
		t.Errorf("the summaries are %v", counts)
	}
}

// TestDenialFlood has one caller denied a thousand times: a minute's worth of entries, and a summary of the rest.
func TestDenialFlood(t *testing.T) {
	v := ready(t)
	const calls = 1000
	for range calls {
		_, err := v.Tokens.Mint(t.Context(), principal(strangerID), MintRequest{Profile: "release"})
		wantReason(t, err, ErrDenied, ReasonDenied)
	}
	v.changer.housekeep(t.Context())
	own, counted := 0, int64(0)
	for _, e := range v.entries() {
		if e.Principal == nil || e.Principal.ID != strangerID {
			continue
		}
		switch e.Outcome {
		case auditlog.Denied:
			own++
		case auditlog.Summary:
			counted += e.Count
			if e.Action != string(policy.TokenMint) || !strings.HasPrefix(e.Reason, string(ReasonDenied)) {
				t.Errorf("the summary is %+v", e)
			}
		default:
			t.Errorf("an entry of %s", e.Outcome)
		}
	}
	if own != ownRefusals || int64(own)+counted != calls {
		t.Errorf("%d entries and %d counted, want %d and the rest of %d", own, counted, ownRefusals, calls)
	}
}

// TestConflict changes the store under a change: it is decided anew, and gives up when that does not end.
func TestConflict(t *testing.T) {
	for _, foreign := range []int{1, 100} {
		t.Run(fmt.Sprint(foreign), func(t *testing.T) {
			v := ready(t)
			c, left := v.changer, foreign
			err := c.change(t.Context(), principal(operatorID), ask{id: "the-change", want: policy.Request{Action: policy.KeyDisable, Key: "asc"}}, func(call *call, tx *store.Tx) error {
				key, _ := tx.Key("asc")
				if left > 0 {
					left--
					head, _ := c.store.Snapshot().LogHead(nodeName)
					_, err := c.store.Commit(t.Context(), c.store.Begin(), head)
					check(t, err)
				}
				return tx.PutKey(key.Disable())
			})
			if foreign == 1 {
				check(t, err)
			} else {
				wantReason(t, err, ErrConflict, ReasonConflict)
			}
			v.checkInvariants()
		})
	}
}

// TestHangUp hangs up before and during a change: before, nothing happens; during, it is carried through.
func TestHangUp(t *testing.T) {
	v := ready(t)
	c := v.changer
	c.turn <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := v.Keys.Disable(ctx, principal(operatorID), v.keyRequest("asc", ""))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Disable = %v", err)
	}
	<-c.turn
	v.mustMint("release")

	ctx, cancel = context.WithCancel(t.Context())
	err = c.change(ctx, principal(operatorID), ask{id: "the-change", want: policy.Request{Action: policy.KeyDisable, Key: "asc"}}, func(call *call, tx *store.Tx) error {
		key, _ := tx.Key("asc")
		cancel()
		return tx.PutKey(key.Disable())
	})
	check(t, err)
	_, err = v.mint("release")
	wantReason(t, err, ErrPrecondition, ReasonKeyDisabled)
	v.checkInvariants()
}

// TestShutDown calls what has been closed.
func TestShutDown(t *testing.T) {
	v := ready(t)
	a := v.Authority
	v.close()
	_, err := a.Tokens.Mint(t.Context(), principal(callerID), MintRequest{Profile: "release"})
	wantReason(t, err, ErrUnavailable, ReasonShuttingDown)
	_, err = a.Keys.Disable(t.Context(), principal(operatorID), KeyRequest{Name: "asc"})
	wantReason(t, err, ErrUnavailable, ReasonShuttingDown)
	if a.System.Ready() == nil {
		t.Error("it is ready")
	}
	if err := a.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
}
