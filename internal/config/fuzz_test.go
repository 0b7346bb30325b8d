package config

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzParse: no text makes Parse panic or point outside of the text; what it accepts prints and reads back as the same.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/broken/*.yaml", "testdata/good/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatal(pattern, err)
		}
		for _, path := range paths {
			f.Add(readFile(f, path))
		}
	}
	env := func(name string) (string, bool) { return testEnv(name) }
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "${file") {
			t.Skip("reads no files of the machine")
		}
		slow := time.AfterFunc(10*time.Second, func() { panic("slow: " + strconv.Quote(text)) })
		defer slow.Stop()
		result, err := Parse("f", []byte(text), env)
		if err != nil {
			placesAreInside(t, text, err)
			return
		}
		again, err := Parse("f", []byte(printed(result.Document)), env)
		if err != nil {
			t.Fatalf("printed document has problems: %v\n%s", err, printed(result.Document))
		}
		if changes := Diff(result.Document, again.Document); len(changes) > 0 {
			t.Fatalf("printed document differs: %v", changes)
		}
		mustNotContain(t, string(Print(result.Document)), secret)
	})
}

func placesAreInside(t *testing.T, text string, err error) {
	var list *Error
	if !errors.As(err, &list) || len(list.Problems) == 0 || len(list.Problems) > maxProblems {
		t.Fatalf("not a list of problems: %v", err)
	}
	lines := strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n")
	for _, p := range list.Problems {
		if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > utf8.RuneCountInString(lines[p.Line-1])+1 {
			t.Fatalf("outside of the text: %s", p)
		}
		if strings.ContainsAny(p.String(), "\n\r") || p.Message == "" || strings.ContainsAny(p.Path, ": ") || p.Path == "" {
			t.Fatalf("not a report line: %q", p.String())
		}
	}
}
