package h2

import "io"

// Keep has what is read from now on be in memory when it was read to its end, as long as it is not above max: a body that goes on
// while it comes can then be sent again.
func (r *request) Keep(max int64) { r.keeps = min(max, r.Limit) }

func (r *request) keep(b []byte) {
	if r.keeps == 0 || r.collects {
		return
	}
	ok := int64(len(r.buf)+len(b)) <= r.keeps
	if ok && len(r.buf)+len(b) > cap(r.buf) {
		r.buf, ok = r.ex.edge.memory.Grow(r.buf, len(b), r.keeps)
	}
	if !ok {
		r.ex.edge.memory.Free(r.buf)
		r.buf, r.at, r.keeps = nil, 0, 0
		return
	}
	r.buf = append(r.buf, b...)
	r.at, r.whole = len(r.buf), r.over == io.EOF
}
