package internal_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs/edge-cases.md names a test, or a reason, for each of the 55 cases of keyed writes, the 42 of limits and those of upstreams;
// the tests exist, as do those that docs/reliability.md names.
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
	reliability, err := os.ReadFile("../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	for list, last := range map[string]int{"": 55, "L": 42, "U": 55} {
		for n := 1; n <= last; n++ {
			if list == "U" && n >= 46 && n <= 53 { // composition, caches, jobs: not built
				continue
			}
			if !strings.Contains(string(text), fmt.Sprintf("\n| %s%d | ", list, n)) {
				t.Errorf("case %s%d is missing", list, n)
			}
		}
	}
	for _, name := range regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+`).FindAllString(string(text)+string(reliability), -1) {
		if !known[name] {
			t.Errorf("there is no %s", name)
		}
	}
}
