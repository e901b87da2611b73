package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRunTests(t *testing.T) {
	p, err := Compile([]byte(`version: 1
profiles: {p: {key: k, enterprise: {}}}
grants:
- {id: ci, to: [{mtls: spiffe://a/ci/*}], mint: [p]}
- {id: ops, to: [{mtls: spiffe://a/ops}], do: [key.*, system.read], on: [k]}
- {id: bad, to: [{certificate: "`+hashOfOne+`"}], deny: true}
tests:
- {as: {mtls: spiffe://a/ci/1}, mint: p, expect: allow}
- {as: {mtls: spiffe://a/ci/1}, mint: p, expect: deny}
- {as: {mtls: spiffe://a/x}, mint: p, expect: deny}
- as: {mtls: spiffe://a/x}
  mint: p
  expect: allow
- {as: {mtls: spiffe://a/ci/1, certificate: "`+hashOfOne+`"}, mint: p, expect: allow}
- {as: {mtls: spiffe://a/ops}, do: key.disable, on: k, expect: allow}
- {as: {mtls: spiffe://a/ops}, do: key.disable, on: l, expect: deny}
- {as: {mtls: spiffe://a/ops}, do: system.read, expect: allow}
- {as: {mtls: spiffe://acme.internal/operator}, do: key.disable, on: l, expect: allow}
`), []string{operator}, keys{"k": enterpriseKey.in(KeyStateDisabled)})
	if err != nil {
		t.Fatal(err)
	}
	want := []TestResult{
		{Line: 8, Column: 3, Passed: true, Message: "expected allow, and it is allowed by grant ci"},
		{Line: 9, Column: 3, Message: "expected deny, and it is allowed by grant ci"},
		{Line: 10, Column: 3, Passed: true, Message: "expected deny, and it is denied: no grant of the caller's allows the profile"},
		{Line: 11, Column: 3, Message: "expected allow, and it is denied: no grant of the caller's allows the profile"},
		{Line: 14, Column: 3, Message: "expected allow, and it is denied by grant bad"},
		{Line: 15, Column: 3, Passed: true, Message: "expected allow, and it is allowed by grant ops"},
		{Line: 16, Column: 3, Passed: true, Message: "expected deny, and it is denied: no grant of the caller's allows the action on this key"},
		{Line: 17, Column: 3, Passed: true, Message: "expected allow, and it is allowed by grant ops"},
		{Line: 18, Column: 3, Passed: true, Message: "expected allow, and it is allowed by grant (operator)"},
	}
	if diff := cmp.Diff(want, p.RunTests()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
