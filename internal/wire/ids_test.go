package wire

import (
	"strings"
	"testing"
)

func TestRequestID(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "!~": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a b": false, "a\n": false, "\x7f": false, "\xc3\xa9": false, "a\x00": false,
	} {
		if ValidRequestID([]byte(id)) != want {
			t.Errorf("%q: not %t", id, want)
		}
	}
	seen := map[string]bool{}
	for range 1000 {
		id := string(AppendRequestID([]byte("x"))[1:])
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

func TestFindRequestID(t *testing.T) {
	for head, want := range map[string]string{
		"":                             "",
		"GET /":                        "",
		"GET /\r\n":                    "",
		"GET /\r\nX-Request-Id: a\r\n": "a",
		"GET /\r\nx-request-id:\ta \r\nB: c\r\n\r\n":                  "a",
		"\r\n\r\nGET /\r\nX-Request-Id:a\r\n":                         "a",
		"GET /\r\nX-Request-Id: a\r\nB\r":                             "a",
		"GET /\r\nX-Request-Id: a\r\nno colon\r\n":                    "a",
		"GET /\r\nX-Request-Id: a":                                    "",
		"GET /\r\nX-Request-Id: a\r":                                  "",
		"X-Request-Id: a\r\n":                                         "",
		"GET /\r\nX-Request-Id\r\n":                                   "",
		"GET /\r\nX-Request-Id:\r\n":                                  "",
		"GET /\r\nX-Request-Id: a b\r\n":                              "",
		"GET /\r\nX-Request-Ids: a\r\n":                               "",
		"GET /\r\nX_Request_Id: a\r\n":                                "",
		"GET /\r\nX-Request-Id: a\r\nX-Request-Id: a\r\n":             "",
		"GET /\r\nX-Request-Id: a\r\nX-Request-Id :b\r\n":             "",
		"GET /\r\nX-Request-Id: " + strings.Repeat("a", 129) + "\r\n": "",
		"GET /\nX-Request-Id: a\r\n":                                  "",
		"GET /\r\nX-Request-Id: a\n":                                  "",
		"GET /\r\nX-Request-Id: a\r\n\tb\r\n":                         "",
		"GET /\r\nX-Request-Id: a\r\nB\rC":                            "",
		"GET /\rX-Request-Id: b\r\nX-Request-Id: a\r\n":               "",
	} {
		if got := string(FindRequestID([]byte(head))); got != want {
			t.Errorf("%q: %q, want %q", head, got, want)
		}
	}
}

// Of what can be read, both readings say the same.
func FuzzFindRequestID(f *testing.F) {
	f.Add([]byte("Host: a\r\nX-Request-Id: a\r\n\r\n"))
	f.Add([]byte("X-Request-Id: a\r\nx-request-id:b\r\n\r\n"))
	f.Add([]byte("A: b\r\n c\r\n"))
	f.Fuzz(func(t *testing.T, lines []byte) {
		var fields Fields
		got := FindRequestID(append([]byte("GET / HTTP/1.1\r\n"), lines...))
		if got != nil && !ValidRequestID(got) {
			t.Errorf("%q", got)
		}
		if err := fields.Parse(lines, 100); err == nil && string(got) != string(fields.RequestID()) {
			t.Errorf("%q, read as %q", got, fields.RequestID())
		}
	})
}

func TestTraceparent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	id, parent, flags, ok := ParseTraceparent([]byte(good))
	if !ok || flags != 1 || string(AppendTraceparent(nil, id, parent, flags)) != good {
		t.Errorf("%x %x %x %t", id, parent, flags, ok)
	}
	for _, c := range []struct {
		text  string
		flags byte
	}{
		{good[:53] + "ff", 3}, {good[:53] + "00", 0}, {"cc" + good[2:], 1}, {"01" + good[2:] + "-what-the-future-brings", 1}, {"fe" + good[2:] + "-", 1},
	} {
		if _, _, flags, ok := ParseTraceparent([]byte(c.text)); !ok || flags != c.flags {
			t.Errorf("%s: %t, flags %x", c.text, ok, flags)
		}
	}
	zero := strings.Repeat("0", 32)
	for _, text := range []string{"", good[:54], good + "-", good + "-x", "ff" + good[2:], "0g" + good[2:], "01" + good[2:] + "x", "00-" + zero + good[35:],
		good[:36] + zero[:16] + good[52:], strings.ToUpper(good), good[:3] + "0AF7" + good[7:], good[:53] + "0X", strings.ReplaceAll(good, "-", "_"), good[:10] + "-" + good[11:],
		" " + good[:54]} {
		if id, parent, flags, ok := ParseTraceparent([]byte(text)); ok || id != [16]byte{} || parent != [8]byte{} || flags != 0 {
			t.Errorf("%q is accepted", text)
		}
	}
	trace, otherTrace, span, otherSpan := NewTraceID(), NewTraceID(), NewSpanID(), NewSpanID()
	if trace == otherTrace || span == otherSpan || NewTraceID() == [16]byte{} || NewSpanID() == [8]byte{} {
		t.Error("ids repeat or are zero")
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add([]byte("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
	f.Add([]byte("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, parent, flags, ok := ParseTraceparent(b)
		if !ok {
			return
		}
		again := AppendTraceparent(nil, id, parent, flags)
		if string(again[2:53]) != string(b[2:53]) {
			t.Fatalf("%q becomes %q", b, again)
		}
	})
}
