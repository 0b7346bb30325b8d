package h2

import (
	"io"
	"net/http"
	"time"
)

// How long, and for how much, a client that is refused may go on sending before its stream is reset.
const (
	lingerTotal = 2 * time.Second
	lingerPause = 500 * time.Millisecond
	lingerBytes = 1 << 20
)

// lingers reports that the client was refused while it is still sending. net/http resets such a stream as soon as its answer
// has ended, which clients must not take for the loss of the answer (RFC 9113 8.1), and some do: curl before version 8.
func (ex *exchange) lingers() bool {
	return ex.resp.final >= 400 && ex.req.Head.ContentLength() != 0 && ex.req.over != io.EOF && !ex.calls()
}

// linger sends the answer but for its end, and takes what comes until the client has noticed.
func linger(w http.ResponseWriter, q *http.Request) {
	rc := http.NewResponseController(w)
	if rc.Flush() != nil {
		return
	}
	by := time.Now().Add(lingerTotal)
	buf := make([]byte, 16<<10)
	for total := 0; total < lingerBytes; {
		now := time.Now()
		if !now.Before(by) || rc.SetReadDeadline(now.Add(min(lingerPause, by.Sub(now)))) != nil {
			return
		}
		n, err := q.Body.Read(buf)
		if total += n; err != nil {
			return
		}
	}
}
