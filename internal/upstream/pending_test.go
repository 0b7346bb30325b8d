package upstream

import (
	"io"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// While a claim is held a body is read no longer than to the deadline, however it is framed, dripping or silent; when the
// claim is settled the rest can be read.
func TestBodyOfAClaimedAnswerIsPendingAtTheDeadline(t *testing.T) {
	for name, c := range map[string]struct{ head, first, rest string }{
		"sized":    {"Content-Length: 8\r\n", "abcd", "efgh"},
		"chunked":  {"Transfer-Encoding: chunked\r\n", "4\r\nabcd\r\n", "4\r\nefgh\r\n0\r\n\r\n"},
		"in chunk": {"Transfer-Encoding: chunked\r\n", "8\r\nabcd", "efgh\r\n0\r\n\r\n"},
		"to close": {"", "abcd", "efgh"},
	} {
		t.Run(name, func(t *testing.T) {
			more := make(chan struct{})
			f := newFake(t, func(p *peer) {
				p.request()
				p.send("HTTP/1.1 200 OK\r\n" + c.head + "\r\n")
				for i := range len(c.first) {
					time.Sleep(5 * time.Millisecond)
					p.send(c.first[i : i+1])
				}
				<-more
				p.send(c.rest)
			})
			m := with("POST", "a")
			m.Keyed, m.Deadline = true, time.Now().Add(150*time.Millisecond)
			k := serveStream(t, newRig(t, defaults(f.url)), m)
			got, err := io.ReadAll(k.stream)
			if late := time.Since(m.Deadline); string(got) != "abcd" || err != pipeline.ErrPending || late < 0 || late > time.Second {
				t.Errorf("%q, %v, %v after the deadline", got, err, late)
			}
			if _, err := k.stream.Read(make([]byte, 1)); err != pipeline.ErrPending {
				t.Errorf("at once again: %v", err)
			}
			m.Keyed = false
			close(more)
			if got, err = io.ReadAll(k.stream); string(got) != "efgh" || err != nil || m.Attempt.Broken {
				t.Errorf("%q, %v, broken %v", got, err, m.Attempt.Broken)
			}
		})
	}
}
