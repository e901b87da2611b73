package policy

import (
	"fmt"
	"strings"
)

// Problem is something in a policy document that must or should be changed. Its
// message says what was seen and what to do and repeats no value from the
// document but names that parsed as such.
type Problem struct {
	Line    int // from 1; 0 when it is about the document as a whole
	Column  int // from 1, in characters; 0 with Line 0
	Message string
}

// String is "line:column: message".
func (p Problem) String() string {
	if p.Line == 0 {
		return p.Message
	}
	return fmt.Sprintf("%d:%d: %s", p.Line, p.Column, p.Message)
}

// Error is why a document did not compile: every problem in it, by line and
// column.
type Error struct {
	Problems []Problem
}

// Error lists the problems, one a line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "policy: " + strings.Join(lines, "\n")
}
