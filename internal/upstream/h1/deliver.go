package h1

import (
	"bufio"
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// fastResponse is a response that is itself fasthttp's: the answer's head is parsed straight into it.
type fastResponse interface{ FastHTTP() *fasthttp.Response }

// splicer is a response that can take an answer whole, as it came: see internal/edge/h1. False: field by field.
type splicer interface {
	Splice(status int, head, body []byte) bool
}

// feeder lets fasthttp's parser read a head from memory.
type feeder struct {
	src bytes.Reader
	buf *bufio.Reader
}

const feederSize = 4 << 10

var feeders = sync.Pool{New: func() any {
	f := &feeder{}
	f.buf = bufio.NewReaderSize(&f.src, feederSize)
	return f
}}

// deliver puts the answer into the response. From here on the upstream has answered.
func (k *call) deliver(h *head) error {
	k.out.Status = h.status
	if k.splice(h) {
		k.x.Effect = pipeline.EffectDone
		k.noteKeepAlive(h)
		k.finish(!h.close && !h.old && !k.early)
		return nil
	}
	var err error
	if fast, ok := k.x.Response.(fastResponse); ok {
		err = k.fillFast(&fast.FastHTTP().Header, h)
	} else {
		k.fill(h)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", pipeline.UpstreamFailed, err)
	}
	k.x.Effect = pipeline.EffectDone
	k.noteKeepAlive(h)
	k.deliverBody(h)
	return nil
}

// splice hands an answer over whole when all of it is here.
func (k *call) splice(h *head) bool {
	s, ok := k.x.Response.(splicer)
	c := k.c
	if !ok || h.chunked || h.length < 0 || h.length > int64(len(c.buf)-c.r) || h.encodings > 1 || k.bodyless(h) {
		return false
	}
	if int64(len(c.buffered())) < h.length { // what follows in a second segment is given one read to come
		n, _ := c.nc.Read(c.buf[c.w:]) // an error shows again later; fill would move the head
		c.w += n
	}
	b := c.buffered()
	if int64(len(b)) < h.length || !s.Splice(h.status, h.raw[:len(h.raw)-2], b[:h.length]) {
		return false
	}
	c.r += int(h.length)
	return true
}

// fillFast has fasthttp parse the head. It was checked and cleaned before, because that parser lets some things pass and marks
// the client's connection for closing whenever the upstream's is.
func (k *call) fillFast(dst *fasthttp.ResponseHeader, h *head) error {
	dst.DisableNormalizing()
	dst.SetNoDefaultContentType(true)
	f := feeders.Get().(*feeder)
	defer feeders.Put(f)
	f.src.Reset(h.raw)
	in := f.buf
	if len(h.raw) > feederSize {
		in = bufio.NewReaderSize(&f.src, len(h.raw))
	}
	in.Reset(&f.src)
	if err := dst.Read(in); err != nil {
		return errHeadShape // the parser's own text quotes the head
	}
	dst.ResetConnectionClose()
	if h.encodings > 1 {
		dst.SetContentEncodingBytes(joined(h.fields, "content-encoding")) // the parser keeps the last one only
	}
	return nil
}

// fill copies the head through the view.
func (k *call) fill(h *head) {
	resp := k.x.Response
	resp.Reset()
	resp.SetStatus(h.status)
	bodyless := k.bodyless(h)
	for rest := h.fields; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n')
		name, value, _ := splitField(rest[:n-1])
		if bodyless || !wire.EqualFold(name, "content-length") {
			resp.Add(string(name), value)
		}
		rest = rest[n+1:]
	}
}

// joined makes one list of all fields of that name.
func joined(fields []byte, lower string) []byte {
	var list []byte
	for len(fields) > 0 {
		n := bytes.IndexByte(fields, '\n')
		if name, value, _ := splitField(fields[:n-1]); wire.EqualFold(name, lower) {
			if len(list) > 0 {
				list = append(list, ", "...)
			}
			list = append(list, value...)
		}
		fields = fields[n+1:]
	}
	return list
}

func (k *call) bodyless(h *head) bool {
	return h.status == 204 || h.status == 304 || string(k.x.Request.Method()) == "HEAD"
}

// deliverBody hands the body over: as bytes when all of it is here, else as a stream that owns the connection.
func (k *call) deliverBody(h *head) {
	c := k.c
	reusable := !h.close && !h.old && !k.early
	switch {
	case k.bodyless(h) || h.length == 0:
		k.finish(reusable)
	case h.chunked:
		if k.x.Calls() { // others get none, see docs/protocols.md
			k.x.Trailers = &pipeline.Trailers{}
		}
		if body, used := decodeWhole(c.buffered(), k.x.Trailers); used > 0 {
			k.x.Response.SetBody(body)
			c.r += used
			k.x.EndCall()
			k.finish(reusable)
			return
		}
		k.stream(reusable, bodyChunked, -1)
	case h.length > 0:
		k.deliverSized(h.length, reusable)
	default:
		k.stream(false, bodyToClose, -1)
	}
}

// deliverSized gives what follows the head in a second segment one read to come: a short body then needs no stream.
func (k *call) deliverSized(n int64, reusable bool) {
	c := k.c
	if room := int64(len(c.buf) - c.r); n <= room && int64(len(c.buffered())) < n {
		_ = c.fill() // an error shows again in the stream
	}
	if b := c.buffered(); int64(len(b)) >= n {
		k.x.Response.SetBody(b[:n])
		c.r += int(n)
		k.finish(reusable)
		return
	}
	k.stream(reusable, bodySized, n)
}

// finish ends an exchange whose answer is complete.
func (k *call) finish(reusable bool) {
	k.held = false
	k.c.settle(reusable, k.out.At, k.lim)
}

// settle puts the connection back, or closes it when it may not be used again. Bytes behind the answer belong to nobody.
func (c *Conn) settle(reusable bool, now time.Time, lim *Limits) {
	if len(c.buffered()) > 0 {
		reusable = false
		lim.note(IdleUnsolicited)
	}
	if !reusable {
		c.pool.drop(c)
		return
	}
	c.pool.put(c, now, lim.Idle)
}

func (k *call) noteKeepAlive(h *head) {
	switch {
	case h.keep > 1:
		k.c.keep = time.Duration(h.keep-1) * time.Second
	case h.keep >= 0:
		h.close = true // gone before it could be used again
	}
}
