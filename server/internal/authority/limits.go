package authority

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/p8signet/signet/server/policy"
)

// rateTable is how many buckets a generation of rates holds: two generations of them are some 4 MB.
const rateTable = 10_000

// rates holds one token bucket for every grant and principal that was busy lately. Who is forgotten starts with a full
// bucket; a rate is a brake, not a quota.
type rates struct {
	mu      sync.Mutex
	buckets generations[rateKey, *rate.Limiter]
}

type rateKey struct{ grant, principal string }

func newRates(size int) *rates {
	return &rates{buckets: generations[rateKey, *rate.Limiter]{size: size}}
}

// take counts one token for the principal on the grant. When there is none left it answers how long to wait.
func (r *rates) take(grant, principal string, limit policy.Rate, now time.Time) (time.Duration, bool) {
	if limit.Unlimited {
		return 0, true
	}
	if limit.Events <= 0 || limit.Per <= 0 {
		return 0, false
	}
	slot := r.bucket(rateKey{grant, principal}, limit, now).ReserveN(now, 1)
	if wait := slot.DelayFrom(now); wait > 0 {
		slot.CancelAt(now)
		return wait, false
	}
	return 0, true
}

// bucket finds or makes the bucket, and follows a policy that has changed the grant's rate.
func (r *rates) bucket(key rateKey, limit policy.Rate, now time.Time) *rate.Limiter {
	perSecond := rate.Limit(float64(limit.Events) / limit.Per.Seconds())
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.buckets.get(key)
	if !ok {
		b = rate.NewLimiter(perSecond, limit.Events)
		r.buckets.put(key, b)
	}
	if b.Limit() != perSecond || b.Burst() != limit.Events {
		b.SetLimitAt(now, perSecond)
		b.SetBurstAt(now, limit.Events)
	}
	return b
}

// What one principal may put into the log of refusals a minute, and how many different ones are told apart.
const (
	ownRefusals    = 60
	tallyPrincipal = 1_000
)

// tally decides which refusals get an entry of their own and counts the others, so that a caller who is refused all
// the time costs an entry a minute and not a disk. Only what it has promised to count is ever lost, and by a crash only.
type tally struct {
	mu   sync.Mutex
	own  map[string]int // by principal: entries of their own in this minute
	more map[refusal]int64
}

// refusal is what counted refusals have in common. The zero principal stands for all those beyond the table.
type refusal struct {
	kind, principal, peer string
	action, reason        string
}

func newTally() *tally {
	return &tally{own: make(map[string]int), more: make(map[refusal]int64)}
}

// admit says whether a refusal of the principal is to have an entry of its own; otherwise the caller counts it.
func (t *tally) admit(principal string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, known := t.own[principal]
	if n >= ownRefusals || !known && len(t.own) >= tallyPrincipal {
		return false
	}
	t.own[principal] = n + 1
	return true
}

// count adds n refusals to the minute's summary.
func (t *tally) count(r refusal, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.more[r]; !known && len(t.more) >= tallyPrincipal {
		r.principal, r.peer = "", ""
	}
	t.more[r] += n
}

// turn ends the minute: it answers what was counted and begins anew.
func (t *tally) turn() map[refusal]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	more := t.more
	clear(t.own)
	t.more = make(map[refusal]int64)
	return more
}
