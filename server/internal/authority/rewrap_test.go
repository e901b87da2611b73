package authority

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/envelope"
)

// namedKEK is a KEK with a name, that fails or waits as it is told.
type namedKEK struct {
	envelope.KEK
	uri  string
	down error
	wait func()
}

func (k *namedKEK) URI() string { return k.uri }

func (k *namedKEK) Wrap(ctx context.Context, key, aad []byte) ([]byte, error) {
	if k.wait != nil {
		k.wait()
	}
	if k.down != nil {
		return nil, k.down
	}
	return k.KEK.Wrap(ctx, key, aad)
}

func (v *vault) rewrap(dry bool) ([]store.KEKChange, error) {
	return v.System.Rewrap(v.t.Context(), principal(operatorID), RewrapRequest{Request: v.request(), DryRun: dry})
}

func (v *vault) keks() []KEK {
	v.t.Helper()
	status, err := v.System.Status(v.t.Context(), principal(operatorID), v.request())
	check(v.t, err)
	return status.KEKs
}

// TestRewrap adds a KEK, then takes the first away: a dry run says what would be, the entry what was, the status what is.
func TestRewrap(t *testing.T) {
	v := ready(t)
	same := func(what string, want, got any) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	same("status", []KEK{{"memory:test", true, true}, {"memory:spare", false, true}}, v.keks())
	steps := []struct {
		name   string
		dry    bool
		want   []store.KEKChange
		values map[string]string
		status []KEK
	}{
		{"dry run", true, []store.KEKChange{{URI: "memory:test", Change: store.KEKRenewed}, {URI: "memory:spare", Change: store.KEKAdded}},
			map[string]string{"added": "memory:spare", "renewed": "memory:test"}, []KEK{{"memory:test", true, true}, {"memory:spare", false, true}}},
		{"adding", false, []store.KEKChange{{URI: "memory:test", Change: store.KEKRenewed}, {URI: "memory:spare", Change: store.KEKAdded}},
			map[string]string{"added": "memory:spare", "renewed": "memory:test"}, []KEK{{"memory:test", true, true}, {"memory:spare", true, true}}},
		{"again", false, []store.KEKChange{{URI: "memory:test", Change: store.KEKRenewed}, {URI: "memory:spare", Change: store.KEKRenewed}},
			map[string]string{"renewed": "memory:test memory:spare"}, []KEK{{"memory:test", true, true}, {"memory:spare", true, true}}},
	}
	for _, step := range steps {
		before := v.changer.store.Snapshot().RootID()
		got, err := v.rewrap(step.dry)
		check(t, err)
		same(step.name, step.want, got)
		same(step.name+": the status", step.status, v.keks())
		if changed := v.changer.store.Snapshot().RootID() != before; changed == step.dry {
			t.Errorf("%s: the store has changed: %v", step.name, changed)
		}
		outcome := auditlog.Done
		if step.dry {
			outcome = auditlog.Allowed
		}
		v.wantRewrapEntry(outcome, step.values)
		v.mustMint("release")
		v.reopen()
	}
	old := v.kek
	v.kek, v.more = v.more[0], nil
	v.reopen()
	same("status", []KEK{{"memory:test", true, false}, {"memory:spare", true, true}}, v.keks())
	got, err := v.rewrap(false)
	check(t, err)
	same("dropping", []store.KEKChange{{URI: "memory:spare", Change: store.KEKRenewed}, {URI: "memory:test", Change: store.KEKDropped}}, got)
	v.wantRewrapEntry(auditlog.Done, map[string]string{"renewed": "memory:spare", "dropped": "memory:test"})
	v.mustMint("release")
	v.checkInvariants()
	v.close()
	spare := v.kek
	v.kek = old
	if err := v.open(); !errors.Is(err, store.ErrWrongKEK) {
		t.Errorf("with the KEK that was dropped: %v", err)
	}
	v.kek = spare
	v.mustOpen()
}

func (v *vault) wantRewrapEntry(outcome auditlog.Outcome, values map[string]string) {
	v.t.Helper()
	for i := len(v.entries()) - 1; i >= 0; i-- {
		if e := v.entries()[i]; e.Action == string(policy.SystemRewrap) {
			if e.Outcome != outcome || e.Requested == nil || !cmp.Equal(e.Requested.Values, values) || e.Principal.ID != operatorID {
				v.t.Errorf("the entry is %+v, want it %s with %v", e, outcome, values)
			}
			return
		}
	}
	v.t.Error("there is no entry of a rewrap")
}

// TestRewrapRefused: a KEK that does not answer is named and nothing changes; a caller who may not hears no more than that, and no
// KEK is asked for one.
func TestRewrapRefused(t *testing.T) {
	v := ready(t)
	spare := v.more[0].(*namedKEK)
	asked := 0
	spare.wait = func() { asked++ }
	before := v.changer.store.Snapshot().RootID()
	_, err := v.System.Rewrap(t.Context(), principal(callerID), RewrapRequest{Request: v.request()})
	wantReason(t, err, ErrDenied, ReasonDenied)
	if asked != 0 {
		t.Error("a KEK was asked for somebody who may not")
	}
	for _, down := range []error{errors.New("connection refused at 192.0.2.7"), context.DeadlineExceeded} {
		spare.down = down
		for _, dry := range []bool{true, false} {
			_, err = v.rewrap(dry)
			wantReason(t, err, ErrUnavailable, ReasonKEKUnavailable)
			if !strings.Contains(err.Error(), "memory:spare") || strings.Contains(err.Error(), "192.0.2.7") || !strings.Contains(errors.Unwrap(err).Error(), down.Error()) {
				t.Errorf("%v (%v), want the KEK named, and the cause for our own log", err, errors.Unwrap(err))
			}
			if e := v.last(); e.Action != string(policy.SystemRewrap) || e.Outcome != auditlog.Failed || !strings.HasPrefix(e.Reason, string(ReasonKEKUnavailable)) {
				t.Errorf("the entry is %+v", e)
			}
		}
	}
	spare.down = nil
	gone, cancel := context.WithCancel(t.Context())
	spare.wait = cancel
	spare.down = context.Canceled
	_, err = v.System.Rewrap(gone, principal(operatorID), RewrapRequest{Request: v.request()})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who hung up: %v", err)
	}
	if now := v.changer.store.Snapshot().RootID(); now != before {
		t.Errorf("the store has changed: %+v, before %+v", now, before)
	}
	v.checkInvariants()
}

// A KEK that hangs keeps no revocation waiting, and what was revoked meanwhile stays so.
func TestRewrapHangs(t *testing.T) {
	v := ready(t)
	spare := v.more[0].(*namedKEK)
	asked, answer := make(chan struct{}), make(chan struct{})
	spare.wait = func() { close(asked); <-answer }
	done := make(chan error)
	go func() { _, err := v.rewrap(false); done <- err }()
	<-asked
	revoked := make(chan error)
	go func() { _, err := v.revoke("asc", 0); revoked <- err }()
	select {
	case err := <-revoked:
		check(t, err)
	case <-time.After(10 * time.Second):
		t.Error("the revocation waits for the KEK")
	}
	close(answer)
	check(t, <-done)
	_, err := v.mint("release")
	wantReason(t, err, ErrPrecondition, ReasonKeyRevoked)
	v.reopen()
	_, err = v.mint("release")
	wantReason(t, err, ErrPrecondition, ReasonKeyRevoked)
	v.checkInvariants()
}

// While a gap is open nothing is rewrapped: first somebody must say which store is the right one.
func TestRewrapInGap(t *testing.T) {
	v := ready(t)
	backup := v.memory.Clone()
	v.mustMint("release")
	check(t, v.disable("asc"))
	v.crash()
	v.memory = backup
	v.mustOpen()
	_, err := v.rewrap(false)
	wantReason(t, err, ErrUnavailable, ReasonGap)
	for _, g := range v.openGaps() {
		_, _, err := v.System.Acknowledge(t.Context(), principal(operatorID), AcknowledgeRequest{Request: v.request(), GapID: g.ID, Reason: "on purpose"})
		check(t, err)
	}
	check(t, v.disable("asc")) // again: the backup did not have it
	_, err = v.rewrap(false)
	check(t, err)
	v.checkInvariants()
}
