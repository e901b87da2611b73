package policy

// TestResult is the outcome of one test of the document.
type TestResult struct {
	Line, Column int // where the test is in the document
	Passed       bool
	Message      string // what was expected and what was decided, and by which grant
}

type test struct{}

// RunTests runs the tests of the document, in its order, against the policy
// alone: keys are taken to be usable, so that a disabled key does not stand in
// the way of a new policy.
func (p *Policy) RunTests() []TestResult {
	panic("not yet")
}
