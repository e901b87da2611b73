package authority

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
)

// TraceRequest names a token by its hash.
type TraceRequest struct {
	Request
	// SHA256 is of the compact token.
	SHA256 auditlog.Sum
}

// Trace is all that the logs of this node know of a token.
type Trace struct {
	// Token is nil when it is in no log that could be asked.
	Token *TracedToken
	// Holders are those who were given it, by kind and id.
	Holders []TokenHolder
	// Deliveries are the newest, newest first; Total is how many there are.
	Deliveries []Delivery
	Total      int64
	// Logs are newest first.
	Logs []AskedLog
	// Now is the server's clock.
	Now time.Time
}

// TracedToken is what a token is, and what can be done about it.
type TracedToken struct {
	auditlog.Token
	// Key, Version, KeyID and Fingerprint are of the key version that signed it.
	Key         string
	Version     int
	KeyID       string
	Fingerprint string
	// State is how the version stands now; empty when the vault does not have it any more.
	State store.State
	// RemainingStep is what remains to be done at Apple, in words; empty when the vault does not have the key any more.
	RemainingStep string
}

// TokenHolder is a principal who was given a token.
type TokenHolder struct {
	Kind, ID    string
	Deliveries  int64
	First, Last time.Time
}

// maxDeliveries is how many deliveries an answer has; a token of a shared family has one for every caller and call.
const maxDeliveries = 1000

// Trace answers who was given a token. The query is recorded with the hash, which names a token and does not show it.
func (l *Log) Trace(ctx context.Context, p policy.Principal, req TraceRequest) (Trace, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.AuditRead}}
	return answered(ctx, &l.core, p, want, func(call *call) (Trace, error) {
		call.entry.Reason = "token sha256:" + req.SHA256.String()
		t := tracer{given: newDeliveries(), holders: make(map[[2]string]*TokenHolder)}
		logs, err := l.askAll(ctx, func(ctx context.Context, r *audit.Reader) error { return t.read(ctx, r, req.SHA256) })
		if err != nil {
			return Trace{}, err
		}
		found := t.Trace
		found.Logs, found.Now = logs, l.now().UTC()
		found.Holders = slices.SortedFunc(values(t.holders), func(a, b TokenHolder) int {
			return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID))
		})
		found.Token.complete(call.state)
		return found, nil
	})
}

// tracer gathers what the logs say of one token, newest entry first.
type tracer struct {
	Trace
	given   deliveries
	holders map[[2]string]*TokenHolder
}

func (t *tracer) read(ctx context.Context, r *audit.Reader, sum auditlog.Sum) error {
	for given, err := range t.given.in(ctx, r, audit.Match{Token: &sum}) {
		if err != nil {
			return err
		}
		e := given.Entry
		t.Token = &TracedToken{Token: *e.Token, Key: e.Key, Version: e.Version, KeyID: e.KeyID, Fingerprint: e.Fingerprint}
		t.add(given)
	}
	return nil
}

func (t *tracer) add(given Delivery) {
	t.Total++
	if len(t.Deliveries) < maxDeliveries {
		t.Deliveries = append(t.Deliveries, given)
	}
	if given.Withheld {
		return
	}
	who := [2]string{given.Entry.Principal.Kind, given.Entry.Principal.ID}
	h, ok := t.holders[who]
	if !ok {
		h = &TokenHolder{Kind: who[0], ID: who[1], First: given.Entry.Time, Last: given.Entry.Time}
		t.holders[who] = h
	}
	h.Deliveries++
	h.First, h.Last = earliest(h.First, given.Entry.Time), latest(h.Last, given.Entry.Time)
}

// complete adds how the key version stands now.
func (t *TracedToken) complete(s *state) {
	if t == nil {
		return
	}
	key, ok := s.snap.Key(t.Key)
	if !ok {
		return
	}
	if version, ok := key.Version(t.Version); ok {
		t.State = version.State
		t.RemainingStep = atApple(Key{Key: key, Facts: factsOf(key)}, t.Version, t.Expires == 0)
	}
}

// values yields what a map's pointers point to.
func values[K comparable, V any](m map[K]*V) func(func(V) bool) {
	return func(yield func(V) bool) {
		for v := range maps.Values(m) {
			if !yield(*v) {
				return
			}
		}
	}
}

// earliest and latest are of two times, of which one that is zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
