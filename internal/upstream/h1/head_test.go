package h1

import (
	"bufio"
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/wire"
)

func TestHeadEnd(t *testing.T) {
	for in, want := range map[string]int{
		"":                            0,
		"H":                           0,
		"HTTP/1.1 200 OK\r\n":         0,
		"HTTP/1.1 200 OK\r\n\r\n":     19,
		"HTTP/1.1 200 OK\r\n\r\nbody": 19,
		"\r\nHTTP/1.1 200 OK\r\n\r\n": -1,
		"ICY 200 OK\r\n\r\n":          -1,
		"HTTP/2":                      -1,
		"HTTP/1.1 200 OK\nA: b\n\n":   -1,
		"HTTP/1.1 " + strings.Repeat("x", maxHead): -1,
	} {
		for _, seen := range []int{0, max(0, len(in)-1)} {
			got, err := headEnd([]byte(in), seen)
			if err != nil {
				got = -1
			}
			if got != want && seen == 0 || got != want && want <= 0 {
				t.Errorf("%.30q after %d: %d, want %d", in, seen, got, want)
			}
		}
	}
}

// The end is found wherever the segments are cut.
func TestHeadEndResumes(t *testing.T) {
	const in = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
	for cut := range len(in) {
		if n, err := headEnd([]byte(in[:cut]), 0); n != 0 || err != nil {
			t.Errorf("cut at %d: %d, %v", cut, n, err)
		}
		if n, err := headEnd([]byte(in), cut); n != len(in) || err != nil {
			t.Errorf("resumed at %d: %d, %v", cut, n, err)
		}
	}
}

func TestPeekStatus(t *testing.T) {
	for in, want := range map[string]int{
		"HTTP/1.1 413 No\r\n\r\n":                              413,
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n": 200,
		"HTTP/1.1 100 Continue\r\n\r\n":                        0,
		"HTTP/1.1 413 No\r\n":                                  0,
		"nonsense":                                             0,
		"HTTP/1.1 4x3 No\r\n\r\n":                              0,
	} {
		if got, ok := peekStatus([]byte(in)); got != want || ok != (want != 0) {
			t.Errorf("%q: %d, %v", in, got, ok)
		}
	}
}

func TestKeepAliveTimeout(t *testing.T) {
	for in, want := range map[string]int{"timeout=5": 5, "max=100, timeout=15": 15, "timeout=5,max=1": 5, "": -1, "timeout=": -1, "timeout=x": -1,
		"timeout=-1": -1, "timeout=99999999": -1, "max=3": -1} {
		if got := keepAliveTimeout([]byte(in)); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
}

func TestNamedFieldsAreBounded(t *testing.T) {
	in := "HTTP/1.1 200 OK\r\nConnection: " + strings.Repeat("a", 200) + "\r\n\r\n"
	var h head
	if err := h.parse([]byte(in)); err != errTooNamed {
		t.Errorf("%v", err)
	}
}

// A head that passes is one that net/http reads the same way, with no field left that concerns one connection.
func FuzzHead(f *testing.F) {
	for _, seed := range []string{"A: b\r\nConnection: a, close\r\nContent-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "Keep-Alive: timeout=3\r\nB:\t x \r\n"} {
		f.Add("200 OK", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status string, fields []byte) {
		raw := append([]byte("HTTP/1.1 "+status+"\r\n"), fields...)
		raw = append(raw, "\r\n"...)
		n, err := headEnd(raw, 0)
		if err != nil || n == 0 {
			return
		}
		raw = raw[:n]
		before := bytes.Clone(raw)
		var h head
		if h.parse(raw) != nil {
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(before)), &http.Request{Method: "HEAD"})
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", before, err)
		}
		if resp.StatusCode != h.status || !h.chunked && h.length >= 0 && resp.ContentLength != h.length && h.status >= 200 && h.status != 204 {
			t.Fatalf("%q: status %d length %d; net/http %d %d", before, h.status, h.length, resp.StatusCode, resp.ContentLength)
		}
		for rest := h.fields; len(rest) > 0; {
			end := bytes.IndexByte(rest, '\n')
			name, _, err := splitField(rest[:end-1])
			if err != nil || wire.HopByHop(name) || h.isNamed(name) {
				t.Fatalf("%q passed %q", before, name)
			}
			rest = rest[end+1:]
		}
	})
}

// A Connection field can't take away what frames an answer that is passed on as it came.
func TestConnectionCanNotDropTheLength(t *testing.T) {
	for _, option := range []string{"content-length", "x, Content-Length", "CONTENT-LENGTH ,close"} {
		var h head
		err := h.parse([]byte("HTTP/1.1 200 OK\r\nConnection: " + option + "\r\nContent-Length: 2\r\nX: 1\r\n\r\n"))
		if err != nil || h.length != 2 || !strings.Contains(string(h.raw), "Content-Length: 2\r\n") || strings.Contains(string(h.raw), "Connection") {
			t.Errorf("%s: %v, %q", option, err, h.raw)
		}
	}
}
