package authority

import (
	"context"
	"errors"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
)

// Policies keeps the policy and its history.
type Policies struct{ *changer }

// Policy is a revision of the policy. Before the first it is number 0, which denies.
type Policy struct {
	store.PolicyRevision
	// ETag is what Apply wants to see to replace this revision.
	ETag string
}

// PolicyRequest names a revision; the current one when 0.
type PolicyRequest struct {
	Request
	Revision int
}

// RevisionsRequest asks for a page of revisions, newest first.
type RevisionsRequest struct {
	Request
	// Before is the last revision of the page before; 0 for the first page.
	Before int
	// Limit is the most that are answered; it must be above 0.
	Limit int
}

// ApplyRequest is a new policy.
type ApplyRequest struct {
	Request
	// Document is the YAML text.
	Document []byte
	// ETag is that of the policy which this one replaces; empty replaces any.
	ETag string
	// DryRun asks for everything but the change.
	DryRun bool
}

// Applied says what was applied.
type Applied struct {
	// Policy is the one that is current now; on a dry run what would be, without a number.
	Policy Policy
	// Changed is false when the document was the policy already, and on a dry run.
	Changed bool
	// Warnings are what lint has to say.
	Warnings []policy.Problem
	// TestsRun is how many tests of the document ran; all passed.
	TestsRun int
}

// Get answers a revision.
func (x *Policies) Get(ctx context.Context, p policy.Principal, req PolicyRequest) (Policy, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.PolicyRead}}
	return answered(ctx, &x.core, p, want, func(call *call) (Policy, error) {
		current := call.state.snap.PolicyNumber()
		if req.Revision == 0 && current == 0 {
			return revisionOf(nil), nil
		}
		if req.Revision == 0 {
			req.Revision = current
		}
		revision, err := x.store.PolicyRevision(ctx, req.Revision)
		if errors.Is(err, store.ErrNotFound) {
			return Policy{}, &Error{Kind: ErrNotFound, Reason: ReasonNotFound, Public: "there is no policy revision of that number"}
		}
		return revisionOf(&revision), storeError(err)
	})
}

// Revisions answers revisions without their documents, newest first, and whether there are more.
func (x *Policies) Revisions(ctx context.Context, p policy.Principal, req RevisionsRequest) ([]Policy, bool, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.PolicyRead}}
	found, err := answered(ctx, &x.core, p, want, func(*call) (page[Policy], error) {
		var found page[Policy]
		for revision, err := range x.store.PolicyHistory(ctx) {
			if err != nil {
				return found, storeError(err)
			}
			if req.Before > 0 && revision.Number >= req.Before {
				continue
			}
			if found.more = len(found.items) == req.Limit; found.more {
				break
			}
			revision.Document = nil
			found.items = append(found.items, revisionOf(&revision))
		}
		return found, nil
	})
	return found.items, found.more, err
}

// Apply makes a document the policy: it must compile, fit the keys, and pass its own tests. A mint that begins after
// it has returned nil is decided on it. A document that does not compile, or fails a test, has a *policy.Error with
// every problem in the error's chain.
func (x *Policies) Apply(ctx context.Context, p policy.Principal, req ApplyRequest) (Applied, error) {
	var done Applied
	want := ask{id: req.ID, want: policy.Request{Action: policy.PolicyApply}}
	check := func(call *call) error {
		compiled, err := x.check(call, req)
		if err != nil {
			return err
		}
		done.Warnings, done.TestsRun = compiled.Lint(), len(compiled.RunTests())
		done.Policy = revisionOf(&store.PolicyRevision{Digest: compiled.Digest(), Author: p.ID})
		return nil
	}
	var err error
	if req.DryRun {
		_, err = x.answer(ctx, p, want, check)
	} else {
		err = x.change(ctx, p, want, func(call *call, tx *store.Tx) error {
			if err := check(call); err != nil {
				return err
			}
			current := call.state.snap.Policy()
			if current != nil && current.Digest == done.Policy.Digest {
				done.Policy = revisionOf(current)
				return errMade
			}
			added, err := tx.PutPolicy(store.PolicyRevision{
				Document: req.Document, Digest: done.Policy.Digest, Author: p.ID, Created: x.stamp(),
			})
			done.Policy, done.Changed = revisionOf(&added), true
			return storeMistake(err)
		})
	}
	if err != nil {
		return Applied{}, err
	}
	done.Policy.Document = nil
	return done, nil
}

// check compiles a document against the keys of the call's state and runs its tests. The etag is looked at first, so
// that nobody corrects a document against a policy that has been replaced.
func (x *Policies) check(call *call, req ApplyRequest) (*policy.Policy, error) {
	if req.ETag != "" && req.ETag != revisionOf(call.state.snap.Policy()).ETag {
		return nil, &Error{Kind: ErrConflict, Reason: ReasonETagMismatch, Public: "another policy has been applied since the one with this etag; read it and apply again"}
	}
	if auditlog.LooksLikeKey(string(req.Document)) {
		return nil, malformed("the document has text that looks like a private key; it was not kept, but a key that was pasted must be taken for leaked")
	}
	compiled, err := policy.Compile(req.Document, x.operators, call.state)
	if err != nil {
		return nil, &Error{Kind: ErrMalformed, Reason: ReasonPolicyInvalid, Public: "the policy does not compile", cause: err}
	}
	var failures policy.Error
	for _, result := range compiled.RunTests() {
		if !result.Passed {
			failures.Problems = append(failures.Problems, policy.Problem{Line: result.Line, Column: result.Column, Message: result.Message})
		}
	}
	if len(failures.Problems) > 0 {
		return nil, &Error{Kind: ErrPrecondition, Reason: ReasonPolicyTestFailed, Public: "a test of the policy fails", cause: &failures}
	}
	return compiled, nil
}

// revisionOf is a revision with its etag: the digest, which says what the document is and not when it was applied. A
// vault without a policy has an etag too, so that the first one can be applied with care.
func revisionOf(r *store.PolicyRevision) Policy {
	if r == nil {
		return Policy{ETag: "none"}
	}
	return Policy{PolicyRevision: *r, ETag: r.Digest}
}
