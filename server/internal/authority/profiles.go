package authority

import (
	"errors"

	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
)

// ProfilesRequest asks for a page of what the caller may mint.
type ProfilesRequest struct {
	// After is the last name of the page before; empty for the first page.
	After policy.ProfileName
	// Limit is the most that are answered; it must be above 0.
	Limit int
}

// Profile is a profile that its reader may mint.
type Profile struct {
	policy.Profile
	// KeyID is that of the key version that would sign now; empty when nothing would be signed.
	KeyID apple.KeyID
	// Rate is how often the caller may be given a token.
	Rate policy.Rate
	// Unavailable is the reason with which a mint would fail now; empty when it would not.
	Unavailable Reason
}

// Profiles answers what the caller's own grants let it mint, by name, and whether there is more. Any authenticated
// caller may ask, and hears of its own grants alone: it asks the policy what a mint of each profile would be decided,
// and shows what is not denied. It is neither decided nor recorded, for nothing is let out that the caller could not
// learn by minting, and those who look up what they may do would bury what was done. It never fails: where nothing is
// minted at all, every profile says why.
func (t *Tokens) Profiles(p policy.Principal, req ProfilesRequest) ([]Profile, bool) {
	s := t.state.Load()
	var stopped *Error
	errors.As(t.obstacle(s), &stopped)
	var page []Profile
	for _, name := range s.policy.Mintable(p) {
		if name <= req.After {
			continue
		}
		if len(page) == req.Limit {
			return page, true
		}
		profile, _ := s.policy.Profile(name)
		d := s.policy.Decide(policy.Request{Principal: p, Action: policy.TokenMint, Profile: name}, s)
		one := Profile{Profile: profile, Rate: d.Rate()}
		switch {
		case !d.Allowed() && d.Code() != policy.UnfitRequest: // nothing was filled in
			one.Unavailable = refused(d).Reason
		case stopped != nil:
			one.Unavailable = stopped.Reason
		default:
			one.KeyID = s.keyID(d.Key())
		}
		page = append(page, one)
	}
	return page, false
}
