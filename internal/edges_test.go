package internal_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs/edge-cases.md names a test, or a reason, for each of the 55 cases of keyed writes and the 42 of limits; the tests exist.
func TestEdgeCasesHaveTheirTests(t *testing.T) {
	text, err := os.ReadFile("../docs/edge-cases.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	eachGoFile(t, func(path string, src []byte) {
		if strings.HasSuffix(path, "_test.go") {
			for _, m := range declared.FindAllSubmatch(src, -1) {
				known[string(m[1])] = true
			}
		}
	})
	for list, last := range map[string]int{"": 55, "L": 42} {
		for n := 1; n <= last; n++ {
			if !strings.Contains(string(text), fmt.Sprintf("\n| %s%d | ", list, n)) {
				t.Errorf("case %s%d is missing", list, n)
			}
		}
	}
	for _, name := range regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+`).FindAllString(string(text), -1) {
		if !known[name] {
			t.Errorf("there is no %s", name)
		}
	}
}
