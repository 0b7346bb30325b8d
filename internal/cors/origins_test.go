package cors

import (
	"net/url"
	"slices"
	"strings"
	"testing"
)

func list(t testing.TB, texts ...string) *origins {
	t.Helper()
	o, err := newOrigins(texts)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// attacks are origins that look like https://app.example.com or a name below https://example.com.
var attacks = []string{
	"", "null", "NULL", "*", "https://", "https://app", "//app.example.com", "app.example.com", "https:app.example.com",
	"http://app.example.com", "https://app.example.com:8443", "https://app.example.com:443", "https://app.example.com:",
	"https://app.example.com/", "https://app.example.com/x", "https://app.example.com?", "https://app.example.com#",
	"https://app.example.com.", "https://app.example.com.evil.org", "https://app.example.comevil.org", "https://app.example.com@evil.org",
	"https://evil.org/https://app.example.com", "https://evil.org?https://app.example.com", "https://evil.org#.example.com", "https://evil.org/.example.com",
	"https://evil.org\\.example.com", "https://evil.org:80.example.com", "https://user@app.example.com", "https://user:pw@app.example.com", "https://@app.example.com",
	"https://evilapp-example.com", "https://evilexample.com", "https://.example.com", "https://..example.com", "https://a..example.com", "https://.a.example.com",
	"https://example.co", "https://example.com", "https://app.example.comm", "https://appXexample.com", "https://app.exampleXcom", "https://example.com.evil.org",
	"HTTPS://app.example.com", "https://APP.example.com", "https://app.Example.com", "hTTps://app.example.com",
	"https://app.example.com https://evil.org", "https://evil.org https://app.example.com", "https://app.example.com,https://evil.org", " https://app.example.com", "https://app.example.com ", "https://app.example.com\t",
	"https://app.example.com\r\nX-Evil: 1", "https://a\r\n.example.com", "https://app.example.com\x00", "https://a\x00.example.com", "https://a%2f.example.com", "https://a%00.example.com",
	"https://äpp.example.com", "https://app.еxample.com", "https://app。example.com", "https://ap\u0301p.example.com", "https://app.example.com\u200b", "https://[::1].example.com",
	"https://a*.example.com", "https://*.example.com", "https://`.example.com", "https://a,b.example.com", "https://{.example.com", "https://a b.example.com",
	"file://app.example.com", "javascript://app.example.com", "data:text/html,https://app.example.com", "httpsx://app.example.com", "xhttps://app.example.com",
	"https://" + strings.Repeat("a.", 200) + "example.com", "https://" + strings.Repeat("a", 64) + ".example.com",
}

func TestAttacksOnOrigins(t *testing.T) {
	exact := list(t, "https://app.example.com")
	below := list(t, "https://*.example.com")
	for _, origin := range attacks {
		if exact.allow([]byte(origin)) {
			t.Errorf("%q is taken for https://app.example.com", origin)
		}
		if below.allow([]byte(origin)) {
			t.Errorf("%q is taken for https://*.example.com", origin)
		}
	}
}

func TestAllowedOrigins(t *testing.T) {
	o := list(t, "https://app.example.com", "http://localhost:3000", "https://*.example.org", "https://*.example.net:8443",
		"https://[2001:db8::1]", "http://192.0.2.7:8080", "capacitor://localhost", "http://*.localhost:5173", "https://xn--bcher-kva.example")
	for _, c := range []struct {
		origin string
		want   bool
	}{
		{"https://app.example.com", true},
		{"http://localhost:3000", true}, {"http://localhost:3001", false}, {"http://localhost", false}, {"https://localhost:3000", false},
		{"https://a.example.org", true}, {"https://a.b-c.x_1.example.org", true}, {"https://example.org", false}, {"https://a.example.org:8443", false},
		{"https://a.example.net:8443", true}, {"https://a.example.net", false}, {"https://a.example.net:84430", false}, {"https://a:1.example.net:8443", false},
		{"https://[2001:db8::1]", true}, {"https://[2001:db8:0::1]", false}, {"https://[2001:db8::2]", false},
		{"http://192.0.2.7:8080", true}, {"http://192.0.2.7", false},
		{"capacitor://localhost", true}, {"ionic://localhost", false},
		{"http://a.localhost:5173", true}, {"http://localhost:5173", false},
		{"https://xn--bcher-kva.example", true}, {"https://bücher.example", false},
	} {
		if got := o.allow([]byte(c.origin)); got != c.want {
			t.Errorf("%s: %v", c.origin, got)
		}
	}
	every := list(t, "*")
	if !every.allow([]byte("https://anybody.test")) {
		t.Error("* is everybody")
	}
}

func TestOriginsOfADocument(t *testing.T) {
	for text, words := range map[string]string{
		"null":                        "sandboxed",
		"https://App.example.com":     "lower case",
		"HTTPS://app.example.com":     "lower case",
		"https://bücher.example":      "xn--",
		"app.example.com":             "scheme://host",
		"https//app.example.com":      "scheme://host",
		"://app.example.com":          "scheme://host",
		"1https://app.example.com":    "scheme://host",
		"https://":                    "scheme://host",
		"https://app.example.com/":    "slash",
		"https://app.example.com/x":   "no path",
		"https://app.example.com?x":   "no path",
		"https://u@app.example.com":   "no user",
		"https://app.example.com:443": "leave it out",
		"http://app.example.com:80":   "leave it out",
		"https://app.example.com:":    "scheme://host",
		"https://app.example.com:0":   "not a port",
		"https://app.example.com:x":   "not a port",
		"https://app.example.com:08":  "not a port",
		"https://app.example.com:*":   "not a port",
		"https://a:65536":             "not a port",
		"https://app.example.com.":    "scheme://host",
		"https://.example.com":        "scheme://host",
		"https://a..example.com":      "scheme://host",
		"https://a b.example.com":     "scheme://host",
		"https://a\r\nb.example.com":  "scheme://host",
		"https://*":                   "whole labels",
		"https://*.com":               "single label",
		"https://*example.com":        "whole labels",
		"https://a.*.example.com":     "whole labels",
		"https://*.*.example.com":     "whole labels",
		"https://a*.example.com":      "whole labels",
		"https://**.example.com":      "whole labels",
		"*://app.example.com":         "scheme://host",
		"*.example.com":               "scheme://host",
		"https://[::1":                "brackets",
		"https://[::1%25lo]":          "brackets",
		"https://[0:0::1]":            "brackets",
		"https://[192.0.2.1]":         "brackets",
	} {
		err := checkOrigin(text)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v, wanted %q", text, err, words)
		}
	}
}

func FuzzOrigin(f *testing.F) {
	for _, origin := range attacks {
		f.Add("https://*.example.com", origin)
		f.Add(origin, origin)
	}
	f.Add("https://[::1]:8", "https://[::1]:8")
	f.Fuzz(func(t *testing.T, text, origin string) {
		o, err := newOrigins([]string{text})
		if err != nil || o.every {
			return
		}
		if strings.ContainsAny(text, " \t\r\n\x00,\"<>@/?#%\\") && strings.ContainsAny(text[strings.Index(text, "://")+3:], " \t\r\n\x00,\"<>@/?#%\\") {
			t.Fatalf("%q is taken from a document", text)
		}
		if strings.Contains(text, "*") == o.allow([]byte(text)) {
			t.Fatalf("%q: an exact origin allows itself, a pattern does not", text)
		}
		if !o.allow([]byte(origin)) {
			return
		}
		if origin == text {
			return
		}
		pattern, err := url.Parse(strings.Replace(text, "*.", "", 1))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != pattern.Scheme || u.Port() != pattern.Port() || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q is allowed by %q: %v", origin, text, err)
		}
		if !strings.HasSuffix(u.Hostname(), "."+pattern.Hostname()) || slices.Contains(strings.Split(u.Hostname(), "."), "") {
			t.Fatalf("%q is allowed by %q", origin, text)
		}
	})
}
