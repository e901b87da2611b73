package apple

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// BackDate is how far before now a token's iat lies. Apple refuses an iat that is even a little in its future, so the
// back-dating absorbs a clock of ours that runs ahead. It counts against the lifetime.
const BackDate = 30 * time.Second

// Errors of Terms.Spec for an ask that exceeds what there is to have, as opposed to one that is malformed.
var (
	// ErrTTLTooLong: more than the family's ceiling was asked for.
	ErrTTLTooLong = errors.New("the lifetime is longer than Apple accepts for this family of token")
	// ErrScopeNotGranted: a request was asked for that the profile does not grant.
	ErrScopeNotGranted = errors.New("the scope asks for a request that the profile does not grant")
	// ErrValueNotGranted: a value was given for one call that is not on the profile's list.
	ErrValueNotGranted = errors.New("a value of the call is not on the profile's list")
	// ErrUnfitAsk: what was asked for is not what the family's tokens take, or lacks what they need.
	ErrUnfitAsk = errors.New("the call does not fit the profile's family of tokens")
)

// ParseTTL checks a lifetime (exp − iat) that somebody gave explicitly: whole seconds, and more than BackDate, for of
// less nothing would be left to use. It knows no ceiling: a lifetime above one is well-formed and denied, not malformed.
func ParseTTL(d time.Duration) (time.Duration, error) {
	switch {
	case d == 0:
		return 0, errors.New("the ttl is zero: give a positive one, such as 5m, or leave it out for the profile's default")
	case d < 0:
		return 0, errors.New("the ttl is negative: give a positive one, such as 5m, or leave it out for the profile's default")
	case d%time.Second != 0:
		return 0, errors.New("the ttl is not in whole seconds: Apple's times are integers")
	case d <= BackDate:
		return 0, fmt.Errorf("the ttl is too short: tokens are back-dated by %s, which counts, so it must be more than that", BackDate)
	}
	return d, nil
}

// Params are the parameters that a profile gives for tokens of one family. Only this package implements it, by one
// small type per family; the values are immutable once made and safe for concurrent use.
type Params interface {
	Family() Family
	// Fields are what the profile fixes of the token, and what a call fills in.
	Fields() (fixed, asked []Field)
	// check reports whether the parameters make sense, by themselves and for this key; its kind and services fit.
	check(Facts) error
}

// Every family's Params are one of the two. Both compose a token but for its times; the key fits, and the ask's scope and
// lifetime are none or the family's.
type (
	drafter interface {
		draft(Facts, Ask) (draft, error)
	}
	// Of the scoped tokens, which are most of what is minted, a Spec has the claims themselves: nothing is allocated for it.
	scopedParams interface {
		claims(Facts, Ask) (scopedClaims, error)
	}
)

// Field is a value of a token, by the name that it has in policies and calls.
type Field struct {
	Name string
	// Values are what it is, of one that a profile fixes, and what it may be, of one that a call fills in: nil there for
	// whatever has its form.
	Values []string
	// Required says of a field that a call fills in that it must.
	Required bool
}

// Terms are what a profile says of its tokens. The zero Terms have none.
type Terms struct {
	Params
	// LongLived lets tokens live longer than others, where Apple takes such: see Family.Limits.
	LongLived bool
}

// Ask is what one call asks for.
type Ask struct {
	TTL   time.Duration // exp − iat, already decided: not zero, but for families that have no lifetime to choose
	Scope []Scope       // empty: all that the profile grants
	Call  Call          // nil where the family has nothing for a call to fill in
}

// Limits are those of the lifetime.
func (t Terms) Limits() Limits { return t.Family().Limits(t.LongLived) }

// Check reports whether a key with these facts can sign such tokens, and whether the parameters make sense; the
// error says what to do. The policy calls it when it is applied.
func (t Terms) Check(f Facts) error {
	return cmp.Or(t.CheckKnown(f), f.missing())
}

func (t Terms) checkLong(r *rules) error {
	if !t.LongLived {
		return nil
	}
	if p, ok := t.Params.(AppStoreConnect); ok {
		return checkLongLived(p.Scope)
	}
	return r.checkLongLived()
}

// Spec composes what Mint will sign, never more than the terms grant. The error is ErrTTLTooLong, ErrScopeNotGranted,
// ErrValueNotGranted, ErrUnfitAsk, one that Check would give of the key, or says what is malformed in the ask.
func (t Terms) Spec(f Facts, ask Ask) (Spec, error) {
	r := t.Family().rules()
	if err := cmp.Or(r.checkKey(f), t.checkLong(r), f.missing()); err != nil {
		return Spec{}, err
	}
	if f.Kind == KindAppStoreConnectIndividual && f.Issuer != "" {
		return Spec{}, errIndividualIssuer
	}
	if err := r.checkTTL(ask.TTL, t.Limits()); err != nil {
		return Spec{}, err
	}
	if len(ask.Scope) > 0 && !r.scoped {
		return Spec{}, fmt.Errorf("%w: %s has no scope to choose", ErrUnfitAsk, r.family)
	}
	if ask.Call != nil && !r.called {
		return Spec{}, fmt.Errorf("%w: it takes no values of a call", ErrUnfitAsk)
	}
	s := Spec{rules: r, keyID: f.KeyID, ttl: ask.TTL}
	var err error
	switch p := t.Params.(type) {
	case scopedParams:
		s.scoped, err = p.claims(f, ask)
	case drafter:
		s.draft, err = p.draft(f, ask)
	default:
		err = errors.New("the parameters are no family's: give the terms those of one")
	}
	if err != nil {
		return Spec{}, err
	}
	return s, nil
}

// checkTTL checks a lifetime that was decided.
func (r *rules) checkTTL(ttl time.Duration, l Limits) error {
	if r.timing != expiring {
		if ttl != 0 {
			return fmt.Errorf("%w: %s has no lifetime to choose", ErrUnfitAsk, r.family)
		}
		return nil
	}
	if _, err := ParseTTL(ttl); err != nil {
		return err
	}
	if ttl > l.Max {
		return fmt.Errorf("%w: ask for %s or less", ErrTTLTooLong, TTLText(l.Max))
	}
	return nil
}

// Spec is what to sign, all of it but the time. Only Terms make one; the zero Spec cannot be minted.
type Spec struct {
	rules *rules
	keyID KeyID
	ttl   time.Duration // 0 for families that have no lifetime to choose

	scoped scopedClaims // of the families that have them
	draft  draft        // of all others
}

// content is what there is to sign; nil of the zero Spec.
func (s Spec) content() draft {
	if s.scoped.Aud != "" {
		return webToken{kid: s.keyID, typ: typ, claims: s.scoped}
	}
	return s.draft
}

// Family returns the family of the token; empty for the zero Spec.
func (s Spec) Family() Family {
	if s.rules == nil {
		return ""
	}
	return s.rules.family
}

// KeyID returns the key ID that the token will name.
func (s Spec) KeyID() KeyID { return s.keyID }

// TTL returns exp − iat; 0 where there is no exp.
func (s Spec) TTL() time.Duration { return s.ttl }

// Scope returns the requests that the token will be limited to, sorted; nil means whatever the key's role allows. The
// slice is the caller's own.
func (s Spec) Scope() []Scope {
	return slices.Clone(s.scoped.Scope)
}

// SpecKey is all that a Spec says, in a comparable form: two Specs have equal keys if and only if their tokens differ in
// nothing but their times, nonces and signatures.
type SpecKey struct {
	family Family
	keyID  KeyID
	ttl    time.Duration
	scoped scopedKey
	draft  any
}

// Key is the Spec's.
func (s Spec) Key() SpecKey {
	k := SpecKey{family: s.Family(), keyID: s.keyID, ttl: s.ttl, scoped: s.scoped.comparable()}
	if s.draft != nil {
		k.draft = s.draft.key()
	}
	return k
}
