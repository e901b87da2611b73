package authority

import (
	"cmp"
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/lease"
	"github.com/p8signet/signet/store/storetest"
)

// testBound is the bound of the replicas in these tests, in the time of a synctest bubble.
const testBound = 8 * time.Second

// fleet is a vault on a store that several replicas share. It lives in a synctest bubble, whose clock everybody has.
type fleet struct {
	*vault
	shared   *storetest.SharedMemory
	bound    time.Duration
	replicas []*replica
}

// replica is one of them: its own log, its own way to the store.
type replica struct {
	*vault // of which only Authority, fs and the requests are this replica's
	fleet  *fleet
	node   string
	way    *storetest.SharedFaulty
	logger *slog.Logger // what it says is lost when it is nil
	// through, where it is not nil, stands before way at the next start.
	through storetest.SharedBackend
}

// inBubble runs a test in a synctest bubble, but not where the module takes its entropy from how long things take: in a bubble they
// take no time, and it never gets any. What replicas tell each other is the same with every module.
func inBubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if fips140.Enforced() {
		t.Skip("the FIPS 140 module gets no entropy while time stands still")
	}
	synctest.Test(t, f)
}

// newFleet makes the vault with a key and a policy, and n replicas that serve it.
func newFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := &fleet{shared: storetest.Shared(), bound: testBound}
	f.vault = &vault{t: t, kek: storetest.KEK(), fs: storetest.NewFaultFS()}
	made, err := Init(t.Context(), InitConfig{
		Backend: f.shared, KEKs: []envelope.KEK{f.kek}, LogFS: f.fs, Node: nodeName, TrustDomain: trustDomain,
		Operator: operatorID, Hosts: []string{"localhost"}, Now: time.Now, Logger: discarded(),
	})
	if err != nil {
		t.Fatalf("Init: %v", err)
	}
	f.made = made
	for i := range n {
		r := f.add(fmt.Sprintf("node-%d", i+1))
		if i == 0 {
			r.fs = f.fs
		}
		r.mustStart(i > 0)
	}
	t.Cleanup(func() {
		for _, r := range f.replicas {
			if r.Authority != nil {
				_ = r.Close()
			}
		}
	})
	if n > 0 {
		f.replicas[0].importKey("asc")
		f.replicas[0].apply(basicPolicy)
	}
	return f
}

func discarded() *slog.Logger { return slog.New(slog.DiscardHandler) }

// add is a replica that does not run yet.
func (f *fleet) add(node string) *replica {
	r := &replica{vault: &vault{t: f.t, kek: f.kek, made: f.made, fs: storetest.NewFaultFS()}, fleet: f, node: node}
	f.replicas = append(f.replicas, r)
	return r
}

func (r *replica) start(enroll bool) error {
	backend := r.through
	if backend == nil {
		r.way = storetest.NewSharedFaulty(r.fleet.shared, nil)
		backend = r.way
	}
	s, err := store.Open(r.t.Context(), store.Config{Backend: backend, KEKs: []envelope.KEK{r.kek}, Node: r.node, Now: time.Now, Logger: discarded()})
	if err != nil {
		return err
	}
	a, err := Open(r.t.Context(), Config{
		Store: s, LogFS: r.fs, Node: r.node, Operators: []string{operatorID}, TrustDomain: trustDomain,
		Bound: r.fleet.bound, Enroll: enroll, Now: time.Now, Logger: cmp.Or(r.logger, discarded()), Watcher: r.watcher,
	})
	if err != nil {
		return err
	}
	r.Authority = a
	return nil
}

func (r *replica) mustStart(enroll bool) {
	r.t.Helper()
	if err := r.start(enroll); err != nil {
		r.t.Fatalf("starting %s: %v", r.node, err)
	}
}

// cut keeps everything of this replica from the store; mend lets it through again.
func (r *replica) cut() {
	r.way.Plan(func(storetest.Call) storetest.Fate { return storetest.Refused })
}
func (r *replica) mend() { r.way.Plan(nil) }

// kill ends the replica as kill -9 does.
func (r *replica) kill() {
	r.way.Plan(func(storetest.Call) storetest.Fate { return storetest.CrashBefore })
	r.fs = r.fs.Restart()
	_ = r.Close()
	r.Authority = nil
}

func (r *replica) wantMint(want Reason) {
	r.t.Helper()
	_, err := r.mint("release")
	if got := reasonOf(err); got != want {
		r.t.Errorf("%s minted with %q (%v), want %q", r.node, got, err, want)
	}
}

func reasonOf(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	if err != nil {
		return ReasonInternal
	}
	return ""
}

// members are the names of the nodes that the root lists, as this replica has it.
func (r *replica) members() string {
	return lease.Nodes(r.changer.state.Load().snap.Members())
}

// took runs f and says how long it took.
func took(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v (%v)", err, errors.Unwrap(err))
	}
}

// TestOffEverywhere: law 5 on replicas that are well. When a change has returned, no replica mints on what was before it, and it
// does not take long.
func TestOffEverywhere(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 3)
		for round := range 4 {
			changed, others := f.replicas[round%3], f.replicas
			for _, r := range others {
				r.wantMint("")
			}
			if d := took(func() { must(t, changed.disable("asc")) }); d > time.Second {
				t.Errorf("disabling took %s", d)
			}
			for _, r := range others {
				r.wantMint(ReasonKeyDisabled)
			}
			must(t, f.replicas[(round+1)%3].enable("asc"))
		}
		must(t, f.replicas[2].tryApply(strings.Replace(basicPolicy, "release, builds]", "builds]", 1)))
		for _, r := range f.replicas {
			r.wantMint(ReasonDenied)
		}
		f.replicas[1].apply(basicPolicy)
		_, err := f.replicas[0].revoke("asc", 0)
		must(t, err)
		for _, r := range f.replicas {
			r.wantMint(ReasonKeyRevoked)
		}
	})
}

// TestCutOff: a replica that does not hear from the store mints until its bound has passed and no longer, whoever turned a key off
// waits for that, and it comes back by itself.
func TestCutOff(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 3)
		a, b, c := f.replicas[0], f.replicas[1], f.replicas[2]
		c.wantMint("") // so that its key is open
		time.Sleep(testBound)
		c.cut()
		time.Sleep(time.Second)
		c.wantMint("") // within its bound
		d := took(func() { must(t, a.disable("asc")) })
		if d < testBound || d > testBound+5*time.Second {
			t.Errorf("disabling took %s with a replica cut off whose bound is %s", d, testBound)
		}
		b.wantMint(ReasonKeyDisabled)
		c.wantMint(ReasonLeaseLapsed)
		if err := c.System.Ready(); reasonOf(err) != ReasonLeaseLapsed {
			t.Errorf("the replica that was cut off is ready: %v", err)
		}
		if d := took(func() { must(t, b.enable("asc")) }); d > time.Second {
			t.Errorf("the next change took %s, although the replica was waited out", d)
		}
		c.mend()
		time.Sleep(3 * time.Second)
		c.wantMint("")
		if d := took(func() { must(t, a.disable("asc")) }); d > time.Second {
			t.Errorf("disabling took %s after the replica came back", d)
		}
		c.wantMint(ReasonKeyDisabled)
		if got := a.members(); got != "node-1, node-2, node-3" {
			t.Errorf("the members are %s", got)
		}
	})
}

// TestStaleReads: a replica whose reads of the store are stale, but whose writes are not, renews its lease and never sees the
// change. It is fenced all the same.
func TestStaleReads(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 2)
		a, b := f.replicas[0], f.replicas[1]
		b.way.Plan(func(c storetest.Call) storetest.Fate {
			if c.Op == "root" {
				return storetest.Stale
			}
			return storetest.Fine
		})
		if d := took(func() { must(t, a.disable("asc")) }); d < testBound {
			t.Errorf("disabling took %s", d)
		}
		b.wantMint(ReasonLeaseLapsed)
		// A repeat that finds the change made in a stale state does not believe that.
		if err := b.enable("asc"); err == nil {
			a.wantMint("")
		}
	})
}

// TestStaleJoin: a replica that was fenced and cannot join anew, because its reads are stale and a commit of its own is not settled,
// does not go round without a pause. It says that it does not know whether a key is off.
func TestStaleJoin(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 2)
		a, b := f.replicas[0], f.replicas[1]
		must(t, a.disable("asc"))
		b.wantMint(ReasonKeyDisabled)
		swaps := 0
		b.way.Plan(func(c storetest.Call) storetest.Fate {
			switch c.Op {
			case "root":
				return storetest.Stale
			case "swap":
				if swaps++; swaps == 1 {
					return storetest.UnknownLost
				}
			}
			return storetest.Fine
		})
		must(t, a.enable("asc"))
		b.wantMint(ReasonLeaseLapsed)
		if _, err := b.Tokens.Mint(t.Context(), principal(strangerID), MintRequest{Request: b.request(), Profile: "release"}); reasonOf(err) != ReasonLeaseLapsed {
			t.Errorf("a stranger, whom it may owe a grant by now, is told %v", err)
		}
		before, _ := b.way.Calls()
		time.Sleep(10 * time.Second)
		if after, _ := b.way.Calls(); after-before > 400 {
			t.Errorf("%d calls of the store in ten seconds", after-before)
		}
		b.mend()
		time.Sleep(3 * time.Second)
		b.wantMint("")
	})
}

// TestRepeatOnOldState: who finds a change made in a state that is not the newest any more makes it again.
func TestRepeatOnOldState(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 2)
		a, b := f.replicas[0], f.replicas[1]
		must(t, a.disable("asc"))
		// Between this and b's next look at the root.
		must(t, a.enable("asc"))
		b.way.Plan(func(c storetest.Call) storetest.Fate {
			if c.Op == "root" && c.N < 3 {
				return storetest.Stale
			}
			return storetest.Fine
		})
		must(t, b.disable("asc"))
		a.wantMint(ReasonKeyDisabled)
		b.wantMint(ReasonKeyDisabled)
	})
}

// TestRefusedOnTheNewest: what one replica has just made, another one does not refuse because it has not seen it yet.
func TestRefusedOnTheNewest(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 0)
		a, b := f.add("node-1"), f.add("node-2")
		a.fs = f.fs
		a.mustStart(false)
		b.mustStart(true)
		time.Sleep(time.Second)
		file := a.seal(newP8(t))
		if n := len(b.changer.state.Load().snap.Recipients()); n != 0 {
			t.Fatalf("node-2 has seen %d recipients already", n)
		}
		if _, err := b.tryImport("fresh", file); err != nil {
			t.Errorf("an import to a recipient of another replica's: %v", err)
		}
		if _, known := a.changer.state.Load().snap.Key("fresh"); known {
			t.Fatal("node-1 has seen the key already")
		}
		must(t, a.disable("fresh"))
		// What is nowhere is refused as ever, and with the store away, too.
		for _, cut := range []bool{false, true} {
			if cut {
				a.cut()
			}
			if err := a.disable("nowhere"); reasonOf(err) != ReasonNotFound {
				t.Errorf("with the store away, %v: %v", cut, err)
			}
		}
	})
}

// TestLeave: a replica that stops in order is waited for by nobody.
func TestLeave(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 3)
		a, c := f.replicas[0], f.replicas[2]
		must(t, c.Close())
		c.Authority = nil
		if d := took(func() { must(t, a.disable("asc")) }); d > time.Second {
			t.Errorf("disabling took %s after a replica had left", d)
		}
		if got := a.members(); got != "node-1, node-2" {
			t.Errorf("the members are %s", got)
		}
		names, err := f.shared.ListRegisters(t.Context())
		must(t, err)
		leases := slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "lease.") })
		if len(leases) != 2 {
			t.Errorf("there are leases %v", leases)
		}
	})
}

// TestKilledAndRestarted: a replica that was killed and starts again under its name mints at once, its former incarnation is fenced,
// waited out and removed.
func TestKilledAndRestarted(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 3)
		a, c := f.replicas[0], f.replicas[2]
		c.kill()
		time.Sleep(time.Second)
		if d := took(func() { c.mustStart(false) }); d > time.Second {
			t.Errorf("starting again took %s", d)
		}
		c.wantMint("")
		if n := len(c.changer.state.Load().snap.Members()); n != 4 {
			t.Errorf("there are %d members, want the dead one beside the new one", n)
		}
		d := took(func() { must(t, a.disable("asc")) })
		if d > testBound+2*time.Second {
			t.Errorf("disabling took %s", d)
		}
		c.wantMint(ReasonKeyDisabled)
		time.Sleep(2 * time.Second)
		if n := len(a.changer.state.Load().snap.Members()); n != 3 {
			t.Errorf("there are %d members after the dead one was waited out", n)
		}
	})
}

// TestNamesakes: of two replicas with one name and the same log the older one ends; one with another log is refused while the
// first one lives, and its log is not touched.
func TestNamesakes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 2)
		b := f.replicas[1]
		twin := f.add("node-2")
		if err := twin.start(false); !errors.Is(err, errNamesake) {
			t.Errorf("another node-2 with a log of its own started: %v", err)
		}
		b.wantMint("")
		if gaps := b.changer.state.Load().snap.Gaps(); len(gaps) > 0 {
			t.Errorf("it made a gap: %v", gaps)
		}
		if err := twin.start(true); !errors.Is(err, ErrEnrolled) {
			t.Errorf("another node-2 was enrolled: %v", err)
		}
		twin.fs = b.fs.Fork() // a copy of the machine
		twin.mustStart(false)
		time.Sleep(testBound)
		select {
		case err := <-b.Lost():
			if !errors.Is(err, lease.ErrNamesake) {
				t.Errorf("the older one ends with %v", err)
			}
		default:
			t.Error("the older one does not end")
		}
		if _, err := b.mint("release"); err == nil {
			t.Error("the older one mints")
		}
		// Both have written on after they parted, so that one log is not all there was.
		twin.wantMint(ReasonGap)
	})
}

// TestNodeNotEnrolled: a node that the vault does not know is refused, and changes nothing.
func TestNodeNotEnrolled(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 1)
		r := f.add("node-7")
		before := f.replicas[0].changer.state.Load().snap.RootID()
		if err := r.start(false); err == nil || !strings.Contains(err.Error(), "node-1") {
			t.Errorf("an unknown node: %v", err)
		}
		time.Sleep(time.Second)
		if after := f.replicas[0].changer.state.Load().snap.RootID(); after != before {
			t.Errorf("the root changed")
		}
	})
}

// TestEnrollInGap: a node whose log was lost, and whose new one the root knows nothing of yet, is not enrolled anew: not while the gap
// is open, and not when it was acknowledged elsewhere.
func TestEnrollInGap(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 2)
		a, b := f.replicas[0], f.replicas[1]
		b.kill()
		b.fs = storetest.NewFaultFS()
		time.Sleep(2 * testBound)
		b.mustStart(false)
		b.wantMint(ReasonGap)
		b.kill()
		time.Sleep(time.Second)
		root := a.changer.store.Snapshot()
		if head, _ := root.LogHead("node-2"); head.Size > 0 || len(root.Stops("node-2")) != 1 {
			t.Fatalf("the root has %d entries of node-2 and %d gaps that stop it; the test shows nothing", head.Size, len(root.Stops("node-2")))
		}
		for _, gap := range []string{"open", "acknowledged"} {
			if gap == "acknowledged" {
				a.acknowledge(root.Stops("node-2")[0].ID)
				root = a.changer.store.Snapshot()
			}
			twin := f.add("node-2")
			if err := twin.start(true); !errors.Is(err, ErrEnrolled) {
				t.Errorf("with the gap %s, another node-2 was enrolled: %v", gap, err)
			}
			must(t, a.changer.catchUp(t.Context()))
			if now := a.changer.store.Snapshot().RootID(); now != root.RootID() {
				t.Errorf("with the gap %s, the root changed", gap)
			}
		}
	})
}

// TestForget: a dead replica is forgotten; a live one that is forgotten joins anew; neither is waited for afterwards.
func TestForget(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 3)
		a, b, c := f.replicas[0], f.replicas[1], f.replicas[2]
		forget := func(node string) error {
			return a.System.Forget(t.Context(), principal(operatorID), ForgetRequest{Request: a.request(), Node: node, Reason: "test"})
		}
		for node, want := range map[string]Reason{"node-1": ReasonMalformed, "node-9": ReasonNotFound} {
			if err := forget(node); reasonOf(err) != want {
				t.Errorf("forgetting %s: %v", node, err)
			}
		}
		c.kill()
		d := took(func() { must(t, forget("node-3")) })
		if d < testBound || d > testBound+3*time.Second {
			t.Errorf("forgetting took %s", d)
		}
		if got := a.members(); got != "node-1, node-2" {
			t.Errorf("the members are %s", got)
		}
		must(t, forget("node-2"))
		time.Sleep(3 * time.Second)
		b.wantMint("")
		if d := took(func() { must(t, a.disable("asc")) }); d > time.Second {
			t.Errorf("disabling took %s", d)
		}
		b.wantMint(ReasonKeyDisabled)
	})
}

// TestGivingUp: a caller who does not wait is told for whom the change waits, and the repeat goes on where it stopped.
func TestGivingUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 2)
		a, b := f.replicas[0], f.replicas[1]
		b.cut()
		disable := func(d time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			_, err := a.Keys.Disable(ctx, principal(operatorID), KeyRequest{Request: a.request(), Name: "asc", Reason: "test"})
			return err
		}
		err := disable(5 * time.Second)
		if reasonOf(err) != ReasonNotEverywhere || !strings.Contains(err.Error(), "node-2") {
			t.Errorf("who did not wait was told %v", err)
		}
		a.wantMint(ReasonKeyDisabled)
		if d := took(func() { must(t, disable(time.Minute)) }); d > testBound {
			t.Errorf("the repeat took %s", d)
		}
		b.wantMint(ReasonLeaseLapsed)
		var everywhere []string
		for _, e := range a.entries() {
			if e.Action == string(actionEverywhere) && e.Key == "asc" {
				everywhere = append(everywhere, string(e.Outcome)+" "+e.Reason)
			}
		}
		if n := len(everywhere); n < 2 || !strings.Contains(everywhere[n-2], "NOT_EVERYWHERE: node-2") || !strings.Contains(everywhere[n-1], "waited out: node-2") {
			t.Errorf("the log says %v", everywhere)
		}
	})
}

// TestAnchorInTheStore: a replica whose whole machine was rolled back, log and all, finds the checkpoint that it left in the store,
// and mints nothing.
func TestAnchorInTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 2)
		b := f.replicas[1]
		b.wantMint("")
		time.Sleep(5 * time.Second)
		old := b.fs.Fork()
		for range 5 {
			b.wantMint("")
		}
		time.Sleep(5 * time.Second)
		b.kill()
		b.fs = old
		b.mustStart(false)
		b.wantMint(ReasonGap)
		gaps := b.changer.state.Load().snap.Gaps()
		if len(gaps) != 1 || gaps[0].Kind != store.GapLog || gaps[0].Node != "node-2" {
			t.Errorf("the gaps are %+v", gaps)
		}
		f.replicas[0].wantMint("") // it is node-2's log alone
	})
}

// TestMembersRead: who may read the status sees who mints on what.
func TestMembersRead(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 3)
		a := f.replicas[0]
		members, revision, err := a.System.Members(t.Context(), principal(operatorID), a.request())
		must(t, err)
		if len(members) != 3 || !members[0].Self || members[1].Self {
			t.Fatalf("the members are %+v", members)
		}
		for _, m := range members {
			if m.Revision != revision || m.Bound != testBound || m.FencedBy != "" {
				t.Errorf("%s is at %d of %d, bound %s, fenced by %q", m.Node, m.Revision, revision, m.Bound, m.FencedBy)
			}
		}
		if _, _, err := a.System.Members(t.Context(), principal(strangerID), a.request()); reasonOf(err) != ReasonDenied {
			t.Errorf("a stranger: %v", err)
		}
		if err := a.System.Forget(t.Context(), policy.Principal{}, ForgetRequest{Node: "node-2", Reason: "x"}); reasonOf(err) != ReasonDenied {
			t.Errorf("nobody: %v", err)
		}
	})
}

// restore brings the store back from a copy, registers too, as a Vault is from a snapshot.
func (f *fleet) restore(older *storetest.MemoryBackend) {
	f.t.Helper()
	ctx, from := f.t.Context(), storetest.SharedMemory{MemoryBackend: older}
	for ref, err := range older.List(ctx) {
		must(f.t, err)
		blob, err := older.Get(ctx, ref)
		must(f.t, err)
		f.shared.SetBlob(ref, blob)
	}
	names, err := f.shared.ListRegisters(ctx)
	must(f.t, err)
	for _, name := range names {
		must(f.t, f.shared.RemoveRegister(ctx, name))
	}
	names, err = from.ListRegisters(ctx)
	must(f.t, err)
	for _, name := range names {
		value, version, err := from.Register(ctx, name)
		must(f.t, err)
		for v := range version { // until it is at its version
			must(f.t, f.shared.SetRegister(ctx, name, v, value))
		}
	}
	root, err := older.Root(ctx)
	must(f.t, err)
	f.shared.SetRoot(root)
}

// gaps are those that are open, as a replica sees them.
func (r *replica) gaps() []store.Gap {
	return slices.DeleteFunc(r.changer.state.Load().snap.Gaps(), func(g store.Gap) bool { return !g.Closed.IsZero() })
}

// TestStoreBroughtBack: where the store is brought back from an older copy under running replicas, and somebody goes on from
// there, those who know better do not follow; they make a gap of it, on top of what has come since.
func TestStoreBroughtBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 2)
		a, b := f.replicas[0], f.replicas[1]
		older := f.shared.Clone()
		must(t, a.disable("asc"))
		must(t, b.enable("asc"))
		must(t, a.disable("asc"))
		a.cut()
		b.cut()
		f.restore(older)
		other := f.add("node-9")
		other.mustStart(true)
		for i := range 6 { // beyond the revision that was lost
			must(t, other.forceApply(i))
		}
		other.wantMint("") // it knows no better
		a.mend()
		b.mend()
		time.Sleep(10 * time.Second)
		for _, r := range f.replicas {
			r.wantMint(ReasonGap)
			if n := len(r.gaps()); n != 1 {
				t.Errorf("%s sees %d gaps", r.node, n)
			}
		}
		must(t, other.disable("asc"))
		other.acknowledge(other.gaps()[0].ID)
		time.Sleep(testBound)
		for _, r := range f.replicas {
			r.wantMint(ReasonKeyDisabled)
		}
	})
}

// TestRestoredUnderReplicas: a store that is restored while replicas run is a gap that they find themselves. A key can be turned off at
// once, and that waits for a replica which has joined since the copy was made and hears nothing of the gap; and after the gap is
// acknowledged all of them go on.
func TestRestoredUnderReplicas(t *testing.T) {
	for _, fate := range []storetest.Fate{storetest.Fine, storetest.Refused, storetest.UnknownLost, storetest.UnknownPersisted, storetest.UnknownLate, storetest.Twice, storetest.Echo} {
		t.Run(fate.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := newFleet(t, 2)
				a, c := f.replicas[0], f.replicas[1]
				must(t, c.Close())
				time.Sleep(time.Second)
				older := f.shared.Clone()
				must(t, a.disable("asc"))
				must(t, a.enable("asc"))
				c.mustStart(false)
				c.wantMint("") // so that its key is open
				time.Sleep(time.Second)
				known := a.changer.store.Snapshot().RootID()
				c.cut()
				f.restore(older)
				swaps := 0
				a.way.Plan(func(c storetest.Call) storetest.Fate { // what befalls the commit that makes the gap
					if c.Op == "swap" {
						if swaps++; swaps == 1 {
							return fate
						}
					}
					return storetest.Fine
				})
				c.wantMint("")
				for began := time.Now(); len(a.gaps()) == 0; time.Sleep(50 * time.Millisecond) {
					if time.Since(began) > 2*olderFor+2*time.Second {
						t.Fatalf("there is no gap")
					}
				}
				time.Sleep(time.Second) // until it has joined anew, and has nobody else to wait for
				must(t, a.disable("asc"))
				// From here on nobody mints with it, whatever he has heard.
				for _, r := range f.replicas {
					if _, err := r.mint("release"); err == nil {
						t.Errorf("%s mints with a key that was disabled", r.node)
					}
				}
				c.mend()
				time.Sleep(testBound)
				for _, r := range f.replicas {
					if err := r.System.Ready(); reasonOf(err) != ReasonGap {
						t.Errorf("%s may mint: %v", r.node, err)
					}
					gaps := r.gaps()
					if len(gaps) != 1 || gaps[0].Kind != store.GapStore || gaps[0].Root != known {
						t.Fatalf("%s sees the gaps %+v, want one that missed %+v", r.node, gaps, known)
					}
				}
				if id := a.changer.store.Snapshot().RootID(); id.Lineage == known.Lineage || id.Revision <= known.Revision {
					t.Errorf("the root is %+v after %+v", id, known)
				}
				c.acknowledge(a.gaps()[0].ID)
				must(t, a.enable("asc"))
				for _, r := range f.replicas {
					r.wantMint("")
				}
				if d := took(func() { must(t, a.disable("asc")) }); d > time.Second {
					t.Errorf("disabling took %s when all was well again", d)
				}
				for _, r := range f.replicas {
					r.wantMint(ReasonKeyDisabled)
				}
			})
		})
	}
}

// TestRestoredBeneathTheUnknown: a commit of which nothing was known when the store was restored is settled, and a node that the
// older copy does not know ends by name.
func TestRestoredBeneathTheUnknown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 1)
		a := f.replicas[0]
		time.Sleep(time.Second)
		older := f.shared.Clone()
		must(t, a.disable("asc"))
		young := f.add("node-2")
		young.mustStart(true)
		time.Sleep(time.Second)
		a.way.Plan(func(c storetest.Call) storetest.Fate {
			switch c.Op {
			case "swap":
				return storetest.UnknownPersisted
			case "root":
				return storetest.Refused
			}
			return storetest.Fine
		})
		if err := a.enable("asc"); reasonOf(err) != ReasonOutcomeUnknown {
			t.Fatalf("enabling: %v", err)
		}
		f.restore(older)
		a.mend()
		time.Sleep(4 * olderFor)
		if gaps := a.gaps(); len(gaps) != 1 || gaps[0].Kind != store.GapStore {
			t.Fatalf("the gaps are %+v", gaps)
		}
		must(t, a.disable("asc"))
		select {
		case err := <-young.Lost():
			if errors.Is(err, lease.ErrNamesake) || !strings.Contains(err.Error(), "node-1") {
				t.Errorf("a node that is not known any more ends with: %v", err)
			}
		default:
			t.Error("a node that is not known any more goes on")
		}
		if _, err := young.mint("release"); err == nil {
			t.Error("it mints")
		}
		a.acknowledge(a.gaps()[0].ID)
		must(t, a.enable("asc"))
		a.wantMint("")
	})
}

// TestOlderReadsAreNoGap: reads that are older than what a replica has committed itself prove nothing, however long they go on.
func TestOlderReadsAreNoGap(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 2)
		a, b := f.replicas[0], f.replicas[1]
		time.Sleep(time.Second)
		var tried atomic.Int64
		b.way.Plan(func(c storetest.Call) storetest.Fate {
			switch c.Op {
			case "root":
				return storetest.Stale
			case "swap":
				tried.Add(1)
			}
			return storetest.Fine
		})
		must(t, b.disable("asc")) // it knows a root that it does not read
		committed := tried.Load()
		time.Sleep(time.Minute)
		if tried.Load() == committed {
			t.Error("it did not try; the test shows nothing")
		}
		b.mend()
		time.Sleep(testBound)
		for _, r := range f.replicas {
			if gaps := r.changer.store.Snapshot().Gaps(); len(gaps) > 0 {
				t.Errorf("%s sees the gaps %+v", r.node, gaps)
			}
		}
		must(t, a.enable("asc"))
		b.wantMint("")
	})
}

// forceApply changes the policy, so that the revision grows.
func (r *replica) forceApply(n int) error {
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	_, err := r.Policies.Apply(ctx, principal(operatorID), ApplyRequest{Request: r.request(), Document: fmt.Appendf(nil, "%s# %d\n", basicPolicy, n)})
	return err
}

// TestLapsedIssues: a replica whose lease has lapsed gives out no identities either.
func TestLapsedIssues(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 2)
		b := f.replicas[1]
		b.cut()
		time.Sleep(2 * testBound)
		if _, err := b.System.IssueCertificate(t.Context(), principal(operatorID), CertificateRequest{Request: b.request(), URI: callerID}); reasonOf(err) != ReasonLeaseLapsed {
			t.Errorf("issuing: %v", err)
		}
	})
}

// TestLeasesCollected: what replicas left that could not join, and one that was killed before it did, is collected by the others; a
// replica that goes on joining after that knows better.
func TestLeasesCollected(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 2)
		a, b := f.replicas[0], f.replicas[1]
		c := f.add("node-3")
		c.mustStart(true)
		must(t, c.Close())
		c.Authority = nil
		leases := func() (n int) {
			t.Helper()
			names, err := f.shared.ListRegisters(t.Context())
			must(t, err)
			for _, name := range names {
				if strings.HasPrefix(name, "lease.") {
					n++
				}
			}
			return n
		}
		for range 3 {
			c.through = storetest.NewSharedFaulty(f.shared, func(c storetest.Call) storetest.Fate {
				if c.Op == "swap" {
					return storetest.Refused
				}
				return storetest.Fine
			})
			if err := c.start(false); err == nil {
				t.Fatal("it joined without a commit")
			}
		}
		waits, err := lease.Create(t.Context(), b.changer.store, b.node, f.bound, b.changer.state.Load().snap.RootID(), time.Now)
		must(t, err)
		if n := leases(); n != 6 {
			t.Fatalf("there are %d leases", n)
		}
		must(t, a.changer.collect(t.Context()))
		time.Sleep(store.MaxBound + 2*time.Second)
		if n := leases(); n != 6 {
			t.Fatalf("there are %d leases: they were collected at first sight", n)
		}
		must(t, a.changer.collect(t.Context()))
		if n := leases(); n != 2 {
			t.Errorf("there are %d leases, want those of the members", n)
		}
		if _, err := b.changer.joinRoot(t.Context(), waits); !errors.Is(err, errLateJoin) {
			t.Errorf("joining with a lease that was collected: %v", err)
		}
		if members := b.changer.store.Snapshot(); members.Lists(waits.Member().Incarnation) {
			t.Error("a member has no lease")
		}
		// The others go on.
		time.Sleep(time.Second)
		must(t, a.disable("asc"))
		b.wantMint(ReasonKeyDisabled)
	})
}
