package policy

// Compile reads a policy document. Operators are the full SPIFFE ids of the
// server's config. With facts, every profile is checked against the key that it
// names; nil facts skip that. The error is an [*Error] with all problems, but
// for operators that are not ids, which are no fault of the document. Compile
// does not run the document's tests: see [Policy.RunTests].
func Compile(doc []byte, operators []string, facts Facts) (*Policy, error) {
	panic("not yet")
}

// ValidateID checks that s is the full SPIFFE id of one workload or person,
// without wildcards. The error does not repeat it.
func ValidateID(s string) error {
	panic("not yet")
}

type profile struct{}
type index struct{}
type keyGlobs struct{}
