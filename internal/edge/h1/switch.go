package h1

import (
	"bytes"
	"net"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// switchOver answers 101 and turns the exchange into a tunnel; false when it was refused above the upstream: then that
// answer is rendered. The goroutines of a tunnel begin with small stacks and hold none of fasthttp's buffers.
func (ex *exchange) switchOver(err error) bool {
	if err != nil || ex.resp.Status() != 101 {
		_ = ex.Switch.Tunnel.Close()
		ex.Switch.Tunnel = nil
		return false
	}
	c, ctx := ex.conn, ex.ctx
	ex.resp.final = 101
	ex.clean()
	if !ex.writeSwitch() {
		ex.render(pipeline.ClientGone)
		return true
	}
	t := ex.tunnel()
	ctx.RemoveUserValue(endKey) // fasthttp does not end it
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(net.Conn) {
		c.tunnel.Store(t)
		if c.edge.stopping.Load() && c.edge.ctx.Err() != nil {
			t.tell(goingAway)
		}
		go t.in.run()
		go t.out.run()
	})
	return true
}

// writeSwitch sends the head; false when the client is gone.
func (ex *exchange) writeSwitch() bool {
	buf := edge.Buffers.Get().(*[]byte)
	defer edge.Buffers.Put(buf)
	b := append((*buf)[:0], "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"...)
	ex.resp.EachField(func(name, value []byte) {
		if wire.HopByHop(name) || wire.EqualFold(name, "Content-Length") || wire.EqualFold(name, "Content-Type") && len(value) == 0 {
			return
		}
		b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
	})
	b = append(b, "\r\n"...)
	_, err := ex.conn.Write(b)
	return err == nil
}

// tunnel takes the exchange off fasthttp's request, whose bytes it copies.
func (ex *exchange) tunnel() *tunnel {
	c := ex.conn
	ex.req.Head.Own()
	ex.req.Verb = []byte("GET")
	ex.Hops, ex.Asked = bytes.Clone(ex.Hops), bytes.Clone(ex.Asked)
	if len(ex.ID) > 0 && &ex.ID[0] != &ex.id[0] {
		ex.ID = bytes.Clone(ex.ID)
	}
	ex.Trace.State = bytes.Clone(ex.Trace.State)
	for i := range ex.Params.Names {
		ex.Params.Values[i] = bytes.Clone(ex.Params.Values[i])
	}
	ex.Outgoing = pipeline.Outgoing{}
	ex.resp.splice = splice{on: true, status: 101} // what layers see of the answer at the end
	ex.resp.fast, ex.text, ex.ctx = nil, nil, nil

	sw := &ex.Switch
	t := &tunnel{ex: ex, c: c, up: sw.Tunnel, idle: sw.Idle, end: sw.End, code: sw.Code}
	if t.code == 0 {
		t.code = goingAway
	}
	t.last.Store(time.Now().UnixNano())
	t.open.Store(2)
	client := clientSide{c}
	t.in = direction{t: t, src: client, from: c.Conn, dst: t.up, masked: true, write: c.edge.limits.write}
	t.out = direction{t: t, src: t.up, from: t.up, dst: client, write: c.edge.limits.write}
	return t
}
