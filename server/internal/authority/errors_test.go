package authority

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/p8signet/signet/store"
)

// TestStoreError: what a store says is told apart, and its own words are for the server's log.
func TestStoreError(t *testing.T) {
	for _, tt := range []struct {
		err    error
		kind   error
		reason Reason
		public string
	}{
		{store.ErrStale, ErrUnavailable, ReasonStoreUnavailable, "the store is older than what this server has seen"},
		{store.ErrUnknown, ErrUnavailable, ReasonOutcomeUnknown, "repeat it to find out"},
		{store.ErrConflict, ErrConflict, ReasonConflict, "nothing was done, repeat it"},
		{store.ErrClosed, ErrUnavailable, ReasonShuttingDown, "shutting down"},
		{errors.New("the words of a backend"), ErrUnavailable, ReasonStoreUnavailable, "the store cannot be reached"},
	} {
		err := storeError(fmt.Errorf("reading the root at /a/secret/place: %w", tt.err))
		e, ok := errors.AsType[*Error](err)
		if !ok || !errors.Is(err, tt.kind) || e.Reason != tt.reason || !strings.Contains(e.Public, tt.public) || strings.Contains(e.Public, "secret") {
			t.Errorf("%v is told as %v", tt.err, err)
		}
	}
	if storeError(nil) != nil {
		t.Error("nothing is an error")
	}
}
