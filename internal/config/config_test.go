package config

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// secret is long enough for HS512 and stands in no document.
const secret = "test-secret-0123456789-abcdefghijklmnopqrstuvwxyz-0123456789-0123456789"

func testEnv(name string) (string, bool) {
	value, ok := map[string]string{
		"JWT_SECRET": secret, "ADMIN_TOKEN": "admin-token-0123456789-0123456789", "MANY": "many", "NUMBER": "300", "EMPTY": "",
		"TOKEN_URL": "http://user:sesame@127.0.0.1:1/x y", "BINARY": "\xff\xfe", "LINES": "a\nb: c", "INJECTED": `a", "b`,
	}[name]
	return value, ok
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parseGood parses a text that has no problems; the schema must not have any with it either.
func parseGood(t testing.TB, text string) *Result {
	t.Helper()
	result, err := Parse("gateway.yaml", []byte(text), testEnv)
	if err != nil {
		t.Fatalf("problems in a good document:\n%v", err)
	}
	if err := againstSchema(t, text); err != nil {
		t.Errorf("the schema refuses a good document: %v", err)
	}
	return result
}

// problemsOf gives the problems of a text, nil when it has none.
func problemsOf(t testing.TB, text string) []Located {
	t.Helper()
	_, err := Parse("gateway.yaml", []byte(text), testEnv)
	if err == nil {
		return nil
	}
	var list *Error
	if !errors.As(err, &list) || len(list.Problems) == 0 {
		t.Fatalf("error %v is not a list of problems", err)
	}
	return list.Problems
}

func base(t testing.TB) string { return readFile(t, "testdata/good/base.yaml") }
func full(t testing.TB) string { return readFile(t, "testdata/good/full.yaml") }

// change replaces a text that stands exactly once.
func change(t testing.TB, text, old, by string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q stands %d times in the document", old, strings.Count(text, old))
	}
	return strings.Replace(text, old, by, 1)
}

func linesOf(list []Located) string {
	lines := make([]string, len(list))
	for i, p := range list {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func mustContain(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(word)) {
			t.Errorf("%q is missing in:\n%s", word, text)
		}
	}
}

func mustNotContain(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if strings.Contains(text, word) {
			t.Errorf("%q stands in:\n%s", word, text)
		}
	}
}
