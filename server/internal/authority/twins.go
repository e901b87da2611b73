package authority

import (
	"fmt"
	"slices"
	"strings"

	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
)

// Twins are the other names under which the vault has the key of one version. States are per name: what is done to one
// is not done to the others.
type Twins struct {
	// Named are those that the reader may read, by name.
	Named []Twin
	// Hidden is how many more there are that are not over.
	Hidden int
}

// Twin is one of them.
type Twin struct {
	Name    string
	Version int
	State   store.State
}

// alive are those of the twins that are not over.
func (t Twins) alive() Twins {
	return Twins{slices.DeleteFunc(slices.Clone(t.Named), func(o Twin) bool { return o.State.Over() }), t.Hidden}
}

// twinsOf are the twins of a key's versions, by number, as somebody who may read these keys sees them; nil when it has
// none.
func (s *state) twinsOf(key store.Key, readable policy.KeySet) map[int]Twins {
	var all map[int]Twins
	for _, v := range key.Versions {
		found := s.snap.FindFingerprint(v.Fingerprint)
		if len(found) < 2 {
			continue
		}
		var twins Twins
		for _, f := range found {
			switch {
			case f.Key == key.Name:
			case readable.Contains(policy.KeyName(f.Key)):
				twins.Named = append(twins.Named, Twin{f.Key, f.Number, f.State})
			case !f.State.Over():
				twins.Hidden++
			}
		}
		if all == nil {
			all = map[int]Twins{}
		}
		all[v.Number] = twins
	}
	return all
}

// liveOn says of a key, or of one version of it, that was just revoked where else it was not: a sentence for each
// version that has living twins.
func liveOn(key Key, version int) []string {
	var warnings []string
	for _, v := range key.Versions {
		twins := key.Twins[v.Number].alive()
		if version != 0 && v.Number != version || len(twins.Named) == 0 && twins.Hidden == 0 {
			continue
		}
		var where []string
		for _, t := range twins.Named {
			where = append(where, fmt.Sprintf("version %d of %s (%s)", t.Version, t.Name, t.State))
		}
		if twins.Hidden > 0 {
			where = append(where, fmt.Sprintf("%d that you may not read", twins.Hidden))
		}
		warnings = append(warnings, fmt.Sprintf("the same key as version %d is in the vault under other names, and is not revoked there by this: %s; if the key itself has leaked, revoke it there too (at Apple one revocation ends them all)",
			v.Number, strings.Join(where, ", ")))
	}
	return warnings
}

// admissible refuses a key that is here already, under whatever name and in whatever state: what was revoked does not
// come back by another door. A caller who names a key that it may read and that is this very key may have it under a
// second name, and is warned of what differs. Nobody learns the name of a key that it may not read.
func admissible(call *call, req ImportRequest, facts apple.Facts, key *apple.Key) ([]string, error) {
	found := call.state.snap.FindFingerprint(string(key.Fingerprint()))
	if len(found) == 0 {
		if req.Twin == "" {
			return nil, nil
		}
		return nil, &Error{
			Kind: ErrPrecondition, Reason: ReasonNoDuplicate,
			Public: "this key is not in the vault, so it is no duplicate of the one that was named: look again which key it is, or import it as a new one",
		}
	}
	readable := call.state.policy.Readable(call.want.Principal)
	var twin *store.Found
	names := []string{}
	for i, f := range found {
		switch {
		case f.State.Over():
			return nil, keyKnown("this key was in the vault once and is revoked; it does not come back: make a new one at Apple")
		case f.Key == string(req.Name):
			return nil, keyKnown("this key is in the vault already, under this very name")
		case !readable.Contains(policy.KeyName(f.Key)):
			continue
		case f.Key == string(req.Twin):
			twin = &found[i]
		}
		names = append(names, f.Key)
	}
	switch {
	case twin != nil && twin.KeyID != string(facts.KeyID):
		return []string{"the key ID is not the one that " + twin.Key + " has for the same key: one of the two is wrong, and Apple refuses its tokens"}, nil
	case twin != nil:
		return nil, nil
	case len(names) == 0:
		return nil, keyKnown("this key is in the vault already, under a name that you may not read; ask an operator")
	case req.Twin != "":
		return nil, keyKnown("the key that was named as its duplicate is another; this one is in the vault as " + strings.Join(names, ", "))
	default:
		return nil, keyKnown("this key is in the vault already, as " + strings.Join(names, ", ") + "; to have it under two names, allow the duplicate by that name")
	}
}

func keyKnown(public string) *Error {
	return &Error{Kind: ErrExists, Reason: ReasonKeyKnown, Public: public}
}
