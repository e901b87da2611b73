package authority

import (
	"sync"
	"time"

	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
)

// givenTable is how many tokens a generation of given holds: two generations of them are some 8 MB.
const givenTable = 4_096

// given remembers the tokens that may be given again. It is asked only within a call that was allowed, by what that
// call's own decision says, so it knows nothing of who may have what: a caller whose grant has gone never gets as far,
// and a narrower decision asks for another token. A token is remembered only after it has been released, so what is
// given again was given before. Who is forgotten is given a new token. Safe for concurrent use.
type given struct {
	mu     sync.Mutex
	tokens generations[givenKey, apple.Token]
}

// givenKey is all that two calls must have in common to be given one token. The principal is part of it, so that a
// token that leaked names one caller, but for families that are shared; the version, so that none outlives its key.
type givenKey struct {
	kind      policy.PrincipalKind
	principal string
	key       policy.KeyName
	version   int
	spec      apple.SpecKey
}

// reusable says whether the token of a decision may be given again.
func reusable(call *call) bool { return call.decision.Reuse() != apple.ReuseNever }

func givenKeyOf(call *call) givenKey {
	who, d := call.want.Principal, call.decision
	k := givenKey{key: d.Key(), version: d.Version(), spec: d.Spec().Key()}
	if d.Reuse() != apple.ReuseShared {
		k.kind, k.principal = who.Kind, who.ID
	}
	return k
}

func newGiven(size int) *given {
	return &given{tokens: generations[givenKey, apple.Token]{size: size}}
}

// find finds a token that was given before and is not to be replaced yet. One from the future is not given again:
// the clock has been set back, and Apple would refuse it.
func (g *given) find(key givenKey, now time.Time) (apple.Token, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	token, ok := g.tokens.get(key)
	if !ok || now.Before(token.IssuedAt) || !now.Before(token.Refresh()) {
		return apple.Token{}, false
	}
	return token, true
}

// keep remembers a token that has been released, in place of the one before it.
func (g *given) keep(key givenKey, token apple.Token) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tokens.put(key, token)
}
