package client_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/p8signet/signet/client"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// archivist is a server that has no entries before an index any more.
type archivist struct {
	grpc.ClientConnInterface
	first int64
	lie   func(*signetv1.ListEntriesResponse)
	// prefix is how many of the oldest entries it lists all the same before it says that they are archived.
	prefix int
}

func (a *archivist) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	list, ok := args.(*signetv1.ListEntriesRequest)
	if ok && list.GetOrder() == signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST {
		if a.prefix == 0 || list.GetPageToken() != "" {
			return a.archived()
		}
		list.PageSize = int32(a.prefix)
		return a.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	}
	if err := a.ClientConnInterface.Invoke(ctx, method, args, reply, opts...); err != nil || !ok {
		return err
	}
	page := reply.(*signetv1.ListEntriesResponse)
	page.Entries = slices.DeleteFunc(page.GetEntries(), func(e *signetv1.StoredEntry) bool { return e.GetIndex() < a.first })
	if len(page.GetEntries()) == 0 {
		return a.archived()
	}
	if a.lie != nil {
		a.lie(page)
	}
	return nil
}

func (a *archivist) archived() error {
	st, err := status.New(codes.FailedPrecondition, "archived").WithDetails(&errdetails.ErrorInfo{Domain: "signet", Reason: "ARCHIVED"})
	if err != nil {
		return err
	}
	return st.Err()
}

// TestVerifyArchived: what is left of a log verifies wherever it begins, with what was remembered of it from before; and no lie
// about what is left passes.
func TestVerifyArchived(t *testing.T) {
	s, _, honest := start(t)
	old, err := honest.Checkpoint(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		if _, err := honest.Mint(t.Context(), "release", client.MintOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	cp := eventually(t, honest, old.Size+6)
	a := &archivist{ClientConnInterface: s.Operator()}
	c, err := client.New(a, client.LogKey{Origin: s.LogOrigin(), Key: s.LogKey()})
	if err != nil {
		t.Fatal(err)
	}
	forged := old
	forged.Hash[0] ^= 1
	beyond := cp
	beyond.Hash[0] ^= 1
	anchors := []client.Signed{old, cp, forged, beyond}
	for a.first = 1; a.first <= cp.Size; a.first++ {
		logs, err := c.VerifyLogs(t.Context(), anchors, nil)
		if err != nil {
			t.Fatalf("from %d: %v", a.first, err)
		}
		if len(logs) != 1 || logs[0].From != a.first {
			t.Errorf("from %d: %d logs, from %d", a.first, len(logs), logs[0].From)
		}
		if missing := logs[0].Missing; len(missing) != 2 || missing[0].Checkpoint != forged.Checkpoint || missing[1].Checkpoint != beyond.Checkpoint {
			t.Errorf("from %d: missing are %v, want the two that nobody signed", a.first, missing)
		}
	}

	// A true beginning, listed and then taken back, must not vouch for what comes after it.
	a.first, a.prefix = cp.Size-2, int(old.Size)
	if logs, err := c.VerifyLogs(t.Context(), anchors, nil); err == nil || errors.Is(err, client.ErrArchived) {
		t.Errorf("a beginning that was listed and taken back: %+v, %v", logs, err)
	}

	a.first, a.prefix = 3, 0
	for name, lie := range map[string]func(*signetv1.ListEntriesResponse){
		"an entry dropped": func(r *signetv1.ListEntriesResponse) { r.Entries = slices.Delete(r.GetEntries(), 2, 3) },
		"two swapped": func(r *signetv1.ListEntriesResponse) {
			e := r.GetEntries()
			e[len(e)-3].Line, e[len(e)-2].Line = e[len(e)-2].GetLine(), e[len(e)-3].GetLine()
		},
		"a word changed": func(r *signetv1.ListEntriesResponse) {
			e := r.GetEntries()[len(r.GetEntries())-2]
			e.Line = bytes.Replace(e.GetLine(), []byte("operator"), []byte("operatox"), 1)
		},
		"the oldest that is there changed": func(r *signetv1.ListEntriesResponse) {
			e := r.GetEntries()[len(r.GetEntries())-1]
			e.Line = bytes.Replace(e.GetLine(), []byte("operator"), []byte("operatox"), 1)
		},
		"the oldest is another's copy": func(r *signetv1.ListEntriesResponse) {
			e := r.GetEntries()
			e[len(e)-1].Line = e[len(e)-2].GetLine()
		},
	} {
		t.Run(name, func(t *testing.T) {
			a.lie = lie
			defer func() { a.lie = nil }()
			if logs, err := c.VerifyLogs(t.Context(), anchors, nil); err == nil {
				t.Errorf("verified: %+v", logs)
			}
		})
	}
}
