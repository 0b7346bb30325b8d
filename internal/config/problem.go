package config

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Located is one mistake at one place of a document. Line and Column count from 1, Column in characters.
type Located struct {
	File    string
	Line    int
	Column  int
	Path    string // dotted with indexes, routes[2].dedup.key; "-" is the document
	Message string
	Meant   string // a suggestion; "" when none is near
}

// String renders F:line:col: path: message (did you mean "x"?).
func (p Located) String() string {
	text := fmt.Sprintf("%s:%d:%d: %s: %s", p.File, p.Line, p.Column, p.Path, p.Message)
	if p.Meant != "" {
		text += " (did you mean " + strconv.Quote(p.Meant) + "?)"
	}
	return text
}

// Error is a document with problems, sorted by place.
type Error struct {
	Problems []Located
	Outside  *Outside // what was read for it; nil when nothing was
}

// Error lists all problems, one a line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// maxProblems bounds the report of a text that is not a document at all.
const maxProblems = 200

// report collects problems while a document is read.
type report struct {
	file   string
	list   []Located
	failed map[string]bool // paths whose value could not be used: later steps keep quiet about them
}

func newReport(file string) *report {
	return &report{file: file, failed: make(map[string]bool)}
}

// add notes a problem of a value that can't be used: its path counts as failed from now on.
func (r *report) add(at position, path, meant, format string, args ...any) {
	r.failed[path] = true
	r.note(at, path, meant, format, args...)
}

// note notes a problem that leaves a usable value at its path.
func (r *report) note(at position, path, meant, format string, args ...any) {
	r.list = append(r.list, Located{
		File: r.file, Line: at.line, Column: at.column, Path: visiblePath(path),
		Message: fmt.Sprintf(format, args...), Meant: meant,
	})
}

// covered says whether path, or something that holds it, has failed already.
func (r *report) covered(path string) bool {
	for path != "" {
		if r.failed[path] {
			return true
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return false
}

// below says whether something inside of path has failed.
func (r *report) below(path string) bool {
	for failed := range r.failed {
		if rest, ok := strings.CutPrefix(failed, path); ok && rest != "" && (rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// err is nil, or an *Error with what was found: cleaned by scrub, inside the text, sorted by place.
func (r *report) err(lines lineIndex, scrub func(string) string) error {
	if len(r.list) == 0 {
		return nil
	}
	return &Error{Problems: finish(r.list, lines, scrub)}
}

func finish(list []Located, lines lineIndex, scrub func(string) string) []Located {
	for i := range list {
		p := &list[i]
		at := lines.clamp(position{p.Line, p.Column})
		p.Line, p.Column = at.line, at.column
		p.Message, p.Meant = oneLine(scrub(p.Message)), oneLine(p.Meant)
	}
	sort.SliceStable(list, func(i, j int) bool {
		a, b := list[i], list[j]
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	if len(list) > maxProblems {
		rest := list[maxProblems-1]
		rest.Path, rest.Meant = "-", ""
		rest.Message = fmt.Sprintf("and %d more problems", len(list)-maxProblems+1)
		list = append(list[:maxProblems-1:maxProblems-1], rest)
	}
	return list
}

const maxMessage = 400

// oneLine keeps a report line a line: no control characters, and a bounded length.
func oneLine(text string) string {
	if len(text) > maxMessage {
		cut := maxMessage
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "..."
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == utf8.RuneError {
			return '?'
		}
		return c
	}, text)
}

// visiblePath makes a path one word without a colon, as scripts that split report lines expect, whatever a key holds.
func visiblePath(path string) string {
	if path == "" {
		return "-"
	}
	return strings.Map(func(c rune) rune {
		if c == ':' || unicode.IsSpace(c) || !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, path)
}
