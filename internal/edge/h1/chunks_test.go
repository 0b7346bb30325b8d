package h1

import (
	"bytes"
	"fmt"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
)

// decode feeds body in pieces of size n and gives the data, the bytes taken and how it ended.
func decode(body []byte, n int) (data []byte, used int, ended bool, err error) {
	var d chunks
	for used < len(body) && d.state != atEnd {
		piece := body[used:min(len(body), used+n)]
		took, got, err := d.next(piece)
		used += took
		if err != nil {
			return data, used, false, err
		}
		data = append(data, got...)
	}
	return data, used, d.state == atEnd, nil
}

func TestChunks(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"0\r\n\r\n", ""},
		{"5\r\nhello\r\n0\r\n\r\n", "hello"},
		{"005\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n", "hello0123456789"},
		{"5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n", "hello"},
		{"1\r\na\r\n0\r\nX-Sum: 1\r\nOther:\r\n\r\n", "a"},
	} {
		for n := 1; n <= len(c.in); n++ {
			data, used, ended, err := decode([]byte(c.in+"GET /"), n)
			if err != nil || !ended || string(data) != c.want || used != len(c.in) {
				t.Fatalf("%q by %d: %q, %d of %d, %v %v", c.in, n, data, used, len(c.in), ended, err)
			}
		}
	}
}

func TestChunksRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"no size":              "\r\n",
		"blank before":         " 5\r\nhello\r\n0\r\n\r\n",
		"blank after":          "5 \r\nhello\r\n0\r\n\r\n",
		"tab after":            "5\t\r\nhello\r\n",
		"blank before ext":     "5 ;a\r\nhello\r\n",
		"prefix":               "0x5\r\nhello\r\n",
		"sign":                 "+5\r\nhello\r\n",
		"negative":             "-5\r\nhello\r\n",
		"bare LF after size":   "5\nhello\r\n",
		"LF in extension":      "5;a\nb\r\nhello\r\n",
		"CR in extension":      "5;a\rb\r\nhello\r\n",
		"NUL in extension":     "5;\x00\r\nhello\r\n",
		"data too long":        "4\r\nhello\r\n0\r\n\r\n",
		"bare LF after data":   "5\r\nhello\n0\r\n\r\n",
		"sixteen digits":       "0000000000000005\r\nhello\r\n",
		"overflow":             "ffffffffffffffff\r\n",
		"endless extension":    "5;" + strings.Repeat("x", maxExtensions+1),
		"trailer without name": "0\r\n: x\r\n\r\n",
		"trailer with blank":   "0\r\nA : x\r\n\r\n",
		"trailer folded":       "0\r\nA: x\r\n b\r\n\r\n",
		"trailer bare LF":      "0\r\nA: x\n\r\n",
		"trailer NUL":          "0\r\nA: \x00\r\n\r\n",
		"trailers too long":    "0\r\nA: " + strings.Repeat("x", maxTrailers),
		"authorization":        "0\r\nAuthorization: Bearer x\r\n\r\n",
		"length":               "0\r\ncontent-LENGTH: 3\r\n\r\n",
		"forwarded":            "0\r\nX-Forwarded-For: 1\r\n\r\n",
		"end":                  "0\r\n\rX",
	} {
		if data, _, ended, err := decode([]byte(in), len(in)); err == nil || ended {
			t.Errorf("%s: accepted with %q", name, data)
		}
	}
}

func TestChunksNeedsTheEnd(t *testing.T) {
	full := "5\r\nhello\r\n0\r\nA: b\r\n\r\n"
	for n := range len(full) {
		if _, _, ended, err := decode([]byte(full[:n]), 3); ended || err != nil {
			t.Errorf("%q: ended %v, %v", full[:n], ended, err)
		}
	}
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n"), 3)
	f.Add([]byte("A\r\n0123456789\r\n0\r\n\r\n"), 100)
	f.Fuzz(func(t *testing.T, in []byte, n int) {
		n = max(1, min(n, 1<<16))
		data, used, ended, err := decode(in, n)
		whole, used1, ended1, err1 := decode(in, len(in)+1)
		if used != used1 || ended != ended1 || (err == nil) != (err1 == nil) || err == nil && !bytes.Equal(data, whole) {
			t.Fatalf("pieces of %d: %q %d %v %v; whole: %q %d %v %v", n, data, used, ended, err, whole, used1, ended1, err1)
		}
		if !ended {
			return
		}
		// What we accept, the standard library must read as the same body.
		std, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(in)))
		if err != nil || !bytes.Equal(std, data) {
			t.Fatalf("net/http reads %q, %v; we %q", std, err, data)
		}
	})
}

func FuzzChunksRoundTrip(f *testing.F) {
	f.Add([]byte("hello"), 2)
	f.Fuzz(func(t *testing.T, body []byte, n int) {
		n = max(1, min(n, 1<<16))
		var b bytes.Buffer
		for rest := body; len(rest) > 0; {
			k := min(n, len(rest))
			fmt.Fprintf(&b, "%x\r\n%s\r\n", k, rest[:k])
			rest = rest[k:]
		}
		b.WriteString("0\r\n\r\n")
		if got, _, ended, err := decode(b.Bytes(), n+1); !ended || err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%v %v", ended, err)
		}
	})
}
