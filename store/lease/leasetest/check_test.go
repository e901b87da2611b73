package leasetest

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// TestCheck: what the model permits and what it does not. A history is a line: calls by their times.
func TestCheck(t *testing.T) {
	mint := func(call, ret int64, a Answer) Op {
		return Op{Kind: Mint, Key: "a", Call: call, Return: ret, Answer: a}
	}
	change := func(k Kind, call, ret int64) Op { return Op{Kind: k, Key: "a", Call: call, Return: ret} }
	fails := func(k Kind, call, ret int64, a Answer) Op {
		return Op{Kind: k, Key: "a", Call: call, Return: ret, Answer: a}
	}
	policy := func(call, ret int64, grants ...string) Op {
		return Op{Kind: Apply, Grants: grants, Call: call, Return: ret}
	}
	tests := []struct {
		name string
		ops  []Op
		bad  bool
	}{
		{"nothing", nil, false},
		{"a token", []Op{mint(1, 2, Done)}, false},
		{"refused for no reason", []Op{mint(1, 2, KeyDisabled)}, true},
		{"a token after disabling", []Op{change(Disable, 1, 2), mint(3, 4, Done)}, true},
		{"a token that was begun before", []Op{change(Disable, 1, 3), mint(2, 4, Done)}, false},
		{"both while it is under way, in any order", []Op{change(Disable, 1, 9), mint(2, 3, KeyDisabled), mint(4, 5, Done), mint(6, 7, KeyDisabled)}, false},
		{"refused before it is called", []Op{mint(1, 2, KeyDisabled), change(Disable, 3, 4)}, true},
		{"refused after enabling", []Op{change(Disable, 1, 2), change(Enable, 3, 4), mint(5, 6, KeyDisabled)}, true},
		{"a lapsed lease", []Op{change(Disable, 1, 2), change(Enable, 3, 4), mint(5, 6, "LEASE_LAPSED"), mint(7, 8, "WITHHELD")}, false},
		{"two at once, either last", []Op{change(Disable, 1, 8), change(Enable, 2, 9), mint(10, 11, KeyDisabled), mint(12, 13, KeyDisabled)}, false},
		{"two at once, and both last", []Op{change(Disable, 1, 8), change(Enable, 2, 9), mint(10, 11, KeyDisabled), mint(12, 13, Done)}, true},
		{"three at once", []Op{change(Disable, 1, 8), change(Enable, 2, 9), change(Disable, 3, 20), mint(10, 11, KeyDisabled), mint(12, 13, Done), mint(21, 22, Done)}, true},
		{"one that failed may come late", []Op{fails(Disable, 1, 2, "OUTCOME_UNKNOWN"), mint(3, 4, Done), mint(5, 6, KeyDisabled), mint(7, 8, KeyDisabled)}, false},
		{"and may be undone", []Op{fails(Disable, 1, 2, "OUTCOME_UNKNOWN"), mint(5, 6, KeyDisabled), change(Enable, 7, 8), mint(9, 10, KeyDisabled)}, true},
		{"nor after changes of another key", []Op{fails(Disable, 1, 2, "OUTCOME_UNKNOWN"), {Kind: Enable, Key: "b", Call: 3, Return: 4}, {Kind: Enable, Key: "b", Call: 5, Return: 6}, mint(7, 8, Done), mint(9, 10, KeyDisabled)}, true},
		{"but not after its repeat", []Op{fails(Disable, 1, 2, "OUTCOME_UNKNOWN"), change(Disable, 3, 4), change(Enable, 5, 6), mint(7, 8, KeyDisabled)}, true},
		{"where nothing was changed, nothing was", []Op{fails(Disable, 1, 2, Unreachable), mint(3, 4, KeyDisabled)}, true},
		{"revoked for good", []Op{change(Revoke, 1, 2), fails(Enable, 3, 4, KeyRevoked), mint(5, 6, KeyRevoked)}, false},
		{"revoked, and a token", []Op{change(Revoke, 1, 2), fails(Enable, 3, 4, "OUTCOME_UNKNOWN"), mint(5, 6, Done)}, true},
		{"not revoked, but not to be enabled", []Op{fails(Enable, 3, 4, KeyRevoked)}, true},
		{"a grant is taken away", []Op{policy(1, 2), mint(3, 4, Done)}, true},
		{"and given back", []Op{policy(1, 2), mint(3, 4, Denied), policy(5, 6, "a"), mint(7, 8, Done)}, false},
		{"and one who was denied may be denied", []Op{policy(1, 2), policy(5, 6, "a"), mint(7, 8, Denied)}, false},
		{"one who never was, may not", []Op{policy(5, 6, "a"), mint(7, 8, Denied)}, true},
		{"keys have nothing to do with each other", []Op{change(Disable, 1, 2), {Kind: Mint, Key: "b", Call: 3, Return: 4}}, false},
	}
	t.Setenv("TMPDIR", t.TempDir())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Check(tt.ops, time.Minute)
			if errors.Is(err, ErrViolation) != tt.bad || !tt.bad && err != nil {
				t.Errorf("Check = %v", err)
			}
		})
	}
}

// TestKept: what is found is left for who reads it.
func TestKept(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	h := new(History)
	for _, a := range []Answer{"NOT_EVERYWHERE", Done} {
		h.Do(Op{Node: "n1", Kind: Disable, Key: "a"}, func() Answer { return a })
	}
	h.Do(Op{Client: 1, Node: "n3", Kind: Mint, Key: "a"}, func() Answer { return Done })
	err := Check(h.Ops(), time.Minute)
	if !errors.Is(err, ErrViolation) || !strings.Contains(err.Error(), "mint a → a token (call 2, by client 1 on n3)") {
		t.Fatalf("Check = %v", err)
	}
	_, dir, _ := strings.Cut(err.Error(), "they are in ")
	dir, _, _ = strings.Cut(dir, "\n")
	for _, name := range []string{"/history.json", "/history.html"} {
		if text, err := os.ReadFile(dir + name); err != nil || len(text) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
