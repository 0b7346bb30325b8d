package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// expand substitutes one scalar; the second value is the problem.
func expand(text string) (string, string) {
	r := newReport("f")
	n := &node{kind: scalarNode, text: text, plain: true}
	(&substituter{report: r, env: testEnv}).walk(n, "x")
	if len(r.list) > 0 {
		return "", r.list[0].Message
	}
	return n.text, ""
}

func TestSubstitution(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one, two, windows, none := write("one", "key\n"), write("two", "key\n\n"), write("windows", "key\r\n"), write("none", "key")
	for text, want := range map[string]string{
		"plain":                      "plain",
		"$HOME and $1 and $":         "$HOME and $1 and $",
		"${NUMBER}":                  "300",
		"a${NUMBER}b${NUMBER}":       "a300b300",
		"$${NUMBER}":                 "${NUMBER}",
		"$$$${NUMBER}":               "$${NUMBER}",
		"$$${NUMBER}":                "$300",
		"$$":                         "$",
		"$$$":                        "$$",
		"${EMPTY}":                   "",
		"${EMPTY:-fallback}":         "fallback",
		"${NO_SUCH:-}":               "",
		"${NO_SUCH:-a:-b $$ c}":      "a:-b $ c",
		"${NUMBER:-5}":               "300",
		"${LINES}":                   "a\nb: c",
		"${file:" + one + "}":        "key",
		"${file:" + two + "}":        "key\n",
		"${file:" + windows + "}":    "key",
		"x${file:" + none + "}y":     "xkeyy",
		"{NUMBER} ${NUMBER}${EMPTY}": "{NUMBER} 300",
	} {
		if got, problem := expand(text); got != want || problem != "" {
			t.Errorf("%q became %q, want %q (%s)", text, got, want, problem)
		}
	}
}

func TestSubstitutionProblems(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "binary")
	if err := os.WriteFile(binary, []byte{0xff}, 0o600); err != nil {
		t.Fatal(err)
	}
	for text, word := range map[string]string{
		"${NO_SUCH}":             "NO_SUCH",
		"${NUMBER":               "unclosed",
		"a $${x} ${":             "unclosed",
		"${}":                    "variable's name",
		"${1}":                   "variable's name",
		"${A-B}":                 "variable's name",
		"${ NUMBER }":            "variable's name",
		"${NO_SUCH:-${NUMBER}}":  "NO_SUCH",
		"${BINARY}":              "BINARY",
		"${file:}":               "can't read",
		"${file:/no/such}":       "/no/such: no such file",
		"${file:" + dir + "}":    "not a regular file",
		"${file:/dev/zero}":      "not a regular file",
		"${file:" + large + "}":  "1 MiB",
		"${file:" + binary + "}": "UTF-8",
	} {
		if got, problem := expand(text); !strings.Contains(problem, word) {
			t.Errorf("%q became %q with problem %q, want one about %q", text, got, problem, word)
		}
	}
}

func TestSubstitutionIsBounded(t *testing.T) {
	big := strings.Repeat("x", maxValue/2)
	env := func(string) (string, bool) { return big, true }
	r := newReport("f")
	(&substituter{report: r, env: env}).walk(&node{kind: scalarNode, text: "${A}${B}${C}"}, "x")
	mustContain(t, linesOf(r.list), "${C} is too large")

	r = newReport("f")
	list := &node{kind: listNode}
	for range 200 {
		list.items = append(list.items, &node{kind: scalarNode, text: "${A}"})
	}
	(&substituter{report: r, env: env}).walk(list, "x")
	mustContain(t, linesOf(r.list), "too large")
}

// TestSubstitutedValuesAreData: a value stays one scalar whatever it holds, and is as good as a plain one for its field.
func TestSubstitutedValuesAreData(t *testing.T) {
	text := change(t, base(t), "audiences: [api]", `audiences: ["${INJECTED}", "${LINES}", $HOME]`)
	text = change(t, text, "burst: 200", `burst: "${NUMBER}"`)
	text = change(t, text, "minimum: 20", `minimum: "30"`)
	doc := parseGood(t, text).Document
	if got := doc.Issuers["main"].Audiences; len(got) != 3 || got[0] != `a", "b` || got[1] != "a\nb: c" || got[2] != "$HOME" {
		t.Errorf("audiences %q", got)
	}
	if got := doc.RateLimits["per-client"].Burst; got != 300 {
		t.Errorf("burst %d", got)
	}
	if got := doc.Upstreams["orders"].Breaker.Minimum; got != 30 {
		t.Errorf("minimum %d", got)
	}
	if got := doc.Issuers["main"].Secret.Reveal(); got != secret {
		t.Error("the secret is not the variable's value")
	}
}

func TestValuesFromOutsideStayHidden(t *testing.T) {
	text := change(t, base(t), "burst: 200", `burst: "${MANY}"`)
	text = change(t, text, "[http://127.0.0.1:9001]", `["${TOKEN_URL}", "${JWT_SECRET}"]`)
	text = change(t, text, "algorithms: [HS256]", "algorithms: [RS256]")
	text = change(t, text, "failure_rate: 50%", `failure_rate: "${JWT_SECRET}"`)
	found := linesOf(problemsOf(t, text))
	mustContain(t, found, "${MANY}", "${JWT_SECRET}", "upstreams.orders.targets[0]", "algorithms")
	mustNotContain(t, found, secret, "sesame", `"many"`)
}

// TestScrubLeavesWordsAlone: short values are only hidden where they are quoted, values that the text shows anyway never.
func TestScrubLeavesWordsAlone(t *testing.T) {
	root := &node{kind: listNode, items: []*node{
		{kind: scalarNode, text: "is", sources: []string{"${A}"}, pieces: []string{"is"}},
		{kind: scalarNode, text: "orders", sources: []string{"${B}"}, pieces: []string{"orders"}},
		{kind: scalarNode, text: "orders"},
		{kind: scalarNode, text: "a\tlong one", sources: []string{"${C}"}, pieces: []string{"a\tlong one"}},
	}}
	clean := newScrubber(root, []string{"shortsecret", "a much longer secret"}).clean
	for message, want := range map[string]string{
		`this is "is"`:                          `this is value from ${A}`,
		`route "orders" is taken`:               `route "orders" is taken`,
		`got "a\tlong one"`:                     `got value from ${C}`,
		"got a\tlong one!":                      "got value from ${C}!",
		`xx a much longer secret "shortsecret"`: `xx [redacted] [redacted]`,
	} {
		if got := clean(message); got != want {
			t.Errorf("%q became %q, want %q", message, got, want)
		}
	}
}
