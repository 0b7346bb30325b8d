package wire

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// check judges a head with the given field lines below a good Host.
func check(t *testing.T, line string, fields ...string) (*Head, error) {
	t.Helper()
	return checkRaw(t, line, strings.Join(append([]string{"Host: api.test"}, fields...), "\r\n")+"\r\n\r\n")
}

func checkRaw(t *testing.T, line, raw string) (*Head, error) {
	t.Helper()
	part := strings.SplitN(line, " ", 3)
	h := &Head{}
	return h, h.Check([]byte(part[0]), []byte(part[1]), []byte(part[2]), []byte(raw), Limits{})
}

// kept lists the names of fields that are left.
func kept(h *Head) string {
	var names []string
	for i := range h.Len() {
		if name, _ := h.At(i); name != nil {
			names = append(names, string(name))
		}
	}
	return strings.Join(names, " ")
}

func TestHeadOfATypicalRequest(t *testing.T) {
	h, err := checkRaw(t, "POST /%61/b?c=%2f HTTP/1.1", "hOST: API.Test.:8080\r\nContent-Length: 0012\r\nAccept: */*\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	if string(h.Path()) != "/a/b" || string(h.Query()) != "c=%2f" || string(h.Host()) != "api.test" || string(h.Authority()) != "API.Test.:8080" {
		t.Errorf("%q %q %q %q", h.Path(), h.Query(), h.Host(), h.Authority())
	}
	if !h.KeepAlive() || h.HTTP10() || h.ContentLength() != 12 || h.ExpectContinue() {
		t.Error("facts of the connection or the body")
	}
	if kept(h) != "hOST Content-Length Accept" {
		t.Errorf("kept %q", kept(h))
	}
}

func TestHeadFaults(t *testing.T) {
	const get = "GET / HTTP/1.1"
	for _, c := range []struct {
		name, line string
		want       Fault
		fields     []string
	}{
		{"CL and TE", "POST / HTTP/1.1", BadRequest, []string{"Content-Length: 3", "Transfer-Encoding: chunked"}},
		{"TE and CL", "POST / HTTP/1.1", BadRequest, []string{"Transfer-Encoding: chunked", "Content-Length: 3"}},
		{"TE xchunked", get, BadRequest, []string{"Transfer-Encoding: xchunked"}},
		{"TE chunked, identity", get, BadRequest, []string{"Transfer-Encoding: chunked, identity"}},
		{"TE gzip, chunked", get, BadRequest, []string{"Transfer-Encoding: gzip, chunked"}},
		{"TE chunked, chunked", get, BadRequest, []string{"Transfer-Encoding: chunked, chunked"}},
		{"TE with a parameter", get, BadRequest, []string{"Transfer-Encoding: chunked;q=1"}},
		{"TE identity", get, BadRequest, []string{"Transfer-Encoding: identity"}},
		{"TE identity and CL", get, BadRequest, []string{"Transfer-Encoding: identity", "Content-Length: 3"}},
		{"TE empty", get, BadRequest, []string{"Transfer-Encoding:"}},
		{"TE twice", get, BadRequest, []string{"Transfer-Encoding: chunked", "transfer-encoding: chunked"}},
		{"TE in HTTP/1.0", "POST / HTTP/1.0", BadRequest, []string{"Transfer-Encoding: chunked"}},
		{"TE after vertical tab", get, BadRequest, []string{"Transfer-Encoding: \vchunked"}},
		{"two CL equal", get, BadRequest, []string{"Content-Length: 3", "Content-Length: 3"}},
		{"two CL different", get, BadRequest, []string{"Content-Length: 3", "content-length: 4"}},
		{"CL list", get, BadRequest, []string{"Content-Length: 3, 3"}},
		{"CL plus", get, BadRequest, []string{"Content-Length: +3"}},
		{"CL minus", get, BadRequest, []string{"Content-Length: -3"}},
		{"CL hex", get, BadRequest, []string{"Content-Length: 0x3"}},
		{"CL space", get, BadRequest, []string{"Content-Length: 1 2"}},
		{"CL empty", get, BadRequest, []string{"Content-Length:"}},
		{"CL too large", get, BadRequest, []string{"Content-Length: 9223372036854775808"}},
		{"obs-fold", get, BadRequest, []string{"X-A: 1", " 2"}},
		{"obs-fold on TE", get, BadRequest, []string{"Transfer-Encoding:", " chunked"}},
		{"bare LF ends one line", get, BadRequest, []string{"X-A: 1\nX-B: 2"}},
		{"bare CR", get, BadRequest, []string{"X-A: 1\rX-B: 2"}},
		{"NUL in value", get, BadRequest, []string{"X-A: 1\x00"}},
		{"control in name", get, BadRequest, []string{"X\x02A: 1"}},
		{"empty name", get, BadRequest, []string{": 1"}},
		{"space inside name", get, BadRequest, []string{"X Y: 1"}},
		{"space before colon", get, BadRequest, []string{"Content-Length : 3"}},
		{"two hosts", get, BadRequest, []string{"host: api.test"}},
		{"absolute-form, other host", "GET http://evil/ HTTP/1.1", BadRequest, nil},
		{"absolute-form, other port", "GET http://api.test:81/ HTTP/1.1", BadRequest, nil},
		{"absolute-form, userinfo", "GET http://u@api.test/ HTTP/1.1", BadRequest, nil},
		{"absolute-form, no authority", "GET http:///a HTTP/1.1", BadRequest, nil},
		{"absolute-form, other scheme", "GET ftp://api.test/ HTTP/1.1", BadRequest, nil},
		{"absolute-form, query without a path", "GET http://api.test?a=/ HTTP/1.1", BadRequest, nil},
		{"absolute-form, dots", "GET http://api.test/a/../b HTTP/1.1", BadRequest, nil},
		{"CONNECT", "CONNECT api.test:443 HTTP/1.1", MethodNotAllowed, nil},
		{"CONNECT to a path", "CONNECT / HTTP/1.1", MethodNotAllowed, nil},
		{"connect", "connect / HTTP/1.1", MethodNotAllowed, nil},
		{"TRACE", "TRACE / HTTP/1.1", MethodNotAllowed, nil},
		{"OPTIONS *", "OPTIONS * HTTP/1.1", BadRequest, nil},
		{"Expect other", get, ExpectationFailed, []string{"Expect: other"}},
		{"Expect empty", get, ExpectationFailed, []string{"Expect:"}},
		{"Expect list", get, ExpectationFailed, []string{"Expect: 100-continue, other"}},
		{"Expect second", get, ExpectationFailed, []string{"Expect: 100-continue", "Expect: x"}},
		{"Expect other with bad framing", get, BadRequest, []string{"Expect: other", "Content-Length: 3", "Transfer-Encoding: chunked"}},
		{"fragment", "GET /#frag HTTP/1.1", BadRequest, nil},
		{"escaped slash", "GET /a%2fb HTTP/1.1", BadRequest, nil},
		{"dots parameter", "GET /a/..;/b HTTP/1.1", BadRequest, nil},
		{"raw bytes", "GET /\xe9 HTTP/1.1", BadRequest, nil},
		{"two Authorization", get, BadRequest, []string{"Authorization: Bearer a", "authorization: Bearer a"}},
		{"HTTP/2.0", "GET / HTTP/2.0", VersionNotSupported, nil},
		{"HTTP/1.2", "GET / HTTP/1.2", VersionNotSupported, nil},
		{"HTTP/0.9", "GET / HTTP/0.9", VersionNotSupported, nil},
		{"lower-case version", "GET / http/1.1", VersionNotSupported, nil},
		{"version with more", "GET / HTTP/1.10", VersionNotSupported, nil},
		{"no method", " / HTTP/1.1", BadRequest, nil},
		{"bad method", "G(T / HTTP/1.1", BadRequest, nil},
		{"too many options", get, BadRequest, []string{"Connection: " + strings.Repeat("a,", 33)}},
	} {
		if h, err := check(t, c.line, c.fields...); err != c.want {
			t.Errorf("%s: %v, want %v (path %q)", c.name, err, c.want, h.Path())
		}
	}
}

func TestHeadHost(t *testing.T) {
	for host, want := range map[string]string{
		"a": "a", "A.B:80": "a.b", "a.b.": "a.b", "a.b.:1": "a.b", "127.0.0.1:8080": "127.0.0.1", "[::1]": "[::1]", "[2001:DB8::A]:443": "[2001:db8::a]",
		"my_host-1": "my_host-1", "xn--bcher-kva.example": "xn--bcher-kva.example", "[::ffff:1.2.3.4]": "[::ffff:1.2.3.4]", "a:0": "a", "a:65535": "a",
		strings.Repeat("a.", 127): strings.Repeat("a.", 126) + "a", "mIXED": "mixed",
		"": "", "u@evil": "", "a, b": "", "a,b": "", "a/b?c": "", "a/b": "", "a b": "", "a:": "", ":80": "", "a:x": "", "a:65536": "", "a:080000": "", "a:-1": "",
		"a:80:80": "", "::1": "", "[::1": "", "::1]": "", "[]": "", "[::1]x": "", "[::1]:": "", "[fe80::1%25eth0]": "", "[fe80::1%eth0]": "", "[1.2.3.4]": "",
		"[v1.x]": "", "a..b": "", ".a": "", ".": "", "..": "", "a%41": "", "*": "", "\xc3\xa9": "", "a\\b": "", "a;b": "", strings.Repeat("a", 255): "", "a?b": "", "a#b": "",
	} {
		h, err := checkRaw(t, "GET / HTTP/1.1", "Host: "+host+"\r\n\r\n")
		if (err == nil) != (want != "") || err == nil && (string(h.Host()) != want || string(h.Authority()) != host) {
			t.Errorf("%q: %v, %q, want %q", host, err, h.Host(), want)
		}
	}
	for name, raw := range map[string]string{"no Host": "A: 1\r\n\r\n", "nothing": "", "empty block": "\r\n", "underscore": "Ho_st: a\r\n\r\n"} {
		if _, err := checkRaw(t, "GET / HTTP/1.1", raw); err != BadRequest {
			t.Errorf("%s: %v", name, err)
		}
		if h, err := checkRaw(t, "GET / HTTP/1.0", raw); err != nil || h.Host() != nil || h.Authority() != nil {
			t.Errorf("%s, HTTP/1.0: %v, %q", name, err, h.Host()) // Host is younger than that version: health checks leave it out
		}
	}
	if _, err := checkRaw(t, "GET / HTTP/1.0", "Host: a\r\nHost: a\r\n\r\n"); err != BadRequest {
		t.Errorf("two hosts in HTTP/1.0: %v", err)
	}
}

// After a refusal the fields name the request in a log; those of an earlier head must be gone, they belong to somebody else.
func TestHeadForgets(t *testing.T) {
	for name, c := range map[string]struct{ line, fields, want string }{
		"bad path":     {"GET /a%2fb HTTP/1.1", "Host: a\r\nX-Request-Id: new\r\n\r\n", "new"},
		"bad version":  {"GET / HTTP/3.0", "Host: a\r\nX-Request-Id: new\r\n\r\n", "new"},
		"two hosts":    {"GET / HTTP/1.1", "Host: a\r\nHost: a\r\nX-Request-Id: new\r\n\r\n", "new"},
		"bad fields":   {"GET / HTTP/1.1", "Host: a\r\nX-Request-Id: new\r\nX Y: 1\r\n\r\n", ""},
		"path, fields": {"GET // HTTP/1.1", "X Y: 1\r\n\r\n", ""},
	} {
		h, err := checkRaw(t, "GET /old?x HTTP/1.1", "Host: old\r\nX-Request-Id: old\r\nTraceparent: old\r\n\r\n")
		if err != nil {
			t.Fatal(err)
		}
		part := strings.SplitN(c.line, " ", 3)
		if err := h.Check([]byte(part[0]), []byte(part[1]), []byte(part[2]), []byte(c.fields), Limits{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if id, trace := string(h.Get("X-Request-Id")), h.Get("traceparent"); id != c.want || trace != nil {
			t.Errorf("%s: %q %q", name, id, trace)
		}
		if h.Reset(); h.Len() != 0 || h.Path() != nil || h.Host() != nil {
			t.Errorf("%s: %d fields, path %q after Reset", name, h.Len(), h.Path())
		}
	}
}

func TestHeadBodyAndExpectation(t *testing.T) {
	for _, c := range []struct {
		line   string
		fields []string
		length int64
		wait   bool
	}{
		{"GET / HTTP/1.1", nil, 0, false},
		{"POST / HTTP/1.1", []string{"Content-Length: 0"}, 0, false},
		{"POST / HTTP/1.1", []string{"Content-Length: 999999999999999999", "Expect: 100-Continue"}, 999999999999999999, true},
		{"POST / HTTP/1.1", []string{"Transfer-Encoding: Chunked", "Expect: 100-continue", "Expect: 100-continue"}, -1, true},
		{"POST / HTTP/1.0", []string{"Content-Length: 3", "Expect: 100-continue"}, 3, false},
		{"PURGE / HTTP/1.1", []string{"Content_Length: 3", "Transfer_Encoding: chunked"}, 0, false},
	} {
		h, err := check(t, c.line, c.fields...)
		if err != nil || h.ContentLength() != c.length || h.ExpectContinue() != c.wait {
			t.Errorf("%s %q: %v, length %d, wait %t", c.line, c.fields, err, h.ContentLength(), h.ExpectContinue())
		}
	}
}

func TestHeadKeepAlive(t *testing.T) {
	for _, c := range []struct {
		proto, connection string
		want              bool
	}{
		{"1.1", "", true}, {"1.1", "close", false}, {"1.1", "x, Close", false}, {"1.1", "keep-alive", true}, {"1.1", "keep-alive, close", false}, {"1.1", "closed", true},
		{"1.0", "", false}, {"1.0", "Keep-Alive", true}, {"1.0", "keep-alive,close", false}, {"1.1", ", ,\t", true}, {"1.0", " , keep-alive ,", true},
	} {
		h, err := check(t, "GET / HTTP/"+c.proto, "Connection: "+c.connection)
		if err != nil || h.KeepAlive() != c.want || h.HTTP10() != (c.proto == "1.0") {
			t.Errorf("HTTP/%s %q: %v, %t", c.proto, c.connection, err, h.KeepAlive())
		}
	}
	if h, err := check(t, "GET / HTTP/1.1", "Connection: x", "Connection: close"); err != nil || h.KeepAlive() {
		t.Error("close in a second Connection field is not seen")
	}
}

func TestHeadDropsWhatIsNotForUpstreams(t *testing.T) {
	h, err := check(t, "GET / HTTP/1.1", "Connection: X-Hop, x-other", "Keep-Alive: 5", "Proxy-Connection: x", "Proxy-Authenticate: x", "Proxy-Authorization: x",
		"TE: trailers", "Trailer: x", "Upgrade: h2c", "HTTP2-Settings: x", "Transfer-Encoding: chunked", "Expect: 100-continue", "X-Original-URL: /admin",
		"X-Original-URI: /admin", "X-Original-Method: PUT", "X-Rewrite-URL: /admin", "X-HTTP-Method-Override: PUT", "X-HTTP-Method: PUT", "X-Method-Override: PUT", "Proxy: http://evil", "X-Client-Cert: x",
		"X-Forwarded-Client-Cert: x", "Client-Cert: x", "Client-Cert-Chain: x", "X-SSL-Cert: x", "x-ssl-client-verify: x", "X-Client-Certificate: x", "X-Client-DN: x",
		"X-Client-Verify: x", "Ssl-Client-Subject-Dn: x", "X-Amzn-Mtls-Clientcert: x", "X-TLS-Client-Cert: x", "X-ARR-ClientCert: x", "X-SSO: stays", "X_User_Id: root", "X-HOP: 1", "X-Other: 2", "X-Othe: stays", "x-hop: 3", "Content-Type: text/plain")
	if err != nil {
		t.Fatal(err)
	}
	if kept(h) != "Host X-SSO X-Othe Content-Type" {
		t.Errorf("kept %q", kept(h))
	}
}

func TestConnectionCannotRemoveEndToEndFields(t *testing.T) {
	names := []string{"Content-Length", "Authorization", "Cookie", "Idempotency-Key", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "X-Request-Id",
		"traceparent", "tracestate", "Content-Type", "Content-Encoding", "Cache-Control", "Accept", "Origin", "X-Api-Key", "Range", "User-Agent"}
	h, err := check(t, "GET / HTTP/1.1", "Connection: Host, close,"+strings.Join(names, ","), strings.Join(names, ": 1\r\n")+": 1")
	if err != nil {
		t.Fatal(err)
	}
	if want := "Host " + strings.Join(names, " "); kept(h) != want {
		t.Errorf("kept %q\nwant %q", kept(h), want)
	}
}

func TestHeadFieldCount(t *testing.T) {
	raw := []byte("Host: a\r\n" + strings.Repeat("A: 1\r\n", 100) + "\r\n")
	h := &Head{}
	for limit, want := range map[int]error{0: HeaderTooLarge, 100: HeaderTooLarge, 101: nil} {
		if err := h.Check([]byte("GET"), []byte("/"), []byte("HTTP/1.1"), raw, Limits{Headers: limit}); err != want {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

func TestHeadIsReused(t *testing.T) {
	h := &Head{}
	once := func(line, raw string) error {
		part := strings.SplitN(line, " ", 3)
		return h.Check([]byte(part[0]), []byte(part[1]), []byte(part[2]), []byte(raw), Limits{})
	}
	if err := once("POST /%61?q HTTP/1.0", "HOST: A\r\nConnection: keep-alive, close\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := once("GET /b HTTP/1.1", "Host: b\r\n\r\n"); err != nil || string(h.Path()) != "/b" || h.Query() != nil || string(h.Host()) != "b" ||
		!h.KeepAlive() || h.HTTP10() || h.ContentLength() != 0 || h.ExpectContinue() || h.Len() != 1 {
		t.Error("the second head shows traces of the first", err)
	}
}

func TestFaultTexts(t *testing.T) {
	seen := map[string]bool{}
	for f := BadRequest; f <= VersionNotSupported; f++ {
		if text := f.Error(); seen[text] || !strings.HasPrefix(text, "wire: ") {
			t.Errorf("fault %d: %q", f, text)
		} else {
			seen[text] = true
		}
	}
}

func FuzzHead(f *testing.F) {
	f.Add([]byte("GET"), []byte("/a?b"), []byte("HTTP/1.1"), []byte("Host: A.b:1\r\nContent-Length: 3\r\nConnection: x,close\r\nX: 1\r\n\r\n"))
	f.Add([]byte("POST"), []byte("/%61"), []byte("HTTP/1.0"), []byte("Host: [::1]:1\r\nTE: x\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Add([]byte("PUT"), []byte("/"), []byte("HTTP/1.1"), []byte("Host: a.\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nX_a:\r\n\r\n"))
	f.Add([]byte("GET"), []byte("/"), []byte("HTTP/1.0"), []byte("\r\n"))
	f.Add([]byte("0"), []byte("/"), []byte("HTTP/1.0"), []byte(""))
	h := &Head{}
	f.Fuzz(func(t *testing.T, method, target, proto, raw []byte) {
		if err := h.Check(method, target, proto, raw, Limits{}); err != nil {
			if fault, ok := err.(Fault); !ok || fault == 0 || fault > VersionNotSupported {
				t.Fatalf("not a fault: %v", err)
			}
			return
		}
		checkCanonical(t, string(h.Path()))
		hosts := h.Count("Host")
		if host := h.Host(); (len(host) == 0) != (hosts == 0) || !bytes.Equal(bytes.ToLower(host), host) || bytes.ContainsAny(host, "@/, \\") {
			t.Fatalf("host %q", host)
		}
		if hosts > 1 || hosts == 0 && !h.HTTP10() || h.Count("Content-Length") > 1 || h.Count("Authorization") > 1 || h.Count("Transfer-Encoding") != 0 {
			t.Fatalf("ambiguous head %q", raw)
		}
		if cl := h.Get("Content-Length"); cl != nil && strings.TrimLeft(string(cl), "0") != strings.TrimLeft(fmt.Sprint(h.ContentLength()), "0") {
			t.Fatalf("length %d for %q", h.ContentLength(), cl)
		}
		for i := range h.Len() {
			if name, _ := h.At(i); HopByHop(name) || bytes.IndexByte(name, '_') >= 0 {
				t.Fatalf("%q is kept", name)
			}
		}
	})
}

func TestAbsoluteFormOfTheSameHost(t *testing.T) {
	for target, want := range map[string]string{
		"http://api.test/a?b=//c": "/a ? b=//c", "HTTPS://API.test/": "/", "http://api.test": "/", "http://api.test/%61": "/a",
	} {
		h := &Head{}
		if err := h.Check([]byte("GET"), []byte(target), []byte("HTTP/1.1"), []byte("Host: api.test\r\n\r\n"), Limits{}); err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		got := string(h.Path())
		if h.Query() != nil {
			got += " ? " + string(h.Query())
		}
		if got != want || string(h.Host()) != "api.test" {
			t.Errorf("%s is %s at %s", target, got, h.Host())
		}
	}
}
