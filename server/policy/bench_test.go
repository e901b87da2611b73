package policy

import (
	"fmt"
	"strings"
	"testing"
)

// manyGrants is a policy with n grants to n teams, each with a profile of its
// own beside the one that all share.
func manyGrants(n int) string {
	var profiles, grants strings.Builder
	for i := range n {
		fmt.Fprintf(&profiles, "  p%d: {key: k, enterprise: {}}\n", i)
		fmt.Fprintf(&grants, "- {id: g%d, to: [{mtls: spiffe://a/t%d/*}], mint: [p%d, p]}\n", i, i, i)
	}
	return "version: 1\nprofiles:\n  p: {key: k, enterprise: {}}\n" + profiles.String() + "grants:\n" + grants.String()
}

// manyPatterns is a policy with n grants that differ within a part.
func manyPatterns(n int) string {
	var grants strings.Builder
	for i := range n {
		fmt.Fprintf(&grants, "- {id: g%d, to: [{mtls: spiffe://a/t%d-*/**}], mint: [p]}\n", i, i)
	}
	return "version: 1\nprofiles:\n  p: {key: k, enterprise: {}}\ngrants:\n" + grants.String()
}

func BenchmarkDecide(b *testing.B) {
	facts := keys{"k": enterpriseKey}
	for _, n := range []int{10, 10_000} {
		grants, patterns := mustCompile(b, manyGrants(n)), mustCompile(b, manyPatterns(n))
		for _, bm := range []struct {
			name    string
			policy  *Policy
			id      string
			allowed bool
		}{
			{"mint", grants, fmt.Sprintf("spiffe://a/t%d/runner-1", n-1), true},
			{"mint-pattern", patterns, fmt.Sprintf("spiffe://a/t%d-ci/runner-1", n-1), true},
			{"denied", grants, "spiffe://a/other/runner-1", false},
		} {
			r := Request{Principal: by(bm.id), Action: TokenMint, Profile: "p"}
			b.Run(fmt.Sprintf("%s/%d", bm.name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if d := bm.policy.Decide(r, facts); d.Allowed() != bm.allowed {
						b.Fatal(d.Reason())
					}
				}
			})
		}
	}
}

// TestDecideAllocatesNothing: of the tokens that are minted most, a decision costs the collector nothing.
func TestDecideAllocatesNothing(t *testing.T) {
	for name, params := range map[string]string{
		"the whole role": "app_store_connect: {}",
		"a scope":        "app_store_connect: {scope: [GET /v1/apps, GET /v1/builds]}",
		"a bundle":       "app_store_connect: {app: '1', read: [builds, beta]}",
		"another shape":  "notary: {}",
	} {
		p := mustCompile(t, "version: 1\nprofiles: {p: {key: asc-release, "+params+"}}\ngrants: [{id: g, to: [{mtls: spiffe://a/*}], mint: [p]}]\n")
		r := mintBy(nil)
		if got := testing.AllocsPerRun(100, func() {
			if d := p.Decide(r, allKeys); !d.Allowed() {
				t.Fatal(d.Reason())
			}
		}); got > 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		doc := []byte(manyGrants(n))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Compile(doc, nil, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
