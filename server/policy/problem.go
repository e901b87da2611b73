package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is something in a policy document that must or should be changed. Its
// message says what was seen and what to do, and repeats no value from the
// document but names of profiles and grants, and lifetimes, in a document that
// compiled.
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
// column. Only of a document with more than a thousand are some left out, and
// the last one then says how many.
type Error struct {
	Problems []Problem
}

// Error lists the problems, one a line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems bounds what one document can make a server answer.
const maxProblems = 1000

// position is where something is in the document; the zero position is the whole.
type position struct{ line, column int }

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.line, q.line), cmp.Compare(p.column, q.column))
}

// reader collects what is wrong with the document that it reads.
type reader struct {
	problems []Problem
	dropped  int // problems beyond maxProblems
}

func (r *reader) add(at position, format string, args ...any) {
	if len(r.problems) == maxProblems {
		r.dropped++
		return
	}
	r.problems = append(r.problems, Problem{Line: at.line, Column: at.column, Message: fmt.Sprintf(format, args...)})
}

// sorted returns what was collected in the order of the document.
func (r *reader) sorted() []Problem {
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if r.dropped > 0 {
		r.problems = append(r.problems, Problem{Message: fmt.Sprintf("and %d more", r.dropped)})
	}
	return r.problems
}
