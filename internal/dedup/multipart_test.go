package dedup

import (
	"fmt"
	"mime"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/pipeline"
)

func printOf(contentType, body string, fields ...string) record.Fingerprint {
	m := pipeline.NewMemory("POST", "/upload").WithBody([]byte(body))
	if contentType != "" {
		m.WithHeader("Content-Type", contentType)
	}
	return newHasher([32]byte{1}).fingerprint(m.Request, append([]string{"Content-Type"}, fields...), []byte(body))
}

// form writes parts as a browser does.
func form(edge string, parts ...string) string {
	var b strings.Builder
	for i, p := range parts {
		fmt.Fprintf(&b, "--%s\r\nContent-Disposition: form-data; name=\"f%d\"\r\n\r\n%s\r\n", edge, i, p)
	}
	return b.String() + "--" + edge + "--\r\n"
}

func TestEdge35BoundariesDontCount(t *testing.T) {
	const kind = "multipart/form-data; boundary="
	base := printOf(kind+"AaB03x", form("AaB03x", "one", "two"))
	for _, edge := range []string{"x", "----WebKitFormBoundary7MA4YWxkTrZu0gW", "AaB03xx", "AaB03", strings.Repeat("b", 70), "two"} {
		if printOf(kind+edge, form(edge, "one", "two")) != base {
			t.Errorf("boundary %s counts", edge)
		}
	}
	if quoted := kind + `"a b:c"`; printOf(quoted, form("a b:c", "one", "two")) != base {
		t.Error("a quoted boundary counts")
	}
	for name, other := range map[string]record.Fingerprint{
		"a part":          printOf(kind+"x", form("x", "one", "tw0")),
		"fewer parts":     printOf(kind+"x", form("x", "one")),
		"other order":     printOf(kind+"x", form("x", "two", "one")),
		"line breaks":     printOf(kind+"x", strings.ReplaceAll(form("x", "one", "two"), "\r\n", "\n")),
		"no end":          printOf(kind+"x", strings.TrimSuffix(form("x", "one", "two"), "--\r\n")),
		"something after": printOf(kind+"x", form("x", "one", "two")+"more"),
		"another kind":    printOf("multipart/mixed; boundary=x", form("x", "one", "two")),
		"a parameter":     printOf("multipart/form-data; charset=utf-8; boundary=x", form("x", "one", "two")),
		"plain text":      printOf("text/plain; boundary=x", form("x", "one", "two")),
		"no boundary":     printOf("multipart/form-data", form("x", "one", "two")),
		"another one":     printOf(kind+"y", form("x", "one", "two")),
	} {
		if other == base {
			t.Errorf("%s does not count", name)
		}
	}
}

// TestWordsThatBeginLikeABoundary are part of what is sent.
func TestWordsThatBeginLikeABoundary(t *testing.T) {
	const kind = "multipart/form-data; boundary="
	one := printOf(kind+"x", form("x", "a\r\n--xyz\r\nb"))
	if printOf(kind+"q", form("q", "a\r\n--xyz\r\nb")) != one {
		t.Error("the same parts under another boundary")
	}
	if printOf(kind+"q", form("q", "a\r\n--qyz\r\nb")) == one {
		t.Error("other parts under another boundary")
	}
	if printOf(kind+"q", form("q", "a --x b")) != printOf(kind+"x", form("x", "a --x b")) {
		t.Error("within a line it delimits nothing")
	}
}

// TestDoubtMeansEveryByteCounts: such requests are compared as they are, and never taken for a multipart one.
func TestDoubtMeansEveryByteCounts(t *testing.T) {
	for _, kind := range []string{
		"multipart/form-data; boundary=%s; boundary=%s", `multipart/form-data; boundary="%s`, `multipart/form-data; boundary="%s\a"`,
		"multipart/form-data; boundary=%s x", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + strings.Repeat("%s", 71),
		"multipart/form-data; boundary=%s;", "application/json; boundary=%s", `multipart/form-data; boundary=%s"y"`, "multipart/form-data; boundary=%s<",
	} {
		of := func(edge string) record.Fingerprint {
			return printOf(strings.ReplaceAll(kind, "%s", edge), form(edge, "one"))
		}
		if once, again := of("a"), of("a"); once == of("b") || once != again {
			t.Errorf("%s", kind)
		}
	}
	m := pipeline.NewMemory("POST", "/").WithHeader("Content-Type", "multipart/form-data; boundary=a").WithHeader("content-type", "text/plain")
	if _, ok := multipart(m.Request); ok {
		t.Error("two Content-Types")
	}
}

// FuzzMultipart: the boundary never counts, the rest always does, and what we take for a boundary is what the library does.
func FuzzMultipart(f *testing.F) {
	f.Add("AaB03x", "----q", "hello", "a\r\n--AaB03x\r\n", "; charset=utf-8")
	f.Add("x", "xy", "--x", "\r\n--xy--", "")
	f.Add(" ", `"`, "", "", `; a="b;c"`)
	f.Fuzz(func(t *testing.T, edge, other, first, second, more string) {
		kind := func(edge string) string { return "multipart/form-data" + more + `; boundary="` + edge + `"` }
		m := pipeline.NewMemory("POST", "/").WithHeader("Content-Type", kind(edge))
		b, ok := multipart(m.Request)
		if ok {
			if _, params, err := mime.ParseMediaType(kind(edge)); err == nil && params["boundary"] != string(b.text) {
				t.Fatalf("%q: boundary %q, the library says %q", kind(edge), b.text, params["boundary"])
			}
		}
		content := first + second
		if !ok || string(b.text) != edge || !legal([]byte(other)) || strings.Contains(content, "\r\n--") || strings.HasSuffix(content, "\r") || strings.HasPrefix(content, "--") {
			_ = printOf(kind(edge), first) // no panic, whatever it is
			return
		}
		if got, err := printOf(kind(edge), form(edge, first, second)), printOf(kind(other), form(other, first, second)); got != err {
			t.Fatalf("%q and %q give two fingerprints", edge, other)
		}
		if printOf(kind(edge), form(edge, first, second)) == printOf(kind(other), form(other, first, second+"!")) {
			t.Fatal("a part does not count")
		}
	})
}
