package config

import (
	"reflect"
	"strings"
	"testing"
)

// printed gives the document as YAML that can be read again: with secrets.
func printed(doc *Document) string {
	p := printer{reveal: true}
	p.mapping(viewOf(doc), "")
	return p.out.String()
}

func TestPrintGolden(t *testing.T) {
	for _, name := range []string{"base", "full"} {
		doc := parseGood(t, readFile(t, "testdata/good/"+name+".yaml")).Document
		golden(t, "testdata/good/"+name+".golden", string(Print(doc)))
	}
}

func TestPrintedDocumentMeansTheSame(t *testing.T) {
	for _, text := range []string{base(t), full(t)} {
		doc := parseGood(t, text).Document
		again := parseGood(t, printed(doc)).Document
		if changes := Diff(doc, again); len(changes) != 0 {
			t.Errorf("printing changed %v", changes)
		}
		if got := printed(again); got != printed(doc) {
			t.Errorf("printed again:\n%s\nwant\n%s", got, printed(doc))
		}
		if !reflect.DeepEqual(doc.Routes, again.Routes) {
			t.Errorf("routes %+v\nbecame %+v", doc.Routes, again.Routes)
		}
	}
}

func TestPrintHidesSecrets(t *testing.T) {
	text := change(t, base(t), "address: 127.0.0.1:9901", "address: 127.0.0.1:9901\n  token: admin-token-in-the-document-1234567890")
	out := string(Print(parseGood(t, text).Document))
	mustNotContain(t, out, secret, "admin-token-in-the-document")
	mustContain(t, out, "per-client", "/v1/orders/**", "idle_timeout", "read_timeout", "leeway", "max_answer", `token: "[redacted]"`)
	for url, want := range map[string]string{
		"http://user:sesame@h:1/x": "http://redacted@h:1/x", "http://u@v@h": "http://redacted@h", "http://h/x@y": "http://h/x@y",
		"http://h?x=a@b": "http://h?x=a@b", "a@b": "a@b", "://@": "://redacted@",
	} {
		if got := redactURL(url); got != want {
			t.Errorf("%s is shown as %s, want %s", url, got, want)
		}
	}
}

// TestQuote: text is read as the same text, in a mapping and in brackets, and stays text for readers that guess types.
func TestQuote(t *testing.T) {
	for _, text := range []string{
		"", " ", "a", "a b", "a: b", "a:b", "http://h:1/x", ":8080", "127.0.0.1:80", "10.0.0.0/8", "::1", "a,b", "[a]", "{a}", "/users/{id}", "/x/**",
		"*", "*.example.org", "&a", "!a", "%a", "@a", "`a", "|", ">", "-", "- a", "?", "? a", "#", "a #b", "a#b", "'", `"`, `\`, `a"b`, "~", "null", "True", "yes", "on",
		"1", "0x1", "1.5", "1e3", "1_000", "12:30", "2020-01-01", ".5", ".inf", "./data", "../x", "=", "<<", "---", "...", "\t", "\n", "a\nb", "\x00x\x7f", "é", "\u2028", "\ufeff", "😀",
		"$", "$$", "${", "${A}", "$${A}", "a$b", "$A", "$$$", "x-${A}-$", "end:", "a:", "5s", "20%", "header:X-A",
	} {
		for _, form := range []string{"a: %\n", "a: [%, x]\n", "a: { b: % }\n", "a: { b: [%] }\n", "a:\n  - b: %\n    c: d\n"} {
			r := newReport("f")
			root := parseTree(strings.Replace(form, "%", quote(text, true), 1), r)
			if root == nil {
				t.Errorf("%q as %s in %q: %s", text, quote(text, true), form, linesOf(r.list))
				continue
			}
			(&substituter{report: r, env: testEnv}).walk(root, "")
			n := root.get("a")
			for n.kind != scalarNode {
				if n.kind == listNode {
					n = n.items[0]
				} else {
					n = n.entries[0].value
				}
			}
			if n.text != text || len(r.list) > 0 {
				t.Errorf("%q as %s in %q is read as %q", text, quote(text, true), form, n.text)
			}
		}
	}
	for _, text := range []string{"true", "No", "null", "1", "0x1F", "12:30", "2020-01-01", "1_000", "1e3", "1.5", "y"} {
		if got := quote(text, true); got[0] != '"' {
			t.Errorf("%s is not quoted", got)
		}
	}
}
