package h1

import (
	"bytes"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// render turns what the handler left into what fasthttp writes.
func (ex *exchange) render(err error) {
	if ex.resp.splice.on && err == nil && ex.renderSpliced() {
		return
	}
	ex.resp.unsplice()
	if err != nil {
		ex.refuse(err)
	} else if ex.fast().BodyStream() == nil {
		ex.resp.length = int64(len(ex.fast().Body()))
	}
	ex.resp.final = ex.fast().StatusCode()
	if ex.kind == pipeline.ClientGone {
		ex.resp.final = ex.kind.Status()
	}
	if ex.resp.final < 200 || ex.resp.final == 204 || ex.resp.final == 304 || ex.isHead() {
		ex.resp.length = 0
	}
	ex.clean()
	ex.stay()
	ex.prepareStream()
}

// renderSpliced is render for an answer that goes on as it came.
func (ex *exchange) renderSpliced() bool {
	s := &ex.resp.splice
	mark := len(s.extra)
	ex.stay()
	ex.resp.final, ex.resp.length = s.status, int64(len(s.buf)-s.body)
	if ex.writeSpliced() {
		return true
	}
	s.extra = s.extra[:mark]
	return false
}

func (ex *exchange) fast() *fasthttp.Response { return ex.resp.fast }

func (ex *exchange) isHead() bool { return string(ex.req.Verb) == "HEAD" }

// clean removes what belongs to the upstream's connection, sets our request id, and makes sure of a Date (RFC 9110 section
// 6.6.1).
func (ex *exchange) clean() {
	h := &ex.fast().Header
	dated, named := false, false
	for again := true; again; {
		again, dated, named = false, false, false
		for k, v := range h.All() {
			if wire.EqualFold(k, "Connection") {
				ex.dropNamed(v)
			}
			if wire.EqualFold(k, "X-Request-Id") && !named {
				h.SetBytesKV(k, ex.ID) // in its place: removing would change the order of others
				named = true
				continue
			}
			if wire.HopByHop(k) && !wire.EqualFold(k, "Trailer") || wire.EqualFold(k, "X-Request-Id") {
				h.DelBytes(k)
				again = true
				break
			}
			dated = dated || len(k) == len("Date") && wire.EqualFold(k, "Date")
		}
	}
	if !named {
		h.AddBytesV("X-Request-Id", ex.ID)
	}
	if !dated {
		addDate(h, dateOf(ex.Start))
	}
	if string(h.Protocol()) != "HTTP/1.1" {
		h.SetProtocol(http11)
	}
}

var http11 = []byte("HTTP/1.1")

// dropNamed removes the fields that a Connection field names, but none that frames the answer.
func (ex *exchange) dropNamed(options []byte) {
	if bytes.EqualFold(options, []byte("keep-alive")) || bytes.EqualFold(options, []byte("close")) {
		return
	}
	for _, option := range bytes.Split(bytes.Clone(options), []byte(",")) {
		name := string(bytes.TrimSpace(option))
		if name == "" || wire.HopByHop([]byte(name)) || wire.EqualFold([]byte(name), "Content-Length") {
			continue
		}
		ex.resp.Del(name)
	}
}

// stay decides whether the connection is kept.
func (ex *exchange) stay() {
	c := ex.conn
	if !c.body.canSkip(c) {
		ex.resp.last = true
		c.linger = true
	}
	if ex.resp.last || ex.Problem.Close && ex.kind != 0 || ex.edge.draining.Load() || edge.Retired(c.retires, ex.Start) {
		ex.close()
		return
	}
	ex.fast().Header.ResetConnectionClose()
}

// prepareStream chooses the framing, and whether the head waits for the first bytes.
func (ex *exchange) prepareStream() {
	fast, s := ex.fast(), &ex.resp.stream
	if fast.BodyStream() == nil {
		return
	}
	if s.size < 0 && ex.req.Head.HTTP10() {
		s.framing = framedByClose
		fast.Header.SetContentLength(0)
		fast.Header.Del("Content-Length")
		ex.close()
	}
	fast.ImmediateHeaderFlush = true
	if !ex.isHead() && s.prompt() && s.size != 0 && !bodyless(ex.resp.final) {
		ex.text = ex.text[:0]
		ex.conn.held = &ex.text
	}
}

func bodyless(status int) bool { return status < 200 || status == 204 || status == 304 }

// addDate adds a Date. fasthttp ignores one that is set by its name, so the name is completed where it lies.
func addDate(h *fasthttp.ResponseHeader, value []byte) {
	h.AddBytesV("\x00ate", value)
	for k := range h.All() {
		if len(k) == 4 && k[0] == 0 {
			k[0] = 'D'
			return
		}
	}
}

type dateText struct {
	second int64
	text   []byte
}

var lastDate atomic.Pointer[dateText]

// dateOf is the Date of a moment; the text of the last second is kept.
func dateOf(t time.Time) []byte {
	second := t.Unix()
	if d := lastDate.Load(); d != nil && d.second == second {
		return d.text
	}
	d := &dateText{second, t.UTC().AppendFormat(nil, "Mon, 02 Jan 2006 15:04:05 GMT")}
	lastDate.Store(d)
	return d.text
}

var (
	problemType = []byte("application/problem+json")
	noStore     = []byte("no-store")
)

// refuse makes the answer a problem document, for gRPC an answer without a body whose head says it. Fields that layers set to explain the refusal stay.
func (ex *exchange) refuse(err error) {
	ex.err, ex.kind = err, pipeline.KindOf(err)
	if ex.kind == pipeline.Internal && ex.edge.ctx.Err() != nil {
		ex.kind = pipeline.Draining // it was told to end
	}
	fast := ex.fast()
	if ex.kind == pipeline.ClientGone {
		ex.conn.mute, ex.resp.last = true, true
		fast.ResetBody()
		return
	}
	p := &ex.Problem
	status := ex.kind.Status()
	if p.Status != 0 {
		status = p.Status
	}
	fast.SetStatusCode(status)
	fast.Header.SetContentTypeBytes(problemType)
	fast.Header.SetContentEncodingBytes(nil)
	if after := ex.kind.RetryAfter(p.RetryAfter); after > 0 {
		ex.resp.Del("Retry-After")
		var digits [20]byte
		fast.Header.AddBytesV("Retry-After", strconv.AppendInt(digits[:0], int64(after), 10))
	}
	if ex.kind.NeverStored() || p.Executed != pipeline.ExecutedUnsaid {
		ex.resp.Del("Cache-Control")
		fast.Header.AddBytesV("Cache-Control", noStore)
	}
	if ex.text = ex.text[:0]; pipeline.IsGRPC(ex.req.Header("Content-Type")) {
		edge.RefuseCall(&ex.resp, ex.kind, p)
	} else {
		ex.text = pipeline.AppendProblem(ex.text, ex.kind, ex.ID, p)
	}
	fast.SetBodyRaw(ex.text)
	ex.resp.length = int64(len(ex.text))
}
