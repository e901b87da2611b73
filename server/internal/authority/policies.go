package authority

import (
	"context"

	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
)

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
	// ETag is the policy's that this one replaces; empty replaces any.
	ETag string
	// DryRun asks for everything but the change.
	DryRun bool
}

// Applied says what was applied.
type Applied struct {
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
	panic("being written")
}

// Apply makes a document the policy. A document that does not compile fails with a *policy.Error in the chain,
// as does one of whose tests one fails.
func (x *Policies) Apply(ctx context.Context, p policy.Principal, req ApplyRequest) (Applied, error) {
	panic("being written")
}

// Revisions answers revisions without their documents, newest first, and whether there are more.
func (x *Policies) Revisions(ctx context.Context, p policy.Principal, req RevisionsRequest) ([]Policy, bool, error) {
	panic("being written")
}
