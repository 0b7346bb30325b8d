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
	rc := http.NewResponseController(ex.out)
	ex.writes.start(ex.edge.limits.write, ex.cutWrite)
	defer ex.writes.stop()
	if err := ex.write(rc, r.body, !ex.prompt()); err != nil {
		return err
	}
	if err := ex.copy(rc); err != nil {
		return err
	}
	r.drop()
	if ex.held { // trailers alone wait for no window; what they wait for is bounded for the connection
		ex.deadline(time.Now().Add(ex.edge.limits.write))
	}
	return nil
}

// prompt reports that the first bytes of the stream are here, so that the head may wait for them.
func (ex *exchange) prompt() bool {
	b, ok := ex.resp.stream.(interface{ Buffered() int })
	return ok && b.Buffered() > 0
}

func (ex *exchange) copy(rc *http.ResponseController) error {
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
			if werr := ex.write(rc, (*buf)[:n], !last); werr != nil {
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
func (ex *exchange) write(rc *http.ResponseController, b []byte, flush bool) error {
	ex.writes.begin()
	defer ex.writes.end()
	if len(b) > 0 {
		n, err := ex.out.Write(b)
		ex.sent += int64(n)
		if err != nil {
			return err
		}
	}
	if ex.held = !flush; flush {
		return rc.Flush()
	}
	return nil
}
