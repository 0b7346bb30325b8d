package h1

import (
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// What can be refused is refused at once, in whatever pieces it comes; good heads pass in any pieces.
func TestJudgeInPieces(t *testing.T) {
	for head, bad := range map[string]bool{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n":         false,
		"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n": false,
		"GET / HTTP/1.1\nHost: a\r\n\r\n":           true,
		"GET / HTTP/1.1\nHost: a\n\n":               true,
		"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n":       true,
		" GET / HTTP/1.1\r\nHost: a\r\n\r\n":        true,
		"\x16\x03\x01\x02\x00":                      true,
	} {
		for cut := range len(head) {
			c := &conn{}
			for _, piece := range []string{head[:cut], head[cut:]} {
				if piece != "" {
					c.judge([]byte(piece), cut == 0 && strings.HasSuffix(head, "\r\n\r\n"))
					c.head += len(piece)
				}
			}
			if c.bad != bad {
				t.Errorf("%q cut at %d: %v", head, cut, c.bad)
			}
		}
	}
}

func TestMethodOfAnUnreadableHead(t *testing.T) {
	for head, want := range map[string]string{
		"POST / HTTP/1.1\r\n": "POST", "\r\nGET /\r\n": "GET", "G\x00T /": "", "AVERYLONGMETHOD /": "", "GET": "", "": "",
	} {
		c := &conn{}
		c.judge([]byte(head), false)
		if got := string(c.method()); got != want {
			t.Errorf("%q: %q", head, got)
		}
	}
}

// A head that fasthttp can't read is an exchange as well: one end, with status, kind and method.
func TestUnreadableIsSeen(t *testing.T) {
	r := &refuser{make(chan pipeline.Refusal, 4), make(chan pipeline.End, 4)}
	cfg := config()
	cfg.Limits.ReadTimeout /= 10
	s := &server{t: t, log: &lines{}}
	s.start(cfg, r)
	for in, want := range map[string]pipeline.Refusal{
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx": pipeline.BadRequest,
		"GET / HTTP/4.2\r\nHost: a\r\n\r\n":                                             pipeline.VersionNotSupported,
		"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 9000):                             pipeline.HeaderTooLarge,
		"GET / HTTP/1.1\r\nHo":                                                          pipeline.RequestTimeout,
	} {
		a := s.dial().send(in).answer("GET")
		a.problem(t, want)
		if kind, e := <-r.seen, <-r.ends; kind != want || e.Kind != want || e.Status != want.Status() || e.At.IsZero() || e.BytesOut == 0 {
			t.Errorf("%q: %v %+v", in[:20], kind, e)
		}
	}
	// Silence is answered but no request.
	s.dial().answer("GET").problem(t, pipeline.RequestTimeout)
	select {
	case kind := <-r.seen:
		t.Errorf("silence was seen as %v", kind)
	case <-time.After(20 * time.Millisecond):
	}
	c := s.dial().send("HEAD / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n")
	if a, err := c.answer("HEAD"), c.closed(); a.StatusCode != 400 || err != nil {
		t.Errorf("HEAD: %d, %v", a.StatusCode, err)
	}
}
