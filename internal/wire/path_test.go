package wire

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCanonicalAccepts(t *testing.T) {
	for _, c := range []struct{ target, path, query string }{
		{"/", "/", "-"},
		{"/a/", "/a/", "-"},
		{"/a?", "/a", ""},
		{"/a?b=/../%2f%zz\\", "/a", "b=/../%2f%zz\\"},
		{"/a??", "/a", "?"},
		{"/%61dmin/%7Ex", "/admin/~x", "-"},
		{"/%41%5a%30%39%2d%5F", "/AZ09-_", "-"},
		{"/sp/a%20b", "/sp/a%20b", "-"},
		{"/sp/a;v=1,b", "/sp/a;v=1,b", "-"},
		{"/sp/a+b@c:d", "/sp/a+b@c:d", "-"},
		{"/sp/a%3fb%c3%a9", "/sp/a%3Fb%C3%A9", "-"},
		{"/%F0%9F%98%80", "/%F0%9F%98%80", "-"},
		{"/%ef%bf%bd", "/%EF%BF%BD", "-"}, // U+FFFD itself is a character like any other
		{"/%23%3b%22", "/%23%3B%22", "-"},
		{"/v1.0/x.json", "/v1.0/x.json", "-"},
		{"/.well-known/x", "/.well-known/x", "-"},
		{"/..a/...", "/..a/...", "-"},
		{"/a./b..", "/a./b..", "-"},
		{"/*", "/*", "-"},
	} {
		path, query, _, err := Canonical(nil, []byte(c.target))
		if err != nil || string(path) != c.path {
			t.Errorf("%s: %q, %v; want %q", c.target, path, err, c.path)
		}
		if (query == nil) != (c.query == "-") || query != nil && string(query) != c.query {
			t.Errorf("%s: query %q (nil: %t), want %q", c.target, query, query == nil, c.query)
		}
	}
}

func TestCanonicalRefuses(t *testing.T) {
	for name, target := range map[string]string{
		"empty": "", "no slash": "admin/x", "query first": "?x=/admin", "asterisk": "*", "absolute": "http://h/x",
		"double slash": "//admin/x", "double slash inside": "/admin//x", "double slash at end": "/admin//", "slashes": "//",
		"dot": "/./admin/x", "dot at end": "/admin/.", "dot alone": "/.", "dot before query": "/a/.?x",
		"dots": "/a/../admin/x", "dots at end": "/admin/x/..", "dots alone": "/..", "dots before query": "/..?x",
		"escaped dots": "/a/%2e%2e/admin/x", "upper": "/a/%2E%2E/admin/x", "half escaped": "/a/.%2e/admin/x",
		"other half": "/a/%2e./admin/x", "escaped dot": "/admin/%2e/x", "escaped dot in a name": "/v1%2e0",
		"escaped slash": "/admin%2fx", "escaped slash upper": "/admin%2Fx", "escaped backslash": "/admin%5cx",
		"backslash": "/admin\\x", "backslash dots": "/a\\..\\admin\\x", "fragment": "/x#f", "fragment in query": "/x?a#f",
		"nul": "/admin/%00x", "crlf": "/admin/%0d%0ax", "tab": "/admin/%09x", "escaped del": "/admin/%7fx", "unit separator": "/%1f",
		"escaped percent": "/admin/%25x", "double encoded": "/a/%252e%252e/admin", "broken": "/admin/%zz", "half broken": "/%6z",
		"short": "/admin/%2", "at end": "/admin/%", "before query": "/a%?61", "dots semicolon": "/a/..;/admin/x",
		"dots parameter": "/a/..;v=1/admin/x", "dot semicolon": "/.;/admin/x", "dots escaped semicolon": "/a/..%3b/x",
		"dot escaped semicolon": "/a/.%3Bv", "overlong slash": "/admin%c0%afx", "overlong dots": "/a/%c0%ae%c0%ae/admin",
		"overlong of three": "/%e0%80%af", "overlong of four": "/%f0%80%80%af", "surrogate": "/%ed%a0%80", "lone continuation": "/%80",
		"cut sequence": "/%c3", "cut by a letter": "/%c3a", "cut by an unreserved escape": "/%c3%61", "above Unicode": "/%f4%90%80%80",
		"raw high byte": "/admin/\xff", "raw UTF-8": "/\xc3\xa9", "raw in query": "/?\xff", "space": "/a b", "space in query": "/?a b",
		"control": "/a\x01", "del": "/a\x7f", "del in query": "/a?\x7f", "tab raw": "/a\tb", "nul raw": "/\x00", "cr in query": "/?\r",
		"backslash after escape": "/%61\\x",
	} {
		if path, query, _, err := Canonical(nil, []byte(target)); err != BadRequest || path != nil || query != nil {
			t.Errorf("%s: %q gives %q, %v", name, target, path, err)
		}
	}
}

func TestCanonicalUsesScratch(t *testing.T) {
	scratch := append(make([]byte, 0, 64), "kept"...)
	path, _, out, err := Canonical(scratch, []byte("/%61?q"))
	if err != nil || string(path) != "/a" || string(out) != "kept/a" {
		t.Fatalf("%q, %q, %v", path, out, err)
	}
	target := []byte("/plain%20x?q")
	path, _, out, _ = Canonical(scratch, target)
	if &path[0] != &target[0] || string(out) != "kept" {
		t.Errorf("an unchanged path does not alias the target, scratch %q", out)
	}
	if _ = append(path, '!'); target[len("/plain%20x")] != '?' {
		t.Error("appending to the path writes over the query")
	}
}

func TestCanonicalPath(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/a/b/": true, "/users/{id}": true, "/files/**": true, "/a%20b": true, "/%C3%A9": true,
		"": false, "a": false, "/a?b": false, "/a?": false, "/%61": false, "/%c3%a9": false, "//": false, "/a/../b": false, "/a%2fb": false,
	} {
		if CanonicalPath([]byte(path)) != want {
			t.Errorf("%q: not %t", path, want)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{"/a/b?c", "/%61%2e", "/%c3%a9/..;x", "/a%3fb//", "/%F0%9F%98%80/.%3b", "/a/.b/%7e?x=%2f#"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, target []byte) {
		sent := bytes.Clone(target)
		path, query, _, err := Canonical(nil, target)
		if !bytes.Equal(sent, target) {
			t.Fatal("the target was changed")
		}
		if err != nil {
			return
		}
		again, noQuery, _, err := Canonical(nil, path)
		if err != nil || noQuery != nil || !bytes.Equal(again, path) || !CanonicalPath(path) {
			t.Fatalf("%q is not canonical: %q, %v", path, again, err)
		}
		if rest := bytes.TrimPrefix(target[bytes.IndexByte(append(target, '?'), '?'):], []byte("?")); !bytes.Equal(rest, query) {
			t.Fatalf("query %q of %q", query, target)
		}
		checkCanonical(t, string(path))
	})
}

// checkCanonical restates the rules without the code under test.
func checkCanonical(t *testing.T, path string) {
	t.Helper()
	low := strings.ToLower(path)
	for _, never := range []string{"//", "\\", "#", "?", "%2f", "%5c", "%2e", "%25", "%00", "%0d", "%0a", "%7f", "%61", "%41", "%7e"} {
		if strings.Contains(low, never) {
			t.Fatalf("%q holds %q", path, never)
		}
	}
	var decoded []byte
	for i := 0; i < len(path); i++ {
		if path[i] < 0x21 || path[i] > 0x7e {
			t.Fatalf("%q holds the byte %#x", path, path[i])
		}
		c, ok := path[i], true
		if c == '%' {
			if c, ok = unescape([]byte(path[i:])); !ok {
				t.Fatalf("%q holds a broken escape", path)
			}
			i += 2
		}
		decoded = append(decoded, c)
	}
	if !utf8.Valid(decoded) {
		t.Fatalf("%q decodes to invalid UTF-8", path)
	}
	for _, segment := range strings.Split(string(decoded), "/") {
		if name, _, _ := strings.Cut(segment, ";"); name == "." || name == ".." {
			t.Fatalf("%q holds a dot segment", path)
		}
	}
}
