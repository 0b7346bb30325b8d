package units

import "fmt"

// Problem is one mistake in a document. Path is dotted with indexes, routes[2].dedup.key, and relative to the document.
type Problem struct {
	Path    string
	Message string
	Meant   string // a suggestion; "" when none is near
	Place   Place  // where it points in the text
}

// Place says what of a node a problem points at.
type Place uint8

// The places. A missing key points at the key of the mapping that lacks it.
const (
	AtValue Place = iota
	AtKey
	AtParent
)

// Problems collects mistakes below one path. Validate methods get one and add to it; they never stop at the first.
type Problems struct {
	path string
	list *[]Problem
}

// NewProblems starts a collection at the document's root.
func NewProblems() Problems { return Problems{list: new([]Problem)} }

// List gives what was found.
func (p Problems) List() []Problem { return *p.list }

// Key is the collection one key deeper.
func (p Problems) Key(name string) Problems { return Problems{p.join(name), p.list} }

// Index is the collection one list element deeper.
func (p Problems) Index(i int) Problems { return Problems{fmt.Sprintf("%s[%d]", p.path, i), p.list} }

// Path is the dotted path.
func (p Problems) Path() string { return p.path }

func (p Problems) join(name string) string {
	if p.path == "" {
		return name
	}
	return p.path + "." + name
}

// Add notes a mistake in the value at this path.
func (p Problems) Add(format string, args ...any) {
	*p.list = append(*p.list, Problem{Path: p.path, Message: fmt.Sprintf(format, args...)})
}

// Missing notes a key that has to be there and is not.
func (p Problems) Missing(name, format string, args ...any) {
	*p.list = append(*p.list, Problem{Path: p.join(name), Message: fmt.Sprintf(format, args...), Place: AtParent})
}

// Unknown notes a value that names nothing, with the nearest of the known words if one is near.
func (p Problems) Unknown(what, got string, known []string) {
	*p.list = append(*p.list, Problem{Path: p.path, Message: fmt.Sprintf("unknown %s %q", what, got), Meant: Nearest(got, known)})
}

// UnknownKey notes a key that the document does not have.
func (p Problems) UnknownKey(got string, known []string) {
	*p.list = append(*p.list, Problem{Path: p.join(got), Message: fmt.Sprintf("unknown key %q", got), Meant: Nearest(got, known), Place: AtKey})
}
