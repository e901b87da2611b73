package authority

import (
	"context"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/lease"
)

// Member is a replica as the others see it.
type Member struct {
	lease.State
	// Self says that it is the one that answers.
	Self bool
}

// Members answers who may mint, and on what, and the revision that they are to have. It reads the store.
func (s *System) Members(ctx context.Context, p policy.Principal, req Request) ([]Member, uint64, error) {
	var members []Member
	var revision uint64
	want := ask{id: req.ID, want: policy.Request{Action: policy.SystemRead}}
	_, err := s.answer(ctx, p, want, func(call *call) error {
		revision = call.state.snap.RootID().Revision
		if !s.replicas.shared() {
			return nil
		}
		states, err := s.replicas.peers.States(ctx, call.state.snap)
		if err != nil {
			return storeError(err)
		}
		self := s.replicas.incarnation()
		for _, state := range states {
			members = append(members, Member{state, state.Incarnation == self})
		}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return members, revision, nil
}

// ForgetRequest names a node.
type ForgetRequest struct {
	Request
	// Node is whose members are to go.
	Node string
	// Reason is why.
	Reason string
}

// Forget ends every incarnation of a node among the members: fenced, waited out, taken out of the root, in that order. One that lives
// finds that out and joins anew. ErrNotFound: no member is of that node.
func (s *System) Forget(ctx context.Context, p policy.Principal, req ForgetRequest) error {
	want := ask{id: req.ID, want: policy.Request{Action: policy.SystemMembers}, options: audit.AppendOptions{Privileged: true}}
	asked, err := s.decide(ctx, p, want)
	if err != nil {
		return err
	}
	if err := s.end(ctx, asked, req); err != nil {
		return s.refuse(ctx, &asked.entry, err)
	}
	return s.change(ctx, p, want, func(call *call, tx *store.Tx) error {
		if err := justify(&call.entry, req.Reason); err != nil {
			return err
		}
		gone := false
		for _, m := range s.replicas.peers.Ended(tx.Snapshot()) {
			gone = m.Node == req.Node && tx.Leave(m.Incarnation) || gone
		}
		if !gone {
			return errMade
		}
		return nil
	})
}

// end fences the members of a node and waits them out.
func (s *System) end(ctx context.Context, call *call, req ForgetRequest) error {
	if err := justify(&call.entry, req.Reason); err != nil {
		return err
	}
	if req.Node == s.node {
		return &Error{Kind: ErrPrecondition, Reason: ReasonMalformed, Public: "this is the replica that answers: stop it, and it takes leave by itself; or ask another one to forget it"}
	}
	var members []store.Member
	for _, m := range call.state.snap.Members() {
		if m.Node == req.Node {
			members = append(members, m)
		}
	}
	if len(members) == 0 {
		return &Error{Kind: ErrNotFound, Reason: ReasonNotFound, Public: "no member is of that node; signet system members lists them"}
	}
	// Before anything is done, so that a crash in the wait leaves who wanted it.
	e := call.entry
	e.Outcome, e.Reason, e.Requested = auditlog.Allowed, "it is being ended", &auditlog.Requested{Values: map[string]string{"member": req.Node}}
	if _, err := s.record(ctx, &e, audit.AppendOptions{Privileged: true}); err != nil {
		return err
	}
	if err := s.replicas.peers.WaitOut(ctx, members); err != nil {
		return &Error{
			Kind: ErrUnavailable, Reason: ReasonNotEverywhere, cause: err,
			Public: "the replica is being ended, and may still mint until its bound has passed; repeat this to go on waiting",
		}
	}
	return nil
}
