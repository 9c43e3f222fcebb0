package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake in a document.
type Error struct {
	Path    string // which value, such as address-pools[1].addresses[0]; empty for the document as a whole
	Line    int    // in the document, from 1
	Column  int    // from 1; 0 when it is not known
	Problem string // what is wrong
	Hint    string // what would be right; empty when nothing better can be said
}

// Error says where the mistake is, what is wrong and what would be right, on
// one line.
func (e *Error) Error() string {
	path := e.Path
	if path == "" {
		path = "document"
	}
	s := fmt.Sprintf("%s (line %d): %s", path, e.Line, e.Problem)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// hint sets what would be right, and returns e.
func (e *Error) hint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Errors are all the mistakes of a document, in document order. A list that
// grew past maxErrors ends with an entry that says so.
type Errors []*Error

// Error gives one mistake per line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes the single mistakes visible to errors.As and errors.Is.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, one := range e {
		errs[i] = one
	}
	return errs
}

// maxErrors bounds what a hopeless document costs its reader: nobody mends
// more than this at once.
const maxErrors = 200

// sorted puts the mistakes in document order and cuts the list at maxErrors.
func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if len(e) <= maxErrors {
		return e
	}
	cut := e[:maxErrors:maxErrors]
	last := cut[maxErrors-1]
	return append(cut, &Error{
		Line:    last.Line,
		Problem: fmt.Sprintf("%d more mistakes from here on", len(e)-maxErrors),
		Hint:    "mend these first",
	})
}
