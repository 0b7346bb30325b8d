package h2

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// prepare turns what the handler left into an answer.
func (ex *exchange) prepare(err error) {
	if err != nil {
		ex.refuse(err)
	}
	ex.resp.final = ex.resp.status
	if ex.kind == pipeline.ClientGone {
		ex.resp.final = ex.kind.Status()
	}
}

var (
	problemType = []byte("application/problem+json")
	noStore     = []byte("no-store")
)

// refuse makes the answer a problem document, for gRPC an answer of trailers only. Fields that layers set to explain the
// refusal stay.
func (ex *exchange) refuse(err error) {
	ex.err, ex.kind = err, pipeline.KindOf(err)
	if ex.kind == pipeline.Internal && ex.edge.ctx.Err() != nil {
		ex.kind = pipeline.Draining // it was told to end
	}
	r, p := &ex.resp, &ex.Problem
	r.SetBody(nil)
	ex.Trailers = nil
	if ex.kind == pipeline.ClientGone {
		return
	}
	r.status = ex.kind.Status()
	if p.Status != 0 {
		r.status = p.Status
	}
	if after := ex.kind.RetryAfter(p.RetryAfter); after > 0 {
		var digits [20]byte
		r.Set("Retry-After", strconv.AppendInt(digits[:0], int64(after), 10))
	}
	if ex.kind.NeverStored() || p.Executed != pipeline.ExecutedUnsaid {
		r.Set("Cache-Control", noStore)
	}
	r.Del("Content-Encoding")
	if ex.calls() {
		edge.RefuseCall(r, ex.kind, p)
		return
	}
	r.Set("Content-Type", problemType)
	ex.text = pipeline.AppendProblem(ex.text[:0], ex.kind, ex.ID, p)
	r.SetBody(ex.text)
}

// clean removes what belongs to the upstream's connection and sets our request id.
func (ex *exchange) clean() {
	r := &ex.resp
	for i := range r.fields {
		if f := &r.fields[i]; wire.EqualFold(r.nameOf(f), "Connection") {
			ex.dropNamed(bytes.Clone(r.valueOf(f)))
			break
		}
	}
	kept := r.fields[:0]
	for _, f := range r.fields {
		if name := r.nameOf(&f); !wire.HopByHop(name) && !wire.EqualFold(name, "X-Request-Id") {
			kept = append(kept, f)
		}
	}
	r.fields = kept
	r.Add("X-Request-Id", ex.ID)
}

// dropNamed removes the fields that a Connection field names, but none that frames the answer.
func (ex *exchange) dropNamed(options []byte) {
	for _, option := range bytes.Split(options, []byte(",")) {
		name := string(bytes.TrimSpace(option))
		if name != "" && !wire.EqualFold([]byte(name), "Content-Length") {
			ex.resp.Del(name)
		}
	}
}

// head writes the fields into net/http's map. It makes one string of all of them.
func (ex *exchange) head() {
	r, h := &ex.resp, ex.out.Header()
	text := string(r.text)
	values := make([]string, len(r.fields))
	for i := range r.fields {
		f := &r.fields[i]
		values[i] = text[f.value:f.valueEnd]
		key := http.CanonicalHeaderKey(text[f.name:f.nameEnd])
		if before, ok := h[key]; ok {
			h[key] = append(before, values[i])
		} else {
			h[key] = values[i : i+1 : i+1]
		}
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // not guessed
	}
	if ex.edge.draining.Load() || ex.part {
		h["Connection"] = closing // to net/http this says GOAWAY
	}
}

var closing = []string{"close"}

func bodyless(status int) bool { return status < 200 || status == 204 || status == 304 }

// send writes the answer. False: the stream has to be reset, because the answer broke off or nobody is there.
func (ex *exchange) send() bool {
	r := &ex.resp
	if ex.kind == pipeline.ClientGone {
		return false
	}
	ex.clean()
	silent := string(ex.req.Verb) == http.MethodHead || bodyless(r.status)
	ex.setLength(silent)
	ex.head()
	ex.out.WriteHeader(r.status)
	if silent {
		r.drop()
		ex.fails = ex.Gone()
		return true
	}
	err := ex.sendBody()
	if err != nil {
		r.err, ex.fails = err, true
		ex.Attempt.Broken = ex.Attempt.Broken || !ex.Gone() && pipeline.KindOf(err) != pipeline.ClientGone
		return ex.brokeGRPC(err)
	}
	ex.fails = ex.Gone()
	if ex.statusless() {
		ex.endGRPC(pipeline.GRPCInternal, noStatus)
		return true
	}
	ex.sendTrailers()
	return true
}

// setLength says how long the body is. An answer without a body may tell the length that it would have.
func (ex *exchange) setLength(silent bool) {
	r := &ex.resp
	if silent && (r.size <= 0 || r.status == 204 || r.status < 200) {
		return
	}
	r.Del("Content-Length")
	if ex.answersGRPC() && r.stream != nil {
		r.size = -1 // to its end, where the trailers are
	}
	switch {
	case r.size >= 0 && ex.answersGRPC(): // trailers follow
		ex.out.Header()["Content-Length"] = nil
	case r.size > 0, r.size == 0 && ex.Trailers == nil && !ex.grpcOnly():
		var digits [20]byte
		r.Add("Content-Length", strconv.AppendInt(digits[:0], r.size, 10))
	case r.size == 0:
		ex.out.Header()["Content-Length"] = nil // net/http would add one
	}
}

// sendTrailers gives what followed the body; the map's keys say that they are trailers.
func (ex *exchange) sendTrailers() {
	if ex.Trailers.Len() == 0 {
		return
	}
	h := ex.out.Header()
	ex.Trailers.Each(func(name, value string) {
		if wire.TrailerAllowed([]byte(name)) {
			key := http.TrailerPrefix + http.CanonicalHeaderKey(name)
			h[key] = append(h[key], value)
		}
	})
}

// deadline bounds what is left to be written once the handler is done.
func (ex *exchange) deadline(t time.Time) {
	_ = http.NewResponseController(ex.out).SetWriteDeadline(t)
}
