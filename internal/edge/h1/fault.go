package h1

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

// unreadable answers a head that fasthttp could not read. No exchange was begun for it. err quotes what the client sent, so
// it goes nowhere.
func (e *Edge) unreadable(ctx *fasthttp.RequestCtx, err error) {
	c, ok := ctx.Conn().(*conn)
	if !ok {
		return
	}
	c.phase.Store(phaseServing)
	c.linger = true
	kind := faultOf(err)
	var room [40]byte
	id := wire.AppendRequestID(room[:0])
	resp := &ctx.Response
	resp.SetStatusCode(kind.Status())
	resp.Header.SetContentTypeBytes(problemType)
	resp.Header.AddBytesV("X-Request-Id", id)
	addDate(&resp.Header, dateOf(time.Now()))
	resp.SetBodyRaw(pipeline.AppendProblem(nil, kind, id, &pipeline.Problem{}))
	level := slog.LevelInfo
	if c.head == 0 {
		level = slog.LevelDebug // nothing came: silence, or no TLS
	}
	e.log.Log(e.ctx, level, "request refused unread", "kind", kind.Slug(), "request_id", string(id), "peer", c.peer.String())
}

func faultOf(err error) pipeline.Refusal {
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &small), errors.Is(err, fasthttp.ErrSmallReadBuffer):
		return pipeline.HeaderTooLarge
	case isTimeout(err):
		return pipeline.RequestTimeout
	case strings.HasPrefix(versionText(err), "unsupported http version"):
		return pipeline.VersionNotSupported
	}
	return pipeline.BadRequest
}

// versionText is the innermost text: fasthttp has no error value for a version.
func versionText(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			text := err.Error()
			if i := strings.Index(text, "unsupported http version"); i >= 0 {
				return text[i:]
			}
			return ""
		}
		err = inner
	}
}

// connLog takes what fasthttp says of connections. Its texts may quote a client, so only the kind of trouble is kept.
type connLog struct{ e *Edge }

func (l connLog) Printf(_ string, args ...any) {
	for _, a := range args {
		err, ok := a.(error)
		if !ok {
			continue
		}
		var op *net.OpError
		switch {
		case errors.As(err, &op):
			l.e.log.Debug("connection failed", "op", op.Op, "error", op.Err)
		case pipeline.KindOf(err) != pipeline.Internal:
			l.e.log.Debug("connection failed", "kind", pipeline.KindOf(err).Slug())
		default:
			l.e.log.Debug("connection failed")
		}
		return
	}
}
