package authority

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
)

// core is where store, log and policy meet. There are two ways through it and no third: answer, for what leaves the
// state as it is, and the changer's change, for what does not. Both begin with decide, and neither lets anything out
// that has no durable entry.
//
// # Off means off (law 5)
//
// The state that decisions are made on is one pointer. A change holds the change lock, commits, stores the pointer,
// and only then records its outcome and returns.
//
//   - A mint that begins after the change has returned loads the pointer after it was stored, so it is decided on the
//     new state or on one that came later.
//   - A mint that began before loads the pointer again once its entry is durable. If the store of the pointer came
//     first, it sees another state and is decided again: allowed on the new state too, or withheld. If it came later,
//     the mint's last look lies before the change's return, and the token was out while the old state was current.
//   - A repeat that finds the change made found it in a state that was published under the lock that it holds, so
//     what it answers was true before it answered.
//   - A change whose commit ended unknown has not returned success and promises nothing. Its repeat first settles
//     what became of it and publishes that.
//
// Nothing else is needed: no lock is held while a mint decides, signs or waits for the disk. Where replicas share the store,
// a change returns only when all of them have it, and a mint needs a lease that lasts: see package lease.
type core struct {
	ledger
	store     *store.Store
	operators []string
	rates     *rates
	state     atomic.Pointer[state]
	replicas  *replicas
}

// ask is one request: its id, what is wanted, and how its entry is to be written.
type ask struct {
	id      string
	want    policy.Request
	options audit.AppendOptions
}

// call is a request that was allowed: the state on which it was decided, and the entry that it will leave.
type call struct {
	want     policy.Request
	state    *state
	decision policy.Decision
	entry    auditlog.Entry
}

// decide is the only way to a call. It decides on the current state and records what it denies. A replica whose lease has lapsed does
// not know what the policy and the key are now, and says that alone, to everybody.
func (c *core) decide(ctx context.Context, p policy.Principal, a ask) (*call, error) {
	a.want.Principal = p
	made := &call{want: a.want, entry: entryOf(p, a)}
	end := c.watcher.begin(ctx, StageDecide)
	allowed := c.again(made)
	end()
	if err := c.lapsed(made); err != nil {
		return nil, c.refuse(ctx, &made.entry, err)
	}
	if !allowed {
		return nil, c.refuse(ctx, &made.entry, refused(made.decision))
	}
	return made, nil
}

// lapsed is why this replica's lease does not let it give out what a call asks for, a token or an identity; nil for all other calls.
func (c *core) lapsed(call *call) error {
	switch a := call.want.Action; {
	case a == policy.TokenMint, a == policy.SystemIssue && c.replicas.member(): // who serves nobody issues for its operator
		return c.replicas.lapsed(call.state)
	default:
		return nil
	}
}

// entryOf begins the entry of a request: who wants what.
func entryOf(p policy.Principal, a ask) auditlog.Entry {
	e := auditlog.Entry{ID: a.id, Action: string(a.want.Action), Peer: p.Peer, Profile: string(a.want.Profile), Key: string(a.want.Key)}
	if p.ID != "" {
		e.Principal = &auditlog.Principal{Kind: string(p.Kind), ID: p.ID, Claims: p.Claims, Certificate: p.Certificate}
	}
	return e
}

// again decides a call on the state that is current now and says whether it is allowed.
func (c *core) again(call *call) bool {
	call.state = c.state.Load()
	call.decision = call.state.policy.Decide(call.want, call.state)
	call.entry.Grant = call.decision.Grant()
	call.entry.Policy = call.state.policy.Digest()
	if key := call.decision.Key(); key != "" {
		call.entry.Key = string(key)
	}
	return call.decision.Allowed()
}

// answer is the way of everything that changes no state: decide, work, record, look once more, release. What work has
// made may be released if and only if answer returns nil.
func (c *core) answer(ctx context.Context, p policy.Principal, a ask, work func(*call) error) (audit.Position, error) {
	call, err := c.decide(ctx, p, a)
	if err != nil {
		return audit.Position{}, err
	}
	if err := work(call); err != nil {
		return audit.Position{}, c.refuse(ctx, &call.entry, err)
	}
	call.entry.Outcome = auditlog.Allowed
	a.options.Privileged = a.options.Privileged || reads(call.want.Action)
	pos, err := c.record(ctx, &call.entry, a.options)
	if err != nil {
		return audit.Position{}, err
	}
	// The state first: if the lease lasts after it was looked at, nobody has been told yet that this replica has another one.
	if c.state.Load() != call.state || c.lapsed(call) != nil {
		return pos, c.lastLook(ctx, *call)
	}
	return pos, nil
}

// answered is answer for work whose result is what is let out: there is one if and only if answer returns nil.
func answered[T any](ctx context.Context, c *core, p policy.Principal, a ask, work func(*call) (T, error)) (T, error) {
	var result, none T
	_, err := c.answer(ctx, p, a, func(call *call) (err error) {
		result, err = work(call)
		return err
	})
	if err != nil {
		return none, err
	}
	return result, nil
}

// reads says whether an action only looks. Whoever may look must see why nothing is minted, so the entries of what was
// looked at may use what is kept free on a full disk; those of refusals may not.
func reads(a policy.Action) bool {
	switch a {
	case policy.KeyRead, policy.PolicyRead, policy.AuditRead, policy.SystemRead:
		return true
	default:
		return false
	}
}

// lastLook decides a call once more, on a state that is not the one that it was decided on. It must be allowed again,
// and a token must be what it would be now, of the same key version, and not be stopped by a gap. Otherwise what a
// durable entry says was given out is not, and another entry says that.
func (c *core) lastLook(ctx context.Context, call call) error {
	mint, key, version, spec := call.want.Action == policy.TokenMint, call.entry.Key, call.decision.Version(), call.decision.Spec().Key()
	allowed := c.again(&call)
	call.entry.Key = key // of what is withheld, whatever key the profile has now
	switch {
	case !allowed:
		call.entry.Reason = string(call.decision.Code()) + ": " + call.decision.Reason()
	case mint && call.decision.Version() != version:
		call.entry.Reason = "another version of the key is active now"
	case mint && call.decision.Spec().Key() != spec:
		call.entry.Reason = "the profile gives other tokens now"
	case mint && call.state.stop != nil:
		call.entry.Reason = string(ReasonGap) + ": " + call.state.stop.Public
	case c.lapsed(&call) != nil:
		call.entry.Reason = string(ReasonLeaseLapsed) + ": the lease of this replica has ended"
	default:
		return nil
	}
	call.entry.Time, call.entry.Outcome = time.Time{}, auditlog.Withheld
	_, err := c.record(context.WithoutCancel(ctx), &call.entry, audit.AppendOptions{})
	return withheld(err)
}

// obstacles are why the node mints nothing now; none when it can.
func (c *core) obstacles(s *state) []error {
	var all []error
	if s.stop != nil {
		all = append(all, s.stop)
	}
	if err := c.log.Err(); err != nil {
		all = append(all, logError(err))
	}
	if err := c.clock(); err != nil {
		all = append(all, err)
	}
	if err := c.replicas.lapsed(s); err != nil {
		all = append(all, err)
	}
	return all
}

// obstacle is the first of the obstacles, or nil.
func (c *core) obstacle(s *state) error {
	if all := c.obstacles(s); len(all) > 0 {
		return all[0]
	}
	return nil
}
