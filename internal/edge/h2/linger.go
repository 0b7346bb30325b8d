package h2

import (
	"io"
	"net/http"
	"time"
)

// How long, and for how much, a client that has its answer may go on sending before its stream is reset.
const (
	lingerTotal = 2 * time.Second
	lingerPause = 500 * time.Millisecond
	lingerBytes = 1 << 20
	lingerCall  = 20 * time.Millisecond // of gRPC: what one message takes to arrive
)

// lingers is how long the end of an answer waits for the end of the request; 0: not at all. net/http resets a stream that is
// still sent on as soon as its answer has ended, which clients must not take for the loss of the answer (RFC 9113 8.1), and
// some do: curl before version 8. Those of gRPC, which say TE: trailers, don't: their servers end calls that way. What an
// upstream answers to a call ends at once, so that both sides of a stream see its end together.
func (ex *exchange) lingers() time.Duration {
	switch {
	case ex.req.Head.ContentLength() == 0 || ex.req.over == io.EOF:
		return 0
	case !ex.calls():
		return lingerTotal
	case ex.kind == 0 && !ex.Attempt.At.IsZero():
		return 0
	case len(ex.in.Header["Te"]) > 0:
		return lingerCall
	}
	return lingerTotal
}

// indivisible reports that the head of the answer is also its end: nothing goes out before the client has been waited for.
func (ex *exchange) indivisible() bool {
	return string(ex.req.Verb) == http.MethodHead || ex.grpcOnly()
}

// linger sends the answer but for its end, or keeps it back if it is indivisible, and takes what comes until the client has
// sent all.
func linger(w http.ResponseWriter, q *http.Request, total time.Duration, indivisible bool) {
	rc := http.NewResponseController(w)
	if !indivisible && rc.Flush() != nil {
		return
	}
	by := time.Now().Add(total)
	buf := make([]byte, 16<<10)
	for taken := 0; taken < lingerBytes; {
		now := time.Now()
		if !now.Before(by) || rc.SetReadDeadline(now.Add(min(lingerPause, by.Sub(now)))) != nil {
			return
		}
		n, err := q.Body.Read(buf)
		if taken += n; err != nil {
			return
		}
	}
}
