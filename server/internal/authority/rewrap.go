package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
)

// KEK is a key that wraps the root key, or is to.
type KEK struct {
	URI string
	// Wraps says that it opens the vault, Configured that this node knows it. A KEK that does not both needs a Rewrap.
	Wraps, Configured bool
}

// RewrapRequest asks for the root key to be wrapped anew.
type RewrapRequest struct {
	Request
	// DryRun asks for everything but the change: each KEK is asked, and what it wraps is opened again.
	DryRun bool
}

// Rewrap wraps the root key anew under the KEKs that this node is configured with, each enough alone, and answers what becomes of
// each KEK. Nothing changes unless every one of them wraps, and opens what it wrapped. The KEKs are asked before the lock is
// taken: one that hangs keeps no revocation waiting. The root key itself stays, so Rewrap takes nothing back: a KEK that is
// dropped still opens copies of the store from before.
func (s *System) Rewrap(ctx context.Context, p policy.Principal, req RewrapRequest) ([]store.KEKChange, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.SystemRewrap}}
	asked, err := s.decide(ctx, p, want)
	if err != nil {
		return nil, err
	}
	wraps, err := s.store.Wrap(ctx)
	if err != nil {
		return nil, s.refuse(ctx, &asked.entry, wrapError(ctx, err))
	}
	var changes []store.KEKChange
	if req.DryRun {
		_, err = s.answer(ctx, p, want, func(call *call) error {
			changes = wraps.Changes(call.state.snap)
			call.entry.Requested = &auditlog.Requested{Values: kekValues(changes)}
			return nil
		})
	} else {
		err = s.change(ctx, p, want, func(call *call, tx *store.Tx) error {
			changes = wraps.Changes(tx.Snapshot())
			call.entry.Requested = &auditlog.Requested{Values: kekValues(changes)}
			return tx.Rewrap(wraps)
		})
	}
	if err != nil {
		return nil, err
	}
	return changes, nil
}

// kekValues is what an entry says of the KEKs: which are added, renewed and dropped.
func kekValues(changes []store.KEKChange) map[string]string {
	of := map[string][]string{}
	for _, c := range changes {
		of[c.Change] = append(of[c.Change], c.URI)
	}
	values := map[string]string{}
	for change, uris := range of {
		values[change] = strings.Join(uris, " ")
	}
	return values
}

// wrapError is why the root key was not wrapped. What a KEK says of it is for the server's own log, and is no word about the
// caller, even where it is that a deadline has passed.
func wrapError(ctx context.Context, err error) error {
	var sick *store.KEKError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(err, &sick):
		return storeError(err)
	}
	return &Error{
		Kind: ErrUnavailable, Reason: ReasonKEKUnavailable, cause: errors.New(sick.Error()),
		Public: fmt.Sprintf("the KEK %s does not wrap the root key, or does not open what it wrapped; nothing was changed; the server's log says why", sick.URI),
	}
}

// keks are those that wrap the root key, then those that are only configured.
func (s *System) keks(snap *store.Snapshot) []KEK {
	var all []KEK
	wraps := snap.KEKs()
	for _, uri := range wraps {
		all = append(all, KEK{uri, true, slices.Contains(s.config.KEKs, uri)})
	}
	for _, uri := range s.config.KEKs {
		if !slices.Contains(wraps, uri) {
			all = append(all, KEK{uri, false, true})
		}
	}
	return all
}
