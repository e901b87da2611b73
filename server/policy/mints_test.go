package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestManyMints: of one selector's profiles each is minted by the first grant that names it, be they few or many.
func TestManyMints(t *testing.T) {
	const n = 3 * fewMints
	var doc, all strings.Builder
	for i := range n {
		fmt.Fprintf(&doc, "  p%02d: {key: k, app_store_connect: {}}\n", i)
		fmt.Fprintf(&all, "p%02d, ", i)
	}
	text := "version: 1\nprofiles:\n" + doc.String() + "grants:\n" +
		"  - {id: first, to: [{mtls: \"spiffe://a/b\"}], mint: [p05, p01]}\n" +
		"  - {id: second, to: [{mtls: \"spiffe://a/b\"}], mint: [" + all.String() + "]}\n"
	p, err := Compile([]byte(text), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []ProfileName
	for i := range n {
		name := ProfileName(fmt.Sprintf("p%02d", i))
		names = append(names, name)
		want := "second"
		if i == 1 || i == 5 {
			want = "first"
		}
		if d := p.Decide(Request{Principal: by("spiffe://a/b"), Action: TokenMint, Profile: name}, nil); !d.Allowed() || d.Grant() != want {
			t.Errorf("%s: %s by %q, want %q", name, d.Code(), d.Grant(), want)
		}
	}
	var none *Policy
	if !p.HasProfile("p00") || p.HasProfile("p99") || none.HasProfile("p00") {
		t.Error("it does not know which profiles it has")
	}
	if got := p.Mintable(by("spiffe://a/b")); !slices.Equal(got, names) {
		t.Errorf("mintable are %q", got)
	}
}
