package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The 75 negative cases of authentication are one list: rows of the tables below, sent over a real socket, or tests of
// their own, named in elsewhere. docs/negative-cases.md says what each number is.

// elsewhere names the tests that hold a case, or the part of it that needs a gateway of its own.
var elsewhere = map[int][]string{
	4:  {"TestCase4TokenInABody"},
	21: {"TestCase21NothingIsDereferenced"},
	26: {"TestKeysAndAlgorithmsAreBound"},
	33: {"TestCase33KeysOfAURL"},
	34: {"TestCase34WeakSecrets"},
	35: {"TestJWKSFromAURL", "TestKeyFileIsReadAgain"},
	48: {"TestCase48Revoked", "TestCase48NobodyKnows"},
	54: {"TestCase54"},
	55: {"TestRefusalsOfAKindAreAlike", "TestCases55And56"},
	56: {"TestRefusalsOfAKindAreAlike", "TestCases55And56", "TestRealProviderBindsTokens"},
	57: {"TestCase57"},
	58: {"TestCase58", "TestCases58And59"},
	59: {"TestRefusalsOfAKindAreAlike", "TestCases58And59"},
	60: {"TestRefusalsOfAKindAreAlike", "TestCase60IntrospectedTokensThatMustNotPass", "TestRealProviderIsAsked"},
	61: {"TestCase61IntrospectionThatFails"},
	62: {"TestKeysThatNeverLoad", "TestBrokenKeySets"},
	63: {"TestCase63TenThousandKids", "TestJWKSFromAURL"},
	64: {"TestBrokenKeySets", "TestKeysThatNeverLoad", "TestKeysAndAlgorithmsAreBound"},
	65: {"TestCase65AnotherIssuersDocument"},
	67: {"TestRefusalsOfAKindAreAlike", "TestBasicUsers", "TestTimeDoesNotTellNames"},
	69: {"TestRefusalsOfAKindAreAlike", "TestBadCertificatesEndTheHandshake", "TestClientCertificates", "TestClientCertificateDocuments"},
	70: {"TestHostAndSNI"},
	71: {"TestCases71To73SpoofedFields", "TestCases71And72WithCertificates", "TestClaimsGoUpstream"},
	72: {"TestCases71To73SpoofedFields", "TestCases71And72WithCertificates", "TestClaimsGoUpstream"},
	73: {"TestCases71To73SpoofedFields", "TestForwardedFieldsOfStrangersAreReplaced", "TestProxyForwarded"},
	75: {"TestPagesAndCertificates", "TestOptionsOfAProtectedRoute", "TestOptionsThatIsNoPreflight"},
}

// pending are the cases whose feature is not here yet: TestNegativeCasesAreCovered prints them. Whoever brings the feature
// names its tests in elsewhere, or adds rows, and takes the number out.
var pending = map[int]string{}

// negative is one thing to send, of the case n, and the answer it must get.
type negative struct {
	n    int
	name string
	want refusal
	text string
	also []string // what no log may hold, besides the credentials in text
}

var (
	badKey     = refusal{401, "unauthenticated", `ApiKey realm="oncegate"`}
	forbidden  = refusal{403, "forbidden", `Bearer realm="oncegate", error="insufficient_scope"`}
	wantsScope = refusal{403, "forbidden", `Bearer realm="oncegate", error="insufficient_scope", scope="orders:read"`}
	stepUp     = refusal{401, "unauthenticated", `Bearer realm="oncegate", error="insufficient_user_authentication", acr_values="mfa", max_age="300"`}
	unreadable = refusal{400, "bad-request", ""} // the edge's, before anybody looks at credentials
	tooLarge   = refusal{431, "header-too-large", ""}
)

// TestNegativeCases sends every row and checks four things: the answer; that refusals of one kind are the same bytes,
// whatever was wrong; that each request has one line in the log, which holds no part of a credential; and that the
// upstream saw nothing.
func TestNegativeCases(t *testing.T) {
	c := newCourt(t)
	up := newMirror(t)
	g := c.gateway(up.url)
	for name, text := range c.sound() {
		if got := speak(t, g.address, text); got.status != 200 {
			t.Fatalf("%s: %d %s", name, got.status, got.body)
		}
	}
	before := up.count.Load()
	rows := c.rows()
	t.Logf("%d rows", len(rows))
	ids := make([]string, len(rows))
	same := map[string]negative{}
	answers := map[string]string{}
	for i, row := range rows {
		id := fmt.Sprintf("negative-%04d", i)
		method, rest, _ := strings.Cut(row.text, "\r\n")
		got := speak(t, g.address, method+"\r\nX-Request-Id: "+id+"\r\n"+rest)
		row.judge(t, got)
		if ids[i] = got.one("X-Request-Id"); row.want == unreadable || row.want == tooLarge {
			continue // nobody looked at credentials, nor at our id perhaps
		}
		key := fmt.Sprint(row.want, strings.HasPrefix(method, "HEAD"))
		text := settled(strings.ReplaceAll(got.head+"\r\n\r\n"+got.body, id, "ID"))
		if first, known := answers[key]; !known {
			answers[key], same[key] = text, row
		} else if first != text {
			t.Errorf("case %d, %s, can be told from case %d, %s:\n%s\n%s", row.n, row.name, same[key].n, same[key].name, text, first)
		}
	}
	if n := up.count.Load() - before; n != 0 {
		t.Errorf("the upstream was asked %d times", n)
	}
	g.accessLines(len(rows) + len(c.sound()))
	checkLog(t, g, rows, ids)
}

func (n negative) judge(t *testing.T, got spoken) {
	t.Helper()
	kind := got.kind()
	if strings.HasPrefix(n.text, "HEAD") {
		kind = n.want.kind
	}
	if got.status != n.want.status || kind != n.want.kind || got.one("WWW-Authenticate") != n.want.challenge {
		t.Errorf("case %d, %s: %d %s %q, wanted %v: %s", n.n, n.name, got.status, kind, got.one("WWW-Authenticate"), n.want, got.body)
	}
	if n.want.status == 401 && got.one("Cache-Control") != "no-store" {
		t.Errorf("case %d, %s: a 401 that can be stored: %s", n.n, n.name, got.head)
	}
}

func checkLog(t *testing.T, g *gateway, rows []negative, ids []string) {
	t.Helper()
	var words []string
	for _, row := range rows {
		words = append(words, row.words()...)
	}
	slices.Sort(words)
	words = slices.Compact(words)
	if len(words) < len(rows) {
		t.Errorf("only %d words to look for", len(words))
	}
	g.soundLog(words...)
	text, times := g.log.String(), map[string]int{}
	for _, m := range regexp.MustCompile(`"request_id":"([^"]*)"`).FindAllStringSubmatch(text, -1) {
		times[m[1]]++
	}
	for i, row := range rows {
		if n := times[ids[i]]; n != 1 || strings.Count(text, ids[i]) != 1 {
			t.Errorf("case %d, %s: %d times in the log", row.n, row.name, n)
		}
	}
}

var credentialField = regexp.MustCompile(`(?im)^(?:Authorization|DPoP|X-Api-Key|Signature): *(.*?)\r$`)

// words are the parts of a request's credentials that are long enough to be nothing else.
func (n negative) words() []string {
	words := n.also
	for _, m := range credentialField.FindAllStringSubmatch(n.text, -1) {
		for _, word := range strings.FieldsFunc(m[1], func(r rune) bool { return strings.ContainsRune(". ,\t\x00\"", r) }) {
			if len(word) >= 12 {
				words = append(words, word)
			}
			if len(word) > 60 { // nor may a log hold a piece of it
				words = append(words, word[len(word)/2-10:len(word)/2+10])
			}
		}
	}
	return words
}

// TestNegativeCasesAreCovered: each of the 75 has a row or a test that exists, or waits for its feature.
func TestNegativeCasesAreCovered(t *testing.T) {
	known := map[string]bool{}
	files, err := filepath.Glob("*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
			known[string(m[1])] = true
		}
	}
	rows := map[int]int{}
	for _, row := range newCourt(t).rows() {
		rows[row.n]++
	}
	numbers := map[int]bool{}
	for n, tests := range elsewhere {
		numbers[n] = true
		for _, name := range tests {
			if !known[name] {
				t.Errorf("case %d: there is no %s", n, name)
			}
		}
	}
	for n := range rows {
		numbers[n] = true
	}
	for n := 1; n <= 75; n++ {
		feature, waits := pending[n]
		switch {
		case waits && numbers[n]:
			t.Errorf("case %d is covered, and is said to wait for %s", n, feature)
		case waits:
			t.Logf("case %d waits for %s", n, feature)
		case !numbers[n]:
			t.Errorf("case %d has neither a row nor a test", n)
		}
		delete(numbers, n)
	}
	if len(numbers) > 0 {
		t.Errorf("there are no such cases: %v", numbers)
	}
	text, err := os.ReadFile("../docs/negative-cases.md")
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 75; n++ {
		if strings.Count(string(text), fmt.Sprintf("\n| %d | ", n)) != 1 {
			t.Errorf("docs/negative-cases.md: case %d is missing", n)
		}
	}
}
