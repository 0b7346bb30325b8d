package h2

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// sendBody writes what is in memory, and then the stream as it comes.
func (ex *exchange) sendBody() error {
	r := &ex.resp
	if r.stream == nil {
		if len(r.body) == 0 {
			return nil
		}
		ex.deadline(time.Now().Add(ex.edge.limits.write)) // net/http writes when the handler is done
		n, err := ex.out.Write(r.body)
		ex.sent = int64(n)
		return err
	}
	out := ex.out
	rc := http.NewResponseController(out)
	writes := pauses{limit: ex.edge.limits.write, expire: func() { _ = rc.SetWriteDeadline(time.Unix(1, 0)) }}
	defer writes.stop()
	if err := ex.write(&writes, rc, r.body, !ex.prompt()); err != nil {
		return err
	}
	if err := ex.copy(&writes, rc); err != nil {
		return err
	}
	r.drop()
	ex.deadline(time.Now().Add(ex.edge.limits.write))
	return nil
}

// prompt reports that the first bytes of the stream are here, so that the head may wait for them.
func (ex *exchange) prompt() bool {
	b, ok := ex.resp.stream.(interface{ Buffered() int })
	return ok && b.Buffered() > 0
}

func (ex *exchange) copy(writes *pauses, rc *http.ResponseController) error {
	r := &ex.resp
	buf := edge.Buffers.Get().(*[]byte)
	defer edge.Buffers.Put(buf)
	for r.size < 0 || ex.sent < r.size || ex.Trailers != nil { // trailers are there with the end only, which lies behind the last byte
		n, err := r.stream.Read(*buf)
		if n > 0 {
			if r.size >= 0 && ex.sent+int64(n) > r.size {
				return fmt.Errorf("answer is longer than announced: %w", pipeline.UpstreamFailed)
			}
			last := err == io.EOF || ex.sent+int64(n) == r.size
			if werr := ex.write(writes, rc, (*buf)[:n], !last); werr != nil {
				return werr
			}
		}
		switch {
		case err == nil:
		case err != io.EOF:
			return err
		case r.size < 0:
			return nil
		case ex.sent < r.size:
			return io.ErrUnexpectedEOF
		default:
			return nil
		}
	}
	return nil
}

// write sends b, and what net/http holds back if it is not the end, each within the time for a pause.
func (ex *exchange) write(writes *pauses, rc *http.ResponseController, b []byte, flush bool) error {
	writes.begin()
	defer writes.end()
	if len(b) > 0 {
		n, err := ex.out.Write(b)
		ex.sent += int64(n)
		if err != nil {
			return err
		}
	}
	if flush {
		return rc.Flush()
	}
	return nil
}
