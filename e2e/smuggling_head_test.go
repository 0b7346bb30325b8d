package e2e

import (
	"fmt"
	"strings"
)

// fieldLines: lines that readers split, join or skip differently.
func fieldLines() (all []attack) {
	for name, line := range map[string]string{
		"bare LF ends a line": "A: b\nC: d\r\n", "LF only, hidden request": "A: b\n\n" + hidden, "LF CR LF": "A: b\n\r\n" + hidden, "bare CR in a value": "A: b\rC: d\r\n", "CR CR LF": "A: b\r\r\n",
		"NUL in a value": "A: b\x00c\r\n", "NUL in a name": "A\x00: b\r\n", "vertical tab in a value": "A: b\vc\r\n", "escape in a value": "A: \x1b\r\n", "DEL in a value": "A: \x7f\r\n", "backspace in a value": "A: \b\r\n",
		"fold by a blank": "A: b\r\n c\r\n", "fold by a tab": "A: b\r\n\tc\r\n", "fold of nothing": "A:\r\n \r\n", "fold before the first field": "", "blank in a name": "A b: c\r\n", "blank before colon": "A : b\r\n", "tab before colon": "A\t: b\r\n",
		"no name": ": b\r\n", "no colon": "A\r\n", "high byte in a name": "\xc3\x84: b\r\n", "parenthesis in a name": "A(b): c\r\n", "comma in a name": "A,b: c\r\n", "slash in a name": "A/b: c\r\n", "at sign in a name": "A@b: c\r\n", "quote in a name": "\"A\": c\r\n",
		"bracket in a name": "A[b]: c\r\n", "semicolon in a name": "A;b: c\r\n", "a request line for a field": "GET /smuggled HTTP/1.1\r\n",
		"33 options of Connection": "Connection: " + strings.Repeat("a,", 40) + "b\r\n", "two Authorization": "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", "two Expect, one unknown": "Expect: 100-continue\r\nExpect: x\r\n", "unknown Expect": "Expect: 200-ok\r\n",
	} {
		head := getOf + line
		if name == "fold before the first field" {
			head = "GET /x HTTP/1.1\r\n A: b\r\nHost: a\r\n"
		}
		all = append(all, attack{name: "field: " + name, in: head + "\r\n"})
	}
	all = append(all, attack{name: "field: 300 lines", in: getOf + strings.Repeat("A: b\r\n", 300) + "\r\n"}, attack{name: "field: 100 KiB", in: getOf + "A: " + strings.Repeat("b", 100<<10) + "\r\n\r\n"})
	for name, line := range map[string]string{
		"encoded CRLF in a value": "A: b%0d%0aX-Other: 1\r\n", "empty value": "A:\r\n", "colons": "A: b: c\r\n", "high bytes in a value": "A: \xff\xfe\r\n", "underscore in a name": "A_b: c\r\n", "odd token": "!#$%&'*+-.^`|~: c\r\n", "tab in a value": "A: b\tc\r\n", "hop by hop": "Connection: A\r\nA: b\r\nKeep-Alive: x\r\nProxy-Connection: close\r\n",
	} {
		all = append(all, attack{name: "field: " + name, in: getOf + line + "\r\n", want: served})
	}
	return all
}

// requestLines: first lines that readers take apart differently.
func requestLines() (all []attack) {
	const host = "\r\nHost: a\r\n\r\n"
	for name, line := range map[string]string{
		"two blanks": "GET  /x HTTP/1.1", "two blanks before the version": "GET /x  HTTP/1.1", "tab": "GET\t/x HTTP/1.1", "tab before the version": "GET /x\tHTTP/1.1", "blank first": " GET /x HTTP/1.1", "blank in the target": "GET /x /smuggled HTTP/1.1",
		"blank last": "GET /x HTTP/1.1 ", "three words more": "GET /x HTTP/1.1 GET /smuggled HTTP/1.1", "vertical tab": "GET\v/x HTTP/1.1", "form feed": "GET\f/x HTTP/1.1", "NUL in the method": "G\x00T /x HTTP/1.1", "NUL in the target": "GET /x\x00 HTTP/1.1",
		"bare CR in the target": "GET /x\r/y HTTP/1.1", "bare LF in the target": "GET /x\n/y HTTP/1.1", "high byte in the method": "G\xffT /x HTTP/1.1", "no method": "/x HTTP/1.1", "no target": "GET HTTP/1.1", "empty target": "GET  HTTP/1.1", "colon in the method": "GET: /x HTTP/1.1",
		"fragment": "GET /x#y HTTP/1.1", "backslash": "GET \\x HTTP/1.1", "relative": "GET x HTTP/1.1", "%00": "GET /x%00 HTTP/1.1", "%0d%0a": "GET /x%0d%0aX-Smuggled:1 HTTP/1.1", "%2f": "GET /a%2fb HTTP/1.1", "%5c": "GET /a%5cb HTTP/1.1", "half an escape": "GET /a% HTTP/1.1", "broken escape": "GET /a%zz HTTP/1.1",
		"overlong slash": "GET /a%c0%af HTTP/1.1", "double escape": "GET /a%252fb HTTP/1.1", "dots": "GET /a/../b HTTP/1.1", "encoded dots": "GET /a/%2e%2e/b HTTP/1.1", "dots with a semicolon": "GET /a/..;/b HTTP/1.1", "two slashes": "GET //a HTTP/1.1", "asterisk of a GET": "GET * HTTP/1.1",
		"absolute, other host": "GET http://evil/x HTTP/1.1", "absolute, user": "GET http://u@a/x HTTP/1.1", "absolute, no host": "GET http:///x HTTP/1.1", "absolute, other scheme": "GET ftp://a/x HTTP/1.1", "authority form": "GET a:80 HTTP/1.1", "CONNECT": "CONNECT a:80 HTTP/1.1", "connect in small letters": "connect a:80 HTTP/1.1",
		"TRACE": "TRACE /x HTTP/1.1", "very long target": "GET /" + strings.Repeat("x", 100<<10) + " HTTP/1.1",
	} {
		all = append(all, attack{name: "line: " + name, in: line + host})
	}
	return append(all,
		attack{name: "line ends with LF", in: "GET /x HTTP/1.1\nHost: a\r\n\r\n"},
		attack{name: "line ends with CR", in: "GET /x HTTP/1.1\rHost: a\r\n\r\n"},
		attack{name: "line ends with CR CR LF", in: "GET /x HTTP/1.1\r\r\nHost: a\r\n\r\n"},
		attack{name: "everything by LF", in: "GET /x HTTP/1.1\nHost: a\n\n"},
		attack{name: "LF before the line", in: "\n" + getOf + "\r\n"},
		attack{"CRLF before the line", "\r\n" + getOf + "\r\n", last, ""},
		attack{"absolute, same host", "GET http://a/x HTTP/1.1" + host, served, ""},
		attack{"absolute, same host in capitals", "GET HTTP://A/x HTTP/1.1" + host, served, ""},
		attack{"odd method", "PURGE /x HTTP/1.1" + host, served, ""},
		attack{"method in small letters", "get /x HTTP/1.1" + host, served, ""},
		attack{"OPTIONS of everything", "OPTIONS * HTTP/1.1" + host, refused, ""},
	)
}

// hosts: who is asked, said in more than one way.
func hosts() (all []attack) {
	for _, v := range []string{"", "a b", "a, b", "a/b", "a?b", "a#b", "u@a", "a:b", "a:-1", "a:99999", "a:80:80", "[::1", "::1", "a\x00", "a\xff", "a\tb", "http://a", "a\\b", "a%00", "a;b", "a\"", "<a>", "a:80 b"} {
		all = append(all, attack{name: fmt.Sprintf("host %q", v), in: "GET /x HTTP/1.1\r\nHost: " + v + "\r\n\r\n"})
	}
	return append(all,
		attack{name: "host missing", in: "GET /x HTTP/1.1\r\n\r\n"},
		attack{name: "host twice", in: getOf + "Host: a\r\n\r\n"},
		attack{name: "host twice, other", in: getOf + "Host: b\r\n\r\n"},
		attack{name: "host folded", in: "GET /x HTTP/1.1\r\nHost:\r\n a\r\n\r\n"},
		attack{name: "host, blank before colon", in: "GET /x HTTP/1.1\r\nHost : a\r\n\r\n"},
		attack{name: "host beside blank before colon", in: getOf + "Host : b\r\n\r\n"},
		attack{"host nominated", getOf + "Connection: Host\r\n\r\n", served, ""},
		attack{"host of IPv6", "GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", served, ""},
		attack{"other names of a host", getOf + "X-Forwarded-Host: evil\r\nX-Host: evil\r\nForwarded: host=evil\r\n\r\n", served, ""},
	)
}

// versions: HTTP/0.9, 1.0, 2 and none.
func versions() (all []attack) {
	for _, v := range []string{"HTTP/0.9", "HTTP/1.2", "HTTP/2", "HTTP/2.0", "HTTP/1", "HTTP/1.", "HTTP/1.10", "HTTP/01.1", "HTTP/1.01", "http/1.1", "HTTP /1.1", "HTTP/ 1.1", "HTTP/1 .1", "HTTP/-1.1", "HTTP/1,1", "HTTPS/1.1", "ICY/1.1", "RTSP/1.0", "HTTP/1.1\x00", "HTTP/9.9"} {
		all = append(all, attack{name: fmt.Sprintf("version %q", v), in: "GET /x " + v + "\r\nHost: a\r\n\r\n"})
	}
	return append(all,
		attack{name: "HTTP/0.9", in: "GET /x\r\n"},
		attack{name: "HTTP/0.9 with fields", in: "GET /x\r\nHost: a\r\n\r\n"},
		attack{"HTTP/1.0", "GET /x HTTP/1.0\r\nHost: a\r\n\r\n", last, ""},
		attack{"HTTP/1.0 without a host", "GET /x HTTP/1.0\r\n\r\n", last, ""},
		attack{"HTTP/1.0 kept", "GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", served, ""},
		attack{name: "HTTP/1.0 with chunks", in: "POST /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n" + coded + "\r\n0\r\n\r\n"},
		attack{name: "HTTP/1.0 with both", in: "POST /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 5\r\n" + coded + "\r\n0\r\n\r\n" + hidden},
		attack{"HTTP/1.0 expects", "POST /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", served, "abc"},
	)
}

// protocols: other protocols on the port, and wishes to go on in them.
func protocols() []attack {
	return []attack{
		{name: "preface of HTTP/2", in: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", want: framed},
		{name: "preface, half of it", in: "PRI * HTTP/2.0\r\nHost: a\r\n\r\n"},
		{name: "preface as HTTP/1.1", in: "PRI * HTTP/1.1\r\nHost: a\r\n\r\nSM\r\n\r\n"},
		{name: "TLS", in: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 64)},
		{name: "PROXY protocol 1", in: "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + getOf + "\r\n"},
		{name: "PROXY protocol 2", in: "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + strings.Repeat("\x01", 12) + getOf + "\r\n"},
		{name: "SMTP", in: "EHLO a\r\n"},
		{name: "memcached", in: "set x 0 0 3\r\nabc\r\n"},
		{name: "an answer", in: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{name: "nothing but CRLF", in: strings.Repeat("\r\n", 4) + "\x00"},
		{"Upgrade h2c", getOf + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", served, ""},
		{"Upgrade h2c without a nomination", getOf + "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", served, ""},
		{"Upgrade websocket, not allowed", "GET /x HTTP/1.1\r\n" + asksSock + "\r\n", served, ""},
		{"Upgrade websocket, wrong version", "GET /x HTTP/1.1\r\n" + strings.Replace(asksSock, "13", "777", 1) + "\r\n", served, ""},
		{"Upgrade of a POST", postTo + "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc", served, "abc"},
		{"Upgrade TLS", getOf + "Connection: Upgrade\r\nUpgrade: TLS/1.3\r\n\r\n", served, ""},
	}
}

// pipelines: requests that come together, or whose answer comes before their end.
func pipelines() []attack {
	return []attack{
		{"close", getOf + "Connection: close\r\n\r\n", last, ""},
		{"close among others", getOf + "Connection: x, Close\r\n\r\n", last, ""},
		{"close and keep-alive", getOf + "Connection: close, keep-alive\r\n\r\n", last, ""},
		{"expects, and sends at once", postTo + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", served, "abc"},
		{"expects with chunks, and sends at once", postTo + "Expect: 100-continue\r\n" + coded + "\r\n3\r\nabc\r\n0\r\n\r\n", served, "3\r\nabc\r\n0\r\n\r\n"},
		{"expects without a body", getOf + "Expect: 100-continue\r\n\r\n", served, ""},
		{name: "expects, both framings", in: postTo + "Expect: 100-continue\r\nContent-Length: 5\r\n" + coded + "\r\n0\r\n\r\n" + hidden},
		{name: "expects something else", in: postTo + "Expect: x\r\nContent-Length: 51\r\n\r\n" + hidden},
		{"early answer, the body unread upstream", "POST /early HTTP/1.1\r\nHost: a\r\n" + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(hidden)) + hidden, served, ""},
		{name: "a body larger than allowed", in: postTo + "Content-Length: 99999999999\r\n\r\n" + hidden},
	}
}
