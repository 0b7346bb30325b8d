package wire

import (
	"bufio"
	"bytes"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// viaServer reads a raw request as the HTTP/1.1 edge does, then judges what the parser left. parsed is false when the
// server's own parser refused.
func viaServer(raw []byte) (h *Head, header *fasthttp.RequestHeader, parsed bool, err error) {
	h, header = &Head{}, &fasthttp.RequestHeader{}
	if err := header.Read(bufio.NewReaderSize(bytes.NewReader(raw), 1<<14)); err != nil {
		return h, header, false, err
	}
	err = h.Check(header.Method(), header.RequestURI(), header.Protocol(), header.RawHeaders(), Limits{})
	return h, header, true, err
}

// Requests that the server's parser of v1.77 lets through although they are ambiguous: Check must refuse them from what
// RawHeaders holds.
func TestServerLeavesTheseToUs(t *testing.T) {
	for name, raw := range map[string]string{
		"CL and TE":                   "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
		"TE identity and CL":          "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\n",
		"obs-fold":                    "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n 2\r\n\r\n",
		"obs-fold first":              "GET / HTTP/1.1\r\nX-A: 1\r\n\t2\r\nHost: a\r\n\r\n",
		"obs-fold last":               "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
		"two obs-folds":               "GET / HTTP/1.1\r\nX-A: 1\r\n 2\r\n 3\r\nX-B: 1\r\n 2\r\nHost: a\r\n\r\n",
		"obs-fold on TE":              "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n",
		"obs-fold by LF":              "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\n 2\r\n\r\n",
		"bare LF on one line":         "GET / HTTP/1.1\r\nHost: a\nX-A: 1\r\n\r\n",
		"bare LF on the first lines":  "GET / HTTP/1.1\nHost: a\nX-A: 1\r\n\r\n",
		"bare LF ends the block":      "GET / HTTP/1.1\r\nHost: a\r\n\nGET /admin HTTP/1.1\r\nHost: b\r\n\r\n",
		"space inside a name":         "GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n",
		"userinfo in Host":            "GET / HTTP/1.1\r\nHost: u@evil\r\n\r\n",
		"absolute-form":               "GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT":                     "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
		"OPTIONS *":                   "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"Expect other":                "POST / HTTP/1.1\r\nHost: a\r\nExpect: other\r\nContent-Length: 3\r\n\r\n",
		"two Authorization":           "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
		"fragment":                    "GET /#frag HTTP/1.1\r\nHost: a\r\n\r\n",
		"escaped NUL":                 "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
		"escaped CRLF":                "GET /%0d%0a HTTP/1.1\r\nHost: a\r\n\r\n",
		"escaped slash":               "GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n",
		"escaped backslash":           "GET /a%5cb HTTP/1.1\r\nHost: a\r\n\r\n",
		"broken escape":               "GET /a%zz HTTP/1.1\r\nHost: a\r\n\r\n",
		"raw bytes":                   "GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
		"dots with a parameter":       "GET /a/..;/b HTTP/1.1\r\nHost: a\r\n\r\n",
		"HTTP/2.0":                    "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
		"more fields than the limit":  "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("A: 1\r\n", 100) + "\r\n",
		"fold behind a very long one": "GET / HTTP/1.1\r\nHost: a\r\nX-A: " + strings.Repeat("x", 5000) + "\r\n y\r\n\r\n",
	} {
		_, header, parsed, err := viaServer([]byte(raw))
		if !parsed {
			t.Errorf("%s: the server's parser refuses by itself now (%v): move the row", name, err)
		} else if _, ok := err.(Fault); !ok {
			t.Errorf("%s: accepted, raw %q", name, header.RawHeaders())
		}
	}
}

// Requests that v1.77 refuses by itself. Check refuses them too (head_test.go); this notices when an update lets them in.
func TestSomebodyRefuses(t *testing.T) {
	for name, raw := range map[string]string{
		"TE xchunked":          "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
		"TE chunked, identity": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
		"TE twice":             "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		"TE in HTTP/1.0":       "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
		"TE vertical tab":      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \vchunked\r\n\r\n",
		"two CL":               "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
		"CL and a word":        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 4\r\n\r\n",
		"all lines end in LF":  "GET / HTTP/1.1\nHost: a\n\n",
		"bare CR":              "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r2\r\n\r\n",
		"NUL":                  "GET / HTTP/1.1\r\nHost: a\r\nX-A: \x00\r\n\r\n",
		"control in name":      "GET / HTTP/1.1\r\nHost: a\r\nX\x01: 1\r\n\r\n",
		"empty name":           "GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n",
		"space before colon":   "GET / HTTP/1.1\r\nHost: a\r\nX-A : 1\r\n\r\n",
		"no Host":              "GET / HTTP/1.1\r\nX: 1\r\n\r\n",
		"two Hosts":            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"Host list":            "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
		"Host with a path":     "GET / HTTP/1.1\r\nHost: a/b?c\r\n\r\n",
	} {
		if _, _, _, err := viaServer([]byte(raw)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestServerAndWeAgreeOnGoodRequests(t *testing.T) {
	raw := "POST /a/%62?c HTTP/1.1\r\nhost: A:80\r\nX-A:  1 \r\ncontent-length: 5\r\nX-a: 2\r\n\r\nhello"
	h, header, _, err := viaServer([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if string(h.Path()) != "/a/b" || string(h.Host()) != "a" || h.ContentLength() != 5 || h.Count("X-A") != 2 || string(h.Get("x-a")) != "1" {
		t.Errorf("path %q, host %q, length %d", h.Path(), h.Host(), h.ContentLength())
	}
	if !strings.HasSuffix(string(header.RawHeaders()), "\r\n\r\n") {
		t.Errorf("raw headers end without the empty line: %q", header.RawHeaders())
	}
}

// Whoever reads the body must take the same number of bytes as we believe it has: otherwise the rest is a second request.
func FuzzServerAgrees(f *testing.F) {
	for _, seed := range []string{
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET /%61 HTTP/1.0\r\nHost: A.\r\nConnection: keep-alive\r\nX_y: 1\r\n\r\n", "GET / HTTP/1.1\r\nX: 1\r\n 2\r\nHost: a\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, header, parsed, err := viaServer(raw)
		if !parsed || err != nil {
			return
		}
		want := int64(header.ContentLength())
		if want == -2 {
			want = 0
		}
		if h.ContentLength() != want {
			t.Fatalf("length %d, the server reads %d: %q", h.ContentLength(), want, raw)
		}
		if !bytes.Equal(h.Authority(), header.Host()) {
			t.Fatalf("host %q, the server reads %q: %q", h.Authority(), header.Host(), raw)
		}
		if h.KeepAlive() && header.ConnectionClose() {
			t.Fatalf("kept alive, the server closes: %q", raw)
		}
	})
}
